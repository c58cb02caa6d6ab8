/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The screen as a terminal: what is drawn, over all rows, is what a terminal of 80 by 25 characters would show.
 * links: kernel/screen.c kernel/lib/string.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/screen.h"

static struct screen screen;
static u16 page[SCREEN_ROWS][SCREEN_COLUMNS]; /* what the driver has been given */
static u32 drawn_cells;

static void draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    assert_true(row < SCREEN_ROWS && count && column + count <= SCREEN_COLUMNS);
    memcpy(&page[row][column], cells, count * sizeof *cells);
    drawn_cells += count;
}

static void draw_all(void)
{
    drawn_cells = 0;
    while (screen_draw_row(&screen))
        ;
}

static void put(const char *text)
{
    while (*text)
        screen_put(&screen, (u8)*text++);
}

/* A row as it stands on the page, without the blanks at its end. */
static const char *row_text(u32 row)
{
    static char text[SCREEN_COLUMNS + 1];
    u32 length = 0;

    for (u32 i = 0; i < SCREEN_COLUMNS; i++) {
        text[i] = (char)page[row][i];
        if (text[i] != ' ')
            length = i + 1;
    }
    text[length] = 0;
    return text;
}

static void assert_cursor(u32 row, u32 column)
{
    u32 count = 0;

    for (u32 r = 0; r < SCREEN_ROWS; r++)
        for (u32 c = 0; c < SCREEN_COLUMNS; c++)
            count += page[r][c] >> 8;
    assert_int_equal(count, 1);
    assert_int_equal(page[row][column] >> 8, 1);
}

/* The text from the first row on; the cursor. */
static void expect(const char *text, u32 cursor_row, u32 cursor_column)
{
    char all[SCREEN_ROWS * (SCREEN_COLUMNS + 1) + 1] = "";
    u32 last = 0;

    draw_all();
    for (u32 row = 0; row < SCREEN_ROWS; row++)
        if (row_text(row)[0])
            last = row;
    for (u32 row = 0; row <= last; row++) {
        strcat(all, row ? "|" : "");
        strcat(all, row_text(row));
    }
    assert_string_equal(all, text);
    assert_cursor(cursor_row, cursor_column);
}

static int start(void **state)
{
    (void)state;
    memset(page, 0x55, sizeof page);
    screen_init(&screen, draw);
    return 0;
}

static void the_first_time_all_is_drawn(void **state)
{
    (void)state;
    draw_all();
    assert_int_equal(drawn_cells, SCREEN_ROWS * SCREEN_COLUMNS);
    expect("", 0, 0);
    assert_int_equal(drawn_cells, 0);
}

static void lines(void **state)
{
    (void)state;
    put("one\ntwo\r\nthree\rT\n");
    expect("one|two|Three", 3, 0);
    put("a\tb\tc\b\b.");
    expect("one|two|Three|a       b      .c", 3, 16);
    put("\x07\x7f\x01");
    expect("one|two|Three|a       b      .c", 3, 16);
}

static void only_what_has_changed_is_drawn(void **state)
{
    (void)state;
    put("abc\n");
    draw_all();
    put("\x1b[Ax");
    draw_all();
    assert_int_equal(drawn_cells, 1 + 2); /* the cursor's old place; "x", and the cursor behind it */
    draw_all();
    assert_int_equal(drawn_cells, 0);
    put("\rx");
    draw_all();
    assert_int_equal(drawn_cells, 0);
}

static void long_lines_wrap(void **state)
{
    char line[200];

    (void)state;
    memset(line, 'x', sizeof line);
    line[80] = 0;
    put(line); /* exactly a row: the next one begins with the next character, and not before */
    draw_all();
    assert_cursor(0, 79);
    put("\n");
    draw_all();
    assert_cursor(1, 0);
    line[80] = 'x';
    line[81] = 0;
    put(line);
    draw_all();
    assert_string_equal(row_text(2), "x");
    assert_cursor(2, 1);
    line[80] = 0;
    put("\n");
    put(line);
    put("\x1b[K"); /* the cursor stands on the last character */
    draw_all();
    assert_int_equal(strlen(row_text(3)), 79);
}

static void text_scrolls(void **state)
{
    char line[16];

    (void)state;
    for (u32 i = 0; i < 100; i++) {
        snprintf(line, sizeof line, "line %u\n", i);
        put(line);
        draw_all();
    }
    for (u32 row = 0; row < SCREEN_ROWS - 1; row++) {
        snprintf(line, sizeof line, "line %u", 100 - 24 + row);
        assert_string_equal(row_text(row), line);
    }
    assert_string_equal(row_text(SCREEN_ROWS - 1), "");
    assert_cursor(SCREEN_ROWS - 1, 0);
}

/* As kernel/monitor/editor.c draws its row, and kernel/console.c takes it away. */
static void the_row_that_is_typed(void **state)
{
    (void)state;
    put("\rrootlet> lost\x1b[K\x1b[2D");
    expect("rootlet> lost", 0, 11);
    put("\rrootlet> lot\x1b[K\x1b[1D");
    expect("rootlet> lot", 0, 11);
    put("\r\x1b[K[vm] line\n\rrootlet> lot\x1b[K\x1b[1D");
    expect("[vm] line|rootlet> lot", 1, 11);
    put("\x1b[H\x1b[2J\rrootlet> lot\x1b[K");
    expect("rootlet> lot", 0, 12);
}

static void movements(void **state)
{
    (void)state;
    put("\x1b[3;5Hx\x1b[Ay\x1b[2Dz\x1b[9Bw\x1b[5Gv\x1b[;2fu");
    expect(" u|    zy|    x||||||||    vw", 0, 2);
    put("\x1b[999;999H!\x1b[99A\x1b[99D.\x1b[99C,");
    draw_all();
    assert_int_equal(page[24][79], '!');
    assert_int_equal(page[0][0], '.');
    assert_int_equal((u8)page[0][79], ',');
}

static void erasures(void **state)
{
    (void)state;
    put("abcdef\nabcdef\nabcdef\x1b[2;3H\x1b[1K");
    expect("abcdef|   def|abcdef", 1, 2);
    put("\x1b[J");
    expect("abcdef", 1, 2);
    put("\x1b[1;3H\x1b[1J");
    expect("   def", 0, 2);
    put("\x1b[3Kabc\x1b[2K");
    expect("", 0, 5);
}

/* Colours, modes, questions, strings, and what ends too early: nothing of them is seen. */
static void what_is_not_shown(void **state)
{
    (void)state;
    put("\x1b[1;31mred\x1b[m \x1b[?25l\x1b[6n\x1b[?2004h\x1b(Bx\x1b=\x1b"
        "7y\x1b]0;title\x07z\x1b[1;2;3;4;5;6mw");
    expect("red xyzw", 0, 8);
    put("\x1b[12\n\x1b[\x1b[Dv");
    expect("red xyzw|v", 1, 1);
    put("\xc3\xa4\xe2\x82\xac");
    expect("red xyzw|v??", 1, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_first_time_all_is_drawn, start),
        cmocka_unit_test_setup(lines, start),
        cmocka_unit_test_setup(only_what_has_changed_is_drawn, start),
        cmocka_unit_test_setup(long_lines_wrap, start),
        cmocka_unit_test_setup(text_scrolls, start),
        cmocka_unit_test_setup(the_row_that_is_typed, start),
        cmocka_unit_test_setup(movements, start),
        cmocka_unit_test_setup(erasures, start),
        cmocka_unit_test_setup(what_is_not_shown, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
