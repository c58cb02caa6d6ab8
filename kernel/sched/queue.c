/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which CPU a vCPU belongs to, and how other CPUs tell it something. Of a CPU's own, others change only its queue of
 * ready vCPUs, under its lock, and its load, atomically; for everything else they set a bit and kick.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/smp.h"
#include "kernel/panic.h"
#include "kernel/sched/cpu.h"
#include "kernel/sched/smt.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

static void kick(u32 id, const struct vcpu *vcpu)
{
    trace_event(TRACE_KICK, vcpu, id);
    smp_kick(id);
}

void sched_attend(u32 id, u32 bits)
{
    __atomic_fetch_or(&sched_cpus[id].attention, bits, __ATOMIC_SEQ_CST);
    if (id != cpu_id())
        kick(id, NULL);
    else if (bits && sched_cpus[id].current) /* sched_run() looks at it, not at the end of the slice */
        vcpu_request(sched_cpus[id].current, VCPU_REQUEST_RESCHEDULE);
}

/*
 * The state is looked at under the lock of the home that was seen: a vCPU that has become another CPU's by then is not
 * blocked (who blocks or moves one looks at its requests afterwards), or it is, and then that CPU has seen them.
 */
void sched_announce(struct vcpu *vcpu)
{
    u32 home = __atomic_load_n(&vcpu->home_cpu, __ATOMIC_SEQ_CST);
    struct sched_cpu *cpu = &sched_cpus[home];

    spin_lock(&cpu->lock);
    bool blocked = __atomic_load_n(&vcpu->state, __ATOMIC_SEQ_CST) == VCPU_BLOCKED && vcpu->home_cpu == home;
    if (blocked && !vcpu->has_news) {
        vcpu->has_news = true;
        vcpu->news = cpu->news;
        cpu->news = vcpu;
    }
    spin_unlock(&cpu->lock);
    if (blocked)
        sched_attend(home, ATTEND_WAKE);
}

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

/* Both queues' levels differ, so what travels is the distance from the level. */
static void move_home(struct vcpu *vcpu, u32 to)
{
    struct sched_cpu *target = &sched_cpus[to];

    if (vcpu->home_cpu != VCPU_NO_CPU) {
        struct sched_cpu *source = &sched_cpus[vcpu->home_cpu];
        u64 ahead = vcpu->vruntime > source->min_vruntime ? vcpu->vruntime - source->min_vruntime : 0;
        __atomic_fetch_sub(&source->load, vcpu->load_weight, __ATOMIC_RELAXED);
        virt_vcpu_detach(vcpu);
        vcpu->migrations++;
        trace_event(TRACE_MIGRATE, vcpu, to);
        vcpu->vruntime = target->min_vruntime + ahead;
    } else {
        vcpu->vruntime = target->min_vruntime;
    }
    vcpu->load_weight = vcpu->vm->spec.weight;
    __atomic_fetch_add(&target->load, vcpu->load_weight, __ATOMIC_RELAXED);
    vcpu->home_cpu = to;
    insert_ready(target, vcpu);
    sched_attend(to, 0);
}

/* Somebody computes here, so who becomes ready would have to wait. */
static bool is_busy(const struct sched_cpu *cpu)
{
    return cpu->current && !cpu->halted;
}

static u32 idle_cpu_for(const struct vcpu *vcpu)
{
    u64 mask =
        __atomic_load_n(&sched_idle_mask, __ATOMIC_SEQ_CST) & sched_allowed_cpus(&vcpu->vm->spec) & ~BIT(cpu_id());

    for (; mask; mask &= mask - 1)
        if (sched_smt_is_free(sched_cpus[__builtin_ctzll(mask)].core, vcpu->vm))
            return (u32)__builtin_ctzll(mask);
    return VCPU_NO_CPU;
}

/* Its VM's weight or affinity has been changed since it came here. */
static COLD void place_anew(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    if (!may_run_here(vcpu)) {
        sched_add(vcpu);
        return;
    }
    __atomic_fetch_sub(&cpu->load, vcpu->load_weight, __ATOMIC_RELAXED);
    vcpu->load_weight = vcpu->vm->spec.weight;
    __atomic_fetch_add(&cpu->load, vcpu->load_weight, __ATOMIC_RELAXED);
    insert_ready(cpu, vcpu);
}

void sched_place_ready(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    if (UNLIKELY(!may_run_here(vcpu) || vcpu->load_weight != vcpu->vm->spec.weight)) {
        place_anew(cpu, vcpu);
        return;
    }
    u32 idle = is_busy(cpu) || cpu->ready ? idle_cpu_for(vcpu) : VCPU_NO_CPU;

    if (idle != VCPU_NO_CPU && !__atomic_load_n(&sched_cpus[idle].ready_count, __ATOMIC_SEQ_CST))
        move_home(vcpu, idle);
    else
        insert_ready(cpu, vcpu);
}

void sched_push_work(struct sched_cpu *cpu)
{
    struct vcpu *found = NULL;

    if (!is_busy(cpu) && !cpu->core_taken && cpu->ready_count < 2)
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

/* ---- directed yields ---- */

static bool take_ready(struct sched_cpu *cpu, struct vcpu *vcpu)
{
    spin_lock(&cpu->lock);
    bool found = remove_from(&cpu->ready, vcpu);
    cpu->ready_count -= found;
    spin_unlock(&cpu->lock);
    return found;
}

/* That CPU looks when it leaves its guest for some other reason: who runs there pays nothing for this VM's locks. */
static void ask_for(struct vcpu *spinner, struct vcpu *vcpu)
{
    u32 home = __atomic_load_n(&vcpu->home_cpu, __ATOMIC_SEQ_CST);

    if (spinner->asked_slice == spinner->slices || !may_run_here(vcpu))
        return;
    spinner->asked_slice = spinner->slices;
    __atomic_store_n(&vcpu->wanted_on, cpu_id() + 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&sched_cpus[home].attention, ATTEND_HAND, __ATOMIC_SEQ_CST);
}

/*
 * The VM's other vCPUs get this CPU in turn, for what is left of the spinner's slice, and each is charged for what it
 * runs: the VM has the CPU no longer than without.
 */
bool sched_yield_to_sibling(struct vcpu *spinner)
{
    struct sched_cpu *cpu = here();
    const struct vm *vm = spinner->vm;

    if (cpu->handed)
        return false;
    for (u32 i = 1; i <= vm->spec.cpus; i++) {
        u32 index = (spinner->yielded_to + i) % vm->spec.cpus;
        struct vcpu *vcpu = vm->vcpus[index];
        if (vcpu == spinner || __atomic_load_n(&vcpu->state, __ATOMIC_SEQ_CST) != VCPU_READY)
            continue;
        if (__atomic_load_n(&vcpu->home_cpu, __ATOMIC_SEQ_CST) != cpu_id()) {
            ask_for(spinner, vcpu);
            continue;
        }
        if (!take_ready(cpu, vcpu))
            continue; /* it is on its way here */
        spinner->yielded_to = index;
        cpu->handed = vcpu;
        cpu->handed_until_tsc = spinner->slice_end_tsc;
        vcpu_request(spinner, VCPU_REQUEST_RESCHEDULE);
        return true;
    }
    return false;
}

void sched_hand_over(struct sched_cpu *cpu)
{
    struct vcpu *vcpu;
    u32 to = 0;

    do {
        spin_lock(&cpu->lock);
        for (vcpu = cpu->ready; vcpu; vcpu = vcpu->next)
            if ((to = __atomic_exchange_n(&vcpu->wanted_on, 0, __ATOMIC_SEQ_CST)) != 0 && to - 1 != cpu_id())
                break;
        if (vcpu) {
            remove_from(&cpu->ready, vcpu);
            cpu->ready_count--;
        }
        spin_unlock(&cpu->lock);
        if (vcpu)
            move_home(vcpu, to - 1);
    } while (vcpu);
}

void sched_add(struct vcpu *vcpu)
{
    u32 best = VCPU_NO_CPU;

    for (u32 i = 0; i < smp_cpu_count(); i++) {
        if (!(sched_allowed_cpus(&vcpu->vm->spec) >> i & 1))
            continue;
        if (best == VCPU_NO_CPU || sched_cpus[i].load < sched_cpus[best].load)
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
    bool announced = (before & requests) == requests && !(state == VCPU_RUNNING && vcpu->posted->notification);
    if (announced || state == VCPU_READY)
        return;
    if (state == VCPU_RUNNING)
        kick(vcpu->home_cpu, vcpu);
    else
        sched_announce(vcpu);
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
        if (posted_notify(vcpu->posted))
            smp_notify_posted(__atomic_load_n(&vcpu->home_cpu, __ATOMIC_SEQ_CST));
    } else if (state == VCPU_BLOCKED && !(before & VCPU_REQUEST_EVENT)) {
        sched_announce(vcpu);
    }
}

void sched_notify_posted(struct vcpu *vcpu)
{
    if (LIKELY(here()->current == vcpu))
        vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    else if (UNLIKELY(vcpu->posted->notification))
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

void sched_use_cpu(u32 id, bool use)
{
    if (use)
        __atomic_fetch_and(&sched_cpus_off, ~BIT(id), __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_or(&sched_cpus_off, BIT(id), __ATOMIC_SEQ_CST);
    sched_attend(id, 0); /* an idle one asks for work */
}
