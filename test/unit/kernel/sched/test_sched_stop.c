/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a VM ends: by whom it is stopped, in which state its vCPUs are then, and when it is halted for good.
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

static u32 cpus_wanted;
static bool with_load;

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

/* What led to a bad end is printed; of an exit only the status counts, unless the VM's line asks for more. */
static void ends_to_explain(void)
{
    SCRIPT(good, {SIM_EXIT, 0});
    SCRIPT(bad, {SIM_EXIT, 7});
    SCRIPT(reset, {SIM_STOP, VM_STOP_RESET});
    SCRIPT(limit, {SIM_STOP, VM_STOP_LIMIT});
    SCRIPT(fault, {SIM_STOP, VM_STOP_TRIPLE_FAULT});
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    add(good, 100, ~0ull);
    add(bad, 100, ~0ull);
    add(reset, 100, ~0ull);
    add(limit, 100, ~0ull);
    add(fault, 100, ~0ull);
    spec.dump = VM_DUMP_REGS;
    sim_add(&spec, good);
    sim_add(&spec, bad);
    spec.dump = VM_DUMP_SCREEN;
    sim_add(&spec, bad);
    sim_run();
}

static void test_which_ends_are_explained(void **state)
{
    static const u32 wanted[] = {0, 0, 1, 0, 1, 1, 1, 0};

    (void)state;
    r = sim_scenario(ends_to_explain);
    assert_orderly_end(ARRAY_SIZE(wanted));
    for (u32 i = 0; i < ARRAY_SIZE(wanted); i++)
        if (r->vms[i].explained != wanted[i])
            fail_msg("VM %u: explained %u times", i, r->vms[i].explained);
}

/* ---- long reports ---- */

/* One that sleeps from tick to tick, perhaps one that computes, and a VM that ends with 48 ms of reports. */
static void long_reports(void)
{
    SCRIPT(ticks, {SIM_ARM, MS}, {SIM_HLT, 0}, {SIM_RUN, 20000}, {SIM_AGAIN, 0});
    static const struct sim_step boot[] = {
        {SIM_START, 1                   },
        {SIM_START, 2                   },
        {SIM_START, 3                   },
        {SIM_SLEEP, 9 * MS              },
        {SIM_STOP,  VM_STOP_TRIPLE_FAULT}
    };
    static const struct sim_step halts[] = {
        {SIM_HLT, 0}
    };
    static const struct sim_step *const scripts[] = {boot, halts, halts, halts};

    sim_begin(1);
    sim_with_reports(30, 4 * MS / 10);
    add(ticks, 100, ~0ull);
    if (with_load)
        add(spin, 100, ~0ull);
    add_vcpus(scripts, 4);
    sim_end_at(1500 * MS);
    sim_run();
}

static void test_long_reports_hold_up_nobody(void **state)
{
    (void)state;
    for (u32 load = 0; load < 2; load++) {
        with_load = load;
        r = sim_scenario(long_reports);
        assert_orderly_end(2 + load);
        const u32 faulty = 1 + load;
        assert_int_equal(r->vms[faulty].reason, VM_STOP_TRIPLE_FAULT);
        assert_true(r->vms[faulty].stop_tsc < 30 * MS); /* when it left its guest, not when all was said */
        assert_in_range(r->vms[0].vcpus[0].worst_event, 4 * MS / 10, load ? 12 * MS : MS);
    }
}

/* One that reports while the console is full, and one that ends a little later and has nothing to say. */
static void report_to_a_full_console(void)
{
    SCRIPT(fault, {SIM_RUN, MS}, {SIM_STOP, VM_STOP_TRIPLE_FAULT});
    SCRIPT(good, {SIM_RUN, 20 * MS}, {SIM_EXIT, 0});

    sim_begin(1);
    sim_with_reports(30, 4 * MS / 10);
    sim_console_full_until(800 * MS);
    add(fault, 100, ~0ull);
    add(good, 100, ~0ull);
    if (with_load)
        add(spin, 100, ~0ull);
    sim_end_at(1500 * MS);
    sim_run();
}

static void test_a_report_waits_for_the_console(void **state)
{
    (void)state;
    for (u32 load = 0; load < 2; load++) {
        with_load = load;
        r = sim_scenario(report_to_a_full_console);
        assert_orderly_end(2 + load);
        assert_true(r->vms[1].ended_tsc < 100 * MS);
        assert_in_range(r->vms[0].ended_tsc, 812 * MS, 900 * MS + load * 300 * MS);
        assert_true(r->vms[0].vcpus[0].idle_entries < 10);
    }
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

/* Its own CPU has nothing else to do; its timer would wake the CPU, but not it. */
static void deaf_in_place(void)
{
    static const struct sim_step deaf[] = {
        {SIM_START,   1       },
        {SIM_ARM,     900 * MS},
        {SIM_CLI_HLT, 0       }
    };
    static const struct sim_step slow[] = {
        {SIM_RUN,     30 * MS},
        {SIM_CLI_HLT, 0      }
    };
    static const struct sim_step *const both[] = {deaf, slow};

    sim_begin(2);
    add_vcpus(both, 2);
    sim_run();
}

static void test_halt_for_good_beside_a_timer(void **state)
{
    (void)state;
    r = sim_scenario(deaf_in_place);
    assert_orderly_end(1);
    assert_int_equal(r->vms[0].reason, VM_STOP_HALT);
    assert_int_equal(r->vms[0].vcpus[0].slices, 1);
    assert_true(r->vms[0].stop_tsc < 60 * MS);
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

/* One waits with interrupts on and without a timer. Who has the terminal may be typed to, and whom somebody debugs may
 * be sent elsewhere, even with interrupts off; a limit ends both here. */
static void halt_with_a_terminal(void)
{
    static const struct sim_step off[] = {
        {SIM_RUN,     MS},
        {SIM_CLI_HLT, 0 }
    };
    static const struct sim_step *const one_off[] = {off};
    static const struct sim_step waits[] = {
        {SIM_RUN, MS},
        {SIM_HLT, 0 }
    };
    static const struct sim_step *const one[] = {waits};
    struct vm_spec spec = sim_spec();

    sim_begin(1);
    spec.limit_ms = 50;
    sim_add(&spec, one)->terminal = VM_TERMINAL_HAS;
    sim_add(&spec, one);
    sim_add(&spec, one_off)->has_debugger = true;
    sim_run();
}

static void test_a_key_may_end_being_halted(void **state)
{
    (void)state;
    r = sim_scenario(halt_with_a_terminal);
    assert_orderly_end(3);
    assert_int_equal(r->vms[0].reason, VM_STOP_LIMIT);
    assert_int_equal(r->vms[1].reason, VM_STOP_HALT);
    assert_int_equal(r->vms[2].reason, VM_STOP_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_in_all_states),
        cmocka_unit_test(test_first_reason_wins),
        cmocka_unit_test(test_exit_status),
        cmocka_unit_test(test_which_ends_are_explained),
        cmocka_unit_test(test_long_reports_hold_up_nobody),
        cmocka_unit_test(test_a_report_waits_for_the_console),
        cmocka_unit_test(test_halt_for_good),
        cmocka_unit_test(test_halt_for_good_beside_a_timer),
        cmocka_unit_test(test_a_timer_ends_being_halted_for_good),
        cmocka_unit_test(test_a_key_may_end_being_halted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
