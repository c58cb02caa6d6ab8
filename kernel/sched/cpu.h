/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the scheduler's files share, and nobody else includes: a CPU's queues. sched.c: who runs, and when the CPU
 * sleeps; wait.c: who waits, for what, and how it comes back; queue.c: which CPU a vCPU belongs to, and how
 * other CPUs tell it something. All with interrupts off.
 */
#ifndef ROOTLET_KERNEL_SCHED_CPU_H
#define ROOTLET_KERNEL_SCHED_CPU_H

#include "arch/x86/percpu.h"
#include "kernel/sched/sched.h"

#define ATTEND_WAKE    1u  /* `news` has a blocked vCPU */
#define ATTEND_REAP    2u  /* a VM with vCPUs here is stopping */
#define ATTEND_PUSH    4u  /* an idle CPU asks for work */
#define ATTEND_UNPAUSE 8u  /* a paused vCPU here may go on */
#define ATTEND_HAND    32u /* a vCPU spins elsewhere for a ready one here: vcpu->wanted_on */
#define ATTEND_CORE    64u /* a sibling thread wants the core for another VM */
#define ATTEND_WORK    16u /* the boot CPU: sched_set_work()'s function has something to do */

struct sched_cpu {
    struct spinlock lock; /* ready, ready_count, news; and a vCPU is blocked here, or is not, for those who hold it */
    struct vcpu *ready;   /* sorted by vruntime */
    u32 ready_count;
    u32 load;                    /* sum of weights of the vCPUs whose home this is; atomic */
    struct vcpu *news;           /* blocked ones with a request; linked by vcpu->news */
    struct heap blocked;         /* owner only; by vcpu->wake, the next one first */
    struct vcpu *paused;         /* owner only */
    struct vcpu *retiring;       /* owner only: of stopping VMs, and there is more to say of them */
    struct vcpu *handed;         /* owner only: ready, in no queue, and next whatever its vruntime */
    u64 handed_until_tsc;        /* the end of the slice that it takes over */
    struct vcpu *current;        /* owner writes */
    bool sharing;                /* long work of this CPU waits while a guest runs */
    bool halted;                 /* current is in HLT, and this CPU sleeps until it wakes: sched_halt() */
    const struct vcpu *examined; /* a blocked one whose timers fire, before the owner asks whether it wakes */
    u64 current_since_tsc;
    u64 min_vruntime;
    u64 next_wake_tsc; /* the least key of blocked, work_tsc or report_tsc */
    u64 work_tsc;      /* owner only: when work is due again; UINT64_MAX: when somebody asks for it */
    u64 report_tsc;    /* owner only: when `retiring` goes on that waits for the console; UINT64_MAX: none does */
    bool work_due;     /* owner only: the loop is to call sched_set_work()'s function */
    u32 attention;     /* atomic ATTEND_ bits */
    struct core *core; /* smt.c: NULL, or shared with sibling threads */
    bool in_core;      /* owner only: and it has it, with the others that run the same VM */
    bool core_taken;   /* owner only: somebody is ready, but the core is another VM's */
} ALIGNED(64);

extern struct sched_cpu sched_cpus[CPU_MAX];
extern u64 sched_idle_mask; /* atomic; bit n: CPU n sleeps or is about to */
extern u64 sched_slice_tsc, sched_cap_period_tsc;
extern u32 sched_window_shift; /* of the TSC: a window is a second or two */

/* Whether the vCPU may run on this CPU now: both its VM's affinity and who has left VMX operation change. */
static ALWAYS_INLINE bool may_run_here(const struct vcpu *vcpu)
{
    return sched_allowed_cpus(&vcpu->vm->spec) >> cpu_id() & 1;
}

static inline struct sched_cpu *here(void)
{
    return &sched_cpus[cpu_id()];
}

static inline u64 minimum(u64 a, u64 b)
{
    return a < b ? a : b;
}

/* How many vCPUs share the VM's weight: those that are busy. */
static inline u32 weight_sharers(const struct vm *vm)
{
    u32 now = __atomic_load_n(&vm->busy_vcpus, __ATOMIC_RELAXED),
        before = __atomic_load_n(&vm->busy_before, __ATOMIC_RELAXED);
    u32 most = now > before ? now : before;
    return most ? most : 1;
}

static inline u64 weighted(const struct vcpu *vcpu, u64 tsc)
{
    return tsc * VM_DEFAULT_WEIGHT * weight_sharers(vcpu->vm) / vcpu->vm->spec.weight;
}

/*
 * A light vCPU has a short slice: many of them, one after the other, hold up a heavier one no longer than another
 * heavy one would. But not so short that the switching counts.
 */
static inline u64 slice_of(const struct vcpu *vcpu)
{
    u64 full = weighted(vcpu, sched_slice_tsc);
    u64 slice = full > sched_slice_tsc ? sched_slice_tsc * sched_slice_tsc / full : sched_slice_tsc;
    return slice > sched_slice_tsc / 20 ? slice : sched_slice_tsc / 20;
}

static inline struct vcpu *vcpu_of_wake(struct heap_node *node)
{
    return container_of(node, struct vcpu, wake);
}

static inline bool remove_from(struct vcpu **list, const struct vcpu *vcpu)
{
    for (; *list; list = &(*list)->next) {
        if (*list == vcpu) {
            *list = vcpu->next;
            return true;
        }
    }
    return false;
}

static ALWAYS_INLINE void refresh_timer(struct vcpu *vcpu)
{
    u64 next_ns = vcpu->timers.next_ns;

    if (next_ns == vcpu->timer_ns)
        return;
    vcpu->timer_ns = next_ns;
    vcpu->timer_tsc = vm_tsc_of_ns(vcpu->vm, next_ns); /* VTIMER_NEVER: UINT64_MAX */
}

/* limit=: time in the guest or asleep by its own will; waiting for a CPU does not count. */
static inline u64 limit_left_tsc(const struct vcpu *vcpu)
{
    u64 used = vcpu->run_tsc + vcpu->slept_tsc;
    u64 limit = vcpu->vm->limit_tsc;

    if (limit == UINT64_MAX)
        return UINT64_MAX;
    return used < limit ? limit - used : 0;
}

/* When that is up for one that sleeps from `since_tsc` on. */
static inline u64 limit_end_tsc(const struct vcpu *vcpu, u64 since_tsc)
{
    u64 left = limit_left_tsc(vcpu);
    return left == UINT64_MAX ? UINT64_MAX : since_tsc + left;
}

static ALWAYS_INLINE bool debugger_wants_pause(const struct vcpu *vcpu)
{
    u8 pause = __atomic_load_n(&vcpu->pause, __ATOMIC_SEQ_CST);
    return UNLIKELY(pause) && (pause == VCPU_PAUSE_NOW || vcpu->halted);
}

static ALWAYS_INLINE bool wants_pause(const struct vcpu *vcpu)
{
    return debugger_wants_pause(vcpu) || UNLIKELY(__atomic_load_n(&vcpu->held, __ATOMIC_SEQ_CST));
}

/* What was typed for a VM goes into its devices on a CPU of its own: here. */
static inline void take_input(const struct vcpu *vcpu)
{
    if (UNLIKELY(__atomic_load_n(&vcpu->vm->input_waiting, __ATOMIC_SEQ_CST)))
        vm_take_input(vcpu->vm);
}

/* sched.c. What the vCPU may still run in this period, by its VM's cap=; UINT64_MAX: there is none. */
u64 sched_cap_budget(struct vcpu *vcpu, u64 now);
/* The vCPU has used `used` of a CPU until now: it is charged for that. */
void sched_charge(struct vcpu *vcpu, u64 used, u64 now);

/* queue.c. Wakes CPU `id` or makes it exit, and gives it a reason: ATTEND_ bits. */
void sched_attend(u32 id, u32 bits);
/*
 * Somebody has something for a vCPU that does not run, a request or the debugger's wish: if it is blocked, its CPU
 * looks at it soon.
 */
void sched_announce(struct vcpu *vcpu);
/* A vCPU of this CPU is ready: keep it, or give it away where this CPU has something else to do. */
void sched_place_ready(struct sched_cpu *cpu, struct vcpu *vcpu);
/* Others spin for vCPUs that are ready here: they may go there. */
void sched_hand_over(struct sched_cpu *cpu);
/* An idle CPU has asked: give it the first waiting vCPU that may run there. */
void sched_push_work(struct sched_cpu *cpu);

/* wait.c. The vCPU has left its guest and cannot go on for now. */
void sched_block(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now);
/* It halts without leaving its CPU, perhaps for good; and no longer. */
void sched_begin_halt(struct vcpu *vcpu);
void sched_end_halt(struct vcpu *vcpu);
/* Looks at the blocked vCPUs that are due or have news. */
void sched_wake_due(struct sched_cpu *cpu, u64 now);
/* The earliest of the blocked ones, work_tsc and report_tsc has changed. */
void sched_update_next_wake(struct sched_cpu *cpu);
/* A vCPU of the CPU's blocked ones is among them no longer. */
void sched_unblock(struct sched_cpu *cpu, struct vcpu *vcpu);
/* Its turn has come, but it is wanted paused: no vCPU of this CPU is in an exit, so its VMCS may be loaded. */
void sched_rest(struct sched_cpu *cpu, struct vcpu *vcpu);
/* Those that may go on. */
void sched_unrest(struct sched_cpu *cpu);

#endif
