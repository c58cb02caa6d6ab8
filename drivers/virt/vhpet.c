/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET. The main counter follows from the time; each comparator keeps the time of its next match, and one vtimer
 * stands for the earliest. A match lies strictly in the future: a comparator that is written at or behind the counter
 * waits for the counter to wrap, as drivers expect who then look at the counter. Missed periods are raised as one
 * interrupt, at the cost of one division. Runs in VMX root operation under the VM's device lock; also on the host in
 * tests.
 */
#include "drivers/virt/vhpet.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define OFFSET_CAPABILITIES 0x000u
#define OFFSET_CONFIG       0x010u
#define OFFSET_STATUS       0x020u
#define OFFSET_COUNTER      0x0f0u
#define OFFSET_TIMERS       0x100u
#define TIMER_STRIDE        0x20u
#define TIMER_CONFIG        0x00u
#define TIMER_VALUE         0x08u

/* Vendor, legacy replacement, a counter of 64 bits, the number of the last comparator, revision 1. */
#define CAPABILITIES ((u64)VHPET_PERIOD_FS << 32 | 0x8086a001u | (VHPET_TIMERS - 1) << 8)

#define CONFIG_ENABLE 1u
#define CONFIG_LEGACY 2u

#define TIMER_LEVEL    0x02u
#define TIMER_ENABLE   0x04u
#define TIMER_PERIODIC 0x08u
#define TIMER_CAPABLE  0x30u /* periodic, 64 bits */
#define TIMER_SET      0x40u
#define TIMER_32BIT    0x100u
#define TIMER_ROUTE    0x3e00u
#define TIMER_WRITABLE (TIMER_LEVEL | TIMER_ENABLE | TIMER_PERIODIC | TIMER_SET | TIMER_32BIT)

static u64 counter_at(const struct vhpet *hpet, u64 now_ns)
{
    if (!(hpet->config & CONFIG_ENABLE))
        return hpet->base_count;
    return hpet->base_count + (now_ns - hpet->base_ns) / VHPET_TICK_NS;
}

static u64 mask_of(const struct vhpet_comparator *c)
{
    return c->config & TIMER_32BIT ? 0xffffffff : ~0ull;
}

/* ---- interrupts ---- */

static struct line line_of(const struct vhpet *hpet, unsigned index)
{
    struct line line = hpet->wiring.ioapic;

    line.pin = (u8)bits_field(hpet->comparators[index].config, 13, 9);
    if (hpet->config & CONFIG_LEGACY && index < 2) {
        line = hpet->wiring.isa;
        line.pin = index == 0 ? VHPET_IRQ_TIMER0 : VHPET_IRQ_TIMER1;
    } else if (!(VHPET_ROUTES >> line.pin & 1)) {
        line.set = NULL; /* not routed yet */
        line.pulse = NULL;
    }
    return line;
}

/* The status bits of the level-triggered comparators are their lines. `present`: false before a change of routing. */
static void drive_levels(struct vhpet *hpet, bool present)
{
    for (unsigned i = 0; i < VHPET_TIMERS; i++) {
        struct line line = line_of(hpet, i);
        if (hpet->comparators[i].config & TIMER_LEVEL)
            line_set(&line, present && hpet->status >> i & 1 && hpet->comparators[i].config & TIMER_ENABLE);
    }
}

static void raise(struct vhpet *hpet, unsigned index)
{
    struct line line = line_of(hpet, index);

    if (hpet->comparators[index].config & TIMER_LEVEL) {
        hpet->status |= (u8)(1u << index);
        drive_levels(hpet, true);
    } else if (hpet->comparators[index].config & TIMER_ENABLE) {
        line_pulse(&line);
        if (line.set == hpet->wiring.ioapic.set)
            line_set(&line, false); /* or a level-triggered pin would find it high for ever */
    }
}

/* ---- matches ---- */

static void arm(struct vhpet *hpet)
{
    u64 first_ns = VTIMER_NEVER;

    for (unsigned i = 0; i < VHPET_TIMERS; i++)
        if (hpet->comparators[i].deadline_ns < first_ns)
            first_ns = hpet->comparators[i].deadline_ns;
    vtimer_arm(hpet->timers, hpet->timer, first_ns);
}

/* Sets the time of the next match after now. */
static void schedule(const struct vhpet *hpet, struct vhpet_comparator *c, u64 now_ns)
{
    u64 counter = counter_at(hpet, now_ns);
    u64 left = ((c->value - counter - 1) & mask_of(c)) + 1; /* 0: 2^64 */
    u64 since_base = counter - hpet->base_count + left;

    c->deadline_ns = VTIMER_NEVER;
    if (hpet->config & CONFIG_ENABLE && left != 0 && left < BIT(59) && since_base < BIT(59))
        c->deadline_ns = hpet->base_ns + since_base * VHPET_TICK_NS;
}

static void match(struct vhpet *hpet, unsigned index, u64 now_ns)
{
    struct vhpet_comparator *c = &hpet->comparators[index];

    if (c->config & TIMER_PERIODIC && c->period) {
        u64 late = (counter_at(hpet, now_ns) - c->value) & mask_of(c);
        if (c->period < VHPET_MIN_TICKS)
            late += VHPET_MIN_TICKS;
        c->value = (c->value + (late / c->period + 1) * c->period) & mask_of(c);
    }
    schedule(hpet, c, now_ns);
    raise(hpet, index);
}

static void fire(void *device, u64 now_ns)
{
    struct vhpet *hpet = device;

    for (unsigned i = 0; i < VHPET_TIMERS; i++)
        if (hpet->comparators[i].deadline_ns <= now_ns)
            match(hpet, i, now_ns);
    arm(hpet);
}

/* ---- registers ---- */

static struct vhpet_comparator *comparator_at(struct vhpet *hpet, u32 at)
{
    u32 index = (at - OFFSET_TIMERS) / TIMER_STRIDE;
    return at >= OFFSET_TIMERS && index < VHPET_TIMERS ? &hpet->comparators[index] : NULL;
}

static u64 read_register(struct vhpet *hpet, u32 at)
{
    const struct vhpet_comparator *c = comparator_at(hpet, at);

    if (c && at % TIMER_STRIDE == TIMER_CONFIG)
        return (u64)VHPET_ROUTES << 32 | c->config;
    if (c && at % TIMER_STRIDE == TIMER_VALUE)
        return c->value;
    switch (at) {
    case OFFSET_CAPABILITIES:
        return CAPABILITIES;
    case OFFSET_CONFIG:
        return hpet->config;
    case OFFSET_STATUS:
        return hpet->status;
    case OFFSET_COUNTER:
        return counter_at(hpet, vtimer_now(hpet->timers));
    default:
        return 0;
    }
}

static u64 read_memory(void *device, u64 offset, u8 bytes)
{
    (void)bytes;
    return read_register(device, (u32)offset & ~7u) >> 8 * (offset & 7);
}

static void write_config(struct vhpet *hpet, u8 value, u64 now_ns)
{
    u8 changed = (hpet->config ^ value) & (CONFIG_ENABLE | CONFIG_LEGACY);

    drive_levels(hpet, false);
    hpet->base_count = counter_at(hpet, now_ns);
    hpet->base_ns = now_ns;
    hpet->config ^= changed;
    if (changed & CONFIG_LEGACY)
        hpet->wiring.select_legacy(hpet->wiring.context, hpet->config & CONFIG_LEGACY);
    drive_levels(hpet, true);
}

static void write_timer_config(struct vhpet *hpet, struct vhpet_comparator *c, u64 value)
{
    u64 route = bits_field(value, 13, 9);
    u64 kept = TIMER_CAPABLE | (c->config & TIMER_ROUTE);

    drive_levels(hpet, false);
    if (route == 0 || VHPET_ROUTES >> route & 1)
        kept = TIMER_CAPABLE | (value & TIMER_ROUTE);
    if (!(value & TIMER_LEVEL))
        hpet->status &= (u8) ~(1u << (c - hpet->comparators));
    c->config = kept | (value & TIMER_WRITABLE);
    c->value &= mask_of(c);
    c->period &= mask_of(c);
    drive_levels(hpet, true);
}

/* A periodic comparator's value is its period, but for the one write after TIMER_SET, which also sets the next match.
 */
static void write_value(struct vhpet_comparator *c, u64 value)
{
    bool periodic = c->config & TIMER_PERIODIC;

    if (!periodic || c->config & TIMER_SET)
        c->value = value & mask_of(c);
    if (periodic)
        c->period = value & mask_of(c);
    c->config &= ~(u64)TIMER_SET;
}

/* What a write of half a register leaves in the other half. */
static u64 old_value(struct vhpet *hpet, u32 at)
{
    const struct vhpet_comparator *c = comparator_at(hpet, at);

    if (c && at % TIMER_STRIDE == TIMER_VALUE && (c->config & (TIMER_PERIODIC | TIMER_SET)) == TIMER_PERIODIC)
        return c->period;
    return at == OFFSET_STATUS ? 0 : read_register(hpet, at);
}

static void write_register(struct vhpet *hpet, u32 at, u64 value, u64 now_ns)
{
    struct vhpet_comparator *c = comparator_at(hpet, at);

    if (c && at % TIMER_STRIDE == TIMER_CONFIG) {
        write_timer_config(hpet, c, value);
    } else if (c && at % TIMER_STRIDE == TIMER_VALUE) {
        write_value(c, value);
    } else if (at == OFFSET_CONFIG) {
        write_config(hpet, (u8)value, now_ns);
    } else if (at == OFFSET_STATUS) {
        hpet->status &= (u8)~value;
        drive_levels(hpet, true);
        return;
    } else if (at == OFFSET_COUNTER && !(hpet->config & CONFIG_ENABLE)) {
        hpet->base_count = value;
    }
    for (unsigned i = 0; i < VHPET_TIMERS; i++)
        schedule(hpet, &hpet->comparators[i], now_ns);
    arm(hpet);
}

static void write_memory(void *device, u64 offset, u8 bytes, u64 value)
{
    struct vhpet *hpet = device;
    u32 at = (u32)offset & ~7u;
    u64 now_ns = vtimer_now(hpet->timers);

    if (bytes < 4 || offset & (bytes - 1u))
        return; /* the specification has no such access */
    fire(hpet, now_ns);
    if (bytes == 4) {
        unsigned shift = offset & 4 ? 32 : 0;
        value = (old_value(hpet, at) & ~(0xffffffffull << shift)) | value << shift;
    }
    write_register(hpet, at, value, now_ns);
}

static const struct bus_ops ops = {read_memory, write_memory};

enum status vhpet_init(struct vhpet *hpet, struct bus *bus, struct vtimer_set *timers,
                       const struct vhpet_wiring *wiring)
{
    memset(hpet, 0, sizeof *hpet);
    hpet->timers = timers;
    hpet->timer = vtimer_add(timers, fire, hpet);
    hpet->wiring = *wiring;
    for (unsigned i = 0; i < VHPET_TIMERS; i++) {
        hpet->comparators[i].config = TIMER_CAPABLE;
        hpet->comparators[i].value = ~0ull;
        hpet->comparators[i].deadline_ns = VTIMER_NEVER;
    }
    return bus_add_memory(bus, gpa(VHPET_ADDRESS), VHPET_BYTES, 8, &ops, hpet);
}

void vhpet_copy(struct vhpet *hpet, const struct vhpet *from)
{
    struct vhpet own = *hpet;

    *hpet = *from;
    hpet->timer = own.timer;
    hpet->timers = own.timers;
    hpet->wiring = own.wiring;
}
