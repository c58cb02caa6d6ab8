/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX controls as data: which bits we need, want or must not set, resolved against the capability MSRs by a pure
 * function. SDM 3C 24.6 "VM-Execution Control Fields", 24.7 "VM-Exit Control Fields", 24.8 "VM-Entry Control Fields".
 */
#ifndef ROOTLET_VMX_CONTROLS_H
#define ROOTLET_VMX_CONTROLS_H

#include "vmx/caps.h"

#define PIN_EXTERNAL_INTERRUPT_EXITING 0x00000001u
#define PIN_NMI_EXITING                0x00000008u
#define PIN_VIRTUAL_NMIS               0x00000020u
#define PIN_PREEMPTION_TIMER           0x00000040u
#define PIN_POSTED_INTERRUPTS          0x00000080u

#define PROC_INTERRUPT_WINDOW  0x00000004u
#define PROC_TSC_OFFSETTING    0x00000008u
#define PROC_HLT_EXITING       0x00000080u
#define PROC_INVLPG_EXITING    0x00000200u
#define PROC_MWAIT_EXITING     0x00000400u
#define PROC_RDPMC_EXITING     0x00000800u
#define PROC_RDTSC_EXITING     0x00001000u
#define PROC_CR3_LOAD_EXITING  0x00008000u
#define PROC_CR3_STORE_EXITING 0x00010000u
#define PROC_TERTIARY          0x00020000u
#define PROC_CR8_LOAD_EXITING  0x00080000u
#define PROC_CR8_STORE_EXITING 0x00100000u
#define PROC_TPR_SHADOW        0x00200000u
#define PROC_NMI_WINDOW        0x00400000u
#define PROC_MOV_DR_EXITING    0x00800000u
#define PROC_UNCONDITIONAL_IO  0x01000000u
#define PROC_IO_BITMAPS        0x02000000u
#define PROC_MONITOR_TRAP_FLAG 0x08000000u
#define PROC_MSR_BITMAPS       0x10000000u
#define PROC_MONITOR_EXITING   0x20000000u
#define PROC_PAUSE_EXITING     0x40000000u
#define PROC_SECONDARY         0x80000000u

#define PROC2_APIC_ACCESSES      0x00000001u
#define PROC2_EPT                0x00000002u
#define PROC2_DESCRIPTOR_TABLE   0x00000004u
#define PROC2_RDTSCP             0x00000008u
#define PROC2_X2APIC_MODE        0x00000010u
#define PROC2_VPID               0x00000020u
#define PROC2_WBINVD_EXITING     0x00000040u
#define PROC2_UNRESTRICTED_GUEST 0x00000080u
#define PROC2_APIC_REGISTERS     0x00000100u
#define PROC2_VIRTUAL_INTERRUPTS 0x00000200u
#define PROC2_PAUSE_LOOP_EXITING 0x00000400u
#define PROC2_RDRAND_EXITING     0x00000800u
#define PROC2_INVPCID            0x00001000u
#define PROC2_VMFUNC             0x00002000u
#define PROC2_VMCS_SHADOWING     0x00004000u
#define PROC2_RDSEED_EXITING     0x00010000u
#define PROC2_PML                0x00020000u
#define PROC2_EPT_VE             0x00040000u
#define PROC2_XSAVES             0x00100000u
#define PROC2_TSC_SCALING        0x02000000u

#define EXIT_SAVE_DEBUG         0x00000004u
#define EXIT_HOST_ADDRESS_SPACE 0x00000200u
#define EXIT_LOAD_PERF_GLOBAL   0x00001000u
#define EXIT_ACKNOWLEDGE        0x00008000u
#define EXIT_SAVE_PAT           0x00040000u
#define EXIT_LOAD_PAT           0x00080000u
#define EXIT_SAVE_EFER          0x00100000u
#define EXIT_LOAD_EFER          0x00200000u
#define EXIT_SAVE_TIMER         0x00400000u
#define EXIT_SECONDARY          0x80000000u

#define ENTRY_LOAD_DEBUG       0x00000004u
#define ENTRY_IA32E_GUEST      0x00000200u
#define ENTRY_SMM              0x00000400u
#define ENTRY_DEACTIVATE_DUAL  0x00000800u
#define ENTRY_LOAD_PERF_GLOBAL 0x00002000u
#define ENTRY_LOAD_PAT         0x00004000u
#define ENTRY_LOAD_EFER        0x00008000u

struct vmx_controls {
    u32 value[VMX_GROUPS]; /* what a new VMCS begins with */
};

/*
 * Resolves the table against `caps`. STATUS_UNSUPPORTED: a control that we need is not available; *why names it.
 * STATUS_INVALID: the CPU demands a control that we must not have. The first such row is the one named; *out is
 * made of all the others even then.
 */
enum status vmx_controls_resolve(const struct vmx_caps *caps, struct vmx_controls *out, struct refusal *why) MUST_CHECK;

/* Whether the CPU has all that apicv.c needs, and leaves it the choice. */
bool vmx_controls_have_apicv(const struct vmx_caps *caps);
/* Likewise for posted interrupts, which need all of that. */
bool vmx_controls_have_posted(const struct vmx_caps *caps);
/* Whether VMREAD and VMWRITE of a guest hypervisor can act on a shadow VMCS. */
bool vmx_controls_have_shadowing(const struct vmx_caps *caps);

/* Reserved bits of the group that must be 1 and have no name: SDM 3D A.2 "Reserved Controls and Default Settings". */
u32 vmx_controls_default_one(enum vmx_group group);
/* In words, as refusals use them. */
const char *vmx_controls_group_name(enum vmx_group group);

/* One row for the capability report: name of the control, whether it is needed, and its place. */
struct vmx_control_row {
    u8 group;
    u8 need;
    u32 bit;
    const char *name;
    const char *feature; /* its name in vmx.disable=, or NULL */
};
enum { VMX_REQUIRED, VMX_REQUIRED_AVAILABLE, VMX_OPTIONAL, VMX_SWITCHED, VMX_TOLERATED, VMX_FORBIDDEN };
const struct vmx_control_row *vmx_control_rows(size_t *count);
/* Whether the row's control is turned on and off at run time on such a CPU. */
bool vmx_controls_are_switched(const struct vmx_caps *caps, const struct vmx_control_row *row);

#endif
