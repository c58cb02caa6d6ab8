/*
 * The circle: prepare events, enter, handle the exit, apply the outcome. Everything else hangs off it.
 * Root operation, interrupts off, the vCPU's VMCS current on this CPU. SDM 3C 23.3 "Introduction to VMX Operation".
 */
#include "arch/x86/cpu.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "vmx/event.h"
#include "vmx/load.h"
#include "vmx/vcpu.h"

u32 vmx_enter_guest(struct vmx_vcpu *v);
bool vmx_after_exit(struct vmx_vcpu *v);

/* What is rare between two entries. False: leave the guest. */
static COLD bool serve_requests(struct vmx_vcpu *v)
{
    struct vcpu *vcpu = &v->base;
    u32 requests = __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);

    if (requests & VCPU_REQUEST_DEADLINE)
        sched_update_deadline(vcpu);
    if (requests & VCPU_REQUEST_EVENT)
        vmx_event_prepare(v);
    if (vm_is_stopping(vcpu->vm))
        return false;
    return !(requests & VCPU_REQUEST_RESCHEDULE) && !vcpu->halted && !vcpu->sleep_until_tsc;
}

/* SDM 3C 25.5.1 "VMX-Preemption Timer": it counts down in the guest only, so each entry gets what is left by the TSC.
 */
static ALWAYS_INLINE void arm_preemption_timer(const struct vmx_vcpu *v)
{
    s64 left = (s64)(v->base.deadline_tsc - cpu_tsc());
    u64 count = left > 0 ? (u64)left >> vmx_machine.timer_shift : 0;
    vmcs_write(PREEMPTION_TIMER_VALUE, count > UINT32_MAX ? UINT32_MAX : (u32)count);
}

static ALWAYS_INLINE bool prepare(struct vmx_vcpu *v)
{
    if (UNLIKELY(v->base.requests) && !serve_requests(v))
        return false;
    if (LIKELY(vmx_machine.has_timer))
        arm_preemption_timer(v);
    return true;
}

/*
 * The instruction that caused the exit is done. SDM 3C 27.2.4 "Information for VM Exits Due to Instruction Execution";
 * blocking by STI or MOV SS ends with it, and RFLAGS.TF asks for a debug trap after it (24.4.2 "Guest Non-Register
 * State").
 */
static ALWAYS_INLINE void skip_instruction(u32 length)
{
    u64 rip = vmcs_read(GUEST_RIP);
    u64 next = rip + length;
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);

    if (UNLIKELY((rip ^ next) >> 32) && !(vmcs_read(GUEST_CS_ACCESS) & SEGMENT_LONG))
        next = (u32)next;
    vmcs_write(GUEST_RIP, next);
    if (UNLIKELY(blocking & INTERRUPTIBILITY_STI_MOV_SS))
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking & ~INTERRUPTIBILITY_STI_MOV_SS);
    if (UNLIKELY(vmcs_read(GUEST_RFLAGS) & RFLAGS_TF))
        vmcs_write(GUEST_PENDING_DEBUG, vmcs_read(GUEST_PENDING_DEBUG) | PENDING_DEBUG_SINGLE_STEP);
}

/* Called by entry.asm after each VM exit; true: enter again. */
bool vmx_after_exit(struct vmx_vcpu *v)
{
    enum outcome outcome = vmx_exit_handle(v);

    if (LIKELY(outcome == OUTCOME_SKIP))
        skip_instruction(vmcs_read(EXIT_INSTRUCTION_LENGTH));
    else if (outcome == OUTCOME_SKIP_DECODED)
        skip_instruction(v->skip_bytes);
    else if (outcome == OUTCOME_STOP)
        return false;
    return prepare(v);
}

/* SDM 3C 30.4 "VM Instruction Error Numbers", those that an entry can give. */
static const char *instruction_error_name(u64 error)
{
    switch (error) {
    case 4:
        return "VMLAUNCH with non-clear VMCS";
    case 5:
        return "VMRESUME with non-launched VMCS";
    case 7:
        return "VM entry with invalid control field(s)";
    case 8:
        return "VM entry with invalid host-state field(s)";
    case 26:
        return "VM entry with events blocked by MOV SS";
    default:
        return "see SDM 3C 30.4";
    }
}

void virt_vcpu_run(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);

    vmx_load(v);
    vcpu_request(vcpu, VCPU_REQUEST_EVENT);
    if (!prepare(v))
        return;
    u32 failed = vmx_enter_guest(v);
    if (!failed)
        return;
    v->last_entry_error = failed == 1 ? vmcs_read(INSTRUCTION_ERROR) : 0;
    vm_stop(vcpu->vm, VM_STOP_ENTRY_FAILURE, "error=%lu what=\"%s\"", v->last_entry_error,
            failed == 1 ? instruction_error_name(v->last_entry_error) : "VMfailInvalid: no current VMCS");
}
