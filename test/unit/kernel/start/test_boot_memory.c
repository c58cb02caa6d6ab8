/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Free memory out of boot loader maps as firmware writes them: unsorted, overlapping, unaligned, wrapping.
 * links: kernel/start/boot_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/start/boot_memory.h"
#include "kernel/lib/bits.h"

static struct boot_info info;
static struct boot_ranges keep;
static struct boot_range given[BOOT_MEMORY_MAX_RANGES * 2];
static u32 given_count;

static int reset(void **state)
{
    (void)state;
    memset(&info, 0, sizeof info);
    memset(&keep, 0, sizeof keep);
    given_count = 0;
    return 0;
}

static void region(enum boot_region_kind kind, u64 base, u64 size_bytes)
{
    info.regions[info.region_count++] = (struct boot_region){base, size_bytes, kind};
}

static void module(u64 base, u64 size_bytes)
{
    info.modules[info.module_count++] = (struct boot_module){hpa(base), size_bytes, ""};
}

static void give(void *context, hpa_t base, u64 count)
{
    assert_ptr_equal(context, &given);
    assert_true(count && bits_is_aligned(base.raw, FRAME_BYTES));
    assert_true(!given_count || base.raw > given[given_count - 1].end); /* ascending, not touching */
    given[given_count++] = (struct boot_range){base.raw, base.raw + count * FRAME_BYTES};
}

static void collect(void)
{
    given_count = 0;
    assert_int_equal(boot_memory_collect(&info, &keep, give, &given), STATUS_OK);
}

static void assert_given(u32 index, u64 base, u64 end)
{
    assert_true(index < given_count);
    assert_int_equal(given[index].base, base);
    assert_int_equal(given[index].end, end);
}

static void test_plain_pc(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, 0, 0x9fc00);
    region(BOOT_REGION_RESERVED, 0x9fc00, 0x400);
    region(BOOT_REGION_RESERVED, 0xf0000, 0x10000);
    region(BOOT_REGION_RAM, MIB(1), MIB(511) - 0x10000);
    region(BOOT_REGION_ACPI, MIB(512) - 0x10000, 0x10000);
    assert_true(boot_memory_append(&keep, MIB(1), 0x33008)); /* kernel */
    module(0x134000, 100000);
    module(0x14d000, 5000);
    collect();
    assert_int_equal(given_count, 2);
    assert_given(0, 0x1000, 0x9f000);
    assert_given(1, 0x14f000, MIB(512) - 0x10000); /* kernel and modules leave no whole frame between them */
}

static void test_not_ram_wins_over_ram(void **state)
{
    (void)state;
    region(BOOT_REGION_ACPI, MIB(5) + 1, 1);
    region(BOOT_REGION_RAM, MIB(4), MIB(4));
    region(BOOT_REGION_RESERVED, MIB(7), MIB(10));
    collect();
    assert_int_equal(given_count, 2);
    assert_given(0, MIB(4), MIB(5));
    assert_given(1, MIB(5) + 0x1000, MIB(7));
}

static void test_overlapping_and_unsorted_ram_is_given_once(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, MIB(6), MIB(4));
    region(BOOT_REGION_RAM, MIB(2), MIB(5));
    region(BOOT_REGION_RAM, MIB(3), MIB(1));
    region(BOOT_REGION_RAM, MIB(10), MIB(1)); /* touches the first */
    collect();
    assert_int_equal(given_count, 1);
    assert_given(0, MIB(2), MIB(11));
}

static void test_partial_frames_are_kept(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, MIB(2) + 1, 3 * FRAME_BYTES);           /* two whole frames */
    region(BOOT_REGION_RAM, MIB(4) + 0x800, FRAME_BYTES);           /* none */
    region(BOOT_REGION_RAM, MIB(6), FRAME_BYTES / 2);               /* two halves make one */
    region(BOOT_REGION_RAM, MIB(6) + FRAME_BYTES / 2, FRAME_BYTES); /* (and a half remains) */
    region(BOOT_REGION_RAM, MIB(8), 4 * FRAME_BYTES);
    module(MIB(8) + FRAME_BYTES + 5, 1);
    collect();
    assert_int_equal(given_count, 4);
    assert_given(0, MIB(2) + 0x1000, MIB(2) + 0x3000);
    assert_given(1, MIB(6), MIB(6) + 0x1000);
    assert_given(2, MIB(8), MIB(8) + 0x1000);
    assert_given(3, MIB(8) + 0x2000, MIB(8) + 0x4000);
}

static void test_modules_split_ram(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, MIB(1), MIB(63));
    module(MIB(40), MIB(2));
    module(MIB(10), 1);
    module(MIB(41), MIB(2)); /* overlaps the first */
    module(MIB(63), MIB(9)); /* runs out of RAM */
    module(MIB(20), 0);      /* empty: keeps nothing */
    collect();
    assert_int_equal(given_count, 3);
    assert_given(0, MIB(1), MIB(10));
    assert_given(1, MIB(10) + 0x1000, MIB(40));
    assert_given(2, MIB(43), MIB(63));
}

static void test_symbols_are_kept(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, MIB(1), MIB(7));
    info.symbols = (struct boot_symbols){hpa(MIB(2) + 8), 24, hpa(MIB(4) + 0xfff), 2};
    collect();
    assert_int_equal(given_count, 3);
    assert_given(0, MIB(1), MIB(2));
    assert_given(1, MIB(2) + 0x1000, MIB(4));
    assert_given(2, MIB(4) + 0x2000, MIB(8));
}

static void test_top_of_the_address_space(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, ~0ull - 0x2fff, ~0ull); /* wraps: cut */
    region(BOOT_REGION_RESERVED, ~0ull - 10, 5);
    collect();
    assert_int_equal(given_count, 1);
    assert_given(0, ~0ull - 0x2fff, ~0ull - 0xfff);
}

static void test_full_list_is_refused(void **state)
{
    (void)state;
    region(BOOT_REGION_RAM, MIB(1), MIB(1));
    for (u32 i = 0; i < BOOT_MEMORY_MAX_RANGES; i++)
        assert_true(boot_memory_append(&keep, MIB(2) + i * 0x2000, 0x1000));
    assert_false(boot_memory_append(&keep, MIB(64), 1));
    assert_true(boot_memory_append(&keep, MIB(64), 0));
    assert_int_equal(boot_memory_collect(&info, &keep, give, &given), STATUS_NO_MEMORY);
    assert_int_equal(given_count, 0);
}

#define WORLD_FRAMES 256u

/* Against one byte for each sixteenth of a frame. */
static void test_random_maps_agree_with_a_byte_map(void **state)
{
    static u8 world[WORLD_FRAMES * 16]; /* 0 nothing, 1 RAM, 2 kept */
    srand(7);
    for (int round = 0; round < 300; round++) {
        reset(state);
        memset(world, 0, sizeof world);
        for (int i = 0; i < 24; i++) {
            u64 from = (u64)rand() % sizeof world;
            u64 size = (u64)rand() % (sizeof world - from) / 4;
            int kind = rand() % 5;
            if (kind < 3)
                region(BOOT_REGION_RAM, from * 256, size * 256);
            else if (kind == 3)
                region(BOOT_REGION_RESERVED, from * 256, size * 64);
            else
                module(from * 256, size * 64);
            for (u64 at = from; at < from + (kind < 3 ? size : (size + 3) / 4); at++)
                world[at] = kind < 3 && world[at] != 2 ? 1 : 2;
        }
        collect();
        for (u64 frame = 0, at = 0; frame < WORLD_FRAMES; frame++) {
            bool whole = frame > 0;
            for (u64 k = 0; k < 16; k++)
                whole = whole && world[frame * 16 + k] == 1;
            while (at < given_count && given[at].end <= frame * FRAME_BYTES)
                at++;
            assert_int_equal(whole, at < given_count && given[at].base <= frame * FRAME_BYTES);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_plain_pc, reset),
        cmocka_unit_test_setup(test_not_ram_wins_over_ram, reset),
        cmocka_unit_test_setup(test_overlapping_and_unsorted_ram_is_given_once, reset),
        cmocka_unit_test_setup(test_partial_frames_are_kept, reset),
        cmocka_unit_test_setup(test_modules_split_ram, reset),
        cmocka_unit_test_setup(test_symbols_are_kept, reset),
        cmocka_unit_test_setup(test_top_of_the_address_space, reset),
        cmocka_unit_test_setup(test_full_list_is_refused, reset),
        cmocka_unit_test_setup(test_random_maps_agree_with_a_byte_map, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
