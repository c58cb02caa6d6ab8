/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMLAUNCH and VMRESUME by the guest: the checks, and what becomes of an entry that they refuse. SDM 3C 26 "VM
 * Entries".
 */
#ifndef ROOTLET_VMX_NESTED_ENTRY_H
#define ROOTLET_VMX_NESTED_ENTRY_H

#include "vmx/nested/nested.h"

enum outcome entry_enter(struct vmx_vcpu *v, bool launch);

#endif
