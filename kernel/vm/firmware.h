/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a PC's firmware leaves behind for the payload it starts: interrupt vectors, BIOS data area, a cleared text page
 * and the reset vector. Enough for boot sectors and kernels that look at these places; there are no BIOS services.
 */
#ifndef ROOTLET_KERNEL_VM_FIRMWARE_H
#define ROOTLET_KERNEL_VM_FIRMWARE_H

#include "kernel/vm/memory.h"

/*
 * Writes the firmware's traces into zeroed memory; called once, before the image is loaded (an image may lie over
 * them). STATUS_OUT_OF_RANGE: `memory` lacks a PC's low RAM, text page or ROM.
 */
enum status guest_firmware_install(const struct guest_memory *memory) MUST_CHECK;

#endif
