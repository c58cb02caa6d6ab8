/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC timer: 32 bits of the guest's crystal before the divider, or the TSC deadline. No counter runs: the
 * one state is the time of the next expiry, from which the current count follows. A masked timer is not armed in the
 * vtimer set; what it missed is settled when the guest looks. Late periods cost one division and give one interrupt.
 * Runs in VMX root operation under the VM's device lock; also on the host in tests. SDM 3A 10.5.4 "APIC Timer".
 */
#include "drivers/virt/vlapic_timer.h"
#include "kernel/lib/bits.h"

static u32 lvt(const struct vlapic *v)
{
    return v->lvt_timer;
}

/* Bits 3, 1 and 0 of the divide register are the power of two less one; all ones divide by 1. */
static unsigned divide_shift(const struct vlapic *v)
{
    u32 value = v->timer_divide;
    return ((value >> 1 & 4) + (value & 3) + 1) & 7;
}

/*
 * Rounded up, as the scales are: a result that is exact must not get one more for what the scale has too much, which is
 * less than the slack for all counts (2^39 ticks, 2^49 ns).
 */
static u64 scale_up(unsigned bits)
{
    return BIT(bits) - BIT(bits - 10);
}

static u64 ns_of_count(const struct vlapic *v, u32 count)
{
    u64 ticks = (u64)count << divide_shift(v);
    return (u64)(((unsigned __int128)ticks * v->setup.timer_ns_scale + scale_up(54)) >> 54);
}

static u64 count_of_ns(const struct vlapic *v, u64 ns)
{
    u64 ticks = (u64)(((unsigned __int128)ns * v->setup.timer_tick_scale + scale_up(60)) >> 60);
    return (ticks + (1u << divide_shift(v)) - 1) >> divide_shift(v);
}

static u64 period_ns(const struct vlapic *v)
{
    return ns_of_count(v, v->timer_initial);
}

static void set_deadline(struct vlapic *v, u64 deadline_ns)
{
    u64 alarm_ns = lvt(v) & APIC_LVT_MASKED ? VTIMER_NEVER : deadline_ns;

    v->deadline_ns = deadline_ns;
    if (v->timer->deadline_ns != alarm_ns) /* one that fires is disarmed already */
        vtimer_arm(v->setup.timers, v->timer, alarm_ns);
}

static void expire(struct vlapic *v, u64 now_ns)
{
    u64 next_ns = VTIMER_NEVER;
    u64 period = lvt(v) & APIC_LVT_PERIODIC ? period_ns(v) : 0;

    v->tsc_deadline = 0;
    if (period) {
        u64 least_ns = period < VLAPIC_TIMER_MIN_PERIOD_NS ? now_ns + VLAPIC_TIMER_MIN_PERIOD_NS : now_ns;
        next_ns = v->deadline_ns + period;
        if (next_ns <= least_ns)
            next_ns += ((least_ns - next_ns) / period + 1) * period;
    }
    set_deadline(v, next_ns);
    if (!(lvt(v) & APIC_LVT_MASKED))
        vlapic_accept(v, (u8)lvt(v), false);
}

/* Lets expire what is due, before the guest sees or changes the timer. Returns the time. */
static u64 settle(struct vlapic *v)
{
    u64 now_ns = vtimer_now(v->setup.timers);

    if (now_ns >= v->deadline_ns)
        expire(v, now_ns);
    return now_ns;
}

static void fire(void *device, u64 now_ns)
{
    expire(device, now_ns);
}

void vlapic_timer_init(struct vlapic *v)
{
    v->timer = vtimer_add(v->setup.timers, fire, v);
    v->deadline_ns = VTIMER_NEVER;
}

void vlapic_timer_stop(struct vlapic *v)
{
    v->tsc_deadline = 0;
    set_deadline(v, VTIMER_NEVER);
}

void vlapic_timer_write_lvt(struct vlapic *v, u32 value)
{
    settle(v);
    bool turns = (lvt(v) ^ value) & APIC_LVT_TSC_DEADLINE;
    *vlapic_register(v, APIC_LVT_TIMER) = v->lvt_timer = value;
    if (turns) {
        *vlapic_register(v, APIC_TIMER_INITIAL) = v->timer_initial = 0;
        vlapic_timer_stop(v);
    }
    set_deadline(v, v->deadline_ns);
}

void vlapic_timer_write_initial(struct vlapic *v, u32 count)
{
    *vlapic_register(v, APIC_TIMER_INITIAL) = v->timer_initial;
    if (lvt(v) & APIC_LVT_TSC_DEADLINE)
        return;
    u64 now_ns = settle(v);
    *vlapic_register(v, APIC_TIMER_INITIAL) = v->timer_initial = count;
    set_deadline(v, count ? now_ns + period_ns(v) : VTIMER_NEVER);
}

/* The next interrupt is some periods away, since they are short; or the two roundings gave one too many. */
static COLD u32 count_of_far(const struct vlapic *v, u64 left_ns)
{
    u64 period = period_ns(v);

    if (period == 0)
        return 0;
    u64 count = count_of_ns(v, (left_ns - 1) % period + 1);
    return count < v->timer_initial ? (u32)count : v->timer_initial;
}

u32 vlapic_timer_read_current(struct vlapic *v)
{
    u64 now_ns = settle(v);

    if (v->deadline_ns == VTIMER_NEVER)
        return 0;
    u64 left_ns = v->deadline_ns - now_ns;
    u64 count = count_of_ns(v, left_ns);
    return LIKELY(count <= v->timer_initial) ? (u32)count : count_of_far(v, left_ns);
}

void vlapic_timer_write_divide(struct vlapic *v, u32 value)
{
    u32 left = vlapic_timer_read_current(v);

    *vlapic_register(v, APIC_TIMER_DIVIDE) = v->timer_divide = value;
    if (left)
        set_deadline(v, vtimer_now(v->setup.timers) + ns_of_count(v, left));
}

u64 vlapic_timer_read_deadline(struct vlapic *v)
{
    settle(v);
    return v->tsc_deadline;
}

void vlapic_timer_write_deadline(struct vlapic *v, u64 tsc)
{
    if (!(lvt(v) & APIC_LVT_TSC_DEADLINE))
        return;
    settle(v);
    v->tsc_deadline = tsc;
    set_deadline(v, tsc ? v->setup.host->ns_of_tsc(v->setup.context, tsc) : VTIMER_NEVER);
}
