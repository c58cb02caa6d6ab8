/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking up a guest's function when its VM has stopped: interrupts are off, and other VMs wait for this CPU. The image
 * is the guest's own, so every offset in it is checked before it is followed, and all work is counted. System V ABI
 * (gABI 4.1), "Sections" and "Symbol Table".
 */
#include "kernel/vm/symbols.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/load/elf.h"

#define MAX_SECTIONS    64u
#define STEPS_A_NAME    32u /* a cache miss or two, and the search for a dot */
#define SECTION_SYMTAB  2u
#define SECTION_IS_CODE 4u /* SHF_EXECINSTR */
#define SYMBOL_LABEL    0u /* what assemblers leave: no size, no type */
#define SYMBOL_FUNCTION 2u

/* Offsets of the fields; a word is 4 or 8 bytes by class. */
struct symbols_class {
    bool wide;
    u8 header_bytes, section_bytes, symbol_bytes;
    u8 shoff, shentsize, shnum;           /* ELF header */
    u8 flags, addr, offset, size, link;   /* section header; its type is at 4 */
    u8 value, symbol_size, info, section; /* symbol; its name is at 0 */
};

static const struct symbols_class elf32 = {false, 52, 40, 16, 32, 46, 48, 8, 12, 16, 20, 24, 4, 8, 12, 14};
static const struct symbols_class elf64 = {true, 64, 64, 24, 40, 58, 60, 8, 16, 24, 32, 40, 8, 16, 4, 6};

/* The section headers of a file, all of them there. */
struct sections {
    const struct image *image;
    const struct symbols_class *class;
    const u8 *first;
    u32 count;
    u32 stride;
    s64 left; /* steps; negative: there were too few */
};

struct best {
    u64 value;
    u64 size_bytes;
    const u8 *symbol;
    const u8 *names; /* up to names_end */
    const u8 *names_end;
};

static u64 word(const struct symbols_class *class, const u8 *at)
{
    return class->wide ? bytes_u64(at) : bytes_u32(at);
}

static bool open_sections(const struct image *image, struct sections *s)
{
    if (!elf_is(image) || image->size_bytes < elf64.header_bytes)
        return false;
    const struct symbols_class *class = image->bytes[4] == 2 ? &elf64 : &elf32;
    u64 at = word(class, image->bytes + class->shoff);
    u32 stride = bytes_u16(image->bytes + class->shentsize);
    u32 count = bytes_u16(image->bytes + class->shnum);
    count = count > MAX_SECTIONS ? MAX_SECTIONS : count;
    if (stride < class->section_bytes || !bytes_contain(image->size_bytes, at, (u64)count * stride))
        return false;
    *s = (struct sections){image, class, image->bytes + at, count, stride, s->left};
    return true;
}

static const u8 *section(const struct sections *s, u32 index)
{
    return index < s->count ? s->first + (u64)index * s->stride : NULL;
}

/* The bytes of a section in the file; false if they are not all there. */
static bool contents(const struct sections *s, const u8 *header, const u8 **first, u64 *bytes)
{
    u64 at = word(s->class, header + s->class->offset);

    *bytes = word(s->class, header + s->class->size);
    if (!bytes_contain(s->image->size_bytes, at, *bytes))
        return false;
    *first = s->image->bytes + at;
    return true;
}

static bool is_code(const struct sections *s, u32 index, u64 address)
{
    const u8 *header = section(s, index);

    return header && word(s->class, header + s->class->flags) & SECTION_IS_CODE &&
           address - word(s->class, header + s->class->addr) < word(s->class, header + s->class->size);
}

/*
 * A name with a dot inside is a label within a function ("start.loop"), or a clone ("print.part.0"), which is one. Only
 * what would be printed is looked at.
 */
static bool has_dot(const struct best *b)
{
    for (u32 i = 0; i < GUEST_SYMBOL_BYTES && b->names + i < b->names_end && b->names[i]; i++)
        if (b->names[i] == '.')
            return true;
    return false;
}

/* A function that says it contains the address is better than one that merely begins before it; then the nearest. */
static bool is_better(const struct best *one, const struct best *other)
{
    if (!other->symbol || !one->size_bytes != !other->size_bytes)
        return !other->symbol || one->size_bytes;
    return one->value > other->value;
}

/* Whether the symbol may be the address's function, and a better one; and its value, size and name. */
static bool read_symbol(struct sections *s, const u8 *symbol, u64 address, const struct best *best, struct best *out)
{
    const struct symbols_class *class = s->class;
    u32 type = symbol[class->info] & 0xf;

    out->symbol = symbol;
    out->value = word(class, symbol + class->value);
    out->size_bytes = word(class, symbol + class->symbol_size);
    if ((type != SYMBOL_FUNCTION && type != SYMBOL_LABEL) || out->value > address ||
        (out->size_bytes && address - out->value >= out->size_bytes) ||
        !is_code(s, bytes_u16(symbol + class->section), address) || !is_better(out, best))
        return false;
    s->left -= STEPS_A_NAME;
    u64 at = bytes_u32(symbol);
    if (at >= (u64)(out->names_end - out->names) || !out->names[at])
        return false;
    out->names += at;
    return type == SYMBOL_FUNCTION || !has_dot(out);
}

/* Looks at the whole table or, if that is too much, gives up: the best of a part may be a wrong one. */
static void look_in_table(struct sections *s, const u8 *header, u64 address, struct best *best)
{
    const u8 *table, *names;
    const u8 *strings = section(s, bytes_u32(header + s->class->link));
    u64 bytes, names_bytes;

    if (!strings || !contents(s, header, &table, &bytes) || !contents(s, strings, &names, &names_bytes))
        return;
    u64 count = bytes / s->class->symbol_bytes;
    if (s->left < 0 || count > (u64)s->left)
        return;
    s->left -= (s64)count;
    for (u64 i = 0; i < count && s->left >= 0; i++) {
        struct best found = {.names = names, .names_end = names + names_bytes};
        if (read_symbol(s, table + i * s->class->symbol_bytes, address, best, &found))
            *best = found;
    }
    if (s->left < 0)
        best->symbol = NULL;
}

static void copy_name(const struct best *best, char *out)
{
    u32 used = 0;

    for (const u8 *at = best->names; at < best->names_end && *at && used + 1 < GUEST_SYMBOL_BYTES; at++)
        out[used++] = *at > ' ' && *at <= '~' && *at != '"' && *at != '=' ? (char)*at : '?';
    out[used] = 0;
}

bool guest_symbols_find(const struct image *image, u64 address, u32 *steps, struct guest_symbol *out)
{
    s64 left = (s64)GUEST_SYMBOLS_STEPS - __atomic_load_n(steps, __ATOMIC_RELAXED);
    struct sections s = {.left = left};
    struct best best = {.symbol = NULL};
    u32 i = 0;

    if (!image->bytes || !open_sections(image, &s))
        return false;
    while (i < s.count && bytes_u32(section(&s, i) + 4) != SECTION_SYMTAB)
        i++;
    if (i < s.count) /* an ELF file has one at most */
        look_in_table(&s, section(&s, i), address, &best);
    __atomic_fetch_add(steps, (u32)(left - s.left), __ATOMIC_RELAXED);
    if (!best.symbol)
        return false;
    copy_name(&best, out->name);
    out->offset = address - best.value;
    return true;
}
