/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Valid VMCS images for the VM-entry checker, one for each mode that a guest can be in, and the CPU and the memory that
 * they stand in. Written from the SDM's rules; test_check.c breaks them one rule at a time, fuzz_check.c at random.
 */
#ifndef ROOTLET_TEST_CHECK_IMAGES_H
#define ROOTLET_TEST_CHECK_IMAGES_H

#include <string.h>

#include "arch/x86/regs.h"
#include "vmx/check/check.h"
#include "vmx/controls.h"

enum bench_base { BENCH_LONG, BENCH_PROTECTED, BENCH_REAL, BENCH_V86, BENCH_PAE, BENCH_BASES };

#define BENCH_MSR_AREA 0x5000u
#define BENCH_LINKED   0x6000u
#define BENCH_APIC     0x7000u
#define BENCH_PDPT     0x8000u
#define BENCH_MEMORY   0xa000u

struct bench {
    struct check_image image;
    struct vmx_caps caps;
    u8 memory[BENCH_MEMORY];
};

/* Bochs's corei7_skylake_x. */
static const struct vmx_caps bench_skylake = {
    .basic = 0x00d810000000002b,
    .misc = 0x600401e0,
    .cr0_fixed0 = 0x80000021,
    .cr0_fixed1 = 0xffffffff,
    .cr4_fixed0 = 0x2000,
    .cr4_fixed1 = 0x003727ff,
    .ept_vpid = 0x00000f0106334141,
    .vmfunc = 1,
    .group = {{0x16, 0x7f}, {0x04006172, 0xf7f9fffe}, {0, 0x02177fff}, {0x00036dfb, 0x007fffff}, {0x000011fb, 0xffff}},
};

static bool bench_read(void *context, u64 physical, void *to, u32 bytes)
{
    const struct bench *b = context;
    if (physical >= BENCH_MEMORY || bytes > BENCH_MEMORY - physical)
        return false;
    memcpy(to, b->memory + physical, bytes);
    return true;
}

static void bench_put32(struct bench *b, u64 physical, u32 value)
{
    memcpy(b->memory + physical, &value, 4);
}

static void bench_controls(u64 *v)
{
    v[FIELD_PIN_CONTROLS] =
        0x16 | PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER;
    v[FIELD_PROC_CONTROLS] = 0x04006172 | PROC_HLT_EXITING | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY;
    v[FIELD_PROC2_CONTROLS] = PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED_GUEST;
    v[FIELD_EXIT_CONTROLS] = 0x00036dfb | EXIT_SAVE_DEBUG | EXIT_HOST_ADDRESS_SPACE | EXIT_ACKNOWLEDGE | EXIT_SAVE_PAT |
                             EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER;
    v[FIELD_ENTRY_CONTROLS] = 0x000011fb | ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER;
    v[FIELD_IO_BITMAP_A] = 0x1000;
    v[FIELD_IO_BITMAP_B] = 0x2000;
    v[FIELD_MSR_BITMAPS] = 0x3000;
    v[FIELD_VIRTUAL_APIC_ADDRESS] = BENCH_APIC;
    v[FIELD_VPID] = 1;
    v[FIELD_EPT_POINTER] = 0x901e;
    v[FIELD_VMCS_LINK_POINTER] = ~0ull;
}

static void bench_host(u64 *v)
{
    v[FIELD_HOST_CR0] = 0x80010033;
    v[FIELD_HOST_CR3] = 0x100000;
    v[FIELD_HOST_CR4] = 0x2020;
    v[FIELD_HOST_EFER] = 0xd01;
    v[FIELD_HOST_PAT] = 0x0007040600070406;
    v[FIELD_HOST_CS_SELECTOR] = 8;
    v[FIELD_HOST_SS_SELECTOR] = 0x10;
    v[FIELD_HOST_TR_SELECTOR] = 0x18;
    v[FIELD_HOST_GDTR_BASE] = 0xffffffff80101000;
    v[FIELD_HOST_IDTR_BASE] = 0xffffffff80102000;
    v[FIELD_HOST_TR_BASE] = 0xffffffff80103000;
    v[FIELD_HOST_RIP] = 0xffffffff80104000;
}

static void bench_segments(u64 *v, u64 code, u64 data, u64 limit)
{
    for (u32 i = 0; i < 6; i++) { /* ES, CS, SS, DS, FS, GS */
        v[FIELD_GUEST_ES_SELECTOR + i] = 0x10;
        v[FIELD_GUEST_ES_ACCESS + i] = data;
        v[FIELD_GUEST_ES_LIMIT + i] = limit;
    }
    v[FIELD_GUEST_CS_SELECTOR] = 8;
    v[FIELD_GUEST_CS_ACCESS] = code;
    v[FIELD_GUEST_TR_SELECTOR] = 0x18;
    v[FIELD_GUEST_TR_ACCESS] = 0x8b;
    v[FIELD_GUEST_TR_LIMIT] = 0x67;
    v[FIELD_GUEST_LDTR_ACCESS] = 0x10000;
}

static void bench_guest(u64 *v)
{
    v[FIELD_GUEST_CR0] = 0x80010031;
    v[FIELD_GUEST_CR3] = BENCH_PDPT;
    v[FIELD_GUEST_CR4] = 0x2000;
    v[FIELD_GUEST_PAT] = 0x0007040600070406;
    v[FIELD_GUEST_DR7] = 0x400;
    v[FIELD_GUEST_RFLAGS] = 2;
    v[FIELD_GUEST_RIP] = 0x1000;
    bench_segments(v, 0xc09b, 0xc093, 0xffffffff);
}

/* Segments as in real-address mode: base 16 times the selector, 64 KiB. */
static void bench_real_segments(u64 *v, u64 access)
{
    bench_segments(v, access, access, 0xffff);
    for (u32 i = 0; i < 6; i++)
        v[FIELD_GUEST_ES_BASE + i] = v[FIELD_GUEST_ES_SELECTOR + i] << 4;
    v[FIELD_GUEST_CR0] = 0x30;
}

static void bench_set_up(struct bench *b, enum bench_base base)
{
    u64 *v = b->image.value;

    memset(b, 0, sizeof *b);
    b->caps = bench_skylake;
    b->image.cpu = (struct check_cpu){.physical_bits = 40,
                                      .linear_bits = 48,
                                      .long_mode = true,
                                      .efer_valid = CHECK_EFER_VALID,
                                      .debugctl_valid = DEBUGCTL_BITS,
                                      .perf_global_valid = 0x7000000ff,
                                      .vmcs_pointer = 0x4000};
    b->image.read_memory = bench_read;
    b->image.memory_context = b;
    bench_put32(b, 0x4000, 0x2b);
    bench_put32(b, BENCH_LINKED, 0x2b);
    b->memory[BENCH_APIC + 0x80] = 0x40;
    bench_controls(v);
    bench_host(v);
    bench_guest(v);
    switch (base) {
    case BENCH_LONG:
        v[FIELD_ENTRY_CONTROLS] |= ENTRY_IA32E_GUEST;
        v[FIELD_GUEST_CR4] |= 0x20;
        v[FIELD_GUEST_EFER] = 0x500;
        v[FIELD_GUEST_CS_ACCESS] = 0xa09b;
        break;
    case BENCH_PROTECTED:
    case BENCH_BASES:
        break;
    case BENCH_REAL:
        bench_real_segments(v, 0x93);
        break;
    case BENCH_V86:
        bench_real_segments(v, 0xf3);
        v[FIELD_GUEST_CR0] |= 1;
        v[FIELD_GUEST_RFLAGS] |= 1 << 17;
        break;
    case BENCH_PAE:
        v[FIELD_GUEST_CR4] |= 0x20;
        for (u32 i = 0; i < 4; i++)
            v[FIELD_GUEST_PDPTE0 + i] = 0x200001 + 0x1000 * i;
        break;
    }
}

#endif
