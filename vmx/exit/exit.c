/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dispatcher: one exit in, one outcome out. An unknown cause stops the VM with a report; nothing is skipped by
 * default. Root operation, interrupts off, the vCPU's VMCS current. SDM 3C 27 "VM Exits", 3D Appendix C "VMX Basic Exit
 * Reasons".
 */
#include "vmx/exit/exit.h"
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/quirks.h"
#include "arch/x86/smp.h"
#include "arch/x86/speculation.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/vm/hypercall.h"
#include "vmx/check/explain.h"
#include "vmx/event.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/io.h"
#include "vmx/exit/mmio.h"
#include "vmx/exit/msr.h"
#include "vmx/exit/task_switch.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/nested.h"
#include "vmx/points.h"
#include "vmx/report/debug.h"
#include "vmx/vcpu.h"

#define ENTRY_FAILED             0x80000000u
#define EXIT_INVALID_GUEST_STATE 33u
#define EXIT_ENTRY_MACHINE_CHECK 41u

static void check_deadline(struct vmx_vcpu *v)
{
    if (cpu_tsc() >= v->base.deadline_tsc)
        sched_deadline_reached(&v->base);
}

static COLD enum outcome stop_at(struct vmx_vcpu *v, enum vm_stop_reason reason, const char *what)
{
    vm_stop(v->base.vm, reason, "%s rip=0x%lx", what, vmcs_read(GUEST_RIP));
    return OUTCOME_STOP;
}

enum outcome vmx_exit_shut_down(struct vmx_vcpu *v)
{
    if (nested_is_inside(v))
        return nested_shut_down(v);
    return stop_at(v, VM_STOP_TRIPLE_FAULT, "what=\"an exception while delivering a double fault\"");
}

static COLD enum outcome triple_fault_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    return vmx_exit_shut_down(v);
}

#define REASON_TRIPLE_FAULT 2u /* SDM 3D Appendix C "VMX Basic Exit Reasons" */

/*
 * QUIRK_EXCEPTION_RIP: the guest's faults exit, and go in with the next entry. One that came while an exception
 * was delivered becomes what the CPU makes of the two: SDM 3A 6.15, table 6-5. An IRET that raised one has ended the
 * blocking by NMI all the same (3C 25.3 "Changes to Instruction Behavior in VMX Non-Root Operation").
 */
static COLD enum outcome guests_fault(struct vmx_vcpu *v, struct trace_record *record, u32 info)
{
    u32 first = vmcs_read(IDT_VECTORING_INFO);
    u32 error = info & EVENT_HAS_ERROR ? vmcs_read(EXIT_INTERRUPTION_ERROR_CODE) : 0;

    check_deadline(v);
    if ((u8)info == VECTOR_PF)
        cr2_write(vmcs_read(EXIT_QUALIFICATION));
    if (vmx_inject_nested(v, first, (u8)info, error))
        return OUTCOME_RESUME;
    record->cause = REASON_TRIPLE_FAULT; /* as a CPU has it */
    record->detail = 0;
    return triple_fault_exit(v, record);
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
    if (BIT(vector) & VMX_FAULTS)
        return guests_fault(v, record, info);
    if (UNLIKELY(v->debug) && vmx_debug_exception(v, info))
        return OUTCOME_RESUME;
    if (vector == VECTOR_DB && EVENT_TYPE(info) != EVENT_TYPE_PRIV_SOFT_EXC) {
        /* SDM 3C 27.1: the exit leaves DR6 alone; the qualification has what delivery would have set. */
        u64 qualification = vmcs_read(EXIT_QUALIFICATION);
        u64 dr6 = v->debug_used ? dr6_read() : v->dr6;
        dr6 = (dr6 & ~0xfull) | (qualification & 0x600f);
        v->dr6 = dr6;
        if (v->debug_used)
            dr6_write(dr6);
        vmcs_write(GUEST_DR7, vmcs_read(GUEST_DR7) & ~POINTS_DR7_GD);
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

#define OPCODE_STI 0xfbu
#define OPCODE_HLT 0xf4u

/*
 * QUIRK_STI_SHADOW: an interrupt that is delivered between STI and HLT finds nobody asleep, and the HLT then waits for
 * what has been. So the blocking is put back there. HLT exits, so that the guest gets on. Not where an entry would be
 * refused (SDM 3C 26.3.1.5 "Checks on Guest Non-Register State"): blocking by STI needs IF, excludes blocking by MOV
 * SS, and with TF needs a pending trap.
 */
static COLD void restore_blocking_by_sti(struct vmx_vcpu *v)
{
    u64 rip = guest_linear_rip(v);
    u32 blocking = vmcs_read(GUEST_INTERRUPTIBILITY);
    u64 before, next;

    if ((blocking & INTERRUPTIBILITY_STI_MOV_SS) || (vmcs_read(GUEST_RFLAGS) & (RFLAGS_IF | RFLAGS_TF)) != RFLAGS_IF)
        return;
    if (guest_peek(v, rip - 1, 1, &before) && guest_peek(v, rip, 1, &next) && before == OPCODE_STI &&
        next == OPCODE_HLT)
        vmcs_write(GUEST_INTERRUPTIBILITY, blocking | INTERRUPTIBILITY_STI);
}

/* At each exit between two instructions. */
static inline void mend_blocking(struct vmx_vcpu *v)
{
    if (UNLIKELY(quirks_have(QUIRK_STI_SHADOW)))
        restore_blocking_by_sti(v);
}

static enum outcome external_interrupt_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 info = vmcs_read(EXIT_INTERRUPTION_INFO);

    record->detail = info;
    mend_blocking(v);
    irq_dispatch((u8)info);
    if (!vmx_features.has_timer)
        check_deadline(v);
    return OUTCOME_RESUME;
}

/* The trap of TF, or one that MOV SS has put off, ends the HLT at once. */
static COLD bool ends_in_trap(const struct vmx_vcpu *v, u64 rflags)
{
    return rflags & RFLAGS_TF || (v->debug_used && vmcs_read(GUEST_PENDING_DEBUG) & PENDING_DEBUG_VALID);
}

/* With interrupts off an NMI alone ends it, or another vCPU by INIT. */
static enum outcome hlt_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 rflags = vmcs_read(GUEST_RFLAGS);

    (void)record;
    if (UNLIKELY(rflags & v->end_flags) && ends_in_trap(v, rflags))
        return OUTCOME_SKIP;
    v->base.halted = true;
    v->base.halted_masked = !(rflags & RFLAGS_IF);
    vcpu_request(&v->base, VCPU_REQUEST_EVENT | VCPU_REQUEST_HALT);
    return OUTCOME_SKIP;
}

static COLD enum outcome entry_failure(struct vmx_vcpu *v)
{
    u32 reason = (u16)vmcs_read(EXIT_REASON);
    u64 rip = vmcs_read(GUEST_RIP);

    /*
     * Code that runs over the end of 4 GiB: the CPU wraps EIP, skip_instruction() leaves that to us. A VMLAUNCH that
     * fails so launches nothing (SDM 3C 30.3 "VMX Instructions", VMLAUNCH), and we do not know which of the two this
     * was: VMCLEAR, and the next entry is a VMLAUNCH. An event that was to go in with it is not lost.
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
    v->failure = (struct vmx_failure){.known = true, .how = EXPLAIN_EXIT};
    vm_stop(v->base.vm, VM_STOP_ENTRY_FAILURE, "exit=%u what=\"VM entry refused: %s\" qualification=%lu", reason,
            virt_exit_name(reason), vmcs_read(EXIT_QUALIFICATION));
    return OUTCOME_STOP;
}

/* As on a CPU whose CPUID does not have the instruction. */
static COLD enum outcome undefined_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    return vmx_inject_ud(v);
}

/* Refused, unknown, or in a VM with snapshot-at=. */
static COLD enum outcome rare_hypercall(struct vmx_vcpu *v, u32 number)
{
    if ((vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL) || v->base.vm->spec.stealth)
        return nested_refuse_vmcall(v);
    v->gpr[GPR_RAX] = hypercall_rare(&v->base, v->gpr, number);
    return OUTCOME_SKIP;
}

_Static_assert((HYPERCALL_ROOM & (HYPERCALL_ROOM - 1)) == 0, "a mask needs a power of two");

static enum outcome vmcall_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u64 rax = v->gpr[GPR_RAX];
    u32 number = (u32)rax;

    record->detail = number;
    if (UNLIKELY((vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL) || number >= v->base.hypercalls))
        return rare_hypercall(v, number);
    v->gpr[GPR_RAX] = hypercall_table[SPECULATION_MASK(rax, HYPERCALL_ROOM)](&v->base, v->gpr);
    return OUTCOME_SKIP;
}

/* A reason that we did not ask for. */
static COLD enum outcome unknown_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 reason = (u16)vmcs_read(EXIT_REASON);

    (void)record;
    vm_stop(v->base.vm, VM_STOP_UNKNOWN_EXIT, "exit=%u name=%s qualification=0x%lx rip=0x%lx", reason,
            virt_exit_name(reason), vmcs_read(EXIT_QUALIFICATION), vmcs_read(GUEST_RIP));
    return OUTCOME_STOP;
}

static enum outcome interrupt_window_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    mend_blocking(v);
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
    return OUTCOME_RESUME;
}

static enum outcome nmi_window_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    v->nmi_in_service = false;
    vcpu_request(&v->base, VCPU_REQUEST_EVENT);
    return OUTCOME_RESUME;
}

static enum outcome timer_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    mend_blocking(v);
    sched_deadline_reached(&v->base);
    return OUTCOME_RESUME;
}

/* INVD and WBINVD: the caches hold other VMs' data too, and neither has an effect that a coherent guest could see. */
static enum outcome skipped_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)v;
    (void)record;
    return OUTCOME_SKIP;
}

/*
 * It spins, for a lock perhaps whose holder waits for a CPU: who of its VM does so gets this one. Each time that nobody
 * does the window grows, so that to spin for one that runs costs little.
 */
static COLD enum outcome pause_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    if (sched_yield_to_sibling(&v->base))
        v->ple_window = PLE_WINDOW_LEAST;
    else if (v->ple_window < PLE_WINDOW_MOST)
        v->ple_window *= 2;
    vmcs_write(PLE_WINDOW, v->ple_window);
    return OUTCOME_SKIP;
}

/* A guest whose #DB is a task gate with the T bit in its TSS would keep the CPU, as above. */
static COLD enum outcome task_switch_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    check_deadline(v);
    return vmx_task_switch_exit(v, record);
}

/* No counter exists: SDM 2B "RDPMC". */
static COLD enum outcome rdpmc_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
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

typedef enum outcome handler_t(struct vmx_vcpu *v, struct trace_record *record);

#define EXIT_ROWS 128u /* a power of two, for its mask */

/*
 * All exits by basic reason: name; what the handler writes as the record's detail, NULL for nothing; handler. SDM 3D
 * Appendix C "VMX Basic Exit Reasons".
 */
static const struct {
    const char *name;
    const char *detail;
    handler_t *handler;
} exits[EXIT_ROWS] = {
    [0] = {"exception-or-nmi",           "info",          exception_exit         },
    [1] = {"external-interrupt",         "info",          external_interrupt_exit},
    [2] = {"triple-fault",               NULL,            triple_fault_exit      },
    [3] = {"init",                       NULL,            unknown_exit           },
    [4] = {"sipi",                       NULL,            unknown_exit           },
    [5] = {"io-smi",                     NULL,            unknown_exit           },
    [6] = {"other-smi",                  NULL,            unknown_exit           },
    [7] = {"interrupt-window",           NULL,            interrupt_window_exit  },
    [8] = {"nmi-window",                 NULL,            nmi_window_exit        },
    [9] = {"task-switch",                "qualification", task_switch_exit       },
    [10] = {"cpuid",                      "leaf",          vmx_cpuid_exit         },
    [11] = {"getsec",                     NULL,            undefined_exit         },
    [12] = {"hlt",                        NULL,            hlt_exit               },
    [13] = {"invd",                       NULL,            skipped_exit           },
    [14] = {"invlpg",                     NULL,            unknown_exit           },
    [15] = {"rdpmc",                      NULL,            rdpmc_exit             },
    [16] = {"rdtsc",                      NULL,            unknown_exit           },
    [17] = {"rsm",                        NULL,            undefined_exit         },
    [18] = {"vmcall",                     "call",          vmcall_exit            },
    [19] = {"vmclear",                    NULL,            nested_exit            },
    [20] = {"vmlaunch",                   NULL,            nested_exit            },
    [21] = {"vmptrld",                    NULL,            nested_exit            },
    [22] = {"vmptrst",                    NULL,            nested_exit            },
    [23] = {"vmread",                     NULL,            nested_access_exit     },
    [24] = {"vmresume",                   NULL,            nested_exit            },
    [25] = {"vmwrite",                    NULL,            nested_access_exit     },
    [26] = {"vmxoff",                     NULL,            nested_exit            },
    [27] = {"vmxon",                      NULL,            nested_exit            },
    [28] = {"cr-access",                  "qualification", vmx_cr_exit            },
    [29] = {"mov-dr",                     "qualification", vmx_dr_exit            },
    [30] = {"io",                         "qualification", vmx_io_exit            },
    [31] = {"rdmsr",                      "msr",           vmx_msr_read_exit      },
    [32] = {"wrmsr",                      "msr",           vmx_msr_write_exit     },
    [EXIT_INVALID_GUEST_STATE] = {"invalid-guest-state",        "qualification", unknown_exit           },
    [34] = {"msr-loading",                "qualification", unknown_exit           },
    [35] = {"unknown",                    NULL,            unknown_exit           },
    [36] = {"mwait",                      NULL,            undefined_exit         },
    [37] = {"monitor-trap-flag",          NULL,            unknown_exit           },
    [38] = {"unknown",                    NULL,            unknown_exit           },
    [39] = {"monitor",                    NULL,            undefined_exit         },
    [40] = {"pause",                      NULL,            pause_exit             },
    [EXIT_ENTRY_MACHINE_CHECK] = {"entry-machine-check",        NULL,            unknown_exit           },
    [42] = {"unknown",                    NULL,            unknown_exit           },
    [43] = {"tpr-below-threshold",        NULL,            unknown_exit           },
    [44] = {"apic-access",                "qualification", apic_access_exit       },
    [45] = {"virtualized-eoi",            "qualification", apic_eoi_exit          },
    [46] = {"gdtr-or-idtr",               NULL,            unknown_exit           },
    [47] = {"ldtr-or-tr",                 NULL,            unknown_exit           },
    [48] = {"ept-violation",              "address",       vmx_ept_violation_exit },
    [49] = {"ept-misconfiguration",       NULL,            unknown_exit           },
    [50] = {"invept",                     NULL,            nested_exit            },
    [51] = {"rdtscp",                     NULL,            unknown_exit           },
    [52] = {"preemption-timer",           NULL,            timer_exit             },
    [53] = {"invvpid",                    NULL,            nested_exit            },
    [54] = {"wbinvd",                     NULL,            skipped_exit           },
    [55] = {"xsetbv",                     NULL,            vmx_xsetbv_exit        },
    [56] = {"apic-write",                 "qualification", apic_write_exit        },
    [57] = {"rdrand",                     NULL,            unknown_exit           },
    [58] = {"invpcid",                    NULL,            unknown_exit           },
    [59] = {"vmfunc",                     NULL,            undefined_exit         },
    [60] = {"encls",                      NULL,            unknown_exit           },
    [61] = {"rdseed",                     NULL,            unknown_exit           },
    [62] = {"page-modification-log-full", NULL,            unknown_exit           },
    [63] = {"xsaves",                     NULL,            unknown_exit           },
    [64] = {"xrstors",                    NULL,            unknown_exit           },
    [EXIT_REASONS... EXIT_ROWS - 1] = {"unknown",                    NULL,            unknown_exit           },
};

const char *virt_exit_name(u32 reason)
{
    return reason < EXIT_REASONS ? exits[reason].name : "unknown";
}

const char *virt_exit_detail(u32 reason)
{
    return reason < EXIT_REASONS ? exits[reason].detail : NULL;
}

/* Bit 31 set: the entry failed. Else a reason newer than the table. */
static COLD enum outcome other_exit(struct vmx_vcpu *v, struct trace_record *record, u32 reason)
{
    record->detail = vmcs_read(EXIT_QUALIFICATION);
    if ((u16)reason < EXIT_REASONS)
        v->exits[(u16)reason]++;
    return reason & ENTRY_FAILED ? entry_failure(v) : unknown_exit(v, record);
}

enum outcome vmx_exit_handle(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    if (UNLIKELY(reason >= EXIT_REASONS))
        return other_exit(v, record, (u32)reason);
    reason = SPECULATION_MASK(reason, EXIT_ROWS);
    v->exits[reason]++;
    return exits[reason].handler(v, record);
}
