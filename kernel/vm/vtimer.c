/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers of virtual devices. Few per set, so a scan is the queue; next_ns is kept up to date on every change, so that
 * the question "is anything due, and when?" is one load. Invariant, but while a timer
 * fires: next_ns is the deadline of `first`, if it is known, and the least of the set, others_ns the least of the rest.
 * Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "kernel/vm/vtimer.h"
#include "kernel/panic.h"

void vtimer_set_init(struct vtimer_set *set, u64 (*clock_ns)(void *clock), void *clock)
{
    set->count = 0;
    set->first = set->timers;
    set->next_ns = VTIMER_NEVER;
    set->others_ns = VTIMER_NEVER;
    set->clock_ns = clock_ns;
    set->clock = clock;
}

u8 vtimer_add(struct vtimer_set *set, void (*fire)(void *device, u64 now_ns), void *device)
{
    CHECK(set->count < VTIMER_MAX);
    set->timers[set->count] = (struct vtimer){VTIMER_NEVER, fire, device};
    return set->count++;
}

void vtimer_update(struct vtimer_set *set)
{
    struct vtimer *first = set->timers;
    u64 next_ns = VTIMER_NEVER;
    u64 others_ns = VTIMER_NEVER;

    for (struct vtimer *timer = set->timers; timer < set->timers + set->count; timer++) {
        if (timer->deadline_ns < next_ns) {
            others_ns = next_ns;
            next_ns = timer->deadline_ns;
            first = timer;
        } else if (timer->deadline_ns < others_ns) {
            others_ns = timer->deadline_ns;
        }
    }
    set->first = first;
    set->next_ns = next_ns;
    set->others_ns = others_ns;
}

static COLD struct vtimer *find_first(struct vtimer_set *set)
{
    vtimer_update(set);
    return set->first;
}

static ALWAYS_INLINE void fire_first(struct vtimer_set *set, u64 now_ns)
{
    struct vtimer *due = set->first;

    if (UNLIKELY(!due))
        due = find_first(set);
    due->deadline_ns = VTIMER_NEVER;
    set->next_ns = VTIMER_NEVER;
    due->fire(due->device, now_ns);
    if (UNLIKELY(set->next_ns > set->others_ns)) { /* it did not arm itself again */
        set->first = NULL;
        set->next_ns = set->others_ns;
    }
}

/* At most `count` fire in one run: a timer that arms itself for the past waits for the next one instead of looping. */
static COLD void run_others(struct vtimer_set *set, u64 now_ns)
{
    for (unsigned left = set->count - 1u; set->next_ns <= now_ns && left; left--)
        fire_first(set, now_ns);
}

void vtimer_run(struct vtimer_set *set, u64 now_ns)
{
    if (UNLIKELY(set->next_ns > now_ns))
        return;
    fire_first(set, now_ns);
    if (UNLIKELY(set->next_ns <= now_ns))
        run_others(set, now_ns);
}
