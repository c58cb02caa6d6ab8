/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What whoever steers the machine asks of the virtualisation mechanism, only to look; vmx/report/look.c implements it.
 */
#ifndef ROOTLET_KERNEL_VIRT_LOOK_H
#define ROOTLET_KERNEL_VIRT_LOOK_H

#include "kernel/virt_debug.h"

#define VIRT_LOOK_FIELDS 200u /* of a VMCS, at most */
#define VIRT_LOOK_BYTES  200u /* of a field in words, with the NUL */

/*
 * The vCPU's registers as the guest sees them, but for CR2 and the FPU's. Its home CPU, also in another vCPU's exit.
 * False: it has not run yet, and its registers are not written.
 */
bool virt_look_registers(struct vcpu *vcpu, struct debug_registers *out) MUST_CHECK;
/* Likewise all fields of its VMCS, for virt_look_field(). */
bool virt_look_vmcs(struct vcpu *vcpu, u64 values[VIRT_LOOK_FIELDS]) MUST_CHECK;
/* Field `n`, as name=value and its bits' names; "" if this CPU has no such field. False: there are no more. */
bool virt_look_field(u32 n, const u64 values[VIRT_LOOK_FIELDS], char text[VIRT_LOOK_BYTES]) MUST_CHECK;
/* Exits of this basic reason so far, of all vCPUs of the VM; SDM 3D Appendix C "VMX Basic Exit Reasons". */
u64 virt_look_exits(const struct vm *vm, u32 reason);
#define VIRT_LOOK_REASONS 65u
/* The capability report, as log=debug prints it at the start. */
void virt_look_caps(void (*print)(const char *line));

#endif
