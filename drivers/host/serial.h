/*
 * The host's 16550 at COM1: 115200 baud, 8N1, FIFO on. The console owns the policy; this is the device.
 * National Semiconductor PC16550D, 8.0 "Registers".
 */
#ifndef ROOTLET_DRIVERS_HOST_SERIAL_H
#define ROOTLET_DRIVERS_HOST_SERIAL_H

#include "kernel/lib/types.h"

#define SERIAL_ISA_IRQ     4u
#define SERIAL_FIFO_BYTES  16u
#define SERIAL_BAUD        115200u
#define SERIAL_BITS_A_BYTE 10u

/* False if nothing answers at COM1; the other functions must then not be called. */
bool serial_init(void);
/* Interrupts when bytes arrive, and when the transmitter has room (`transmit`). */
void serial_set_interrupts(bool receive, bool transmit);
/* The transmit FIFO is empty: SERIAL_FIFO_BYTES bytes fit. */
bool serial_can_send(void);
/* Everything has left the wire too. */
bool serial_is_idle(void);
void serial_send(u8 byte);
/* The next received byte, or -1. */
int serial_receive(void);
/* Reads the interrupt identification, which acknowledges a transmit interrupt; false if none is pending. */
bool serial_acknowledge_interrupt(void);

#endif
