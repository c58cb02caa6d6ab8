/*
 * The host's 16550 at COM1: 115200 baud, 8N1, FIFO on. The console owns the policy; this is the device.
 * National Semiconductor PC16550D, 8.0 "Registers".
 */
#ifndef ROOTLET_DRIVERS_HOST_UART_H
#define ROOTLET_DRIVERS_HOST_UART_H

#include "kernel/lib/types.h"

#define UART_ISA_IRQ     4u
#define UART_FIFO_BYTES  16u
#define UART_BAUD        115200u
#define UART_BITS_A_BYTE 10u

/* False if nothing answers at COM1; the other functions must then not be called. */
bool uart_init(void);
/* Interrupts when bytes arrive, and when the transmitter has room (`transmit`). */
void uart_set_interrupts(bool receive, bool transmit);
/* The transmit FIFO is empty: UART_FIFO_BYTES bytes fit. */
bool uart_can_send(void);
/* Everything has left the wire too. */
bool uart_is_idle(void);
void uart_send(u8 byte);
/* The next received byte, or -1. */
int uart_receive(void);
/* Reads the interrupt identification, which acknowledges a transmit interrupt; false if none is pending. */
bool uart_acknowledge_interrupt(void);

#endif
