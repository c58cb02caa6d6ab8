/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why an entry of the inner guest is refused, in words: a line for each rule that the guest's VMCS breaks. They go to
 * the console (explain=on), and to a guest that asks (virt_vcpu_refusal()). The rules are kept as they were found, so
 * that both say the same, whatever has become of the VMCS in the meantime.
 */
#ifndef ROOTLET_VMX_NESTED_WHY_H
#define ROOTLET_VMX_NESTED_WHY_H

#include "vmx/nested/nested.h"

/* The rules that vmx_check_entry() finds broken. */
COLD void why_rules(struct vmx_vcpu *v, const struct why_refusal *how);
/* One of the rules of SDM 3C 26.1 "Basic VM-Entry Checks"; if it is an exit, of 26.3.1 "Checks on the Guest State Area"
 * one that only the CPU knows. */
COLD void why_basic(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, const char *field, u64 value);
/* An entry of the VM-entry MSR-load area that the checker found nothing wrong with. SDM 3C 26.4 "Loading MSRs" */
COLD void why_msr(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, u32 entry, u32 index);

#endif
