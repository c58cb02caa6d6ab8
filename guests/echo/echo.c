/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The UART by interrupt: output is queued and leaves whenever the transmitter says that it is empty, input comes by
 * IRQ 4. First the UART is checked in loopback mode; then, with wait=<ms>, what arrives on the console is echoed until
 * that many ms pass without input, or until Ctrl-D. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define UART_DATA             (ROOTLET_PORT_UART + 0)
#define UART_INTERRUPT_ENABLE (ROOTLET_PORT_UART + 1)
#define UART_IDENTIFY         (ROOTLET_PORT_UART + 2)
#define UART_MODEM_CONTROL    (ROOTLET_PORT_UART + 4)
#define UART_LINE_STATUS      (ROOTLET_PORT_UART + 5)

#define ENABLE_RECEIVED 0x01
#define ENABLE_EMPTY    0x02
#define MODEM_ON        0x0b /* DTR, RTS, OUT2: the last lets the interrupt through */
#define MODEM_LOOP      0x10
#define STATUS_RECEIVED 0x01
#define STATUS_EMPTY    0x20

#define IDENTITY_MASK     0x0f
#define IDENTITY_EMPTY    0x02
#define IDENTITY_RECEIVED 0x04
#define IDENTITY_TIMEOUT  0x0c
#define FIFO_BYTES        16u

#define QUEUE_BYTES 1024u /* a power of two */
#define CONTROL_D   4
#define TICK_CLOCKS 11932u /* 10 ms */

static volatile u8 queue[QUEUE_BYTES];
static volatile u32 queue_head, queue_tail, interrupts, received, idle_ticks;
static volatile bool ended;

/* With interrupts off. Enabling the transmitter interrupt while it is empty raises it at once: that starts the output.
 */
static void queue_put(u8 character)
{
    if (queue_head - queue_tail == QUEUE_BYTES)
        return;
    queue[queue_head++ % QUEUE_BYTES] = character;
    cpu_out8(UART_INTERRUPT_ENABLE, ENABLE_RECEIVED | ENABLE_EMPTY);
}

static void transmit(void)
{
    for (u32 i = 0; i < FIFO_BYTES && queue_tail != queue_head; i++)
        cpu_out8(UART_DATA, queue[queue_tail++ % QUEUE_BYTES]);
    if (queue_tail == queue_head)
        cpu_out8(UART_INTERRUPT_ENABLE, ENABLE_RECEIVED);
}

static void receive(void)
{
    while (cpu_in8(UART_LINE_STATUS) & STATUS_RECEIVED) {
        u8 character = cpu_in8(UART_DATA);
        received++;
        idle_ticks = 0;
        ended |= character == CONTROL_D;
        queue_put(character == '\r' ? '\n' : character);
    }
}

static void uart_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    interrupts++;
    for (;;) {
        u8 identity = cpu_in8(UART_IDENTIFY) & IDENTITY_MASK;
        if (identity == IDENTITY_EMPTY)
            transmit();
        else if (identity == IDENTITY_RECEIVED || identity == IDENTITY_TIMEOUT)
            receive();
        else
            return;
    }
}

static void tick(struct interrupt_frame *frame)
{
    (void)frame;
    idle_ticks++;
}

/* What is sent comes back, and not to the outside. */
static void check_loopback(void)
{
    cpu_out8(UART_MODEM_CONTROL, MODEM_LOOP);
    for (u32 character = 'a'; character <= 'z'; character++) {
        cpu_out8(UART_DATA, (u8)character);
        for (u32 attempt = 0; !(cpu_in8(UART_LINE_STATUS) & STATUS_RECEIVED); attempt++)
            expect(attempt < 100000, "nothing came back in loopback mode");
        expect(cpu_in8(UART_DATA) == character, "a wrong character came back in loopback mode");
    }
    cpu_out8(UART_MODEM_CONTROL, MODEM_ON);
    expect(!(cpu_in8(UART_LINE_STATUS) & STATUS_RECEIVED), "a character too many came back");
}

static void queue_text(const char *text)
{
    cpu_interrupts_off();
    while (*text)
        queue_put((u8)*text++);
}

static void wait_until_sent(void)
{
    while (queue_tail != queue_head) {
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
    while (!(cpu_in8(UART_LINE_STATUS) & STATUS_EMPTY))
        cpu_pause();
}

int guest_main(void)
{
    interrupts_init();
    check_loopback();
    interrupts_set_irq(ROOTLET_IRQ_UART, uart_interrupt);
    queue_text("echo: this line leaves by interrupt, sixteen characters at a time\n");
    wait_until_sent();
    expect(interrupts > 0, "no UART interrupt came");

    u32 wait_ticks = guest_option_number("wait", 0) / 10;
    if (wait_ticks) {
        interrupts_set_irq(ROOTLET_IRQ_PIT, tick);
        pit_set_periodic(TICK_CLOCKS);
        while (!ended && idle_ticks < wait_ticks) {
            cpu_wait_for_interrupt();
            cpu_interrupts_off();
        }
        wait_until_sent();
    }
    print("echo ok received=%u\n", received);
    return 0;
}
