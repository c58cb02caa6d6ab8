/*
 * TSC frequency. Boot CPU, interrupts off, once: the window must not be cut by an interrupt of ours; one of firmware's
 * (SMI) spoils at most one of the three windows.
 */
#include "arch/x86/tsc.h"
#include "arch/x86/cpu.h"

#define WINDOWS             3u
#define WINDOWS_A_SECOND    200u /* of 5 ms each */
#define EDGE_ITERATIONS_MAX 100000u
#define ITERATIONS_MAX      10000000u
#define TSC_HZ_MIN          1000000ull
#define TSC_HZ_MAX          100000000000ull

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

/* Begins at an edge of the counter, so that the start is exact; the end is exact to one step of the counter. */
static u64 measure_window(const struct tsc_reference *reference, u64 counts)
{
    u64 mask = ~0ull >> (64 - reference->bits);
    u64 before = reference->read();
    u64 start, elapsed, start_tsc, end_tsc;
    u32 left = EDGE_ITERATIONS_MAX;

    do
        start = reference->read();
    while (start == before && --left);
    start_tsc = cpu_tsc();
    if (!left)
        return 0;
    left = ITERATIONS_MAX;
    do
        elapsed = (reference->read() - start) & mask;
    while (elapsed < counts && --left);
    end_tsc = cpu_tsc();
    return left ? (end_tsc - start_tsc) * reference->hz / elapsed : 0;
}

static u64 middle_of_three(u64 a, u64 b, u64 c)
{
    u64 low = a < b ? a : b;
    u64 high = a < b ? b : a;
    if (c < low)
        return low;
    return c > high ? high : c;
}

u64 tsc_hz_measured(const struct tsc_reference *reference)
{
    u64 results[WINDOWS];
    u64 hz;

    for (u32 i = 0; i < WINDOWS; i++) {
        results[i] = measure_window(reference, reference->hz / WINDOWS_A_SECOND);
        if (!results[i])
            return 0;
    }
    hz = middle_of_three(results[0], results[1], results[2]);
    return hz >= TSC_HZ_MIN && hz <= TSC_HZ_MAX ? hz : 0;
}

bool tsc_is_invariant(void)
{
    return cpu_cpuid(0x80000000u, 0).eax >= 0x80000007u && (cpu_cpuid(0x80000007u, 0).edx & BIT(8));
}
