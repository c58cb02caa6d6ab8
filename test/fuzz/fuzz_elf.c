/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ELF reader and the address form on arbitrary bytes; a plan that is accepted must keep its invariant. Section
 * headers and their contents go where they were placed, and nowhere else.
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * test/fake/host_memory.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/lib/bytes.h"
#include "kernel/load/elf.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

static struct guest_memory memory;

static void check(const struct plan *plan, u64 size)
{
    if (plan->count == 0 || plan->entry < plan->low || plan->entry >= plan->high || plan->high > GIB(4))
        abort();
    for (u32 i = 0; i < plan->count; i++) {
        const struct plan_segment *s = &plan->segments[i];
        if (s->file_offset > size || s->file_bytes > size - s->file_offset || s->file_bytes > s->memory_bytes)
            abort();
        if (s->address < plan->low || s->address + s->memory_bytes > plan->high)
            abort();
    }
}

/* The file header is made right but for the place of the section headers, which the input says. */
static void check_sections(u8 *bytes, u64 size, bool wide)
{
    struct refusal why = {""};
    struct image image = {bytes, size, ""};
    struct elf_sections sections;
    struct layout layout;
    u64 at = image_get(bytes, 0, 1);

    image_put_elf(bytes, wide, 0, NULL, 0);
    image_put(bytes, wide ? 40 : 32, at, wide ? 8 : 4);
    image_put(bytes, wide ? 58 : 46, (wide ? 64 : 40) + (at & 3), 2);
    if (!elf_find_sections(&image, &sections))
        return;
    if (!memory.region_count) {
        host_memory_init(MIB(1), MIB(16));
        if (guest_memory_allocate(&memory, MIB(2), &why) != STATUS_OK)
            abort();
    }
    layout_init(&layout, &memory);
    if (elf_place_sections(&sections, &layout, &why) != STATUS_OK)
        return;
    struct layout_writer counter = {0};
    elf_write_sections(&sections, &counter);
    if (counter.used_bytes != (u64)sections.count * sections.header_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct refusal why = {""};
    struct plan plan;
    u8 *bytes = malloc(size ? size : 1);
    struct image image = {bytes, size, ""};

    memcpy(bytes, data, size);
    plan_init(&plan);
    if (elf_plan(&image, &plan, &why) == STATUS_OK)
        check(&plan, size);
    else if (!why.text[0])
        abort();
    if (size >= 24) {
        struct plan_address_form form = {bytes_u32(data) % size, bytes_u32(data + 4),  bytes_u32(data + 8),
                                         bytes_u32(data + 12),   bytes_u32(data + 16), bytes_u32(data + 20)};
        plan_init(&plan);
        if (plan_from_addresses(&plan, &image, &form, &why) == STATUS_OK)
            check(&plan, size);
    }
    if (size >= 64)
        check_sections(bytes, size, data[4] & 1);
    free(bytes);
    return 0;
}
