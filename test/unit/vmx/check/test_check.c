/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM-entry checker: valid images of each mode break no rule; then, for each rule of SDM 3C chapter 26, a change
 * that breaks this rule in this field and no other; and changes on the edge of the rules, which are still valid.
 *
 * links: vmx/check/check.c vmx/check/rule.c vmx/check/controls.c vmx/check/host.c vmx/check/guest.c
 * vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c vmx/check/fields.c vmx/controls.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test/fake/check_images.h"
#include "vmx/check/rules.h"

#define MAX_REPORTS 64

static struct bench bench;
static struct check_report reports[MAX_REPORTS];
static u32 reported;

static void collect(void *context, const struct check_report *report)
{
    (void)context;
    if (reported < MAX_REPORTS)
        reports[reported] = *report;
    reported++;
}

static struct check_result run(void)
{
    reported = 0;
    struct check_result result = vmx_check_entry(&bench.image, &bench.caps, collect, NULL);
    assert_int_equal(result.broken, reported);
    return result;
}

static void print_reports(const char *what)
{
    char line[500];

    fprintf(stderr, "%s\n", what);
    for (u32 i = 0; i < reported && i < MAX_REPORTS; i++) {
        check_format(&reports[i], line, sizeof line);
        fprintf(stderr, "    %s\n", line);
    }
}

/* A CPU that allows every control that any SDM names, so that a rule can be broken without breaking those before it. */
static void allow_all(void)
{
    bench.caps.cr4_fixed1 = 0x00ff7fff;
    bench.caps.group[VMX_PIN].may_be_one = 0xff;
    bench.caps.group[VMX_PROC].may_be_one = 0xfff9fffe;
    bench.caps.group[VMX_PROC2].may_be_one = 0x03ffffff;
    bench.caps.group[VMX_EXIT].may_be_one = 0x03ffffff;
    bench.caps.group[VMX_ENTRY].may_be_one = 0x0007ffff;
}

static void outside_long_mode(void)
{
    bench.image.cpu.long_mode = false;
}

/* A 32-bit host, in order but for what the case breaks. */
static void host_32(void)
{
    u64 *v = bench.image.value;
    outside_long_mode();
    v[FIELD_EXIT_CONTROLS] &= ~(u64)EXIT_HOST_ADDRESS_SPACE;
    v[FIELD_HOST_EFER] = 0;
    v[FIELD_HOST_RIP] = 0x104000;
}

static void no_dirty_flags(void)
{
    bench.caps.ept_vpid &= ~BIT(21);
}

static void in_smm(void)
{
    bench.image.cpu.in_smm = true;
}

static void rtm(void)
{
    bench.image.cpu.has_rtm = true;
}

static void sgx(void)
{
    bench.image.cpu.has_sgx = true;
}

static void strict_nmi(void)
{
    bench.image.cpu.sti_blocks_nmi = true;
}

static void linked_other_revision(void)
{
    bench_put32(&bench, BENCH_LINKED, 0x2c);
}

static void linked_shadow(void)
{
    bench_put32(&bench, BENCH_LINKED, 0x8000002b);
}

static void no_injection_length_0(void)
{
    bench.caps.misc &= ~BIT(30);
}

static void no_monitor_trap(void)
{
    bench.caps.group[VMX_PROC].may_be_one &= ~PROC_MONITOR_TRAP_FLAG;
}

static void no_wait_for_sipi(void)
{
    bench.caps.misc &= ~BIT(8);
}

static void narrow_structures(void)
{
    bench.caps.basic |= BIT(48);
}

static void any_error_code(void)
{
    bench.caps.basic |= BIT(56);
}

static void five_levels(void)
{
    bench.caps.ept_vpid |= BIT(7);
}

static void shadow_stacks(void)
{
    bench.caps.ept_vpid |= BIT(23);
}

static void bus_lock(void)
{
    bench.image.cpu.debugctl_valid |= BIT(2);
}

static void pdpt_in_memory(void)
{
    u64 entry = 0x1000 | 0x21; /* reserved bit 5 */
    memcpy(bench.memory + BENCH_PDPT + 24, &entry, 8);
}

struct change {
    char how; /* '=' sets, '^' toggles bits, 'm': `field` is an MSR of the load area, `value` its value; 0: none */
    u32 field;
    u64 value;
};

struct mutation {
    u16 rule; /* CHECK_RULE_COUNT: none breaks */
    u8 base;
    u32 field; /* the one that must be reported */
    struct change changes[5];
    void (*tweak)(void);
    u16 also; /* a second rule that this case cannot help to break, or 0 */
};

/* clang-format off */
#define SET(field, value) {'=', FIELD_##field, value}
#define FLIP(field, bits) {'^', FIELD_##field, bits}
#define MSR(index, value) {'m', index, value}
/* clang-format on */
#define RULE(r, base, field) RULE_##r, BENCH_##base, FIELD_##field
#define NO_UG                FLIP(PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST)
#define TPR_SHADOW           FLIP(PROC_CONTROLS, PROC_TPR_SHADOW)
#define DELIVERY             FLIP(PROC2_CONTROLS, PROC2_VIRTUAL_INTERRUPTS)
#define POSTED               FLIP(PIN_CONTROLS, PIN_POSTED_INTERRUPTS)
#define INJECT(info)         SET(ENTRY_INTERRUPTION_INFO, info)
#define NOT_CANONICAL        0x0000800000000000ull
#define TOO_WIDE             BIT(40)

/* clang-format off */
static const struct mutation mutations[] = {
    {RULE(PIN_ALLOWED, LONG, PIN_CONTROLS), .changes = {FLIP(PIN_CONTROLS, 2)}},
    {RULE(PIN_ALLOWED, LONG, PIN_CONTROLS), .changes = {FLIP(PIN_CONTROLS, 0x100)}},
    {RULE(PROC_ALLOWED, LONG, PROC_CONTROLS), .changes = {FLIP(PROC_CONTROLS, 2)}},
    {RULE(PROC_ALLOWED, LONG, PROC_CONTROLS), .changes = {FLIP(PROC_CONTROLS, 0x20000)}},
    {RULE(PROC2_ALLOWED, LONG, PROC2_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, BIT(31))}},
    {RULE(CR3_TARGETS, LONG, CR3_TARGET_COUNT), .changes = {SET(CR3_TARGET_COUNT, 5)}},
    {RULE(ADDRESS_ALIGNED, LONG, IO_BITMAP_A), .changes = {SET(IO_BITMAP_A, 0x1001)}},
    {RULE(ADDRESS_ALIGNED, LONG, IO_BITMAP_B), .changes = {SET(IO_BITMAP_B, 0x1800)}},
    {RULE(ADDRESS_WIDTH, LONG, MSR_BITMAPS), .changes = {SET(MSR_BITMAPS, TOO_WIDE)}},
    {RULE(ADDRESS_WIDTH, LONG, MSR_BITMAPS), .changes = {SET(MSR_BITMAPS, BIT(32))}, narrow_structures},
    {RULE(ADDRESS_ALIGNED, LONG, VIRTUAL_APIC_ADDRESS), .changes = {TPR_SHADOW, SET(VIRTUAL_APIC_ADDRESS, 0x7010)}},
    {RULE(ADDRESS_ALIGNED, LONG, APIC_ACCESS_ADDRESS), .changes = {FLIP(PROC2_CONTROLS, PROC2_APIC_ACCESSES), SET(APIC_ACCESS_ADDRESS, 1)}},
    {RULE(ADDRESS_ALIGNED, LONG, PML_ADDRESS), .changes = {FLIP(PROC2_CONTROLS, PROC2_PML), SET(PML_ADDRESS, 1)}},
    {RULE(ADDRESS_ALIGNED, LONG, VMREAD_BITMAP), .changes = {FLIP(PROC2_CONTROLS, PROC2_VMCS_SHADOWING), SET(VMREAD_BITMAP, 1)}},
    {RULE(ADDRESS_ALIGNED, LONG, VMWRITE_BITMAP), .changes = {FLIP(PROC2_CONTROLS, PROC2_VMCS_SHADOWING), SET(VMWRITE_BITMAP, 1)}},
    {RULE(ADDRESS_ALIGNED, LONG, VE_INFORMATION_ADDRESS), .changes = {FLIP(PROC2_CONTROLS, PROC2_EPT_VE), SET(VE_INFORMATION_ADDRESS, 1)}},
    {RULE(ADDRESS_ALIGNED, LONG, EPTP_LIST_ADDRESS), .changes = {FLIP(PROC2_CONTROLS, PROC2_VMFUNC), SET(VM_FUNCTION_CONTROLS, 1), SET(EPTP_LIST_ADDRESS, 8)}},
    {RULE(TPR_RESERVED, LONG, TPR_THRESHOLD), .changes = {TPR_SHADOW, SET(TPR_THRESHOLD, 0x10)}},
    {RULE(TPR_ABOVE_VTPR, LONG, TPR_THRESHOLD), .changes = {TPR_SHADOW, SET(TPR_THRESHOLD, 5)}},
    {RULE(TPR_ABOVE_VTPR, LONG, TPR_THRESHOLD), .changes = {TPR_SHADOW, SET(TPR_THRESHOLD, 8)}},
    {RULE(VIRTUAL_NMIS, LONG, PIN_CONTROLS), .changes = {FLIP(PIN_CONTROLS, PIN_NMI_EXITING)}},
    {RULE(NMI_WINDOW, LONG, PROC_CONTROLS), .changes = {FLIP(PIN_CONTROLS, PIN_VIRTUAL_NMIS), FLIP(PROC_CONTROLS, PROC_NMI_WINDOW)}},
    {RULE(NEEDS_TPR_SHADOW, LONG, PROC2_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, PROC2_APIC_REGISTERS)}},
    {RULE(NEEDS_TPR_SHADOW, LONG, PROC2_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, PROC2_X2APIC_MODE)}},
    {RULE(NEEDS_TPR_SHADOW, LONG, PROC2_CONTROLS), .changes = {DELIVERY}},
    {RULE(X2APIC_ACCESSES, LONG, PROC2_CONTROLS), .changes = {TPR_SHADOW, FLIP(PROC2_CONTROLS, PROC2_X2APIC_MODE | PROC2_APIC_ACCESSES)}},
    {RULE(DELIVERY_EXTERNAL, LONG, PIN_CONTROLS), .changes = {TPR_SHADOW, DELIVERY, FLIP(PIN_CONTROLS, PIN_EXTERNAL_INTERRUPT_EXITING)}},
    {RULE(POSTED_DELIVERY, LONG, PROC2_CONTROLS), .changes = {POSTED}},
    {RULE(POSTED_ACKNOWLEDGE, LONG, EXIT_CONTROLS), .changes = {TPR_SHADOW, DELIVERY, POSTED, FLIP(EXIT_CONTROLS, EXIT_ACKNOWLEDGE)}},
    {RULE(POSTED_VECTOR, LONG, POSTED_INTERRUPT_VECTOR), .changes = {TPR_SHADOW, DELIVERY, POSTED, SET(POSTED_INTERRUPT_VECTOR, 0x100)}},
    {RULE(POSTED_ALIGNED, LONG, POSTED_INTERRUPT_DESCRIPTOR), .changes = {TPR_SHADOW, DELIVERY, POSTED, SET(POSTED_INTERRUPT_DESCRIPTOR, 0x20)}},
    {RULE(ADDRESS_WIDTH, LONG, POSTED_INTERRUPT_DESCRIPTOR), .changes = {TPR_SHADOW, DELIVERY, POSTED, SET(POSTED_INTERRUPT_DESCRIPTOR, TOO_WIDE)}},
    {RULE(VPID_ZERO, LONG, VPID), .changes = {SET(VPID, 0)}},
    {RULE(EPTP_TYPE, LONG, EPT_POINTER), .changes = {SET(EPT_POINTER, 0x9019)}},
    {RULE(EPTP_WALK, LONG, EPT_POINTER), .changes = {SET(EPT_POINTER, 0x9016)}},
    {RULE(EPTP_WALK, LONG, EPT_POINTER), .changes = {SET(EPT_POINTER, 0x9026)}},
    {RULE(EPTP_DIRTY, LONG, EPT_POINTER), .changes = {SET(EPT_POINTER, 0x905e)}, no_dirty_flags},
    {RULE(EPTP_RESERVED, LONG, EPT_POINTER), .changes = {SET(EPT_POINTER, 0x909e)}},
    {RULE(EPTP_RESERVED, LONG, EPT_POINTER), .changes = {SET(EPT_POINTER, TOO_WIDE | 0x901e)}},
    {RULE(NEEDS_EPT, LONG, PROC2_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, PROC2_EPT)}},
    {RULE(NEEDS_EPT, LONG, PROC2_CONTROLS), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_EPT | PROC2_PML)}},
    {RULE(NEEDS_EPT, LONG, PROC2_CONTROLS), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_EPT | BIT(22))}},
    {RULE(NEEDS_EPT, LONG, PROC2_CONTROLS), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_EPT | BIT(23))}},
    {RULE(NEEDS_EPT, LONG, PROC2_CONTROLS), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_EPT | BIT(24)), FLIP(ENTRY_CONTROLS, BIT(18)), FLIP(EXIT_CONTROLS, BIT(25))}},
    {RULE(PT_CONTROLS, LONG, EXIT_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, BIT(24)), FLIP(ENTRY_CONTROLS, BIT(18))}},
    {RULE(PT_CONTROLS, LONG, ENTRY_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, BIT(24)), FLIP(EXIT_CONTROLS, BIT(25))}},
    {RULE(TSC_MULTIPLIER, LONG, TSC_MULTIPLIER), .changes = {FLIP(PROC2_CONTROLS, PROC2_TSC_SCALING)}},
    {RULE(VMFUNC_RESERVED, LONG, VM_FUNCTION_CONTROLS), .changes = {FLIP(PROC2_CONTROLS, PROC2_VMFUNC), SET(VM_FUNCTION_CONTROLS, 2)}},
    {RULE(VMFUNC_EPT, LONG, VM_FUNCTION_CONTROLS), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_VMFUNC | PROC2_EPT), SET(VM_FUNCTION_CONTROLS, 1)}},
    {RULE(EXIT_ALLOWED, LONG, EXIT_CONTROLS), .changes = {FLIP(EXIT_CONTROLS, 1)}},
    {RULE(EXIT_ALLOWED, LONG, EXIT_CONTROLS), .changes = {FLIP(EXIT_CONTROLS, BIT(31))}},
    {RULE(EXIT_TIMER, LONG, EXIT_CONTROLS), .changes = {FLIP(PIN_CONTROLS, PIN_PREEMPTION_TIMER), FLIP(EXIT_CONTROLS, EXIT_SAVE_TIMER)}},
    {RULE(EXIT_MSRS_ALIGNED, LONG, EXIT_MSR_STORE_ADDRESS), .changes = {SET(EXIT_MSR_STORE_COUNT, 1), SET(EXIT_MSR_STORE_ADDRESS, 8)}},
    {RULE(EXIT_MSRS_WIDTH, LONG, EXIT_MSR_LOAD_ADDRESS), .changes = {SET(EXIT_MSR_LOAD_COUNT, 1), SET(EXIT_MSR_LOAD_ADDRESS, TOO_WIDE)}},
    {RULE(EXIT_MSRS_END, LONG, EXIT_MSR_STORE_ADDRESS), .changes = {SET(EXIT_MSR_STORE_COUNT, 2), SET(EXIT_MSR_STORE_ADDRESS, TOO_WIDE - 16)}},
    {RULE(ENTRY_ALLOWED, LONG, ENTRY_CONTROLS), .changes = {FLIP(ENTRY_CONTROLS, 1)}},
    {RULE(ENTRY_ALLOWED, LONG, ENTRY_CONTROLS), .changes = {FLIP(ENTRY_CONTROLS, BIT(31))}},
    {RULE(INJECT_TYPE, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000100)}},
    {RULE(INJECT_TYPE, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000700)}, no_monitor_trap},
    {RULE(INJECT_NMI, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000203)}},
    {RULE(INJECT_EXCEPTION, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000320)}},
    {RULE(INJECT_NMI, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000282)}},
    {RULE(INJECT_EXCEPTION, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000381)}},
    {RULE(INJECT_OTHER, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000701)}},
    {RULE(INJECT_ERROR_CODE, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x8000030d)}},
    {RULE(INJECT_ERROR_CODE, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000b06)}},
    {RULE(INJECT_ERROR_CODE, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000c20)}},
    {RULE(INJECT_ERROR_CODE, REAL, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80000b0d)}},
    {RULE(INJECT_RESERVED, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0x80001306)}},
    {RULE(INJECT_RESERVED, LONG, ENTRY_INTERRUPTION_INFO), .changes = {INJECT(0xc0000306)}},
    {RULE(INJECT_ERROR_HIGH, LONG, ENTRY_EXCEPTION_ERROR_CODE), .changes = {INJECT(0x80000b0d), SET(ENTRY_EXCEPTION_ERROR_CODE, 0x10000)}},
    {RULE(INJECT_LENGTH, LONG, ENTRY_INSTRUCTION_LENGTH), .changes = {INJECT(0x80000480), SET(ENTRY_INSTRUCTION_LENGTH, 16)}},
    {RULE(INJECT_LENGTH, LONG, ENTRY_INSTRUCTION_LENGTH), .changes = {INJECT(0x80000603)}, no_injection_length_0},
    {RULE(INJECT_LENGTH, LONG, ENTRY_INSTRUCTION_LENGTH), .changes = {INJECT(0x80000501)}, no_injection_length_0},
    {RULE(ENTRY_MSRS_ALIGNED, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {SET(ENTRY_MSR_LOAD_COUNT, 1), SET(ENTRY_MSR_LOAD_ADDRESS, 0x5008)}},
    {RULE(ENTRY_MSRS_WIDTH, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {SET(ENTRY_MSR_LOAD_COUNT, 1), SET(ENTRY_MSR_LOAD_ADDRESS, TOO_WIDE)}},
    {RULE(ENTRY_MSRS_END, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {SET(ENTRY_MSR_LOAD_COUNT, 2), SET(ENTRY_MSR_LOAD_ADDRESS, TOO_WIDE - 16)}},
    {RULE(ENTRY_SMM, LONG, ENTRY_CONTROLS), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_DEACTIVATE_DUAL)}},
    {RULE(ENTRY_SMM_BOTH, LONG, ENTRY_CONTROLS), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_SMM | ENTRY_DEACTIVATE_DUAL), SET(GUEST_INTERRUPTIBILITY, 4)}, in_smm},

    {RULE(HOST_CR0, LONG, HOST_CR0), .changes = {FLIP(HOST_CR0, 0x20)}},
    {RULE(HOST_CR0, LONG, HOST_CR0), .changes = {FLIP(HOST_CR0, BIT(32))}},
    {RULE(HOST_CR4, LONG, HOST_CR4), .changes = {FLIP(HOST_CR4, 0x2000)}},
    {RULE(HOST_CR4, LONG, HOST_CR4), .changes = {FLIP(HOST_CR4, 0x8000)}},
    {RULE(HOST_CET, LONG, HOST_CR0), .changes = {FLIP(HOST_CR4, BIT(23)), FLIP(HOST_CR0, 0x10000)}},
    {RULE(HOST_CR3, LONG, HOST_CR3), .changes = {SET(HOST_CR3, TOO_WIDE)}},
    {RULE(HOST_SYSENTER, LONG, HOST_SYSENTER_ESP), .changes = {SET(HOST_SYSENTER_ESP, NOT_CANONICAL)}},
    {RULE(HOST_SYSENTER, LONG, HOST_SYSENTER_EIP), .changes = {SET(HOST_SYSENTER_EIP, BIT(63))}},
    {RULE(HOST_PERF, LONG, HOST_PERF_GLOBAL_CTRL), .changes = {FLIP(EXIT_CONTROLS, EXIT_LOAD_PERF_GLOBAL), SET(HOST_PERF_GLOBAL_CTRL, BIT(8))}},
    {RULE(HOST_PAT, LONG, HOST_PAT), .changes = {SET(HOST_PAT, 2ull << 56)}},
    {RULE(HOST_EFER, LONG, HOST_EFER), .changes = {FLIP(HOST_EFER, 2)}},
    {RULE(HOST_EFER_SIZE, LONG, HOST_EFER), .changes = {FLIP(HOST_EFER, 0x400)}},
    {RULE(HOST_SELECTOR, LONG, HOST_ES_SELECTOR), .changes = {SET(HOST_ES_SELECTOR, 0x13)}},
    {RULE(HOST_SELECTOR, LONG, HOST_TR_SELECTOR), .changes = {SET(HOST_TR_SELECTOR, 0x1c)}},
    {RULE(HOST_SELECTOR_NULL, LONG, HOST_CS_SELECTOR), .changes = {SET(HOST_CS_SELECTOR, 0)}},
    {RULE(HOST_SELECTOR_NULL, LONG, HOST_TR_SELECTOR), .changes = {SET(HOST_TR_SELECTOR, 0)}},
    {RULE(HOST_SS_NULL, PROTECTED, HOST_SS_SELECTOR), .changes = {SET(HOST_SS_SELECTOR, 0)}, host_32},
    {RULE(HOST_BASE, LONG, HOST_FS_BASE), .changes = {SET(HOST_FS_BASE, NOT_CANONICAL)}},
    {RULE(HOST_BASE, LONG, HOST_GS_BASE), .changes = {SET(HOST_GS_BASE, NOT_CANONICAL)}},
    {RULE(HOST_BASE, LONG, HOST_TR_BASE), .changes = {SET(HOST_TR_BASE, NOT_CANONICAL)}},
    {RULE(HOST_BASE, LONG, HOST_GDTR_BASE), .changes = {SET(HOST_GDTR_BASE, NOT_CANONICAL)}},
    {RULE(HOST_BASE, LONG, HOST_IDTR_BASE), .changes = {SET(HOST_IDTR_BASE, NOT_CANONICAL)}},
    {RULE(SIZE_GUEST, LONG, ENTRY_CONTROLS), .changes = {}, outside_long_mode, RULE_SIZE_HOST},
    {RULE(SIZE_HOST, PROTECTED, EXIT_CONTROLS), .changes = {}, outside_long_mode},
    {RULE(SIZE_GUEST_HOST, LONG, ENTRY_CONTROLS), .changes = {}, host_32, RULE_SIZE_GUEST},
    {RULE(SIZE_PCIDE, PROTECTED, HOST_CR4), .changes = {FLIP(HOST_CR4, BIT(17))}, host_32},
    {RULE(SIZE_RIP_HIGH, PROTECTED, HOST_RIP), .changes = {SET(HOST_RIP, BIT(32))}, host_32},
    {RULE(SIZE_PAE, LONG, HOST_CR4), .changes = {FLIP(HOST_CR4, 0x20)}},
    {RULE(SIZE_RIP, LONG, HOST_RIP), .changes = {SET(HOST_RIP, NOT_CANONICAL)}},

    {RULE(CR0_FIXED, LONG, GUEST_CR0), .changes = {FLIP(GUEST_CR0, 0x20)}},
    {RULE(CR0_FIXED, PROTECTED, GUEST_CR0), .changes = {NO_UG, FLIP(GUEST_CR0, BIT(31))}},
    {RULE(CR0_PAGING, REAL, GUEST_CR0), .changes = {FLIP(GUEST_CR0, BIT(31))}},
    {RULE(CR4_FIXED, LONG, GUEST_CR4), .changes = {FLIP(GUEST_CR4, 0x2000)}},
    {RULE(CR4_CET, LONG, GUEST_CR0), .changes = {FLIP(GUEST_CR4, BIT(23)), FLIP(GUEST_CR0, 0x10000)}},
    {RULE(DEBUGCTL, LONG, GUEST_DEBUGCTL), .changes = {SET(GUEST_DEBUGCTL, 4)}},
    {RULE(IA32E_PAGING, LONG, GUEST_CR0), .changes = {FLIP(GUEST_CR0, BIT(31))}},
    {RULE(IA32E_PAE, LONG, GUEST_CR4), .changes = {FLIP(GUEST_CR4, 0x20)}},
    {RULE(CR4_PCIDE, PROTECTED, GUEST_CR4), .changes = {FLIP(GUEST_CR4, BIT(17))}},
    {RULE(CR3, LONG, GUEST_CR3), .changes = {SET(GUEST_CR3, TOO_WIDE)}},
    {RULE(DR7, LONG, GUEST_DR7), .changes = {SET(GUEST_DR7, BIT(32) | 0x400)}},
    {RULE(SYSENTER, LONG, GUEST_SYSENTER_ESP), .changes = {SET(GUEST_SYSENTER_ESP, NOT_CANONICAL)}},
    {RULE(SYSENTER, LONG, GUEST_SYSENTER_EIP), .changes = {SET(GUEST_SYSENTER_EIP, NOT_CANONICAL)}},
    {RULE(PERF, LONG, GUEST_PERF_GLOBAL_CTRL), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_LOAD_PERF_GLOBAL), SET(GUEST_PERF_GLOBAL_CTRL, BIT(8))}},
    {RULE(PAT, LONG, GUEST_PAT), .changes = {SET(GUEST_PAT, 3)}},
    {RULE(PAT, LONG, GUEST_PAT), .changes = {SET(GUEST_PAT, 0x80)}},
    {RULE(PAT, LONG, GUEST_PAT), .changes = {SET(GUEST_PAT, 0x0800)}},
    {RULE(EFER, LONG, GUEST_EFER), .changes = {FLIP(GUEST_EFER, 2)}},
    {RULE(EFER_LMA, LONG, GUEST_EFER), .changes = {FLIP(GUEST_EFER, 0x500)}},
    {RULE(EFER_LME, LONG, GUEST_EFER), .changes = {FLIP(GUEST_EFER, 0x100)}},
    {RULE(BNDCFGS, LONG, GUEST_BNDCFGS), .changes = {FLIP(ENTRY_CONTROLS, BIT(16)), SET(GUEST_BNDCFGS, 4)}},
    {RULE(BNDCFGS_ADDRESS, LONG, GUEST_BNDCFGS), .changes = {FLIP(ENTRY_CONTROLS, BIT(16)), SET(GUEST_BNDCFGS, NOT_CANONICAL)}},

    {RULE(SELECTOR_TI, LONG, GUEST_TR_SELECTOR), .changes = {SET(GUEST_TR_SELECTOR, 0x1c)}},
    {RULE(SELECTOR_TI, LONG, GUEST_LDTR_SELECTOR), .changes = {SET(GUEST_LDTR_SELECTOR, 0x24), SET(GUEST_LDTR_ACCESS, 0x82)}},
    {RULE(SS_RPL, LONG, GUEST_SS_SELECTOR), .changes = {NO_UG, SET(GUEST_CS_SELECTOR, 0xb)}},
    {RULE(V86_BASE, V86, GUEST_DS_BASE), .changes = {SET(GUEST_DS_BASE, 0x101)}},
    {RULE(V86_BASE, V86, GUEST_CS_BASE), .changes = {SET(GUEST_CS_BASE, 0)}},
    {RULE(BASE_CANONICAL, LONG, GUEST_FS_BASE), .changes = {SET(GUEST_FS_BASE, NOT_CANONICAL)}},
    {RULE(BASE_CANONICAL, LONG, GUEST_GS_BASE), .changes = {SET(GUEST_GS_BASE, NOT_CANONICAL), SET(GUEST_GS_ACCESS, 0x10000)}},
    {RULE(BASE_CANONICAL, LONG, GUEST_TR_BASE), .changes = {SET(GUEST_TR_BASE, NOT_CANONICAL)}},
    {RULE(BASE_CANONICAL, LONG, GUEST_LDTR_BASE), .changes = {SET(GUEST_LDTR_BASE, NOT_CANONICAL), SET(GUEST_LDTR_ACCESS, 0x82)}},
    {RULE(BASE_HIGH, LONG, GUEST_CS_BASE), .changes = {SET(GUEST_CS_BASE, BIT(32))}},
    {RULE(BASE_HIGH, LONG, GUEST_ES_BASE), .changes = {SET(GUEST_ES_BASE, BIT(32))}},
    {RULE(BASE_HIGH, LONG, GUEST_SS_BASE), .changes = {SET(GUEST_SS_BASE, BIT(32))}},
    {RULE(BASE_HIGH, LONG, GUEST_DS_BASE), .changes = {SET(GUEST_DS_BASE, BIT(63))}},
    {RULE(V86_BASE, V86, GUEST_GS_BASE), .changes = {SET(GUEST_GS_BASE, 0)}},
    {RULE(V86_LIMIT, V86, GUEST_GS_LIMIT), .changes = {SET(GUEST_GS_LIMIT, 0xfffff)}},
    {RULE(V86_ACCESS, V86, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xfb)}},
    {RULE(CS_TYPE, LONG, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xa098)}},
    {RULE(CS_TYPE, PROTECTED, GUEST_CS_ACCESS), .changes = {NO_UG, SET(GUEST_CS_ACCESS, 0xc093)}},
    {RULE(CS_TYPE, PROTECTED, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xc097)}},
    {RULE(SS_TYPE, LONG, GUEST_SS_ACCESS), .changes = {SET(GUEST_SS_ACCESS, 0xc095)}},
    {RULE(SS_TYPE, LONG, GUEST_SS_ACCESS), .changes = {SET(GUEST_SS_ACCESS, 0xc09b)}},
    {RULE(DATA_ACCESSED, LONG, GUEST_DS_ACCESS), .changes = {SET(GUEST_DS_ACCESS, 0xc092)}},
    {RULE(DATA_READABLE, LONG, GUEST_GS_ACCESS), .changes = {SET(GUEST_GS_ACCESS, 0xc099)}},
    {RULE(CODE_DATA_S, LONG, GUEST_DS_ACCESS), .changes = {SET(GUEST_DS_ACCESS, 0xc083)}},
    {RULE(CODE_DATA_S, LONG, GUEST_GS_ACCESS), .changes = {SET(GUEST_GS_ACCESS, 0xc083)}},
    {RULE(CODE_DATA_S, LONG, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xa08b)}},
    {RULE(CS_DPL_DATA, PROTECTED, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xc0b3)}},
    {RULE(CS_DPL_EQUAL, LONG, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xa0fb)}},
    {RULE(CS_DPL_BELOW, LONG, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xa0ff)}},
    {RULE(SS_DPL_RPL, LONG, GUEST_SS_ACCESS), .changes = {NO_UG, SET(GUEST_CS_ACCESS, 0xa09f), SET(GUEST_SS_ACCESS, 0xc0f3)}},
    {RULE(SS_DPL_RPL, LONG, GUEST_SS_ACCESS), .changes = {NO_UG, SET(GUEST_CS_ACCESS, 0xa09f), SET(GUEST_SS_ACCESS, 0x10060)}},
    {RULE(SS_DPL_REAL, REAL, GUEST_SS_ACCESS), .changes = {SET(GUEST_SS_ACCESS, 0xf3)}},
    {RULE(SS_DPL_REAL, REAL, GUEST_SS_ACCESS), .changes = {SET(GUEST_SS_ACCESS, 0xf3), SET(GUEST_CS_ACCESS, 0xfb)}},
    {RULE(SS_DPL_REAL, PROTECTED, GUEST_SS_ACCESS), .changes = {SET(GUEST_SS_ACCESS, 0xc0f3), SET(GUEST_CS_ACCESS, 0xc093)}},
    {RULE(DATA_DPL, LONG, GUEST_DS_ACCESS), .changes = {NO_UG, SET(GUEST_DS_SELECTOR, 0x13)}},
    {RULE(DATA_DPL, LONG, GUEST_DS_ACCESS), .changes = {NO_UG, SET(GUEST_DS_SELECTOR, 0x13), SET(GUEST_DS_ACCESS, 0xc0db)}},
    {RULE(PRESENT, LONG, GUEST_ES_ACCESS), .changes = {SET(GUEST_ES_ACCESS, 0xc013)}},
    {RULE(PRESENT, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0xb)}},
    {RULE(ACCESS_RESERVED, LONG, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xa19b)}},
    {RULE(ACCESS_RESERVED, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0x2008b)}},
    {RULE(ACCESS_RESERVED, LONG, GUEST_LDTR_ACCESS), .changes = {SET(GUEST_LDTR_ACCESS, 0x80000082)}},
    {RULE(CS_D_AND_L, LONG, GUEST_CS_ACCESS), .changes = {SET(GUEST_CS_ACCESS, 0xe09b)}},
    {RULE(LIMIT_LOW, LONG, GUEST_ES_ACCESS), .changes = {SET(GUEST_ES_LIMIT, 0xffffe)}},
    {RULE(LIMIT_LOW, LONG, GUEST_ES_ACCESS), .changes = {SET(GUEST_ES_LIMIT, 0x7ff)}},
    {RULE(LIMIT_LOW, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0x808b)}},
    {RULE(LIMIT_HIGH, LONG, GUEST_ES_ACCESS), .changes = {SET(GUEST_ES_ACCESS, 0x4093)}},
    {RULE(LIMIT_HIGH, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_LIMIT, 0x1fffff)}},
    {RULE(TR_TYPE, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0x83)}},
    {RULE(TR_TYPE, PROTECTED, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0x89)}},
    {RULE(TR_UNUSABLE, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0x1008b)}},
    {RULE(LDTR_TYPE, LONG, GUEST_LDTR_ACCESS), .changes = {SET(GUEST_LDTR_ACCESS, 0x83)}},
    {RULE(SYSTEM_S, LONG, GUEST_TR_ACCESS), .changes = {SET(GUEST_TR_ACCESS, 0x9b)}},
    {RULE(SYSTEM_S, V86, GUEST_LDTR_ACCESS), .changes = {SET(GUEST_LDTR_ACCESS, 0x92)}},
    {RULE(TABLE_BASE, LONG, GUEST_GDTR_BASE), .changes = {SET(GUEST_GDTR_BASE, NOT_CANONICAL)}},
    {RULE(TABLE_BASE, LONG, GUEST_IDTR_BASE), .changes = {SET(GUEST_IDTR_BASE, NOT_CANONICAL)}},
    {RULE(TABLE_LIMIT, LONG, GUEST_GDTR_LIMIT), .changes = {SET(GUEST_GDTR_LIMIT, 0x10000)}},
    {RULE(TABLE_LIMIT, LONG, GUEST_IDTR_LIMIT), .changes = {SET(GUEST_IDTR_LIMIT, BIT(31))}},
    {RULE(RIP_HIGH, PROTECTED, GUEST_RIP), .changes = {SET(GUEST_RIP, BIT(32))}},
    {RULE(RIP_HIGH, LONG, GUEST_RIP), .changes = {SET(GUEST_RIP, BIT(32)), SET(GUEST_CS_ACCESS, 0xc09b)}},
    {RULE(RIP_LINEAR, LONG, GUEST_RIP), .changes = {SET(GUEST_RIP, BIT(48))}},
    {RULE(RFLAGS, LONG, GUEST_RFLAGS), .changes = {SET(GUEST_RFLAGS, 0)}},
    {RULE(RFLAGS, LONG, GUEST_RFLAGS), .changes = {SET(GUEST_RFLAGS, 0x8002)}},
    {RULE(RFLAGS, LONG, GUEST_RFLAGS), .changes = {SET(GUEST_RFLAGS, 0x400002)}},
    {RULE(RFLAGS_VM, V86, GUEST_RFLAGS), .changes = {FLIP(GUEST_CR0, 1)}},
    {RULE(RFLAGS_IF, LONG, GUEST_RFLAGS), .changes = {INJECT(0x80000020)}},
    {RULE(ACTIVITY, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 4)}},
    {RULE(ACTIVITY, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 3)}, no_wait_for_sipi},
    {RULE(ACTIVITY_HLT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_CS_ACCESS, 0xa0fb), SET(GUEST_SS_ACCESS, 0xc0f3), SET(GUEST_ACTIVITY_STATE, 1)}},
    {RULE(ACTIVITY_BLOCKED, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 1), SET(GUEST_INTERRUPTIBILITY, 2)}},
    {RULE(ACTIVITY_INJECT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 1), INJECT(0x80000306)}},
    {RULE(ACTIVITY_HLT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_CS_ACCESS, 0xa0db), SET(GUEST_SS_ACCESS, 0xc0d3), SET(GUEST_ACTIVITY_STATE, 1)}},
    {RULE(ACTIVITY_INJECT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 1), INJECT(0x80000480)}},
    {RULE(ACTIVITY_INJECT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 2), INJECT(0x80000301)}},
    {RULE(ACTIVITY_INJECT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 2), INJECT(0x80000700)}},
    {RULE(ACTIVITY_INJECT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 2), SET(GUEST_RFLAGS, 0x202), INJECT(0x80000020)}},
    {RULE(ACTIVITY_INJECT, LONG, GUEST_ACTIVITY_STATE), .changes = {SET(GUEST_ACTIVITY_STATE, 3), INJECT(0x80000202)}},
    {RULE(ACTIVITY_SMM, LONG, GUEST_ACTIVITY_STATE), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_SMM), SET(GUEST_INTERRUPTIBILITY, 4), SET(GUEST_ACTIVITY_STATE, 3)}, in_smm},
    {RULE(BLOCKING, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 0x20)}},
    {RULE(BLOCKING_BOTH, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_RFLAGS, 0x202), SET(GUEST_INTERRUPTIBILITY, 3)}},
    {RULE(BLOCKING_STI, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 1)}},
    {RULE(BLOCKING_EXTERNAL, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_RFLAGS, 0x202), SET(GUEST_INTERRUPTIBILITY, 1), INJECT(0x80000020)}},
    {RULE(BLOCKING_EXTERNAL, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_RFLAGS, 0x202), SET(GUEST_INTERRUPTIBILITY, 2), INJECT(0x80000020)}},
    {RULE(BLOCKING_NMI, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 2), INJECT(0x80000202)}},
    {RULE(BLOCKING_NMI, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_RFLAGS, 0x202), SET(GUEST_INTERRUPTIBILITY, 1), INJECT(0x80000202)}, strict_nmi},
    {RULE(BLOCKING_SMI, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 4)}},
    {RULE(BLOCKING_SMM, LONG, GUEST_INTERRUPTIBILITY), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_SMM)}, in_smm},
    {RULE(BLOCKING_VIRTUAL_NMI, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 8), INJECT(0x80000202)}},
    {RULE(BLOCKING_ENCLAVE, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 0x10)}},
    {RULE(BLOCKING_ENCLAVE, LONG, GUEST_INTERRUPTIBILITY), .changes = {SET(GUEST_INTERRUPTIBILITY, 0x12)}, sgx},
    {RULE(DEBUG, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_PENDING_DEBUG, 0x10)}},
    {RULE(DEBUG, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_PENDING_DEBUG, 0x800)}},
    {RULE(DEBUG_STEP, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_ACTIVITY_STATE, 1), SET(GUEST_RFLAGS, 0x102)}},
    {RULE(DEBUG_STEP, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_INTERRUPTIBILITY, 2), SET(GUEST_PENDING_DEBUG, 0x4000)}},
    {RULE(DEBUG_STEP, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_INTERRUPTIBILITY, 1), SET(GUEST_RFLAGS, 0x302), SET(GUEST_DEBUGCTL, 2), SET(GUEST_PENDING_DEBUG, 0x4000)}},
    {RULE(DEBUG_RTM, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_PENDING_DEBUG, 0x10000)}, rtm},
    {RULE(DEBUG_RTM, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_PENDING_DEBUG, 0x11001)}, rtm},
    {RULE(DEBUG_RTM_CPU, LONG, GUEST_PENDING_DEBUG), .changes = {SET(GUEST_PENDING_DEBUG, 0x11000)}},
    {RULE(LINK_ALIGNED, LONG, VMCS_LINK_POINTER), .changes = {SET(VMCS_LINK_POINTER, 0x6001)}},
    {RULE(LINK_WIDTH, LONG, VMCS_LINK_POINTER), .changes = {SET(VMCS_LINK_POINTER, TOO_WIDE)}},
    {RULE(LINK_REVISION, LONG, VMCS_LINK_POINTER), .changes = {SET(VMCS_LINK_POINTER, BENCH_LINKED)}, linked_other_revision},
    {RULE(LINK_SHADOW, LONG, VMCS_LINK_POINTER), .changes = {SET(VMCS_LINK_POINTER, BENCH_LINKED)}, linked_shadow},
    {RULE(LINK_SHADOW, LONG, VMCS_LINK_POINTER), .changes = {FLIP(PROC2_CONTROLS, PROC2_VMCS_SHADOWING), SET(VMCS_LINK_POINTER, BENCH_LINKED)}},
    {RULE(LINK_CURRENT, LONG, VMCS_LINK_POINTER), .changes = {SET(VMCS_LINK_POINTER, 0x4000)}},
    {RULE(LINK_EXECUTIVE, LONG, VMCS_LINK_POINTER), .changes = {SET(VMCS_LINK_POINTER, BENCH_LINKED), SET(EXECUTIVE_VMCS_POINTER, BENCH_LINKED)}, in_smm},
    {RULE(PDPTE, PAE, GUEST_PDPTE1), .changes = {SET(GUEST_PDPTE1, 0x1003)}},
    {RULE(PDPTE, PAE, GUEST_PDPTE3), .changes = {SET(GUEST_PDPTE3, TOO_WIDE | 1)}},
    {RULE(PDPTE, PAE, GUEST_CR3), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_EPT)}, pdpt_in_memory},

    {RULE(MSR_BASE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0xc0000100, 0)}},
    {RULE(MSR_BASE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0xc0000101, 0)}},
    {RULE(MSR_X2APIC, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0x8ff, 0)}},
    {RULE(MSR_SMM, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0x9b, 0)}},
    {RULE(MSR_MODEL, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0x79, 0)}},
    {RULE(MSR_VALUE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0xc0000082, NOT_CANONICAL)}},
    {RULE(MSR_VALUE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0x277, 2)}},
    {RULE(MSR_VALUE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0x1d9, 4)}},
    {RULE(MSR_VALUE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0x38f, BIT(8))}},
    {RULE(MSR_VALUE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0xc0000080, 0)}}, /* LME, with paging on */
    {RULE(MSR_VALUE, LONG, ENTRY_MSR_LOAD_ADDRESS), .changes = {MSR(0xc0000084, BIT(32))}},
};

/* On the edge, but valid. */
#define VALID(base) CHECK_RULE_COUNT, BENCH_##base, 0
static const struct mutation valid[] = {
    {VALID(LONG), .changes = {FLIP(PROC_CONTROLS, PROC_SECONDARY), SET(PROC2_CONTROLS, 0xffffffff)}}, /* not activated: not looked at */
    {VALID(LONG), .changes = {SET(CR3_TARGET_COUNT, 4)}},
    {VALID(LONG), .changes = {FLIP(PROC_CONTROLS, PROC_IO_BITMAPS), SET(IO_BITMAP_A, ~0ull)}},
    {VALID(LONG), .changes = {SET(MSR_BITMAPS, TOO_WIDE - 0x1000)}},
    {VALID(LONG), .changes = {TPR_SHADOW, SET(TPR_THRESHOLD, 4)}},
    {VALID(LONG), .changes = {TPR_SHADOW, DELIVERY, SET(TPR_THRESHOLD, 0xff)}},
    {VALID(LONG), .changes = {TPR_SHADOW, FLIP(PROC2_CONTROLS, PROC2_APIC_ACCESSES), SET(TPR_THRESHOLD, 15)}},
    {VALID(LONG), .changes = {TPR_SHADOW, DELIVERY, POSTED, SET(POSTED_INTERRUPT_VECTOR, 0xff), SET(POSTED_INTERRUPT_DESCRIPTOR, 0x40)}},
    {VALID(LONG), .changes = {SET(EPT_POINTER, 0x9018)}}, /* uncacheable */
    {VALID(LONG), .changes = {SET(EPT_POINTER, 0x905e)}},
    {VALID(LONG), .changes = {SET(EPT_POINTER, 0x9026)}, five_levels},
    {VALID(LONG), .changes = {SET(EPT_POINTER, 0x909e)}, shadow_stacks},
    {VALID(LONG), .changes = {FLIP(PROC2_CONTROLS, PROC2_TSC_SCALING), SET(TSC_MULTIPLIER, 1)}},
    {VALID(LONG), .changes = {FLIP(PROC2_CONTROLS, PROC2_VPID), SET(VPID, 0)}},
    {VALID(LONG), .changes = {SET(EXIT_MSR_STORE_ADDRESS, ~0ull)}}, /* count 0 */
    {VALID(LONG), .changes = {SET(EXIT_MSR_STORE_COUNT, 1), SET(EXIT_MSR_STORE_ADDRESS, TOO_WIDE - 16)}},
    {VALID(LONG), .changes = {INJECT(0x7fffffff)}}, /* not valid: not looked at */
    {VALID(LONG), .changes = {INJECT(0x80000b11), SET(ENTRY_EXCEPTION_ERROR_CODE, 0x8000)}},
    {VALID(LONG), .changes = {INJECT(0x80000b15)}}, /* #CP, where there is CET */
    {VALID(REAL), .changes = {INJECT(0x8000030d)}},
    {VALID(LONG), .changes = {INJECT(0x8000030d)}, any_error_code},
    {VALID(LONG), .changes = {INJECT(0x80000700)}},
    {VALID(LONG), .changes = {INJECT(0x80000480), SET(ENTRY_INSTRUCTION_LENGTH, 15)}, no_injection_length_0},
    {VALID(LONG), .changes = {SET(HOST_CR0, 0xe0010033)}}, /* CD and NW are not looked at */
    {VALID(LONG), .changes = {SET(HOST_SS_SELECTOR, 0)}},
    {VALID(LONG), .changes = {SET(HOST_CR3, TOO_WIDE - 1)}},
    {VALID(LONG), .changes = {SET(HOST_RIP, 0xffff800000000000)}},
    {VALID(LONG), .changes = {SET(HOST_PERF_GLOBAL_CTRL, ~0ull)}}, /* not loaded */
    {VALID(PROTECTED), .changes = {}, host_32},
    {VALID(LONG), .changes = {SET(GUEST_CR0, 0xe0010031)}},
    {VALID(LONG), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_LOAD_EFER), SET(GUEST_EFER, ~0ull)}},
    {VALID(REAL), .changes = {SET(GUEST_EFER, 0x100)}}, /* LME without LMA while paging is off */
    {VALID(LONG), .changes = {FLIP(ENTRY_CONTROLS, ENTRY_LOAD_DEBUG), SET(GUEST_DEBUGCTL, ~2ull), SET(GUEST_DR7, ~0ull)}},
    {VALID(LONG), .changes = {FLIP(GUEST_CR4, BIT(17))}},
    {VALID(PROTECTED), .changes = {NO_UG}},
    {VALID(LONG), .changes = {SET(GUEST_RIP, NOT_CANONICAL)}}, /* bits 63:48 equal is all that the SDM asks */
    {VALID(LONG), .changes = {SET(GUEST_RIP, 0xffff000000000000)}},
    {VALID(LONG), .changes = {SET(GUEST_ES_ACCESS, 0x10000), SET(GUEST_DS_ACCESS, 0x1ffff), SET(GUEST_DS_BASE, ~0ull), SET(GUEST_SS_ACCESS, 0x10000)}},
    {VALID(LONG), .changes = {SET(GUEST_LDTR_BASE, NOT_CANONICAL)}}, /* unusable */
    {VALID(LONG), .changes = {SET(GUEST_SS_SELECTOR, 0x13)}}, /* unrestricted: RPL and DPL need not agree */
    {VALID(LONG), .changes = {SET(GUEST_CS_ACCESS, 0xa0ff), SET(GUEST_SS_ACCESS, 0xc0f3)}},
    {VALID(LONG), .changes = {NO_UG, SET(GUEST_DS_SELECTOR, 0x13), SET(GUEST_DS_ACCESS, 0xc09f)}}, /* conforming code */
    {VALID(LONG), .changes = {SET(GUEST_ES_LIMIT, 0xfffff), SET(GUEST_ES_ACCESS, 0x4093)}},
    {VALID(LONG), .changes = {SET(GUEST_ES_LIMIT, 0xfffff)}},
    {VALID(LONG), .changes = {SET(GUEST_CS_ACCESS, 0xc09b)}}, /* compatibility mode */
    {VALID(LONG), .changes = {SET(GUEST_SS_ACCESS, 0xc097)}},
    {VALID(PROTECTED), .changes = {SET(GUEST_CS_ACCESS, 0xe09b)}}, /* L means nothing here */
    {VALID(PROTECTED), .changes = {SET(GUEST_TR_ACCESS, 0x83)}},
    {VALID(PROTECTED), .changes = {SET(GUEST_LDTR_ACCESS, 0x82)}},
    {VALID(LONG), .changes = {SET(GUEST_RFLAGS, 0x3f7fd7 & ~0x20000ull)}},
    {VALID(LONG), .changes = {SET(GUEST_RFLAGS, 0x202), INJECT(0x80000020)}},
    {VALID(LONG), .changes = {SET(GUEST_RFLAGS, 0x202), SET(GUEST_INTERRUPTIBILITY, 1), INJECT(0x80000202)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 1), INJECT(0x80000202)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 1), INJECT(0x80000301)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 1), INJECT(0x80000700)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 1), INJECT(0x80000312)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 1), SET(GUEST_RFLAGS, 0x202), INJECT(0x80000081)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 2), INJECT(0x80000202)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 2), INJECT(0x80000312)}},
    {VALID(LONG), .changes = {SET(GUEST_ACTIVITY_STATE, 3)}},
    {VALID(LONG), .changes = {FLIP(PIN_CONTROLS, PIN_VIRTUAL_NMIS), SET(GUEST_INTERRUPTIBILITY, 8), INJECT(0x80000202)}},
    {VALID(LONG), .changes = {SET(GUEST_INTERRUPTIBILITY, 0x10)}, sgx},
    {VALID(LONG), .changes = {SET(GUEST_PENDING_DEBUG, 0x500f)}},
    {VALID(LONG), .changes = {SET(GUEST_PENDING_DEBUG, 0x800)}, bus_lock},
    {VALID(LONG), .changes = {SET(GUEST_PENDING_DEBUG, 0x11000)}, rtm},
    {VALID(LONG), .changes = {SET(GUEST_INTERRUPTIBILITY, 2), SET(GUEST_RFLAGS, 0x102), SET(GUEST_PENDING_DEBUG, 0x4000)}},
    {VALID(LONG), .changes = {SET(VMCS_LINK_POINTER, BENCH_LINKED)}},
    {VALID(LONG), .changes = {FLIP(PROC2_CONTROLS, PROC2_VMCS_SHADOWING), SET(VMCS_LINK_POINTER, BENCH_LINKED)}, linked_shadow},
    {VALID(PAE), .changes = {SET(GUEST_PDPTE1, ~1ull)}}, /* not present: not looked at */
    {VALID(PROTECTED), .changes = {SET(GUEST_PDPTE1, 3)}},
    {VALID(LONG), .changes = {SET(GUEST_PDPTE1, 3)}},
    {VALID(PAE), .changes = {NO_UG, FLIP(PROC2_CONTROLS, PROC2_EPT), SET(GUEST_PDPTE1, 3)}},
    {VALID(LONG), .changes = {MSR(0xc0000080, 0xd01)}},
    {VALID(LONG), .changes = {MSR(0x1d9, 1)}},
    {VALID(LONG), .changes = {MSR(0x38f, 0xff)}},
    {VALID(REAL), .changes = {MSR(0xc0000080, 0x100)}},
    {VALID(LONG), .changes = {MSR(0x9b, 0)}, in_smm},
    {VALID(LONG), .changes = {MSR(0xc0000082, 0xffff800000000000)}},
};
/* clang-format on */

static void apply(const struct mutation *m)
{
    bench_set_up(&bench, m->base);
    allow_all();
    if (m->tweak)
        m->tweak();
    for (u32 i = 0; i < ARRAY_SIZE(m->changes); i++) {
        const struct change *change = &m->changes[i];
        u64 *value = &bench.image.value[change->how == 'm' ? 0 : change->field];
        if (change->how == '=')
            *value = change->value;
        else if (change->how == '^')
            *value ^= change->value;
        else if (change->how == 'm') {
            bench.image.value[FIELD_ENTRY_MSR_LOAD_COUNT] = 1;
            bench.image.value[FIELD_ENTRY_MSR_LOAD_ADDRESS] = BENCH_MSR_AREA;
            bench_put32(&bench, BENCH_MSR_AREA, change->field);
            memcpy(bench.memory + BENCH_MSR_AREA + 8, &change->value, 8);
        }
    }
}

static void test_valid_images(void **state)
{
    (void)state;
    for (int base = 0; base < BENCH_BASES; base++) {
        bench_set_up(&bench, (enum bench_base)base);
        struct check_result result = run();
        if (result.broken)
            print_reports("a valid image");
        assert_int_equal(result.broken, 0);
        assert_int_equal(result.outcome, CHECK_ENTERS);
        assert_int_equal(result.skipped, 0);
    }
}

static void test_each_rule_alone(void **state)
{
    bool failed = false;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(mutations); i++) {
        const struct mutation *m = &mutations[i];
        apply(m);
        struct check_result result = run();
        const struct check_report *report = &reports[0];
        if (m->also && reports[0].rule == m->also)
            report = &reports[1];
        if (result.broken != (m->also ? 2 : 1) || report->rule != m->rule || report->field != m->field ||
            result.outcome != check_rule_outcome(m->rule) ||
            (m->also && reports[0].rule != m->also && reports[1].rule != m->also)) {
            char what[200];
            snprintf(what, sizeof what, "mutation %u should break '%s' in %s only:", i, check_rule_text(m->rule),
                     check_field_name(m->field));
            print_reports(what);
            failed = true;
        }
    }
    assert_false(failed);
}

static void test_no_rule_without_a_mutation(void **state)
{
    bool failed = false;

    (void)state;
    for (u32 rule = 0; rule < check_rules(); rule++) {
        bool covered = rule == RULE_MSR_RESERVED; /* has a test of its own below */
        for (u32 i = 0; i < ARRAY_SIZE(mutations); i++)
            covered = covered || mutations[i].rule == rule;
        if (!covered)
            fprintf(stderr, "no mutation for %u: %s\n", rule, check_rule_text(rule));
        failed = failed || !covered;
    }
    assert_false(failed);
}

static void test_edges_are_valid(void **state)
{
    bool failed = false;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(valid); i++) {
        apply(&valid[i]);
        if (run().broken) {
            char what[40];
            snprintf(what, sizeof what, "valid change %u breaks:", i);
            print_reports(what);
            failed = true;
        }
    }
    assert_false(failed);
}

/* Reserved bits, each alone: the rule breaks for just those that the SDM lists. */
static void test_reserved_bits(void **state)
{
    static const struct {
        u32 rule;
        u32 base;
        u32 field;
        u64 start;
        u64 reserved;
        struct change changes[3];
    } cases[] = {
        {RULE(RFLAGS,            LONG, GUEST_RFLAGS),                2,          0xffffffffffc0802aull, .changes = {}                             },
        {RULE(DEBUG,             LONG, GUEST_PENDING_DEBUG),         0,          0xfffffffffffeaff0ull, .changes = {}                             },
        {RULE(BLOCKING,          LONG, GUEST_INTERRUPTIBILITY),      0,          0xffffffe0,            .changes = {}                             },
        {RULE(TPR_RESERVED,      LONG, TPR_THRESHOLD),               0,          0xfffffff0,            .changes = {TPR_SHADOW}                   },
        {RULE(EPTP_RESERVED,     LONG, EPT_POINTER),                 0x901e,     0xffffff0000000f80ull, .changes = {}                             },
        {RULE(ADDRESS_ALIGNED,   LONG, IO_BITMAP_B),                 0,          0xfff,                 .changes = {}                             },
        {RULE(ADDRESS_WIDTH,     LONG, IO_BITMAP_B),                 0,          0xffffff0000000000ull, .changes = {}                             },
        {RULE(LINK_ALIGNED,      LONG, VMCS_LINK_POINTER),           0x6000,     0xfff,                 .changes = {}                             },
        {RULE(BNDCFGS,           LONG, GUEST_BNDCFGS),               0,          0xffc,                 .changes = {FLIP(ENTRY_CONTROLS, BIT(16))}},
        {RULE(PDPTE,             PAE,  GUEST_PDPTE2),                1,          0xffffff00000001e6ull, .changes = {}                             },
        {RULE(INJECT_RESERVED,   LONG, ENTRY_INTERRUPTION_INFO),     0x80000306, 0x7ffff000,            .changes = {}                             },
        {RULE(INJECT_ERROR_HIGH, LONG, ENTRY_EXCEPTION_ERROR_CODE),  0,          0xffff0000,            .changes = {INJECT(0x80000b0d)}           },
        {RULE(POSTED_VECTOR,     LONG, POSTED_INTERRUPT_VECTOR),     0,          0xff00,                .changes = {POSTED}                       },
        {RULE(POSTED_ALIGNED,    LONG, POSTED_INTERRUPT_DESCRIPTOR), 0,          0x3f,                  .changes = {POSTED}                       },
        {RULE(EXIT_MSRS_ALIGNED, LONG, EXIT_MSR_LOAD_ADDRESS),       0,          0xf,                   .changes = {SET(EXIT_MSR_LOAD_COUNT, 1)}  },
        {RULE(ACCESS_RESERVED,   LONG, GUEST_DS_ACCESS),             0xc093,     0xfffe0f00,            .changes = {}                             },
        {RULE(HOST_SELECTOR,     LONG, HOST_SS_SELECTOR),            0x10,       7,                     .changes = {}                             },
        {RULE(TABLE_LIMIT,       LONG, GUEST_IDTR_LIMIT),            0,          0xffff0000,            .changes = {}                             },
        {RULE(DR7,               LONG, GUEST_DR7),                   0x400,      0xffffffff00000000ull, .changes = {}                             },
        {RULE(CR3,               LONG, GUEST_CR3),                   0,          0xffffff0000000000ull, .changes = {}                             },
        {RULE(HOST_EFER,         LONG, HOST_EFER),                   0xd01,      0xfffffffffffff2feull, .changes = {}                             },
        {RULE(DEBUGCTL,          LONG, GUEST_DEBUGCTL),              0,          0xffffffffffff003cull, .changes = {}                             },
        {RULE(DEBUG_RTM,         LONG, GUEST_PENDING_DEBUG),         0x11000,    0xffff,                .changes = {}                             },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        for (u32 bit = 0; bit < check_field_bits(cases[i].field); bit++) {
            struct mutation m = {.base = (u8)cases[i].base};
            memcpy(m.changes, cases[i].changes, sizeof cases[i].changes);
            apply(&m);
            bench.image.value[cases[i].field] = cases[i].start ^ BIT(bit);
            run();
            bool broken = false;
            for (u32 r = 0; r < reported && r < MAX_REPORTS; r++)
                broken = broken || (reports[r].rule == cases[i].rule && reports[r].field == cases[i].field);
            if (broken != !!(cases[i].reserved & BIT(bit)))
                fail_msg("bit %u of %s: '%s' is %s", bit, check_field_name(cases[i].field),
                         check_rule_text(cases[i].rule), broken ? "broken" : "not broken");
        }
    }
}

/* With several classes broken, the first class decides; all are reported. */
static void test_order_of_classes(void **state)
{
    u64 *v = bench.image.value;

    (void)state;
    bench_set_up(&bench, BENCH_LONG);
    v[FIELD_ENTRY_MSR_LOAD_COUNT] = 3;
    v[FIELD_ENTRY_MSR_LOAD_ADDRESS] = BENCH_MSR_AREA;
    bench_put32(&bench, BENCH_MSR_AREA, 0xc0000103);
    bench_put32(&bench, BENCH_MSR_AREA + 16, 0x10);
    bench_put32(&bench, BENCH_MSR_AREA + 20, 1); /* reserved bits 63:32 */
    bench_put32(&bench, BENCH_MSR_AREA + 32, 0x808);
    struct check_result result = run();
    assert_int_equal(result.broken, 2);
    assert_int_equal(reports[0].rule, RULE_MSR_RESERVED);
    assert_int_equal(reports[0].entry, 2);
    assert_int_equal(reports[0].value, 0x10);
    assert_int_equal(reports[1].entry, 3);
    assert_int_equal(result.outcome, CHECK_FAILS_MSRS);
    assert_int_equal(result.qualification, 2);

    v[FIELD_VMCS_LINK_POINTER] = 1;
    result = run();
    assert_int_equal(result.outcome, CHECK_FAILS_GUEST);
    assert_int_equal(result.qualification, 4);
    v[FIELD_GUEST_RFLAGS] = 0; /* reported before the link pointer, and has no qualification */
    assert_int_equal(run().qualification, 0);

    v[FIELD_HOST_CS_SELECTOR] = 0;
    assert_int_equal(run().outcome, CHECK_FAILS_HOST);
    v[FIELD_VPID] = 0;
    result = run();
    assert_int_equal(result.outcome, CHECK_FAILS_CONTROLS);
    assert_int_equal(result.qualification, 0);
    assert_int_equal(result.broken, 6);

    bench_set_up(&bench, BENCH_PAE);
    v[FIELD_GUEST_PDPTE2] = 3;
    result = run();
    assert_int_equal(result.outcome, CHECK_FAILS_GUEST);
    assert_int_equal(result.qualification, 2);
}

static void test_what_memory_is_missing(void **state)
{
    u64 *v = bench.image.value;

    (void)state;
    bench_set_up(&bench, BENCH_PAE);
    v[FIELD_PROC_CONTROLS] |= PROC_TPR_SHADOW;
    v[FIELD_PROC2_CONTROLS] = 0;
    v[FIELD_VMCS_LINK_POINTER] = BENCH_LINKED;
    v[FIELD_ENTRY_MSR_LOAD_COUNT] = 1;
    v[FIELD_ENTRY_MSR_LOAD_ADDRESS] = BENCH_MSR_AREA;
    assert_int_equal(run().skipped, 0);
    bench.image.read_memory = NULL;
    struct check_result result = run();
    assert_int_equal(result.broken, 0);
    assert_int_equal(result.skipped,
                     CHECK_SKIPPED_VTPR | CHECK_SKIPPED_LINK | CHECK_SKIPPED_PDPTE | CHECK_SKIPPED_MSRS);
    bench.image.read_memory = bench_read;
    v[FIELD_ENTRY_MSR_LOAD_COUNT] = 513; /* IA32_VMX_MISC recommends 512; those are looked at as far as memory goes */
    assert_int_equal(run().skipped, CHECK_SKIPPED_MSRS);
}

static void expect_line(const char *expected)
{
    char line[500];

    run();
    check_format(&reports[0], line, sizeof line);
    assert_string_equal(line, expected);
}

static void test_lines(void **state)
{
    u64 *v = bench.image.value;
    char line[300];

    (void)state;
    bench_set_up(&bench, BENCH_PROTECTED);
    bench.caps.group[VMX_PROC].must_be_one |= PROC_HLT_EXITING;
    v[FIELD_PROC_CONTROLS] = 0xb4006172 & ~PROC_IO_BITMAPS & ~PROC_MONITOR_EXITING;
    expect_line(
        "field=PROC_CONTROLS value=0x94006172 (bit 7 'HLT exiting' must be 1) rule=\"reserved primary controls must "
        "be as IA32_VMX_(TRUE_)PROCBASED_CTLS says\" sdm=\"3C 26.2.1.1 VM-Execution Control Fields\"");

    bench_set_up(&bench, BENCH_PROTECTED);
    v[FIELD_GUEST_CR4] = 0x10020;
    v[FIELD_GUEST_PDPTE0] = 0;
    expect_line(
        "field=GUEST_CR4 value=0x10020 (PAE FSGSBASE: bit 13 'VMXE' must be 1) rule=\"bits fixed in VMX operation "
        "(IA32_VMX_CR4_FIXED0/1) must have that value\" sdm=\"3C 26.3.1.1 Checks on Guest Control Registers, Debug "
        "Registers, and MSRs\"");

    bench_set_up(&bench, BENCH_PROTECTED);
    v[FIELD_MSR_BITMAPS] = 0x3018;
    expect_line(
        "field=MSR_BITMAPS value=0x3018 (bits 4:3 must be 0) rule=\"bits 11:0 of the address must be 0 with 'use MSR "
        "bitmaps'\" sdm=\"3C 26.2.1.1 VM-Execution Control Fields\"");

    bench_set_up(&bench, BENCH_PROTECTED);
    v[FIELD_GUEST_CS_ACCESS] = 0xc09a;
    expect_line(
        "field=GUEST_CS_ACCESS value=0xc09a (type 10 DPL 0 S P D/B G) rule=\"type must be 9, 11, 13 or 15: accessed "
        "code (or 3 with 'unrestricted guest')\" sdm=\"3C 26.3.1.2 Checks on Guest Segment Registers\"");

    bench_set_up(&bench, BENCH_PROTECTED);
    v[FIELD_ENTRY_INTERRUPTION_INFO] = 0x8000030e;
    expect_line(
        "field=ENTRY_INTERRUPTION_INFO value=0x8000030e (type 3 hardware exception, vector 14) rule=\"bit 11 must be "
        "1 for just a hardware exception that has an error code (not with PE 0)\" sdm=\"3C 26.2.1.3 VM-Entry Control "
        "Fields\"");

    check_format_result(
        (struct check_result){.broken = 2, .outcome = CHECK_FAILS_GUEST, .qualification = 4, .skipped = 9}, line,
        sizeof line);
    assert_string_equal(line,
                        "2 broken: exit reason 33 (VM-entry failure due to invalid guest state), qualification 4; not "
                        "looked at: VTPR, MSR-load area");
}

/* Each mutation's line names field, rule and section whole, and fits. */
static void test_every_line_is_whole(void **state)
{
    char line[400];

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(mutations); i++) {
        apply(&mutations[i]);
        run();
        assert_true(check_format(&reports[0], line, sizeof line) < sizeof line - 1);
        assert_non_null(strstr(line, check_field_name(reports[0].field)));
        assert_non_null(strstr(line, check_rule_text(reports[0].rule)));
        assert_non_null(strstr(line, check_rule_section(reports[0].rule)));
        assert_true(line[strlen(line) - 1] == '"');
    }
}

static void test_fields_by_row(void **state)
{
    (void)state;
    assert_int_equal(check_field_encoding(FIELD_VPID), 0);
    assert_int_equal(check_field_bits(FIELD_VPID), 16);
    assert_int_equal(check_field_encoding(FIELD_HOST_RIP), 0x6c16);
    assert_string_equal(check_field_name(FIELD_HOST_RIP), "HOST_RIP");
    assert_int_equal(check_field_bits(FIELD_HOST_RIP), 64);
    assert_int_equal(check_field_bits(FIELD_GUEST_TR_ACCESS), 32);
    assert_int_equal(check_field_bits(FIELD_GUEST_PDPTE3), 64);
}

/* Fields that stand and fall with one control, and one that needs either of two. SDM 3D Appendix B. */
static void test_fields_that_exist(void **state)
{
    struct vmx_caps caps = {0};
    u32 without = 0, with = 0;

    (void)state;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        without += check_field_exists(row, &caps);
    assert_int_equal(CHECK_FIELDS - without, 40);
    assert_true(check_field_exists(FIELD_GUEST_RIP, &caps));
    assert_true(check_field_exists(FIELD_PIN_CONTROLS, &caps));
    assert_false(check_field_exists(FIELD_PROC2_CONTROLS, &caps));
    assert_false(check_field_exists(FIELD_GUEST_PDPTE2, &caps));

    caps.group[VMX_PROC2].may_be_one = PROC2_EPT;
    assert_true(check_field_exists(FIELD_EPT_POINTER, &caps));
    assert_true(check_field_exists(FIELD_GUEST_PDPTE0, &caps));
    assert_true(check_field_exists(FIELD_GUEST_PDPTE3, &caps));
    assert_true(check_field_exists(FIELD_GUEST_PHYSICAL_ADDRESS, &caps));
    assert_false(check_field_exists(FIELD_VPID, &caps));

    caps.group[VMX_EXIT].may_be_one = EXIT_SAVE_PAT; /* the guest's, not the host's */
    assert_true(check_field_exists(FIELD_GUEST_PAT, &caps));
    assert_false(check_field_exists(FIELD_HOST_PAT, &caps));
    caps.group[VMX_EXIT].may_be_one = 0;
    caps.group[VMX_ENTRY].may_be_one = ENTRY_LOAD_PAT;
    assert_true(check_field_exists(FIELD_GUEST_PAT, &caps));

    for (u32 group = 0; group < VMX_GROUPS; group++)
        caps.group[group].may_be_one = ~0u;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        with += check_field_exists(row, &caps);
    assert_int_equal(with, CHECK_FIELDS);
}

static void expect_names(u32 row, u64 value, const char *expected)
{
    char text[400];

    assert_int_equal(check_format_names(row, value, text, sizeof text), strlen(expected));
    assert_string_equal(text, expected);
}

static void test_names(void **state)
{
    (void)state;
    expect_names(FIELD_PIN_CONTROLS, 0x57, "external-interrupt exiting, VMX-preemption timer");
    expect_names(FIELD_PIN_CONTROLS, 0x16, "");
    expect_names(FIELD_GUEST_CR0, 0x31, "PE ET NE");
    expect_names(FIELD_GUEST_RSP, 0x31, "");
    expect_names(FIELD_GUEST_CS_ACCESS, 0xa09b, "type 11 DPL 0 S P L G");
    expect_names(FIELD_GUEST_ACTIVITY_STATE, 1, "HLT");
    expect_names(FIELD_ENTRY_INTERRUPTION_INFO, 0x80000202, "type 2 NMI, vector 2");
    expect_names(FIELD_ENTRY_INTERRUPTION_INFO, 0x202, "not valid, type 2 NMI, vector 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid_images),
        cmocka_unit_test(test_each_rule_alone),
        cmocka_unit_test(test_no_rule_without_a_mutation),
        cmocka_unit_test(test_edges_are_valid),
        cmocka_unit_test(test_reserved_bits),
        cmocka_unit_test(test_order_of_classes),
        cmocka_unit_test(test_what_memory_is_missing),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_every_line_is_whole),
        cmocka_unit_test(test_fields_by_row),
        cmocka_unit_test(test_fields_that_exist),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
