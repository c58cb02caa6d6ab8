/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot 1 guests, flat16 guests and the choice of the loader: what ends up in guest memory and in the registers.
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
    {1, 0x1800, 0xc0110000, 0x110000, 0x100, 0x2345},
};

static void build_elf(bool wide, u32 flags)
{
    image_put_elf(file, wide, 0xc0100020, segments, 2);
    image_put_multiboot(file, 0x1004, flags);
    memset(file + 0x1800, 0x77, 0x100);
}

static void test_elf_guest_with_modules(void **state)
{
    static const u8 first[5000] = {1, 2, 3};
    static const u8 second[1] = {9};

    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        begin(MIB(8));
        build_elf(wide, 3);
        request.modules[0] = (struct image){first, sizeof first, "mod one"};
        request.modules[1] = (struct image){second, sizeof second, ""};
        request.module_count = 2;
        assert_int_equal(guest_memory_fill(&memory, gpa(0x110000), 0xff, 0x4000), STATUS_OK);
        assert_int_equal(load(), STATUS_OK);
        assert_int_equal(kind, IMAGE_MULTIBOOT);
        assert_int_equal(start.mode, START_PROTECTED32);
        assert_int_equal(start.rip, 0x100020);
        assert_int_equal(start.rax, 0x2badb002);
        assert_int_equal(word(0x100004, 4), 0x1badb002);
        assert_int_equal(word(0x1100ff, 2), 0x0077); /* the segment's last byte, then bss */
        assert_int_equal(word(0x112344, 2), 0xff00); /* bss's last byte, then what was there */

        u64 info = start.rbx;
        assert_int_equal(info % 4096, 0);
        assert_true(info >= 0x113000);
        assert_int_equal(word(info, 4), 0x24d);
        assert_int_equal(word(info + 4, 4), 640);
        assert_int_equal(word(info + 8, 4), 7 * 1024);
        assert_string_equal(text(word(info + 16, 4)), "one two");
        assert_string_equal(text(word(info + 64, 4)), "Rootlet");
        assert_int_equal(word(info + 20, 4), 2);
        u64 entry = word(info + 24, 4);
        assert_int_equal(word(entry, 4), 0x113000);
        assert_int_equal(word(entry + 4, 4), 0x113000 + 5000);
        assert_string_equal(text(word(entry + 8, 4)), "mod one");
        assert_int_equal(word(0x113000, 4), 0x030201);
        assert_int_equal(word(entry + 16, 4), 0x115000);
        assert_int_equal(word(entry + 20, 4), 0x115001);
        assert_string_equal(text(word(entry + 24, 4)), "");
        assert_int_equal(word(0x115000, 1), 9);
        assert_true(info >= 0x116000);
    }
}

static void test_memory_map(void **state)
{
    static const u64 wanted[][3] = {
        {0,       KIB(640), 1},
        {0xe0000, KIB(128), 2},
        {MIB(1),  MIB(7),   1}
    };

    (void)state;
    begin(MIB(8));
    build_elf(false, 0);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(start.rbx + 44, 4), sizeof wanted / 24 * 24);
    u64 at = word(start.rbx + 48, 4);
    for (u32 i = 0; i < ARRAY_SIZE(wanted); i++, at += 24) {
        assert_int_equal(word(at, 4), 20);
        assert_int_equal(word(at + 4, 8), wanted[i][0]);
        assert_int_equal(word(at + 12, 8), wanted[i][1]);
        assert_int_equal(word(at + 20, 4), wanted[i][2]);
    }
}

static void test_video_request_gets_the_text_page(void **state)
{
    (void)state;
    begin(MIB(8));
    build_elf(false, 4);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(start.rbx, 4), 0x124d);
    assert_int_equal(word(start.rbx + 88, 8), 0xb8000);
    assert_int_equal(word(start.rbx + 96, 4), 160);
    assert_int_equal(word(start.rbx + 100, 4), 80);
    assert_int_equal(word(start.rbx + 104, 4), 25);
    assert_int_equal(word(start.rbx + 108, 2), 0x0210);
}

static const struct image_section sections[] = {
    {0, 0,          0,      0    },
    {1, 0xc0100000, 0x1000, 0x800},
    {8, 0,          0x1900, 0x900}, /* no contents: nothing to place */
    {2, 0,          0x1a00, 0x15 },
    {3, 0,          0x1a20, 0x40 },
};

/* GRUB's way: every header is given; contents without an address are placed, and their header says where. */
static void test_elf_sections(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        u64 header_bytes = wide ? 64 : 40, width = wide ? 8 : 4, addr = wide ? 16 : 12;
        begin(MIB(8));
        build_elf(wide, 3);
        image_put_sections(file, wide, 0x1b00, sections, ARRAY_SIZE(sections));
        memset(file + 0x1a00, 0x5a, 0x15);
        memset(file + 0x1a20, 0xa5, 0x40);
        assert_int_equal(load(), STATUS_OK);
        u64 info = start.rbx;
        assert_int_equal(word(info, 4), 0x26d);
        assert_int_equal(word(info + 28, 4), ARRAY_SIZE(sections));
        assert_int_equal(word(info + 32, 4), header_bytes);
        assert_int_equal(word(info + 40, 4), ARRAY_SIZE(sections) - 1);
        u64 at = word(info + 36, 4);
        for (u32 i = 0; i < ARRAY_SIZE(sections); i++) {
            assert_int_equal(word(at + i * header_bytes, 4), 0x100 + i);
            assert_int_equal(word(at + (i + 1) * header_bytes - width, (unsigned)width), 0xe0 + i);
            if (i < 3)
                assert_int_equal(word(at + i * header_bytes + addr, (unsigned)width), sections[i].addr);
        }
        u64 symbols = word(at + 3 * header_bytes + addr, (unsigned)width);
        u64 strings = word(at + 4 * header_bytes + addr, (unsigned)width);
        assert_true(symbols >= 0x113000);
        for (u32 i = 0; i < 0x15; i++)
            assert_int_equal(word(symbols + i, 1), 0x5a);
        for (u32 i = 0; i < 0x40; i++)
            assert_int_equal(word(strings + i, 1), 0xa5);
        assert_true(strings >= symbols + 0x15);
        assert_string_equal(text(word(info + 64, 4)), "Rootlet"); /* the headers did not run into the strings */
    }
}

static void test_elf_sections_that_are_not_there(void **state)
{
    (void)state;
    begin(MIB(2));
    build_elf(false, 3);
    image_put_sections(file, false, 0x1b00, sections, ARRAY_SIZE(sections));
    request.boot.size_bytes = 0x1b00 + 40 * ARRAY_SIZE(sections) - 1; /* the last header is not all there */
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(start.rbx, 4), 0x24d);
}

static void build_address_form(u64 offset)
{
    static const u32 fields[] = {0x100004, 0x100000, 0x101000, 0x104000, 0x100030};
    image_put_multiboot(file, offset, 0x10003);
    for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
        image_put(file, offset + 12 + 4 * i, fields[i], 4);
    memset(file + offset + 32, 0x44, 0x1000);
}

static void test_address_form(void **state)
{
    (void)state;
    begin(MIB(2));
    build_address_form(0x84);
    request.boot.size_bytes = 0x1080;
    assert_int_equal(guest_memory_fill(&memory, gpa(MIB(1)), 0xff, MIB(1)), STATUS_OK);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(kind, IMAGE_MULTIBOOT);
    assert_int_equal(start.rip, 0x100030);
    assert_int_equal(word(0x100004, 4), 0x1badb002);
    assert_int_equal(word(0x100fff, 2), 0x0044);
    assert_int_equal(word(0x103fff, 1), 0);
    request.boot.size_bytes = 0x107f;
    expect_refusal(STATUS_TRUNCATED, "image is truncated");
    request.boot.size_bytes = 0x84 + 31;
    expect_refusal(STATUS_TRUNCATED, "truncated within its multiboot header");
}

static void test_header_search(void **state)
{
    (void)state;
    begin(MIB(2));
    request.kind = IMAGE_MULTIBOOT;
    image_put_elf(file, false, 0xc0100020, segments, 2);
    image_put_multiboot(file, 8192 - 12, 0);
    assert_int_equal(load(), STATUS_OK);
    image_put(file, 8192 - 12, 0, 4);
    expect_refusal(STATUS_INVALID, "no multiboot header with a right checksum in the first 8192 bytes");
    image_put_multiboot(file, 0x1000, 0x00000008);
    expect_refusal(STATUS_UNSUPPORTED, "multiboot header requires flags 0x8");
    image_put_multiboot(file, 0x1000, 0xfffe0000);
    assert_int_equal(load(), STATUS_OK); /* bits that a loader may ignore */
    file[0] = 0;
    expect_refusal(STATUS_UNSUPPORTED, "neither ELF nor has address fields");
}

static void test_modules_that_do_not_fit(void **state)
{
    static u8 large[MIB(1)];

    (void)state;
    begin(MIB(2));
    build_elf(false, 0);
    request.modules[0] = (struct image){large, sizeof large, "m"};
    request.module_count = 1;
    expect_refusal(STATUS_NO_MEMORY,
                   "a module of 1048576 bytes does not fit beside the image in mem=2M; use mem=3M or more");
    request.module_count = LOAD_MAX_MODULES + 1;
    expect_refusal(STATUS_UNSUPPORTED, "at most 16 modules");
}

static void test_flat16(void **state)
{
    static u8 large[0xa0000 - 0x7c00 + 1];

    (void)state;
    begin(MIB(1));
    request.kind = IMAGE_FLAT16;
    request.boot.size_bytes = 2; /* any bytes will do when the kind is given, gzip's magic number too */
    file[0] = 0x1f;
    file[1] = 0x8b;
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(kind, IMAGE_FLAT16);
    assert_int_equal(start.mode, START_REAL16);
    assert_int_equal(start.rip, 0x7c00);
    assert_int_equal(start.rsp, 0x7c00);
    assert_int_equal(start.rdx, 0x80);
    assert_int_equal(word(0x7c00, 2), 0x8b1f);
    request.boot.size_bytes = 0;
    expect_refusal(STATUS_INVALID, "module is empty");
    memset(large, 0x99, sizeof large);
    request.boot = (struct image){large, sizeof large - 1, ""};
    assert_int_equal(load_image(&request, &memory, &start, &kind, &why), STATUS_OK);
    assert_int_equal(word(0x9ffff, 1), 0x99);
    request.boot.size_bytes++;
    assert_int_equal(load_image(&request, &memory, &start, &kind, &why), STATUS_OUT_OF_RANGE);
    assert_string_equal(why.text, "flat16 image has 623617 bytes; from 0x7c00 to 0xa0000 at most 623616 fit");
    request.boot.size_bytes = 512;
    request.module_count = 1;
    assert_int_equal(load_image(&request, &memory, &start, &kind, &why), STATUS_UNSUPPORTED);
}

static void test_initrd_is_not_for_multiboot(void **state)
{
    (void)state;
    begin(MIB(2));
    build_elf(false, 0);
    request.initrd = (struct image){file, 1, ""};
    expect_refusal(STATUS_UNSUPPORTED, "role=initrd is for kind=linux and kind=pvh");
}

/* A header that is there and wrong is named, whether the line has a kind= or not. */
/* The last two rows: where no loader looks, a magic number alone says nothing. */
static void test_wrong_header(void **state)
{
    static const struct {
        u64 offset;
        u32 flags, checksum_error;
        const char *text;
    } wrong[] = {
        {0x1004,   0, 1,      "offset 0x1004 has checksum 0xe4524fff, which must be 0xe4524ffe: magic, flags and checksum"},
        {0,        3, 0xffff, "multiboot header at offset 0x0 has checksum 0xe4534ffa, which must be 0xe4524ffb"          },
        {8192 - 8, 0, 0,      "multiboot header at offset 0x1ff8 is past the first 8 KiB of the file, where it must be"   },
        {0x2100,   3, 0,      "multiboot header at offset 0x2100 is past the first 8 KiB"                                 },
        {0x2101,   3, 0,      "multiboot header at offset 0x2101 is past the first 8 KiB"                                 },
        {0x1002,   3, 0,      "multiboot header at offset 0x1002 is not aligned to 4 bytes"                               },
        {0x2100,   3, 1,      NULL                                                                                        },
        {0x1002,   3, 1,      NULL                                                                                        },
    };

    (void)state;
    for (u32 i = 0; i < 2 * ARRAY_SIZE(wrong); i++) {
        bool any_kind = i & 1;
        begin(MIB(2));
        request.kind = any_kind ? IMAGE_AUTO : IMAGE_MULTIBOOT;
        image_put_multiboot(file, wrong[i / 2].offset, wrong[i / 2].flags);
        u64 at = wrong[i / 2].offset + 8;
        image_put(file, at, image_get(file, at, 4) + wrong[i / 2].checksum_error, 4);
        if (wrong[i / 2].text)
            expect_refusal(STATUS_INVALID, wrong[i / 2].text);
        else
            expect_refusal(any_kind ? STATUS_UNSUPPORTED : STATUS_INVALID, any_kind ? "not a guest" : "no multiboot");
    }
    /* One that the end of the file cuts is none: there is no checksum to look at. */
    begin(MIB(2));
    image_put_multiboot(file, 0x100, 0);
    request.boot.size_bytes = 0x10b;
    expect_refusal(STATUS_UNSUPPORTED, "not a guest image");
}

static void detect(enum image_kind wanted)
{
    struct image image = {file, request.boot.size_bytes, ""};
    assert_int_equal(load_detect(&image, &kind, &why), STATUS_OK);
    assert_int_equal(kind, wanted);
}

static void test_detection(void **state)
{
    (void)state;
    begin(MIB(1));
    expect_refusal(STATUS_UNSUPPORTED,
                   "module is not a guest image: no multiboot, multiboot2, Linux or boot sector signature; "
                   "give kind=flat16 for a raw real-mode image");
    image_put_elf(file, false, 0, segments, 2);
    expect_refusal(STATUS_UNSUPPORTED, "ELF file without a multiboot or multiboot2 header");
    file[510] = 0x55;
    file[511] = 0xaa;
    detect(IMAGE_FLAT16);
    request.boot.size_bytes = 511;
    expect_refusal(STATUS_UNSUPPORTED, "ELF file without");
    request.boot.size_bytes = 512;
    detect(IMAGE_FLAT16);
    request.boot.size_bytes = sizeof file;
    memcpy(file + 0x202, "HdrS", 4);
    detect(IMAGE_LINUX);
    image_put_multiboot(file, 0x400, 0);
    detect(IMAGE_MULTIBOOT);
    image_put_multiboot2(file, 0x800, 8);
    detect(IMAGE_MULTIBOOT2);
    memcpy(file, "\x1f\x8b", 2);
    expect_refusal(STATUS_UNSUPPORTED, "gzip-compressed; load GRUB's gzio module");
    request.boot.size_bytes = 0;
    expect_refusal(STATUS_INVALID, "module is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elf_guest_with_modules),
        cmocka_unit_test(test_memory_map),
        cmocka_unit_test(test_video_request_gets_the_text_page),
        cmocka_unit_test(test_elf_sections),
        cmocka_unit_test(test_elf_sections_that_are_not_there),
        cmocka_unit_test(test_address_form),
        cmocka_unit_test(test_header_search),
        cmocka_unit_test(test_wrong_header),
        cmocka_unit_test(test_modules_that_do_not_fit),
        cmocka_unit_test(test_flat16),
        cmocka_unit_test(test_initrd_is_not_for_multiboot),
        cmocka_unit_test(test_detection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
