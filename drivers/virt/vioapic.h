/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC: 24 pins, version 0x20 (with the EOI register), at 0xFEC00000. Pin levels are logical ("the device asks
 * for service"): the polarity bit is kept but has no effect, so that no guest can have it wrong. Intel 82093AA data
 * sheet (290566), 3.0 "Register Description"; the EOI register as in the ICH family. Callers hold the VM's device lock.
 */
#ifndef ROOTLET_DRIVERS_VIRT_VIOAPIC_H
#define ROOTLET_DRIVERS_VIRT_VIOAPIC_H

#include "kernel/vm/bus.h"

#define VIOAPIC_ADDRESS   0xfec00000ull
#define VIOAPIC_BYTES     0x1000u
#define VIOAPIC_MASKED    0x10000ull /* of an entry */
#define VIOAPIC_PINS      24u
#define VIOAPIC_BROADCAST 0xffffffffu

/* delivery: as of the redirection entry: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT. */
struct vioapic_message {
    u32 destination; /* 8 bits, or VIOAPIC_BROADCAST for 0xFF */
    u8 vector;
    u8 delivery;
    bool logical;
    bool level;
};

struct vioapic {
    u64 entries[VIOAPIC_PINS];
    u32 lines; /* level of each pin now */
    u8 select;
    u8 id;
    /* Returns whether a local APIC accepted it; a level-triggered interrupt that none did is tried again when its entry
     * or pin changes. */
    bool (*deliver)(void *context, const struct vioapic_message *message);
    void *context;
};

/* Registers the memory range; all pins masked. Status: as of bus_add_memory. */
enum status vioapic_init(struct vioapic *ioapic, struct bus *bus,
                         bool (*deliver)(void *context, const struct vioapic_message *message),
                         void *context) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void vioapic_copy(struct vioapic *ioapic, const struct vioapic *from);
/* A struct line's `set` and `pulse`. pin: below VIOAPIC_PINS. */
void vioapic_set_line(void *ioapic, u8 pin, bool level);
void vioapic_pulse_line(void *ioapic, u8 pin);
/* The same for a pin that is masked, where the edge is lost; false, and nothing done: it is open. */
static ALWAYS_INLINE bool vioapic_pulse_masked(struct vioapic *ioapic, u8 pin)
{
    if (UNLIKELY(!(ioapic->entries[pin] >> 16 & 1)))
        return false;
    ioapic->lines |= 1u << pin;
    return true;
}
/* True if a pin is open whose interrupts are NMIs. */
bool vioapic_has_nmi(const struct vioapic *ioapic);
/* The EOI broadcast of a local APIC. */
void vioapic_end_interrupt(struct vioapic *ioapic, u8 vector);

#endif
