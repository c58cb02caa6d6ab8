/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler. Each CPU runs sched_run() and is the only one to pick, block and retire its vCPUs; other CPUs add
 * ready vCPUs under the queue's lock and ask for attention by a bit and a kick. Interrupts come only in idle HLT and as
 * VM exits, so handlers always find the queues consistent.
 *
 * Fairness: vruntime grows by run time * 100 / weight; the smallest runs next.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/quirks.h"
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/frames.h"
#include "kernel/machine_check.h"
#include "kernel/sched/cpu.h"
#include "kernel/sched/smt.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

struct sched_cpu sched_cpus[CPU_MAX];
u64 sched_idle_mask, sched_cpus_off;
u64 sched_slice_tsc, sched_cap_period_tsc;
u32 sched_window_shift;
static u64 busy_tsc;
static bool finishing;
static bool needs_host_timer;     /* what virt_needs_host_timer() says */
static u64 (*work)(u64 now_tsc);  /* the boot CPU's between guests */
static bool working;              /* boot CPU: work() runs, and may share its CPU */
static bool loops, work_at_first; /* atomic: the boot CPU is in its loop; it was asked for work before */
static u64 working_since_tsc, work_piece_tsc, sharing_slice_tsc;
static u64 shared_tsc;    /* boot CPU: time that work() has shared */
static u64 first_run_tsc; /* atomic */

/* ---- stopping ---- */

/*
 * The report of a vCPU and the end of its VM may take tens of milliseconds. What is not done in the time of a piece
 * waits for this CPU's next turn, and the others that want the CPU get their slices in between. What would not find
 * room at the console waits for that, and lets the VMs pass that have nothing to say.
 */
static void go_on_retiring(struct sched_cpu *cpu)
{
    struct vcpu **at = &cpu->retiring;
    u64 start = cpu_tsc(), wait_ns = 0;

    while (*at) {
        struct vcpu *next = (*at)->next;
        bool reports = vm_has_report((*at)->vm);
        if (reports && !wait_ns)
            wait_ns = console_report_wait_ns();
        if (reports && wait_ns) { /* and so do those behind it, which keep their order */
            at = &(*at)->next;
            continue;
        }
        if (vm_retire_vcpu(*at))
            *at = next;
        if (*at && cpu_tsc() - start >= work_piece_tsc) {
            __atomic_fetch_or(&cpu->attention, ATTEND_REAP, __ATOMIC_SEQ_CST);
            break;
        }
    }
    cpu->report_tsc = wait_ns ? cpu_tsc() + clock_tsc_from_ns(wait_ns) : UINT64_MAX;
    sched_update_next_wake(cpu);
}

static void begin_retiring(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    struct vcpu **end = &cpu->retiring;

    while (*end)
        end = &(*end)->next;
    *end = vcpu;
    vcpu->next = NULL;
    __atomic_fetch_sub(&cpu->load, vcpu->load_weight, __ATOMIC_RELAXED);
    vcpu->state = VCPU_STOPPED;
    vm_begin_retiring(vcpu);
}

/* reap() does the rest, when the CPU begins its next turn. */
static void retire(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    begin_retiring(cpu, vcpu);
    __atomic_fetch_or(&cpu->attention, ATTEND_REAP, __ATOMIC_SEQ_CST);
}

static struct vcpu *take_stopping(struct vcpu **list)
{
    for (; *list; list = &(*list)->next) {
        if (vm_is_stopping((*list)->vm)) {
            struct vcpu *vcpu = *list;
            *list = vcpu->next;
            return vcpu;
        }
    }
    return NULL;
}

static struct vcpu *take_stopping_blocked(struct sched_cpu *cpu)
{
    for (struct heap_node *node = cpu->blocked.root; node; node = heap_next(node)) {
        if (vm_is_stopping(vcpu_of_wake(node)->vm)) {
            sched_unblock(cpu, vcpu_of_wake(node));
            return vcpu_of_wake(node);
        }
    }
    return NULL;
}

/* The next one to retire, out of its queue; NULL: there is none. */
static struct vcpu *take_next_stopping(struct sched_cpu *cpu)
{
    spin_lock(&cpu->lock);
    struct vcpu *vcpu = take_stopping(&cpu->ready);
    if (vcpu)
        cpu->ready_count--;
    spin_unlock(&cpu->lock);
    if (!vcpu)
        vcpu = take_stopping_blocked(cpu);
    return vcpu ? vcpu : take_stopping(&cpu->paused);
}

static void reap(struct sched_cpu *cpu)
{
    struct vcpu *vcpu;

    while ((vcpu = take_next_stopping(cpu)))
        begin_retiring(cpu, vcpu);
    go_on_retiring(cpu);
    if (cpu->current && vm_is_stopping(cpu->current->vm))
        vcpu_request(cpu->current, VCPU_REQUEST_RESCHEDULE);
}

/*
 * Retiring loads and clears VMCSs, so it must not happen inside the exit of another vCPU, whose VMCS has to stay
 * current: that one leaves its guest, and sched_run() reaps.
 */
static void reap_soon(struct sched_cpu *cpu)
{
    if (!cpu->current) {
        reap(cpu);
        return;
    }
    __atomic_fetch_or(&cpu->attention, ATTEND_REAP, __ATOMIC_SEQ_CST);
    vcpu_request(cpu->current, VCPU_REQUEST_RESCHEDULE);
}

static NOINLINE void attend_now(struct sched_cpu *cpu)
{
    u32 bits = __atomic_exchange_n(&cpu->attention, 0, __ATOMIC_SEQ_CST);

    if (bits & ATTEND_REAP)
        reap_soon(cpu);
    if (UNLIKELY(bits & ATTEND_UNPAUSE))
        sched_unrest(cpu);
    if (bits & ATTEND_WAKE)
        sched_wake_due(cpu, cpu_tsc());
    if (bits & ATTEND_PUSH)
        sched_push_work(cpu);
    if (UNLIKELY(bits & ATTEND_HAND))
        sched_hand_over(cpu);
    if (UNLIKELY(bits & ATTEND_WORK)) {
        cpu->work_due = true;
        if (cpu->current)
            vcpu_request(cpu->current, VCPU_REQUEST_RESCHEDULE);
    }
    if (bits & ATTEND_CORE && cpu->current)
        vcpu_request(cpu->current, VCPU_REQUEST_RESCHEDULE);
    if (cpu->current && bits) /* a blocked vCPU may now be due earlier */
        vcpu_request(cpu->current, VCPU_REQUEST_DEADLINE);
    if (cpu->current && __atomic_load_n(&finishing, __ATOMIC_SEQ_CST))
        vcpu_request(cpu->current, VCPU_REQUEST_RESCHEDULE);
}

/* Most kicks are for the running vCPU, whose requests the next entry looks at. */
static ALWAYS_INLINE void attend_here(struct sched_cpu *cpu)
{
    if (UNLIKELY(__atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) | __atomic_load_n(&finishing, __ATOMIC_SEQ_CST)))
        attend_now(cpu);
}

/* In a VM exit or in idle HLT: no lock is held. */
static void kick_interrupt(void)
{
    smp_mailbox_run();
    attend_here(here());
}

static void timer_interrupt(void)
{
    /* The wake-up itself is the message: the loop, or the VM exit, looks at the clock. */
}

static void posted_interrupt(void)
{
    /* It was for a guest that this CPU has left meanwhile, or sleeps for: what was posted is taken before its entry. */
}

void sched_stop_vm(struct vm *vm)
{
    for (u32 i = 0; i < vm->spec.cpus; i++) {
        struct vcpu *vcpu = vm->vcpus[i];
        u32 home = vcpu->home_cpu;
        if (vcpu->state == VCPU_WAITING || home == VCPU_NO_CPU)
            continue;
        sched_attend(home, ATTEND_REAP);
        if (home == cpu_id())
            vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    }
}

void sched_finish(void)
{
    __atomic_store_n(&finishing, true, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < smp_cpu_count(); i++)
        sched_attend(i, 0);
}

/* ---- running ---- */

/* Room in this period under cap=, which is percent of one CPU for the whole VM: each vCPU has its share. */
u64 sched_cap_budget(struct vcpu *vcpu, u64 now)
{
    const struct vm_spec *spec = &vcpu->vm->spec;

    if (!spec->cap_percent)
        return UINT64_MAX;
    if (now - vcpu->period_tsc >= sched_cap_period_tsc) {
        vcpu->period_tsc = now;
        vcpu->period_used_tsc = 0;
    }
    u64 budget = sched_cap_period_tsc * spec->cap_percent / (100 * spec->cpus);
    return vcpu->period_used_tsc < budget ? budget - vcpu->period_used_tsc : 0;
}

/* What limit= and cap= leave it from `now` on. */
static ALWAYS_INLINE u64 allowance(struct vcpu *vcpu, u64 now)
{
    u64 budget = LIKELY(!vcpu->vm->spec.cap_percent) ? UINT64_MAX : sched_cap_budget(vcpu, now);
    return minimum(limit_left_tsc(vcpu), budget);
}

static ALWAYS_INLINE void update_deadline(const struct sched_cpu *cpu, struct vcpu *vcpu)
{
    refresh_timer(vcpu);
    vcpu->deadline_tsc = minimum(minimum(vcpu->slice_end_tsc, cpu->next_wake_tsc), vcpu->timer_tsc);
    if (UNLIKELY(needs_host_timer))
        lapic_timer_arm(vcpu->deadline_tsc);
}

void sched_update_deadline(struct vcpu *vcpu)
{
    update_deadline(here(), vcpu);
}

/* Something else than the vCPU's own timers is due: other vCPUs, or the end of the slice. */
static COLD void other_deadlines(struct vcpu *vcpu, u64 now)
{
    struct sched_cpu *cpu = here();

    if (now >= cpu->next_wake_tsc)
        sched_wake_due(cpu, now);
    if (now >= vcpu->slice_end_tsc || UNLIKELY(cpu->work_due))
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
}

/* Serves the earliest. If another has passed as well, the next entry exits at once: so timers cannot starve a slice. */
void sched_deadline_reached(struct vcpu *vcpu)
{
    u64 now = cpu_tsc();

    if (LIKELY(vcpu->deadline_tsc == vcpu->timer_tsc))
        vm_run_timers(vcpu, now);
    else
        other_deadlines(vcpu, now);
    update_deadline(here(), vcpu);
}

/* Run time that watchdog= leaves the vCPU, if no sign of life comes. */
static COLD u64 watchdog_left(const struct vcpu *vcpu)
{
    u64 used = vcpu->run_tsc - vcpu->vm->watch[vcpu->index].since_run_tsc;
    return used < vcpu->vm->watchdog_tsc ? vcpu->vm->watchdog_tsc - used : 0;
}

/* A sign of any vCPU's is the VM's. Exits are counted anyway, so that looking is all that it costs. */
static COLD void watch(struct vcpu *vcpu)
{
    struct vm_watch *seen = &vcpu->vm->watch[vcpu->index];
    u64 signs = virt_vm_signs_of_life(vcpu->vm);

    if (signs != seen->signs)
        *seen = (struct vm_watch){signs, vcpu->run_tsc};
    else if (!watchdog_left(vcpu))
        vm_stop(vcpu->vm, VM_STOP_WATCHDOG, "ms=%u", vcpu->vm->spec.watchdog_ms);
}

static void after_run(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    if (!vm_is_stopping(vcpu->vm) && limit_left_tsc(vcpu) == 0)
        vm_stop(vcpu->vm, VM_STOP_LIMIT, "ms=%lu", vcpu->vm->spec.limit_ms);
    if (vm_is_stopping(vcpu->vm)) {
        retire(cpu, vcpu);
        return;
    }
    if (vcpu->halted || vcpu->sleep_until_tsc) {
        trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_BLOCKED);
        sched_block(cpu, vcpu, now);
        return;
    }
    trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_PREEMPTED);
    if (vcpu->yielded && cpu->ready && vcpu->vruntime <= cpu->ready->vruntime)
        vcpu->vruntime = cpu->ready->vruntime + 1;
    vcpu->yielded = false;
    sched_place_ready(cpu, vcpu);
}

#define BUSY_NS 1000000ull /* of a window */

/* A light VM's vCPU is busy with less, but not with so little as one uses that idles. */
static u64 busy_with(const struct vm *vm)
{
    u64 weight = minimum(vm->spec.weight, VM_DEFAULT_WEIGHT);

    if (weight < VM_DEFAULT_WEIGHT / 10)
        weight = VM_DEFAULT_WEIGHT / 10;
    return busy_tsc / VM_DEFAULT_WEIGHT * weight;
}

/*
 * A vCPU that has used a millisecond of a window is busy in it and the next one; those that are share their VM's
 * weight. So a VM gets no more by having more vCPUs, and what idles takes nothing from the one that works. Two CPUs
 * that begin a window at once may lose a count of it: that of the window before still stands.
 */
static COLD void note_use(struct vcpu *vcpu, u64 used, u64 now)
{
    struct vm *vm = vcpu->vm;
    u64 window = now >> sched_window_shift;
    u64 last = __atomic_load_n(&vm->busy_window, __ATOMIC_RELAXED);

    if (last != window &&
        __atomic_compare_exchange_n(&vm->busy_window, &last, window, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        u32 count = __atomic_exchange_n(&vm->busy_vcpus, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&vm->busy_before, last + 1 == window ? count : 0, __ATOMIC_SEQ_CST);
    }
    if (vcpu->window != window) {
        vcpu->window = window;
        vcpu->window_tsc = 0;
        vcpu->is_busy = false;
    }
    vcpu->window_tsc += used;
    if (vcpu->is_busy || vcpu->window_tsc < busy_with(vm))
        return;
    vcpu->is_busy = true;
    __atomic_fetch_add(&vm->busy_vcpus, 1, __ATOMIC_SEQ_CST);
}

void sched_charge(struct vcpu *vcpu, u64 used, u64 now)
{
    vcpu->run_tsc += used;
    vcpu->period_used_tsc += used;
    if (vcpu->vm->spec.cpus > 1)
        note_use(vcpu, used, now);
    vcpu->vruntime += weighted(vcpu, used);
}

/* The current vCPU has run up to now. */
static void charge(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    sched_charge(vcpu, now - cpu->current_since_tsc, now);
    cpu->current_since_tsc = now;
}

static void run(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    u64 start = cpu_tsc();
    u64 slice = LIKELY(!cpu->sharing) ? slice_of(vcpu) : minimum(slice_of(vcpu), sharing_slice_tsc);
    if (UNLIKELY(cpu->handed_until_tsc)) { /* what is left of another's; 1: nothing */
        slice = cpu->handed_until_tsc > start ? minimum(slice, cpu->handed_until_tsc - start) : 1;
        cpu->handed_until_tsc = 0;
    }
    u64 budget = minimum(slice, allowance(vcpu, start));
    bool watched = UNLIKELY(vcpu->vm->watchdog_tsc);

    if (budget == 0 && limit_left_tsc(vcpu)) {
        vcpu->throttled = true;
        sched_block(cpu, vcpu, start);
        return;
    }
    vcpu->state = VCPU_RUNNING;
    vcpu->slices++;
    vcpu->slice_end_tsc = start + (LIKELY(!watched) ? budget : minimum(budget, watchdog_left(vcpu)));
    if (UNLIKELY(cpu->in_core))
        vcpu->slice_end_tsc = minimum(vcpu->slice_end_tsc, sched_smt_turn_end(cpu->core));
    __atomic_store_n(&cpu->current, vcpu, __ATOMIC_SEQ_CST); /* before it flushes: sched_runs() */
    cpu->current_since_tsc = start;
    machine_check_look(start);
    take_input(vcpu);
    refresh_timer(vcpu);
    if (start >= vcpu->timer_tsc)
        vm_run_timers(vcpu, start);
    sched_update_deadline(vcpu);
    if (UNLIKELY(!first_run_tsc))
        first_run_tsc = cpu_tsc();
    virt_vcpu_run(vcpu);
    u64 now = cpu_tsc();
    cpu->current = NULL;
    take_input(vcpu); /* it may be about to block: nobody would look again */
    charge(cpu, vcpu, now);
    if (watched)
        watch(vcpu);
    after_run(cpu, vcpu, now);
}

/* Who does not go into its guest now needs no core. */
static bool may_run(struct sched_cpu *cpu, const struct vcpu *vcpu, const struct smt_asker *asker, u64 *to_leave)
{
    if (vm_is_stopping(vcpu->vm) || wants_pause(vcpu))
        return true;
    cpu->in_core = sched_smt_enter(asker, vcpu->vm, vcpu == cpu->ready, to_leave);
    return cpu->in_core;
}

/* As pick(), where sibling threads run one VM only. */
static COLD struct vcpu *pick_for_core(struct sched_cpu *cpu)
{
    struct smt_asker asker = {cpu->core, cpu_id(), cpu_tsc(), sched_slice_tsc};
    u64 to_leave = 0;

    spin_lock(&cpu->lock);
    struct vcpu **at = &cpu->ready;
    while (*at && !may_run(cpu, *at, &asker, &to_leave))
        at = &(*at)->next;
    struct vcpu *vcpu = *at;
    if (vcpu) {
        if (at == &cpu->ready && vcpu->vruntime > cpu->min_vruntime)
            cpu->min_vruntime = vcpu->vruntime;
        *at = vcpu->next;
        cpu->ready_count--;
    }
    cpu->core_taken = !vcpu && cpu->ready;
    spin_unlock(&cpu->lock);
    for (; to_leave; to_leave &= to_leave - 1)
        sched_attend((u32)__builtin_ctzll(to_leave), ATTEND_CORE);
    if (!vcpu && !cpu->core_taken)
        sched_smt_give_up(&asker);
    return vcpu;
}

static struct vcpu *pick(struct sched_cpu *cpu)
{
    if (UNLIKELY(cpu->handed)) {
        struct vcpu *handed = cpu->handed;
        cpu->handed = NULL;
        if (!cpu->core)
            return handed;
        cpu->handed_until_tsc = 0;
        sched_place_ready(cpu, handed); /* it asks for the core as the others do */
    }
    if (UNLIKELY(cpu->core))
        return pick_for_core(cpu);
    spin_lock(&cpu->lock);
    struct vcpu *vcpu = cpu->ready;
    if (vcpu) {
        cpu->ready = vcpu->next;
        cpu->ready_count--;
        if (vcpu->vruntime > cpu->min_vruntime)
            cpu->min_vruntime = vcpu->vruntime;
    }
    spin_unlock(&cpu->lock);
    return vcpu;
}

/* Asks the CPU with the most waiting vCPUs for one of them. */
static void ask_for_work(void)
{
    u32 busiest = VCPU_NO_CPU;
    u32 most = 0;

    for (u32 i = 0; i < smp_cpu_count(); i++) {
        u32 count = __atomic_load_n(&sched_cpus[i].ready_count, __ATOMIC_RELAXED);
        if (i != cpu_id() && count > most) {
            most = count;
            busiest = i;
        }
    }
    if (busiest != VCPU_NO_CPU)
        sched_attend(busiest, ATTEND_PUSH);
}

static ALWAYS_INLINE bool has_work(const struct sched_cpu *cpu)
{
    return __atomic_load_n(&cpu->ready_count, __ATOMIC_SEQ_CST) || __atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&finishing, __ATOMIC_SEQ_CST) || cpu->work_due;
}

/*
 * Sleeps until an interrupt comes, at `wake_tsc` at the latest, unless there is work or one of `requests`; returns the
 * time then. The idle bit is set before the last look, and who adds or requests something kicks afterwards: no wake-up
 * is lost. A timer that has fired needs no disarming: one write less on the way to the guest.
 */
static u64 sleep_until(struct sched_cpu *cpu, u64 wake_tsc, const u32 *requests)
{
    u64 bit = BIT(cpu_id());

    __atomic_fetch_or(&sched_idle_mask, bit, __ATOMIC_SEQ_CST);
    ask_for_work();
    bool sleeps = !has_work(cpu) && !__atomic_load_n(requests, __ATOMIC_SEQ_CST);
    if (sleeps) {
        if (quirks_have(QUIRK_STI_SHADOW)) /* an interrupt may have come before the HLT */
            wake_tsc = minimum(wake_tsc, cpu_tsc() + sched_slice_tsc);
        if (wake_tsc != UINT64_MAX)
            lapic_timer_arm(wake_tsc);
        trace_event(TRACE_SLEEP, NULL, wake_tsc);
        cpu_sleep_until_interrupt();
        trace_event(TRACE_AWAKE, NULL, 0);
    }
    __atomic_fetch_and(&sched_idle_mask, ~bit, __ATOMIC_SEQ_CST);
    u64 now = cpu_tsc();
    if (sleeps && now < wake_tsc)
        lapic_timer_disarm();
    return now;
}

/*
 * The core's VM has its turn, and this CPU none of its vCPUs: until it is kicked, for a slice at most. It is not idle
 * to others, but gives away what may run elsewhere.
 */
static COLD void wait_for_core(struct sched_cpu *cpu)
{
    sched_push_work(cpu);
    if (__atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) || __atomic_load_n(&finishing, __ATOMIC_SEQ_CST))
        return;
    u64 wake_tsc = minimum(cpu->next_wake_tsc, cpu_tsc() + sched_slice_tsc);
    lapic_timer_arm(wake_tsc);
    trace_event(TRACE_SLEEP, NULL, wake_tsc);
    cpu_sleep_until_interrupt();
    trace_event(TRACE_AWAKE, NULL, 0);
    if (cpu_tsc() < wake_tsc)
        lapic_timer_disarm();
}

/* A CPU with nothing to run zeroes what ended VMs have left, a piece each time. */
static void idle(struct sched_cpu *cpu)
{
    static const u32 none;

    if (frames_clean_piece())
        return;
    if (UNLIKELY(cpu->core_taken)) {
        wait_for_core(cpu);
        return;
    }
    sleep_until(cpu, cpu->next_wake_tsc, &none);
}

/*
 * Only its own timer or limit, another vCPU of its VM or an event will wake it, and nothing else is to be done or
 * watched here meanwhile.
 */
static bool can_halt_here(const struct sched_cpu *cpu, const struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;

    return !cpu->ready && !cpu->sharing && !cpu->core && !vcpu->sleep_until_tsc &&
           (vcpu->timer_tsc != UINT64_MAX || vm->spec.cpus > 1) && !__atomic_load_n(&vcpu->pause, __ATOMIC_SEQ_CST);
}

/*
 * To everybody else the vCPU runs: who has something for it sets a request and kicks. What is not for it (a ready vCPU,
 * a sleeper that is due, the end of the VM) makes it leave its guest and block like any other. Work before the sleep
 * costs nobody anything, work after it delays the interrupt. Nobody else is ready, so its vruntime is the level here.
 */
bool sched_halt(struct vcpu *vcpu)
{
    struct sched_cpu *cpu = here();
    u64 start = cpu_tsc();

    refresh_timer(vcpu);
    if (!can_halt_here(cpu, vcpu))
        return false;
    charge(cpu, vcpu, start);
    u64 slice = minimum(sched_slice_tsc, allowance(vcpu, start)), limit_end = limit_end_tsc(vcpu, start);
    if (slice == 0)
        return false;
    if (vcpu->vruntime > cpu->min_vruntime)
        cpu->min_vruntime = vcpu->vruntime;
    cpu->halted = true;
    vcpu->wakes++; /* before the sleep: what comes after it delays the interrupt */
    trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_BLOCKED);
    if (vcpu->timer_tsc == UINT64_MAX || UNLIKELY(vcpu->halted_masked)) /* nothing of its own may wake it */
        sched_begin_halt(vcpu);
    u64 now = sleep_until(cpu, minimum(minimum(vcpu->timer_tsc, cpu->next_wake_tsc), limit_end), &vcpu->requests);
    if (UNLIKELY(vcpu->halted_counted))
        sched_end_halt(vcpu);
    cpu->halted = false;
    vcpu->slept_tsc += now - cpu->current_since_tsc;
    cpu->current_since_tsc = now;
    vcpu->slice_end_tsc = minimum(now + slice, limit_end);
    trace_event(TRACE_WAKE, vcpu, 0);
    if (now >= vcpu->timer_tsc)
        vm_run_timers(vcpu, now);
    update_deadline(cpu, vcpu);
    if (has_work(cpu) || now >= cpu->next_wake_tsc)
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    return true;
}

static void take_interrupts(void)
{
    cpu_interrupts_enable();
    cpu_pause(); /* STI's shadow covers one instruction */
    cpu_interrupts_disable();
}

/* Kicks, sleepers and what ended VMs have left, then a slice for the next vCPU. False: nobody wants this CPU. */
static ALWAYS_INLINE bool take_turn(struct sched_cpu *cpu)
{
    take_interrupts(); /* what a guest that never lets one in has held up */
    smp_mailbox_run();
    attend_here(cpu);
    u64 now = cpu_tsc();
    if (now >= cpu->next_wake_tsc)
        sched_wake_due(cpu, now);
    struct vcpu *vcpu = pick(cpu);
    if (!vcpu)
        return false;
    if (vm_is_stopping(vcpu->vm))
        retire(cpu, vcpu);
    else if (UNLIKELY(wants_pause(vcpu)))
        sched_rest(cpu, vcpu);
    else if (UNLIKELY(!may_run_here(vcpu))) /* it has been changed */
        sched_place_ready(cpu, vcpu);
    else if (UNLIKELY(cpu->core && !cpu->in_core)) /* it was to pause, until now, and so has not asked for the core */
        sched_place_ready(cpu, vcpu);
    else
        run(cpu, vcpu);
    if (UNLIKELY(cpu->in_core)) {
        cpu->in_core = false;
        sched_smt_leave(cpu->core, cpu_id());
    }
    return true;
}

/* ---- the boot CPU's work ---- */

#define WORK_TICKS      4000u /* for each vCPU of a VM that has work done: the interrupts that say that it rests */
#define OUTSIDERS_SHARE 50u   /* of the boot CPU's time, one part in so many */

static COLD void do_work(struct sched_cpu *cpu)
{
    u64 now = cpu_tsc();

    cpu->work_due = false;
    cpu->work_tsc = UINT64_MAX;
    sched_update_next_wake(cpu); /* it may take long: what is past would end each turn that it shares at once */
    working = true;
    working_since_tsc = now;
    u64 again = work(now);
    working = false;
    cpu->work_tsc = again;
    sched_update_next_wake(cpu);
}

/* On the work's own stack; what comes then finds `working` clear, so nothing of it works or shares again. */
void sched_share_cpu(void)
{
    struct sched_cpu *cpu = here();

    u64 now = cpu_tsc();
    if (cpu_id() != 0 || !working || now - working_since_tsc < work_piece_tsc)
        return;
    working = false;
    cpu->sharing = true;
    take_turn(cpu);
    cpu->sharing = false;
    working = true;
    working_since_tsc = cpu_tsc();
    shared_tsc += working_since_tsc - now;
}

u64 sched_work_clock(void)
{
    return cpu_tsc() - shared_tsc;
}

u64 sched_charge_work(struct vcpu *vcpu, u64 since)
{
    const struct vm_spec *spec = &vcpu->vm->spec;
    u64 now = cpu_tsc(), used = sched_work_clock() - since;
    u64 others = here()->load;

    sched_charge(vcpu, used, now);
    if (vcpu->home_cpu == cpu_id() || !others)
        return now;
    used += WORK_TICKS * spec->cpus;
    return now + (may_run_here(vcpu) ? used * others / spec->weight : used * OUTSIDERS_SHARE * vm_running_count());
}

void sched_request_work(void)
{
    if (UNLIKELY(!__atomic_load_n(&loops, __ATOMIC_SEQ_CST)))
        __atomic_store_n(&work_at_first, true, __ATOMIC_RELAXED);
    if (work)
        sched_attend(0, ATTEND_WORK);
}

void sched_set_work(u64 (*function)(u64 now_tsc))
{
    work = function;
}

void sched_run(void)
{
    struct sched_cpu *cpu = here();

    needs_host_timer = virt_needs_host_timer();
    if (cpu_id() == 0) {
        cpu->work_due = __atomic_load_n(&work_at_first, __ATOMIC_RELAXED);
        __atomic_store_n(&loops, true, __ATOMIC_SEQ_CST);
    }
    while (!__atomic_load_n(&finishing, __ATOMIC_SEQ_CST)) {
        if (UNLIKELY(cpu->work_due))
            do_work(cpu);
        if (!take_turn(cpu) && !cpu->work_due)
            idle(cpu);
    }
}

bool sched_runs(u32 cpu, const struct vm *vm)
{
    const struct vcpu *current = __atomic_load_n(&sched_cpus[cpu].current, __ATOMIC_SEQ_CST);

    return current && current->vm == vm;
}

u64 sched_first_run_tsc(void)
{
    return first_run_tsc;
}

void sched_shorten_slices(bool on)
{
    static u32 wishes;
    u32 left = __atomic_add_fetch(&wishes, on ? 1 : -1u, __ATOMIC_SEQ_CST);

    __atomic_store_n(&sched_slice_tsc, clock_tsc_from_ns(left ? SCHED_SHORT_SLICE_NS : SCHED_SLICE_NS),
                     __ATOMIC_RELAXED);
}

void sched_set_sibling(u32 id, u32 first)
{
    if (!sched_cpus[first].core)
        sched_cpus[first].core = sched_smt_core(first);
    sched_cpus[id].core = sched_cpus[first].core;
}

void sched_init(void)
{
    sched_slice_tsc = clock_tsc_from_ns(SCHED_SLICE_NS);
    sched_cap_period_tsc = clock_tsc_from_ns(SCHED_CAP_PERIOD_NS);
    sharing_slice_tsc = clock_tsc_from_ns(SCHED_SHARED_NS);
    work_piece_tsc = clock_tsc_from_ns(SCHED_WORK_PIECE_NS);
    sched_window_shift = 63 - (u32)__builtin_clzll(clock_tsc_from_ns(2000000000));
    busy_tsc = clock_tsc_from_ns(BUSY_NS);
    for (u32 i = 0; i < CPU_MAX; i++)
        sched_cpus[i].next_wake_tsc = sched_cpus[i].work_tsc = sched_cpus[i].report_tsc = UINT64_MAX;
    irq_set_handler(IRQ_VECTOR_KICK, kick_interrupt);
    irq_set_handler(IRQ_VECTOR_TIMER, timer_interrupt);
    irq_set_handler(IRQ_VECTOR_POSTED, posted_interrupt);
}
