/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See task.h. A function that returns false has said in the outcome why the switch ends there.
 */
#include "vmx/insn/task.h"
#include "arch/x86/regs.h"
#include "kernel/lib/bits.h"

#define SELECTOR_RPL   3u
#define SELECTOR_LOCAL 4u
#define SELECTOR_INDEX 0xfff8u

/* Access rights, as in a descriptor and in the VMCS. SDM 3A 3.4.5 "Segment Descriptors" */
#define ACCESS_TYPE       0x0fu
#define ACCESS_CODE_DATA  0x10u
#define ACCESS_DPL(a)     ((a) >> 5 & 3)
#define ACCESS_PRESENT    0x80u
#define ACCESS_BIG        0x4000u
#define ACCESS_GRANULAR   0x8000u
#define ACCESS_DESCRIPTOR 0xf0ffu /* what of it a descriptor has */
#define TYPE_ACCESSED     0x1u
#define TYPE_READ_WRITE   0x2u /* of code: readable; of data: writable */
#define TYPE_CONFORMING   0x4u
#define TYPE_DOWN         0x4u /* of data: expand-down */
#define TYPE_CODE         0x8u
#define TYPE_LDT          0x2u
#define TYPE_TSS          0x1u /* of 16 bits, available */
#define TYPE_BUSY         0x2u
#define TYPE_WIDE         0x8u /* a TSS of 32 bits */

#define DESCRIPTOR_ACCESS 5u /* the byte with type and P */

/* SDM 3A 7.2.1 "Task-State Segment (TSS)", 7.6 "16-Bit Task-State Segment (TSS)". EIP, EFLAGS and the general registers
 * are followed by the selectors. */
#define TSS16_LAST  0x2bu
#define TSS32_LAST  0x67u
#define TSS16_EIP   0x0eu
#define TSS32_EIP   0x20u
#define TSS32_CR3   0x1cu
#define TSS32_TRAP  0x64u
#define TSS_VALUES  10u /* EIP, EFLAGS and eight more */
#define EFLAGS_NT   BIT(14)
#define EFLAGS_KEPT 0x3f7fd5u   /* those that exist, without bit 1 */
#define NO_CODE     0x9fu       /* present, conforming, readable, accessed; DPL 0 */
#define VM86_ACCESS 0xf3u       /* SDM 3C 26.3.1.2 "Checks on Guest Segment Registers" */
#define HIGH_HALVES 0xffff0000u /* of general registers that a 16-bit TSS has loaded; the SDM leaves them open */

struct machine {
    const struct task_calls *calls;
    void *context;
    const struct task_request *request;
    struct task_state *state;
    struct task_outcome *out;
};

/* A descriptor, and where it stands. */
struct found {
    u32 linear;
    struct task_register value;
};

static bool fail(struct machine *m, enum x86_vector vector, u32 error_code)
{
    m->out->result = TASK_FAULT;
    m->out->vector = (u8)vector;
    m->out->error_code = error_code;
    return false;
}

/* SDM 3A 6.13 "Error Code": the selector, and whether the event was an external one. */
static bool fail_selector(struct machine *m, enum x86_vector vector, u16 selector)
{
    return fail(m, vector, (selector & (SELECTOR_INDEX | SELECTOR_LOCAL)) | m->request->external);
}

/* ---- memory ---- */

static bool translate(struct machine *m, u8 cpl, u32 linear, enum gva_access access, gpa_t *out)
{
    u32 error = 0;

    switch (m->calls->translate(m->context, m->state, cpl, linear, access, out, &error)) {
    case GVA_OK:
        return true;
    case GVA_FAULT:
        m->out->linear = linear;
        return fail(m, VECTOR_PF, error);
    default:
        m->out->result = TASK_STOP;
        return false;
    }
}

/* Bytes from `linear` on that are in its page. */
static u32 room(u32 linear)
{
    return (u32)FRAME_BYTES - (linear & ((u32)FRAME_BYTES - 1));
}

static u32 read_at(struct machine *m, gpa_t at, u8 bytes)
{
    return m->calls->read(m->context, at, bytes);
}

static bool read(struct machine *m, u32 linear, u8 bytes, u32 *value)
{
    u32 first = room(linear);
    gpa_t low, high;

    if (!translate(m, 0, linear, GVA_READ, &low))
        return false;
    if (bytes <= first) {
        *value = read_at(m, low, bytes);
        return true;
    }
    if (!translate(m, 0, linear + first, GVA_READ, &high))
        return false;
    *value = 0;
    for (u32 i = 0; i < bytes; i++)
        *value |= read_at(m, i < first ? gpa(low.raw + i) : gpa(high.raw + i - first), 1) << 8 * i;
    return true;
}

static bool write(struct machine *m, u8 cpl, u32 linear, u8 bytes, u32 value)
{
    u32 first = room(linear);
    gpa_t low, high;

    value &= (u32)bits_mask_of_bytes(bytes);
    if (!translate(m, cpl, linear, GVA_WRITE, &low))
        return false;
    if (bytes <= first) {
        m->calls->write(m->context, low, bytes, value);
        return true;
    }
    if (!translate(m, cpl, linear + first, GVA_WRITE, &high))
        return false;
    for (u32 i = 0; i < bytes; i++)
        m->calls->write(m->context, i < first ? gpa(low.raw + i) : gpa(high.raw + i - first), 1, value >> 8 * i & 0xff);
    return true;
}

/* Whether all of a range that is no larger than a page may be accessed. */
static bool probe(struct machine *m, u32 linear, u32 bytes, enum gva_access access)
{
    gpa_t ignored;

    return translate(m, 0, linear, access, &ignored) &&
           (bytes <= room(linear) || translate(m, 0, linear + bytes - 1, access, &ignored));
}

static bool update(struct machine *m, u32 linear, u8 clear, u8 set, u8 *before)
{
    gpa_t where;

    if (!translate(m, 0, linear, GVA_WRITE, &where))
        return false;
    *before = m->calls->update(m->context, where, clear, set);
    return true;
}

/* ---- descriptors ---- */

static bool is_null(u16 selector)
{
    return !(selector & (SELECTOR_INDEX | SELECTOR_LOCAL));
}

static bool is_in_table(const struct machine *m, u16 selector)
{
    const struct task_register *ldt = &m->state->segment[TASK_LDTR];
    u32 last = selector | 7u;

    if (selector & SELECTOR_LOCAL)
        return !(ldt->access & TASK_UNUSABLE) && last <= ldt->limit;
    return last <= m->state->gdt_limit;
}

/* Reads the descriptor of a selector that is in its table. */
static bool fetch(struct machine *m, u16 selector, struct found *out)
{
    const struct task_register *ldt = &m->state->segment[TASK_LDTR];
    u32 low, high;

    if (selector & SELECTOR_LOCAL && !(ldt->access & ACCESS_PRESENT))
        return fail_selector(m, VECTOR_TS, ldt->selector);
    out->linear = (selector & SELECTOR_LOCAL ? ldt->base : m->state->gdt_base) + (selector & SELECTOR_INDEX);
    if (!read(m, out->linear, 4, &low) || !read(m, out->linear + 4, 4, &high))
        return false;
    u32 limit = (low & 0xffff) | (high & 0xf0000);
    out->value = (struct task_register){
        .base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000),
        .limit = high >> 8 & ACCESS_GRANULAR ? limit << 12 | 0xfff : limit,
        .access = high >> 8 & ACCESS_DESCRIPTOR,
        .selector = selector,
    };
    return true;
}

/* The same of any selector; one that is not in its table is `vector`. */
static bool find(struct machine *m, u16 selector, enum x86_vector vector, struct found *out)
{
    return is_in_table(m, selector) ? fetch(m, selector, out) : fail_selector(m, vector, selector);
}

/* A segment has passed its checks: its descriptor is marked as accessed. */
static bool touch(struct machine *m, struct found *segment)
{
    u32 access = segment->value.access;
    u8 before;

    segment->value.access |= TYPE_ACCESSED;
    return access & TYPE_ACCESSED || update(m, segment->linear + DESCRIPTOR_ACCESS, 0, TYPE_ACCESSED, &before);
}

/* ---- up to the commit point ---- */

static bool is_tss(const struct machine *m, u32 access)
{
    u32 wanted = m->request->source == TASK_IRET ? TYPE_TSS | TYPE_BUSY : TYPE_TSS;

    return (access & (ACCESS_CODE_DATA | ACCESS_TYPE) & ~TYPE_WIDE) == wanted;
}

static bool is_wide(const struct task_register *tss)
{
    return tss->access & TYPE_WIDE;
}

static bool check_tss(struct machine *m, struct found *tss)
{
    u16 selector = m->request->selector;
    enum x86_vector vector = m->request->source == TASK_IRET ? VECTOR_TS : VECTOR_GP;

    if (is_null(selector) || selector & SELECTOR_LOCAL)
        return fail_selector(m, vector, selector);
    if (!find(m, selector, vector, tss))
        return false;
    if (!is_tss(m, tss->value.access))
        return fail_selector(m, vector, selector);
    if (!(tss->value.access & ACCESS_PRESENT))
        return fail_selector(m, VECTOR_NP, selector);
    if (tss->value.limit < (is_wide(&tss->value) ? TSS32_LAST : TSS16_LAST))
        return fail_selector(m, VECTOR_TS, selector);
    return true;
}

static bool is_nested(const struct machine *m)
{
    return m->request->source == TASK_CALL || m->request->source == TASK_GATE;
}

static u32 old_descriptor(const struct machine *m)
{
    return m->state->gdt_base + (m->state->segment[TASK_TR].selector & SELECTOR_INDEX) + DESCRIPTOR_ACCESS;
}

/* What the old task's state takes of its TSS. */
static u32 saved_bytes(const struct task_register *tss)
{
    return is_wide(tss) ? TSS_VALUES * 4 + 5 * 4 + 2 : (TSS_VALUES + 4) * 2;
}

static u32 first_saved(const struct task_register *tss)
{
    return is_wide(tss) ? TSS32_EIP : TSS16_EIP;
}

/*
 * "Checks that the old TSS, new TSS, and all segment descriptors used in the task switch are paged into system memory",
 * and that the old TSS has room: SDM 3A table 6-6 "Invalid TSS Conditions".
 */
static bool check_memory(struct machine *m, const struct found *tss)
{
    const struct task_register *old = &m->state->segment[TASK_TR];
    u32 saved = first_saved(old);

    if (old->limit < saved + saved_bytes(old) - 1)
        return fail_selector(m, VECTOR_TS, old->selector);
    if (!probe(m, tss->value.base, (is_wide(&tss->value) ? TSS32_LAST : TSS16_LAST) + 1, GVA_READ))
        return false;
    if (is_nested(m) && !probe(m, tss->value.base, 2, GVA_WRITE))
        return false;
    if (!is_nested(m) && !probe(m, old_descriptor(m), 1, GVA_WRITE))
        return false;
    return probe(m, old->base + saved, saved_bytes(old), GVA_WRITE);
}

/* Two CPUs shall not switch to one task: SDM 3A 8.1.2.1 "Automatic Locking". */
static bool take_busy(struct machine *m, const struct found *tss)
{
    u8 before;

    if (m->request->source == TASK_IRET)
        return true;
    if (!update(m, tss->linear + DESCRIPTOR_ACCESS, 0, TYPE_BUSY, &before))
        return false;
    return before & TYPE_BUSY ? fail_selector(m, VECTOR_GP, m->request->selector) : true;
}

static bool save_old(struct machine *m)
{
    const struct task_state *s = m->state;
    const struct task_register *old = &s->segment[TASK_TR];
    u8 bytes = is_wide(old) ? 4 : 2;
    u32 at = old->base + first_saved(old);
    u32 eflags = m->request->source == TASK_IRET ? s->eflags & ~(u32)EFLAGS_NT : s->eflags;

    if (!write(m, 0, at, bytes, s->eip) || !write(m, 0, at + bytes, bytes, eflags))
        return false;
    at += 2u * bytes;
    for (u32 i = 0; i < 8; i++, at += bytes)
        if (!write(m, 0, at, bytes, s->gpr[i]))
            return false;
    for (u32 i = TASK_ES; i <= (is_wide(old) ? TASK_GS : TASK_DS); i++, at += bytes)
        if (!write(m, 0, at, 2, s->segment[i].selector))
            return false;
    return true;
}

/* What a TSS has. */
struct image {
    u32 values[TSS_VALUES];
    u32 selectors[TASK_LDTR + 1]; /* by enum task_segment */
    u32 cr3;
    u32 trap;
};

static bool read_image(struct machine *m, const struct task_register *tss, struct image *image)
{
    bool wide = is_wide(tss);
    u8 bytes = wide ? 4 : 2;
    u32 at = tss->base + first_saved(tss);

    *image = (struct image){.cr3 = m->state->cr3};
    for (u32 i = 0; i < TSS_VALUES; i++, at += bytes)
        if (!read(m, at, bytes, &image->values[i]))
            return false;
    for (u32 i = TASK_ES; i <= (wide ? TASK_GS : TASK_DS); i++, at += bytes)
        if (!read(m, at, 2, &image->selectors[i]))
            return false;
    return read(m, at, 2, &image->selectors[TASK_LDTR]) &&
           (!wide ||
            (read(m, tss->base + TSS32_CR3, 4, &image->cr3) && read(m, tss->base + TSS32_TRAP, 2, &image->trap)));
}

static void load_vm86(struct task_state *s)
{
    for (u32 i = TASK_ES; i <= TASK_GS; i++) {
        struct task_register *segment = &s->segment[i];
        segment->base = (u32)segment->selector << 4;
        segment->limit = 0xffff;
        segment->access = VM86_ACCESS;
    }
}

/* ---- behind it ---- */

/*
 * The registers become the new task's, of segments only the selectors. CPL, which is SS's DPL, is 3 until SS is loaded:
 * the handler of a fault behind a plain gate then gets a stack out of the TSS. VM entry does not take a CS that is
 * unusable (SDM 3C 26.3.1.2); a conforming one fits any CPL and selector.
 */
static void commit(struct machine *m, const struct found *tss, const struct image *image)
{
    struct task_state *s = m->state;
    bool wide = is_wide(&tss->value);

    m->out->committed = true;
    s->segment[TASK_TR] = tss->value;
    s->segment[TASK_TR].access |= TYPE_BUSY;
    s->cr0 |= (u32)CR0_TS;
    s->eip = image->values[0];
    s->eflags = (image->values[1] & EFLAGS_KEPT) | (u32)RFLAGS_ONE;
    if (is_nested(m))
        s->eflags |= (u32)EFLAGS_NT;
    for (u32 i = 0; i < 8; i++)
        s->gpr[i] = image->values[2 + i] | (wide ? 0 : HIGH_HALVES);
    for (u32 i = TASK_ES; i <= TASK_LDTR; i++)
        s->segment[i] = (struct task_register){.access = TASK_UNUSABLE, .selector = (u16)image->selectors[i]};
    s->segment[TASK_CS].access = NO_CODE;
    s->segment[TASK_SS].access = TASK_UNUSABLE | 3u << 5;
    if (s->eflags & RFLAGS_VM)
        load_vm86(s);
}

/* SDM 3A 4.4.1 "PDPTE Registers": "If PAE paging is in use and a task switch changes the value of CR3". */
static bool load_cr3(struct machine *m, u32 cr3)
{
    struct task_state *s = m->state;

    if (!(s->cr0 & CR0_PG) || cr3 == s->cr3)
        return true;
    s->cr3 = cr3;
    if (s->cr4 & CR4_PAE && !m->calls->load_pdptes(m->context, cr3, s->pdpte))
        return fail(m, VECTOR_GP, m->request->external);
    return true;
}

/* All but whether it is present. One that stands in an LDT is not found: there is none yet. */
static bool load_ldt(struct machine *m)
{
    u16 selector = m->state->segment[TASK_LDTR].selector;
    struct found ldt;

    if (is_null(selector))
        return true;
    if (!find(m, selector, VECTOR_TS, &ldt))
        return false;
    if ((ldt.value.access & (ACCESS_CODE_DATA | ACCESS_TYPE)) != TYPE_LDT)
        return fail_selector(m, VECTOR_TS, selector);
    m->state->segment[TASK_LDTR] = ldt.value;
    return true;
}

static bool check_ldt_present(struct machine *m)
{
    struct task_register *ldt = &m->state->segment[TASK_LDTR];

    if (ldt->access & (TASK_UNUSABLE | ACCESS_PRESENT))
        return true;
    ldt->access = TASK_UNUSABLE;
    return fail_selector(m, VECTOR_TS, ldt->selector);
}

static bool is_code(u32 access)
{
    return (access & ACCESS_CODE_DATA) && (access & TYPE_CODE);
}

static bool has_code_privilege(const struct task_register *code, u32 cpl)
{
    return code->access & TYPE_CONFORMING ? ACCESS_DPL(code->access) <= cpl : ACCESS_DPL(code->access) == cpl;
}

static bool check_stack(struct machine *m, u32 cpl, struct found *stack)
{
    u16 selector = m->state->segment[TASK_SS].selector;

    if (is_null(selector))
        return fail_selector(m, VECTOR_TS, selector);
    if (!find(m, selector, VECTOR_TS, stack))
        return false;
    u32 access = stack->value.access;
    if (!(access & ACCESS_CODE_DATA) || (access & (TYPE_CODE | TYPE_READ_WRITE)) != TYPE_READ_WRITE)
        return fail_selector(m, VECTOR_TS, selector);
    if (!(access & ACCESS_PRESENT))
        return fail_selector(m, VECTOR_SS, selector);
    return ACCESS_DPL(access) == cpl ? true : fail_selector(m, VECTOR_TS, selector);
}

static bool load_data(struct machine *m, enum task_segment which, u32 cpl)
{
    u16 selector = m->state->segment[which].selector;
    u32 rpl = selector & SELECTOR_RPL;
    struct found data;

    if (is_null(selector))
        return true;
    if (!find(m, selector, VECTOR_TS, &data))
        return false;
    u32 access = data.value.access;
    if (!(access & ACCESS_CODE_DATA) || (access & (TYPE_CODE | TYPE_READ_WRITE)) == TYPE_CODE)
        return fail_selector(m, VECTOR_TS, selector);
    if (!(access & ACCESS_PRESENT))
        return fail_selector(m, VECTOR_NP, selector);
    if ((access & (TYPE_CODE | TYPE_CONFORMING)) != (TYPE_CODE | TYPE_CONFORMING) &&
        (ACCESS_DPL(access) < cpl || ACCESS_DPL(access) < rpl))
        return fail_selector(m, VECTOR_TS, selector);
    if (!touch(m, &data))
        return false;
    m->state->segment[which] = data.value;
    return true;
}

/* Of the code segment the privilege is checked first, the rest behind the stack. */
static bool load_code_and_stack(struct machine *m)
{
    u16 selector = m->state->segment[TASK_CS].selector;
    u32 cpl = selector & SELECTOR_RPL;
    struct found code, stack;
    bool known = !is_null(selector) && is_in_table(m, selector);

    if (known && !fetch(m, selector, &code))
        return false;
    bool executable = known && is_code(code.value.access);
    if (executable && !has_code_privilege(&code.value, cpl))
        return fail_selector(m, VECTOR_TS, selector);
    if (!check_stack(m, cpl, &stack) || !check_ldt_present(m))
        return false;
    if (!executable)
        return fail_selector(m, VECTOR_TS, selector);
    if (!(code.value.access & ACCESS_PRESENT))
        return fail_selector(m, VECTOR_NP, selector);
    if ((stack.value.selector & SELECTOR_RPL) != cpl)
        return fail_selector(m, VECTOR_TS, stack.value.selector);
    if (!touch(m, &stack) || !touch(m, &code))
        return false;
    m->state->segment[TASK_SS] = stack.value; /* together: VM entry wants CPL in both */
    m->state->segment[TASK_CS] = code.value;
    return true;
}

static bool load_segments(struct machine *m)
{
    const struct task_state *s = m->state;

    if (!load_ldt(m))
        return false;
    if (s->eflags & RFLAGS_VM)
        return check_ldt_present(m);
    u32 cpl = s->segment[TASK_CS].selector & SELECTOR_RPL;
    return load_code_and_stack(m) && load_data(m, TASK_DS, cpl) && load_data(m, TASK_ES, cpl) &&
           load_data(m, TASK_FS, cpl) && load_data(m, TASK_GS, cpl);
}

/* SDM 3A 3.4.5.1 "Code- and Data-Segment Descriptor Types": expand-down segments have what is above the limit. */
static bool is_in_stack(const struct task_register *stack, u32 offset, u8 bytes)
{
    u32 top = stack->access & ACCESS_BIG ? UINT32_MAX : 0xffff;
    bool down = stack->access & TYPE_DOWN;
    u32 last = down ? top : stack->limit;

    return offset <= last && last - offset >= bytes - 1u && (!down || offset > stack->limit);
}

/* SDM 3A 6.13: by the size of the TSS. */
static bool push_error_code(struct machine *m)
{
    struct task_state *s = m->state;
    const struct task_register *stack = &s->segment[TASK_SS];
    u8 bytes = is_wide(&s->segment[TASK_TR]) ? 4 : 2;
    u32 mask = stack->access & ACCESS_BIG ? UINT32_MAX : 0xffff;
    u32 offset = (s->gpr[4] - bytes) & mask;

    if (!m->request->has_error)
        return true;
    if (!is_in_stack(stack, offset, bytes))
        return fail(m, VECTOR_SS, m->request->external);
    if (!write(m, (u8)ACCESS_DPL(stack->access), stack->base + offset, bytes, m->request->error_code))
        return false;
    s->gpr[4] = (s->gpr[4] & ~mask) | offset;
    return true;
}

static bool check_eip(struct machine *m)
{
    const struct task_state *s = m->state;

    return s->eip <= s->segment[TASK_CS].limit ? true : fail(m, VECTOR_GP, m->request->external);
}

void task_switch(const struct task_calls *calls, void *context, const struct task_request *request,
                 struct task_state *state, struct task_outcome *out)
{
    struct machine m = {calls, context, request, state, out};
    struct found tss;
    struct image image;
    u8 before;

    *out = (struct task_outcome){.result = TASK_DONE};
    if (!check_tss(&m, &tss) || !check_memory(&m, &tss) || !take_busy(&m, &tss))
        return;
    if (!is_nested(&m) && !update(&m, old_descriptor(&m), TYPE_BUSY, 0, &before))
        return;
    if (!save_old(&m) || (is_nested(&m) && !write(&m, 0, tss.value.base, 2, state->segment[TASK_TR].selector)))
        return;
    if (!read_image(&m, &tss.value, &image))
        return;
    commit(&m, &tss, &image);
    if (load_cr3(&m, image.cr3) && load_segments(&m) && push_error_code(&m) && check_eip(&m) && image.trap & 1)
        out->result = TASK_TRAP;
    /* VM entry takes none that is usable and not present: SDM 3C 26.3.1.2 "Checks on Guest Segment Registers". */
    if (!(state->segment[TASK_LDTR].access & ACCESS_PRESENT))
        state->segment[TASK_LDTR].access = TASK_UNUSABLE;
}
