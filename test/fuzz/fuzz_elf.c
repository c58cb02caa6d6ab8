/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ELF reader and the address form on arbitrary bytes; a plan that is accepted must keep its invariant.
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c test/fake/host_memory.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/lib/bytes.h"
#include "kernel/load/elf.h"

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
    free(bytes);
    return 0;
}
