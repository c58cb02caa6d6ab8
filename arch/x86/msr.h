/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Indices of the MSRs that the hypervisor names. SDM 4 2.1 "Architectural MSRs".
 */
#ifndef ROOTLET_ARCH_MSR_H
#define ROOTLET_ARCH_MSR_H

#define MSR_IA32_TSC                     0x10u
#define MSR_IA32_PLATFORM_ID             0x17u
#define MSR_IA32_APIC_BASE               0x1bu
#define MSR_IA32_FEATURE_CONTROL         0x3au
#define MSR_IA32_TSC_ADJUST              0x3bu
#define MSR_IA32_SPEC_CTRL               0x48u
#define MSR_IA32_PRED_CMD                0x49u
#define MSR_IA32_BIOS_SIGN_ID            0x8bu
#define MSR_PLATFORM_INFO                0xceu
#define MSR_IA32_MTRRCAP                 0xfeu
#define MSR_IA32_ARCH_CAPABILITIES       0x10au
#define MSR_IA32_FLUSH_CMD               0x10bu
#define MSR_IA32_SYSENTER_CS             0x174u
#define MSR_IA32_SYSENTER_ESP            0x175u
#define MSR_IA32_SYSENTER_EIP            0x176u
#define MSR_IA32_P5_MC_ADDR              0x00u
#define MSR_IA32_P5_MC_TYPE              0x01u
#define MSR_IA32_MCG_CAP                 0x179u
#define MSR_IA32_MCG_STATUS              0x17au
#define MSR_IA32_MCG_CTL                 0x17bu
#define MSR_IA32_MISC_ENABLE             0x1a0u
#define MSR_IA32_DEBUGCTL                0x1d9u
#define MSR_IA32_MTRR_PHYSBASE0          0x200u
#define MSR_IA32_MTRR_FIX64K             0x250u
#define MSR_IA32_MTRR_FIX16K             0x258u
#define MSR_IA32_MTRR_FIX4K              0x268u
#define MSR_IA32_PAT                     0x277u
#define MSR_IA32_MTRR_DEF_TYPE           0x2ffu
#define MSR_IA32_PERF_GLOBAL_CTRL        0x38fu
#define MSR_IA32_MC0_CTL                 0x400u
#define MSR_IA32_VMX_BASIC               0x480u
#define MSR_IA32_VMX_PINBASED_CTLS       0x481u
#define MSR_IA32_VMX_PROCBASED_CTLS      0x482u
#define MSR_IA32_VMX_EXIT_CTLS           0x483u
#define MSR_IA32_VMX_ENTRY_CTLS          0x484u
#define MSR_IA32_VMX_MISC                0x485u
#define MSR_IA32_VMX_CR0_FIXED0          0x486u
#define MSR_IA32_VMX_CR0_FIXED1          0x487u
#define MSR_IA32_VMX_CR4_FIXED0          0x488u
#define MSR_IA32_VMX_CR4_FIXED1          0x489u
#define MSR_IA32_VMX_VMCS_ENUM           0x48au
#define MSR_IA32_VMX_PROCBASED_CTLS2     0x48bu
#define MSR_IA32_VMX_EPT_VPID_CAP        0x48cu
#define MSR_IA32_VMX_TRUE_PINBASED_CTLS  0x48du
#define MSR_IA32_VMX_TRUE_PROCBASED_CTLS 0x48eu
#define MSR_IA32_VMX_TRUE_EXIT_CTLS      0x48fu
#define MSR_IA32_VMX_TRUE_ENTRY_CTLS     0x490u
#define MSR_IA32_VMX_VMFUNC              0x491u
#define MSR_IA32_VMX_PROCBASED_CTLS3     0x492u
#define MSR_IA32_VMX_EXIT_CTLS2          0x493u
#define MSR_IA32_TSC_DEADLINE            0x6e0u
#define MSR_IA32_X2APIC_BASE             0x800u
#define MSR_IA32_XSS                     0xda0u
#define MSR_IA32_EFER                    0xc0000080u
#define MSR_IA32_STAR                    0xc0000081u
#define MSR_IA32_LSTAR                   0xc0000082u
#define MSR_IA32_CSTAR                   0xc0000083u
#define MSR_IA32_FMASK                   0xc0000084u
#define MSR_IA32_FS_BASE                 0xc0000100u
#define MSR_IA32_GS_BASE                 0xc0000101u
#define MSR_IA32_KERNEL_GS_BASE          0xc0000102u
#define MSR_IA32_TSC_AUX                 0xc0000103u

#endif
