/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free memory from the boot loader's map, which firmware may have written unsorted, overlapping and unaligned: where
 * two regions disagree, "not RAM" wins. Both lists are sorted and merged first; one sweep then yields what lies in the
 * first and not in the second. Boot CPU, once.
 */
#include "kernel/start/boot_memory.h"
#include "kernel/lib/bits.h"

bool boot_memory_append(struct boot_ranges *ranges, u64 base, u64 size_bytes)
{
    u64 end = size_bytes > ~0ull - base ? ~0ull : base + size_bytes;

    if (!size_bytes)
        return true;
    if (ranges->count == BOOT_MEMORY_MAX_RANGES)
        return false;
    ranges->items[ranges->count++] = (struct boot_range){base, end};
    return true;
}

/* Insertion sort, since maps come almost sorted; then ranges that overlap or touch become one. */
static void sort_and_merge(struct boot_ranges *ranges)
{
    struct boot_range *items = ranges->items;
    u32 merged = 0;

    for (u32 i = 1; i < ranges->count; i++) {
        struct boot_range moving = items[i];
        u32 at = i;
        for (; at > 0 && items[at - 1].base > moving.base; at--)
            items[at] = items[at - 1];
        items[at] = moving;
    }
    for (u32 i = 0; i < ranges->count; i++) {
        if (merged && items[i].base <= items[merged - 1].end) {
            if (items[i].end > items[merged - 1].end)
                items[merged - 1].end = items[i].end;
        } else {
            items[merged++] = items[i];
        }
    }
    ranges->count = merged;
}

void boot_memory_regions(const struct boot_info *info, enum boot_region_kind kind, struct boot_ranges *out)
{
    out->count = 0;
    for (u32 i = 0; i < info->region_count; i++) {
        const struct boot_region *region = &info->regions[i];
        /* Cannot fail: a list holds more ranges than a map has regions. */
        if (region->kind == kind && !boot_memory_append(out, region->base, region->size_bytes))
            return;
    }
    sort_and_merge(out);
}

static bool append_kept(const struct boot_info *info, struct boot_ranges *keep)
{
    bool ok = boot_memory_append(keep, 0, FRAME_BYTES);

    for (u32 i = 0; i < info->region_count; i++)
        if (info->regions[i].kind != BOOT_REGION_RAM)
            ok = ok && boot_memory_append(keep, info->regions[i].base, info->regions[i].size_bytes);
    for (u32 i = 0; i < info->module_count; i++)
        ok = ok && boot_memory_append(keep, info->modules[i].start.raw, info->modules[i].size_bytes);
    ok = ok && boot_memory_append(keep, info->symbols.entries.raw, info->symbols.entries_bytes);
    return ok && boot_memory_append(keep, info->symbols.names.raw, info->symbols.names_bytes);
}

enum status boot_memory_collect(const struct boot_info *info, struct boot_ranges *keep,
                                void (*give)(void *context, hpa_t base, u64 count), void *context)
{
    static struct boot_ranges ram; /* too large for the stack; used once */

    if (!append_kept(info, keep))
        return STATUS_NO_MEMORY;
    sort_and_merge(keep);
    boot_memory_regions(info, BOOT_REGION_RAM, &ram);

    u32 next = 0; /* every range of `keep` before it ends at or below `from` */
    for (u32 i = 0; i < ram.count; i++) {
        u64 from = ram.items[i].base;
        while (from < ram.items[i].end) {
            while (next < keep->count && keep->items[next].end <= from)
                next++;
            bool blocked = next < keep->count && keep->items[next].base < ram.items[i].end;
            u64 to = blocked ? keep->items[next].base : ram.items[i].end;
            u64 first = from > ~0ull - FRAME_BYTES ? ~0ull : bits_align_up(from, FRAME_BYTES);
            u64 last = bits_align_down(to, FRAME_BYTES);
            if (from < to && first < last)
                give(context, hpa(first), (last - first) / FRAME_BYTES);
            from = blocked ? keep->items[next].end : ram.items[i].end;
        }
    }
    return STATUS_OK;
}
