/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's keyboard as a second way to type at the console: what its keys send goes where the serial port's bytes
 * go.
 */
#ifndef ROOTLET_KERNEL_KEYS_H
#define ROOTLET_KERNEL_KEYS_H

#include "kernel/lib/types.h"

/* Boot CPU, once, after the I/O APIC is up. False: there is no keyboard, or no interrupt for it. */
COLD bool keys_init(void);

#endif
