/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A serial port with a ring of bytes for each direction: what the console and the GDB stub share. The user owns the
 * rings, their lock and the port's set-up; calls are made under that lock, but for a panic's, which waits for nobody.
 */
#ifndef ROOTLET_KERNEL_SERIAL_LINE_H
#define ROOTLET_KERNEL_SERIAL_LINE_H

#include "drivers/host/serial.h"

/* Of rings sizes are powers of two; heads and tails run freely, their difference is the fill. */
struct serial_line {
    enum serial_port port;
    u32 out_bytes, in_bytes; /* sizes */
    u8 *out, *in;
    u32 out_head, out_tail;
    u32 in_head, in_tail;
};

/* Moves what fits into an empty transmit FIFO, which starts the chain of transmit interrupts. */
void serial_line_feed(struct serial_line *line);
/* The next byte received, or -1. */
int serial_line_take(struct serial_line *line);
/*
 * The port's interrupt, edge-triggered at the I/O APIC: acknowledges every cause, or no further edge would come, takes
 * what has come (what does not fit is lost), calls `serve` (NULL: nobody) and feeds the transmitter. A port that does
 * not run out of causes must not hold the CPU: after `loops` of them the rest waits for a new edge.
 */
void serial_line_interrupt(struct serial_line *line, u32 loops, void (*serve)(void));

#endif
