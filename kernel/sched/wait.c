/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPUs that wait: in HLT or asleep until an event or a time, throttled by cap=, or paused. Only their
 * CPU touches them; it wakes them in its loop and in exits, at their time or when ATTEND_WAKE says that somebody has
 * something for one. A vCPU that slept rejoins at the queue's level, less one slice of credit, so that it answers
 * quickly and cannot hoard. Looking at one costs whoever runs here an interrupt, so that it is the sleeper's own time.
 */
#include "arch/x86/cpu.h"
#include "kernel/panic.h"
#include "kernel/sched/cpu.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

void sched_update_next_wake(struct sched_cpu *cpu)
{
    u64 next = minimum(cpu->work_tsc, cpu->report_tsc);

    cpu->next_wake_tsc = cpu->blocked.root ? minimum(cpu->blocked.root->key, next) : next;
}

static void set_wake(struct sched_cpu *cpu, struct vcpu *vcpu, u64 tsc)
{
    vcpu->wake.key = tsc;
    heap_insert(&cpu->blocked, &vcpu->wake);
    sched_update_next_wake(cpu);
}

static void change_wake(struct sched_cpu *cpu, struct vcpu *vcpu, u64 tsc)
{
    heap_remove(&cpu->blocked, &vcpu->wake);
    set_wake(cpu, vcpu, tsc);
}

/* From now on nobody announces it: sched_announce(). */
void sched_unblock(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    heap_remove(&cpu->blocked, &vcpu->wake);
    sched_update_next_wake(cpu);
    spin_lock(&cpu->lock);
    __atomic_store_n(&vcpu->state, VCPU_READY, __ATOMIC_SEQ_CST);
    if (vcpu->has_news) {
        struct vcpu **at = &cpu->news;
        while (*at != vcpu)
            at = &(*at)->news;
        *at = vcpu->news;
        vcpu->has_news = false;
    }
    spin_unlock(&cpu->lock);
}

#define LOOK_TICKS 2000u /* of the TSC: the interrupt, the exit of who runs, and the way back */

/* The sleeper pays for the look that began at `since`. */
static void charge_look(struct vcpu *vcpu, u64 since)
{
    u64 now = cpu_tsc();
    sched_charge(vcpu, now - since + LOOK_TICKS, now);
}

/*
 * A sleeper that has had its share, by its timers alone or otherwise, is looked at when it would get its turn: it is as
 * late as a vCPU that runs. If nobody else wants this CPU, it costs nobody anything.
 */
static u64 not_before_its_turn(const struct sched_cpu *cpu, struct vcpu *vcpu, u64 wake, u64 now)
{
    u64 level = cpu->min_vruntime + sched_slice_tsc; /* who runs has not been charged for its slice yet */

    if (vcpu->throttled || sched_cap_budget(vcpu, now) == 0)
        return wake > vcpu->period_tsc + sched_cap_period_tsc ? wake : vcpu->period_tsc + sched_cap_period_tsc;
    if ((!cpu->current && !cpu->ready) || vcpu->vruntime <= level)
        return wake;
    u64 late = minimum(vcpu->vruntime - level, 10 * sched_slice_tsc);
    return wake > now + late ? wake : now + late;
}

static u64 wake_time(const struct vcpu *vcpu, u64 now)
{
    u64 wake = vcpu->timer_tsc;

    if (vcpu->throttled) /* until its next period; its limit does not go on meanwhile */
        return now;
    if (vcpu->sleep_until_tsc)
        wake = minimum(wake, vcpu->sleep_until_tsc);
    return minimum(wake, limit_end_tsc(vcpu, vcpu->block_tsc));
}

static bool event_waiting(const struct vcpu *vcpu)
{
    return vcpu->nmi_waiting || (!vcpu->halted_masked && vm_interrupt_waiting(vcpu));
}

/*
 * Interrupts off, and no device can raise an NMI; or one could, but no timer runs, nobody can type, and no device can
 * speak by itself: final, unless another vCPU changes it. A debugger may send it elsewhere at any time. SDM 2A 3.2
 * "HLT - Halt"
 */
static bool is_halted_for_good(const struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;

    if (!vcpu->halted || vcpu->sleep_until_tsc || vm->has_debugger)
        return false;
    if (vcpu->halted_masked && !vm_may_raise_nmi(vm))
        return true;
    return vcpu->timer_tsc == UINT64_MAX && !__atomic_load_n(&vm->terminal, __ATOMIC_SEQ_CST) && !vm->spec.com2 &&
           !event_waiting(vcpu);
}

static void count_halted(struct vcpu *vcpu, bool for_good)
{
    if (vcpu->halted_counted == for_good)
        return;
    vcpu->halted_counted = for_good;
    if (for_good)
        vm_note_halted_forever(vcpu);
    else
        __atomic_fetch_sub(&vcpu->vm->halted_count, 1, __ATOMIC_SEQ_CST);
}

void sched_begin_halt(struct vcpu *vcpu)
{
    count_halted(vcpu, is_halted_for_good(vcpu));
}

void sched_end_halt(struct vcpu *vcpu)
{
    count_halted(vcpu, false);
}

void sched_block(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    __atomic_store_n(&vcpu->state, VCPU_BLOCKED, __ATOMIC_SEQ_CST);
    vcpu->block_tsc = now;
    refresh_timer(vcpu);
    set_wake(cpu, vcpu, not_before_its_turn(cpu, vcpu, wake_time(vcpu, now), now));
    count_halted(vcpu, is_halted_for_good(vcpu));
    /* Who still saw it running has only kicked this CPU; a SIPI's request may have been taken together with INIT's. */
    if (__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) >= VCPU_HAS_SIPI)
        vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    if (__atomic_load_n(&vcpu->requests, __ATOMIC_SEQ_CST) || wants_pause(vcpu))
        sched_announce(vcpu);
}

/* One that waits for SIPI runs when it is there, or to take the INIT that has made it wait. */
static bool is_to_start(struct vcpu *vcpu, u32 sipi)
{
    vcpu->sleep_until_tsc = 0;
    vcpu->waits_for_console = false;
    vcpu->halted = vcpu->halted_masked = true;
    return sipi >= VCPU_HAS_SIPI || !(vcpu->fresh || vcpu->init_taken);
}

/* Whether a blocked vCPU should run at `now`; fires its timers on the way. */
static bool should_wake(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    if (wants_pause(vcpu)) /* sched_run() pauses it when its turn comes */
        return true;
    if (vcpu->throttled)
        return now >= vcpu->period_tsc + sched_cap_period_tsc;
    if (now >= vcpu->timer_tsc) {
        cpu->examined = vcpu;
        vm_run_timers(vcpu, now);
        cpu->examined = NULL;
    }
    u32 sipi = __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST);
    if (UNLIKELY(sipi != VCPU_RUNS))
        return is_to_start(vcpu, sipi);
    if (vcpu->sleep_until_tsc) {
        if (now < vcpu->sleep_until_tsc && !(vcpu->waits_for_console && event_waiting(vcpu)))
            return false;
        vcpu->sleep_until_tsc = 0;
        vcpu->waits_for_console = false;
    }
    return !vcpu->halted || vcpu->nmi_waiting || (!vcpu->halted_masked && vm_interrupt_waiting(vcpu));
}

/* The running vCPU gives way if the one that woke is behind it. */
static void preempt_for(struct sched_cpu *cpu, const struct vcpu *woken, u64 now)
{
    struct vcpu *current = cpu->current;

    if (current && woken->vruntime < current->vruntime + weighted(current, now - cpu->current_since_tsc))
        vcpu_request(current, VCPU_REQUEST_RESCHEDULE);
}

/* It was away and is ready now. */
static void rejoin(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    u64 credit = weighted(vcpu, slice_of(vcpu));
    u64 floor = cpu->min_vruntime > credit ? cpu->min_vruntime - credit : 0;

    if (vcpu->vruntime < floor)
        vcpu->vruntime = floor;
    sched_place_ready(cpu, vcpu);
    if (vcpu->home_cpu == cpu_id())
        preempt_for(cpu, vcpu, now);
}

static void wake(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    sched_unblock(cpu, vcpu);
    trace_event(TRACE_WAKE, vcpu, 0);
    vcpu->wakes++;
    if (!vcpu->throttled)
        vcpu->slept_tsc += now - vcpu->block_tsc;
    vcpu->throttled = false;
    count_halted(vcpu, false);
    rejoin(cpu, vcpu, now);
}

static bool limit_reached(struct vcpu *vcpu, u64 now)
{
    return !vcpu->throttled && now >= limit_end_tsc(vcpu, vcpu->block_tsc);
}

/* One that is due or has news. It stays where it is for a while, or it wakes. */
static void look_at(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    if (vm_is_stopping(vcpu->vm)) {
        change_wake(cpu, vcpu, UINT64_MAX); /* reap takes it */
        return;
    }
    if (limit_reached(vcpu, now)) {
        vm_stop(vcpu->vm, VM_STOP_LIMIT, "ms=%lu", vcpu->vm->spec.limit_ms);
        change_wake(cpu, vcpu, UINT64_MAX);
        return;
    }
    /* The request stands meanwhile, so that nobody kicks this CPU for another one. */
    u64 turn = not_before_its_turn(cpu, vcpu, now, now);
    if (turn > now && !wants_pause(vcpu)) {
        change_wake(cpu, vcpu, turn);
        return;
    }
    if (__atomic_load_n(&vcpu->requests, __ATOMIC_SEQ_CST))
        __atomic_store_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);
    take_input(vcpu);
    u64 since = cpu_tsc();
    bool wakes = should_wake(cpu, vcpu, now);
    charge_look(vcpu, since);
    if (wakes) {
        wake(cpu, vcpu, now);
        return;
    }
    refresh_timer(vcpu);
    u64 next = not_before_its_turn(cpu, vcpu, wake_time(vcpu, now), now);
    change_wake(cpu, vcpu, next > now ? next : now + 1); /* the others that are due come first */
    count_halted(vcpu, is_halted_for_good(vcpu));
}

static struct vcpu *take_news(struct sched_cpu *cpu)
{
    spin_lock(&cpu->lock);
    struct vcpu *vcpu = cpu->news;
    if (vcpu) {
        cpu->news = vcpu->news;
        vcpu->has_news = false;
    }
    spin_unlock(&cpu->lock);
    return vcpu;
}

#define MOST_NEWS 64u /* at once: other CPUs may go on announcing */

/* The rest of the news comes with the next turn of the loop, or exit. */
static void look_at_news(struct sched_cpu *cpu, u64 now)
{
    for (u32 n = 0; n < MOST_NEWS; n++) {
        struct vcpu *vcpu = take_news(cpu);
        if (!vcpu)
            return;
        look_at(cpu, vcpu, now);
    }
    sched_attend(cpu_id(), ATTEND_WAKE);
}

void sched_wake_due(struct sched_cpu *cpu, u64 now)
{
    if (UNLIKELY(now >= cpu->work_tsc)) {
        cpu->work_tsc = UINT64_MAX;
        cpu->work_due = true;
        sched_update_next_wake(cpu);
    }
    if (UNLIKELY(now >= cpu->report_tsc)) {
        cpu->report_tsc = UINT64_MAX;
        sched_update_next_wake(cpu);
        sched_attend(cpu_id(), ATTEND_REAP);
    }
    look_at_news(cpu, now);
    while (cpu->blocked.root && cpu->blocked.root->key <= now)
        look_at(cpu, vcpu_of_wake(cpu->blocked.root), now);
}

/* ---- pausing ---- */

/* The VMCS is clear, or nobody is in an exit: whoever holds the VM may read all of the vCPU from now on. */
static void rest_for_holder(struct vcpu *vcpu)
{
    virt_vcpu_detach(vcpu);
    __atomic_store_n(&vcpu->rests, true, __ATOMIC_SEQ_CST);
    sched_request_work();
}

void sched_rest(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->state, VCPU_PAUSED, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->let_go, false, __ATOMIC_SEQ_CST);
    vcpu->next = cpu->paused;
    cpu->paused = vcpu;
    vcpu->debugged = debugger_wants_pause(vcpu);
    if (vcpu->debugged)
        vcpu->vm->watcher->paused(vcpu);
    if (__atomic_load_n(&vcpu->held, __ATOMIC_SEQ_CST))
        rest_for_holder(vcpu);
    else /* whoever held it may have let go of it just before it was in the list */
        __atomic_fetch_or(&cpu->attention, ATTEND_UNPAUSE, __ATOMIC_SEQ_CST);
}

/*
 * True: it goes on. One that is held, and that the debugger lets go or now wants, too, goes round once: only when its
 * turn comes may its VMCS be loaded for the debugger.
 */
static bool ends_rest(struct vcpu *vcpu)
{
    bool new_pause = !vcpu->debugged && debugger_wants_pause(vcpu);
    bool let_go = __atomic_exchange_n(&vcpu->let_go, false, __ATOMIC_SEQ_CST);
    bool held = __atomic_load_n(&vcpu->held, __ATOMIC_SEQ_CST);

    let_go |= new_pause || !wants_pause(vcpu);
    if (!held || let_go)
        __atomic_store_n(&vcpu->rests, false, __ATOMIC_SEQ_CST);
    else if (!vcpu->rests)
        rest_for_holder(vcpu);
    return let_go;
}

void sched_unrest(struct sched_cpu *cpu)
{
    struct vcpu *next;
    u64 now = cpu_tsc();

    for (struct vcpu *v = cpu->paused; v; v = next) {
        next = v->next;
        if (!ends_rest(v))
            continue;
        CHECK(remove_from(&cpu->paused, v));
        vcpu_request(v, VCPU_REQUEST_EVENT); /* whether something has come meanwhile is looked at now */
        if (UNLIKELY(!may_run_here(v))) { /* where it comes to, it leaves its guest at once, and blocks if it waits */
            vcpu_request(v, VCPU_REQUEST_RESCHEDULE);
            rejoin(cpu, v, now);
        } else if (v->halted || v->sleep_until_tsc)
            sched_block(cpu, v, now);
        else
            rejoin(cpu, v, now);
    }
}

static void tell_home(struct vcpu *vcpu, u32 bits)
{
    if (vcpu->home_cpu == VCPU_NO_CPU)
        return;
    if (bits & ATTEND_WAKE)
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    sched_attend(vcpu->home_cpu, bits & ~ATTEND_WAKE);
    if (bits & ATTEND_WAKE)
        sched_announce(vcpu);
}

void sched_pause(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->pause, VCPU_PAUSE_NOW, __ATOMIC_SEQ_CST);
    tell_home(vcpu, ATTEND_WAKE | ATTEND_UNPAUSE);
}

void sched_unpause(struct vcpu *vcpu, enum vcpu_pause then)
{
    __atomic_store_n(&vcpu->pause, then, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->let_go, true, __ATOMIC_SEQ_CST);
    tell_home(vcpu, ATTEND_UNPAUSE);
}

/*
 * One that the debugger has paused rests already: its home CPU says so. One that has just been let go may not know it
 * yet, so that what it said before counts no more.
 */
void sched_hold(struct vcpu *vcpu)
{
    if (!__atomic_exchange_n(&vcpu->held, true, __ATOMIC_SEQ_CST))
        __atomic_store_n(&vcpu->rests, false, __ATOMIC_SEQ_CST);
    tell_home(vcpu, ATTEND_WAKE | ATTEND_UNPAUSE);
}

void sched_release(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->held, false, __ATOMIC_SEQ_CST);
    tell_home(vcpu, ATTEND_UNPAUSE);
}
