/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A register that nobody decodes reads all ones, which no mode has. What is drawn is written, and never read back: the
 * page is slow memory.
 */
#include "drivers/host/vga_text.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "kernel/lib/bits.h"

#define TEXT_PAGE          0xb8000ull
#define COLUMNS            80u
#define MISC_OUTPUT_READ   0x3ccu
#define MISC_COLOUR        0x01u /* the CRT controller stands at 0x3D4 */
#define GRAPHICS_INDEX     0x3ceu
#define GRAPHICS_MISC      6u
#define GRAPHICS_MISC_MODE 0x0du
#define TEXT_AT_B8000      0x0cu /* 32 KiB at 0xB8000, no graphics */
#define CRTC_INDEX         0x3d4u
#define CRTC_COLUMNS       0x01u /* less one */
#define CRTC_CURSOR_START  0x0au
#define CURSOR_OFF         0x20u
#define CRTC_START_HIGH    0x0cu
#define CRTC_START_LOW     0x0du
#define LIGHT_GREY         0x0700u
#define INVERSE            0x7000u

static volatile u16 *page;

static u8 read_indexed(u16 port, u8 index)
{
    port_out8(port, index);
    return port_in8(port + 1);
}

static void write_indexed(u16 port, u8 index, u8 value)
{
    port_out8(port, index);
    port_out8(port + 1, value);
}

bool vga_text_init(void)
{
    u8 output = port_in8(MISC_OUTPUT_READ);

    if (output == 0xff || !(output & MISC_COLOUR) ||
        (read_indexed(GRAPHICS_INDEX, GRAPHICS_MISC) & GRAPHICS_MISC_MODE) != TEXT_AT_B8000 ||
        read_indexed(CRTC_INDEX, CRTC_COLUMNS) != COLUMNS - 1)
        return false;
    page = phys_to_virt(hpa(TEXT_PAGE));
    write_indexed(CRTC_INDEX, CRTC_CURSOR_START, CURSOR_OFF);
    write_indexed(CRTC_INDEX, CRTC_START_HIGH, 0);
    write_indexed(CRTC_INDEX, CRTC_START_LOW, 0);
    return true;
}

void vga_text_draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    volatile u16 *to = page + row * COLUMNS + column;

    for (u32 i = 0; i < count; i++)
        to[i] = (u16)((cells[i] & 0x7f) | (cells[i] >> 8 ? INVERSE : LIGHT_GREY));
}
