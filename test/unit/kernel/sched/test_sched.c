/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPUs and CPUs: affinity, migration, and mixtures at random in which nobody may be forgotten. The simulated machine
 * (test/fake/sim.h) checks at each entry that a vCPU runs in one place, where it may, and has moved only to a CPU that
 * slept.
 *
 * links: kernel/sched/sched.c kernel/sched/queue.c kernel/sched/smt.c kernel/sched/wait.c kernel/lib/heap.c
 * links: kernel/vm/vm.c
 * kernel/vm/spec.c kernel/vm/vtimer.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: kernel/vm/io.c kernel/vm/firmware.c kernel/clock.c test/fake/sim.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include <stdlib.h>

#include "kernel/lib/bits.h"
#include "test/fake/sched_bench.h"

/* ---- affinity and migration ---- */

static void pinned(void)
{
    sim_begin(4);
    for (u32 i = 0; i < 4; i++)
        add(spin, 100, BIT(1));
    add(timer_loop, 100, BIT(1) | BIT(3));
    add(timer_loop, 100, BIT(0));
    add(timer_loop, 100, BIT(2));
    sim_end_at(400 * MS);
    sim_run();
}

static void test_affinity(void **state)
{
    (void)state;
    r = sim_scenario(pinned);
    assert_orderly_end(7);
    for (u32 i = 0; i < 4; i++) {
        assert_int_equal(r->vms[i].vcpus[0].cpus, BIT(1));
        assert_int_equal(r->vms[i].vcpus[0].migrations, 0);
        assert_true(close_to(run_of(i), 100 * MS, 110));
    }
    assert_int_equal(r->vms[4].vcpus[0].cpus & ~(BIT(1) | BIT(3)), 0);
    assert_int_equal(r->vms[5].vcpus[0].cpus, BIT(0));
    assert_int_equal(r->vms[6].vcpus[0].cpus, BIT(2));
}

static void uneven(void)
{
    SCRIPT(brief, {SIM_RUN, 20 * MS}, {SIM_EXIT, 0});
    SCRIPT(longer, {SIM_RUN, 500 * MS}, {SIM_EXIT, 0});
    sim_begin(2);
    add(longer, 100, ~0ull);
    add(brief, 100, ~0ull);
    add(longer, 100, ~0ull);
    sim_run();
}

/* A CPU that becomes idle takes the one that waits elsewhere: work never waits beside an idle CPU. */
static void test_idle_cpu_takes_waiting_work(void **state)
{
    (void)state;
    r = sim_scenario(uneven);
    assert_orderly_end(3);
    assert_int_equal(r->vms[0].vcpus[0].migrations + r->vms[2].vcpus[0].migrations, 1);
    assert_true(r->end_tsc < 535 * MS);
}

static void four_on_four(void)
{
    sim_begin(4);
    for (u32 i = 0; i < 4; i++)
        add(spin, 100, ~0ull);
    sim_end_at(500 * MS);
    sim_run();
}

static void test_nobody_moves_without_need(void **state)
{
    (void)state;
    r = sim_scenario(four_on_four);
    assert_orderly_end(4);
    for (u32 i = 0; i < 4; i++) {
        assert_int_equal(r->vms[i].vcpus[0].migrations, 0);
        assert_true(close_to(run_of(i), 500 * MS, 2));
    }
}

/* ---- everything at once ---- */

static unsigned seed;

static const struct sim_step *random_script(bool boot, u32 vcpus)
{
    struct sim_step *steps = calloc(64, sizeof *steps);
    u32 n = 0;

    for (u32 i = 1; boot && i < vcpus; i++)
        steps[n++] = (struct sim_step){SIM_START, i};
    for (u32 i = 0; i < 10; i++) {
        u64 time = (u64)rand() % (8 * MS) + 1;
        switch (rand() % 5) {
        case 0:
            steps[n++] = (struct sim_step){SIM_SLEEP, time};
            break;
        case 1:
            steps[n++] = (struct sim_step){SIM_YIELD, 0};
            break;
        case 2:
            if (boot) {
                steps[n++] = (struct sim_step){SIM_ARM, time};
                steps[n++] = (struct sim_step){SIM_HLT, 0};
            }
            break;
        default:
            steps[n++] = (struct sim_step){SIM_RUN, time};
        }
    }
    if (!boot || vcpus == 1) /* vCPUs start once only */
        steps[n++] = (struct sim_step){SIM_AGAIN, 2};
    steps[n] = boot && vcpus == 1 ? (struct sim_step){SIM_EXIT, 0} : (struct sim_step){SIM_CLI_HLT, 0};
    return steps;
}

static void random_mixture(void)
{
    srand(seed);
    sim_begin(1 + seed % 4);
    if (seed & 4)
        sim_without_preemption_timer();
    for (u32 i = 0; i < 30; i++) {
        const struct sim_step **scripts = calloc(VM_MAX_VCPUS, sizeof *scripts);
        struct vm_spec spec = sim_spec();
        spec.cpus = rand() % 3 ? 1 : 1 + (u32)rand() % 4;
        spec.weight = 1 + (u32)rand() % 500;
        spec.cap_percent = rand() % 4 ? 0 : 20 + (u32)rand() % 80;
        spec.affinity = (u32)rand() % 3 ? ~0ull : BIT((u32)rand() % (1 + seed % 4));
        spec.limit_ms = rand() % 6 ? 0 : 10 + (u64)rand() % 50;
        for (u32 k = 0; k < spec.cpus; k++)
            scripts[k] = random_script(k == 0, spec.cpus);
        sim_add(&spec, scripts);
    }
    sim_run();
}

static void random_mixture_with_debugger(void)
{
    srand(seed);
    sim_begin(1 + seed % 4);
    for (u32 i = 0; i < 12; i++) {
        const struct sim_step **scripts = calloc(VM_MAX_VCPUS, sizeof *scripts);
        struct vm_spec spec = sim_spec();
        spec.cpus = i ? 1 + (u32)rand() % 2 : 4;
        spec.limit_ms = i && rand() % 4 == 0 ? 10 + (u64)rand() % 50 : 0;
        spec.cap_percent = rand() % 3 ? 0 : 50;
        for (u32 k = 0; k < spec.cpus; k++)
            scripts[k] = random_script(k == 0, spec.cpus);
        struct vm *vm = sim_add(&spec, scripts);
        for (u64 p = 1; i == 0 && p < SIM_MAX_PAUSES; p++)
            sim_pause_between(vm, 40 * p * MS + (u64)rand() % (10 * MS), (40 * p + 30) * MS);
    }
    sim_run();
}

/* As the next, with one of the VMs paused and let go at any moments. */
static void test_no_vcpu_is_lost_by_pausing(void **state)
{
    u64 pauses = 0;

    (void)state;
    for (seed = 0; seed < 40; seed++) {
        r = sim_scenario(random_mixture_with_debugger);
        assert_orderly_end(12);
        for (u32 i = 0; i < 12; i++)
            assert_true(r->vms[i].clean);
        for (u32 k = 0; k < 4; k++)
            pauses += r->vms[0].vcpus[k].pauses;
    }
    assert_true(pauses > 100);
}

/* Whatever guests do, each ends by its own script or its limit; none is forgotten. */
static void test_no_vcpu_is_lost(void **state)
{
    (void)state;
    for (seed = 0; seed < 40; seed++) {
        r = sim_scenario(random_mixture);
        assert_orderly_end(30);
        for (u32 i = 0; i < 30; i++) {
            assert_true(r->vms[i].clean);
            assert_int_equal(r->vms[i].vcpus[0].state, VCPU_STOPPED);
        }
    }
}

/* The same machine, the same run: a failure can be looked at again. */
static void test_runs_repeat_exactly(void **state)
{
    static struct sim_result first;

    (void)state;
    seed = 3;
    first = *sim_scenario(random_mixture);
    r = sim_scenario(random_mixture);
    assert_memory_equal(&first, r, sizeof first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_vcpu_is_lost_by_pausing),
        cmocka_unit_test(test_affinity),
        cmocka_unit_test(test_idle_cpu_takes_waiting_work),
        cmocka_unit_test(test_nobody_moves_without_need),
        cmocka_unit_test(test_no_vcpu_is_lost),
        cmocka_unit_test(test_runs_repeat_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
