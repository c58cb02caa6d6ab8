/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Conversions as one 64x64-bit multiplication and a shift: the factor is found once, by long division, with 64
 * significant bits. Both factors are rounded up, which gives the guarantee ns_from_tsc(tsc_from_ns(n)) >= n: nothing is
 * early. Any CPU, no lock: constant after clock_init.
 */
#include "kernel/clock.h"
#include "arch/x86/cpu.h"
#include "drivers/host/rtc.h"

#define NS_A_SECOND 1000000000ull

struct clock_factor clock_ns_of_tsc;
u64 clock_ns_scale;
u64 clock_tsc_scale;

static u64 tsc_hz;
static struct clock_factor tsc_of_ns;
static u64 wall_at_tsc_zero;

/* multiplier / 2^shift = numerator / denominator, rounded up; denominator < 2^63. */
static struct clock_factor make_factor(u64 numerator, u64 denominator)
{
    u64 quotient = numerator / denominator;
    u64 rest = numerator % denominator;
    u32 shift = 0;

    while (!(quotient >> 63) && rest) {
        rest <<= 1;
        quotient = quotient << 1 | (rest >= denominator);
        rest -= rest >= denominator ? denominator : 0;
        shift++;
    }
    if (rest && quotient != UINT64_MAX)
        quotient++;
    return (struct clock_factor){quotient, shift};
}

/* hz * 2^60 / 10^9, rounded up, in two steps of 30 bits: hz below 2^34 keeps each product within 64 bits. */
static u64 scale_of(u64 hz)
{
    u64 high = (hz << 30) / NS_A_SECOND;
    u64 rest = (hz << 30) % NS_A_SECOND;
    return (high << 30) + (rest << 30) / NS_A_SECOND + 1;
}

/* 10^9 * 2^54 / hz, rounded up: the quotient, then 54 more bits of it, 9 at a time. */
static u64 ns_scale_of(u64 hz)
{
    u64 scale = NS_A_SECOND / hz;
    u64 rest = NS_A_SECOND % hz;

    for (unsigned bits = 0; bits < 54; bits += 9) {
        scale = (scale << 9) + (rest << 9) / hz;
        rest = (rest << 9) % hz;
    }
    return scale + 1;
}

static u64 saturate(unsigned __int128 value)
{
    return value >> 64 ? UINT64_MAX : (u64)value;
}

void clock_init(u64 hz)
{
    u64 wall_now;

    tsc_hz = hz;
    clock_ns_of_tsc = make_factor(NS_A_SECOND, hz);
    clock_tsc_scale = scale_of(hz);
    clock_ns_scale = ns_scale_of(hz);
    tsc_of_ns = make_factor(hz, NS_A_SECOND);
    wall_now = rtc_read_seconds(hz);
    u64 up = cpu_tsc() / hz;
    wall_at_tsc_zero = wall_now > up ? wall_now - up : 0;
}

u64 clock_tsc_hz(void)
{
    return tsc_hz;
}

u64 clock_tsc_from_ns(u64 ns)
{
    unsigned __int128 product = (unsigned __int128)ns * tsc_of_ns.multiplier;
    unsigned __int128 whole = product >> tsc_of_ns.shift;
    bool rest = whole << tsc_of_ns.shift != product;

    return saturate(whole + rest);
}

u64 clock_wall_seconds(void)
{
    return wall_at_tsc_zero + cpu_tsc() / tsc_hz;
}
