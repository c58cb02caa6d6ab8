/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PVH loader on arbitrary images, initrds and memory sizes: it must load or refuse, never touch anything else.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include "test/fake/load_fuzz.h"

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

static bool is_good(const struct start_state *start)
{
    return start->mode == START_PROTECTED32 && is_ram(start->rbx) && start->rbx % FRAME_BYTES == 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct load_fuzz fuzz = {IMAGE_PVH, put_header, is_good};
    return load_fuzz_one(&fuzz, data, size);
}
