/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC's keyboard, or what firmware makes look like it, with the US layout: what a terminal would send for its keys.
 * IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller", "Keyboards (101- and
 * 102-Key)".
 */
#ifndef ROOTLET_DRIVERS_HOST_KEYBOARD_H
#define ROOTLET_DRIVERS_HOST_KEYBOARD_H

#include "kernel/lib/types.h"

#define KEYBOARD_ISA_IRQ   1u
#define KEYBOARD_KEY_BYTES 4u /* at most, for one key */

/* What is held down, and what has begun. All 0 at first. */
struct keyboard {
    u8 shifts, controls; /* a bit for each of the two keys */
    bool caps_lock;
    bool extended; /* 0xE0 has come */
    u8 skip;       /* so many bytes more of a key that nobody knows */
};

/* Takes a byte of scan code set 1; what the key sends, 0 bytes for most. Pure. */
u32 keyboard_decode(struct keyboard *keyboard, u8 code, char out[KEYBOARD_KEY_BYTES]);
/* False if there is no controller, or it does not answer; waits for 0.1 s at most. Before interrupts. */
COLD bool keyboard_init(void) MUST_CHECK;
/* The next byte of a scan code, or -1. What a mouse sends is thrown away. */
int keyboard_receive(void);

#endif
