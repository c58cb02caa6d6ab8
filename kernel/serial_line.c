/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two rings behind a UART. Any CPU, interrupts off, under the user's lock.
 * National Semiconductor PC16550D, 8.0 "Registers".
 */
#include "kernel/serial_line.h"

void serial_line_feed(struct serial_line *line)
{
    if (line->out_head == line->out_tail || !serial_can_send(line->port))
        return;
    for (u32 i = 0; i < SERIAL_FIFO_BYTES && line->out_head != line->out_tail; i++)
        serial_send(line->port, line->out[line->out_tail++ % line->out_bytes]);
}

int serial_line_take(struct serial_line *line)
{
    return line->in_head == line->in_tail ? -1 : line->in[line->in_tail++ % line->in_bytes];
}

static void receive(struct serial_line *line)
{
    for (int byte = serial_receive(line->port); byte >= 0; byte = serial_receive(line->port))
        if (line->in_head - line->in_tail < line->in_bytes)
            line->in[line->in_head++ % line->in_bytes] = (u8)byte;
}

void serial_line_interrupt(struct serial_line *line, u32 loops, void (*serve)(void))
{
    for (; loops && serial_acknowledge_interrupt(line->port); loops--) {
        receive(line);
        if (serve)
            serve();
        serial_line_feed(line);
    }
    if (loops)
        return;
    serial_set_interrupts(line->port, false, false);
    serial_set_interrupts(line->port, true, true);
}
