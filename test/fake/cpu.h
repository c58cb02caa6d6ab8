/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A CPU as plain values: control and debug registers, XCR0, the TSC and a CPUID table. What a test does not set is 0.
 */
#ifndef ROOTLET_TEST_FAKE_CPU_H
#define ROOTLET_TEST_FAKE_CPU_H

#include "arch/x86/cpu.h"

struct fake_cpu {
    u64 cr0, cr2, cr3, cr4;
    u64 dr0, dr1, dr2, dr3, dr6, dr7;
    u64 xcr0;
    u32 pkru;
    u64 tsc;
};
extern struct fake_cpu fake_cpu;

/* Zeroes the registers and empties the CPUID table. */
void fake_cpu_reset(void);
void fake_cpuid_set(u32 leaf, u32 subleaf, struct cpuid_result result);
/* Fills the table as a Skylake-X server has it: every feature that a guest might be offered, and many that it must not.
 */
void fake_cpuid_skylake(void);

#endif
