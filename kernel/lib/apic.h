/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC as the SDM has it, for the host's, for those of guests and for the virtual-APIC page: base MSR,
 * registers, fields. SDM 3A 10.4 "Local APIC", 10.12 "Extended XAPIC (x2APIC)".
 */
#ifndef ROOTLET_LIB_APIC_H
#define ROOTLET_LIB_APIC_H

#define APIC_ADDRESS 0xfee00000ull /* after reset */

/* IA32_APIC_BASE. SDM 3A 10.4.4 "Local APIC Status and Location" */
#define APIC_BASE_BSP  0x100ull
#define APIC_BASE_EXTD 0x400ull
#define APIC_BASE_EN   0x800ull
#define APIC_BASE_MODE (APIC_BASE_EN | APIC_BASE_EXTD)

/* Offsets of the registers in the page; an x2APIC MSR's index is its offset / 16. */
enum apic_register {
    APIC_ID = 0x020,
    APIC_VERSION = 0x030,
    APIC_TPR = 0x080,
    APIC_PPR = 0x0a0,
    APIC_EOI = 0x0b0,
    APIC_LDR = 0x0d0,
    APIC_DFR = 0x0e0,
    APIC_SVR = 0x0f0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_THERMAL = 0x330,
    APIC_LVT_PMC = 0x340,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
    APIC_SELF_IPI = 0x3f0
};

#define APIC_LVT_MASKED       0x10000u
#define APIC_LVT_PERIODIC     0x20000u
#define APIC_LVT_TSC_DEADLINE 0x40000u

#define APIC_SVR_ENABLED 0x100u

/* Bits 10:8 of the ICR, the LVT entries and interrupt messages. */
enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST_PRIORITY = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_SIPI = 6,
    APIC_EXTINT = 7
};

#endif
