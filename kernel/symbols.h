/*
 * Names of the kernel's functions, for backtraces: a table that tools/mksymbols makes from the first link.
 */
#ifndef ROOTLET_KERNEL_SYMBOLS_H
#define ROOTLET_KERNEL_SYMBOLS_H

#include "kernel/lib/types.h"

/* The function that contains `address` and the distance from its start; NULL outside the kernel's text. */
const char *symbols_find(u64 address, u64 *offset);

#endif
