/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PIT as a reference clock: channel 2, whose gate is software's, counts freely in mode 2. Channel 0 is stopped from
 * interrupting by the masked interrupt controllers. Intel 8254 "Programmable Interval Timer", "Mode 2: Rate Generator".
 */
#ifndef ROOTLET_DRIVERS_HOST_PIT_H
#define ROOTLET_DRIVERS_HOST_PIT_H

#include "arch/x86/tsc.h"

/* Starts channel 2 and describes it. */
void pit_reference_start(struct tsc_reference *out);
/* Gate and speaker off again. */
void pit_reference_stop(void);

#endif
