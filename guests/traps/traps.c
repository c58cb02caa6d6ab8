/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due just behind an instruction that exits must come there, as on bare hardware: the trap of RFLAGS.TF behind
 * HLT, an interrupt in the one gap that STI leaves it. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define VECTOR_DB   1u
#define ROUNDS      100000u
#define SHOT_CLOCKS 100u

void traps_on_debug(void);

volatile u32 trap_eip, traps, interrupts;

/* Leaves with TF clear, so that one step is one trap. */
__asm__(".text\n"
        "traps_on_debug:\n\t"
        "incl traps\n\t"
        "popl trap_eip\n\t"
        "pushl trap_eip\n\t"
        "andl $~0x100, 8(%esp)\n\t"
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

int guest_main(void)
{
    interrupts_init();
    interrupts_set_gate(VECTOR_DB, traps_on_debug);
    step_over_hlt();
    interrupt_behind_sti();
    print("traps ok\n");
    return 0;
}
