/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The exit for task switches: which EIP the old task is saved with, what becomes of the event that met a task gate,
 * faults on the way, NMI blocking, debug registers, paging. The switch itself is test_task.c's. SDM 3C 25.4.2
 * "Treatment of Task Switches", 27.2.1, 27.2.3, 27.3.3.
 *
 * links: vmx/exit/task_switch.c vmx/insn/task.c vmx/insn/guest.c vmx/insn/guest_physical.c vmx/insn/gva.c vmx/event.c
 * vmx/apicv.c vmx/controls.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "test/fake/host_memory.h"
#include "test/fake/task_bench.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/task_switch.h"
#include "vmx/report/debug.h"

#define RIP    0x1234u
#define LENGTH 7u
#define FIRST  0x100000u /* of the tables, which are RAM */

static struct task_bench tables;
static u32 shutdowns;
static u64 pdpte_of; /* CR3 whose PDPTEs have been asked for */

enum outcome vmx_exit_shut_down(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
    shutdowns++;
    return OUTCOME_STOP;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm;
    (void)reason;
    fail_msg("%s", detail);
}

bool vmx_read_pdptes(const struct vmx_vcpu *v, u64 cr3, u64 pdpte[4])
{
    assert_ptr_equal(v, &bench.v);
    pdpte_of = cr3;
    for (u32 i = 0; i < 4; i++) /* present, to where nothing is */
        pdpte[i] = 0x1000 * (i + 1);
    return true;
}

static void set_segment(struct vmcs_16_rw selector, struct vmcs_32_rw access, const struct task_register *r)
{
    fake_vmcs_set(selector.encoding, r->selector);
    fake_vmcs_set(access.encoding, r->access);
}

/* The tables of task_bench.h in guest memory, and its running task in the VMCS. */
static void set_up(enum task_source source)
{
    struct refusal why;
    const struct task_register *s = tables.state.segment;

    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    bus_init(&bench.vm.bus);
    task_bench_start(&tables, source);
    task_describe(&tables, GDT + NEW, FIRST + NEW_TSS, 0x67, TSS_32 | (source == TASK_IRET ? BUSY : 0));
    task_put(&tables, NEW_TSS + TSS_ESP, 4, FIRST + STACK_TOP);
    pdpte_of = 0;
    set_segment(GUEST_CS_SELECTOR, GUEST_CS_ACCESS, &s[TASK_CS]);
    set_segment(GUEST_SS_SELECTOR, GUEST_SS_ACCESS, &s[TASK_SS]);
    set_segment(GUEST_LDTR_SELECTOR, GUEST_LDTR_ACCESS, &s[TASK_LDTR]);
    set_segment(GUEST_TR_SELECTOR, GUEST_TR_ACCESS, &s[TASK_TR]);
    VMCS_SET(GUEST_TR_BASE, FIRST + OLD_TSS);
    VMCS_SET(GUEST_TR_LIMIT, 0x67);
    VMCS_SET(GUEST_GDTR_BASE, FIRST + GDT);
    VMCS_SET(GUEST_GDTR_LIMIT, GDT_LIMIT);
    VMCS_SET(GUEST_RIP, RIP);
    VMCS_SET(GUEST_RFLAGS, 2);
    VMCS_SET(GUEST_DR7, 0x7ff);
    VMCS_SET(EXIT_INSTRUCTION_LENGTH, LENGTH);
    VMCS_SET(EXIT_QUALIFICATION, (u64)source << 30 | NEW);
}

static enum outcome leave(void)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(FIRST), tables.memory, sizeof tables.memory), STATUS_OK);
    enum outcome outcome = vmx_task_switch_exit(&bench.v, trace_last());
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(FIRST), tables.memory, sizeof tables.memory), STATUS_OK);
    assert_int_equal(bench.v.reinject.info, 0);
    return outcome;
}

static void deliver(u32 type, u32 vector)
{
    set_up(TASK_GATE);
    VMCS_SET(IDT_VECTORING_INFO, EVENT_VALID | type << 8 | vector);
}

static void assert_switched(u32 eip)
{
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_no_exception();
    assert_int_equal(task_get(&tables, OLD_TSS + TSS_EIP, 4), eip);
    assert_int_equal(vmcs_read(GUEST_RIP), 0x5678);
    assert_int_equal(vmcs_read(GUEST_TR_SELECTOR), NEW);
    assert_int_equal(vmcs_read(GUEST_TR_BASE), FIRST + NEW_TSS);
    assert_int_equal(vmcs_read(GUEST_TR_LIMIT), 0x67);
    assert_int_equal(vmcs_read(GUEST_TR_ACCESS), 0x8b);
}

/* Behind an instruction that asked for it, also by an interrupt; where it was in all other cases. */
static void test_saved_eip(void **state)
{
    (void)state;
    for (enum task_source source = TASK_CALL; source <= TASK_JMP; source++) {
        set_up(source);
        VMCS_SET(IDT_VECTORING_INFO, 0);
        assert_switched(RIP + LENGTH);
        assert_int_equal(trace_last()->detail, (u64)source << 30 | NEW);
    }
    deliver(EVENT_TYPE_SOFT_INT, 0x80);
    assert_switched(RIP + LENGTH);
    deliver(EVENT_TYPE_SOFT_EXC, VECTOR_BP);
    assert_switched(RIP + LENGTH);
    deliver(EVENT_TYPE_PRIV_SOFT_EXC, VECTOR_DB);
    assert_switched(RIP + LENGTH);
    deliver(EVENT_TYPE_EXTERNAL, 0x20);
    assert_switched(RIP);
    deliver(EVENT_TYPE_EXCEPTION, VECTOR_UD);
    assert_switched(RIP);
    deliver(EVENT_TYPE_NMI, VECTOR_NMI);
    assert_switched(RIP);
}

static void test_state(void **state)
{
    (void)state;
    set_up(TASK_CALL);
    bench.v.gpr[GPR_RDI] = 0xffffffff12345678;
    VMCS_SET(GUEST_RSP, 0x8765);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI);
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_SINGLE_STEP | PENDING_DEBUG_ENABLED | 1);
    assert_switched(RIP + LENGTH);
    assert_int_equal(task_get(&tables, OLD_TSS + TSS_ESP, 4), 0x8765);
    assert_int_equal(task_get(&tables, OLD_TSS + 0x44, 4), 0x12345678);
    assert_int_equal(bench.v.gpr[GPR_RDI], 0x88888888);
    assert_int_equal(vmcs_read(GUEST_RSP), FIRST + STACK_TOP);
    assert_int_equal(vmcs_read(GUEST_RFLAGS), 0x4202);
    assert_int_equal(vmcs_read(GUEST_CR0), CR0_PE | CR0_ET | CR0_NE | CR0_TS);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x6aa);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_ENABLED | 1);
    assert_int_equal(vmcs_read(GUEST_CS_ACCESS), CODE_32);
    assert_int_equal(vmcs_read(GUEST_DS_LIMIT), UINT32_MAX);
    assert_int_equal(bench.flushes, 0);
}

static void test_error_code(void **state)
{
    (void)state;
    deliver(EVENT_TYPE_EXCEPTION, VECTOR_GP | EVENT_HAS_ERROR);
    VMCS_SET(IDT_VECTORING_ERROR_CODE, 0x123);
    assert_switched(RIP);
    assert_int_equal(task_get(&tables, STACK_TOP - 4, 4), 0x123);
    assert_int_equal(vmcs_read(GUEST_RSP), FIRST + STACK_TOP - 4);
    set_up(TASK_CALL); /* what the field has there means nothing */
    VMCS_SET(IDT_VECTORING_INFO, EVENT_VALID | EVENT_HAS_ERROR | EVENT_TYPE_EXCEPTION << 8 | VECTOR_DF);
    assert_switched(RIP + LENGTH);
    assert_int_equal(vmcs_read(GUEST_RSP), FIRST + STACK_TOP);
}

/* In the old task: the VMCS is as it was. In the new one it is the new one's. */
static void test_faults(void **state)
{
    struct fake_vmcs_copy before, after;

    (void)state;
    set_up(TASK_CALL);
    task_describe(&tables, GDT + NEW, FIRST + NEW_TSS, 0x67, TSS_32 & ~0x80u);
    fake_vmcs_save(&before);
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_NP, NEW);
    fake_vmcs_save(&after);
    assert_memory_equal(&before, &after, sizeof before);
    set_up(TASK_CALL);
    task_put(&tables, NEW_TSS + TSS_SS, 2, 0);
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_TS, 0);
    assert_int_equal(vmcs_read(GUEST_RIP), 0x5678);
    assert_int_equal(vmcs_read(GUEST_SS_ACCESS), TASK_UNUSABLE | 0x60);
}

/* SDM 3A 6.13: EXT. 6.15, table 6-5: two exceptions. */
static void test_faults_in_a_delivery(void **state)
{
    static const struct {
        u32 type, vector;
        u32 becomes, error;
    } events[] = {
        {EVENT_TYPE_SOFT_INT,      0x80,       VECTOR_TS, DATA    },
        {EVENT_TYPE_SOFT_EXC,      VECTOR_OF,  VECTOR_TS, DATA    },
        {EVENT_TYPE_PRIV_SOFT_EXC, VECTOR_DB,  VECTOR_TS, DATA | 1},
        {EVENT_TYPE_EXTERNAL,      VECTOR_GP,  VECTOR_TS, DATA | 1}, /* a vector alone makes no exception */
        {EVENT_TYPE_NMI,           VECTOR_NMI, VECTOR_TS, DATA | 1},
        {EVENT_TYPE_EXCEPTION,     VECTOR_UD,  VECTOR_TS, DATA | 1},
        {EVENT_TYPE_EXCEPTION,     VECTOR_GP,  VECTOR_DF, 0       },
        {EVENT_TYPE_EXCEPTION,     VECTOR_PF,  VECTOR_DF, 0       },
        {EVENT_TYPE_EXCEPTION,     VECTOR_DE,  VECTOR_DF, 0       },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(events); i++) {
        deliver(events[i].type, events[i].vector);
        task_put(&tables, NEW_TSS + TSS_LDT, 2, DATA);
        assert_int_equal(leave(), OUTCOME_RESUME);
        bench_assert_exception(events[i].becomes, events[i].error);
    }
    deliver(EVENT_TYPE_EXCEPTION, VECTOR_DF | EVENT_HAS_ERROR);
    task_put(&tables, NEW_TSS + TSS_LDT, 2, DATA);
    assert_int_equal(leave(), OUTCOME_STOP);
    assert_int_equal(shutdowns, 1);
    deliver(EVENT_TYPE_EXCEPTION, VECTOR_DF | EVENT_HAS_ERROR); /* but one that works is no triple fault */
    assert_switched(RIP);
    assert_int_equal(shutdowns, 1);
}

/* SDM 3A 6.7.1 "Handling Multiple NMIs": until IRET, which ends it even when it faults. */
static void test_nmi_blocking(void **state)
{
    (void)state;
    deliver(EVENT_TYPE_NMI, VECTOR_NMI);
    assert_switched(RIP);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
    for (u32 faults = 0; faults < 2; faults++) {
        set_up(TASK_IRET);
        VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
        if (faults)
            task_describe(&tables, GDT + NEW, FIRST + NEW_TSS, 0x66, TSS_32 | BUSY);
        leave();
        assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    }
    set_up(TASK_JMP);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_NMI);
    assert_switched(RIP + LENGTH);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
}

/* SDM 3B 17.2.3 "Debug Status Register (DR6)": BT. */
static void test_debug_trap(void **state)
{
    struct vmx_debug debug = {.owns_registers = true, .guest_dr7 = 0x7ff, .guest_dr6 = 0xffff0ff0};

    (void)state;
    for (u32 used = 0; used < 2; used++) {
        set_up(TASK_CALL);
        task_put(&tables, NEW_TSS + TSS_TRAP, 2, 1);
        bench.v.debug_used = used;
        fake_cpu.dr6 = 0xffff0ff1;
        assert_int_equal(leave(), OUTCOME_RESUME);
        bench_assert_exception(VECTOR_DB, 0);
        assert_int_equal(bench.v.dr6, used ? 0xffff8ff1 : 0xffff8ff0);
        assert_int_equal(fake_cpu.dr6, used ? 0xffff8ff1 : 0xffff0ff1);
    }
    set_up(TASK_CALL); /* the registers are a debugger's */
    task_put(&tables, NEW_TSS + TSS_TRAP, 2, 1);
    bench.v.debug = &debug;
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_DB, 0);
    assert_int_equal(debug.guest_dr6, 0xffff8ff0);
    assert_int_equal(debug.guest_dr7, 0x6aa);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x7ff);
}

/* The debugger's TF gets into no TSS, and the step ends behind the first instruction of the new task. */
static void test_a_debuggers_step(void **state)
{
    struct vmx_debug debug;

    (void)state;
    for (u32 tf = 0; tf < 4; tf++) { /* of the old task and of the new one */
        set_up(TASK_IRET);
        debug = (struct vmx_debug){.stepping = true, .guest_tf = tf & 1, .kind = STEP_POPS};
        bench.v.debug = &debug;
        task_put(&tables, NEW_TSS + TSS_EFLAGS, 4, 2 | (tf & 2 ? RFLAGS_TF : 0));
        VMCS_SET(GUEST_RFLAGS, 2 | RFLAGS_TF);
        assert_switched(RIP + LENGTH);
        assert_int_equal(task_get(&tables, OLD_TSS + TSS_EFLAGS, 4), 2 | (tf & 1 ? RFLAGS_TF : 0));
        assert_int_equal(vmcs_read(GUEST_RFLAGS), 2 | RFLAGS_TF);
        assert_int_equal(debug.guest_tf, tf & 2 ? 1 : 0);
        assert_int_equal(debug.kind, STEP_PLAIN);
    }
}

/* Paging of 32 bits with large pages, in both tasks. */
static void test_paging(void **state)
{
    u32 directory = 0xa000, other = 0xb000;

    (void)state;
    set_up(TASK_CALL);
    task_put(&tables, directory, 4, 0x83);
    task_put(&tables, other, 4, 0x83);
    task_put(&tables, NEW_TSS + TSS_CR3, 4, FIRST + other);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    VMCS_SET(GUEST_CR4, CR4_PSE);
    VMCS_SET(GUEST_CR3, FIRST + directory);
    assert_switched(RIP + LENGTH);
    assert_int_equal(vmcs_read(GUEST_CR3), FIRST + other);
    assert_int_equal(bench.flushes, 1);
    assert_int_equal(pdpte_of, 0);
    assert_int_equal(task_get(&tables, directory, 4), 0xe3);
    assert_int_equal(task_get(&tables, other, 4), 0xa3); /* read alone */
    /* A page that only the user may read: SMAP, whatever EFLAGS.AC says. */
    set_up(TASK_CALL);
    task_put(&tables, directory, 4, 0x87);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    VMCS_SET(GUEST_CR4, CR4_PSE | CR4_SMAP);
    VMCS_SET(GUEST_CR3, FIRST + directory);
    VMCS_SET(GUEST_RFLAGS, 2 | RFLAGS_AC);
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_PF, PF_PRESENT);
    assert_int_equal(fake_cpu.cr2, FIRST + GDT + NEW);
    assert_int_equal(vmcs_read(GUEST_CR3), FIRST + directory);
}

static void test_pae(void **state)
{
    (void)state;
    set_up(TASK_CALL);
    task_put(&tables, 0xa000, 4, 0x83);
    task_put(&tables, NEW_TSS + TSS_CR3, 4, 0xb000);
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    VMCS_SET(GUEST_CR4, CR4_PAE);
    VMCS_SET(GUEST_PDPTE0, (FIRST + 0xa000) | 1);
    assert_int_equal(leave(), OUTCOME_RESUME);
    assert_int_equal(pdpte_of, 0xb000);
    assert_int_equal(vmcs_read(GUEST_CR3), 0xb000);
    assert_int_equal(vmcs_read(GUEST_PDPTE3), 0x4000);
    bench_assert_exception(VECTOR_PF, 0); /* the new tables map nothing, so the code segment is not found */
    assert_int_equal(fake_cpu.cr2, FIRST + GDT + CODE);
}

/* Where no RAM is, all reads as ones: the descriptor is no TSS's. */
static void test_tables_outside_ram(void **state)
{
    (void)state;
    set_up(TASK_CALL);
    VMCS_SET(GUEST_GDTR_BASE, 0x10000000);
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, NEW);
    set_up(TASK_CALL);
    VMCS_SET(GUEST_TR_BASE, 0x10000000); /* what is saved there is lost */
    assert_int_equal(leave(), OUTCOME_RESUME);
    bench_assert_no_exception();
    assert_int_equal(vmcs_read(GUEST_RIP), 0x5678);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_eip),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_error_code),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_faults_in_a_delivery),
        cmocka_unit_test(test_nmi_blocking),
        cmocka_unit_test(test_debug_trap),
        cmocka_unit_test(test_a_debuggers_step),
        cmocka_unit_test(test_paging),
        cmocka_unit_test(test_pae),
        cmocka_unit_test(test_tables_outside_ram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
