/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts and exceptions for 32-bit guests: IDT, the PIC pair with its lines at vectors 0x20 to 0x2F, PIT channel 0,
 * and a way to try an instruction that may fault. Interrupts stay off until the guest says STI.
 */
#ifndef GUEST_INTERRUPTS_H
#define GUEST_INTERRUPTS_H

#include "guests/lib/types.h"

#define IRQ_VECTOR_BASE 0x20u

#define VECTOR_UD   6u
#define VECTOR_GP   13u
#define VECTOR_NONE 0xffu /* no exception was taken */

#define PIT_HZ 1193182u

/* What the assembly stubs push, lowest address first. */
struct interrupt_frame {
    u32 edi, esi, ebp, esp, ebx, edx, ecx, eax;
    u32 vector, error;
    u32 eip, cs, eflags;
};

/* Installs the IDT: an exception that nobody expects prints FAIL and ends the VM. All PIC lines are masked. */
void interrupts_init(void);
/* The same IDT on another vCPU. */
void interrupts_load(void);
/* Calls handler for a PIC line (0..15), unmasks it; the end of interrupt is sent after the handler. */
void interrupts_set_irq(u8 irq, void (*handler)(struct interrupt_frame *frame));
void interrupts_mask_irq(u8 irq);
/* Replaces one IDT entry by raw code, which must save registers and IRET itself. */
void interrupts_set_gate(u8 vector, void (*entry)(void));
void interrupts_end_of_interrupt(u8 irq);

/* PIT channel 0: an interrupt every `divisor` input clocks (1..65536), or one after `count` clocks. */
void pit_set_periodic(u32 divisor);
void pit_set_oneshot(u32 count);

/*
 * Trying an instruction: trap_resume is where the exception handler continues, and trap_vector then says which
 * exception came. TRAP_TRY wraps an instruction string for use in asm(); afterwards trap_vector is VECTOR_NONE if it
 * succeeded.
 */
extern volatile u32 trap_resume, trap_vector, trap_error, trap_count;
#define TRAP_TRY(instruction)                                                                                          \
    "movl $0xff, trap_vector\n\tmovl $1f, trap_resume\n\t" instruction "\n1:\tmovl $0, trap_resume"

/* RDMSR and WRMSR that return false on an exception. */
bool msr_try_read(u32 index, u64 *value);
bool msr_try_write(u32 index, u64 value);

#endif
