/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See inner.h. While an inner guest runs, struct vmx_vcpu and the current VMCS are those of the inner guest (level.h),
 * so that the handlers of exits serve it as they serve any guest.
 */
#include "vmx/nested/inner.h"
#include "arch/x86/cpu.h"
#include "arch/x86/msr.h"
#include "arch/x86/quirks.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/trace/trace.h"
#include "vmx/event.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/exit.h"
#include "vmx/exit/mmio.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/entry.h"
#include "vmx/nested/host.h"
#include "vmx/nested/insn.h"
#include "vmx/nested/level.h"
#include "vmx/nested/msrs.h"
#include "vmx/nested/operand.h"
#include "vmx/nested/route.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/nested/why.h"
#include "vmx/report/debug.h"
#include "vmx/tlb.h"

/* SDM 3D Appendix C "VMX Basic Exit Reasons" */
enum {
    REASON_EXCEPTION = 0,
    REASON_INTERRUPT = 1,
    REASON_TRIPLE_FAULT = 2,
    REASON_INIT = 3,
    REASON_INTERRUPT_WINDOW = 7,
    REASON_NMI_WINDOW = 8,
    REASON_HLT = 12,
    REASON_VMREAD = 23,
    REASON_VMWRITE = 25,
    REASON_CR = 28,
    REASON_RDMSR = 31,
    REASON_WRMSR = 32,
    REASON_MSR_LOADING = 34,
    REASON_TRAP_FLAG = 37,
    REASON_EPT_VIOLATION = 48,
    REASON_EPT_MISCONFIGURATION = 49,
    REASON_TIMER = 52,
    REASON_VMFUNC = 59,
    REASON_REFUSED = 0x80000021, /* bit 31: the entry failed, by invalid guest state */
};

enum { HLT = 1 }; /* activity state: SDM 3C 24.4.2 "Guest Non-Register State" */

static u64 get(const struct vmx_vcpu *v, enum check_field row)
{
    return vmcs12_get(v, row);
}

static u32 pin_controls(const struct vmx_vcpu *v)
{
    return (u32)get(v, FIELD_PIN_CONTROLS);
}

/* ---- the inner guest's memory, if it has EPT ---- */

/* See vmx_inner_physical. */
static bool inner_physical(const struct vmx_vcpu *v, u64 address, u32 access, bool flags, u64 *physical)
{
    struct nested *n = v->nested;
    struct shadow_fault fault = {0};
    enum shadow_result result = shadow_translate(&n->shadow, get(v, FIELD_EPT_POINTER), address, access, flags, &fault);

    if (result == SHADOW_FILLED) {
        *physical = fault.physical;
        return true;
    }
    if (flags) {
        n->owed_reason = result == SHADOW_VIOLATION ? REASON_EPT_VIOLATION : REASON_EPT_MISCONFIGURATION;
        n->owed_qualification = result == SHADOW_VIOLATION ? fault.qualification : 0;
        n->owed_physical = address;
    }
    return false;
}

/* ---- entry ---- */

/*
 * Translations of inner guests have one VPID in the CPU. They are kept for the next inner guest only if it has the same
 * VPID as the one before, in the guest hypervisor's count. SDM 3C 28.3.3.1 "Operations that Invalidate Cached Mappings"
 */
static void forget_translations(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    u16 vpid = vmcs12_proc2(v) & PROC2_VPID ? (u16)get(v, FIELD_VPID) : 0;

    if (n->stale || !vpid || vpid != n->inner_vpid)
        vmx_vcpu_flush_tlb(v);
    n->stale = false;
    n->inner_vpid = vpid;
}

/* SDM 3C 25.5.1 "VMX-Preemption Timer", 26.6.4 "VMX-Preemption Timer" */
static void start_timer(struct vmx_vcpu *v)
{
    u64 ticks = get(v, FIELD_PREEMPTION_TIMER_VALUE) << vmx_features.timer_shift;

    v->nested->timer_tsc = pin_controls(v) & PIN_PREEMPTION_TIMER ? cpu_tsc() + ticks : UINT64_MAX;
}

/* What of the guest hypervisor's state the inner guest inherits. False: the page-directory pointers have changed since
 * they were checked. */
static bool read_outer(struct vmx_vcpu *v, struct level_outer *outer)
{
    const u64 *fields = vmcs12_fields(v);
    bool pae = !(fields[FIELD_ENTRY_CONTROLS] & ENTRY_IA32E_GUEST) && fields[FIELD_GUEST_CR0] & CR0_PG &&
               fields[FIELD_GUEST_CR4] & CR4_PAE;

    outer->pat = vmcs_read(GUEST_PAT);
    outer->dr7 = vmcs_read(GUEST_DR7);
    outer->cr0_kept = vmcs_read(CR0_SHADOW) & LEVEL_CR0_KEPT;
    outer->has_pdptes = pae && !(vmcs12_proc2(v) & PROC2_EPT);
    return !outer->has_pdptes || vmx_read_pdptes(v, get(v, FIELD_GUEST_CR3), outer->pdpte);
}

/*
 * SDM 3C 26.5 "Event Injection": it goes in with the entry, before all else. Type 7 is a pending exit by the monitor
 * trap flag (26.5.2 "Injection of Pending MTF VM Exits"), for which nothing need be entered.
 */
static void take_event(struct vmx_vcpu *v)
{
    u32 info = (u32)get(v, FIELD_ENTRY_INTERRUPTION_INFO);

    v->nested->trap_pending = info & EVENT_VALID && EVENT_TYPE(info) == EVENT_TYPE_OTHER;
    if (!(info & EVENT_VALID) || v->nested->trap_pending)
        return;
    v->reinject = (struct vmx_event){info, (u32)get(v, FIELD_ENTRY_EXCEPTION_ERROR_CODE),
                                     (u32)get(v, FIELD_ENTRY_INSTRUCTION_LENGTH)};
    v->nmi_in_service |= EVENT_TYPE(info) == EVENT_TYPE_NMI;
}

/*
 * With virtual NMIs, NMIs are never blocked while an inner guest runs; else they are as the VMCS says, and an IRET does
 * not change that. SDM 3C 26.6.1 "Interruptibility State", 25.3 "Changes to Instruction Behavior in VMX Non-Root
 * Operation"
 */
static bool blocks_nmis(const struct vmx_vcpu *v)
{
    return !(pin_controls(v) & PIN_VIRTUAL_NMIS) && v->nmi_in_service;
}

/* Most often there is no event, and nobody waits for one. */
static bool is_quiet(const struct vmx_vcpu *v)
{
    u32 events = v->reinject.info | v->exception.info | v->base.windows | v->nested->trap_pending;
    u32 windows = (u32)get(v, FIELD_PROC_CONTROLS) & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);

    return !(events | windows | v->base.nmi_waiting | v->base.init_waiting) && !vm_interrupt_pending(&v->base);
}

/* The level that is entered next looks at the events before. */
static void look_for_events(struct vmx_vcpu *v)
{
    if (!is_quiet(v))
        vcpu_request(&v->base, VCPU_REQUEST_EVENT);
}

/* Of the guest hypervisor's VMCS, what has changed beside it. Blocking by NMI is host_load()'s. */
static ALWAYS_INLINE void refresh_outer(struct vmx_vcpu *v, u64 pat, bool nmis_blocked)
{
    struct nested *n = v->nested;

    if (!(get(v, FIELD_EXIT_CONTROLS) & EXIT_LOAD_PAT))
        vmcs_write(GUEST_PAT, pat);
    vmcs_write(TSC_OFFSET, v->base.tsc_offset);
    if (v->debug_used != n->debug_used) { /* by MOV DR inside, or by a debugger, which vmx_debug_go_on() serves */
        u32 proc = vmcs_read(PROC_CONTROLS);
        vmcs_write(PROC_CONTROLS, v->debug_used ? proc & ~PROC_MOV_DR_EXITING : proc | PROC_MOV_DR_EXITING);
    }
    v->nmi_in_service = false;
    if (quirks_have(QUIRK_NMI_BLOCKING) && nmis_blocked)
        vmx_event_follow_nmi(v);
}

/* The page-directory pointers were right when they were checked. */
static COLD enum outcome fail_for_pdptes(struct vmx_vcpu *v, bool launch)
{
    struct why_refusal how = {launch, true, ENTRY_FAILED_GUEST_STATE};

    why_basic(v, &how, "the page-directory-pointer-table entries have changed: another vCPU writes to them",
              "GUEST_CR3", get(v, FIELD_GUEST_CR3));
    return entry_fail_late(v, ENTRY_FAILED_GUEST_STATE, ENTRY_FAILED_PDPTE);
}

/* Those before it in the list are loaded, and stay so. */
static COLD enum outcome fail_for_msr(struct vmx_vcpu *v, bool launch, u32 entry, u32 index)
{
    struct nested *n = v->nested;
    struct why_refusal how = {launch, true, ENTRY_FAILED_MSRS};
    u64 pat = vmcs_read(GUEST_PAT);

    v->base.halted = false;
    n->timer_tsc = UINT64_MAX;
    n->guest_written = true; /* those of its VMCS are to be loaded again */
    level_swap(v);
    refresh_outer(v, pat, n->nmis_blocked);
    if (entry > MSRS_MOST)
        why_msr(v, &how, "a list has at most as many entries as IA32_VMX_MISC says: 512", entry, 0);
    else
        why_msr(v, &how, "WRMSR of this value would cause #GP", entry, index);
    return entry_fail_late(v, ENTRY_FAILED_MSRS, entry);
}

enum outcome inner_enter(struct vmx_vcpu *v, bool launch)
{
    struct nested *n = v->nested;
    u64 *fields = n->image.value;
    struct level_outer outer;

    if (UNLIKELY(v->debug))
        vmx_debug_put_off(v);
    if (!read_outer(v, &outer))
        return fail_for_pdptes(v, launch);
    if (UNLIKELY(!n->made))
        level_make(v);
    n->is_mirrored = false;
    n->debug_used = v->debug_used;
    n->nmis_blocked =
        quirks_have(QUIRK_NMI_BLOCKING) ? v->nmi_in_service : vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI;
    level_swap(v);
    v->inner_physical = vmcs12_proc2(v) & PROC2_EPT ? inner_physical : NULL;
    start_timer(v);
    level_write_guest(v, &outer);
    level_write_controls(v);
    forget_translations(v);
    u32 msrs = (u32)fields[FIELD_ENTRY_MSR_LOAD_COUNT], index;
    u32 entry = msrs_load(v, fields[FIELD_ENTRY_MSR_LOAD_ADDRESS], msrs, &index);
    if (entry)
        return fail_for_msr(v, launch, entry, index);
    if (UNLIKELY(msrs)) /* one may have been the TSC */
        level_write_tsc_offset(v);
    fields[FIELD_GUEST_CR0] = (fields[FIELD_GUEST_CR0] & LEVEL_CR0_LOADED) | outer.cr0_kept;
    take_event(v);
    if (UNLIKELY(v->nmi_in_service) && quirks_have(QUIRK_NMI_BLOCKING))
        vmx_event_follow_nmi(v);
    n->inner_nmis_blocked = blocks_nmis(v);
    v->base.halted_masked =
        !(fields[FIELD_GUEST_RFLAGS] & RFLAGS_IF) && !(fields[FIELD_PIN_CONTROLS] & PIN_EXTERNAL_INTERRUPT_EXITING);
    if (UNLIKELY(fields[FIELD_GUEST_PENDING_DEBUG] & PENDING_DEBUG_VALID))
        vmx_event_trap_first(v);
    n->by_launch = launch;
    n->untried = true;
    if (UNLIKELY(v->debug))
        vmx_debug_go_on(v);
    if (UNLIKELY(v->base.halted))
        vcpu_request(&v->base, VCPU_REQUEST_EVENT | VCPU_REQUEST_HALT);
    else
        look_for_events(v);
    return OUTCOME_RESUME;
}

/* ---- exit ---- */

/* What a VM exit tells of itself. Fields that it does not define keep what they hold: SDM 3C 27.2 "Recording VM-Exit
 * Information and Updating VM-Entry Control Fields". */
static void record_exit(struct vmx_vcpu *v, u32 reason, u64 qualification, u32 interruption)
{
    vmcs12_set(v, FIELD_EXIT_REASON, reason);
    vmcs12_set(v, FIELD_EXIT_QUALIFICATION, qualification);
    vmcs12_set(v, FIELD_EXIT_INTERRUPTION_INFO, interruption);
    vmcs12_set(v, FIELD_IDT_VECTORING_INFO, 0);
}

#define STORE(name) vmcs_store_raw(ENCODING_##name, &fields[FIELD_##name])
static void record_cpu_exit(struct vmx_vcpu *v, u32 reason, u64 qualification)
{
    u64 *fields = v->nested->image.value;

    fields[FIELD_EXIT_REASON] = reason;
    fields[FIELD_EXIT_QUALIFICATION] = qualification;
    STORE(EXIT_INTERRUPTION_INFO);
    STORE(EXIT_INTERRUPTION_ERROR_CODE);
    STORE(IDT_VECTORING_INFO);
    STORE(IDT_VECTORING_ERROR_CODE);
    STORE(EXIT_INSTRUCTION_LENGTH);
    STORE(EXIT_INSTRUCTION_INFO);
    STORE(GUEST_LINEAR_ADDRESS);
    STORE(GUEST_PHYSICAL_ADDRESS);
}

static void save_timer(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    if (n->timer_tsc == UINT64_MAX)
        return;
    u64 now = cpu_tsc();
    if (get(v, FIELD_EXIT_CONTROLS) & EXIT_SAVE_TIMER)
        vmcs12_set(v, FIELD_PREEMPTION_TIMER_VALUE,
                   n->timer_tsc > now ? (n->timer_tsc - now) >> vmx_features.timer_shift : 0);
    n->timer_tsc = UINT64_MAX;
}

/* With NMI exiting and without virtual NMIs an IRET of the inner guest does not end blocking by NMI, but in the CPU,
 * which has virtual NMIs, it has. SDM 3C 26.6.1 "Interruptibility State" */
static COLD void save_nmi_blocking(struct vmx_vcpu *v)
{
    if (pin_controls(v) & PIN_NMI_EXITING)
        vmcs12_set(v, FIELD_GUEST_INTERRUPTIBILITY, get(v, FIELD_GUEST_INTERRUPTIBILITY) | INTERRUPTIBILITY_NMI);
}

/* SDM 3C 27.5.5 "Updating Non-Register State": an exit by an NMI blocks further ones, others leave the blocking as it
 * was while the inner guest ran. */
static bool leaves_nmis_blocked(const struct vmx_vcpu *v)
{
    u32 info = (u32)get(v, FIELD_EXIT_INTERRUPTION_INFO);
    bool by_nmi = get(v, FIELD_EXIT_REASON) == REASON_EXCEPTION && EVENT_TYPE(info) == EVENT_TYPE_NMI;

    if (pin_controls(v) & PIN_NMI_EXITING)
        return by_nmi || v->nested->inner_nmis_blocked;
    return get(v, FIELD_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI;
}

/* The guest hypervisor gets its exit, whose information has been recorded. */
static enum outcome leave(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    u64 *fields = n->image.value;

    n->launched = true;
    if (UNLIKELY(v->debug))
        vmx_debug_put_off(v);
    level_save_guest(v);
    if (UNLIKELY(n->inner_nmis_blocked))
        save_nmi_blocking(v);
    fields[FIELD_ENTRY_INTERRUPTION_INFO] &= ~(u64)EVENT_VALID;
    save_timer(v);
    bool stored = msrs_store(v, fields[FIELD_EXIT_MSR_STORE_ADDRESS], (u32)fields[FIELD_EXIT_MSR_STORE_COUNT]);
    u64 pat = vmcs_read(GUEST_PAT);
    bool blocked = leaves_nmis_blocked(v);

    v->reinject.info = v->exception.info = 0;
    n->exits_at_once = n->trap_pending = false;
    level_swap(v);
    refresh_outer(v, pat, blocked);
    if (!stored)
        (void)host_abort(v, HOST_ABORT_SAVING_MSRS);
    look_for_events(v);
    if (!stored || !host_load(v, fields[FIELD_GUEST_CR0], blocked ? INTERRUPTIBILITY_NMI : 0))
        return OUTCOME_STOP;
    return OUTCOME_RESUME;
}

/* An exit that is none of the CPU's. */
static enum outcome leave_for(struct vmx_vcpu *v, u32 reason, u64 qualification, u32 interruption)
{
    record_exit(v, reason, qualification, interruption);
    trace_last()->action = TRACE_TO_HYPERVISOR;
    return leave(v);
}

enum outcome nested_shut_down(struct vmx_vcpu *v)
{
    return leave_for(v, REASON_TRIPLE_FAULT, 0, 0);
}

/* ---- whose exit ---- */

static bool read_byte(void *context, u64 physical, u8 *value)
{
    nested_memory_read(context, physical, value, 1);
    return true;
}

/* The timer of the CPU counts in units, and may end within one of them. */
static bool timer_is_ours(const struct vmx_vcpu *v)
{
    u64 now = cpu_tsc();
    u64 timer = v->nested->timer_tsc;

    return timer > now && (timer - now) >> vmx_features.timer_shift;
}

static NOINLINE u64 cr_operand(struct vmx_vcpu *v, u64 qualification)
{
    return vmx_vcpu_gpr(v, (unsigned)bits_field(qualification, 11, 8)) & (guest_is_code64(v) ? ~0ull : UINT32_MAX);
}

static enum route route_of(struct vmx_vcpu *v, u64 reason, u64 qualification)
{
    struct route_exit exit = {.reason = (u32)reason, .qualification = qualification};

    switch (reason) {
    case REASON_EXCEPTION:
        exit.interruption = vmcs_read(EXIT_INTERRUPTION_INFO);
        exit.error_code = vmcs_read(EXIT_INTERRUPTION_ERROR_CODE);
        break;
    case REASON_CR:
        exit.operand = cr_operand(v, qualification);
        break;
    case REASON_VMREAD:
    case REASON_VMWRITE:
        if (vmcs12_proc2(v) & PROC2_VMCS_SHADOWING)
            exit.operand = operand_second(v);
        break;
    case REASON_RDMSR:
    case REASON_WRMSR:
        exit.operand = (u32)v->gpr[GPR_RCX];
        break;
    case REASON_VMFUNC:
        exit.operand = v->gpr[GPR_RCX] << 32 | (u32)v->gpr[GPR_RAX];
        break;
    case REASON_TIMER:
        exit.timer_is_ours = timer_is_ours(v);
        break;
    default: /* IA32_XSS has no bits: XSAVES and XRSTORS ask for none */
        break;
    }
    return route_exit(v->nested->image.value, &exit, read_byte, v);
}

/*
 * MOV to CR0 or CR4 that only Rootlet wants to see: of the bits that the guest hypervisor masks none changes. The
 * handler writes the register and its shadow as for any guest; of the shadow the guest hypervisor's bits come back.
 */
static enum outcome write_control_register(struct vmx_vcpu *v, struct trace_record *record, u64 qualification)
{
    bool is_cr0 = (qualification & 15) == 0;
    u64 mask = get(v, is_cr0 ? FIELD_CR0_MASK : FIELD_CR4_MASK);
    u64 value = cr_operand(v, qualification) & ~mask;
    u64 shadow = (is_cr0 ? vmcs_read(CR0_SHADOW) : vmcs_read(CR4_SHADOW)) & mask;

    record->detail = qualification;
    value |= (is_cr0 ? level_cr0(v) : level_cr4(v)) & mask;
    enum outcome outcome = vmx_cr_write(v, is_cr0 ? 0 : 4, value);
    if (outcome != OUTCOME_SKIP)
        return outcome;
    if (is_cr0)
        vmcs_write(CR0_SHADOW, (vmcs_read(CR0_SHADOW) & ~mask) | shadow);
    else
        vmcs_write(CR4_SHADOW, (vmcs_read(CR4_SHADOW) & ~mask) | shadow);
    return outcome;
}

static bool writes_cr0_or_cr4(u64 qualification)
{
    u64 number = qualification & 15;
    return bits_field(qualification, 5, 4) == 0 && (number == 0 || number == 4);
}

/*
 * What a handler did for the inner guest met something that the guest hypervisor's EPT forbids: the instruction is not
 * done. The linear address is not told (bit 7 of the qualification is 0).
 */
static enum outcome leave_for_ept(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    vmcs12_set(v, FIELD_GUEST_PHYSICAL_ADDRESS, n->owed_physical);
    vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) | RFLAGS_RF); /* SDM 3C 27.3.3 "Saving RIP, RSP, and RFLAGS" */
    return leave_for(v, n->owed_reason, n->owed_qualification, 0);
}

/* RDMSR of the TSC counts both offsets, as RDTSC does; the handler knows the guest hypervisor's. SDM 3C 25.3 "Changes
 * to Instruction Behavior in VMX Non-Root Operation" */
static COLD void offset_tsc(struct vmx_vcpu *v)
{
    u64 inner = vmcs_read(TSC_OFFSET) - v->base.tsc_offset;
    u64 tsc = (v->gpr[GPR_RDX] << 32 | (u32)v->gpr[GPR_RAX]) + inner;

    v->gpr[GPR_RAX] = (u32)tsc;
    v->gpr[GPR_RDX] = tsc >> 32;
}

/* An inner guest's HLT that its hypervisor does not want. */
static NOINLINE enum outcome handle_hlt(struct vmx_vcpu *v, struct trace_record *record)
{
    enum outcome outcome = vmx_exit_handle(v, record, REASON_HLT);

    if (!v->base.halted)
        return outcome;
    if (pin_controls(v) & PIN_EXTERNAL_INTERRUPT_EXITING)
        v->base.halted_masked = false;
    if (v->nested->timer_tsc != UINT64_MAX) {
        v->base.halted = false;
        vmcs_write(GUEST_ACTIVITY_STATE, HLT);
    }
    return outcome;
}

/* An MSR that may be the TSC. */
static NOINLINE enum outcome handle_msr(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    enum outcome outcome = vmx_exit_handle(v, record, reason);

    if (reason == REASON_WRMSR)
        level_write_tsc_offset(v);
    else if ((u32)v->gpr[GPR_RCX] == MSR_IA32_TSC && outcome == OUTCOME_SKIP)
        offset_tsc(v);
    return outcome;
}

/* An exit that the guest hypervisor gets as it is. */
static NOINLINE enum outcome pass_on(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);

    v->exits[reason]++;
    record->detail = qualification;
    if (reason == REASON_NMI_WINDOW)
        v->nmi_in_service = false;
    record_cpu_exit(v, (u32)reason, qualification);
    return leave(v);
}

/*
 * The EPTs in the CPU are Rootlet's, so that it is Rootlet who switches. Translations are by VPID and EPT, and those
 * with a VPID need not be forgotten. Those without one are, as at each entry. SDM 3C 25.5.5.3 "EPTP Switching"
 */
static NOINLINE enum outcome switch_ept(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 eptp;

    nested_memory_read(v, get(v, FIELD_EPTP_LIST_ADDRESS) + sizeof eptp * (u32)v->gpr[GPR_RCX], &eptp, sizeof eptp);
    if (!insn_is_eptp(v, eptp))
        return pass_on(v, record, REASON_VMFUNC);
    v->exits[REASON_VMFUNC]++;
    vmcs12_set(v, FIELD_EPT_POINTER, eptp);
    vmcs_write(EPT_POINTER, shadow_pointer(&v->nested->shadow, eptp));
    if (!(vmcs12_proc2(v) & PROC2_VPID))
        vmx_vcpu_flush_tlb(v);
    return OUTCOME_SKIP;
}

/* An exit that is Rootlet's own affair. The handlers do not know that there are two levels. */
static ALWAYS_INLINE enum outcome handle(struct vmx_vcpu *v, struct trace_record *record, u64 reason, u64 qualification)
{
    switch (reason) {
    case REASON_CR:
        if (writes_cr0_or_cr4(qualification))
            return write_control_register(v, record, qualification);
        break;
    case REASON_HLT:
        return handle_hlt(v, record);
    case REASON_RDMSR:
    case REASON_WRMSR:
        return handle_msr(v, record, reason);
    case REASON_VMREAD: /* by VMCS shadowing; not the quick way of those of the guest */
    case REASON_VMWRITE:
        v->exits[reason]++;
        return nested_exit(v, record);
    case REASON_VMFUNC:
        return switch_ept(v, record);
    default:
        break;
    }
    return vmx_exit_handle(v, record, reason);
}

/* How an exit ends that was Rootlet's own affair. */
static ALWAYS_INLINE enum outcome finish(struct vmx_vcpu *v, enum outcome outcome)
{
    if (UNLIKELY(v->nested->owed_reason) && outcome != OUTCOME_STOP)
        return leave_for_ept(v);
    return outcome;
}

static bool traps(const struct vmx_vcpu *v)
{
    return get(v, FIELD_PROC_CONTROLS) & PROC_MONITOR_TRAP_FLAG;
}

/*
 * With the monitor trap flag what Rootlet did exits as what the CPU does would: behind the instruction, or behind an
 * iteration of a repeated one, which RCX has counted. `rcx`: as it was before. In HLT the inner guest stays. SDM 3C
 * 25.5.2 "Monitor Trap Flag"
 */
static COLD enum outcome trap_behind(struct vmx_vcpu *v, enum outcome outcome, u64 rcx)
{
    bool iterated = outcome == OUTCOME_RESUME && v->gpr[GPR_RCX] != rcx;

    if (v->nested->inside && (iterated || outcome == OUTCOME_SKIP || outcome == OUTCOME_SKIP_DECODED)) {
        v->nested->trap_pending = true;
        vcpu_request(&v->base, VCPU_REQUEST_EVENT);
    }
    return outcome;
}

static COLD enum outcome handle_and_trap(struct vmx_vcpu *v, struct trace_record *record, u64 reason, u64 qualification)
{
    u64 rcx = v->gpr[GPR_RCX];

    vcpu_request(&v->base, VCPU_REQUEST_EVENT); /* io.c pauses for it, behind one iteration */
    enum outcome outcome = finish(v, handle(v, record, reason, qualification));
    if (reason == REASON_HLT) /* also one that a debug trap will end */
        vmcs_write(GUEST_ACTIVITY_STATE, HLT);
    return trap_behind(v, outcome, rcx);
}

/*
 * The guest hypervisor's EPT leads to a device, to ROM, or to nothing: as on a CPU, the instruction gets what is there.
 * An event that is delivered by way of that meets ones, and so do code and its page tables: mmio.c.
 */
static enum outcome reach_device(struct vmx_vcpu *v, u64 qualification)
{
    struct mmio_slot unused;

    if (vmcs_read(IDT_VECTORING_INFO) & EVENT_VALID)
        return nested_shut_down(v);
    if (qualification & VIOLATION_FETCH)
        return vmx_inject_ud(v);
    u64 rcx = v->gpr[GPR_RCX];
    enum outcome outcome = finish(v, mmio_run_unknown(v, &unused, 0));
    return UNLIKELY(traps(v)) ? trap_behind(v, outcome, rcx) : outcome;
}

/* The CPU walks tables of Rootlet's. What is missing there is filled in, if the guest hypervisor's tables allow it. */
static enum outcome handle_ept(struct vmx_vcpu *v, struct trace_record *record, u64 qualification)
{
    u64 address = record->detail = vmcs_read(GUEST_PHYSICAL_ADDRESS);
    struct shadow_fault fault;

    switch (shadow_violation(&v->nested->shadow, get(v, FIELD_EPT_POINTER), address, qualification & 7, &fault)) {
    case SHADOW_FILLED:
        v->exits[REASON_EPT_VIOLATION]++;
        return vmx_event_run_again(v, qualification);
    case SHADOW_VIOLATION:
        record_cpu_exit(v, REASON_EPT_VIOLATION, (qualification & ~0x3full) | (fault.qualification & 0x3f));
        return leave(v);
    case SHADOW_MISCONFIGURATION:
        record_cpu_exit(v, REASON_EPT_MISCONFIGURATION, qualification);
        return leave(v);
    case SHADOW_NO_MEMORY:
        break;
    }
    v->exits[REASON_EPT_VIOLATION]++;
    return reach_device(v, qualification);
}

/*
 * The CPU has a rule that the checker has not: an erratum, or an emulator's mistake. The guest hypervisor sees what it
 * would see on that CPU; its VMCS stays as it was. We do not know whether a VMLAUNCH of ours has launched anything:
 * exit.c.
 */
static COLD enum outcome refused_by_cpu(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    struct why_refusal how = {n->by_launch, true, ENTRY_FAILED_GUEST_STATE};
    u32 qualification = (u32)vmcs_read(EXIT_QUALIFICATION);

    vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
    CHECK(vmcs_clear(v->vmcs) && vmcs_load(v->vmcs));
    v->launched = 0;
    v->reinject.info = v->exception.info = 0;
    v->base.halted = false;
    n->timer_tsc = UINT64_MAX;
    if (UNLIKELY(v->debug))
        vmx_debug_put_off(v);
    level_swap(v);
    v->efer = vmcs_read(GUEST_EFER) & ~EFER_LMA;
    refresh_outer(v, vmcs_read(GUEST_PAT), n->nmis_blocked);
    vmcs_write(GUEST_INTERRUPTIBILITY, n->nmis_blocked ? INTERRUPTIBILITY_NMI : 0);
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
    why_basic(v, &how, "this CPU refuses the guest state, which breaks no rule of the SDM", "EXIT_QUALIFICATION",
              qualification);
    return entry_fail_late(v, ENTRY_FAILED_GUEST_STATE, qualification);
}

static ALWAYS_INLINE enum outcome serve(struct vmx_vcpu *v, struct trace_record *record, u64 reason, u64 qualification)
{
    return UNLIKELY(traps(v)) ? handle_and_trap(v, record, reason, qualification)
                              : finish(v, handle(v, record, reason, qualification));
}

/* The reason alone does not say whose it is. */
static NOINLINE enum outcome exit_by_route(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);

    switch (route_of(v, reason, qualification)) {
    case ROUTE_GUEST:
        if (UNLIKELY(v->debug) && reason == REASON_EXCEPTION &&
            vmx_debug_exception(v, vmcs_read(EXIT_INTERRUPTION_INFO)))
            return OUTCOME_RESUME; /* it was the debugger's alone */
        return pass_on(v, record, reason);
    case ROUTE_EPT:
        if (reason == REASON_EPT_VIOLATION)
            return handle_ept(v, record, qualification);
        break; /* a misconfiguration is one of Rootlet's own tables */
    case ROUTE_ROOTLET:
        break;
    }
    return serve(v, record, reason, qualification);
}

enum outcome inner_exit(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    struct nested *n = v->nested;
    bool untried = n->untried;

    n->exits_at_once = n->untried = false;
    if (UNLIKELY(reason >= EXIT_REASONS))
        return reason == REASON_REFUSED && untried ? refused_by_cpu(v) : finish(v, vmx_exit_handle(v, record, reason));
    if (route_is_guests(reason))
        return pass_on(v, record, reason);
    if (!route_is_rootlets(n->image.value, reason))
        return exit_by_route(v, record, reason);
    return serve(v, record, reason, 0);
}

/* ---- events ---- */

/* RFLAGS is saved as the exception would have pushed it, and CR2 is as it was. SDM 3C 27.1 "Architectural State Before
 * a VM Exit", 27.3.3 "Saving RIP, RSP, and RFLAGS" */
static enum outcome leave_for_exception(struct vmx_vcpu *v)
{
    struct vmx_event event = v->exception;
    u64 qualification = 0;

    if ((u8)event.info == VECTOR_PF) {
        qualification = cr2_read();
        cr2_write(v->cr2);
    }
    vmx_event_set_resume_flag(&event);
    vmcs12_set(v, FIELD_EXIT_INTERRUPTION_ERROR_CODE, event.error_code);
    vmcs12_set(v, FIELD_EXIT_INSTRUCTION_LENGTH, event.length);
    return leave_for(v, REASON_EXCEPTION, qualification, event.info);
}

/* An exception that Rootlet raises in the place of the CPU is intercepted as the CPU's own are. */
static bool wants_exception(const struct vmx_vcpu *v)
{
    struct route_exit exit = {
        .reason = REASON_EXCEPTION,
        .interruption = v->exception.info,
        .error_code = v->exception.error_code,
    };
    return route_exit(v->nested->image.value, &exit, read_byte, NULL) != ROUTE_ROOTLET;
}

static enum outcome leave_for_interrupt(struct vmx_vcpu *v)
{
    u32 info = get(v, FIELD_EXIT_CONTROLS) & EXIT_ACKNOWLEDGE
                   ? EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | vmx_event_acknowledge(v)
                   : 0;
    return leave_for(v, REASON_INTERRUPT, 0, info);
}

static enum outcome leave_for_nmi(struct vmx_vcpu *v)
{
    __atomic_store_n(&v->base.nmi_waiting, false, __ATOMIC_SEQ_CST);
    return leave_for(v, REASON_EXCEPTION, 0, EVENT_VALID | EVENT_TYPE_NMI << 8 | VECTOR_NMI);
}

/*
 * An exit that comes before a debug trap: the HLT which the trap would have ended is saved. SDM 3C 27.1 "Architectural
 * State Before a VM Exit", 27.3.4 "Saving Non-Register State"
 */
static enum outcome leave_before_trap(struct vmx_vcpu *v, u32 reason)
{
    if (v->nested->untried && get(v, FIELD_GUEST_ACTIVITY_STATE))
        vmcs_write(GUEST_ACTIVITY_STATE, HLT);
    return leave_for(v, reason, 0, 0);
}

/* In VMX non-root operation INIT is not blocked, but exits, and nothing else comes of it. */
static enum outcome leave_for_init(struct vmx_vcpu *v)
{
    __atomic_store_n(&v->base.init_waiting, false, __ATOMIC_SEQ_CST);
    return leave_before_trap(v, REASON_INIT);
}

/* The windows that the guest hypervisor has opened stay open beside Rootlet's. */
static void keep_windows(const struct vmx_vcpu *v)
{
    u32 windows = (u32)get(v, FIELD_PROC_CONTROLS) & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW);
    u32 proc = vmcs_read(PROC_CONTROLS);

    if ((proc & windows) != windows)
        vmcs_write(PROC_CONTROLS, proc | windows);
}

/*
 * An open window ends HLT at once; not each CPU does so by itself. The reason of the exit, or 0. SDM 3C 26.6.5
 * "Interrupt-Window Exiting and Virtual-Interrupt Delivery", 26.6.6 "NMI-Window Exiting"
 */
static u32 window_in_halt(const struct vmx_vcpu *v)
{
    u64 proc = get(v, FIELD_PROC_CONTROLS);

    if (LIKELY(!(proc & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW))) ||
        !(v->base.halted || vmcs_read(GUEST_ACTIVITY_STATE)))
        return 0;
    if (proc & PROC_NMI_WINDOW && !v->nmi_in_service && !(vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI))
        return REASON_NMI_WINDOW;
    return proc & PROC_INTERRUPT_WINDOW && vmcs_read(GUEST_RFLAGS) & RFLAGS_IF ? REASON_INTERRUPT_WINDOW : 0;
}

/* A debug trap that the next entry delivers, unless MOV SS puts it off. SDM 3C 26.6.3 "Delivery of Pending Debug
 * Exceptions after VM Entry" */
static bool trap_is_due(const struct vmx_vcpu *v)
{
    return v->base.windows & EVENT_TRAP_FIRST && vmcs_read(GUEST_PENDING_DEBUG) & PENDING_DEBUG_VALID &&
           !(vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_MOV_SS);
}

/* What has led into the inner guest stays on record as that; an interrupt that goes in with it has a record of its own.
 */
static void deliver_event(struct vmx_vcpu *v, bool nmi, bool interrupt)
{
    struct trace_record *record = trace_last();
    u8 action = record->action;

    vmx_event_choose_of(v, nmi, interrupt);
    if (action == TRACE_TO_INNER && record->action != action) {
        record->action = action;
        trace_event(TRACE_INJECT, &v->base, vmcs_read(ENTRY_INTERRUPTION_INFO));
    }
}

/*
 * With external-interrupt exiting an interrupt exits whatever RFLAGS.IF says; with NMI exiting, an NMI. Both come after
 * the event that goes in with this entry, and after a debug trap: then the CPU leaves before the first instruction. SDM
 * 3C 25.2 "Other Causes of VM Exits", 26.5 "Event Injection"; 3A 6.9, table 6-2.
 */
bool inner_prepare_events(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    bool delivers = v->reinject.info & EVENT_VALID;

    if (LIKELY(is_quiet(v)))
        return true;
    if (!delivers && v->exception.info & EVENT_VALID) {
        if (wants_exception(v))
            return leave_for_exception(v) == OUTCOME_RESUME;
        delivers = true;
    }
    u32 pin = pin_controls(v);
    bool nmi_exits = pin & PIN_NMI_EXITING, interrupt_exits = pin & PIN_EXTERNAL_INTERRUPT_EXITING;
    bool nmi = v->base.nmi_waiting, interrupt = vm_interrupt_pending(&v->base);
    bool init = __atomic_load_n(&v->base.init_waiting, __ATOMIC_SEQ_CST);

    if (!delivers && init)
        return leave_for_init(v) == OUTCOME_RESUME;
    if (!delivers && n->trap_pending) /* before debug traps and what comes after them: 25.5.2 */
        return leave_before_trap(v, REASON_TRAP_FLAG) == OUTCOME_RESUME;
    delivers |= trap_is_due(v);
    if (!delivers && nmi && nmi_exits && !n->inner_nmis_blocked)
        return leave_for_nmi(v) == OUTCOME_RESUME;
    if (!delivers && interrupt && interrupt_exits)
        return leave_for_interrupt(v) == OUTCOME_RESUME;
    u32 window = delivers ? 0 : window_in_halt(v);
    if (window)
        return leave_for(v, window, 0, 0) == OUTCOME_RESUME;
    n->exits_at_once = init || (nmi && nmi_exits && !n->inner_nmis_blocked) || (interrupt && interrupt_exits);
    if (n->exits_at_once)
        vcpu_request(&v->base, VCPU_REQUEST_EVENT); /* for then */
    deliver_event(v, nmi && !nmi_exits, interrupt && !interrupt_exits);
    keep_windows(v);
    return true;
}
