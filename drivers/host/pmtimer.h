/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI power-management timer as a reference clock: 3.579545 MHz, 24 or 32 bits, read-only.
 * ACPI Specification 6.4, 4.8.3.3 "Power Management Timer (PM_TMR)".
 */
#ifndef ROOTLET_DRIVERS_HOST_PMTIMER_H
#define ROOTLET_DRIVERS_HOST_PMTIMER_H

#include "arch/x86/tsc.h"

/* Precondition: port != 0; bits is 24 or 32. */
void pmtimer_reference(u16 port, u32 bits, struct tsc_reference *out);

#endif
