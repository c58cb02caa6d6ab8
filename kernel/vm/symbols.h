/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of a guest's functions, out of the symbol table of its boot image, when that is an ELF file which has one.
 */
#ifndef ROOTLET_KERNEL_VM_SYMBOLS_H
#define ROOTLET_KERNEL_VM_SYMBOLS_H

#include "kernel/vm/start.h"

#define GUEST_SYMBOL_BYTES 48u

struct guest_symbol {
    char name[GUEST_SYMBOL_BYTES]; /* NUL-terminated; cut if longer; printable, without blanks, quotes and '=' */
    u64 offset;                    /* of the address, from the function's start */
};

/*
 * What all lookups of a VM together may cost: a report on its end has up to 10 for each of up to 16 vCPUs, on one CPU
 * that meanwhile does nothing else. A symbol is a step, and 32 more if its name is looked at. The worst images that
 * were tried took 4 ms of a CPU for all 160 lookups, once in their VM's life.
 */
#define GUEST_SYMBOLS_STEPS (1u << 18)

/*
 * The function that contains the linear address; false if the image has none there. The image may be anything: nothing
 * is read outside it, and only its first symbol table, in the first 64 sections, is looked at. *steps, 0 at first,
 * counts what has been spent, and may be shared by CPUs; a lookup for which GUEST_SYMBOLS_STEPS do not suffice is given
 * up and finds nothing.
 */
bool guest_symbols_find(const struct image *image, u64 address, u32 *steps, struct guest_symbol *out);

#endif
