/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What CPU models get wrong, from their makers' published errata, and who is affected. Pure. (What emulators get wrong
 * is another matter.)
 */
#ifndef ROOTLET_ARCH_ERRATA_H
#define ROOTLET_ARCH_ERRATA_H

#include "kernel/lib/types.h"

/* The CPU that this code runs on, as the questions below want it. */
struct errata_cpu {
    bool is_intel;         /* CPUID.0: "GenuineIntel" */
    u32 signature;         /* CPUID.1:EAX */
    u64 arch_capabilities; /* IA32_ARCH_CAPABILITIES, 0 where it does not exist */
};
struct errata_cpu errata_this_cpu(void);

/* The VMX-preemption timer counts at another rate than IA32_VMX_MISC says, now and then. */
bool errata_preemption_timer(const struct errata_cpu *cpu);
/*
 * A guest that changes the size of a page in its own tables, and runs code there before it flushes, raises a machine
 * check, unless each large page that it can run code in is ours to forbid (EPT).
 */
bool errata_page_size_change(const struct errata_cpu *cpu);

#endif
