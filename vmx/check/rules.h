/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM-entry rules, once: id, section of SDM 3C, words. And what the check_*.c files share; nobody else includes it.
 * The words follow "field=... value=...", so they need not name the field. Texts go into the section .explain, so that
 * the image can account for them separately.
 */
#ifndef ROOTLET_VMX_CHECK_RULES_H
#define ROOTLET_VMX_CHECK_RULES_H

#include "vmx/check/check.h"
#include "vmx/controls.h"

#define EXPLAIN __attribute__((section(".explain")))

/* S(id, class, number and title): in the CPU's order. */
#define CHECK_SECTIONS(S)                                                                                              \
    S(EXECUTION, CHECK_FAILS_CONTROLS, "26.2.1.1 VM-Execution Control Fields")                                         \
    S(EXIT, CHECK_FAILS_CONTROLS, "26.2.1.2 VM-Exit Control Fields")                                                   \
    S(ENTRY, CHECK_FAILS_CONTROLS, "26.2.1.3 VM-Entry Control Fields")                                                 \
    S(HOST, CHECK_FAILS_HOST, "26.2.2 Checks on Host Control Registers and MSRs")                                      \
    S(HOST_TABLES, CHECK_FAILS_HOST, "26.2.3 Checks on Host Segment and Descriptor-Table Registers")                   \
    S(SIZE, CHECK_FAILS_HOST, "26.2.4 Checks Related to Address-Space Size")                                           \
    S(GUEST, CHECK_FAILS_GUEST, "26.3.1.1 Checks on Guest Control Registers, Debug Registers, and MSRs")               \
    S(SEGMENTS, CHECK_FAILS_GUEST, "26.3.1.2 Checks on Guest Segment Registers")                                       \
    S(TABLES, CHECK_FAILS_GUEST, "26.3.1.3 Checks on Guest Descriptor-Table Registers")                                \
    S(RIP, CHECK_FAILS_GUEST, "26.3.1.4 Checks on Guest RIP and RFLAGS")                                               \
    S(STATE, CHECK_FAILS_GUEST, "26.3.1.5 Checks on Guest Non-Register State")                                         \
    S(PDPTES, CHECK_FAILS_GUEST, "26.3.1.6 Checks on Guest Page-Directory-Pointer-Table Entries")                      \
    S(MSRS, CHECK_FAILS_MSRS, "26.4 Loading MSRs")

/* R(id, section, words) */
#define CHECK_RULES(R)                                                                                                 \
    R(PIN_ALLOWED, EXECUTION, "reserved pin-based controls must be as IA32_VMX_(TRUE_)PINBASED_CTLS says")             \
    R(PROC_ALLOWED, EXECUTION, "reserved primary controls must be as IA32_VMX_(TRUE_)PROCBASED_CTLS says")             \
    R(PROC2_ALLOWED, EXECUTION, "reserved secondary controls must be as IA32_VMX_PROCBASED_CTLS2 says")                \
    R(CR3_TARGETS, EXECUTION, "no more CR3-target values than IA32_VMX_MISC[24:16]")                                   \
    R(ADDRESS_ALIGNED, EXECUTION, "bits 11:0 of the address must be 0")                                                \
    R(ADDRESS_WIDTH, EXECUTION, "the address must lie within the physical-address width")                              \
    R(TPR_RESERVED, EXECUTION, "bits 31:4 must be 0 with 'use TPR shadow', without 'virtual-interrupt delivery'")      \
    R(TPR_ABOVE_VTPR, EXECUTION, "bits 3:0 must not exceed bits 7:4 of VTPR in the virtual-APIC page")                 \
    R(VIRTUAL_NMIS, EXECUTION, "'virtual NMIs' needs 'NMI exiting'")                                                   \
    R(NMI_WINDOW, EXECUTION, "'NMI-window exiting' needs 'virtual NMIs'")                                              \
    R(NEEDS_TPR_SHADOW, EXECUTION, "this control needs 'use TPR shadow'")                                              \
    R(X2APIC_ACCESSES, EXECUTION, "'virtualize x2APIC mode' excludes 'virtualize APIC accesses'")                      \
    R(DELIVERY_EXTERNAL, EXECUTION, "'virtual-interrupt delivery' needs 'external-interrupt exiting'")                 \
    R(POSTED_DELIVERY, EXECUTION, "'process posted interrupts' needs 'virtual-interrupt delivery'")                    \
    R(POSTED_ACKNOWLEDGE, EXECUTION, "'process posted interrupts' needs 'acknowledge interrupt on exit'")              \
    R(POSTED_VECTOR, EXECUTION, "the notification vector must be 0 to 255")                                            \
    R(POSTED_ALIGNED, EXECUTION, "bits 5:0 of the posted-interrupt descriptor's address must be 0")                    \
    R(VPID_ZERO, EXECUTION, "must not be 0 with 'enable VPID'")                                                        \
    R(EPTP_TYPE, EXECUTION, "bits 2:0 must be a memory type in IA32_VMX_EPT_VPID_CAP: 0 UC or 6 WB")                   \
    R(EPTP_WALK, EXECUTION, "bits 5:3 must be 3: a page walk of 4 levels (or as IA32_VMX_EPT_VPID_CAP says)")          \
    R(EPTP_DIRTY, EXECUTION, "bit 6 must be 0: no accessed and dirty flags in IA32_VMX_EPT_VPID_CAP")                  \
    R(EPTP_RESERVED, EXECUTION, "bits 11:7 and those beyond the physical-address width must be 0")                     \
    R(NEEDS_EPT, EXECUTION, "this control needs 'enable EPT'")                                                         \
    R(PT_CONTROLS, EXECUTION,                                                                                          \
      "'Intel PT uses guest physical addresses' needs load (entry) and clear IA32_RTIT_CTL (exit)")                    \
    R(TSC_MULTIPLIER, EXECUTION, "must not be 0 with 'use TSC scaling'")                                               \
    R(VMFUNC_RESERVED, EXECUTION, "only VM functions in IA32_VMX_VMFUNC")                                              \
    R(VMFUNC_EPT, EXECUTION, "EPTP switching needs 'enable EPT'")                                                      \
    R(EXIT_ALLOWED, EXIT, "reserved VM-exit controls must be as IA32_VMX_(TRUE_)EXIT_CTLS says")                       \
    R(EXIT_TIMER, EXIT, "'save VMX-preemption timer value' needs 'activate VMX-preemption timer'")                     \
    R(EXIT_MSRS_ALIGNED, EXIT, "bits 3:0 must be 0 if the count is not 0")                                             \
    R(EXIT_MSRS_WIDTH, EXIT, "the address must lie within the physical-address width if the count is not 0")           \
    R(EXIT_MSRS_END, EXIT, "the area's last byte must lie within the physical-address width")                          \
    R(ENTRY_ALLOWED, ENTRY, "reserved VM-entry controls must be as IA32_VMX_(TRUE_)ENTRY_CTLS says")                   \
    R(INJECT_TYPE, ENTRY, "type 1 is reserved, and 7 without 'monitor trap flag'")                                     \
    R(INJECT_NMI, ENTRY, "an NMI's vector must be 2")                                                                  \
    R(INJECT_EXCEPTION, ENTRY, "a hardware exception's vector must be at most 31")                                     \
    R(INJECT_OTHER, ENTRY, "an other event's vector must be 0 (MTF)")                                                  \
    R(INJECT_ERROR_CODE, ENTRY,                                                                                        \
      "bit 11 must be 1 for just a hardware exception that has an error code (not with PE 0)")                         \
    R(INJECT_RESERVED, ENTRY, "bits 30:12 must be 0")                                                                  \
    R(INJECT_ERROR_HIGH, ENTRY, "bits 31:16 must be 0 if an error code is delivered")                                  \
    R(INJECT_LENGTH, ENTRY, "must be 1 to 15 for a software interrupt or exception (0 only if IA32_VMX_MISC[30])")     \
    R(ENTRY_MSRS_ALIGNED, ENTRY, "bits 3:0 must be 0 if the count is not 0")                                           \
    R(ENTRY_MSRS_WIDTH, ENTRY, "the address must lie within the physical-address width if the count is not 0")         \
    R(ENTRY_MSRS_END, ENTRY, "the area's last byte must lie within the physical-address width")                        \
    R(ENTRY_SMM, ENTRY, "'entry to SMM' and 'deactivate dual-monitor' must be 0 outside SMM")                          \
    R(ENTRY_SMM_BOTH, ENTRY, "'entry to SMM' and 'deactivate dual-monitor' must not both be 1")                        \
    R(HOST_CR0, HOST, "bits fixed in VMX operation (IA32_VMX_CR0_FIXED0/1) must have that value")                      \
    R(HOST_CR4, HOST, "bits fixed in VMX operation (IA32_VMX_CR4_FIXED0/1) must have that value")                      \
    R(HOST_CET, HOST, "CR0.WP must be 1 if CR4.CET is 1")                                                              \
    R(HOST_CR3, HOST, "bits beyond the physical-address width must be 0")                                              \
    R(HOST_SYSENTER, HOST, "must be a canonical address")                                                              \
    R(HOST_PERF, HOST, "reserved bits must be 0 with 'load IA32_PERF_GLOBAL_CTRL'")                                    \
    R(HOST_PAT, HOST, "each byte must be 0, 1, 4, 5, 6 or 7 with 'load IA32_PAT'")                                     \
    R(HOST_EFER, HOST, "reserved bits must be 0 with 'load IA32_EFER'")                                                \
    R(HOST_EFER_SIZE, HOST, "LMA and LME must both equal 'host address-space size' with 'load IA32_EFER'")             \
    R(HOST_SELECTOR, HOST_TABLES, "RPL (bits 1:0) and TI (bit 2) must be 0")                                           \
    R(HOST_SELECTOR_NULL, HOST_TABLES, "must not be 0000H")                                                            \
    R(HOST_SS_NULL, HOST_TABLES, "must not be 0000H if 'host address-space size' is 0")                                \
    R(HOST_BASE, HOST_TABLES, "must be a canonical address")                                                           \
    R(SIZE_GUEST, SIZE, "'IA-32e mode guest' must be 0 outside IA-32e mode")                                           \
    R(SIZE_HOST, SIZE, "'host address-space size' must equal IA32_EFER.LMA at VM entry")                               \
    R(SIZE_GUEST_HOST, SIZE, "'IA-32e mode guest' needs 'host address-space size'")                                    \
    R(SIZE_PCIDE, SIZE, "PCIDE must be 0 if 'host address-space size' is 0")                                           \
    R(SIZE_RIP_HIGH, SIZE, "bits 63:32 must be 0 if 'host address-space size' is 0")                                   \
    R(SIZE_PAE, SIZE, "PAE must be 1 if 'host address-space size' is 1")                                               \
    R(SIZE_RIP, SIZE, "must be canonical if 'host address-space size' is 1")                                           \
    R(CR0_FIXED, GUEST, "bits fixed in VMX operation must have that value (not PE, PG if 'unrestricted guest')")       \
    R(CR0_PAGING, GUEST, "PE must be 1 if PG is 1")                                                                    \
    R(CR4_FIXED, GUEST, "bits fixed in VMX operation (IA32_VMX_CR4_FIXED0/1) must have that value")                    \
    R(CR4_CET, GUEST, "CR0.WP must be 1 if CR4.CET is 1")                                                              \
    R(DEBUGCTL, GUEST, "reserved bits must be 0 with 'load debug controls'")                                           \
    R(IA32E_PAGING, GUEST, "PG must be 1 with 'IA-32e mode guest'")                                                    \
    R(IA32E_PAE, GUEST, "PAE must be 1 with 'IA-32e mode guest'")                                                      \
    R(CR4_PCIDE, GUEST, "PCIDE must be 0 without 'IA-32e mode guest'")                                                 \
    R(CR3, GUEST, "bits beyond the physical-address width must be 0")                                                  \
    R(DR7, GUEST, "bits 63:32 must be 0 with 'load debug controls'")                                                   \
    R(SYSENTER, GUEST, "must be a canonical address")                                                                  \
    R(PERF, GUEST, "reserved bits must be 0 with 'load IA32_PERF_GLOBAL_CTRL'")                                        \
    R(PAT, GUEST, "each byte must be 0, 1, 4, 5, 6 or 7 with 'load IA32_PAT'")                                         \
    R(EFER, GUEST, "reserved bits must be 0 with 'load IA32_EFER'")                                                    \
    R(EFER_LMA, GUEST, "LMA must equal 'IA-32e mode guest' with 'load IA32_EFER'")                                     \
    R(EFER_LME, GUEST, "LME must equal LMA if CR0.PG is 1, with 'load IA32_EFER'")                                     \
    R(BNDCFGS, GUEST, "bits 11:2 must be 0 with 'load IA32_BNDCFGS'")                                                  \
    R(BNDCFGS_ADDRESS, GUEST, "the address in bits 63:12 must be canonical with 'load IA32_BNDCFGS'")                  \
    R(SELECTOR_TI, SEGMENTS, "TI (bit 2) of TR and of a usable LDTR must be 0")                                        \
    R(SS_RPL, SEGMENTS, "RPL must equal CS's RPL (not in virtual-8086 mode or with 'unrestricted guest')")             \
    R(V86_BASE, SEGMENTS, "must be the selector times 16 in virtual-8086 mode")                                        \
    R(BASE_CANONICAL, SEGMENTS, "must be a canonical address")                                                         \
    R(BASE_HIGH, SEGMENTS, "bits 63:32 must be 0 in CS, and in SS, DS and ES if usable")                               \
    R(V86_LIMIT, SEGMENTS, "must be FFFFH in virtual-8086 mode")                                                       \
    R(V86_ACCESS, SEGMENTS, "must be F3H in virtual-8086 mode")                                                        \
    R(CS_TYPE, SEGMENTS, "type must be 9, 11, 13 or 15: accessed code (or 3 with 'unrestricted guest')")               \
    R(SS_TYPE, SEGMENTS, "type must be 3 or 7: accessed read/write data")                                              \
    R(DATA_ACCESSED, SEGMENTS, "bit 0 of the type (accessed) must be 1 if usable")                                     \
    R(DATA_READABLE, SEGMENTS, "bit 1 of the type (readable) must be 1 in a usable code segment")                      \
    R(CODE_DATA_S, SEGMENTS, "S (bit 4) must be 1")                                                                    \
    R(CS_DPL_DATA, SEGMENTS, "DPL must be 0 if CS's type is 3")                                                        \
    R(CS_DPL_EQUAL, SEGMENTS, "DPL must equal SS's DPL if the type is 9 or 11: non-conforming code")                   \
    R(CS_DPL_BELOW, SEGMENTS, "DPL must not exceed SS's DPL if the type is 13 or 15: conforming code")                 \
    R(SS_DPL_RPL, SEGMENTS, "DPL must equal the selector's RPL without 'unrestricted guest'")                          \
    R(SS_DPL_REAL, SEGMENTS, "DPL must be 0 if CS's type is 3 or CR0.PE is 0")                                         \
    R(DATA_DPL, SEGMENTS, "DPL must be at least the selector's RPL for types 0 to 11 without 'unrestricted guest'")    \
    R(PRESENT, SEGMENTS, "P (bit 7) must be 1")                                                                        \
    R(ACCESS_RESERVED, SEGMENTS, "bits 11:8 and 31:17 must be 0")                                                      \
    R(CS_D_AND_L, SEGMENTS, "D/B must be 0 if L is 1 with 'IA-32e mode guest'")                                        \
    R(LIMIT_LOW, SEGMENTS, "G must be 0 unless bits 11:0 of the limit are all 1")                                      \
    R(LIMIT_HIGH, SEGMENTS, "G must be 1 unless bits 31:20 of the limit are all 0")                                    \
    R(TR_TYPE, SEGMENTS, "type must be 11: a busy TSS (or 3, 16-bit, without 'IA-32e mode guest')")                    \
    R(TR_UNUSABLE, SEGMENTS, "TR must be usable: bit 16 must be 0")                                                    \
    R(LDTR_TYPE, SEGMENTS, "type must be 2: LDT")                                                                      \
    R(SYSTEM_S, SEGMENTS, "S (bit 4) of TR and of a usable LDTR must be 0")                                            \
    R(TABLE_BASE, TABLES, "must be a canonical address")                                                               \
    R(TABLE_LIMIT, TABLES, "bits 31:16 must be 0")                                                                     \
    R(RIP_HIGH, RIP, "bits 63:32 must be 0 without 'IA-32e mode guest' or if CS.L is 0")                               \
    R(RIP_LINEAR, RIP, "bits beyond the linear-address width must be equal in 64-bit mode")                            \
    R(RFLAGS, RIP, "bits 63:22, 15, 5 and 3 must be 0 and bit 1 must be 1")                                            \
    R(RFLAGS_VM, RIP, "VM must be 0 with 'IA-32e mode guest' or if CR0.PE is 0")                                       \
    R(RFLAGS_IF, RIP, "IF must be 1 if an external interrupt is injected")                                             \
    R(ACTIVITY, STATE, "must be 0 active, 1 HLT, 2 shutdown or 3 wait-for-SIPI, as IA32_VMX_MISC[8:6] says")           \
    R(ACTIVITY_HLT, STATE, "must not be HLT if SS's DPL is not 0")                                                     \
    R(ACTIVITY_BLOCKED, STATE, "must be active under blocking by STI or MOV SS")                                       \
    R(ACTIVITY_INJECT, STATE, "must not block the event that is injected")                                             \
    R(ACTIVITY_SMM, STATE, "must not be wait-for-SIPI with 'entry to SMM'")                                            \
    R(BLOCKING, STATE, "bits 31:5 must be 0")                                                                          \
    R(BLOCKING_BOTH, STATE, "blocking by STI and by MOV SS must not both be 1")                                        \
    R(BLOCKING_STI, STATE, "blocking by STI must be 0 if RFLAGS.IF is 0")                                              \
    R(BLOCKING_EXTERNAL, STATE, "no blocking by STI or MOV SS if an external interrupt is injected")                   \
    R(BLOCKING_NMI, STATE, "no blocking by MOV SS (nor by STI on some CPUs) if an NMI is injected")                    \
    R(BLOCKING_SMI, STATE, "blocking by SMI must be 0 outside SMM")                                                    \
    R(BLOCKING_SMM, STATE, "blocking by SMI must be 1 with 'entry to SMM'")                                            \
    R(BLOCKING_VIRTUAL_NMI, STATE, "blocking by NMI must be 0 if an NMI is injected with 'virtual NMIs'")              \
    R(BLOCKING_ENCLAVE, STATE, "enclave interruption needs SGX and no blocking by MOV SS")                             \
    R(DEBUG, STATE, "bits 11:4, 13, 15 and 63:17 must be 0")                                                           \
    R(DEBUG_STEP, STATE, "BS must equal TF and not BTF under blocking by STI or MOV SS, or in HLT")                    \
    R(DEBUG_RTM, STATE, "of bits 15:0 only 12 must be 1 if bit 16 (RTM) is 1")                                         \
    R(DEBUG_RTM_CPU, STATE, "RTM needs the CPU feature, and no blocking by MOV SS")                                    \
    R(LINK_ALIGNED, STATE, "bits 11:0 must be 0 (or the field all 1)")                                                 \
    R(LINK_WIDTH, STATE, "must lie within the physical-address width (or be all 1)")                                   \
    R(LINK_REVISION, STATE, "bits 30:0 of the VMCS there must be this CPU's VMCS revision identifier")                 \
    R(LINK_SHADOW, STATE, "bit 31 of the VMCS there must equal 'VMCS shadowing'")                                      \
    R(LINK_CURRENT, STATE, "must not be the current VMCS")                                                             \
    R(LINK_EXECUTIVE, STATE, "must not be the executive-VMCS pointer when SMM is left")                                \
    R(PDPTE, PDPTES, "reserved bits (2:1, 8:5, beyond the physical-address width) must be 0 if bit 0 is 1")            \
    R(MSR_BASE, MSRS, "IA32_FS_BASE and IA32_GS_BASE cannot be loaded this way")                                       \
    R(MSR_X2APIC, MSRS, "MSRs 800H to 8FFH (x2APIC) cannot be loaded this way")                                        \
    R(MSR_SMM, MSRS, "this MSR can be written only in SMM")                                                            \
    R(MSR_MODEL, MSRS, "this MSR cannot be loaded on VM entries: IA32_BIOS_UPDT_TRIG")                                 \
    R(MSR_RESERVED, MSRS, "bits 63:32 of the entry must be 0")                                                         \
    R(MSR_VALUE, MSRS, "WRMSR of this value would cause #GP")

#define CHECK_DEFINE_SECTION(id, class, title) CHECK_SECTION_##id,
#define CHECK_DEFINE_RULE(id, section, words)  RULE_##id,
enum check_section { CHECK_SECTIONS(CHECK_DEFINE_SECTION) CHECK_SECTION_COUNT };
enum check_rule { CHECK_RULES(CHECK_DEFINE_RULE) CHECK_RULE_COUNT };

/* One run of the checker. */
struct check {
    const struct check_image *image;
    const struct vmx_caps *caps;
    check_reporter report;
    void *context;
    struct check_result result;
    u32 proc2;  /* secondary controls as they act: 0 if they are not activated */
    u32 entry;  /* VM-entry controls */
    u32 event;  /* VM-entry interruption information if its valid bit is 1, else 0 */
    u64 cr0;    /* the guest's */
    bool ia32e; /* the guest will be in IA-32e mode */
    bool unrestricted;
};

/* Rule and field as one number: half the code at each of its many uses. */
#define CHECK_AT(rule, field) ((u32)RULE_##rule << 16 | (u32)(field))

/* Interruption types: SDM 3C 24.8.3 "VM-Entry Controls for Event Injection" */
enum {
    EVENT_EXTERNAL,
    EVENT_RESERVED,
    EVENT_NMI,
    EVENT_HARDWARE,
    EVENT_SOFTWARE,
    EVENT_PRIVILEGED,
    EVENT_TRAP,
    EVENT_OTHER
};
#define EVENT_VALID 0x80000000u

static inline u64 check_get(const struct check *c, u32 field)
{
    return c->image->value[field];
}

static inline u32 check_event_type(const struct check *c)
{
    return c->event >> 8 & 7;
}

/* check.c. Each reports if the rule is broken: always, if there are wrong bits, unless the condition holds. */
void check_fail(struct check *c, u32 at, u64 bits);
void check_bits(struct check *c, u32 at, u64 wrong_bits);
void check_that(struct check *c, u32 at, bool holds);
void check_canonical(struct check *c, u32 at);
void check_pat(struct check *c, u32 at);
/* The bits of a physical address that the CPU does not have; `structure`: IA32_VMX_BASIC[48] narrows it to 32. */
u64 check_beyond_width(const struct check *c, u64 address, bool structure);
bool check_is_canonical(const struct check *c, u64 address);
bool check_is_pat(u64 value);
bool check_memory(struct check *c, u64 physical, void *to, u32 bytes, u8 skipped);
/* It fails because of the control `bit` of `group`. */
void check_fail_because(struct check *c, u32 at, u64 bits, u32 group, u32 bit);
/* An entry (counted from 1) of a list is at fault, whose value is not the field's. */
void check_fail_entry(struct check *c, u32 at, u32 entry, u64 value, u64 bits);

/* Each makes the checks of the sections named in its file's head. */
void check_controls(struct check *c);
void check_host(struct check *c);
void check_guest(struct check *c);
void check_segments(struct check *c);
void check_state(struct check *c);
void check_msrs(struct check *c);

#endif
