/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Against transient execution, beside entries and exits (entry.asm): what is set once on a CPU, what happens when a CPU
 * changes to another vCPU, and the guests' own IA32_SPEC_CTRL, IA32_PRED_CMD, IA32_FLUSH_CMD and
 * IA32_ARCH_CAPABILITIES.
 */
#ifndef ROOTLET_VMX_SPECULATION_H
#define ROOTLET_VMX_SPECULATION_H

#include "vmx/vcpu.h"

/* Boot CPU, once: decides. wanted: mitigations=auto. */
COLD void vmx_speculation_init(bool wanted);
/* On each CPU before its first entry. */
COLD void vmx_speculation_enter_cpu(void);
/* STATUS_UNSUPPORTED: this CPU needs what the boot CPU does not, or cannot be told of as the boot CPU. */
COLD enum status vmx_speculation_check_alike(struct refusal *why) MUST_CHECK;

/* This CPU goes on to v, from whatever it ran before. */
NOINLINE void vmx_speculation_switch(const struct vmx_vcpu *v);

/*
 * The guests' MSRs. In one case IA32_SPEC_CTRL is in the CPU while the guest runs, and accesses do not exit: where it
 * is written at each exit all the same. Else it is the host's and the guest's bits together: the host's restrict the
 * guest more than it has asked for, and an exit finds them set.
 */
static inline bool vmx_speculation_spec_ctrl_is_direct(void)
{
    return vmx_features.speculation.acts & SPECULATION_IBRS;
}
/* Whether one of the four exists. */
bool vmx_speculation_has_msr(u32 index);
/* The host's IA32_ARCH_CAPABILITIES as far as it holds for a guest. */
u64 vmx_speculation_capabilities(void);
/* False: #GP. IA32_SPEC_CTRL, and the commands, which no read can follow. */
bool vmx_speculation_write(struct vmx_vcpu *v, u32 index, u64 value);

#endif
