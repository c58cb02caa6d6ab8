/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two TSCs and the readings that tell them apart: bounds that are never wrong, and what is done about them.
 *
 * links: arch/x86/tsc_sync.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "arch/x86/tsc_sync.h"

#define LIMIT 3000u /* a microsecond at 3 GHz */

/* `rounds` round trips of 200 to 2000 ticks, each there and back in parts of any size; theirs is ahead by `ahead`, and
 * gains `drift` ticks a round. */
static struct tsc_offset measure(u64 start, s64 ahead, s64 drift, unsigned rounds)
{
    struct tsc_offset offset = TSC_OFFSET_UNKNOWN;
    u64 now = start;

    for (unsigned i = 0; i < rounds; i++) {
        u64 there = 100 + (u64)rand() % 900, back = 100 + (u64)rand() % 900;
        tsc_offset_narrow(&offset, now, now + there + (u64)(ahead + drift * (s64)i), now + there + back);
        now += there + back + (u64)rand() % 5000;
    }
    return offset;
}

static void test_the_truth_is_within_the_bounds(void **state)
{
    static const s64 differences[] = {0, 1, -1, 900, -900, 2999, 100000, -100000, 1ll << 40, -(1ll << 40)};

    (void)state;
    srand(1);
    for (u32 i = 0; i < sizeof differences / sizeof differences[0]; i++) {
        for (unsigned rounds = 1; rounds <= 64; rounds *= 2) {
            struct tsc_offset offset = measure(1ull << 33, differences[i], 0, rounds);
            s64 correction;
            enum tsc_verdict verdict = tsc_offset_judge(&offset, LIMIT, &correction);
            assert_true(offset.low <= differences[i] && differences[i] <= offset.high);
            assert_true(offset.high - offset.low <= 2000);
            bool small = differences[i] >= -3000 && differences[i] <= 3000;
            assert_int_equal(verdict, small ? TSC_ALIKE : TSC_DIFFERS);
            if (small)
                assert_int_equal(correction, 0);
            else /* half a round trip is the best that one reading can do */
                assert_true(labs(correction + differences[i]) <= 1000);
        }
    }
}

/* What is just at the limit; and what could be either is left alone. */
static void test_limits(void **state)
{
    static const struct {
        s64 low, high;
        enum tsc_verdict verdict;
        s64 correction;
    } rows[] = {
        {3000,   3000,  TSC_ALIKE,    0    },
        {3001,   3001,  TSC_DIFFERS,  -3001},
        {-3000,  -3000, TSC_ALIKE,    0    },
        {-3001,  -3001, TSC_DIFFERS,  3001 },
        {2000,   90000, TSC_ALIKE,    0    },
        {4000,   6000,  TSC_DIFFERS,  -5000},
        {-6000,  -4000, TSC_DIFFERS,  5000 },
        {-90000, 90000, TSC_ALIKE,    0    },
        {1,      0,     TSC_UNSTEADY, 0    },
        {50000,  49999, TSC_UNSTEADY, 0    },
    };

    (void)state;
    for (u32 i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tsc_offset offset = {rows[i].low, rows[i].high};
        s64 correction;
        assert_int_equal(tsc_offset_judge(&offset, LIMIT, &correction), rows[i].verdict);
        assert_int_equal(correction, rows[i].correction);
    }
}

/* At another rate, in either direction, or with a jump between two readings. */
static void test_unsteady(void **state)
{
    s64 correction;

    (void)state;
    for (s64 drift = -500; drift <= 500; drift += 1000) {
        struct tsc_offset offset = measure(1000000, 0, drift, 64);
        assert_int_equal(tsc_offset_judge(&offset, LIMIT, &correction), TSC_UNSTEADY);
    }
    struct tsc_offset offset = TSC_OFFSET_UNKNOWN;
    tsc_offset_narrow(&offset, 1000, 1100, 1200);
    tsc_offset_narrow(&offset, 2000, 9100, 2200);
    assert_int_equal(tsc_offset_judge(&offset, LIMIT, &correction), TSC_UNSTEADY);
}

/* Firmware or a hypervisor below us takes a CPU away during a round trip: that one says little, the others all. */
static void test_disturbed_readings(void **state)
{
    struct tsc_offset offset = measure(5000, 7000, 0, 8);
    s64 correction;

    (void)state;
    struct tsc_offset before = offset;
    tsc_offset_narrow(&offset, 100000, 100050 + 7000, 90000000);
    tsc_offset_narrow(&offset, 200000, 89000000 + 7000, 90000000);
    assert_int_equal(offset.low, before.low);
    assert_true(offset.high <= before.high && offset.high >= 7000);
    assert_int_equal(tsc_offset_judge(&offset, LIMIT, &correction), TSC_DIFFERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_truth_is_within_the_bounds),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_unsteady),
        cmocka_unit_test(test_disturbed_readings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
