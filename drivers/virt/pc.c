/*
 * The wiring of the virtual PC: which device drives which interrupt line, and what reaches the host.
 *
 *   PIT OUT0 -> IRQ 0   i8042 -> IRQ 1   UART -> IRQ 4   CMOS -> IRQ 8     8259A INTR -> host
 *
 * Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/pc.h"

#define IRQ_PIT   0
#define IRQ_I8042 1
#define IRQ_UART  4
#define IRQ_CMOS  8

static struct line pic_line(struct pc *pc, u8 pin)
{
    return (struct line){pic_set_line, pic_pulse_line, &pc->pic, pin};
}

enum status pc_init(struct pc *pc, const struct pc_host *host, struct bus *bus, struct vtimer_set *timers,
                    u64 wall_seconds, u64 mem_bytes)
{
    const struct uart_peer peer = {host->console_put, host->context};
    const struct cmos_setup setup = {wall_seconds, mem_bytes};

    pc->host = host;
    enum status status = pic_init(&pc->pic, bus, host->interrupt_raised, host->context);
    if (status == STATUS_OK)
        status = pit_init(&pc->pit, bus, timers, pic_line(pc, IRQ_PIT));
    if (status == STATUS_OK)
        status = uart_init(&pc->uart, bus, timers, pic_line(pc, IRQ_UART), &peer);
    if (status == STATUS_OK)
        status = cmos_init(&pc->cmos, bus, timers, pic_line(pc, IRQ_CMOS), &setup);
    if (status == STATUS_OK)
        status = power_init(&pc->power, bus, host->request, host->context);
    if (status == STATUS_OK)
        status = i8042_init(&pc->i8042, bus, pic_line(pc, IRQ_I8042), &pc->power);
    if (status == STATUS_OK)
        status = crtc_init(&pc->crtc, bus, timers);
    if (status == STATUS_OK)
        status = pci_init(&pc->pci, bus, &pc->power);
    return status;
}

struct intc pc_interrupt_controller(struct pc *pc)
{
    return (struct intc){&pc->pic.output, pic_acknowledge, &pc->pic};
}

bool pc_console_input(struct pc *pc, u8 character)
{
    return uart_receive(&pc->uart, character);
}
