/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF images and address fields become load plans: both classes, entry translation, every broken field.
 * links: kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c kernel/vm/layer.c
 * test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/load/elf.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

static u8 file[8192];
static struct plan plan;
static struct refusal why;

/* Plans a heap copy of exactly `size` bytes, so that the sanitizer sees a read past its end. */
static enum status plan_file(u64 size)
{
    static u8 *copy;

    free(copy);
    copy = malloc(size ? size : 1);
    memcpy(copy, file, size);
    struct image image = {copy, size, ""};
    plan_init(&plan);
    why.text[0] = 0;
    return elf_plan(&image, &plan, &why);
}

static void expect_refusal(u64 size, enum status status, const char *text)
{
    assert_int_equal(plan_file(size), status);
    if (!strstr(why.text, text))
        fail_msg("refused with '%s', not '%s'", why.text, text);
}

static const struct image_segment two[] = {
    {1, 0x1000, 0xc0100000, 0x100000, 0x400, 0x400 },
    {6, 0x34,   0x34,       0x34,     0x40,  0x40  }, /* PT_PHDR: not loaded, whatever it says */
    {1, 0x1400, 0xc0200000, 0x200000, 0x100, 0x3000},
};

static void build(bool wide, u64 entry)
{
    memset(file, 0, sizeof file);
    image_put_elf(file, wide, entry, two, 3);
}

static void test_both_classes(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        build(wide, 0xc0200010);
        assert_int_equal(plan_file(sizeof file), STATUS_OK);
        assert_int_equal(plan.count, 2);
        assert_int_equal(plan.low, 0x100000);
        assert_int_equal(plan.high, 0x203000);
        assert_int_equal(plan.entry, 0x200010);
        assert_int_equal(plan.segments[1].file_offset, 0x1400);
        assert_int_equal(plan.segments[1].file_bytes, 0x100);
        assert_int_equal(plan.segments[1].address, 0x200000);
        assert_int_equal(plan.segments[1].memory_bytes, 0x3000);
    }
}

static void test_entry(void **state)
{
    (void)state;
    build(true, 0x100004); /* a physical address of an image linked high */
    assert_int_equal(plan_file(sizeof file), STATUS_OK);
    assert_int_equal(plan.entry, 0x100004);
    build(true, 0xc0202fff);
    assert_int_equal(plan_file(sizeof file), STATUS_OK);
    assert_int_equal(plan.entry, 0x202fff);
    build(true, 0xc0203000);
    expect_refusal(sizeof file, STATUS_INVALID, "entry point 0xc0203000 lies in no segment");
    build(false, 0x300000);
    expect_refusal(sizeof file, STATUS_INVALID, "entry point 0x300000 lies in no segment");
}

static void test_truncation(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        build(wide, 0xc0100000);
        for (u64 size = 4; size < 0x1500; size++)
            assert_int_equal(plan_file(size), STATUS_TRUNCATED);
        assert_int_equal(plan_file(0x1500), STATUS_OK);
    }
    expect_refusal(3, STATUS_INVALID, "not an ELF file");
    expect_refusal(0x14ff, STATUS_TRUNCATED,
                   "image is truncated: a segment needs 0x100 bytes at offset 0x1400 of 0x14ff");
}

static void test_broken_headers(void **state)
{
    static const struct {
        u64 offset, value;
        unsigned width;
        enum status status;
        const char *text;
    } bad[] = {
        {4,       3,          1, STATUS_UNSUPPORTED, "ELF class 3"                                    },
        {5,       2,          1, STATUS_UNSUPPORTED, "byte order 2"                                   },
        {6,       0,          1, STATUS_UNSUPPORTED, "version 0"                                      },
        {16,      1,          2, STATUS_UNSUPPORTED, "ELF type 1 is not an executable"                },
        {18,      62,         2, STATUS_UNSUPPORTED, "ELF machine 62"                                 },
        {28,      0xfffffff0, 4, STATUS_TRUNCATED,   "program headers at 0xfffffff0 are not all there"},
        {42,      31,         2, STATUS_INVALID,     "3 program headers of 31 bytes"                  },
        {44,      0,          2, STATUS_INVALID,     "0 program headers"                              },
        {44,      0xffff,     2, STATUS_TRUNCATED,   "65535 program headers"                          },
        {52,      6,          4, STATUS_INVALID,     "lies in no segment"                             },
        {52 + 4,  0xffffffff, 4, STATUS_TRUNCATED,   "offset 0xffffffff"                              },
        {52 + 12, 0xfffffff0, 4, STATUS_INVALID,     "ends above 4 GiB"                               },
        {52 + 16, 0x401,      4, STATUS_INVALID,     "0x401 bytes in the file, 0x400 in memory"       },
        {52 + 20, 0xffffffff, 4, STATUS_INVALID,     "ends above 4 GiB"                               },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        build(false, 0xc0100000);
        image_put(file, bad[i].offset, bad[i].value, bad[i].width);
        expect_refusal(sizeof file, bad[i].status, bad[i].text);
    }
    build(true, 0xc0100000);
    image_put(file, 18, 3, 2);
    expect_refusal(sizeof file, STATUS_UNSUPPORTED, "ELF machine 3");
    build(true, 0xc0100000);
    image_put(file, 64 + 24, ~0xfull, 8);
    expect_refusal(sizeof file, STATUS_INVALID, "ends above 4 GiB");
    build(true, 0xc0100000);
    image_put(file, 64 + 8, ~0xfull, 8);
    expect_refusal(sizeof file, STATUS_TRUNCATED, "image is truncated");
}

static void test_no_and_too_many_segments(void **state)
{
    struct image_segment many[PLAN_MAX_SEGMENTS + 1];

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = (struct image_segment){1, 0, 0x1000 * i, 0x1000 * i, 16, 16};
    memset(file, 0, sizeof file);
    image_put_elf(file, false, 0, many, PLAN_MAX_SEGMENTS);
    assert_int_equal(plan_file(sizeof file), STATUS_OK);
    image_put_elf(file, false, 0, many, PLAN_MAX_SEGMENTS + 1);
    expect_refusal(sizeof file, STATUS_UNSUPPORTED, "more than 32 segments");
    many[0].memsz = many[0].filesz = 0;
    image_put_elf(file, false, 0, many, 1);
    expect_refusal(sizeof file, STATUS_INVALID, "no segment to load");
}

static enum status plan_addresses(const struct plan_address_form *form)
{
    struct image image = {file, 0x2000, ""};
    plan_init(&plan);
    return plan_from_addresses(&plan, &image, form, &why);
}

static void test_address_form(void **state)
{
    const struct plan_address_form good = {0x84, 0x100004, 0x100000, 0x101000, 0x104000, 0x100024};
    struct plan_address_form f = good;

    (void)state;
    assert_int_equal(plan_addresses(&f), STATUS_OK);
    assert_int_equal(plan.segments[0].file_offset, 0x80);
    assert_int_equal(plan.segments[0].file_bytes, 0x1000);
    assert_int_equal(plan.segments[0].memory_bytes, 0x4000);
    assert_int_equal(plan.low, 0x100000);
    assert_int_equal(plan.high, 0x104000);
    assert_int_equal(plan.entry, 0x100024);
    f.load_end = 0; /* to the end of the file */
    f.bss_end = 0;
    assert_int_equal(plan_addresses(&f), STATUS_OK);
    assert_int_equal(plan.segments[0].file_bytes, 0x2000 - 0x80);
    assert_int_equal(plan.segments[0].memory_bytes, 0x2000 - 0x80);

    f = good;
    f.load_address = 0x100008;
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
    f = good;
    f.header_address = 0x100085; /* the image would begin before the file */
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
    f = good;
    f.load_end = 0xfffff;
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
    f = good;
    f.load_end = 0x101f81;
    assert_int_equal(plan_addresses(&f), STATUS_TRUNCATED);
    f = good;
    f.bss_end = 0x100fff;
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
    assert_non_null(strstr(why.text, "bss_end_addr 0x100fff is below the loaded end 0x101000"));
    f = good;
    f.entry = 0x104000;
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
    f.entry = 0xfffff;
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
    f = (struct plan_address_form){0, 0xfffffff0, 0xfffffff0, 0, 0, 0xfffffff0};
    assert_int_equal(plan_addresses(&f), STATUS_INVALID);
}

static enum status load(u64 mem_bytes, u64 low, u64 low_bytes, u64 high, u64 high_bytes)
{
    struct image image = {file, sizeof file, ""};
    const struct plan_segment segments[] = {
        {0,    0x10, low,  low_bytes },
        {0x10, 0x10, high, high_bytes}
    };
    struct guest_memory memory;
    struct layout layout;

    host_memory_init(MIB(1), MIB(32));
    assert_int_equal(guest_memory_allocate(&memory, mem_bytes, &why), STATUS_OK);
    assert_int_equal(guest_memory_fill(&memory, gpa(0), 0xcc, KIB(640)), STATUS_OK);
    layout_init(&layout, &memory);
    plan_init(&plan);
    for (u32 i = 0; i < ARRAY_SIZE(segments); i++)
        assert_int_equal(plan_add(&plan, &image, &segments[i], &why), STATUS_OK);
    enum status status = plan_load(&plan, &image, &layout, 0, &why);
    if (status == STATUS_OK) {
        u8 bytes[0x21];
        assert_int_equal(guest_memory_read(&memory, gpa(low), bytes, sizeof bytes), STATUS_OK);
        assert_memory_equal(bytes, file, 0x10);
        assert_int_equal(bytes[0x10] | bytes[0x1f], 0); /* bss */
        assert_int_equal(bytes[0x20], 0xcc);
        assert_int_equal(layout.used_count, 2);
        assert_int_equal(layout.image_end, high + high_bytes);
    }
    return status;
}

static void test_loading(void **state)
{
    (void)state;
    for (u32 i = 0; i < sizeof file; i++)
        file[i] = (u8)(i + 1);
    assert_int_equal(load(MIB(4), 0x7000, 0x20, MIB(4) - 0x10, 0x10), STATUS_OK);
    assert_int_equal(load(MIB(4), 0x7000, 0x20, KIB(640) - 0x10, 0x10), STATUS_OK);
    assert_int_equal(load(MIB(4), 0x7000, 0x20, MIB(4) - 0x10, 0x11), STATUS_NO_MEMORY);
    assert_string_equal(why.text, "image needs memory up to 0x400001 but mem=4M ends at 0x400000; use mem=5M or more");
    assert_int_equal(load(MIB(8), 0x7000, 0x20, MIB(17), MIB(1)), STATUS_NO_MEMORY);
    assert_string_equal(why.text,
                        "image needs memory up to 0x1200000 but mem=8M ends at 0x800000; use mem=18M or more");
    assert_int_equal(load(MIB(1), 0x7000, 0x20, MIB(1), 0x10), STATUS_NO_MEMORY);
    assert_non_null(strstr(why.text, "mem=1M ends at 0xa0000; use mem=2M or more"));
    assert_int_equal(load(MIB(4), 0x7000, 0x20, GIB(3), 0x10), STATUS_NO_MEMORY);
    assert_non_null(strstr(why.text, "RAM below 4 GiB ends at 0xc0000000"));
    assert_int_equal(load(MIB(4), 0x7000, 0x20, KIB(640) - 0x10, 0x11), STATUS_OUT_OF_RANGE);
    assert_non_null(strstr(why.text, "image covers 0x9fff0 to 0xa0001, which is not all RAM"));
    assert_int_equal(load(MIB(4), 0x7000, 0x20, 0xb8000, 0x10), STATUS_OUT_OF_RANGE);
    assert_int_equal(load(MIB(4), 0x7000, 0x20, 0xf0000, 0x10), STATUS_OUT_OF_RANGE);
}

static void test_overlap_last_wins(void **state)
{
    struct image image = {file, sizeof file, ""};
    struct guest_memory memory;
    struct layout layout;
    u8 bytes[4];

    (void)state;
    memset(file, 1, 0x100);
    memset(file + 0x100, 2, 0x100);
    host_memory_init(MIB(1), MIB(8));
    assert_int_equal(guest_memory_allocate(&memory, MIB(4), &why), STATUS_OK);
    layout_init(&layout, &memory);
    plan_init(&plan);
    assert_int_equal(plan_add(&plan, &image, &(struct plan_segment){0, 0x100, MIB(1), 0x100}, &why), STATUS_OK);
    assert_int_equal(plan_add(&plan, &image, &(struct plan_segment){0x100, 2, MIB(1) + 1, 2}, &why), STATUS_OK);
    assert_int_equal(plan_load(&plan, &image, &layout, 0x1000, &why), STATUS_OK);
    assert_int_equal(guest_memory_read(&memory, gpa(MIB(1) + 0x1000), bytes, 4), STATUS_OK);
    assert_memory_equal(bytes, "\1\2\2\1", 4);
}

static void test_placing(void **state)
{
    struct guest_memory memory;
    struct layout layout;
    u64 at;

    (void)state;
    host_memory_init(MIB(1), MIB(32));
    assert_int_equal(guest_memory_allocate(&memory, MIB(4), &why), STATUS_OK);
    layout_init(&layout, &memory);
    assert_int_equal(layout_claim(&layout, MIB(1), 0x1001, &why), STATUS_OK);
    assert_int_equal(layout_place(&layout, 10, "it", &at, &why), STATUS_OK);
    assert_int_equal(at, MIB(1) + 0x2000);
    assert_int_equal(layout_place(&layout, 0, "it", &at, &why), STATUS_OK);
    assert_int_equal(at, MIB(1) + 0x3000);
    /* An image at the top of RAM: the gap below it is used, then low memory. */
    assert_int_equal(layout_claim(&layout, MIB(4) - 0x1000, 0x1000, &why), STATUS_OK);
    assert_int_equal(layout_place(&layout, 0x1000, "it", &at, &why), STATUS_OK);
    assert_int_equal(at, MIB(1) + 0x4000);
    assert_int_equal(layout_place(&layout, MIB(3) - 0x6000, "it", &at, &why), STATUS_OK);
    assert_int_equal(at, MIB(1) + 0x5000);
    assert_int_equal(layout_place(&layout, KIB(512), "it", &at, &why), STATUS_OK);
    assert_int_equal(at, 0x10000);
    assert_int_equal(layout_place(&layout, KIB(512), "a module", &at, &why), STATUS_NO_MEMORY);
    assert_string_equal(why.text,
                        "a module of 524288 bytes does not fit beside the image in mem=4M; use mem=5M or more");
    assert_int_equal(layout_place(&layout, ~0ull, "a module", &at, &why), STATUS_NO_MEMORY);

    layout_init(&layout, &memory);
    for (u64 i = 0; i < LAYOUT_MAX_EXTENTS; i++)
        assert_int_equal(layout_claim(&layout, MIB(1) + i * 0x2000, 0x1000, &why), STATUS_OK);
    assert_int_equal(layout_claim(&layout, MIB(3), 0x1000, &why), STATUS_UNSUPPORTED);
    assert_int_equal(layout_place(&layout, 1, "it", &at, &why), STATUS_UNSUPPORTED);
}

static void test_memory_map(void **state)
{
    static const struct layout_map_entry wanted[] = {
        {0,       KIB(640),        1},
        {0xe0000, KIB(128),        2},
        {MIB(1),  GIB(3) - MIB(1), 1},
        {GIB(4),  GIB(1),          1}
    };
    struct guest_memory memory;
    struct layout_map_entry entry;
    u32 index = 0;

    (void)state;
    host_memory_init(MIB(1), GIB(6));
    assert_int_equal(guest_memory_allocate(&memory, GIB(4), &why), STATUS_OK);
    assert_int_equal(layout_count_map_entries(&memory), ARRAY_SIZE(wanted));
    for (u32 i = 0; i < ARRAY_SIZE(wanted); i++) {
        assert_true(layout_next_map_entry(&memory, &index, &entry));
        assert_int_equal(entry.base, wanted[i].base);
        assert_int_equal(entry.size_bytes, wanted[i].size_bytes);
        assert_int_equal(entry.type, wanted[i].type);
    }
    assert_false(layout_next_map_entry(&memory, &index, &entry));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_classes),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_no_and_too_many_segments),
        cmocka_unit_test(test_address_form),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_overlap_last_wins),
        cmocka_unit_test(test_placing),
        cmocka_unit_test(test_memory_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
