/*
 * The PVH loader on arbitrary images, initrds and memory sizes: it must load or refuse, never touch anything else.
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

/* Mutation hardly finds an ELF file with a note: put them in, over whatever stands there. */
static void put_header(u8 *image, size_t size, u8 how)
{
    struct image_segment segments[2] = {
        {1, 0,     0, MIB(1), size, size},
        {4, 0x100, 0, 0,      0x40, 0x40}
    };

    if (size < 0x200 || !(how & 1))
        return;
    image_put_elf(image, how & 2, MIB(1), segments, 2);
    if (how & 4)
        image_put_note(image, 0x100, "Xen", 18, MIB(1) + image[0x118], how & 8 ? 8 : 4);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct refusal why = {""};
    struct load_request request = {.vm_name = "f", .kind = IMAGE_PVH};
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
        r = guest_memory_find(&memory, gpa(start.rbx));
        if (start.mode != START_PROTECTED32 || !r || r->kind != GUEST_REGION_RAM || start.rbx % FRAME_BYTES)
            abort();
    } else if (!why.text[0]) {
        abort();
    }
    free(image);
    return 0;
}
