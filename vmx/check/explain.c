/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why a VM entry failed: reads the current VMCS into an image, lets the checker look at it and prints what it finds.
 * Root operation, interrupts off, the failed vCPU's VMCS current. One report at a time: its buffers stand under a lock
 * (before the console's in the order), since a stack here has 16 KiB. SDM 3C 26 "VM Entries", 30.4 "VM Instruction
 * Error Numbers".
 */
#include "vmx/check/explain.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/spinlock.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"

#define LINE_BYTES 400u
#define WRAP_BYTES 190u /* a dump's line takes no further field beyond this */

static struct spinlock lock;
static struct check_image image;
static struct vmx_caps caps;

static bool read_memory(void *context, u64 physical, void *to, u32 bytes)
{
    (void)context;
    if (!paging_is_memory(hpa(physical), bytes))
        return false;
    memcpy(to, phys_to_virt(hpa(physical)), bytes);
    return true;
}

/* SDM 3B 18.2.2 "Architectural Performance Monitoring Version 2": a bit for each counter, general and fixed. */
static u64 perf_global_valid(void)
{
    struct cpuid_result leaf = cpu_cpuid(0, 0).eax >= 10 ? cpu_cpuid(10, 0) : (struct cpuid_result){0};
    u32 version = leaf.eax & 0xff;
    u64 general = bits_field(leaf.eax, 15, 8);
    u64 fixed = version > 1 ? bits_field(leaf.edx, 4, 0) : 0;

    return version ? (BIT(general & 31) - 1) | (BIT(fixed) - 1) << 32 : 0;
}

/* SDM 2A 3.2 "CPUID - CPU Identification" */
static void read_cpu(struct check_cpu *cpu)
{
    bool has_leaf7 = cpu_cpuid(0, 0).eax >= 7;
    u32 leaf7_ebx = has_leaf7 ? cpu_cpuid(7, 0).ebx : 0;
    u32 leaf7_ecx = has_leaf7 ? cpu_cpuid(7, 0).ecx : 0;
    u32 extended = cpu_cpuid(0x80000001, 0).edx;
    u32 widths = cpu_cpuid(0x80000008, 0).eax;

    *cpu = (struct check_cpu){
        .physical_bits = (u8)widths,
        .linear_bits = (u8)(widths >> 8),
        .long_mode = msr_read(MSR_IA32_EFER) & EFER_LMA,
        .has_sgx = leaf7_ebx & BIT(2),
        .has_rtm = leaf7_ebx & BIT(11),
        .sti_blocks_nmi = true, /* perhaps not on this CPU; but an entry has failed, and nothing tells */
        .efer_valid = (extended & BIT(11) ? EFER_SCE : 0) | (extended & BIT(20) ? EFER_NXE : 0) |
                      (extended & BIT(29) ? EFER_LME | EFER_LMA : 0),
        .debugctl_valid = CHECK_DEBUGCTL_VALID | (leaf7_ecx & BIT(24) ? BIT(2) : 0), /* bus-lock detection */
        .perf_global_valid = perf_global_valid(),
    };
}

void explain_read(const struct vmx_vcpu *v, struct check_image *to, struct vmx_caps *to_caps)
{
    struct vmx_caps_raw raw;

    vmx_caps_read(&raw);
    vmx_caps_take(&raw, to_caps);
    read_cpu(&to->cpu);
    to->cpu.vmcs_pointer = v->vmcs.raw;
    to->cpu.vmfunc = raw.value[MSR_IA32_VMX_VMFUNC - MSR_IA32_VMX_BASIC];
    to->read_memory = read_memory;
    to->memory_context = NULL;
    /* Fields that do not exist are left alone: a VMREAD that fails would change the VM-instruction error. */
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (!check_field_exists(row, to_caps) || !vmcs_try_read(check_field_encoding(row), &to->value[row]))
            to->value[row] = 0;
}

/* ---- rules ---- */

struct report_context {
    const struct vmx_vcpu *v;
    u32 printed;
    u32 broken;
};

static void print_rule(void *context, const struct check_report *report)
{
    struct report_context *c = context;
    char text[LINE_BYTES];

    c->broken++;
    if (c->printed == EXPLAIN_MAX_RULES)
        return;
    c->printed++;
    check_format(report, text, sizeof text);
    log_event("vm entry name=%s vcpu=%u broken %s", c->v->base.vm->spec.name, c->v->base.index, text);
}

static void print_basic(const struct vmx_vcpu *v, const char *what, const char *rule)
{
    log_event("vm entry name=%s vcpu=%u broken %s rule=\"%s\" sdm=\"3C 26.1 Basic VM-Entry Checks\"",
              v->base.vm->spec.name, v->base.index, what, rule);
}

/*
 * The errors that an entry can give: SDM 3C 30.4 "VM Instruction Error Numbers". What SDM 3C 26.1 asks before it looks
 * into the VMCS has a rule here; for the others the VMCS itself is checked.
 */
static const struct {
    u32 number;
    const char *name, *what, *rule;
} errors[] = {
    {4,  "VMLAUNCH with non-clear VMCS",              "launch-state=launched",
     "the VMCS that VMLAUNCH enters must be clear, not launched"                   },
    {5,  "VMRESUME with non-launched VMCS",           "launch-state=clear",
     "the VMCS that VMRESUME enters must be launched, not clear"                   },
    {7,  "VM entry with invalid control field(s)",    NULL,                    NULL},
    {8,  "VM entry with invalid host-state field(s)", NULL,                    NULL},
    {26, "VM entry with events blocked by MOV SS",    "blocking=mov-ss",
     "no VM entry in the instruction after MOV SS or POP SS, which blocks events"  },
};

const char *explain_error_name(u32 error)
{
    for (u32 i = 0; i < ARRAY_SIZE(errors); i++)
        if (errors[i].number == error)
            return errors[i].name;
    return "see SDM 3C 30.4";
}

/* False if the error has no rule of its own. */
static bool explain_basic(const struct vmx_vcpu *v, u32 error)
{
    for (u32 i = 0; i < ARRAY_SIZE(errors); i++) {
        if (errors[i].number == error && errors[i].rule) {
            print_basic(v, errors[i].what, errors[i].rule);
            return true;
        }
    }
    return false;
}

/* VMfailInvalid: without a current VMCS nothing can be read. */
static void explain_invalid(const struct vmx_vcpu *v)
{
    u64 current = vmcs_current().raw;
    char what[64];

    if (current == VMCS_NONE)
        format_text(what, sizeof what, "current=none expected=0x%lx", v->vmcs.raw);
    else
        format_text(what, sizeof what, "current=0x%lx expected=0x%lx", current, v->vmcs.raw);
    print_basic(v, what,
                current == VMCS_NONE ? "a VMCS must be current: VMPTRLD, and no VMCLEAR of it since"
                                     : "the current VMCS must be an ordinary one, not a shadow VMCS");
    log_event("vm entry name=%s vcpu=%u failed=\"VMfailInvalid\"", v->base.vm->spec.name, v->base.index);
}

/* The CPU's verdict; reads it before any other VMREAD. */
static u32 format_verdict(enum explain_failure how, char *text, size_t size)
{
    u32 reason = vmcs_read(EXIT_REASON);
    u32 error = vmcs_read(INSTRUCTION_ERROR);

    if (how == EXPLAIN_VMFAIL_VALID) {
        format_text(text, size, "VMfailValid, error %u", error);
        return error;
    }
    format_text(text, size, "exit reason %u, qualification %lu", (u16)reason, vmcs_read(EXIT_QUALIFICATION));
    return 0;
}

static void explain_valid(struct vmx_vcpu *v, enum explain_failure how)
{
    struct report_context context = {.v = v};
    const char *name = v->base.vm->spec.name;
    char verdict[64], text[LINE_BYTES];
    bool basic = explain_basic(v, format_verdict(how, verdict, sizeof verdict));

    explain_read(v, &image, &caps);
    struct check_result result = vmx_check_entry(&image, &caps, print_rule, &context);
    if (context.broken > context.printed)
        log_event("vm entry name=%s vcpu=%u broken more=%u", name, v->base.index, context.broken - context.printed);
    check_format_result(result, text, sizeof text);
    if (basic && !context.broken)
        string_copy(text, sizeof text, "nothing else is broken");
    if (!basic && !context.broken)
        log_event("vm entry name=%s vcpu=%u no rule of SDM 3C 26 is found broken", name, v->base.index);
    log_event("vm entry name=%s vcpu=%u failed=\"%s\" checked=\"%s\"", name, v->base.index, verdict, text);
}

void explain_rules(struct vmx_vcpu *v, enum explain_failure how)
{
    spin_lock(&lock);
    if (how == EXPLAIN_VMFAIL_INVALID)
        explain_invalid(v);
    else
        explain_valid(v, how);
    spin_unlock(&lock);
}

/* ---- dump ---- */

struct dump {
    const struct vmx_vcpu *v;
    const char *whose; /* "vmcs", or that of a guest hypervisor */
    const u64 *value;  /* by row */
    const char *area;
    char line[LINE_BYTES];
    size_t used;
};

static void flush_line(struct dump *dump)
{
    if (dump->used)
        log_event("vm %s name=%s vcpu=%u %s:%s", dump->whose, dump->v->base.vm->spec.name, dump->v->base.index,
                  dump->area, dump->line);
    dump->used = 0;
}

static void dump_field(struct dump *dump, u32 row)
{
    char words[LINE_BYTES - 60]; /* with name and value they make one line */
    u64 value = dump->value[row];
    size_t length = check_format_names(row, value, words, sizeof words);

    if (dump->used && dump->used + length > WRAP_BYTES - 40)
        flush_line(dump);
    dump->used += format_text(dump->line + dump->used, sizeof dump->line - dump->used, " %s=0x%lx%s%s%s",
                              check_field_name(row), value, length ? "(" : "", length ? words : "", length ? ")" : "");
}

static void dump_all(struct dump *dump, const struct vmx_caps *exist)
{
    for (u32 i = 0; i < CHECK_AREAS; i++) {
        dump->area = check_areas[i].name;
        for (u32 row = 0; row < CHECK_FIELDS; row++)
            if ((check_field_encoding(row) >> 10 & 3) == check_areas[i].type && check_field_exists(row, exist))
                dump_field(dump, row);
        flush_line(dump);
    }
}

void explain_dump(const struct vmx_vcpu *v)
{
    struct dump dump = {.v = v, .whose = "vmcs", .value = image.value};

    spin_lock(&lock);
    explain_read(v, &image, &caps);
    dump_all(&dump, &caps);
    spin_unlock(&lock);
}

void explain_dump_inner(const struct vmx_vcpu *v, const struct check_image *inner, const struct vmx_caps *offered)
{
    struct dump dump = {.v = v, .whose = "inner-vmcs", .value = inner->value};

    dump_all(&dump, offered);
}

void explain_failed_entry(struct vmx_vcpu *v, enum explain_failure how)
{
    explain_rules(v, how);
    if (how != EXPLAIN_VMFAIL_INVALID && v->base.vm->spec.dump != VM_DUMP_VMCS) /* else the VM's report has it */
        explain_dump(v);
}
