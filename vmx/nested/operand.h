/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operands of the VMX instruction that has caused the exit, by the VM-exit instruction information. SDM 3C 27.2.4
 * "Information for VM Exits Due to Instruction Execution".
 */
#ifndef ROOTLET_VMX_NESTED_OPERAND_H
#define ROOTLET_VMX_NESTED_OPERAND_H

#include "vmx/insn/guest.h"

/* VMREAD and VMWRITE: the operand that may be in memory is a register instead. */
bool operand_is_register(void);
/* Its number; that of the register operand of VMREAD, VMWRITE, INVEPT and INVVPID. */
u32 operand_register(void);
u32 operand_second_register(void);
/* The operand in memory, or the part of it from `offset` on, as the guest accesses it: not GUEST_ACCESS_OK after a
 * fault. At most 8 bytes. */
enum guest_access operand_read(struct vmx_vcpu *v, u64 offset, u8 bytes, u64 *value) MUST_CHECK;
enum guest_access operand_write(struct vmx_vcpu *v, u8 bytes, u64 value) MUST_CHECK;

#endif
