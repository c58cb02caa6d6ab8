/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which CPUs are sibling threads of a core, by their APIC ids.
 */
#ifndef ROOTLET_ARCH_TOPOLOGY_H
#define ROOTLET_ARCH_TOPOLOGY_H

#include "kernel/lib/types.h"

/* How many low bits of an APIC id number the threads of a core; 0: cores have one each. By this CPU's CPUID. */
COLD u32 topology_thread_bits(void);
/* Takes all threads of a core but one out of `ids`, and `own`'s siblings; returns how many are left, in their order. */
COLD u32 topology_keep_one_of_a_core(u32 *ids, u32 count, u32 own, u32 thread_bits);

#endif
