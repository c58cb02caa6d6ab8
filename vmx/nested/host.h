/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host state of the guest's current VMCS becomes the state of the guest: the end of each VM exit that the guest
 * sees, and of each entry that fails after its first checks. SDM 3C 27.5 "Loading Host State", 27.6 "Loading MSRs".
 */
#ifndef ROOTLET_VMX_NESTED_HOST_H
#define ROOTLET_VMX_NESTED_HOST_H

#include "vmx/nested/nested.h"

/*
 * Precondition: vmx_check_entry() finds no rule broken that makes an entry fail with error 7 or 8; the VMCS of the
 * guest is the CPU's, and has its state as at its VMLAUNCH or VMRESUME. What stays as it is in CR0, and of the
 * interruptibility state blocking by NMI, is taken from these values. False: a VMX abort, which has stopped the VM.
 */
bool host_load(struct vmx_vcpu *v, u64 cr0_kept, u32 blocking) MUST_CHECK;

/* SDM 3C 27.7 "VMX Aborts" */
enum host_abort { HOST_ABORT_SAVING_MSRS = 1, HOST_ABORT_PDPTES = 2, HOST_ABORT_LOADING_MSRS = 4 };
/* Stops the VM: a CPU would shut down. Returns false. */
bool host_abort(struct vmx_vcpu *v, enum host_abort indicator);

#endif
