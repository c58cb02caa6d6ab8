/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables that a guest finds: at fixed places in the firmware area, which is ROM for the guest. They describe
 * the virtual PC: CPUs, interrupt controllers, fixed hardware, HPET; the DSDT is compiled from kernel/vm/dsdt.asl. The
 * numbers below are the device models' too.
 */
#ifndef ROOTLET_KERNEL_VM_ACPI_H
#define ROOTLET_KERNEL_VM_ACPI_H

#include "kernel/vm/memory.h"

#define GUEST_ACPI_PM1_EVENT   0x600u /* status and enable, 16 bits each */
#define GUEST_ACPI_PM1_CONTROL 0x604u
#define GUEST_ACPI_PM_TIMER    0x608u /* 32 bits count */
#define GUEST_ACPI_SCI         9u     /* level, active high */
#define GUEST_ACPI_RESET_PORT  0xcf9u
#define GUEST_ACPI_RESET_VALUE 6u
#define GUEST_ACPI_HPET_ID     0x8086a201u /* low half of the HPET's capabilities: 64 bits, 3 timers, legacy routing */
#define GUEST_ACPI_IOAPIC      0xfec00000u /* id 0, inputs from global interrupt 0 on; IRQ 0 is input 2 */
#define GUEST_ACPI_HPET        0xfed00000u

/*
 * Writes the tables of a PC with `cpus` CPUs, whose APIC ids are 0 to cpus - 1; *rsdp is where the root pointer lies.
 * Precondition: cpus <= VM_MAX_VCPUS. STATUS_OUT_OF_RANGE: `memory` has no firmware area.
 */
enum status guest_acpi_install(const struct guest_memory *memory, u32 cpus, gpa_t *rsdp) MUST_CHECK;

#endif
