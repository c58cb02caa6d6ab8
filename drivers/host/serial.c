/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Register access to a UART, polled. Who owns a port (the console COM1) holds a lock around every call except
 * serial_init.
 */
#include "drivers/host/serial.h"
#include "arch/x86/cpu.h"

#define UART_DATA        0u /* divisor latch low while LCR.DLAB */
#define UART_IER         1u /* divisor latch high while LCR.DLAB */
#define UART_IIR_FCR     2u
#define UART_LCR         3u
#define UART_MCR         4u
#define UART_LSR         5u
#define UART_MSR         6u
#define UART_SCRATCH     7u
#define UART_CLOCK_BAUD  115200u /* with divisor 1 */
#define IER_RECEIVE      0x01
#define IER_TRANSMIT     0x02
#define IIR_NONE_PENDING 0x01
#define FCR_ENABLE_CLEAR 0x07 /* FIFOs on and emptied, an interrupt for each received byte */
#define LCR_8N1          0x03
#define LCR_DLAB         0x80
#define LCR_FORMAT       0x7f /* all but DLAB */
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt line on a PC */
#define MCR_LOOPBACK     0x10
#define MSR_INPUTS       0xf0
#define LSR_DATA_READY   0x01
#define LSR_THRE         0x20
#define LSR_TEMT         0x40

#define SEND_POLLS 1000000u /* a read of a UART takes about 1 us on hardware; a FIFO empties within 1.4 ms */

static volatile void *memory;
static bool memory_is_wide;

void serial_set_memory(volatile void *registers, bool wide)
{
    memory = registers;
    memory_is_wide = wide;
}

static void write_register(enum serial_port port, u16 index, u8 value)
{
    if (LIKELY(port != SERIAL_MEMORY))
        port_out8((u16)(port + index), value);
    else if (memory_is_wide)
        ((volatile u32 *)memory)[index] = value;
    else
        ((volatile u8 *)memory)[index] = value;
}

static u8 read_register(enum serial_port port, u16 index)
{
    if (LIKELY(port != SERIAL_MEMORY))
        return port_in8((u16)(port + index));
    return memory_is_wide ? (u8)((volatile u32 *)memory)[index] : ((volatile u8 *)memory)[index];
}

static bool scratch_holds(enum serial_port port, u8 value)
{
    write_register(port, UART_SCRATCH, value);
    return read_register(port, UART_SCRATCH) == value;
}

/* In loopback the modem outputs come back as inputs: OUT2 and RTS as DCD and CTS. */
static bool loopback_works(enum serial_port port)
{
    write_register(port, UART_MCR, MCR_LOOPBACK | 0x0a);
    u8 inputs = read_register(port, UART_MSR) & MSR_INPUTS;
    write_register(port, UART_MCR, MCR_DTR_RTS_OUT2);
    return inputs == 0x90;
}

/* A port that nobody decodes reads all ones, which neither test gives. */
static bool answers(enum serial_port port)
{
    return port != SERIAL_NONE && scratch_holds(port, 0x5a) && scratch_holds(port, 0xa5) && loopback_works(port);
}

static void start(enum serial_port port)
{
    write_register(port, UART_IER, 0);
    write_register(port, UART_IIR_FCR, FCR_ENABLE_CLEAR);
    write_register(port, UART_MCR, MCR_DTR_RTS_OUT2);
}

bool serial_init(enum serial_port port)
{
    if (!answers(port))
        return false;
    write_register(port, UART_IER, 0);
    write_register(port, UART_LCR, LCR_DLAB | LCR_8N1);
    write_register(port, UART_DATA, UART_CLOCK_BAUD / SERIAL_BAUD);
    write_register(port, UART_IER, 0);
    write_register(port, UART_LCR, LCR_8N1);
    start(port);
    return true;
}

bool serial_take_over(enum serial_port port)
{
    if (port == SERIAL_NONE)
        return false;
    write_register(port, UART_LCR, read_register(port, UART_LCR) & LCR_FORMAT);
    if (!answers(port))
        return false;
    start(port);
    return true;
}

void serial_set_interrupts(enum serial_port port, bool receive, bool transmit)
{
    write_register(port, UART_IER, (u8)((receive ? IER_RECEIVE : 0) | (transmit ? IER_TRANSMIT : 0)));
}

bool serial_can_send(enum serial_port port)
{
    return read_register(port, UART_LSR) & LSR_THRE;
}

bool serial_is_idle(enum serial_port port)
{
    return read_register(port, UART_LSR) & LSR_TEMT;
}

void serial_send(enum serial_port port, u8 byte)
{
    write_register(port, UART_DATA, byte);
}

int serial_receive(enum serial_port port)
{
    return read_register(port, UART_LSR) & LSR_DATA_READY ? read_register(port, UART_DATA) : -1;
}

bool serial_acknowledge_interrupt(enum serial_port port)
{
    return !(read_register(port, UART_IIR_FCR) & IIR_NONE_PENDING);
}

bool serial_send_polled(enum serial_port port, const u8 *bytes, size_t count)
{
    for (size_t sent = 0; sent < count; sent++) {
        u32 polls = 0;
        while (sent % SERIAL_FIFO_BYTES == 0 && !serial_can_send(port))
            if (++polls == SEND_POLLS)
                return false;
        serial_send(port, bytes[sent]);
    }
    return true;
}
