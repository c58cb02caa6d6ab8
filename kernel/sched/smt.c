/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See smt.h. One CPU of a core leads for a turn: what is next in its queue decides whose the core is, and the others
 * run vCPUs of that VM or wait. Leading goes round among those that wait; a turn is a slice, and no slice goes beyond
 * its end: so each thread has the same time to lead, and nobody waits for longer than a slice of each of the others. A
 * core's lock is taken within a queue's.
 */
#include "kernel/sched/smt.h"
#include "arch/x86/smp.h"
#include "arch/x86/spinlock.h"
#include "kernel/lib/bits.h"

#define NOBODY UINT32_MAX

/* CPUs are bits of masks. */
static struct core {
    struct spinlock lock;
    const struct vm *owner; /* whose vCPUs run here */
    u64 inside;             /* who runs one of them */
    u64 waiting;            /* who would like to run another one, or to lead */
    u32 leader;             /* or NOBODY */
    bool closing;           /* the leader has come to another VM: nobody begins again with this one */
    u64 turn_end_tsc;
} cores[CPU_MAX]; /* by the number of the first of its CPUs */

struct core *sched_smt_core(u32 first)
{
    cores[first].leader = NOBODY;
    return &cores[first];
}

static void kick(u64 mask)
{
    for (mask &= ~BIT(cpu_id()); mask; mask &= mask - 1)
        smp_kick((u32)__builtin_ctzll(mask));
}

/* The next of `mask` behind CPU `id`, round and round. */
static u32 next_of(u64 mask, u32 id)
{
    u64 above = mask & ~(BIT(id) | (BIT(id) - 1));
    return above ? (u32)__builtin_ctzll(above) : mask ? (u32)__builtin_ctzll(mask) : NOBODY;
}

static void lead(struct core *core, u32 id, const struct smt_asker *asker)
{
    core->leader = id;
    core->turn_end_tsc = asker->now + asker->slice_tsc;
}

/* A CPU comes with the next one of its queue: who leads? */
static void choose_leader(struct core *core, const struct smt_asker *asker)
{
    u32 id = asker->id;
    u64 others = core->waiting & ~BIT(id);
    bool over = asker->now >= core->turn_end_tsc;

    if (core->leader == NOBODY || (core->leader == id && !others))
        lead(core, id, asker);
    else if (core->leader == id && over)
        lead(core, next_of(others, id), asker);
    else if (over && !(core->inside & BIT(core->leader))) /* it is about other things */
        lead(core, id, asker);
}

static bool is_allowed(const struct core *core, const struct smt_asker *asker, const struct vm *vm, bool first)
{
    if (core->leader == asker->id && first)
        return !core->inside || core->owner == vm;
    return core->inside && core->owner == vm && !core->closing && asker->now < core->turn_end_tsc;
}

bool sched_smt_enter(const struct smt_asker *asker, const struct vm *vm, bool first, u64 *to_leave)
{
    struct core *core = asker->core;
    u32 id = asker->id;
    u64 to_kick = 0;

    spin_lock(&core->lock);
    if (first)
        choose_leader(core, asker);
    bool allowed = is_allowed(core, asker, vm, first);
    if (allowed) {
        to_kick = core->owner != vm || !core->inside ? core->waiting : 0; /* they may have vCPUs of this VM */
        core->owner = vm;
        core->inside |= BIT(id);
        core->waiting &= first ? ~BIT(id) : ~0ull;
        core->closing = core->closing && core->leader != id;
    } else if (first) {
        core->waiting |= BIT(id);
        if (core->leader == id) {
            core->closing = true;
            *to_leave = core->inside;
        } else {
            to_kick = BIT(core->leader) & core->waiting;
        }
    }
    spin_unlock(&core->lock);
    kick(to_kick);
    return allowed;
}

void sched_smt_leave(struct core *core, u32 id)
{
    spin_lock(&core->lock);
    core->inside &= ~BIT(id);
    u64 to_kick = core->inside ? 0 : core->waiting;
    spin_unlock(&core->lock);
    kick(to_kick);
}

void sched_smt_give_up(const struct smt_asker *asker)
{
    struct core *core = asker->core;
    u32 id = asker->id;
    u64 to_kick = 0;

    spin_lock(&core->lock);
    core->waiting &= ~BIT(id);
    if (core->leader == id) {
        core->leader = NOBODY;
        core->closing = false;
        u32 next = next_of(core->waiting ? core->waiting : core->inside, id);
        if (next != NOBODY) {
            lead(core, next, asker);
            to_kick = core->waiting;
        }
    }
    spin_unlock(&core->lock);
    kick(to_kick);
}

bool sched_smt_is_free(struct core *core, const struct vm *vm)
{
    if (!core)
        return true;
    spin_lock(&core->lock);
    bool free = !core->waiting && (!core->inside || core->owner == vm);
    spin_unlock(&core->lock);
    return free;
}

u64 sched_smt_turn_end(const struct core *core)
{
    return __atomic_load_n(&core->turn_end_tsc, __ATOMIC_RELAXED);
}
