/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The multiboot 1 loader on arbitrary images with arbitrary modules: it must load or refuse, never touch anything else.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/load/load.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

#define PROLOGUE 4u /* input bytes that are not image: header offset, modules, flags */

static struct guest_memory memory;

/* Mutation hardly finds the magic number and the checksum: put them in, over whatever stands there. */
static void put_header(u8 *image, size_t size, u64 offset)
{
    offset &= ~3ull;
    if (size >= 12 && offset <= size - 12)
        image_put_multiboot(image, offset, (u32)image_get(image, offset + 4, 4) & 0x1000f);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct refusal why = {""};
    struct load_request request = {.vm_name = "f", .kind = IMAGE_MULTIBOOT};
    struct start_state start;
    enum image_kind kind;

    if (size < PROLOGUE)
        return 0;
    if (!memory.region_count) {
        host_memory_init(MIB(1), MIB(16));
        if (guest_memory_allocate(&memory, MIB(2), &why) != STATUS_OK)
            abort();
    }
    size_t image_size = size - PROLOGUE;
    u8 *image = malloc(image_size ? image_size : 1);
    memcpy(image, data + PROLOGUE, image_size);
    if (data[3] & 1)
        put_header(image, image_size, image_get(data, 0, 2) % 0x1000);
    request.boot = (struct image){image, image_size, "command line"};
    request.module_count = data[2] % (LOAD_MAX_MODULES + 1);
    for (u32 i = 0; i < request.module_count; i++)
        request.modules[i] = (struct image){image, image_size, "module"};
    if (load_image(&request, &memory, &start, &kind, &why) == STATUS_OK) {
        const struct guest_region *r = guest_memory_find(&memory, gpa(start.rip));
        if (start.mode != START_PROTECTED32 || !r || r->kind != GUEST_REGION_RAM)
            abort();
        r = guest_memory_find(&memory, gpa(start.rbx));
        if (!r || r->kind != GUEST_REGION_RAM || start.rbx % FRAME_BYTES)
            abort();
    } else if (!why.text[0]) {
        abort();
    }
    free(image);
    return 0;
}
