/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watchdog=, and what is changed about VMs while they run.
 *
 * links: kernel/sched/sched.c kernel/sched/queue.c kernel/sched/smt.c kernel/sched/wait.c kernel/vm/vm.c
 * kernel/vm/spec.c kernel/lib/heap.c kernel/vm/vtimer.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: kernel/vm/io.c kernel/vm/firmware.c kernel/clock.c test/fake/sim.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/sched_bench.h"

#include "arch/x86/cpu.h"
#include "kernel/sched/sched.h"

#define WATCHDOG_MS 50u

static struct vm *add_watched(const struct sim_step *const *scripts, u32 cpus)
{
    struct vm_spec spec = sim_spec();

    spec.watchdog_ms = WATCHDOG_MS;
    spec.cpus = cpus;
    return sim_add(&spec, scripts);
}

static void assert_hung(u32 vm, u64 from_ms, u64 to_ms)
{
    assert_int_equal(r->vms[vm].reason, VM_STOP_WATCHDOG);
    assert_false(r->vms[vm].clean);
    assert_string_equal(r->vms[vm].detail, " ms=50");
    assert_int_equal(r->vms[vm].explained, 1);
    assert_in_range(r->vms[vm].stop_tsc, from_ms * MS, to_ms * MS);
}

static void one_hangs(void)
{
    SCRIPT(hangs_later, {SIM_RUN, 40 * MS}, {SIM_YIELD, 0}, {SIM_SPIN, 0});

    sim_begin(2);
    add_watched(spin, 1);
    add_watched(hangs_later, 1);
    sim_run();
}

static void test_a_spinner_is_hung(void **state)
{
    (void)state;
    r = sim_scenario(one_hangs);
    assert_orderly_end(2);
    assert_hung(0, 50, 51);
    assert_hung(1, 90, 101); /* it was looked at when it yielded, or at the end of a slice */
}

static void one_of_three_on_a_cpu(void)
{
    sim_begin(1);
    add_watched(spin, 1);
    add(spin, 100, ~0ull);
    add(spin, 100, ~0ull);
    sim_end_at(500 * MS);
    sim_run();
}

/* Time in which it waits for its CPU does not count. */
static void test_run_time_counts(void **state)
{
    (void)state;
    r = sim_scenario(one_of_three_on_a_cpu);
    assert_orderly_end(3);
    assert_hung(0, 130, 165);
}

static void held_and_debugged(void)
{
    sim_begin(2);
    sim_hold_between(add_watched(spin, 1), 20 * MS, 400 * MS);
    sim_pause_between(add_watched(spin, 1), 450 * MS, 450 * MS + 1); /* gone */
    sim_run();
}

static void test_a_paused_vm_is_not_hung(void **state)
{
    (void)state;
    r = sim_scenario(held_and_debugged);
    assert_orderly_end(2);
    assert_hung(0, 429, 431);
    assert_hung(1, 50, 51);
}

static void the_living(void)
{
    static const struct sim_step spins[] = {
        {SIM_SPIN, 0}
    };
    static const struct sim_step sleeps[] = {
        {SIM_SLEEP, 5 * MS},
        {SIM_AGAIN, 0     }
    };
    static const struct sim_step starts[] = {
        {SIM_START, 1},
        {SIM_SPIN,  0}
    };
    static const struct sim_step *const half_spins[] = {starts, sleeps};
    static const struct sim_step *const both_spin[] = {starts, spins};
    SCRIPT(yields, {SIM_RUN, 45 * MS}, {SIM_YIELD, 0}, {SIM_AGAIN, 0});

    sim_begin(2);
    add_watched(timer_loop, 1);
    add_watched(yields, 1);
    add_watched(half_spins, 2);
    add_watched(both_spin, 2);
    sim_end_at(2000 * MS);
    sim_run();
}

/* What one vCPU does is the VM's sign of life. */
static void test_the_living_are_left_alone(void **state)
{
    (void)state;
    r = sim_scenario(the_living);
    assert_orderly_end(4);
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(r->vms[i].reason, VM_STOP_KILLED);
    assert_hung(3, 50, 250);
}

/* ---- changes ---- */

static struct vm *changed;

static u64 change(u64 now_tsc)
{
    struct vm_spec spec = changed->spec;

    (void)now_tsc;
    spec.weight = 300;
    spec.affinity = 1u << 1;
    spec.cap_percent = 50;
    spec.limit_ms = 600;
    switch (sim_notes()[0]++) {
    case 0:
        spec.affinity = changed->spec.affinity;
        spec.cap_percent = 0;
        spec.limit_ms = 0;
        break;
    case 1:
        spec.limit_ms = 0;
        spec.cap_percent = 0;
        break;
    case 2:
        spec.limit_ms = 0;
        break;
    default:
        break;
    }
    sim_notes()[sim_notes()[0]] = changed->vcpus[0]->run_tsc;
    vm_change(changed, &spec);
    return UINT64_MAX;
}

static void changes(void)
{
    sim_begin(2);
    changed = add(spin, 100, 1);
    add(spin, 100, 1);
    sched_set_work(change);
    sim_request_work_at(400 * MS);  /* its weight is three times the other's: 200 ms so far */
    sim_request_work_at(800 * MS);  /* it goes to CPU 1, alone: 500 ms */
    sim_request_work_at(1000 * MS); /* half of it: 700 ms */
    sim_end_at(1400 * MS);
    sim_run();
}

static void test_weight_affinity_and_cap_change(void **state)
{
    (void)state;
    r = sim_scenario(changes);
    assert_orderly_end(2);
    assert_true(close_to(r->notes[1], 200 * MS, 60));
    assert_true(close_to(r->notes[2], 500 * MS, 60));
    assert_true(close_to(r->notes[3], 700 * MS, 60));
    assert_in_range(run_of(0) - r->notes[3], 150 * MS, 260 * MS);
    assert_int_equal(r->vms[0].vcpus[0].migrations, 1);
    assert_int_equal(r->vms[0].vcpus[0].cpus, 3);
}

static void a_limit_comes(void)
{
    sim_begin(2);
    changed = add(spin, 100, ~0ull);
    sim_notes()[0] = 3;
    sched_set_work(change);
    sim_request_work_at(400 * MS);
    sim_run();
}

static void test_a_limit_that_comes_later(void **state)
{
    (void)state;
    r = sim_scenario(a_limit_comes);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    assert_in_range(run_of(0), 598 * MS, 602 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_spinner_is_hung),
        cmocka_unit_test(test_run_time_counts),
        cmocka_unit_test(test_a_paused_vm_is_not_hung),
        cmocka_unit_test(test_the_living_are_left_alone),
        cmocka_unit_test(test_weight_affinity_and_cap_change),
        cmocka_unit_test(test_a_limit_that_comes_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
