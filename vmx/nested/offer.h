/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of the machine's VMX features a guest hypervisor is offered: one table of controls, and the capability MSRs
 * made of it. What the table does not name is not offered, whatever the machine has. Pure.
 * SDM 3D Appendix A "VMX Capability Reporting Facility".
 */
#ifndef ROOTLET_VMX_NESTED_OFFER_H
#define ROOTLET_VMX_NESTED_OFFER_H

#include "vmx/controls.h"

/*
 * O(group, control, need, why). A control is offered if the machine can set it and `need` is met, which is one of:
 * CPU nothing more; EPT the guest is offered EPT; INVVPID the machine has INVVPID of all contexts; VMFUNC the guest is
 * offered EPT, and the machine has EPTP switching; CPUID_x the guest's CPUID has feature x. docs/nested.md has the same
 * rows; the lint compares them.
 */
#define NESTED_OFFER(O)                                                                                                \
    O(VMX_PIN, PIN_EXTERNAL_INTERRUPT_EXITING, CPU, "a hypervisor must get its interrupts back")                       \
    O(VMX_PIN, PIN_NMI_EXITING, CPU, "likewise its NMIs")                                                              \
    O(VMX_PIN, PIN_VIRTUAL_NMIS, CPU, "so that it can give NMIs to its own guest")                                     \
    O(VMX_PIN, PIN_PREEMPTION_TIMER, CPU, "the earlier of its timer and ours runs in the CPU")                         \
    O(VMX_PROC, PROC_INTERRUPT_WINDOW, CPU, "injection waits for it")                                                  \
    O(VMX_PROC, PROC_TSC_OFFSETTING, CPU, "the offsets of both levels add up")                                         \
    O(VMX_PROC, PROC_HLT_EXITING, CPU, "its scheduler")                                                                \
    O(VMX_PROC, PROC_INVLPG_EXITING, CPU, "shadow paging without EPT")                                                 \
    O(VMX_PROC, PROC_MWAIT_EXITING, CPU, "its scheduler")                                                              \
    O(VMX_PROC, PROC_RDPMC_EXITING, CPU, "an intercept, passed on")                                                    \
    O(VMX_PROC, PROC_RDTSC_EXITING, CPU, "an intercept, passed on")                                                    \
    O(VMX_PROC, PROC_CR3_LOAD_EXITING, CPU, "shadow paging without EPT")                                               \
    O(VMX_PROC, PROC_CR3_STORE_EXITING, CPU, "shadow paging without EPT")                                              \
    O(VMX_PROC, PROC_CR8_LOAD_EXITING, CPU, "an APIC of its own making")                                               \
    O(VMX_PROC, PROC_CR8_STORE_EXITING, CPU, "an APIC of its own making")                                              \
    O(VMX_PROC, PROC_TPR_SHADOW, CPU, "its virtual-APIC page is a page of the guest's memory")                         \
    O(VMX_PROC, PROC_NMI_WINDOW, CPU, "injection waits for it")                                                        \
    O(VMX_PROC, PROC_MOV_DR_EXITING, CPU, "lazy debug registers")                                                      \
    O(VMX_PROC, PROC_UNCONDITIONAL_IO, CPU, "every port exits to Rootlet in any case")                                 \
    O(VMX_PROC, PROC_IO_BITMAPS, CPU, "read from the guest's memory at each such exit")                                \
    O(VMX_PROC, PROC_MONITOR_TRAP_FLAG, CPU, "single steps")                                                           \
    O(VMX_PROC, PROC_MSR_BITMAPS, CPU, "combined with Rootlet's at each entry")                                        \
    O(VMX_PROC, PROC_MONITOR_EXITING, CPU, "its scheduler")                                                            \
    O(VMX_PROC, PROC_PAUSE_EXITING, CPU, "an intercept, passed on")                                                    \
    O(VMX_PROC, PROC_SECONDARY, CPU, "EPT and what goes with it")                                                      \
    O(VMX_PROC2, PROC2_EPT, CPU, "shadowed onto Rootlet's own")                                                        \
    O(VMX_PROC2, PROC2_DESCRIPTOR_TABLE, CPU, "an intercept, passed on")                                               \
    O(VMX_PROC2, PROC2_RDTSCP, CPUID_RDTSCP, "the inner guest may use what the guest has")                             \
    O(VMX_PROC2, PROC2_VPID, INVVPID, "its VPIDs are mapped to VPIDs of Rootlet's")                                    \
    O(VMX_PROC2, PROC2_WBINVD_EXITING, CPU, "an intercept, passed on")                                                 \
    O(VMX_PROC2, PROC2_UNRESTRICTED_GUEST, EPT, "real mode without an emulator")                                       \
    O(VMX_PROC2, PROC2_PAUSE_LOOP_EXITING, CPU, "spinning inner vCPUs")                                                \
    O(VMX_PROC2, PROC2_RDRAND_EXITING, CPU, "an intercept, passed on")                                                 \
    O(VMX_PROC2, PROC2_INVPCID, CPUID_INVPCID, "the inner guest may use what the guest has")                           \
    O(VMX_PROC2, PROC2_VMFUNC, VMFUNC, "its guests switch EPTs without an exit of theirs")                             \
    O(VMX_PROC2, PROC2_VMCS_SHADOWING, CPU, "its guests' VMREADs and VMWRITEs end in Rootlet")                         \
    O(VMX_PROC2, PROC2_RDSEED_EXITING, CPU, "an intercept, passed on")                                                 \
    O(VMX_PROC2, PROC2_XSAVES, CPUID_XSAVES, "the inner guest may use what the guest has")                             \
    O(VMX_EXIT, EXIT_SAVE_DEBUG, CPU, "DR7 and IA32_DEBUGCTL of the inner guest")                                      \
    O(VMX_EXIT, EXIT_HOST_ADDRESS_SPACE, CPU, "hypervisors of 64 bits")                                                \
    O(VMX_EXIT, EXIT_ACKNOWLEDGE, CPU, "the vector in the exit's information")                                         \
    O(VMX_EXIT, EXIT_SAVE_PAT, CPU, "a PAT at each level")                                                             \
    O(VMX_EXIT, EXIT_LOAD_PAT, CPU, "a PAT at each level")                                                             \
    O(VMX_EXIT, EXIT_SAVE_EFER, CPU, "an EFER at each level")                                                          \
    O(VMX_EXIT, EXIT_LOAD_EFER, CPU, "an EFER at each level")                                                          \
    O(VMX_EXIT, EXIT_SAVE_TIMER, CPU, "what is left of the preemption timer")                                          \
    O(VMX_ENTRY, ENTRY_LOAD_DEBUG, CPU, "DR7 and IA32_DEBUGCTL of the inner guest")                                    \
    O(VMX_ENTRY, ENTRY_IA32E_GUEST, CPU, "inner guests of 64 bits")                                                    \
    O(VMX_ENTRY, ENTRY_LOAD_PAT, CPU, "a PAT at each level")                                                           \
    O(VMX_ENTRY, ENTRY_LOAD_EFER, CPU, "an EFER at each level")

/* The VMCS revision identifier that a guest hypervisor finds and must write: the inner VMCS has a format of its own. */
#define NESTED_REVISION    0x526f6f74u
#define NESTED_SHADOW_VMCS 0x80000000u /* and this beside it in a shadow VMCS */

/* What an offer needs to know of the guest. */
struct nested_guest {
    u64 cr4;                                  /* bits of CR4 that it may set, without VMXE: vmx_caps_guest_cr4() */
    bool has_rdtscp, has_invpcid, has_xsaves; /* in its CPUID */
};

/*
 * What the guest is offered on this machine: *offered is for vmx_check_entry() as it is. `machine` is what the CPU has
 * less what vmx.disable= takes away.
 */
COLD void nested_offer(const struct vmx_caps *machine, const struct nested_guest *guest, struct vmx_caps *offered);

/*
 * The value of IA32_FEATURE_CONTROL or of the capability MSR `index` (IA32_VMX_BASIC and on) for a guest that was
 * offered `offered`. False: it does not exist, RDMSR is #GP(0). They are read-only: WRMSR is #GP(0).
 */
COLD bool nested_offer_msr(const struct vmx_caps *offered, u32 index, u64 *value) MUST_CHECK;

#endif
