/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of causes, by rule: what people who broke it had done. A test sees that each has a row.
 */
#include "tools/vmx_explain/causes.h"
#include "vmx/check/rules.h"

#define ALLOWED(msr)                                                                                                   \
    "A control was set that this CPU does not have, or one was cleared that it insists on. Compute each control word " \
    "as (wanted | low half of " msr ") & its high half, use the TRUE MSR if IA32_VMX_BASIC[55] is 1, and do not "      \
    "copy control words from another CPU."
#define PAGE                                                                                                           \
    "The address of a structure that the CPU reads was never set, or is a virtual address, or the structure is not "   \
    "page-aligned. Give the physical address of a whole page."
#define MSR_AREA                                                                                                       \
    "The list of MSRs needs a physical address that is a multiple of 16. Often the count was set and the address was " \
    "not, or it is a virtual one."
#define CR_FIXED(register)                                                                                             \
    register " lacks a bit that VMX operation asks for, or has one that this CPU does not know. Apply the FIXED0 and " \
             "FIXED1 MSRs to what the guest writes, and let it see its own value by mask and shadow."
#define CANONICAL                                                                                                      \
    "The upper bits do not repeat the sign: an uninitialised field, an address cut to 32 bits and extended wrongly, "  \
    "or a 57-bit address on a CPU with 48."
#define PAT_BYTES                                                                                                      \
    "Each byte of IA32_PAT is a memory type, and 2, 3 and 8 up are none. Usually the field was never set, or a guest " \
    "wrote the MSR and its value was stored unchecked."
#define HOST_SELECTORS                                                                                                 \
    "Host selectors must be null or name a GDT entry with RPL 0. Mask RPL and TI when you copy the registers, and do " \
    "not copy a user's DS, ES, FS or GS."
#define SEGMENT                                                                                                        \
    "The access-rights field was built from the wrong half of a descriptor, or copied from a mode in which the bits "  \
    "mean other things. Take them as LAR gives them, shifted right by 8, and mark null segments unusable (bit 16)."
#define V86                                                                                                            \
    "In virtual-8086 mode base, limit and rights of all six segments are fixed by the selector. A hypervisor that "    \
    "runs real mode this way must rewrite them at each change of a segment register."
#define SPECULATIVE_INJECT                                                                                             \
    "The event was copied from IDT-vectoring or exit information without masking what only exits have, or built by "   \
    "hand with the wrong type."
#define SIZE_CHANGED                                                                                                   \
    "Controls and host state disagree about 64-bit mode. Set 'host address-space size' in any 64-bit hypervisor."
#define LINK                                                                                                           \
    "Without VMCS shadowing the link pointer must be all ones, and a fresh VMCS is not: write it, both halves on a "   \
    "32-bit host."

#define C(rule, words) [RULE_##rule] = words
static const char *const causes[CHECK_RULE_COUNT] = {
    C(PIN_ALLOWED, ALLOWED("IA32_VMX_PINBASED_CTLS")),
    C(PROC_ALLOWED, ALLOWED("IA32_VMX_PROCBASED_CTLS")),
    C(PROC2_ALLOWED, ALLOWED("IA32_VMX_PROCBASED_CTLS2")),
    C(CR3_TARGETS, "No CPU so far has more than four CR3-target values. Usually the field was never set: write 0."),
    C(ADDRESS_ALIGNED, PAGE),
    C(ADDRESS_WIDTH, PAGE),
    C(TPR_RESERVED, "Only bits 3:0 of the threshold exist. Usually a TPR (bits 7:4) was written instead of TPR >> 4."),
    C(TPR_ABOVE_VTPR, "The guest's TPR was lowered in the virtual-APIC page and the threshold was left: lower it with "
                      "it, or set it to 0 when no interrupt waits."),
    C(VIRTUAL_NMIS, "'virtual NMIs' was set alone. Set 'NMI exiting', too, or drop both."),
    C(NMI_WINDOW, "NMI-window exiting was asked for on a path, or a CPU, without 'virtual NMIs'."),
    C(NEEDS_TPR_SHADOW, "An APIC-virtualisation control outlived 'use TPR shadow', as when a hypervisor turns the "
                        "guest's APIC off or passes a nested guest's controls through."),
    C(X2APIC_ACCESSES, "The guest changed between xAPIC and x2APIC mode and one control was set before the other was "
                       "cleared. The two exclude each other."),
    C(DELIVERY_EXTERNAL, "Virtual-interrupt delivery needs 'external-interrupt exiting'; the controls were composed "
                         "one by one."),
    C(POSTED_DELIVERY, "Posted interrupts need virtual-interrupt delivery, which was turned off (by APICv inhibition, "
                       "for instance) while they were left on."),
    C(POSTED_ACKNOWLEDGE, "Posted interrupts need 'acknowledge interrupt on exit' among the exit controls."),
    C(POSTED_VECTOR, "The notification vector has 16 bits in the VMCS, and only 8 of them count."),
    C(POSTED_ALIGNED, "The descriptor must be aligned to 64 bytes: a structure without the attribute, or a virtual "
                      "address."),
    C(VPID_ZERO, "VPID 0 is the host's. Give each virtual CPU one of its own, or drop 'enable VPID'."),
    C(EPTP_TYPE, "The EPT pointer was set to the table's address alone: bits 2:0 must have the memory type, 6."),
    C(EPTP_WALK, "The EPT pointer was set to the table's address alone: bits 5:3 must have the walk's length less 1, "
                 "3 for four levels."),
    C(EPTP_DIRTY, "Accessed and dirty flags for EPT (bit 6) were asked of a CPU that has none."),
    C(EPTP_RESERVED, "The EPT pointer has bits that do not exist: a virtual address, or flags of another use."),
    C(NEEDS_EPT, "This control works on EPT's tables. 'unrestricted guest' without EPT is the usual case, as with a "
                 "module option that turns EPT off."),
    C(PT_CONTROLS, "Intel PT in guest-physical addresses needs its entry and exit controls with it."),
    C(TSC_MULTIPLIER, "TSC scaling was turned on and the multiplier left at 0; 1 << 48 means no scaling."),
    C(VMFUNC_RESERVED, "Only EPTP switching (bit 0) exists so far."),
    C(VMFUNC_EPT, "EPTP switching was left on when EPT was turned off."),
    C(EXIT_ALLOWED, ALLOWED("IA32_VMX_EXIT_CTLS")),
    C(EXIT_TIMER, "The preemption timer was turned off and 'save VMX-preemption timer value' was not."),
    C(EXIT_MSRS_ALIGNED, MSR_AREA),
    C(EXIT_MSRS_WIDTH, MSR_AREA),
    C(EXIT_MSRS_END, MSR_AREA),
    C(ENTRY_ALLOWED, ALLOWED("IA32_VMX_ENTRY_CTLS")),
    C(INJECT_TYPE, SPECULATIVE_INJECT),
    C(INJECT_NMI, SPECULATIVE_INJECT),
    C(INJECT_EXCEPTION, "A vector above 31 was injected as an exception: an interrupt that kept type 3, or an exit's "
                        "information that was passed on."),
    C(INJECT_OTHER, "Type 7 is for a pending monitor trap flag alone, with vector 0."),
    C(INJECT_ERROR_CODE, "Bit 11 must agree with the vector: #DF, #TS, #NP, #SS, #GP, #PF and #AC push an error code, "
                         "no other does, and none in real mode. #AC and #CP are forgotten most often."),
    C(INJECT_RESERVED, "Bit 12 of exit or vectoring information (NMI unblocking, undefined) was copied into the "
                       "injection: mask it."),
    C(INJECT_ERROR_HIGH, "Error codes have 15 or 16 bits; a page fault's upper bits (SGX) cannot be injected."),
    C(INJECT_LENGTH, "INT n, INT1, INT3 and INTO are injected with the instruction's length, and the field was left at "
                     "0 or at another exit's value. Copy the VM-exit instruction length."),
    C(ENTRY_MSRS_ALIGNED, MSR_AREA),
    C(ENTRY_MSRS_WIDTH, MSR_AREA),
    C(ENTRY_MSRS_END, MSR_AREA),
    C(ENTRY_SMM, "These controls are for an SMM-transfer monitor alone. Clear both."),
    C(ENTRY_SMM_BOTH, "These controls exclude each other, and are for an SMM-transfer monitor alone."),
    C(HOST_CR0, CR_FIXED("Host CR0")),
    C(HOST_CR4, CR_FIXED("Host CR4")),
    C(HOST_CET, "CET needs CR0.WP. The host's CR0 was read before WP was set, or saved elsewhere."),
    C(HOST_CR3, "The field has bits beyond the physical-address width: bit 63 of a MOV to CR3 (no flush), LAM bits, or "
                "a virtual address."),
    C(HOST_SYSENTER, CANONICAL),
    C(HOST_PERF, "The value has bits for counters that this CPU does not have. Read the MSR, or write 0."),
    C(HOST_PAT, PAT_BYTES),
    C(HOST_EFER, "The host's IA32_EFER was not read by RDMSR, or has bits of another vendor."),
    C(HOST_EFER_SIZE, "A 64-bit host needs LMA and LME in the host's IA32_EFER and 'host address-space size'. The "
                      "field was forgotten, or LMA (which a boot's first write does not have) was left out."),
    C(HOST_SELECTOR, HOST_SELECTORS),
    C(HOST_SELECTOR_NULL, "CS and TR of the host must not be null. TR is the usual one: a kernel that has never "
                          "executed LTR has no task register to return with."),
    C(HOST_SS_NULL, "SS may be null in a 64-bit host only."),
    C(HOST_BASE, CANONICAL),
    C(SIZE_GUEST, SIZE_CHANGED),
    C(SIZE_HOST, SIZE_CHANGED),
    C(SIZE_GUEST_HOST, SIZE_CHANGED),
    C(SIZE_PCIDE, SIZE_CHANGED),
    C(SIZE_RIP_HIGH, SIZE_CHANGED),
    C(SIZE_PAE, SIZE_CHANGED),
    C(SIZE_RIP, CANONICAL),
    C(CR0_FIXED, "Without 'unrestricted guest' PE and PG must be 1, NE always. A guest in real mode, or one that wrote "
                 "CR0 without an exit for NE, is the usual case: keep the real value apart from what the guest sees."),
    C(CR0_PAGING, "PG was set without PE. A mode change was emulated in the wrong order."),
    C(CR4_FIXED, "VMXE (bit 13) must be 1 in the real CR4 whatever the guest sees, and no bit may be set that this "
                 "CPU lacks. A guest's write, a reset or a restored state (migration from a newer CPU) left it out or "
                 "let it in."),
    C(CR4_CET, "The guest cleared CR0.WP with CR4.CET on, or a saved state has that. A CPU faults there; the "
               "hypervisor that emulated the write did not."),
    C(DEBUGCTL, "A guest's WRMSR of IA32_DEBUGCTL was stored unchecked."),
    C(IA32E_PAGING, "'IA-32e mode guest' is set and paging is off: the entry control was not cleared when the guest "
                    "left long mode, or set from EFER.LME instead of LMA."),
    C(IA32E_PAE, "'IA-32e mode guest' is set and PAE is not: the entry control and the guest's mode were not changed "
                 "together."),
    C(CR4_PCIDE, "PCIDE is of long mode alone. The guest left it (INIT, reset, SMM entry) and CR4 was kept."),
    C(CR3, "CR3 has bits beyond the physical-address width: bit 63 of a MOV to CR3 (no flush) was stored, or the guest "
           "was told of a wider MAXPHYADDR."),
    C(DR7, "The upper half of DR7 must be 0. Usually a 32-bit value was sign-extended."),
    C(SYSENTER, CANONICAL),
    C(PERF, "The guest's value has bits for counters that this CPU does not have."),
    C(PAT, PAT_BYTES),
    C(EFER, "The guest's IA32_EFER has reserved bits: SVME or FFXSR of another vendor, or an unchecked write."),
    C(EFER_LMA, "LMA and 'IA-32e mode guest' were not changed together: LMA follows CR0.PG when LME is set, and both "
                "follow at once."),
    C(EFER_LME, "LME was changed under paging, or LMA was set without it. Restore EFER before CR0."),
    C(BNDCFGS, "Bits 11:2 of IA32_BNDCFGS are reserved."),
    C(BNDCFGS_ADDRESS, CANONICAL),
    C(SELECTOR_TI, "TR and LDTR must come from the GDT. A selector with bit 2 was loaded, often when a segment is "
                   "filled with ones or kept from real mode."),
    C(SS_RPL, "SS's RPL must be CS's. Typical of a guest that has changed to protected mode and not yet reloaded its "
              "segments, on a CPU or with a setting without 'unrestricted guest': emulate until they are right."),
    C(V86_BASE, V86),
    C(BASE_CANONICAL, CANONICAL),
    C(BASE_HIGH, "CS, SS, DS and ES have 32-bit bases, in 64-bit mode too. A 64-bit address or a sign-extended one was "
                 "stored there; FS and GS are the only ones that take it."),
    C(V86_LIMIT, V86),
    C(V86_ACCESS, V86),
    C(CS_TYPE,
      "CS must be code and accessed (real mode with 'unrestricted guest': 3). A freshly loaded descriptor "
      "whose accessed bit was not set, or data rights from real mode, as behind a far jump that was emulated."),
    C(SS_TYPE, "A usable SS must be writable, accessed data. Real mode's rights are 93H; a null SS must be marked "
               "unusable (bit 16)."),
    C(DATA_ACCESSED, "A CPU sets the accessed bit when it loads a segment; whoever emulated the load (or restored the "
                     "registers from a descriptor) did not. Set bit 0 of the type."),
    C(DATA_READABLE, "A code segment that cannot be read was loaded into a data segment register, which a CPU refuses "
                     "with #GP: the load was emulated without the check."),
    C(CODE_DATA_S, SEGMENT),
    C(CS_DPL_DATA, "With CS of type 3 (real mode) all is privilege level 0: the DPL was kept from before."),
    C(CS_DPL_EQUAL, "The CPL is SS's DPL, and CS's must equal it. Registers of two different privilege levels were "
                    "mixed: SYSCALL, SYSENTER or an interrupt was emulated with one of the two forgotten."),
    C(CS_DPL_BELOW, "Conforming code cannot run at a lower privilege level than its own: CS and SS were set apart."),
    C(SS_DPL_RPL, "SS's DPL and RPL are both the CPL. One of them was left, often behind a change to protected mode "
                  "without 'unrestricted guest'."),
    C(SS_DPL_REAL, "In real mode the privilege level is 0: SS's rights were kept from ring 3."),
    C(DATA_DPL, "A data segment's DPL must be at least its RPL. Real-mode selectors, whose low bits mean nothing, were "
                "carried into protected mode."),
    C(PRESENT, "A segment that is not present was left usable. Null segments must have bit 16 (unusable) set."),
    C(ACCESS_RESERVED, SEGMENT),
    C(CS_D_AND_L, "64-bit code has L = 1 and D = 0. A descriptor for 32-bit code (CF9BH) got L in addition."),
    C(LIMIT_LOW, "With G = 1 the limit is in pages, and its low 12 bits read as ones: FFFFFFFFH, not FFFFF000H or "
                 "FFFFFH. The VMCS wants the limit in bytes."),
    C(LIMIT_HIGH, "A limit above 1 MiB needs G = 1. Real mode's \"unreal\" 4 GiB segments have it set by a CPU."),
    C(TR_TYPE, "The task register must hold a busy TSS: 11. A descriptor in memory says 9 until LTR; a reset TR or a "
               "16-bit TSS (3) is not allowed in long mode."),
    C(TR_UNUSABLE, "A VM entry needs a usable TR, even where the guest has not loaded one: selector 0, base 0, limit "
                   "FFFFH, rights 8BH."),
    C(LDTR_TYPE, "LDTR must be type 2 or unusable (10000H). Zero is neither."),
    C(SYSTEM_S, "TR and LDTR are system segments: S must be 0."),
    C(TABLE_BASE, CANONICAL),
    C(TABLE_LIMIT, "GDTR and IDTR have 16-bit limits. The field was filled from a 32-bit value, or with FFFFFFFFH."),
    C(RIP_HIGH, "RIP has upper bits outside 64-bit mode. Behind a change of mode, or a wrap of EIP that was emulated "
                "in 64 bits: cut it to 32."),
    C(RIP_LINEAR, CANONICAL),
    C(RFLAGS, "Bit 1 must be 1 and the reserved bits 0. A zeroed RFLAGS is the usual case."),
    C(RFLAGS_VM, "VM was set where there is no virtual-8086 mode: in long mode, or with PE = 0."),
    C(RFLAGS_IF, "An external interrupt was injected into a guest that has them off. Look at RFLAGS.IF and at "
                 "blocking by STI and MOV SS before each injection, and use interrupt-window exiting."),
    C(ACTIVITY, "The activity state is none that this CPU has (IA32_VMX_MISC[8:6])."),
    C(ACTIVITY_HLT, "A guest in HLT is at privilege level 0; SS says otherwise."),
    C(ACTIVITY_BLOCKED, "Blocking by STI or MOV SS is over when HLT has been executed: clear it when you emulate HLT."),
    C(ACTIVITY_INJECT, "The event would not wake this activity state. Set the state to active together with the "
                       "injection."),
    C(ACTIVITY_SMM, "Wait-for-SIPI cannot be entered in SMM."),
    C(BLOCKING, "Bits 31:5 of the interruptibility state are reserved; a value of another structure was stored."),
    C(BLOCKING_BOTH, "One instruction leaves blocking by STI or by MOV SS, never both. A restored state (KVM_SET_VCPU_"
                     "EVENTS, a snapshot) had both."),
    C(BLOCKING_STI, "Blocking by STI with IF clear: an emulator, or an entry to SMM, cleared IF and left the shadow. "
                    "Look at who delivered the last interrupt or SMI, or emulated CLI or POPF, and clear it there."),
    C(BLOCKING_EXTERNAL, "An external interrupt was injected in the shadow of STI or MOV SS. Wait for the interrupt "
                         "window."),
    C(BLOCKING_NMI, "An NMI was injected behind MOV SS (or, on this CPU, STI). Wait for the NMI window, or end the "
                    "shadow if the instruction behind it was emulated."),
    C(BLOCKING_SMI, "Blocking by SMI is of SMM alone: an emulated SMM's state was copied into the field."),
    C(BLOCKING_SMM, "'entry to SMM' asks for blocking by SMI."),
    C(BLOCKING_VIRTUAL_NMI, "With 'virtual NMIs' an NMI cannot be injected while NMIs are blocked: one is in service. "
                            "Wait for its IRET (NMI window)."),
    C(BLOCKING_ENCLAVE, "Enclave interruption was set on a CPU without SGX, or with blocking by MOV SS."),
    C(DEBUG, "Bits were stored that pending debug exceptions do not have, often a copy of DR6, whose bits 11:4 read "
             "as ones."),
    C(DEBUG_STEP, "With TF on and a shadow of STI or MOV SS (or in HLT), BS must be pending, because the single step "
                  "is still to come. Whoever emulated or injected something there took the exit's state and did not "
                  "set bit 14: a #DB that was intercepted behind MOV SS or STI is the known case."),
    C(DEBUG_RTM, "Bit 16 (RTM) goes with bit 12 alone."),
    C(DEBUG_RTM_CPU, "Bit 16 (RTM) was set on a CPU without RTM, or behind MOV SS."),
    C(LINK_ALIGNED, LINK),
    C(LINK_WIDTH, LINK),
    C(LINK_REVISION, LINK),
    C(LINK_SHADOW, LINK),
    C(LINK_CURRENT, LINK),
    C(LINK_EXECUTIVE, LINK),
    C(PDPTE, "In PAE paging the four page-directory-pointer-table entries are guest state. The fields (with EPT) were "
             "not reloaded when CR3 or the mode changed, or are a four-level table's entries."),
    C(MSR_BASE, "FS and GS base have fields of their own; take them out of the list."),
    C(MSR_X2APIC, "x2APIC MSRs cannot be loaded by the list."),
    C(MSR_SMM, "IA32_SMM_MONITOR_CTL is of SMM alone."),
    C(MSR_MODEL, "The microcode trigger cannot be loaded by the list."),
    C(MSR_RESERVED, "An entry is 16 bytes: 32 of index, 32 that must be 0, 64 of data. A structure without padding is "
                    "the usual case."),
    C(MSR_VALUE, "WRMSR of this value would fault: the guest's value was put into the list unchecked."),
};

#define DEFINE_RULE_NAME(id, section, words) #id,
static const char *const rule_names[CHECK_RULE_COUNT] = {CHECK_RULES(DEFINE_RULE_NAME)};

const char *cause_rule_name(u32 rule)
{
    return rule_names[rule];
}

const char *cause_of(u32 rule)
{
    return causes[rule] ? causes[rule] : "";
}
