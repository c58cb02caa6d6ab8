/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler and the life of VMs on a simulated machine (test/fake/sim.h), which checks at each entry that a vCPU
 * runs in one place, where it may, and has moved only to a CPU that slept. A tick is a nanosecond.
 *
 * links: kernel/sched/sched.c kernel/sched/queue.c kernel/sched/wait.c kernel/vm/vm.c kernel/vm/spec.c
 * kernel/vm/vtimer.c kernel/vm/bus.c kernel/vm/memory.c
 *
 * links: kernel/vm/io.c kernel/vm/firmware.c kernel/clock.c test/fake/sim.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/lib/bits.h"
#include "test/fake/sim.h"

#define SCRIPT(name, ...)                                                                                              \
    static const struct sim_step name##_steps[] = {__VA_ARGS__};                                                       \
    static const struct sim_step *const name[] = {name##_steps}

SCRIPT(spin, {SIM_SPIN, 0});
SCRIPT(timer_loop, {SIM_ARM, MS}, {SIM_HLT, 0}, {SIM_RUN, 20000}, {SIM_AGAIN, 0});

static const struct sim_result *r;
static u32 cpus_wanted;

static bool close_to(u64 value, u64 expected, u64 per_mille)
{
    u64 difference = value > expected ? value - expected : expected - value;
    return difference * 1000 <= expected * per_mille;
}

static struct vm *add(const struct sim_step *const *scripts, u32 weight, u64 affinity)
{
    struct vm_spec spec = sim_spec();
    spec.weight = weight;
    spec.affinity = affinity;
    return sim_add(&spec, scripts);
}

static struct vm *add_vcpus(const struct sim_step *const *scripts, u32 cpus)
{
    struct vm_spec spec = sim_spec();
    spec.cpus = cpus;
    return sim_add(&spec, scripts);
}

/* All VMs ended, each once, and gave everything back. */
static void assert_orderly_end(u32 vms)
{
    assert_false(r->deadlock);
    assert_int_equal(r->ended_vms, vms);
    assert_int_equal(r->free_frames_after, r->free_frames_before);
    for (u32 i = 0; i < vms; i++)
        assert_int_equal(r->vms[i].ends, 1);
}

static u64 run_of(u32 vm)
{
    return r->vms[vm].vcpus[0].run_tsc;
}

/* No CPU may run a guest with its deadline in the past, again and again. */
static void assert_no_spinning(u32 vm)
{
    assert_true(r->vms[vm].vcpus[0].idle_entries <= r->vms[vm].vcpus[0].slices + r->vms[vm].vcpus[0].events + 20);
}

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

/* ---- posted interrupts ---- */

/* vCPU 1 posts a hundred times: to a spinner, to one that halts in place, to one that blocks, to one that waits its
 * turn. */
static bool with_hardware;
static const struct sim_step *target_steps;
static bool crowded;

static void posts_to_another(void)
{
    static const struct sim_step other[] = {
        {SIM_RUN,   MS     },
        {SIM_POST,  0      },
        {SIM_AGAIN, 99     },
        {SIM_RUN,   30 * MS},
        {SIM_EXIT,  0      }
    };
    static const struct sim_step *both[2];

    both[0] = target_steps;
    both[1] = other;
    sim_begin(2);
    if (with_hardware)
        sim_with_posted_interrupts();
    add_vcpus(both, 2);
    if (crowded)
        add(spin, 100, BIT(0));
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_posting_to_a_running_vcpu_needs_no_kick(void **state)
{
    static const struct sim_step spins[] = {
        {SIM_START, 1},
        {SIM_SPIN,  0}
    };

    (void)state;
    target_steps = spins;
    crowded = false;
    for (u32 hardware = 0; hardware < 2; hardware++) {
        with_hardware = hardware;
        r = sim_scenario(posts_to_another);
        assert_orderly_end(1);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[0].posted, 100);
        assert_true(hardware ? r->kicks < 5 : r->kicks >= 100);
    }
}

/* Starts vCPU 1, then does these steps for ever, or nearly so. */
static const struct sim_step *starts_and_repeats(const struct sim_step *steps, u32 count)
{
    static struct sim_step all[1000];
    u32 n = 0;

    all[n++] = (struct sim_step){SIM_START, 1};
    while (n + count < ARRAY_SIZE(all))
        for (u32 i = 0; i < count; i++)
            all[n++] = steps[i];
    all[n] = (struct sim_step){SIM_SPIN, 0};
    return all;
}

static void test_no_posted_interrupt_is_lost(void **state)
{
    static const struct sim_step halts_in_place[] = {
        {SIM_ARM, 900 * MS},
        {SIM_HLT, 0       },
        {SIM_RUN, 1000    }
    };
    static const struct sim_step blocks[] = {
        {SIM_HLT, 0   },
        {SIM_RUN, 1000}
    };
    static const struct sim_step comes_and_goes[] = {
        {SIM_HLT,   0            },
        {SIM_RUN,   MS           },
        {SIM_YIELD, 0            },
        {SIM_RUN,   MS + MS / 100},
        {SIM_SLEEP, MS / 100     }
    };

    (void)state;
    with_hardware = true;
    for (u32 i = 0; i < 6; i++) {
        target_steps = i / 2 == 0   ? starts_and_repeats(halts_in_place, ARRAY_SIZE(halts_in_place))
                       : i / 2 == 1 ? starts_and_repeats(blocks, ARRAY_SIZE(blocks))
                                    : starts_and_repeats(comes_and_goes, ARRAY_SIZE(comes_and_goes));
        crowded = i % 2;
        r = sim_scenario(posts_to_another);
        assert_false(r->deadlock);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[0].posted, 100); /* each vector is posted once, so none covers another */
    }
}

/* The request that a posted interrupt leaves behind announces nothing: what needs an exit has its own kick. */
static void nmi_behind_a_post(void)
{
    static const struct sim_step target[] = {
        {SIM_START, 1},
        {SIM_SPIN,  0}
    };
    static const struct sim_step other[] = {
        {SIM_RUN,   MS / 2},
        {SIM_POST,  0     },
        {SIM_RUN,   MS / 2},
        {SIM_NMI,   0     },
        {SIM_AGAIN, 99    },
        {SIM_RUN,   MS    },
        {SIM_EXIT,  0     }
    };
    static const struct sim_step *const both[] = {target, other};

    sim_begin(2);
    if (with_hardware)
        sim_with_posted_interrupts();
    add_vcpus(both, 2);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_nmi_behind_a_post_is_not_late(void **state)
{
    (void)state;
    for (u32 hardware = 0; hardware < 2; hardware++) {
        with_hardware = hardware;
        r = sim_scenario(nmi_behind_a_post);
        assert_orderly_end(1);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[0].posted, 100);
        assert_int_equal(r->vms[0].vcpus[0].nmis, 100);
        assert_true(r->vms[0].vcpus[0].worst_nmi < MS / 10);
    }
}

/* ---- INIT and SIPI ---- */

/* Both at once reach a vCPU that spins, halts in place, is blocked, or has just been restarted. */
static void restarts(void)
{
    static struct sim_step boot[203];
    static const struct sim_step *both[2];
    u32 n = 0;

    boot[n++] = (struct sim_step){SIM_START, 1};
    for (u64 i = 0; i < 100; i++) {
        boot[n++] = (struct sim_step){SIM_RUN, i % 4 == 3 ? 100 : MS + 313 * i};
        boot[n++] = (struct sim_step){SIM_RESTART, 1};
    }
    boot[n++] = (struct sim_step){SIM_RUN, 2 * MS};
    boot[n] = (struct sim_step){SIM_EXIT, 0};
    both[0] = boot;
    both[1] = target_steps;
    sim_begin(2);
    add_vcpus(both, 2);
    sim_end_at(1000 * MS);
    sim_run();
}

static void test_no_sipi_is_lost(void **state)
{
    static const struct sim_step spins[] = {
        {SIM_SPIN, 0}
    };
    static const struct sim_step halts_in_place[] = {
        {SIM_ARM_OWN, 900 * MS},
        {SIM_HLT,     0       },
        {SIM_SPIN,    0       }
    };
    static const struct sim_step blocks[] = {
        {SIM_HLT,  0},
        {SIM_SPIN, 0}
    };
    static const struct sim_step halts_for_good[] = {
        {SIM_RUN,     MS / 2},
        {SIM_CLI_HLT, 0     }
    };
    static const struct sim_step *const targets[] = {spins, halts_in_place, blocks, halts_for_good};

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(targets); i++) {
        target_steps = targets[i];
        r = sim_scenario(restarts);
        assert_orderly_end(1);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[1].restarts, 75); /* of those that come too fast two are one */
    }
}

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

/* ---- pausing ---- */

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

/* ---- stopping ---- */

/* Whoever stops it: the VM's vCPUs run, wait, sleep, halt, or were never started. */
static void stop_in_all_states(void)
{
    static const struct sim_step boot[] = {
        {SIM_START, 1       },
        {SIM_START, 2       },
        {SIM_START, 3       },
        {SIM_START, 4       },
        {SIM_START, 5       },
        {SIM_ARM,   700 * MS},
        {SIM_HLT,   0       },
        {SIM_SPIN,  0       }
    };
    static const struct sim_step running[] = {
        {SIM_SPIN, 0}
    };
    static const struct sim_step halted[] = {
        {SIM_HLT, 0}
    };
    static const struct sim_step off[] = {
        {SIM_CLI_HLT, 0}
    };
    static const struct sim_step sleeping[] = {
        {SIM_SLEEP, 900 * MS}
    };
    static const struct sim_step killer[] = {
        {SIM_RUN,  33 * MS      },
        {SIM_STOP, VM_STOP_RESET}
    };
    static const struct sim_step *const scripts[] = {boot, running, halted, off, sleeping, killer, running, running};

    sim_begin(cpus_wanted);
    add_vcpus(scripts, 8);
    add(spin, 100, ~0ull);
    sim_end_at(300 * MS);
    sim_run();
}

static void test_stop_in_all_states(void **state)
{
    (void)state;
    for (cpus_wanted = 1; cpus_wanted <= 4; cpus_wanted++) {
        r = sim_scenario(stop_in_all_states);
        assert_orderly_end(2);
        assert_int_equal(r->vms[0].reason, VM_STOP_RESET);
        assert_string_equal(r->vms[0].detail, " by=5");
        assert_false(r->vms[0].clean);
        for (u32 i = 0; i < 8; i++)
            assert_int_equal(r->vms[0].vcpus[i].state, VCPU_STOPPED);
        assert_int_equal(r->vms[0].vcpus[6].entries + r->vms[0].vcpus[7].entries, 0);
        assert_true(r->vms[0].stop_tsc < 150 * MS);
        assert_no_spinning(1);
    }
}

/* Four vCPUs on four CPUs stop their VM in the same microsecond. */
static void race_to_stop(void)
{
    static const struct sim_step boot[] = {
        {SIM_START, 1     },
        {SIM_START, 2     },
        {SIM_START, 3     },
        {SIM_RUN,   9 * MS},
        {SIM_EXIT,  0     },
        {SIM_SPIN,  0     }
    };
    static const struct sim_step a[] = {
        {SIM_RUN,  9 * MS          },
        {SIM_STOP, VM_STOP_POWEROFF},
        {SIM_SPIN, 0               }
    };
    static const struct sim_step b[] = {
        {SIM_RUN,  9 * MS              },
        {SIM_STOP, VM_STOP_TRIPLE_FAULT},
        {SIM_SPIN, 0                   }
    };
    static const struct sim_step c[] = {
        {SIM_RUN,  9 * MS        },
        {SIM_STOP, VM_STOP_KILLED},
        {SIM_SPIN, 0             }
    };
    static const struct sim_step *const scripts[] = {boot, a, b, c};

    sim_begin(4);
    for (u32 i = 0; i < 10; i++)
        add_vcpus(scripts, 4);
    sim_run();
}

static void test_first_reason_wins(void **state)
{
    static const char *const details[] = {" status=0", " by=1", " by=2", " by=3"};
    static const enum vm_stop_reason reasons[] = {VM_STOP_EXIT, VM_STOP_POWEROFF, VM_STOP_TRIPLE_FAULT, VM_STOP_KILLED};

    (void)state;
    r = sim_scenario(race_to_stop);
    assert_orderly_end(10);
    for (u32 i = 0; i < 10; i++) {
        u32 winner = 0;
        while (winner < 4 && r->vms[i].reason != reasons[winner])
            winner++;
        assert_true(winner < 4);
        assert_string_equal(r->vms[i].detail, details[winner]);
        assert_int_equal(r->vms[i].clean, winner < 2);
    }
}

static void exits(void)
{
    SCRIPT(good, {SIM_EXIT, 0});
    SCRIPT(bad, {SIM_EXIT, 7});
    sim_begin(1);
    add(good, 100, ~0ull);
    add(bad, 100, ~0ull);
    sim_run();
}

static void test_exit_status(void **state)
{
    (void)state;
    r = sim_scenario(exits);
    assert_orderly_end(2);
    assert_true(r->vms[0].clean);
    assert_false(r->vms[1].clean);
    assert_int_equal(r->vms[1].exit_status, 7);
    assert_string_equal(r->vms[1].detail, " status=7");
}

/* ---- halted for good ---- */

static void halts(void)
{
    static const struct sim_step off[] = {
        {SIM_RUN,     MS},
        {SIM_CLI_HLT, 0 }
    };
    static const struct sim_step waits[] = {
        {SIM_RUN, MS},
        {SIM_HLT, 0 }
    }; /* no timer runs: nothing can come */
    static const struct sim_step boot[] = {
        {SIM_START,   1      },
        {SIM_RUN,     40 * MS},
        {SIM_CLI_HLT, 0      }
    };
    static const struct sim_step alive[] = {
        {SIM_START, 1      },
        {SIM_ARM,   80 * MS},
        {SIM_HLT,   0      },
        {SIM_EXIT,  0      }
    };
    static const struct sim_step *const one_off[] = {off};
    static const struct sim_step *const one_waits[] = {waits};
    static const struct sim_step *const both[] = {boot, off, off};
    static const struct sim_step *const living[] = {alive, off};

    sim_begin(2);
    static const struct sim_step deaf[] = {
        {SIM_START,   1     },
        {SIM_ARM,     5 * MS},
        {SIM_CLI_HLT, 0     }
    };
    static const struct sim_step slow[] = {
        {SIM_RUN,     30 * MS},
        {SIM_CLI_HLT, 0      }
    };
    static const struct sim_step *const deaf_and_slow[] = {deaf, slow};

    add(one_off, 100, ~0ull);
    add(one_waits, 100, ~0ull);
    add_vcpus(both, 3);
    add_vcpus(living, 2);
    add_vcpus(deaf_and_slow, 2);
    sim_run();
}

static void test_halt_for_good(void **state)
{
    (void)state;
    r = sim_scenario(halts);
    assert_orderly_end(5);
    assert_int_equal(r->vms[4].reason, VM_STOP_HALT); /* an interrupt comes, but nobody lets it in */
    assert_int_equal(r->vms[4].vcpus[0].events, 0);
    assert_int_equal(r->vms[4].vcpus[0].slices, 1);
    for (u32 i = 0; i < 3; i++) {
        assert_int_equal(r->vms[i].reason, VM_STOP_HALT);
        assert_true(r->vms[i].clean);
    }
    assert_true(r->vms[2].stop_tsc > 40 * MS); /* the last one of those that started */
    assert_int_equal(r->vms[3].reason, VM_STOP_EXIT);
}

/* vCPU 0 waits with no timer running; vCPU 1 starts the timer and halts for good: the VM lives on. */
static void halt_ended_by_another(void)
{
    static const struct sim_step boot[] = {
        {SIM_START, 1 },
        {SIM_HLT,   0 },
        {SIM_RUN,   MS},
        {SIM_EXIT,  0 }
    };
    static const struct sim_step other[] = {
        {SIM_RUN,     10 * MS},
        {SIM_ARM,     10 * MS},
        {SIM_CLI_HLT, 0      }
    };
    static const struct sim_step *const both[] = {boot, other};

    sim_begin(cpus_wanted);
    add_vcpus(both, 2);
    sim_run();
}

static void test_a_timer_ends_being_halted_for_good(void **state)
{
    (void)state;
    for (cpus_wanted = 1; cpus_wanted <= 2; cpus_wanted++) {
        r = sim_scenario(halt_ended_by_another);
        assert_orderly_end(1);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[0].events, 1);
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
        cmocka_unit_test(test_weights_1_to_3),
        cmocka_unit_test(test_weights_without_preemption_timer),
        cmocka_unit_test(test_ten_weights),
        cmocka_unit_test(test_hundred_vms_on_two_cpus),
        cmocka_unit_test(test_sleep_is_not_hoarded),
        cmocka_unit_test(test_yield_hands_over_at_once),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_cap_is_the_whole_vms),
        cmocka_unit_test(test_a_paused_vm_takes_no_time),
        cmocka_unit_test(test_let_go_and_wanted_again_at_once),
        cmocka_unit_test(test_a_paused_sleeper_wakes_later),
        cmocka_unit_test(test_a_step_ends_in_hlt),
        cmocka_unit_test(test_a_pause_is_no_part_of_a_limit_and_no_shelter_from_the_end),
        cmocka_unit_test(test_a_vcpu_that_starts_into_a_pause),
        cmocka_unit_test(test_no_vcpu_is_lost_by_pausing),
        cmocka_unit_test(test_cap_with_limit),
        cmocka_unit_test(test_cap_with_limit_does_not_poll),
        cmocka_unit_test(test_event_wakes_at_once),
        cmocka_unit_test(test_two_timers_share_a_cpu),
        cmocka_unit_test(test_blocked_vcpus_cost_nothing),
        cmocka_unit_test(test_timer_of_a_blocked_vcpu_moves),
        cmocka_unit_test(test_halts_in_place_when_alone),
        cmocka_unit_test(test_halts_in_place_without_preemption_timer),
        cmocka_unit_test(test_halting_in_place_holds_nobody_up),
        cmocka_unit_test(test_a_newcomer_does_not_starve_one_that_halted),
        cmocka_unit_test(test_no_request_is_lost_while_one_halts),
        cmocka_unit_test(test_one_that_halts_in_place_is_not_busy),
        cmocka_unit_test(test_posting_to_a_running_vcpu_needs_no_kick),
        cmocka_unit_test(test_no_posted_interrupt_is_lost),
        cmocka_unit_test(test_nmi_behind_a_post_is_not_late),
        cmocka_unit_test(test_no_sipi_is_lost),
        cmocka_unit_test(test_affinity),
        cmocka_unit_test(test_idle_cpu_takes_waiting_work),
        cmocka_unit_test(test_nobody_moves_without_need),
        cmocka_unit_test(test_limit_counts_running_and_sleeping_only),
        cmocka_unit_test(test_limit_of_a_sleeper_beside_a_spinner),
        cmocka_unit_test(test_stop_in_all_states),
        cmocka_unit_test(test_first_reason_wins),
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_halt_for_good),
        cmocka_unit_test(test_a_timer_ends_being_halted_for_good),
        cmocka_unit_test(test_no_vcpu_is_lost),
        cmocka_unit_test(test_runs_repeat_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
