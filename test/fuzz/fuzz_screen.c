/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes at the screen: it stays within its grid, and what was drawn is what it holds.
 * links: kernel/screen.c kernel/lib/string.c
 */
#include <string.h>

#include "kernel/screen.h"
#include "test/fake/must.h"

static u16 page[SCREEN_ROWS][SCREEN_COLUMNS];

static void draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    MUST(row < SCREEN_ROWS && column < SCREEN_COLUMNS && count <= SCREEN_COLUMNS - column);
    for (u32 i = 0; i < count; i++)
        MUST((cells[i] & 0xff) >= ' ' && (cells[i] & 0xff) <= '~' && !(cells[i] & ~(0xff | SCREEN_CURSOR)));
    memcpy(&page[row][column], cells, count * sizeof *cells);
}

static void draw_all(struct screen *screen)
{
    u32 cursors = 0;

    while (screen_draw_row(screen))
        ;
    for (u32 row = 0; row < SCREEN_ROWS; row++) {
        for (u32 i = 0; i < SCREEN_COLUMNS; i++) {
            MUST((u8)page[row][i] == screen->text[(screen->top + row) % SCREEN_ROWS][i]);
            cursors += page[row][i] >> 8;
        }
    }
    MUST(cursors == 1);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct screen screen;

    screen_init(&screen, draw);
    for (size_t i = 0; i < size; i++) {
        screen_put(&screen, data[i]);
        MUST(screen.row < SCREEN_ROWS && screen.column <= SCREEN_COLUMNS && screen.top < SCREEN_ROWS);
        if (data[i] % 16 == 0)
            draw_all(&screen);
    }
    draw_all(&screen);
    return 0;
}
