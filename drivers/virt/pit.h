/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC's 8254 timer at ports 0x40-0x43, and port 0x61: gate and speaker of channel 2, refresh toggle. Channel 0's
 * output is IRQ 0. Time is guest nanoseconds, converted exactly to ticks of PIT_HZ: an edge is never early and does not
 * drift. Intel 8254 data sheet (231164); port 0x61 as in the 82371SB (PIIX3), "NMI Status and Control Register".
 */
#ifndef ROOTLET_DRIVERS_VIRT_PIT_H
#define ROOTLET_DRIVERS_VIRT_PIT_H

#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vtimer.h"

#define PIT_HZ 1193182u
/* Channel 0 raises IRQ 0 at most once in so many ticks (20 us): a faster guest loses edges, it does not load the host.
 */
#define PIT_MIN_PERIOD_TICKS 24

struct pit_channel {
    s64 start;       /* tick at which the present count is loaded; may lie in the future */
    s64 switch_tick; /* tick at which next_count takes over (modes 2 and 3) */
    s64 next_start;  /* what `start` then becomes */
    s64 held;        /* ticks counted when the gate stopped the counter */
    u32 count;       /* 1 to 65536 */
    u32 next_count;  /* 0: none waits */
    u16 count_latch;
    u8 status_latch;
    u8 mode;   /* 0 to 5 */
    u8 access; /* 1: low byte, 2: high byte, 3: low, then high */
    u8 low_byte;
    u8 latched_bytes; /* bytes of count_latch that are still to be read */
    bool bcd;
    bool gate;
    bool running; /* a count was written and (modes 1 and 5) triggered */
    bool null_count;
    bool write_high; /* access 3: the next write is the high byte */
    bool read_high;
    bool status_latched;
};

struct pit {
    struct pit_channel channels[3];
    struct vtimer_set *timers;
    struct line irq;
    u64 edge_ns; /* the rising edge of channel 0's output for which the timer is armed: edge_ns + edge_rest / PIT_HZ */
    u64 period_ns; /* from one edge to the next, likewise in two parts; 0: not steady, the next edge must be worked out
                    */
    u32 edge_rest;
    u32 period_rest;
    struct vtimer *timer;
    u8 port61; /* the writable bits 0 to 3 */
};

/*
 * Registers ports and one timer; channel 0 begins as a PC's firmware leaves it: mode 3, 18.2 Hz. `irq` is pulsed at
 * each rising edge of channel 0's output. Status: as of bus_add_ports.
 */
enum status pit_init(struct pit *pit, struct bus *bus, struct vtimer_set *timers, struct line irq) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void pit_copy(struct pit *pit, const struct pit *from);

#endif
