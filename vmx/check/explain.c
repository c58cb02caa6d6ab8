/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why a VM entry failed: reads the current VMCS into an image, lets the checker look at it and prints what it finds.
 * Root operation, interrupts off, the failed vCPU's VMCS current. One piece at a time: the buffers stand under a lock
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
static const struct vmx_vcpu *image_of; /* another report may have begun meanwhile */
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
        .debugctl_valid = DEBUGCTL_BITS | (leaf7_ecx & BIT(24) ? BIT(2) : 0), /* bus-lock detection */
        .perf_global_valid = perf_global_valid(),
    };
}

static void read_caps(struct vmx_caps *to)
{
    struct vmx_caps_raw raw;

    vmx_caps_read(&raw);
    vmx_caps_take(&raw, to);
}

/* Fields that do not exist are left alone: a VMREAD that fails would change the VM-instruction error. */
static u64 read_field(u32 row, const struct vmx_caps *exist)
{
    u64 value;

    return check_field_exists(row, exist) && vmcs_try_read(check_field_encoding(row), &value) ? value : 0;
}

void explain_read(const struct vmx_vcpu *v, struct check_image *to, struct vmx_caps *to_caps)
{
    read_caps(to_caps);
    read_cpu(&to->cpu);
    to->cpu.vmcs_pointer = v->vmcs.raw;
    to->read_memory = read_memory;
    to->memory_context = NULL;
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        to->value[row] = read_field(row, to_caps);
}

/* ---- rules ---- */

struct report_context {
    const struct vmx_vcpu *v;
    u32 wanted; /* which of the broken rules to print */
    u32 broken;
};

static void print_rule(void *context, const struct check_report *report)
{
    struct report_context *c = context;
    char text[LINE_BYTES];

    if (c->broken++ != c->wanted)
        return;
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
static const struct entry_error {
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

static const struct entry_error *find_error(u32 number)
{
    for (u32 i = 0; i < ARRAY_SIZE(errors); i++)
        if (errors[i].number == number)
            return &errors[i];
    return NULL;
}

const char *explain_error_name(u32 number)
{
    const struct entry_error *error = find_error(number);

    return error ? error->name : "see SDM 3C 30.4";
}

/* Of an error that has a rule of its own. */
static void explain_basic(const struct vmx_vcpu *v)
{
    const struct entry_error *error = find_error(v->failure.error);

    if (error && error->rule)
        print_basic(v, error->what, error->rule);
}

/* VMfailInvalid: without a current VMCS nothing can be read. */
static void explain_invalid(const struct vmx_vcpu *v)
{
    u64 current = v->failure.current;
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

static void format_verdict(const struct vmx_failure *failure, char *text, size_t size)
{
    if (failure->how == EXPLAIN_VMFAIL_VALID)
        format_text(text, size, "VMfailValid, error %u", failure->error);
    else
        format_text(text, size, "exit reason %u, qualification %lu", (u16)vmcs_read(EXIT_REASON),
                    vmcs_read(EXIT_QUALIFICATION));
}

/* What the CPU said, and what the checker says to it. */
static void print_verdict(const struct vmx_vcpu *v, const struct check_result *result, u32 broken)
{
    const char *name = v->base.vm->spec.name;
    const struct entry_error *error = find_error(v->failure.error);
    bool basic = error && error->rule;
    char verdict[64], text[LINE_BYTES];

    if (broken > EXPLAIN_MAX_RULES)
        log_event("vm entry name=%s vcpu=%u broken more=%u", name, v->base.index, broken - EXPLAIN_MAX_RULES);
    format_verdict(&v->failure, verdict, sizeof verdict);
    check_format_result(*result, text, sizeof text);
    if (basic && !broken)
        string_copy(text, sizeof text, "nothing else is broken");
    if (!basic && !broken)
        log_event("vm entry name=%s vcpu=%u no rule of SDM 3C 26 is found broken", name, v->base.index);
    log_event("vm entry name=%s vcpu=%u failed=\"%s\" checked=\"%s\"", name, v->base.index, verdict, text);
}

/* The VMCS is read first, then comes a rule at a time, for which the checker runs again. */
static bool explain_valid(const struct vmx_vcpu *v, u32 *at)
{
    u32 piece = (*at)++;

    if (piece == 0 || image_of != v) {
        explain_read(v, &image, &caps);
        image_of = v;
    }
    if (piece == 0) {
        explain_basic(v);
        return true;
    }
    struct report_context context = {.v = v, .wanted = piece - 1};
    if (context.wanted == EXPLAIN_MAX_RULES)
        context.wanted = UINT32_MAX;
    struct check_result result = vmx_check_entry(&image, &caps, print_rule, &context);
    if (context.wanted < context.broken)
        return true;
    print_verdict(v, &result, context.broken);
    return false;
}

bool explain_rules(const struct vmx_vcpu *v, u32 *at)
{
    bool more = false;

    spin_lock(&lock);
    if (v->failure.how == EXPLAIN_VMFAIL_INVALID)
        explain_invalid(v);
    else
        more = explain_valid(v, at);
    spin_unlock(&lock);
    return more;
}

/* ---- dump ---- */

struct dump {
    const struct vmx_vcpu *v;
    const char *whose;            /* "vmcs", or that of a guest hypervisor */
    const u64 *value;             /* by row; NULL: those of the current VMCS */
    const struct vmx_caps *exist; /* which fields there are */
    char line[LINE_BYTES];
    size_t used;
};

/* False: the line is full. */
static bool dump_field(struct dump *dump, u32 row)
{
    char words[LINE_BYTES - 60]; /* with name and value they make one line */
    u64 value = dump->value ? dump->value[row] : read_field(row, dump->exist);
    size_t length = check_format_names(row, value, words, sizeof words);

    if (dump->used && dump->used + length > WRAP_BYTES - 40)
        return false;
    dump->used += format_text(dump->line + dump->used, sizeof dump->line - dump->used, " %s=0x%lx%s%s%s",
                              check_field_name(row), value, length ? "(" : "", length ? words : "", length ? ")" : "");
    return true;
}

/* Of the area that *at is in, as many fields as one line takes. *at: area * CHECK_FIELDS + row. */
static bool dump_line(struct dump *dump, u32 *at)
{
    u32 area = *at / CHECK_FIELDS;

    for (; *at / CHECK_FIELDS == area; ++*at) {
        u32 row = *at % CHECK_FIELDS;
        if ((check_field_encoding(row) >> 10 & 3) == check_areas[area].type && check_field_exists(row, dump->exist) &&
            !dump_field(dump, row))
            break;
    }
    if (dump->used)
        log_event("vm %s name=%s vcpu=%u %s:%s", dump->whose, dump->v->base.vm->spec.name, dump->v->base.index,
                  check_areas[area].name, dump->line);
    return *at < CHECK_AREAS * CHECK_FIELDS;
}

bool explain_dump(const struct vmx_vcpu *v, u32 *at)
{
    struct vmx_caps exist;
    struct dump dump = {.v = v, .whose = "vmcs", .exist = &exist};

    (void)read_caps(&exist);
    return dump_line(&dump, at);
}

bool explain_dump_inner(const struct vmx_vcpu *v, const struct check_image *inner, const struct vmx_caps *offered,
                        u32 *at)
{
    struct dump dump = {.v = v, .whose = "inner-vmcs", .value = inner->value, .exist = offered};

    return dump_line(&dump, at);
}
