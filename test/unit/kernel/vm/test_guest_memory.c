/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: the PC's map, how pieces are cut and aligned, what happens when memory is short, checked copies.
 * links: kernel/vm/memory.c kernel/vm/layer.c kernel/vm/firmware.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/vm/firmware.h"
#include "kernel/lib/string.h"
#include "test/fake/host_memory.h"

static struct guest_memory memory;
static struct refusal why;

static u64 total_frames(void)
{
    u64 bytes = 0;
    for (u32 i = 0; i < memory.region_count; i++)
        bytes += memory.regions[i].size_bytes;
    return bytes / FRAME_BYTES;
}

static const struct guest_region *region_at(u64 base)
{
    const struct guest_region *r = guest_memory_find(&memory, gpa(base));
    assert_non_null(r);
    return r;
}

static void test_map_of_a_small_pc(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(32));
    u64 before = frames_free_count();
    assert_int_equal(guest_memory_allocate(&memory, MIB(8), &why), STATUS_OK);
    assert_true(guest_memory_check(&memory));
    assert_int_equal(memory.mem_bytes, MIB(8));
    assert_int_equal(region_at(0)->kind, GUEST_REGION_RAM);
    assert_int_equal(region_at(0x9ffff)->kind, GUEST_REGION_RAM);
    assert_null(guest_memory_find(&memory, gpa(0xa0000)));
    assert_null(guest_memory_find(&memory, gpa(0xb7fff)));
    assert_int_equal(region_at(0xb8000)->kind, GUEST_REGION_TEXT);
    assert_int_equal(region_at(0xbffff)->kind, GUEST_REGION_TEXT);
    assert_null(guest_memory_find(&memory, gpa(0xc0000)));
    assert_int_equal(region_at(0xe0000)->kind, GUEST_REGION_ROM);
    assert_int_equal(region_at(0xfffff)->kind, GUEST_REGION_ROM);
    assert_int_equal(region_at(0x100000)->kind, GUEST_REGION_RAM);
    assert_int_equal(region_at(MIB(8) - 1)->kind, GUEST_REGION_RAM);
    assert_null(guest_memory_find(&memory, gpa(MIB(8))));
    assert_null(guest_memory_find(&memory, gpa(~0ull)));
    assert_int_equal(guest_memory_low_top(&memory), MIB(8));
    assert_int_equal(before - frames_free_count(), total_frames());
    assert_int_equal(total_frames(), 160 + 8 + 32 + 7 * 256);
    guest_memory_release(&memory);
    assert_int_equal(frames_free_count(), before);
    assert_int_equal(memory.region_count, 0);
}

static void test_smallest_pc_has_no_high_ram(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(4));
    assert_int_equal(guest_memory_allocate(&memory, MIB(1), &why), STATUS_OK);
    assert_int_equal(memory.region_count, 3);
    assert_int_equal(guest_memory_low_top(&memory), KIB(640));
    guest_memory_release(&memory);
}

/* RAM stops at 3 GiB and goes on at 4 GiB; pieces are as large as the alignment allows. */
static void test_large_pc_is_cut_for_large_pages(void **state)
{
    (void)state;
    host_memory_init(MIB(1), GIB(12));
    assert_int_equal(guest_memory_allocate(&memory, GIB(6) + MIB(3), &why), STATUS_OK);
    assert_true(guest_memory_check(&memory));
    assert_int_equal(guest_memory_low_top(&memory), GIB(3));
    assert_null(guest_memory_find(&memory, gpa(GIB(3))));
    assert_null(guest_memory_find(&memory, gpa(GIB(4) - 1)));
    assert_non_null(guest_memory_find(&memory, gpa(GIB(7) + MIB(3) - 1)));
    assert_null(guest_memory_find(&memory, gpa(GIB(7) + MIB(3))));
    assert_int_equal(memory.region_count, 3 + 4);
    assert_int_equal(region_at(MIB(1))->size_bytes, MIB(1));
    assert_int_equal(region_at(MIB(2))->size_bytes, GIB(1) - MIB(2));
    assert_int_equal(region_at(MIB(2))->frames.raw % MIB(2), 0);
    assert_int_equal(region_at(GIB(1))->size_bytes, GIB(2));
    assert_int_equal(region_at(GIB(1))->frames.raw % GIB(1), 0);
    assert_int_equal(region_at(GIB(4))->size_bytes, GIB(3) + MIB(3));
    assert_int_equal(region_at(GIB(4))->frames.raw % GIB(1), 0);
}

/* Free pieces of 5 MiB that begin 1 MiB above a 2 MiB boundary: each gives two large pages. */
static void test_fragmented_memory_is_pieced_together(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(64));
    for (u64 at = MIB(6); at < MIB(60); at += MIB(6))
        host_memory_take(at, MIB(1));
    u64 before = frames_free_count();
    assert_int_equal(guest_memory_allocate(&memory, MIB(24), &why), STATUS_OK);
    assert_true(guest_memory_check(&memory));
    assert_int_equal(total_frames(), 160 + 8 + 32 + 23 * 256);
    assert_int_equal(before - frames_free_count(), total_frames());
    for (u32 i = 0; i < memory.region_count; i++) {
        const struct guest_region *r = &memory.regions[i];
        if (r->base.raw >= MIB(2))
            assert_int_equal(r->frames.raw % MIB(2), 0);
    }
    guest_memory_release(&memory);
    assert_int_equal(frames_free_count(), before);
}

/* With nothing but single megabytes left, 4 KiB alignment has to do. */
static void test_memory_without_large_pages(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(16));
    for (u64 at = MIB(2); at < MIB(16); at += MIB(2))
        host_memory_take(at, FRAME_BYTES);
    assert_int_equal(guest_memory_allocate(&memory, MIB(6), &why), STATUS_OK);
    assert_true(guest_memory_check(&memory));
    assert_int_equal(total_frames(), 160 + 8 + 32 + 5 * 256);
    guest_memory_release(&memory);
}

static void test_refusals_hold_nothing(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(4));
    u64 before = frames_free_count();
    assert_int_equal(guest_memory_allocate(&memory, MIB(512), &why), STATUS_NO_MEMORY);
    assert_string_equal(why.text,
                        "mem=512M: needs 131016 frames, only 1024 free; lower mem= or give the machine more memory");
    assert_int_equal(memory.region_count, 0);
    assert_int_equal(guest_memory_allocate(&memory, MIB(1) - 4096, &why), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_allocate(&memory, MIB(2) + 1, &why), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_allocate(&memory, GIB(64) + 4096, &why), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_allocate(&memory, 0, &why), STATUS_OUT_OF_RANGE);
    assert_int_equal(frames_free_count(), before);
}

/* Enough frames, but in more pieces than the table has rows: all of it must come back. */
static void test_too_fragmented(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(16));
    for (u64 at = MIB(1) + KIB(64); at < MIB(16); at += KIB(64))
        host_memory_take(at, FRAME_BYTES);
    u64 before = frames_free_count();
    assert_int_equal(guest_memory_allocate(&memory, MIB(8), &why), STATUS_NO_MEMORY);
    assert_non_null(strstr(why.text, "mem=8M: needs 1992 frames"));
    assert_non_null(strstr(why.text, "too many pieces"));
    assert_int_equal(frames_free_count(), before);
}

static void test_release_wipes(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(4));
    assert_int_equal(guest_memory_allocate(&memory, MIB(2), &why), STATUS_OK);
    u8 *low = phys_to_virt(region_at(0)->frames);
    u8 *last = phys_to_virt(region_at(MIB(1))->frames);
    assert_int_equal(guest_memory_fill(&memory, gpa(0), 0xa5, KIB(640)), STATUS_OK);
    assert_int_equal(guest_memory_fill(&memory, gpa(MIB(1)), 0x5a, MIB(1)), STATUS_OK);
    assert_int_equal(last[MIB(1) - 1], 0x5a);
    guest_memory_release(&memory);
    assert_int_equal(low[0] | low[KIB(640) - 1] | last[0] | last[MIB(1) - 1], 0);
}

static void test_copies_cross_regions_and_stop_at_holes(void **state)
{
    u8 out[8192], in[8192];

    (void)state;
    host_memory_init(MIB(1), MIB(16));
    assert_int_equal(guest_memory_allocate(&memory, MIB(8), &why), STATUS_OK);
    for (u32 i = 0; i < sizeof out; i++)
        out[i] = (u8)(i * 7 + 1);
    /* 1 MiB and 2 MiB begin regions of their own. */
    assert_int_equal(guest_memory_write(&memory, gpa(MIB(2) - 4000), out, sizeof out), STATUS_OK);
    assert_int_equal(guest_memory_read(&memory, gpa(MIB(2) - 4000), in, sizeof in), STATUS_OK);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(*(u8 *)phys_to_virt(region_at(MIB(2))->frames), out[4000]);
    assert_int_equal(guest_memory_write(&memory, gpa(0xfffff), out, 2), STATUS_OK);

    /* One byte too far: nothing is copied. */
    memset(in, 0xee, sizeof in);
    assert_int_equal(guest_memory_read(&memory, gpa(KIB(640) - 8191), in, 8192), STATUS_OUT_OF_RANGE);
    assert_int_equal(in[0], 0xee);
    assert_int_equal(guest_memory_write(&memory, gpa(MIB(8) - 8191), out, 8192), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_read(&memory, gpa(MIB(8) - 1), in, 1), STATUS_OK);
    assert_int_equal(in[0], 0);
    assert_int_equal(guest_memory_fill(&memory, gpa(0xa0000), 1, 1), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_fill(&memory, gpa(~0ull), 1, 2), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_read(&memory, gpa(0), in, ~0ull), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_read(&memory, gpa(0xa0000), in, 0), STATUS_OK);
    guest_memory_release(&memory);
}

static void test_check_finds_broken_tables(void **state)
{
    struct guest_memory bad = {.region_count = 2};

    (void)state;
    bad.regions[0] = (struct guest_region){gpa(0x1000), 0x1000, hpa(0x1000), GUEST_REGION_RAM};
    bad.regions[1] = (struct guest_region){gpa(0x2000), 0x1000, hpa(0x2000), GUEST_REGION_RAM};
    assert_true(guest_memory_check(&bad));
    bad.regions[1].base = gpa(0x1000);
    assert_false(guest_memory_check(&bad));
    bad.regions[1].base = gpa(0x2000);
    bad.regions[1].frames = hpa(0x2100);
    assert_false(guest_memory_check(&bad));
    bad.regions[1].frames = hpa(0x2000);
    bad.regions[1].size_bytes = 0;
    assert_false(guest_memory_check(&bad));
    bad.regions[1].size_bytes = 0ull - 0x2000;
    assert_false(guest_memory_check(&bad));
}

static void test_sizes_as_text(void **state)
{
    (void)state;
    assert_string_equal(guest_memory_text(MIB(8)).text, "8M");
    assert_string_equal(guest_memory_text(GIB(3)).text, "3G");
    assert_string_equal(guest_memory_text(KIB(1028)).text, "1028K");
    assert_string_equal(guest_memory_text(5).text, "5");
    assert_string_equal(guest_memory_text(0).text, "0");
}

static u32 word_at(u64 address, u64 bytes)
{
    u32 value = 0;
    assert_int_equal(guest_memory_read(&memory, gpa(address), &value, bytes), STATUS_OK);
    return value;
}

/* What kernel/vm/bios.asm is in the kernel. */
const u8 guest_bios_code[] = {0xde, 0xc0, 0x05, 0xb1};
asm(".globl guest_bios_code_end\n.set guest_bios_code_end, guest_bios_code + 4");

/* The memory as INT 15h tells of it: number of ranges, then the three older sizes, then the ranges. */
static void test_firmware_memory_sizes(void **state)
{
    static const struct {
        u64 mem_bytes;
        u16 entries, kib_88, kib_low, blocks;
        u64 last_base, last_bytes;
    } cases[] = {
        {MIB(1),    2, 0,         0,         0,         0xe0000, KIB(128)},
        {KIB(1536), 3, 512,       512,       0,         MIB(1),  KIB(512)},
        {MIB(20),   3, 19 * 1024, 15 * 1024, 4 * 16,    MIB(1),  MIB(19) },
        {MIB(256),  3, 63 * 1024, 15 * 1024, 240 * 16,  MIB(1),  MIB(255)},
        {GIB(4),    4, 63 * 1024, 15 * 1024, 3056 * 16, GIB(4),  GIB(1)  },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        u64 allocated = cases[i].mem_bytes < MIB(2) ? cases[i].mem_bytes : MIB(2);
        host_memory_init(MIB(1), MIB(4));
        assert_int_equal(guest_memory_allocate(&memory, allocated, &why), STATUS_OK);
        struct guest_memory map = memory;
        map.mem_bytes = cases[i].mem_bytes;
        /* Where there is more, the last piece of those 2 MiB stands for all of it: nothing is written there. */
        struct guest_region *last_piece = &map.regions[map.region_count - 1];
        if (allocated != cases[i].mem_bytes)
            last_piece->size_bytes = (cases[i].mem_bytes < GIB(3) ? cases[i].mem_bytes : GIB(3)) - last_piece->base.raw;
        assert_int_equal(guest_firmware_install(&map), STATUS_OK);
        assert_int_equal(word_at(0xf9000, 2), cases[i].entries);
        assert_int_equal(word_at(0xf9002, 2), cases[i].kib_88);
        assert_int_equal(word_at(0xf9004, 2), cases[i].kib_low);
        assert_int_equal(word_at(0xf9006, 2), cases[i].blocks);
        u64 last = 0xf9008 + 20 * (cases[i].entries - 1u);
        assert_true((word_at(last, 4) | (u64)word_at(last + 4, 4) << 32) == cases[i].last_base);
        assert_true((word_at(last + 8, 4) | (u64)word_at(last + 12, 4) << 32) == cases[i].last_bytes);
        assert_int_equal(word_at(last + 16, 4), cases[i].entries == 2 ? 2 : 1);
        guest_memory_release(&memory);
    }
}

static void test_firmware(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(4));
    assert_int_equal(guest_memory_allocate(&memory, MIB(2), &why), STATUS_OK);
    assert_int_equal(guest_firmware_install(&memory), STATUS_OK);
    assert_int_equal(word_at(0xf8000, 4), 0xb105c0de);
    for (u32 vector = 0; vector < 256; vector++) {
        assert_int_equal(0xf800 - word_at(vector * 4 + 2, 2), vector); /* by which the code tells them apart */
        assert_int_equal(word_at(vector * 4 + 2, 2) * 16 + word_at(vector * 4, 2), 0xf8000);
    }
    assert_int_equal(word_at(0xfff53, 1), 0xcf);
    assert_int_equal(word_at(0x413, 2), 640);
    assert_int_equal(word_at(0x410, 2) & 0x30, 0x20);
    assert_int_equal(word_at(0x449, 1), 3);
    assert_int_equal(word_at(0x44a, 2), 80);
    assert_int_equal(word_at(0x463, 2), 0x3d4);
    assert_int_equal(word_at(0x475, 1), 0);
    assert_int_equal(word_at(0x484, 1), 24);
    for (u64 at = 0xb8000; at < 0xc0000; at += 2)
        assert_int_equal(word_at(at, 2), 0x0720);
    /* The reset vector is a far jump to code that writes 0xFE to port 0x64. */
    assert_int_equal(word_at(0xffff0, 1), 0xea);
    u64 target = (u64)word_at(0xffff3, 2) * 16 + word_at(0xffff1, 2);
    assert_int_equal(word_at(target, 4), 0x64e6feb0);
    guest_memory_release(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_of_a_small_pc),
        cmocka_unit_test(test_smallest_pc_has_no_high_ram),
        cmocka_unit_test(test_large_pc_is_cut_for_large_pages),
        cmocka_unit_test(test_fragmented_memory_is_pieced_together),
        cmocka_unit_test(test_memory_without_large_pages),
        cmocka_unit_test(test_refusals_hold_nothing),
        cmocka_unit_test(test_too_fragmented),
        cmocka_unit_test(test_release_wipes),
        cmocka_unit_test(test_copies_cross_regions_and_stop_at_holes),
        cmocka_unit_test(test_check_finds_broken_tables),
        cmocka_unit_test(test_sizes_as_text),
        cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_firmware_memory_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
