/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of the boot loader's multiboot2 information: every kind of tag that counts, and every way to be broken.
 * links: boot/multiboot2.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "boot/boot_info.h"

static u8 block[65536] ALIGNED(8);
static u32 used;
static struct boot_info info;
static struct refusal why;

static void put(u64 value, unsigned width)
{
    memcpy(block + used, &value, width);
    used += width;
}

static void put_text(const char *text)
{
    memcpy(block + used, text, strlen(text) + 1);
    used += (u32)strlen(text) + 1;
}

static void begin(void)
{
    memset(block, 0, sizeof block);
    used = 8;
}

static u32 open_tag(u32 type)
{
    used = (used + 7) & ~7u;
    u32 at = used;
    put(type, 4);
    put(0, 4);
    return at;
}

static void close_tag(u32 at)
{
    u32 size = used - at;
    memcpy(block + at + 4, &size, 4);
}

static void string_tag(u32 type, const char *text)
{
    u32 at = open_tag(type);
    put_text(text);
    close_tag(at);
}

static void module_tag(u32 start, u32 end, const char *line)
{
    u32 at = open_tag(3);
    put(start, 4);
    put(end, 4);
    put_text(line);
    close_tag(at);
}

static u32 open_map(u32 entry_bytes)
{
    u32 at = open_tag(6);
    put(entry_bytes, 4);
    put(0, 4);
    return at;
}

static void map_entry(u64 base, u64 size, u32 type)
{
    put(base, 8);
    put(size, 8);
    put(type, 8);
}

static void efi_entry_with(u32 type, u64 base, u64 pages, u64 attributes)
{
    put(type, 8);
    put(base, 8);
    put(0, 8);
    put(pages, 8);
    put(attributes, 8);
    put(0, 8); /* UEFI firmware uses descriptors of 48 bytes */
}

static void efi_entry(u32 type, u64 base, u64 pages)
{
    efi_entry_with(type, base, pages, 0xf); /* UC, WC, WT, WB */
}

static void small_map(void)
{
    u32 at = open_map(24);
    map_entry(0, 0x9fc00, 1);
    close_tag(at);
}

/* The parser gets a heap copy of exactly the block's size, so that the sanitizer sees a read past its end. */
static enum status parse_bytes(u32 size_bytes)
{
    static void *copy;

    free(copy);
    copy = malloc(size_bytes ? size_bytes : 1);
    memcpy(copy, block, size_bytes);
    why.text[0] = 0;
    return boot_info_parse(copy, size_bytes, &info, &why);
}

static enum status parse(void)
{
    close_tag(open_tag(0));
    memcpy(block, &used, 4);
    return parse_bytes(used);
}

static void test_everything(void **state)
{
    u8 rsdp[36];

    (void)state;
    for (u32 i = 0; i < sizeof rsdp; i++)
        rsdp[i] = (u8)(i + 1);
    begin();
    string_tag(1, "log=info");
    string_tag(2, "GRUB 2.06");
    module_tag(0x200000, 0x200001, "vm=a");
    module_tag(0x300000, 0x300000, "");
    u32 at = open_tag(15);
    memcpy(block + used, rsdp, 36);
    used += 36;
    close_tag(at);
    at = open_tag(14);
    memcpy(block + used, rsdp + 1, 20);
    used += 20;
    close_tag(at);
    at = open_tag(0x1234); /* unknown tags are skipped */
    put(7, 1);
    close_tag(at);
    at = open_map(32); /* entries may be larger than we know */
    map_entry(0, 0x9fc00, 1);
    put(0xdead, 8);
    map_entry(0xf0000, 0x10000, 2);
    put(0xdead, 8);
    map_entry(0x100000, 0x7f00000, 1);
    put(0xdead, 8);
    map_entry(0x8000000, 0x1000, 3);
    put(0xdead, 8);
    map_entry(0x8001000, 0x1000, 4);
    put(0xdead, 8);
    map_entry(0x8002000, 0x1000, 77);
    put(0xdead, 8);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_string_equal(info.command_line, "log=info");
    assert_string_equal(info.loader_name, "GRUB 2.06");
    assert_int_equal(info.module_count, 2);
    assert_int_equal(info.modules[0].start.raw, 0x200000);
    assert_int_equal(info.modules[0].size_bytes, 1);
    assert_string_equal(info.modules[0].line, "vm=a");
    assert_int_equal(info.modules[1].size_bytes, 0);
    assert_string_equal(info.modules[1].line, "");
    assert_int_equal(info.rsdp_bytes, 36);
    assert_memory_equal(info.rsdp, rsdp, 36);
    assert_false(info.regions_from_efi);
    assert_int_equal(info.region_count, 5);
    assert_int_equal(info.regions[0].kind, BOOT_REGION_RAM);
    assert_int_equal(info.regions[1].kind, BOOT_REGION_RESERVED);
    assert_int_equal(info.regions[2].base, 0x100000);
    assert_int_equal(info.regions[2].size_bytes, 0x7f00000);
    assert_int_equal(info.regions[3].kind, BOOT_REGION_ACPI);
    assert_int_equal(info.regions[3].size_bytes, 0x2000);
    assert_int_equal(info.regions[4].kind, BOOT_REGION_RESERVED);
}

static void screen_tag(u32 type, bool whole)
{
    u32 at = open_tag(8);

    put(0x9000000000ull, 8);
    put(8192, 4);
    put(1920, 4);
    put(1080, 4);
    put(32, 1);
    put(type, 1);
    put(0, 2);
    if (type == 1 && whole)
        put(0x080008080810ull, 6);
    close_tag(at);
}

/* The parser's view of a block with these tags. */
static const struct boot_screen *screen_of(u32 type, bool whole, bool second)
{
    begin();
    screen_tag(type, whole);
    if (second)
        screen_tag(2, true);
    small_map();
    assert_int_equal(parse(), STATUS_OK);
    return &info.screen;
}

static void test_screens(void **state)
{
    static const u8 shift[3] = {16, 8, 0}, bits[3] = {8, 8, 8};

    (void)state;
    const struct boot_screen *screen = screen_of(1, true, true); /* the first one counts */
    assert_int_equal(screen->kind, BOOT_SCREEN_RGB);
    assert_int_equal(screen->address, 0x9000000000ull);
    assert_int_equal(screen->row_bytes, 8192);
    assert_int_equal(screen->width, 1920);
    assert_int_equal(screen->height, 1080);
    assert_int_equal(screen->pixel_bits, 32);
    assert_memory_equal(screen->shift, shift, 3);
    assert_memory_equal(screen->bits, bits, 3);
    assert_int_equal(screen_of(0, true, true)->kind, BOOT_SCREEN_PALETTE);
    assert_int_equal(screen_of(2, true, false)->kind, BOOT_SCREEN_TEXT);
    assert_int_equal(screen_of(2, true, false)->width, 1920);
}

static void test_screens_that_make_no_sense(void **state)
{
    (void)state;
    assert_int_equal(screen_of(3, true, false)->kind, BOOT_SCREEN_UNKNOWN);
    assert_int_equal(screen_of(1, false, false)->kind, BOOT_SCREEN_UNKNOWN); /* no colours: too short */
    begin();
    u32 at = open_tag(8);
    put(0xb8000, 8);
    close_tag(at);
    small_map();
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.screen.kind, BOOT_SCREEN_UNKNOWN);
}

static void test_nothing_but_a_map(void **state)
{
    (void)state;
    begin();
    small_map();
    assert_int_equal(parse(), STATUS_OK);
    assert_string_equal(info.command_line, "");
    assert_string_equal(info.loader_name, "");
    assert_int_equal(info.module_count, 0);
    assert_int_equal(info.rsdp_bytes, 0);
    assert_int_equal(info.region_count, 1);
}

static void test_first_of_repeated_tags(void **state)
{
    (void)state;
    begin();
    string_tag(1, "first");
    small_map();
    string_tag(1, "second");
    u32 at = open_map(24);
    map_entry(0, ~0ull, 1);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_string_equal(info.command_line, "first");
    assert_int_equal(info.region_count, 1);
    assert_int_equal(info.regions[0].size_bytes, 0x9fc00);
}

static void test_rsdp_v1(void **state)
{
    (void)state;
    begin();
    small_map();
    u32 at = open_tag(14);
    memcpy(block + used, "RSD PTR abcdefghijklmnop", 20);
    used += 20;
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.rsdp_bytes, 20);
    assert_memory_equal(info.rsdp, "RSD PTR abcdefghijkl", 20);
}

/* Types of the UEFI specification; memory of the boot loader and of boot services is free after ExitBootServices. */
static void test_efi_map_is_preferred(void **state)
{
    static const enum boot_region_kind kinds[] = {
        BOOT_REGION_RESERVED, BOOT_REGION_RAM,      BOOT_REGION_RAM,      BOOT_REGION_RAM,
        BOOT_REGION_RAM,      BOOT_REGION_RESERVED, BOOT_REGION_RESERVED, BOOT_REGION_RAM,
        BOOT_REGION_RESERVED, BOOT_REGION_ACPI,     BOOT_REGION_ACPI,     BOOT_REGION_RESERVED,
        BOOT_REGION_RESERVED, BOOT_REGION_RESERVED, BOOT_REGION_RESERVED, BOOT_REGION_RESERVED,
    };

    (void)state;
    begin();
    small_map();
    u32 at = open_tag(17);
    put(48, 4);
    put(1, 4);
    for (u32 type = 0; type < ARRAY_SIZE(kinds); type++)
        efi_entry(type, 0x100000ull * (type * 2 + 1), 2);
    efi_entry(0x80000000u, 0x100000ull * 100, 2);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_true(info.regions_from_efi);
    assert_int_equal(info.region_count, ARRAY_SIZE(kinds) + 1);
    for (u32 type = 0; type < ARRAY_SIZE(kinds); type++) {
        assert_int_equal(info.regions[type].kind, kinds[type]);
        assert_int_equal(info.regions[type].base, 0x100000ull * (type * 2 + 1));
        assert_int_equal(info.regions[type].size_bytes, 8192);
    }
    assert_int_equal(info.regions[ARRAY_SIZE(kinds)].kind, BOOT_REGION_RESERVED);
}

/* RAM that cannot be write-back, or that is for a purpose of its own, is not for everybody. */
static void test_efi_attributes(void **state)
{
    (void)state;
    begin();
    u32 at = open_tag(17);
    put(48, 4);
    put(1, 4);
    efi_entry_with(7, 0x100000, 1, 0x7);
    efi_entry_with(7, 0x200000, 1, 0x4000f);
    efi_entry_with(7, 0x300000, 1, 0x8000000000001008ull);
    efi_entry_with(9, 0x400000, 1, 0);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.regions[0].kind, BOOT_REGION_RESERVED);
    assert_int_equal(info.regions[1].kind, BOOT_REGION_RESERVED);
    assert_int_equal(info.regions[2].kind, BOOT_REGION_RAM);
    assert_int_equal(info.regions[3].kind, BOOT_REGION_ACPI);
}

/* A loader that has not left boot services says so, and their memory is in use. */
static void test_efi_boot_services_not_left(void **state)
{
    (void)state;
    begin();
    u32 at = open_tag(17);
    put(48, 4);
    put(1, 4);
    for (u32 type = 2; type <= 4; type++)
        efi_entry(type, 0x100000ull * type, 1);
    close_tag(at);
    close_tag(open_tag(18));
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.regions[0].kind, BOOT_REGION_RAM);
    assert_int_equal(info.regions[1].kind, BOOT_REGION_RESERVED);
    assert_int_equal(info.regions[2].kind, BOOT_REGION_RESERVED);
}

static void test_wrapping_regions(void **state)
{
    (void)state;
    begin();
    u32 at = open_map(24);
    map_entry(0x1000, ~0ull, 1);                 /* RAM that wraps is not believed */
    map_entry(0xfffffffffffff000ull, 0x2000, 2); /* a reservation is cut */
    map_entry(0x5000, 0, 1);                     /* empty */
    map_entry(0xffffffffffffe000ull, 0x1000, 1);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.region_count, 2);
    assert_true(info.regions[0].base == 0xfffffffffffff000ull);
    assert_int_equal(info.regions[0].size_bytes, 0x1000);
    assert_int_equal(info.regions[0].kind, BOOT_REGION_RESERVED);
    assert_int_equal(info.regions[1].kind, BOOT_REGION_RAM);

    begin();
    at = open_map(24);
    map_entry(0xfffffffffffff000ull, 0x1000, 2); /* ends at 2^64: what begins at 0 does not continue it */
    map_entry(0, 0x1000, 2);
    map_entry(0, ~0ull, 3);
    map_entry(~0ull, 1, 3); /* together 2^64 bytes, which no size can say */
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.region_count, 4);
    assert_true(info.regions[2].size_bytes == ~0ull);

    begin();
    at = open_tag(17);
    put(48, 4);
    put(1, 4);
    efi_entry(7, 0x1000, 1ull << 52); /* the byte count does not fit 64 bits */
    efi_entry(0, 0x2000, ~0ull);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.region_count, 1);
    assert_int_equal(info.regions[0].kind, BOOT_REGION_RESERVED);
    assert_true(info.regions[0].size_bytes == 0ull - 0x2000);
}

static void put_section(u32 type, u64 address, u64 size, u32 link)
{
    put(0, 4); /* name */
    put(type, 4);
    put(0, 8); /* flags */
    put(address, 8);
    put(0, 8); /* offset */
    put(size, 8);
    put(link, 4);
    put(0, 4);
    put(1, 8);
    put(24, 8);
}

/* The tag as GRUB lays it out: three words, then the file's section headers with the addresses it chose. */
static void sections_tag(u64 symtab_address, u64 symtab_size, u32 link, u64 strtab_address)
{
    begin();
    small_map();
    u32 at = open_tag(9);
    put(4, 4);
    put(64, 4);
    put(3, 4);
    put_section(0, 0, 0, 0);
    put_section(1, 0xffffffff80100000ull, 0x20000, 0);
    put_section(2, symtab_address, symtab_size, link);
    put_section(3, strtab_address, 1000, 0);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
}

static void test_symbols(void **state)
{
    (void)state;
    sections_tag(0x200000, 2400, 3, 0x201000);
    assert_int_equal(info.symbols.entries.raw, 0x200000);
    assert_int_equal(info.symbols.entries_bytes, 2400);
    assert_int_equal(info.symbols.names.raw, 0x201000);
    assert_int_equal(info.symbols.names_bytes, 1000);

    static const struct {
        u64 symtab, size, link, strtab;
    } bad[] = {
        {0,           2400,   3,           0x201000}, /* not loaded */
        {0x200000,    2400,   3,           0       }, /* names not loaded */
        {0x200000,    2400,   4,           0x201000}, /* no such section */
        {0x200000,    2400,   0xffffffffu, 0x201000}, /* likewise */
        {0xfffff000u, 0x1001, 3,           0x201000}, /* beyond what is mapped */
        {0x200000,    2400,   3,           ~0ull   },
        {0x200000,    ~0ull,  3,           0x201000},
    };
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        sections_tag(bad[i].symtab, bad[i].size, (u32)bad[i].link, bad[i].strtab);
        assert_int_equal(info.symbols.entries_bytes, 0);
        assert_int_equal(info.symbols.names_bytes, 0);
        assert_int_equal(info.symbols.entries.raw, 0);
    }
}

/* A tag that ends within a section header, or before the first. */
static void test_short_sections(void **state)
{
    (void)state;
    for (u32 bytes = 0; bytes < 12 + 2 * 64; bytes++) {
        begin();
        small_map();
        u32 at = open_tag(9);
        put(2, 4);
        put(64, 4);
        put(1, 4);
        put_section(2, 0x200000, 24, 1);
        put_section(3, 0x201000, 10, 0);
        used = at + 8 + bytes;
        close_tag(at);
        memset(block + used, 0, 16);
        assert_int_equal(parse(), STATUS_OK);
        assert_int_equal(info.symbols.entries.raw, 0);
    }
}

/* More regions than the table has rows: RAM goes, reservations stay. */
static void test_full_region_table(void **state)
{
    (void)state;
    begin();
    u32 at = open_map(24);
    for (u64 i = 0; i < BOOT_MAX_REGIONS; i++)
        map_entry(i * 0x10000, 0x1000 + i * 8, 1);
    map_entry(0x40000000, 0x100000, 1);
    map_entry(0x50000000, 0x1000, 2);
    map_entry(0x60000000, 0x1000, 3);
    close_tag(at);
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.region_count, BOOT_MAX_REGIONS);
    u32 reserved = 0;
    for (u32 i = 0; i < info.region_count; i++) {
        assert_int_not_equal(info.regions[i].base, 0x40000000);
        reserved += info.regions[i].base == 0x50000000 && info.regions[i].kind == BOOT_REGION_RESERVED;
        reserved += info.regions[i].base == 0x60000000 && info.regions[i].kind == BOOT_REGION_ACPI;
    }
    assert_int_equal(reserved, 2);
    assert_int_equal(info.regions[2].base, 0x20000); /* the smallest pieces went */

    begin();
    at = open_map(24);
    for (u64 i = 0; i <= BOOT_MAX_REGIONS; i++)
        map_entry(i * 0x10000, 0x1000, 2);
    close_tag(at);
    assert_int_equal(parse(), STATUS_INVALID);
    assert_non_null(strstr(why.text, "more than 256 reserved regions"));
}

static void test_too_many_modules(void **state)
{
    (void)state;
    begin();
    small_map();
    for (u32 i = 0; i < BOOT_MAX_MODULES + 3; i++)
        module_tag(0x100000 + i * 0x1000, 0x100800 + i * 0x1000, "vm=m");
    assert_int_equal(parse(), STATUS_OK);
    assert_int_equal(info.module_count, BOOT_MAX_MODULES);
    assert_int_equal(info.modules_dropped, 3);
    assert_int_equal(info.modules[BOOT_MAX_MODULES - 1].start.raw, 0x100000 + (BOOT_MAX_MODULES - 1) * 0x1000);
}

static void expect_refusal(enum status status, const char *text)
{
    assert_int_equal(parse(), status);
    if (!strstr(why.text, text))
        fail_msg("refused with '%s', not '%s'", why.text, text);
}

static void test_broken_tags(void **state)
{
    u32 at;

    (void)state;
    begin();
    expect_refusal(STATUS_INVALID, "no memory map");
    begin();
    small_map();
    module_tag(0x2000, 0x1fff, "vm=a");
    expect_refusal(STATUS_INVALID, "module ends at 0x1fff before its start 0x2000");
    begin();
    small_map();
    at = open_tag(3);
    put(0, 4);
    close_tag(at);
    expect_refusal(STATUS_TRUNCATED, "module tag of 12 bytes");
    begin();
    small_map();
    at = open_tag(3);
    put(0, 8);
    close_tag(at);
    expect_refusal(STATUS_TRUNCATED, "string of tag 3 has no end");
    begin();
    small_map();
    at = open_tag(1);
    put(0x6161616161616161ull, 8);
    close_tag(at);
    expect_refusal(STATUS_TRUNCATED, "string of tag 1 has no end");
    begin();
    small_map();
    close_tag(open_tag(2));
    expect_refusal(STATUS_TRUNCATED, "string of tag 2 has no end");
    begin();
    small_map();
    at = open_tag(15);
    put(0, 8);
    close_tag(at);
    expect_refusal(STATUS_TRUNCATED, "RSDP tag of 16 bytes");
    begin();
    small_map();
    at = open_tag(9);
    block[at + 4] = 7;
    expect_refusal(STATUS_INVALID, "tag 9 has size 7");
    begin();
    small_map();
    at = open_tag(9);
    put(~0ull, 8);
    memset(block + at + 4, 0xff, 4);
    expect_refusal(STATUS_TRUNCATED, "tag 9 runs past the end");
}

static void test_broken_maps(void **state)
{
    static const u32 bad[] = {0, 16, 23, 25, 40, 0xffffffffu};
    u32 at;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
        begin();
        at = open_map(bad[i]);
        map_entry(0, 0x1000, 1);
        map_entry(0x1000, 0x1000, 1);
        close_tag(at);
        expect_refusal(STATUS_INVALID, "memory map of 48 bytes with entries of");
    }
    begin();
    at = open_tag(6);
    put(24, 4);
    close_tag(at);
    expect_refusal(STATUS_TRUNCATED, "memory map of 12 bytes");
    begin();
    small_map();
    at = open_tag(17);
    put(39, 4);
    put(1, 4);
    used += 39;
    close_tag(at);
    expect_refusal(STATUS_INVALID, "entries of 39");
}

/* Cut at every length: never accepted, never read past the end. */
static void test_truncation(void **state)
{
    (void)state;
    begin();
    string_tag(1, "log=info");
    module_tag(0x200000, 0x200001, "vm=a");
    small_map();
    assert_int_equal(parse(), STATUS_OK);
    u32 whole = used;
    for (u32 size = 0; size < whole; size++)
        assert_int_equal(parse_bytes(size), STATUS_TRUNCATED);
    for (u32 size = 0; size < whole; size++) {
        memcpy(block, &size, 4);
        assert_int_equal(parse_bytes(whole), STATUS_TRUNCATED);
    }
    whole += 1;
    memcpy(block, &whole, 4);
    assert_int_equal(parse_bytes(whole - 1), STATUS_TRUNCATED);
    assert_non_null(strstr(why.text, "only"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_screens),
        cmocka_unit_test(test_screens_that_make_no_sense),
        cmocka_unit_test(test_nothing_but_a_map),
        cmocka_unit_test(test_first_of_repeated_tags),
        cmocka_unit_test(test_rsdp_v1),
        cmocka_unit_test(test_efi_map_is_preferred),
        cmocka_unit_test(test_efi_attributes),
        cmocka_unit_test(test_efi_boot_services_not_left),
        cmocka_unit_test(test_wrapping_regions),
        cmocka_unit_test(test_symbols),
        cmocka_unit_test(test_short_sections),
        cmocka_unit_test(test_full_region_table),
        cmocka_unit_test(test_too_many_modules),
        cmocka_unit_test(test_broken_tags),
        cmocka_unit_test(test_broken_maps),
        cmocka_unit_test(test_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
