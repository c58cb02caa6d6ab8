/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where in its guest's program a stopped vCPU is. Off the exit path; its VMCS is current.
 */
#ifndef ROOTLET_VMX_REPORT_BACKTRACE_H
#define ROOTLET_VMX_REPORT_BACKTRACE_H

#include "vmx/vcpu.h"

#define GUEST_BACKTRACE_WHERE_BYTES VM_WHERE_BYTES

/* " function=NAME+0xOFFSET" of a linear address, if the guest's boot image says; else "". Needs no VMCS. */
void guest_backtrace_name(const struct vmx_vcpu *v, u64 address, char out[GUEST_BACKTRACE_WHERE_BYTES]);
/* Likewise of what the guest executes; if that is nowhere, " caller=..." of the function that has called it. */
void guest_backtrace_where(struct vmx_vcpu *v, char out[GUEST_BACKTRACE_WHERE_BYTES]);
/*
 * Prints "rootlet: vm frame ..." for what the guest executes and for its callers, at most 9 lines: those that the chain
 * of frame pointers has, as far as it makes sense and each return address lies in a function that the image names.
 * After a call to nowhere, from the function that called.
 */
void guest_backtrace_print(struct vmx_vcpu *v);

#endif
