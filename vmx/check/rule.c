/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every file of rules uses: it tells a broken rule, counts it and derives how the entry fails; and the questions
 * that many rules ask. Pure. SDM 3C 26.7 "VM-Entry Failures During or After Loading Guest State".
 */
#include "vmx/check/rules.h"

static u32 qualification_of(u32 rule, u32 entry)
{
    switch (rule) {
    case RULE_PDPTE:
        return 2;
    case RULE_LINK_ALIGNED:
    case RULE_LINK_WIDTH:
    case RULE_LINK_REVISION:
    case RULE_LINK_SHADOW:
    case RULE_LINK_CURRENT:
    case RULE_LINK_EXECUTIVE:
        return 4;
    default:
        return entry;
    }
}

static void emit(struct check *c, const struct check_report *report)
{
    enum check_outcome outcome = check_rule_outcome(report->rule);

    if (c->result.outcome == CHECK_ENTERS || outcome < c->result.outcome) {
        c->result.outcome = (u8)outcome;
        c->result.qualification = outcome < CHECK_FAILS_GUEST
                                      ? 0
                                      : qualification_of(report->rule, outcome == CHECK_FAILS_MSRS ? report->entry : 0);
    }
    c->result.broken++;
    if (c->report)
        c->report(c->context, report);
}

void check_fail(struct check *c, u32 at, u64 bits)
{
    check_fail_entry(c, at, 0, check_get(c, at & 0xffff), bits);
}

void check_fail_entry(struct check *c, u32 at, u32 entry, u64 value, u64 bits)
{
    struct check_report report = {
        .rule = (u16)(at >> 16), .field = (u16)at, .entry = (u16)entry, .value = value, .bits = bits};
    emit(c, &report);
}

void check_fail_because(struct check *c, u32 at, u64 bits, u32 group, u32 bit)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    struct check_report report = {
        .rule = (u16)(at >> 16), .field = (u16)at, .value = check_get(c, at & 0xffff), .bits = bits};

    for (u32 i = 0; i < count; i++)
        if (rows[i].group == group && rows[i].bit == bit)
            report.because = (u16)(i + 1);
    emit(c, &report);
}

void check_bits(struct check *c, u32 at, u64 wrong_bits)
{
    if (wrong_bits)
        check_fail(c, at, wrong_bits);
}

void check_that(struct check *c, u32 at, bool holds)
{
    if (!holds)
        check_fail(c, at, 0);
}

bool check_is_canonical(const struct check *c, u64 address)
{
    u32 unused = 64u - c->image->cpu.linear_bits;
    return (u64)((s64)(address << unused) >> unused) == address;
}

void check_canonical(struct check *c, u32 at)
{
    check_that(c, at, check_is_canonical(c, check_get(c, at & 0xffff)));
}

bool check_is_pat(u64 value)
{
    for (u32 i = 0; i < 64; i += 8)
        if ((value >> i & 0xff) > 7 || (value >> i & 0xfe) == 2)
            return false;
    return true;
}

void check_pat(struct check *c, u32 at)
{
    check_that(c, at, check_is_pat(check_get(c, at & 0xffff)));
}

u64 check_beyond_width(const struct check *c, u64 address, bool structure)
{
    u32 width = structure && c->caps->basic & BIT(48) ? 32 : c->image->cpu.physical_bits;
    return address >> width << width;
}

bool check_memory(struct check *c, u64 physical, void *to, u32 bytes, u8 skipped)
{
    if (c->image->read_memory && c->image->read_memory(c->image->memory_context, physical, to, bytes))
        return true;
    c->result.skipped |= skipped;
    return false;
}
