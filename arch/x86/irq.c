/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vector table of interrupt handlers. Written while the machine comes up, read-only afterwards, so dispatch takes
 * no lock. Runs with interrupts off on any CPU; while a VM exit is handled, a VMCS may be current. SDM 3A 6.2
 * "Exception and Interrupt Vectors", 10.8.5 "Signaling Interrupt Servicing Completion".
 */
#include "arch/x86/irq.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/lapic.h"

#define IRQ_VECTORS 256u

static void (*handlers[IRQ_VECTORS])(void);
static u64 unexpected;
static u8 unexpected_vector;

void irq_set_handler(u8 vector, void (*handler)(void))
{
    __atomic_store_n(&handlers[vector], handler, __ATOMIC_RELEASE);
}

void irq_dispatch(u8 vector)
{
    void (*handler)(void) = handlers[vector];

    if (LIKELY(handler)) {
        handler();
    } else if (vector != IRQ_VECTOR_SPURIOUS) {
        __atomic_fetch_add(&unexpected, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&unexpected_vector, vector, __ATOMIC_RELAXED);
    }
    /* A spurious interrupt sets no in-service bit: an EOI would end some other interrupt. */
    if (vector != IRQ_VECTOR_SPURIOUS)
        lapic_eoi();
}

bool irq_route_isa(u8 irq, u8 vector)
{
    return ioapic_route_isa(irq, vector, lapic_id()) == STATUS_OK;
}

u64 irq_unexpected_count(u8 *last_vector)
{
    if (last_vector)
        *last_vector = __atomic_load_n(&unexpected_vector, __ATOMIC_RELAXED);
    return __atomic_load_n(&unexpected, __ATOMIC_RELAXED);
}
