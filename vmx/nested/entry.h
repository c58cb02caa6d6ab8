/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMLAUNCH and VMRESUME by the guest: the checks, and what becomes of an entry that they refuse. SDM 3C 26 "VM
 * Entries".
 */
#ifndef ROOTLET_VMX_NESTED_ENTRY_H
#define ROOTLET_VMX_NESTED_ENTRY_H

#include "vmx/nested/nested.h"

enum outcome entry_enter(struct vmx_vcpu *v, bool launch);

/* SDM 3C 26.7 "VM-Entry Failures During or After Loading Guest State", 26.3.1.6 for the qualification 2 */
enum { ENTRY_FAILED_GUEST_STATE = 33, ENTRY_FAILED_MSRS = 34, ENTRY_FAILED_PDPTE = 2 };
/* The entry ends in a VM exit of such a reason. The guest's VMCS is current. */
enum outcome entry_fail_late(struct vmx_vcpu *v, u32 reason, u32 qualification);

#endif
