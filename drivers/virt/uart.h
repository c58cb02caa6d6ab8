/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A UART at COM1 (ports 0x3F8-0x3FF, IRQ 4). Transmission takes no time: a byte written to THR is with the
 * host at once, and the transmitter is always empty. The other end is a terminal that asserts CTS, DSR and DCD.
 * National Semiconductor PC16550D data sheet.
 */
#ifndef ROOTLET_DRIVERS_VIRT_UART_H
#define ROOTLET_DRIVERS_VIRT_UART_H

#include "kernel/vm/bus.h"
#include "kernel/vm/irq.h"
#include "kernel/vm/vtimer.h"

#define UART_FIFO_BYTES 16

struct uart_peer {
    void (*put)(void *context, u8 character); /* takes a byte that the guest sent */
    void *context;
    int (*get)(void *context); /* the next byte that was typed, or -1; NULL: nobody types */
};

struct uart {
    struct line irq;
    struct vtimer_set *timers;
    struct uart_peer peer;
    struct vtimer *timer; /* the receive FIFO's timeout */
    u8 fifo[UART_FIFO_BYTES];
    u8 head;
    u8 received; /* bytes in the FIFO; without FIFO mode at most one */
    u8 trigger;  /* bytes that raise "data available" */
    u8 ier;
    u8 lcr;
    u8 mcr;
    u8 msr;
    u8 scr;
    u16 divisor;
    bool fifo_enabled;
    bool overrun;
    bool timeout;      /* the timeout indication is raised */
    bool thre_pending; /* the transmitter-empty interrupt is raised */
};

/* Registers ports and one timer; copies *peer. Status: as of bus_add_ports. */
enum status uart_init(struct uart *uart, struct bus *bus, struct vtimer_set *timers, struct line irq,
                      const struct uart_peer *peer) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void uart_copy(struct uart *uart, const struct uart *from);
/* Takes from the peer what there is room for, and nothing in loopback mode. The peer calls it when bytes come; room
 * that the guest makes is used at once. */
void uart_take_input(struct uart *uart);

#endif
