/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See why.h. The lines are the VM's doing and charged to it like its own output: when it has too many waiting at the
 * console no more are printed, and the vCPU rests. SDM 3C 26.1 "Basic VM-Entry Checks", 26.2, 26.3, 26.4 "Loading
 * MSRs".
 */
#include "vmx/nested/why.h"
#include "kernel/lib/format.h"

#define LINE_BYTES 480u
#define MOST_RULES 24u

struct context {
    struct vmx_vcpu *v;
    const struct why_refusal *how;
    u32 printed;
    u32 broken;
};

static size_t begin_line(const struct context *c, char *line, size_t size)
{
    const struct why_refusal *how = c->how;
    char number[16];

    format_text(number, sizeof number, how->number ? "%u" : "none", how->number);
    return format_text(line, size, "vm nested name=%s vcpu=%u %s refused %s=%s", c->v->base.vm->spec.name,
                       c->v->base.index, how->launch ? "vmlaunch" : "vmresume", how->is_exit ? "exit" : "error",
                       number);
}

static void print_rule(void *context, const struct check_report *report)
{
    struct context *c = context;
    char line[LINE_BYTES], bits[160] = "", entry[16] = "";
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    c->broken++;
    if (c->printed == MOST_RULES)
        return;
    if (report->entry)
        format_text(entry, sizeof entry, " entry=%u", report->entry);
    else
        check_format_value(report->field, report->value, report->bits, bits, sizeof bits);
    size_t used = begin_line(c, line, sizeof line);
    format_text(line + used, sizeof line - used, " rule=\"%s%s%s%s\" field=%s%s value=0x%lx sdm=\"3C %s\"%s%s%s",
                check_rule_text(report->rule), report->because ? " with '" : "",
                report->because ? rows[report->because - 1].name : "", report->because ? "'" : "",
                check_field_name(report->field), entry, report->value, check_rule_section(report->rule),
                bits[0] ? " decoded=\"" : "", bits, bits[0] ? "\"" : "");
    c->printed += vm_log_caused(&c->v->base, line);
}

void why_rules(struct vmx_vcpu *v, const struct why_refusal *how)
{
    struct context context = {.v = v, .how = how};
    char line[LINE_BYTES];

    if (!v->base.vm->spec.explain)
        return;
    vmx_check_entry(&v->nested->image, &v->nested->caps, print_rule, &context);
    if (context.broken == context.printed)
        return;
    size_t used = begin_line(&context, line, sizeof line);
    format_text(line + used, sizeof line - used, " more=%u", context.broken - context.printed);
    vm_log_caused(&v->base, line);
}

void why_basic(struct vmx_vcpu *v, const struct why_refusal *how, const char *rule, const char *field, u64 value)
{
    struct context context = {.v = v, .how = how};
    char line[LINE_BYTES];

    if (!v->base.vm->spec.explain)
        return;
    size_t used = begin_line(&context, line, sizeof line);
    format_text(line + used, sizeof line - used,
                " rule=\"%s\" field=%s value=0x%lx sdm=\"3C 26.1 Basic VM-Entry Checks\"", rule, field, value);
    vm_log_caused(&v->base, line);
}
