/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest library: IDT, 8259A pair, PIT channel 0 and expected exceptions, for 32-bit guests on their boot vCPU.
 */
#include "guests/lib/interrupts.h"
#include "guests/lib/guest.h"

#define VECTORS      48u
#define CODE_SEGMENT 0x08u
#define GATE_32      0x8e00u /* present, ring 0, 32-bit interrupt gate */

#define PIC_MASTER_MASK (ROOTLET_PORT_PIC_MASTER + 1)
#define PIC_SLAVE_MASK  (ROOTLET_PORT_PIC_SLAVE + 1)
#define PIC_ICW1        0x11 /* edge-triggered, cascaded, ICW4 follows */
#define PIC_ICW4        0x01 /* 8086 mode */
#define PIC_EOI         0x20
#define PIC_CASCADE     2u

#define PIT_CHANNEL_0 (ROOTLET_PORT_PIT + 0)
#define PIT_CONTROL   (ROOTLET_PORT_PIT + 3)

struct gate {
    u16 offset_low, segment, attributes, offset_high;
};

extern const u32 interrupt_stubs[VECTORS]; /* vectors.asm */
void interrupt_dispatch(struct interrupt_frame *frame);

static struct gate idt[VECTORS];
static void (*irq_handlers[16])(struct interrupt_frame *);

volatile u32 trap_resume, trap_vector, trap_error, trap_count;

void interrupts_set_gate(u8 vector, void (*entry)(void))
{
    u32 offset = (u32)entry;
    idt[vector] = (struct gate){(u16)offset, CODE_SEGMENT, GATE_32, (u16)(offset >> 16)};
}

static void pic_init(void)
{
    cpu_out8(ROOTLET_PORT_PIC_MASTER, PIC_ICW1);
    cpu_out8(PIC_MASTER_MASK, IRQ_VECTOR_BASE);
    cpu_out8(PIC_MASTER_MASK, 1u << PIC_CASCADE);
    cpu_out8(PIC_MASTER_MASK, PIC_ICW4);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE, PIC_ICW1);
    cpu_out8(PIC_SLAVE_MASK, IRQ_VECTOR_BASE + 8);
    cpu_out8(PIC_SLAVE_MASK, PIC_CASCADE);
    cpu_out8(PIC_SLAVE_MASK, PIC_ICW4);
    cpu_out8(PIC_MASTER_MASK, 0xff);
    cpu_out8(PIC_SLAVE_MASK, 0xff);
}

void interrupts_init(void)
{
    for (u32 vector = 0; vector < VECTORS; vector++)
        interrupts_set_gate((u8)vector, (void (*)(void))interrupt_stubs[vector]);
    interrupts_load();
    pic_init();
}

void interrupts_load(void)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) pointer = {sizeof(idt) - 1, (u32)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void interrupts_mask_irq(u8 irq)
{
    u16 port = irq < 8 ? PIC_MASTER_MASK : PIC_SLAVE_MASK;
    cpu_out8(port, (u8)(cpu_in8(port) | 1u << (irq & 7)));
}

void interrupts_set_irq(u8 irq, void (*handler)(struct interrupt_frame *))
{
    irq_handlers[irq] = handler;
    u16 port = irq < 8 ? PIC_MASTER_MASK : PIC_SLAVE_MASK;
    cpu_out8(port, (u8)(cpu_in8(port) & ~(1u << (irq & 7))));
    if (irq >= 8)
        cpu_out8(PIC_MASTER_MASK, (u8)(cpu_in8(PIC_MASTER_MASK) & ~(1u << PIC_CASCADE)));
}

void interrupts_end_of_interrupt(u8 irq)
{
    if (irq >= 8)
        cpu_out8(ROOTLET_PORT_PIC_SLAVE, PIC_EOI);
    cpu_out8(ROOTLET_PORT_PIC_MASTER, PIC_EOI);
}

static void exception(struct interrupt_frame *frame)
{
    if (!trap_resume) {
        print("FAIL: exception vector=%u error=%x eip=%x\n", frame->vector, frame->error, frame->eip);
        guest_exit(1);
    }
    trap_vector = frame->vector;
    trap_error = frame->error;
    trap_count++;
    frame->eip = trap_resume;
}

void interrupt_dispatch(struct interrupt_frame *frame)
{
    if (frame->vector < IRQ_VECTOR_BASE) {
        exception(frame);
        return;
    }
    u8 irq = (u8)(frame->vector - IRQ_VECTOR_BASE);
    if (irq_handlers[irq])
        irq_handlers[irq](frame);
    interrupts_end_of_interrupt(irq);
}

void pit_set_periodic(u32 divisor)
{
    cpu_out8(PIT_CONTROL, 0x34); /* channel 0, both bytes, mode 2: rate generator */
    cpu_out8(PIT_CHANNEL_0, (u8)divisor);
    cpu_out8(PIT_CHANNEL_0, (u8)(divisor >> 8));
}

void pit_set_oneshot(u32 count)
{
    cpu_out8(PIT_CONTROL, 0x30); /* channel 0, both bytes, mode 0: interrupt on terminal count */
    cpu_out8(PIT_CHANNEL_0, (u8)count);
    cpu_out8(PIT_CHANNEL_0, (u8)(count >> 8));
}

bool msr_try_read(u32 index, u64 *value)
{
    u32 low = 0, high = 0;
    __asm__ volatile(TRAP_TRY("rdmsr") : "+a"(low), "+d"(high) : "c"(index) : "memory");
    *value = (u64)high << 32 | low;
    return trap_vector == VECTOR_NONE;
}

bool msr_try_write(u32 index, u64 value)
{
    __asm__ volatile(TRAP_TRY("wrmsr") : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
    return trap_vector == VECTOR_NONE;
}
