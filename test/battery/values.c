/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The values that the battery tries in a field: each bit of its value flipped, 0, all ones, the edges that addresses
 * have, and for fields of several parts the combinations of these parts.
 */
#include "test/battery/battery.h"

struct list {
    u64 *values;
    u64 base;
    u64 mask;
    u32 count;
    bool all;
};

bool battery_is_repeated(const u64 *values, u32 i, u64 base)
{
    if (values[i] == base)
        return true;
    for (u32 j = 0; j < i; j++)
        if (values[j] == values[i])
            return true;
    return false;
}

static void add(struct list *list, u64 value)
{
    if (list->count == BATTERY_VALUES)
        return;
    list->values[list->count] = value & list->mask;
    if (list->all || !battery_is_repeated(list->values, list->count, list->base))
        list->count++;
}

static void add_edges(struct list *list, u32 physical_bits)
{
    static const u64 edges[] = {1,
                                0xfff,
                                0x1000,
                                0xffff,
                                0x10000,
                                0xfffff,
                                0x7fffffff,
                                0x80000000,
                                0xffffffff,
                                0x100000000,
                                0x00007fffffffffff,
                                0x0000800000000000,
                                0xffff7fffffffffff,
                                0xffff800000000000,
                                0x8000000000000000,
                                0x00ffffffffffffff,
                                0xff00000000000000};

    add(list, 0);
    add(list, ~0ull);
    add(list, list->base + 1);
    add(list, list->base - 1);
    for (u32 i = 0; i < ARRAY_SIZE(edges); i++)
        add(list, edges[i]);
    for (u32 i = 0; i < 3; i++)
        add(list, (1ull << physical_bits) - (u64[]){0, 1, 0x1000}[i]);
}

/* All combinations of `bits` bits from `shift` on. */
static void add_combinations(struct list *list, u32 shift, u32 bits)
{
    u64 field = ((1ull << bits) - 1) << shift;

    for (u64 i = 0; i < 1ull << bits; i++)
        add(list, (list->base & ~field) | i << shift);
}

static void add_events(struct list *list)
{
    static const u8 vectors[] = {0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 14, 16, 17, 18, 20, 21, 31, 32, 255};

    for (u64 type = 0; type < 8; type++)
        for (u64 error = 0; error < 2; error++)
            for (u32 i = 0; i < ARRAY_SIZE(vectors); i++)
                add(list, 0x80000000 | type << 8 | error << 11 | vectors[i]);
}

static void add_pats(struct list *list)
{
    for (u32 i = 0; i < 64; i += 8)
        for (u64 type = 0; type < 9; type++)
            add(list, (list->base & ~(0xffull << i)) | type << i);
}

u32 battery_values(u32 row, u64 base, u32 physical_bits, bool all, u64 *values)
{
    u32 bits = check_field_bits(row);
    struct list list = {.values = values, .base = base, .mask = ~0ull >> (64 - bits), .all = all};

    for (u32 i = 0; i < bits; i++)
        add(&list, base ^ 1ull << i);
    add_edges(&list, physical_bits);
    if (row >= FIELD_GUEST_ES_ACCESS && row <= FIELD_GUEST_TR_ACCESS) {
        add_combinations(&list, 0, 8);  /* type, S, DPL, P */
        add_combinations(&list, 12, 5); /* AVL, L, D/B, G, unusable */
    } else if (row == FIELD_GUEST_INTERRUPTIBILITY) {
        add_combinations(&list, 0, 6);
    } else if (row == FIELD_GUEST_ACTIVITY_STATE || (row >= FIELD_GUEST_ES_SELECTOR && row <= FIELD_HOST_TR_SELECTOR)) {
        add_combinations(&list, 0, 3);
    } else if (row == FIELD_ENTRY_INSTRUCTION_LENGTH || row == FIELD_TPR_THRESHOLD) {
        add_combinations(&list, 0, 5);
    } else if (row == FIELD_EPT_POINTER) {
        add_combinations(&list, 0, 7); /* memory type, walk, accessed and dirty flags */
    } else if (row == FIELD_GUEST_EFER || row == FIELD_HOST_EFER) {
        add_combinations(&list, 8, 4);
    } else if (row == FIELD_GUEST_PAT || row == FIELD_HOST_PAT) {
        add_pats(&list);
    } else if (row == FIELD_ENTRY_INTERRUPTION_INFO) {
        add_events(&list);
    }
    return list.count;
}
