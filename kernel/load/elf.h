/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF executables, 32- and 64-bit x86, as boot loaders take them: loaded by physical address.
 */
#ifndef ROOTLET_KERNEL_LOAD_ELF_H
#define ROOTLET_KERNEL_LOAD_ELF_H

#include "kernel/load/plan.h"

/* True if the image begins with ELF's magic number. */
bool elf_is(const struct image *image);
/*
 * Fills an empty plan from the program headers; the entry point is made physical. STATUS_TRUNCATED, STATUS_INVALID,
 * STATUS_UNSUPPORTED (another machine or type): *why says which field.
 */
COLD enum status elf_plan(const struct image *image, struct plan *plan, struct refusal *why) MUST_CHECK;

struct elf_note_key {
    const char *name; /* the owner */
    u32 type;
};

/* The value, of 4 or 8 bytes, of the first such note in a program header of notes. False: none, or no ELF file. */
COLD bool elf_find_note(const struct image *image, const struct elf_note_key *key, u64 *value);

/* A file's section headers, all of them there. */
struct elf_sections {
    const struct image *image;
    const struct elf_class *class;
    const u8 *headers;
    u32 count;
    u32 header_bytes;
    u32 names; /* index of the section with the names */
    u64 base;  /* guest-physical; where the contents are that no segment loads */
};

/* False: no ELF file, or no section headers, or they are not all in the file. */
COLD bool elf_find_sections(const struct image *image, struct elf_sections *sections);
/*
 * Puts the contents that no segment loads (symbols, names, debugging information) into one free place, as GRUB does.
 * STATUS_NO_MEMORY: it does not fit; nothing was written.
 */
COLD enum status elf_place_sections(struct elf_sections *sections, struct layout *layout,
                                    struct refusal *why) MUST_CHECK;
/* Appends the headers; those of the contents above get the address where they are. */
COLD void elf_write_sections(const struct elf_sections *sections, struct layout_writer *writer);

#endif
