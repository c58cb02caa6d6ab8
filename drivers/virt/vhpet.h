/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET at 0xFED00000: a 64-bit main counter of 10 ns, three comparators, each one-shot or periodic, 32 or 64 bits,
 * edge or level; legacy replacement; no FSB interrupts. IA-PC HPET Specification 1.0a, 2.3 "Register Model and
 * Programming Interface". Callers hold the VM's device lock.
 */
#ifndef ROOTLET_DRIVERS_VIRT_VHPET_H
#define ROOTLET_DRIVERS_VIRT_VHPET_H

#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vtimer.h"

#define VHPET_ADDRESS    0xfed00000ull
#define VHPET_BYTES      0x400u
#define VHPET_TIMERS     3u
#define VHPET_TICK_NS    10u
#define VHPET_PERIOD_FS  10000000u
#define VHPET_ROUTES     0x00f00000u /* I/O APIC pins that a comparator may drive: 20 to 23 */
#define VHPET_MIN_TICKS  2000u       /* between interrupts of a periodic comparator: shorter periods skip some */
#define VHPET_IRQ_TIMER0 0u          /* legacy replacement: comparator 0 is IRQ 0, comparator 1 IRQ 8 */
#define VHPET_IRQ_TIMER1 8u

struct vhpet_comparator {
    u64 config; /* as read */
    u64 value;
    u64 period; /* ticks */
    u64 deadline_ns;
};

/* Where interrupts go. select_legacy tells whether legacy replacement is on, that is, whether PIT and CMOS clock are
 * cut off from IRQ 0 and IRQ 8. The device fills in the pins of isa and ioapic. */
struct vhpet_wiring {
    struct line isa;
    struct line ioapic;
    void (*select_legacy)(void *context, bool on);
    void *context;
};

struct vhpet {
    struct vhpet_comparator comparators[VHPET_TIMERS];
    u64 base_ns;    /* while running: when the counter was base_count */
    u64 base_count; /* while halted: the counter */
    u8 config;
    u8 status;
    struct vtimer *timer;
    struct vtimer_set *timers;
    struct vhpet_wiring wiring;
};

/* Registers the memory range and one timer. Status: as of bus_add_memory. */
enum status vhpet_init(struct vhpet *hpet, struct bus *bus, struct vtimer_set *timers,
                       const struct vhpet_wiring *wiring) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void vhpet_copy(struct vhpet *hpet, const struct vhpet *from);

#endif
