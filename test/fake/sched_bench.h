/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the scheduler share: VMs that follow a script on the simulated machine (test/fake/sim.h), and what
 * must be true of each run. Each test program includes it once.
 */
#ifndef ROOTLET_TEST_FAKE_SCHED_BENCH_H
#define ROOTLET_TEST_FAKE_SCHED_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "test/fake/sim.h"

#define SCRIPT(name, ...)                                                                                              \
    static const struct sim_step name##_steps[] = {__VA_ARGS__};                                                       \
    static const struct sim_step *const name[] = {name##_steps}

/* Scripts of a VM with one vCPU that several tests run. */
SCRIPT(spin, {SIM_SPIN, 0});
SCRIPT(timer_loop, {SIM_ARM, MS}, {SIM_HLT, 0}, {SIM_RUN, 20000}, {SIM_AGAIN, 0});

/* Of the scenario that ran last. */
static const struct sim_result *r;

static inline bool close_to(u64 value, u64 expected, u64 per_mille)
{
    u64 difference = value > expected ? value - expected : expected - value;
    return difference * 1000 <= expected * per_mille;
}

static inline struct vm *add(const struct sim_step *const *scripts, u32 weight, u64 affinity)
{
    struct vm_spec spec = sim_spec();
    spec.weight = weight;
    spec.affinity = affinity;
    return sim_add(&spec, scripts);
}

static inline struct vm *add_vcpus(const struct sim_step *const *scripts, u32 cpus)
{
    struct vm_spec spec = sim_spec();
    spec.cpus = cpus;
    return sim_add(&spec, scripts);
}

/* All VMs ended, each once, and gave everything back. */
static inline void assert_orderly_end(u32 vms)
{
    assert_false(r->deadlock);
    assert_int_equal(r->ended_vms, vms);
    assert_int_equal(r->free_frames_after, r->free_frames_before);
    for (u32 i = 0; i < vms; i++)
        assert_int_equal(r->vms[i].ends, 1);
}

static inline u64 run_of(u32 vm)
{
    return r->vms[vm].vcpus[0].run_tsc;
}

/* No CPU may run a guest with its deadline in the past, again and again. */
static inline void assert_no_spinning(u32 vm)
{
    assert_true(r->vms[vm].vcpus[0].idle_entries <= r->vms[vm].vcpus[0].slices + r->vms[vm].vcpus[0].events + 20);
}

#endif
