/*
 * The per-CPU block that GS points to on every CPU from the first C instruction on. A VM exit reloads GS from the VMCS's host
 * state; there is no user mode in the host, so GS always holds it.
 *
 *   gs:0   self            <- cpu_local()
 *   ...    id, apic_id
 *          kernel          -> struct cpu of kernel/cpu.h
 *          GDT, TSS        the CPU's own descriptor tables
 */
#ifndef ROOTLET_ARCH_PERCPU_H
#define ROOTLET_ARCH_PERCPU_H

#include "kernel/lib/types.h"

#define CPU_MAX 64u /* one bit of a u64 mask each */

#define SELECTOR_KERNEL_CODE 0x08u
#define SELECTOR_KERNEL_DATA 0x10u
#define SELECTOR_TSS         0x18u
#define GDT_ENTRIES          5u /* null, code, data, TSS (two slots) */

/* SDM 3A 7.7 "Task Management in 64-bit Mode" */
struct tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3;
    u16 io_map_base;
} PACKED;

struct cpu_local {
    struct cpu_local *self;
    u32 id;      /* 0 is the boot CPU; dense */
    u32 apic_id;
    void *kernel;
    u64 stack_top;
    u64 gdt[GDT_ENTRIES] ALIGNED(16);
    struct tss tss ALIGNED(16);
    u32 online; /* set last by the CPU itself */
};

static inline struct cpu_local *cpu_local(void)
{
    struct cpu_local *self;
    asm volatile("mov %%gs:0, %0" : "=r"(self));
    return self;
}

static inline u32 cpu_id(void)
{
    return cpu_local()->id;
}

/* The block of CPU `id`; valid for id < smp_cpu_count(). */
struct cpu_local *cpu_local_of(u32 id);

#endif
