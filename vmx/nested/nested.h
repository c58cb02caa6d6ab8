/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that is a hypervisor (nested=on): what its vCPU has of VMX, as the rest of vmx/ sees it. Here "the guest" is
 * the guest hypervisor, "the inner guest" what it runs. Everything runs between exit and entry on the vCPU's CPU, its
 * VMCS current. SDM 3C 23 "Introduction to Virtual Machine Extensions", 30 "VMX Instruction Reference".
 */
#ifndef ROOTLET_VMX_NESTED_NESTED_H
#define ROOTLET_VMX_NESTED_NESTED_H

#include "vmx/check/check.h"
#include "vmx/nested/shadow.h"
#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

#define NESTED_NONE UINT64_MAX /* as VMPTRST shows that there is no current VMCS */

/* In frames of its own, for each vCPU of a VM with nested=on. */
struct nested {
    u64 vmxon;               /* the VMXON pointer; NESTED_NONE: not in VMX operation */
    u64 current;             /* the current-VMCS pointer, or NESTED_NONE */
    bool launched;           /* its launch state */
    u8 exists[CHECK_FIELDS]; /* by row: the guest's CPU has the field */
    struct vmx_caps caps;    /* what its capability MSRs say */
    struct shadow shadow;    /* the tables for its inner guests */
    /*
     * The fields of the current VMCS, which a CPU, too, may keep anywhere while it is active; vmcs12.c moves them from
     * and to the region. VMREAD, VMWRITE and the checks of a VM entry all use them where they are.
     */
    struct check_image image;
};

/* A vCPU begins; STATUS_NO_MEMORY. *frames: how many it takes. */
COLD enum status nested_create(struct vmx_vcpu *v, u32 *frames) MUST_CHECK;
COLD void nested_destroy(struct vmx_vcpu *v);
/* INIT, or a new start: out of VMX operation. */
COLD void nested_reset(struct vmx_vcpu *v);

static inline bool nested_is_on(const struct vmx_vcpu *v)
{
    return v->nested && v->nested->vmxon != NESTED_NONE;
}

/* The exits of the VMX instructions: #UD unless nested=on. */
COLD enum outcome nested_exit(struct vmx_vcpu *v, struct trace_record *record);

/* VMCALL that is no hypercall: what it is on a CPU, in VMX operation or outside. */
COLD enum outcome nested_refuse_vmcall(struct vmx_vcpu *v);

/* IA32_FEATURE_CONTROL and the capability MSRs; false: the guest has no such MSR. */
COLD bool nested_read_msr(const struct vmx_vcpu *v, u32 index, u64 *value) MUST_CHECK;
/* Whether the guest may give CR0 or CR4 this value: what VMX operation fixes. SDM 3C 23.8 "Restrictions on VMX
 * Operation" */
COLD bool nested_allows_cr0(const struct vmx_vcpu *v, u64 value);
COLD bool nested_allows_cr4(const struct vmx_vcpu *v, u64 value);

#endif
