/*
 * The choice of the event to inject and its writing into the VMCS. Current VMCS, interrupts off.
 * SDM 3A 6.9 "Prioritization of Concurrent Events"; 3C 26.6 "Event Injection", 27.2.3 "Information About NMI Windows"
 * aside.
 */
#include "vmx/event.h"
#include "arch/x86/regs.h"

struct event_choice vmx_event_choose(const struct event_inputs *in)
{
    struct event_choice choice = {.kind = EVENT_NONE};
    bool nmi_blocked = in->interruptibility & (INTERRUPTIBILITY_NMI | INTERRUPTIBILITY_STI_MOV_SS);
    bool external_blocked = !in->interrupt_flag || (in->interruptibility & INTERRUPTIBILITY_STI_MOV_SS);

    if (in->reinject)
        choice.kind = EVENT_REINJECT;
    else if (in->exception)
        choice.kind = EVENT_EXCEPTION;
    else if (in->nmi && !nmi_blocked)
        choice.kind = EVENT_NMI;
    else if (in->external && !external_blocked)
        choice.kind = EVENT_EXTERNAL;
    choice.nmi_window = in->nmi && choice.kind != EVENT_NMI;
    choice.interrupt_window = in->external && choice.kind != EVENT_EXTERNAL;
    return choice;
}

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

void vmx_event_save_interrupted(struct vmx_vcpu *v)
{
    u32 info = vmcs_read(IDT_VECTORING_INFO);
    if (LIKELY(!(info & EVENT_VALID)))
        return;
    v->reinject.info = info & ~0x1000u; /* bit 12 is undefined here and reserved there */
    v->reinject.error_code = info & EVENT_HAS_ERROR ? vmcs_read(IDT_VECTORING_ERROR_CODE) : 0;
    v->reinject.length = vmcs_read(EXIT_INSTRUCTION_LENGTH);
    /* An NMI whose delivery was interrupted has not happened yet: SDM 3C 27.2.4, blocking by NMI was set by its
     * delivery. */
    if (EVENT_TYPE(info) == EVENT_TYPE_NMI)
        vmcs_write(GUEST_INTERRUPTIBILITY, vmcs_read(GUEST_INTERRUPTIBILITY) & ~INTERRUPTIBILITY_NMI);
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
}

static void write_event(const struct vmx_event *event)
{
    vmcs_write(ENTRY_INTERRUPTION_INFO, event->info);
    if (event->info & EVENT_HAS_ERROR)
        vmcs_write(ENTRY_EXCEPTION_ERROR_CODE, event->error_code);
    if (EVENT_TYPE(event->info) >= EVENT_TYPE_SOFT_INT)
        vmcs_write(ENTRY_INSTRUCTION_LENGTH, event->length);
}

static void set_windows(struct vmx_vcpu *v, const struct event_choice *choice)
{
    bool wanted = choice->interrupt_window || choice->nmi_window;
    if (LIKELY(!wanted && !v->window_open))
        return;
    u32 controls = vmcs_read(PROC_CONTROLS) & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);
    if (choice->interrupt_window)
        controls |= PROC_INTERRUPT_WINDOW;
    if (choice->nmi_window)
        controls |= PROC_NMI_WINDOW;
    vmcs_write(PROC_CONTROLS, controls);
    v->window_open = wanted;
}

/* The INTA cycle changes the controller, so it needs the VM's lock. */
static void inject_external(struct vmx_vcpu *v)
{
    struct vm *vm = v->base.vm;

    vm_lock(vm);
    u8 vector = vm->intc.acknowledge(vm->intc.device);
    bool more = vm->intc.pending(vm->intc.device);
    vm_unlock(vm);
    vmcs_write(ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | vector);
    if (UNLIKELY(more))
        set_windows(v, &(struct event_choice){.interrupt_window = true});
}

void vmx_event_prepare(struct vmx_vcpu *v)
{
    struct vm *vm = v->base.vm;
    struct event_inputs in = {
        .reinject = v->reinject.info & EVENT_VALID,
        .exception = v->exception.info & EVENT_VALID,
        .nmi = v->nmi_pending,
        .external = v->base.index == 0 && vm->intc.pending(vm->intc.device),
    };
    if (LIKELY(!in.reinject && !in.exception && !in.nmi && !in.external && !v->window_open))
        return;
    in.interrupt_flag = vmcs_read(GUEST_RFLAGS) & RFLAGS_IF;
    in.interruptibility = vmcs_read(GUEST_INTERRUPTIBILITY);

    struct event_choice choice = vmx_event_choose(&in);
    set_windows(v, &choice);
    switch (choice.kind) {
    case EVENT_NONE:
        return;
    case EVENT_REINJECT:
        write_event(&v->reinject);
        v->reinject.info = 0;
        v->exception.info = 0; /* it comes again when its instruction runs again */
        break;
    case EVENT_EXCEPTION:
        write_event(&v->exception);
        v->exception.info = 0;
        break;
    case EVENT_NMI:
        write_event(&(struct vmx_event){.info = EVENT_VALID | EVENT_TYPE_NMI << 8 | VECTOR_NMI});
        v->nmi_pending = false;
        break;
    case EVENT_EXTERNAL:
        inject_external(v);
        break;
    }
    v->base.halted = false;
}
