/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A debugger's hold on a vCPU: single steps and what they leave in flags and stack, the debug registers on loan, whose
 * exception is whose. The VMCS is the fake.
 *
 * links: vmx/report/debug.c vmx/insn/gva.c vmx/event.c vmx/points.c vmx/apicv.c vmx/controls.c kernel/vm/memory.c
 * kernel/vm/layer.c test/fake/vmcs.c
 *
 * links: test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"

#include "kernel/gdb/points.h"
#include "kernel/gdb/stub.h"
#include "test/fake/host_memory.h"
#include "vmx/ept.h"
#include "vmx/report/debug.h"
#include "vmx/load.h"

#define CODE  0x2000u
#define STACK 0x5000u
#define STEP  0x4000u /* qualification: BS */

static struct {
    u32 stops;
    enum gdb_stop_kind kind;
    u64 value;
    bool busy; /* another stop came first */
    u64 planted;
} stub;
static u32 detaches;

bool gdb_stub_stopped(struct vcpu *vcpu, enum gdb_stop_kind kind, u64 value)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    stub.kind = kind;
    stub.value = value;
    stub.stops++;
    return !stub.busy;
}

bool gdb_points_has_planted(const struct vm *vm, gpa_t where)
{
    assert_ptr_equal(vm, &bench.vm);
    return stub.planted && where.raw == stub.planted;
}

void vmx_load(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
}

hpa_t vmx_open(struct vmx_vcpu *v)
{
    assert_ptr_equal(v, &bench.v);
    return hpa(0);
}

void vmx_close(struct vmx_vcpu *v, hpa_t previous)
{
    assert_ptr_equal(v, &bench.v);
    assert_int_equal(previous.raw, 0);
}

/* As vcpu.c, of what is looked at here. */
void virt_vcpu_detach(struct vcpu *vcpu)
{
    assert_ptr_equal(vcpu, &bench.v.base);
    bench.v.cr2 = fake_cpu.cr2;
    if (bench.v.debug_used) {
        bench.v.dr[0] = fake_cpu.dr0;
        bench.v.dr[1] = fake_cpu.dr1;
        bench.v.dr6 = fake_cpu.dr6;
    }
    detaches++;
}

void xsave_area_export(const void *area, u8 out[512])
{
    memcpy(out, area, 512);
}

void xsave_area_import(void *area, const u8 in[512])
{
    memcpy(area, in, 512);
}

static struct debug_registers registers;
static u8 area[512];

static void put_code(const char *bytes, size_t count)
{
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(CODE), bytes, count), STATUS_OK);
}

static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    memset(&stub, 0, sizeof stub);
    memset(area, 0x5a, sizeof area);
    bench.v.xsave_area = area;
    virt_debug_begin(&bench.vm);
    memset(bench.v.debug, 0, sizeof *bench.v.debug);
    detaches = 0;
    VMCS_SET(GUEST_RIP, CODE);
    VMCS_SET(GUEST_RSP, STACK);
    VMCS_SET(GUEST_DR7, 0x400);
    VMCS_SET(EXCEPTION_BITMAP, 0x60002);
    put_code("\x90\x90\x90\x90", 4);
    return 0;
}

static void let_run(struct debug_points points, struct debug_step step)
{
    virt_debug_save(&bench.v.base, &registers);
    virt_debug_prepare(&bench.v.base, &registers, &points, &step);
    vmx_debug_enter(&bench.v);
}

static void begin_step(void)
{
    let_run((struct debug_points){.dr7 = 0}, (struct debug_step){.on = true});
}

static bool debug_exit(u64 qualification)
{
    VMCS_SET(EXIT_QUALIFICATION, qualification);
    return vmx_debug_exception(&bench.v, 0x80000301);
}

static bool tf(void)
{
    return vmcs_read(GUEST_RFLAGS) & RFLAGS_TF;
}

/* ---- steps ---- */

static void test_a_plain_step(void **state)
{
    (void)state;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI);
    begin_step();
    assert_true(tf());
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0); /* else VM entry fails */
    VMCS_SET(GUEST_RIP, CODE + 1);
    assert_true(debug_exit(STEP));
    assert_int_equal(stub.stops, 1);
    assert_int_equal(stub.kind, GDB_STOP_TRAP);
    assert_false(tf());
    assert_true(debug_exit(0)); /* nothing is left to the guest, and nothing stops */
    assert_int_equal(stub.stops, 1);
}

static void test_a_step_does_not_show_to_pushf(void **state)
{
    u16 image = 0x346;
    (void)state;
    put_code("\x66\x9c", 2); /* an operand-size prefix */
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(STACK - 2), &image, 2), STATUS_OK);
    begin_step();
    VMCS_SET(GUEST_RIP, CODE + 2);
    VMCS_SET(GUEST_RSP, STACK - 2);
    assert_true(debug_exit(STEP));
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(STACK - 2), &image, 2), STATUS_OK);
    assert_int_equal(image, 0x246);
}

/* POPF loads TF: it is the guest's from then on, and its trap too. */
static void test_popf_sets_the_guests_own_tf(void **state)
{
    (void)state;
    put_code("\x9d\x90", 2);
    begin_step();
    VMCS_SET(GUEST_RIP, CODE + 1); /* the popped image has TF */
    assert_true(debug_exit(STEP));
    assert_true(tf());
    begin_step();
    VMCS_SET(GUEST_RIP, CODE + 2);
    assert_false(debug_exit(STEP)); /* both */
    assert_int_equal(stub.stops, 2);
    assert_true(tf());

    put_code("\xcf", 1);
    VMCS_SET(GUEST_RIP, CODE);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    begin_step();
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE); /* IRET has loaded flags without */
    assert_true(debug_exit(STEP));
    assert_false(tf());
}

static void test_the_guests_own_step(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    assert_false(debug_exit(STEP));
    assert_int_equal(stub.stops, 0);
    assert_true(tf());
    assert_false(debug_exit(1)); /* its own breakpoint register */
    VMCS_SET(EXIT_QUALIFICATION, 0);
    assert_false(vmx_debug_exception(&bench.v, 0x80000501)); /* INT1 */
    assert_false(vmx_debug_exception(&bench.v, 0x80000b11)); /* #AC */
}

/* An interrupt came first, and a breakpoint in its handler: the interrupted code will trap once, for nobody. */
static void test_a_step_given_up_in_a_handler(void **state)
{
    (void)state;
    begin_step();
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    let_run((struct debug_points){.dr7 = 0}, (struct debug_step){.on = false});
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF); /* IRET */
    assert_true(debug_exit(STEP));
    assert_false(tf());
    assert_int_equal(stub.stops, 0);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    assert_false(debug_exit(STEP)); /* the next is the guest's */
}

static void test_a_step_given_up_before_its_instruction(void **state)
{
    (void)state;
    begin_step();
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_SINGLE_STEP); /* an emulated instruction was finished */
    virt_debug_save(&bench.v.base, &registers);
    assert_false(registers.rflags & RFLAGS_TF);
    assert_false(tf());
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
}

static void test_a_range(void **state)
{
    (void)state;
    let_run((struct debug_points){.dr7 = 0}, (struct debug_step){true, CODE, CODE + 3});
    for (u32 i = 1; i <= 2; i++) {
        VMCS_SET(GUEST_RIP, CODE + i);
        assert_true(debug_exit(STEP));
        assert_int_equal(stub.stops, 0);
        assert_true(tf());
    }
    VMCS_SET(GUEST_RIP, CODE + 3);
    assert_true(debug_exit(STEP));
    assert_int_equal(stub.stops, 1);
    assert_false(tf());
}

/* ---- breakpoints ---- */

static const struct debug_points watch = {
    .address = {0x1000, 0x3000},
      .dr7 = 0x700 | 2 | 8 | 0xd0000
}; /* write, execute */

static void test_debug_registers_on_loan(void **state)
{
    (void)state;
    bench.v.dr[0] = 0x77;
    bench.v.dr6 = 0xffff0ff1;
    VMCS_SET(GUEST_DR7, 0x600);
    let_run(watch, (struct debug_step){.on = false});
    assert_int_equal(fake_cpu.dr0, 0x1000);
    assert_int_equal(fake_cpu.dr1, 0x3000);
    assert_int_equal(vmcs_read(GUEST_DR7), watch.dr7);
    assert_true(bench.v.debug_used && bench.v.debug->owns_registers);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
    VMCS_SET(GUEST_DR7, 0x400); /* INIT */
    vmx_debug_enter(&bench.v);
    assert_int_equal(vmcs_read(GUEST_DR7), watch.dr7);

    assert_true(debug_exit(1));
    assert_int_equal(stub.kind, GDB_STOP_WRITE);
    assert_int_equal(stub.value, 0x1000);
    assert_true(debug_exit(4)); /* a register that is not in use */
    assert_int_equal(stub.stops, 1);

    virt_debug_save(&bench.v.base, &registers);
    assert_int_equal(bench.v.dr[0], 0x77);
    assert_int_equal(bench.v.dr6, 0xffff0ff1);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x600);
    assert_false(bench.v.debug_used);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
    assert_false(debug_exit(1)); /* the guest's again */
}

static void test_loan_of_registers_that_the_guest_uses(void **state)
{
    (void)state;
    bench.v.debug_used = true;
    fake_cpu.dr0 = 0x99;
    VMCS_SET(PROC_CONTROLS, vmcs_read(PROC_CONTROLS) & ~PROC_MOV_DR_EXITING);
    let_run(watch, (struct debug_step){.on = false});
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
    virt_debug_save(&bench.v.base, &registers);
    assert_false(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
    assert_true(bench.v.debug_used);
    assert_int_equal(bench.v.dr[0], 0x99);
}

static u64 mov_dr(unsigned dr, bool from, u64 value)
{
    VMCS_SET(EXIT_QUALIFICATION, dr | (from ? 0x10 : 0) | GPR_RCX << 8);
    bench.v.gpr[GPR_RCX] = value;
    assert_int_equal(vmx_debug_mov_dr(&bench.v), OUTCOME_SKIP);
    return bench.v.gpr[GPR_RCX];
}

/* The guest enables its first breakpoint while the registers are lent: it has them when they come back. */
static void test_breakpoint_that_is_enabled_meanwhile(void **state)
{
    (void)state;
    let_run(watch, (struct debug_step){.on = false});
    mov_dr(0, false, 0x5000);
    mov_dr(7, false, 1);
    assert_int_equal(vmcs_read(GUEST_DR7), watch.dr7);
    virt_debug_save(&bench.v.base, &registers);
    assert_true(bench.v.debug_used);
    assert_int_equal(bench.v.dr[0], 0x5000);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x401);
    assert_false(vmcs_read(PROC_CONTROLS) & PROC_MOV_DR_EXITING);
}

/* The guest goes on believing in its own. */
static void test_mov_dr_meanwhile(void **state)
{
    (void)state;
    let_run(watch, (struct debug_step){.on = false});
    assert_int_equal(mov_dr(0, true, 0), 0);
    mov_dr(0, false, 0x1122334455667788);
    assert_int_equal(mov_dr(0, true, 0), 0x55667788); /* 32 bits outside 64-bit mode */
    mov_dr(7, false, 0xffffffff);
    assert_int_equal(mov_dr(7, true, 0), 0xffff2fff);
    mov_dr(6, false, 0);
    assert_int_equal(mov_dr(6, true, 0), 0xffff0ff0);
    assert_int_equal(mov_dr(4, true, 0), 0xffff0ff0); /* DR4 is DR6 */
    assert_int_equal(fake_cpu.dr0, 0x1000);
    assert_int_equal(vmcs_read(GUEST_DR7), watch.dr7);
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    VMCS_SET(EXIT_QUALIFICATION, 7);
    bench.v.gpr[GPR_RAX] = BIT(32);
    assert_int_equal(vmx_debug_mov_dr(&bench.v), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    virt_debug_save(&bench.v.base, &registers);
    assert_int_equal(bench.v.dr[0], 0x55667788);
    assert_int_equal(vmcs_read(GUEST_DR7), 0xffff2fff);
}

/* The hit is not reported, so it must come again; the CPU has set RF. */
static void test_an_instruction_breakpoint_that_comes_second(void **state)
{
    (void)state;
    let_run(watch, (struct debug_step){.on = false});
    stub.busy = true;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_RF);
    assert_true(debug_exit(2));
    assert_int_equal(stub.kind, GDB_STOP_HARDWARE);
    assert_false(vmcs_read(GUEST_RFLAGS) & RFLAGS_RF);
}

static void test_int3(void **state)
{
    (void)state;
    VMCS_SET(GUEST_CS_BASE, 0x1000);
    VMCS_SET(GUEST_RIP, CODE - 0x1000);
    stub.planted = CODE;
    assert_true(vmx_debug_exception(&bench.v, 0x80000603));
    assert_int_equal(stub.kind, GDB_STOP_SOFTWARE);
    stub.planted = CODE + 1;
    assert_false(vmx_debug_exception(&bench.v, 0x80000603));
    assert_int_equal(stub.stops, 1);
    /* In 64-bit mode CS has no base, whatever its descriptor says. All memory is one page, mapped to itself. */
    static const u64 tables[][2] = {
        {0x10000, 0x11003},
        {0x11000, 0x12003},
        {0x12000, 0x83   }
    };
    for (u32 i = 0; i < ARRAY_SIZE(tables); i++)
        assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(tables[i][0]), &tables[i][1], 8), STATUS_OK);
    VMCS_SET(GUEST_CR3, 0x10000);
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(GUEST_CS_ACCESS, 0xa09b);
    VMCS_SET(GUEST_RIP, CODE);
    stub.planted = CODE;
    stub.busy = false;
    assert_true(vmx_debug_exception(&bench.v, 0x80000603));
    assert_int_equal(stub.stops, 2);
    set_up(state);

    let_run((struct debug_points){.software = true}, (struct debug_step){.on = false});
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), 0x6000a);
    let_run((struct debug_points){.software = false}, (struct debug_step){.on = false});
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), 0x60002);
}

/* ---- the two levels of a guest hypervisor ---- */

static void test_level_changes(void **state)
{
    struct debug_points points = watch;

    (void)state;
    points.software = true;
    VMCS_SET(GUEST_DR7, 0x600);
    let_run(points, (struct debug_step){.on = true});
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_SINGLE_STEP);
    vmx_debug_put_off(&bench.v);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
    assert_false(tf()); /* what is saved of this level is its own */
    assert_int_equal(vmcs_read(GUEST_DR7), 0x600);
    vmx_debug_put_off(&bench.v);
    VMCS_SET(GUEST_DR7, 0x401); /* the other level's VMCS */
    VMCS_SET(EXCEPTION_BITMAP, 0x60002);
    VMCS_SET(PROC_CONTROLS, 0);
    vmx_debug_go_on(&bench.v);
    assert_true(tf());
    assert_int_equal(vmcs_read(GUEST_DR7), watch.dr7);
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), 0x6000a);
    assert_int_equal(vmcs_read(PROC_CONTROLS), PROC_MOV_DR_EXITING);
    assert_true(debug_exit(STEP));
    assert_int_equal(stub.stops, 1);
    virt_debug_save(&bench.v.base, &registers);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x401);
    vmx_debug_put_off(&bench.v); /* nothing is the debugger's now */
    vmx_debug_go_on(&bench.v);
    assert_false(tf());
    assert_int_equal(vmcs_read(GUEST_DR7), 0x401);
}

/* A handler of the inner guest runs, whose IRET will bring the debugger's TF back: the flags are the handler's own. */
static void test_level_changes_in_a_handler(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF); /* the guest's own */
    begin_step();
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    vmx_debug_put_off(&bench.v);
    assert_false(tf());
    vmx_debug_go_on(&bench.v);
    assert_true(debug_exit(STEP)); /* the step, in the other level */
    assert_int_equal(stub.stops, 1);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    assert_true(debug_exit(STEP)); /* behind the IRET */
    assert_int_equal(stub.stops, 1);
    assert_false(tf());
    assert_false(debug_exit(STEP));
}

/* A guest hypervisor may want the INT3s of its inner guest: it goes on getting them. */
static void test_int3_of_an_inner_guest(void **state)
{
    static struct nested nested;

    (void)state;
    nested.inside = true;
    nested.image.value[FIELD_EXCEPTION_BITMAP] = BIT(VECTOR_BP);
    bench.v.nested = &nested;
    VMCS_SET(EXCEPTION_BITMAP, 0x6000a);
    let_run((struct debug_points){.software = false}, (struct debug_step){.on = false});
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), 0x6000a);
    nested.inside = false;
    let_run((struct debug_points){.software = false}, (struct debug_step){.on = false});
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), 0x60002);
}

/* Nor do MOV DRs that it wants to see go past it, when the debugger has no use for them any more. */
static void test_mov_dr_of_an_inner_guest(void **state)
{
    static struct nested nested;

    (void)state;
    for (u32 i = 0; i < 4; i++) {
        bool wants = i & 1, used = i & 2;
        set_up(state);
        nested.inside = true;
        nested.image.value[FIELD_PROC_CONTROLS] = wants ? PROC_MOV_DR_EXITING : 0;
        bench.v.nested = &nested;
        bench.v.debug_used = used;
        VMCS_SET(PROC_CONTROLS, wants || !used ? PROC_MOV_DR_EXITING : 0);
        let_run(watch, (struct debug_step){.on = false});
        assert_int_equal(vmcs_read(PROC_CONTROLS), PROC_MOV_DR_EXITING);
        virt_debug_save(&bench.v.base, &registers);
        assert_int_equal(vmcs_read(PROC_CONTROLS), wants || !used ? PROC_MOV_DR_EXITING : 0);
    }
}

/* ---- registers ---- */

static void test_registers_go_and_come_back(void **state)
{
    (void)state;
    bench.v.gpr[GPR_RBX] = 0xb;
    fake_cpu.cr2 = 0xc2;
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PAE);
    VMCS_SET(CR4_MASK, CR4_VMXE);
    VMCS_SET(CR4_SHADOW, 0);
    virt_debug_save(&bench.v.base, &registers);
    assert_int_equal(registers.gpr[GPR_RBX], 0xb);
    assert_int_equal(registers.gpr[GPR_RSP], STACK);
    assert_int_equal(registers.rip, CODE);
    assert_int_equal(registers.cr2, 0xc2);
    assert_int_equal(registers.cr4, CR4_PAE); /* as the guest sees it */
    assert_int_equal(registers.fpu[100], 0x5a);
    assert_int_equal(detaches, 1);

    registers.gpr[GPR_RBX] = 0xbb;
    registers.rip = CODE + 2;
    registers.fpu[100] = 1;
    virt_debug_prepare(&bench.v.base, &registers, &(struct debug_points){.dr7 = 0}, &(struct debug_step){.on = false});
    vmx_debug_enter(&bench.v);
    assert_int_equal(bench.v.gpr[GPR_RBX], 0xb); /* not marked as changed */
    assert_int_equal(area[100], 0x5a);

    registers.changed = registers.changed_f = true;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_STI | INTERRUPTIBILITY_NMI);
    virt_debug_prepare(&bench.v.base, &registers, &(struct debug_points){.dr7 = 0}, &(struct debug_step){.on = false});
    vmx_debug_enter(&bench.v);
    assert_int_equal(bench.v.gpr[GPR_RBX], 0xbb);
    assert_int_equal(vmcs_read(GUEST_RIP), CODE + 2);
    assert_int_equal(area[100], 1);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI); /* IF is clear: no blocking by STI */
}

/* It could not run in between: what the debugger wrote is not lost. */
static void test_let_go_and_wanted_again(void **state)
{
    (void)state;
    virt_debug_save(&bench.v.base, &registers);
    registers.rip = CODE + 3;
    registers.changed = true;
    virt_debug_prepare(&bench.v.base, &registers, &watch, &(struct debug_step){.on = true});
    virt_debug_save(&bench.v.base, &registers);
    assert_int_equal(registers.rip, CODE + 3);
    assert_false(registers.rflags & RFLAGS_TF);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400);
}

static void test_an_interrupt_that_is_due_keeps_its_flag(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    virt_debug_save(&bench.v.base, &registers);
    registers.rflags = RFLAGS_ONE;
    registers.changed = true;
    bench.v.reinject.info = EVENT_VALID | 0x20;
    virt_debug_prepare(&bench.v.base, &registers, &(struct debug_points){.dr7 = 0}, &(struct debug_step){.on = false});
    vmx_debug_enter(&bench.v);
    assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_IF);
}

/* Prepared by an entry that did not happen: what the debugger writes into IF meets it in the VMCS. */
static void test_an_interrupt_in_the_vmcs_keeps_its_flag(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    VMCS_SET(ENTRY_INTERRUPTION_INFO, EVENT_VALID | 0x20);
    virt_debug_save(&bench.v.base, &registers);
    registers.rflags = RFLAGS_ONE;
    registers.changed = true;
    virt_debug_prepare(&bench.v.base, &registers, &(struct debug_points){.dr7 = 0}, &(struct debug_step){.on = false});
    virt_debug_save(&bench.v.base, &registers); /* wanted again before it could run */
    assert_true(vmcs_read(GUEST_RFLAGS) & RFLAGS_IF);
    assert_int_equal(vmcs_read(ENTRY_INTERRUPTION_INFO), 0);
    assert_int_equal(bench.v.reinject.info, EVENT_VALID | 0x20);
}

/* What vmx_vcpu_take_sipi() does, as far as it matters here. */
static void take_sipi(void)
{
    VMCS_SET(GUEST_RIP, 0);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    VMCS_SET(GUEST_DR7, 0x400);
    memset(bench.v.dr, 0, sizeof bench.v.dr);
    fake_cpu.dr0 = 0;
    vmx_debug_begin_anew(&bench.v);
}

static void test_sipi_goes_before_what_the_debugger_wrote(void **state)
{
    (void)state;
    virt_debug_save(&bench.v.base, &registers);
    registers.rip = CODE + 3;
    registers.changed = true;
    virt_debug_prepare(&bench.v.base, &registers, &watch, &(struct debug_step){.on = true});
    take_sipi();
    vmx_debug_enter(&bench.v);
    assert_int_equal(vmcs_read(GUEST_RIP), 0);
    assert_true(tf()); /* the step and the points are for what comes */
    assert_int_equal(vmcs_read(GUEST_DR7), watch.dr7);
}

static void test_init_resets_the_guests_debug_registers(void **state)
{
    (void)state;
    VMCS_SET(GUEST_DR7, 0x402);
    bench.v.dr[1] = 0x1000;
    bench.v.dr6 = 0xffff4ff1;
    let_run(watch, (struct debug_step){.on = false});
    assert_int_equal(mov_dr(7, true, 0), 0x402);
    assert_int_equal(mov_dr(1, true, 0), 0x1000);
    take_sipi();
    vmx_debug_enter(&bench.v);
    assert_int_equal(mov_dr(7, true, 0), 0x400);
    assert_int_equal(mov_dr(6, true, 0), 0xffff0ff0);
    assert_int_equal(mov_dr(1, true, 0), 0);
    assert_int_equal(fake_cpu.dr0, watch.address[0]); /* the debugger's are in place */
    virt_debug_save(&bench.v.base, &registers);
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400);
}

/* The step's instruction is gone: no trap of the guest's later is taken for it. */
static void test_init_ends_a_step(void **state)
{
    (void)state;
    begin_step();
    vmx_debug_put_off(&bench.v);
    take_sipi();
    vmx_debug_enter(&bench.v);
    let_run((struct debug_points){.dr7 = 0}, (struct debug_step){.on = false});
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    assert_false(debug_exit(STEP));
    begin_step();
    assert_true(tf());
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    begin_step();
    vmx_debug_put_off(&bench.v); /* it is not put off any more */
    assert_false(tf());
}

static void test_translation(void **state)
{
    u64 entry = 0x6000 | 1; /* a table in RAM, present, of the supervisor, read-only */
    u32 table = 0x8000 | 1, page = 0x9000 | 1;
    gpa_t where;

    (void)state;
    virt_debug_save(&bench.v.base, &registers);
    assert_true(virt_debug_translate(&bench.vm, &registers, 0x123456789abc, &where));
    assert_int_equal(where.raw, 0x56789abc); /* paging is off: 32 bits */
    registers.cr0 |= CR0_PG | CR0_WP;
    registers.cr3 = 0x7000;
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x7000 + 4), &table, 4), STATUS_OK);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x8000 + 4), &page, 4), STATUS_OK);
    assert_true(virt_debug_translate(&bench.vm, &registers, 0x401abc, &where));
    assert_int_equal(where.raw, 0x9abc);
    assert_false(virt_debug_translate(&bench.vm, &registers, 0x402abc, &where));
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(0x8000 + 4), &page, 4), STATUS_OK);
    assert_int_equal(page, 0x9001); /* no accessed flag */
    registers.cr3 = 0xfff00000;     /* no RAM */
    assert_false(virt_debug_translate(&bench.vm, &registers, 0x401abc, &where));
    registers.efer = EFER_LMA | EFER_LME;
    registers.cr4 = CR4_PAE | CR4_SMAP;
    registers.cr3 = 0x5000;
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x5000), &entry, 8), STATUS_OK);
    entry = 0x80 | 5; /* 1 GiB at 0, of the user */
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x6000), &entry, 8), STATUS_OK);
    assert_true(virt_debug_translate(&bench.vm, &registers, 0x12345, &where));
    assert_int_equal(where.raw, 0x12345);
    assert_false(virt_debug_translate(&bench.vm, &registers, 0x0000900000000000, &where)); /* not canonical */
}

/* As a guest hypervisor's EPT may have it: all is 64 KiB higher up, but two pages; one is for code only. */
static bool inner_physical(const struct vmx_vcpu *v, u64 address, u32 access, bool flags, u64 *physical)
{
    assert_ptr_equal(v, &bench.v);
    assert_false(flags); /* nobody shall hear of it */
    if (address >> 12 == 0xb || (address >> 12 == 0xc && access != EPT_EXECUTE))
        return false;
    *physical = address + 0x10000;
    return true;
}

/* Both the inner guest's page tables and where they lead are where its hypervisor's EPT says. */
static void test_memory_of_an_inner_guest(void **state)
{
    u32 table = 0x8000 | 1, page = 0x9000 | 1, nowhere = 0xb000 | 1, code = 0xc000 | 1;
    u16 image = 0x346;
    gpa_t where;

    (void)state;
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x17000), &table, 4), STATUS_OK);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x18000 + 4), &page, 4), STATUS_OK);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x18000 + 8), &nowhere, 4), STATUS_OK);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x18000 + 12), &code, 4), STATUS_OK);
    bench.v.inner_physical = inner_physical;
    VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
    VMCS_SET(GUEST_CR3, 0x7000);
    virt_debug_save(&bench.v.base, &registers);
    assert_true(virt_debug_translate(&bench.vm, &registers, 0x1abc, &where));
    assert_int_equal(where.raw, 0x19abc);
    assert_false(virt_debug_translate(&bench.vm, &registers, 0x2abc, &where));
    assert_true(virt_debug_translate(&bench.vm, &registers, 0x3abc, &where));
    assert_int_equal(where.raw, 0x1cabc);
    VMCS_SET(GUEST_RIP, 0x3000);
    stub.planted = 0x1c000;
    assert_true(vmx_debug_exception(&bench.v, 0x80000603));
    /* A step over PUSHF: the flags on the stack are the inner guest's own. */
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x1c000), "\x66\x9c", 2), STATUS_OK);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x19ffe), &image, 2), STATUS_OK);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(0x9ffe), &image, 2), STATUS_OK);
    begin_step();
    VMCS_SET(GUEST_RIP, 0x3002);
    VMCS_SET(GUEST_RSP, 0x1ffe);
    assert_true(debug_exit(STEP));
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(0x19ffe), &image, 2), STATUS_OK);
    assert_int_equal(image, 0x246);
    assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(0x9ffe), &image, 2), STATUS_OK);
    assert_int_equal(image, 0x346);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_plain_step, set_up),
        cmocka_unit_test_setup(test_a_step_does_not_show_to_pushf, set_up),
        cmocka_unit_test_setup(test_popf_sets_the_guests_own_tf, set_up),
        cmocka_unit_test_setup(test_the_guests_own_step, set_up),
        cmocka_unit_test_setup(test_a_step_given_up_in_a_handler, set_up),
        cmocka_unit_test_setup(test_a_step_given_up_before_its_instruction, set_up),
        cmocka_unit_test_setup(test_a_range, set_up),
        cmocka_unit_test_setup(test_debug_registers_on_loan, set_up),
        cmocka_unit_test_setup(test_loan_of_registers_that_the_guest_uses, set_up),
        cmocka_unit_test_setup(test_breakpoint_that_is_enabled_meanwhile, set_up),
        cmocka_unit_test_setup(test_mov_dr_meanwhile, set_up),
        cmocka_unit_test_setup(test_an_instruction_breakpoint_that_comes_second, set_up),
        cmocka_unit_test_setup(test_int3, set_up),
        cmocka_unit_test_setup(test_level_changes, set_up),
        cmocka_unit_test_setup(test_level_changes_in_a_handler, set_up),
        cmocka_unit_test_setup(test_int3_of_an_inner_guest, set_up),
        cmocka_unit_test_setup(test_mov_dr_of_an_inner_guest, set_up),
        cmocka_unit_test_setup(test_registers_go_and_come_back, set_up),
        cmocka_unit_test_setup(test_let_go_and_wanted_again, set_up),
        cmocka_unit_test_setup(test_an_interrupt_that_is_due_keeps_its_flag, set_up),
        cmocka_unit_test_setup(test_an_interrupt_in_the_vmcs_keeps_its_flag, set_up),
        cmocka_unit_test_setup(test_sipi_goes_before_what_the_debugger_wrote, set_up),
        cmocka_unit_test_setup(test_init_resets_the_guests_debug_registers, set_up),
        cmocka_unit_test_setup(test_init_ends_a_step, set_up),
        cmocka_unit_test_setup(test_translation, set_up),
        cmocka_unit_test_setup(test_memory_of_an_inner_guest, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
