/*
 * The Linux loader on arbitrary images, initrds and memory sizes: it must load or refuse, never touch anything else.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/guest_memory.c kernel/vm_spec.c
 * links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/load/load.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

#define PROLOGUE 3u /* input bytes that are not image: the header, what modules, how many */

static struct guest_memory memory;

/* Mutation hardly finds the magic number: put it in, and the rest of a header that goes some way. */
static void put_header(u8 *image, size_t size, u8 how)
{
    u8 header[0x290] = {0};

    if (size < sizeof header || !(how & 1))
        return;
    if (how & 2) {
        image_put_linux(header, 16);
        memcpy(image, header, sizeof header);
    }
    memcpy(image + 0x202, "HdrS", 4);
    image[0x207] = 2;
    image[0x211] |= 1;
    image_put(image, 0x1f4, image_get(image, 0x1f4, 1), 4);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct refusal why = {""};
    struct load_request request = {.vm_name = "f", .kind = IMAGE_LINUX};
    struct start_state start;
    enum image_kind kind;

    if (size < PROLOGUE)
        return 0;
    if (!memory.region_count) {
        host_memory_init(MIB(1), MIB(32));
        if (guest_memory_allocate(&memory, MIB(24), &why) != STATUS_OK)
            abort();
    }
    size_t image_size = size - PROLOGUE;
    u8 *image = malloc(image_size ? image_size : 1);
    memcpy(image, data + PROLOGUE, image_size);
    put_header(image, image_size, data[0]);
    request.boot = (struct image){image, image_size, "command line"};
    if (data[1] & 1)
        request.initrd = (struct image){image, image_size, "initrd"};
    request.module_count = data[1] & 2 ? data[2] % (LOAD_MAX_MODULES + 1) : 0;
    for (u32 i = 0; i < request.module_count; i++)
        request.modules[i] = (struct image){image, image_size, "module"};
    if (load_image(&request, &memory, &start, &kind, &why) == STATUS_OK) {
        const struct guest_region *r = guest_memory_find(&memory, gpa(start.rip));
        if (!r || r->kind != GUEST_REGION_RAM)
            abort();
        if (start.rsi >= 0xa0000 || (start.cr3 != 0) != (start.mode == START_LONG64))
            abort();
    } else if (!why.text[0]) {
        abort();
    }
    free(image);
    return 0;
}
