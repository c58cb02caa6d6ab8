/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254. No counter ever runs: its value and output follow from the tick at which the count was loaded and from the
 * tick now. A count that is written at tick t is loaded by the next clock pulse, t + 1. Only channel 0 has a timer, for
 * the rising edges of its output; after an edge the line stays high until just before the next one, so that a guest
 * which is late still finds the request. Edges that were missed are raised as one, the next lies on the same grid. Runs
 * in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/pit.h"
#include "kernel/lib/string.h"

#define PORT_COUNTERS 0x40u
#define PORT_61       0x61u
#define OFFSET_WORD   3u

#define NS_PER_SECOND 1000000000u

#define ACCESS_LOW  1u
#define ACCESS_HIGH 2u
#define ACCESS_BOTH 3u

#define WORD_READ_BACK    3u
#define READ_BACK_COUNT   0x20u /* active low, both */
#define READ_BACK_STATUS  0x10u
#define STATUS_OUT        0x80u
#define STATUS_NULL_COUNT 0x40u

#define PORT61_GATE     0x01u
#define PORT61_WRITABLE 0x0fu
#define PORT61_REFRESH  0x10u
#define PORT61_OUT      0x20u
#define REFRESH_TICKS   18 /* channel 1's count on a PC: a refresh each 15 us */

/* Exact for all 64 bits: whole seconds and the rest apart, so that no product overflows; both divisors are constants.
 */
static s64 tick_at(u64 ns)
{
    u64 seconds = ns / NS_PER_SECOND;
    u64 rest = ns % NS_PER_SECOND;
    return (s64)(seconds * PIT_HZ + rest * PIT_HZ / NS_PER_SECOND);
}

static s64 tick_now(const struct pit *pit)
{
    return tick_at(vtimer_now(pit->timers));
}

/* Modes 1 and 5 count from a trigger (the gate's rising edge); 2 and 3 reload themselves. */
static bool is_triggered(const struct pit_channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

static bool is_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Ticks counted since the count was loaded; negative before. */
static s64 elapsed(const struct pit_channel *c, s64 tick)
{
    return c->gate || is_triggered(c) ? tick - c->start : c->held;
}

/* Mode 3: ticks during which the output is high. */
static u32 high_ticks(u32 count)
{
    return (count + 1) / 2;
}

/* Lets a count that waited for the end of the running (half-)cycle take over. */
static void sync(struct pit_channel *c, s64 tick)
{
    if (c->next_count && c->gate && is_periodic(c) && tick >= c->switch_tick) {
        c->count = c->next_count;
        c->start = c->next_start;
        c->next_count = 0;
        c->null_count = false;
    } else if (c->running && !c->next_count && tick >= c->start) {
        c->null_count = false;
    }
}

static u16 to_bcd(u32 value)
{
    return (u16)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12);
}

static u32 from_bcd(u32 raw)
{
    return (raw & 15) + (raw >> 4 & 15) * 10 + (raw >> 8 & 15) * 100 + (raw >> 12 & 15) * 1000;
}

/* The counting element, as the guest reads it. */
static u16 counter_value(const struct pit_channel *c, s64 tick)
{
    u32 modulus = c->bcd ? 10000 : 65536;
    s64 e = c->running ? elapsed(c, tick) : 0;
    u32 value = c->count;

    if (e > 0 && c->mode == 2) {
        value = c->count - (u32)(e % c->count);
    } else if (e > 0 && c->mode == 3) {
        /* Counts down by two in each half; an odd count is loaded less one. */
        u32 at = (u32)(e % c->count);
        u32 high = high_ticks(c->count);
        value = (c->count & ~1u) - 2 * (at < high ? at : at - high);
    } else if (e > 0) {
        value = c->count + modulus - (u32)(e % modulus); /* goes on below zero, at the top of its range */
    } else if (c->mode == 3) {
        value = c->count & ~1u;
    }
    value %= modulus;
    return c->bcd ? to_bcd(value) : (u16)value;
}

static bool output(const struct pit_channel *c, s64 tick)
{
    s64 e = c->running ? elapsed(c, tick) : -1;

    switch (c->mode) {
    case 0:
        return c->running && e >= c->count;
    case 1:
        return e < 0 || e >= c->count;
    case 2:
        return !c->gate || e < 0 || e % c->count != c->count - 1;
    case 3:
        return !c->gate || e < 0 || e % c->count < high_ticks(c->count);
    default: /* 4 and 5: a strobe of one tick */
        return e != c->count;
    }
}

/* The first rising edge of the output after `tick`, or -1 if none comes by itself. The gate is high. */
static s64 next_edge(const struct pit_channel *c, s64 tick)
{
    s64 edge;

    if (!c->running || is_triggered(c))
        return -1;
    if (is_periodic(c)) {
        if (c->next_count)
            return c->next_start == c->switch_tick ? c->switch_tick : c->next_start + c->next_count;
        edge = c->start + c->count;
        if (edge <= tick)
            edge += ((tick - edge) / c->count + 1) * c->count;
        return edge;
    }
    edge = c->start + c->count + (c->mode == 4);
    return edge > tick ? edge : -1;
}

/* Arms the timer for channel 0's next edge after `tick`; every change of the channel ends here. */
static void arm(struct pit *pit, s64 tick)
{
    const struct pit_channel *c = &pit->channels[0];
    s64 edge = next_edge(c, tick);
    u64 edge_scaled = (u64)edge % PIT_HZ * NS_PER_SECOND;
    u64 period_scaled = (u64)c->count * NS_PER_SECOND;
    bool steady = is_periodic(c) && !c->next_count && c->count >= PIT_MIN_PERIOD_TICKS;

    pit->edge_ns = (u64)edge / PIT_HZ * NS_PER_SECOND + edge_scaled / PIT_HZ;
    pit->edge_rest = (u32)(edge_scaled % PIT_HZ);
    pit->period_ns = steady ? period_scaled / PIT_HZ : 0;
    pit->period_rest = (u32)(period_scaled % PIT_HZ);
    vtimer_arm(pit->timers, pit->timer, edge < 0 ? VTIMER_NEVER : pit->edge_ns + (pit->edge_rest != 0));
}

/* Steps to the edge after this one without a division. False if that one has passed too. */
static ALWAYS_INLINE bool arm_following(struct pit *pit, u64 now_ns)
{
    u64 ns = pit->edge_ns + pit->period_ns;
    u32 rest = pit->edge_rest + pit->period_rest;

    if (rest >= PIT_HZ) {
        rest -= PIT_HZ;
        ns++;
    }
    if (UNLIKELY(ns + (rest != 0) <= now_ns))
        return false;
    pit->edge_ns = ns;
    pit->edge_rest = rest;
    vtimer_arm(pit->timers, pit->timer, ns + (rest != 0));
    return true;
}

/* The guest was late, or the channel is not steady. */
static COLD void arm_after(struct pit *pit, u64 now_ns)
{
    struct pit_channel *c = &pit->channels[0];
    s64 tick = tick_at(now_ns);

    sync(c, tick);
    arm(pit, c->count < PIT_MIN_PERIOD_TICKS && is_periodic(c) ? tick + PIT_MIN_PERIOD_TICKS : tick);
}

static NOINLINE void fire_periodic(struct pit *pit, u64 now_ns)
{
    if (!pit->period_ns || !arm_following(pit, now_ns))
        arm_after(pit, now_ns);
    line_pulse(&pit->irq);
}

static void fire(void *device, u64 now_ns)
{
    struct pit *pit = device;

    if (is_periodic(&pit->channels[0]))
        fire_periodic(pit, now_ns);
    else
        line_pulse(&pit->irq); /* a one-shot's edge was its last */
}

/* A whole count has been written. */
static void load_count(struct pit_channel *c, u32 raw, s64 tick)
{
    u32 count = c->bcd ? from_bcd(raw) : raw;

    if (count == 0)
        count = c->bcd ? 10000 : 65536;
    c->null_count = true;
    if (is_triggered(c)) {
        if (!c->running)
            c->count = count;
        c->next_count = count; /* for the next trigger */
        return;
    }
    s64 e = elapsed(c, tick);
    if (!is_periodic(c) || !c->running || e < 0) {
        c->count = count;
        c->next_count = 0;
        c->running = true;
        c->start = tick + 1;
        c->held = 0;
        return;
    }
    /* Modes 2 and 3 finish the cycle, or half of it, that they are in; at the middle the low half follows. */
    u32 at = (u32)(e % c->count);
    bool to_middle = c->mode == 3 && at < high_ticks(c->count) && c->count > 1;
    c->next_count = count;
    c->switch_tick = tick - at + (to_middle ? high_ticks(c->count) : c->count);
    c->next_start = to_middle ? c->switch_tick - high_ticks(count) : c->switch_tick;
}

static void write_counter(struct pit *pit, unsigned index, u8 value)
{
    struct pit_channel *c = &pit->channels[index];
    s64 tick = tick_now(pit);

    sync(c, tick);
    if (c->access == ACCESS_BOTH && !c->write_high) {
        c->low_byte = value;
        c->write_high = true;
        if (c->mode == 0)
            c->running = false; /* the first byte stops the counter, and its output is low */
    } else {
        u32 high = c->access == ACCESS_LOW ? 0 : value;
        u32 low = c->access == ACCESS_HIGH ? 0 : c->access == ACCESS_LOW ? value : c->low_byte;
        c->write_high = false;
        load_count(c, high << 8 | low, tick);
    }
    if (index == 0) {
        if (c->mode == 0)
            line_set(&pit->irq, false);
        arm(pit, tick);
    }
}

static void latch_count(struct pit_channel *c, s64 tick)
{
    if (c->latched_bytes)
        return; /* the first latch holds until it is read */
    c->count_latch = counter_value(c, tick);
    c->latched_bytes = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct pit_channel *c, s64 tick)
{
    if (c->status_latched)
        return;
    c->status_latch = (u8)((output(c, tick) ? STATUS_OUT : 0) | (c->null_count ? STATUS_NULL_COUNT : 0) |
                           c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = true;
}

static void set_mode(struct pit *pit, unsigned index, u8 word)
{
    struct pit_channel *c = &pit->channels[index];
    u8 mode = word >> 1 & 7;
    bool was_high = output(c, tick_now(pit));

    c->mode = mode > 5 ? mode & 3 : mode; /* 6 and 7 are 2 and 3: the top bit is "don't care" */
    c->access = word >> 4 & 3;
    c->bcd = word & 1;
    c->running = false;
    c->null_count = true;
    c->next_count = 0;
    c->held = 0;
    c->write_high = false;
    c->read_high = false;
    c->latched_bytes = 0;
    c->status_latched = false;
    if (index == 0) {
        arm(pit, 0);
        /* Only an output that was low rises now: one that is high already makes no edge for the 8259A. */
        if (c->mode == 0 || !was_high)
            line_set(&pit->irq, c->mode != 0);
    }
}

static void write_word(struct pit *pit, u8 word)
{
    unsigned select = word >> 6;
    s64 tick = tick_now(pit);

    if (select != WORD_READ_BACK) {
        sync(&pit->channels[select], tick);
        if (word & 0x30)
            set_mode(pit, select, word);
        else
            latch_count(&pit->channels[select], tick);
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        if (!(word & 2u << i))
            continue;
        sync(&pit->channels[i], tick);
        if (!(word & READ_BACK_COUNT))
            latch_count(&pit->channels[i], tick);
        if (!(word & READ_BACK_STATUS))
            latch_status(&pit->channels[i], tick);
    }
}

static u8 read_counter(struct pit *pit, struct pit_channel *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status_latch;
    }
    if (c->latched_bytes) {
        bool low = c->access == ACCESS_LOW || c->latched_bytes == 2;
        c->latched_bytes--;
        return (u8)(low ? c->count_latch : c->count_latch >> 8);
    }
    s64 tick = tick_now(pit);
    sync(c, tick);
    u16 value = counter_value(c, tick);
    bool high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->read_high);
    c->read_high = c->access == ACCESS_BOTH && !c->read_high;
    return (u8)(high ? value >> 8 : value);
}

static void set_gate(struct pit_channel *c, bool gate, s64 tick)
{
    if (gate == c->gate)
        return;
    sync(c, tick);
    if (!gate) {
        c->held = c->running && tick > c->start ? tick - c->start : 0;
    } else if (is_triggered(c) || is_periodic(c)) {
        if (c->next_count)
            c->count = c->next_count;
        c->running = c->running || (is_triggered(c) && c->next_count);
        c->next_count = 0;
        c->start = tick + 1;
    } else if (tick - c->held > c->start) {
        c->start = tick - c->held;
    }
    c->gate = gate;
}

static u64 read_pit(void *device, u64 offset, u8 bytes)
{
    struct pit *pit = device;
    (void)bytes;
    return offset == OFFSET_WORD ? 0xff : read_counter(pit, &pit->channels[offset]);
}

static void write_pit(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pit *pit = device;
    (void)bytes;
    if (offset == OFFSET_WORD)
        write_word(pit, (u8)value);
    else
        write_counter(pit, (unsigned)offset, (u8)value);
}

static u64 read_port61(void *device, u64 offset, u8 bytes)
{
    struct pit *pit = device;
    s64 tick = tick_now(pit);

    (void)offset;
    (void)bytes;
    sync(&pit->channels[2], tick);
    return pit->port61 | (tick / REFRESH_TICKS & 1 ? PORT61_REFRESH : 0) |
           (output(&pit->channels[2], tick) ? PORT61_OUT : 0);
}

static void write_port61(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pit *pit = device;

    (void)offset;
    (void)bytes;
    pit->port61 = value & PORT61_WRITABLE;
    set_gate(&pit->channels[2], value & PORT61_GATE, tick_now(pit));
}

static const struct bus_ops pit_ops = {read_pit, write_pit};
static const struct bus_ops port61_ops = {read_port61, write_port61};

enum status pit_init(struct pit *pit, struct bus *bus, struct vtimer_set *timers, struct line irq)
{
    memset(pit, 0, sizeof *pit);
    pit->timers = timers;
    pit->timer = vtimer_add(timers, fire, pit);
    for (unsigned i = 0; i < 3; i++) {
        pit->channels[i].gate = i != 2;
        pit->channels[i].count = 65536;
    }
    /* Control words and counts as firmware writes them: timer, refresh, speaker. */
    write_word(pit, 0x36);
    write_counter(pit, 0, 0);
    write_counter(pit, 0, 0);
    write_word(pit, 0x54);
    write_counter(pit, 1, REFRESH_TICKS);
    write_word(pit, 0xb6);
    write_counter(pit, 2, 0);
    write_counter(pit, 2, 0);
    pit->irq = irq; /* wired only now: the output is high, but the rise to it is long past */

    enum status status = bus_add_ports(bus, PORT_COUNTERS, 4, 1, &pit_ops, pit);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, PORT_61, 1, 1, &port61_ops, pit);
    return status;
}

void pit_copy(struct pit *pit, const struct pit *from)
{
    struct pit own = *pit;

    *pit = *from;
    pit->timers = own.timers;
    pit->irq = own.irq;
    pit->timer = own.timer;
}
