/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Data and I/O breakpoints of the debug registers, met by accesses that Rootlet makes for the guest: the CPU does not
 * see them, so they are looked for here, and the debug trap is left pending for the next entry. Current VMCS.
 * SDM 3B 17.2.4 "Debug Control Register (DR7)", 17.2.5 "Breakpoint Field Recognition", 17.3.1.2 "Data Memory and I/O
 * Breakpoint Exception Conditions"; 3C 26.6.3 "Delivery of Pending Debug Exceptions after VM Entry".
 *
 * Until a guest enables a breakpoint, MOV DR exits and `debug_used` is false: then nothing here is asked.
 */
#ifndef ROOTLET_VMX_POINTS_H
#define ROOTLET_VMX_POINTS_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

/* As R/W0 to R/W3 in DR7 have them; a breakpoint for reads is met by writes, too. */
enum points_access { POINTS_WRITE = 1, POINTS_PORT = 2, POINTS_READ = 3 };

#define POINTS_DR7_ENABLES 0xffu   /* L0 to G3 */
#define POINTS_DR7_GD      BIT(13) /* MOV DR raises #DB; whose delivery clears it */

/* Bit n: the enabled breakpoint n is met by these bytes. Pure. */
u32 points_match(u64 dr7, const u64 address[4], enum points_access access, u64 first, u32 bytes);

/* From now on DR0 to DR3 and DR6 are switched with this vCPU, and the CPU has them; and back. */
COLD void vmx_points_begin(struct vmx_vcpu *v);
COLD void vmx_points_end(struct vmx_vcpu *v);

/* Registers that stand in for the CPU's. */
struct points_bank {
    u64 *dr; /* 4 */
    u64 *dr6;
    u64 *dr7;
};
/* Executes the MOV DR that has exited with this qualification on them. */
COLD enum outcome vmx_points_move(struct vmx_vcpu *v, u64 qualification, const struct points_bank *bank);

/*
 * Precondition of both: debug_used. Notes the breakpoints that an access to memory, or to the port of this exit
 * qualification of INS or OUTS, has met, for the end of its instruction or iteration.
 */
COLD void vmx_points_note(struct vmx_vcpu *v, u64 linear, u32 bytes, bool write);
COLD void vmx_points_note_port(struct vmx_vcpu *v, u64 qualification);
/*
 * The end of an emulated instruction or iteration: what it has met, and what MOV SS has put off, is due now; so is a
 * single step. True: there is a debug trap, which the next entry delivers before all else.
 */
COLD bool vmx_points_finish(struct vmx_vcpu *v, bool single_step);
/*
 * The same behind an iteration of REP that is not the last: the flags that its trap pushes have RF. SDM 3B 17.3.1.1
 * "Instruction-Breakpoint Exception Condition", 17.3.1.4 "Single-Step Exception Condition".
 */
COLD bool vmx_points_finish_iteration(struct vmx_vcpu *v);

#endif
