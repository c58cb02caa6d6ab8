/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a VMX instruction of the guest ends, and what is one of its operands. SDM 3C 30.2 "Conventions".
 */
#ifndef ROOTLET_VMX_NESTED_INSN_H
#define ROOTLET_VMX_NESTED_INSN_H

#include "vmx/nested/nested.h"

/* SDM 3C 30.4 "VM Instruction Error Numbers" */
enum insn_error {
    INSN_VMCALL_IN_ROOT = 1,
    INSN_VMCLEAR_ADDRESS = 2,
    INSN_VMCLEAR_VMXON = 3,
    INSN_VMLAUNCH_NOT_CLEAR = 4,
    INSN_VMRESUME_NOT_LAUNCHED = 5,
    INSN_ENTRY_CONTROLS = 7,
    INSN_ENTRY_HOST = 8,
    INSN_VMPTRLD_ADDRESS = 9,
    INSN_VMPTRLD_VMXON = 10,
    INSN_VMPTRLD_REVISION = 11,
    INSN_NO_COMPONENT = 12,
    INSN_READ_ONLY = 13,
    INSN_VMXON_IN_ROOT = 15,
    INSN_ENTRY_MOV_SS = 26,
    INSN_INVALIDATE = 28,
};

/* SDM 3C 26.2.1.1 "VM-Execution Control Fields": an EPTP with which an entry would not fail. */
bool insn_is_eptp(const struct vmx_vcpu *v, u64 eptp);

enum outcome insn_succeed(void);
enum outcome insn_fail_invalid(void);
/* VMfail(): with an error number if there is a current VMCS to put it in. */
enum outcome insn_fail(struct vmx_vcpu *v, enum insn_error error);

#endif
