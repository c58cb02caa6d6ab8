/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The circle's way back: what an outcome does to RIP, flags, blocking and pending events before the guest is entered
 * again, and when it is left instead.
 *
 * links: vmx/run.c vmx/event.c vmx/points.c vmx/apicv.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "kernel/sched/sched.h"
#include "vmx/check/explain.h"
#include "vmx/event.h"
#include "vmx/exit/exit.h"
#include "vmx/load.h"
#include "vmx/points.h"
#include "vmx/report/debug.h"
#include "vmx/report/fault.h"

static enum outcome outcome;
static u32 entries, stops, notes;
static bool entry_fails, no_vmcs;
static jmp_buf entered_again;
static bool arrives_halted, arrives_debugged;

/* What the test has set for the time of the exit: kept away from the first entry. */
static struct {
    u64 requests_or_windows;
    struct vmx_event exception;
    bool interrupt;
    u32 sipi;
} arrives;

enum outcome vmx_exit_handle(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    assert_ptr_equal(v, &bench.v);
    assert_true(v->launched);
    assert_ptr_equal(record, trace_last());
    /* Every exit is on record, whatever becomes of it. */
    assert_int_equal(record->vcpu, 3 << 4 | 1);
    assert_int_equal(record->rip, vmcs_read(GUEST_RIP));
    assert_int_equal(record->cause, reason);
    assert_int_equal(record->action, 0);
    assert_int_equal(reason, 10);
    return outcome;
}

const u8 vmx_exit_entry[1], vmx_exit_guarded[1];

static struct vmx_debug debug;

/* The first entry has an exit, the second one ends the run. */
static bool enter(struct vmx_vcpu *v, const u8 *arrives_at)
{
    assert_ptr_equal(v, &bench.v);
    assert_int_equal(vmcs_read(HOST_RIP), (u64)(uintptr_t)arrives_at);
    if (entry_fails)
        return false;
    if (entries++)
        longjmp(entered_again, 1);
    bench.v.base.requests_or_windows = arrives.requests_or_windows;
    bench.v.exception = arrives.exception;
    bench.interrupt = arrives.interrupt;
    bench.v.base.sipi = arrives.sipi;
    bench.v.base.halted |= arrives_halted;
    bench.v.debug = arrives_debugged ? &debug : NULL;
    return true;
}

bool vmx_run_guest(struct vmx_vcpu *v)
{
    assert_false(vmx_features.speculation.acts & SPECULATION_AT_ENTRY_OR_EXIT);
    return enter(v, vmx_exit_entry);
}

bool vmx_run_guarded(struct vmx_vcpu *v)
{
    assert_true(vmx_features.speculation.acts & SPECULATION_AT_ENTRY_OR_EXIT);
    return enter(v, vmx_exit_guarded);
}

void vmx_load(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
}

static u32 sipis_looked_for, halts, sipi_in_halt;

bool vmx_vcpu_take_sipi(struct vmx_vcpu *v)
{
    bool has = v->base.sipi == VCPU_HAS_SIPI;

    sipis_looked_for++;
    v->base.halted = v->base.halted_masked = !has;
    if (has)
        v->base.sipi = VCPU_RUNS;
    return has;
}

void vmx_debug_begin_anew(struct vmx_vcpu *v)
{
    (void)v;
    fail();
}

void vmx_debug_enter(struct vmx_vcpu *v)
{
    (void)v;
    fail();
}

void fault_note(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
    notes++;
}

bool sched_halt(struct vcpu *vcpu)
{
    assert_true(vcpu->halted);
    halts++;
    if (halts != sipi_in_halt)
        return halts < sipi_in_halt;
    vcpu->sipi = VCPU_HAS_SIPI;
    vcpu->requests = VCPU_REQUEST_EVENT;
    return true;
}

void sched_update_deadline(struct vcpu *vcpu)
{
    (void)vcpu;
}

const char *explain_error_name(u32 error)
{
    assert_int_equal(error, 7);
    return "";
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)detail;
    assert_ptr_equal(vm, &bench.vm);
    assert_int_equal(reason, VM_STOP_ENTRY_FAILURE);
    /* Before the VM is stopped, which is when its vCPUs begin to be retired. */
    assert_true(bench.v.failure.known);
    assert_int_equal(bench.v.failure.how, no_vmcs ? EXPLAIN_VMFAIL_INVALID : EXPLAIN_VMFAIL_VALID);
    assert_int_equal(bench.v.failure.error, no_vmcs ? 0 : 7);
    assert_int_equal(bench.v.failure.current, vmcs_current().raw);
    stops++;
}

static int set_up(void **state)
{
    (void)state;
    bench_start();
    bench.v.base.deadline_tsc = cpu_tsc_low() + 1000000000ull;
    stops = 0;
    sipis_looked_for = halts = sipi_in_halt = 0;
    arrives.sipi = VCPU_RUNS;
    arrives_halted = arrives_debugged = false;
    entry_fails = no_vmcs = false;
    bench.v.base.trace_tag = 3 << 4 | 1;
    VMCS_SET(EXIT_REASON, 10);
    VMCS_SET(GUEST_RIP, 0x1000);
    VMCS_SET(EXIT_INSTRUCTION_LENGTH, 2);
    bench.v.skip_bytes = 5;
    return 0;
}

/* After an exit in the state that the test has set. True: the guest was entered again. */
static bool comes_back(enum outcome after)
{
    outcome = after;
    entries = 0;
    arrives.requests_or_windows = bench.v.base.requests_or_windows;
    arrives.exception = bench.v.exception;
    arrives.interrupt = bench.interrupt;
    bench.v.base.requests_or_windows = 0;
    bench.v.exception.info = 0;
    bench.interrupt = false;
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0); /* as each VM exit leaves it */
    if (setjmp(entered_again))
        return true;
    virt_vcpu_run(&bench.v.base);
    assert_int_equal(entries, 1);
    return false;
}

static void test_rip_by_outcome(void **state)
{
    (void)state;
    notes = 0;
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_RIP), 0x1002);
    assert_true(comes_back(OUTCOME_SKIP_DECODED));
    assert_int_equal(vmcs_read(GUEST_RIP), 0x1007);
    assert_true(comes_back(OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_RIP), 0x1007);
    assert_int_equal(notes, 0);
    assert_false(comes_back(OUTCOME_STOP));
    assert_int_equal(vmcs_read(GUEST_RIP), 0x1007);
    assert_int_equal(trace_last()->action, TRACE_STOP);
    assert_int_equal(notes, 1);
}

/* SDM 3B 17.3.1.1: it is for one instruction, so it stays until that is done. */
static void test_rf_ends_with_the_instruction(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_RF | RFLAGS_IF);
    assert_true(comes_back(OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE | RFLAGS_RF | RFLAGS_IF);
    assert_true(comes_back(OUTCOME_SKIP_DECODED));
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE | RFLAGS_IF);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
}

static u32 trapped_with(u64 rflags)
{
    VMCS_SET(GUEST_RFLAGS, rflags);
    u32 before = fake_vmcs_trapped_count();
    assert_true(comes_back(OUTCOME_SKIP_DECODED));
    return fake_vmcs_trapped_count() - before;
}

/* Each EPT violation leaves RF set: its end must not cost an access that a hypervisor below ours traps. */
static void test_rf_costs_no_trapped_access(void **state)
{
    (void)state;
    (void)trapped_with(RFLAGS_ONE); /* the first entry writes more */
    assert_int_equal(trapped_with(RFLAGS_ONE | RFLAGS_RF), trapped_with(RFLAGS_ONE));
}

static void test_tf_traps_behind_the_instruction(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_NMI);
    assert_true(comes_back(OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_SINGLE_STEP);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE | RFLAGS_TF);
}

/* A breakpoint that MOV SS has met, and one that this instruction meets, with an interrupt that waits. */
static void test_breakpoints_trap_behind_the_instruction(void **state)
{
    (void)state;
    vmx_points_begin(&bench.v);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS);
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_ENABLED | 2);
    bench.v.points_met = 4;
    bench.interrupt = true;
    bench.v.base.requests = VCPU_REQUEST_EVENT;
    assert_true(comes_back(OUTCOME_SKIP_DECODED));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_ENABLED | 6);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_INTERRUPT_WINDOW);
}

/* Blocking by STI costs nothing where nothing waits for its end; what waits gets its turn behind the instruction. */
static void test_blocking_ends_for_what_waits(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI);
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_STI);
    bench.v.base.requests = VCPU_REQUEST_DEADLINE;
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_STI);
    assert_int_equal(bench.v.base.requests, 0);
    bench.v.base.windows = PROC_INTERRUPT_WINDOW;
    assert_true(comes_back(OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_STI);
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);

    bench.v.base.windows = 0;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI);
    bench.interrupt = true;
    bench.vector = 0x31;
    bench.v.base.requests = VCPU_REQUEST_EVENT;
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), EVENT_VALID | 0x31);
    assert_int_equal(bench.v.base.requests, 0);
}

/* SDM 3C 26.3.1.5: with TF set, blocking and no single-step trap pending the entry would be refused. */
static void test_an_exception_ends_the_blocking(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_NMI);
    vmx_inject_exception(&bench.v, VECTOR_DB, 0);
    assert_true(comes_back(OUTCOME_RESUME));
    assert_int_equal((u8)vmcs_read(ENTRY_INTERRUPTION_INFO), VECTOR_DB);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
}

static void test_reschedule_leaves(void **state)
{
    (void)state;
    bench.v.base.requests = VCPU_REQUEST_RESCHEDULE;
    assert_false(comes_back(OUTCOME_SKIP));
    assert_int_equal(vmcs_read(GUEST_RIP), 0x1002);
    assert_int_equal(trace_last()->action, TRACE_LEFT);
    assert_int_equal(bench.v.base.requests, 0);
    bench.v.base.requests = VCPU_REQUEST_RESCHEDULE | VCPU_REQUEST_INIT | VCPU_REQUEST_EVENT;
    assert_false(comes_back(OUTCOME_SKIP));
    assert_int_equal(bench.v.base.requests, VCPU_REQUEST_INIT); /* for its next turn */
}

/* It waits for its SIPI where it is, as in HLT; a CPU that has something else to do leaves it. */
static void test_init_waits_in_place(void **state)
{
    (void)state;
    bench.v.base.requests = VCPU_REQUEST_INIT;
    arrives.sipi = VCPU_WAITS_FOR_SIPI;
    assert_false(comes_back(OUTCOME_SKIP));
    assert_int_equal(sipis_looked_for, 1);
    assert_int_equal(halts, 1);
    assert_true(bench.v.base.halted);
    assert_int_equal(trace_last()->action, TRACE_LEFT);

    bench.v.base.halted = false;
    bench.v.base.sipi = VCPU_RUNS;
    bench.v.base.requests = VCPU_REQUEST_INIT;
    sipi_in_halt = 4;
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(halts, 4);
    assert_int_equal(sipis_looked_for, 1 + 4); /* once for each look */
    assert_false(bench.v.base.halted);

    bench.v.base.requests = VCPU_REQUEST_INIT; /* and the SIPI is there already */
    arrives.sipi = VCPU_HAS_SIPI;
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(halts, 4);
}

/* The debugger's part of the registers is begun anew where the vCPU is entered from outside. */
static void test_init_of_a_debugged_vcpu_leaves(void **state)
{
    (void)state;
    bench.v.base.requests = VCPU_REQUEST_INIT;
    arrives.sipi = VCPU_HAS_SIPI;
    arrives_debugged = true;
    assert_false(comes_back(OUTCOME_SKIP));
    assert_int_equal(sipis_looked_for + halts, 0);
}

/* INIT in HLT: what wakes it does not end the HLT, but makes it wait for SIPI. */
static void test_init_in_hlt(void **state)
{
    (void)state;
    bench.v.base.requests = VCPU_REQUEST_HALT;
    arrives.sipi = VCPU_RUNS;
    sipi_in_halt = 1;
    arrives_halted = true;
    assert_true(comes_back(OUTCOME_SKIP));
    assert_int_equal(halts, 1);
    assert_int_equal(sipis_looked_for, 1);
}

/* SDM 3C 25.5.1: a timer of 0 expires before the guest's first instruction. */
static void test_the_deadline_in_64_bits(void **state)
{
    static const struct {
        u64 now, deadline;
        u32 ticks;
    } rows[] = {
        {1000,               1400,         400       },
        {0xfffffff0,         0x100000010,  0x20      }, /* the halves of the TSC carry */
        {0x200000000,        0x200000000,  0         },
        {0x200000001,        0x200000000,  0         },
        {0x200000000,        0x17fffffff,  0         }, /* 2^31 and more ago: a difference of 32 bits is positive */
        {0x200000000,        0x10000fff0,  0         },
        {0xff00000000,       0xfe00001000, 0         },
        {0xff00000000,       5,            0         },
        {0x0000000100000000, 0x180000001,  0x80000001}, /* and one to come may be negative there */
    };

    (void)state;
    vmx_features.has_timer = true;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        for (u32 shift = 0; shift <= 5; shift += 5) {
            vmx_features.timer_shift = shift;
            fake_cpu.tsc = rows[i].now;
            bench.v.base.deadline_tsc = rows[i].deadline;
            VMCS_SET(PREEMPTION_TIMER_VALUE, 77);
            assert_true(comes_back(OUTCOME_RESUME));
            assert_int_equal(vmcs_read(PREEMPTION_TIMER_VALUE), rows[i].ticks >> shift);
            assert_int_equal(trace_last()->entry_tsc, (u32)rows[i].now);
            VMCS_SET(PREEMPTION_TIMER_VALUE, 77);
            bench.v.base.requests = VCPU_REQUEST_DEADLINE; /* the longer way */
            assert_true(comes_back(OUTCOME_RESUME));
            assert_int_equal(vmcs_read(PREEMPTION_TIMER_VALUE), rows[i].ticks >> shift);
        }
    }
    vmx_features.timer_shift = 0;
}

static void test_failed_entries(void **state)
{
    for (u32 invalid = 0; invalid <= 1; invalid++) {
        set_up(state);
        entry_fails = true;
        no_vmcs = invalid;
        fake_vmcs_set_current(invalid ? VMCS_NONE : 0x1000);
        VMCS_SET(INSTRUCTION_ERROR, 7);
        virt_vcpu_run(&bench.v.base);
        assert_int_equal(stops, 1);
        assert_int_equal(bench.event, TRACE_ENTRY_FAILED);
        assert_int_equal(bench.event_detail, invalid ? 0 : 7);
        assert_false(bench.v.launched);
    }
}

/* Who has something to do against transient execution there goes in and out by the guarded way, and nobody else. */
static void test_guarded(void **state)
{
    (void)state;
    for (u32 act = 1; act <= SPECULATION_VERW; act <<= 1) {
        set_up(state);
        vmx_features.speculation.acts = act;
        assert_true(comes_back(OUTCOME_SKIP)); /* the checks are in vmx_run_guest() and vmx_run_guarded() */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_guarded, set_up),
        cmocka_unit_test_setup(test_rip_by_outcome, set_up),
        cmocka_unit_test_setup(test_rf_ends_with_the_instruction, set_up),
        cmocka_unit_test_setup(test_rf_costs_no_trapped_access, set_up),
        cmocka_unit_test_setup(test_tf_traps_behind_the_instruction, set_up),
        cmocka_unit_test_setup(test_breakpoints_trap_behind_the_instruction, set_up),
        cmocka_unit_test_setup(test_blocking_ends_for_what_waits, set_up),
        cmocka_unit_test_setup(test_an_exception_ends_the_blocking, set_up),
        cmocka_unit_test_setup(test_reschedule_leaves, set_up),
        cmocka_unit_test_setup(test_init_waits_in_place, set_up),
        cmocka_unit_test_setup(test_init_of_a_debugged_vcpu_leaves, set_up),
        cmocka_unit_test_setup(test_init_in_hlt, set_up),
        cmocka_unit_test_setup(test_the_deadline_in_64_bits, set_up),
        cmocka_unit_test_setup(test_failed_entries, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
