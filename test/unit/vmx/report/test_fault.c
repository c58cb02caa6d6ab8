/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A triple fault explained: which exception was the first, from the flight recorder or from the CPU that is asked once
 * more, and which step of its delivery cannot be done.
 *
 * links: vmx/report/fault.c vmx/report/remark.c vmx/insn/guest.c vmx/insn/guest_physical.c vmx/insn/gva.c vmx/event.c
 * links: vmx/apicv.c vmx/controls.c kernel/vm/bus.c kernel/vm/memory.c kernel/vm/layer.c kernel/lib/string.c
 * test/fake/vmcs.c links: test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"

#include "arch/x86/irq.h"
#include "kernel/lib/format.h"
#include "kernel/log.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/entry.h"
#include "vmx/exit/mmio.h"
#include "vmx/report/fault.h"

#define CODE    0x8000u
#define IDT     0x10000u
#define GDT     0x14000u
#define TSS     0x12000u
#define STACK   0x20000u
#define HANDLER 0x9000u

static char line[300];
static u32 lines;
static u8 dispatched[4];
static u32 dispatches;

void log_event(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    lines++;
}

void irq_dispatch(u8 vector)
{
    dispatched[dispatches++] = vector;
}

const char *trace_vector_name(u8 vector)
{
    return vector == 6 ? "#UD" : vector == 8 ? "#DF" : vector == 13 ? "#GP" : vector == 14 ? "#PF" : "other";
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)vm;
    (void)reason;
    fail_msg("%s", detail);
}

/* ---- the flight recorder ---- */

#define RECORDS 8u
static struct trace_record rings[2][RECORDS];
static u32 newest[2];

struct trace_ring trace_ring(u32 cpu, bool events)
{
    assert_int_equal(cpu, 0);
    return (struct trace_ring){rings[events], RECORDS, newest[events]};
}

static void add(bool events, u64 tsc, u8 cause, u64 rip, u64 detail, u8 action)
{
    newest[events] = (newest[events] + 1) % RECORDS;
    rings[events][newest[events]] = (struct trace_record){.tsc = tsc,
                                                          .rip = rip,
                                                          .detail = detail,
                                                          .vcpu = (u16)bench.v.base.trace_tag,
                                                          .cause = cause,
                                                          .action = action};
}

/* ---- the CPU ---- */

/* What it does when the guest runs: each entry ends with one of these. */
static struct {
    u32 reason, info, error;
    u64 qualification;
} exits[4];
static u32 entries, exit_count;

bool vmx_run_guest(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
    /* SDM 3C 26.3.1.5: with TF set nothing may block; with IF clear no interrupt window can open. */
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), 0xffffffff);
    assert_int_equal(vmcs_read(GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_IF), RFLAGS_TF);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY) & 3, 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS) & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW), 0);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_true(vmcs_read(PREEMPTION_TIMER_VALUE) > 0);
    if (entries == exit_count)
        return false;
    VMCS_SET(EXIT_REASON, exits[entries].reason);
    VMCS_SET(EXIT_INTERRUPTION_INFO, exits[entries].info);
    VMCS_SET(EXIT_INTERRUPTION_ERROR_CODE, exits[entries].error);
    VMCS_SET(EXIT_QUALIFICATION, exits[entries].qualification);
    VMCS_SET(GUEST_RIP, 0x1234);
    VMCS_SET(GUEST_RSP, 0x5678);
    entries++;
    return true;
}

static void will_exit(u32 reason, u32 info, u32 error, u64 qualification)
{
    exits[exit_count].reason = reason;
    exits[exit_count].info = info;
    exits[exit_count].error = error;
    exits[exit_count++].qualification = qualification;
}

static void put(u64 address, u64 value, u32 bytes)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(address), &value, bytes), STATUS_OK);
}

/* A 32-bit interrupt gate. */
static void put_gate(u8 vector, u16 selector, u32 offset, u8 access)
{
    put(IDT + 8 * vector, (offset & 0xffff) | (u32)selector << 16 | (u64)access << 40 | (u64)(offset >> 16) << 48, 8);
}

/* A guest in protected mode whose every exception has a handler, and that has had a triple fault all the same. */
static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    bench_start();
    bench.local.self = &bench.local;
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    bus_init(&bench.vm.bus);
    memset(rings, 0, sizeof rings);
    memset(exits, 0, sizeof exits);
    newest[0] = newest[1] = entries = exit_count = lines = dispatches = 0;
    line[0] = 0;
    bench.vm.reason = VM_STOP_TRIPLE_FAULT;
    strcpy(bench.vm.detail, " what=x");
    bench.v.base.trace_tag = 0x10;
    VMCS_SET(GUEST_RIP, CODE);
    VMCS_SET(GUEST_RSP, STACK);
    VMCS_SET(GUEST_IDTR_BASE, IDT);
    VMCS_SET(GUEST_IDTR_LIMIT, 0x7ff);
    VMCS_SET(GUEST_GDTR_BASE, GDT);
    VMCS_SET(GUEST_GDTR_LIMIT, 0x1f);
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    VMCS_SET(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) | PROC_INTERRUPT_WINDOW);
    put(GDT + 8, 0x00cf9b000000ffff, 8);
    put(GDT + 0x10, 0x00cf93000000ffff, 8);
    for (u32 i = 0; i < 32; i++)
        put_gate((u8)i, 8, HANDLER, 0x8e);
    add(false, 100, 10, CODE - 2, 0, TRACE_SKIP);
    add(false, 200, 2, CODE, 0, TRACE_STOP);
    return 0;
}

/* Others' records push the vCPU's own out between the beginning of its report and this part of it. */
static void explain(void)
{
    fault_note(&bench.v);
    struct trace_record kept[2][ARRAY_SIZE(rings[0])];
    memcpy(kept, rings, sizeof kept);
    memset(rings, 0, sizeof rings);
    fault_explain(&bench.v);
    memcpy(rings, kept, sizeof rings);
}

static void assert_says(const char *wanted)
{
    explain();
    assert_int_equal(lines, 1);
    if (strcmp(line, wanted) != 0)
        fail_msg("'%s', not '%s'", line, wanted);
}

/* ---- which was the first ---- */

static void test_asked_again(void **state)
{
    (void)state;
    will_exit(0, 0x80000306, 0, 0);
    assert_says("vm fault name=test vcpu=0 first=#UD rip=0x8000");
    assert_string_equal(bench.vm.detail, " what=x first=#UD");
    assert_int_equal(vmcs_read(GUEST_RIP), CODE);
    assert_int_equal(vmcs_read(GUEST_RSP), STACK);
}

static void test_page_fault_has_its_address(void **state)
{
    (void)state;
    will_exit(0, 0x80000b0e, 2, 0xdead0000);
    assert_says("vm fault name=test vcpu=0 first=#PF error=0x2 address=0xdead0000 rip=0x8000");
}

/* The host's own interrupts and NMIs come first, and are not lost. */
static void test_the_hosts_interrupts(void **state)
{
    (void)state;
    will_exit(1, 0x800000f0, 0, 0);
    will_exit(1, 0x800000f1, 0, 0);
    will_exit(0, 0x80000b0d, 0x18, 0);
    assert_says("vm fault name=test vcpu=0 first=#GP error=0x18 rip=0x8000");
    assert_int_equal(dispatches, 2);
    assert_int_equal(dispatched[0], 0xf0);
    assert_int_equal(dispatched[1], 0xf1);
}

static void test_machine_check(void **state)
{
    jmp_buf there;

    (void)state;
    will_exit(0, 0x80000312, 0, 0);
    bench_panic = &there;
    if (setjmp(there) == 0) {
        explain();
        fail_msg("no panic");
    }
    bench_panic = NULL;
}

/* An instruction that raises nothing, one that exits, an entry that fails: nothing is said of the first. */
static void test_not_known(void **state)
{
    (void)state;
    static const u32 ends[][2] = {
        {0,  0x80000301},
        {30, 0         },
        {48, 0         }
    };
    for (u32 i = 0; i < ARRAY_SIZE(ends); i++) {
        set_up(state);
        will_exit(ends[i][0], ends[i][1], 0, 0);
        assert_says("vm fault name=test vcpu=0 rip=0x8000");
        assert_string_equal(bench.vm.detail, " what=x");
    }
    set_up(state);
    assert_says("vm fault name=test vcpu=0 rip=0x8000");
}

/* The exit before has queued it, and the entry has delivered it: the CPU need not be asked. */
static void test_injected(void **state)
{
    (void)state;
    newest[0] = 0;
    add(false, 100, 31, CODE, 0, TRACE_RESUME);
    add(true, 150, TRACE_INJECT, 0, 0x80000b0d, 0);
    add(false, 200, 2, CODE, 0, TRACE_STOP);
    VMCS_SET(ENTRY_EXCEPTION_ERROR_CODE, 0x10);
    assert_says("vm fault name=test vcpu=0 first=#GP error=0x10 rip=0x8000");
    assert_int_equal(entries, 0);
}

/* One that was delivered long ago, at another instruction or to another vCPU, or a double fault, does not count. */
static void test_injected_before(void **state)
{
    for (u32 i = 0; i < 4; i++) {
        set_up(state);
        newest[0] = 0;
        add(false, 100, 31, i == 0 ? CODE - 2 : CODE, 0, TRACE_RESUME);
        add(true, i == 1 ? 90 : 150, TRACE_INJECT, 0, i == 2 ? 0x80000b08 : 0x80000b0d, 0);
        if (i == 3)
            rings[1][newest[1]].vcpu = 0x20;
        add(false, 200, 2, CODE, 0, TRACE_STOP);
        will_exit(0, 0x80000306, 0, 0);
        assert_says("vm fault name=test vcpu=0 first=#UD rip=0x8000");
    }
}

/* Of an injected page fault the CPU knows the address; if it does not come again, the record has to do. */
static void test_injected_page_fault(void **state)
{
    for (u32 again = 0; again < 2; again++) {
        set_up(state);
        newest[0] = 0;
        add(false, 100, 0, CODE, 0, TRACE_RESUME);
        add(true, 150, TRACE_INJECT, 0, 0x80000b0e, 0);
        add(false, 200, 2, CODE, 0, TRACE_STOP);
        will_exit(again ? 0 : 30, 0x80000b0e, 0, 0x7000);
        assert_says(again ? "vm fault name=test vcpu=0 first=#PF error=0x0 address=0x7000 rip=0x8000"
                          : "vm fault name=test vcpu=0 first=#PF rip=0x8000");
    }
}

static void test_interrupt(void **state)
{
    (void)state;
    rings[0][newest[0] - 1].action = 0x30;
    will_exit(0, 0x80000301, 0, 0);
    assert_says(
        "vm fault name=test vcpu=0 first=INT-0x30 rip=0x8000 remark=\"the IDT's gate of vector 0x30 is not present\"");
}

/* An EPT violation in the middle of the delivery has told what was delivered. */
static void test_delivery_through_nothing(void **state)
{
    (void)state;
    VMCS_SET(IDT_VECTORING_INFO, 0x80000306);
    VMCS_SET(GUEST_IDTR_BASE, 0x40000000);
    assert_says("vm fault name=test vcpu=0 first=#UD rip=0x8000 remark=\"the IDT, at 0x40000000, lies outside RAM\"");
    assert_int_equal(entries, 0);
}

static void test_jump_to_nowhere(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RIP, 0x40000000);
    VMCS_SET(GUEST_IDTR_LIMIT, 0);
    will_exit(48, 0, 0, VIOLATION_FETCH);
    assert_says("vm fault name=test vcpu=0 first=#UD rip=0x40000000 remark=\"CS:RIP, 0x40000000, lies outside RAM; IDT "
                "limit 0: no handler can be reached\"");
}

/* PUSH to nowhere is not emulated; what is with a sound stack has no remark. */
static void test_unsupported_instruction(void **state)
{
    (void)state;
    bench.vm.reason = VM_STOP_UNSUPPORTED_INSTRUCTION;
    explain();
    assert_int_equal(lines, 0);
    VMCS_SET(GUEST_RSP, 0x40000000);
    assert_says("vm fault name=test vcpu=0 rip=0x8000 remark=\"the stack points outside RAM: 0x40000000\"");
    assert_string_equal(bench.vm.detail, " what=x");
    assert_int_equal(entries, 0);
}

/* Only the vCPU that did it, only of that reason, and not under a debugger. */
static void test_whose_fault(void **state)
{
    (void)state;
    bench.vm.reason = VM_STOP_KILLED;
    explain();
    bench.vm.reason = VM_STOP_TRIPLE_FAULT;
    rings[0][newest[0]].action = TRACE_LEFT;
    explain();
    rings[0][newest[0]].action = TRACE_STOP;
    bench.v.debug = (struct vmx_debug *)&bench;
    explain();
    bench.v.debug = NULL;
    bench.v.base.trace_tag = 0x20;
    explain();
    assert_int_equal(lines + entries, 0);
}

/* ---- which step cannot be done ---- */

static void assert_remark(u8 vector, const char *wanted)
{
    char remark[FAULT_REMARK_BYTES];

    fault_remark(&bench.v, vector, remark);
    if (strcmp(remark, wanted) != 0)
        fail_msg("'%s', not '%s'", remark, wanted);
}

static void test_idt(void **state)
{
    (void)state;
    assert_remark(6, "");
    VMCS_SET(GUEST_IDTR_LIMIT, 6 * 8 + 7);
    assert_remark(6, "IDT limit 0x37: the IDT ends before the gate of #DF");
    VMCS_SET(GUEST_IDTR_LIMIT, 6 * 8 + 6);
    assert_remark(6, "IDT limit 0x36: the IDT ends before the gate of #UD");
    VMCS_SET(GUEST_IDTR_LIMIT, 6);
    assert_remark(6, "IDT limit 6: no handler can be reached");
    VMCS_SET(GUEST_IDTR_LIMIT, 0xffff);
    VMCS_SET(GUEST_IDTR_BASE, 0);
    assert_remark(6, "IDTR is as at the start: the guest has loaded no IDT");
    /* From the last byte of RAM on; a gate across two pages of it is read. */
    VMCS_SET(GUEST_IDTR_BASE, MIB(2) - 6 * 8 - 1);
    assert_remark(6, "the IDT, at 0x1fffcf, lies outside RAM");
    VMCS_SET(GUEST_IDTR_BASE, IDT + FRAME_BYTES - 6 * 8 - 3);
    put(IDT + FRAME_BYTES - 3, 0x00008e0000089000, 8);
    put(IDT + FRAME_BYTES - 3 + 16, 0x00008e0000089000, 8);
    assert_remark(6, "");
}

static void test_gates(void **state)
{
    (void)state;
    put_gate(6, 8, HANDLER, 0x0e);
    assert_remark(6, "the IDT's gate of #UD is not present");
    put_gate(6, 8, HANDLER, 0x8c);
    assert_remark(6, "the IDT's gate of #UD has type 12: it is no interrupt or trap gate");
    put_gate(6, 3, HANDLER, 0x8f);
    assert_remark(6, "the IDT's gate of #UD has a null code segment");
    put_gate(6, 0x20, HANDLER, 0x8f);
    assert_remark(6, "the IDT's gate of #UD has code segment 0x20, behind the GDT's limit 0x1f");
    put_gate(6, 0x10, HANDLER, 0x8f);
    assert_remark(6, "the IDT's gate of #UD has segment 0x10, which is no present code segment");
    put_gate(6, 8, 0x40000000, 0x8f);
    assert_remark(6, "the handler of #UD, at 0x40000000, lies outside RAM");
    put_gate(6, 8, HANDLER, 0x8f);
    VMCS_SET(GUEST_GDTR_BASE, 0x50000000);
    assert_remark(6, "the GDT, at 0x50000000, lies outside RAM");
    VMCS_SET(GUEST_GDTR_BASE, GDT);
    VMCS_SET(GUEST_GDTR_LIMIT, 0xffff);
    VMCS_SET(GUEST_GDTR_BASE, 0);
    assert_remark(6, "GDTR is as at the start: the guest has loaded no GDT");
    VMCS_SET(GUEST_GDTR_BASE, GDT);
    put_gate(8, 0, 0, 0); /* and of the double fault, if the first has one */
    assert_remark(6, "the IDT's gate of #DF is not present");
    put_gate(6, 0xc, HANDLER, 0x8f); /* in the LDT: no rule; task gates: none either */
    put_gate(8, 8, HANDLER, 0x85);
    assert_remark(6, "");
}

static void test_stacks(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RSP, 0x200004); /* what is pushed lies behind the 2 MiB */
    assert_remark(6, "the stack of the handler of #UD points outside RAM: 0x200004");
    VMCS_SET(GUEST_RSP, 0x200000);
    assert_remark(6, "");
    VMCS_SET(GUEST_SS_ACCESS, 0xc0f3); /* from CPL 3 */
    assert_remark(6, "TR is null: no TSS has a stack for the handler of #UD");
    VMCS_SET(GUEST_TR_SELECTOR, 0x18);
    VMCS_SET(GUEST_TR_BASE, 0x40000000);
    assert_remark(6, "the TSS, at 0x40000000, lies outside RAM");
    VMCS_SET(GUEST_TR_BASE, TSS);
    put(TSS + 4, 0x60000000, 4);
    assert_remark(6, "the stack of the handler of #UD points outside RAM: 0x60000000");
    put(TSS + 4, STACK, 4);
    assert_remark(6, "");
}

static void test_real_mode(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CR0, CR0_ET);
    VMCS_SET(GUEST_IDTR_BASE, 0);
    VMCS_SET(GUEST_IDTR_LIMIT, 0xffff);
    assert_remark(6, "");
    VMCS_SET(GUEST_IDTR_LIMIT, 6 * 4 + 2);
    assert_remark(6, "IDT limit 0x1a: the IDT ends before the gate of #UD");
}

/* 64-bit mode: gates of 16 bytes, 64-bit code, stacks of the TSS by IST. */
static void test_long_mode(void **state)
{
    (void)state;
    put(0x30000, 0x31003, 8);
    put(0x31000, 0x32003, 8);
    put(0x32000, 0x83, 8); /* the first 2 MiB */
    VMCS_SET(GUEST_CR3, 0x30000);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    for (u32 i = 0; i < 32; i++) {
        put(IDT + 16 * i, 0x00008e0000089000, 8);
        put(IDT + 16 * i + 8, 0, 8);
    }
    assert_remark(6, "the IDT's gate of #UD has segment 0x8, which is no 64-bit code segment");
    put(GDT + 8, 0x00af9b000000ffff, 8);
    assert_remark(6, "");
    put(IDT + 16 * 6 + 8, 0xffff8000, 8);
    assert_remark(6, "the handler of #UD, at 0xffff800000009000, lies outside all mapped RAM");
    put(IDT + 16 * 6 + 8, 0, 8);
    put(IDT + 16 * 8, 0x00008e0200089000, 8); /* IST 2 */
    VMCS_SET(GUEST_TR_SELECTOR, 0x18);
    VMCS_SET(GUEST_TR_BASE, TSS);
    put(TSS + 0x2c, 0x7000000, 8);
    assert_remark(6, "the stack of the handler of #DF points outside all mapped RAM: 0x7000000");
    put(TSS + 0x2c, STACK, 8);
    assert_remark(6, "");
    VMCS_SET(GUEST_RIP, 0x300000);
    assert_remark(6, "CS:RIP, 0x300000, lies outside all mapped RAM");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_asked_again, set_up),
        cmocka_unit_test_setup(test_page_fault_has_its_address, set_up),
        cmocka_unit_test_setup(test_the_hosts_interrupts, set_up),
        cmocka_unit_test_setup(test_machine_check, set_up),
        cmocka_unit_test_setup(test_not_known, set_up),
        cmocka_unit_test_setup(test_injected, set_up),
        cmocka_unit_test_setup(test_injected_before, set_up),
        cmocka_unit_test_setup(test_injected_page_fault, set_up),
        cmocka_unit_test_setup(test_interrupt, set_up),
        cmocka_unit_test_setup(test_delivery_through_nothing, set_up),
        cmocka_unit_test_setup(test_jump_to_nowhere, set_up),
        cmocka_unit_test_setup(test_unsupported_instruction, set_up),
        cmocka_unit_test_setup(test_whose_fault, set_up),
        cmocka_unit_test_setup(test_idt, set_up),
        cmocka_unit_test_setup(test_gates, set_up),
        cmocka_unit_test_setup(test_stacks, set_up),
        cmocka_unit_test_setup(test_real_mode, set_up),
        cmocka_unit_test_setup(test_long_mode, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
