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
enum status elf_plan(const struct image *image, struct plan *plan, struct refusal *why) MUST_CHECK;

struct elf_note_key {
    const char *name; /* the owner */
    u32 type;
};

/* The value, of 4 or 8 bytes, of the first such note in a program header of notes. False: none, or no ELF file. */
bool elf_find_note(const struct image *image, const struct elf_note_key *key, u64 *value);

#endif
