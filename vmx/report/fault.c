/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first exception of a triple fault. The VM exit does not tell it (SDM 3C 27.2.3 "Information for VM Exits During
 * Event Delivery"), but leaves the guest at the instruction that raised it: it is known if the last entry has delivered
 * it, and else that one instruction is tried once more, with all exceptions exiting.
 */
#include "vmx/report/fault.h"
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/percpu.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/trace/trace.h"
#include "vmx/entry.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"

#define TRIES           8u /* the host's own interrupts come in between */
#define TIMER_TICKS     0x10000u
#define VIOLATION_FETCH BIT(2) /* SDM 3C 27.2.1, table "Exit Qualification for EPT Violations" */

enum reason { REASON_EXCEPTION = 0, REASON_EXTERNAL_INTERRUPT = 1, REASON_EPT_VIOLATION = 48 };

struct fault {
    u32 info; /* as interruption information; without EVENT_VALID it is not known */
    u32 error_code;
    u64 address; /* of a page fault */
};

/* ---- from the flight recorder ---- */

/* The vCPU's newest record in this CPU's ring that is older than `passed` records and has this cause; 0: any. */
static const struct trace_record *find_record(const struct vmx_vcpu *v, bool events, u8 cause, u32 *passed)
{
    struct trace_ring ring = trace_ring(cpu_id(), events);

    for (; ring.records && *passed < ring.size; (*passed)++) {
        const struct trace_record *record = ring.records + ((ring.newest - *passed) & (ring.size - 1));
        if (record->tsc && record->vcpu == (u16)v->base.trace_tag && (!cause || record->cause == cause)) {
            (*passed)++;
            return record;
        }
    }
    return NULL;
}

/* The exit, and what came before: the last entry, or how the vCPU got its CPU. */
void fault_note(struct vmx_vcpu *v)
{
    u32 exits = 0, events = 0;
    const struct trace_record *exit = find_record(v, false, 0, &exits);
    const struct trace_record *before = exit ? find_record(v, false, 0, &exits) : NULL;
    const struct trace_record *inject = before ? find_record(v, true, TRACE_INJECT, &events) : NULL;

    v->last =
        (struct vmx_last){.stopped = exit && exit->action == TRACE_STOP, .delivered = before ? before->action : 0};
    /* Where it has been delivered, the guest has moved on. */
    if (inject && inject->tsc >= before->tsc && before->rip == exit->rip)
        v->last.injected = (u32)inject->detail;
}

/* ---- from the CPU ---- */

/* One instruction of the guest: TF ends it, and so does whatever it raises. False: the entry failed. */
static bool try_instruction(struct vmx_vcpu *v)
{
    vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
    if (vmx_features.has_timer)
        vmcs_write(PREEMPTION_TIMER_VALUE, TIMER_TICKS);
    if (!vmx_run_guest(v))
        return false;
    v->launched = true;
    return true;
}

static void arm(void)
{
    vmcs_write(EXCEPTION_BITMAP, ~0u);
    vmcs_write(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW));
    vmcs_write(GUEST_RFLAGS, (vmcs_read(GUEST_RFLAGS) & ~(u64)RFLAGS_IF) | RFLAGS_TF);
    vmx_event_end_blocking();
}

static struct fault take_exception(struct vmx_vcpu *v, u32 info)
{
    struct fault fault = {.info = info, .address = vmcs_read(EXIT_QUALIFICATION)};

    if ((u8)info == VECTOR_MC)
        panic("machine check while vm=%s ran", v->base.vm->spec.name);
    if ((u8)info == VECTOR_DB && EVENT_TYPE(info) == EVENT_TYPE_EXCEPTION)
        fault.info = 0; /* it raises nothing by itself */
    if (info & EVENT_HAS_ERROR)
        fault.error_code = vmcs_read(EXIT_INTERRUPTION_ERROR_CODE);
    return fault;
}

static struct fault find_exception(struct vmx_vcpu *v)
{
    for (u32 i = 0; i < TRIES && try_instruction(v); i++) {
        u32 info = vmcs_read(EXIT_INTERRUPTION_INFO);
        switch (vmcs_read(EXIT_REASON)) {
        case REASON_EXCEPTION:
            if (EVENT_TYPE(info) != EVENT_TYPE_NMI)
                return take_exception(v, info);
            asm volatile("int $2" : : : "memory");
            break;
        case REASON_EXTERNAL_INTERRUPT:
            irq_dispatch((u8)info);
            break;
        case REASON_EPT_VIOLATION: /* what it fetches where nobody is: FF FF is no instruction */
            if (vmcs_read(EXIT_QUALIFICATION) & VIOLATION_FETCH)
                return (struct fault){.info = EVENT_VALID | EVENT_TYPE_EXCEPTION << 8 | VECTOR_UD};
            return (struct fault){0};
        default:
            return (struct fault){0};
        }
    }
    return (struct fault){0};
}

/* The VM has been reported and is not entered again: of the guest's state only RIP and RSP, which the remark is about,
 * are put back. */
static struct fault try_again(struct vmx_vcpu *v)
{
    u64 rip = vmcs_read(GUEST_RIP), rsp = vmcs_read(GUEST_RSP);

    arm();
    struct fault fault = find_exception(v);
    vmcs_write(GUEST_RIP, rip);
    vmcs_write(GUEST_RSP, rsp);
    return fault;
}

/* ---- both ---- */

static bool is_first(u32 info)
{
    return info & EVENT_VALID && (EVENT_TYPE(info) != EVENT_TYPE_EXCEPTION || (u8)info != VECTOR_DF);
}

static bool is_page_fault(u32 info)
{
    return EVENT_TYPE(info) == EVENT_TYPE_EXCEPTION && (u8)info == VECTOR_PF;
}

static struct fault find_first(struct vmx_vcpu *v)
{
    u32 vectoring = vmcs_read(IDT_VECTORING_INFO);

    /* An EPT violation during the delivery says what was delivered. */
    if (is_first(vectoring))
        return (struct fault){vectoring, vmcs_read(IDT_VECTORING_ERROR_CODE), cr2_read()};
    u32 injected = v->last.injected;
    if (is_first(injected) && !is_page_fault(injected))
        return (struct fault){injected, vmcs_read(ENTRY_EXCEPTION_ERROR_CODE), 0};
    struct fault fault = try_again(v); /* of a page fault that tells the address, which later ones have overwritten */
    if (!(fault.info & EVENT_VALID) && is_first(injected))
        fault.info = injected & ~EVENT_HAS_ERROR;
    else if (!(fault.info & EVENT_VALID) && v->last.delivered >= 16)
        fault.info = EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | v->last.delivered;
    return fault;
}

static void put_first(const struct fault *fault, char *out, size_t size)
{
    out[0] = 0;
    if (!(fault->info & EVENT_VALID))
        return;
    if (EVENT_TYPE(fault->info) == EVENT_TYPE_EXTERNAL || EVENT_TYPE(fault->info) == EVENT_TYPE_SOFT_INT)
        format_text(out, size, " first=INT-0x%x", fault->info & 0xff);
    else
        format_text(out, size, " first=%s",
                    EVENT_TYPE(fault->info) == EVENT_TYPE_NMI ? "NMI" : trace_vector_name((u8)fault->info));
}

/* The error code, and the address of a page fault. */
static void put_details(const struct fault *fault, char *out, size_t size)
{
    size_t used = 0;

    out[0] = 0;
    if (fault->info & EVENT_HAS_ERROR)
        used = format_text(out, size, " error=0x%x", fault->error_code);
    if (is_page_fault(fault->info) && fault->address)
        format_text(out + used, size - used, " address=0x%lx", fault->address);
}

static void explain_instruction(struct vmx_vcpu *v)
{
    char *remark = v->base.vm->remark;

    fault_remark_stack(v, remark);
    if (remark[0])
        log_event("vm fault name=%s vcpu=%u rip=0x%lx remark=\"%s\"", v->base.vm->spec.name, v->base.index,
                  vmcs_read(GUEST_RIP), remark);
}

static void explain_triple_fault(struct vmx_vcpu *v)
{
    struct vm *vm = v->base.vm;
    char first[24], details[48];
    char *remark = vm->remark;
    u64 rip = vmcs_read(GUEST_RIP);
    struct fault fault = find_first(v);

    put_first(&fault, first, sizeof first);
    put_details(&fault, details, sizeof details);
    fault_remark(v, fault.info & EVENT_VALID ? (u8)fault.info : VECTOR_DF, remark);
    log_event("vm fault name=%s vcpu=%u%s%s rip=0x%lx%s%s%s", vm->spec.name, v->base.index, first, details, rip,
              remark[0] ? " remark=\"" : "", remark, remark[0] ? "\"" : "");
    size_t used = string_length(vm->detail);
    format_text(vm->detail + used, sizeof vm->detail - used, "%s", first);
}

void fault_explain(struct vmx_vcpu *v)
{
    if (!v->last.stopped || v->debug)
        return;
    if (v->base.vm->reason == VM_STOP_TRIPLE_FAULT)
        explain_triple_fault(v);
    else if (v->base.vm->reason == VM_STOP_UNSUPPORTED_INSTRUCTION)
        explain_instruction(v);
}
