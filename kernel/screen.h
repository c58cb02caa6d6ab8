/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's own screen as a terminal of 80 by 25 characters: bytes go in, a driver draws what has changed. It knows
 * what the monitor's line editor sends, and of what guests' consoles send the movements and erasures; it has no
 * colours. No lock of its own, and whatever it is given it stays within its grid. ECMA-48, 8.3 "Definition of control
 * functions".
 */
#ifndef ROOTLET_KERNEL_SCREEN_H
#define ROOTLET_KERNEL_SCREEN_H

#include "kernel/lib/types.h"

#define SCREEN_COLUMNS    80u
#define SCREEN_ROWS       25u
#define SCREEN_PARAMETERS 2u     /* of a control sequence, that count */
#define SCREEN_CURSOR     0x100u /* in a cell beside its character: the cursor stands here */

/* Draws `count` cells of a row from `column` on. A character is ' ' to '~'. */
typedef void (*screen_draw)(u32 row, u32 column, const u16 *cells, u32 count);

struct screen {
    screen_draw draw; /* NULL: there is no screen */
    u32 row, column;  /* of the cursor; SCREEN_COLUMNS: the next character begins a new row */
    u32 changed;      /* a bit for each row that may look different from what was drawn */
    u32 top;          /* rows are a ring, of which this is the first: to scroll moves no text */
    u8 escape;        /* how much of an escape sequence has come */
    u32 parameter;    /* of a control sequence: which one comes */
    u32 numbers[SCREEN_PARAMETERS];
    u8 text[SCREEN_ROWS][SCREEN_COLUMNS];
    u16 drawn[SCREEN_ROWS][SCREEN_COLUMNS]; /* cells; 0: unknown */
};

/* An empty screen, all of it to be drawn. */
COLD void screen_init(struct screen *screen, screen_draw draw);
void screen_put(struct screen *screen, u8 byte);
/* Draws one row of those that may have changed. False: there was none. */
bool screen_draw_row(struct screen *screen);

#endif
