/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * EPT violations, and what is between their two halves: mmio.c, the exit, with the path of instructions that were met
 * before, and mmio_general.c, which fetches, decodes and executes any instruction.
 */
#ifndef ROOTLET_VMX_EXIT_MMIO_H
#define ROOTLET_VMX_EXIT_MMIO_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

/* Bits of the exit qualification. SDM 3C 27.2.1 "Basic VM-Exit Information", table 27-7. */
#define VIOLATION_READ         BIT(0)
#define VIOLATION_WRITE        BIT(1)
#define VIOLATION_FETCH        BIT(2)
#define VIOLATION_LINEAR_VALID BIT(7)
#define VIOLATION_FINAL        BIT(8) /* the access itself, not the walk of the guest's page tables */

enum outcome vmx_ept_violation_exit(struct vmx_vcpu *v, struct trace_record *record);
/* Executes the instruction at RIP, whose memory operand is a device, on the bus. */
enum outcome vmx_mmio_execute(struct vmx_vcpu *v, const struct trace_record *record);

/* In both: `qualification` is an EPT violation's; 0: the CPU has told nothing about the access. */

/* Fetches and decodes the instruction at CS:RIP, keeps it in `slot` if it can be kept, and executes it. */
COLD enum outcome mmio_run_unknown(struct vmx_vcpu *v, struct mmio_slot *slot, u64 qualification);
/* Executes a decoded instruction; `bytes` are its own, for the report if it cannot be. */
enum outcome mmio_run_decoded(struct vmx_vcpu *v, const struct decode_insn *insn, const u8 *bytes, u64 qualification);
/* The slot's tables begin at another CR3: looks up its first entry in those that CR3 points to. False: it cannot. */
COLD bool mmio_slot_follow_cr3(const struct vmx_vcpu *v, struct mmio_slot *slot, u64 cr3);

#endif
