/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at a vCPU: its home CPU copies what is wanted (kernel/virt_look.h) when it next takes an interrupt, in
 * whichever VM's exit that is. One look at a time, boot CPU.
 */
#ifndef ROOTLET_KERNEL_MONITOR_VCPU_LOOK_H
#define ROOTLET_KERNEL_MONITOR_VCPU_LOOK_H

#include "kernel/virt_look.h"

enum vcpu_look { VCPU_LOOK_WAITS, VCPU_LOOK_DONE, VCPU_LOOK_NOTHING };

/* Begins: the registers, or all fields of the VMCS. */
void vcpu_look_begin(struct vcpu *vcpu, bool vmcs);
/* NOTHING: the vCPU has never run, or has stopped. WAITS: the work function is asked for when there is more to say. */
enum vcpu_look vcpu_look_go_on(void);
const struct debug_registers *vcpu_look_registers(void);
const u64 *vcpu_look_vmcs(void);

/* The VM's object goes: no CPU looks at it any more. */
void vcpu_look_forget(const struct vm *vm);

#endif
