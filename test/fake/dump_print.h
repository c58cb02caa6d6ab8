/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMCS printed as other hypervisors print theirs: in KVM's and in Xen's layout, which show a part of the fields, and
 * as plain lists of names or encodings, which show all. For the explainer's tests.
 */
#ifndef ROOTLET_TEST_DUMP_PRINT_H
#define ROOTLET_TEST_DUMP_PRINT_H

#include <stdio.h>

#include "vmx/check/check.h"
#include "vmx/controls.h"

static const char *const print_segments[] = {"CS", "DS", "SS", "ES", "FS", "GS"};
static const u32 print_order[] = {1, 3, 2, 0, 4, 5}; /* the segments in the order of the fields: ES, CS, SS, ... */

static unsigned long long print_get(const u64 *v, u32 row)
{
    return v[row];
}
#define PG(row) print_get(v, FIELD_##row)

static void print_kvm_segment(FILE *f, const u64 *v, const char *name, u32 i)
{
    fprintf(f, "%-5s sel=0x%04llx, attr=0x%05llx, limit=0x%08llx, base=0x%016llx\n", name,
            print_get(v, FIELD_GUEST_ES_SELECTOR + i), print_get(v, FIELD_GUEST_ES_ACCESS + i),
            print_get(v, FIELD_GUEST_ES_LIMIT + i), print_get(v, FIELD_GUEST_ES_BASE + i));
}

static void print_kvm_guest(FILE *f, const u64 *v)
{
    u64 entry = PG(ENTRY_CONTROLS), proc2 = PG(PROC_CONTROLS) & PROC_SECONDARY ? PG(PROC2_CONTROLS) : 0;
    char name[8];

    fprintf(f, "CR0: actual=0x%016llx, shadow=0x%016llx, gh_mask=%016llx\n", PG(GUEST_CR0), PG(CR0_SHADOW),
            PG(CR0_MASK));
    fprintf(f, "CR4: actual=0x%016llx, shadow=0x%016llx, gh_mask=%016llx\n", PG(GUEST_CR4), PG(CR4_SHADOW),
            PG(CR4_MASK));
    fprintf(f, "CR3 = 0x%016llx\n", PG(GUEST_CR3));
    if (proc2 & PROC2_EPT) {
        fprintf(f, "PDPTR0 = 0x%016llx  PDPTR1 = 0x%016llx\n", PG(GUEST_PDPTE0), PG(GUEST_PDPTE1));
        fprintf(f, "PDPTR2 = 0x%016llx  PDPTR3 = 0x%016llx\n", PG(GUEST_PDPTE2), PG(GUEST_PDPTE3));
    }
    fprintf(f, "RSP = 0x%016llx  RIP = 0x%016llx\n", PG(GUEST_RSP), PG(GUEST_RIP));
    fprintf(f, "RFLAGS=0x%08llx         DR7 = 0x%016llx\n", PG(GUEST_RFLAGS), PG(GUEST_DR7));
    fprintf(f, "Sysenter RSP=%016llx CS:RIP=%04llx:%016llx\n", PG(GUEST_SYSENTER_ESP), PG(GUEST_SYSENTER_CS),
            PG(GUEST_SYSENTER_EIP));
    for (u32 i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "%s:", print_segments[i]);
        print_kvm_segment(f, v, name, print_order[i]);
    }
    fprintf(f, "GDTR:                           limit=0x%08llx, base=0x%016llx\n", PG(GUEST_GDTR_LIMIT),
            PG(GUEST_GDTR_BASE));
    print_kvm_segment(f, v, "LDTR:", 6);
    fprintf(f, "IDTR:                           limit=0x%08llx, base=0x%016llx\n", PG(GUEST_IDTR_LIMIT),
            PG(GUEST_IDTR_BASE));
    print_kvm_segment(f, v, "TR:", 7);
    if (entry & ENTRY_LOAD_EFER)
        fprintf(f, "EFER= 0x%016llx\n", PG(GUEST_EFER));
    else
        fprintf(f, "EFER= 0x%016llx (effective)\n", 0xd01ull);
    if (entry & ENTRY_LOAD_PAT)
        fprintf(f, "PAT = 0x%016llx\n", PG(GUEST_PAT));
    fprintf(f, "DebugCtl = 0x%016llx  DebugExceptions = 0x%016llx\n", PG(GUEST_DEBUGCTL), PG(GUEST_PENDING_DEBUG));
    if (entry & ENTRY_LOAD_PERF_GLOBAL)
        fprintf(f, "PerfGlobCtl = 0x%016llx\n", PG(GUEST_PERF_GLOBAL_CTRL));
    if (entry & 0x10000)
        fprintf(f, "BndCfgS = 0x%016llx\n", PG(GUEST_BNDCFGS));
    fprintf(f, "Interruptibility = %08llx  ActivityState = %08llx\n", PG(GUEST_INTERRUPTIBILITY),
            PG(GUEST_ACTIVITY_STATE));
    if (proc2 & PROC2_VIRTUAL_INTERRUPTS)
        fprintf(f, "InterruptStatus = %04llx\n", PG(GUEST_INTERRUPT_STATUS));
}

static void print_host(FILE *f, const u64 *v)
{
    u64 exit = PG(EXIT_CONTROLS);

    fprintf(f, "*** Host State ***\n");
    fprintf(f, "RIP = 0x%016llx  RSP = 0x%016llx\n", PG(HOST_RIP), PG(HOST_RSP));
    fprintf(f, "CS=%04llx SS=%04llx DS=%04llx ES=%04llx FS=%04llx GS=%04llx TR=%04llx\n", PG(HOST_CS_SELECTOR),
            PG(HOST_SS_SELECTOR), PG(HOST_DS_SELECTOR), PG(HOST_ES_SELECTOR), PG(HOST_FS_SELECTOR),
            PG(HOST_GS_SELECTOR), PG(HOST_TR_SELECTOR));
    fprintf(f, "FSBase=%016llx GSBase=%016llx TRBase=%016llx\n", PG(HOST_FS_BASE), PG(HOST_GS_BASE), PG(HOST_TR_BASE));
    fprintf(f, "GDTBase=%016llx IDTBase=%016llx\n", PG(HOST_GDTR_BASE), PG(HOST_IDTR_BASE));
    fprintf(f, "CR0=%016llx CR3=%016llx CR4=%016llx\n", PG(HOST_CR0), PG(HOST_CR3), PG(HOST_CR4));
    fprintf(f, "Sysenter RSP=%016llx CS:RIP=%04llx:%016llx\n", PG(HOST_SYSENTER_ESP), PG(HOST_SYSENTER_CS),
            PG(HOST_SYSENTER_EIP));
    if (exit & (EXIT_LOAD_EFER | EXIT_LOAD_PAT))
        fprintf(f, "EFER = 0x%016llx  PAT = 0x%016llx\n", PG(HOST_EFER), PG(HOST_PAT));
    if (exit & EXIT_LOAD_PERF_GLOBAL)
        fprintf(f, "PerfGlobCtl = 0x%016llx\n", PG(HOST_PERF_GLOBAL_CTRL));
}

static void print_control(FILE *f, const u64 *v, bool tertiary)
{
    u64 proc = PG(PROC_CONTROLS), proc2 = proc & PROC_SECONDARY ? PG(PROC2_CONTROLS) : 0;

    fprintf(f, "*** Control State ***\n");
    if (tertiary) {
        fprintf(f, "CPUBased=0x%08llx SecondaryExec=0x%08llx TertiaryExec=0x%016llx\n", PG(PROC_CONTROLS),
                PG(PROC2_CONTROLS), 0ull);
        fprintf(f, "PinBased=0x%08llx EntryControls=%08llx ExitControls=%08llx\n", PG(PIN_CONTROLS), PG(ENTRY_CONTROLS),
                PG(EXIT_CONTROLS));
    } else {
        fprintf(f, "PinBased=%08llx CPUBased=%08llx SecondaryExec=%08llx\n", PG(PIN_CONTROLS), PG(PROC_CONTROLS),
                PG(PROC2_CONTROLS));
        fprintf(f, "EntryControls=%08llx ExitControls=%08llx\n", PG(ENTRY_CONTROLS), PG(EXIT_CONTROLS));
    }
    fprintf(f, "ExceptionBitmap=%08llx PFECmask=%08llx PFECmatch=%08llx\n", PG(EXCEPTION_BITMAP), PG(PF_ERROR_MASK),
            PG(PF_ERROR_MATCH));
    fprintf(f, "VMEntry: intr_info=%08llx errcode=%08llx ilen=%08llx\n", PG(ENTRY_INTERRUPTION_INFO),
            PG(ENTRY_EXCEPTION_ERROR_CODE), PG(ENTRY_INSTRUCTION_LENGTH));
    fprintf(f, "VMExit: intr_info=%08llx errcode=%08llx ilen=%08llx\n", PG(EXIT_INTERRUPTION_INFO),
            PG(EXIT_INTERRUPTION_ERROR_CODE), PG(EXIT_INSTRUCTION_LENGTH));
    fprintf(f, "        reason=%08llx qualification=%016llx\n", PG(EXIT_REASON), PG(EXIT_QUALIFICATION));
    fprintf(f, "IDTVectoring: info=%08llx errcode=%08llx\n", PG(IDT_VECTORING_INFO), PG(IDT_VECTORING_ERROR_CODE));
    fprintf(f, "TSC Offset = 0x%016llx\n", PG(TSC_OFFSET));
    if (proc2 & PROC2_TSC_SCALING)
        fprintf(f, "TSC Multiplier = 0x%016llx\n", PG(TSC_MULTIPLIER));
    if (proc & PROC_TPR_SHADOW) {
        if (proc2 & PROC2_VIRTUAL_INTERRUPTS)
            fprintf(f, "SVI|RVI = %02llx|%02llx ", PG(GUEST_INTERRUPT_STATUS) >> 8, PG(GUEST_INTERRUPT_STATUS) & 0xff);
        fprintf(f, "TPR Threshold = 0x%02llx\n", PG(TPR_THRESHOLD));
        fprintf(f, "APIC-access addr = 0x%016llx virt-APIC addr = 0x%016llx\n", PG(APIC_ACCESS_ADDRESS),
                PG(VIRTUAL_APIC_ADDRESS));
    }
    if (PG(PIN_CONTROLS) & PIN_POSTED_INTERRUPTS)
        fprintf(f, "PostedIntrVec = 0x%02llx\n", PG(POSTED_INTERRUPT_VECTOR));
    if (proc2 & PROC2_EPT)
        fprintf(f, "EPT pointer = 0x%016llx\n", PG(EPT_POINTER));
    if (proc2 & PROC2_PAUSE_LOOP_EXITING)
        fprintf(f, "PLE Gap=%08llx Window=%08llx\n", PG(PLE_GAP), PG(PLE_WINDOW));
    if (proc2 & PROC2_VPID)
        fprintf(f, "Virtual processor ID = 0x%04llx\n", PG(VPID));
}

static void print_kvm(FILE *f, const u64 *v, bool tertiary)
{
    fprintf(f, "VMCS 000000006afb1754, last attempted VM-entry on CPU 12\n*** Guest State ***\n");
    print_kvm_guest(f, v);
    print_host(f, v);
    print_control(f, v, tertiary);
}

static void print_xen_segment(FILE *f, const u64 *v, const char *name, u32 i)
{
    fprintf(f, "%5s: %04llx %05llx %08llx %016llx\n", name, print_get(v, FIELD_GUEST_ES_SELECTOR + i),
            print_get(v, FIELD_GUEST_ES_ACCESS + i), print_get(v, FIELD_GUEST_ES_LIMIT + i),
            print_get(v, FIELD_GUEST_ES_BASE + i));
}

static void print_xen(FILE *f, const u64 *v)
{
    fprintf(f, "************* VMCS Area **************\n*** Guest State ***\n");
    fprintf(f, "CR0: actual=0x%016llx, shadow=0x%016llx, gh_mask=%016llx\n", PG(GUEST_CR0), PG(CR0_SHADOW),
            PG(CR0_MASK));
    fprintf(f, "CR4: actual=0x%016llx, shadow=0x%016llx, gh_mask=%016llx\n", PG(GUEST_CR4), PG(CR4_SHADOW),
            PG(CR4_MASK));
    fprintf(f, "CR3 = 0x%016llx\n", PG(GUEST_CR3));
    fprintf(f, "PDPTE0 = 0x%016llx  PDPTE1 = 0x%016llx\n", PG(GUEST_PDPTE0), PG(GUEST_PDPTE1));
    fprintf(f, "PDPTE2 = 0x%016llx  PDPTE3 = 0x%016llx\n", PG(GUEST_PDPTE2), PG(GUEST_PDPTE3));
    fprintf(f, "RSP = 0x%016llx (0x%016llx)  RIP = 0x%016llx (0x%016llx)\n", PG(GUEST_RSP), PG(GUEST_RSP),
            PG(GUEST_RIP), PG(GUEST_RIP));
    fprintf(f, "RFLAGS=0x%08llx (0x%08llx)  DR7 = 0x%016llx\n", PG(GUEST_RFLAGS), PG(GUEST_RFLAGS), PG(GUEST_DR7));
    fprintf(f, "Sysenter RSP=%016llx CS:RIP=%04llx:%016llx\n", PG(GUEST_SYSENTER_ESP), PG(GUEST_SYSENTER_CS),
            PG(GUEST_SYSENTER_EIP));
    fprintf(f, "       sel  attr  limit   base\n");
    for (u32 i = 0; i < 6; i++)
        print_xen_segment(f, v, print_segments[i], print_order[i]);
    fprintf(f, " GDTR:            %08llx %016llx\n", PG(GUEST_GDTR_LIMIT), PG(GUEST_GDTR_BASE));
    print_xen_segment(f, v, "LDTR", 6);
    fprintf(f, " IDTR:            %08llx %016llx\n", PG(GUEST_IDTR_LIMIT), PG(GUEST_IDTR_BASE));
    print_xen_segment(f, v, "TR", 7);
    fprintf(f, "EFER(VMCS) = 0x%016llx  PAT = 0x%016llx\n", PG(GUEST_EFER), PG(GUEST_PAT));
    fprintf(f, "PreemptionTimer = 0x%08llx  SM Base = 0x%08llx\n", PG(PREEMPTION_TIMER_VALUE), PG(GUEST_SMBASE));
    fprintf(f, "DebugCtl = 0x%016llx  DebugExceptions = 0x%016llx\n", PG(GUEST_DEBUGCTL), PG(GUEST_PENDING_DEBUG));
    if (PG(ENTRY_CONTROLS) & (ENTRY_LOAD_PERF_GLOBAL | 0x10000))
        fprintf(f, "PerfGlobCtl = 0x%016llx  BndCfgS = 0x%016llx\n", PG(GUEST_PERF_GLOBAL_CTRL), PG(GUEST_BNDCFGS));
    fprintf(f, "Interruptibility = %08llx  ActivityState = %08llx\n", PG(GUEST_INTERRUPTIBILITY),
            PG(GUEST_ACTIVITY_STATE));
    print_host(f, v);
    print_control(f, v, false);
}

static __attribute__((unused)) void print_names(FILE *f, const u64 *v, const char *format)
{
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        fprintf(f, format, check_field_name(row), print_get(v, row));
}

static __attribute__((unused)) void print_encodings(FILE *f, const u64 *v)
{
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        fprintf(f, "%04x %llx\n", check_field_encoding(row), print_get(v, row));
}

#endif
