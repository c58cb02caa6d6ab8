/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why an entry of the inner guest is refused, in words on the console (explain=on): a line for each rule that the
 * guest's VMCS breaks.
 */
#ifndef ROOTLET_VMX_NESTED_WHY_H
#define ROOTLET_VMX_NESTED_WHY_H

#include "vmx/nested/nested.h"

/* How the guest learns of it. */
struct why_refusal {
    bool launch;  /* VMLAUNCH, not VMRESUME */
    bool is_exit; /* a VM exit, not an error number */
    u32 number;   /* basic exit reason or VM-instruction error; 0: VMfailInvalid */
};

/* The rules that vmx_check_entry() finds broken. */
void why_rules(struct vmx_vcpu *v, const struct why_refusal *how);
/* One of the rules of SDM 3C 26.1 "Basic VM-Entry Checks". */
void why_basic(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, const char *field, u64 value);

#endif
