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
    OFFSET_OF(VCPU_SPEC_CTRL, struct vmx_vcpu, spec_ctrl);
    OFFSET_VALUE(FIELD_HOST_RSP, ENCODING_HOST_RSP);

    OFFSET_OF(FEATURES_ACTS, struct vmx_features, speculation.acts);
    OFFSET_VALUE(SPECULATION_IBRS, SPECULATION_IBRS);
    OFFSET_VALUE(SPECULATION_FILL_RETURNS, SPECULATION_FILL_RETURNS);
    OFFSET_VALUE(SPECULATION_CLEAR_HISTORY, SPECULATION_CLEAR_HISTORY);
    OFFSET_VALUE(SPECULATION_FLUSH_L1D, SPECULATION_FLUSH_L1D);
    OFFSET_VALUE(SPECULATION_VERW, SPECULATION_VERW);
    OFFSET_VALUE(MSR_SPEC_CTRL, MSR_IA32_SPEC_CTRL);
    OFFSET_VALUE(MSR_FLUSH_CMD, MSR_IA32_FLUSH_CMD);
    OFFSET_VALUE(SELECTOR_DATA, SELECTOR_KERNEL_DATA);
}
