/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux kernels: boot parameters, descriptor and page tables, initrd and registers, and what is refused.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include "test/fake/load_bench.h"

static void begin(u64 mem_bytes)
{
    begin_with(mem_bytes, "quiet panic=-1");
}

#define PARAMS 0x10000ull
#define SECTOR 512u

static void begin_linux(u64 mem_bytes)
{
    begin(mem_bytes);
    image_put_linux(file, sizeof file - 2 * SECTOR);
    memset(file + 2 * SECTOR, 0x5a, sizeof file - 2 * SECTOR);
}

static void test_64_bit_kernel(void **state)
{
    static const u64 map[][3] = {
        {0,       KIB(640), 1},
        {0xe0000, KIB(128), 2},
        {MIB(1),  MIB(31),  1}
    };

    (void)state;
    begin_linux(MIB(32));
    request.acpi_root = gpa(0xe0000);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(kind, IMAGE_LINUX);
    assert_int_equal(start.mode, START_LONG64);
    assert_int_equal(start.rip, 0x1000200);
    assert_int_equal(start.rsi, PARAMS);
    assert_int_equal(start.code_selector, 0x10);
    assert_int_equal(start.data_selector, 0x18);
    assert_int_equal(word(0x1000000, 8), 0x5a5a5a5a5a5a5a5a);
    assert_int_equal(word(0x1000000 + sizeof file - 2 * SECTOR - 1, 2), 0x005a);
    assert_int_equal(word(PARAMS + 0x202, 4), 0x53726448);
    assert_int_equal(word(PARAMS + 0x1f1, 1), 1);
    assert_int_equal(word(PARAMS + 0x1ef, 1), 0); /* the sentinel */
    assert_int_equal(word(PARAMS + 0x070, 8), 0xe0000);
    assert_int_equal(word(PARAMS + 0x210, 2), 0x1ff);
    assert_int_equal(word(PARAMS + 0x214, 4), 0x1000000);
    assert_int_equal(word(PARAMS + 0x218, 8), 0); /* no initrd */
    assert_int_equal(word(PARAMS + 0x006, 2), 80 << 8 | 3);
    assert_int_equal(word(PARAMS + 0x00e, 4), 16 << 16 | 1 << 8 | 25);
    assert_string_equal(text(word(PARAMS + 0x228, 4)), "quiet panic=-1");
    assert_int_equal(word(PARAMS + 0x1e8, 1), ARRAY_SIZE(map));
    for (u32 i = 0; i < ARRAY_SIZE(map); i++) {
        assert_int_equal(word(PARAMS + 0x2d0 + 20 * i, 8), map[i][0]);
        assert_int_equal(word(PARAMS + 0x2d8 + 20 * i, 8), map[i][1]);
        assert_int_equal(word(PARAMS + 0x2e0 + 20 * i, 4), map[i][2]);
    }
}

/* The header that is copied ends where its jump says, but never beyond its place in the boot parameters. */
static void test_header_end(void **state)
{
    (void)state;
    begin_linux(MIB(32));
    image_put(file, 0x268, 0x1122334455667788, 8);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(PARAMS + 0x268, 8), 0x55667788); /* 0x202 + 0x6a = 0x26c */
    memset(file + 0x268, 0xee, 0x100);
    file[0x201] = 0xff;
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(PARAMS + 0x28f, 2), 0x00ee);
}

static u64 translate(u64 address)
{
    u64 entry = word(start.cr3 + (address >> 39 & 511) * 8, 8);
    assert_int_equal(entry & 0xfff, 3);
    entry = word((entry & ~0xfffull) + (address >> 30 & 511) * 8, 8);
    assert_int_equal(entry & 0xfff, 3);
    entry = word((entry & ~0xfffull) + (address >> 21 & 511) * 8, 8);
    assert_int_equal(entry & 0x1fffff, 0x83);
    return (entry & ~0x1fffffull) + (address & 0x1fffff);
}

static void test_tables_of_the_64_bit_entry(void **state)
{
    (void)state;
    begin_linux(MIB(32));
    assert_int_equal(load(), STATUS_OK);
    for (u64 address = 0; address < GIB(4); address += MIB(2) + 12345)
        assert_int_equal(translate(address), address);
    assert_int_equal(word(start.cr3 + 8, 8), 0);
    assert_int_equal(start.gdt_limit, 31);
    assert_int_equal(word(start.gdt_base + 0x10, 8), 0x00af9b000000ffff);
    assert_int_equal(word(start.gdt_base + 0x18, 8), 0x00cf93000000ffff);
}

static void test_32_bit_entry(void **state)
{
    (void)state;
    begin_linux(MIB(32));
    image_put(file, 0x236, 2, 2);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.mode, START_PROTECTED32);
    assert_int_equal(start.rip, 0x1000000);
    assert_int_equal(start.rsi, PARAMS);
    assert_int_equal(start.rdi | start.rbp | start.rbx, 0);
    assert_int_equal(start.code_selector, 0x10);
    assert_int_equal(word(start.gdt_base + 0x10, 8), 0x00cf9b000000ffff);
    image_put(file, 0x236, 3, 2);
    image_put(file, 0x206, 0x20b, 2); /* too old for xloadflags */
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.mode, START_PROTECTED32);
    image_put(file, 0x206, 0x206, 2); /* too old for a preferred address */
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x100000);
}

static void test_base(void **state)
{
    (void)state;
    begin_linux(MIB(32));
    image_put(file, 0x258, 0x10000, 8); /* in low memory: the next aligned address above 1 MiB */
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x200200);
    image_put(file, 0x230, 0x300000, 4);
    expect_refusal(STATUS_INVALID, "kernel alignment 0x300000 is no power of two");
    image_put(file, 0x230, 0, 4);
    expect_refusal(STATUS_INVALID, "kernel alignment 0x0");
    image_put(file, 0x234, 0, 1);
    expect_refusal(STATUS_UNSUPPORTED, "kernel wants 0x400000 bytes at 0x10000");
    image_put(file, 0x258, 0x1234000, 8);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x1234200);
    image_put(file, 0x258, 0xfffffffffffff000, 8);
    expect_refusal(STATUS_UNSUPPORTED, "must lie from 1 MiB to 4 GiB");
    image_put(file, 0x258, 0xffc00000, 8);
    expect_refusal(STATUS_NO_MEMORY, "a guest's RAM below 4 GiB ends at 0xc0000000");
}

static void test_kernel_that_does_not_fit(void **state)
{
    (void)state;
    begin_linux(MIB(20));
    assert_int_equal(load(), STATUS_OK); /* exactly */
    image_put(file, 0x260, 0x400001, 4);
    expect_refusal(STATUS_NO_MEMORY, "up to 0x1400001 but mem=20M ends at 0x1400000; use mem=21M or more");
    begin_linux(MIB(8));
    expect_refusal(STATUS_NO_MEMORY, "up to 0x1400000 but mem=8M ends at 0x800000; use mem=20M or more");
    image_put(file, 0x260, 16, 4); /* less than the image itself */
    expect_refusal(STATUS_NO_MEMORY, "up to 0x1003c00");
}

static void test_initrd(void **state)
{
    static u8 initrd[MIB(2) + 1];

    (void)state;
    memset(initrd, 0xab, sizeof initrd);
    begin_linux(MIB(24));
    request.initrd = (struct image){initrd, sizeof initrd, ""};
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(PARAMS + 0x218, 4), MIB(22) - 4096);
    assert_int_equal(word(PARAMS + 0x21c, 4), sizeof initrd);
    assert_int_equal(word(MIB(22) - 4096 + sizeof initrd - 1, 2), 0x00ab);
    image_put(file, 0x22c, MIB(23) - 2, 4); /* the last byte that it may use */
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(PARAMS + 0x218, 4), MIB(21) - 4096);
    image_put(file, 0x22c, MIB(22) - 1, 4);
    expect_refusal(STATUS_NO_MEMORY, "between this kernel's end 0x1400000 and its limit 0x1600000");
    image_put(file, 0x22c, 0x7fffffff, 4);
    image_put(file, 0x260, MIB(6), 4);
    expect_refusal(STATUS_NO_MEMORY, "initrd of 2097153 bytes does not fit above the kernel's end 0x1600000 in "
                                     "mem=24M; use mem=25M or more");
    request.initrd.size_bytes = MIB(2);
    assert_int_equal(load(), STATUS_OK);
    request.initrd.size_bytes = 0;
    expect_refusal(STATUS_INVALID, "initrd is empty");
    request.initrd.bytes = NULL;
    assert_int_equal(load(), STATUS_OK);
    request.modules[0] = (struct image){initrd, 1, ""};
    request.module_count = 1;
    expect_refusal(STATUS_UNSUPPORTED, "takes role=initrd, not role=module");
}

static void test_command_line(void **state)
{
    static char line[KIB(60)];

    (void)state;
    begin_linux(MIB(32));
    memset(line, 'x', sizeof line - 1);
    request.boot.line = line;
    expect_refusal(STATUS_OUT_OF_RANGE, "command line has 61439 characters; the kernel takes at most 2047");
    line[2047] = 0;
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(word(PARAMS + 0x228, 4) + 2046, 2), 'x');
    line[2047] = 'x';
    image_put(file, 0x238, 0xffffffff, 4);
    expect_refusal(STATUS_OUT_OF_RANGE, "command line has 61439 characters");
    line[0xdfff] = 0;
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.mode == START_LONG64 ? word(start.cr3, 8) : 0, start.cr3 + 0x1003);
}

static void test_broken_kernels(void **state)
{
    (void)state;
    begin_linux(MIB(32));
    image_put(file, 0x206, 0x205, 2);
    expect_refusal(STATUS_UNSUPPORTED, "kernel has boot protocol 2.05; needed: a bzImage of 2.06 or later");
    image_put(file, 0x206, 0x20f, 2);
    file[0x211] = 0;
    expect_refusal(STATUS_UNSUPPORTED, "2.15 and loads low");
    file[0x211] = 1;
    /* As iPXE and memdisk have it: nothing to enter in protected mode. */
    image_put(file, 0x236, 0, 2);
    image_put(file, 0x214, 0, 4);
    expect_refusal(STATUS_UNSUPPORTED, "kernel only has a real-mode entry (code32_start is 0)");
    image_put(file, 0x236, 1, 2);
    assert_int_equal(load(), STATUS_OK);
    image_put(file, 0x206, 0x203, 2);
    expect_refusal(STATUS_UNSUPPORTED, "2.03; needed: a bzImage of 2.06 or later. This one only has a real-mode entry");
    image_put(file, 0x206, 0x20f, 2);
    request.boot.size_bytes -= 15; /* within the last paragraph */
    assert_int_equal(load(), STATUS_OK);
    request.boot.size_bytes--;
    expect_refusal(STATUS_TRUNCATED, "image is truncated: 16368 bytes of at least 16369");
    request.boot.size_bytes = 0x28f;
    expect_refusal(STATUS_TRUNCATED, "hold no setup header");
    request.boot.size_bytes = sizeof file;
    image_put(file, 0x1f4, 0xffffffff, 4);
    expect_refusal(STATUS_TRUNCATED, "of at least 68719477729");
    image_put(file, 0x1f4, 0, 4);
    request.boot.size_bytes = 2 * SECTOR;
    expect_refusal(STATUS_TRUNCATED, "image is truncated");
    request.boot.size_bytes = 3 * SECTOR;
    expect_refusal(STATUS_TRUNCATED, "its 64-bit entry point is missing");
    request.boot.size_bytes++;
    assert_int_equal(load(), STATUS_OK);
    file[0x1f1] = 0; /* means 4 */
    request.boot.size_bytes = 5 * SECTOR;
    expect_refusal(STATUS_TRUNCATED, "image is truncated");
    request.boot.size_bytes = sizeof file;
    assert_int_equal(load(), STATUS_OK);
    request.kind = IMAGE_LINUX;
    file[0x202] = 0;
    expect_refusal(STATUS_INVALID, "no HdrS at 0x202");
    request.boot.size_bytes = 0x205;
    expect_refusal(STATUS_INVALID, "no HdrS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_64_bit_kernel),
        cmocka_unit_test(test_header_end),
        cmocka_unit_test(test_tables_of_the_64_bit_entry),
        cmocka_unit_test(test_32_bit_entry),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_kernel_that_does_not_fit),
        cmocka_unit_test(test_initrd),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_broken_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
