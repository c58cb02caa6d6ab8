/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one vCPU sends to another, at each moment of the other's life: posted interrupts, NMI, INIT and SIPI. None is
 * lost and none comes late.
 *
 * links: kernel/sched/sched.c kernel/sched/queue.c kernel/sched/smt.c kernel/sched/wait.c kernel/lib/heap.c
 * links: kernel/vm/vm.c
 * kernel/vm/spec.c kernel/vm/vtimer.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: kernel/vm/io.c kernel/vm/firmware.c kernel/clock.c test/fake/sim.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "kernel/lib/bits.h"
#include "test/fake/sched_bench.h"

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
static const struct sim_step sleeps[] = {
    {SIM_RUN,   MS / 2   },
    {SIM_SLEEP, 1000 * MS},
    {SIM_RUN,   MS       },
    {SIM_EXIT,  0        }
};
static const struct sim_step *const init_targets[] = {spins, halts_in_place, blocks, halts_for_good, sleeps};

static void test_no_sipi_is_lost(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(init_targets); i++) {
        target_steps = init_targets[i];
        r = sim_scenario(restarts);
        assert_orderly_end(1);
        assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
        assert_int_equal(r->vms[0].vcpus[1].restarts, 75); /* of those that come too fast two are one */
    }
}

static void only_init(void)
{
    static const struct sim_step boot[] = {
        {SIM_START, 1     },
        {SIM_RUN,   5 * MS},
        {SIM_INIT,  1     },
        {SIM_INIT,  1     }, /* it waits already */
        {SIM_RUN,   5 * MS},
        {SIM_EXIT,  0     }
    };
    static const struct sim_step *both[2];

    both[0] = boot;
    both[1] = target_steps;
    sim_begin(2);
    add_vcpus(both, 2);
    for (u32 i = 0; crowded && i < 2; i++) /* each CPU has somebody else: nobody halts in place */
        add(spin, 1, BIT(i));
    sim_end_at(1000 * MS);
    sim_run();
}

/* What INIT resets does not wait for the SIPI, wherever INIT finds the vCPU; and then it no longer runs. */
static void test_init_is_taken_before_a_sipi(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(init_targets); i++) {
        for (u32 crowd = 0; crowd < 2; crowd++) {
            target_steps = init_targets[i];
            crowded = crowd;
            r = sim_scenario(only_init);
            assert_int_equal(r->vms[0].reason, VM_STOP_EXIT);
            assert_int_equal(r->vms[0].vcpus[1].inits, 1);
            assert_int_equal(r->vms[0].vcpus[1].restarts, 0);
            assert_true(r->vms[0].vcpus[1].work <= 5 * MS + MS / 10);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posting_to_a_running_vcpu_needs_no_kick),
        cmocka_unit_test(test_no_posted_interrupt_is_lost),
        cmocka_unit_test(test_nmi_behind_a_post_is_not_late),
        cmocka_unit_test(test_no_sipi_is_lost),
        cmocka_unit_test(test_init_is_taken_before_a_sipi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
