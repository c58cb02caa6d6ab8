/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due just behind an instruction that exits must come there, as on bare hardware: the trap of RFLAGS.TF behind
 * HLT and behind each iteration of REP INS, OUTS, MOVS and STOS, the traps of breakpoints for ports, devices and RAM,
 * also when MOV SS has put them off, an interrupt in the one gap that STI leaves it, RF in the flags that a fault
 * pushes, an NMI that ends HLT with interrupts off. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define VECTOR_DB   1u
#define VECTOR_NMI  2u
#define VECTOR_UD   6u
#define VECTOR_GP   13u
#define ROUNDS      100000u
#define SHOT_CLOCKS 100u

#define EFLAGS_RF 0x10000u
#define NO_MSR    0x12345678u
#define PORT_POST 0x80u
#define STRING    5u

#define LONG_STRING   4000u
#define STRING_CLOCKS 200u

#define CR4_DE        0x8u
#define DR6_CLEAR     0xffff0ff0u
#define DR7_CLEAR     0x400u
#define POINT_EXECUTE 0u /* R/Wn */
#define POINT_WRITE   1u
#define POINT_PORT    2u
#define POINT_ANY     3u
#define LENGTH_1      0u /* LENn */
#define LENGTH_2      1u
#define LENGTH_4      3u

#define APIC_BASE  0xfee00000u
#define APIC_TPR   0x80u
#define APIC_SVR   0xf0u
#define APIC_LINT0 0x350u

void traps_on_debug(void), traps_on_iteration(void), traps_on_nmi(void);
void traps_on_error(void), traps_on_fault(void), traps_on_point(void), traps_on_instruction(void), traps_string(void);

volatile u32 trap_eip, trap_dr6, traps, interrupts, nmis, fault_flags, fault_next, without_rf;
static u32 string_with_rf;

/* Leaves with TF clear, so that one step is one trap. */
__asm__(".text\n"
        "traps_on_debug:\n\t"
        "incl traps\n\t"
        "popl trap_eip\n\t"
        "pushl trap_eip\n\t"
        "andl $~0x100, 8(%esp)\n\t"
        "iret\n"
        /* TF stays: a trap for each iteration. */
        "traps_on_iteration:\n\t"
        "incl traps\n\t"
        "testl $0x10000, 8(%esp)\n\t"
        "jnz 1f\n\t"
        "incl without_rf\n\t"
        "andl $~0x100, 8(%esp)\n"
        "1:\tiret\n"
        "traps_on_point:\n\t"
        "incl traps\n\t"
        "pushl %eax\n\t"
        "movl %dr6, %eax\n\t"
        "movl %eax, trap_dr6\n\t"
        "movl $0xffff0ff0, %eax\n\t"
        "movl %eax, %dr6\n\t"
        "popl %eax\n\t"
        "popl trap_eip\n\t"
        "pushl trap_eip\n\t"
        "iret\n"
        /* A fault: the instruction comes again. */
        "traps_on_instruction:\n\t"
        "incl traps\n\t"
        "orl $0x10000, 8(%esp)\n\t"
        "iret\n"
        "traps_string:\n\t"
        "rep outsb\n\t"
        "ret\n"
        "traps_on_nmi:\n\t"
        "incl nmis\n\t"
        "iret\n"
        /* Goes on at fault_next. */
        "traps_on_error:\n\t"
        "addl $4, %esp\n"
        "traps_on_fault:\n\t"
        "pushl 8(%esp)\n\t"
        "popl fault_flags\n\t"
        "pushl fault_next\n\t"
        "popl (%esp)\n\t"
        "andl $~0x10000, 8(%esp)\n\t"
        "iret\n");

static void count_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    interrupts++;
}

/* The trap ends the HLT at once, also with interrupts off. */
static void step_over_hlt(void)
{
    u32 behind;

    __asm__ volatile("pushf\n\torl $0x100, (%%esp)\n\tmovl $1f, %0\n\tpopf\n\thlt\n1:\tnop"
                     : "=r"(behind)
                     :
                     : "memory", "cc");
    expect(traps == 1 && trap_eip == behind, "the step over HLT");
}

/* The interrupt comes while they are off, and each time that they are on for one instruction, it is one that exits. */
static void interrupt_behind_sti(void)
{
    interrupts_set_irq(0, count_interrupt);
    pit_set_oneshot(SHOT_CLOCKS);
    for (u32 i = 0; i < ROUNDS && !interrupts; i++)
        __asm__ volatile("sti\n\tinb $0x21, %%al\n\tcli" : : : "eax", "memory");
    expect(interrupts == 1, "the interrupt between IN and CLI");
}

/* Flags that a fault pushes have RF, whoever raised it. SDM 3B 17.3.1.1 */
static void faults_push_rf(void)
{
    interrupts_set_gate(VECTOR_UD, traps_on_fault);
    interrupts_set_gate(VECTOR_GP, traps_on_error);
    __asm__ volatile("movl $1f, fault_next\n\tud2\n1:" : : : "memory", "cc");
    expect(fault_flags & EFLAGS_RF, "RF by the CPU's own #UD");
    fault_flags = 0;
    __asm__ volatile("movl $1f, fault_next\n\trdmsr\n1:" : : "c"(NO_MSR) : "eax", "edx", "memory", "cc");
    expect(fault_flags & EFLAGS_RF, "RF by #GP of RDMSR");
    fault_flags = 0;
    __asm__ volatile("movl $1f, fault_next\n\tmovl %0, %%cr4\n1:" : : "r"(~0u) : "memory", "cc");
    expect(fault_flags & EFLAGS_RF, "RF by #GP of MOV to CR4");
}

static volatile u32 *apic(u32 offset)
{
    return (volatile u32 *)(APIC_BASE + offset);
}

/* Behind the last iteration RF is clear, behind the others it is set. */
static void step_over_strings(void)
{
    u8 bytes[STRING];
    void *at = bytes;
    u32 count = STRING;

    interrupts_set_gate(VECTOR_DB, traps_on_iteration);
    traps = without_rf = 0;
    __asm__ volatile("pushf\n\torl $0x100, (%%esp)\n\tpopf\n\trep insb"
                     : "+D"(at), "+c"(count)
                     : "d"(PORT_POST)
                     : "memory", "cc");
    expect(traps == STRING && without_rf == 1 && count == 0, "a step for each iteration of INSB");
    at = bytes;
    count = STRING;
    traps = without_rf = 0;
    __asm__ volatile("pushf\n\torl $0x100, (%%esp)\n\tpopf\n\trep outsb"
                     : "+S"(at), "+c"(count)
                     : "d"(PORT_POST)
                     : "memory", "cc");
    expect(traps == STRING && without_rf == 1 && count == 0, "a step for each iteration of OUTSB");
    u32 words[STRING];
    at = words;
    count = STRING;
    traps = without_rf = 0;
    const void *from = (const void *)ROOTLET_MMIO_HPET;
    __asm__ volatile("pushf\n\torl $0x100, (%%esp)\n\tpopf\n\trep movsl"
                     : "+S"(from), "+D"(at), "+c"(count)
                     :
                     : "memory", "cc");
    expect(traps == STRING && without_rf == 1 && count == 0, "a step for each iteration of MOVS from a device");
    at = (void *)apic(APIC_TPR);
    count = 1;
    traps = without_rf = 0;
    __asm__ volatile("pushf\n\torl $0x100, (%%esp)\n\tpopf\n\trep stosl"
                     : "+D"(at), "+c"(count)
                     : "a"(0)
                     : "memory", "cc");
    expect(traps == 1 && without_rf == 1 && count == 0, "a step for the iteration of STOS to a device");
}

/* Breakpoint 1, global. */
static void set_point(u32 address, u32 kind, u32 length)
{
    __asm__ volatile("movl %0, %%dr1\n\tmovl %1, %%dr7"
                     :
                     : "r"(address), "r"(DR7_CLEAR | 8u | kind << 20 | length << 22)
                     : "memory");
    traps = trap_dr6 = trap_eip = 0;
}

static void clear_points(void)
{
    __asm__ volatile("movl %0, %%dr7" : : "r"(DR7_CLEAR) : "memory");
}

static void set_cr4_de(bool on)
{
    u32 cr4;

    __asm__ volatile("movl %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("movl %0, %%cr4" : : "r"(on ? cr4 | CR4_DE : cr4 & ~CR4_DE));
}

/* One trap, by breakpoint 1, with this return address. */
static void expect_point(u32 behind, const char *what)
{
    expect(traps == 1 && trap_dr6 == (DR6_CLEAR | 2) && trap_eip == behind, what);
    traps = 0;
}

/* INT1 is #DB without a condition in DR6. */
static void int1_sets_nothing(void)
{
    u32 behind;

    __asm__ volatile("movl %0, %%dr6" : : "r"(DR6_CLEAR));
    traps = 0;
    __asm__ volatile("movl $1f, %0\n\t.byte 0xf1\n1:" : "=r"(behind) : : "memory", "cc");
    expect(traps == 1 && trap_eip == behind && trap_dr6 == DR6_CLEAR, "#DB by INT1");
}

static void points_at_ports(void)
{
    u8 bytes[STRING] = {0};
    const void *at = bytes;
    u32 behind, count = STRING;

    set_point(PORT_POST, POINT_PORT, LENGTH_1);
    set_cr4_de(false);
    cpu_out8(PORT_POST, 0);
    expect(traps == 0, "an I/O breakpoint without CR4.DE");
    set_cr4_de(true);
    __asm__ volatile("movl $1f, %0\n\toutb %%al, $0x80\n1:" : "=&r"(behind) : "a"(0) : "memory");
    expect_point(behind, "the breakpoint behind OUT");
    __asm__ volatile("movl $1f, %0\n\tinb $0x80, %%al\n1:" : "=&r"(behind) : : "eax", "memory");
    expect_point(behind, "the breakpoint behind IN");
    __asm__ volatile("movl $1f, %0\n\tinw $0x7f, %%ax\n1:" : "=&r"(behind) : : "eax", "memory");
    expect_point(behind, "the breakpoint behind IN of two ports");
    (void)cpu_in8(PORT_POST + 1);
    expect(traps == 0, "the breakpoint at the port before");
    __asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(PORT_POST) : "memory");
    expect(traps == STRING && trap_dr6 == (DR6_CLEAR | 2) && count == 0, "the breakpoint behind each OUTSB");
    traps = 0;
    __asm__ volatile("rep outsb" : "+S"(at), "+c"(count) : "d"(PORT_POST) : "memory");
    expect(traps == 0, "the breakpoint of a REP that does nothing");
    set_point((u32)bytes + 1, POINT_WRITE, LENGTH_1);
    at = bytes;
    count = STRING;
    __asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(PORT_POST) : "memory");
    expect(traps == 1 && trap_dr6 == (DR6_CLEAR | 2) && count == 0, "the breakpoint at what INSB writes");
    set_point((u32)bytes, POINT_WRITE, LENGTH_1);
    at = bytes;
    __asm__ volatile("outsb" : "+S"(at) : "d"(PORT_POST) : "memory");
    expect(traps == 0, "the breakpoint for writes at what OUTSB reads");
    clear_points();
    set_cr4_de(false);
}

static void points_at_memory(void)
{
    static u32 words[2];
    u32 behind;
    u32 tpr = APIC_BASE + APIC_TPR;

    set_point(tpr, POINT_ANY, LENGTH_4);
    for (u32 i = 0; i < 3; i++) { /* also if the instruction is known by now */
        __asm__ volatile("movl $1f, %0\n\tmovl (%1), %%eax\n1:" : "=&r"(behind) : "r"(tpr) : "eax", "memory");
        expect_point(behind, "the breakpoint at a device that is read");
    }
    set_point(tpr + 1, POINT_WRITE, LENGTH_2);
    (void)*apic(APIC_TPR);
    expect(traps == 0, "the breakpoint for writes at a device that is read");
    __asm__ volatile("movl $1f, %0\n\tmovl %2, (%1)\n1:" : "=&r"(behind) : "r"(tpr), "r"(0) : "memory");
    expect_point(behind, "the breakpoint at a device that is written");
    set_point((u32)&words[1], POINT_WRITE, LENGTH_4);
    u32 *to = words;
    const void *from = (const void *)ROOTLET_MMIO_HPET;
    u32 count = 2;
    __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    expect(traps == 1 && trap_dr6 == (DR6_CLEAR | 2) && count == 0, "the breakpoint at RAM that MOVS writes");
    clear_points();
    *apic(APIC_TPR) = 0;
    expect(traps == 1, "a breakpoint that is not enabled");
}

static void see_string(struct interrupt_frame *frame)
{
    if (frame->eip != (u32)traps_string)
        return;
    interrupts++;
    string_with_rf += (frame->eflags & EFLAGS_RF) != 0;
}

/* Met once: REP OUTS goes on with RF set, however often it stops on the way, and so says what an interrupt pushes. */
static void point_at_string(void)
{
    static const u8 bytes[LONG_STRING];
    const void *from = bytes;
    u32 count = LONG_STRING;

    interrupts_set_gate(VECTOR_DB, traps_on_instruction);
    set_point((u32)traps_string, POINT_EXECUTE, LENGTH_1);
    __asm__ volatile("call traps_string" : "+S"(from), "+c"(count) : "d"(PORT_POST) : "memory");
    expect(traps == 1 && count == 0, "the breakpoint at REP OUTSB");
    clear_points();
    interrupts_set_irq(0, see_string);
    interrupts = string_with_rf = 0;
    for (u32 i = 0; i < ROUNDS && !interrupts; i++) {
        pit_set_oneshot(STRING_CLOCKS);
        from = bytes;
        count = LONG_STRING;
        __asm__ volatile("sti\n\tcall traps_string\n\tcli" : "+S"(from), "+c"(count) : "d"(PORT_POST) : "memory");
    }
    expect(interrupts && string_with_rf == interrupts, "RF by an interrupt between iterations of OUTSB");
    interrupts_set_gate(VECTOR_DB, traps_on_point);
}

/* MOV SS meets a breakpoint, and the trap comes behind the next instruction. SDM 3A 6.8.3 */
static void point_behind_mov_ss(void)
{
    static u16 selector;
    u32 behind;

    __asm__ volatile("movw %%ss, %0" : "=m"(selector));
    set_point((u32)&selector, POINT_ANY, LENGTH_2);
    __asm__ volatile("movl $1f, %0\n\tmovw %1, %%ss\n\tinb $0x80, %%al\n1:\tnop\n\tnop"
                     : "=&r"(behind)
                     : "m"(selector)
                     : "eax", "memory");
    expect_point(behind, "the breakpoint of MOV SS behind IN");
    __asm__ volatile("movl $1f, %0\n\tmovw %1, %%ss\n\tcpuid\n1:\tnop\n\tnop"
                     : "=&S"(behind)
                     : "m"(selector), "a"(0)
                     : "ebx", "ecx", "edx", "memory");
    expect_point(behind, "the breakpoint of MOV SS behind CPUID");
    __asm__ volatile("movl $1f, %0\n\tmovw %1, %%ss\n\tmovl (%2), %%eax\n1:\tnop\n\tnop"
                     : "=&r"(behind)
                     : "m"(selector), "r"(apic(APIC_TPR))
                     : "eax", "memory");
    expect_point(behind, "the breakpoint of MOV SS behind a device's register");
    __asm__ volatile("movl $1f, %0\n\tmovw %1, %%ss\n\thlt\n1:\tnop" : "=&r"(behind) : "m"(selector) : "memory");
    expect_point(behind, "the breakpoint of MOV SS behind HLT");
    clear_points();
}

/* The PIT by the 8259A on LINT0, whose mode is NMI. */
static void nmi_ends_hlt(void)
{
    interrupts_set_gate(VECTOR_NMI, traps_on_nmi);
    *apic(APIC_SVR) |= 0x100;
    *apic(APIC_LINT0) = 0x400;
    pit_set_oneshot(SHOT_CLOCKS);
    __asm__ volatile("cli\n\thlt" : : : "memory");
    expect(nmis == 1, "the NMI behind CLI and HLT");
    *apic(APIC_LINT0) = 0x700;
}

int guest_main(void)
{
    interrupts_init();
    interrupts_set_gate(VECTOR_DB, traps_on_debug);
    step_over_hlt();
    interrupt_behind_sti();
    faults_push_rf();
    step_over_strings();
    interrupts_set_gate(VECTOR_DB, traps_on_point);
    int1_sets_nothing();
    points_at_ports();
    points_at_memory();
    point_at_string();
    point_behind_mov_ss();
    nmi_ends_hlt();
    print("traps ok\n");
    return 0;
}
