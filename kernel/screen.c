/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line feed returns to the first column, too: lines of the log end in one alone. A panic may stop a CPU anywhere in
 * here and then go on with what it left, so that positions are in range after each single store.
 */
#include "kernel/screen.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define ALL_ROWS   ((u32)BIT(SCREEN_ROWS) - 1)
#define TAB        8u
#define KEY_ESCAPE 0x1bu
#define NUMBER_MAX 999u

enum { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_SEQUENCE, ESCAPE_CHARACTER, ESCAPE_STRING };

void screen_init(struct screen *s, screen_draw draw)
{
    memset(s, 0, sizeof *s);
    memset(s->text, ' ', sizeof s->text);
    s->changed = ALL_ROWS;
    s->draw = draw;
}

static u8 *row_text(struct screen *s, u32 row)
{
    return s->text[(s->top + row) % SCREEN_ROWS];
}

static void move_to(struct screen *s, u32 row, u32 column)
{
    s->changed |= (u32)BIT(s->row);
    s->row = row < SCREEN_ROWS ? row : SCREEN_ROWS - 1;
    s->column = column < SCREEN_COLUMNS ? column : SCREEN_COLUMNS - 1;
    s->changed |= (u32)BIT(s->row);
}

/* Where the cursor is seen: behind the last character of a full row it stays on that. */
static u32 cursor_column(const struct screen *s)
{
    u32 column = s->column;

    return column < SCREEN_COLUMNS ? column : SCREEN_COLUMNS - 1;
}

/* The columns from `from` up to `to` of a row. */
static void erase(struct screen *s, u32 row, u32 from, u32 to)
{
    memset(row_text(s, row) + from, ' ', from < to ? to - from : 0);
    s->changed |= (u32)BIT(row);
}

static void new_row(struct screen *s)
{
    if (s->row + 1 < SCREEN_ROWS) {
        move_to(s, s->row + 1, 0);
        return;
    }
    s->top = (s->top + 1) % SCREEN_ROWS;
    erase(s, SCREEN_ROWS - 1, 0, SCREEN_COLUMNS);
    s->column = 0;
    s->changed = ALL_ROWS;
}

static void put_character(struct screen *s, u8 character)
{
    if (s->column >= SCREEN_COLUMNS)
        new_row(s);
    row_text(s, s->row)[s->column] = character;
    s->column++;
    s->changed |= (u32)BIT(s->row);
}

/* ---- control sequences ---- */

/* The n-th parameter; `otherwise` if it is 0 or not there. */
static u32 number(const struct screen *s, u32 n, u32 otherwise)
{
    return s->numbers[n] ? s->numbers[n] : otherwise;
}

/* ED and EL: from the cursor to the end, from the begin to the cursor, or all. */
static void erase_part(struct screen *s, bool page)
{
    u32 part = number(s, 0, 0), column = cursor_column(s);

    if (part > 2)
        return;
    erase(s, s->row, part ? 0 : column, part == 1 ? column + 1 : SCREEN_COLUMNS);
    for (u32 row = 0; page && row < SCREEN_ROWS; row++)
        if (row != s->row && (part == 2 || (row > s->row) == (part == 0)))
            erase(s, row, 0, SCREEN_COLUMNS);
}

static void end_sequence(struct screen *s, u8 final)
{
    u32 n = number(s, 0, 1);
    u32 column = cursor_column(s);

    switch (final) {
    case 'A':
        move_to(s, s->row > n ? s->row - n : 0, column);
        break;
    case 'B':
        move_to(s, s->row + n, column);
        break;
    case 'C':
        move_to(s, s->row, column + n);
        break;
    case 'D':
        move_to(s, s->row, column > n ? column - n : 0);
        break;
    case 'G':
        move_to(s, s->row, n - 1);
        break;
    case 'H':
    case 'f':
        move_to(s, n - 1, number(s, 1, 1) - 1);
        break;
    case 'J':
    case 'K':
        erase_part(s, final == 'J');
        break;
    default:
        break;
    }
}

static void take_digit(struct screen *s, u32 digit)
{
    u32 at = s->parameter;

    if (at < SCREEN_PARAMETERS && s->numbers[at] <= NUMBER_MAX)
        s->numbers[at] = s->numbers[at] * 10 + digit;
}

static void take_escape(struct screen *s, u8 byte)
{
    switch (s->escape) {
    case ESCAPE_BEGUN:
        memset(s->numbers, 0, sizeof s->numbers);
        s->parameter = 0;
        if (byte == '[')
            s->escape = ESCAPE_SEQUENCE;
        else if (byte == ']' || byte == 'P' || byte == '_' || byte == '^' || byte == 'X')
            s->escape = ESCAPE_STRING;
        else
            s->escape = byte < '0' ? ESCAPE_CHARACTER : ESCAPE_NONE; /* one more byte follows, or none */
        return;
    case ESCAPE_SEQUENCE:
        if (byte >= '0' && byte <= '9') {
            take_digit(s, byte - '0');
        } else if (byte == ';') {
            s->parameter += s->parameter < SCREEN_PARAMETERS;
        } else if (byte >= '@') {
            s->escape = ESCAPE_NONE;
            end_sequence(s, byte);
        }
        return;
    case ESCAPE_STRING:
        return; /* a control character ends it */
    default:
        s->escape = ESCAPE_NONE;
    }
}

static void control(struct screen *s, u8 byte)
{
    u32 column = cursor_column(s);

    s->escape = byte == KEY_ESCAPE ? ESCAPE_BEGUN : ESCAPE_NONE;
    switch (byte) {
    case '\n':
        new_row(s);
        break;
    case '\r':
        move_to(s, s->row, 0);
        break;
    case '\b':
        move_to(s, s->row, column ? column - 1 : 0);
        break;
    case '\t':
        move_to(s, s->row, (column / TAB + 1) * TAB);
        break;
    default:
        break;
    }
}

void screen_put(struct screen *s, u8 byte)
{
    if (byte < ' ')
        control(s, byte);
    else if (s->escape)
        take_escape(s, byte);
    else if (byte < 0x7f)
        put_character(s, byte);
    else if (byte >= 0xc0) /* of a character of several bytes, in UTF-8, the first stands for all */
        put_character(s, '?');
}

bool screen_draw_row(struct screen *s)
{
    u16 cells[SCREEN_COLUMNS];
    u32 from = 0, to = SCREEN_COLUMNS;

    if (!s->changed)
        return false;
    u32 row = (u32)__builtin_ctz(s->changed);
    const u8 *text = row_text(s, row);
    u16 *drawn = s->drawn[row];

    s->changed &= s->changed - 1;
    for (u32 i = 0; i < SCREEN_COLUMNS; i++)
        cells[i] = text[i];
    if (row == s->row)
        cells[cursor_column(s)] |= SCREEN_CURSOR;
    while (from < to && cells[from] == drawn[from])
        from++;
    while (from < to && cells[to - 1] == drawn[to - 1])
        to--;
    if (from < to) {
        memcpy(drawn + from, cells + from, (to - from) * sizeof cells[0]);
        s->draw(row, from, cells + from, to - from);
    }
    return true;
}
