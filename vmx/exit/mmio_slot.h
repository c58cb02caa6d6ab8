/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The last instructions of a vCPU that met a device, decoded, one in each slot: mmio_general.c fills them, mmio.c uses
 * them. A slot is used only if the CPU's mode is the same
 * and the page-table entries that led to the instruction as well as its bytes still have the values that they had: both
 * are compared in guest memory at each use, so that no change by the guest needs to be noticed.
 */
#ifndef ROOTLET_VMX_EXIT_MMIO_SLOT_H
#define ROOTLET_VMX_EXIT_MMIO_SLOT_H

#include "kernel/lib/bits.h"
#include "vmx/insn/decode.h"
#include "vmx/fields.h"

#define MMIO_SLOTS       8u  /* a power of two */
#define MMIO_LEVELS      4u  /* of page tables: longer paths are not kept */
#define MMIO_CODE_BYTES  16u /* that are compared; those beyond the instruction's length are masked */
#define MMIO_NO_SHORTCUT UINT64_MAX

struct mmio_slot {
    /* What the CPU must have, else the slot is another's; cs_access 0: empty, as no CPU can have it. */
    u64 rip;
    u64 cs_base; /* but in 64-bit mode */
    u64 cr3;
    u64 cr4;
    u64 efer; /* without LMA */
    u32 cs_access;
    u32 paging; /* CR0.PG */
    /* What guest memory must hold. Pieces of eight bytes, aligned; unused levels point at their own value. */
    struct {
        const u64 *at;
        u64 value;
    } levels[MMIO_LEVELS];
    const u8 *code;
    u64 bytes[MMIO_CODE_BYTES / 8];
    u64 masks[MMIO_CODE_BYTES / 8];
    /*
     * A plain load or store: the bits that the qualification must have for it, and its operand's address, which is
     * ((*base + (*index << scale) + displacement) & offset_mask) + the segment's base. MMIO_NO_SHORTCUT: any other.
     */
    u64 needs;
    const u64 *base;
    const u64 *index;
    u64 displacement;
    u64 offset_mask;
    u64 linear_mask;
    u64 value_mask; /* what is loaded or stored, and what the register keeps of its old value */
    u64 kept_mask;
    struct vmcs_nat_rw segment_base; /* the VMCS field; encoding 0: the base is zero */
    struct decode_insn insn;
};

static inline u32 mmio_slot_index(u64 rip)
{
    return (u32)rip * 0x9e3779b1u >> 29;
}
_Static_assert(MMIO_SLOTS == 1u << (32 - 29), "what mmio_slot_index yields");

#endif
