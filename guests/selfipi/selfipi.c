/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interrupt that a vCPU sends to itself in x2APIC mode with interrupts off, and waits for by STI; HLT: it comes
 * behind the HLT's first cycle and ends it, each time, however often the vCPU loses its CPU on the way. With another
 * interrupt on its way meanwhile, code with interrupts off must not see it. Options: turns=<n> (4000).
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define MSR_APIC_BASE 0x01bu
#define APIC_X2       0xc00u /* enabled, x2APIC mode */
#define X2_SVR        0x80fu
#define SVR_ENABLED   0x1ffu
#define VECTOR_SELF   (IRQ_VECTOR_BASE + 1)
#define PERIOD_CLOCKS 300u /* about 250 us: the PIT's interrupt often comes while interrupts are off */
#define OFF_TICKS     400u /* how long they are */
#define GUEST_TURNS   4000u

void selfipi_interrupt(void);
void selfipi_send(u32 vector);
void selfipi_sleep(void);

volatile u32 selfipi_came;
static volatile u32 ticks;

static void count_tick(struct interrupt_frame *frame)
{
    (void)frame;
    ticks++;
}

static void write_msr(u32 index, u64 value)
{
    asm volatile("wrmsr" : : "c"(index), "A"(value));
}

static u64 read_msr(u32 index)
{
    u64 value;
    asm volatile("rdmsr" : "=A"(value) : "c"(index));
    return value;
}

int guest_main(void)
{
    u32 turns = guest_option_number("turns", GUEST_TURNS);

    interrupts_init();
    interrupts_set_gate(VECTOR_SELF, selfipi_interrupt);
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_X2);
    write_msr(X2_SVR, SVR_ENABLED);
    interrupts_set_irq(0, count_tick);
    pit_set_periodic(PERIOD_CLOCKS);
    for (u32 i = 0; i < turns; i++) {
        selfipi_send(VECTOR_SELF);
        for (u64 start = cpu_rdtsc(); cpu_rdtsc() - start < OFF_TICKS;)
            expect(selfipi_came == i, "an interrupt came with interrupts off");
        while (selfipi_came == i) /* the PIT may have ended the first HLT */
            selfipi_sleep();
    }
    print("selfipi ok turns=%u\n", turns);
    return 0;
}
