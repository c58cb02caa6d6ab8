/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The serial console: a ring of bytes that the UART's transmit interrupt drains, so that nobody waits for 115200 baud.
 * Whole lines go in under one lock, so lines of different CPUs and VMs never mix. A port that stops taking bytes delays
 * the machine once, by about a second; until it takes some again, what finds no room in the ring is dropped and
 * counted. Where the machine has a screen, it shows the same.
 */
#ifndef ROOTLET_KERNEL_CONSOLE_H
#define ROOTLET_KERNEL_CONSOLE_H

#include "drivers/host/serial.h"
#include "kernel/screen.h"

/* Finds and sets up the host UART (COM1, polled); called once, first. Without one what is written waits in the ring. */
void console_init(void);
bool console_is_there(void);
/* Nothing but a screen shows what is written. */
COLD bool console_is_screen_only(void);
/*
 * Goes on at another port, polled, from what is in the ring on; `as_it_is`: speed and format are firmware's. False, and
 * nothing changed, if no UART answers there. Before console_settle and interrupts.
 */
bool console_move(enum serial_port port, bool as_it_is) MUST_CHECK;
/* No other port will be found: if there is none, what has been and will be written is thrown away. */
void console_settle(void);
/* Switches from polling to the transmit interrupt; after the I/O APIC is up. */
void console_enable_interrupts(void);
/* From now on a screen shows what is written, too, and what has been. Before other CPUs are started. */
COLD void console_add_screen(screen_draw draw);
/*
 * Whoever writes draws at once, until this names a function: then that is called, with the console's lock held, when
 * console_show() is to be called. NULL: as at first. Boot CPU.
 */
COLD void console_set_show(void (*notify)(void));
/* Draws for a short time. The time (TSC) to be called again by itself, or UINT64_MAX. Boot CPU, as work between guests.
 */
u64 console_show(u64 now_tsc);
/* Appends `length` bytes, which end in a newline. Waits (polling the UART) only if the ring is full. */
void console_write(const char *text, size_t length);
/*
 * Appends bytes that may end anywhere: what a VM that has the terminal to itself sends. A whole line that comes next
 * begins on a line of its own.
 */
void console_write_raw(const char *text, size_t length);
/*
 * A row that stands below whatever is written, at most CONSOLE_ROW_BYTES - 1 bytes: the line that somebody types.
 * `now`: the bytes that show what has changed in it; NULL: the row as it is. Each line that is written erases it first
 * and draws it again.
 */
#define CONSOLE_ROW_BYTES 128u
void console_set_row(const char *row, const char *now);
/* There is no such row any more; what it shows stays. */
void console_end_row(void);
/* The part of the ring that is for guests; the rest is kept for the hypervisor's own lines. */
#define CONSOLE_GUEST_BYTES 32768u
/* So much of it may be used now: while somebody types, little stands before what he sees. */
u32 console_guest_bytes(void);
/*
 * Whether long answers may go on: CONSOLE_ANSWER_BYTES find room without a wait. If not, the reader
 * (console_set_reader) is called when they do.
 */
#define CONSOLE_ANSWER_BYTES 8192u
bool console_has_room(void);
/*
 * The time in ns that a long report should wait before its next lines; 0: they find room, and leave some for others.
 * No look at the other CPUs, which may write as well: it is advice.
 */
u64 console_report_wait_ns(void);
/* A position in all that is ever sent (it wraps): that behind the last byte written. */
u32 console_position(void);
/* How many bytes before the position still wait; 0 if nobody will send them. A racy look: it is advice. */
u32 console_waiting(u32 position);
/* The time in ns that so many bytes take on the wire. */
u64 console_send_time_ns(u32 bytes);
/* Sends everything that is buffered, polling: before power-off. */
void console_flush(void);
/* For panic: takes no lock that another CPU may hold for ever, then writes directly. */
void console_panic_write(const char *text, size_t length);
/* Something else than the serial port can type. */
COLD void console_enable_typing(void);
/* Its interrupt has this, for whoever reads; what finds no room is lost. */
void console_type(const char *bytes, u32 count);
/* The next byte that was typed, or -1. */
int console_read(void);
/* Called by an interrupt, with no lock held, when bytes can be read, or there is room that was asked for; NULL:
 * nobody reads. False: no interrupt, so that nobody can type. */
bool console_set_reader(void (*reader)(void));

#endif
