/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting and waking: sleep, timers, and HLT on a CPU that has something else to do or has not. Time is the simulated
 * machine's (test/fake/sim.h); a tick is a nanosecond.
 *
 * links: kernel/sched/sched.c kernel/sched/queue.c kernel/sched/smt.c kernel/sched/wait.c kernel/lib/heap.c
 * links: kernel/vm/vm.c
 * kernel/vm/spec.c kernel/vm/vtimer.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: kernel/vm/io.c kernel/vm/firmware.c kernel/clock.c test/fake/sim.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "arch/x86/quirks.h"
#include "kernel/lib/bits.h"
#include "test/fake/sched_bench.h"

static u32 cpus_wanted;
static bool with_quirk;

/* ---- sleep, HLT, events ---- */

static void timer_beside_spinner(void)
{
    sim_begin(1);
    add(timer_loop, 100, ~0ull);
    add(spin, 100, ~0ull);
    sim_end_at(1000 * MS);
    sim_run();
}

/* A timer interrupt takes the CPU from a spinner: it does not wait for the end of the slice. */
static void test_event_wakes_at_once(void **state)
{
    (void)state;
    r = sim_scenario(timer_beside_spinner);
    assert_orderly_end(2);
    assert_true(r->vms[0].vcpus[0].events > 950);
    assert_true(r->vms[0].vcpus[0].worst_event < MS / 20);
    assert_no_spinning(0);
    assert_no_spinning(1);
}

static void two_timers(void)
{
    SCRIPT(busy_timer, {SIM_ARM, MS}, {SIM_RUN, MS / 2}, {SIM_HLT, 0}, {SIM_AGAIN, 0});
    sim_begin(1);
    add(timer_loop, 100, ~0ull);
    add(busy_timer, 100, ~0ull);
    sim_end_at(500 * MS);
    sim_run();
}

static void test_two_timers_share_a_cpu(void **state)
{
    (void)state;
    r = sim_scenario(two_timers);
    assert_orderly_end(2);
    assert_true(r->vms[0].vcpus[0].events > 400);
    assert_true(r->vms[1].vcpus[0].events > 400);
}

static void sleepers(void)
{
    SCRIPT(nap, {SIM_SLEEP, 5 * MS}, {SIM_RUN, 10000}, {SIM_AGAIN, 0});
    sim_begin(2);
    for (u32 i = 0; i < 20; i++)
        add(nap, 100, ~0ull);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_blocked_vcpus_cost_nothing(void **state)
{
    (void)state;
    r = sim_scenario(sleepers);
    assert_orderly_end(20);
    for (u32 i = 0; i < 20; i++) {
        assert_true(r->vms[i].vcpus[0].rounds > 190 && r->vms[i].vcpus[0].rounds <= 200);
        assert_true(r->vms[i].vcpus[0].entries < 1000);
        assert_true(close_to(r->vms[i].vcpus[0].slept_tsc, 1000 * MS, 20));
    }
    assert_true(r->busy_tsc[0] + r->busy_tsc[1] < 100 * MS);
}

/* vCPU 1 moves the timer of vCPU 0, which is blocked on the same CPU, while a third one spins. */
static void timer_set_by_another(void)
{
    static const struct sim_step boot[] = {
        {SIM_START, 1       },
        {SIM_ARM,   100 * MS},
        {SIM_HLT,   0       },
        {SIM_ARM,   900 * MS},
        {SIM_HLT,   0       },
        {SIM_EXIT,  0       }
    };
    static const struct sim_step other[] = {
        {SIM_RUN,  150 * MS},
        {SIM_ARM,  10 * MS },
        {SIM_SPIN, 0       }
    };
    static const struct sim_step *const both[] = {boot, other};

    sim_begin(cpus_wanted);
    add_vcpus(both, 2);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_timer_of_a_blocked_vcpu_moves(void **state)
{
    (void)state;
    for (cpus_wanted = 1; cpus_wanted <= 2; cpus_wanted++) {
        r = sim_scenario(timer_set_by_another);
        assert_orderly_end(1);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[0].events, 2);
        assert_true(r->vms[0].vcpus[0].worst_event < MS / 10);
        assert_true(r->vms[0].stop_tsc < 330 * MS);
    }
}

/* ---- HLT on a CPU with nothing else to do: sched_halt() ---- */

static void timer_alone(void)
{
    sim_begin(1);
    add(timer_loop, 100, ~0ull);
    sim_end_at(1000 * MS);
    sim_run();
}

/* It never leaves its guest, and no more than the computing is its run time. */
static void test_halts_in_place_when_alone(void **state)
{
    const struct sim_vcpu_result *vcpu;

    (void)state;
    r = sim_scenario(timer_alone);
    vcpu = &r->vms[0].vcpus[0];
    assert_orderly_end(1);
    assert_true(vcpu->events > 950);
    assert_int_equal(vcpu->slices, 1);
    assert_true(vcpu->worst_event < 1000);
    assert_true(vcpu->entries < 5 * vcpu->events);
    assert_true(vcpu->run_tsc > vcpu->work && vcpu->run_tsc < vcpu->work + 2000 * vcpu->events);
    assert_true(close_to(vcpu->run_tsc + vcpu->slept_tsc, 1000 * MS, 2));
}

static void halts_in_place_by_host_timer(void)
{
    sim_begin(1);
    sim_without_preemption_timer();
    add(timer_loop, 100, ~0ull);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_halts_in_place_without_preemption_timer(void **state)
{
    (void)state;
    r = sim_scenario(halts_in_place_by_host_timer);
    assert_orderly_end(1);
    assert_true(r->vms[0].vcpus[0].events > 950);
    assert_int_equal(r->vms[0].vcpus[0].slices, 1);
    assert_true(r->sleeps[0] > 950);
}

/* Alone on its CPU, with limit= and cap=: it sleeps in place, too, and both hold to the tick of its next wake-up. */
static u32 cap_wanted;

static void halts_in_place_with_limits(void)
{
    SCRIPT(half_busy, {SIM_RUN, MS}, {SIM_ARM, MS}, {SIM_HLT, 0}, {SIM_AGAIN, 0});
    SCRIPT(long_timer, {SIM_ARM, 900 * MS}, {SIM_HLT, 0}, {SIM_EXIT, 0});
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.limit_ms = 300;
    spec.cap_percent = cap_wanted;
    sim_add(&spec, cap_wanted ? half_busy : long_timer);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_limit_ends_who_halts_in_place(void **state)
{
    const struct sim_vcpu_result *vcpu;

    (void)state;
    cap_wanted = 0;
    r = sim_scenario(halts_in_place_with_limits);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    vcpu = &r->vms[0].vcpus[0];
    assert_int_equal(vcpu->slices, 1);
    assert_true(close_to(vcpu->run_tsc + vcpu->slept_tsc, 300 * MS, 1));

    /* 50 % of a CPU with cap=20: 20 ms of each 100 ms, and then it waits for its next period. */
    cap_wanted = 20;
    r = sim_scenario(halts_in_place_with_limits);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    vcpu = &r->vms[0].vcpus[0];
    assert_true(close_to(vcpu->run_tsc + vcpu->slept_tsc, 300 * MS, 1));
    u64 periods = r->vms[0].stop_tsc / (100 * MS);
    assert_in_range(vcpu->run_tsc, periods * 20 * MS, (periods + 1) * 20 * MS);
    assert_in_range(vcpu->slices, periods, periods + 2);
}

/* Long after it has begun to halt in place, others come to its CPU: a sleeper, and one that spins from then on. */
static void company_for_one_that_halts(void)
{
    SCRIPT(long_timer, {SIM_ARM, 300 * MS}, {SIM_HLT, 0}, {SIM_AGAIN, 0});
    SCRIPT(napper, {SIM_SLEEP, 7 * MS}, {SIM_RUN, 10000}, {SIM_AGAIN, 0});
    SCRIPT(late, {SIM_SLEEP, 500 * MS}, {SIM_SPIN, 0});

    sim_begin(1);
    add(long_timer, 100, ~0ull);
    add(napper, 100, ~0ull);
    add(late, 100, ~0ull);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_halting_in_place_holds_nobody_up(void **state)
{
    (void)state;
    r = sim_scenario(company_for_one_that_halts);
    assert_orderly_end(3);
    assert_int_equal(r->vms[0].vcpus[0].events, 3);
    assert_true(r->vms[0].vcpus[0].worst_event < MS / 10);
    assert_true(r->vms[1].vcpus[0].rounds > 135);
    assert_true(r->vms[2].vcpus[0].work > 495 * MS);
}

/*
 * It computes and halts in place for a second before the other comes, from CPU 1 through the queue of CPU 0: its long
 * run must not count as a debt that it has to work off while the newcomer computes.
 */
static void newcomer_after_a_second(void)
{
    SCRIPT(half_busy, {SIM_ARM, 2 * MS}, {SIM_RUN, MS}, {SIM_HLT, 0}, {SIM_AGAIN, 0});
    static const struct sim_step boot[] = {
        {SIM_SLEEP, 1000 * MS},
        {SIM_START, 1        },
        {SIM_SPIN,  0        }
    };
    static const struct sim_step other[] = {
        {SIM_SPIN, 0}
    };
    static const struct sim_step *const both[] = {boot, other};

    sim_begin(2);
    add(half_busy, 100, BIT(0));
    add_vcpus(both, 2);
    sim_end_at(1500 * MS);
    sim_run();
}

static void test_a_newcomer_does_not_starve_one_that_halted(void **state)
{
    (void)state;
    r = sim_scenario(newcomer_after_a_second);
    assert_orderly_end(2);
    assert_true(r->vms[1].vcpus[1].cpus & BIT(0));
    assert_true(r->vms[0].vcpus[0].worst_event < 12 * MS);
    assert_true(r->vms[0].vcpus[0].work > 650 * MS);
}

/*
 * CPU 1 moves the timer of a vCPU that is blocked on CPU 0, at every moment of the life of the one that halts there: in
 * its guest, on its way into HLT, asleep, on its way out. The one that was blocked must hear of it at once.
 */
static u64 offset;

static void request_while_one_halts(void)
{
    static struct sim_step other[] = {
        {SIM_RUN,  0    },
        {SIM_ARM,  50000},
        {SIM_SPIN, 0    }
    };
    static const struct sim_step boot[] = {
        {SIM_START, 1       },
        {SIM_ARM,   900 * MS},
        {SIM_HLT,   0       },
        {SIM_EXIT,  0       }
    };
    SCRIPT(halting, {SIM_ARM, 5 * MS}, {SIM_RUN, 5000}, {SIM_HLT, 0}, {SIM_AGAIN, 0});
    static const struct sim_step *const both[] = {boot, other};

    other[0].value = 20 * MS + offset;
    sim_begin(2);
    add_vcpus(both, 2);
    add(halting, 100, BIT(0));
    sim_end_at(100 * MS);
    sim_run();
}

static void test_no_request_is_lost_while_one_halts(void **state)
{
    (void)state;
    for (offset = 0; offset < 12000; offset += 97) {
        r = sim_scenario(request_while_one_halts);
        assert_orderly_end(2);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[0].events, 1);
        assert_true(r->vms[0].vcpus[0].worst_event < 20000);
        assert_true(r->vms[0].stop_tsc < 22 * MS);
    }
}

/* A CPU that sleeps for one that halts there has time for another that wakes: it need not go to a third CPU. */
static void woken_beside_one_that_halts(void)
{
    SCRIPT(halting, {SIM_ARM, 5 * MS}, {SIM_HLT, 0}, {SIM_AGAIN, 0});
    static const struct sim_step boot[] = {
        {SIM_START, 1    },
        {SIM_HLT,   0    },
        {SIM_RUN,   20000},
        {SIM_HLT,   0    },
        {SIM_RUN,   20000},
        {SIM_HLT,   0    },
        {SIM_EXIT,  0    }
    };
    static const struct sim_step other[] = {
        {SIM_RUN,   3 * MS},
        {SIM_NMI,   0     },
        {SIM_AGAIN, 0     }
    };
    static const struct sim_step *const both[] = {boot, other};

    sim_begin(3);
    add_vcpus(both, 2);
    add(halting, 100, BIT(0));
    sim_end_at(100 * MS);
    sim_run();
}

static void test_one_that_halts_in_place_is_not_busy(void **state)
{
    (void)state;
    r = sim_scenario(woken_beside_one_that_halts);
    assert_orderly_end(2);
    assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
    assert_true(r->vms[0].stop_tsc < 10 * MS);
    assert_int_equal(r->vms[0].vcpus[0].cpus, BIT(0));
    assert_int_equal(r->vms[0].vcpus[0].migrations, 0);
}

/* With QUIRK_STI_SHADOW a wake-up may come before the HLT: no sleep is longer than a slice (10 ms). */
static void long_sleep(void)
{
    SCRIPT(waits, {SIM_ARM, 100 * MS}, {SIM_HLT, 0}, {SIM_EXIT, 0});
    sim_begin(1);
    quirks_found = with_quirk ? BIT(QUIRK_STI_SHADOW) : 0;
    add(waits, 100, ~0ull);
    sim_run();
}

static void test_no_long_sleep_where_a_wakeup_may_be_lost(void **state)
{
    (void)state;
    with_quirk = false;
    r = sim_scenario(long_sleep);
    assert_orderly_end(1);
    assert_true(r->sleeps[0] < 3);
    with_quirk = true;
    r = sim_scenario(long_sleep);
    assert_orderly_end(1);
    assert_in_range(r->sleeps[0], 10, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_long_sleep_where_a_wakeup_may_be_lost),
        cmocka_unit_test(test_event_wakes_at_once),
        cmocka_unit_test(test_two_timers_share_a_cpu),
        cmocka_unit_test(test_blocked_vcpus_cost_nothing),
        cmocka_unit_test(test_timer_of_a_blocked_vcpu_moves),
        cmocka_unit_test(test_halts_in_place_when_alone),
        cmocka_unit_test(test_halts_in_place_without_preemption_timer),
        cmocka_unit_test(test_limit_ends_who_halts_in_place),
        cmocka_unit_test(test_halting_in_place_holds_nobody_up),
        cmocka_unit_test(test_a_newcomer_does_not_starve_one_that_halted),
        cmocka_unit_test(test_no_request_is_lost_while_one_halts),
        cmocka_unit_test(test_one_that_halts_in_place_is_not_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
