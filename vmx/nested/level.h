/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two VMCSs of a vCPU whose guest is a hypervisor, one for the guest and one for its inner guests: which of them is
 * current, and what the second one holds. Its controls are what the guest hypervisor asks for and what Rootlet needs;
 * its guest state is the inner guest's, its host state Rootlet's own. SDM 3C 24.1 "Overview", 31.3 "Managing VMCS
 * Regions and Pointers".
 */
#ifndef ROOTLET_VMX_NESTED_LEVEL_H
#define ROOTLET_VMX_NESTED_LEVEL_H

#include "vmx/nested/nested.h"

/*
 * The other VMCS becomes the current one, and with it go the fields of struct vmx_vcpu that belong to a VMCS.
 * Precondition: the vCPU is loaded on this CPU.
 */
void level_swap(struct vmx_vcpu *v);
/* The first swap to the VMCS for inner guests writes there what never changes. */
COLD void level_make(struct vmx_vcpu *v);

/*
 * The current VMCS, which is that for inner guests, gets the guest state and the controls of the inner VMCS; of both
 * what it does not have yet. The guest state comes first.
 */
void level_write_controls(struct vmx_vcpu *v);
/* Of CR0, what neither VM entry nor VM exit changes: SDM 3C 26.3.2.1, 27.5.1; beside reserved bits. */
#define LEVEL_CR0_KEPT   (CR0_ET | CR0_NW | CR0_CD)
#define LEVEL_CR0_LOADED (CR0_DEFINED & ~(u64)LEVEL_CR0_KEPT)
/* Those of both levels add up. */
void level_write_tsc_offset(struct vmx_vcpu *v);
struct level_outer {
    u64 pat, dr7; /* of the guest hypervisor: what an entry that loads none of its own leaves as it is */
    u64 cr0_kept;
    u64 pdpte[4]; /* of the inner guest, if it has PAE paging without EPT */
    bool has_pdptes;
};
void level_write_guest(struct vmx_vcpu *v, const struct level_outer *outer);
/*
 * And the inner VMCS gets back what a VM exit saves (SDM 3C 27.3 "Saving Guest State"): what hypervisors look at now,
 * the rest if level_fetch_guest() is called before the next entry. That is for the guest's level.
 */
void level_save_guest(struct vmx_vcpu *v);
COLD void level_fetch_guest(struct vmx_vcpu *v);

/* CR0 and CR4 as the inner VMCS would show them after a VM exit. */
u64 level_cr0(const struct vmx_vcpu *v);
u64 level_cr4(const struct vmx_vcpu *v);

#endif
