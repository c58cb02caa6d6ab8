/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extended page tables on a fake frame allocator: every byte of every region goes to its frame, by the largest page
 * that alignment and the CPU allow, and nothing else is mapped. SDM 3C 28.2.2 "EPT Translation Mechanism".
 *
 * links: vmx/ept.c kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/lib/bits.h"
#include "kernel/vm/layer.h"
#include "test/fake/host_memory.h"
#include "vmx/ept.h"

static struct guest_memory memory;
static struct refusal why;
static u64 root;

static const struct ept_options all = {true, true, false};

/* The entry that maps an address, read from the tables by hand; 0: none. */
static u64 leaf_of(u64 address)
{
    u64 table = root;

    for (unsigned shift = 39;; shift -= 9) {
        u64 entry = ((u64 *)phys_to_virt(hpa(table)))[address >> shift & 511];
        if (!(entry & 7) || shift == 12 || (entry & 0x80))
            return entry;
        table = entry & 0xffffffffff000;
    }
}

static void add_region(u64 base, u64 frames, u64 bytes, enum guest_region_kind kind)
{
    memory.regions[memory.region_count++] = (struct guest_region){gpa(base), bytes, hpa(frames), kind};
}

static u64 build(struct ept_options options)
{
    u64 before = frames_free_count();
    assert_true(guest_memory_check(&memory));
    assert_int_equal(ept_build(&memory, options, &root), STATUS_OK);
    return before - frames_free_count();
}

static u64 largest(u64 from, u64 to, u64 begin, u64 end, struct ept_options options)
{
    static const u64 sizes[] = {GIB(1), MIB(2)};

    for (unsigned i = 0; i < 2; i++) {
        bool allowed = i == 0 ? options.pages_1g : options.pages_2m;
        u64 start = from & ~(sizes[i] - 1);
        if (allowed && start >= begin && start + sizes[i] <= end && ((from ^ to) & (sizes[i] - 1)) == 0)
            return sizes[i];
    }
    return 4096;
}

/* Looks at both ends of each page of each region, and just outside. */
static void check_mapping(struct ept_options options)
{
    for (u32 i = 0; i < memory.region_count; i++) {
        const struct guest_region *region = &memory.regions[i];
        u64 begin = region->base.raw, end = begin + region->size_bytes;
        for (u64 at = begin; at < end;) {
            u64 to = region->frames.raw + (at - begin);
            u64 page = largest(at, to, begin, end, options);
            hpa_t out;
            u64 bytes;
            assert_true(ept_lookup(root, gpa(at), &out, &bytes));
            assert_int_equal(out.raw, to);
            assert_int_equal(bytes, page);
            assert_true(ept_lookup(root, gpa(at + page - 1), &out, &bytes));
            assert_int_equal(out.raw, to + page - 1);
            u64 leaf = leaf_of(at);
            assert_int_equal(leaf & 7, region->kind == GUEST_REGION_ROM ? 5 : 7);
            assert_int_equal(leaf >> 3 & 15, 6 | 8); /* write-back, ignore PAT: SDM 3C 28.2.6.2 */
            assert_int_equal(leaf & 0x80, page > 4096 ? 0x80 : 0);
            assert_int_equal(leaf & ~0xffffffffff0ffull, 0);
            at += page;
        }
        if (!guest_memory_find(&memory, gpa(end)))
            assert_int_equal(leaf_of(end), 0);
        if (begin && !guest_memory_find(&memory, gpa(begin - 1)))
            assert_int_equal(leaf_of(begin - 1), 0);
    }
}

static int set_up(void **state)
{
    (void)state;
    memset(&memory, 0, sizeof memory);
    host_memory_init(MIB(1), MIB(64));
    return 0;
}

static void test_a_pc(void **state)
{
    u64 bytes;
    hpa_t out;

    (void)state;
    u64 before = frames_free_count();
    assert_int_equal(guest_memory_allocate(&memory, MIB(9), &why), STATUS_OK);
    build(all);
    check_mapping(all);
    assert_false(ept_lookup(root, gpa(0xa0000), &out, &bytes));
    assert_false(ept_lookup(root, gpa(0xfee00000), &out, &bytes));
    assert_false(ept_lookup(root, gpa(MIB(9)), &out, &bytes));
    ept_release(root);
    guest_memory_release(&memory);
    assert_int_equal(frames_free_count(), before);
}

/* All distances of guest and host address modulo 2 MiB matter only in whether they are equal. */
static void test_alignments(void **state)
{
    static const u64 offsets[] = {0, 0x1000, 0x2000, 0x7f000, 0x100000, 0x1fe000, 0x1ff000};
    static const u64 sizes[] = {0x1000, 0x3000, MIB(2) - 0x1000, MIB(2), MIB(2) + 0x1000, MIB(4), MIB(5) + 0x3000};

    (void)state;
    for (u32 g = 0; g < ARRAY_SIZE(offsets); g++) {
        for (u32 h = 0; h < ARRAY_SIZE(offsets); h++) {
            for (u32 s = 0; s < ARRAY_SIZE(sizes); s++) {
                for (u32 options = 0; options < 2; options++) {
                    struct ept_options o = {options & 1, false, false};
                    u64 before = frames_free_count();
                    memory.region_count = 0;
                    add_region(MIB(2) + offsets[g], GIB(5) + offsets[h], sizes[s], GUEST_REGION_RAM);
                    build(o);
                    check_mapping(o);
                    ept_release(root);
                    assert_int_equal(frames_free_count(), before);
                }
            }
        }
    }
}

static void test_gigabyte_pages(void **state)
{
    (void)state;
    add_region(0, GIB(8), KIB(640), GUEST_REGION_RAM);
    add_region(MIB(1), GIB(8) + MIB(1), MIB(1), GUEST_REGION_RAM);
    add_region(MIB(2), GIB(9) + MIB(2), GIB(2) - MIB(2) + MIB(4), GUEST_REGION_RAM);
    add_region(GIB(4), GIB(16), GIB(3), GUEST_REGION_RAM);
    assert_int_equal(build(all), 1 + 1 + 2 + 1); /* PML4, PDPT; PDs of 0 and 2 GiB; PT of the first 2 MiB */
    check_mapping(all);
    ept_release(root);
    /* VMware's nested EPT and vmx.disable=ept-1g: the same map with 2 MiB pages. */
    struct ept_options no_1g = {true, false, false};
    assert_int_equal(build(no_1g), 1 + 1 + 3 + 3 + 1);
    check_mapping(no_1g);
    ept_release(root);
}

/* The same frames with and without large pages; 4 KiB tables for 8 MiB are four. */
static void test_without_large_pages(void **state)
{
    struct ept_options none = {false, false, false};

    (void)state;
    add_region(MIB(4), GIB(2), MIB(8), GUEST_REGION_RAM);
    assert_int_equal(build(none), 1 + 1 + 1 + 4);
    check_mapping(none);
    ept_release(root);
    /* 1 GiB pages without 2 MiB pages do not exist; asking for them must still be right. */
    struct ept_options odd = {false, true, false};
    build(odd);
    check_mapping(odd);
    ept_release(root);
}

static void test_rom_is_not_writable(void **state)
{
    (void)state;
    add_region(0xe0000, GIB(1) + 0xe0000, KIB(128), GUEST_REGION_ROM);
    add_region(MIB(1), GIB(1) + MIB(1), MIB(1), GUEST_REGION_RAM);
    add_region(MIB(2), GIB(1) + MIB(2), MIB(2), GUEST_REGION_ROM);
    build(all);
    check_mapping(all);
    assert_int_equal(leaf_of(0xe0000) & 7, 5);
    assert_int_equal(leaf_of(0x100000) & 7, 7);
    assert_int_equal(leaf_of(MIB(2)) & 0x87, 0x85);
    ept_release(root);
}

/* ---- code in small pages only ---- */

static const struct ept_options small_code = {.pages_2m = true, .pages_1g = true, .fetch_small = true};

/* The leaf of `address` by the tables below another root. */
static u64 leaf_below(u64 other, u64 address)
{
    u64 kept = root;

    root = other;
    u64 leaf = leaf_of(address);
    root = kept;
    return leaf;
}

/* What is mapped where, with which rights to read and write and which type, must never change; *executable of the
 * sampled pages may be fetched from. */
static void check_all_but_fetch(u64 other, u32 *executable)
{
    *executable = 0;
    for (u32 i = 0; i < memory.region_count; i++) {
        const struct guest_region *region = &memory.regions[i];
        for (u64 done = 0; done<region->size_bytes; done += region->size_bytes> MIB(64) ? KIB(516) : KIB(4)) {
            u64 to, bytes;
            hpa_t out;
            assert_true(ept_lookup(other, gpa(region->base.raw + done), &out, &bytes));
            to = region->frames.raw + done;
            assert_int_equal(out.raw, to);
            u64 leaf = leaf_below(other, region->base.raw + done);
            assert_int_equal(leaf & 3, region->kind == GUEST_REGION_ROM ? 1 : 3);
            assert_int_equal(leaf >> 3 & 15, 6 | 8);
            assert_int_equal(leaf >> 7 & 1, bytes > 4096);
            if (bytes > 4096)
                assert_int_equal(leaf & 4, 0);
            *executable += leaf >> 2 & 1;
        }
    }
}

static void test_large_pages_are_split_for_code(void **state)
{
    u64 bytes;
    hpa_t out;
    u32 executable;

    (void)state;
    u64 before = frames_free_count();
    add_region(0, GIB(8), KIB(640), GUEST_REGION_RAM);
    add_region(MIB(2), GIB(9) + MIB(2), MIB(6), GUEST_REGION_RAM);
    add_region(MIB(8), GIB(9) + MIB(8), MIB(2), GUEST_REGION_ROM);
    build(small_code);
    check_all_but_fetch(root, &executable);
    assert_int_equal(executable, 160); /* the small pages below 640 KiB */
    u64 built = frames_free_count();

    assert_int_equal(ept_allow_fetch(root, 0, gpa(MIB(4) + 0x5123)), EPT_FETCH_SPLIT);
    assert_int_equal(frames_free_count(), built - 1);
    check_all_but_fetch(root, &executable);
    assert_int_equal(executable, 160 + 512);
    assert_int_equal(leaf_of(MIB(4)), (GIB(9) + MIB(4)) | 7 | 14 << 3);
    assert_int_equal(leaf_of(MIB(6) - 4096), (GIB(9) + MIB(6) - 4096) | 7 | 14 << 3);
    assert_int_equal(leaf_of(MIB(2)), (GIB(9) + MIB(2)) | 0x83 | 14 << 3); /* its neighbours are as they were */
    assert_int_equal(leaf_of(MIB(6)), (GIB(9) + MIB(6)) | 0x83 | 14 << 3);
    assert_int_equal(ept_allow_fetch(root, 0, gpa(MIB(4))), EPT_FETCH_ALLOWED);
    assert_int_equal(ept_allow_fetch(root, 0, gpa(0)), EPT_FETCH_ALLOWED);
    assert_int_equal(ept_allow_fetch(root, 0, gpa(KIB(640))), EPT_FETCH_UNMAPPED);
    assert_int_equal(ept_allow_fetch(root, 0, gpa(GIB(700))), EPT_FETCH_UNMAPPED);
    assert_int_equal(ept_allow_fetch(root, 0, gpa(MIB(10) - 1)), EPT_FETCH_SPLIT); /* ROM stays read-only */
    assert_int_equal(leaf_of(MIB(8)), (GIB(9) + MIB(8)) | 5 | 14 << 3);
    assert_true(ept_lookup(root, gpa(MIB(8)), &out, &bytes));
    assert_int_equal(frames_free_count(), built - 2);
    ept_release(root);
    assert_int_equal(frames_free_count(), before);
}

/* Other CPUs: large pages stay as they are, and executable. */
static void test_without_need_nothing_is_split(void **state)
{
    (void)state;
    add_region(MIB(2), GIB(9) + MIB(2), MIB(6), GUEST_REGION_RAM);
    build(all);
    u64 built = frames_free_count();
    assert_int_equal(ept_allow_fetch(root, 0, gpa(MIB(4))), EPT_FETCH_ALLOWED);
    assert_int_equal(frames_free_count(), built);
    check_mapping(all);
    ept_release(root);
}

/* 1 GiB becomes 2 MiB becomes 4 KiB, in the tables that a copy has of its own as well as in the shared ones. */
static void test_split_in_the_copy_too(void **state)
{
    u64 copy;
    u32 executable;

    (void)state;
    u64 before = frames_free_count();
    add_region(0, GIB(8), GIB(3), GUEST_REGION_RAM); /* leaves of 1 GiB in the table that the copy has its own of */
    add_region(GIB(4), GIB(16), GIB(1) + MIB(2), GUEST_REGION_RAM);
    build(small_code);
    assert_int_equal(ept_copy_with_page(root, gpa(0xfee00000), hpa(0x77000), &copy), STATUS_OK);
    u64 built = frames_free_count();
    static const struct {
        u64 address;
        u32 frames;
    } rows[] = {
        {GIB(1) + 0x7000,   2},
        {GIB(1) + MIB(2),   1},
        {GIB(2) - 1,        1},
        {0,                 2},
        {GIB(4) + MIB(6),   2},
        {GIB(5),            1},
        {GIB(3) - 1,        2},
        {GIB(4) + MIB(512), 1}
    };
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        gpa_t at = gpa(rows[i].address);
        assert_int_equal(ept_allow_fetch(root, copy, at), EPT_FETCH_SPLIT);
        assert_int_equal(built - frames_free_count(), rows[i].frames);
        built = frames_free_count();
        assert_int_equal(ept_allow_fetch(root, copy, at), EPT_FETCH_ALLOWED);
        assert_int_equal(leaf_below(copy, at.raw), leaf_of(at.raw));
        assert_int_equal(leaf_of(at.raw) & 0x87, 7);
    }
    check_all_but_fetch(root, &executable);
    check_all_but_fetch(copy, &executable);
    assert_int_equal(leaf_below(copy, 0xfee00000), 0x77000 | 3 | 14 << 3);
    assert_int_equal(leaf_of(0xfee00000), 0);
    assert_int_equal(ept_allow_fetch(root, copy, gpa(0xfee00000)), EPT_FETCH_UNMAPPED); /* no code in the local APIC */
    assert_int_equal(frames_free_count(), built);
    ept_release_copy(copy, gpa(0xfee00000));
    ept_release(root);
    assert_int_equal(frames_free_count(), before);
}

/* The first table of the two that a gigabyte needs is kept: it is right by itself, and goes with the others. */
static void test_no_memory_for_a_split(void **state)
{
    u32 executable;

    (void)state;
    for (u64 available = 0; available < 3; available++) {
        memset(&memory, 0, sizeof memory);
        host_memory_init(MIB(1), MIB(1));
        add_region(GIB(1), GIB(8), GIB(1), GUEST_REGION_RAM);
        build(small_code);
        u64 built = frames_free_count();
        host_memory_take(MIB(1) + (256 - built) * 4096, (built - available) * 4096);
        enum ept_fetch fetch = ept_allow_fetch(root, 0, gpa(GIB(1) + MIB(3)));
        assert_int_equal(fetch, available < 2 ? EPT_FETCH_NO_MEMORY : EPT_FETCH_SPLIT);
        check_all_but_fetch(root, &executable);
        assert_int_equal(frames_free_count(), 0);
        ept_release(root);
        assert_int_equal(frames_free_count(), 2 + available);
    }
}

/* Whatever frame is the one too many: nothing is held. */
static void test_no_memory_at_each_frame(void **state)
{
    (void)state;
    for (u64 available = 0; available < 12; available++) {
        memset(&memory, 0, sizeof memory);
        host_memory_init(MIB(1), MIB(1) + available * 4096);
        host_memory_take(MIB(1), MIB(1));
        add_region(0, GIB(1), MIB(8), GUEST_REGION_RAM);
        add_region(GIB(4), GIB(2), MIB(8), GUEST_REGION_RAM);
        struct ept_options none = {false, false, false};
        enum status status = ept_build(&memory, none, &root);
        assert_int_equal(status, STATUS_NO_MEMORY); /* 12 would do */
        assert_int_equal(frames_free_count(), available);
    }
}

static void test_pointer(void **state)
{
    (void)state;
    assert_int_equal(ept_pointer(0x12345000), 0x12345000 | 6 | 3 << 3); /* write-back, page-walk length 4, no A/D */
}

/* ---- layered memory ---- */

#define APIC_PAGE 0xfee00000ull

/* What the guest did last there must work: its page is mapped, to where the layers have it, and writable if it wrote.
 */
static void go_to(u64 other, u64 address, bool write, struct ept_options options)
{
    bool moved, own, replaced;
    hpa_t frame, before, after;
    u64 bytes;

    if (write)
        assert_int_equal(layer_own(memory.top, address, &frame, &moved), STATUS_OK);
    bool was_mapped = ept_lookup(root, gpa(address), &before, &bytes);
    assert_int_equal(ept_map_layered(root, &memory, gpa(address), options, &replaced), STATUS_OK);
    frame.raw = layer_find(memory.top, address, &own);
    assert_true(ept_lookup(root, gpa(address), &after, &bytes));
    assert_int_equal(after.raw & ~0xfffull, frame.raw);
    assert_true(replaced || !was_mapped || before.raw == after.raw);
    assert_int_equal(leaf_of(address), leaf_below(other, address));
    if (write)
        assert_int_equal(leaf_of(address) & 2, 2);
}

/* What is mapped, wherever the guest has been, is what the layers have, and nobody else's page can be written. */
static void check_layered(void)
{
    for (u64 at = 0; at < MIB(9); at += FRAME_BYTES) {
        const struct guest_region *region = guest_memory_find(&memory, gpa(at));
        hpa_t out;
        u64 bytes;
        bool own;
        if (!ept_lookup(root, gpa(at), &out, &bytes))
            continue;
        assert_non_null(region);
        assert_int_equal(out.raw, layer_find(memory.top, at, &own));
        u64 leaf = leaf_of(at);
        assert_int_equal(leaf & 5, 5);
        assert_int_equal(leaf >> 3 & 15, 6 | 8);
        if (!own || region->kind == GUEST_REGION_ROM)
            assert_int_equal(leaf & 2, 0);
    }
}

static void note_back(void *context, u64 address, u64 frame)
{
    (void)context;
    ept_page_moved(root, gpa(address), hpa(frame), false);
}

static void test_layered_memory(void **state)
{
    static const struct ept_options options[] = {
        {true,  true,  false},
        {false, false, false},
        {true,  true,  true }
    };

    (void)state;
    for (u32 run = 0; run < 3 * 8; run++) {
        struct ept_options o = options[run % 3];
        struct layer *frozen;
        u64 copy, bytes;
        hpa_t out;
        bool all_pages;

        set_up(NULL);
        srand(run);
        u64 before = frames_free_count();
        assert_int_equal(guest_memory_allocate(&memory, MIB(9), &why), STATUS_OK);
        build(o);
        assert_int_equal(ept_copy_with_page(root, gpa(APIC_PAGE), hpa(0x77000), &copy), STATUS_OK);
        assert_int_equal(ept_open(root, copy, &memory), STATUS_OK);
        assert_int_equal(guest_memory_freeze(&memory, &frozen), STATUS_OK);
        ept_clear(root, &memory);
        for (u64 at = 0; at < MIB(9); at += FRAME_BYTES)
            assert_false(ept_lookup(root, gpa(at), &out, &bytes));
        for (u32 i = 0; i < 300; i++) {
            u64 at = (u64)rand() % (MIB(9) / FRAME_BYTES) * FRAME_BYTES + 0x123;
            const struct guest_region *region = guest_memory_find(&memory, gpa(at));
            if (!region)
                continue;
            go_to(copy, at, rand() % 3 == 0 && region->kind != GUEST_REGION_ROM, o);
            if (i % 50 == 49)
                check_layered();
            if (i == 150) {
                assert_int_equal(guest_memory_go_back(&memory, frozen, note_back, NULL, &all_pages), STATUS_OK);
                assert_false(all_pages);
                check_layered();
            }
            if (i == 200) {
                layer_release(frozen); /* now what is not copied yet may be written in place */
                check_layered();
            }
        }
        assert_int_equal(leaf_below(copy, APIC_PAGE), 0x77000 | 3 | 14 << 3);
        ept_release_copy(copy, gpa(APIC_PAGE));
        ept_release(root);
        guest_memory_release(&memory);
        assert_int_equal(frames_free_count(), before);
    }
}

/* A gigabyte's page becomes a table, in both roots; a clone begins with tables alone. */
static void test_layered_gigabytes(void **state)
{
    u64 copy, bytes;
    hpa_t out;

    (void)state;
    u64 before = frames_free_count();
    add_region(0, GIB(8), GIB(3), GUEST_REGION_RAM);
    add_region(GIB(4), GIB(16), GIB(1) + MIB(2), GUEST_REGION_RAM);
    build(all);
    assert_int_equal(ept_copy_with_page(root, gpa(APIC_PAGE), hpa(0x77000), &copy), STATUS_OK);
    assert_int_equal(ept_open(root, copy, &memory), STATUS_OK);
    for (u64 at = 0; at < GIB(5); at += MIB(2)) {
        if (at >= GIB(3) && at < GIB(4))
            continue;
        assert_int_equal(leaf_of(at), leaf_below(copy, at));
        assert_int_equal(leaf_of(at), (at < GIB(4) ? GIB(8) + at : GIB(12) + at) | 0x87 | 14 << 3);
    }
    u64 opened = frames_free_count();
    assert_int_equal(ept_open(root, copy, &memory), STATUS_OK);
    assert_int_equal(frames_free_count(), opened);
    ept_clear(root, &memory);
    for (u64 at = 0; at < GIB(6); at += MIB(2))
        assert_false(ept_lookup(root, gpa(at), &out, &bytes));
    ept_release_copy(copy, gpa(APIC_PAGE));
    ept_release(root);
    assert_int_equal(frames_free_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_pc, set_up),
        cmocka_unit_test_setup(test_alignments, set_up),
        cmocka_unit_test_setup(test_gigabyte_pages, set_up),
        cmocka_unit_test_setup(test_without_large_pages, set_up),
        cmocka_unit_test_setup(test_rom_is_not_writable, set_up),
        cmocka_unit_test_setup(test_large_pages_are_split_for_code, set_up),
        cmocka_unit_test_setup(test_without_need_nothing_is_split, set_up),
        cmocka_unit_test_setup(test_split_in_the_copy_too, set_up),
        cmocka_unit_test_setup(test_no_memory_for_a_split, set_up),
        cmocka_unit_test_setup(test_no_memory_at_each_frame, set_up),
        cmocka_unit_test_setup(test_pointer, set_up),
        cmocka_unit_test_setup(test_layered_memory, set_up),
        cmocka_unit_test_setup(test_layered_gigabytes, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
