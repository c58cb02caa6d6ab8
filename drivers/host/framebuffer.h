/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A linear framebuffer as a text screen of 80 by 25 characters of 8 by 16 pixels, in its upper left corner.
 */
#ifndef ROOTLET_DRIVERS_HOST_FRAMEBUFFER_H
#define ROOTLET_DRIVERS_HOST_FRAMEBUFFER_H

#include "kernel/lib/addr.h"

struct framebuffer {
    hpa_t address;
    u32 row_bytes, width, height; /* pixels */
    u8 pixel_bits;                /* 15, 16, 24, 32 */
    u8 shift[3], bits[3];         /* where red, green and blue stand in a pixel */
};

/* False if it is too small, has another format, or cannot be mapped. After paging_init. */
COLD bool framebuffer_init(const struct framebuffer *framebuffer) MUST_CHECK;
/* As screen_draw has it (kernel/screen.h): characters in the low byte, the bit above it for the cursor. */
void framebuffer_draw(u32 row, u32 column, const u16 *cells, u32 count);

#endif
