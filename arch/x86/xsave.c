/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What CPUID leaf 0xD says, once; then saving and restoring. AMX state is left out: it would triple the area of
 * every vCPU; MPX too, whose bound checks no system uses any more: it would need a VMCS field and two controls. The
 * standard format is used, so that an area may move between CPUs as it is. No supervisor state is ever enabled.
 * Invariant: CR0.TS and CR0.EM are clear on every CPU, so no access of a guest's FPU state traps in the host.
 * SDM 1 13.1 "XSAVE-Supported Features and State-Component Bitmaps", 13.4 "XSAVE Area".
 */
#include "arch/x86/xsave.h"
#include "kernel/lib/string.h"

#define XSAVE_LEGACY_BYTES    512u
#define XSAVE_HEADER_BYTES    64u
#define FCW_RESET_VALUE       0x37fu /* as FNINIT leaves it, and as XRSTOR initialises it */
#define MXCSR_RESET_VALUE     0x1f80u
#define FXSAVE_MXCSR_OFFSET   24u
#define FXSAVE_ST_OFFSET      32u
#define FXSAVE_XMM_OFFSET     160u
#define FXSAVE_XMM_BYTES      256u
#define XSTATE_KNOWN          (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU)
#define XSTATE_COMPONENTS_END 10u

static struct {
    bool has_xsave;
    bool has_xsaveopt;
    bool has_xsaves;
    u64 mask;
    u32 component_end[XSTATE_COMPONENTS_END]; /* offset + size; 0: not there */
} features = {.mask = XCR0_X87 | XCR0_SSE};

bool xsave_xcr0_is_valid(u64 value)
{
    if ((value & ~features.mask) || !(value & XCR0_X87))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    if ((value & XCR0_AVX512) && ((value & XCR0_AVX512) != XCR0_AVX512 || !(value & XCR0_AVX)))
        return false;
    return true;
}

void xsave_detect(void)
{
    struct cpuid_result leaf;

    memset(&features, 0, sizeof features);
    features.mask = XCR0_X87 | XCR0_SSE;
    features.has_xsave = (cpu_cpuid(1, 0).ecx & BIT(26)) && cpu_cpuid(0, 0).eax >= 0xd;
    if (!features.has_xsave)
        return;
    leaf = cpu_cpuid(0xd, 0);
    features.mask = ((u64)leaf.edx << 32 | leaf.eax) & XSTATE_KNOWN;
    leaf = cpu_cpuid(0xd, 1);
    features.has_xsaveopt = leaf.eax & BIT(0);
    features.has_xsaves = leaf.eax & BIT(3);
    for (u32 i = 2; i < XSTATE_COMPONENTS_END; i++) {
        if (!(features.mask & BIT(i)))
            continue;
        leaf = cpu_cpuid(0xd, i);
        if (leaf.eax)
            features.component_end[i] = leaf.ebx + leaf.eax;
        else
            features.mask &= ~BIT(i);
    }
    /* A hypervisor below us may offer a part of AVX-512: keep only what XSETBV will take. */
    if ((features.mask & XCR0_AVX512) != XCR0_AVX512 || !(features.mask & XCR0_AVX))
        features.mask &= ~XCR0_AVX512;
}

void xsave_init_cpu(void)
{
    cr0_write((cr0_read() & ~(CR0_TS | CR0_EM)) | CR0_MP | CR0_NE);
    cr4_write(cr4_read() | CR4_OSFXSR | CR4_OSXMMEXCPT | (features.has_xsave ? CR4_OSXSAVE : 0));
    if (features.has_xsave)
        xcr0_write(features.mask);
    if (features.has_xsaves) /* guests' XSAVES goes by it, and firmware may have left anything */
        msr_write(MSR_IA32_XSS, 0);
}

bool xsave_is_available(void)
{
    return features.has_xsave;
}

u64 xsave_supported_mask(void)
{
    return features.mask;
}

u32 xsave_area_bytes(u64 xcr0)
{
    u32 bytes = XSAVE_LEGACY_BYTES + (features.has_xsave ? XSAVE_HEADER_BYTES : 0);

    for (u32 i = 2; i < XSTATE_COMPONENTS_END; i++)
        if ((xcr0 & BIT(i)) && features.component_end[i] > bytes)
            bytes = features.component_end[i];
    return (u32)bits_align_up(bytes, XSAVE_ALIGNMENT);
}

void xsave_area_init(void *area)
{
    const u16 fcw = FCW_RESET_VALUE;
    const u32 mxcsr = MXCSR_RESET_VALUE;

    /* XSTATE_BV = 0: XRSTOR puts each component into its initial state and reads MXCSR alone (SDM 1 13.8). */
    memset(area, 0, xsave_area_bytes(features.mask));
    memcpy(area, &fcw, sizeof fcw);
    memcpy((u8 *)area + FXSAVE_MXCSR_OFFSET, &mxcsr, sizeof mxcsr);
}

void xsave_area_export(const void *area, u8 out[512])
{
    const u16 fcw = FCW_RESET_VALUE;
    u64 present = ~0ull;

    memcpy(out, area, XSAVE_LEGACY_BYTES);
    if (features.has_xsave)
        memcpy(&present, (const u8 *)area + XSAVE_LEGACY_BYTES, sizeof present); /* XSTATE_BV */
    if (!(present & XCR0_X87)) {
        memset(out, 0, FXSAVE_MXCSR_OFFSET);
        memcpy(out, &fcw, sizeof fcw);
        memset(out + FXSAVE_ST_OFFSET, 0, FXSAVE_XMM_OFFSET - FXSAVE_ST_OFFSET);
    }
    if (!(present & XCR0_SSE))
        memset(out + FXSAVE_XMM_OFFSET, 0, FXSAVE_XMM_BYTES);
}

void xsave_area_import(void *area, const u8 in[512])
{
    u64 present;

    memcpy(area, in, XSAVE_LEGACY_BYTES);
    if (!features.has_xsave)
        return;
    memcpy(&present, (u8 *)area + XSAVE_LEGACY_BYTES, sizeof present);
    present |= XCR0_X87 | XCR0_SSE;
    memcpy((u8 *)area + XSAVE_LEGACY_BYTES, &present, sizeof present);
}

void xsave_save(void *area, u64 mask)
{
    u32 low = (u32)mask, high = (u32)(mask >> 32);

    if (features.has_xsaveopt)
        asm volatile("xsaveopt64 (%0)" : : "r"(area), "a"(low), "d"(high) : "memory");
    else if (features.has_xsave)
        asm volatile("xsave64 (%0)" : : "r"(area), "a"(low), "d"(high) : "memory");
    else
        asm volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

void xsave_restore(const void *area, u64 mask)
{
    u32 low = (u32)mask, high = (u32)(mask >> 32);

    if (features.has_xsave)
        asm volatile("xrstor64 (%0)" : : "r"(area), "a"(low), "d"(high) : "memory");
    else
        asm volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}
