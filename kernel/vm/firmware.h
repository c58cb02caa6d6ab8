/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a PC's firmware leaves behind for the payload it starts: interrupt vectors, BIOS data area, a cleared text page,
 * the reset vector, and the few BIOS services that boot sectors need (kernel/vm/bios.asm).
 */
#ifndef ROOTLET_KERNEL_VM_FIRMWARE_H
#define ROOTLET_KERNEL_VM_FIRMWARE_H

#include "kernel/vm/memory.h"

/* The BIOS's own 64 KiB: systems look here for the pointers to its tables. */
#define GUEST_BIOS_BASE   0xF0000ull
#define GUEST_BIOS_SMBIOS 0xF0400ull /* behind the MP table */
#define GUEST_BIOS_CODE   0xF8000ull

/*
 * Writes the firmware's traces into zeroed memory; called once, before the image is loaded (an image may lie over
 * them). STATUS_OUT_OF_RANGE: `memory` lacks a PC's low RAM, text page or ROM.
 */
COLD enum status guest_firmware_install(const struct guest_memory *memory) MUST_CHECK;

#endif
