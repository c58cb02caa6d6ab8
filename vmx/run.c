/*
 * The circle: prepare events, enter, handle the exit, apply the outcome. Everything else hangs off it.
 * Root operation, interrupts off, the vCPU's VMCS current on this CPU. SDM 3C 23.3 "Introduction to VMX Operation".
 */
#include "arch/x86/cpu.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "kernel/trace.h"
#include "vmx/apicv.h"
#include "vmx/event.h"
#include "vmx/explain.h"
#include "vmx/load.h"
#include "vmx/vcpu.h"

/* entry.asm. Enters the guest; returns when vmx_after_exit has returned (0), or an entry failed (1: VMfailValid, 2:
 * VMfailInvalid). */
u32 vmx_enter_guest(struct vmx_vcpu *v);
/* entry.asm. Enters again after an exit, which begins afresh on the stack of vmx_enter_guest. The registers that
 * functions keep must be the guest's: this file is compiled without them. */
NORETURN void vmx_resume_guest(struct vmx_vcpu *v);
/*
 * What vmx_enter_guest has on top of its stack: by the calling convention that makes it an argument of vmx_after_exit,
 * which so needs no place of its own for `v`. Constant: the next exit finds it there again.
 */
struct host_frame {
    struct vmx_vcpu *v;
    u64 r15, r14;
};
u32 vmx_after_exit(struct vmx_vcpu *v, const struct host_frame frame);

_Static_assert((u32)OUTCOME_SKIP == TRACE_SKIP && (u32)OUTCOME_RESUME == TRACE_RESUME &&
                   (u32)OUTCOME_SKIP_DECODED == TRACE_SKIP_DECODED && (u32)OUTCOME_STOP == TRACE_STOP,
               "a record's action is the outcome");

/* Without a preemption timer there is no field to arm: a request that never ends keeps such machines off the short
 * path. */
static u32 standing_requests(void)
{
    return vmx_machine.has_timer ? 0 : VCPU_REQUEST_NO_TIMER;
}

/*
 * SDM 3C 25.5.1 "VMX-Preemption Timer": it counts down in the guest only, so each entry gets what is left by the TSC.
 * A tick less makes no difference, for the exit takes longer. False: the deadline has passed, however long ago:
 * firmware, or a hypervisor below us, may have had the CPU for seconds.
 */
static ALWAYS_INLINE bool time_is_left(const struct vmx_vcpu *v, struct trace_record *record, u32 *ticks)
{
    return cpu_tsc_is_before(&v->base.deadline_tsc, &record->entry_tsc, ticks);
}

static void arm_preemption_timer(const struct vmx_vcpu *v)
{
    u32 ticks;
    bool left = time_is_left(v, trace_last(), &ticks);
    vmcs_write(PREEMPTION_TIMER_VALUE, left ? ticks >> vmx_machine.timer_shift : 0);
}

static COLD NORETURN void enter_expired(struct vmx_vcpu *v)
{
    vmcs_write(PREEMPTION_TIMER_VALUE, 0);
    vmx_resume_guest(v);
}

/* The end of each way back into the guest. */
static ALWAYS_INLINE NORETURN void enter(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 ticks;

    if (UNLIKELY(!time_is_left(v, record, &ticks)))
        enter_expired(v);
    vmcs_write(PREEMPTION_TIMER_VALUE, ticks >> vmx_machine.timer_shift);
    vmx_resume_guest(v);
}

/* False: leave the guest. */
static COLD bool serve_requests(struct vmx_vcpu *v, u32 requests)
{
    struct vcpu *vcpu = &v->base;

    vcpu_request(vcpu, standing_requests());
    if (requests & VCPU_REQUEST_DEADLINE)
        sched_update_deadline(vcpu);
    if (UNLIKELY(vcpu->halted) && v->apicv)
        vmx_apicv_prepare(v);
    if (requests & VCPU_REQUEST_EVENT)
        vmx_event_prepare(v);
    return !(requests & (VCPU_REQUEST_RESCHEDULE | VCPU_REQUEST_INIT));
}

static COLD u32 leave(void)
{
    struct trace_record *record = trace_last();

    record->entry_tsc = cpu_tsc_low();
    if (record->action != TRACE_STOP)
        record->action = TRACE_LEFT;
    return 0;
}

/* The vCPU gets this CPU: the time in its guest and its exits counts from here. */
static void record_enter(const struct vmx_vcpu *v)
{
    struct trace_record *record = trace_begin(v->base.trace_tag);

    record->cause = TRACE_ENTER;
    record->rip = vmcs_read(GUEST_RIP);
    record->detail = v->base.slice_end_tsc - record->tsc;
}

/* Any requests but the plain event. False: leave the guest. A vCPU in HLT sleeps here while its CPU has nothing else.
 */
static COLD bool prepare_with_requests(struct vmx_vcpu *v, u32 requests)
{
    struct vcpu *vcpu = &v->base;
    u32 halt = requests & VCPU_REQUEST_HALT;

    if (!serve_requests(v, requests))
        return false;
    while (halt && vcpu->halted) {
        leave(); /* the sleep is no part of the exit */
        if (!sched_halt(vcpu))
            return false;
        record_enter(v);
        if (!serve_requests(v, __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST)))
            return false;
    }
    if (vmx_machine.has_timer)
        arm_preemption_timer(v);
    else
        trace_last()->entry_tsc = cpu_tsc_low();
    return true;
}

/* What is rare between two entries. */
static NOINLINE u32 enter_with_requests(struct vmx_vcpu *v)
{
    u32 requests = __atomic_exchange_n(&v->base.requests, 0, __ATOMIC_SEQ_CST);
    if (UNLIKELY(requests != VCPU_REQUEST_EVENT)) {
        if (!prepare_with_requests(v, requests))
            return leave();
        vmx_resume_guest(v);
    }
    vmx_event_prepare(v); /* and there is a preemption timer, or a request would be standing */
    enter(v, trace_last());
}

static COLD u32 enter_skipped_with_requests(struct vmx_vcpu *v)
{
    vmx_event_end_blocking();
    return enter_with_requests(v);
}

/*
 * TF asks for a debug trap after the instruction (SDM 3C 24.4.2 "Guest Non-Register State"). RF was for the instruction
 * that is done (SDM 3B 17.3.1.1 "Instruction-Breakpoint Exception Condition"); an exit in the middle of one has set it
 * (SDM 3C 27.3.3 "Saving RIP, RSP, and RFLAGS").
 */
static COLD u32 enter_flagged(struct vmx_vcpu *v, u64 rflags)
{
    if (rflags & RFLAGS_RF)
        vmcs_write(GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    if (rflags & RFLAGS_TF)
        vmcs_write(GUEST_PENDING_DEBUG, vmcs_read(GUEST_PENDING_DEBUG) | PENDING_DEBUG_SINGLE_STEP);
    return enter_skipped_with_requests(v);
}

/*
 * The instruction that caused the exit is done. SDM 3C 27.2.4 "Information for VM Exits Due to Instruction Execution".
 * Blocking by STI or MOV SS matters only to an event or a trap that is about to be delivered or waits for its window,
 * so it is ended only then: else the guest's next instruction ends it. Outside 64-bit mode RIP may leave 32 bits here:
 * entry_failure() in exit.c wraps it.
 */
static ALWAYS_INLINE u32 enter_behind(struct vmx_vcpu *v, struct trace_record *record, u32 length)
{
    vmcs_write(GUEST_RIP, record->rip + length);
    u64 rflags = vmcs_read(GUEST_RFLAGS);
    if (UNLIKELY(rflags & (RFLAGS_TF | RFLAGS_RF)))
        return enter_flagged(v, rflags);
    if (UNLIKELY(v->base.requests_or_windows))
        return enter_skipped_with_requests(v);
    enter(v, record);
}

/* Called by entry.asm after each VM exit: handles it, and enters again unless there is a reason to leave (returns 0).
 */
u32 vmx_after_exit(struct vmx_vcpu *v, const struct host_frame frame)
{
    enum outcome outcome = vmx_exit_handle(v);
    struct trace_record *record = trace_last();

    v = frame.v; /* the same: not kept in a register meanwhile */
    if (LIKELY(outcome == OUTCOME_SKIP))
        return enter_behind(v, record, vmcs_read(EXIT_INSTRUCTION_LENGTH));
    record->action = (u8)outcome;
    if (LIKELY(outcome == OUTCOME_RESUME)) {
        if (UNLIKELY(v->base.requests))
            return enter_with_requests(v);
        enter(v, record);
    }
    if (outcome == OUTCOME_SKIP_DECODED)
        return enter_behind(v, record, v->skip_bytes);
    return leave();
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

static COLD void entry_failed(struct vmx_vcpu *v, enum explain_failure how)
{
    u32 error = how == EXPLAIN_VMFAIL_VALID ? vmcs_read(INSTRUCTION_ERROR) : 0;

    trace_event(TRACE_ENTRY_FAILED, &v->base, error);
    explain_failed_entry(v, how);
    vm_stop(v->base.vm, VM_STOP_ENTRY_FAILURE, "error=%u what=\"%s\"", error,
            how == EXPLAIN_VMFAIL_VALID ? instruction_error_name(error) : "VMfailInvalid: no current VMCS");
}

void virt_vcpu_run(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);

    if (UNLIKELY(__atomic_load_n(&vcpu->sipi, __ATOMIC_SEQ_CST) != VCPU_RUNS) && !vmx_vcpu_take_sipi(v))
        return;
    vmx_load(v);
    record_enter(v);
    vmx_event_take_back(v);
    if (UNLIKELY(v->debug))
        vmx_debug_enter(v);
    u32 requests = VCPU_REQUEST_EVENT | __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);
    if (vcpu->halted) /* it woke for an interrupt: if that is gone again, it is still in HLT */
        requests |= VCPU_REQUEST_HALT;
    if (!prepare_with_requests(v, requests)) {
        leave();
        return;
    }
    u32 failed = vmx_enter_guest(v);
    if (UNLIKELY(failed))
        entry_failed(v, (enum explain_failure)failed);
}
