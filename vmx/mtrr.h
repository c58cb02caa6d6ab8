/*
 * A vCPU's memory type range registers: what RDMSR and WRMSR do with them, and which memory type they give an address.
 * Pure. SDM 3A 11.11 "Memory Type Range Registers (MTRRs)".
 */
#ifndef ROOTLET_VMX_MTRR_H
#define ROOTLET_VMX_MTRR_H

#include "kernel/lib/addr.h"
#include "kernel/lib/bits.h"

#define MTRR_REGISTERS 28u

/* Encodings as in the MTRRs, the PAT and EPT entries. */
enum memory_type {
    MEMORY_UNCACHEABLE = 0,
    MEMORY_WRITE_THROUGH = 4,
    MEMORY_WRITE_PROTECTED = 5,
    MEMORY_WRITE_BACK = 6
};

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
/*
 * The memory type of [from, from + bytes), a page of 4 KiB or a larger one, aligned to its size. If it has several:
 * uncacheable, which is always right, if slow.
 */
enum memory_type mtrr_type(const struct mtrr *mtrr, u64 from, u64 bytes);

#endif
