/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's 16550s, at COM1, COM2 or where firmware names one: 115200 baud, 8N1, FIFO on. Who uses a port owns the
 * policy (COM1: the console); this is the device. National Semiconductor PC16550D, 8.0 "Registers".
 */
#ifndef ROOTLET_DRIVERS_HOST_SERIAL_H
#define ROOTLET_DRIVERS_HOST_SERIAL_H

#include "kernel/lib/types.h"

#define SERIAL_FIFO_BYTES  16u
#define SERIAL_BAUD        115200u
#define SERIAL_BITS_A_BYTE 10u

/* The first of its eight ports, of which these are where a PC has them, or the one in memory (serial_set_memory). */
enum serial_port { SERIAL_NONE = 0, SERIAL_COM1 = 0x3f8, SERIAL_COM2 = 0x2f8, SERIAL_MEMORY = 0x10000 };
#define SERIAL_COM1_ISA_IRQ 4u
#define SERIAL_COM2_ISA_IRQ 3u

/* False if nothing answers at the port; the other functions must then not be called. */
bool serial_init(enum serial_port port);
/* The same of a port that firmware uses as its console: speed and format stay as they are. */
bool serial_take_over(enum serial_port port);
/* Where SERIAL_MEMORY has its registers, each in one byte or, with `wide`, in 32 bits. Before its serial_init. */
void serial_set_memory(volatile void *registers, bool wide);
/* Interrupts when bytes arrive, and when the transmitter has room (`transmit`). */
void serial_set_interrupts(enum serial_port port, bool receive, bool transmit);
/* The transmit FIFO is empty: SERIAL_FIFO_BYTES bytes fit. */
bool serial_can_send(enum serial_port port);
/* Everything has left the wire too. */
bool serial_is_idle(enum serial_port port);
void serial_send(enum serial_port port, u8 byte);
/* The next received byte, or -1. */
int serial_receive(enum serial_port port);
/* Reads the interrupt identification, which acknowledges a transmit interrupt; false if none is pending. */
bool serial_acknowledge_interrupt(enum serial_port port);
/*
 * Sends at once, without interrupts: 87 us a byte. False if the transmitter stood still for about a second, so that
 * the rest is not sent.
 */
bool serial_send_polled(enum serial_port port, const u8 *bytes, size_t count) MUST_CHECK;

#endif
