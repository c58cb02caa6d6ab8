/*
 * The dispatcher: one exit in, one outcome out. An unknown cause stops the VM with a report; nothing is skipped by
 * default. Root operation, interrupts off, the vCPU's VMCS current. SDM 3C 27 "VM Exits", 3D Appendix C "VMX Basic Exit
 * Reasons".
 */
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/smp.h"
#include "kernel/hypercall.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/sched.h"
#include "kernel/trace.h"
#include "vmx/event.h"
#include "vmx/explain.h"
#include "vmx/guest.h"
#include "vmx/kept.h"
#include "vmx/vcpu.h"

#define ENTRY_FAILED 0x80000000u
#define EXIT_HANDLED 60u /* the dispatcher's cases lie below */

enum exit_reason {
    EXIT_EXCEPTION_OR_NMI = 0,
    EXIT_EXTERNAL_INTERRUPT = 1,
    EXIT_TRIPLE_FAULT = 2,
    EXIT_INIT = 3,
    EXIT_SIPI = 4,
    EXIT_INTERRUPT_WINDOW = 7,
    EXIT_NMI_WINDOW = 8,
    EXIT_TASK_SWITCH = 9,
    EXIT_CPUID = 10,
    EXIT_GETSEC = 11,
    EXIT_HLT = 12,
    EXIT_INVD = 13,
    EXIT_INVLPG = 14,
    EXIT_RDPMC = 15,
    EXIT_RDTSC = 16,
    EXIT_RSM = 17,
    EXIT_VMCALL = 18,
    EXIT_VMCLEAR = 19,
    EXIT_VMLAUNCH = 20,
    EXIT_VMPTRLD = 21,
    EXIT_VMPTRST = 22,
    EXIT_VMREAD = 23,
    EXIT_VMRESUME = 24,
    EXIT_VMWRITE = 25,
    EXIT_VMXOFF = 26,
    EXIT_VMXON = 27,
    EXIT_CR_ACCESS = 28,
    EXIT_MOV_DR = 29,
    EXIT_IO = 30,
    EXIT_RDMSR = 31,
    EXIT_WRMSR = 32,
    EXIT_INVALID_GUEST_STATE = 33,
    EXIT_MSR_LOADING = 34,
    EXIT_MWAIT = 36,
    EXIT_MONITOR = 39,
    EXIT_PAUSE = 40,
    EXIT_ENTRY_MACHINE_CHECK = 41,
    EXIT_APIC_ACCESS = 44,
    EXIT_VIRTUALIZED_EOI = 45,
    EXIT_EPT_VIOLATION = 48,
    EXIT_EPT_MISCONFIGURATION = 49,
    EXIT_INVEPT = 50,
    EXIT_RDTSCP = 51,
    EXIT_PREEMPTION_TIMER = 52,
    EXIT_INVVPID = 53,
    EXIT_WBINVD = 54,
    EXIT_XSETBV = 55,
    EXIT_APIC_WRITE = 56,
    EXIT_INVPCID = 58,
    EXIT_VMFUNC = 59,
};

static const char *const names[EXIT_REASONS] = {
    [EXIT_EXCEPTION_OR_NMI] = "exception-or-nmi",
    [EXIT_EXTERNAL_INTERRUPT] = "external-interrupt",
    [EXIT_TRIPLE_FAULT] = "triple-fault",
    [EXIT_INIT] = "init",
    [EXIT_SIPI] = "sipi",
    [5] = "io-smi",
    [6] = "other-smi",
    [EXIT_INTERRUPT_WINDOW] = "interrupt-window",
    [EXIT_NMI_WINDOW] = "nmi-window",
    [EXIT_TASK_SWITCH] = "task-switch",
    [EXIT_CPUID] = "cpuid",
    [EXIT_GETSEC] = "getsec",
    [EXIT_HLT] = "hlt",
    [EXIT_INVD] = "invd",
    [EXIT_INVLPG] = "invlpg",
    [EXIT_RDPMC] = "rdpmc",
    [EXIT_RDTSC] = "rdtsc",
    [EXIT_RSM] = "rsm",
    [EXIT_VMCALL] = "vmcall",
    [EXIT_VMCLEAR] = "vmclear",
    [EXIT_VMLAUNCH] = "vmlaunch",
    [EXIT_VMPTRLD] = "vmptrld",
    [EXIT_VMPTRST] = "vmptrst",
    [EXIT_VMREAD] = "vmread",
    [EXIT_VMRESUME] = "vmresume",
    [EXIT_VMWRITE] = "vmwrite",
    [EXIT_VMXOFF] = "vmxoff",
    [EXIT_VMXON] = "vmxon",
    [EXIT_CR_ACCESS] = "cr-access",
    [EXIT_MOV_DR] = "mov-dr",
    [EXIT_IO] = "io",
    [EXIT_RDMSR] = "rdmsr",
    [EXIT_WRMSR] = "wrmsr",
    [EXIT_INVALID_GUEST_STATE] = "invalid-guest-state",
    [EXIT_MSR_LOADING] = "msr-loading",
    [EXIT_MWAIT] = "mwait",
    [37] = "monitor-trap-flag",
    [EXIT_MONITOR] = "monitor",
    [EXIT_PAUSE] = "pause",
    [EXIT_ENTRY_MACHINE_CHECK] = "entry-machine-check",
    [43] = "tpr-below-threshold",
    [EXIT_APIC_ACCESS] = "apic-access",
    [EXIT_VIRTUALIZED_EOI] = "virtualized-eoi",
    [46] = "gdtr-or-idtr",
    [47] = "ldtr-or-tr",
    [EXIT_EPT_VIOLATION] = "ept-violation",
    [EXIT_EPT_MISCONFIGURATION] = "ept-misconfiguration",
    [EXIT_INVEPT] = "invept",
    [EXIT_RDTSCP] = "rdtscp",
    [EXIT_PREEMPTION_TIMER] = "preemption-timer",
    [EXIT_INVVPID] = "invvpid",
    [EXIT_WBINVD] = "wbinvd",
    [EXIT_XSETBV] = "xsetbv",
    [EXIT_APIC_WRITE] = "apic-write",
    [57] = "rdrand",
    [EXIT_INVPCID] = "invpcid",
    [EXIT_VMFUNC] = "vmfunc",
    [60] = "encls",
    [61] = "rdseed",
    [62] = "page-modification-log-full",
    [63] = "xsaves",
    [64] = "xrstors",
};

const char *virt_exit_name(u32 reason)
{
    return reason < EXIT_REASONS && names[reason] ? names[reason] : "unknown";
}

static void check_deadline(struct vmx_vcpu *v)
{
    if (cpu_tsc() >= v->base.deadline_tsc)
        sched_deadline_reached(&v->base);
}

/*
 * NMI: the host's own, taken again as an interrupt so that IRET ends the blocking. #MC: the host's. #DB and #AC: the
 * guest's, they exit only so that their delivery can be interrupted. SDM 3C 27.2.2 "Information for VM Exits Due to
 * Vectored Events".
 */
static NOINLINE enum outcome exception_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 info = vmcs_read(EXIT_INTERRUPTION_INFO);
    u8 vector = (u8)info;

    record->detail = info;
    if (EVENT_TYPE(info) == EVENT_TYPE_NMI) {
        vmx_event_save_interrupted(v);
        asm volatile("int $2" : : : "memory");
        return OUTCOME_RESUME;
    }
    if (vector == VECTOR_MC)
        panic("machine check while vm=%s ran", v->base.vm->spec.name);
    if (UNLIKELY(v->debug) && vmx_debug_exception(v, info))
        return OUTCOME_RESUME;
    if (vector == VECTOR_DB) {
        /* SDM 3C 27.1: the exit leaves DR6 alone; the qualification has what delivery would have set. */
        u64 qualification = vmcs_read(EXIT_QUALIFICATION);
        u64 dr6 = v->debug_used ? dr6_read() : v->dr6;
        dr6 = (dr6 & ~0xfull) | (qualification & 0x600f);
        v->dr6 = dr6;
        if (v->debug_used)
            dr6_write(dr6);
        vmcs_write(GUEST_DR7, vmcs_read(GUEST_DR7) & ~BIT(13)); /* delivery clears GD */
    }
    /* #DB comes before the preemption timer and interrupts: a guest whose #DB delivery traps again would keep the CPU.
     */
    check_deadline(v);
    u32 error = info & EVENT_HAS_ERROR ? vmcs_read(EXIT_INTERRUPTION_ERROR_CODE) : 0;
    vmx_inject_exception(v, vector, error);
    /* INT1 and INT3 are software exceptions, which need their length: SDM 3C 24.8.3. */
    if (EVENT_TYPE(info) >= EVENT_TYPE_PRIV_SOFT_EXC) {
        v->exception.info = (v->exception.info & ~0x700u) | EVENT_TYPE(info) << 8;
        v->exception.length = vmcs_read(EXIT_INSTRUCTION_LENGTH);
    }
    return OUTCOME_RESUME;
}

static enum outcome external_interrupt_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 info = vmcs_read(EXIT_INTERRUPTION_INFO);

    record->detail = info;
    irq_dispatch((u8)info);
    if (!vmx_machine.has_timer)
        check_deadline(v);
    return OUTCOME_RESUME;
}

/* Interrupts off and none pending: for good, unless another vCPU restarts it, which nothing can do. */
static enum outcome hlt_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    if (vmcs_read(GUEST_RFLAGS) & RFLAGS_TF) /* the trap behind it ends the HLT at once */
        return OUTCOME_SKIP;
    v->base.halted = true;
    v->base.halted_forever = !(vmcs_read(GUEST_RFLAGS) & RFLAGS_IF);
    vcpu_request(&v->base, VCPU_REQUEST_EVENT | VCPU_REQUEST_HALT);
    return OUTCOME_SKIP;
}

static COLD enum outcome entry_failure(struct vmx_vcpu *v)
{
    u32 reason = (u16)vmcs_read(EXIT_REASON);
    u64 rip = vmcs_read(GUEST_RIP);

    /*
     * Code that runs over the end of 4 GiB: the CPU wraps EIP, enter_behind() leaves that to us. A VMLAUNCH that fails
     * so launches nothing (SDM 3C 30.3 "VMX Instructions", VMLAUNCH), and we do not know which of the two this was:
     * VMCLEAR, and the next entry is a VMLAUNCH. An event that was to go in with it is not lost.
     */
    if (reason == EXIT_INVALID_GUEST_STATE && rip >> 32 && !guest_is_code64(v)) {
        vmcs_write(GUEST_RIP, (u32)rip);
        vmx_event_take_back(v);
        CHECK(vmcs_clear(v->vmcs) && vmcs_load(v->vmcs));
        v->launched = 0;
        vcpu_request(&v->base, VCPU_REQUEST_RESCHEDULE);
        return OUTCOME_RESUME;
    }
    /* SDM 3C 26.8 "Machine-Check Events During VM Entry": the third way, beside the two that end in vector 18. */
    if (reason == EXIT_ENTRY_MACHINE_CHECK)
        panic("machine check during an entry of vm=%s", v->base.vm->spec.name);
    explain_failed_entry(v, EXPLAIN_EXIT);
    vm_stop(v->base.vm, VM_STOP_ENTRY_FAILURE, "exit=%u what=\"VM entry refused: %s\" qualification=%lu", reason,
            virt_exit_name(reason), vmcs_read(EXIT_QUALIFICATION));
    return OUTCOME_STOP;
}

static COLD enum outcome stop_at(struct vmx_vcpu *v, enum vm_stop_reason reason, const char *what)
{
    vm_stop(v->base.vm, reason, "%s rip=0x%lx", what, vmcs_read(GUEST_RIP));
    return OUTCOME_STOP;
}

static COLD enum outcome undefined_exit(struct vmx_vcpu *v)
{
    return vmx_inject_ud(v);
}

#define SEGMENT_DPL 0x60u /* access rights: SS.DPL is the CPL */

static COLD enum outcome refused_hypercall(struct vmx_vcpu *v)
{
    if ((vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL) || v->base.vm->spec.stealth)
        return vmx_inject_ud(v);
    v->gpr[GPR_RAX] = HYPERCALL_UNKNOWN;
    return OUTCOME_SKIP;
}

static enum outcome vmcall_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 number = *(const volatile u32 *)&v->gpr[GPR_RAX]; /* EAX */

    record->detail = number;
    if (UNLIKELY((vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL) || number >= v->base.hypercalls))
        return refused_hypercall(v);
    kept_rbx_save(v);
    v->gpr[GPR_RAX] = hypercall_table[number](&v->base, v->gpr);
    kept_rbx_load(v);
    return OUTCOME_SKIP;
}

/* A reason that we did not ask for. */
static COLD enum outcome unknown_exit(struct vmx_vcpu *v)
{
    u32 reason = (u16)vmcs_read(EXIT_REASON);

    vm_stop(v->base.vm, VM_STOP_UNKNOWN_EXIT, "exit=%u name=%s qualification=0x%lx rip=0x%lx", reason,
            virt_exit_name(reason), vmcs_read(EXIT_QUALIFICATION), vmcs_read(GUEST_RIP));
    return OUTCOME_STOP;
}

static enum outcome window_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    if (record->cause == EXIT_NMI_WINDOW)
        v->nmi_in_service = false;
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
    return OUTCOME_RESUME;
}

static enum outcome timer_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    sched_deadline_reached(&v->base);
    return OUTCOME_RESUME;
}

static COLD enum outcome triple_fault_exit(struct vmx_vcpu *v)
{
    return stop_at(v, VM_STOP_TRIPLE_FAULT, "what=\"an exception while delivering a double fault\"");
}

static COLD enum outcome task_switch_exit(struct vmx_vcpu *v)
{
    return stop_at(v, VM_STOP_UNSUPPORTED_INSTRUCTION, "what=\"hardware task switch\"");
}

static COLD enum outcome rdpmc_exit(struct vmx_vcpu *v)
{
    return vmx_inject_gp(v);
}

#define APIC_ACCESS_TYPE(qualification) ((qualification) >> 12 & 15)
enum { APIC_LINEAR_READ, APIC_LINEAR_WRITE };

/*
 * A register, or a way to access it, that the CPU leaves to us. Anything but data read or written by an instruction is
 * a guest that runs, keeps tables or pushes event frames in its APIC. SDM 3C 27.2.1, table "Exit Qualification for
 * APIC-Access VM Exits".
 */
static enum outcome apic_access_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);

    record->detail = qualification;
    if (LIKELY(APIC_ACCESS_TYPE(qualification) <= APIC_LINEAR_WRITE))
        return vmx_mmio_execute(v, record);
    return stop_at(v, VM_STOP_UNSUPPORTED_INSTRUCTION, "what=\"local APIC used as memory\"");
}

/* After the guest's instruction: the register is written, what follows from that is ours. */
static enum outcome apic_write_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);

    record->detail = qualification;
    vm_apic_written(&v->base, qualification & 0xff0);
    return OUTCOME_RESUME;
}

/* After the guest's instruction: EOI of a level-triggered interrupt. */
static enum outcome apic_eoi_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 qualification = vmcs_read(EXIT_QUALIFICATION);

    record->detail = qualification;
    vm_apic_end_level(&v->base, (u8)qualification);
    return OUTCOME_RESUME;
}

/* Bit 31 set: the entry failed. Else a reason newer than this table. */
static COLD enum outcome uncounted_exit(struct vmx_vcpu *v, u32 reason)
{
    if ((u16)reason < EXIT_REASONS)
        v->exits[(u16)reason]++;
    return reason & ENTRY_FAILED ? entry_failure(v) : unknown_exit(v);
}

enum outcome vmx_exit_slow(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 reason = vmcs_read(EXIT_REASON);

    if (reason >= EXIT_HANDLED) {
        record->detail = vmcs_read(EXIT_QUALIFICATION);
        return uncounted_exit(v, reason);
    }
    switch (reason) {
    case EXIT_EXCEPTION_OR_NMI:
        return exception_exit(v, record);
    case EXIT_TRIPLE_FAULT:
        return triple_fault_exit(v);
    case EXIT_TASK_SWITCH:
        return task_switch_exit(v);
    case EXIT_INVD: /* the caches hold other VMs' data too: INVD and WBINVD have no effect a coherent guest could see */
    case EXIT_WBINVD:
        return OUTCOME_SKIP;
    case EXIT_RDPMC: /* no counter exists: SDM 2B "RDPMC" */
        return rdpmc_exit(v);
    case EXIT_GETSEC:
    case EXIT_RSM:
    case EXIT_VMCLEAR:
    case EXIT_VMLAUNCH:
    case EXIT_VMPTRLD:
    case EXIT_VMPTRST:
    case EXIT_VMREAD:
    case EXIT_VMRESUME:
    case EXIT_VMWRITE:
    case EXIT_VMXOFF:
    case EXIT_VMXON:
    case EXIT_INVEPT:
    case EXIT_INVVPID:
    case EXIT_VMFUNC:
    case EXIT_MONITOR:
    case EXIT_MWAIT: /* as on a CPU whose CPUID does not have them */
        return undefined_exit(v);
    case EXIT_CR_ACCESS:
        return vmx_cr_exit(v, record);
    case EXIT_MOV_DR:
        return vmx_dr_exit(v, record);
    case EXIT_XSETBV:
        return vmx_xsetbv_exit(v);
    case EXIT_APIC_ACCESS:
        return apic_access_exit(v, record);
    default: /* one that we did not ask for */
        return unknown_exit(v);
    }
}

/* entry.asm: vmx_exit_slow and vmx_ept_violation_exit with all the guest's registers in gpr[]. */
enum outcome vmx_exit_with_registers(struct vmx_vcpu *v, struct trace_record *record);
enum outcome vmx_ept_violation_with_registers(struct vmx_vcpu *v, struct trace_record *record);

typedef enum outcome handler_t(struct vmx_vcpu *v, struct trace_record *record);

/* The exits that come often, and whose handlers do without the registers of kept.h, have handlers of their own. */
#define SLOW vmx_exit_with_registers
static handler_t *const handlers[EXIT_HANDLED] = {
    [0] = SLOW,
    [EXIT_EXTERNAL_INTERRUPT] = external_interrupt_exit,
    [2 ... 6] = SLOW,
    [EXIT_INTERRUPT_WINDOW] = window_exit,
    [EXIT_NMI_WINDOW] = window_exit,
    [9] = SLOW,
    [EXIT_CPUID] = vmx_cpuid_exit,
    [11] = SLOW,
    [EXIT_HLT] = hlt_exit,
    [13 ... 17] = SLOW,
    [EXIT_VMCALL] = vmcall_exit,
    [19 ... 29] = SLOW,
    [EXIT_IO] = vmx_io_exit,
    [EXIT_RDMSR] = vmx_msr_read_exit,
    [EXIT_WRMSR] = vmx_msr_write_exit,
    [33 ... 44] = SLOW,
    [EXIT_VIRTUALIZED_EOI] = apic_eoi_exit,
    [46 ... 47] = SLOW,
    [EXIT_EPT_VIOLATION] = vmx_ept_violation_with_registers,
    [49 ... 51] = SLOW,
    [EXIT_PREEMPTION_TIMER] = timer_exit,
    [53 ... 55] = SLOW,
    [EXIT_APIC_WRITE] = apic_write_exit,
    [57 ... 59] = SLOW,
};

/* The handlers' calls are in tail position, so that the dispatch itself needs no stack frame. */
enum outcome vmx_exit_handle(struct vmx_vcpu *v)
{
    struct trace_record *record = trace_begin(v->base.trace_tag);
    u64 reason = vmcs_read(EXIT_REASON);

    record->rip = vmcs_read(GUEST_RIP);
    record->cause = (u8)reason;
    if (UNLIKELY(reason >= EXIT_HANDLED))
        return vmx_exit_with_registers(v, record);
    v->exits[reason]++;
    return handlers[reason](v, record);
}
