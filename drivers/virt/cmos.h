/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CMOS RAM and real-time clock at ports 0x70-0x71, IRQ 8. The clock's registers are RAM that is brought up to date
 * when someone looks; timers are armed only for interrupts that the guest enabled. Motorola MC146818A data sheet; the
 * memory-size registers as in IBM's PC AT and in Bochs and SeaBIOS (0x34, 0x5B).
 */
#ifndef ROOTLET_DRIVERS_VIRT_CMOS_H
#define ROOTLET_DRIVERS_VIRT_CMOS_H

#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vtimer.h"

#define CMOS_BYTES 128

struct cmos_setup {
    u64 wall_seconds; /* since 1970-01-01 UTC, at guest time 0 */
    u64 mem_bytes;    /* the PC's memory size, of which at most 3 GiB lie below 4 GiB */
};

struct cmos {
    struct vtimer_set *timers;
    struct line irq;
    s64 phase_ns; /* guest time of an update; the others are whole seconds away */
    s64 updates;  /* updates since phase_ns that the registers already show */
    s64 periods;  /* periodic edges that register C already shows */
    struct vtimer *periodic_timer;
    struct vtimer *update_timer;
    u8 index;
    bool nmi_masked;
    u8 ram[CMOS_BYTES];
};

/*
 * Registers ports and two timers; the clock runs in 24-hour BCD form, as firmware leaves it. Status: as of
 * bus_add_ports.
 */
enum status cmos_init(struct cmos *cmos, struct bus *bus, struct vtimer_set *timers, struct line irq,
                      const struct cmos_setup *setup) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void cmos_copy(struct cmos *cmos, const struct cmos *from);

#endif
