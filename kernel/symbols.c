/*
 * Looking up a function's name. The table (section .symbols, made by tools/mksymbols) has the functions' offsets from
 * the image's start in ascending order, and after them their names in the same order, each NUL-terminated.
 */
#include "kernel/symbols.h"
#include "kernel/lib/string.h"

extern const u32 symbols_count;
extern const u32 symbols_offsets[];
extern const char symbols_names[];
extern const u8 image_start[], image_text_end[];

const char *symbols_find(u64 address, u64 *offset)
{
    u64 start = (u64)(uintptr_t)image_start;
    u32 low = 0;
    u32 high = symbols_count;

    if (address < start || address >= (u64)(uintptr_t)image_text_end)
        return NULL;
    /* Invariant: functions below `low` begin at or before the address, those from `high` on after it. */
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (symbols_offsets[middle] <= address - start)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low)
        return NULL;
    const char *name = symbols_names;
    for (u32 i = 0; i + 1 < low; i++)
        name += string_length(name) + 1;
    *offset = address - start - symbols_offsets[low - 1];
    return name;
}
