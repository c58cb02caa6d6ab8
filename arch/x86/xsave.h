/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest FPU, SSE and AVX state: XSAVE/XRSTOR in the standard format, or FXSAVE where the CPU has no XSAVE. The kernel
 * itself never uses these registers, so the state is switched only when the vCPU on a CPU changes. SDM 1 13 "Managing
 * State Using the XSAVE Feature Set".
 */
#ifndef ROOTLET_ARCH_XSAVE_H
#define ROOTLET_ARCH_XSAVE_H

#include "arch/x86/cpu.h"

#define XSAVE_ALIGNMENT 64u
#define XCR0_X87        BIT(0)
#define XCR0_SSE        BIT(1)
#define XCR0_AVX        BIT(2)
#define XCR0_AVX512     (BIT(5) | BIT(6) | BIT(7))
#define XCR0_PKRU       BIT(9)

/* Boot CPU, once: looks at CPUID. */
void xsave_detect(void);
/* Every CPU: CR0 and CR4 as the FPU needs them, XCR0 = all that is supported, IA32_XSS = 0. */
void xsave_init_cpu(void);
/* Has XSAVE (and OSXSAVE set): else only x87 and SSE state, switched by FXSAVE. */
bool xsave_is_available(void);
/* The XCR0 bits that a guest may set: those of the CPU that this hypervisor knows. X87 | SSE without XSAVE. */
u64 xsave_supported_mask(void);
/* Size of the area for the components in `xcr0` (standard format), at least 576; 512 with FXSAVE. A multiple of 64. */
u32 xsave_area_bytes(u64 xcr0);
/* True if a guest may load `value` into XCR0: only supported bits, and the combinations of SDM 1 13.3. */
bool xsave_xcr0_is_valid(u64 value);
/* Fills an area (aligned to 64, of xsave_area_bytes(xsave_supported_mask())) with the state after reset. */
void xsave_area_init(void *area);
/*
 * The legacy region (SDM 1 13.4.1) of a saved area, with the initial state where XSAVE has left a component out; and
 * back: then x87 and SSE state are no longer initial. MXCSR must come back as it was, since XRSTOR refuses what it does
 * not know.
 */
void xsave_area_export(const void *area, u8 out[512]);
void xsave_area_import(void *area, const u8 in[512]);
/*
 * xsave_check.asm: does XSAVEC put AVX state where XRSTOR looks for it? `area` is 1 KiB of zeros, aligned to 64.
 * Precondition: the CPU has XSAVEC and AVX; before any guest runs.
 */
bool xsave_check_compaction(void *area);
/* Precondition: XCR0 on this CPU contains `mask`. */
void xsave_save(void *area, u64 mask);
void xsave_restore(const void *area, u64 mask);

static inline u64 xcr0_read(void)
{
    u32 low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (u64)high << 32 | low;
}

static inline void xcr0_write(u64 value)
{
    asm volatile("xsetbv" : : "c"(0), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/*
 * PKRU, which is switched with XCR0's state. Precondition: the CPU has protection keys. RDPKRU wants CR4.PKE, which the
 * host does without: it has no user pages, and Bochs 3.0 lets PKRU deny writes to those of the supervisor, too.
 */
static inline u32 pkru_read(void)
{
    u64 cr4 = cr4_read();
    u32 value, zero;
    asm volatile("mov %3, %%cr4\n\trdpkru\n\tmov %4, %%cr4"
                 : "=&a"(value), "=&d"(zero)
                 : "c"(0), "r"(cr4 | CR4_PKE), "r"(cr4)
                 : "memory");
    return value;
}

#endif
