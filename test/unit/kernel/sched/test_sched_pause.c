/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs that the debugger pauses, lets go and steps, or the monitor as a whole; and the boot CPU's work between guests.
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

#include "arch/x86/cpu.h"
#include "kernel/sched/sched.h"

static void paused_beside_another(void)
{
    sim_begin(1);
    struct vm *vm = add(spin, 100, ~0ull);
    add(spin, 100, ~0ull);
    sim_pause_between(vm, 200 * MS, 600 * MS);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_a_paused_vm_takes_no_time(void **state)
{
    (void)state;
    r = sim_scenario(paused_beside_another);
    assert_orderly_end(2);
    assert_true(close_to(run_of(0), 300 * MS, 60)); /* it comes back with the credit of a sleeper */
    assert_true(close_to(run_of(1), 700 * MS, 60));
    assert_int_equal(r->vms[0].vcpus[0].pauses, 1);
}

static void paused_again_at_once(void)
{
    sim_begin(2);
    struct vm *vm = add(spin, 100, ~0ull);
    sim_pause_between(vm, 100 * MS, 200 * MS);
    sim_pause_between(vm, 200 * MS, 300 * MS);
    sim_end_at(400 * MS);
    sim_run();
}

/* The debugger learns twice that it rests. */
static void test_let_go_and_wanted_again_at_once(void **state)
{
    (void)state;
    r = sim_scenario(paused_again_at_once);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].vcpus[0].pauses, 2);
    assert_in_range(run_of(0), 199 * MS, 201 * MS);
}

static void paused_sleepers(void)
{
    SCRIPT(sleeper, {SIM_SLEEP, 300 * MS}, {SIM_EXIT, 0});
    struct vm *vm;

    sim_begin(2);
    vm = add(timer_loop, 100, ~0ull);
    sim_pause_between(vm, 100 * MS, 900 * MS);
    vm = add(sleeper, 100, ~0ull);
    sim_pause_between(vm, 950 * MS, 960 * MS); /* it is not there any more */
    sim_end_at(1000 * MS);
    sim_run();
}

/* A vCPU in HLT, whose interrupt comes meanwhile: it is not woken before, and not forgotten after. */
static void test_a_paused_sleeper_wakes_later(void **state)
{
    (void)state;
    r = sim_scenario(paused_sleepers);
    assert_orderly_end(2);
    assert_in_range(r->vms[0].vcpus[0].events, 190, 202);
    assert_in_range(r->vms[0].vcpus[0].worst_event, 795 * MS, 801 * MS);
    assert_int_equal(r->vms[1].reason, VM_STOP_EXIT);
    assert_in_range(r->vms[1].stop_tsc, 300 * MS, 301 * MS);
}

static void stepped_to_hlt(void)
{
    SCRIPT(halter, {SIM_ARM, 50 * MS}, {SIM_RUN, 5 * MS}, {SIM_HLT, 0}, {SIM_EXIT, 0});

    sim_begin(1);
    struct vm *vm = add(halter, 100, ~0ull);
    sim_step_between(vm, MS, 10 * MS);
    sim_pause_between(vm, 20 * MS, 30 * MS); /* it rests already */
    sim_run();
}

/* A step over HLT ends there; the vCPU goes on waiting for its interrupt when it is let go. */
static void test_a_step_ends_in_hlt(void **state)
{
    (void)state;
    r = sim_scenario(stepped_to_hlt);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].vcpus[0].pauses, 2);
    assert_in_range(r->vms[0].vcpus[0].paused_tsc, 14 * MS, 15 * MS);
    assert_int_equal(r->vms[0].vcpus[0].events, 1);
    assert_in_range(r->vms[0].stop_tsc, 50 * MS, 51 * MS);
}

static void paused_with_limit(void)
{
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.limit_ms = 100;
    sim_pause_between(sim_add(&spec, spin), 50 * MS, 450 * MS);
    sim_pause_between(add(timer_loop, 100, ~0ull), 600 * MS, 5000 * MS);
    sim_end_at(1000 * MS); /* while it is paused */
    sim_run();
}

static void test_a_pause_is_no_part_of_a_limit_and_no_shelter_from_the_end(void **state)
{
    (void)state;
    r = sim_scenario(paused_with_limit);
    assert_orderly_end(2);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    assert_in_range(r->vms[0].stop_tsc, 500 * MS, 504 * MS);
    assert_int_equal(r->vms[1].reason, VM_STOP_KILLED);
    assert_in_range(r->vms[1].stop_tsc, 1000 * MS, 1002 * MS);
}

static void paused_while_another_starts(void)
{
    static const struct sim_step first[] = {
        {SIM_START,   1       },
        {SIM_RUN,     300 * MS},
        {SIM_CLI_HLT, 0       }
    };
    static const struct sim_step second[] = {
        {SIM_RUN,     100 * MS},
        {SIM_CLI_HLT, 0       }
    };
    static const struct sim_step *const scripts[] = {first, second};

    sim_begin(2);
    sim_pause_between(add_vcpus(scripts, 2), 20, 200 * MS); /* before the first step is done: 200 ticks */
    sim_run();
}

/* A vCPU that starts while its VM pauses rests before its first instruction; one in HLT for good stays counted. */
static void test_a_vcpu_that_starts_into_a_pause(void **state)
{
    (void)state;
    r = sim_scenario(paused_while_another_starts);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].vcpus[1].pauses, 1);
    assert_int_equal(r->vms[0].vcpus[1].work, 100 * MS);
    assert_int_equal(r->vms[0].reason, VM_STOP_HALT);
    assert_in_range(r->vms[0].stop_tsc, 500 * MS, 502 * MS);
}

/* ---- whole VMs ---- */

static const struct sim_step two_spin[] = {
    {SIM_START, 1},
    {SIM_SPIN,  0}
};
static const struct sim_step one_of_two[] = {
    {SIM_SPIN, 0}
};
static const struct sim_step *const pair_of_spinners[] = {two_spin, one_of_two};

static void held_pair(void)
{
    sim_begin(2);
    sim_hold_between(add_vcpus(pair_of_spinners, 2), 100 * MS, 400 * MS);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_a_held_vm_rests_with_all_its_vcpus(void **state)
{
    (void)state;
    r = sim_scenario(held_pair);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].rests, 1);
    for (u32 i = 0; i < 2; i++) {
        assert_int_equal(r->vms[0].vcpus[i].pauses, 0); /* that is the debugger's */
        assert_in_range(r->vms[0].vcpus[i].run_tsc, 698 * MS, 702 * MS);
    }
}

static void held_again_at_once(void)
{
    sim_begin(2);
    struct vm *vm = add_vcpus(pair_of_spinners, 2);
    sim_hold_between(vm, 100 * MS, 400 * MS);
    sim_hold_between(vm, 400 * MS, 400 * MS);
    sim_end_at(1000 * MS);
    sim_run();
}

/* Its CPUs have not heard yet that it was let go: nobody may believe that it rests, they may be about to run it. */
static void test_held_again_before_it_goes_on(void **state)
{
    (void)state;
    r = sim_scenario(held_again_at_once);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].rests, 1);
}

static void held_for_a_moment(void)
{
    sim_begin(2);
    struct vm *vm = add_vcpus(pair_of_spinners, 2);
    for (u32 i = 0; i < SIM_MAX_PAUSES; i++) /* before, while and after it comes to rest */
        sim_hold_between(vm, (100 + 10 * i) * MS, (100 + 10 * i) * MS + 40 * i);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_let_go_before_it_rests(void **state)
{
    (void)state;
    r = sim_scenario(held_for_a_moment);
    assert_orderly_end(1);
    for (u32 i = 0; i < 2; i++)
        assert_in_range(r->vms[0].vcpus[i].run_tsc, 998 * MS, 1001 * MS);
}

static void held_while_debugged(void)
{
    sim_begin(1);
    struct vm *vm = add(spin, 100, ~0ull);
    sim_debug_at(vm, 100 * MS, true);
    sim_hold_at(vm, 200 * MS, true);
    sim_debug_at(vm, 300 * MS, false);
    sim_hold_at(vm, 400 * MS, false); /* at rest, and goes on: 300 ms so far */
    sim_hold_at(vm, 500 * MS, true);
    sim_debug_at(vm, 600 * MS, true);
    sim_hold_at(vm, 700 * MS, false); /* at rest, and stays so */
    sim_debug_at(vm, 800 * MS, false);
    sim_end_at(1000 * MS);
    sim_run();
}

/*
 * The debugger's pause and the monitor's are each for itself: the vCPU goes on when neither wants it. The debugger
 * hears of its own once: what it has saved would be saved again.
 */
static void test_a_debugger_beside_it(void **state)
{
    (void)state;
    r = sim_scenario(held_while_debugged);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].rests, 2);
    assert_int_equal(r->vms[0].vcpus[0].pauses, 2);
    assert_in_range(run_of(0), 398 * MS, 402 * MS);
}

static void held_sleepers(void)
{
    SCRIPT(sleeper, {SIM_SLEEP, 300 * MS}, {SIM_EXIT, 0});
    struct vm_spec spec = sim_spec();

    sim_begin(2);
    sim_hold_between(add(sleeper, 100, ~0ull), 100 * MS, 200 * MS);
    spec.limit_ms = 100;
    sim_hold_between(sim_add(&spec, spin), 250 * MS, 260 * MS); /* it is not there any more */
    struct vm *timer = add(timer_loop, 100, ~0ull);
    sim_hold_between(timer, 400 * MS, 900 * MS);
    sim_hold_at(timer, 950 * MS, true);
    sim_end_at(1000 * MS); /* while it is held */
    sim_run();
}

static void test_held_in_sleep_and_ended(void **state)
{
    (void)state;
    r = sim_scenario(held_sleepers);
    assert_orderly_end(3);
    assert_in_range(r->vms[0].stop_tsc, 300 * MS, 301 * MS);
    assert_int_equal(r->vms[1].reason, VM_STOP_LIMIT);
    assert_in_range(r->vms[2].vcpus[0].events, 430, 452);
    assert_int_equal(r->vms[2].reason, VM_STOP_KILLED);
    assert_in_range(r->vms[2].stop_tsc, 1000 * MS, 1002 * MS);
}

/* ---- the boot CPU's work ---- */

#define LONG_WORK (20 * MS)

/* Notes how often it is called, the last time, and how late that was; from 500 ms on one of its calls takes long. */
static u64 work(u64 now_tsc)
{
    u64 *notes = sim_notes();
    static u64 wanted;

    notes[0]++;
    notes[1] = now_tsc;
    if (wanted && now_tsc > wanted && now_tsc - wanted > notes[2])
        notes[2] = now_tsc - wanted;
    wanted = now_tsc + 10 * MS;
    if (now_tsc > 500 * MS && !notes[3]) {
        for (u64 done = 0; done < LONG_WORK; done += 1000) {
            sim_compute(1000);
            sched_share_cpu();
        }
        notes[3] = cpu_tsc() - now_tsc;
        wanted = 0;
    }
    return now_tsc > 900 * MS ? UINT64_MAX : cpu_tsc() + 10 * MS;
}

static void spinner_beside_work(void)
{
    sim_begin(2);
    add(spin, 100, 1);
    add(timer_loop, 100, 1);
    add(spin, 100, 2);
    sched_set_work(work);
    sim_request_work_at(100 * MS);
    sim_end_at(1000 * MS);
    sim_run();
}

/* It is punctual beside a guest that spins, and its long piece keeps nobody waiting for long. */
static void test_work_between_guests(void **state)
{
    (void)state;
    r = sim_scenario(spinner_beside_work);
    assert_orderly_end(3);
    assert_in_range(r->notes[0], 70, 82);
    assert_in_range(r->notes[1], 900 * MS, 912 * MS);
    assert_true(r->notes[2] < MS);
    assert_in_range(r->notes[3], 25 * MS, 110 * MS);       /* it shares the CPU with two */
    assert_true(r->vms[1].vcpus[0].worst_event < 12 * MS); /* a slice, and what is left of a piece */
    assert_in_range(r->vms[2].vcpus[0].run_tsc, 999 * MS, 1001 * MS);
}

/* The first time it wants to be called in 20 ms; the second one comes before that, and is long. */
static u64 work_that_begins_early(u64 now_tsc)
{
    if (sim_notes()[0]++ == 0)
        return now_tsc + 20 * MS;
    for (u64 done = 0; done < LONG_WORK; done += 1000) {
        sim_compute(1000);
        sched_share_cpu();
    }
    return UINT64_MAX;
}

static void spinner_beside_early_work(void)
{
    sim_begin(1);
    add(spin, 100, 1);
    sched_set_work(work_that_begins_early);
    sim_request_work_at(100 * MS);
    sim_request_work_at(105 * MS);
    sim_end_at(300 * MS);
    sim_run();
}

/* The time that stood before is over, and ends nobody's turn. */
static void test_early_work_shares_its_cpu(void **state)
{
    (void)state;
    r = sim_scenario(spinner_beside_early_work);
    assert_orderly_end(1);
    assert_int_equal(r->notes[0], 2);
    assert_true(r->vms[0].vcpus[0].idle_entries < 3);
}

static struct vm *wisher;

/* Each 20 ms: 5 ms of work for the held vCPU, whose CPU is shared meanwhile. */
static u64 work_for_one(u64 now_tsc)
{
    u64 *notes = sim_notes();

    if (now_tsc < 20 * MS)
        return 20 * MS;
    vm_pause(wisher);
    if (!vm_is_at_rest(wisher))
        return UINT64_MAX; /* asked for again when it does */
    u64 since = sched_work_clock();
    for (u64 done = 0; done < 5 * MS; done += MS / 10) {
        sim_compute(MS / 10);
        sched_share_cpu();
    }
    notes[0]++;
    notes[1] += sched_work_clock() - since;
    notes[2] += cpu_tsc() - now_tsc;
    sched_charge_work(wisher->vcpus[0], since);
    vm_resume(wisher);
    return cpu_tsc() + 20 * MS;
}

static void work_for_a_vcpu(u32 cap)
{
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.cap_percent = cap;
    wisher = sim_add(&spec, spin);
    add(spin, 100, ~0ull);
    sched_set_work(work_for_one);
    sim_request_work_at(MS);
    sim_end_at(2000 * MS);
    sim_run();
}

static void work_for_a_fair_one(void)
{
    work_for_a_vcpu(0);
}

static void work_for_a_capped_one(void)
{
    work_for_a_vcpu(30);
}

/* The work is part of what it has of the CPU, and what was given away meanwhile is not. */
static void test_who_asked_for_work_pays(void **state)
{
    (void)state;
    r = sim_scenario(work_for_a_fair_one);
    assert_orderly_end(2);
    assert_true(r->notes[0] > 30);
    assert_in_range(r->notes[1], r->notes[0] * 5 * MS, r->notes[0] * 5 * MS + r->notes[0] * MS / 50);
    assert_true(r->notes[2] > 2 * r->notes[1]);
    assert_true(close_to(run_of(0), r->vms[0].vcpus[0].work + r->notes[1], 10));
    assert_true(run_of(1) >= 1000 * MS); /* more: who waits for work cannot run meanwhile */
    r = sim_scenario(work_for_a_capped_one);
    assert_orderly_end(2);
    assert_true(run_of(1) >= 1350 * MS);
}

static u64 due_tsc;

/* A millisecond of work for the held vCPU, as soon as it may be. */
static u64 work_for_one_elsewhere(u64 now_tsc)
{
    if (now_tsc < due_tsc)
        return due_tsc;
    vm_pause(wisher);
    if (!vm_is_at_rest(wisher))
        return UINT64_MAX;
    u64 since = sched_work_clock();
    while (sched_work_clock() - since < MS) { /* a kick that waits ends it early */
        cpu_interrupts_enable();
        sim_compute(since + MS - sched_work_clock());
    }
    sim_notes()[0]++;
    due_tsc = sched_charge_work(wisher->vcpus[0], since);
    vm_resume(wisher);
    return due_tsc;
}

/* It has CPU 1 to itself, and `beside` vCPUs are on CPU 0. */
static void work_for_a_vcpu_elsewhere(u64 affinity, u32 beside)
{
    struct vm_spec spec = sim_spec();

    due_tsc = MS;
    sim_begin(2);
    spec.affinity = 1;
    for (u32 i = 0; i < beside; i++)
        sim_add(&spec, spin);
    spec.affinity = affinity;
    spec.weight = 50;
    wisher = sim_add(&spec, spin);
    sched_set_work(work_for_one_elsewhere);
    sim_request_work_at(MS);
    sim_end_at(2000 * MS);
    sim_run();
}

static void work_for_an_outsider(void)
{
    work_for_a_vcpu_elsewhere(2, 1);
}

static void work_for_one_of_two_cpus(void)
{
    work_for_a_vcpu_elsewhere(3, 1);
}

static void work_beside_nobody(void)
{
    work_for_a_vcpu_elsewhere(2, 0);
}

/* Who runs on the boot CPU loses a hundredth to two VMs' work; to one that may run there, what its weight is worth. */
static void test_work_for_another_cpu_has_its_share(void **state)
{
    (void)state;
    r = sim_scenario(work_for_an_outsider);
    assert_orderly_end(2);
    assert_in_range(r->notes[0], 10, 20);
    assert_true(run_of(0) >= 1970 * MS);
    r = sim_scenario(work_for_one_of_two_cpus);
    assert_orderly_end(2);
    assert_in_range(r->notes[0], 500, 667);
    assert_true(run_of(0) >= 1300 * MS);
    r = sim_scenario(work_beside_nobody);
    assert_orderly_end(1);
    assert_true(r->notes[0] > 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_paused_vm_takes_no_time),
        cmocka_unit_test(test_let_go_and_wanted_again_at_once),
        cmocka_unit_test(test_a_paused_sleeper_wakes_later),
        cmocka_unit_test(test_a_step_ends_in_hlt),
        cmocka_unit_test(test_a_pause_is_no_part_of_a_limit_and_no_shelter_from_the_end),
        cmocka_unit_test(test_a_vcpu_that_starts_into_a_pause),
        cmocka_unit_test(test_a_held_vm_rests_with_all_its_vcpus),
        cmocka_unit_test(test_held_again_before_it_goes_on),
        cmocka_unit_test(test_let_go_before_it_rests),
        cmocka_unit_test(test_a_debugger_beside_it),
        cmocka_unit_test(test_held_in_sleep_and_ended),
        cmocka_unit_test(test_work_between_guests),
        cmocka_unit_test(test_early_work_shares_its_cpu),
        cmocka_unit_test(test_who_asked_for_work_pays),
        cmocka_unit_test(test_work_for_another_cpu_has_its_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
