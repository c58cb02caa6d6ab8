/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The choice of the event to inject over its whole input space, and what of it ends up in the VMCS.
 * SDM 3A 6.9 "Prioritization of Concurrent Events", 3C 24.8.3, 26.2.1.3, 26.5 "Event Injection".
 *
 * links: vmx/event.c vmx/apicv.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "vmx/event.h"

static int set_up(void **state)
{
    (void)state;
    bench_start();
    return 0;
}

static bool external_is_possible(const struct event_inputs *in)
{
    return in->interrupt_flag && !(in->interruptibility & 1) && !(in->interruptibility & 2);
}

/* An NMI also waits for the end of blocking by STI, as 3C 26.3.1.5 allows a CPU to demand. */
static bool nmi_is_possible(const struct event_inputs *in)
{
    return !(in->interruptibility & 1) && !(in->interruptibility & 2) && !(in->interruptibility & 8);
}

/*
 * The rules, as statements about the result rather than as a way to get there:
 * - what hardware had begun to deliver comes before anything new, then exceptions, then a pending debug trap, with
 *   which nothing is injected, then NMI, then interrupts;
 * - nothing is injected that is blocked, and something is if something is possible;
 * - whatever is pending and does not go in has its window armed, and no window is armed for nothing.
 */
static void check_choice(const struct event_inputs *in, const struct event_choice *c)
{
    bool may[] = {[EVENT_REINJECT] = in->reinject,
                  [EVENT_EXCEPTION] = in->exception,
                  [EVENT_NMI] = in->nmi && !in->trap && nmi_is_possible(in),
                  [EVENT_EXTERNAL] = in->external && !in->trap && external_is_possible(in)};

    if (c->kind != EVENT_NONE)
        assert_true(may[c->kind]);
    for (enum event_kind higher = EVENT_REINJECT; higher <= EVENT_EXTERNAL; higher++)
        if (c->kind == EVENT_NONE || higher < c->kind)
            assert_false(may[higher]);
    assert_int_equal(!!(c->windows & PROC_NMI_WINDOW), in->nmi && c->kind != EVENT_NMI);
    assert_int_equal(!!(c->windows & PROC_INTERRUPT_WINDOW), in->external && c->kind != EVENT_EXTERNAL);
    assert_int_equal(c->windows & ~(PROC_NMI_WINDOW | PROC_INTERRUPT_WINDOW),
                     in->trap && c->kind == EVENT_NONE ? EVENT_TRAP_FIRST : 0);
}

static void test_choice_over_all_inputs(void **state)
{
    unsigned count = 0;

    (void)state;
    for (u32 flags = 0; flags < 64; flags++) {
        for (u32 interruptibility = 0; interruptibility < 32; interruptibility++) {
            struct event_inputs in = {flags & 1,  flags & 2,  flags & 4,       flags & 8,
                                      flags & 16, flags & 32, interruptibility};
            struct event_choice choice = vmx_event_choose(&in);
            check_choice(&in, &choice);
            count++;
        }
    }
    assert_int_equal(count, 2048);
}

/* SDM 3A 6.13 "Error Code", and the table of 6.15. */
static void test_error_codes(void **state)
{
    (void)state;
    for (unsigned vector = 0; vector < 32; vector++) {
        bool has = vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
        VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE);
        vmx_inject_exception(&bench.v, (u8)vector, 0x18);
        assert_int_equal(bench.v.exception.info, 0x80000300u | vector | (has ? 0x800 : 0));
        VMCS_SET(GUEST_CR0, CR0_NE);
        vmx_inject_exception(&bench.v, (u8)vector, 0x18);
        assert_int_equal(bench.v.exception.info, 0x80000300u | vector);
    }
    assert_int_equal(bench.v.base.requests, VCPU_REQUEST_EVENT);
}

/* A debug trap that is pending comes first; what waits follows when it has been delivered. SDM 3A 6.9, table 6-2 */
static void test_a_debug_trap_comes_first(void **state)
{
    u32 closed = vmcs_read(PROC_CONTROLS);

    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_ENABLED | 1);
    vmx_event_trap_first(&bench.v);
    assert_int_equal(bench.v.base.requests, VCPU_REQUEST_EVENT);
    bench.interrupt = true;
    bench.vector = 0x20;
    for (u32 i = 0; i < 2; i++) { /* also if the vCPU leaves its CPU before it enters */
        vmx_event_prepare(&bench.v);
        assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
        assert_int_equal(vmcs_read(PROC_CONTROLS), closed | PROC_INTERRUPT_WINDOW);
    }
    VMCS_SET(GUEST_PENDING_DEBUG, 0); /* it has exited, and is reflected */
    vmx_inject_exception(&bench.v, VECTOR_DB, 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000301);
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000020);
    assert_int_equal(bench.v.base.windows, 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed);
}

static void test_exception_goes_in_once(void **state)
{
    (void)state;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS); /* blocks no fault */
    vmx_inject_exception(&bench.v, VECTOR_PF, 6);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000b0e);
    assert_int_equal(vmcs_read(ENTRY_EXCEPTION_ERROR_CODE), 6);
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0x00000b0e); /* the entry clears the valid bit */
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x00000b0e);
}

/* Faults push RF; traps, #DB and aborts leave it as it is: SDM 3B 17.3.1.1. */
static void test_a_fault_pushes_rf(void **state)
{
    static const struct {
        u8 vector;
        bool sets;
    } vectors[] = {
        {0,  true },
        {1,  false},
        {3,  false},
        {4,  false},
        {5,  true },
        {6,  true },
        {8,  false},
        {11, true },
        {13, true },
        {14, true },
        {17, true },
        {18, false}
    };

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        VMCS_SET(GUEST_RFLAGS, RFLAGS_IF);
        vmx_inject_exception(&bench.v, vectors[i].vector, 0);
        vmx_event_prepare(&bench.v);
        assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_IF | (vectors[i].sets ? RFLAGS_RF : 0));
    }
}

static void test_interrupt_waits_for_its_window(void **state)
{
    u32 closed = vmcs_read(PROC_CONTROLS);

    (void)state;
    bench.interrupt = true;
    bench.vector = 0x20;
    vmx_event_prepare(&bench.v); /* IF is 0 */
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed | PROC_INTERRUPT_WINDOW);
    assert_int_equal(bench.acknowledged, 0);

    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);

    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI); /* blocks NMIs only */
    bench.v.base.halted = true;
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000020);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed);
    assert_int_equal(bench.acknowledged, 1);
    assert_false(bench.v.base.halted);
}

/* The one behind it needs the window, which the guest's IRET or STI opens. */
static void test_second_interrupt_arms_the_window(void **state)
{
    u32 closed = vmcs_read(PROC_CONTROLS);

    (void)state;
    bench.interrupt = bench.another = true;
    bench.vector = 0x70;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000070);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed | PROC_INTERRUPT_WINDOW);
    bench.vector = 0x71;
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000071);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed);
}

/* The request went away before the window came: the window closes again. */
static void test_withdrawn_interrupt_closes_the_window(void **state)
{
    u32 closed = vmcs_read(PROC_CONTROLS);

    (void)state;
    bench.interrupt = true;
    vmx_event_prepare(&bench.v);
    bench.interrupt = false;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
}

/* A local APIC whose LINT0 is closed keeps the PIC's request away. */
static void test_closed_lint0(void **state)
{
    (void)state;
    bench.interrupt = true;
    bench.extint = false;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_event_prepare(&bench.v);
    assert_int_equal(bench.acknowledged, 0);
    assert_int_equal(fake_vmcs_write_count(), 0);
}

/* The local APIC's own vector; the PIC's goes first. */
static void test_local_apic(void **state)
{
    (void)state;
    bench.interrupt = true;
    bench.apic_pending = 0x55;
    bench.vector = 0x20;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000020);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_INTERRUPT_WINDOW); /* there is another */
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000055);
    assert_int_equal(bench.apic_pending, -1);
}

static void test_nmi(void **state)
{
    u32 closed = vmcs_read(PROC_CONTROLS);

    (void)state;
    bench.v.base.nmi_waiting = true;
    bench.interrupt = true;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed | PROC_NMI_WINDOW | PROC_INTERRUPT_WINDOW);
    VMCS_SET(GUEST_INTERRUPTIBILITY, 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000202);
    assert_int_equal(vmcs_read(PROC_CONTROLS), closed | PROC_INTERRUPT_WINDOW);
    assert_false(bench.v.base.nmi_waiting);
}

/* An exit interrupted a delivery: the same event, with its error code or instruction length, goes in again. */
static void test_reinjection(void **state)
{
    static const struct {
        u32 vectoring;
        u32 injected;
        bool has_error, has_length;
    } cases[] = {
        {0x80000020, 0x80000020, false, false}, /* external interrupt 0x20 */
        {0x80001b0e, 0x80000b0e, true,  false}, /* #PF; bit 12 is undefined here and reserved there */
        {0x80000306, 0x80000306, false, false}, /* #UD */
        {0x80000480, 0x80000480, false, true }, /* INT 0x80 */
        {0x80000603, 0x80000603, false, true }, /* INT3 */
        {0x80000501, 0x80000501, false, true }, /* INT1 */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bench_start();
        VMCS_SET(IDT_VECTORING_INFO, cases[i].vectoring);
        VMCS_SET(IDT_VECTORING_ERROR_CODE, 0x55);
        VMCS_SET(EXIT_INSTRUCTION_LENGTH, 2);
        bench.interrupt = true;
        vmx_event_save_interrupted(&bench.v);
        assert_true(bench.v.base.requests & VCPU_REQUEST_EVENT);
        VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
        vmx_event_prepare(&bench.v);
        assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), cases[i].injected);
        assert_int_equal(vmcs_read(ENTRY_EXCEPTION_ERROR_CODE), cases[i].has_error ? 0x55 : 0);
        assert_int_equal(vmcs_read(ENTRY_INSTRUCTION_LENGTH), cases[i].has_length ? 2 : 0);
        assert_int_equal(bench.acknowledged, 0); /* the new interrupt waits */
        assert_true(vmcs_read(PROC_CONTROLS) & PROC_INTERRUPT_WINDOW);
        vmx_event_prepare(&bench.v);
        assert_int_equal(bench.acknowledged, 1);
    }
}

/* Prepared, but the vCPU was sent off its CPU before the entry: the next preparation must not overwrite it. */
static void test_prepared_event_survives_a_lost_turn(void **state)
{
    (void)state;
    bench.interrupt = bench.another = true;
    bench.vector = 0x24;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    vmx_event_prepare(&bench.v);
    bench.vector = 0x20;
    vmx_event_take_back(&bench.v);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000024);
    assert_int_equal(bench.acknowledged, 1);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_INTERRUPT_WINDOW);
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0x24); /* entered this time */
    vmx_event_take_back(&bench.v);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000020);

    bench_start();
    vmx_inject_exception(&bench.v, VECTOR_PF, 7);
    vmx_event_prepare(&bench.v);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    bench.interrupt = true;
    vmx_event_take_back(&bench.v);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000b0e);
    assert_int_equal(vmcs_read(ENTRY_EXCEPTION_ERROR_CODE), 7);
}

/* Delivery had set blocking by NMI; the NMI that goes in again must find it off: SDM 3C 26.3.1.5. */
static void test_interrupted_nmi(void **state)
{
    (void)state;
    VMCS_SET(IDT_VECTORING_INFO, 0x80000202);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
    vmx_event_save_interrupted(&bench.v);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000202);
}

static void test_nothing_was_interrupted(void **state)
{
    (void)state;
    VMCS_SET(IDT_VECTORING_INFO, 0x00000b0e);
    vmx_event_save_interrupted(&bench.v);
    assert_int_equal(bench.v.reinject.info, 0);
    assert_int_equal(bench.v.base.requests, 0);
}

/* An exception of ours beside an interrupted delivery is dropped: it comes again with its instruction, or never. */
static void test_reinjection_drops_a_stale_exception(void **state)
{
    (void)state;
    VMCS_SET(IDT_VECTORING_INFO, 0x80000020);
    vmx_event_save_interrupted(&bench.v);
    vmx_inject_exception(&bench.v, VECTOR_GP, 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0x80000020);
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
}

/* Nothing to do must cost no VMWRITE: it is on the exit path. */
static void test_nothing_pending_writes_nothing(void **state)
{
    (void)state;
    vmx_event_prepare(&bench.v);
    assert_int_equal(fake_vmcs_write_count(), 0);
}

/* With QUIRK_NMI_BLOCKING one vCPU's blocking by NMI passes to the next one: without an NMI in service it is not this
 * one's. */
static void test_foreign_nmi_blocking(void **state)
{
    (void)state;
    quirks_found = BIT(QUIRK_NMI_BLOCKING);
    bench.v.base.nmi_waiting = true;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), EVENT_VALID | EVENT_TYPE_NMI << 8 | 2);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);

    /* Its own lasts up to its IRET, for which the window exit is armed, whatever else is prepared meanwhile. */
    VMCS_SET(ENTRY_INTERRUPTION_INFO, 0);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_NMI_WINDOW);
    bench.v.base.nmi_waiting = true;
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
    bench.v.base.nmi_waiting = false;
    vmx_event_prepare(&bench.v);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_NMI_WINDOW);
}

/* A CPU that does it right keeps its own account. */
static void test_nmi_blocking_is_believed(void **state)
{
    (void)state;
    bench.v.base.nmi_waiting = true;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
    vmx_event_prepare(&bench.v);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_NMI_WINDOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_foreign_nmi_blocking, set_up),
        cmocka_unit_test_setup(test_nmi_blocking_is_believed, set_up),
        cmocka_unit_test_setup(test_choice_over_all_inputs, set_up),
        cmocka_unit_test_setup(test_error_codes, set_up),
        cmocka_unit_test_setup(test_a_debug_trap_comes_first, set_up),
        cmocka_unit_test_setup(test_exception_goes_in_once, set_up),
        cmocka_unit_test_setup(test_a_fault_pushes_rf, set_up),
        cmocka_unit_test_setup(test_interrupt_waits_for_its_window, set_up),
        cmocka_unit_test_setup(test_second_interrupt_arms_the_window, set_up),
        cmocka_unit_test_setup(test_withdrawn_interrupt_closes_the_window, set_up),
        cmocka_unit_test_setup(test_closed_lint0, set_up),
        cmocka_unit_test_setup(test_local_apic, set_up),
        cmocka_unit_test_setup(test_nmi, set_up),
        cmocka_unit_test_setup(test_reinjection, set_up),
        cmocka_unit_test_setup(test_prepared_event_survives_a_lost_turn, set_up),
        cmocka_unit_test_setup(test_interrupted_nmi, set_up),
        cmocka_unit_test_setup(test_nothing_was_interrupted, set_up),
        cmocka_unit_test_setup(test_reinjection_drops_a_stale_exception, set_up),
        cmocka_unit_test_setup(test_nothing_pending_writes_nothing, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
