/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who gets how much of a CPU: weights, caps and limits of run time. Time is the simulated machine's (test/fake/sim.h);
 * a tick is a nanosecond.
 *
 * links: kernel/sched/sched.c kernel/sched/queue.c kernel/sched/smt.c kernel/sched/wait.c kernel/lib/heap.c
 * links: kernel/vm/vm.c
 * kernel/vm/spec.c kernel/vm/vtimer.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: kernel/vm/io.c kernel/vm/firmware.c kernel/clock.c test/fake/sim.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/sched_bench.h"

/* ---- fairness ---- */

static void one_to_three(void)
{
    sim_begin(1);
    add(spin, 100, ~0ull);
    add(spin, 300, ~0ull);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_weights_1_to_3(void **state)
{
    (void)state;
    r = sim_scenario(one_to_three);
    assert_orderly_end(2);
    assert_true(close_to(run_of(0), 500 * MS, 20));
    assert_true(close_to(run_of(1), 1500 * MS, 20));
    assert_true(close_to(run_of(0) + run_of(1), 2000 * MS, 1));
    assert_no_spinning(0);
    assert_no_spinning(1);
}

static void one_to_three_by_apic_timer(void)
{
    sim_begin(1);
    sim_without_preemption_timer();
    add(spin, 100, ~0ull);
    add(spin, 300, ~0ull);
    add(timer_loop, 100, ~0ull);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_weights_without_preemption_timer(void **state)
{
    (void)state;
    r = sim_scenario(one_to_three_by_apic_timer);
    assert_orderly_end(3);
    u64 both = run_of(0) + run_of(1);
    assert_true(close_to(run_of(0), both / 4, 20));
    assert_true(close_to(run_of(1), both / 4 * 3, 20));
    assert_true(r->vms[2].vcpus[0].events > 1900);
    assert_true(r->vms[2].vcpus[0].worst_event < MS / 10);
}

static void many_weights(void)
{
    sim_begin(1);
    for (u32 i = 0; i < 10; i++)
        add(spin, (i + 1) * 100, ~0ull);
    sim_end_at(10000 * MS);
    sim_run();
}

static void test_ten_weights(void **state)
{
    (void)state;
    r = sim_scenario(many_weights);
    assert_orderly_end(10);
    for (u32 i = 0; i < 10; i++)
        assert_in_range(run_of(i), 10000 * MS * (i + 1) / 55 - 11 * MS, 10000 * MS * (i + 1) / 55 + 11 * MS);
}

static void hundred_on_two(void)
{
    sim_begin(2);
    for (u32 i = 0; i < 100; i++)
        add(spin, 100, ~0ull);
    sim_end_at(10000 * MS);
    sim_run();
}

static void test_hundred_vms_on_two_cpus(void **state)
{
    (void)state;
    r = sim_scenario(hundred_on_two);
    assert_orderly_end(100);
    for (u32 i = 0; i < 100; i++)
        assert_true(close_to(run_of(i), 200 * MS, 60));
    assert_true(close_to(r->busy_tsc[0] + r->busy_tsc[1], 20000 * MS, 2));
}

/* A VM's vCPUs share its weight: those that work, since one that does not takes nothing. */
static void four_against_one(void)
{
    SCRIPT(boot, {SIM_START, 1}, {SIM_START, 2}, {SIM_START, 3}, {SIM_SPIN, 0});
    static const struct sim_step *const four[] = {boot_steps, spin_steps, spin_steps, spin_steps};
    (void)boot;
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.cpus = 4;
    sim_add(&spec, four);
    add(spin, 100, ~0ull);
    sim_end_at(10000 * MS);
    sim_run();
}

static void one_of_two_against_one(void)
{
    SCRIPT(sleeper, {SIM_SLEEP, 100 * MS}, {SIM_RUN, MS / 100}, {SIM_AGAIN, 0});
    SCRIPT(boot, {SIM_START, 1}, {SIM_SPIN, 0});
    static const struct sim_step *const two[] = {boot_steps, sleeper_steps};
    (void)boot, (void)sleeper;
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.cpus = 2;
    sim_add(&spec, two);
    add(spin, 100, ~0ull);
    sim_end_at(10000 * MS);
    sim_run();
}

static void test_vcpus_share_the_weight(void **state)
{
    (void)state;
    r = sim_scenario(four_against_one);
    assert_orderly_end(2);
    assert_true(close_to(run_of(1), 5000 * MS, 200));
    r = sim_scenario(one_of_two_against_one);
    assert_orderly_end(2);
    assert_true(close_to(run_of(1), 5000 * MS, 200));
}

/* Sixteen that each use little: together they get what their VM's weight gives them, which is 1 of 101. */
static void many_that_nap(void)
{
    SCRIPT(nap, {SIM_RUN, MS / 20}, {SIM_SLEEP, 20 * MS}, {SIM_AGAIN, 0});
    static struct sim_step boot[16];
    static const struct sim_step *scripts[16] = {boot};
    struct vm_spec spec = sim_spec();
    (void)nap;

    sim_begin(1);
    for (u32 i = 1; i < 16; i++) {
        boot[i - 1] = (struct sim_step){SIM_START, i};
        scripts[i] = nap_steps;
    }
    boot[15] = (struct sim_step){SIM_SLEEP, 4000 * MS};
    spec.cpus = 16;
    spec.weight = 1;
    sim_add(&spec, scripts);
    add(spin, 100, ~0ull);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_light_vcpus_share_the_weight(void **state)
{
    u64 sum = 0;

    (void)state;
    r = sim_scenario(many_that_nap);
    assert_orderly_end(2);
    for (u32 i = 0; i < 16; i++)
        sum += r->vms[0].vcpus[i].run_tsc;
    assert_true(sum > 18 * MS && sum < 24 * MS);
}

/* Two that spin for each other hand the CPU to and fro, and have no more of it for that. */
static void pause_loops(void)
{
    SCRIPT(other, {SIM_RUN, MS / 100}, {SIM_PAUSES, 0}, {SIM_AGAIN, 0});
    SCRIPT(boot, {SIM_START, 1}, {SIM_START, 2}, {SIM_CLI_HLT, 0});
    static const struct sim_step *const three[] = {boot_steps, other_steps, other_steps};
    struct vm_spec spec = sim_spec();
    (void)boot, (void)other;

    sim_begin(1);
    spec.cpus = 3;
    sim_add(&spec, three);
    add(spin, 100, ~0ull);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_pause_loops(void **state)
{
    (void)state;
    r = sim_scenario(pause_loops);
    assert_orderly_end(2);
    assert_true(r->vms[0].vcpus[1].slices > 10000 && r->vms[0].vcpus[2].slices > 10000);
    assert_true(close_to(run_of(1), 1000 * MS, 100));
}

/* The other one waits for a CPU where somebody else computes: it comes, once that one's slice is over. */
static void pause_loop_for_another_cpu(void)
{
    SCRIPT(boot, {SIM_START, 1}, {SIM_START, 2}, {SIM_CLI_HLT, 0});
    SCRIPT(other, {SIM_RUN, MS / 100}, {SIM_PAUSES, 0}, {SIM_AGAIN, 0});
    static const struct sim_step *const three[] = {boot_steps, other_steps, spin_steps};
    struct vm_spec spec = sim_spec();
    (void)boot, (void)other;

    sim_begin(2);
    spec.cpus = 3;
    add(spin, 300, 1);
    add(spin, 350, 2); /* so vCPU 1 begins here, the other two there */
    sim_add(&spec, three);
    sim_end_at(600 * MS);
    sim_run();
}

static void test_a_pause_loop_for_another_cpu(void **state)
{
    (void)state;
    r = sim_scenario(pause_loop_for_another_cpu);
    assert_orderly_end(3);
    assert_true(r->vms[2].vcpus[2].migrations >= 1);
}

/* One that sleeps a lot gets its share when it comes, but no more than that for having slept. */
static void sleeper_and_spinner(void)
{
    SCRIPT(sleeper, {SIM_SLEEP, 1000 * MS}, {SIM_SPIN, 0});
    sim_begin(1);
    add(sleeper, 100, ~0ull);
    add(spin, 100, ~0ull);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_sleep_is_not_hoarded(void **state)
{
    (void)state;
    r = sim_scenario(sleeper_and_spinner);
    assert_orderly_end(2);
    assert_true(close_to(run_of(0), 500 * MS, 40));
    assert_true(close_to(run_of(1), 1500 * MS, 40));
}

static void two_yielders(void)
{
    SCRIPT(yielder, {SIM_RUN, MS / 10}, {SIM_YIELD, 0}, {SIM_AGAIN, 0});
    sim_begin(1);
    add(yielder, 100, ~0ull);
    add(yielder, 100, ~0ull);
    sim_end_at(200 * MS);
    sim_run();
}

static void test_yield_hands_over_at_once(void **state)
{
    (void)state;
    r = sim_scenario(two_yielders);
    assert_orderly_end(2);
    assert_true(r->vms[0].vcpus[0].rounds > 900);
    assert_true(close_to(r->vms[0].vcpus[0].rounds, r->vms[1].vcpus[0].rounds, 10));
}

/* ---- cap ---- */

static void capped(void)
{
    struct vm_spec spec = sim_spec();
    sim_begin(1);
    spec.cap_percent = 25;
    sim_add(&spec, spin);
    add(spin, 100, ~0ull);
    sim_end_at(3000 * MS);
    sim_run();
}

static void test_cap(void **state)
{
    (void)state;
    r = sim_scenario(capped);
    assert_orderly_end(2);
    assert_true(close_to(run_of(0), 750 * MS, 20));
    assert_true(close_to(run_of(1), 2250 * MS, 20));
    assert_no_spinning(1);
}

static void capped_alone(void)
{
    static const struct sim_step boot[] = {
        {SIM_START, 1},
        {SIM_SPIN,  0}
    };
    static const struct sim_step other[] = {
        {SIM_SPIN, 0}
    };
    static const struct sim_step *const both[] = {boot, other};
    struct vm_spec spec = sim_spec();

    sim_begin(2);
    spec.cap_percent = 60;
    spec.cpus = 2;
    sim_add(&spec, both);
    sim_end_at(2000 * MS);
    sim_run();
}

/* Two vCPUs share the VM's 60 %, even with a CPU each and nobody else there. */
static void test_cap_is_the_whole_vms(void **state)
{
    (void)state;
    r = sim_scenario(capped_alone);
    assert_orderly_end(1);
    assert_true(close_to(r->vms[0].vcpus[0].run_tsc + r->vms[0].vcpus[1].run_tsc, 1200 * MS, 20));
    assert_true(r->sleeps[0] + r->sleeps[1] < 200); /* no polling for the period's end */
}

static void capped_with_limit(void)
{
    struct vm_spec spec = sim_spec();
    sim_begin(1);
    spec.cap_percent = 10;
    spec.limit_ms = 35;
    sim_add(&spec, spin);
    add(spin, 100, ~0ull);
    sim_end_at(500 * MS);
    sim_run();
}

/* 10 ms in each of three periods and 5 in the fourth: time under the cap is not the VM's time. */
static void test_cap_with_limit(void **state)
{
    (void)state;
    r = sim_scenario(capped_with_limit);
    assert_orderly_end(2);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    assert_true(close_to(run_of(0), 35 * MS, 5));
    assert_true(r->vms[0].stop_tsc > 300 * MS);
    assert_no_spinning(1);
}

static void capped_with_limit_alone(void)
{
    struct vm_spec spec = sim_spec();
    sim_begin(1);
    spec.cap_percent = 10;
    spec.limit_ms = 35;
    sim_add(&spec, spin);
    sim_run();
}

static void test_cap_with_limit_does_not_poll(void **state)
{
    (void)state;
    r = sim_scenario(capped_with_limit_alone);
    assert_orderly_end(1);
    assert_true(r->sleeps[0] < 10);
}

/* ---- limit ---- */

static void limits(void)
{
    SCRIPT(sleeper, {SIM_SLEEP, 1000 * MS}, {SIM_SPIN, 0});
    SCRIPT(half, {SIM_RUN, MS}, {SIM_SLEEP, MS}, {SIM_AGAIN, 0});
    SCRIPT(quick, {SIM_RUN, MS}, {SIM_EXIT, 0});
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.limit_ms = 100;
    sim_add(&spec, spin);
    sim_add(&spec, spin);
    spec.limit_ms = 50;
    sim_add(&spec, sleeper);
    spec.limit_ms = 60;
    sim_add(&spec, half);
    sim_add(&spec, quick);
    sim_run();
}

static void test_limit_counts_running_and_sleeping_only(void **state)
{
    (void)state;
    r = sim_scenario(limits);
    assert_orderly_end(5);
    for (u32 i = 0; i < 4; i++) {
        assert_int_equal(r->vms[i].reason, VM_STOP_LIMIT);
        assert_true(r->vms[i].clean);
        assert_no_spinning(i);
    }
    assert_true(close_to(run_of(0), 100 * MS, 2));
    assert_true(close_to(run_of(1), 100 * MS, 2));
    assert_in_range(r->vms[2].stop_tsc, 50 * MS, 85 * MS); /* it waits its turn before it can sleep */
    assert_true(r->vms[3].vcpus[0].run_tsc + r->vms[3].vcpus[0].slept_tsc < 61 * MS);
    assert_string_equal(r->vms[3].detail, " ms=60");
    assert_int_equal(r->vms[4].reason, VM_STOP_EXIT);
}

/* The limit of a VM that sleeps must not take the CPU from the one that runs meanwhile. */
static void limit_beside_spinner(void)
{
    SCRIPT(sleeper, {SIM_SLEEP, 1000 * MS}, {SIM_SPIN, 0});
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.limit_ms = 25;
    sim_add(&spec, sleeper);
    add(spin, 100, ~0ull);
    sim_end_at(100 * MS);
    sim_run();
}

static void test_limit_of_a_sleeper_beside_a_spinner(void **state)
{
    (void)state;
    r = sim_scenario(limit_beside_spinner);
    assert_orderly_end(2);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    assert_true(close_to(r->vms[0].stop_tsc, 25 * MS, 20));
    assert_no_spinning(1);
    assert_true(close_to(r->vms[1].vcpus[0].work, 100 * MS, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_1_to_3),
        cmocka_unit_test(test_weights_without_preemption_timer),
        cmocka_unit_test(test_ten_weights),
        cmocka_unit_test(test_vcpus_share_the_weight),
        cmocka_unit_test(test_light_vcpus_share_the_weight),
        cmocka_unit_test(test_pause_loops),
        cmocka_unit_test(test_a_pause_loop_for_another_cpu),
        cmocka_unit_test(test_hundred_vms_on_two_cpus),
        cmocka_unit_test(test_sleep_is_not_hoarded),
        cmocka_unit_test(test_yield_hands_over_at_once),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_cap_is_the_whole_vms),
        cmocka_unit_test(test_cap_with_limit),
        cmocka_unit_test(test_cap_with_limit_does_not_poll),
        cmocka_unit_test(test_limit_counts_running_and_sleeping_only),
        cmocka_unit_test(test_limit_of_a_sleeper_beside_a_spinner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
