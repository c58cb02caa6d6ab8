/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers of virtual devices. The armed ones form a list, the earliest first. They are few, so a walk finds a timer's
 * place. Invariant: the list ends with `end`, which is never due, and next_ns is the deadline of its first timer. Runs
 * in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "kernel/vm/vtimer.h"
#include "kernel/panic.h"

void vtimer_set_init(struct vtimer_set *set, u64 (*clock_ns)(void *clock), void *clock)
{
    set->count = 0;
    set->end.deadline_ns = VTIMER_NEVER;
    set->first = &set->end;
    set->next_ns = VTIMER_NEVER;
    set->clock_ns = clock_ns;
    set->clock = clock;
}

struct vtimer *vtimer_add(struct vtimer_set *set, void (*fire)(void *device, u64 now_ns), void *device)
{
    CHECK(set->count < VTIMER_MAX);
    struct vtimer *timer = &set->timers[set->count++];
    *timer = (struct vtimer){.deadline_ns = VTIMER_NEVER, .fire = fire, .device = device};
    return timer;
}

void vtimer_arm(struct vtimer_set *set, struct vtimer *timer, u64 deadline_ns)
{
    struct vtimer **at = &set->first;

    if (timer->deadline_ns != VTIMER_NEVER) {
        while (*at != timer)
            at = &(*at)->next;
        *at = timer->next;
        at = &set->first;
    }
    timer->deadline_ns = deadline_ns;
    if (deadline_ns != VTIMER_NEVER) {
        while ((*at)->deadline_ns <= deadline_ns)
            at = &(*at)->next;
        timer->next = *at;
        *at = timer;
    }
    set->next_ns = set->first->deadline_ns;
}

static ALWAYS_INLINE void fire_first(struct vtimer_set *set, u64 now_ns)
{
    struct vtimer *due = set->first;

    set->first = due->next;
    set->next_ns = due->next->deadline_ns;
    due->deadline_ns = VTIMER_NEVER;
    due->fire(due->device, now_ns);
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

void vtimer_save(const struct vtimer_set *set, u64 *deadlines)
{
    for (u32 i = 0; i < set->count; i++)
        deadlines[i] = set->timers[i].deadline_ns;
}

void vtimer_load(struct vtimer_set *set, const u64 *deadlines)
{
    for (u32 i = 0; i < set->count; i++)
        vtimer_arm(set, &set->timers[i], deadlines[i]);
}
