/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's memory type range registers: what RDMSR and WRMSR do with them. They are state and nothing else: guest
 * memory is write-back whatever they say (ept.h). Pure. SDM 3A 11.11 "Memory Type Range Registers (MTRRs)".
 */
#ifndef ROOTLET_VMX_EXIT_MTRR_H
#define ROOTLET_VMX_EXIT_MTRR_H

#include "kernel/lib/addr.h"
#include "kernel/lib/bits.h"

#define MTRR_REGISTERS 28u

struct mtrr {
    u64 registers[MTRR_REGISTERS]; /* 8 pairs of base and mask, 11 fixed ones, the default type */
};

/*
 * As a PC's firmware leaves them: on; write-back but for video memory and what lies between 3 and 4 GiB (uncacheable),
 * adapter and firmware ROM (write-protected). The guest has `physical_bits` of physical address.
 */
void mtrr_init(struct mtrr *mtrr, u32 physical_bits);
/* Is it one of these registers, IA32_MTRRCAP included? */
bool mtrr_has(u32 index);
/* Precondition: mtrr_has(index). */
u64 mtrr_read(const struct mtrr *mtrr, u32 index);
/* False, and nothing changed: #GP, for a reserved bit, a reserved type or IA32_MTRRCAP. Precondition: mtrr_has(index).
 */
bool mtrr_write(struct mtrr *mtrr, u32 index, u64 value, u32 physical_bits) MUST_CHECK;

#endif
