/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See why.h. The lines on the console are the VM's doing and charged to it like its own output: when it has too many
 * waiting there no more are printed, and the vCPU rests. SDM 3C 26.1 "Basic VM-Entry Checks", 26.2, 26.3, 26.4 "Loading
 * MSRs".
 */
#include "vmx/nested/why.h"
#include "kernel/lib/format.h"
#include "kernel/virt.h"

#define LINE_BYTES 480u

/* ---- words ---- */

static size_t begin_line(const struct vmx_vcpu *v, char *line, size_t size)
{
    const struct why_refusal *how = &v->nested->refusal.how;
    char number[16];

    format_text(number, sizeof number, how->number ? "%u" : "none", how->number);
    return format_text(line, size, "vm nested name=%s vcpu=%u %s refused %s=%s", v->base.vm->spec.name, v->base.index,
                       how->launch ? "vmlaunch" : "vmresume", how->is_exit ? "exit" : "error", number);
}

static void format_basic(const struct vmx_vcpu *v, char *line, size_t size)
{
    const struct nested_refusal *r = &v->nested->refusal;
    size_t used = begin_line(v, line, size);
    char entry[16] = "";

    if (r->entry)
        format_text(entry, sizeof entry, " entry=%u", r->entry);
    format_text(line + used, size - used, " rule=\"%s\" field=%s%s value=0x%lx sdm=\"3C %s\"", r->rule, r->field, entry,
                r->value, r->section);
}

static void format_report(const struct vmx_vcpu *v, const struct check_report *report, char *line, size_t size)
{
    char bits[160] = "", entry[16] = "";
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    if (report->entry)
        format_text(entry, sizeof entry, " entry=%u", report->entry);
    else
        check_format_value(report->field, report->value, report->bits, bits, sizeof bits);
    size_t used = begin_line(v, line, size);
    format_text(line + used, size - used, " rule=\"%s%s%s%s\" field=%s%s value=0x%lx sdm=\"3C %s\"%s%s%s",
                check_rule_text(report->rule), report->because ? " with '" : "",
                report->because ? rows[report->because - 1].name : "", report->because ? "'" : "",
                check_field_name(report->field), entry, report->value, check_rule_section(report->rule),
                bits[0] ? " decoded=\"" : "", bits, bits[0] ? "\"" : "");
}

static void format_more(const struct vmx_vcpu *v, u32 more, char *line, size_t size)
{
    size_t used = begin_line(v, line, size);

    format_text(line + used, size - used, " more=%u", more);
}

/* ---- lines ---- */

void virt_vcpu_refusal(struct vcpu *vcpu, bool (*take)(void *context, const char *line), void *context)
{
    const struct vmx_vcpu *v = vmx_vcpu_of(vcpu);

    if (!v->nested)
        return;
    const struct nested_refusal *r = &v->nested->refusal;
    u32 kept = r->broken < NESTED_MOST_RULES ? r->broken : NESTED_MOST_RULES;
    char line[LINE_BYTES];
    u32 taken = 0;

    for (u32 i = 0; i < kept; i++) {
        if (r->rule)
            format_basic(v, line, sizeof line);
        else
            format_report(v, &r->reports[i], line, sizeof line);
        taken += take(context, line);
    }
    if (taken == r->broken)
        return;
    format_more(v, r->broken - taken, line, sizeof line);
    take(context, line);
}

static bool print_line(void *vcpu, const char *line)
{
    return vm_log_caused(vcpu, line);
}

static void print(struct vmx_vcpu *v)
{
    if (v->base.vm->spec.explain)
        virt_vcpu_refusal(&v->base, print_line, &v->base);
}

/* ---- what is kept ---- */

static struct nested_refusal *begin(struct vmx_vcpu *v, const struct why_refusal *how)
{
    struct nested_refusal *r = &v->nested->refusal;

    r->how = *how;
    r->broken = 0;
    r->rule = NULL;
    return r;
}

static void keep_report(void *context, const struct check_report *report)
{
    struct nested_refusal *r = context;

    if (r->broken < NESTED_MOST_RULES)
        r->reports[r->broken] = *report;
    r->broken++;
}

static void keep_rule(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, const char *section,
                      const char *field, u32 entry, u64 value)
{
    struct nested_refusal *r = begin(v, how);

    r->broken = 1;
    r->rule = rule;
    r->section = section;
    r->field = field;
    r->entry = entry;
    r->value = value;
    print(v);
}

void why_rules(struct vmx_vcpu *v, const struct why_refusal *how)
{
    struct nested_refusal *r = begin(v, how);

    vmx_check_entry(&v->nested->image, &v->nested->caps, keep_report, r);
    if (r->broken)
        print(v);
    else
        why_basic(v, how, "what a rule looks at in memory is right again: another vCPU writes to it", "none", 0);
}

void why_basic(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, const char *field, u64 value)
{
    keep_rule(v, how, rule, how->is_exit ? "26.3.1 Checks on the Guest State Area" : "26.1 Basic VM-Entry Checks",
              field, 0, value);
}

void why_msr(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, u32 entry, u32 index)
{
    keep_rule(v, how, rule, "26.4 Loading MSRs", "ENTRY_MSR_LOAD_ADDRESS", entry, index);
}
