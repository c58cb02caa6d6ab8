/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measuring the TSC against counters that this test makes up out of a TSC of its own, so that the right answer is known
 * and no other process of the machine disturbs it: the time that a reading takes is what the test says.
 *
 * links: arch/x86/tsc.c test/fake/cpu.c test/fake/msr.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/tsc.h"
#include "kernel/lib/bits.h"
#include "test/fake/cpu.h"
#include "test/fake/msr.h"

#define TICKS_A_COUNT   700u
#define TICKS_A_READING 97u /* no divisor of TICKS_A_COUNT: readings fall anywhere between two counts */

static u32 bits;
static u32 reads;
static u64 disturbance_tsc;
static u64 first_tsc;   /* when the counter began */
static u64 first_count; /* with what */

/* One count for each TICKS_A_COUNT ticks; every third reading takes long. */
static u64 read_counter(void)
{
    u64 count = first_count + (fake_cpu.tsc - first_tsc) / TICKS_A_COUNT;

    fake_cpu.tsc += disturbance_tsc && ++reads % 3 == 0 ? disturbance_tsc : TICKS_A_READING;
    return count & (~0ull >> (64 - bits));
}

static u64 read_dead_counter(void)
{
    fake_cpu.tsc += TICKS_A_READING;
    return 0xffff;
}

static u64 measure(u64 counter_hz, u32 counter_bits, u64 disturbance)
{
    struct tsc_reference reference = {"test", counter_hz, counter_bits, read_counter};
    bits = counter_bits;
    disturbance_tsc = disturbance;
    first_tsc = cpu_tsc();
    first_count = (1ull << (counter_bits - 1)) * 2 - counter_hz / 400; /* wraps within the first window */
    return tsc_hz_measured(&reference);
}

#define assert_near(value, wanted) assert_in_range(value, (wanted) - (wanted) / 1000, (wanted) + (wanted) / 1000)

static void counters_of_different_widths(void **state)
{
    (void)state;
    assert_near(measure(3000000, 64, 0), 3000000ull * TICKS_A_COUNT);
    assert_near(measure(3000000, 32, 0), 3000000ull * TICKS_A_COUNT);
    assert_near(measure(1193182, 16, 0), 1193182ull * TICKS_A_COUNT);
    assert_near(measure(3579545, 24, 0), 3579545ull * TICKS_A_COUNT);
}

static void disturbed_readings_do_not_spoil_it(void **state)
{
    (void)state;
    for (u32 i = 0; i < 4; i++)
        assert_near(measure(3000000, 32, 200000), 3000000ull * TICKS_A_COUNT);
}

static void no_answer_is_better_than_a_wrong_one(void **state)
{
    struct tsc_reference dead = {"dead", 3579545, 24, read_dead_counter};

    (void)state;
    assert_int_equal(tsc_hz_measured(&dead), 0);
    assert_int_equal(measure(1000, 32, 0), 0);      /* would be 0.7 MHz */
    assert_int_equal(measure(400000000, 32, 0), 0); /* would be 280 GHz */
}

/* SDM 3B 17.17.3: by the MSR that adds, where CPUID has it, else by the TSC itself. */
static void moved_by_either_msr(void **state)
{
    (void)state;
    fake_cpu_reset();
    fake_cpu.tsc = 1000000;
    fake_msr_reset();
    fake_msr_set(MSR_IA32_TSC, 0);
    tsc_move(-300000); /* IA32_TSC_ADJUST does not exist: an access would end the test */
    assert_int_equal(fake_msr_get(MSR_IA32_TSC), 700000);
    fake_cpuid_set(0, 0, (struct cpuid_result){7, 0, 0, 0});
    fake_cpuid_set(7, 0, (struct cpuid_result){0, BIT(1), 0, 0});
    fake_msr_reset();
    fake_msr_set(MSR_IA32_TSC_ADJUST, 5000); /* firmware's own stays in it */
    tsc_move(-300000);
    assert_int_equal((s64)fake_msr_get(MSR_IA32_TSC_ADJUST), -295000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_of_different_widths),
        cmocka_unit_test(disturbed_readings_do_not_spoil_it),
        cmocka_unit_test(no_answer_is_better_than_a_wrong_one),
        cmocka_unit_test(moved_by_either_msr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
