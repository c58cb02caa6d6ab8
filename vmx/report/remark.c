/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why an exception has not reached its handler: the steps of its delivery, up to the first that cannot be done.
 * SDM 3A 6.12 "Exception and Interrupt Handling", 6.14 "Exception and Interrupt Handling in 64-bit Mode", 20.1.4
 * "Interrupt and Exception Handling". It reads memory as the guest's kernel could, and all it reads is the guest's
 * word.
 */
#include "arch/x86/cpu.h"
#include "kernel/lib/format.h"
#include "kernel/trace/trace.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/report/fault.h"

#define SELECTOR_RPL   3u
#define SELECTOR_LDT   4u
#define ACCESS_PRESENT BIT(7) /* of the byte with type, S, DPL and P; in a gate likewise */
#define ACCESS_CODE    0x18u  /* S, and the type's highest bit */
#define TYPE_TASK_GATE 5u

enum mode { MODE_REAL, MODE_LEGACY, MODE_LONG };

/* A delivery that is being followed. */
struct delivery {
    struct vmx_vcpu *v;
    enum mode mode;
    char name[16];   /* of the exception or interrupt */
    const char *ram; /* what is meant by it */
    u64 gate, gate_high;
    u16 selector;
    u64 descriptor;
    char *out;
};

#define SAY(d, ...) format_text((d)->out, FAULT_REMARK_BYTES, __VA_ARGS__)

static enum mode mode_of(const struct vmx_vcpu *v)
{
    if (!(vmcs_read(GUEST_CR0) & CR0_PE))
        return MODE_REAL;
    return guest_efer(v) & EFER_LMA ? MODE_LONG : MODE_LEGACY;
}

/* At any alignment: what crosses a page is read byte by byte. */
static bool read_linear(const struct delivery *d, u64 linear, u8 bytes, u64 *value)
{
    u64 byte;

    if (d->mode != MODE_LONG)
        linear = (u32)linear;
    if ((linear & (FRAME_BYTES - 1)) + bytes <= FRAME_BYTES)
        return guest_peek(d->v, linear, bytes, value);
    *value = 0;
    for (u8 i = 0; i < bytes; i++) {
        if (!guest_peek(d->v, linear + i, 1, &byte))
            return false;
        *value |= byte << 8 * i;
    }
    return true;
}

static bool find_gate(struct delivery *d, u8 vector)
{
    u8 bytes = d->mode == MODE_REAL ? 4 : d->mode == MODE_LEGACY ? 8 : 16;
    u32 limit = vmcs_read(GUEST_IDTR_LIMIT);
    u64 base = vmcs_read(GUEST_IDTR_BASE);
    u64 at = base + (u64)vector * bytes;

    if (d->mode != MODE_REAL && base == 0 && limit == 0xffff)
        SAY(d, "IDTR is as at the start: the guest has loaded no IDT");
    else if (limit < bytes - 1u)
        SAY(d, "IDT limit %u: no handler can be reached", limit);
    else if (limit < (u64)vector * bytes + bytes - 1)
        SAY(d, "IDT limit 0x%x: the IDT ends before the gate of %s", limit, d->name);
    else if (!read_linear(d, at, d->mode == MODE_REAL ? 4 : 8, &d->gate) ||
             (d->mode == MODE_LONG && !read_linear(d, at + 8, 8, &d->gate_high)))
        SAY(d, "the IDT, at 0x%lx, lies outside %s", base, d->ram);
    return !d->out[0];
}

static bool check_gate(struct delivery *d)
{
    u8 access = (u8)(d->gate >> 40);
    u8 type = access & 0x1f;
    bool known = type == 14 || type == 15 || (d->mode == MODE_LEGACY && (type == 6 || type == 7));

    d->selector = (u16)(d->gate >> 16);
    if (!(access & ACCESS_PRESENT))
        SAY(d, "the IDT's gate of %s is not present", d->name);
    else if (!known && !(d->mode == MODE_LEGACY && type == TYPE_TASK_GATE))
        SAY(d, "the IDT's gate of %s has type %u: it is no interrupt or trap gate", d->name, type);
    return !d->out[0];
}

static bool check_code_segment(struct delivery *d)
{
    u32 limit = vmcs_read(GUEST_GDTR_LIMIT);
    u64 gdt = vmcs_read(GUEST_GDTR_BASE);
    u16 index = d->selector & (u16)~7u;

    if (d->selector & SELECTOR_LDT)
        return false; /* no rule for that */
    if (gdt == 0 && limit == 0xffff)
        SAY(d, "GDTR is as at the start: the guest has loaded no GDT");
    else if (!(d->selector & ~SELECTOR_RPL))
        SAY(d, "the IDT's gate of %s has a null code segment", d->name);
    else if (index + 7u > limit)
        SAY(d, "the IDT's gate of %s has code segment 0x%x, behind the GDT's limit 0x%x", d->name, d->selector, limit);
    else if (!read_linear(d, gdt + index, 8, &d->descriptor))
        SAY(d, "the GDT, at 0x%lx, lies outside %s", gdt, d->ram);
    else if ((d->descriptor >> 40 & (ACCESS_CODE | ACCESS_PRESENT)) != (ACCESS_CODE | ACCESS_PRESENT))
        SAY(d, "the IDT's gate of %s has segment 0x%x, which is no present code segment", d->name, d->selector);
    else if (d->mode == MODE_LONG && !(d->descriptor & BIT(53)))
        SAY(d, "the IDT's gate of %s has segment 0x%x, which is no 64-bit code segment", d->name, d->selector);
    return !d->out[0];
}

static bool check_handler(struct delivery *d)
{
    u64 offset = (d->gate & 0xffff) | (d->gate >> 32 & 0xffff0000) | d->gate_high << 32;
    u64 byte;

    if (!read_linear(d, offset, 1, &byte))
        SAY(d, "the handler of %s, at 0x%lx, lies outside %s", d->name, offset, d->ram);
    return !d->out[0];
}

/* What is pushed goes below that. False: said, or there is no rule. */
static bool find_stack(struct delivery *d, u64 *stack)
{
    u32 cpl = vmcs_read(GUEST_SS_ACCESS) >> 5 & 3;
    u32 ist = d->mode == MODE_LONG ? d->gate >> 32 & 7 : 0;
    u64 tss = vmcs_read(GUEST_TR_BASE);

    if (!ist && (d->descriptor >> 45 & 3) >= cpl) {
        u64 sp = vmcs_read(GUEST_RSP);
        u64 mask = vmcs_read(GUEST_SS_ACCESS) & SEGMENT_BIG ? 0xffffffff : 0xffff;
        *stack = d->mode == MODE_LONG ? sp : vmcs_read(GUEST_SS_BASE) + (sp & mask);
        return true;
    }
    if (!(vmcs_read(GUEST_TR_SELECTOR) & ~SELECTOR_RPL)) {
        SAY(d, "TR is null: no TSS has a stack for the handler of %s", d->name);
        return false;
    }
    /* SDM 3A 7.2.1 "Task-State Segment (TSS)", 7.7 "Task Management in 64-bit Mode" */
    u64 at = tss + (d->mode == MODE_LEGACY || !ist ? 4 : 0x24 + 8 * (ist - 1));
    if (!read_linear(d, at, d->mode == MODE_LONG ? 8 : 4, stack)) {
        SAY(d, "the TSS, at 0x%lx, lies outside %s", tss, d->ram);
        return false;
    }
    return true;
}

static void check_stack(struct delivery *d)
{
    u64 stack, word;

    if (find_stack(d, &stack) && !read_linear(d, stack - 4, 4, &word))
        SAY(d, "the stack of the handler of %s points outside %s: 0x%lx", d->name, d->ram, stack);
}

static void follow(struct delivery *d, u8 vector)
{
    if (vector < 32)
        format_text(d->name, sizeof d->name, "%s", trace_vector_name(vector));
    else
        format_text(d->name, sizeof d->name, "vector 0x%x", vector);
    d->gate_high = 0;
    if (!find_gate(d, vector) || d->mode == MODE_REAL)
        return;
    if (check_gate(d) && check_code_segment(d) && check_handler(d))
        check_stack(d);
}

void fault_remark_stack(struct vmx_vcpu *v, char out[FAULT_REMARK_BYTES])
{
    struct delivery d = {.v = v, .mode = mode_of(v), .ram = "RAM", .out = out};
    u64 stack = vmcs_read(GUEST_RSP), word;

    if (d.mode != MODE_LONG)
        stack = (u32)(vmcs_read(GUEST_SS_BASE) + stack);
    out[0] = 0;
    if (!read_linear(&d, stack - 4, 4, &word))
        SAY(&d, "the stack points outside RAM: 0x%lx", stack);
}

void fault_remark(struct vmx_vcpu *v, u8 vector, char out[FAULT_REMARK_BYTES])
{
    struct delivery d = {.v = v, .mode = mode_of(v), .ram = "RAM", .out = out};
    u64 rip = guest_linear_rip(v);
    u64 byte;

    if (vmcs_read(GUEST_CR0) & CR0_PG)
        d.ram = "all mapped RAM";
    out[0] = 0;
    follow(&d, vector);
    if (!out[0] && vector != VECTOR_DF)
        follow(&d, VECTOR_DF);
    if (read_linear(&d, rip, 1, &byte))
        return;
    char what[FAULT_REMARK_BYTES];
    format_text(what, sizeof what, "%s", out);
    SAY(&d, "CS:RIP, 0x%lx, lies outside %s%s%s", rip, d.ram, what[0] ? "; " : "", what);
}
