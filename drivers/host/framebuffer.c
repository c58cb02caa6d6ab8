/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory is mapped uncached and only ever written, 8 bytes at a time: a row of characters is 5120 such stores in 32
 * bits. The glyphs are those of GRUB's own font (drivers/host/font.asm).
 */
#include "drivers/host/framebuffer.h"
#include "arch/x86/paging.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define COLUMNS      80u
#define ROWS         25u
#define GLYPH_WIDTH  8u
#define GLYPH_HEIGHT 16u
#define PIXEL_BYTES  4u /* at most */
#define ROW_BYTES    65536u
#define HEIGHT       8192u

extern const u8 font_glyphs[]; /* of ' ' to '~': a byte for each of 16 rows, the left pixel in its highest bit */

static volatile u8 *memory;
static u32 row_bytes, pixel_bytes, ink;

bool framebuffer_init(const struct framebuffer *f)
{
    volatile void *window;

    pixel_bytes = (f->pixel_bits + 7u) / 8;
    if (f->pixel_bits < 15 || pixel_bytes > PIXEL_BYTES || f->width < COLUMNS * GLYPH_WIDTH ||
        f->height < ROWS * GLYPH_HEIGHT || f->height > HEIGHT || f->row_bytes > ROW_BYTES || f->row_bytes % 8 ||
        f->width > f->row_bytes / pixel_bytes)
        return false;
    ink = 0;
    for (u32 i = 0; i < 3; i++) {
        if (f->bits[i] < 2 || f->shift[i] + f->bits[i] > f->pixel_bits)
            return false;
        ink |= (u32)(BIT(f->bits[i]) * 3 / 4) << f->shift[i]; /* light grey */
    }
    row_bytes = f->row_bytes;
    if (!f->address.raw || paging_map_device(f->address, (u64)f->height * row_bytes, &window) != STATUS_OK)
        return false;
    memory = window;
    for (u32 y = 0; y < f->height; y++)
        for (u32 x = 0; x + 8 <= f->width * pixel_bytes; x += 8)
            *(volatile u64 *)(volatile void *)(memory + (u64)y * row_bytes + x) = 0;
    return true;
}

/* A row of a glyph, of which `set` has the pixels. */
static void draw_row(volatile u8 *to, u8 set)
{
    u8 pixels[GLYPH_WIDTH * PIXEL_BYTES] ALIGNED(8);

    for (u32 x = 0; x < GLYPH_WIDTH; x++, set <<= 1) {
        u32 pixel = set & 0x80 ? ink : 0;
        memcpy(pixels + x * pixel_bytes, &pixel, pixel_bytes);
    }
    for (u32 i = 0; i < pixel_bytes; i++)
        ((volatile u64 *)(volatile void *)to)[i] = ((const u64 *)(const void *)pixels)[i];
}

void framebuffer_draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        const u8 *glyph = font_glyphs + ((cells[i] & 0x7fu) - ' ') * GLYPH_HEIGHT;
        volatile u8 *to = memory + (u64)row * GLYPH_HEIGHT * row_bytes + (column + i) * GLYPH_WIDTH * pixel_bytes;
        u8 inverse = cells[i] >> 8 ? 0xff : 0;
        for (u32 y = 0; y < GLYPH_HEIGHT; y++)
            draw_row(to + y * row_bytes, glyph[y] ^ inverse);
    }
}
