/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inner guests: how one is entered, how it is left, what becomes of its exits and of events that come for the guest
 * hypervisor meanwhile. SDM 3C 25 "VMX Non-Root Operation", 26.3.2 "Loading Guest State", 27 "VM Exits".
 */
#ifndef ROOTLET_VMX_NESTED_INNER_H
#define ROOTLET_VMX_NESTED_INNER_H

#include "vmx/nested/nested.h"

struct trace_record;

/* The inner VMCS has passed all checks but those of the MSR-load area: its guest runs from the next entry on. */
enum outcome inner_enter(struct vmx_vcpu *v, bool launch);

/* An exit of the vCPU while the inner guest runs. */
enum outcome inner_exit(struct vmx_vcpu *v, struct trace_record *record, u64 reason);

/*
 * Before an entry of the inner guest: chooses the event that goes in with it, or gives the guest hypervisor a VM exit
 * for an event that it wants; then the guest hypervisor runs. False: that was a VMX abort.
 */
bool inner_prepare_events(struct vmx_vcpu *v) MUST_CHECK;

/* By when (TSC) the inner guest must be left: for Rootlet's sake, for its own preemption timer, or at once. */
static inline u64 inner_deadline(const struct vmx_vcpu *v)
{
    const struct nested *n = v->nested;

    if (!n->inside)
        return v->base.deadline_tsc;
    if (n->exits_at_once)
        return 0;
    return n->timer_tsc < v->base.deadline_tsc ? n->timer_tsc : v->base.deadline_tsc;
}

#endif
