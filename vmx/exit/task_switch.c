/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exit for a task switch: between the VMCS and vmx/insn/task.c, which knows how to switch. The switch is all of
 * the instruction, or of the event's delivery: nothing is skipped or delivered once more. SDM 3C 25.4.2 "Treatment of
 * Task Switches", 27.2 "Recording VM-Exit Information and Updating VM-Entry Control Fields".
 */
#include "vmx/exit/task_switch.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/string.h"
#include "kernel/trace/trace.h"
#include "vmx/event.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/exit.h"
#include "vmx/insn/guest.h"
#include "vmx/insn/task.h"
#include "vmx/points.h"
#include "vmx/report/debug.h"
#include "vmx/tlb.h"

#define DR6_BT BIT(15)

struct segment_fields {
    struct vmcs_nat_rw base;
    struct vmcs_32_rw limit;
    struct vmcs_32_rw access;
    struct vmcs_16_rw selector;
};

static struct segment_fields fields_of(enum task_segment which)
{
    const struct segment_fields fields[TASK_SEGMENTS] = {
        {GUEST_ES_BASE,   GUEST_ES_LIMIT,   GUEST_ES_ACCESS,   GUEST_ES_SELECTOR  },
        {GUEST_CS_BASE,   GUEST_CS_LIMIT,   GUEST_CS_ACCESS,   GUEST_CS_SELECTOR  },
        {GUEST_SS_BASE,   GUEST_SS_LIMIT,   GUEST_SS_ACCESS,   GUEST_SS_SELECTOR  },
        {GUEST_DS_BASE,   GUEST_DS_LIMIT,   GUEST_DS_ACCESS,   GUEST_DS_SELECTOR  },
        {GUEST_FS_BASE,   GUEST_FS_LIMIT,   GUEST_FS_ACCESS,   GUEST_FS_SELECTOR  },
        {GUEST_GS_BASE,   GUEST_GS_LIMIT,   GUEST_GS_ACCESS,   GUEST_GS_SELECTOR  },
        {GUEST_LDTR_BASE, GUEST_LDTR_LIMIT, GUEST_LDTR_ACCESS, GUEST_LDTR_SELECTOR},
        {GUEST_TR_BASE,   GUEST_TR_LIMIT,   GUEST_TR_ACCESS,   GUEST_TR_SELECTOR  },
    };
    return fields[which];
}

/* ---- guest memory ---- */

#define PAGE_OFFSET (FRAME_BYTES - 1)

/* The last page of each kind is kept: a switch makes a hundred accesses, most of them to two pages. */
struct memory {
    struct vmx_vcpu *v;
    struct gva_context paging;
    struct {
        u32 linear; /* of the page; with bit 0 set there is none */
        u32 cr3;
        u8 cpl;
        u64 page;
    } translated[2]; /* by enum gva_access */
    u64 page;
    u8 *ram; /* at `page`; NULL: it is none */
};

static void memory_init(struct memory *memory, struct vmx_vcpu *v)
{
    memory->v = v;
    guest_fill_context(v, &memory->paging);
    memory->paging.rflags = 0; /* SDM 3A 4.6.1: with SMAP, EFLAGS.AC allows explicit accesses only */
    memory->translated[GVA_READ].linear = memory->translated[GVA_WRITE].linear = 1;
    memory->page = 1;
}

static enum gva_result call_translate(void *context, const struct task_state *state, u8 cpl, u32 linear,
                                      enum gva_access access, gpa_t *out, u32 *pf_error)
{
    struct memory *memory = context;
    struct gva_context *paging = &memory->paging;
    u32 offset = linear & PAGE_OFFSET;

    if (memory->translated[access].linear != linear - offset || memory->translated[access].cr3 != state->cr3 ||
        memory->translated[access].cpl != cpl) {
        paging->cr3 = state->cr3;
        for (unsigned i = 0; i < ARRAY_SIZE(paging->pdpte); i++)
            paging->pdpte[i] = state->pdpte[i];
        paging->cpl = cpl;
        enum gva_result result = gva_translate(paging, linear, access, out, pf_error);
        if (result != GVA_OK)
            return result;
        memory->translated[access].linear = linear - offset;
        memory->translated[access].cr3 = state->cr3;
        memory->translated[access].cpl = cpl;
        memory->translated[access].page = out->raw - offset;
    }
    *out = gpa(memory->translated[access].page + offset);
    return GVA_OK;
}

static u8 *ram_at(struct memory *memory, gpa_t address)
{
    u64 offset = address.raw & PAGE_OFFSET;

    if (memory->page != address.raw - offset) {
        memory->page = address.raw - offset;
        memory->ram = guest_physical_ram(memory->v, gpa(memory->page));
    }
    return memory->ram ? memory->ram + offset : NULL;
}

static u32 call_read(void *context, gpa_t address, u8 bytes)
{
    struct memory *memory = context;
    const u8 *ram = ram_at(memory, address);
    u32 value = 0;

    if (!ram)
        return (u32)guest_physical_read(memory->v, address, bytes);
    memcpy(&value, ram, bytes);
    return value;
}

static void call_write(void *context, gpa_t address, u8 bytes, u32 value)
{
    struct memory *memory = context;
    u8 *ram = ram_at(memory, address);

    if (ram)
        memcpy(ram, &value, bytes);
    else
        guest_physical_write(memory->v, address, bytes, value);
}

static u8 call_update(void *context, gpa_t address, u8 clear, u8 set)
{
    struct memory *memory = context;
    u8 *ram = guest_physical_open(memory->v, address);

    if (ram) {
        u8 before = __atomic_load_n(ram, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(ram, &before, (u8)((before & ~clear) | set), false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_RELAXED))
            ;
        return before;
    }
    u8 before = (u8)guest_physical_read(memory->v, address, 1);
    guest_physical_write(memory->v, address, 1, (before & (u8)~clear) | set);
    return before;
}

static bool call_load_pdptes(void *context, u32 cr3, u64 pdpte[4])
{
    struct memory *memory = context;
    return vmx_read_pdptes(memory->v, cr3, pdpte);
}

static const struct task_calls calls = {call_translate, call_read, call_write, call_update, call_load_pdptes};

/* ---- the VMCS ---- */

/* The TF of a debugger's step is neither task's: the old one is saved without it, and the step ends in the new one. */
static u32 own_flags(const struct vmx_vcpu *v)
{
    u32 rflags = (u32)vmcs_read(GUEST_RFLAGS);

    if (!v->debug || !v->debug->stepping)
        return rflags;
    return (rflags & ~(u32)RFLAGS_TF) | (v->debug->guest_tf ? (u32)RFLAGS_TF : 0);
}

static void read_state(const struct vmx_vcpu *v, const struct gva_context *paging, struct task_state *state)
{
    *state = (struct task_state){
        .eip = (u32)vmcs_read(GUEST_RIP),
        .eflags = own_flags(v),
        .cr0 = (u32)paging->cr0,
        .cr3 = (u32)paging->cr3,
        .cr4 = (u32)paging->cr4,
        .gdt_base = (u32)vmcs_read(GUEST_GDTR_BASE),
        .gdt_limit = vmcs_read(GUEST_GDTR_LIMIT),
    };
    for (unsigned i = 0; i < ARRAY_SIZE(state->pdpte); i++)
        state->pdpte[i] = paging->pdpte[i];
    for (unsigned i = 0; i < ARRAY_SIZE(state->gpr); i++)
        state->gpr[i] = (u32)vmx_vcpu_gpr(v, i);
    for (unsigned i = 0; i < TASK_SEGMENTS; i++) {
        struct segment_fields fields = fields_of(i);
        state->segment[i] = (struct task_register){
            .base = (u32)vmcs_read(fields.base),
            .limit = vmcs_read(fields.limit),
            .access = vmcs_read(fields.access),
            .selector = vmcs_read(fields.selector),
        };
    }
}

static void write_paging(struct vmx_vcpu *v, const struct gva_context *before, const struct task_state *state)
{
    vmcs_write(GUEST_CR0, (before->cr0 & ~(u64)UINT32_MAX) | state->cr0);
    if (state->cr3 == (u32)before->cr3)
        return;
    vmcs_write(GUEST_CR3, state->cr3);
    vmcs_write(GUEST_PDPTE0, state->pdpte[0]);
    vmcs_write(GUEST_PDPTE1, state->pdpte[1]);
    vmcs_write(GUEST_PDPTE2, state->pdpte[2]);
    vmcs_write(GUEST_PDPTE3, state->pdpte[3]);
    vmx_vcpu_flush_tlb(v);
}

static void write_state(struct vmx_vcpu *v, const struct task_state *state)
{
    for (unsigned i = 0; i < TASK_SEGMENTS; i++) {
        struct segment_fields fields = fields_of(i);
        vmcs_write(fields.base, state->segment[i].base);
        vmcs_write(fields.limit, state->segment[i].limit);
        vmcs_write(fields.access, state->segment[i].access);
        vmcs_write(fields.selector, state->segment[i].selector);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(state->gpr); i++)
        vmx_vcpu_set_gpr(v, i, state->gpr[i]);
    vmcs_write(GUEST_RIP, state->eip);
    vmcs_write(GUEST_RFLAGS, state->eflags);
    /* TF was the old task's: the SDM names the T flag alone, 3B 17.3.1.5 "Task-Switch Exception Condition". */
    vmcs_write(GUEST_PENDING_DEBUG, vmcs_read(GUEST_PENDING_DEBUG) & ~PENDING_DEBUG_SINGLE_STEP);
    vmx_event_end_blocking();
}

/* The guest's DR7 and DR6, of which a debugger may have the registers. */
static void disable_local_breakpoints(struct vmx_vcpu *v)
{
    if (v->debug && v->debug->owns_registers)
        v->debug->guest_dr7 &= ~TASK_DR7_LOCAL;
    else
        vmcs_write(GUEST_DR7, vmcs_read(GUEST_DR7) & ~TASK_DR7_LOCAL);
}

static void go_on_stepping(struct vmx_vcpu *v)
{
    u64 rflags = vmcs_read(GUEST_RFLAGS);

    if (!v->debug || !v->debug->stepping)
        return;
    v->debug->guest_tf = rflags & RFLAGS_TF;
    v->debug->kind = STEP_PLAIN;
    vmcs_write(GUEST_RFLAGS, rflags | RFLAGS_TF);
}

static void debug_trap(struct vmx_vcpu *v)
{
    if (v->debug && v->debug->owns_registers) {
        v->debug->guest_dr6 |= DR6_BT;
        v->debug->guest_dr7 &= ~POINTS_DR7_GD;
    } else {
        v->dr6 = (v->debug_used ? dr6_read() : v->dr6) | DR6_BT;
        if (v->debug_used)
            dr6_write(v->dr6);
        vmcs_write(GUEST_DR7, vmcs_read(GUEST_DR7) & ~POINTS_DR7_GD);
    }
    vmx_inject_exception(v, VECTOR_DB, 0);
}

/* ---- the exit ---- */

/* SDM 3C 27.2.3: no event of a CALL, JMP or IRET is in delivery. */
static struct task_request request_of(u64 qualification, u32 event)
{
    u32 type = EVENT_TYPE(event);
    bool gate = bits_field(qualification, 31, 30) == TASK_GATE;

    return (struct task_request){
        .source = (enum task_source)bits_field(qualification, 31, 30),
        .selector = (u16)qualification,
        .external = gate && type != EVENT_TYPE_SOFT_INT && type != EVENT_TYPE_SOFT_EXC,
        .has_error = gate && event & EVENT_HAS_ERROR,
        .error_code = gate && event & EVENT_HAS_ERROR ? vmcs_read(IDT_VECTORING_ERROR_CODE) : 0,
    };
}

/* RIP is that of an instruction which asked for the switch, but what an event found if it came by itself: 27.3.3. */
static u32 length_of(const struct task_request *request, u32 event)
{
    bool instruction = request->source != TASK_GATE || EVENT_TYPE(event) >= EVENT_TYPE_SOFT_INT;
    return instruction ? vmcs_read(EXIT_INSTRUCTION_LENGTH) : 0;
}

/* An NMI that has been delivered is in service; IRET ends that, even if it faults: 25.3, 27.1. */
static void set_nmi_blocking(const struct task_request *request, u32 event)
{
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

    if (request->source == TASK_IRET)
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking & ~INTERRUPTIBILITY_NMI);
    else if (request->source == TASK_GATE && EVENT_TYPE(event) == EVENT_TYPE_NMI)
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking | INTERRUPTIBILITY_NMI);
}

static enum outcome deliver_fault(struct vmx_vcpu *v, const struct task_outcome *out, u32 event)
{
    if (out->vector == VECTOR_PF)
        cr2_write(out->linear);
    return vmx_inject_nested(v, event, out->vector, out->error_code) ? OUTCOME_RESUME : vmx_exit_shut_down(v);
}

enum outcome vmx_task_switch_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    struct memory memory;
    struct task_state state;
    struct task_outcome out;
    u64 qualification = record->detail = vmcs_read(EXIT_QUALIFICATION);
    u32 vectoring = vmcs_read(IDT_VECTORING_INFO);
    struct task_request request = request_of(qualification, vectoring);
    u32 event = request.source == TASK_GATE ? vectoring : 0;
    u64 rip = vmcs_read(GUEST_RIP);

    memory_init(&memory, v);
    read_state(v, &memory.paging, &state);
    state.eip += length_of(&request, event);
    set_nmi_blocking(&request, event);
    struct gva_context before = memory.paging;
    task_switch(&calls, &memory, &request, &state, &out);
    if (out.result == TASK_STOP) {
        vm_stop(v->base.vm, VM_STOP_UNSUPPORTED_INSTRUCTION,
                "what=\"task switch through unreadable page tables\" rip=0x%lx", rip);
        return OUTCOME_STOP;
    }
    if (out.committed) {
        write_paging(v, &before, &state);
        write_state(v, &state);
        disable_local_breakpoints(v);
        go_on_stepping(v);
    }
    if (out.result == TASK_FAULT)
        return deliver_fault(v, &out, event);
    if (out.result == TASK_TRAP)
        debug_trap(v);
    return OUTCOME_RESUME;
}
