/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wiring of the virtual PC: which device drives which interrupt line, and what reaches the host.
 *
 *   PIT OUT0 -> IRQ 0   i8042 -> IRQ 1   UART -> IRQ 4   CMOS -> IRQ 8   SCI -> IRQ 9     8259A INTR -> host
 *
 * IRQ n is pin n of the PIC's pair and of the I/O APIC, but IRQ 0 is the I/O APIC's pin 2. In the HPET's legacy
 * replacement its comparators 0 and 1 take the place of PIT and CMOS clock. Runs in VMX root operation under the VM's
 * device lock; also on the host in tests.
 */
#include "drivers/virt/pc.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"

#define IRQ_PIT   0
#define IRQ_I8042 1
#define IRQ_UART  4
#define IRQ_CMOS  8

#define IOAPIC_PIN_OF_IRQ0 2

#define PORT_PAGES 0x80u

static ALWAYS_INLINE u8 ioapic_pin(u8 irq)
{
    return irq == 0 ? IOAPIC_PIN_OF_IRQ0 : irq;
}

static void set_isa(void *context, u8 irq, bool level)
{
    struct pc *pc = context;

    pic_set_line(&pc->pic, irq, level);
    vioapic_set_line(&pc->ioapic, ioapic_pin(irq), level);
}

static NOINLINE void pulse_open(struct pc *pc, u8 irq)
{
    vioapic_pulse_line(&pc->ioapic, ioapic_pin(irq));
    pic_pulse_line(&pc->pic, irq);
}

static ALWAYS_INLINE void pulse_both(struct pc *pc, u8 irq)
{
    if (LIKELY(vioapic_pulse_masked(&pc->ioapic, ioapic_pin(irq))))
        pic_pulse_line(&pc->pic, irq);
    else
        pulse_open(pc, irq);
}

static void pulse_isa(void *context, u8 irq)
{
    pulse_both(context, irq);
}

/* The outputs that the HPET can replace. */
static void set_replaceable(void *context, u8 irq, bool level)
{
    struct pc *pc = context;
    u16 bit = (u16)BIT(irq);

    pc->replaced_lines = level ? pc->replaced_lines | bit : pc->replaced_lines & (u16)~bit;
    if (!pc->legacy_replaced)
        set_isa(pc, irq, level);
}

static ALWAYS_INLINE void pulse_replaceable(struct pc *pc, u8 irq)
{
    pc->replaced_lines |= (u16)BIT(irq);
    if (LIKELY(!pc->legacy_replaced))
        pulse_both(pc, irq);
}

/* By far the busiest line: of its own, so that its numbers are constants. */
static void pulse_pit(void *context, u8 irq)
{
    (void)irq;
    pulse_replaceable(context, IRQ_PIT);
}

static void pulse_cmos(void *context, u8 irq)
{
    (void)irq;
    pulse_replaceable(context, IRQ_CMOS);
}

/* The edges of the old source are over; what the new one holds high is an edge. */
static void connect_replaceable(struct pc *pc, u8 irq)
{
    set_isa(pc, irq, false);
    set_isa(pc, irq, !pc->legacy_replaced && pc->replaced_lines & BIT(irq));
}

static void select_legacy(void *context, bool on)
{
    struct pc *pc = context;

    pc->legacy_replaced = on;
    connect_replaceable(pc, IRQ_PIT);
    connect_replaceable(pc, IRQ_CMOS);
}

/* Without an I/O APIC lines go to the PIC straight. */
static struct line isa_line(struct pc *pc, u8 irq)
{
    if (!pc->host->interrupt_message)
        return (struct line){pic_set_line, pic_pulse_line, &pc->pic, irq};
    if (irq == IRQ_PIT || irq == IRQ_CMOS)
        return (struct line){set_replaceable, irq == IRQ_PIT ? pulse_pit : pulse_cmos, pc, irq};
    return (struct line){set_isa, pulse_isa, pc, irq};
}

/*
 * The DMA controllers' page registers. There is no DMA, but each can be read back: firmware and kernels write progress
 * codes to the first, and some keep a value there.
 */
static u64 read_page(void *device, u64 offset, u8 bytes)
{
    const struct pc *pc = device;
    (void)bytes;
    return pc->page_registers[offset];
}

static void write_page(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pc *pc = device;
    (void)bytes;
    pc->page_registers[offset] = (u8)value;
}

static const struct bus_ops page_ops = {read_page, write_page};

/* ---- the devices ---- */

/* What they are made from. */
struct parts {
    const struct pc_host *host;
    struct bus *bus;
    struct vtimer_set *timers;
    u64 wall_seconds;
    u64 mem_bytes;
};

static enum status add_pic(struct pc *pc, const struct parts *p)
{
    return pic_init(&pc->pic, p->bus, p->host->interrupt_raised, p->host->context);
}

static enum status add_ioapic(struct pc *pc, const struct parts *p)
{
    if (!p->host->interrupt_message)
        return STATUS_OK;
    return vioapic_init(&pc->ioapic, p->bus, p->host->interrupt_message, p->host->context);
}

static enum status add_hpet(struct pc *pc, const struct parts *p)
{
    const struct vhpet_wiring wiring = {
        .isa = {set_isa,          pulse_isa,          pc,          0},
        .ioapic = {vioapic_set_line, vioapic_pulse_line, &pc->ioapic, 0},
        .select_legacy = select_legacy,
        .context = pc,
    };
    return p->host->interrupt_message ? vhpet_init(&pc->hpet, p->bus, p->timers, &wiring) : STATUS_OK;
}

static enum status add_pit(struct pc *pc, const struct parts *p)
{
    return pit_init(&pc->pit, p->bus, p->timers, isa_line(pc, IRQ_PIT));
}

static enum status add_uart(struct pc *pc, const struct parts *p)
{
    const struct uart_peer peer = {p->host->console_put, p->host->context, p->host->console_get};
    return uart_init(&pc->uart, p->bus, p->timers, isa_line(pc, IRQ_UART), &peer);
}

static enum status add_cmos(struct pc *pc, const struct parts *p)
{
    const struct cmos_setup setup = {p->wall_seconds, p->mem_bytes};
    return cmos_init(&pc->cmos, p->bus, p->timers, isa_line(pc, IRQ_CMOS), &setup);
}

static enum status add_power(struct pc *pc, const struct parts *p)
{
    return power_init(&pc->power, p->bus, p->host->request, p->host->context);
}

static enum status add_i8042(struct pc *pc, const struct parts *p)
{
    return i8042_init(&pc->i8042, p->bus, isa_line(pc, IRQ_I8042), &pc->power);
}

static enum status add_crtc(struct pc *pc, const struct parts *p)
{
    return crtc_init(&pc->crtc, p->bus, p->timers);
}

static enum status add_pci(struct pc *pc, const struct parts *p)
{
    return pci_init(&pc->pci, p->bus, &pc->power);
}

static enum status add_pm(struct pc *pc, const struct parts *p)
{
    return pm_init(&pc->pm, p->bus, p->timers, isa_line(pc, PM_SCI_IRQ));
}

static enum status add_pages(struct pc *pc, const struct parts *p)
{
    return bus_add_ports(p->bus, PORT_PAGES, PC_PAGE_REGISTERS, 1, &page_ops, pc);
}

/* A device stands behind those whose lines or state it uses. */
static enum status (*const devices[])(struct pc *pc, const struct parts *p) = {
    add_pic,   add_ioapic, add_hpet, add_pit, add_uart, add_cmos,
    add_power, add_i8042,  add_crtc, add_pci, add_pm,   add_pages,
};

enum status pc_init(struct pc *pc, const struct pc_host *host, struct bus *bus, struct vtimer_set *timers,
                    u64 wall_seconds, u64 mem_bytes)
{
    const struct parts parts = {host, bus, timers, wall_seconds, mem_bytes};
    enum status status = STATUS_OK;

    pc->host = host;
    pc->legacy_replaced = false;
    pc->replaced_lines = 0;
    memset(pc->page_registers, 0, sizeof pc->page_registers);
    for (u32 i = 0; i < ARRAY_SIZE(devices) && status == STATUS_OK; i++)
        status = devices[i](pc, &parts);
    return status;
}

void pc_copy(struct pc *pc, const struct pc *from)
{
    pic_copy(&pc->pic, &from->pic);
    pit_copy(&pc->pit, &from->pit);
    uart_copy(&pc->uart, &from->uart);
    cmos_copy(&pc->cmos, &from->cmos);
    i8042_copy(&pc->i8042, &from->i8042);
    power_copy(&pc->power, &from->power);
    crtc_copy(&pc->crtc, &from->crtc);
    pci_copy(&pc->pci, &from->pci);
    pm_copy(&pc->pm, &from->pm);
    vioapic_copy(&pc->ioapic, &from->ioapic);
    vhpet_copy(&pc->hpet, &from->hpet);
    pc->legacy_replaced = from->legacy_replaced;
    pc->replaced_lines = from->replaced_lines;
    memcpy(pc->page_registers, from->page_registers, sizeof pc->page_registers);
}

struct intc pc_interrupt_controller(struct pc *pc)
{
    return (struct intc){&pc->pic.output, pic_acknowledge, &pc->pic};
}

void pc_end_interrupt(struct pc *pc, u8 vector)
{
    if (pc->host->interrupt_message)
        vioapic_end_interrupt(&pc->ioapic, vector);
}

void pc_take_input(struct pc *pc)
{
    uart_take_input(&pc->uart);
}

static size_t describe_pic(const struct pic_chip *chip, const char *name, char *text, size_t size)
{
    return format_text(text, size, "device=pic chip=%s base=0x%x imr=0x%x irr=0x%x isr=0x%x", name, chip->base,
                       chip->imr, chip->irr, chip->isr);
}

static size_t describe_ioapic(const struct vioapic *ioapic, char *text, size_t size)
{
    u32 open = 0;

    for (u32 pin = 0; pin < VIOAPIC_PINS; pin++)
        open += !(ioapic->entries[pin] & VIOAPIC_MASKED);
    return format_text(text, size, "device=ioapic open_pins=%u lines=0x%x", open, ioapic->lines);
}

bool pc_describe(const struct pc *pc, u32 n, char *text, size_t size)
{
    const struct pit_channel *timer = &pc->pit.channels[0];

    switch (n) {
    case 0:
        return describe_pic(&pc->pic.master, "master", text, size);
    case 1:
        return describe_pic(&pc->pic.slave, "slave", text, size);
    case 2:
        return describe_ioapic(&pc->ioapic, text, size);
    case 3:
        return format_text(text, size, "device=pit mode=%u running=%u", timer->mode, timer->running);
    case 4:
        return format_text(text, size, "device=hpet legacy=%u", pc->legacy_replaced);
    case 5:
        return format_text(text, size, "device=uart ier=0x%x lcr=0x%x mcr=0x%x received=%u", pc->uart.ier, pc->uart.lcr,
                           pc->uart.mcr, pc->uart.received);
    default:
        return false;
    }
}
