/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hypercalls: docs/guest-abi.md, numbers in guests/include/rootlet_abi.h. Knows no VMCS: registers come as values.
 */
#ifndef ROOTLET_KERNEL_VM_HYPERCALL_H
#define ROOTLET_KERNEL_VM_HYPERCALL_H

#include "kernel/vm/vm.h"

/* The registers of a call, numbered as instructions encode them. Only the low 32 bits carry arguments. */
enum hypercall_register { HYPERCALL_EAX, HYPERCALL_ECX, HYPERCALL_EDX, HYPERCALL_EBX };

#define HYPERCALL_COUNT 11u
#define HYPERCALL_ROOM  16u /* of the table: for a mask, which needs a power of two */

/*
 * Executes one call of the running vCPU, on its CPU, with no lock held: returns the status for EAX and writes results
 * into registers[]. Bad values and pointers are errors for the guest; nothing here can fail for the host. Precondition:
 * the guest's CPL is 0, and the number is below vcpu->hypercalls (0 for a stealthy VM and until a snapshot-at= is done,
 * else HYPERCALL_COUNT).
 */
typedef u64 hypercall_t(struct vcpu *vcpu, u64 *registers);
extern hypercall_t *const hypercall_table[HYPERCALL_ROOM];
/* The same for any number, with the look at snapshot-at= that the table's calls do not have. */
COLD u64 hypercall_rare(struct vcpu *vcpu, u64 *registers, u32 number);

#endif
