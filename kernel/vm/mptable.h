/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP table that a guest finds, beside ACPI: some systems know no other description of CPUs and interrupts. It
 * describes the same PC as kernel/vm/acpi.c.
 */
#ifndef ROOTLET_KERNEL_VM_MPTABLE_H
#define ROOTLET_KERNEL_VM_MPTABLE_H

#include "kernel/vm/memory.h"

/*
 * Writes the table of a PC with `cpus` CPUs, whose APIC ids are 0 to cpus - 1. Precondition: cpus <= VM_MAX_VCPUS.
 * STATUS_OUT_OF_RANGE: `memory` has no firmware area.
 */
COLD enum status guest_mptable_install(const struct guest_memory *memory, u32 cpus) MUST_CHECK;

#endif
