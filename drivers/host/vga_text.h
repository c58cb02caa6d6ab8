/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text page of a VGA in colour text mode, 80 by 25, as firmware and boot loader leave it. IBM PS/2 Hardware
 * Interface Technical Reference, "Video Subsystem".
 */
#ifndef ROOTLET_DRIVERS_HOST_VGA_TEXT_H
#define ROOTLET_DRIVERS_HOST_VGA_TEXT_H

#include "kernel/lib/types.h"

/* False if there is no VGA, or in another mode. The page is reached by the direct map; its own cursor is hidden. */
COLD bool vga_text_init(void) MUST_CHECK;
/* As screen_draw has it (kernel/screen.h): characters in the low byte, the bit above it for the cursor. */
void vga_text_draw(u32 row, u32 column, const u16 *cells, u32 count);

#endif
