/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APICs: every pin masked but those that the hypervisor itself drives. ISA interrupts are found through the
 * MADT's overrides. Boot CPU only, interrupts off.
 * Intel 82093AA "I/O Advanced Programmable Interrupt Controller", 3.2 "I/O APIC Registers".
 */
#ifndef ROOTLET_ARCH_IOAPIC_H
#define ROOTLET_ARCH_IOAPIC_H

#include "arch/x86/acpi.h"

/* Maps each I/O APIC of the MADT and masks all of its pins. STATUS_NO_MEMORY: one could not be mapped; the others were.
 */
enum status ioapic_init(const struct acpi_info *acpi, struct refusal *why) MUST_CHECK;
/*
 * Delivers ISA interrupt `irq` (0..15) as `vector` to the CPU with `apic_id`, with the polarity and trigger mode of its
 * override, unmasked. STATUS_UNSUPPORTED: no I/O APIC has that pin, or none can name a CPU with so high an id.
 */
enum status ioapic_route_isa(u8 irq, u8 vector, u32 apic_id) MUST_CHECK;
/* Remapping hardware blocks what I/O APICs send: nothing can be routed from now on. */
void ioapic_set_blocked(void);
/* Masks every pin of every I/O APIC: at shutdown. */
void ioapic_mask_all(void);
/* Pins of all I/O APICs together, for the log. */
u32 ioapic_pin_count(void);

#endif
