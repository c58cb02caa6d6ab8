/*
 * COM1, polled register access. The console holds its lock around every call except serial_init.
 */
#include "drivers/host/serial.h"
#include "arch/x86/cpu.h"

#define COM1             0x3f8
#define UART_DATA        (COM1 + 0) /* divisor latch low while LCR.DLAB */
#define UART_IER         (COM1 + 1) /* divisor latch high while LCR.DLAB */
#define UART_IIR_FCR     (COM1 + 2)
#define UART_LCR         (COM1 + 3)
#define UART_MCR         (COM1 + 4)
#define UART_LSR         (COM1 + 5)
#define UART_MSR         (COM1 + 6)
#define UART_SCRATCH     (COM1 + 7)
#define UART_CLOCK_BAUD  115200u /* with divisor 1 */
#define IER_RECEIVE      0x01
#define IER_TRANSMIT     0x02
#define IIR_NONE_PENDING 0x01
#define FCR_ENABLE_CLEAR 0x07 /* FIFOs on and emptied, an interrupt for each received byte */
#define LCR_8N1          0x03
#define LCR_DLAB         0x80
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt line on a PC */
#define MCR_LOOPBACK     0x10
#define MSR_INPUTS       0xf0
#define LSR_DATA_READY   0x01
#define LSR_THRE         0x20
#define LSR_TEMT         0x40

static bool scratch_holds(u8 value)
{
    port_out8(UART_SCRATCH, value);
    return port_in8(UART_SCRATCH) == value;
}

/* In loopback the modem outputs come back as inputs: OUT2 and RTS as DCD and CTS. */
static bool loopback_works(void)
{
    port_out8(UART_MCR, MCR_LOOPBACK | 0x0a);
    u8 inputs = port_in8(UART_MSR) & MSR_INPUTS;
    port_out8(UART_MCR, MCR_DTR_RTS_OUT2);
    return inputs == 0x90;
}

bool serial_init(void)
{
    if (!scratch_holds(0x5a) || !scratch_holds(0xa5) || !loopback_works())
        return false;
    port_out8(UART_IER, 0);
    port_out8(UART_LCR, LCR_DLAB | LCR_8N1);
    port_out8(UART_DATA, UART_CLOCK_BAUD / SERIAL_BAUD);
    port_out8(UART_IER, 0);
    port_out8(UART_LCR, LCR_8N1);
    port_out8(UART_IIR_FCR, FCR_ENABLE_CLEAR);
    port_out8(UART_MCR, MCR_DTR_RTS_OUT2);
    return true;
}

void serial_set_interrupts(bool receive, bool transmit)
{
    port_out8(UART_IER, (u8)((receive ? IER_RECEIVE : 0) | (transmit ? IER_TRANSMIT : 0)));
}

bool serial_can_send(void)
{
    return port_in8(UART_LSR) & LSR_THRE;
}

bool serial_is_idle(void)
{
    return port_in8(UART_LSR) & LSR_TEMT;
}

void serial_send(u8 byte)
{
    port_out8(UART_DATA, byte);
}

int serial_receive(void)
{
    return port_in8(UART_LSR) & LSR_DATA_READY ? port_in8(UART_DATA) : -1;
}

bool serial_acknowledge_interrupt(void)
{
    return !(port_in8(UART_IIR_FCR) & IIR_NONE_PENDING);
}
