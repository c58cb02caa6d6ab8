/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET's main counter as a reference clock. IA-PC HPET Specification 1.0a, 2.3 "Timer Register Descriptions".
 */
#ifndef ROOTLET_DRIVERS_HOST_HPET_H
#define ROOTLET_DRIVERS_HOST_HPET_H

#include "arch/x86/tsc.h"

/* Maps the HPET at physical `address` and starts its counter without interrupts. False: no usable HPET there. */
bool hpet_reference(u64 address, struct tsc_reference *out);

#endif
