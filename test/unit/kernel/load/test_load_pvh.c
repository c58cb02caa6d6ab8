/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH kernels: the note, the start info and what it points to, and what is refused.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include "test/fake/load_bench.h"

static void begin(u64 mem_bytes)
{
    begin_with(mem_bytes, "one two");
}

static const struct image_segment segments[] = {
    {1, 0x1000, 0xc0100000, 0x100000, 0x800, 0x800 },
    {4, 0x2000, 0,          0,        0x100, 0x100 },
    {1, 0x1800, 0xc0110000, 0x110000, 0x100, 0x2345}
};
static u64 next_note;

static void put_note(const char *name, u32 type, u64 value, u32 bytes)
{
    next_note = image_put_note(file, next_note, name, type, value, bytes);
}

static void build(bool wide)
{
    memset(file, 0, sizeof file);
    image_put_elf(file, wide, 0xc0100020, segments, 3);
    next_note = 0x2000;
    put_note("GNU", 18, 0x100999, 4);
    put_note("Xen", 5, 0x100998, 4);
    put_note("Xen", 18, 0x100040, wide ? 8 : 4);
}

static void test_start_info(void **state)
{
    static const u8 initrd[5000] = {1, 2, 3};
    static const u8 other[3] = {7};

    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        begin(MIB(8));
        build(wide);
        request.acpi_root = gpa(0xe0000);
        request.initrd = (struct image){initrd, sizeof initrd, "ramdisk"};
        request.modules[0] = (struct image){other, sizeof other, "other"};
        request.module_count = 1;
        assert_int_equal(load(), STATUS_OK);
        assert_int_equal(kind, IMAGE_PVH);
        assert_int_equal(start.mode, START_PROTECTED32);
        assert_int_equal(start.gdt_limit, 0);
        assert_int_equal(start.rip, 0x100040);
        u64 info = start.rbx;
        assert_int_equal(word(info, 4), 0x336ec578);
        assert_int_equal(word(info + 4, 4), 1);
        assert_int_equal(word(info + 8, 4), 0);
        assert_int_equal(word(info + 12, 4), 2);
        assert_string_equal(text(word(info + 24, 8)), "one two");
        assert_int_equal(word(info + 32, 8), 0xe0000);
        assert_int_equal(word(info + 48, 4), 3);
        assert_int_equal(word(info + 52, 4), 0);
        u64 modules = word(info + 16, 8);
        assert_int_equal(word(modules, 8), 0x113000);
        assert_int_equal(word(modules + 8, 8), sizeof initrd);
        assert_string_equal(text(word(modules + 16, 8)), "ramdisk");
        assert_int_equal(word(0x113000, 4), 0x030201);
        assert_int_equal(word(word(modules + 32, 8), 4), 7);
        assert_int_equal(word(modules + 40, 8), 3);
        assert_string_equal(text(word(modules + 48, 8)), "other");
        u64 map = word(info + 40, 8);
        assert_int_equal(word(map, 8), 0);
        assert_int_equal(word(map + 8, 8), KIB(640));
        assert_int_equal(word(map + 16, 8), 1);
        assert_int_equal(word(map + 24, 8), 0xe0000);
        assert_int_equal(word(map + 40, 8), 2);
        assert_int_equal(word(map + 48, 8), MIB(1));
        assert_int_equal(word(map + 56, 8), MIB(7));
    }
}

static void test_no_modules(void **state)
{
    (void)state;
    begin(MIB(2));
    build(true);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(start.rbx + 12, 4), 0);
    assert_string_equal(text(word(start.rbx + 24, 8)), "one two");
    assert_int_equal(word(0x1100ff, 2), 0); /* bss behind the segment's file bytes */
}

static void test_notes(void **state)
{
    (void)state;
    begin(MIB(2));
    request.kind = IMAGE_PVH;
    build(true);
    image_put(file, 0x2000 + 4, 0xfffffff0, 4); /* the first note says that it goes on for ever */
    expect_refusal(STATUS_INVALID, "no ELF file with a Xen note of type 18");
    image_put(file, 0x2000 + 4, 4, 4);
    image_put(file, 0x2000, 0xffffffff, 4);
    expect_refusal(STATUS_INVALID, "no ELF file with a Xen note");
    build(true);
    image_put(file, 64 + 56 + 32, 0x3b, 8); /* the segment of notes ends one byte before the third note's value does */
    expect_refusal(STATUS_INVALID, "no ELF file with a Xen note");
    image_put(file, 64 + 56 + 32, 0x40, 8);
    assert_int_equal(load(), STATUS_OK);
    image_put(file, 64 + 56 + 8, sizeof file - 0x3f, 8); /* and lies outside the file */
    expect_refusal(STATUS_INVALID, "no ELF file with a Xen note");
    build(true);
    next_note = 0x2000 + 40;
    put_note("Xen", 18, 0x100040, 2);
    expect_refusal(STATUS_INVALID, "no ELF file with a Xen note");
    build(true);
    image_put(file, 0x2000 + 40, 3, 4); /* the owner's NUL does not count as part of the name */
    expect_refusal(STATUS_INVALID, "no ELF file with a Xen note");
    next_note = 0x2000; /* alignment of 8: the value begins at 16, the next note at 24 */
    image_put(file, 64 + 56 + 48, 8, 8);
    put_note("Xen", 1, 0x55, 4);
    next_note = 0x2018;
    put_note("Xen", 18, 0x100044, 4);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x100044);
    next_note = 0x2000; /* the same alignment, and notes that are padded to 4: a value of 20 bytes */
    put_note("Xen", 6, 0x6f6d6564, 4);
    image_put(file, 0x2004, 20, 4);
    next_note = 0x2000 + 16 + 20;
    put_note("Xen", 18, 0x100048, 4);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x100048);
    request.boot.size_bytes = 0;
    expect_refusal(STATUS_INVALID, "module is empty");
    request.boot.size_bytes = 63;
    expect_refusal(STATUS_INVALID, "no ELF file");
}

static void test_broken_kernels(void **state)
{
    static const u8 large[MIB(1)];

    (void)state;
    begin(MIB(2));
    build(true);
    image_put(file, 0x2000 + 20 + 20 + 16, 0xffffffff00100040, 8);
    expect_refusal(STATUS_INVALID, "PVH entry point 0xffffffff00100040 lies outside");
    build(true);
    image_put(file, 64 + 24, MIB(4), 8);
    image_put(file, 0x2000 + 20 + 20 + 16, MIB(4), 8);
    expect_refusal(STATUS_NO_MEMORY, "use mem=5M or more");
    build(true);
    request.initrd = (struct image){large, sizeof large, ""};
    expect_refusal(STATUS_NO_MEMORY, "does not fit beside the image in mem=2M; use mem=3M or more");
    request.initrd.size_bytes = 1;
    request.module_count = LOAD_MAX_MODULES;
    for (u32 i = 0; i < LOAD_MAX_MODULES; i++)
        request.modules[i] = (struct image){large, 1, ""};
    expect_refusal(STATUS_UNSUPPORTED, "at most 16 modules, its initrd included");
    request.initrd.bytes = NULL;
    assert_int_equal(load(), STATUS_OK);
    request.boot.size_bytes = 0x1810;
    request.kind = IMAGE_PVH;
    expect_refusal(STATUS_INVALID, "no PVH kernel");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_info),
        cmocka_unit_test(test_no_modules),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_broken_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
