/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making a vCPU the one that this CPU holds: current VMCS, host state of this CPU, registers that no VMCS field
 * switches.
 */
#ifndef ROOTLET_VMX_LOAD_H
#define ROOTLET_VMX_LOAD_H

#include "arch/x86/percpu.h"
#include "vmx/vcpu.h"

/* Loads v on this CPU (a cheap no-op if it is the one that ran here last). */
void vmx_load(struct vmx_vcpu *v);
/*
 * Makes the VMCS of a vCPU that is detached current, written for the first time if it has not been; returns what was
 * current before, for vmx_close(). No guest is entered meanwhile.
 */
COLD hpa_t vmx_open(struct vmx_vcpu *v);
COLD void vmx_close(struct vmx_vcpu *v, hpa_t previous);
/* vmx_load()'s last step, for the VMCS that has just become v's current one: the host state of this CPU, and no stale
 * translations. Most often it was here before. */
COLD void vmx_take_new_cpu(struct vmx_vcpu *v);
static inline void vmx_take_cpu(struct vmx_vcpu *v)
{
    if (UNLIKELY(v->host_cpu != cpu_id()) || UNLIKELY(v->tlb_cpu != cpu_id()))
        vmx_take_new_cpu(v);
}
/* What every VMCS holds that a guest of ours runs in, and never changes. HOST_RIP is the caller's. */
COLD void vmx_write_constant_state(void);
/* Bits of CR0 and CR4 that Rootlet keeps to itself in any guest: those whose change exits. */
#define VMX_CR0_OURS (~(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM | CR0_PG))
static inline u64 vmx_cr4_ours(void)
{
    return ~(vmx_features.guest_cr4_allowed & ~(CR4_OSXSAVE | CR4_MCE));
}
/* Exceptions that exit for Rootlet's own sake. */
COLD u32 vmx_exception_bitmap(void);
/* 0 if the CPU has no VPIDs. */
COLD u16 vmx_new_vpid(void);
/* The guest's DR0 to DR3 and DR6, which no VMCS field switches, into the CPU. */
static inline void vmx_load_debug_registers(const struct vmx_vcpu *v)
{
    dr0_write(v->dr[0]);
    dr1_write(v->dr[1]);
    dr2_write(v->dr[2]);
    dr3_write(v->dr[3]);
    dr6_write(v->dr6);
}

#endif
