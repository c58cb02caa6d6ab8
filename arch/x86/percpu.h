/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The per-CPU block that GS points to on every CPU from the first C instruction on. A VM exit reloads GS from the
 * VMCS's host state; there is no user mode in the host, so GS always holds it.
 *
 *   gs:0   self            <- cpu_local()
 *   ...    id, apic_id
 *          trace_*         this CPU's places in its flight recorder
 *          GDT, TSS        the CPU's own descriptor tables
 */
#ifndef ROOTLET_ARCH_PERCPU_H
#define ROOTLET_ARCH_PERCPU_H

#include "kernel/lib/addr.h"
#include "kernel/lib/status.h"

#define CPU_MAX 64u /* one bit of a u64 mask each */

#define SELECTOR_KERNEL_CODE 0x08u
#define SELECTOR_KERNEL_DATA 0x10u
#define SELECTOR_TSS         0x18u
#define GDT_ENTRIES          5u /* null, code, data, TSS (two slots) */

#define CPU_STACK_BYTES KIB(16)

/* The interrupt stack table's entries, numbered from 1 as in the gates. */
enum cpu_ist { IST_NMI = 1, IST_DOUBLE_FAULT = 2, IST_MACHINE_CHECK = 3 };
#define IST_COUNT     3u
#define IST_BYTES     KIB(12)
#define IST_NMI_SLICE KIB(4) /* the NMI entry moves its IST pointer down by this much: two may nest */

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
    u32 id; /* 0 is the boot CPU; dense */
    u32 apic_id;
    void *trace_exit;  /* kernel/trace/trace.h: the record of this CPU's last exit... */
    void *trace_event; /* ... and of what else happened last */
    u64 stack_top;
    u64 gdt[GDT_ENTRIES] ALIGNED(16);
    struct tss tss ALIGNED(16);
    u64 ist_top[IST_COUNT]; /* of IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK */
    u32 online;             /* set last by the CPU itself */
} ALIGNED(64);

/* The boot CPU's stacks: used by boot/entry.asm, otherwise percpu.c's own. Each guard page is unmapped later. */
struct boot_stacks {
    u8 guard[FRAME_BYTES];
    u8 stack[CPU_STACK_BYTES];
    struct {
        u8 guard[FRAME_BYTES];
        u8 stack[IST_BYTES];
    } ist[IST_COUNT];
};

static inline struct cpu_local *cpu_local(void)
{
    struct cpu_local *self;
    asm volatile("mov %%gs:0, %0" : "=r"(self));
    return self;
}

/* The current CPU's own field, a pointer, u32 or u64, in one instruction. */
#define CPU_LOCAL_GET(field)                                                                                           \
    ({                                                                                                                 \
        __typeof__(((struct cpu_local *)0)->field) got;                                                                \
        asm volatile("mov %%gs:%c1, %0" : "=r"(got) : "i"(offsetof(struct cpu_local, field)));                         \
        got;                                                                                                           \
    })
#define CPU_LOCAL_SET(field, value)                                                                                    \
    asm volatile("mov %0, %%gs:%c1" : : "r"(value), "i"(offsetof(struct cpu_local, field)) : "memory")

static inline u32 cpu_id(void)
{
    return CPU_LOCAL_GET(id);
}

/* The block of CPU `id`; valid for id < smp_cpu_count(). */
struct cpu_local *cpu_local_of(u32 id);

/* The boot CPU, first of all C: its stacks (in the image) and its descriptor tables; GS is set already. */
void percpu_init_boot_cpu(void);
/* Takes the guard pages below the boot CPU's stacks out of the kernel's mapping. After paging_init. */
void percpu_guard_boot_stacks(void);
/*
 * Boot CPU: makes the block of CPU `id` (1..CPU_MAX-1), with guarded stacks. May be called again for an id whose CPU
 * did not come up: the stacks are kept. STATUS_NO_MEMORY: no frame for the stacks.
 */
enum status percpu_create(u32 id, u32 apic_id, struct cpu_local **out) MUST_CHECK;
/* On each other CPU, first: its own GDT, TSS, IDT and the control register bits that the boot CPU has. */
void percpu_load(struct cpu_local *cpu);
/* True if [address, address + bytes) lies within one of this CPU's stacks, so that a backtrace may read it. */
bool percpu_stack_contains(const struct cpu_local *cpu, u64 address, u64 bytes);

#endif
