/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names for addresses out of an ELF symbol table, whole and broken.
 * links: kernel/symbols.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/paging.h"
#include "kernel/symbols.h"

/* What the linker script defines for the kernel: 64 KiB of "code". */
asm(".pushsection .bss\n\t.balign 4096\n\t.globl image_start, image_text_end\n\t.zero 4096\n"
    "image_start:\n\t.zero 65536\nimage_text_end:\n\t.zero 4096\n\t.popsection");
extern const u8 image_start[], image_text_end[];

static Elf64_Sym table[32];
static char names[1024];
static u32 count;
static u32 used;
static struct symbol found;

void *phys_to_virt(hpa_t address)
{
    return (void *)(uintptr_t)address.raw;
}

static u64 code(u64 offset)
{
    return (u64)(uintptr_t)image_start + offset;
}

static void add(const char *name, u8 type, u64 value)
{
    table[count++] = (Elf64_Sym){.st_name = used, .st_info = ELF64_ST_INFO(STB_LOCAL, type), .st_value = value};
    strcpy(names + used, name);
    used += (u32)strlen(name) + 1;
}

static void use(u64 entries_bytes, u64 names_bytes)
{
    struct boot_symbols symbols = {hpa((u64)(uintptr_t)table), entries_bytes, hpa((u64)(uintptr_t)names), names_bytes};

    memset(&found, 0, sizeof found);
    symbols_init(&symbols);
}

static int fill(void **state)
{
    (void)state;
    count = used = 0;
    add("", STT_NOTYPE, 0);
    add("main.c", STT_FILE, 0);
    add(".text", STT_SECTION, code(0));
    add("last", STT_FUNC, code(0x300)); /* in no order */
    add("data", STT_OBJECT, code(0x210));
    add("clone.constprop.0", STT_FUNC, code(0x200));
    add("entry", STT_NOTYPE, code(0x100));
    add("entry.loop", STT_NOTYPE, code(0x110));
    add("CONSTANT", STT_NOTYPE, 0x80);
    add("image_text_end", STT_NOTYPE, code(0x10000));
    use(count * sizeof *table, used);
    return 0;
}

static void expect(u64 offset, const char *name, u64 from)
{
    assert_true(symbols_find(code(offset), &found));
    assert_string_equal(found.name, name);
    assert_int_equal(found.offset, from);
}

static void test_nearest_function(void **state)
{
    (void)state;
    expect(0x100, "entry", 0);
    expect(0x1ff, "entry", 0xff);
    expect(0x200, "clone", 0);
    expect(0x2ff, "clone", 0xff);
    expect(0x300, "last", 0);
    expect(0xffff, "last", 0xfcff);
}

static void test_no_function(void **state)
{
    (void)state;
    assert_false(symbols_find(code(0xff), &found)); /* before the first */
    assert_false(symbols_find(code(0x10000), &found));
    assert_false(symbols_find(code(0) - 1, &found));
    assert_false(symbols_find(0x80, &found));
    assert_true(symbols_is_code(code(0)) && symbols_is_code(code(0xffff)));
    assert_false(symbols_is_code(code(0) - 1) || symbols_is_code(code(0x10000)));
}

static void test_broken_tables(void **state)
{
    (void)state;
    use(0, 0);
    assert_false(symbols_find(code(0x300), &found));
    use(4 * sizeof *table - 1, used); /* the last entry is cut */
    assert_false(symbols_find(code(0x300), &found));
    use(4 * sizeof *table, used);
    expect(0x300, "last", 0);
    use(4 * sizeof *table, table[3].st_name + 2); /* the name is cut */
    expect(0x300, "la", 0);
    table[3].st_name = 0xffffffffu;
    use(4 * sizeof *table, used);
    assert_false(symbols_find(code(0x300), &found));
}

static void test_long_name(void **state)
{
    char name[100] = {0};

    (void)state;
    memset(name, 'x', 99);
    add(name, STT_FUNC, code(0x400));
    use(count * sizeof *table, used);
    name[SYMBOLS_NAME_BYTES - 1] = 0;
    expect(0x400, name, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nearest_function, fill),
        cmocka_unit_test_setup(test_no_function, fill),
        cmocka_unit_test_setup(test_broken_tables, fill),
        cmocka_unit_test_setup(test_long_name, fill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
