/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TSC frequency. Boot CPU, interrupts off, once. Each end of the window is an edge of the counter whose uncertainty is
 * known, so that an interruption by firmware (SMI) or by a hypervisor below us is seen and that window repeated.
 */
#include "arch/x86/tsc.h"
#include "arch/x86/cpu.h"

#define WINDOWS_A_SECOND     200u /* of 5 ms each */
#define EDGES_A_SAMPLE       6u
#define ATTEMPTS             6u
#define ONE_PART_IN          1000u
#define MILLION              1000000u
#define EDGE_ITERATIONS_MAX  100000u
#define ITERATIONS_MAX       10000000u
#define TSC_HZ_MIN           1000000ull
#define LEAF7_EBX_TSC_ADJUST BIT(1)
#define TSC_HZ_MAX           100000000000ull

u64 tsc_hz_from_cpuid(void)
{
    struct cpuid_result ratio;

    if (cpu_cpuid(0, 0).eax < 0x15)
        return 0;
    ratio = cpu_cpuid(0x15, 0);
    if (!ratio.eax || !ratio.ebx || !ratio.ecx)
        return 0;
    return (u64)ratio.ecx * ratio.ebx / ratio.eax;
}

/* When, in TSC ticks, the counter stepped to `count`; the truth lies within uncertainty / 2 of it. */
struct sample {
    u64 count;
    u64 tsc;
    u64 uncertainty;
};

/* One step of the counter: it came after the last reading of the old value began and before that of the new one ended.
 */
static bool catch_edge(const struct tsc_reference *reference, struct sample *out)
{
    u64 old_begin = cpu_tsc();
    u64 old = reference->read();

    for (u32 i = 0; i < EDGE_ITERATIONS_MAX; i++) {
        u64 begin = cpu_tsc();
        u64 count = reference->read();
        u64 end = cpu_tsc();
        if (count != old) {
            *out = (struct sample){count, old_begin + (end - old_begin) / 2, end - old_begin};
            return true;
        }
        old_begin = begin;
    }
    return false;
}

/* The sharpest of several edges: one that firmware or a hypervisor below us smeared loses. */
static bool take_sample(const struct tsc_reference *reference, struct sample *best)
{
    best->uncertainty = UINT64_MAX;
    for (u32 i = 0; i < EDGES_A_SAMPLE; i++) {
        struct sample sample;
        if (!catch_edge(reference, &sample))
            return false;
        if (sample.uncertainty < best->uncertainty)
            *best = sample;
    }
    return true;
}

/* In Hz; *error is the uncertainty in millionths. 0 if the counter stands still. */
static u64 measure_window(const struct tsc_reference *reference, u64 *error)
{
    u64 mask = ~0ull >> (64 - reference->bits);
    u64 window = reference->hz / WINDOWS_A_SECOND;
    struct sample first, last;

    if (!take_sample(reference, &first))
        return 0;
    for (u32 i = 0; ((reference->read() - first.count) & mask) < window; i++)
        if (i == ITERATIONS_MAX)
            return 0;
    if (!take_sample(reference, &last) || last.tsc <= first.tsc)
        return 0;
    u64 ticks = last.tsc - first.tsc;
    *error = (first.uncertainty + last.uncertainty) / 2 * MILLION / ticks;
    return ticks * reference->hz / ((last.count - first.count) & mask);
}

static bool agree(u64 a, u64 b)
{
    u64 difference = a > b ? a - b : b - a;
    return difference <= a / ONE_PART_IN;
}

/* Two windows in a row must agree: a narrow counter that wrapped while the CPU was taken away would deceive one. */
u64 tsc_hz_measured(const struct tsc_reference *reference)
{
    u64 best = 0, best_error = UINT64_MAX, last = 0;

    for (u32 i = 0; i < ATTEMPTS; i++) {
        u64 error = 0;
        u64 hz = measure_window(reference, &error);
        if (!hz)
            return 0;
        bool done = last && agree(hz, last);
        if (error < best_error || (done && !agree(hz, best))) {
            best = hz;
            best_error = error;
        }
        last = hz;
        if (done)
            break;
    }
    return best >= TSC_HZ_MIN && best <= TSC_HZ_MAX ? best : 0;
}

/* By the MSR that adds, where it is: reading and writing the TSC itself loses the time between. */
void tsc_move(s64 ticks)
{
    if (cpu_cpuid(0, 0).eax >= 7 && cpu_cpuid(7, 0).ebx & LEAF7_EBX_TSC_ADJUST)
        msr_write(MSR_IA32_TSC_ADJUST, msr_read(MSR_IA32_TSC_ADJUST) + (u64)ticks);
    else
        msr_write(MSR_IA32_TSC, cpu_tsc() + (u64)ticks);
}

bool tsc_is_invariant(void)
{
    return cpu_cpuid(0x80000000u, 0).eax >= 0x80000007u && (cpu_cpuid(0x80000007u, 0).edx & BIT(8));
}
