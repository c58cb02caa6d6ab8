/*
 * Names of a guest's functions, out of the symbol table of its boot image, when that is an ELF file which has one.
 */
#ifndef ROOTLET_KERNEL_GUEST_SYMBOLS_H
#define ROOTLET_KERNEL_GUEST_SYMBOLS_H

#include "kernel/load/load.h"

#define GUEST_SYMBOL_BYTES 48u

struct guest_symbol {
    char name[GUEST_SYMBOL_BYTES]; /* NUL-terminated; cut if longer; printable, without blanks, quotes and '=' */
    u64 offset;                    /* of the address, from the function's start */
};

/*
 * The function that contains the linear address; false if the image has none there. The image may be anything: nothing
 * is read outside it, and no more than the first 2^18 symbols of each table, in the first 64 sections, are looked at.
 */
bool guest_symbols_find(const struct image *image, u64 address, struct guest_symbol *out);

#endif
