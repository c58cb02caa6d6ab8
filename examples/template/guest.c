/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest of your own: prints on the UART, takes ten interrupts of the PIT and ends with an exit status.
 * docs/first-guest.md walks through it.
 */
#include <stdint.h>

#include "rootlet_abi.h"

#define TICKS       10
#define TICK_HZ     100
#define PIT_HZ      1193182 /* the PIT's input clock on every PC */
#define IRQ_VECTORS 32      /* IRQ n becomes vector 32 + n: 0 to 31 are the CPU's own exceptions */

struct gate {
    uint16_t offset_low, segment, attributes, offset_high;
};

struct idt_pointer {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

void guest_main(void);
void timer_entry(void); /* start.asm */
void timer_interrupt(void);

static struct gate idt[IRQ_VECTORS + 16];
static volatile unsigned ticks;

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* The virtual UART takes a byte at any time, so nobody waits for it. */
static void print(const char *text)
{
    for (; *text; text++)
        out8(ROOTLET_PORT_UART, (uint8_t)*text);
}

/* VMCALL with the number in EAX. It would raise #UD on a machine without Rootlet. */
static void __attribute__((noreturn)) exit_vm(unsigned status)
{
    for (;;)
        __asm__ volatile("vmcall" : : "a"(ROOTLET_CALL_EXIT), "b"(status) : "memory");
}

void timer_interrupt(void)
{
    ticks++;
    out8(ROOTLET_PORT_PIC_MASTER, 0x20); /* end of interrupt */
}

static void idt_init(void)
{
    uint32_t entry = (uint32_t)timer_entry;
    struct idt_pointer pointer = {sizeof idt - 1, (uint32_t)idt};

    idt[IRQ_VECTORS + ROOTLET_IRQ_PIT] = (struct gate){(uint16_t)entry, 0x08, 0x8e00, (uint16_t)(entry >> 16)};
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

/* The 8259A wants four words of initialisation; then all its lines but the timer's are masked. */
static void pic_init(void)
{
    out8(ROOTLET_PORT_PIC_MASTER, 0x11);
    out8(ROOTLET_PORT_PIC_MASTER + 1, IRQ_VECTORS);
    out8(ROOTLET_PORT_PIC_MASTER + 1, 1 << 2);
    out8(ROOTLET_PORT_PIC_MASTER + 1, 0x01);
    out8(ROOTLET_PORT_PIC_MASTER + 1, 0xff ^ (1u << ROOTLET_IRQ_PIT));
}

/* Channel 0, both bytes, mode 2: an interrupt each time it has counted down from the divisor. */
static void pit_init(void)
{
    uint16_t divisor = PIT_HZ / TICK_HZ;

    out8(ROOTLET_PORT_PIT + 3, 0x34);
    out8(ROOTLET_PORT_PIT, (uint8_t)divisor);
    out8(ROOTLET_PORT_PIT, (uint8_t)(divisor >> 8));
}

void guest_main(void)
{
    print("first: hello\n");
    idt_init();
    pic_init();
    pit_init();
    /* STI takes effect behind the next instruction, so no tick is lost between it and HLT. */
    while (ticks < TICKS)
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    print("first: ten ticks\n");
    exit_vm(0);
}
