/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot 2 guests: header tags, relocation, the information block, and what is refused.
 * links: kernel/load/load.c kernel/load/flat16.c kernel/load/multiboot.c kernel/load/multiboot2.c
 * links: kernel/load/wrong_header.c
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * kernel/vm/spec.c links: kernel/load/linux.c kernel/load/pvh.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/load/load.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

#define HEADER 0x1000u

static u8 file[KIB(64)];
static u64 tags; /* where the next header tag goes */
static struct guest_memory memory;
static struct load_request request;
static struct start_state start;
static struct refusal why;

static const struct image_segment segments[] = {
    {1, 0x1000, 0x200000, 0x200000, 0x1000, 0x3000},
};

static void begin(u64 mem_bytes)
{
    host_memory_init(MIB(1), MIB(64));
    assert_int_equal(guest_memory_allocate(&memory, mem_bytes, &why), STATUS_OK);
    memset(file, 0, sizeof file);
    image_put_elf(file, false, 0x200100, segments, 1);
    tags = HEADER + 16;
    request = (struct load_request){
        .vm_name = "t", .boot = {file, 0x2000, "abc"}
    };
}

static void tag(u16 type, u16 flags, u32 count, const u32 *values)
{
    tags = image_put_tag(file, tags, type, flags, values, count);
}

#define TAG(type, flags, ...) tag(type, flags, sizeof((u32[]){__VA_ARGS__}) / 4, (const u32[]){__VA_ARGS__})

static enum status load(void)
{
    u64 end = image_put_tag(file, tags, 0, 0, NULL, 0);
    image_put_multiboot2(file, HEADER, (u32)(end - HEADER - 16));
    u8 *copy = malloc(request.boot.size_bytes);
    memcpy(copy, file, request.boot.size_bytes);
    request.boot.bytes = copy;
    why.text[0] = 0;
    enum image_kind kind;
    enum status status = load_image(&request, &memory, &start, &kind, &why);
    free(copy);
    if (status == STATUS_OK)
        assert_int_equal(kind, IMAGE_MULTIBOOT2);
    return status;
}

static void expect_refusal(enum status status, const char *wanted)
{
    assert_int_equal(load(), status);
    if (!strstr(why.text, wanted))
        fail_msg("refused with '%s', not '%s'", why.text, wanted);
}

static u64 word(u64 address, unsigned width)
{
    u64 value = 0;
    if (guest_memory_read(&memory, gpa(address), &value, width) != STATUS_OK)
        fail_msg("0x%lx is not memory", address);
    return value;
}

static const char *text(u64 address)
{
    static char buffer[64];
    assert_int_equal(guest_memory_read(&memory, gpa(address), buffer, 64), STATUS_OK);
    return buffer;
}

/* Address of the n-th information tag of this type, 0 if there is none. Walks the block as a guest does. */
static u64 find_tag(u32 type, u32 n)
{
    u64 end = start.rbx + word(start.rbx, 4);

    for (u64 at = start.rbx + 8; at < end; at += (word(at + 4, 4) + 7) & ~7ull) {
        assert_true(word(at + 4, 4) >= 8);
        if (word(at, 4) == type && n-- == 0)
            return at;
        if (word(at, 4) == 0) {
            assert_int_equal(at + 8, end);
            return 0;
        }
    }
    fail_msg("no end tag");
    return 0;
}

static void test_information(void **state)
{
    static const u8 module[4097] = {0xaa};

    (void)state;
    begin(MIB(8));
    TAG(1, 0, 1, 2, 3, 4, 6, 8, 14, 15, 21);
    TAG(4, 0, 3);
    TAG(5, 1, 1024, 768, 32);
    TAG(6, 0);
    TAG(7, 0);
    TAG(99, 1, 5);
    request.modules[0] = (struct image){module, sizeof module, "m0"};
    request.modules[1] = (struct image){module, 1, "second"};
    request.module_count = 2;
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.mode, START_PROTECTED32);
    assert_int_equal(start.rax, 0x36d76289);
    assert_int_equal(start.rip, 0x200100);
    assert_int_equal(word(0x200000, 4), 0xe85250d6);
    assert_int_equal(start.rbx % 4096, 0);
    assert_true(start.rbx >= 0x203000);
    assert_string_equal(text(find_tag(1, 0) + 8), "abc");
    assert_string_equal(text(find_tag(2, 0) + 8), "Rootlet");
    u64 at = find_tag(3, 0);
    assert_int_equal(word(at + 4, 4), 16 + 3);
    assert_int_equal(word(at + 8, 4), 0x203000);
    assert_int_equal(word(at + 12, 4), 0x204001);
    assert_string_equal(text(at + 16), "m0");
    assert_int_equal(word(0x203000, 1), 0xaa);
    at = find_tag(3, 1);
    assert_int_equal(word(at + 8, 4), 0x205000);
    assert_string_equal(text(at + 16), "second");
    assert_int_equal(find_tag(3, 2), 0);
    at = find_tag(4, 0);
    assert_int_equal(word(at + 8, 4), 640);
    assert_int_equal(word(at + 12, 4), 7 * 1024);
    at = find_tag(8, 0);
    assert_int_equal(word(at + 4, 4), 32);
    assert_int_equal(word(at + 8, 8), 0xb8000);
    assert_int_equal(word(at + 28, 2), 0x0210);
    assert_int_equal(word(find_tag(21, 0) + 8, 4), 0x200000);
    assert_int_equal(find_tag(14, 0), 0); /* no root pointer in this VM */
    assert_int_equal(word(start.rbx + 4, 4), 0);
}

static void test_acpi_root(void **state)
{
    static u8 rsdp[36] = "RSD PTR ";

    (void)state;
    begin(MIB(8));
    for (u32 i = 8; i < sizeof rsdp; i++)
        rsdp[i] = (u8)(i * 5);
    request.acpi_root = gpa(0xe0000);
    assert_int_equal(guest_memory_write(&memory, request.acpi_root, rsdp, sizeof rsdp), STATUS_OK);
    assert_int_equal(load(), STATUS_OK);
    for (u32 tag_type = 14; tag_type <= 15; tag_type++) {
        u32 bytes = tag_type == 14 ? 20 : 36;
        u64 at = find_tag(tag_type, 0);
        assert_int_equal(word(at + 4, 4), 8 + bytes);
        for (u32 i = 0; i < bytes; i++)
            assert_int_equal(word(at + 8 + i, 1), rsdp[i]);
    }
}

static void test_elf_sections(void **state)
{
    static const struct image_section sections[] = {
        {1, 0x200000, 0x1000, 0x1000},
        {2, 0,        0x1f00, 0x33  },
    };

    (void)state;
    begin(MIB(8));
    image_put_sections(file, false, 0x400, sections, 2);
    memset(file + 0x1f00, 0x5a, 0x33);
    TAG(1, 0, 9);
    assert_int_equal(load(), STATUS_OK);
    u64 at = find_tag(9, 0);
    assert_int_equal(word(at + 4, 4), 8 + 12 + 2 * 40);
    assert_int_equal(word(at + 8, 4), 2);
    assert_int_equal(word(at + 12, 4), 40);
    assert_int_equal(word(at + 16, 4), 1);
    assert_int_equal(word(at + 20 + 12, 4), 0x200000);
    u64 symbols = word(at + 60 + 12, 4);
    for (u32 i = 0; i < 0x33; i++)
        assert_int_equal(word(symbols + i, 1), 0x5a);
    assert_int_equal(find_tag(9, 1), 0);
}

static void test_elf_sections_and_addresses(void **state)
{
    static const struct image_section section = {1, 0x200000, 0x1000, 0x1000};

    (void)state;
    begin(MIB(8));
    image_put_sections(file, false, 0x400, &section, 1);
    TAG(2, 0, 0x200000, 0x200000, 0, 0);
    TAG(3, 0, 0x200100);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(find_tag(9, 0), 0);
    TAG(1, 0, 9);
    expect_refusal(STATUS_UNSUPPORTED, "has an address tag, which loads without them");
}

static void test_elf_sections_without_room(void **state)
{
    static const struct image_section big = {3, 0, 0, 0x2000};
    struct image_section many[200];

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = big; /* 1.6 MiB in all */
    for (int needed = 0; needed < 2; needed++) {
        begin(MIB(3));
        request.boot.size_bytes = 0x8000;
        image_put_sections(file, false, 0x3000, many, ARRAY_SIZE(many));
        if (needed) {
            TAG(1, 0, 9);
            expect_refusal(STATUS_NO_MEMORY, "the ELF sections of 1638400 bytes does not fit");
        } else {
            assert_int_equal(load(), STATUS_OK);
            assert_int_equal(find_tag(9, 0), 0);
        }
    }
}

static void test_memory_map(void **state)
{
    static const u64 wanted[][3] = {
        {0,       KIB(640), 1},
        {0xe0000, KIB(128), 2},
        {MIB(1),  MIB(3),   1}
    };

    (void)state;
    begin(MIB(4));
    assert_int_equal(load(), STATUS_OK);
    u64 at = find_tag(6, 0);
    assert_int_equal(word(at + 4, 4), 16 + 72);
    assert_int_equal(word(at + 8, 4), 24);
    at += 16;
    for (u32 i = 0; i < ARRAY_SIZE(wanted); i++, at += 24)
        for (u32 j = 0; j < 3; j++)
            assert_int_equal(word(at + 8 * j, 8), wanted[i][j]);
}

static void test_entry_and_addresses(void **state)
{
    (void)state;
    begin(MIB(8));
    TAG(3, 0, 0x200200);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x200200);
    begin(MIB(8));
    TAG(3, 0, 0x203000);
    expect_refusal(STATUS_INVALID, "entry address 0x203000 lies outside");

    begin(MIB(8)); /* between two segments */
    image_put_elf(file, false, 0x200100,
                  (const struct image_segment[]){
                      segments[0], {1, 0, 0x90000, 0x90000, 1, 1}
    },
                  2);
    TAG(3, 0, 0xfff80);
    expect_refusal(STATUS_INVALID, "entry address 0xfff80 lies outside");

    begin(MIB(8));
    memset(file, 0, 64);
    expect_refusal(STATUS_UNSUPPORTED, "neither ELF nor has an address tag");
    TAG(2, 0, 0x301000, 0x301000, 0x301800, 0x302000);
    expect_refusal(STATUS_INVALID, "an address tag but no entry address tag");
    TAG(3, 0, 0x301040);
    file[0x1800] = 0x66;
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x301040);
    assert_int_equal(word(0x301000, 4), 0xe85250d6);
    assert_int_equal(word(0x301800, 1), 0); /* bss begins */

    begin(MIB(8));
    memset(file, 0x5a, 64);
    TAG(2, 0, 0x301000, 0xffffffff, 0, 0); /* from the file's first byte to its last */
    TAG(3, 0, 0x301040);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(word(0x300000, 1), 0x5a);
    assert_int_equal(word(0x301000, 4), 0xe85250d6);
}

static void test_relocation(void **state)
{
    (void)state;
    begin(MIB(8)); /* fits where it was linked */
    TAG(10, 0, MIB(1), 0xffffffff, 0x1000, 2);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x200100);
    assert_int_equal(word(find_tag(21, 0) + 8, 4), 0x200000);

    begin(MIB(8)); /* only its end is outside the range that the header allows */
    TAG(10, 0, MIB(1), 0x202ffe, 0x1000, 0);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, MIB(1) + 0x100);

    begin(MIB(8)); /* outside the range that the header allows */
    TAG(10, 0, MIB(3) + 1, 0xffffffff, MIB(1), 1);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, MIB(4) + 0x100);
    assert_int_equal(word(MIB(4), 4), 0xe85250d6);
    assert_int_equal(word(0x200000, 4), 0);
    assert_int_equal(word(find_tag(21, 0) + 8, 4), MIB(4));

    begin(MIB(8));
    TAG(10, 0, MIB(3), MIB(6) - 1, 0x1000, 2);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, MIB(6) - 0x3000 + 0x100);

    begin(MIB(2)); /* linked above the RAM there is */
    expect_refusal(STATUS_NO_MEMORY,
                   "image needs memory up to 0x203000 but mem=2M ends at 0x200000; use mem=3M or more");
    TAG(10, 0, 0, 0xffffffff, 0x1000, 0);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, MIB(1) + 0x100);

    begin(MIB(1)); /* no high RAM at all */
    TAG(10, 0, 0, 0xffffffff, 0x1000, 0);
    assert_int_equal(load(), STATUS_OK);
    assert_int_equal(start.rip, 0x10000 + 0x100);

    begin(MIB(8));
    TAG(10, 0, MIB(8), 0xffffffff, 0x1000, 0);
    expect_refusal(STATUS_NO_MEMORY, "image of 0x3000 bytes fits nowhere between 0x800000 and 0xffffffff in mem=8M");
    begin(MIB(8));
    TAG(10, 0, MIB(3), MIB(3) + 0x2ffe, 0x1000, 0);
    expect_refusal(STATUS_NO_MEMORY, "fits nowhere");
    begin(MIB(8));
    TAG(10, 0, MIB(3), 0xffffffff, 0x80000000, 2);
    expect_refusal(STATUS_NO_MEMORY, "fits nowhere");
    begin(MIB(8));
    TAG(10, 0, MIB(3), 0xffffffff, 0x3000, 0);
    expect_refusal(STATUS_INVALID, "alignment 12288 is no power of two");
}

static void test_required_tags(void **state)
{
    (void)state;
    begin(MIB(8));
    TAG(5, 0, 1024, 768, 32);
    expect_refusal(STATUS_UNSUPPORTED, "requires a framebuffer");
    begin(MIB(8));
    TAG(77, 0, 1);
    expect_refusal(STATUS_UNSUPPORTED, "requires tag 77");
    begin(MIB(8));
    TAG(1, 0, 1, 22);
    expect_refusal(STATUS_UNSUPPORTED, "requires information tag 22");
    begin(MIB(8));
    TAG(1, 0, 9);
    expect_refusal(STATUS_UNSUPPORTED, "requires information tag 9 (ELF sections), which is not given");
    begin(MIB(8));
    TAG(1, 0, 4, 12);
    expect_refusal(STATUS_UNSUPPORTED, "requires information tag 12 (EFI), which is not given");
    begin(MIB(8));
    TAG(1, 1, 9, 22);
    assert_int_equal(load(), STATUS_OK);
}

static void test_broken_headers(void **state)
{
    (void)state;
    static const u16 short_tags[] = {2, 3, 10};
    for (u32 i = 0; i < ARRAY_SIZE(short_tags); i++) {
        begin(MIB(8));
        tag(short_tags[i], 1, 0, NULL);
        expect_refusal(STATUS_TRUNCATED, "has only 8 bytes");
    }
    begin(MIB(8));
    tag(4, 0, 0, NULL);
    file[tags - 4] = 7;
    expect_refusal(STATUS_TRUNCATED, "tag 4 of 7 bytes does not fit");
    begin(MIB(8));
    tag(4, 0, 0, NULL);
    image_put(file, tags - 4, 0xfffffff8, 4);
    expect_refusal(STATUS_TRUNCATED, "does not fit");

    /* A header of no tags, then one whose length, checksum or architecture is wrong. */
    static const struct {
        u32 architecture, length, checksum_error;
        const char *text;
    } bad[] = {
        {0, 16,         0, "no end tag"                                                                                 },
        {0, 15,         0, "has length 15; it has at least 16 bytes"                                                    },
        {0, 0x7000 + 1, 0, "has length 28673; it has at least"                                                          },
        {4, 24,         0, "is for architecture 4; it must be 0 (i386)"                                                 },
        {0, 24,         1, "has checksum 0x17adaf13, which must be 0x17adaf12: magic, architecture, length and checksum"},
    };
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        struct image image = {file, sizeof file, ""};
        begin(MIB(8));
        request.kind = IMAGE_MULTIBOOT2;
        image_put(file, HEADER, 0xe85250d6u, 4);
        image_put(file, HEADER + 4, bad[i].architecture, 4);
        image_put(file, HEADER + 8, bad[i].length, 4);
        image_put(file, HEADER + 12, 0u - 0xe85250d6u - bad[i].architecture - bad[i].length + bad[i].checksum_error, 4);
        request.boot = image;
        enum image_kind kind;
        assert_int_not_equal(load_image(&request, &memory, &start, &kind, &why), STATUS_OK);
        if (!strstr(why.text, bad[i].text))
            fail_msg("row %u refused with '%s'", i, why.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_information),
        cmocka_unit_test(test_elf_sections),
        cmocka_unit_test(test_elf_sections_and_addresses),
        cmocka_unit_test(test_elf_sections_without_room),
        cmocka_unit_test(test_acpi_root),
        cmocka_unit_test(test_memory_map),
        cmocka_unit_test(test_entry_and_addresses),
        cmocka_unit_test(test_relocation),
        cmocka_unit_test(test_required_tags),
        cmocka_unit_test(test_broken_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
