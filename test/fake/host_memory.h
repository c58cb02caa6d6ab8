/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host-physical memory for host tests: one array behind phys_to_virt, and a frame allocator over it with the interface
 * of kernel/frames.h (first fit from the bottom). An address outside the array, a foreign or a double free aborts.
 */
#ifndef ROOTLET_TEST_FAKE_HOST_MEMORY_H
#define ROOTLET_TEST_FAKE_HOST_MEMORY_H

#include "arch/x86/paging.h"
#include "kernel/frames.h"

/* Makes [base, base + bytes) the machine's memory, zeroed, all of it free. Forgets what was there before. */
void host_memory_init(u64 base, u64 bytes);
/* Takes frames away from the allocator, so that what is left is fragmented. Precondition: they are free. */
void host_memory_take(u64 base, u64 bytes);

#endif
