/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due just behind an instruction that exits must come there, as on bare hardware: the trap of RFLAGS.TF behind
 * HLT and behind each iteration of REP INS and OUTS, an interrupt in the one gap that STI leaves it, RF in the flags
 * that a fault pushes, an NMI that ends HLT with interrupts off. Ends with status 0.
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

#define APIC_BASE  0xfee00000u
#define APIC_SVR   0xf0u
#define APIC_LINT0 0x350u

void traps_on_debug(void), traps_on_iteration(void), traps_on_nmi(void);
void traps_on_error(void), traps_on_fault(void);

volatile u32 trap_eip, traps, interrupts, nmis, fault_flags, fault_next, without_rf;

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
}

static volatile u32 *apic(u32 offset)
{
    return (volatile u32 *)(APIC_BASE + offset);
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
    nmi_ends_hlt();
    print("traps ok\n");
    return 0;
}
