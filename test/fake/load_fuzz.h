/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzzers of loaders share: the input is an image, after a few bytes that say how it is finished and what
 * comes with it. Whatever it is, it is loaded or refused with a reason, and the sanitizers see nothing.
 */
#ifndef ROOTLET_TEST_FAKE_LOAD_FUZZ_H
#define ROOTLET_TEST_FAKE_LOAD_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "kernel/load/load.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

#define PROLOGUE 3u /* input bytes that are not image: the header, what modules, how many */

static struct guest_memory memory;

static inline bool is_ram(u64 address)
{
    const struct guest_region *r = guest_memory_find(&memory, gpa(address));
    return r && r->kind == GUEST_REGION_RAM;
}

/* put_header: makes the image look more like one, as its argument says. is_good: of a start that the loader gave. */
struct load_fuzz {
    enum image_kind kind;
    void (*put_header)(u8 *image, size_t size, u8 how);
    bool (*is_good)(const struct start_state *start);
};

static inline int load_fuzz_one(const struct load_fuzz *fuzz, const u8 *data, size_t size)
{
    struct refusal why = {""};
    struct load_request request = {.vm_name = "f", .kind = fuzz->kind};
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
    fuzz->put_header(image, image_size, data[0]);
    request.boot = (struct image){image, image_size, "command line"};
    if (data[1] & 1)
        request.initrd = (struct image){image, image_size, "initrd"};
    request.module_count = data[1] & 2 ? data[2] % (LOAD_MAX_MODULES + 1) : 0;
    for (u32 i = 0; i < request.module_count; i++)
        request.modules[i] = (struct image){image, image_size, "module"};
    if (load_image(&request, &memory, &start, &kind, &why) == STATUS_OK) {
        if (!is_ram(start.rip) || !fuzz->is_good(&start))
            abort();
    } else if (!why.text[0]) {
        abort();
    }
    free(image);
    return 0;
}

#endif
