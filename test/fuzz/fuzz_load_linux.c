/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Linux loader on arbitrary images, initrds and memory sizes: it must load or refuse, never touch anything else.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include "test/fake/load_fuzz.h"

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

static bool is_good(const struct start_state *start)
{
    return start->rsi < 0xa0000 && (start->cr3 != 0) == (start->mode == START_LONG64);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct load_fuzz fuzz = {IMAGE_LINUX, put_header, is_good};
    return load_fuzz_one(&fuzz, data, size);
}
