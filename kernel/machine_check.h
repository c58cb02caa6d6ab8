/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors that the hardware has corrected, or that did not stop it, go to the log; those that stop it are the panic's.
 * There is no periodic tick to look at them with, and no interrupt is set up for them (CMCI): each CPU looks as it
 * picks a vCPU to run, once a second at most, which finds whatever has happened since. A CPU that sleeps looks when it
 * wakes.
 */
#ifndef ROOTLET_KERNEL_MACHINE_CHECK_H
#define ROOTLET_KERNEL_MACHINE_CHECK_H

#include "kernel/lib/types.h"

/* This CPU, interrupts off, no lock held; `now` is its TSC. Cheap if it is not yet time. */
void machine_check_look(u64 now);

#endif
