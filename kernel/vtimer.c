/*
 * Timers of virtual devices. Few per set, so a scan is the queue; next_ns is kept up to date on every change, so that
 * the question "is anything due, and when?" is one load. Invariant: next_ns is the least deadline of the set. Runs in
 * VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "kernel/vtimer.h"
#include "kernel/panic.h"

void vtimer_set_init(struct vtimer_set *set, u64 (*clock_ns)(void *clock), void *clock)
{
    set->count = 0;
    set->next_ns = VTIMER_NEVER;
    set->clock_ns = clock_ns;
    set->clock = clock;
}

u8 vtimer_add(struct vtimer_set *set, void (*fire)(void *device, u64 now_ns), void *device)
{
    CHECK(set->count < VTIMER_MAX);
    set->timers[set->count] = (struct vtimer){VTIMER_NEVER, fire, device};
    return set->count++;
}

static u64 earliest(const struct vtimer_set *set)
{
    u64 least = VTIMER_NEVER;
    for (u8 i = 0; i < set->count; i++)
        if (set->timers[i].deadline_ns < least)
            least = set->timers[i].deadline_ns;
    return least;
}

void vtimer_arm(struct vtimer_set *set, u8 timer, u64 deadline_ns)
{
    u64 old = set->timers[timer].deadline_ns;

    set->timers[timer].deadline_ns = deadline_ns;
    if (deadline_ns <= set->next_ns)
        set->next_ns = deadline_ns;
    else if (old == set->next_ns)
        set->next_ns = earliest(set);
}

void vtimer_run(struct vtimer_set *set, u64 now_ns)
{
    /* At most `count` fire at once: a timer that arms itself for the past waits for the next run instead of looping. */
    for (u8 fired = 0; fired < set->count && set->next_ns <= now_ns && set->next_ns != VTIMER_NEVER; fired++) {
        u8 due = 0;
        while (set->timers[due].deadline_ns != set->next_ns)
            due++;
        set->timers[due].deadline_ns = VTIMER_NEVER;
        set->next_ns = earliest(set);
        set->timers[due].fire(set->timers[due].device, now_ns);
    }
}
