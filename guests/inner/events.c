/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events: injected ones, what a fault in the middle of a delivery leaves, windows, blocking, debug exceptions,
 * interrupts and NMIs that come while the inner guest runs, the preemption timer, a triple fault. SDM 3C 26.5 "Event
 * Injection", 26.6 "Special Features of VM Entry", 25.2 "Other Causes of VM Exits", 27.2 "Recording VM-Exit Information
 * and Updating VM-Entry Control Fields".
 */
#include "guests/inner/inner.h"

#define WENT_ON          0x77u
#define STEP(name, text) PROGRAM(name, text "\n\tmov $0x77, %eax")

#define BY_STI    1u
#define BY_MOV_SS 2u
#define BY_NMI    8u
#define HLT       1u

#define VECTOR 0x38u
#define SOON   400000u /* longer than what others may do on this CPU meanwhile */

STEP(go_on, "nop\n\tnop")
STEP(do_hlt, "hlt")
STEP(loop, "1: jmp 1b")

static void inject(u32 info, u32 error, u32 length)
{
    inner_set(ENTRY_INTERRUPTION_INFO, info);
    inner_set(ENTRY_ERROR_CODE, error);
    inner_set(ENTRY_INSTRUCTION_LENGTH, length);
}

static void set_rflags(u64 rflags)
{
    inner_set(GUEST_RFLAGS, RFLAGS_FIXED | rflags);
}

static void injection(void)
{
    static const struct {
        u32 info, error, length, activity;
        u64 rip; /* pushed, from the program's begin */
    } rows[] = {
        {VALID | EXTERNAL | 0x30,           0,      0, 0,   0},
        {VALID | EXTERNAL | 0x20,           0,      0, HLT, 0},
        {VALID | NMI | 2,                   0,      0, 0,   0},
        {VALID | NMI | 2,                   0,      0, HLT, 0},
        {VALID | HARDWARE | 6,              0,      0, 0,   0},
        {VALID | HARDWARE | WITH_CODE | 13, 0x1234, 0, 0,   0},
        {VALID | HARDWARE | WITH_CODE | 14, 5,      0, 0,   0},
        {VALID | HARDWARE | WITH_CODE | 8,  0,      0, 0,   0},
        {VALID | SOFT_INT | 0x31,           0,      2, 0,   2},
        {VALID | SOFT_PRIV | 1,             0,      1, 0,   1},
        {VALID | SOFT | 3,                  0,      1, 0,   1},
        {VALID | SOFT | 4,                  0,      1, 0,   1},
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        u32 info = rows[i].info;
        inner_begin(go_on);
        set_rflags(RFLAGS_IF);
        inner_set(GUEST_ACTIVITY_STATE, rows[i].activity);
        inject(info, rows[i].error, rows[i].length);
        inner_want_call(TRAPPED(info & 0xff));
        inner_want("pushed RIP", inner_trap.rip - (u64)go_on, rows[i].rip);
        inner_want("pushed RFLAGS", inner_trap.rflags & (RFLAGS_IF | RFLAGS_TF), RFLAGS_IF);
        inner_want("error code", inner_trap.error, rows[i].error);
        inner_want("bit 31 of the field", inner_get(ENTRY_INTERRUPTION_INFO) >> 31, 0);
        inner_want("activity state", inner_get(GUEST_ACTIVITY_STATE), 0);
        inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY), (info & 0x700) == NMI ? BY_NMI : 0);
        inner_want_call(WENT_ON); /* back by IRET */
        inner_want("blocking after IRET", inner_get(GUEST_INTERRUPTIBILITY), 0);
    }
}

/* ---- a fault in the middle of a delivery ---- */

STEP(do_int, "int $0x30")
STEP(do_int3, "int3")

/* The interrupt table is where no page is. SDM 3C 27.2.3 "Information for VM Exits During Event Delivery" */
static void vectoring(void)
{
    static const struct {
        u32 info, error; /* to inject, or 0 */
        program *start;
        u32 vectoring, length;
    } rows[] = {
        {VALID | EXTERNAL | 0x30,           0,    go_on,   VALID | EXTERNAL | 0x30,           0},
        {VALID | NMI | 2,                   0,    go_on,   VALID | NMI | 2,                   0},
        {VALID | HARDWARE | WITH_CODE | 13, 0x88, go_on,   VALID | HARDWARE | WITH_CODE | 13, 0},
        {VALID | SOFT_INT | 0x30,           0,    do_int,  VALID | SOFT_INT | 0x30,           2},
        {0,                                 0,    do_int,  VALID | SOFT_INT | 0x30,           2},
        {0,                                 0,    do_int3, VALID | SOFT | 3,                  1},
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        inner_begin(rows[i].start);
        set_rflags(RFLAGS_IF);
        u64 idt = inner_get(GUEST_IDTR_BASE);
        inner_set(GUEST_IDTR_BASE, UNMAPPED);
        inner_set(EXCEPTION_BITMAP, 1u << 14);
        if (rows[i].info)
            inject(rows[i].info, rows[i].error, rows[i].length);
        inner_want_exit(REASON_EXCEPTION, rows[i].start, 0);
        inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | HARDWARE | WITH_CODE | 14);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION) & ~15ull, UNMAPPED + 16 * (rows[i].vectoring & 0xff));
        inner_want("IDT-vectoring information", inner_get(IDT_VECTORING_INFO) & ~0x1000ull, rows[i].vectoring);
        if (rows[i].vectoring & WITH_CODE)
            inner_want("IDT-vectoring error code", inner_get(IDT_VECTORING_ERROR_CODE), rows[i].error);
        if (rows[i].length)
            inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), rows[i].length);
        inner_want("bit 31 of the injection", inner_get(ENTRY_INTERRUPTION_INFO) >> 31, 0);
        /* As a hypervisor goes on: the table is there now, and the event is injected once more. */
        inner_set(GUEST_IDTR_BASE, idt);
        inner_set(GUEST_INTERRUPTIBILITY, 0);
        inject((u32)inner_get(IDT_VECTORING_INFO) & ~0x1000u, rows[i].error, rows[i].length);
        inner_want_call(TRAPPED(rows[i].vectoring & 0xff));
        inner_want("pushed RIP", inner_trap.rip - (u64)rows[i].start, rows[i].length);
        inner_want_call(WENT_ON);
    }
}

static void triple_fault(void)
{
    inner_begin(do_int3);
    inner_set(GUEST_IDTR_LIMIT, 0);
    inner_want_exit(REASON_TRIPLE_FAULT, do_int3, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0);
    inner_begin(go_on);
    inner_set(GUEST_IDTR_BASE, UNMAPPED);
    inject(VALID | NMI | 2, 0, 0);
    inner_want_exit(REASON_TRIPLE_FAULT, go_on, 0);
    inner_end_nmi();
}

/* ---- windows and blocking ---- */

STEP(do_sti, "sti\n\tnop\n\tnop")
STEP(do_iret, "iretq\n\tnop")
STEP(sti_cpuid, "sti\n\tcpuid")
STEP(mov_ss_cpuid, "mov %ss, %eax\n\tmov %eax, %ss\n\tcpuid")

static void interrupt_window(void)
{
    inner_begin(do_sti);
    inner_add(PROC_CONTROLS, PROC_INTERRUPT_WINDOW);
    inner_want_exit(REASON_INTERRUPT_WINDOW, do_sti, 2); /* STI blocks for one instruction */
    inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY), 0);
    inner_want_exit(REASON_INTERRUPT_WINDOW, do_sti, 2); /* again, and nothing is executed */
    inner_drop(PROC_CONTROLS, PROC_INTERRUPT_WINDOW);
    inner_want_call(WENT_ON);
    inner_begin(go_on);
    inner_add(PROC_CONTROLS, PROC_INTERRUPT_WINDOW);
    inner_want_call(WENT_ON);
    inner_begin(go_on);
    inner_add(PROC_CONTROLS, PROC_INTERRUPT_WINDOW);
    set_rflags(RFLAGS_IF);
    inner_set(GUEST_INTERRUPTIBILITY, BY_STI);
    inner_want_exit(REASON_INTERRUPT_WINDOW, go_on, 1);
    if (!inner_bare) { /* out of HLT; Bochs stays there, on some models */
        inner_begin(go_on);
        inner_add(PROC_CONTROLS, PROC_INTERRUPT_WINDOW);
        set_rflags(RFLAGS_IF);
        inner_set(GUEST_ACTIVITY_STATE, HLT);
        inner_want_exit(REASON_INTERRUPT_WINDOW, go_on, 0);
    }
    inner_begin(go_on); /* an event that is injected is delivered first */
    inner_add(PROC_CONTROLS, PROC_INTERRUPT_WINDOW);
    set_rflags(RFLAGS_IF);
    inject(VALID | EXTERNAL | 0x30, 0, 0);
    inner_want_call(TRAPPED(0x30));
}

/* An inner guest that begins with IRET, and goes on behind it. */
static void begin_iret(void)
{
    static u64 stack[5];

    inner_begin(do_iret);
    stack[0] = (u64)do_iret + 2;
    stack[1] = SELECTOR_CODE;
    stack[2] = RFLAGS_FIXED;
    stack[3] = (u64)lab_inner_stack;
    stack[4] = SELECTOR_DATA;
    inner_set(GUEST_RSP, (u64)stack);
}

static void nmi_window(void)
{
    if (!inner_can(PIN_CONTROLS, PIN_NMI | PIN_VIRTUAL_NMIS)) {
        inner_leave_out("the CPU has no virtual NMIs");
        return;
    }
    inner_begin(go_on);
    inner_add(PIN_CONTROLS, PIN_NMI | PIN_VIRTUAL_NMIS);
    inner_add(PROC_CONTROLS, PROC_NMI_WINDOW);
    inner_want_exit(REASON_NMI_WINDOW, go_on, 0);
    begin_iret();
    inner_add(PIN_CONTROLS, PIN_NMI | PIN_VIRTUAL_NMIS);
    inner_add(PROC_CONTROLS, PROC_NMI_WINDOW);
    inner_set(GUEST_INTERRUPTIBILITY, BY_NMI);
    inner_want_exit(REASON_NMI_WINDOW, do_iret, 2);
    inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY), 0);
    inner_begin(go_on); /* an injected NMI blocks */
    inner_add(PIN_CONTROLS, PIN_NMI | PIN_VIRTUAL_NMIS);
    inner_add(PROC_CONTROLS, PROC_NMI_WINDOW);
    inject(VALID | NMI | 2, 0, 0);
    inner_want_call(TRAPPED(2));
    inner_want("blocking in the handler", inner_get(GUEST_INTERRUPTIBILITY), BY_NMI);
    inner_want_exit(REASON_NMI_WINDOW, go_on, 0);
    inner_want("blocking after IRET", inner_get(GUEST_INTERRUPTIBILITY), 0);
}

static void blocking(void)
{
    inner_begin(sti_cpuid);
    inner_want_exit(REASON_CPUID, sti_cpuid, 1);
    /* Without blocking by NMI, which Bochs 2.7 keeps from whoever was in an NMI handler last. */
    inner_want("blocking behind STI", inner_get(GUEST_INTERRUPTIBILITY) & ~BY_NMI, BY_STI);
    inner_begin(mov_ss_cpuid);
    inner_want_exit(REASON_CPUID, mov_ss_cpuid, 4);
    inner_want("blocking behind MOV SS", inner_get(GUEST_INTERRUPTIBILITY) & ~BY_NMI, BY_MOV_SS);
}

/* ---- debug exceptions ---- */

STEP(write_page, "mov %eax, (%rbx)\n\tnop")

#define DR6_BS     0x4000u
#define PENDING_BS 0x4000u
#define DR7_ALWAYS 0x400u

static u64 read_dr6(void)
{
    u64 value;
    __asm__ volatile("mov %%db6, %0" : "=r"(value));
    return value;
}

static void clear_dr6(void)
{
    __asm__ volatile("mov %0, %%db6" : : "r"(0xffff0ff0ull));
}

static void single_step(void)
{
    clear_dr6();
    inner_begin(go_on);
    set_rflags(RFLAGS_TF);
    inner_want_call(TRAPPED(1));
    inner_want("pushed RIP", inner_trap.rip - (u64)go_on, 1);
    inner_want("DR6.BS", read_dr6() & DR6_BS, DR6_BS);
    inner_begin(go_on);
    inner_set(EXCEPTION_BITMAP, 1u << 1);
    set_rflags(RFLAGS_TF);
    inner_want_exit(REASON_EXCEPTION, go_on, 1);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | HARDWARE | 1);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), PENDING_BS);
    clear_dr6();
}

/* SDM 3C 26.6.3 "Delivery of Pending Debug Exceptions after VM Entry" */
static void pending_debug(void)
{
    clear_dr6();
    inner_begin(go_on);
    set_rflags(RFLAGS_TF);
    inner_set(GUEST_PENDING_DEBUG, PENDING_BS);
    inner_want_call(TRAPPED(1));
    inner_want("pushed RIP", inner_trap.rip - (u64)go_on, 0);
    inner_want("DR6.BS", read_dr6() & DR6_BS, DR6_BS);
    inner_want("pending debug exceptions", inner_get(GUEST_PENDING_DEBUG), 0);
    inner_begin(go_on); /* with blocking by MOV SS the trap of the instruction behind it is the same */
    inner_set(EXCEPTION_BITMAP, 1u << 1);
    set_rflags(RFLAGS_TF);
    inner_set(GUEST_INTERRUPTIBILITY, BY_MOV_SS);
    inner_set(GUEST_PENDING_DEBUG, PENDING_BS);
    inner_want_exit(REASON_EXCEPTION, go_on, 1);
    if (!inner_bare) { /* it ends HLT; Bochs stays there */
        inner_begin(go_on);
        set_rflags(RFLAGS_TF);
        inner_set(GUEST_PENDING_DEBUG, PENDING_BS);
        inner_set(GUEST_ACTIVITY_STATE, HLT);
        inner_want_call(TRAPPED(1));
        inner_want("pushed RIP", inner_trap.rip - (u64)go_on, 0);
        inner_want("activity state", inner_get(GUEST_ACTIVITY_STATE), 0);
    }
    clear_dr6();
}

/* Instructions that a hypervisor below may do in the place of the CPU, and the shadow of MOV SS before one. */
STEP(step_in, "in $0x80, %al\n\tnop")
STEP(step_rdmsr, "rdmsr\n\tnop")
STEP(step_cr4, "mov %rdx, %cr4\n\tnop")
STEP(step_dr, "mov %rsi, %db3\n\tnop")
STEP(step_apic, "mov 0x30(%rbp), %eax\n\tnop")
STEP(rep_outs, "rep outsb\n\tnop")
STEP(mov_ss_in, "mov %ecx, %ss\n\tin $0x80, %al\n\tnop")

STEP(in_behind_mov_ss, "mov %ecx, %ss\n\tin $0x80, %al\n\tvmcall")
STEP(in_behind_sti, "sti\n\tin $0x80, %al\n\tvmcall")

static u8 no_bitmaps[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static const struct emulated {
    program *start;
    u32 length;
} emulated[] = {
    {step_in,    2},
    {step_rdmsr, 2},
    {step_cr4,   3},
    {step_dr,    3},
    {step_apic,  3},
    {mov_ss_in,  4},
};

static void begin_emulated(const struct emulated *e)
{
    inner_begin(e->start);
    inner_add(PROC_CONTROLS, PROC_MSR_BITMAPS);
    inner_set(MSR_BITMAPS, (u64)no_bitmaps);
    inner_registers.rcx = e->start == step_rdmsr ? 0x174 : SELECTOR_DATA;
    inner_registers.rdx = inner_get(GUEST_CR4);
    inner_registers.rbp = APIC;
}

static void steps_over_emulated(void)
{
    for (u32 i = 0; i < ARRAY_LENGTH(emulated); i++) {
        clear_dr6();
        begin_emulated(&emulated[i]);
        set_rflags(RFLAGS_TF);
        inner_want_call(TRAPPED(1));
        inner_want("pushed RIP", inner_trap.rip - (u64)emulated[i].start, emulated[i].length);
        inner_want("DR6.BS", read_dr6() & DR6_BS, DR6_BS);
        begin_emulated(&emulated[i]);
        set_rflags(RFLAGS_TF);
        inner_set(EXCEPTION_BITMAP, 1u << 1);
        inner_want_exit(REASON_EXCEPTION, emulated[i].start, emulated[i].length);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION), PENDING_BS);
    }
    clear_dr6();
}

static u32 launch_behind_in(void)
{
    u8 failed;
    __asm__ volatile("mov %%ss, %%ecx\n\tmov %%ecx, %%ss\n\tin $0x80, %%al\n\tvmlaunch\n\tsetz %0"
                     : "=r"(failed)
                     :
                     : "eax", "ecx", "cc", "memory");
    return failed;
}

/* It is for one instruction, whoever does that. SDM 3A 6.8.3 "Masking Exceptions and Interrupts When Switching Stacks"
 */
static void blocking_ends(void)
{
    u64 error = 0;

    inner_begin(in_behind_mov_ss);
    inner_registers.rcx = SELECTOR_DATA;
    inner_want_exit(REASON_VMCALL, in_behind_mov_ss, 4);
    inner_want("interruptibility", inner_get(GUEST_INTERRUPTIBILITY), 0);
    inner_want("VMLAUNCH of what is launched fails", launch_behind_in(), 1);
    inner_want("VMREAD", vmx_read(INSTRUCTION_ERROR, &error), DONE);
    inner_want("error", error, 4); /* not 26, VM entry with events blocked by MOV SS */
    inner_begin(in_behind_sti);
    inner_want_exit(REASON_VMCALL, in_behind_sti, 3);
    inner_want("interruptibility", inner_get(GUEST_INTERRUPTIBILITY), 0);
}

/*
 * An exit in the shadow of MOV SS: the single step of MOV SS itself is put off, that of the next instruction is due.
 * SDM 3C 27.3.4 "Saving Non-Register State", 26.3.1.5 "Checks on Guest Non-Register State"
 */
static void step_in_shadow(void)
{
    clear_dr6();
    inner_begin(mov_ss_cpuid);
    set_rflags(RFLAGS_TF);
    inner_set(GUEST_RIP, (u64)mov_ss_cpuid + 2); /* at MOV to SS */
    inner_registers.rax = SELECTOR_DATA;
    for (u32 i = 0; i < 2; i++) { /* the second time behind an entry that has changed nothing */
        inner_want_exit(REASON_CPUID, mov_ss_cpuid, 4);
        inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY) & ~BY_NMI, BY_MOV_SS);
        u64 pending = inner_get(GUEST_PENDING_DEBUG);
        inner_want("pending debug exceptions", pending, PENDING_BS);
    }
    inner_set(GUEST_RIP, (u64)step_in);
    inner_want_call(TRAPPED(1));
    inner_want("pushed RIP", inner_trap.rip - (u64)step_in, 2);
    clear_dr6();
}

static void data_breakpoint(void)
{
    clear_dr6();
    __asm__ volatile("mov %0, %%db0" : : "r"(inner_page));
    inner_begin(write_page);
    inner_add(ENTRY_CONTROLS, ENTRY_LOAD_DEBUG);
    inner_set(GUEST_DR7, DR7_ALWAYS | 1 | 0xd << 16); /* local 0: writes, 4 bytes */
    inner_want_call(TRAPPED(1));
    inner_want("pushed RIP", inner_trap.rip - (u64)write_page, 2);
    inner_want("DR6", read_dr6() & 0xf, 1);
    clear_dr6();
    inner_begin(write_page);
    inner_add(ENTRY_CONTROLS, ENTRY_LOAD_DEBUG);
    inner_set(EXCEPTION_BITMAP, 1u << 1);
    inner_set(GUEST_DR7, DR7_ALWAYS | 1 | 0xd << 16);
    inner_want_exit(REASON_EXCEPTION, write_page, 2);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION), 1);
    inner_want("DR6", read_dr6() & 0xf, 0); /* an exit by #DB does not change it: 27.1 */
    inner_begin(write_page);
    inner_want_call(WENT_ON); /* DR7 is not loaded, and the hypervisor's has no breakpoint */
    __asm__ volatile("mov %0, %%db0" : : "r"(0ull));
    clear_dr6();
}

/* ---- interrupts ---- */

static void arm_timer(void)
{
    apic_write(APIC_SPURIOUS, 0x13f);
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, VECTOR);
    apic_write(APIC_COUNT, SOON);
}

/* With interrupts off: it is there, and waits. */
static void await_interrupt(void)
{
    arm_timer();
    while (!(apic_read(APIC_REQUESTS + VECTOR / 32 * 16) & 1u << VECTOR % 32))
        cpu_pause();
}

/* The hypervisor takes what is pending; how many that are. */
static u64 take(void)
{
    u64 before = inner_host_count;
    __asm__ volatile("sti\n\tnop\n\tcli" : : : "memory");
    return inner_host_count - before;
}

static void begin_interrupt(program *start, u64 rflags, u32 activity, u32 exit_controls)
{
    inner_begin(start);
    inner_add(PIN_CONTROLS, PIN_EXTERNAL_INTERRUPTS);
    inner_add(EXIT_CONTROLS, exit_controls);
    set_rflags(rflags);
    inner_set(GUEST_ACTIVITY_STATE, activity);
    arm_timer();
}

/* Bochs takes no interrupt after an entry with RFLAGS.IF 0: there, alone, its exit comes by the preemption timer. */
static void want_interrupt_masked(void)
{
    if (inner_bare) {
        inner_add(PIN_CONTROLS, PIN_TIMER);
        inner_set(PREEMPTION_TIMER_VALUE, 1000000);
    }
    u32 reason = inner_go();
    inner_want("exit reason", inner_bare && reason == REASON_TIMER ? REASON_INTERRUPT : reason, REASON_INTERRUPT);
}

static void interrupt_exits(void)
{
    begin_interrupt(loop, RFLAGS_IF, 0, 0);
    inner_want_exit(REASON_INTERRUPT, loop, 0);
    inner_want("interruption information's bit 31", inner_get(EXIT_INTERRUPTION_INFO) >> 31, 0);
    inner_want("interrupts that the hypervisor takes", take(), 1);
    inner_want("their vector", inner_host_trap.vector, VECTOR);
    begin_interrupt(loop, RFLAGS_IF, 0, EXIT_ACKNOWLEDGE);
    inner_want_exit(REASON_INTERRUPT, loop, 0);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | EXTERNAL | VECTOR);
    inner_want("interrupts that are left", take(), 0);
    inner_want("in service", apic_read(0x100 + VECTOR / 32 * 16), 1u << VECTOR % 32);
    apic_write(APIC_EOI, 0);
    begin_interrupt(loop, 0, 0, 0);
    want_interrupt_masked();
    inner_want("interrupts that the hypervisor takes", take(), 1);
    await_interrupt(); /* an event that is injected is delivered first */
    inner_begin(go_on);
    inner_add(PIN_CONTROLS, PIN_EXTERNAL_INTERRUPTS);
    set_rflags(RFLAGS_IF);
    inject(VALID | EXTERNAL | 0x30, 0, 0);
    inner_want("exit reason", inner_go(), REASON_INTERRUPT);
    inner_want("RSP: the event was delivered", (u64)lab_inner_stack - inner_get(GUEST_RSP), 40);
    inner_want("interrupts that the hypervisor takes", take(), 1);
    inner_want_call(TRAPPED(0x30));
}

/* Bochs says 0, on some models. */
static void want_halted(void)
{
    u64 activity = inner_get(GUEST_ACTIVITY_STATE);
    inner_want("activity state", inner_bare && !activity ? HLT : activity, HLT);
}

static void interrupt_in_hlt(void)
{
    begin_interrupt(go_on, RFLAGS_IF, HLT, 0);
    inner_want_exit(REASON_INTERRUPT, go_on, 0);
    want_halted();
    inner_want("interrupts that the hypervisor takes", take(), 1);
    begin_interrupt(do_hlt, RFLAGS_IF, 0, EXIT_ACKNOWLEDGE);
    inner_want_exit(REASON_INTERRUPT, do_hlt, 1);
    want_halted();
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | EXTERNAL | VECTOR);
    apic_write(APIC_EOI, 0);
    inner_want("interrupts that are left", take(), 0);
    inject(VALID | EXTERNAL | 0x30, 0, 0); /* it wakes the inner guest */
    inner_want_call(TRAPPED(0x30));
    inner_want_call(WENT_ON);
}

/*
 * A debug trap that is pending at the entry comes before an interrupt that waits, whoever gets the two. SDM 3C 26.6.3
 * "Delivery of Pending Debug Exceptions after VM Entry"
 */
static void trap_and_interrupt(bool trap_exits, bool interrupt_exits)
{
    clear_dr6();
    await_interrupt();
    inner_begin(go_on);
    set_rflags(RFLAGS_IF);
    inner_set(GUEST_PENDING_DEBUG, PENDING_BS);
    inner_set(EXCEPTION_BITMAP, trap_exits ? 1u << 1 : 0);
    if (interrupt_exits)
        inner_add(PIN_CONTROLS, PIN_EXTERNAL_INTERRUPTS);
    if (trap_exits) {
        inner_want_exit(REASON_EXCEPTION, go_on, 0);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION), PENDING_BS);
        inner_want("pending debug exceptions", inner_get(GUEST_PENDING_DEBUG), 0);
    } else if (!interrupt_exits) {
        inner_want_call(TRAPPED(1));
    }
    if (interrupt_exits) {
        inner_want("exit reason", inner_go(), REASON_INTERRUPT);
        inner_want("RSP: the trap was delivered", (u64)lab_inner_stack - inner_get(GUEST_RSP), trap_exits ? 0 : 40);
        inner_want("pending debug exceptions", inner_get(GUEST_PENDING_DEBUG), 0);
        inner_want("interrupts that the hypervisor takes", take(), 1);
        if (!trap_exits && inner_bare) /* Bochs 3.0 with several CPUs has saved RIP as it was before the delivery */
            return;
        if (!trap_exits)
            inner_want_call(TRAPPED(1));
    } else {
        inner_want_call(TRAPPED(VECTOR));
        apic_write(APIC_EOI, 0);
    }
    inner_want("pushed RIP", trap_exits && interrupt_exits ? 0 : inner_trap.rip - (u64)go_on, 0);
    inner_want_call(WENT_ON);
    clear_dr6();
}

static void traps_and_interrupts(void)
{
    for (u32 i = 0; i < 4; i++)
        trap_and_interrupt(i & 1, i & 2);
}

/* Without external-interrupt exiting the inner guest takes it, in its own table. */
static void interrupt_delivered(void)
{
    static program *const programs[] = {loop, do_hlt, go_on};

    for (u32 i = 0; i < ARRAY_LENGTH(programs); i++) {
        inner_begin(programs[i]);
        set_rflags(RFLAGS_IF);
        inner_set(GUEST_ACTIVITY_STATE, i == 2 ? HLT : 0);
        arm_timer();
        inner_want_call(TRAPPED(VECTOR));
        inner_want("pushed RIP", inner_trap.rip - (u64)programs[i], i == 1);
        inner_want("activity state", inner_get(GUEST_ACTIVITY_STATE), 0);
        apic_write(APIC_EOI, 0);
        inner_want("interrupts that are left", take(), 0);
    }
}

/* ---- NMIs ---- */

STEP(send_nmi, "movl %ecx, (%rbx)\n\t1: pause\n\tdec %edx\n\tjnz 1b")

static void begin_nmi(u32 controls)
{
    inner_begin(send_nmi);
    inner_add(PIN_CONTROLS, controls);
    apic_write(APIC_ICR_HIGH, apic_read(APIC_ID));
    inner_registers.rbx = APIC + APIC_ICR;
    inner_registers.rcx = ICR_NMI;
    inner_registers.rdx = 10000;
}

static void nmis(void)
{
    begin_nmi(0);
    inner_want_call(TRAPPED(2));
    inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY), BY_NMI);
    inner_want_call(WENT_ON);
    inner_end_nmi();
    begin_nmi(PIN_NMI);
    inner_want("exit reason", inner_go(), REASON_EXCEPTION);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | NMI | 2);
    inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY) & ~BY_NMI, 0);
    inner_end_nmi();
    if (!inner_can(PIN_CONTROLS, PIN_VIRTUAL_NMIS))
        return;
    begin_nmi(PIN_NMI | PIN_VIRTUAL_NMIS);
    inner_set(GUEST_INTERRUPTIBILITY, BY_NMI); /* of virtual ones */
    inner_want("exit reason", inner_go(), REASON_EXCEPTION);
    inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO), VALID | NMI | 2);
    inner_want("virtual-NMI blocking", inner_get(GUEST_INTERRUPTIBILITY), BY_NMI);
    u64 before = inner_host_count;
    apic_write(APIC_ICR, ICR_NMI); /* it waits until the hypervisor has done with the first */
    for (u32 i = 0; i < 1000; i++)
        cpu_pause();
    inner_want("NMIs that the hypervisor takes after the exit", inner_host_count - before, 0);
    inner_end_nmi();
    for (u32 i = 0; i < 1000; i++)
        cpu_pause();
    inner_want("NMIs that it takes after IRET", inner_host_count - before, 1);
}

/*
 * The hypervisor has had an NMI and not executed IRET, and one more has come. In the inner guest it is its virtual
 * NMIs, or its VMCS, that say whether NMIs are blocked. SDM 3C 26.6.1 "Interruptibility State", 27.5.5 "Updating
 * Non-Register State"
 */
static void nmi_waits(u32 controls, u32 blocking, bool exits)
{
    begin_nmi(PIN_NMI);
    inner_want("exit reason", inner_go(), REASON_EXCEPTION);
    u64 before = inner_host_count;
    apic_write(APIC_ICR, ICR_NMI);
    for (u32 i = 0; i < 1000; i++)
        cpu_pause();
    inner_want("NMIs that the hypervisor takes after the exit", inner_host_count - before, 0);
    inner_begin(go_on);
    inner_add(PIN_CONTROLS, PIN_NMI | controls);
    inner_set(GUEST_INTERRUPTIBILITY, blocking);
    u32 reason = inner_go();
    if (exits && inner_bare && reason == REASON_VMCALL) { /* Bochs unblocks by IRET alone */
        inner_end_nmi();
        return;
    }
    inner_want("exit reason", reason, exits ? REASON_EXCEPTION : REASON_VMCALL);
    inner_want("RIP's offset", inner_get(GUEST_RIP) - (u64)go_on, exits ? 0 : 7);
    inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY) & BY_NMI, blocking);
    inner_want("NMIs that the hypervisor takes", inner_host_count - before, 0);
    inner_end_nmi();
    for (u32 i = 0; i < 1000; i++)
        cpu_pause();
    inner_want("NMIs that it takes after IRET", inner_host_count - before, exits ? 0 : 1);
}

/* With NMI exiting IRET does not end blocking by NMI, else it does. SDM 3C 26.6.1 "Interruptibility State" */
static void iret_and_blocking(u32 controls, u32 left)
{
    begin_iret();
    inner_add(PIN_CONTROLS, controls);
    inner_set(GUEST_INTERRUPTIBILITY, BY_NMI);
    inner_want_call(WENT_ON);
    inner_want("blocking after IRET", inner_get(GUEST_INTERRUPTIBILITY), left);
    inner_end_nmi();
}

static void nmis_and_blocking(void)
{
    nmi_waits(0, 0, true);
    nmi_waits(0, BY_NMI, false);
    iret_and_blocking(0, 0);
    iret_and_blocking(PIN_NMI, BY_NMI);
    if (!inner_can(PIN_CONTROLS, PIN_VIRTUAL_NMIS))
        return;
    nmi_waits(PIN_VIRTUAL_NMIS, 0, true);
    nmi_waits(PIN_VIRTUAL_NMIS, BY_NMI, true);
    iret_and_blocking(PIN_NMI | PIN_VIRTUAL_NMIS, 0);
}

/* ---- the monitor trap flag: SDM 3C 25.5.2 "Monitor Trap Flag" ---- */

#define OTHER (7u << 8)
STEP(undefined, "ud2\n\tnop")

static bool begin_traps(program *start)
{
    inner_begin(start);
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    return inner_go() == REASON_TRAP_FLAG;
}

static void monitor_traps(void)
{
    if (!inner_can(PROC_CONTROLS, PROC_TRAP_FLAG)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    if (!begin_traps(go_on)) { /* Bochs 2.7, on some models */
        inner_leave_out("the CPU has the control, which does nothing");
        return;
    }
    for (u32 i = 0; i < ARRAY_LENGTH(emulated) - 1; i++) {
        begin_emulated(&emulated[i]);
        inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
        inner_want_exit(REASON_TRAP_FLAG, emulated[i].start, emulated[i].length);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0);
    }
    inner_begin(rep_outs);
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    inner_registers.rcx = 3;
    inner_registers.rdx = 0x80;
    for (u64 left = 3; left-- > 0;) { /* behind each iteration */
        inner_want_exit(REASON_TRAP_FLAG, rep_outs, left ? 0 : 2);
        inner_want("RCX", inner_registers.rcx, left);
    }
    clear_dr6();
    begin_emulated(&emulated[0]); /* before a single step, which is pending then */
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    set_rflags(RFLAGS_TF);
    inner_want_exit(REASON_TRAP_FLAG, emulated[0].start, emulated[0].length);
    inner_want("pending debug exceptions", inner_get(GUEST_PENDING_DEBUG), PENDING_BS);
    inner_drop(PROC_CONTROLS, PROC_TRAP_FLAG);
    inner_want_call(TRAPPED(1));
    inner_want("pushed RIP", inner_trap.rip - (u64)emulated[0].start, emulated[0].length);
    inner_begin(go_on); /* an event that is injected comes first */
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    set_rflags(RFLAGS_IF);
    inject(VALID | EXTERNAL | 0x30, 0, 0);
    inner_want("exit reason", inner_go(), REASON_TRAP_FLAG);
    inner_want("RSP: the event was delivered", (u64)lab_inner_stack - inner_get(GUEST_RSP), 40);
    inner_want("IDT-vectoring information", inner_get(IDT_VECTORING_INFO) >> 31, 0);
    inner_drop(PROC_CONTROLS, PROC_TRAP_FLAG);
    inner_want_call(TRAPPED(0x30));
    inner_begin(undefined); /* and a fault of the instruction */
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    inner_want("exit reason", inner_go(), REASON_TRAP_FLAG);
    inner_drop(PROC_CONTROLS, PROC_TRAP_FLAG);
    inner_want_call(TRAPPED(6));
    inner_begin(do_hlt);
    inner_add(PROC_CONTROLS, PROC_TRAP_FLAG);
    inner_want_exit(REASON_TRAP_FLAG, do_hlt, 1);
    want_halted();
    inner_begin(go_on); /* an exit that is injected needs no control */
    inject(VALID | OTHER, 0, 0);
    inner_want_exit(REASON_TRAP_FLAG, go_on, 0);
    inner_want_call(WENT_ON);
}

/* ---- the preemption timer: SDM 3C 25.5.1, 26.6.4 ---- */

static void begin_timer(program *start, u32 value)
{
    inner_begin(start);
    inner_add(PIN_CONTROLS, PIN_TIMER);
    inner_set(PREEMPTION_TIMER_VALUE, value);
}

static void preemption_timer(void)
{
    if (!inner_can(PIN_CONTROLS, PIN_TIMER)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    begin_timer(loop, 2000);
    inner_want_exit(REASON_TIMER, loop, 0);
    inner_want("the field, without saving", inner_get(PREEMPTION_TIMER_VALUE), 2000);
    begin_timer(loop, 2000);
    inner_add(EXIT_CONTROLS, EXIT_SAVE_TIMER);
    inner_want_exit(REASON_TIMER, loop, 0);
    inner_want("what is left", inner_get(PREEMPTION_TIMER_VALUE), 0);
    inner_want_exit(REASON_TIMER, loop, 0); /* with 0 before the first instruction */
    begin_timer(go_on, 0);
    inner_want_exit(REASON_TIMER, go_on, 0);
    begin_timer(go_on, 100000000);
    inner_add(EXIT_CONTROLS, EXIT_SAVE_TIMER);
    inner_want_call(WENT_ON);
    u64 left = inner_get(PREEMPTION_TIMER_VALUE);
    inner_want("what is left is a little less", left < 100000000 && left > 50000000, 1);
    begin_timer(go_on, 0); /* an injected event comes before */
    inject(VALID | EXTERNAL | 0x30, 0, 0);
    set_rflags(RFLAGS_IF);
    inner_want("exit reason", inner_go(), REASON_TIMER);
    inner_want("RSP: the event was delivered", (u64)lab_inner_stack - inner_get(GUEST_RSP), 40);
    begin_timer(do_hlt, 20000);
    inner_want_exit(REASON_TIMER, do_hlt, 1);
    want_halted();
    begin_timer(go_on, 5000);
    inner_set(GUEST_ACTIVITY_STATE, HLT);
    inner_want_exit(REASON_TIMER, go_on, 0);
    want_halted();
}

void inner_events(void)
{
    static const struct inner_row scenarios[] = {
        {"injection",                           injection           },
        {"a fault in the middle of a delivery", vectoring           },
        {"triple fault",                        triple_fault        },
        {"interrupt window",                    interrupt_window    },
        {"NMI window and virtual NMIs",         nmi_window          },
        {"blocking by STI and MOV SS",          blocking            },
        {"single steps",                        single_step         },
        {"pending debug exceptions",            pending_debug       },
        {"single steps over what is emulated",  steps_over_emulated },
        {"blocking ends with one instruction",  blocking_ends       },
        {"a single step behind MOV SS",         step_in_shadow      },
        {"data breakpoint",                     data_breakpoint     },
        {"an interrupt exits",                  interrupt_exits     },
        {"an interrupt exits from HLT",         interrupt_in_hlt    },
        {"an interrupt is the inner guest's",   interrupt_delivered },
        {"a debug trap before an interrupt",    traps_and_interrupts},
        {"NMIs",                                nmis                },
        {"NMIs and blocking",                   nmis_and_blocking   },
        {"monitor trap flag: what is emulated", monitor_traps       },
        {"preemption timer",                    preemption_timer    },
    };

    inner_run(scenarios, ARRAY_LENGTH(scenarios), NULL);
}
