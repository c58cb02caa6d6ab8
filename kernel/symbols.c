/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking up a function's name, at leisure. Runs in a panic, so it trusts nothing in the tables but that they are
 * mapped: a broken one costs a name. ELF-64 Object File Format 1.5, "Symbol Table".
 */
#include "kernel/symbols.h"
#include "arch/x86/paging.h"

enum symbol_type {
    SYMBOL_LABEL = 0, /* NASM knows no functions */
    SYMBOL_FUNCTION = 2,
};

struct elf_symbol {
    u32 name; /* offset in the names */
    u8 info;  /* bits 3:0: the type */
    u8 other;
    u16 section;
    u64 value;
    u64 size_bytes;
};

extern const u8 image_start[], image_text_end[];

static struct boot_symbols table;

void symbols_init(const struct boot_symbols *symbols)
{
    table = *symbols;
}

bool symbols_is_code(u64 address)
{
    return address >= (u64)(uintptr_t)image_start && address < (u64)(uintptr_t)image_text_end;
}

/* False for what is no function: data, or a label within one, "function.label". GCC's clones are "function.part.0". */
static bool copy_name(const struct elf_symbol *symbol, char *out)
{
    const char *names = phys_to_virt(table.names);
    u32 type = symbol->info & 0xf;
    u32 used = 0;
    char next = 0;

    for (u64 at = symbol->name; at < table.names_bytes && used + 1 < SYMBOLS_NAME_BYTES; at++) {
        next = names[at];
        if (next == 0 || next == '.')
            break;
        out[used++] = next;
    }
    out[used] = 0;
    return used && (type == SYMBOL_FUNCTION || (type == SYMBOL_LABEL && next != '.'));
}

bool symbols_find(u64 address, struct symbol *out)
{
    const struct elf_symbol *symbols = phys_to_virt(table.entries);
    u64 best = 0;

    if (!symbols_is_code(address))
        return false;
    /* A copy of each that comes nearer is simpler than a sorted table. */
    for (u64 i = 0; i < table.entries_bytes / sizeof *symbols; i++) {
        struct symbol found;
        u64 value = symbols[i].value;
        if (value <= address && value > best && symbols_is_code(value) && copy_name(&symbols[i], found.name)) {
            best = value;
            *out = found;
            out->offset = address - value;
        }
    }
    return best;
}
