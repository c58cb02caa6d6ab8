/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exceptions and NMIs taken by the host. An exception is a host bug (fatal), except #GP in msr_read_safe and
 * msr_write_safe. Vectors from 32 on go to irq_dispatch (arch/x86/irq.h).
 * SDM 3A 6.15 "Exception and Interrupt Reference".
 */
#ifndef ROOTLET_ARCH_TRAPS_H
#define ROOTLET_ARCH_TRAPS_H

#include "kernel/lib/types.h"

/* As arch/x86/trap.asm pushes it; the end is what the CPU pushes. */
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8;
    u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector;
    u64 error_code; /* 0 where the vector has none */
    u64 rip, cs, rflags, rsp, ss;
};

/* Called for a host exception that nothing repairs; must not return. Until it is set the CPU just halts. */
void traps_set_fatal_handler(void (*handler)(const struct trap_frame *frame));
/*
 * Called for every NMI that the host takes (an NMI that causes a VM exit is the exit handler's; `int $2` there brings
 * it here and lets IRET end the blocking of NMIs). Runs on the NMI stack at any point, even inside a lock: no lock, no
 * log.
 */
void traps_set_nmi_handler(void (*handler)(void));
/* "#PF page fault" and so on; for vectors of 32 and more "interrupt". */
const char *traps_vector_name(u64 vector);
/*
 * Breaks a rule on purpose, for tests of the dump: "ud", "pf", "nx" (run data), "wp" (write read-only data), "alias"
 * (the same through the direct map), "stack" (run into a guard page), "nmi" (the NMI handler, which returns). False if
 * the kind is unknown, or nothing stopped it.
 */
bool traps_provoke(const char *kind);

#endif
