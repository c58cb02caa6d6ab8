/*
 * The serial console: a ring of bytes that the UART's transmit interrupt drains, so that nobody waits for 115200 baud.
 * Whole lines go in under one lock, so lines of different CPUs and VMs never mix.
 */
#ifndef ROOTLET_KERNEL_CONSOLE_H
#define ROOTLET_KERNEL_CONSOLE_H

#include "kernel/lib/types.h"

/* Finds and sets up the host UART (COM1, polled); called once, first. */
void console_init(void);
/* Switches from polling to the transmit interrupt; after the I/O APIC is up. */
void console_enable_interrupts(void);
/* Appends `length` bytes, which end in a newline. Waits (polling the UART) only if the ring is full. */
void console_write(const char *text, size_t length);
/*
 * Appends bytes that may end anywhere: what a VM that has the terminal to itself sends. A whole line that comes next
 * begins on a line of its own.
 */
void console_write_raw(const char *text, size_t length);
/*
 * How many bytes of ring are free beyond a reserve: below 0 a guest should be held back until
 * console_drain_estimate_ns().
 */
s64 console_room(void);
/* Estimated time in ns until the backlog above the reserve has gone out. */
u64 console_drain_estimate_ns(void);
/* Sends everything that is buffered, polling: before power-off. */
void console_flush(void);
/* For panic: takes no lock that another CPU may hold for ever, then writes directly. */
void console_panic_write(const char *text, size_t length);
/* The next byte that was typed, or -1. */
int console_read(void);
/* Called by the serial interrupt, with no lock held, when bytes can be read; NULL: nobody reads. False: no interrupt.
 */
bool console_set_reader(void (*reader)(void));

#endif
