/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why a vCPU's triple fault came about: which exception was the first, and what keeps its handler from being reached.
 * When the vCPU has been reported and before it is detached; it cannot be entered again afterwards.
 */
#ifndef ROOTLET_VMX_REPORT_FAULT_H
#define ROOTLET_VMX_REPORT_FAULT_H

#include "vmx/vcpu.h"

/* Fills in v->last; on the CPU that the vCPU ran on, right behind the exit that stopped it. */
void fault_note(struct vmx_vcpu *v);
/* If it was this vCPU that stopped its VM, prints "rootlet: vm fault ..."; of a triple fault the VM's stop line gets
 * first=. Its VMCS is current. */
void fault_explain(struct vmx_vcpu *v);

/* ---- remark.c ---- */

#define FAULT_REMARK_BYTES VM_REMARK_BYTES

/*
 * What explains that the exception with this vector, or the double fault after it, has not reached its handler; "" if
 * no rule knows. Only reads guest memory.
 */
void fault_remark(struct vmx_vcpu *v, u8 vector, char out[FAULT_REMARK_BYTES]);
/* Likewise of an instruction that cannot be emulated: whether it pushes where there is no RAM. */
void fault_remark_stack(struct vmx_vcpu *v, char out[FAULT_REMARK_BYTES]);

#endif
