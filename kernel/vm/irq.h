/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interrupt line: a wire from a device to one pin of a controller. And the controller as the CPU sees it.
 */
#ifndef ROOTLET_KERNEL_VM_IRQ_H
#define ROOTLET_KERNEL_VM_IRQ_H

#include "kernel/lib/types.h"

struct line {
    void (*set)(void *controller, u8 pin, bool level);
    void (*pulse)(void *controller, u8 pin); /* low and high again; needed only by devices that pulse */
    void *controller;
    u8 pin;
};

/* Idempotent: a device may set a level that the line already has. A line that is wired to nothing ignores it. */
static inline void line_set(const struct line *line, bool level)
{
    if (line->set)
        line->set(line->controller, line->pin, level);
}

/* One rising edge: the line drops, if it is high, and rises. As short as possible, since each timer tick does it. */
static ALWAYS_INLINE void line_pulse(const struct line *line)
{
    if (line->pulse)
        line->pulse(line->controller, line->pin);
}

/* What the boot vCPU asks of the interrupt controller (SDM 3A 6.3.1 "External Interrupts"; the 8259A's INTR and INTA).
 */
struct intc {
    const bool *pending;             /* INTR is asserted */
    u8 (*acknowledge)(void *device); /* the INTA cycle: the vector; the request becomes in-service */
    void *device;
};

#endif
