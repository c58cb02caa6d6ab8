/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ELF reader: file header, program headers, notes, and section headers as boot loaders hand them on. Fields are
 * read at their offsets through one table for each class, since the two classes order and size them differently. System
 * V ABI (gABI 4.1), "ELF Header", "Program Header" and "Sections".
 */
#include "kernel/load/elf.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define ELF_MACHINE_386    3u
#define ELF_MACHINE_X86_64 62u
#define ELF_TYPE_EXEC      2u
#define ELF_TYPE_DYN       3u
#define ELF_PT_LOAD        1u
#define ELF_PT_NOTE        4u
#define NOTE_HEADER_BYTES  12u
#define ELF_SHT_NOBITS     8u
#define SECTION_ALIGNMENT  16u

/* Offsets of the fields; a word is 4 or 8 bytes by class. */
struct elf_class {
    bool wide;
    u16 machine;
    u8 header_bytes;
    u8 entry, phoff; /* words */
    u8 phentsize, phnum;
    u8 program_bytes;
    u8 offset, vaddr, paddr, filesz, memsz; /* words of a program header */
    u8 shoff;                               /* a word of the file header */
    u8 shentsize, shnum, shstrndx;
    u8 section_bytes;
    u8 sh_addr, sh_offset, sh_size; /* words of a section header */
};

/* The program headers of a file, all of them there. */
struct programs {
    const struct elf_class *class;
    const u8 *first;
    u32 count;
    u32 stride;
};

static const struct elf_class elf32 = {
    false, ELF_MACHINE_386, 52, 24, 28, 42, 44, 32, 4, 8, 12, 16, 20, 32, 46, 48, 50, 40, 12, 16, 20};
static const struct elf_class elf64 = {
    true, ELF_MACHINE_X86_64, 64, 24, 32, 54, 56, 56, 8, 16, 24, 32, 40, 40, 58, 60, 62, 64, 16, 24, 32};

static u64 word(const struct elf_class *class, const u8 *at)
{
    return class->wide ? bytes_u64(at) : bytes_u32(at);
}

bool elf_is(const struct image *image)
{
    return image->size_bytes >= 4 && memcmp(image->bytes, "\177ELF", 4) == 0;
}

static enum status check_header(const struct image *image, const struct elf_class **class, struct refusal *why)
{
    const u8 *header = image->bytes;

    if (!elf_is(image))
        return refuse(why, STATUS_INVALID, "image is not an ELF file");
    *class = image->size_bytes > 4 && header[4] == 2 ? &elf64 : &elf32;
    if (image->size_bytes < (*class)->header_bytes)
        return refuse(why, STATUS_TRUNCATED, "image is truncated: %lu bytes hold no ELF header", image->size_bytes);
    if ((header[4] != 1 && header[4] != 2) || header[5] != 1 || header[6] != 1)
        return refuse(why, STATUS_UNSUPPORTED, "ELF class %u, byte order %u, version %u: must be 1 or 2, 1, 1",
                      header[4], header[5], header[6]);
    u16 type = bytes_u16(header + 16);
    u16 machine = bytes_u16(header + 18);
    if (machine != (*class)->machine)
        return refuse(why, STATUS_UNSUPPORTED, "ELF machine %u; 32-bit images must be i386 (3), 64-bit x86-64 (62)",
                      machine);
    if (type != ELF_TYPE_EXEC && type != ELF_TYPE_DYN)
        return refuse(why, STATUS_UNSUPPORTED, "ELF type %u is not an executable; link it (type 2 or 3)", type);
    return STATUS_OK;
}

/*
 * The entry point as GRUB has it: an address in a segment's virtual range is translated. A file whose entry point is
 * given as a physical address although its segments are linked elsewhere is taken as well: `*entry` is then left as it
 * is.
 */
static bool translate_entry(const struct programs *programs, u64 *entry)
{
    const struct elf_class *class = programs->class;
    bool physical = false;

    for (u32 i = 0; i < programs->count; i++) {
        const u8 *p = programs->first + (u64)i * programs->stride;
        u64 bytes = word(class, p + class->memsz);
        if (bytes_u32(p) != ELF_PT_LOAD)
            continue;
        if (*entry - word(class, p + class->vaddr) < bytes) {
            *entry = *entry - word(class, p + class->vaddr) + word(class, p + class->paddr);
            return true;
        }
        physical |= *entry - word(class, p + class->paddr) < bytes;
    }
    return physical;
}

static enum status open_programs(const struct image *image, struct programs *programs, struct refusal *why)
{
    const struct elf_class *class = NULL;
    enum status status = check_header(image, &class, why);

    if (status != STATUS_OK)
        return status;
    u64 offset = word(class, image->bytes + class->phoff);
    u32 stride = bytes_u16(image->bytes + class->phentsize);
    u32 count = bytes_u16(image->bytes + class->phnum);
    if (count == 0 || stride < class->program_bytes)
        return refuse(why, STATUS_INVALID, "ELF file has %u program headers of %u bytes", count, stride);
    if (!bytes_contain(image->size_bytes, offset, (u64)count * stride))
        return refuse(why, STATUS_TRUNCATED, "image is truncated: its %u program headers at 0x%lx are not all there",
                      count, offset);
    *programs = (struct programs){class, image->bytes + offset, count, stride};
    return STATUS_OK;
}

enum status elf_plan(const struct image *image, struct plan *plan, struct refusal *why)
{
    struct programs programs;
    enum status status = open_programs(image, &programs, why);

    if (status != STATUS_OK)
        return status;
    const struct elf_class *class = programs.class;
    for (u32 i = 0; status == STATUS_OK && i < programs.count; i++) {
        const u8 *p = programs.first + (u64)i * programs.stride;
        struct plan_segment segment = {word(class, p + class->offset), word(class, p + class->filesz),
                                       word(class, p + class->paddr), word(class, p + class->memsz)};
        if (bytes_u32(p) == ELF_PT_LOAD)
            status = plan_add(plan, image, &segment, why);
    }
    if (status != STATUS_OK)
        return status;
    if (plan->count == 0)
        return refuse(why, STATUS_INVALID, "ELF file has no segment to load");
    plan->entry = word(class, image->bytes + class->entry);
    if (!translate_entry(&programs, &plan->entry))
        return refuse(why, STATUS_INVALID, "image is broken: its entry point 0x%lx lies in no segment", plan->entry);
    return STATUS_OK;
}

/*
 * Looks in one segment of notes: each has a header (bytes of the name, bytes of the value, type), the name and the
 * value, both padded to the alignment. gABI "Note Section". The program header's alignment does not tell it: linkers
 * that put notes of both kinds into one segment write 8 there, and Xen's are padded to 4.
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

bool elf_find_note(const struct image *image, const struct elf_note_key *key, u64 *value)
{
    struct programs programs;

    if (open_programs(image, &programs, NULL) != STATUS_OK)
        return false;
    const struct elf_class *class = programs.class;
    for (u32 i = 0; i < programs.count; i++) {
        const u8 *p = programs.first + (u64)i * programs.stride;
        u64 offset = word(class, p + class->offset);
        u64 bytes = word(class, p + class->filesz);
        if (bytes_u32(p) == ELF_PT_NOTE && bytes_contain(image->size_bytes, offset, bytes) &&
            (find_in_segment(image->bytes + offset, bytes, 4, key, value) ||
             find_in_segment(image->bytes + offset, bytes, 8, key, value)))
            return true;
    }
    return false;
}

bool elf_find_sections(const struct image *image, struct elf_sections *sections)
{
    const struct elf_class *class = NULL;

    if (check_header(image, &class, NULL) != STATUS_OK)
        return false;
    u64 offset = word(class, image->bytes + class->shoff);
    u32 stride = bytes_u16(image->bytes + class->shentsize);
    u32 count = bytes_u16(image->bytes + class->shnum);
    if (count == 0 || stride < class->section_bytes || !bytes_contain(image->size_bytes, offset, (u64)count * stride))
        return false;
    *sections = (struct elf_sections){
        image, class, image->bytes + offset, count, stride, bytes_u16(image->bytes + class->shstrndx), 0};
    return true;
}

/* True for contents that no segment brings into memory, as those of symbol tables: they have no address. */
static bool is_apart(const struct elf_sections *sections, const u8 *header)
{
    const struct elf_class *class = sections->class;

    return word(class, header + class->sh_addr) == 0 && word(class, header + class->sh_size) != 0 &&
           bytes_u32(header + 4) != ELF_SHT_NOBITS &&
           bytes_contain(sections->image->size_bytes, word(class, header + class->sh_offset),
                         word(class, header + class->sh_size));
}

static void write_contents(const struct elf_sections *sections, struct layout_writer *writer)
{
    const struct elf_class *class = sections->class;

    for (u32 i = 0; i < sections->count; i++) {
        const u8 *header = sections->headers + (u64)i * sections->header_bytes;
        if (!is_apart(sections, header))
            continue;
        writer->used_bytes = bits_align_up(writer->used_bytes, SECTION_ALIGNMENT);
        layout_append(writer, sections->image->bytes + word(class, header + class->sh_offset),
                      word(class, header + class->sh_size));
    }
}

enum status elf_place_sections(struct elf_sections *sections, struct layout *layout, struct refusal *why)
{
    struct layout_writer counter = {0};

    write_contents(sections, &counter);
    if (counter.used_bytes == 0)
        return STATUS_OK;
    enum status status = layout_place(layout, counter.used_bytes, "the ELF sections", &sections->base, why);
    if (status != STATUS_OK)
        return status;
    struct layout_writer writer = {layout->memory, sections->base, 0};
    write_contents(sections, &writer);
    return STATUS_OK;
}

void elf_write_sections(const struct elf_sections *sections, struct layout_writer *writer)
{
    u64 address_at = sections->class->sh_addr;
    u64 word_bytes = sections->class->wide ? 8 : 4;
    u64 used = 0;

    for (u32 i = 0; i < sections->count; i++) {
        const u8 *header = sections->headers + (u64)i * sections->header_bytes;
        u64 address = word(sections->class, header + address_at);
        if (is_apart(sections, header)) {
            used = bits_align_up(used, SECTION_ALIGNMENT);
            address = sections->base + used;
            used += word(sections->class, header + sections->class->sh_size);
        }
        layout_append(writer, header, address_at);
        layout_append(writer, &address, word_bytes);
        layout_append(writer, header + address_at + word_bytes, sections->header_bytes - address_at - word_bytes);
    }
}
