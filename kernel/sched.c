/*
 * The scheduler. Each CPU runs sched_run() and is the only one to pick, block and retire its vCPUs; other CPUs add
 * ready vCPUs under the queue's lock and ask for attention by a bit and a kick. Interrupts come only in idle HLT and as
 * VM exits, so handlers always find the queues consistent.
 *
 * Fairness: vruntime grows by run time * 100 / weight; the smallest runs next. A vCPU that slept rejoins at the queue's
 * level, less one slice of credit, so that it answers quickly and cannot hoard.
 */
#include "kernel/sched.h"
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/gdb/stub.h"
#include "kernel/panic.h"
#include "kernel/trace.h"
#include "kernel/virt.h"

#define ATTEND_WAKE    1u /* a blocked vCPU here has a request */
#define ATTEND_REAP    2u /* a VM with vCPUs here is stopping */
#define ATTEND_PUSH    4u /* an idle CPU asks for work */
#define ATTEND_UNPAUSE 8u /* the debugger lets a paused vCPU here go on */

struct sched_cpu {
    struct spinlock lock; /* ready, ready_count, load */
    struct vcpu *ready;   /* sorted by vruntime */
    u32 ready_count;
    u32 load;                    /* sum of weights of the vCPUs whose home this is */
    struct vcpu *blocked;        /* owner only */
    struct vcpu *paused;         /* owner only */
    struct vcpu *current;        /* owner writes */
    bool halted;                 /* current is in HLT, and this CPU sleeps until it wakes: sched_halt() */
    const struct vcpu *examined; /* a blocked one whose timers fire, before the owner asks whether it wakes */
    u64 current_since_tsc;
    u64 min_vruntime;
    u64 next_wake_tsc; /* the earliest wake_tsc of blocked */
    u32 attention;     /* atomic ATTEND_ bits */
} ALIGNED(64);

static struct sched_cpu cpus[CPU_MAX];
static u64 idle_mask; /* atomic; bit n: CPU n sleeps or is about to */
static bool finishing;
static bool needs_host_timer; /* what virt_needs_host_timer() says */
static u64 slice_tsc, cap_period_tsc;
static u64 first_run_tsc; /* atomic */

static struct sched_cpu *here(void)
{
    return &cpus[cpu_id()];
}

static u64 minimum(u64 a, u64 b)
{
    return a < b ? a : b;
}

static u64 weighted(const struct vcpu *vcpu, u64 tsc)
{
    return tsc * VM_DEFAULT_WEIGHT / vcpu->vm->spec.weight;
}

static void kick(u32 id, const struct vcpu *vcpu)
{
    trace_event(TRACE_KICK, vcpu, id);
    smp_kick(id);
}

/* Wakes CPU `id` or makes it exit, and gives it a reason. */
static void attend(u32 id, u32 bits)
{
    __atomic_fetch_or(&cpus[id].attention, bits, __ATOMIC_SEQ_CST);
    if (id != cpu_id())
        kick(id, NULL);
    else if (bits && cpus[id].current) /* sched_run() looks at it, not at the end of the slice */
        vcpu_request(cpus[id].current, VCPU_REQUEST_RESCHEDULE);
}

/* ---- queues ---- */

static void insert_ready(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    struct vcpu **at = &cpu->ready;

    spin_lock(&cpu->lock);
    while (*at && (*at)->vruntime <= vcpu->vruntime)
        at = &(*at)->next;
    vcpu->next = *at;
    *at = vcpu;
    cpu->ready_count++;
    vcpu->state = VCPU_READY;
    spin_unlock(&cpu->lock);
}

static bool remove_from(struct vcpu **list, const struct vcpu *vcpu)
{
    for (; *list; list = &(*list)->next) {
        if (*list == vcpu) {
            *list = vcpu->next;
            return true;
        }
    }
    return false;
}

/* Both queues' levels differ, so what travels is the distance from the level. */
static void move_home(struct vcpu *vcpu, u32 to)
{
    struct sched_cpu *target = &cpus[to];

    if (vcpu->home_cpu != VCPU_NO_CPU) {
        struct sched_cpu *source = &cpus[vcpu->home_cpu];
        u64 ahead = vcpu->vruntime > source->min_vruntime ? vcpu->vruntime - source->min_vruntime : 0;
        __atomic_fetch_sub(&source->load, vcpu->vm->spec.weight, __ATOMIC_RELAXED);
        virt_vcpu_detach(vcpu);
        vcpu->migrations++;
        trace_event(TRACE_MIGRATE, vcpu, to);
        vcpu->vruntime = target->min_vruntime + ahead;
    } else {
        vcpu->vruntime = target->min_vruntime;
    }
    __atomic_fetch_add(&target->load, vcpu->vm->spec.weight, __ATOMIC_RELAXED);
    vcpu->home_cpu = to;
    insert_ready(target, vcpu);
    attend(to, 0);
}

/* Somebody computes here, so who becomes ready would have to wait. */
static bool is_busy(const struct sched_cpu *cpu)
{
    return cpu->current && !cpu->halted;
}

static u32 idle_cpu_for(const struct vcpu *vcpu)
{
    u64 mask = __atomic_load_n(&idle_mask, __ATOMIC_SEQ_CST) & vcpu->vm->spec.affinity & ~BIT(cpu_id());
    return mask ? (u32)__builtin_ctzll(mask) : VCPU_NO_CPU;
}

/* A vCPU of this CPU is ready: keep it, or give it away where this CPU has something else to do. */
static void place_ready(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    u32 idle = is_busy(cpu) || cpu->ready ? idle_cpu_for(vcpu) : VCPU_NO_CPU;

    if (idle != VCPU_NO_CPU && !__atomic_load_n(&cpus[idle].ready_count, __ATOMIC_SEQ_CST))
        move_home(vcpu, idle);
    else
        insert_ready(cpu, vcpu);
}

/* An idle CPU has asked: give it the first waiting vCPU that may run there. */
static void push_work(struct sched_cpu *cpu)
{
    struct vcpu *found = NULL;

    if (!is_busy(cpu) && cpu->ready_count < 2)
        return;
    spin_lock(&cpu->lock);
    for (struct vcpu *v = cpu->ready; v && !found; v = v->next)
        if (idle_cpu_for(v) != VCPU_NO_CPU)
            found = v;
    if (found) {
        remove_from(&cpu->ready, found);
        cpu->ready_count--;
    }
    spin_unlock(&cpu->lock);
    if (!found)
        return;
    u32 idle = idle_cpu_for(found);
    if (idle != VCPU_NO_CPU)
        move_home(found, idle);
    else
        insert_ready(cpu, found);
}

/* ---- blocking and waking ---- */

static ALWAYS_INLINE void refresh_timer(struct vcpu *vcpu)
{
    u64 next_ns = vcpu->timers.next_ns;

    if (next_ns == vcpu->timer_ns)
        return;
    vcpu->timer_ns = next_ns;
    vcpu->timer_tsc = vm_tsc_of_ns(vcpu->vm, next_ns); /* VTIMER_NEVER: UINT64_MAX */
}

/* limit=: time in the guest or asleep by its own will; waiting for a CPU does not count. */
static u64 limit_left_tsc(const struct vcpu *vcpu)
{
    u64 used = vcpu->run_tsc + vcpu->slept_tsc;
    u64 limit = vcpu->vm->limit_tsc;

    if (limit == UINT64_MAX)
        return UINT64_MAX;
    return used < limit ? limit - used : 0;
}

static void update_next_wake(struct sched_cpu *cpu)
{
    cpu->next_wake_tsc = UINT64_MAX;
    for (const struct vcpu *v = cpu->blocked; v; v = v->next)
        cpu->next_wake_tsc = minimum(cpu->next_wake_tsc, v->wake_tsc);
}

static u64 wake_time(const struct vcpu *vcpu)
{
    u64 wake = vcpu->timer_tsc;
    u64 left = limit_left_tsc(vcpu);

    if (vcpu->throttled) /* its limit does not go on meanwhile */
        return vcpu->period_tsc + cap_period_tsc;
    if (vcpu->sleep_until_tsc)
        wake = minimum(wake, vcpu->sleep_until_tsc);
    if (left != UINT64_MAX)
        wake = minimum(wake, vcpu->block_tsc + left);
    return wake;
}

static bool event_waiting(const struct vcpu *vcpu)
{
    return vm_interrupt_waiting(vcpu) || vcpu->nmi_waiting;
}

/* Interrupts off; or on, but no timer runs and no device can speak by itself: final, unless another vCPU changes it. */
static bool is_halted_for_good(const struct vcpu *vcpu)
{
    if (!vcpu->halted || vcpu->sleep_until_tsc)
        return false;
    return vcpu->halted_forever || (vcpu->timer_tsc == UINT64_MAX && !event_waiting(vcpu));
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

static ALWAYS_INLINE bool wants_pause(const struct vcpu *vcpu)
{
    u8 pause = __atomic_load_n(&vcpu->pause, __ATOMIC_SEQ_CST);
    return UNLIKELY(pause) && (pause == VCPU_PAUSE_NOW || vcpu->halted);
}

static void block(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    __atomic_store_n(&vcpu->state, VCPU_BLOCKED, __ATOMIC_SEQ_CST);
    vcpu->block_tsc = now;
    refresh_timer(vcpu);
    vcpu->wake_tsc = wake_time(vcpu);
    vcpu->next = cpu->blocked;
    cpu->blocked = vcpu;
    update_next_wake(cpu);
    count_halted(vcpu, is_halted_for_good(vcpu));
    /* Who still saw it running has only kicked this CPU; a SIPI's request may have been taken together with INIT's. */
    if (__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) >= VCPU_HAS_SIPI)
        vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    if (__atomic_load_n(&vcpu->requests, __ATOMIC_SEQ_CST) || wants_pause(vcpu))
        __atomic_fetch_or(&cpu->attention, ATTEND_WAKE, __ATOMIC_SEQ_CST);
}

/* What was typed for a VM goes into its devices on a CPU of its own: here. */
static void take_input(const struct vcpu *vcpu)
{
    if (UNLIKELY(__atomic_load_n(&vcpu->vm->input_waiting, __ATOMIC_SEQ_CST)))
        vm_take_input(vcpu->vm);
}

/* Whether a blocked vCPU should run at `now`; fires its timers on the way. */
static bool should_wake(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    if (wants_pause(vcpu)) /* sched_run() pauses it when its turn comes */
        return true;
    if (vcpu->throttled)
        return now >= vcpu->period_tsc + cap_period_tsc;
    if (now >= vcpu->timer_tsc) {
        cpu->examined = vcpu;
        vm_run_timers(vcpu, now);
        cpu->examined = NULL;
    }
    if (vcpu->sleep_until_tsc) {
        if (now < vcpu->sleep_until_tsc)
            return false;
        vcpu->sleep_until_tsc = 0;
    }
    u32 sipi = __atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST);
    if (sipi != VCPU_RUNS) {
        vcpu->halted = vcpu->halted_forever = true;
        return sipi >= VCPU_HAS_SIPI;
    }
    return !vcpu->halted || vcpu->nmi_waiting || (!vcpu->halted_forever && vm_interrupt_waiting(vcpu));
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
    u64 credit = weighted(vcpu, slice_tsc);
    u64 floor = cpu->min_vruntime > credit ? cpu->min_vruntime - credit : 0;

    if (vcpu->vruntime < floor)
        vcpu->vruntime = floor;
    place_ready(cpu, vcpu);
    if (vcpu->home_cpu == cpu_id())
        preempt_for(cpu, vcpu, now);
}

static void wake(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    CHECK(remove_from(&cpu->blocked, vcpu));
    trace_event(TRACE_WAKE, vcpu, 0);
    if (!vcpu->throttled)
        vcpu->slept_tsc += now - vcpu->block_tsc;
    vcpu->throttled = false;
    count_halted(vcpu, false);
    rejoin(cpu, vcpu, now);
}

static bool limit_reached(struct vcpu *vcpu, u64 now)
{
    u64 left = limit_left_tsc(vcpu);
    return left != UINT64_MAX && !vcpu->throttled && now - vcpu->block_tsc >= left;
}

/* Looks at every blocked vCPU that is due or has a request. */
static void wake_due(struct sched_cpu *cpu, u64 now)
{
    struct vcpu *next;

    for (struct vcpu *v = cpu->blocked; v; v = next) {
        next = v->next;
        bool requested = __atomic_load_n(&v->requests, __ATOMIC_SEQ_CST) || wants_pause(v);
        if (!requested && now < v->wake_tsc)
            continue;
        if (vm_is_stopping(v->vm))
            continue; /* reap takes it */
        if (limit_reached(v, now)) {
            vm_stop(v->vm, VM_STOP_LIMIT, "ms=%lu", v->vm->spec.limit_ms);
            continue;
        }
        if (requested)
            __atomic_store_n(&v->requests, 0, __ATOMIC_SEQ_CST);
        take_input(v);
        if (should_wake(cpu, v, now)) {
            wake(cpu, v, now);
            continue;
        }
        refresh_timer(v);
        v->wake_tsc = wake_time(v);
        count_halted(v, is_halted_for_good(v));
    }
    update_next_wake(cpu);
}

/* ---- pausing ---- */

/* Its turn has come, but the debugger wants it: no vCPU of this CPU is in an exit, so its VMCS may be loaded. */
static COLD void pause(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->state, VCPU_PAUSED, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->let_go, false, __ATOMIC_SEQ_CST);
    vcpu->next = cpu->paused;
    cpu->paused = vcpu;
    gdb_stub_paused(vcpu);
}

static COLD void unpause(struct sched_cpu *cpu)
{
    struct vcpu *next;
    u64 now = cpu_tsc();

    for (struct vcpu *v = cpu->paused; v; v = next) {
        next = v->next;
        if (!__atomic_exchange_n(&v->let_go, false, __ATOMIC_SEQ_CST))
            continue;
        CHECK(remove_from(&cpu->paused, v));
        vcpu_request(v, VCPU_REQUEST_EVENT); /* whether something has come meanwhile is looked at now */
        if (v->halted || v->sleep_until_tsc)
            block(cpu, v, now);
        else
            rejoin(cpu, v, now);
    }
}

void sched_pause(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->pause, VCPU_PAUSE_NOW, __ATOMIC_SEQ_CST);
    if (vcpu->home_cpu == VCPU_NO_CPU)
        return;
    vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    attend(vcpu->home_cpu, ATTEND_WAKE);
}

void sched_unpause(struct vcpu *vcpu, enum vcpu_pause then)
{
    __atomic_store_n(&vcpu->pause, then, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->let_go, true, __ATOMIC_SEQ_CST);
    if (vcpu->home_cpu != VCPU_NO_CPU)
        attend(vcpu->home_cpu, ATTEND_UNPAUSE);
}

/* ---- stopping ---- */

static void retire(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    __atomic_fetch_sub(&cpu->load, vcpu->vm->spec.weight, __ATOMIC_RELAXED);
    vcpu->state = VCPU_STOPPED;
    vm_retire_vcpu(vcpu);
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

static void reap(struct sched_cpu *cpu)
{
    struct vcpu *vcpu;

    do {
        spin_lock(&cpu->lock);
        vcpu = take_stopping(&cpu->ready);
        if (vcpu)
            cpu->ready_count--;
        spin_unlock(&cpu->lock);
        if (!vcpu)
            vcpu = take_stopping(&cpu->blocked);
        if (!vcpu)
            vcpu = take_stopping(&cpu->paused);
        if (vcpu)
            retire(cpu, vcpu);
    } while (vcpu);
    update_next_wake(cpu);
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
        unpause(cpu);
    if (bits & ATTEND_WAKE)
        wake_due(cpu, cpu_tsc());
    if (bits & ATTEND_PUSH)
        push_work(cpu);
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
        attend(home, ATTEND_REAP);
        if (home == cpu_id())
            vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    }
}

void sched_finish(void)
{
    __atomic_store_n(&finishing, true, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < smp_cpu_count(); i++)
        attend(i, 0);
}

/* ---- running ---- */

/* Room in this period under cap=, which is percent of one CPU for the whole VM: each vCPU has its share. */
static u64 cap_budget(struct vcpu *vcpu, u64 now)
{
    const struct vm_spec *spec = &vcpu->vm->spec;

    if (!spec->cap_percent)
        return UINT64_MAX;
    if (now - vcpu->period_tsc >= cap_period_tsc) {
        vcpu->period_tsc = now;
        vcpu->period_used_tsc = 0;
    }
    u64 budget = cap_period_tsc * spec->cap_percent / (100 * spec->cpus);
    return vcpu->period_used_tsc < budget ? budget - vcpu->period_used_tsc : 0;
}

static ALWAYS_INLINE void update_deadline(struct vcpu *vcpu)
{
    refresh_timer(vcpu);
    vcpu->deadline_tsc = minimum(minimum(vcpu->slice_end_tsc, here()->next_wake_tsc), vcpu->timer_tsc);
    if (UNLIKELY(needs_host_timer))
        lapic_timer_arm(vcpu->deadline_tsc);
}

void sched_update_deadline(struct vcpu *vcpu)
{
    update_deadline(vcpu);
}

/* Something else than the vCPU's own timers is due: other vCPUs, or the end of the slice. */
static COLD void other_deadlines(struct vcpu *vcpu, u64 now)
{
    struct sched_cpu *cpu = here();

    if (now >= cpu->next_wake_tsc)
        wake_due(cpu, now);
    if (now >= vcpu->slice_end_tsc)
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
    update_deadline(vcpu);
}

static void after_run(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    if (vm_is_stopping(vcpu->vm)) {
        retire(cpu, vcpu);
        return;
    }
    if (limit_left_tsc(vcpu) == 0) {
        vm_stop(vcpu->vm, VM_STOP_LIMIT, "ms=%lu", vcpu->vm->spec.limit_ms);
        retire(cpu, vcpu);
        return;
    }
    if (vcpu->halted || vcpu->sleep_until_tsc) {
        trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_BLOCKED);
        block(cpu, vcpu, now);
        return;
    }
    trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_PREEMPTED);
    if (vcpu->yielded && cpu->ready && vcpu->vruntime <= cpu->ready->vruntime)
        vcpu->vruntime = cpu->ready->vruntime + 1;
    vcpu->yielded = false;
    place_ready(cpu, vcpu);
}

/* The current vCPU has run up to now. */
static void charge(struct sched_cpu *cpu, struct vcpu *vcpu, u64 now)
{
    u64 ran = now - cpu->current_since_tsc;

    vcpu->run_tsc += ran;
    vcpu->period_used_tsc += ran;
    vcpu->vruntime += weighted(vcpu, ran);
    cpu->current_since_tsc = now;
}

static void run(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    u64 start = cpu_tsc();
    u64 budget = minimum(minimum(slice_tsc, limit_left_tsc(vcpu)), cap_budget(vcpu, start));

    if (budget == 0 && limit_left_tsc(vcpu)) {
        vcpu->throttled = true;
        block(cpu, vcpu, start);
        return;
    }
    vcpu->state = VCPU_RUNNING;
    vcpu->slices++;
    vcpu->slice_end_tsc = start + budget;
    cpu->current = vcpu;
    cpu->current_since_tsc = start;
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
    after_run(cpu, vcpu, now);
}

static struct vcpu *pick(struct sched_cpu *cpu)
{
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
        u32 count = __atomic_load_n(&cpus[i].ready_count, __ATOMIC_RELAXED);
        if (i != cpu_id() && count > most) {
            most = count;
            busiest = i;
        }
    }
    if (busiest != VCPU_NO_CPU)
        attend(busiest, ATTEND_PUSH);
}

static ALWAYS_INLINE bool has_work(const struct sched_cpu *cpu)
{
    return __atomic_load_n(&cpu->ready_count, __ATOMIC_SEQ_CST) || __atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) ||
           __atomic_load_n(&finishing, __ATOMIC_SEQ_CST);
}

/*
 * Sleeps until an interrupt comes, at `wake_tsc` at the latest, unless there is work or one of `requests`; returns the
 * time then. The idle bit is set before the last look, and who adds or requests something kicks afterwards: no wake-up
 * is lost. A timer that has fired needs no disarming: one write less on the way to the guest.
 */
static u64 sleep_until(struct sched_cpu *cpu, u64 wake_tsc, const u32 *requests)
{
    u64 bit = BIT(cpu_id());

    __atomic_fetch_or(&idle_mask, bit, __ATOMIC_SEQ_CST);
    ask_for_work();
    bool sleeps = !has_work(cpu) && !(__atomic_load_n(requests, __ATOMIC_SEQ_CST) & ~VCPU_REQUEST_NO_TIMER);
    if (sleeps) {
        if (wake_tsc != UINT64_MAX)
            lapic_timer_arm(wake_tsc);
        trace_event(TRACE_SLEEP, NULL, wake_tsc);
        cpu_sleep_until_interrupt();
        trace_event(TRACE_AWAKE, NULL, 0);
    }
    __atomic_fetch_and(&idle_mask, ~bit, __ATOMIC_SEQ_CST);
    u64 now = cpu_tsc();
    if (sleeps && now < wake_tsc)
        lapic_timer_disarm();
    return now;
}

static void idle(struct sched_cpu *cpu)
{
    static const u32 none;
    sleep_until(cpu, cpu->next_wake_tsc, &none);
}

/* Only its own timer or an event will wake it, and nothing else is to be done or watched here meanwhile. */
static bool can_halt_here(const struct sched_cpu *cpu, const struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;

    return !cpu->ready && !vcpu->halted_forever && !vcpu->sleep_until_tsc && vcpu->timer_tsc != UINT64_MAX &&
           vm->limit_tsc == UINT64_MAX && !vm->spec.cap_percent && !__atomic_load_n(&vcpu->pause, __ATOMIC_SEQ_CST);
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
    if (vcpu->vruntime > cpu->min_vruntime)
        cpu->min_vruntime = vcpu->vruntime;
    cpu->halted = true;
    trace_event(TRACE_LEAVE, vcpu, TRACE_LEAVE_BLOCKED);
    u64 now = sleep_until(cpu, minimum(vcpu->timer_tsc, cpu->next_wake_tsc), &vcpu->requests);
    cpu->halted = false;
    trace_event(TRACE_WAKE, vcpu, 0);
    vcpu->slept_tsc += now - start;
    cpu->current_since_tsc = now;
    vcpu->slice_end_tsc = now + slice_tsc;
    if (now >= vcpu->timer_tsc)
        vm_run_timers(vcpu, now);
    update_deadline(vcpu);
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

void sched_run(void)
{
    struct sched_cpu *cpu = here();

    needs_host_timer = virt_needs_host_timer();
    while (!__atomic_load_n(&finishing, __ATOMIC_SEQ_CST)) {
        take_interrupts(); /* what a guest that never lets one in has held up */
        smp_mailbox_run();
        attend_here(cpu);
        u64 now = cpu_tsc();
        if (now >= cpu->next_wake_tsc)
            wake_due(cpu, now);
        struct vcpu *vcpu = pick(cpu);
        if (!vcpu)
            idle(cpu);
        else if (vm_is_stopping(vcpu->vm))
            retire(cpu, vcpu);
        else if (UNLIKELY(wants_pause(vcpu)))
            pause(cpu, vcpu);
        else
            run(cpu, vcpu);
    }
}

u64 sched_first_run_tsc(void)
{
    return first_run_tsc;
}

void sched_add(struct vcpu *vcpu)
{
    u32 best = VCPU_NO_CPU;

    for (u32 i = 0; i < smp_cpu_count(); i++) {
        if (!(vcpu->vm->spec.affinity >> i & 1))
            continue;
        if (best == VCPU_NO_CPU || cpus[i].load < cpus[best].load)
            best = i;
    }
    CHECK(best != VCPU_NO_CPU);
    move_home(vcpu, best);
}

/* It does not run here. */
static NOINLINE void notify_away(struct vcpu *vcpu, u32 requests)
{
    if (here()->examined == vcpu)
        return;
    u32 before = __atomic_fetch_or(&vcpu->requests, requests, __ATOMIC_SEQ_CST);
    if (vcpu->home_cpu == VCPU_NO_CPU)
        return;
    /*
     * A ready vCPU looks at its requests when its turn comes, and a request that still stands has been announced:
     * without these two a guest could make its other vCPU's CPU, which may run somebody else, take an interrupt for
     * each of its own exits. (What notify_by_posting() has left standing has announced nothing that needs an exit.)
     */
    enum vcpu_state state = __atomic_load_n(&vcpu->state, __ATOMIC_SEQ_CST);
    bool announced = (before & requests) == requests && !(state == VCPU_RUNNING && vcpu->posted.notification);
    if (announced || state == VCPU_READY)
        return;
    if (state == VCPU_RUNNING)
        kick(vcpu->home_cpu, vcpu);
    else
        attend(vcpu->home_cpu, ATTEND_WAKE);
}

/*
 * As notify_away(), but in its guest the notification vector reaches it without an exit. The request stands then until
 * its next exit, and so does not tell whether a notification is on its way: ON does. Where the vCPU is, is asked after
 * ON is set: whoever loads it somewhere else later sees that.
 */
static COLD void notify_by_posting(struct vcpu *vcpu)
{
    if (here()->examined == vcpu)
        return;
    u32 before = __atomic_fetch_or(&vcpu->requests, VCPU_REQUEST_EVENT, __ATOMIC_SEQ_CST);
    enum vcpu_state state = __atomic_load_n(&vcpu->state, __ATOMIC_SEQ_CST);
    if (state == VCPU_RUNNING) {
        if (posted_notify(&vcpu->posted))
            smp_notify_posted(__atomic_load_n(&vcpu->home_cpu, __ATOMIC_SEQ_CST));
    } else if (state == VCPU_BLOCKED && !(before & VCPU_REQUEST_EVENT)) {
        attend(vcpu->home_cpu, ATTEND_WAKE);
    }
}

void sched_notify_posted(struct vcpu *vcpu)
{
    if (LIKELY(here()->current == vcpu))
        vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    else if (UNLIKELY(vcpu->posted.notification))
        notify_by_posting(vcpu);
    else
        notify_away(vcpu, VCPU_REQUEST_EVENT);
}

void sched_notify(struct vcpu *vcpu, u32 requests)
{
    if (LIKELY(here()->current == vcpu))
        vcpu_request(vcpu, requests);
    else
        notify_away(vcpu, requests);
}

void sched_shorten_slices(void)
{
    slice_tsc = clock_tsc_from_ns(SCHED_DEBUG_SLICE_NS);
}

void sched_init(void)
{
    slice_tsc = clock_tsc_from_ns(SCHED_SLICE_NS);
    cap_period_tsc = clock_tsc_from_ns(SCHED_CAP_PERIOD_NS);
    for (u32 i = 0; i < CPU_MAX; i++)
        cpus[i].next_wake_tsc = UINT64_MAX;
    irq_set_handler(IRQ_VECTOR_KICK, kick_interrupt);
    irq_set_handler(IRQ_VECTOR_TIMER, timer_interrupt);
    irq_set_handler(IRQ_VECTOR_POSTED, posted_interrupt);
}
