/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host time from the TSC. Nanoseconds since boot, and conversions that never fire early (tsc_from_ns rounds up).
 */
#ifndef ROOTLET_KERNEL_CLOCK_H
#define ROOTLET_KERNEL_CLOCK_H

#include "kernel/lib/types.h"

/* Takes the frequency that arch/x86/tsc.c found, in Hz. */
void clock_init(u64 tsc_hz);
u64 clock_tsc_hz(void);
/* value * multiplier / 2^shift; constant after clock_init. */
struct clock_factor {
    u64 multiplier;
    u32 shift;
};
extern struct clock_factor clock_ns_of_tsc;
extern u64 clock_ns_scale;  /* nanoseconds in a TSC tick * 2^54, rounded up; from 1 MHz on */
extern u64 clock_tsc_scale; /* TSC ticks in a nanosecond * 2^60, rounded up; below 16 GHz */

/* Spans, not points: both work on differences. Saturate instead of wrapping. */
static inline u64 clock_ns_from_tsc(u64 tsc)
{
    unsigned __int128 product = (unsigned __int128)tsc * clock_ns_of_tsc.multiplier >> clock_ns_of_tsc.shift;
    return UNLIKELY(product >> 64) ? UINT64_MAX : (u64)product;
}
u64 clock_tsc_from_ns(u64 ns);
/*
 * For clocks, on the exit path: as clock_ns_from_tsc for a span whose result fits 64 bits (584 years), at most a few ns
 * more, never less: when clock_deadline_span(n) has passed, this says at least n.
 */
static inline u64 clock_elapsed_ns(u64 tsc)
{
    return (u64)((unsigned __int128)tsc * clock_ns_scale >> 54);
}
/*
 * For deadlines, on the exit path: a TSC span after which `ns` have passed for sure, at most two ticks more than that.
 * UINT64_MAX for 2^60 ns (36 years) and more.
 */
static inline u64 clock_deadline_span(u64 ns)
{
    if (UNLIKELY(ns >> 60))
        return UINT64_MAX;
    return (u64)((unsigned __int128)ns * clock_tsc_scale >> 60) + 1;
}
/*
 * The "crystal" of guests: what their local APIC timers count, and CPUID leaf 0x15 names. The TSC's frequency is a
 * whole multiple of it, so that a system that divides in integers is right, and it is at most 1 GHz.
 */
#define CLOCK_CRYSTAL_HZ_MAX 1000000000ull
static inline u32 clock_crystal_ratio(u64 hz)
{
    return (u32)((hz + CLOCK_CRYSTAL_HZ_MAX - 1) / CLOCK_CRYSTAL_HZ_MAX);
}
/*
 * Seconds since 1970-01-01 UTC, by the host's CMOS clock at boot and the TSC since: up to 2 s behind. Without a CMOS
 * clock: seconds since the TSC was 0.
 */
u64 clock_wall_seconds(void);

#endif
