/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Offsets and constants for vmx/entry.asm.
 */
#include "arch/x86/percpu.h"
#include "kernel/lib/offsets.h"
#include "vmx/vcpu.h"

void offsets(void);

void offsets(void)
{
    OFFSET_OF(VCPU_GPR, struct vmx_vcpu, gpr);
    OFFSET_OF(VCPU_HOST_RSP, struct vmx_vcpu, host_rsp);
    OFFSET_OF(VCPU_LAUNCHED, struct vmx_vcpu, launched);
    OFFSET_VALUE(FIELD_HOST_RSP, ENCODING_HOST_RSP);
}
