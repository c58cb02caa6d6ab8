/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The framebuffer's driver: pixels of each format, and formats in which it does not draw.
 * links: drivers/host/framebuffer.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/paging.h"
#include "drivers/host/framebuffer.h"

#define WIDTH  650u
#define HEIGHT 402u

u8 font_glyphs[95 * 16]; /* a real one comes from drivers/host/font.asm */

static u8 memory[2704 * HEIGHT + 8] ALIGNED(8);
static u64 mapped_bytes;
static bool no_memory;

enum status paging_map_device(hpa_t base, u64 bytes, volatile void **out)
{
    assert_int_equal(base.raw, 0x80000000);
    mapped_bytes = bytes;
    *out = memory;
    return no_memory ? STATUS_NO_MEMORY : STATUS_OK;
}

static const u8 shifts[3] = {16, 8, 0}, widths[3] = {8, 8, 8};
static struct framebuffer good = {
    .address = {0x80000000},
    .row_bytes = 2704,
    .width = WIDTH,
    .height = HEIGHT,
    .pixel_bits = 32,
};

static int start(void **state)
{
    (void)state;
    memcpy(good.shift, shifts, sizeof shifts);
    memcpy(good.bits, widths, sizeof widths);
    memset(memory, 0x55, sizeof memory);
    memset(font_glyphs, 0, sizeof font_glyphs);
    font_glyphs[('A' - ' ') * 16 + 3] = 0x81;
    font_glyphs[('~' - ' ') * 16 + 15] = 0xff;
    no_memory = false;
    return 0;
}

static u32 pixel(const struct framebuffer *f, u32 x, u32 y)
{
    u32 value = 0;
    memcpy(&value, memory + y * f->row_bytes + x * ((f->pixel_bits + 7u) / 8), (f->pixel_bits + 7u) / 8);
    return value;
}

/* "A", "~" and the cursor on a blank, in the last three columns of the last row. */
static void draws(struct framebuffer f, u32 ink)
{
    const u16 cells[] = {'A', '~', ' ' | 0x100};

    assert_true(framebuffer_init(&f));
    assert_int_equal(mapped_bytes, f.row_bytes * f.height);
    assert_int_equal(pixel(&f, f.width - 1, HEIGHT - 1), 0); /* what firmware showed is gone */
    framebuffer_draw(24, 77, cells, 3);
    for (u32 y = 0; y < HEIGHT; y++) {
        for (u32 x = 0; x < WIDTH; x++) {
            bool set = y == 24 * 16 + 3 && (x == 77 * 8 || x == 77 * 8 + 7);
            set = set || (y == 24 * 16 + 15 && x >= 78 * 8 && x < 79 * 8);
            set = set || (y >= 24 * 16 && y < 25 * 16 && x >= 79 * 8 && x < 80 * 8);
            assert_int_equal(pixel(&f, x, y), set ? ink : 0);
        }
    }
    assert_int_equal(memory[2704 * HEIGHT], 0x55);
}

static void formats(void **state)
{
    struct framebuffer f = good;

    (void)state;
    draws(f, 0xc0c0c0);
    f.pixel_bits = 24;
    f.shift[0] = 0;
    f.shift[2] = 16;
    draws(f, 0xc0c0c0);
    f.pixel_bits = 16;
    memcpy(f.shift, (u8[]){11, 5, 0}, 3);
    memcpy(f.bits, (u8[]){5, 6, 5}, 3);
    draws(f, 24 << 11 | 48 << 5 | 24);
    f.pixel_bits = 15;
    memcpy(f.shift, (u8[]){10, 5, 0}, 3);
    memcpy(f.bits, (u8[]){5, 5, 5}, 3);
    draws(f, 24 << 10 | 24 << 5 | 24);
}

static bool refuses(struct framebuffer f)
{
    return !framebuffer_init(&f);
}

static void what_is_not_drawn_on(void **state)
{
    struct framebuffer f;

    (void)state;
    assert_false(refuses(good));
#define WRONG(...) (f = good, __VA_ARGS__, assert_true(refuses(f)))
    WRONG(f.width = 639);
    WRONG(f.height = 399);
    WRONG(f.height = 8193);
    WRONG(f.pixel_bits = 8);
    WRONG(f.pixel_bits = 64);
    WRONG(f.pixel_bits = 0);
    WRONG(f.row_bytes = WIDTH * 4 - 1);
    WRONG(f.row_bytes = 65544);
    WRONG(f.row_bytes = 2708);
    WRONG(f.width = UINT32_MAX);
    WRONG(f.shift[0] = 25);
    WRONG(f.bits[1] = 33);
    WRONG(f.bits[2] = 0);
    WRONG(f.address = (hpa_t){0});
    no_memory = true;
    assert_true(refuses(good));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(formats, start),
        cmocka_unit_test_setup(what_is_not_drawn_on, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
