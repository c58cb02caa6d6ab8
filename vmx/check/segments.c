/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM-entry checks on the guest's segment registers, in virtual-8086, real-address, protected and IA-32e mode. SDM 3C
 * 26.3.1.2 "Checks on Guest Segment Registers". Pure.
 */
#include "arch/x86/regs.h"
#include "vmx/check/rules.h"

/* In the order of the fields. */
enum { ES, CS, SS, DS, FS, GS, LDTR, TR, SEGMENTS };
_Static_assert(FIELD_GUEST_TR_SELECTOR == FIELD_GUEST_ES_SELECTOR + TR &&
                   FIELD_GUEST_TR_BASE == FIELD_GUEST_ES_BASE + TR &&
                   FIELD_GUEST_TR_LIMIT == FIELD_GUEST_ES_LIMIT + TR &&
                   FIELD_GUEST_TR_ACCESS == FIELD_GUEST_ES_ACCESS + TR,
               "the fields of the segment registers stand in a row");

#define ACCESS_S        BIT(4)
#define ACCESS_P        BIT(7)
#define ACCESS_L        BIT(13)
#define ACCESS_DB       BIT(14)
#define ACCESS_G        BIT(15)
#define ACCESS_UNUSABLE BIT(16)
#define ACCESS_RESERVED 0xfffe0f00u

struct segment {
    u32 index;
    u32 selector;
    u32 limit;
    u32 access;
    u64 base;
};

static struct segment segment_of(const struct check *c, u32 i)
{
    return (struct segment){.index = i,
                            .selector = (u32)check_get(c, FIELD_GUEST_ES_SELECTOR + i),
                            .limit = (u32)check_get(c, FIELD_GUEST_ES_LIMIT + i),
                            .access = (u32)check_get(c, FIELD_GUEST_ES_ACCESS + i),
                            .base = check_get(c, FIELD_GUEST_ES_BASE + i)};
}

static u32 type_of(u32 access)
{
    return access & 15;
}

static u32 dpl_of(u32 access)
{
    return access >> 5 & 3;
}

static bool is_usable(const struct segment *s)
{
    return !(s->access & ACCESS_UNUSABLE);
}

static void check_base(struct check *c, const struct segment *s, bool v86)
{
    u32 field = FIELD_GUEST_ES_BASE + s->index;

    if (v86 && s->index <= GS)
        check_that(c, CHECK_AT(V86_BASE, field), s->base == (u64)s->selector << 4);
    if (s->index == TR || s->index == FS || s->index == GS || (s->index == LDTR && is_usable(s)))
        check_canonical(c, CHECK_AT(BASE_CANONICAL, field));
    if (s->index == CS || (s->index <= DS && is_usable(s)))
        check_bits(c, CHECK_AT(BASE_HIGH, field), s->base >> 32 << 32);
}

static void check_code(struct check *c, const struct segment *s)
{
    u32 at = FIELD_GUEST_CS_ACCESS;
    u32 type = type_of(s->access);
    u32 dpl = dpl_of(s->access);
    u32 ss_dpl = dpl_of((u32)check_get(c, FIELD_GUEST_SS_ACCESS));

    check_that(c, CHECK_AT(CS_TYPE, at), (type & 9) == 9 || (c->unrestricted && type == 3));
    if (type == 3)
        check_that(c, CHECK_AT(CS_DPL_DATA, at), dpl == 0);
    else if ((type & 13) == 9)
        check_that(c, CHECK_AT(CS_DPL_EQUAL, at), dpl == ss_dpl);
    else if ((type & 13) == 13)
        check_that(c, CHECK_AT(CS_DPL_BELOW, at), dpl <= ss_dpl);
    if (c->ia32e && s->access & ACCESS_L)
        check_bits(c, CHECK_AT(CS_D_AND_L, at), s->access & ACCESS_DB);
}

static void check_stack(struct check *c, const struct segment *s)
{
    u32 dpl = dpl_of(s->access);
    u32 cs_type = type_of((u32)check_get(c, FIELD_GUEST_CS_ACCESS));

    if (is_usable(s))
        check_that(c, CHECK_AT(SS_TYPE, FIELD_GUEST_SS_ACCESS), (s->access & 11) == 3);
    /* SS's DPL is the CPL, so that these hold for an unusable SS too. */
    if (!c->unrestricted)
        check_that(c, CHECK_AT(SS_DPL_RPL, FIELD_GUEST_SS_ACCESS), dpl == (s->selector & 3));
    if (cs_type == 3 || !(c->cr0 & CR0_PE))
        check_that(c, CHECK_AT(SS_DPL_REAL, FIELD_GUEST_SS_ACCESS), dpl == 0);
}

static void check_data(struct check *c, const struct segment *s)
{
    u32 field = FIELD_GUEST_ES_ACCESS + s->index;
    u32 type = type_of(s->access);

    if (!is_usable(s))
        return;
    check_bits(c, CHECK_AT(DATA_ACCESSED, field), ~type & 1);
    if (type & 8)
        check_bits(c, CHECK_AT(DATA_READABLE, field), ~type & 2);
    if (!c->unrestricted && type <= 11)
        check_that(c, CHECK_AT(DATA_DPL, field), dpl_of(s->access) >= (s->selector & 3));
}

static void check_system(struct check *c, const struct segment *s)
{
    u32 field = FIELD_GUEST_ES_ACCESS + s->index;
    u32 type = type_of(s->access);

    if (s->index == TR) {
        check_that(c, CHECK_AT(TR_TYPE, field), type == 11 || (type == 3 && !c->ia32e));
        check_bits(c, CHECK_AT(TR_UNUSABLE, field), s->access & ACCESS_UNUSABLE);
    } else if (!is_usable(s)) {
        return;
    } else {
        check_that(c, CHECK_AT(LDTR_TYPE, field), type == 2);
    }
    check_bits(c, CHECK_AT(SYSTEM_S, field), s->access & ACCESS_S);
    check_bits(c, CHECK_AT(SELECTOR_TI, FIELD_GUEST_ES_SELECTOR + s->index), s->selector & 4);
}

/* What is asked of CS, of TR and of any other register that is usable. */
static void check_common(struct check *c, const struct segment *s)
{
    u32 field = FIELD_GUEST_ES_ACCESS + s->index;

    if (s->index != CS && s->index != TR && !is_usable(s))
        return;
    if (s->index <= GS)
        check_bits(c, CHECK_AT(CODE_DATA_S, field), ~s->access & ACCESS_S);
    check_bits(c, CHECK_AT(PRESENT, field), ~s->access & ACCESS_P);
    check_bits(c, CHECK_AT(ACCESS_RESERVED, field), s->access & ACCESS_RESERVED);
    if (~s->limit & 0xfff)
        check_bits(c, CHECK_AT(LIMIT_LOW, field), s->access & ACCESS_G);
    if (s->limit >> 20)
        check_bits(c, CHECK_AT(LIMIT_HIGH, field), ~s->access & ACCESS_G);
}

static void check_v86(struct check *c, const struct segment *s)
{
    check_that(c, CHECK_AT(V86_LIMIT, FIELD_GUEST_ES_LIMIT + s->index), s->limit == 0xffff);
    check_that(c, CHECK_AT(V86_ACCESS, FIELD_GUEST_ES_ACCESS + s->index), s->access == 0xf3);
}

static void check_access(struct check *c, const struct segment *s)
{
    if (s->index > GS)
        check_system(c, s);
    else if (s->index == CS)
        check_code(c, s);
    else if (s->index == SS)
        check_stack(c, s);
    else
        check_data(c, s);
    check_common(c, s);
}

void check_segments(struct check *c)
{
    bool v86 = check_get(c, FIELD_GUEST_RFLAGS) & RFLAGS_VM;
    u64 rpl_differs = check_get(c, FIELD_GUEST_SS_SELECTOR) ^ check_get(c, FIELD_GUEST_CS_SELECTOR);

    if (!v86 && !c->unrestricted)
        check_bits(c, CHECK_AT(SS_RPL, FIELD_GUEST_SS_SELECTOR), rpl_differs & 3);
    for (u32 i = 0; i < SEGMENTS; i++) {
        struct segment s = segment_of(c, i);
        check_base(c, &s, v86);
        if (v86 && i <= GS)
            check_v86(c, &s);
        else
            check_access(c, &s);
    }
}
