/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stands before the real arch/x86/cpu.h where a test has `flags: -Itest/fake`: the same names, but what needs ring 0
 * (or would tell about the test's own machine) goes to test/fake/cpu.c and test/fake/msr.c.
 */
#ifndef ROOTLET_ARCH_CPU_H
#define ROOTLET_ARCH_CPU_H

#include "arch/x86/msr.h"
#include "arch/x86/regs.h"
#include "kernel/lib/types.h"

struct cpuid_result {
    u32 eax, ebx, ecx, edx;
};

struct cpuid_result cpu_cpuid(u32 leaf, u32 subleaf);
u64 cpu_tsc(void);
static inline u32 cpu_tsc_low(void)
{
    return (u32)cpu_tsc();
}
static inline u64 cpu_tsc_ordered(void)
{
    return cpu_tsc();
}

u64 msr_read(u32 index);
void msr_write(u32 index, u64 value);
bool msr_read_safe(u32 index, u64 *value) MUST_CHECK;
bool msr_write_safe(u32 index, u64 value) MUST_CHECK;

#define FAKE_DECLARE_REGISTER(name)                                                                                    \
    u64 name##_read(void);                                                                                             \
    void name##_write(u64 value);

FAKE_DECLARE_REGISTER(cr0)
FAKE_DECLARE_REGISTER(cr2)
FAKE_DECLARE_REGISTER(cr3)
FAKE_DECLARE_REGISTER(cr4)
FAKE_DECLARE_REGISTER(dr0)
FAKE_DECLARE_REGISTER(dr1)
FAKE_DECLARE_REGISTER(dr2)
FAKE_DECLARE_REGISTER(dr3)
FAKE_DECLARE_REGISTER(dr6)
FAKE_DECLARE_REGISTER(dr7)

/* A test whose sources use ports has these two. */
u32 fake_port_read(u16 port, u32 bytes);
void fake_port_write(u16 port, u32 bytes, u32 value);

#define FAKE_DEFINE_PORT(bits)                                                                                         \
    static inline u##bits port_in##bits(u16 port)                                                                      \
    {                                                                                                                  \
        return (u##bits)fake_port_read(port, bits / 8);                                                                \
    }                                                                                                                  \
    static inline void port_out##bits(u16 port, u##bits value)                                                         \
    {                                                                                                                  \
        fake_port_write(port, bits / 8, value);                                                                        \
    }

FAKE_DEFINE_PORT(8)
FAKE_DEFINE_PORT(16)
FAKE_DEFINE_PORT(32)

static inline void cpu_pause(void) {}
static inline void cpu_interrupts_disable(void) {}

/* What is pending is taken here. */
void cpu_interrupts_enable(void);

void cpu_sleep_until_interrupt(void);

#endif
