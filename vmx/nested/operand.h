/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operands of the VMX instruction that has caused the exit, by the VM-exit instruction information. SDM 3C 27.2.4
 * "Information for VM Exits Due to Instruction Execution".
 */
#ifndef ROOTLET_VMX_NESTED_OPERAND_H
#define ROOTLET_VMX_NESTED_OPERAND_H

#include "vmx/insn/guest.h"

/* Of the VM-exit instruction information: whether the operand is a register, which, and the other operand's. */
#define OPERAND_IS_REGISTER    BIT(10)
#define OPERAND_REGISTER(info) ((info) >> 3 & 15)
#define OPERAND_SECOND(info)   ((info) >> 28 & 15)

/* The operand size of VMREAD, VMWRITE, INVEPT and INVVPID, and what is in their register operand. */
u8 operand_bytes(const struct vmx_vcpu *v);
u64 operand_second(const struct vmx_vcpu *v);
/* The operand in memory, or the part of it from `offset` on, as the guest accesses it: not GUEST_ACCESS_OK after a
 * fault. At most 8 bytes. */
enum guest_access operand_read(struct vmx_vcpu *v, u64 offset, u8 bytes, u64 *value) MUST_CHECK;
enum guest_access operand_write(struct vmx_vcpu *v, u8 bytes, u64 value) MUST_CHECK;

#endif
