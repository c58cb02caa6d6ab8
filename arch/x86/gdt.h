/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each CPU's own GDT and TSS, which stand in its struct cpu_local. SDM 3A 3.5.1 "Segment Descriptor Tables", 7.7 "Task
 * Management in 64-bit Mode".
 */
#ifndef ROOTLET_ARCH_GDT_H
#define ROOTLET_ARCH_GDT_H

#include "arch/x86/percpu.h"

/* On the CPU itself: builds the tables from cpu->ist_top, loads GDTR, CS, data segments and TR. Leaves FS and GS alone.
 */
void gdt_load_cpu(struct cpu_local *cpu);

/* What a VMCS's host-state area needs. */
static inline u64 gdt_base(const struct cpu_local *cpu)
{
    return (u64)(uintptr_t)cpu->gdt;
}

static inline u64 tss_base(const struct cpu_local *cpu)
{
    return (u64)(uintptr_t)&cpu->tss;
}

#endif
