/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor's line editor: a pure state machine that takes the terminal's bytes and says what to do. It knows the
 * line, the cursor and the history; what it draws is one row, so that whoever owns the screen may erase it, print
 * something above and draw it again.
 */
#ifndef ROOTLET_KERNEL_MONITOR_EDITOR_H
#define ROOTLET_KERNEL_MONITOR_EDITOR_H

#include "kernel/lib/types.h"

#define EDITOR_LINE_BYTES 256u /* with the NUL: more is not taken */
#define EDITOR_HISTORY    16u
#define EDITOR_PROMPT     "rootlet> "
#define EDITOR_COLUMNS    68u  /* of the text that are shown: a longer line is scrolled, so that the row never wraps */
#define EDITOR_DRAW_BYTES 128u /* what editor_draw() needs */

enum editor_event {
    EDITOR_NOTHING,
    EDITOR_ECHO,     /* one character was typed at the end: to show it as it is does */
    EDITOR_REDRAW,   /* the row looks different now */
    EDITOR_CLEAR,    /* Ctrl-L: the whole screen is to be erased, and the row drawn */
    EDITOR_ENTER,    /* the line is complete: editor_take() has it */
    EDITOR_COMPLETE, /* Tab: editor_complete() */
    EDITOR_CANCEL,   /* Ctrl-C: the line is given up, and is empty now */
};

struct editor {
    char text[EDITOR_LINE_BYTES];
    u32 length, cursor;
    u32 first; /* the first character that is shown */
    char history[EDITOR_HISTORY][EDITOR_LINE_BYTES];
    u32 entered;                   /* lines that ever went into the history; the last EDITOR_HISTORY are there */
    u32 back;                      /* how far the user has gone back in it; 0: not at all */
    char draft[EDITOR_LINE_BYTES]; /* what was typed before */
    u8 escape;                     /* how much of an escape sequence has come */
    u32 number;                    /* its first parameter */
};

/* Takes a byte from the terminal. Bytes that mean nothing, and what does not fit, are dropped. */
enum editor_event editor_feed(struct editor *editor, u8 byte);
/* After EDITOR_ENTER: copies the line, puts it into the history and begins a new one. */
void editor_take(struct editor *editor, char line[EDITOR_LINE_BYTES]);
/*
 * What shows the row, whatever stands there: carriage return, prompt, text, erase to the end, cursor at its place.
 * Returns the number of bytes, less than EDITOR_DRAW_BYTES; there is a NUL behind them.
 */
size_t editor_draw(const struct editor *editor, char out[EDITOR_DRAW_BYTES]);
/* Where the word begins that the cursor is in or behind. */
u32 editor_word(const struct editor *editor);
/*
 * Completes the word at the cursor by what the candidates have in common; one that is the only one gets a blank.
 * candidate(context, n) names the n-th, NULL: there are no more. Returns how many fit.
 */
u32 editor_complete(struct editor *editor, const char *(*candidate)(void *context, u32 n), void *context);

#endif
