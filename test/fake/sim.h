/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A simulated machine for the scheduler: CPUs as threads of which one runs at a time, a clock that jumps from one event
 * to the next, kicks and timers with handlers, and guests that follow a script. The real kernel/sched/sched.c and
 * kernel/vm/vm.c run on it unchanged; the rules that every schedule must keep are checked at each entry. One tick is a
 * nanosecond.
 */
#ifndef ROOTLET_TEST_FAKE_SIM_H
#define ROOTLET_TEST_FAKE_SIM_H

#include "kernel/vm/vm.h"

#define SIM_MAX_CPUS 8u
#define SIM_MAX_VMS  110u
#define MS           1000000ull

enum sim_act {
    SIM_RUN,     /* computes for `value` ticks */
    SIM_SPIN,    /* computes for ever */
    SIM_HLT,     /* interrupts on */
    SIM_CLI_HLT, /* interrupts off: for good */
    SIM_SLEEP,   /* the hypercall, for `value` ns */
    SIM_YIELD,
    SIM_PAUSES,  /* spins, as the CPU has noticed, for `value` ticks at most: another vCPU of the VM may get the CPU */
    SIM_ARM,     /* the PC's timer fires in `value` ns (through the bus, from any vCPU) */
    SIM_START,   /* vCPU `value` */
    SIM_NMI,     /* to vCPU `value`, which HLT then lets go on */
    SIM_POST,    /* a posted interrupt to vCPU `value`, likewise; 208 in a row have each their own vector */
    SIM_ARM_OWN, /* the timer of its own local APIC fires in `value` ns, to no effect; not vCPU 0 */
    SIM_INIT,    /* to vCPU `value`, which waits for SIPI then */
    SIM_RESTART, /* INIT and SIPI to vCPU `value`: its script from its first step */
    SIM_EXIT,    /* with status `value` */
    SIM_STOP,    /* vm_stop with reason `value` */
    SIM_AGAIN    /* the script from its first step, `value` times more (0: for ever) */
};

struct sim_step {
    enum sim_act act;
    u64 value;
};

/* What came of a vCPU, and of a VM (at vCPU 0). Lives in memory that the test sees. */
struct sim_vcpu_result {
    u64 run_tsc, slept_tsc, slices, migrations;
    u64 work;         /* ticks computed in the guest */
    u64 entries;      /* VM entries */
    u64 idle_entries; /* of these: with no time left, so that the guest did not move */
    u64 events;       /* timer interrupts delivered */
    u64 posted;       /* posted interrupts delivered */
    u64 worst_event;  /* the longest wait for one, in ticks */
    u64 nmis;         /* delivered */
    u64 worst_nmi;    /* the longest wait for one, in ticks, if no other came meanwhile */
    u64 rounds;       /* of the script */
    u64 inits;        /* taken */
    u64 restarts;     /* by SIPI */
    u64 cpus;         /* bit n: has run on CPU n */
    u64 pauses;       /* times that it came to rest for the debugger */
    u64 paused_tsc;   /* the last of them */
    u32 state;
};

struct sim_result {
    bool deadlock; /* all CPUs sleep for ever and a VM still runs */
    u64 end_tsc;
    u64 busy_tsc[SIM_MAX_CPUS]; /* in guests */
    u64 sleeps[SIM_MAX_CPUS];   /* times that it went to sleep */
    u64 kicks;
    u64 free_frames_before, free_frames_after;
    u32 ended_vms;
    u64 notes[4]; /* the scenario's own: sim_notes() */
    struct {
        enum vm_stop_reason reason;
        u32 exit_status;
        u32 ends;      /* how often its end was announced */
        u32 rests;     /* how often all its vCPUs rested when the monitor let go */
        u32 noted;     /* how often its last records were kept */
        u32 explained; /* how often they were printed */
        bool clean;
        u64 stop_tsc;
        u64 ended_tsc; /* when all was told */
        char detail[VM_DETAIL_BYTES];
        struct sim_vcpu_result vcpus[VM_MAX_VCPUS];
    } vms[SIM_MAX_VMS];
};

/* A machine with so many CPUs: first of all in a scenario. */
void sim_begin(u32 cpus);
/* Adds a VM; scripts[i] is vCPU i's. */
struct vm *sim_add(const struct vm_spec *spec, const struct sim_step *const *scripts);
/* A spec with one vCPU, weight 100, all CPUs, no limit. */
struct vm_spec sim_spec(void);
u64 *sim_notes(void);
/* From the boot CPU's work: time passes. */
void sim_compute(u64 ticks);
/* sched_request_work() comes at this time; in the order of the pauses. */
void sim_request_work_at(u64 tsc);
/* Stops every VM (reason=killed) at this time. */
void sim_end_at(u64 tsc);
/* A debugger pauses all vCPUs of the VM at a time, and lets them go on at another; at most SIM_MAX_PAUSES, in order. */
#define SIM_MAX_PAUSES 8u
void sim_pause_between(struct vm *vm, u64 from_tsc, u64 to_tsc);
/* The monitor pauses the VM and lets it go, at rest or not. */
void sim_hold_between(struct vm *vm, u64 from_tsc, u64 to_tsc);
/* A half of the two, where they overlap: in the order of their times. */
void sim_debug_at(struct vm *vm, u64 tsc, bool pause);
void sim_hold_at(struct vm *vm, u64 tsc, bool pause);
/* The same, but they shall pause again when they are in HLT: a step. */
void sim_step_between(struct vm *vm, u64 from_tsc, u64 to_tsc);
/* Runs the machine until all VMs have ended. */
void sim_run(void);
/* After sim_begin: the CPUs take what was posted when the notification vector comes in a guest. */
void sim_with_posted_interrupts(void);
/* After sim_begin: the report of a vCPU has so many pieces, each of which takes so long. */
void sim_with_reports(u32 pieces, u64 ticks);
/* Likewise: until then there is no room at the console for reports. */
void sim_console_full_until(u64 tsc);
/* After sim_begin: the CPUs have no preemption timer, the APIC timer ends a guest's run. */
void sim_without_preemption_timer(void);

/*
 * After sim_begin: so many CPUs in a row are sibling threads of a core, and the rule is that they run one VM at a time.
 */
void sim_with_threads(u32 threads);

/*
 * Runs a scenario in a process of its own, since the scheduler's state is static; returns what came of it. A broken
 * rule, a crash or no end within 60 s fails the test.
 */
const struct sim_result *sim_scenario(void (*scenario)(void));

#endif
