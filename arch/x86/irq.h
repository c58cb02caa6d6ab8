/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device and inter-processor interrupts: which handler a vector has. The same dispatch serves the IDT stubs (idle loop)
 * and VM exits with "acknowledge interrupt on exit". Handlers run with interrupts off and may not sleep; EOI follows
 * the handler. SDM 3A 6.2 "Exception and Interrupt Vectors", 10.8 "Handling Interrupts".
 */
#ifndef ROOTLET_ARCH_IRQ_H
#define ROOTLET_ARCH_IRQ_H

#include "kernel/lib/types.h"

#define IRQ_VECTOR_TIMER    0xf0u
#define IRQ_VECTOR_KICK     0xf1u /* another CPU has something for this one: the mailbox, or only a wake-up */
#define IRQ_VECTOR_SERIAL   0xf2u
#define IRQ_VECTOR_POSTED   0xf3u /* the CPU takes it itself in a guest with posted interrupts */
#define IRQ_VECTOR_COM2     0xf4u
#define IRQ_VECTOR_KEYBOARD 0xf5u
#define IRQ_VECTOR_SPURIOUS 0xffu

/* Precondition: vector >= 32. Set before the first interrupt can come; NULL counts it as unexpected again. */
void irq_set_handler(u8 vector, void (*handler)(void));
/* Runs the vector's handler and then EOIs (never for the spurious vector). A vector without a handler is counted. */
void irq_dispatch(u8 vector);
/* Delivers ISA interrupt `irq` to the boot CPU, which calls it, as `vector`. False: no I/O APIC can. */
bool irq_route_isa(u8 irq, u8 vector) MUST_CHECK;
/* How many interrupts without a handler came, on all CPUs; and the last such vector. */
u64 irq_unexpected_count(u8 *last_vector);

#endif
