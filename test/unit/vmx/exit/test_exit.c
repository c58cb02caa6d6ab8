/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dispatcher over every exit reason: which handler gets it, what is refused, and that nothing unknown is skipped.
 * SDM 3D Appendix C "VMX Basic Exit Reasons".
 *
 * links: vmx/exit/exit.c vmx/event.c vmx/apicv.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/irq.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/lib/format.h"
#include "kernel/sched/sched.h"
#include "kernel/vm/hypercall.h"
#include "vmx/check/explain.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/exit.h"
#include "vmx/exit/io.h"
#include "vmx/exit/mmio.h"
#include "vmx/exit/msr.h"
#include "vmx/exit/task_switch.h"
#include "vmx/report/debug.h"

static const char *called;
static enum vm_stop_reason stop_reason;
static char stop_detail[VM_DETAIL_BYTES];
static u32 stops, deadlines;
static u8 dispatched;

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    va_list arguments;

    assert_ptr_equal(vm, &bench.vm);
    va_start(arguments, detail);
    format_list(stop_detail, sizeof stop_detail, detail, arguments);
    va_end(arguments);
    stop_reason = reason;
    stops++;
}

void irq_dispatch(u8 vector)
{
    dispatched = vector;
}

void sched_deadline_reached(struct vcpu *vcpu)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    deadlines++;
}

static bool yields;

bool sched_yield_to_sibling(struct vcpu *spinner)
{
    assert_ptr_equal(spinner, &bench.v.base);
    return yields;
}

#define HANDLER(function, name)                                                                                        \
    enum outcome function(struct vmx_vcpu *v, struct trace_record *record)                                             \
    {                                                                                                                  \
        assert_ptr_equal(v, &bench.v);                                                                                 \
        assert_ptr_equal(record, trace_last());                                                                        \
        called = name;                                                                                                 \
        return OUTCOME_SKIP_DECODED;                                                                                   \
    }
enum outcome vmx_mmio_execute(struct vmx_vcpu *v, const struct trace_record *record)
{
    assert_ptr_equal(v, &bench.v);
    assert_ptr_equal(record, trace_last());
    called = "mmio";
    return OUTCOME_SKIP_DECODED;
}

/* The launch state that the CPU would keep. */
static bool is_launched;

bool vmcs_clear(hpa_t region)
{
    assert_int_equal(region.raw, bench.v.vmcs.raw);
    is_launched = false;
    return true;
}

bool vmcs_load(hpa_t region)
{
    assert_int_equal(region.raw, bench.v.vmcs.raw);
    return true;
}

HANDLER(vmx_cpuid_exit, "cpuid")
HANDLER(vmx_io_exit, "io")
HANDLER(vmx_cr_exit, "cr")
HANDLER(vmx_dr_exit, "dr")
HANDLER(vmx_ept_violation_exit, "ept")
HANDLER(vmx_msr_read_exit, "rdmsr")
HANDLER(vmx_msr_write_exit, "wrmsr")
HANDLER(vmx_xsetbv_exit, "xsetbv")
HANDLER(vmx_task_switch_exit, "task")

static bool debuggers;
static u32 debug_info;

bool vmx_debug_exception(struct vmx_vcpu *v, u32 info)
{
    assert_ptr_equal(v, &bench.v);
    debug_info = info;
    return debuggers;
}

static u64 test_call(struct vcpu *vcpu, u64 *registers)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    registers[HYPERCALL_EBX]++;
    called = "hypercall";
    return ROOTLET_OK;
}

/* Without snapshot-at=. */
u64 hypercall_rare(struct vcpu *vcpu, u64 *registers, u32 number)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    assert_ptr_equal(registers, bench.v.gpr);
    assert_true(number >= bench.v.base.hypercalls);
    return ROOTLET_ERROR_UNKNOWN;
}

hypercall_t *const hypercall_table[HYPERCALL_ROOM] = {[0 ... HYPERCALL_COUNT - 1] = test_call};

static int set_up(void **state)
{
    (void)state;
    bench_start();
    bench.v.base.hypercalls = HYPERCALL_COUNT;
    bench.v.base.deadline_tsc = UINT64_MAX;
    called = NULL;
    stops = deadlines = 0;
    dispatched = 0;
    stop_detail[0] = 0;
    return 0;
}

static enum outcome exit_with(u32 reason)
{
    struct trace_record *record = trace_begin(3 << 4 | 1);

    VMCS_SET(EXIT_REASON, reason);
    record->cause = (u8)reason;
    return vmx_exit_handle(&bench.v, record, reason);
}

static void records_wrap(void **state)
{
    (void)state;
    bench.local.trace_exit = bench_records + TRACE_EXIT_RECORDS - 1;
    struct trace_record *record = trace_begin(7);
    assert_ptr_equal(record, bench_records);
    assert_ptr_equal(trace_last(), record);
    assert_int_equal(record->tag, 7);
    assert_true(trace_begin(7)->tsc >= record->tsc);
}

/* ---- QUIRK_STI_SHADOW ---- */

#define AT 0x1000u

static u8 code[2]; /* before AT, and at it */
static bool readable;

bool guest_peek(struct vmx_vcpu *v, u64 linear, u8 bytes, u64 *value)
{
    assert_ptr_equal(v, &bench.v);
    assert_int_equal(bytes, 1);
    assert_in_range(linear, AT - 1, AT);
    *value = code[linear - (AT - 1)];
    return readable;
}

static u32 blocking_before;

static u64 blocking_after(u32 reason, u8 before, u8 next, u64 rflags)
{
    static void *state;

    set_up(&state);
    quirks_found = BIT(QUIRK_STI_SHADOW);
    code[0] = before;
    code[1] = next;
    VMCS_SET(GUEST_RIP, AT);
    VMCS_SET(GUEST_RFLAGS, rflags);
    VMCS_SET(GUEST_INTERRUPTIBILITY, blocking_before);
    exit_with(reason);
    return vmcs_read(GUEST_INTERRUPTIBILITY);
}

/* Between STI and HLT, after each exit that may come there; nowhere else, and not where an entry would be refused. */
static void test_blocking_by_sti_is_put_back(void **state)
{
    static const u32 between[] = {1, 7, 52};
    const u64 back = INTERRUPTIBILITY_NMI | INTERRUPTIBILITY_STI;

    (void)state;
    readable = true;
    blocking_before = INTERRUPTIBILITY_NMI;
    for (unsigned i = 0; i < ARRAY_SIZE(between); i++)
        assert_int_equal(blocking_after(between[i], 0xfb, 0xf4, RFLAGS_IF), back);
    assert_int_equal(blocking_after(10, 0xfb, 0xf4, RFLAGS_IF), INTERRUPTIBILITY_NMI); /* CPUID */
    assert_int_equal(blocking_after(7, 0x90, 0xf4, RFLAGS_IF), INTERRUPTIBILITY_NMI);
    assert_int_equal(blocking_after(7, 0xfb, 0x90, RFLAGS_IF), INTERRUPTIBILITY_NMI);
    assert_int_equal(blocking_after(7, 0xfb, 0xf4, 0), INTERRUPTIBILITY_NMI);
    assert_int_equal(blocking_after(7, 0xfb, 0xf4, RFLAGS_IF | RFLAGS_TF), INTERRUPTIBILITY_NMI);
    blocking_before = INTERRUPTIBILITY_MOV_SS; /* the byte before is the end of a MOV SS */
    assert_int_equal(blocking_after(7, 0xfb, 0xf4, RFLAGS_IF), INTERRUPTIBILITY_MOV_SS);
    blocking_before = INTERRUPTIBILITY_NMI;
    readable = false;
    assert_int_equal(blocking_after(7, 0xfb, 0xf4, RFLAGS_IF), INTERRUPTIBILITY_NMI);
}

enum expected { HANDLED, UNDEFINED, PROTECTION, SKIPPED, RESUMED, STOPPED };

static const struct {
    u32 reason;
    enum expected expected;
    const char *handler;
    enum vm_stop_reason stop;
} known[] = {
    {1,  RESUMED,    NULL,     0                   },
    {2,  STOPPED,    NULL,     VM_STOP_TRIPLE_FAULT},
    {7,  RESUMED,    NULL,     0                   },
    {8,  RESUMED,    NULL,     0                   },
    {9,  HANDLED,    "task",   0                   },
    {10, HANDLED,    "cpuid",  0                   },
    {11, UNDEFINED,  NULL,     0                   }, /* GETSEC */
    {12, SKIPPED,    NULL,     0                   }, /* HLT */
    {13, SKIPPED,    NULL,     0                   }, /* INVD */
    {15, PROTECTION, NULL,     0                   }, /* RDPMC */
    {17, UNDEFINED,  NULL,     0                   }, /* RSM */
    {19, UNDEFINED,  NULL,     0                   }, /* VMCLEAR to VMXON */
    {20, UNDEFINED,  NULL,     0                   },
    {21, UNDEFINED,  NULL,     0                   },
    {22, UNDEFINED,  NULL,     0                   },
    {23, UNDEFINED,  NULL,     0                   },
    {24, UNDEFINED,  NULL,     0                   },
    {25, UNDEFINED,  NULL,     0                   },
    {26, UNDEFINED,  NULL,     0                   },
    {27, UNDEFINED,  NULL,     0                   },
    {28, HANDLED,    "cr",     0                   },
    {29, HANDLED,    "dr",     0                   },
    {30, HANDLED,    "io",     0                   },
    {31, HANDLED,    "rdmsr",  0                   },
    {32, HANDLED,    "wrmsr",  0                   },
    {36, UNDEFINED,  NULL,     0                   }, /* MWAIT */
    {39, UNDEFINED,  NULL,     0                   }, /* MONITOR */
    {40, SKIPPED,    NULL,     0                   }, /* PAUSE */
    {44, HANDLED,    "mmio",   0                   }, /* APIC access */
    {45, RESUMED,    NULL,     0                   }, /* virtualized EOI */
    {48, HANDLED,    "ept",    0                   },
    {50, UNDEFINED,  NULL,     0                   }, /* INVEPT */
    {52, RESUMED,    NULL,     0                   }, /* preemption timer */
    {53, UNDEFINED,  NULL,     0                   }, /* INVVPID */
    {54, SKIPPED,    NULL,     0                   }, /* WBINVD */
    {55, HANDLED,    "xsetbv", 0                   },
    {56, RESUMED,    NULL,     0                   }, /* APIC write */
    {59, UNDEFINED,  NULL,     0                   }, /* VMFUNC */
};

static void check_known(u32 at)
{
    enum outcome outcome = exit_with(known[at].reason);

    assert_int_equal(stops, known[at].expected == STOPPED);
    switch (known[at].expected) {
    case HANDLED:
        assert_int_equal(outcome, OUTCOME_SKIP_DECODED);
        assert_string_equal(called, known[at].handler);
        break;
    case UNDEFINED:
        assert_int_equal(outcome, OUTCOME_RESUME);
        bench_assert_exception(VECTOR_UD, 0);
        break;
    case PROTECTION:
        assert_int_equal(outcome, OUTCOME_RESUME);
        bench_assert_exception(VECTOR_GP, 0);
        break;
    case SKIPPED:
        assert_int_equal(outcome, OUTCOME_SKIP);
        break;
    case RESUMED:
        assert_int_equal(outcome, OUTCOME_RESUME);
        break;
    case STOPPED:
        assert_int_equal(outcome, OUTCOME_STOP);
        assert_int_equal(stop_reason, known[at].stop);
        break;
    }
    bench_assert_no_exception();
}

/* Every number up to 16 bits: a known one does what the table says, any other stops the VM and says which it was. */
static void test_every_reason(void **state)
{
    for (u32 reason = 0; reason < 0x10000; reason++) {
        u32 at = 0;
        while (at < ARRAY_SIZE(known) && known[at].reason != reason)
            at++;
        if (reason == 0 || reason == 18)
            continue; /* tested below */
        set_up(state);
        if (at < ARRAY_SIZE(known)) {
            check_known(at);
        } else {
            char expected[32];
            assert_int_equal(exit_with(reason), OUTCOME_STOP);
            assert_int_equal(stops, 1);
            assert_int_equal(stop_reason, VM_STOP_UNKNOWN_EXIT);
            format_text(expected, sizeof expected, "exit=%u ", reason);
            assert_memory_equal(stop_detail, expected, strlen(expected));
        }
        if (reason < 65)
            assert_int_equal(bench.v.exits[reason], 1);
    }
}

/* SDM 3C 27.2.1, tables "Exit Qualification for APIC-Access VM Exits" and what else the APIC's exits say. */
static void test_apic_exits(void **state)
{
    (void)state;
    VMCS_SET(EXIT_QUALIFICATION, 0x1390); /* a linear write */
    assert_int_equal(exit_with(44), OUTCOME_SKIP_DECODED);
    for (u64 type = 2; type < 16; type++) {
        set_up(state);
        VMCS_SET(EXIT_QUALIFICATION, type << 12 | 0x80);
        assert_int_equal(exit_with(44), OUTCOME_STOP);
        assert_int_equal(stop_reason, VM_STOP_UNSUPPORTED_INSTRUCTION);
    }
    VMCS_SET(EXIT_QUALIFICATION, 0x45);
    exit_with(45);
    assert_int_equal(bench.ended, 0x45);
    VMCS_SET(EXIT_QUALIFICATION, 0x380);
    exit_with(56);
    assert_int_equal(bench.apic_written, 0x380ull << 32);
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        assert_string_not_equal(virt_exit_name(known[i].reason), "unknown");
    assert_string_equal(virt_exit_name(10), "cpuid");
    assert_string_equal(virt_exit_name(64), "xrstors");
    assert_string_equal(virt_exit_name(35), "unknown");
    assert_string_equal(virt_exit_name(~0u), "unknown");
}

static void test_failed_entries(void **state)
{
    static const u32 reasons[] = {33, 34};

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        set_up(state);
        assert_int_equal(exit_with(0x80000000 | reasons[i]), OUTCOME_STOP);
        assert_int_equal(stop_reason, VM_STOP_ENTRY_FAILURE);
        assert_non_null(strstr(stop_detail, virt_exit_name(reasons[i])));
        assert_true(bench.v.failure.known);
        assert_int_equal(bench.v.failure.how, EXPLAIN_EXIT);
    }
}

static bool exit_panics(u32 reason)
{
    jmp_buf panicked;

    bench_panic = &panicked;
    if (!setjmp(panicked)) {
        exit_with(reason);
        return false;
    }
    bench_panic = NULL;
    return true;
}

/* SDM 3C 26.8 and 25.2: a machine check is the host's, in the guest and on the way into it; no guest is told or
 * stopped. */
static void test_machine_checks(void **state)
{
    (void)state;
    assert_true(exit_panics(0x80000029));
    VMCS_SET(EXIT_INTERRUPTION_INFO, EVENT_VALID | EVENT_TYPE_EXCEPTION << 8 | VECTOR_MC);
    assert_true(exit_panics(0));
    assert_int_equal(stops, 0);
    assert_false(bench.v.failure.known);
    bench_assert_no_exception();
}

/* Code that runs over the end of 4 GiB outside 64-bit mode: RIP wraps as EIP does; in 64-bit mode it is a failure. */
static void test_eip_wraps(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RIP, 0x100000002);
    VMCS_SET(GUEST_CS_ACCESS, 0xe09b); /* CS.L, which means nothing outside IA-32e mode */
    VMCS_SET(ENTRY_INTERRUPTION_INFO, EVENT_VALID | 0x31);
    bench.v.launched = true;
    is_launched = true;
    bench.v.base.requests = 0;
    assert_int_equal(exit_with(0x80000021), OUTCOME_RESUME);
    assert_int_equal(vmcs_read(GUEST_RIP), 2);
    /* The acknowledged interrupt that was to go in comes first again, whatever else is pending by then. */
    assert_int_equal(bench.v.reinject.info, EVENT_VALID | 0x31);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    /* It leaves the guest, to enter by the instruction that fits the launch state, whichever has failed. */
    assert_true(bench.v.base.requests & VCPU_REQUEST_RESCHEDULE);
    assert_false(is_launched || bench.v.launched);
    assert_false(bench.v.failure.known);
    assert_int_equal(exit_with(0x80000021), OUTCOME_STOP); /* only once: a second failure has another cause */
    set_up(state);
    VMCS_SET(GUEST_RIP, 0x100000002);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    bench_set_efer(EFER_LME | EFER_LMA);
    assert_int_equal(exit_with(0x80000021), OUTCOME_STOP);
    assert_int_equal(vmcs_read(GUEST_RIP), 0x100000002);
}

static enum outcome vmcall(u64 number, u32 cpl)
{
    VMCS_SET(GUEST_SS_ACCESS, 0xc093 | cpl << 5);
    bench.v.gpr[GPR_RAX] = number;
    bench.v.gpr[GPR_RBX] = 5;
    called = NULL;
    return exit_with(18);
}

static void test_vmcall(void **state)
{
    (void)state;
    for (u32 number = 0; number < ROOTLET_CALL_COUNT; number++) {
        assert_int_equal(vmcall(0xdead00000000 | number, 0), OUTCOME_SKIP);
        assert_string_equal(called, "hypercall");
        assert_int_equal(bench.v.gpr[GPR_RAX], ROOTLET_OK);
        assert_int_equal(bench.v.gpr[GPR_RBX], 6);
    }
    static const u32 unknown[] = {ROOTLET_CALL_COUNT, 100, 0x7fffffff, ROOTLET_CALL_RESERVED, 0xffffffff};
    for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
        assert_int_equal(vmcall(unknown[i], 0), OUTCOME_SKIP);
        assert_null(called);
        assert_int_equal(bench.v.gpr[GPR_RAX], ROOTLET_ERROR_UNKNOWN);
        assert_int_equal(bench.v.gpr[GPR_RBX], 5);
    }
    bench_assert_no_exception();
}

/* Not for user code, and not there at all in a stealthy VM: #UD as on a CPU without VMX, whatever the number. */
static void test_vmcall_refused(void **state)
{
    static const u32 numbers[] = {0, ROOTLET_CALL_EXIT, ROOTLET_CALL_COUNT, 0xffffffff};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        for (u32 cpl = 1; cpl < 4; cpl++) {
            assert_int_equal(vmcall(numbers[i], cpl), OUTCOME_RESUME);
            assert_null(called);
            assert_int_equal(bench.v.gpr[GPR_RAX], numbers[i]);
            bench_assert_exception(VECTOR_UD, 0);
        }
    }
    bench.vm.spec.stealth = true;
    bench.v.base.hypercalls = 0;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        assert_int_equal(vmcall(numbers[i], 0), OUTCOME_RESUME);
        assert_null(called);
        bench_assert_exception(VECTOR_UD, 0);
    }
}

static void test_hlt(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    assert_int_equal(exit_with(12), OUTCOME_SKIP);
    assert_true(bench.v.base.halted);
    assert_false(bench.v.base.halted_masked);
    assert_true(bench.v.base.requests & VCPU_REQUEST_EVENT);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    assert_int_equal(exit_with(12), OUTCOME_SKIP);
    assert_true(bench.v.base.halted_masked);
    bench.v.base.halted = bench.v.base.halted_masked = false;
    bench.v.base.requests = 0;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF); /* its trap ends it at once */
    assert_int_equal(exit_with(12), OUTCOME_SKIP);
    assert_false(bench.v.base.halted || bench.v.base.halted_masked || bench.v.base.requests);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_ENABLED | 1); /* so does the one that MOV SS has put off */
    bench.v.debug_used = true;
    bench.v.end_flags |= RFLAGS_ONE;
    assert_int_equal(exit_with(12), OUTCOME_SKIP);
    assert_false(bench.v.base.halted);
    VMCS_SET(GUEST_PENDING_DEBUG, 0);
    assert_int_equal(exit_with(12), OUTCOME_SKIP);
    assert_true(bench.v.base.halted);
}

static void test_interrupts_and_deadlines(void **state)
{
    (void)state;
    fake_cpu.tsc = 1000;
    bench.v.base.deadline_tsc = 500;
    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x800000f1);
    assert_int_equal(exit_with(1), OUTCOME_RESUME);
    assert_int_equal(dispatched, 0xf1);
    assert_int_equal(deadlines, 0); /* the preemption timer says so itself */
    assert_int_equal(exit_with(52), OUTCOME_RESUME);
    assert_int_equal(deadlines, 1);
    vmx_features.has_timer = false;
    assert_int_equal(exit_with(1), OUTCOME_RESUME);
    assert_int_equal(deadlines, 2);
    bench.v.base.deadline_tsc = 1001;
    assert_int_equal(exit_with(1), OUTCOME_RESUME);
    assert_int_equal(deadlines, 2);
}

/* The window of PAUSE loops grows while there is nobody to yield to. */
static void test_pause_loops(void **state)
{
    (void)state;
    bench.v.ple_window = PLE_WINDOW_LEAST;
    yields = false;
    for (u32 window = 2 * PLE_WINDOW_LEAST; window <= PLE_WINDOW_MOST; window *= 2) {
        assert_int_equal(exit_with(40), OUTCOME_SKIP);
        assert_int_equal(vmcs_read(PLE_WINDOW), window);
    }
    assert_int_equal(exit_with(40), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(PLE_WINDOW), PLE_WINDOW_MOST);
    yields = true;
    assert_int_equal(exit_with(40), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(PLE_WINDOW), PLE_WINDOW_LEAST);
    assert_false(bench.v.base.requests);
}

static void test_windows_ask_for_an_event(void **state)
{
    (void)state;
    for (u32 reason = 7; reason <= 8; reason++) {
        bench.v.base.requests = 0;
        assert_int_equal(exit_with(reason), OUTCOME_RESUME);
        assert_int_equal(bench.v.base.requests, VCPU_REQUEST_EVENT);
    }
}

/* #AC and #DB exit only so that their delivery can be interrupted: the guest gets them as they were. */
static void test_reflected_exceptions(void **state)
{
    (void)state;
    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000b11); /* #AC(0) */
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(bench.v.exception.info, 0x80000b11);
    bench_assert_exception(VECTOR_AC, 0);

    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000301); /* #DB: breakpoint 1, single step */
    VMCS_SET(EXIT_QUALIFICATION, 0x4002);
    VMCS_SET(GUEST_DR7, 0x2400);
    bench.v.dr6 = 0xffff0ff1; /* an older B0 */
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(bench.v.dr6, 0xffff4ff2);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400);
    bench_assert_exception(VECTOR_DB, 0);

    bench.v.debug_used = true; /* DR6 is the guest's own now */
    fake_cpu.dr6 = 0xffff0ff0;
    VMCS_SET(EXIT_QUALIFICATION, 8);
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(fake_cpu.dr6, 0xffff0ff8);
    bench_assert_exception(VECTOR_DB, 0);

    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000501); /* INT1: a privileged software exception, with its length */
    VMCS_SET(EXIT_INSTRUCTION_LENGTH, 1);
    VMCS_SET(EXIT_QUALIFICATION, 0x4000); /* it meets no condition of DR6, whatever an engine says */
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(fake_cpu.dr6, 0xffff0ff8);
    assert_int_equal(bench.v.exception.info, 0x80000501);
    assert_int_equal(bench.v.exception.length, 1);
}

/* Under a debugger: what is its own, and INT3, which exits for its sake and goes to the guest as INT3 does. */
static void test_exceptions_under_a_debugger(void **state)
{
    (void)state;
    bench.v.debug = (struct vmx_debug *)1;
    debuggers = true;
    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000301);
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(debug_info, 0x80000301);
    bench_assert_no_exception();

    debuggers = false;
    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000603);
    VMCS_SET(EXIT_INSTRUCTION_LENGTH, 1);
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(bench.v.exception.info, 0x80000603);
    assert_int_equal(bench.v.exception.length, 1);
}

#define PAGE_FAULT 0x80000b0eu

static enum outcome fault_in(u32 fault, u32 delivery)
{
    VMCS_SET(EXIT_INTERRUPTION_INFO, fault);
    VMCS_SET(EXIT_INTERRUPTION_ERROR_CODE, 6);
    VMCS_SET(EXIT_QUALIFICATION, 0x123456);
    VMCS_SET(IDT_VECTORING_INFO, delivery);
    return exit_with(0);
}

static enum outcome page_fault_in(u32 delivery)
{
    return fault_in(PAGE_FAULT, delivery);
}

/* QUIRK_EXCEPTION_RIP. Which pairs are a double fault: SDM 3A 6.15, table 6-5. */
static void test_page_faults_are_reflected(void **state)
{
    static const u8 serial[] = {VECTOR_DE, VECTOR_UD, VECTOR_TS, VECTOR_NP, VECTOR_SS, VECTOR_GP};

    (void)state;
    assert_int_equal(page_fault_in(0), OUTCOME_RESUME);
    assert_int_equal(fake_cpu.cr2, 0x123456);
    bench_assert_exception(VECTOR_PF, 6);
    for (unsigned i = 0; i < ARRAY_SIZE(serial); i++) {
        assert_int_equal(page_fault_in(EVENT_VALID | EVENT_TYPE_EXCEPTION << 8 | serial[i]), OUTCOME_RESUME);
        bench_assert_exception(VECTOR_PF, 6);
    }
    assert_int_equal(page_fault_in(EVENT_VALID | EVENT_TYPE_EXCEPTION << 8 | VECTOR_PF), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_DF, 0);
    assert_int_equal(page_fault_in(EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | 14), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, 6);
    assert_int_equal(stops, 0);
    assert_int_equal(page_fault_in(EVENT_VALID | EVENT_TYPE_EXCEPTION << 8 | VECTOR_DF), OUTCOME_STOP);
    assert_int_equal(stop_reason, VM_STOP_TRIPLE_FAULT);
}

/* Likewise of the others; those that are benign are no double fault with anything. */
static void test_faults_are_reflected(void **state)
{
    static const struct {
        u32 info;
        bool contributory;
    } faults[] = {
        {0x80000300 | VECTOR_DE, true },
        {0x80000300 | VECTOR_BR, false},
        {0x80000300 | VECTOR_UD, false},
        {0x80000300 | VECTOR_NM, false},
        {0x80000b00 | VECTOR_TS, true },
        {0x80000b00 | VECTOR_NP, true },
        {0x80000b00 | VECTOR_SS, true },
        {0x80000b00 | VECTOR_GP, true },
        {0x80000300 | VECTOR_MF, false},
        {0x80000300 | VECTOR_XM, false},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
        u32 info = faults[i].info;
        u32 error = info & EVENT_HAS_ERROR ? 6 : 0;
        set_up(state);
        assert_int_equal(fault_in(info, 0), OUTCOME_RESUME);
        bench_assert_exception((u8)info, error);
        assert_int_equal(fake_cpu.cr2, 0);
        assert_int_equal(fault_in(info, EVENT_VALID | EVENT_TYPE_EXTERNAL << 8 | VECTOR_GP), OUTCOME_RESUME);
        bench_assert_exception((u8)info, error);
        assert_int_equal(fault_in(info, 0x80000b00 | VECTOR_PF), OUTCOME_RESUME);
        bench_assert_exception(faults[i].contributory ? VECTOR_DF : (u8)info, faults[i].contributory ? 0 : error);
        assert_int_equal(fault_in(info, 0x80000300 | VECTOR_UD), OUTCOME_RESUME);
        bench_assert_exception((u8)info, error);
        if (!faults[i].contributory)
            continue;
        assert_int_equal(stops, 0);
        assert_int_equal(fault_in(info, 0x80000b00 | VECTOR_DF), OUTCOME_STOP);
        assert_int_equal(stop_reason, VM_STOP_TRIPLE_FAULT);
        assert_int_equal(trace_last()->cause, 2); /* as if the CPU had said so */
    }
}

/* SDM 3C 25.3: IRET ends the blocking by NMI even if it faults. */
static void test_page_fault_of_an_iret(void **state)
{
    (void)state;
    VMCS_SET(EXIT_INTERRUPTION_INFO, PAGE_FAULT | BIT(12));
    VMCS_SET(IDT_VECTORING_INFO, 0);
    exit_with(0);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(bench.v.exception.info, PAGE_FAULT);
}

/* A guest whose #DB handler traps again and again must still lose the CPU at its deadline. */
static void test_exceptions_do_not_outrun_the_deadline(void **state)
{
    (void)state;
    fake_cpu.tsc = 1000;
    bench.v.base.deadline_tsc = 1000;
    VMCS_SET(EXIT_INTERRUPTION_INFO, 0x80000301);
    assert_int_equal(exit_with(0), OUTCOME_RESUME);
    assert_int_equal(deadlines, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_blocking_by_sti_is_put_back, set_up),
        cmocka_unit_test_setup(records_wrap, set_up),
        cmocka_unit_test_setup(test_every_reason, set_up),
        cmocka_unit_test_setup(test_apic_exits, set_up),
        cmocka_unit_test_setup(test_names, set_up),
        cmocka_unit_test_setup(test_failed_entries, set_up),
        cmocka_unit_test_setup(test_machine_checks, set_up),
        cmocka_unit_test_setup(test_eip_wraps, set_up),
        cmocka_unit_test_setup(test_vmcall, set_up),
        cmocka_unit_test_setup(test_vmcall_refused, set_up),
        cmocka_unit_test_setup(test_hlt, set_up),
        cmocka_unit_test_setup(test_interrupts_and_deadlines, set_up),
        cmocka_unit_test_setup(test_pause_loops, set_up),
        cmocka_unit_test_setup(test_windows_ask_for_an_event, set_up),
        cmocka_unit_test_setup(test_reflected_exceptions, set_up),
        cmocka_unit_test_setup(test_exceptions_under_a_debugger, set_up),
        cmocka_unit_test_setup(test_exceptions_do_not_outrun_the_deadline, set_up),
        cmocka_unit_test_setup(test_page_faults_are_reflected, set_up),
        cmocka_unit_test_setup(test_faults_are_reflected, set_up),
        cmocka_unit_test_setup(test_page_fault_of_an_iret, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
