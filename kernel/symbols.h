/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of the kernel's functions, for backtraces, out of the ELF symbol table that the boot loader left in memory.
 */
#ifndef ROOTLET_KERNEL_SYMBOLS_H
#define ROOTLET_KERNEL_SYMBOLS_H

#include "boot/boot_info.h"

#define SYMBOLS_NAME_BYTES 64u

struct symbol {
    char name[SYMBOLS_NAME_BYTES]; /* NUL-terminated; cut if longer */
    u64 offset;                    /* of the address, from the function's start */
};

/* From now on functions have names. Precondition: both tables are mapped, and stay as they are. */
void symbols_init(const struct boot_symbols *symbols);
/* True if the address lies in the kernel's code. */
bool symbols_is_code(u64 address);
/* The function that contains `address`; false outside the kernel's code, or without a table. */
bool symbols_find(u64 address, struct symbol *out);

#endif
