/*
 * The notes of ELF files, by which kernels tell loaders what their file header cannot.
 */
#ifndef ROOTLET_KERNEL_LOAD_ELF_NOTE_H
#define ROOTLET_KERNEL_LOAD_ELF_NOTE_H

#include "kernel/load/load.h"

struct elf_note_key {
    const char *name; /* the owner */
    u32 type;
};

/* The value, of 4 or 8 bytes, of the first such note in a program header of notes. False: none, or no ELF file. */
bool elf_note_find(const struct image *image, const struct elf_note_key *key, u64 *value);

#endif
