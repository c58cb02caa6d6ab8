/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Layered guest memory (kernel/vm/layer.h) seen by the CPU: EPT is filled where the guest goes, and a write to a page
 * that somebody else uses copies it first.
 */
#ifndef ROOTLET_VMX_COW_H
#define ROOTLET_VMX_COW_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

/* Layered memory has a page for this EPT violation: it is mapped, and *outcome is the exit's. False: it has none, or
 * the memory is not layered. */
COLD bool vmx_cow_violation(struct vmx_vcpu *v, u64 qualification, enum outcome *outcome) MUST_CHECK;
/* Tells the VM's memory whom to tell when the host has written to a page. */
void vmx_cow_attach(struct vm *vm);

#endif
