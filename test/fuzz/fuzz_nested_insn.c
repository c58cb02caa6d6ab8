/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest hypervisor that executes any VMX instructions with any operands, in any mode, over VMCS regions, page tables
 * and lists of MSRs that have any contents. Checked beyond what the sanitizers see: the checker's verdict decides alone
 * whether an entry is made; the pointers are what VMXON and VMPTRLD take; no cached field has bits beyond its width;
 * and whatever state an entry that fails late, or an exit of an inner guest, loads into the guest, the CPU can enter
 * it.
 *
 * links: vmx/nested/insn.c vmx/nested/nested.c vmx/nested/vmcs12.c vmx/nested/mirror.c vmx/nested/operand.c
 * links: vmx/nested/entry.c vmx/nested/shadow.c vmx/nested/host.c vmx/nested/msrs.c vmx/nested/why.c vmx/nested/offer.c
 * vmx/insn/guest.c links: vmx/insn/gva.c vmx/insn/guest_physical.c vmx/event.c vmx/apicv.c vmx/caps.c vmx/controls.c
 * vmx/exit/cr.c links: vmx/exit/cpuid.c vmx/exit/msr.c vmx/exit/mtrr.c vmx/speculation.c vmx/points.c arch/x86/xsave.c
 * links: arch/x86/speculation.c vmx/check/check.c vmx/check/controls.c vmx/check/fields.c vmx/check/guest.c
 * links: vmx/check/host.c vmx/check/msrs.c vmx/check/rule.c vmx/check/segments.c vmx/check/state.c vmx/check/text.c
 * links: kernel/vm/memory.c kernel/vm/layer.c kernel/vm/bus.c
 *
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * libs: -lcmocka
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/fuzz_input.h"
#include "test/fake/host_memory.h"
#include "test/fake/must.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/cpuid.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/entry.h"
#include "vmx/nested/host.h"
#include "vmx/nested/offer.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/report/debug.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* Guest-physical and, by identity, linear. */
enum { TABLES = 0x10000, REGIONS = 0x20000, OPERAND = 0x30000, LISTS = 0x31000 };
enum { VMCLEAR = 19, VMLAUNCH, VMPTRLD, VMPTRST, VMREAD, VMRESUME, VMWRITE, VMXOFF, VMXON, INVEPT = 50, INVVPID = 53 };

static bool stopped;
static u32 entered;
static struct nested as_made;

/* ---- what vmx/nested/ calls ---- */

bool vm_log_caused(struct vcpu *vcpu, const char *text)
{
    MUST(vcpu == &bench.v.base);
    MUST(strlen(text) > 0);
    return true;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm, (void)reason, (void)detail;
    stopped = true;
}

void vm_block_init(struct vcpu *vcpu, bool block)
{
    (void)vcpu, (void)block;
}

/* The inner guest exits at once. */
enum outcome inner_enter(struct vmx_vcpu *v, bool launch)
{
    MUST(launch != v->nested->launched);
    v->nested->launched = true;
    entered++;
    return host_load(v, CR0_ET, 0) ? OUTCOME_RESUME : OUTCOME_STOP;
}

void level_fetch_guest(struct vmx_vcpu *v)
{
    (void)v; /* no inner guest has run */
}

void level_swap(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

u16 vmx_new_vpid(void)
{
    return 77;
}

/* The CPU has no VMCS shadowing. */
bool vmcs_load(hpa_t region)
{
    (void)region;
    abort();
}

bool vmcs_clear(hpa_t region)
{
    (void)region;
    return true;
}

u64 clock_tsc_hz(void)
{
    return 2000000000;
}

bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    (void)type, (void)ept_pointer;
    return true;
}

void vmx_invalidate_ept_everywhere(const struct vm *vm)
{
    (void)vm;
}

void vmx_debug_put_off(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

void vmx_debug_go_on(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

/* ---- the machine ---- */

static void write_memory(u64 at, u64 value)
{
    MUST(guest_memory_write(&bench.vm.memory, gpa(at), &value, 8) == STATUS_OK);
}

/* 32-bit paging by identity; 64-bit mode by 1-GiB pages. */
static void set_mode(bool is_64)
{
    write_memory(TABLES, is_64 ? (TABLES + 0x1000) | 3 : 0x83);
    write_memory(TABLES + 0x1000, 0x83);
    VMCS_SET(ENTRY_CONTROLS, is_64 ? ENTRY_IA32E_GUEST : 0);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    VMCS_SET(CR0_MASK, ~(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM | CR0_PG));
    VMCS_SET(GUEST_CR3, TABLES);
    VMCS_SET(GUEST_CR4, CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE));
    VMCS_SET(CR4_SHADOW, CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE));
    VMCS_SET(CR4_MASK, ~0ull);
    VMCS_SET(GUEST_CS_ACCESS, is_64 ? 0xa09b : 0xc09b);
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    for (u32 i = 0; i < 6; i++)
        fake_vmcs_set(ENCODING_GUEST_ES_LIMIT + 2 * i, UINT32_MAX);
    VMCS_SET(GUEST_DS_ACCESS, 0xc093);
    VMCS_SET(GUEST_ES_ACCESS, 0xc093);
    bench_set_efer(is_64 ? EFER_LME | EFER_LMA : 0);
}

static void make_machine(void)
{
    static bool made;
    static struct vm vm;
    static struct nested *nested;
    struct refusal why;
    u32 frames;

    static const u32 msrs[] = {MSR_IA32_STAR,  MSR_IA32_LSTAR,          MSR_IA32_CSTAR,
                               MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_TSC_AUX};

    bench_start();
    for (u32 i = 0; i < ARRAY_SIZE(msrs); i++) /* which an MSR list may write */
        fake_msr_set(msrs[i], 0);
    if (made) {
        bench.vm.memory = vm.memory;
        MUST(guest_memory_fill(&bench.vm.memory, gpa(0), 0, KIB(256)) == STATUS_OK);
        *nested = as_made;
        bench.v.nested = nested;
    } else {
        host_memory_init(MIB(16), MIB(8));
        MUST(guest_memory_allocate(&bench.vm.memory, MIB(2), &why) == STATUS_OK);
        xsave_detect();
        vmx_cpuid_build();
        MUST(frames_allocate(1, 1, &vmx_features.msr_bitmap) == STATUS_OK);
        memset(phys_to_virt(vmx_features.msr_bitmap), 0xff, FRAME_BYTES);
        MUST(nested_create(&bench.v, &frames) == STATUS_OK);
        vm.memory = bench.vm.memory;
        nested = bench.v.nested;
        as_made = *nested;
        made = true;
    }
    bench.vm.spec.explain = true;
    vmx_cpuid_init_vcpu(&bench.v);
    set_mode(false);
    for (u32 i = 0; i < 4; i++)
        write_memory(REGIONS + i * 0x1000, NESTED_REVISION | (i == 3 ? NESTED_SHADOW_VMCS : 0));
    stopped = false;
}

/* A VMCS that can be entered, made current: what is changed then is the mistake. */
static void have_good_vmcs(bool is_64)
{
    static const enum check_field controls[] = {FIELD_PIN_CONTROLS, FIELD_PROC_CONTROLS, FIELD_PROC2_CONTROLS,
                                                FIELD_EXIT_CONTROLS, FIELD_ENTRY_CONTROLS};
    struct nested *n = bench.v.nested;
    u64 *value = n->image.value;

    n->vmxon = REGIONS;
    n->current = REGIONS + 0x1000;
    n->launched = n->is_shadow = false;
    memset(value, 0, sizeof n->image.value);
    n->image.settled = 0;
    for (u32 g = 0; g < VMX_GROUPS; g++)
        value[controls[g]] = n->caps.group[g].must_be_one;
    value[FIELD_VMCS_LINK_POINTER] = ~0ull;
    for (u32 i = 0; i < 6; i++) {
        value[FIELD_GUEST_ES_LIMIT + i] = UINT32_MAX;
        value[FIELD_GUEST_ES_ACCESS + i] = i == 1 ? (is_64 ? 0xa09b : 0xc09b) : 0xc093;
    }
    value[FIELD_GUEST_LDTR_ACCESS] = 0x10000;
    value[FIELD_GUEST_TR_ACCESS] = 0x8b;
    value[FIELD_GUEST_TR_LIMIT] = 0x67;
    value[FIELD_GUEST_CR0] = value[FIELD_HOST_CR0] = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
    value[FIELD_GUEST_CR4] = value[FIELD_HOST_CR4] = CR4_VMXE | (is_64 ? CR4_PAE : CR4_PSE);
    value[FIELD_GUEST_CR3] = value[FIELD_HOST_CR3] = TABLES;
    value[FIELD_GUEST_DR7] = 0x400;
    value[FIELD_GUEST_RFLAGS] = RFLAGS_ONE;
    value[FIELD_HOST_CS_SELECTOR] = 8;
    value[FIELD_HOST_SS_SELECTOR] = value[FIELD_HOST_DS_SELECTOR] = 16;
    value[FIELD_HOST_TR_SELECTOR] = 24;
    if (is_64) {
        value[FIELD_EXIT_CONTROLS] |= EXIT_HOST_ADDRESS_SPACE;
        value[FIELD_ENTRY_CONTROLS] |= ENTRY_IA32E_GUEST;
    }
    set_mode(is_64);
}

/* ---- what must hold ---- */

static void count_guest_state(void *context, const struct check_report *report)
{
    if (check_rule_outcome(report->rule) != CHECK_FAILS_GUEST)
        return;
    fprintf(stderr, "%s=0x%llx: %s\n", check_field_name(report->field), (unsigned long long)report->value,
            check_rule_text(report->rule));
    ++*(u32 *)context;
}

/* The guest's VMCS as it is now, by the rules for our own entries. */
static u32 broken_rules(void)
{
    static struct check_image image;
    u32 broken = 0;

    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (!vmcs_try_read(check_field_encoding(row), &image.value[row]))
            image.value[row] = 0;
    image.cpu = bench.v.nested->image.cpu;
    image.cpu.long_mode = true;
    image.value[FIELD_VMCS_LINK_POINTER] = ~0ull;
    image.value[FIELD_PROC2_CONTROLS] |= PROC2_UNRESTRICTED_GUEST | PROC2_EPT;
    image.value[FIELD_PROC_CONTROLS] |= PROC_SECONDARY;
    vmx_check_entry(&image, &vmx_features.caps, count_guest_state, &broken);
    return broken;
}

static bool is_region(u64 pointer)
{
    return !(pointer & 0xfff) && !(pointer >> vmx_features.guest_physical_bits);
}

static void check_state(void)
{
    const struct nested *n = bench.v.nested;

    MUST(n->vmxon == NESTED_NONE || is_region(n->vmxon));
    MUST(n->current == NESTED_NONE || (is_region(n->current) && n->vmxon != NESTED_NONE && n->current != n->vmxon));
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        MUST(check_field_bits(row) == 64 || !(n->image.value[row] >> check_field_bits(row)));
}

/* Everything that is asked before the VMCS is looked into, and then the checker. */
static bool must_enter(bool launch)
{
    static struct check_image whole;
    struct nested *n = bench.v.nested;
    u64 efer = guest_efer(&bench.v);

    if (!(vmcs_read(GUEST_CR0) & CR0_PE) || vmcs_read(GUEST_RFLAGS) & RFLAGS_VM ||
        (efer & EFER_LMA && !guest_is_code64(&bench.v)) || vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL ||
        n->vmxon == NESTED_NONE || n->current == NESTED_NONE || n->is_shadow ||
        vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_MOV_SS || launch == n->launched)
        return false;
    whole = n->image;
    whole.cpu.long_mode = efer & EFER_LMA;
    whole.settled = 0; /* whatever the code believes to know */
    return vmx_check_entry(&whole, &n->caps, NULL, NULL).outcome == CHECK_ENTERS;
}

/* ---- what the guest does ---- */

static void execute(u32 reason)
{
    bool is_entry = reason == VMLAUNCH || reason == VMRESUME;
    bool enters = is_entry && must_enter(reason == VMLAUNCH);

    if (nested_is_on(&bench.v) && vmcs_read(GUEST_RFLAGS) & RFLAGS_VM)
        return; /* the CPU has found that it is #UD */
    entered = 0;
    bench.v.exception.info = 0;
    VMCS_SET(EXIT_REASON, reason);
    bench_records[0].cause = (u8)reason;
    enum outcome outcome = reason == VMREAD || reason == VMWRITE ? nested_access_exit(&bench.v, &bench_records[0])
                                                                 : nested_exit(&bench.v, &bench_records[0]);
    MUST(entered == enters);
    MUST((outcome == OUTCOME_STOP) == stopped);
    MUST(outcome != OUTCOME_SKIP || !bench.v.exception.info);
    if (is_entry && outcome == OUTCOME_RESUME && !bench.v.exception.info)
        MUST(!broken_rules());
    check_state();
}

static u64 take_value(struct input *in)
{
    switch (take(in, 1) % 8) {
    case 0:
        return 0;
    case 1:
        return ~0ull;
    case 2:
        return BIT(take(in, 1) % 64);
    case 3:
        return REGIONS + take(in, 1) % 4 * 0x1000;
    case 4:
        return LISTS + take(in, 1) % 4 * 0x1000;
    case 5:
        return check_field_encoding((u32)take(in, 1) % CHECK_FIELDS) + take(in, 1) % 2;
    case 6:
        return take(in, 2);
    default:
        return take(in, 8);
    }
}

/* In memory at DS:OPERAND with the value there, or with anything. */
static void set_operand(struct input *in, u64 value)
{
    u8 form = (u8)take(in, 1);

    VMCS_SET(EXIT_QUALIFICATION, form & 0xc0 ? OPERAND : take_value(in));
    if (form & 0x80)
        VMCS_SET(EXIT_INSTRUCTION_INFO, BIT(22) | BIT(27) | (u64)DECODE_DS << 15 | 1 << 7);
    else
        VMCS_SET(EXIT_INSTRUCTION_INFO, take(in, 4));
    write_memory(OPERAND, value);
    write_memory(OPERAND + 8, form & 1 ? take_value(in) : 0);
}

static void change_field(struct input *in)
{
    struct nested *n = bench.v.nested;
    u32 row = (u32)take(in, 1) % CHECK_FIELDS;
    u64 value = take_value(in);

    if (take(in, 1) & 1)
        value ^= n->image.value[row];
    bench.v.gpr[GPR_RAX] = value;
    bench.v.gpr[GPR_RBX] = check_field_encoding(row);
    VMCS_SET(EXIT_INSTRUCTION_INFO, BIT(10) | (u64)GPR_RAX << 3 | (u64)GPR_RBX << 28);
    execute(VMWRITE);
}

/* A list of up to three MSRs, for an entry or an exit. */
static void make_list(struct input *in)
{
    static const u32 msrs[] = {MSR_IA32_FS_BASE,        MSR_IA32_EFER, MSR_IA32_PAT, MSR_IA32_SYSENTER_CS,
                               MSR_IA32_KERNEL_GS_BASE, MSR_IA32_STAR, 0x808};
    static const enum check_field fields[][2] = {
        {FIELD_ENTRY_MSR_LOAD_ADDRESS, FIELD_ENTRY_MSR_LOAD_COUNT},
        {FIELD_EXIT_MSR_LOAD_ADDRESS,  FIELD_EXIT_MSR_LOAD_COUNT },
        {FIELD_EXIT_MSR_STORE_ADDRESS, FIELD_EXIT_MSR_STORE_COUNT}
    };
    u32 which = (u32)take(in, 1) % 3, count = (u32)take(in, 1) % 4;
    u64 at = LISTS + which * 0x1000;

    for (u32 i = 0; i < count; i++) {
        u32 index = (u32)take(in, 1);
        write_memory(at + i * 16, index < ARRAY_SIZE(msrs) ? msrs[index] : take(in, 5));
        write_memory(at + i * 16 + 8, take_value(in));
    }
    bench.v.nested->image.settled = 0;
    bench.v.nested->image.value[fields[which][0]] = at;
    bench.v.nested->image.value[fields[which][1]] = count;
}

static void change_machine(struct input *in)
{
    switch (take(in, 1) % 6) {
    case 0:
        VMCS_SET(GUEST_SS_ACCESS, take(in, 1) & 1 ? 0xc0f3 : 0xc093);
        break;
    case 1:
        VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | (take(in, 1) & 1 ? RFLAGS_VM : 0));
        break;
    case 2:
        VMCS_SET(GUEST_INTERRUPTIBILITY, take(in, 1) & 3);
        break;
    case 3:
        VMCS_SET(CR0_SHADOW, take(in, 4));
        break;
    case 4:
        VMCS_SET(CR4_SHADOW, take(in, 3));
        break;
    default:
        bench.vm.spec.explain = take(in, 1) & 1;
        break;
    }
}

/* By VMCS shadowing: nothing of the VMCS that runs the inner guest changes but the error's number. */
static void access_linked(struct input *in)
{
    static struct check_image before;
    struct nested *n = bench.v.nested;

    if (n->vmxon == NESTED_NONE || n->current == NESTED_NONE)
        return;
    n->image.value[FIELD_VMCS_LINK_POINTER] = take(in, 1) & 7 ? REGIONS + 0x3000 : take_value(in) | 0xfff;
    before = n->image;
    n->inside = true;
    bench.v.exception.info = 0;
    bench_records[0].cause = take(in, 1) & 1 ? VMREAD : VMWRITE;
    enum outcome outcome = nested_exit(&bench.v, &bench_records[0]);
    n->inside = false;
    MUST((outcome == OUTCOME_STOP) == stopped);
    MUST(outcome != OUTCOME_SKIP || !bench.v.exception.info);
    before.value[FIELD_INSTRUCTION_ERROR] = n->image.value[FIELD_INSTRUCTION_ERROR];
    MUST(!memcmp(&before, &n->image, sizeof before));
    check_state();
}

static void step(struct input *in)
{
    static const u8 instructions[] = {VMCLEAR, VMLAUNCH, VMPTRLD, VMPTRST, VMREAD, VMRESUME, VMWRITE,
                                      VMXOFF,  VMXON,    INVEPT,  INVVPID, VMXON,  VMPTRLD,  VMLAUNCH};

    u32 what = (u32)take(in, 1);

    switch (what < 240 ? what % 9 : 9) {
    case 0:
        have_good_vmcs(take(in, 1) & 1);
        break;
    case 8:
        make_list(in);
        break;
    case 9:
        bench.v.gpr[GPR_RAX] = take_value(in);
        bench.v.gpr[GPR_RBX] = take_value(in);
        set_operand(in, take_value(in));
        access_linked(in);
        break;
    case 1:
        set_mode(take(in, 1) & 1);
        break;
    case 2:
        change_machine(in);
        break;
    case 3: /* contents of regions, lists and, at times, page tables */
        write_memory((take(in, 1) & 7 ? REGIONS : TABLES) + take(in, 2) % (LISTS + 0x4000 - REGIONS) / 8 * 8,
                     take_value(in));
        break;
    case 4:
    case 5:
        change_field(in);
        break;
    case 6:
        execute(take(in, 1) & 3 ? VMLAUNCH : VMRESUME);
        break;
    default:
        bench.v.gpr[GPR_RAX] = take_value(in);
        bench.v.gpr[GPR_RBX] = take_value(in);
        set_operand(in, take_value(in));
        execute(instructions[take(in, 1) % sizeof instructions]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input in = {data, size};

    make_machine();
    while (in.left && !stopped)
        step(&in);
    return 0;
}
