/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making a vCPU the one that this CPU holds: current VMCS, host state of this CPU, registers that no VMCS field
 * switches.
 */
#ifndef ROOTLET_VMX_LOAD_H
#define ROOTLET_VMX_LOAD_H

#include "vmx/vcpu.h"

/* Loads v on this CPU (a cheap no-op if it is the one that ran here last). */
void vmx_load(struct vmx_vcpu *v);
/* The guest's DR0 to DR3 and DR6, which no VMCS field switches, into the CPU. */
static inline void vmx_load_debug_registers(const struct vmx_vcpu *v)
{
    dr0_write(v->dr[0]);
    dr1_write(v->dr[1]);
    dr2_write(v->dr[2]);
    dr3_write(v->dr[3]);
    dr6_write(v->dr6);
}

#endif
