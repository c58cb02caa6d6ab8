/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TSC and nanoseconds against exact 128-bit arithmetic, at frequencies from 1 MHz to 100 GHz.
 * links: kernel/clock.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "drivers/host/rtc.h"
#include "kernel/clock.h"

static u64 wall_now;

u64 rtc_read_seconds(u64 tsc_hz)
{
    assert_int_equal(tsc_hz, clock_tsc_hz());
    return wall_now;
}

static const u64 frequencies[] = {1000000,    14318180,   50000000,   999999999,  1000000000,
                                  1000000001, 2096037716, 3500000000, 5800000001, 100000000000};
static const u64 spans[] = {0,         1,          2,          999,          1000,          1001,
                            999999999, 1000000000, 1000000001, 123456789012, 3600000000000, 31536000000000000};

static u64 exact(u64 value, u64 numerator, u64 denominator, bool up)
{
    unsigned __int128 product = (unsigned __int128)value * numerator;
    unsigned __int128 result = product / denominator + (up && product % denominator);
    return result > UINT64_MAX ? UINT64_MAX : (u64)result;
}

#define EACH_PAIR(hz, span)                                                                                            \
    for (u32 f = 0; f < ARRAY_SIZE(frequencies); f++)                                                                  \
        for (u32 s = 0; s < ARRAY_SIZE(spans); s++)                                                                    \
            for (u64 hz = frequencies[f], span = spans[s], once = 1; once && (clock_init(hz), 1); once = 0)

static void conversions_are_exact_to_one_unit(void **state)
{
    (void)state;
    EACH_PAIR(hz, span)
    {
        u64 ns = exact(span, 1000000000, hz, false);
        u64 tsc = exact(span, hz, 1000000000, true);
        assert_in_range(clock_ns_from_tsc(span), ns, ns + (ns != UINT64_MAX));
        assert_in_range(clock_tsc_from_ns(span), tsc, tsc + (tsc != UINT64_MAX));
    }
}

static void a_deadline_is_never_early(void **state)
{
    (void)state;
    EACH_PAIR(hz, span)
    if (exact(span, hz, 1000000000, true) != UINT64_MAX)
        assert_true(clock_ns_from_tsc(clock_tsc_from_ns(span)) >= span);
}

static void whole_ratios_are_exact(void **state)
{
    (void)state;
    clock_init(50000000);
    assert_int_equal(clock_ns_from_tsc(1), 20);
    assert_int_equal(clock_ns_from_tsc(50000000), 1000000000);
    clock_init(1000000000);
    assert_int_equal(clock_ns_from_tsc(UINT64_MAX - 1), UINT64_MAX - 1);
    clock_init(2000000000);
    assert_int_equal(clock_ns_from_tsc(3), 1);
    assert_int_equal(clock_tsc_from_ns(3), 6);
}

static void large_values_saturate(void **state)
{
    (void)state;
    clock_init(1000000);
    assert_int_equal(clock_ns_from_tsc(UINT64_MAX), UINT64_MAX);
    assert_int_equal(clock_ns_from_tsc(UINT64_MAX / 1000 + 1), UINT64_MAX);
    clock_init(3500000000);
    assert_int_equal(clock_tsc_from_ns(UINT64_MAX), UINT64_MAX);
    assert_int_equal(clock_tsc_from_ns(UINT64_MAX / 3), UINT64_MAX);
}

static void wall_time_goes_on_from_the_clocks(void **state)
{
    (void)state;
    wall_now = 1800000000;
    clock_init(1000000); /* slow, so that the machine's TSC stands for a long time, and a real second is thousands */
    u64 first = clock_wall_seconds();
    if (__builtin_ia32_rdtsc() / 1000000 < wall_now)
        assert_in_range(first, wall_now, wall_now + 1000000);
    u64 start = __builtin_ia32_rdtsc();
    while (__builtin_ia32_rdtsc() - start < 5000000)
        continue;
    assert_in_range(clock_wall_seconds(), first + 5, first + 1000000);
}

static void without_a_clock_wall_time_is_that_of_the_tsc(void **state)
{
    (void)state;
    wall_now = 0;
    clock_init(1000000);
    u64 up = __builtin_ia32_rdtsc() / 1000000;
    assert_in_range(clock_wall_seconds(), up, up + 1000000);
}

/* Never early, at most two ticks late, and monotonous up to where it saturates. */
static void deadline_spans(void **state)
{
    static const u64 frequencies[] = {1000000, 50000000, 999999999, 1000000000, 2096037123, 15999999999};
    static const u64 spans[] = {0, 1, 19, 20, 1000, 999999999, 86400000000000, 31557600000000000, (1ull << 60) - 1};

    (void)state;
    for (size_t f = 0; f < sizeof frequencies / sizeof *frequencies; f++) {
        clock_init(frequencies[f]);
        for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
            unsigned __int128 exact = ((unsigned __int128)spans[i] * frequencies[f] + 999999999) / 1000000000;
            u64 span = clock_deadline_span(spans[i]);
            assert_true(span >= (u64)exact);
            assert_true(span <= (u64)exact + 2);
            assert_true(clock_elapsed_ns(span) >= spans[i]); /* or the timer would wait for itself for ever */
            unsigned __int128 ns = ((unsigned __int128)span * 1000000000 + frequencies[f] - 1) / frequencies[f];
            assert_true(clock_elapsed_ns(span) <= (u64)ns + 1 + (u64)(ns >> 48));
        }
        assert_true(clock_deadline_span(1ull << 60) == UINT64_MAX);
        assert_true(clock_deadline_span(UINT64_MAX) == UINT64_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_are_exact_to_one_unit),
        cmocka_unit_test(a_deadline_is_never_early),
        cmocka_unit_test(whole_ratios_are_exact),
        cmocka_unit_test(large_values_saturate),
        cmocka_unit_test(wall_time_goes_on_from_the_clocks),
        cmocka_unit_test(without_a_clock_wall_time_is_that_of_the_tsc),
        cmocka_unit_test(deadline_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
