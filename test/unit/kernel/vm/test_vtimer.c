/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers: order, the next deadline, arming from a fire function.
 * links: kernel/vm/vtimer.c kernel/vm/bus.c
 */
#include "test/fake/device_bench.h"

struct recorder {
    char id;
    struct vtimer *timer;
    u64 rearm_ns; /* added to now at each fire; 0: not armed again */
};

static char fired[16];
static unsigned fired_count;
static struct recorder recorders[3];

static void fire(void *device, u64 now_ns)
{
    struct recorder *r = device;
    fired[fired_count++] = r->id;
    fired[fired_count] = 0;
    if (r->rearm_ns)
        vtimer_arm(&bench.timers, r->timer, now_ns + r->rearm_ns);
}

static int start(void **state)
{
    (void)state;
    bench_start();
    fired_count = 0;
    fired[0] = 0;
    for (unsigned i = 0; i < 3; i++) {
        recorders[i] = (struct recorder){.id = (char)('a' + i)};
        recorders[i].timer = vtimer_add(&bench.timers, fire, &recorders[i]);
    }
    return 0;
}

static void arm(unsigned i, u64 ns)
{
    vtimer_arm(&bench.timers, recorders[i].timer, ns);
}

static void test_earliest_first(void **state)
{
    (void)state;
    arm(0, 30);
    arm(1, 10);
    arm(2, 20);
    assert_int_equal(bench.timers.next_ns, 10);
    vtimer_run(&bench.timers, 9);
    assert_string_equal(fired, "");
    vtimer_run(&bench.timers, 25);
    assert_string_equal(fired, "bc");
    assert_int_equal(bench.timers.next_ns, 30);
    vtimer_run(&bench.timers, 30);
    assert_string_equal(fired, "bca");
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
    vtimer_run(&bench.timers, VTIMER_NEVER - 1);
    assert_string_equal(fired, "bca");
}

static void test_arming_moves_the_next_deadline(void **state)
{
    (void)state;
    arm(0, 10);
    arm(1, 20);
    arm(0, 50); /* later: the other is next */
    assert_int_equal(bench.timers.next_ns, 20);
    arm(1, VTIMER_NEVER);
    assert_int_equal(bench.timers.next_ns, 50);
    arm(2, 5);
    assert_int_equal(bench.timers.next_ns, 5);
    arm(2, VTIMER_NEVER);
    arm(0, VTIMER_NEVER);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_rearming_while_firing(void **state)
{
    (void)state;
    recorders[0].rearm_ns = 100;
    arm(0, 10);
    arm(1, 15);
    vtimer_run(&bench.timers, 20);
    assert_string_equal(fired, "ab");
    assert_int_equal(bench.timers.next_ns, 120);
}

/* A timer for now or the past fires in the next run; however wrong a device is, a run ends. */
static void test_past_deadline_ends(void **state)
{
    (void)state;
    vtimer_run(&bench.timers, 100);
    arm(0, 50);
    assert_int_equal(bench.timers.next_ns, 50);
    recorders[0].rearm_ns = (u64)-60;
    vtimer_run(&bench.timers, 100);
    assert_in_range(fired_count, 1, 3);
}

static void test_equal_deadlines_all_fire(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        arm(i, 7);
    vtimer_run(&bench.timers, 7);
    assert_int_equal(fired_count, 3);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

/* The set's short cuts against a plain search, over a long mix of arming, disarming and running. */
static void test_against_a_plain_search(void **state)
{
    (void)state;
    u64 random = 1, now = 0;
    for (unsigned i = 0; i < 20000; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        u64 value = random >> 33;
        fired_count = 0;
        recorders[value % 3].rearm_ns = value >> 8 & 1 ? 1 + (value >> 9 & 31) : 0;
        if (value & 4)
            arm(value % 3, value & 8 ? now + (value >> 4 & 31) : VTIMER_NEVER);
        else
            vtimer_run(&bench.timers, now += value >> 4 & 15);
        u64 least = VTIMER_NEVER;
        for (unsigned t = 0; t < 3; t++)
            if (bench.timers.timers[t].deadline_ns < least)
                least = bench.timers.timers[t].deadline_ns;
        assert_true(bench.timers.next_ns == least);
        assert_true(value & 4 || least > now);
    }
}

static void test_clock(void **state)
{
    (void)state;
    bench.now_ns = 42;
    assert_int_equal(vtimer_now(&bench.timers), 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_earliest_first, start),
        cmocka_unit_test_setup(test_arming_moves_the_next_deadline, start),
        cmocka_unit_test_setup(test_rearming_while_firing, start),
        cmocka_unit_test_setup(test_past_deadline_ends, start),
        cmocka_unit_test_setup(test_equal_deadlines_all_fire, start),
        cmocka_unit_test_setup(test_against_a_plain_search, start),
        cmocka_unit_test_setup(test_clock, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
