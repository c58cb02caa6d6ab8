/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Output for guests: characters to the UART (COM1), or whole buffers by hypercall. print() knows %c %s %d %u %x, with
 * an optional width padded by blanks or, after a 0, by zeros, and `ll` for u64.
 */
#ifndef GUEST_CONSOLE_H
#define GUEST_CONSOLE_H

#include "guests/lib/types.h"

/* 8 data bits, no parity, FIFO on, no UART interrupts. */
void console_init(void);
void console_put(char character);
/* Waits until the last character has left the UART. */
void console_flush(void);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Writes text to row 0..24 of the text page, which the host shows with dump=screen. */
void console_text_page(u32 row, const char *text);
/* The same formats as print(), into a buffer that is always terminated; returns the length. */
size_t format_text(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t text_length(const char *text);
/* 64-bit division; 32-bit guests have no libgcc to do it with `/`. *remainder may be NULL. divisor != 0 */
u64 divide_u64(u64 dividend, u32 divisor, u32 *remainder);

#endif
