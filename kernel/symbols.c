/*
 * Looking up a function's name, at leisure: the table (section .symbols, made by tools/mksymbols) is compact, not fast.
 * It has the functions' offsets from the image's start in ascending order and their names in the same order, each ended
 * by a zero byte. A byte from 0x80 on stands for the pair of bytes at that place in symbols_pairs, which may be such
 * bytes.
 */
#include "kernel/symbols.h"
#include "kernel/lib/string.h"

#define FIRST_PAIR 0x80u
#define MAX_DEPTH  32u /* of pairs within pairs; deeper ones are cut */

extern const u32 symbols_count;
extern const u32 symbols_offsets[];
extern const u8 symbols_pairs[][2];
extern const char symbols_names[];
extern const u8 image_start[], image_text_end[];

static u64 start_address(void)
{
    return (u64)(uintptr_t)image_start;
}

bool symbols_is_code(u64 address)
{
    return address >= start_address() && address < (u64)(uintptr_t)image_text_end;
}

/* How many functions begin at or before `offset`. */
static u32 count_up_to(u64 offset)
{
    u32 low = 0;
    u32 high = symbols_count;

    /* Invariant: functions below `low` begin at or before the offset, those from `high` on after it. */
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (symbols_offsets[middle] <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void expand(const char *packed, char *name)
{
    u8 waiting[MAX_DEPTH];
    u32 depth = 0;
    u32 used = 0;

    while ((depth || *packed) && used + 1 < SYMBOLS_NAME_BYTES) {
        u8 byte = depth ? waiting[--depth] : (u8)*packed++;
        if (byte < FIRST_PAIR) {
            name[used++] = (char)byte;
        } else if (depth + 2 <= MAX_DEPTH) {
            waiting[depth++] = symbols_pairs[byte - FIRST_PAIR][1];
            waiting[depth++] = symbols_pairs[byte - FIRST_PAIR][0];
        }
    }
    name[used] = 0;
}

bool symbols_find(u64 address, struct symbol *out)
{
    if (!symbols_is_code(address))
        return false;
    u32 count = count_up_to(address - start_address());
    if (!count)
        return false;
    const char *packed = symbols_names;
    for (u32 i = 0; i + 1 < count; i++)
        packed += string_length(packed) + 1;
    expand(packed, out->name);
    out->offset = address - start_address() - symbols_offsets[count - 1];
    return true;
}
