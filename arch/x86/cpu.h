/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instructions that C has no word for: CPUID, MSRs, control registers, ports, TSC, interrupts.
 * Everything here is stateless.
 */
#ifndef ROOTLET_ARCH_CPU_H
#define ROOTLET_ARCH_CPU_H

#include "arch/x86/msr.h"
#include "arch/x86/regs.h"
#include "kernel/lib/types.h"

struct cpuid_result {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid_result cpu_cpuid(u32 leaf, u32 subleaf)
{
    u64 eax = leaf, ebx, ecx = subleaf, edx;
    /* Leaves RBX alone, which vmx/exit/cpuid.c must not use. */
    asm volatile("mov %%rbx, %1\n\tcpuid\n\txchg %%rbx, %1" : "+a"(eax), "=&r"(ebx), "+c"(ecx), "=d"(edx));
    return (struct cpuid_result){(u32)eax, (u32)ebx, (u32)ecx, (u32)edx};
}

/* RDTSC clears the upper halves of RAX and RDX: no widening is needed. */
static inline u64 cpu_tsc(void)
{
    u64 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return high << 32 | low;
}

/* False: the CPU has none just now. Precondition: CPUID.1:ECX[30]. SDM 2B "RDRAND-Read Random Number" */
static inline bool cpu_rdrand(u64 *random)
{
    bool ok;
    asm volatile("rdrand %0" : "=r"(*random), "=@ccc"(ok));
    return ok;
}

/* After all loads before it. SDM 2B "RDTSC-Read Time-Stamp Counter" */
static inline u64 cpu_tsc_ordered(void)
{
    asm volatile("lfence" : : : "memory");
    return cpu_tsc();
}

/* Its low half: enough for differences below 2^31 ticks. */
static ALWAYS_INLINE u32 cpu_tsc_low(void)
{
    u32 low;
    asm volatile("rdtsc" : "=a"(low) : : "edx");
    return low;
}

/* Precondition: the MSR exists (#GP otherwise, which is a host bug). msr_read_safe asks first. */
static inline u64 msr_read(u32 index)
{
    u64 low, high; /* as for RDTSC */
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return high << 32 | low;
}

static inline void msr_write(u32 index, u64 value)
{
    asm volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* False if the access raises #GP (arch/x86/traps.c resumes at the fixup). */
bool msr_read_safe(u32 index, u64 *value) MUST_CHECK;
bool msr_write_safe(u32 index, u64 value) MUST_CHECK;

#define CPU_DEFINE_CONTROL_REGISTER(name)                                                                              \
    static inline u64 name##_read(void)                                                                                \
    {                                                                                                                  \
        u64 value;                                                                                                     \
        asm volatile("mov %%" #name ", %0" : "=r"(value));                                                             \
        return value;                                                                                                  \
    }                                                                                                                  \
    static inline void name##_write(u64 value)                                                                         \
    {                                                                                                                  \
        asm volatile("mov %0, %%" #name : : "r"(value) : "memory");                                                    \
    }

CPU_DEFINE_CONTROL_REGISTER(cr0)
CPU_DEFINE_CONTROL_REGISTER(cr2)
CPU_DEFINE_CONTROL_REGISTER(cr3)
CPU_DEFINE_CONTROL_REGISTER(cr4)
CPU_DEFINE_CONTROL_REGISTER(dr0)
CPU_DEFINE_CONTROL_REGISTER(dr1)
CPU_DEFINE_CONTROL_REGISTER(dr2)
CPU_DEFINE_CONTROL_REGISTER(dr3)
CPU_DEFINE_CONTROL_REGISTER(dr6)
CPU_DEFINE_CONTROL_REGISTER(dr7)

#define CPU_DEFINE_PORT(bits)                                                                                          \
    static inline u##bits port_in##bits(u16 port)                                                                      \
    {                                                                                                                  \
        u##bits value;                                                                                                 \
        asm volatile("in %1, %0" : "=a"(value) : "Nd"(port));                                                          \
        return value;                                                                                                  \
    }                                                                                                                  \
    static inline void port_out##bits(u16 port, u##bits value)                                                         \
    {                                                                                                                  \
        asm volatile("out %0, %1" : : "a"(value), "Nd"(port));                                                         \
    }

CPU_DEFINE_PORT(8)
CPU_DEFINE_PORT(16)
CPU_DEFINE_PORT(32)

static inline void cpu_pause(void)
{
    asm volatile("pause");
}

static inline void cpu_interrupts_disable(void)
{
    asm volatile("cli" : : : "memory");
}

static inline void cpu_interrupts_enable(void)
{
    asm volatile("sti" : : : "memory");
}

static inline bool cpu_interrupts_enabled(void)
{
    u64 flags;
    asm volatile("pushfq; pop %0" : "=r"(flags));
    return flags & RFLAGS_IF;
}

/* Sleeps until an interrupt; enters and leaves with interrupts off. STI's shadow closes the race with a wake-up. */
static inline void cpu_sleep_until_interrupt(void)
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

#endif
