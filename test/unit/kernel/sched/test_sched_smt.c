/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smt=core on the simulated machine, whose own rule it is that siblings never run two VMs at once: fair turns, nobody
 * starves, no core stands still while somebody could use it, and everything still ends.
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

static const struct sim_step start_and_spin[] = {
    {SIM_START, 1},
    {SIM_SPIN,  0}
};
static const struct sim_step *const two_spin[] = {start_and_spin, spin_steps};
SCRIPT(work, {SIM_RUN, 30 * MS}, {SIM_EXIT, 0});
SCRIPT(ticks, {SIM_ARM, MS}, {SIM_HLT, 0}, {SIM_RUN, 20000}, {SIM_AGAIN, 0});
SCRIPT(naps, {SIM_SLEEP, 3 * MS}, {SIM_RUN, MS}, {SIM_AGAIN, 0});
SCRIPT(yields, {SIM_RUN, 100000}, {SIM_YIELD, 0}, {SIM_AGAIN, 0});

static void siblings(void)
{
    sim_begin(2);
    sim_with_threads(2);
    add(spin, 100, 1);
    add(spin, 100, 2);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_two_vms_share_a_core(void **state)
{
    (void)state;
    r = sim_scenario(siblings);
    assert_orderly_end(2);
    for (u32 i = 0; i < 2; i++)
        assert_true(close_to(run_of(i), 1000 * MS, 20));
}

static void no_siblings(void)
{
    sim_begin(2);
    add(spin, 100, 1);
    add(spin, 100, 2);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_cpus_without_siblings(void **state)
{
    (void)state;
    r = sim_scenario(no_siblings);
    assert_orderly_end(2);
    for (u32 i = 0; i < 2; i++)
        assert_true(close_to(run_of(i), 1000 * MS, 10));
}

static void one_vm(void)
{
    sim_begin(2);
    sim_with_threads(2);
    add_vcpus(two_spin, 2);
    sim_end_at(1000 * MS);
    sim_run();
}

/* Both threads are its own all the time. */
static void test_one_vm_has_both(void **state)
{
    (void)state;
    r = sim_scenario(one_vm);
    assert_orderly_end(1);
    for (u32 i = 0; i < 2; i++)
        assert_true(close_to(r->vms[0].vcpus[i].run_tsc, 1000 * MS, 10));
}

static void two_against_one(void)
{
    sim_begin(2);
    sim_with_threads(2);
    add_vcpus(two_spin, 2);
    add(spin, 100, 1);
    sim_end_at(3000 * MS);
    sim_run();
}

/* The two run together in their turn. */
static void test_turns_of_a_vm_with_two_vcpus(void **state)
{
    (void)state;
    r = sim_scenario(two_against_one);
    assert_orderly_end(2);
    u64 sum = run_of(1) + r->vms[0].vcpus[0].run_tsc;
    assert_true(run_of(1) > 900 * MS);
    assert_true(r->vms[0].vcpus[0].run_tsc > 900 * MS);
    assert_true(r->vms[0].vcpus[1].run_tsc > 900 * MS);
    assert_true(sum > 2900 * MS);
}

static void cores(void)
{
    sim_begin(4);
    sim_with_threads(2);
    for (u32 i = 0; i < 2; i++)
        add(spin, 100, ~0ull);
    sim_end_at(1000 * MS);
    sim_run();
}

/* Whoever waits for a core goes to one that is idle. */
static void test_two_vms_on_two_cores(void **state)
{
    (void)state;
    r = sim_scenario(cores);
    assert_orderly_end(2);
    for (u32 i = 0; i < 2; i++)
        assert_true(run_of(i) > 950 * MS);
}

static void many(void)
{
    sim_begin(4);
    sim_with_threads(2);
    for (u32 i = 0; i < 4; i++)
        add(spin, 100, 1ull << i);
    sim_end_at(2000 * MS);
    sim_run();
}

static void test_four_vms_on_two_cores(void **state)
{
    (void)state;
    r = sim_scenario(many);
    assert_orderly_end(4);
    for (u32 i = 0; i < 4; i++)
        assert_true(close_to(run_of(i), 1000 * MS, 30));
}

static void four_threads(void)
{
    sim_begin(4);
    sim_with_threads(4);
    for (u32 i = 0; i < 4; i++)
        add(spin, 100, 1ull << i);
    sim_end_at(4000 * MS);
    sim_run();
}

static void test_cores_of_four_threads(void **state)
{
    (void)state;
    r = sim_scenario(four_threads);
    assert_orderly_end(4);
    for (u32 i = 0; i < 4; i++)
        assert_true(close_to(run_of(i), 1000 * MS, 50));
}

static void sleeper(void)
{
    sim_begin(2);
    sim_with_threads(2);
    add(spin, 100, 1);
    add(ticks, 100, 2);
    sim_end_at(2000 * MS);
    sim_run();
}

/* It waits for a slice of its sibling at most, and takes no more of the core than it needs. */
static void test_a_sleeper_beside_a_spinner(void **state)
{
    (void)state;
    r = sim_scenario(sleeper);
    assert_orderly_end(2);
    assert_true(r->vms[1].vcpus[0].worst_event <= 12 * MS);
    assert_true(r->vms[1].vcpus[0].events >= 2000 / 12);
    assert_true(run_of(0) > 1900 * MS);
}

static void mixed(void)
{
    sim_begin(4);
    sim_with_threads(2);
    add_vcpus(two_spin, 2);
    add(ticks, 100, ~0ull);
    add(naps, 300, ~0ull);
    add(yields, 50, ~0ull);
    for (u32 i = 0; i < 20; i++)
        add(work, 100, ~0ull);
    sim_end_at(3000 * MS);
    sim_run();
}

static void test_a_mixed_crowd(void **state)
{
    (void)state;
    r = sim_scenario(mixed);
    assert_orderly_end(24);
    for (u32 i = 4; i < 24; i++)
        assert_int_equal(r->vms[i].reason, VM_STOP_EXIT);
    for (u32 i = 0; i < 4; i++) /* each is served in a turn of its CPU, every other slice */
        assert_true(r->vms[i].vcpus[0].slices >= 3000 / 30);
}

static void paused(void)
{
    sim_begin(2);
    sim_with_threads(2);
    struct vm *first = add(spin, 100, 1);
    add(spin, 100, 2);
    sim_pause_between(first, 100 * MS, 600 * MS);
    sim_end_at(1100 * MS);
    sim_run();
}

/* One that pauses needs no core. */
static void test_a_paused_vm(void **state)
{
    (void)state;
    r = sim_scenario(paused);
    assert_orderly_end(2);
    assert_true(run_of(1) > 780 * MS);
    assert_true(run_of(0) > 280 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_vms_share_a_core),  cmocka_unit_test(test_cpus_without_siblings),
        cmocka_unit_test(test_one_vm_has_both),       cmocka_unit_test(test_turns_of_a_vm_with_two_vcpus),
        cmocka_unit_test(test_two_vms_on_two_cores),  cmocka_unit_test(test_four_vms_on_two_cores),
        cmocka_unit_test(test_cores_of_four_threads), cmocka_unit_test(test_a_sleeper_beside_a_spinner),
        cmocka_unit_test(test_a_mixed_crowd),         cmocka_unit_test(test_a_paused_vm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
