/*
 * Names of the kernel's functions, for backtraces: a table that tools/mksymbols makes from the first link.
 */
#ifndef ROOTLET_KERNEL_SYMBOLS_H
#define ROOTLET_KERNEL_SYMBOLS_H

#include "kernel/lib/types.h"

#define SYMBOLS_NAME_BYTES 64u

struct symbol {
    char name[SYMBOLS_NAME_BYTES]; /* NUL-terminated; cut if longer */
    u64 offset;                    /* of the address, from the function's start */
};

/* True if the address lies in the kernel's code. */
bool symbols_is_code(u64 address);
/* The function that contains `address`; false outside the kernel's code, or without a table. */
bool symbols_find(u64 address, struct symbol *out);

#endif
