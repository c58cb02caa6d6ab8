/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Switching the machine off, or on again. ACPI S5 through the FADT's PM1 control registers and \_S5; where that does
 * nothing, the ports of well-known emulators. ACPI Specification 6.4, 4.8.3.2.1 "PM1 Control Registers", 7.4.2 "System
 * \_Sx States".
 */
#ifndef ROOTLET_DRIVERS_HOST_POWER_H
#define ROOTLET_DRIVERS_HOST_POWER_H

#include "arch/x86/acpi.h"

/* Remembers what power_off needs of the tables. power_off works without it too, by the fallbacks. */
void power_set_acpi(const struct acpi_info *acpi);
/*
 * Precondition: VMX is off on every CPU, the console is flushed. Stays in HLT with interrupts off if the machine
 * cannot be switched off.
 */
NORETURN void power_off(void);
/* Starts the machine again: ACPI's reset register, 4.8.3.6, or a PC's own ways. Preconditions as of power_off. */
COLD NORETURN void power_restart(void);

#endif
