/*
 * Finds a note in an ELF file by its program headers. What else stands in the file is elf.c's to judge, when it is
 * loaded: here only what is read is checked. System V ABI (gABI 4.1), "Program Header" and "Note Section".
 */
#include "kernel/load/elf_note.h"
#include "kernel/load/elf.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define ELF_CLASS         4u
#define ELF_CLASS_32      1u
#define ELF_CLASS_64      2u
#define ELF_PT_NOTE       4u
#define NOTE_HEADER_BYTES 12u

/* Offsets of the fields; a word is 4 or 8 bytes by class. */
struct note_class {
    bool wide;
    u8 header_bytes;
    u8 phoff; /* a word */
    u8 phentsize, phnum;
    u8 program_bytes;
    u8 offset, filesz, align; /* words of a program header */
};

/* The program headers of a file, all of them there. */
struct programs {
    const struct note_class *class;
    const u8 *first;
    u32 count;
    u32 stride;
};

static const struct note_class elf32 = {false, 52, 28, 42, 44, 32, 4, 16, 28};
static const struct note_class elf64 = {true, 64, 32, 54, 56, 56, 8, 32, 48};

static u64 word(const struct note_class *class, const u8 *at)
{
    return class->wide ? bytes_u64(at) : bytes_u32(at);
}

static bool open_programs(const struct image *image, struct programs *programs)
{
    if (!elf_is(image) || image->size_bytes <= ELF_CLASS)
        return false;
    u8 width = image->bytes[ELF_CLASS];
    const struct note_class *class = width == ELF_CLASS_64 ? &elf64 : &elf32;
    if ((width != ELF_CLASS_32 && width != ELF_CLASS_64) || image->size_bytes < class->header_bytes)
        return false;
    u64 offset = word(class, image->bytes + class->phoff);
    u32 stride = bytes_u16(image->bytes + class->phentsize);
    u32 count = bytes_u16(image->bytes + class->phnum);
    if (stride < class->program_bytes || !bytes_contain(image->size_bytes, offset, (u64)count * stride))
        return false;
    *programs = (struct programs){class, image->bytes + offset, count, stride};
    return true;
}

/*
 * Looks in one segment of notes: each has a header (bytes of the name, bytes of the value, type), the name and the
 * value, both padded to the alignment.
 */
static bool find_in_segment(const u8 *notes, u64 bytes, u64 alignment, const struct elf_note_key *key, u64 *value)
{
    u64 name_bytes = string_length(key->name) + 1;
    u64 at = 0;

    while (bytes_contain(bytes, at, NOTE_HEADER_BYTES)) {
        const u8 *note = notes + at;
        u32 value_bytes = bytes_u32(note + 4);
        u64 value_at = at + bits_align_up(NOTE_HEADER_BYTES + (u64)bytes_u32(note), alignment);
        if (!bytes_contain(bytes, value_at, value_bytes))
            return false;
        if (bytes_u32(note + 8) == key->type && bytes_u32(note) == name_bytes &&
            memcmp(note + NOTE_HEADER_BYTES, key->name, name_bytes) == 0 && (value_bytes == 4 || value_bytes == 8)) {
            *value = value_bytes == 8 ? bytes_u64(notes + value_at) : bytes_u32(notes + value_at);
            return true;
        }
        at = value_at + bits_align_up(value_bytes, alignment);
    }
    return false;
}

bool elf_note_find(const struct image *image, const struct elf_note_key *key, u64 *value)
{
    struct programs programs;

    if (!open_programs(image, &programs))
        return false;
    const struct note_class *class = programs.class;
    for (u32 i = 0; i < programs.count; i++) {
        const u8 *p = programs.first + (u64)i * programs.stride;
        u64 offset = word(class, p + class->offset);
        u64 bytes = word(class, p + class->filesz);
        if (bytes_u32(p) == ELF_PT_NOTE && bytes_contain(image->size_bytes, offset, bytes) &&
            find_in_segment(image->bytes + offset, bytes, word(class, p + class->align) == 8 ? 8 : 4, key, value))
            return true;
    }
    return false;
}
