/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks a guest's own page tables: guest-linear to guest-physical, with the access checks that the CPU makes. Pure:
 * reads guest memory through callbacks. Not applied, because guests are not offered them: protection keys of
 * supervisor pages, shadow stacks (CET), HLAT, linear address masking. SDM 3A 4.3 "32-Bit Paging", 4.4 "PAE
 * Paging", 4.5 "4-Level Paging and 5-Level Paging", 4.6 "Access Rights", 4.7 "Page-Fault Exceptions", 4.8 "Accessed and
 * Dirty Flags".
 */
#ifndef ROOTLET_VMX_INSN_GVA_H
#define ROOTLET_VMX_INSN_GVA_H

#include "kernel/lib/addr.h"

enum gva_result {
    GVA_OK,
    GVA_FAULT,    /* the guest gets #PF with *pf_error (and CR2 = linear) */
    GVA_BAD_TABLE /* a paging-structure entry could not be read or written: it is not in the guest's RAM */
};

enum gva_access { GVA_READ, GVA_WRITE, GVA_FETCH };

#define GVA_MAX_LEVELS 5u

/* The paging-structure entries that a walk used and their values, first to last; PAE's PDPTEs are not among them. */
struct gva_path {
    u8 entry_bytes; /* 4 or 8 */
    u8 used;        /* 0: paging is off */
    struct {
        u64 address;
        u64 value;
    } entries[GVA_MAX_LEVELS];
};

struct gva_context {
    u64 cr0;
    u64 cr3;
    u64 cr4;
    u64 efer;
    u64 rflags;
    u32 pkru;     /* counts with CR4.PKE only */
    u64 pdpte[4]; /* PAE paging only: the VMCS's guest PDPTEs */
    u8 cpl;
    u8 physical_bits;    /* the guest's MAXPHYADDR: 32 to 52 */
    bool gigabyte_pages; /* the guest's CPUID offers 1-GByte pages */
    void *context;       /* of the callbacks */
    /* Reads an entry of 4 or 8 bytes, naturally aligned. False: there is no RAM at that address. */
    bool (*read_entry)(void *context, gpa_t address, u8 bytes, u64 *value);
    /*
     * Sets accessed and dirty flags: replaces the entry by `value` if it still is `expected`, atomically. False: it is
     * not, or it cannot be written. NULL: the walk leaves the flags alone.
     */
    bool (*update_entry)(void *context, gpa_t address, u8 bytes, u64 expected, u64 value);
    struct gva_path *path; /* if not NULL: set on GVA_OK */
};

/*
 * Translates one address; *out is set on GVA_OK, *pf_error on GVA_FAULT, else untouched. The access must not cross a
 * page. Preconditions: linear is canonical (gva_is_canonical) in 64-bit mode and below 2^32 else.
 */
enum gva_result gva_translate(const struct gva_context *context, u64 linear, enum gva_access access, gpa_t *out,
                              u32 *pf_error) MUST_CHECK;

/* Whether linear may be used in 64-bit mode under this CR4: 48 bits sign-extended, or 57 with 5-level paging. */
bool gva_is_canonical(u64 linear, u64 cr4);

#endif
