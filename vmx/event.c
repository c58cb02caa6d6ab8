/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The choice of the event to inject and its writing into the VMCS. Current VMCS, interrupts off.
 * SDM 3A 6.9 "Prioritization of Concurrent Events"; 3C 26.5 "Event Injection", 27.2.3 "Information for VM Exits
 * During Event Delivery".
 */
#include "vmx/event.h"
#include "arch/x86/quirks.h"
#include "arch/x86/regs.h"
#include "kernel/trace/trace.h"
#include "vmx/apicv.h"

/* SDM 3A 6.13 "Error Code": #DF #TS #NP #SS #GP #PF #AC. */
static bool has_error_code(u8 vector)
{
    return vector < 32 && (BIT(vector) & (BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17)));
}

void vmx_inject_exception(struct vmx_vcpu *v, u8 vector, u32 error_code)
{
    /* Real mode delivers no error codes, and VM entry insists on that: SDM 3C 26.2.1.3. */
    bool error = has_error_code(vector) && (vmcs_read(GUEST_CR0) & CR0_PE);

    v->exception = (struct vmx_event){
        .info = EVENT_VALID | EVENT_TYPE_EXCEPTION << 8 | (error ? EVENT_HAS_ERROR : 0) | vector,
        .error_code = error_code,
    };
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
}

/* SDM 3A 6.15 "Exception and Interrupt Reference", table 6-4 "Interrupt and Exception Classes" */
#define CONTRIBUTORY (BIT(VECTOR_DE) | BIT(VECTOR_TS) | BIT(VECTOR_NP) | BIT(VECTOR_SS) | BIT(VECTOR_GP))

/* Table 6-5 "Conditions for Generating a Double Fault" */
bool vmx_inject_nested(struct vmx_vcpu *v, u32 first, u8 vector, u32 error_code)
{
    bool is_exception = first & EVENT_VALID && EVENT_TYPE(first) == EVENT_TYPE_EXCEPTION;
    u64 in_delivery = is_exception ? BIT((u8)first & 31) : 0;
    bool contributory = BIT(vector) & CONTRIBUTORY;
    bool page_fault = vector == VECTOR_PF;

    if (in_delivery & BIT(VECTOR_DF) && (contributory || page_fault))
        return false;
    if ((in_delivery & CONTRIBUTORY && contributory) || (in_delivery & BIT(VECTOR_PF) && (contributory || page_fault)))
        vmx_inject_exception(v, VECTOR_DF, 0);
    else
        vmx_inject_exception(v, vector, error_code);
    return true;
}

void vmx_event_save_interrupted(struct vmx_vcpu *v)
{
    u32 info = vmcs_read(IDT_VECTORING_INFO);
    if (LIKELY(!(info & EVENT_VALID)))
        return;
    v->reinject.info = info & ~0x1000u; /* bit 12 is undefined here and reserved there */
    v->reinject.error_code = info & EVENT_HAS_ERROR ? vmcs_read(IDT_VECTORING_ERROR_CODE) : 0;
    v->reinject.length = vmcs_read(EXIT_INSTRUCTION_LENGTH);
    /* An NMI whose delivery was interrupted has not happened yet: SDM 3C 27.1, blocking by NMI was set by its
     * delivery. */
    if (EVENT_TYPE(info) == EVENT_TYPE_NMI)
        vmcs_write(GUEST_INTERRUPTIBILITY, vmcs_read(GUEST_INTERRUPTIBILITY) & ~INTERRUPTIBILITY_NMI);
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
}

/* SDM 3C 27.2.1 "Basic VM-Exit Information", table 27-7: IRET had ended the blocking, and is to be executed again. */
#define VIOLATION_NMI_UNBLOCKED BIT(12)

enum outcome vmx_event_run_again(struct vmx_vcpu *v, u64 qualification)
{
    bool delivery = vmcs_read(IDT_VECTORING_INFO) & EVENT_VALID;

    vmx_event_save_interrupted(v);
    if (!delivery && qualification & VIOLATION_NMI_UNBLOCKED)
        vmcs_write(GUEST_INTERRUPTIBILITY, vmcs_read(GUEST_INTERRUPTIBILITY) | INTERRUPTIBILITY_NMI);
    return OUTCOME_RESUME;
}

void vmx_event_take_back(struct vmx_vcpu *v)
{
    u32 info = vmcs_read(ENTRY_INTERRUPTION_INFO);

    if (LIKELY(!(info & EVENT_VALID)))
        return;
    v->reinject = (struct vmx_event){info, vmcs_read(ENTRY_EXCEPTION_ERROR_CODE), vmcs_read(ENTRY_INSTRUCTION_LENGTH)};
    vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
}

static void write_event(struct vmx_vcpu *v, const struct vmx_event *event)
{
    trace_event(TRACE_INJECT, &v->base, event->info);
    v->base.injected++;
    vmcs_write(ENTRY_INTERRUPTION_INFO, event->info);
    if (event->info & EVENT_HAS_ERROR)
        vmcs_write(ENTRY_EXCEPTION_ERROR_CODE, event->error_code);
    if (EVENT_TYPE(event->info) >= EVENT_TYPE_SOFT_INT)
        vmcs_write(ENTRY_INSTRUCTION_LENGTH, event->length);
}

static NOINLINE void set_windows(struct vmx_vcpu *v, u32 windows)
{
    u32 controls = vmcs_read(PROC_CONTROLS) & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);

    vmcs_write(PROC_CONTROLS, controls | (windows & ~(u32)EVENT_TRAP_FIRST));
    v->base.windows = windows;
}

/* The INTA cycle changes the controller, so it needs the lock of a VM with several vCPUs. */
u8 vmx_event_acknowledge(struct vmx_vcpu *v)
{
    struct vm *vm = v->base.vm;
    const struct cpu_apic *apic = &v->base.apic;

    vm_lock(vm);
    bool extint = *apic->extint && *apic->intr;
    u8 vector = extint ? vm->intc.acknowledge(vm->intc.device) : apic->ops->acknowledge(apic->device);
    vm_unlock(vm);
    return vector;
}

/* extint: it is the 8259A's. */
static ALWAYS_INLINE void inject_external(struct vmx_vcpu *v, bool extint)
{
    const struct vm *vm = v->base.vm;
    bool alone = LIKELY(vm->spec.cpus == 1) && LIKELY(extint);
    u32 vector = alone ? vm->intc.acknowledge(vm->intc.device) : vmx_event_acknowledge(v);

    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | vector);
    v->base.injected++;
    trace_last()->action = UNLIKELY(vector < 16) ? TRACE_DELIVER_LOW : (u8)vector;
    v->base.halted = false;
    if (UNLIKELY(vm_interrupt_pending(&v->base))) /* there are more */
        set_windows(v, v->base.windows | PROC_INTERRUPT_WINDOW);
}

void vmx_event_end_blocking(void)
{
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

    if (blocking & INTERRUPTIBILITY_STI_MOV_SS)
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking & ~INTERRUPTIBILITY_STI_MOV_SS);
}

void vmx_event_trap_first(struct vmx_vcpu *v)
{
    v->base.windows |= EVENT_TRAP_FIRST;
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
}

/*
 * A fault's return address is its instruction, which a breakpoint at it must not meet again: the flags that a fault
 * pushes have RF. VM entry pushes RF as the guest has it. Not for traps, nor for #DB and aborts. SDM 3B 17.3.1.1
 * "Instruction-Breakpoint Exception Condition", 3C 26.5.1.1 "Details of Vectored-Event Injection".
 */
void vmx_event_set_resume_flag(const struct vmx_event *event)
{
    const u64 others = BIT(VECTOR_DB) | BIT(VECTOR_BP) | BIT(VECTOR_OF) | BIT(VECTOR_DF) | BIT(VECTOR_MC);

    if (EVENT_TYPE(event->info) == EVENT_TYPE_EXCEPTION && !(others >> (event->info & 0x1f) & 1))
        vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) | RFLAGS_RF);
}

/*
 * An entry that delivers an event ends the blocking by itself (SDM 3C 26.6.1 "Interruptibility State"), but is refused
 * with RFLAGS.TF set, blocking and no single-step trap pending: as after a #DB in the shadow of MOV SS.
 */
static COLD void inject_other(struct vmx_vcpu *v, enum event_kind kind)
{
    switch (kind) {
    case EVENT_NONE:
        return;
    case EVENT_REINJECT:
        write_event(v, &v->reinject);
        v->reinject.info = 0;
        v->exception.info = 0; /* it comes again when its instruction runs again */
        break;
    case EVENT_EXCEPTION:
        vmx_event_set_resume_flag(&v->exception);
        write_event(v, &v->exception);
        v->exception.info = 0;
        break;
    default:
        write_event(v, &(struct vmx_event){.info = EVENT_VALID | EVENT_TYPE_NMI << 8 | VECTOR_NMI});
        __atomic_store_n(&v->base.nmi_waiting, false, __ATOMIC_SEQ_CST);
        break;
    }
    vmx_event_end_blocking();
    v->base.halted = false;
}

void vmx_event_follow_nmi(struct vmx_vcpu *v)
{
    v->nmi_in_service = true;
    set_windows(v, v->base.windows | PROC_NMI_WINDOW);
}

/*
 * QUIRK_NMI_BLOCKING: the CPU keeps "blocking by NMI", and VM entry sets it but does not clear it: a vCPU that enters
 * after one that was in its NMI handler is blocked, too, and if it waits for an NMI, for ever. So there an NMI is
 * followed up to its IRET, by the window exit, and blocking without an NMI in service is not the vCPU's own.
 */
static void end_foreign_blocking(struct vmx_vcpu *v)
{
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

    if (blocking & INTERRUPTIBILITY_NMI && !v->nmi_in_service)
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking & ~INTERRUPTIBILITY_NMI);
}

void vmx_event_choose_of(struct vmx_vcpu *v, bool nmi, bool external)
{
    if (quirks_have(QUIRK_NMI_BLOCKING))
        end_foreign_blocking(v);
    struct event_inputs in = {
        .reinject = v->reinject.info & EVENT_VALID,
        .exception = v->exception.info & EVENT_VALID,
        .nmi = nmi,
        .external = external,
        .trap = v->base.windows & EVENT_TRAP_FIRST && vmcs_read(GUEST_PENDING_DEBUG) & PENDING_DEBUG_VALID,
        .interrupt_flag = vmcs_read(GUEST_RFLAGS) & RFLAGS_IF,
        .interruptibility = vmcs_read(GUEST_INTERRUPTIBILITY),
    };
    struct event_choice choice = vmx_event_choose(&in);

    if (quirks_have(QUIRK_NMI_BLOCKING) && (v->nmi_in_service |= choice.kind == EVENT_NMI))
        choice.windows |= PROC_NMI_WINDOW;
    if (choice.windows != v->base.windows)
        set_windows(v, choice.windows);
    if (choice.kind == EVENT_EXTERNAL)
        inject_external(v, false);
    else
        inject_other(v, choice.kind);
}

/* Most often there is nothing but an interrupt, which can be delivered: no need to choose. */
void vmx_event_prepare(struct vmx_vcpu *v)
{
    if (UNLIKELY(posted_news(v->base.posted)))
        vmx_apicv_prepare(v);
    const struct cpu_apic *apic = &v->base.apic;
    bool extint = *apic->intr && *apic->extint;
    bool external = extint || *apic->pending >= 0;
    u32 others = v->reinject.info | v->exception.info | v->base.windows | v->base.nmi_waiting;

    if (others == 0) {
        if (!external)
            return;
        if (LIKELY(vmcs_read(GUEST_RFLAGS) & RFLAGS_IF) &&
            LIKELY(!(vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_STI_MOV_SS))) {
            inject_external(v, extint);
            return;
        }
    }
    vmx_event_choose_of(v, v->base.nmi_waiting, external);
}
