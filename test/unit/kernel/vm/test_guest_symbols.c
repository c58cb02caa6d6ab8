/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of a guest's functions out of ELF files of both classes: whole, cut, with bytes changed at random, and made to
 * hold up the CPU.
 * links: kernel/vm/symbols.c kernel/load/elf.c kernel/load/plan.c kernel/load/layout.c kernel/vm/memory.c
 * kernel/vm/layer.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "kernel/vm/symbols.h"

enum { NO_SECTION, TEXT, DATA, SYMTAB, STRTAB, SECTIONS };

#define TEXT_AT    0x100000u
#define TEXT_BYTES 0x10000u

static const struct {
    const char *name;
    u8 type;
    u16 section;
    u32 value, size;
} rows[] = {
    {"",                  STT_NOTYPE, 0,       0,        0    },
    {"file.c",            STT_FILE,   SHN_ABS, 0x100100, 0    },
    {"variable",          STT_OBJECT, DATA,    0x200000, 0x100},
    {"late",              STT_FUNC,   TEXT,    0x100800, 0x20 }, /* in no order */
    {"early",             STT_FUNC,   TEXT,    0x100100, 0x80 },
    {"entry",             STT_NOTYPE, TEXT,    0x100000, 0    },
    {"entry.loop",        STT_NOTYPE, TEXT,    0x100010, 0    },
    {"print.part.0",      STT_FUNC,   TEXT,    0x100300, 0x10 },
    {"inside",            STT_NOTYPE, TEXT,    0x100120, 0    }, /* a label within early */
    {"CONSTANT",          STT_NOTYPE, SHN_ABS, 0x100810, 0    },
    {"data_label",        STT_NOTYPE, DATA,    0x200000, 0    },
    {"nowhere",           STT_FUNC,   99,      0x100900, 0x10 },
    {"a \"b\"=c\x01\xff", STT_FUNC,   TEXT,    0x100a00, 0x10 },
};

static u8 file[4096];
static u64 file_bytes;
static struct guest_symbol found;

static u32 add_names(u8 *strings, u32 *name_of)
{
    u32 used = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        name_of[i] = used;
        strcpy((char *)strings + used, rows[i].name);
        used += (u32)strlen(rows[i].name) + 1;
    }
    return used;
}

/* The same file in both classes: header, section headers at 0x40, symbols at 0x400, their names at 0x800. */
#define BUILD(bits)                                                                                                    \
    static int build##bits(void **state)                                                                               \
    {                                                                                                                  \
        u32 name_of[ARRAY_SIZE(rows)];                                                                                 \
        (void)state;                                                                                                   \
        memset(file, 0, sizeof file);                                                                                  \
        u32 strings = add_names(file + 0x800, name_of);                                                                \
        Elf##bits##_Sym *symbols = (void *)(file + 0x400);                                                             \
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)                                                                  \
            symbols[i] = (Elf##bits##_Sym){.st_name = name_of[i],                                                      \
                                           .st_info = rows[i].type,                                                    \
                                           .st_shndx = rows[i].section,                                                \
                                           .st_value = rows[i].value,                                                  \
                                           .st_size = rows[i].size};                                                   \
        Elf##bits##_Shdr *sections = (void *)(file + 0x40);                                                            \
        sections[TEXT] = (Elf##bits##_Shdr){.sh_type = SHT_PROGBITS,                                                   \
                                            .sh_flags = SHF_ALLOC | SHF_EXECINSTR,                                     \
                                            .sh_addr = TEXT_AT,                                                        \
                                            .sh_size = TEXT_BYTES};                                                    \
        sections[DATA] = (Elf##bits##_Shdr){                                                                           \
            .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_WRITE, .sh_addr = 0x200000, .sh_size = 0x1000};       \
        sections[SYMTAB] = (Elf##bits##_Shdr){.sh_type = SHT_SYMTAB,                                                   \
                                              .sh_offset = 0x400,                                                      \
                                              .sh_size = ARRAY_SIZE(rows) * sizeof *symbols,                           \
                                              .sh_link = STRTAB};                                                      \
        sections[STRTAB] = (Elf##bits##_Shdr){.sh_type = SHT_STRTAB, .sh_offset = 0x800, .sh_size = strings};          \
        Elf##bits##_Ehdr *header = (void *)file;                                                                       \
        memcpy(header->e_ident, ELFMAG, SELFMAG);                                                                      \
        header->e_ident[EI_CLASS] = ELFCLASS##bits;                                                                    \
        header->e_shoff = 0x40;                                                                                        \
        header->e_shentsize = sizeof *sections;                                                                        \
        header->e_shnum = SECTIONS;                                                                                    \
        file_bytes = 0x800 + strings;                                                                                  \
        return 0;                                                                                                      \
    }
BUILD(32)
BUILD(64)

/* On a copy of exactly that size, so that the sanitizer sees each byte read behind its end. */
static bool find_in(const u8 *bytes, u64 size, u64 address)
{
    u32 steps = 0;
    u8 *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    struct image image = {copy, size, ""};
    bool result = guest_symbols_find(&image, address, &steps, &found);
    free(copy);
    return result;
}

static void expect(u64 address, const char *name, u64 offset)
{
    assert_true(find_in(file, file_bytes, address));
    assert_string_equal(found.name, name);
    assert_int_equal(found.offset, offset);
}

static void test_functions_and_labels(void **state)
{
    (void)state;
    expect(0x100000, "entry", 0);
    expect(0x100015, "entry", 0x15); /* entry.loop is a part of it */
    expect(0x100100, "early", 0);
    expect(0x100130, "early", 0x30); /* not the label inside, though it is nearer */
    expect(0x10017f, "early", 0x7f);
    expect(0x100180, "inside", 0x60); /* behind the end of early: the nearest label */
    expect(0x10030f, "print.part.0", 0xf);
    expect(0x100815, "late", 0x15); /* no constant is a function */
    expect(0x100a05, "a??b??c??", 5);
}

static void test_no_function(void **state)
{
    (void)state;
    assert_false(find_in(file, file_bytes, TEXT_AT - 1));
    assert_false(find_in(file, file_bytes, TEXT_AT + TEXT_BYTES));
    assert_false(find_in(file, file_bytes, 0x200010)); /* data */
    assert_false(find_in(file, file_bytes, ~0ull));
    assert_true(
        find_in(file, file_bytes, 0x100905)); /* the nearest label, not the one in a section that does not exist */
    assert_string_equal(found.name, "inside");
}

static void test_images_without_symbols(void **state)
{
    struct image none = {NULL, 0, ""};
    u32 steps = 0;

    (void)state;
    assert_false(guest_symbols_find(&none, TEXT_AT, &steps, &found));
    assert_false(find_in((const u8 *)"MZ", 2, TEXT_AT));
    file[0] = 0;
    assert_false(find_in(file, file_bytes, TEXT_AT));
}

static void test_long_name(void **state)
{
    (void)state;
    memset(file + 0x800, 'x', file_bytes - 0x800); /* and without an end */
    assert_true(find_in(file, file_bytes, 0x100805));
    assert_int_equal(strlen(found.name), GUEST_SYMBOL_BYTES - 1);
}

/* The section headers at the end of the file, and said to be smaller than they are. */
static void test_short_section_headers(void **state)
{
    bool wide = file[EI_CLASS] == ELFCLASS64;
    u64 at = sizeof file - 8;

    (void)state;
    memcpy(file + (wide ? 40 : 32), &at, wide ? 8 : 4);
    memset(file + (wide ? 58 : 46), 0, 4);
    file[wide ? 58 : 46] = 8;
    file[wide ? 60 : 48] = 1;
    file[at + 4] = SHT_SYMTAB;
    assert_false(find_in(file, sizeof file, TEXT_AT));
}

static void check_found(bool result)
{
    if (!result)
        return;
    size_t length = strnlen(found.name, GUEST_SYMBOL_BYTES);
    assert_in_range(length, 1, GUEST_SYMBOL_BYTES - 1);
    for (size_t i = 0; i < length; i++)
        assert_true(found.name[i] > ' ' && found.name[i] <= '~' && found.name[i] != '"' && found.name[i] != '=');
}

static void test_every_cut(void **state)
{
    (void)state;
    for (u64 size = 0; size < file_bytes; size++)
        check_found(find_in(file, size, 0x100130));
    assert_false(find_in(file, file_bytes - 1, 0x100130)); /* the names are not all there */
}

/* Header, section headers or symbols with up to four bytes changed, often to extremes. */
static void test_corrupted(void **state)
{
    static const u8 extremes[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
    static u8 copy[sizeof file];

    (void)state;
    srand(3);
    for (unsigned round = 0; round < 40000; round++) {
        memcpy(copy, file, file_bytes);
        for (unsigned i = 0; i <= round % 4; i++) {
            u32 where = (u32)rand() % 3 == 0 ? (u32)rand() % 64 : (u32)rand() % (u32)file_bytes;
            copy[where] = rand() & 1 ? extremes[(u32)rand() % sizeof extremes] : (u8)rand();
        }
        memcpy(copy, ELFMAG, SELFMAG);
        check_found(find_in(copy, file_bytes, 0x100000 + (u32)rand() % 0x1000));
    }
}

/* ---- images that are made to hold up the CPU ---- */

#define TABLES      62u
#define NAMES_BYTES 0x10000u /* without a dot and without an end */
#define NAME_STEPS  32u
#define WORST_BYTES 0x100000u /* of code */
#define WORST_AT    (TEXT_AT + WORST_BYTES - 1)
#define LOOKUPS     160u /* a report on 16 vCPUs */

/* All tables are the same `count` symbols, each of which needs its name looked at: labels, each nearer than the one
 * before. */
static struct image make_worst(u32 count)
{
    u64 table_at = 0x2000, names_at = table_at + count * sizeof(Elf64_Sym);
    u8 *bytes = calloc(1, names_at + NAMES_BYTES);
    Elf64_Ehdr *header = (void *)bytes;
    Elf64_Shdr *sections = (void *)(bytes + 0x40);
    Elf64_Sym *symbols = (void *)(bytes + table_at);

    memcpy(header->e_ident, ELFMAG, SELFMAG);
    header->e_ident[EI_CLASS] = ELFCLASS64;
    header->e_shoff = 0x40;
    header->e_shentsize = sizeof *sections;
    header->e_shnum = 2 + TABLES;
    sections[0] = (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = names_at, .sh_size = NAMES_BYTES};
    sections[1] = (Elf64_Shdr){.sh_flags = SHF_EXECINSTR, .sh_addr = TEXT_AT, .sh_size = WORST_BYTES};
    for (u32 i = 0; i < TABLES; i++)
        sections[2 + i] =
            (Elf64_Shdr){.sh_type = SHT_SYMTAB, .sh_offset = table_at, .sh_size = count * sizeof *symbols};
    for (u32 i = 0; i < count; i++)
        symbols[i] = (Elf64_Sym){.st_shndx = 1, .st_value = TEXT_AT + i};
    memset(bytes + names_at, 'x', NAMES_BYTES);
    return (struct image){bytes, names_at + NAMES_BYTES, ""};
}

/* The bound on time is some hundred times what it takes; without its limits the lookup takes a hundred times that. */
static void test_a_whole_report_on_the_worst_image(void **state)
{
    static const u32 counts[] = {100, 1000, 0x4000, 0x20000, GUEST_SYMBOLS_STEPS, 2 * GUEST_SYMBOLS_STEPS};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        struct image image = make_worst(counts[i]);
        clock_t begun = clock();
        u32 steps = 0;
        for (u32 n = 0; n < LOOKUPS; n++) {
            guest_symbols_find(&image, WORST_AT - n, &steps, &found);
            assert_true(clock() - begun < CLOCKS_PER_SEC);
        }
        assert_in_range(steps, 0, GUEST_SYMBOLS_STEPS + NAME_STEPS);
        free((void *)image.bytes);
    }
}

/* Each lookup counts, its names 32 times; what is left suffices for a whole lookup or for none. */
static void test_lookups_end_when_the_steps_are_spent(void **state)
{
    u32 steps = 0, lookups = 0;

    (void)state;
    struct image image = make_worst(100);
    while (guest_symbols_find(&image, WORST_AT, &steps, &found))
        lookups++;
    assert_int_equal(lookups, GUEST_SYMBOLS_STEPS / (100 + NAME_STEPS * 100));
    free((void *)image.bytes);
    image = make_worst(2500); /* the table is small enough, but not with its names */
    steps = GUEST_SYMBOLS_STEPS - 2500 - NAME_STEPS * 2500;
    assert_true(guest_symbols_find(&image, WORST_AT, &steps, &found));
    steps = GUEST_SYMBOLS_STEPS - 2500 - NAME_STEPS * 2500 + 1;
    assert_false(guest_symbols_find(&image, WORST_AT, &steps, &found));
    free((void *)image.bytes);
}

static void test_only_the_first_table(void **state)
{
    struct image image = make_worst(2);
    Elf64_Shdr *sections = (void *)(image.bytes + 0x40);
    u32 steps = 0;

    (void)state;
    sections[2].sh_size = 0;
    assert_false(guest_symbols_find(&image, WORST_AT, &steps, &found));
    sections[2].sh_type = SHT_PROGBITS;
    assert_true(guest_symbols_find(&image, WORST_AT, &steps, &found));
    free((void *)image.bytes);
}

#define BOTH(test) cmocka_unit_test_setup(test, build32), cmocka_unit_test_setup(test, build64)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_functions_and_labels),
        BOTH(test_no_function),
        BOTH(test_images_without_symbols),
        BOTH(test_long_name),
        BOTH(test_every_cut),
        BOTH(test_short_section_headers),
        BOTH(test_corrupted),
        cmocka_unit_test(test_a_whole_report_on_the_worst_image),
        cmocka_unit_test(test_lookups_end_when_the_steps_are_spent),
        cmocka_unit_test(test_only_the_first_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
