/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bits of the control registers, RFLAGS and EFER, by the SDM's names.
 * SDM 3A 2.5 "Control Registers", 2.3 "System Flags and Fields in the EFLAGS Register", 2.2.1 "Extended Feature Enable
 * Register".
 */
#ifndef ROOTLET_ARCH_REGS_H
#define ROOTLET_ARCH_REGS_H

#include "kernel/lib/bits.h"

#define CR0_PE      BIT(0)
#define CR0_MP      BIT(1)
#define CR0_EM      BIT(2)
#define CR0_TS      BIT(3)
#define CR0_ET      BIT(4)
#define CR0_NE      BIT(5)
#define CR0_WP      BIT(16)
#define CR0_AM      BIT(18)
#define CR0_NW      BIT(29)
#define CR0_CD      BIT(30)
#define CR0_PG      BIT(31)
#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_SMXE       BIT(14)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)
#define CR4_CET        BIT(23)
#define CR4_PKS        BIT(24)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* SDM 3B 17.4.1 "IA32_DEBUGCTL MSR": all bits that are not model-specific */
#define DEBUGCTL_BITS 0xffc3ull
#define DEBUGCTL_BTF  BIT(1)

/* IA32_MISC_ENABLE. */
#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MISC_ENABLE_FIXED        (BIT(11) | BIT(12)) /* read-only: no BTS, no PEBS */
#define MISC_ENABLE_LIMIT_CPUID  BIT(22)             /* CPUID has no leaf above 2 (once for Windows NT) */
#define MISC_ENABLE_XD_DISABLE   BIT(34)             /* CPUID has no NX */

#define RFLAGS_CF  BIT(0)
#define RFLAGS_ONE BIT(1)
#define RFLAGS_PF  BIT(2)
#define RFLAGS_AF  BIT(4)
#define RFLAGS_ZF  BIT(6)
#define RFLAGS_SF  BIT(7)
#define RFLAGS_TF  BIT(8)
#define RFLAGS_IF  BIT(9)
#define RFLAGS_DF  BIT(10)
#define RFLAGS_OF  BIT(11)
#define RFLAGS_RF  BIT(16)
#define RFLAGS_VM  BIT(17)
#define RFLAGS_AC  BIT(18)

/* Exception vectors: SDM 3A 6.15 "Exception and Interrupt Reference". */
enum x86_vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
};

#endif
