/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI power-management block: PM1a status and enable at 0x600, the PM timer (32 bits, 3.579545 MHz) at 0x608. The
 * PM1a control register between them, at 0x604, is power.c's, which has SCI_EN always set: this PC is never out of ACPI
 * mode. ACPI Specification 4.8.3 "Fixed Hardware Registers". Callers hold the VM's device lock.
 */
#ifndef ROOTLET_DRIVERS_VIRT_PM_H
#define ROOTLET_DRIVERS_VIRT_PM_H

#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vtimer.h"

#define PM_PORT_EVENT 0x600u /* status, 2 bytes; enable, 2 bytes */
#define PM_PORT_TIMER 0x608u
#define PM_TIMER_HZ   3579545u
#define PM_SCI_IRQ    9u /* level-triggered */

#define PM_TIMER_EVENT        0x0001u /* bit 31 of the timer changed */
#define PM_GLOBAL_EVENT       0x0020u /* can be enabled, but never happens; so the RTC's */
#define PM_POWER_BUTTON_EVENT 0x0100u
#define PM_RTC_EVENT          0x0400u

struct pm {
    u16 enable;
    u16 button;           /* PM_POWER_BUTTON_EVENT: it has been pressed */
    u64 timer_epoch;      /* the timer's bits from 31 on when PM_TIMER_EVENT was last cleared */
    struct vtimer *timer; /* armed while the timer's event can interrupt */
    struct vtimer_set *timers;
    struct line sci;
};

/* Registers the ports and one timer. Status: as of bus_add_ports. */
enum status pm_init(struct pm *pm, struct bus *bus, struct vtimer_set *timers, struct line sci) MUST_CHECK;
/* The VM's lock is held. */
void pm_press_power_button(struct pm *pm);
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void pm_copy(struct pm *pm, const struct pm *from);

#endif
