/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The circle: prepare events, enter, handle the exit, apply the outcome. Everything else hangs off it.
 * Root operation, interrupts off, the vCPU's VMCS current on this CPU. SDM 3C 23.3 "Introduction to VMX Operation".
 */
#include "arch/x86/cpu.h"
#include "kernel/log.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "vmx/apicv.h"
#include "vmx/check/explain.h"
#include "vmx/entry.h"
#include "vmx/event.h"
#include "vmx/exit/exit.h"
#include "vmx/load.h"
#include "vmx/nested/inner.h"
#include "vmx/points.h"
#include "vmx/report/debug.h"
#include "vmx/report/fault.h"
#include "vmx/vcpu.h"

_Static_assert((u32)OUTCOME_SKIP == TRACE_SKIP && (u32)OUTCOME_RESUME == TRACE_RESUME &&
                   (u32)OUTCOME_SKIP_DECODED == TRACE_SKIP_DECODED && (u32)OUTCOME_STOP == TRACE_STOP,
               "a record's action is the outcome");

/* The vCPU gets this CPU: the time in its guest and its exits counts from here. */
static void record_enter(const struct vmx_vcpu *v)
{
    struct trace_record *record = trace_begin(v->base.trace_tag);

    record->cause = TRACE_ENTER;
    record->rip = vmcs_read(GUEST_RIP);
    record->detail = v->base.slice_end_tsc - record->tsc;
    if (UNLIKELY(nested_is_inside(v)))
        record->action = TRACE_TO_INNER;
}

/* The guest is left, for a while or for good. */
static COLD void record_leave(void)
{
    struct trace_record *record = trace_last();

    record->entry_tsc = cpu_tsc_low();
    if (record->action != TRACE_STOP)
        record->action = TRACE_LEFT;
}

/* A vCPU in HLT sleeps here while its CPU has nothing else to do. The sleep is no part of the exit. */
static ALWAYS_INLINE bool sleep_in_halt(struct vmx_vcpu *v)
{
    record_leave();
    if (!sched_halt(&v->base))
        return false;
    record_enter(v);
    return true;
}

/*
 * `nested`, here and below, is a constant in all uses, so that a vCPU without nested=on does not even ask which of its
 * two levels runs.
 */

/* Does what the vCPU's requests ask for, and returns them. */
static ALWAYS_INLINE u32 serve_requests(struct vmx_vcpu *v, bool nested)
{
    struct vcpu *vcpu = &v->base;
    u32 requests = __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_SEQ_CST);

    if (requests & VCPU_REQUEST_DEADLINE)
        sched_update_deadline(vcpu);
    if (UNLIKELY(vcpu->halted) && v->apicv)
        vmx_apicv_prepare(v);
    if (nested && requests & VCPU_REQUEST_EVENT && v->nested->inside && !inner_prepare_events(v))
        return VCPU_REQUEST_RESCHEDULE;
    if (requests & VCPU_REQUEST_EVENT && !(nested && v->nested->inside))
        vmx_event_prepare(v);
    return requests;
}

/* An INIT that came, too, is taken in the next turn, which it then gets. */
static ALWAYS_INLINE bool must_leave(struct vmx_vcpu *v, u32 requests)
{
    if (LIKELY(!(requests & VCPU_REQUEST_RESCHEDULE)))
        return false;
    vcpu_request(&v->base, requests & VCPU_REQUEST_INIT);
    return true;
}

static ALWAYS_INLINE bool follows_init(const struct vmx_vcpu *v)
{
    return UNLIKELY(__atomic_load_n(&v->base.sipi, __ATOMIC_SEQ_CST) != VCPU_RUNS);
}

/*
 * The vCPU is in HLT unless an event has ended it, or INIT makes it wait for SIPI: sleeps until it goes on. False:
 * leave the guest. (The debugger begins anew with a vCPU that was reset, and does so when it is entered from outside.)
 */
static ALWAYS_INLINE bool sleep_until_event(struct vmx_vcpu *v, bool nested)
{
    for (;;) {
        if (follows_init(v)) {
            if (v->debug)
                return false;
            (void)vmx_vcpu_take_sipi(v);
        }
        if (!v->base.halted)
            return true;
        if (!sleep_in_halt(v) || must_leave(v, serve_requests(v, nested)))
            return false;
    }
}

static NOINLINE bool wait_in_halt(struct vmx_vcpu *v)
{
    return sleep_until_event(v, false);
}

/*
 * Blocking by STI or MOV SS matters only to an event that is about to be delivered or waits for its window, so it is
 * ended only then: else the guest's next instruction ends it. (With nested=on others can tell: skip_nested().) A new
 * deadline alone delivers nothing. False: leave the guest.
 */
static ALWAYS_INLINE bool prepare_as_requested(struct vmx_vcpu *v, enum outcome last, bool nested)
{
    if (last != OUTCOME_RESUME && v->base.requests_or_windows != VCPU_REQUEST_DEADLINE)
        vmx_event_end_blocking();
    u32 requests = serve_requests(v, nested);
    if (must_leave(v, requests))
        return false;
    return LIKELY(!(requests & (VCPU_REQUEST_HALT | VCPU_REQUEST_INIT))) ||
           (nested ? sleep_until_event(v, true) : wait_in_halt(v));
}

static NOINLINE bool prepare_with_requests(struct vmx_vcpu *v, enum outcome last)
{
    return prepare_as_requested(v, last, false);
}

static COLD void exit_at_once(void)
{
    vmcs_write(PREEMPTION_TIMER_VALUE, 0);
}

/*
 * SDM 3C 25.5.1 "VMX-Preemption Timer": it counts down in the guest only, so each entry gets what is left by the TSC. A
 * deadline to come is at most a slice away, so 32 bits hold that. One may have passed long ago: firmware, or a
 * hypervisor below us, may have had the CPU for seconds. (Forced inline, gcc would take what follows in the circle for
 * cold code.)
 */
static inline void arm_preemption_timer(const struct vmx_vcpu *v, bool nested)
{
    u64 now = cpu_tsc();
    u64 left;

    trace_last()->entry_tsc = (u32)now;
    if (UNLIKELY(!vmx_features.has_timer))
        return;
    if (UNLIKELY(__builtin_sub_overflow(nested ? inner_deadline(v) : v->base.deadline_tsc, now, &left)))
        exit_at_once();
    else
        vmcs_write(PREEMPTION_TIMER_VALUE, (u32)left >> vmx_features.timer_shift);
}

/*
 * Everything that the next entry needs; `last`: what the last exit came to. What is rare between two entries is a
 * request. False: leave the guest.
 */
static inline bool prepare(struct vmx_vcpu *v, enum outcome last)
{
    if (UNLIKELY(v->base.requests_or_windows) && !prepare_with_requests(v, last))
        return false;
    arm_preemption_timer(v, false);
    return true;
}

static NOINLINE bool prepare_nested_with_requests(struct vmx_vcpu *v, enum outcome last)
{
    return prepare_as_requested(v, last, true);
}

static inline bool prepare_nested(struct vmx_vcpu *v, enum outcome last)
{
    if (v->base.requests_or_windows && !prepare_nested_with_requests(v, last))
        return false;
    if (v->nested->inside)
        shadow_prepare(&v->nested->shadow);
    arm_preemption_timer(v, true);
    return true;
}

/*
 * TF asks for a debug trap after the instruction (SDM 3C 24.4.2 "Guest Non-Register State"), and so may breakpoints. RF
 * was for the instruction that is done (SDM 3B 17.3.1.1 "Instruction-Breakpoint Exception Condition"); an exit in the
 * middle of one has set it (SDM 3C 27.3.3 "Saving RIP, RSP, and RFLAGS").
 */
static COLD void skip_flagged(struct vmx_vcpu *v, u64 rflags)
{
    if (rflags & RFLAGS_RF)
        vmcs_write(GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    (void)vmx_points_finish(v, rflags & RFLAGS_TF);
}

/*
 * The instruction that caused the exit is done. SDM 3C 27.2.4 "Information for VM Exits Due to Instruction Execution".
 * Outside 64-bit mode RIP may leave 32 bits here: entry_failure() in exit.c wraps it.
 */
static inline void skip_instruction(struct vmx_vcpu *v, u64 next_rip)
{
    vmcs_write(GUEST_RIP, next_rip);
    u64 rflags = vmcs_read(GUEST_RFLAGS);
    if (UNLIKELY(rflags & v->end_flags))
        skip_flagged(v, rflags);
}

/*
 * The instruction has ended what STI or MOV SS before it block: of a guest hypervisor an entry may be next, of an inner
 * guest an exit, and both tell. SDM 3A 6.8.3 "Masking Exceptions and Interrupts When Switching Stacks"
 */
static inline void skip_nested(struct vmx_vcpu *v, u64 next_rip)
{
    skip_instruction(v, next_rip);
    vmx_event_end_blocking();
}

static ALWAYS_INLINE enum outcome handle_exit(struct vmx_vcpu *v, bool nested)
{
    struct trace_record *record = trace_begin(v->base.trace_tag);
    u64 reason = vmcs_read(EXIT_REASON);
    u64 rip = record->rip = vmcs_read(GUEST_RIP);

    record->cause = (u8)reason;
    bool inside = nested && v->nested->inside;
    enum outcome outcome = inside ? inner_exit(v, record, reason) : vmx_exit_handle(v, record, reason);
    if (outcome == OUTCOME_SKIP) {
        (nested ? skip_nested : skip_instruction)(v, rip + vmcs_read(EXIT_INSTRUCTION_LENGTH));
        return outcome;
    }
    record->action = (u8)outcome; /* of a new record it is that of OUTCOME_SKIP */
    if (nested && outcome == OUTCOME_RESUME && inside != v->nested->inside)
        record->action = inside ? TRACE_TO_HYPERVISOR : TRACE_TO_INNER;
    if (outcome == OUTCOME_SKIP_DECODED)
        (nested ? skip_nested : skip_instruction)(v, rip + v->skip_bytes);
    return outcome;
}

/* SDM 3C 30.2 "Conventions": without a current VMCS there is no place for an error number. */
static COLD void entry_failed(struct vmx_vcpu *v)
{
    enum explain_failure how = vmcs_current().raw == VMCS_NONE ? EXPLAIN_VMFAIL_INVALID : EXPLAIN_VMFAIL_VALID;
    u32 error = how == EXPLAIN_VMFAIL_VALID ? vmcs_read(INSTRUCTION_ERROR) : 0;

    trace_event(TRACE_ENTRY_FAILED, &v->base, error);
    v->failure = (struct vmx_failure){true, how, error, vmcs_current().raw};
    vm_stop(v->base.vm, VM_STOP_ENTRY_FAILURE, "error=%u what=\"%s\"", error,
            how == EXPLAIN_VMFAIL_VALID ? explain_error_name(error) : "VMfailInvalid: no current VMCS");
}

/*
 * False: an entry failed. `guarded` is a constant in both uses, so that a CPU that needs no guards does not even ask.
 */
static ALWAYS_INLINE bool circle(struct vmx_vcpu *v, bool guarded)
{
    enum outcome outcome = OUTCOME_RESUME;

    while (prepare(v, outcome)) {
        if (guarded) {
            if (UNLIKELY(!vmx_run_guarded(v)))
                return false;
        } else if (UNLIKELY(!vmx_run_guest(v))) {
            return false;
        }
        v->launched = true;
        outcome = handle_exit(v, false);
        if (outcome == OUTCOME_STOP)
            break;
    }
    return true;
}

/* The guest may be a hypervisor: what runs is the guest, or its inner guest. */
static NOINLINE bool circle_nested(struct vmx_vcpu *v, bool guarded)
{
    enum outcome outcome = OUTCOME_RESUME;

    while (prepare_nested(v, outcome)) {
        if (UNLIKELY(guarded)) {
            if (UNLIKELY(!vmx_run_guarded(v)))
                return false;
        } else if (UNLIKELY(!vmx_run_guest(v))) {
            return false;
        }
        v->launched = true;
        outcome = handle_exit(v, true);
        if (outcome == OUTCOME_STOP)
            break;
    }
    return true;
}

static NOINLINE bool circle_guarded(struct vmx_vcpu *v)
{
    return circle(v, true);
}

void virt_vcpu_run(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    bool guarded = vmx_features.speculation.acts & SPECULATION_AT_ENTRY_OR_EXIT;

    if (follows_init(v)) {
        if (!vmx_vcpu_take_sipi(v))
            return;
        if (v->debug)
            vmx_debug_begin_anew(v);
    }
    vmx_load(v);
    if (!v->launched)
        vmcs_write(HOST_RIP, (u64)(uintptr_t)(guarded ? vmx_exit_guarded : vmx_exit_entry));
    record_enter(v);
    vmx_event_take_back(v);
    if (UNLIKELY(v->debug))
        vmx_debug_enter(v);
    /* If it woke for an interrupt that is gone again, it is still in HLT. */
    vcpu_request(vcpu, vcpu->halted ? VCPU_REQUEST_EVENT | VCPU_REQUEST_HALT : VCPU_REQUEST_EVENT);
    bool entered;
    if (UNLIKELY(v->nested))
        entered = circle_nested(v, guarded);
    else
        entered = UNLIKELY(guarded) ? circle_guarded(v) : circle(v, false);
    if (UNLIKELY(!entered)) {
        entry_failed(v);
        return;
    }
    if (UNLIKELY(vcpu->waits_for_console)) /* with interrupts off none would be taken: it would wake for nothing */
        vcpu->waits_for_console = vmcs_read(GUEST_RFLAGS) & RFLAGS_IF;
    record_leave();
    if (UNLIKELY(trace_last()->action == TRACE_STOP))
        fault_note(v); /* the report waits for its turns, and others' exits push these records out */
}
