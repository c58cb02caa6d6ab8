/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers of virtual devices and vCPUs, in guest nanoseconds (since the VM started). A set of timers belongs to one
 * vCPU: its earliest deadline bounds how long that vCPU may run or sleep. Callers hold the VM's device lock.
 */
#ifndef ROOTLET_KERNEL_VM_VTIMER_H
#define ROOTLET_KERNEL_VM_VTIMER_H

#include "kernel/lib/types.h"

#define VTIMER_NEVER UINT64_MAX
#define VTIMER_MAX   10

struct vtimer {
    u64 deadline_ns; /* VTIMER_NEVER: not armed, and in no list */
    struct vtimer *next;
    void (*fire)(void *device, u64 now_ns);
    void *device;
};

struct vtimer_set {
    struct vtimer timers[VTIMER_MAX];
    struct vtimer end; /* of the list */
    u8 count;
    struct vtimer *first; /* the armed timers, by deadline */
    u64 next_ns;          /* the earliest deadline of all: VTIMER_NEVER if none is armed */
    u64 (*clock_ns)(void *clock);
    void *clock;
};

void vtimer_set_init(struct vtimer_set *set, u64 (*clock_ns)(void *clock), void *clock);
/* Adds an unarmed timer. Panics when the table is full: a host bug. */
struct vtimer *vtimer_add(struct vtimer_set *set, void (*fire)(void *device, u64 now_ns), void *device);
/*
 * Disarms and fires each timer whose deadline has come, earliest first, each at most once unless it arms itself for the
 * past. A timer may arm itself and others. now_ns: below VTIMER_NEVER.
 */
void vtimer_run(struct vtimer_set *set, u64 now_ns);
/* Arms (or with VTIMER_NEVER disarms) a timer; a deadline in the past fires at the next vtimer_run. */
void vtimer_arm(struct vtimer_set *set, struct vtimer *timer, u64 deadline_ns);

/* The deadlines of all timers, into or out of VTIMER_MAX places; the timers of two sets were added in the same order.
 */
COLD void vtimer_save(const struct vtimer_set *set, u64 *deadlines);
COLD void vtimer_load(struct vtimer_set *set, const u64 *deadlines);

static inline u64 vtimer_now(const struct vtimer_set *set)
{
    return set->clock_ns(set->clock);
}

#endif
