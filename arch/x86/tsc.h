/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frequency of the time-stamp counter: from CPUID leaf 0x15 when that is complete, else measured against a counter
 * of known frequency. Leaf 0x16 is never used: it is the core's base frequency, not the TSC's. SDM 3B 17.17.4
 * "Invariant Time-Keeping", 18.7.3 "Determining the Processor Base Frequency".
 */
#ifndef ROOTLET_ARCH_TSC_H
#define ROOTLET_ARCH_TSC_H

#include "kernel/lib/types.h"

/* A counter that goes up at a known rate and wraps after `bits` bits. */
struct tsc_reference {
    const char *name;
    u64 hz;
    u32 bits;
    u64 (*read)(void);
};

/* In Hz, 0 if leaf 0x15 is missing or incomplete. */
u64 tsc_hz_from_cpuid(void);
/*
 * In Hz, busy for 10 ms (up to three times that where reading the counter is disturbed); good to 0.05 % where it is
 * not. 0 if the reference does not move or the result is absurd (below 1 MHz or above 100 GHz).
 */
u64 tsc_hz_measured(const struct tsc_reference *reference);
/* Adds `ticks` to this CPU's TSC. SDM 3B 17.17.3 "Time-Stamp Counter Adjustment" */
void tsc_move(s64 ticks);
/* True if the TSC runs at a constant rate in all power states. */
bool tsc_is_invariant(void);

#endif
