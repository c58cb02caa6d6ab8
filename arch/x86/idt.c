/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt descriptor table, shared by all CPUs and constant after idt_init. Every gate is an interrupt gate (IF
 * is cleared) to one of the stubs in arch/x86/trap.asm. SDM 3A 6.14.1 "64-Bit Mode IDT".
 */
#include "arch/x86/idt.h"
#include "arch/x86/percpu.h"
#include "arch/x86/regs.h"

#define GATE_COUNT     256u
#define GATE_INTERRUPT 0x8eu /* present, privilege 0, 64-bit interrupt gate */
#define FIRST_IRQ      32u

struct gate {
    u16 offset_low;
    u16 selector;
    u8 ist;
    u8 type;
    u16 offset_middle;
    u32 offset_high;
    u32 reserved;
};

struct PACKED table_pointer {
    u16 limit;
    u64 base;
};

extern const u8 trap_stubs[];     /* vectors 0 to 31 */
extern const u8 trap_irq_stubs[]; /* vectors 32 to 255 */

static struct gate gates[GATE_COUNT] ALIGNED(16);

/* 6 bytes each, a gap of 12 in the middle; from FIRST_IRQ on 4 bytes each, a gap of 8 behind each 32 of them. */
static const u8 *stub_of(u32 vector)
{
    if (vector < FIRST_IRQ)
        return trap_stubs + vector * 6 + vector / (FIRST_IRQ / 2) * 12;
    vector -= FIRST_IRQ;
    return trap_irq_stubs + vector * 4 + vector / 32 * 8;
}

static u8 ist_of(u32 vector)
{
    switch (vector) {
    case VECTOR_NMI:
        return IST_NMI;
    case VECTOR_DF:
        return IST_DOUBLE_FAULT;
    case VECTOR_MC:
        return IST_MACHINE_CHECK;
    default:
        return 0;
    }
}

void idt_init(void)
{
    for (u32 vector = 0; vector < GATE_COUNT; vector++) {
        u64 offset = (u64)(uintptr_t)stub_of(vector);
        gates[vector] = (struct gate){
            .offset_low = (u16)offset,
            .selector = SELECTOR_KERNEL_CODE,
            .ist = ist_of(vector),
            .type = GATE_INTERRUPT,
            .offset_middle = (u16)(offset >> 16),
            .offset_high = (u32)(offset >> 32),
        };
    }
}

void idt_load(void)
{
    struct table_pointer pointer = {sizeof gates - 1, idt_base()};
    asm volatile("lidt %0" : : "m"(pointer) : "memory");
}

u64 idt_base(void)
{
    return (u64)(uintptr_t)gates;
}
