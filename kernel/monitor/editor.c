/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The line, the cursor, the history. Keys are those of a VT100 and what its descendants added: ECMA-48, 5.4 "Control
 * sequences".
 */
#include "kernel/monitor/editor.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"

#define CTRL(letter) (0x1fu & (letter))
#define KEY_ESCAPE   0x1bu
#define KEY_DELETE   0x7fu
#define NUMBER_MAX   99u

enum { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_SEQUENCE, ESCAPE_SINGLE };

/* The cursor is inside of what is shown. */
static void scroll(struct editor *e)
{
    if (e->cursor < e->first)
        e->first = e->cursor;
    if (e->cursor > e->first + EDITOR_COLUMNS)
        e->first = e->cursor - EDITOR_COLUMNS;
}

static enum editor_event move_to(struct editor *e, u32 cursor)
{
    if (cursor == e->cursor)
        return EDITOR_NOTHING;
    e->cursor = cursor;
    scroll(e);
    return EDITOR_REDRAW;
}

static enum editor_event insert(struct editor *e, char c)
{
    u32 shown_from = e->first;

    if (e->length + 1 == EDITOR_LINE_BYTES)
        return EDITOR_NOTHING;
    memmove(e->text + e->cursor + 1, e->text + e->cursor, e->length - e->cursor);
    e->text[e->cursor++] = c;
    e->text[++e->length] = 0;
    scroll(e);
    return e->cursor == e->length && e->first == shown_from ? EDITOR_ECHO : EDITOR_REDRAW;
}

/* Takes the characters from `from` up to `to` out; the cursor goes there. */
static enum editor_event cut(struct editor *e, u32 from, u32 to)
{
    if (from == to)
        return EDITOR_NOTHING;
    memmove(e->text + from, e->text + to, e->length - to + 1);
    e->length -= to - from;
    e->cursor = from;
    scroll(e);
    return EDITOR_REDRAW;
}

static void set_text(struct editor *e, const char *text)
{
    (void)string_copy(e->text, sizeof e->text, text);
    e->cursor = e->length = (u32)string_length(e->text);
    e->first = 0;
    scroll(e);
}

/* ---- history ---- */

static char *history_at(struct editor *e, u32 back)
{
    return e->history[(e->entered - back) % EDITOR_HISTORY];
}

static enum editor_event go_back_to(struct editor *e, u32 back)
{
    u32 kept = e->entered < EDITOR_HISTORY ? e->entered : EDITOR_HISTORY;

    if (back > kept)
        return EDITOR_NOTHING;
    if (!e->back)
        memcpy(e->draft, e->text, sizeof e->draft);
    e->back = back;
    set_text(e, back ? history_at(e, back) : e->draft);
    return EDITOR_REDRAW;
}

static void remember(struct editor *e, const char *line)
{
    if (!line[0] || (e->entered && string_equal(history_at(e, 1), line)))
        return;
    (void)string_copy(e->history[e->entered % EDITOR_HISTORY], EDITOR_LINE_BYTES, line);
    e->entered++;
    if (e->entered == 2 * EDITOR_HISTORY) /* never overflows */
        e->entered = EDITOR_HISTORY;
}

void editor_take(struct editor *e, char line[EDITOR_LINE_BYTES])
{
    memcpy(line, e->text, EDITOR_LINE_BYTES);
    remember(e, line);
    e->back = 0;
    set_text(e, "");
}

/* ---- keys ---- */

static u32 word_before(const struct editor *e)
{
    u32 at = e->cursor;

    while (at && e->text[at - 1] == ' ')
        at--;
    while (at && e->text[at - 1] != ' ')
        at--;
    return at;
}

u32 editor_word(const struct editor *e)
{
    u32 at = e->cursor;

    while (at && e->text[at - 1] != ' ')
        at--;
    return at;
}

static enum editor_event delete_here(struct editor *e)
{
    return e->cursor < e->length ? cut(e, e->cursor, e->cursor + 1) : EDITOR_NOTHING;
}

/* The final byte of a control sequence, or what follows ESC O. */
static enum editor_event named_key(struct editor *e, u8 final)
{
    switch (final) {
    case 'A':
        return go_back_to(e, e->back + 1);
    case 'B':
        return e->back ? go_back_to(e, e->back - 1) : EDITOR_NOTHING;
    case 'C':
        return move_to(e, e->cursor < e->length ? e->cursor + 1 : e->cursor);
    case 'D':
        return move_to(e, e->cursor ? e->cursor - 1 : 0);
    case 'H':
        return move_to(e, 0);
    case 'F':
        return move_to(e, e->length);
    case '~':
        break;
    default:
        return EDITOR_NOTHING;
    }
    if (e->number == 1 || e->number == 7)
        return move_to(e, 0);
    if (e->number == 4 || e->number == 8)
        return move_to(e, e->length);
    return e->number == 3 ? delete_here(e) : EDITOR_NOTHING;
}

static enum editor_event feed_escape(struct editor *e, u8 byte)
{
    if (e->escape == ESCAPE_BEGUN) {
        e->escape = byte == '[' ? ESCAPE_SEQUENCE : byte == 'O' ? ESCAPE_SINGLE : ESCAPE_NONE;
        e->number = 0;
        return EDITOR_NOTHING;
    }
    if (e->escape == ESCAPE_SEQUENCE && byte >= '0' && byte <= '9') {
        e->number = e->number * 10 + byte - '0';
        if (e->number > NUMBER_MAX)
            e->number = NUMBER_MAX;
        return EDITOR_NOTHING;
    }
    if (byte < 0x40) /* more of it, which says nothing here */
        return EDITOR_NOTHING;
    e->escape = ESCAPE_NONE;
    return named_key(e, byte);
}

static enum editor_event control_key(struct editor *e, u8 byte)
{
    switch (byte) {
    case '\r':
    case '\n':
        return EDITOR_ENTER;
    case '\t':
        return EDITOR_COMPLETE;
    case CTRL('A'):
        return move_to(e, 0);
    case CTRL('B'):
        return named_key(e, 'D');
    case CTRL('C'):
        e->back = 0;
        set_text(e, "");
        return EDITOR_CANCEL;
    case CTRL('D'):
        return delete_here(e);
    case CTRL('E'):
        return move_to(e, e->length);
    case CTRL('F'):
        return named_key(e, 'C');
    case CTRL('H'):
    case KEY_DELETE:
        return e->cursor ? cut(e, e->cursor - 1, e->cursor) : EDITOR_NOTHING;
    case CTRL('K'):
        e->text[e->length = e->cursor] = 0;
        return EDITOR_REDRAW;
    case CTRL('L'):
        return EDITOR_CLEAR;
    case CTRL('N'):
        return named_key(e, 'B');
    case CTRL('P'):
        return named_key(e, 'A');
    case CTRL('U'):
        return cut(e, 0, e->cursor);
    case CTRL('W'):
        return cut(e, word_before(e), e->cursor);
    default:
        return EDITOR_NOTHING;
    }
}

enum editor_event editor_feed(struct editor *e, u8 byte)
{
    if (byte == KEY_ESCAPE) {
        e->escape = ESCAPE_BEGUN;
        return EDITOR_NOTHING;
    }
    if (byte < ' ' || byte == KEY_DELETE) {
        e->escape = ESCAPE_NONE; /* a control character ends what had begun */
        return control_key(e, byte);
    }
    if (e->escape)
        return feed_escape(e, byte);
    return byte <= '~' ? insert(e, (char)byte) : EDITOR_NOTHING;
}

/* ---- showing ---- */

size_t editor_draw(const struct editor *e, char out[EDITOR_DRAW_BYTES])
{
    u32 shown = e->length - e->first < EDITOR_COLUMNS ? e->length - e->first : EDITOR_COLUMNS;
    u32 behind = e->first + shown - e->cursor; /* columns that the cursor goes back */
    size_t used = format_text(out, EDITOR_DRAW_BYTES, "\r" EDITOR_PROMPT "%.*s\x1b[K", (int)shown, e->text + e->first);

    if (behind)
        used += format_text(out + used, EDITOR_DRAW_BYTES - used, "\x1b[%uD", behind);
    return used;
}

/* ---- completion ---- */

static bool fits(const struct editor *e, u32 word, const char *name)
{
    u32 typed = e->cursor - word;

    return string_length(name) >= typed && memcmp(name, e->text + word, typed) == 0;
}

u32 editor_complete(struct editor *e, const char *(*candidate)(void *context, u32 n), void *context)
{
    u32 word = editor_word(e), count = 0;
    const char *first = NULL, *name;
    size_t common = 0;

    for (u32 n = 0; (name = candidate(context, n)); n++) {
        size_t same = 0;
        if (!fits(e, word, name))
            continue;
        if (!count++) {
            first = name;
            common = string_length(name);
        }
        while (same < common && name[same] == first[same])
            same++;
        common = same;
    }
    for (size_t at = e->cursor - word; first && at < common; at++)
        (void)insert(e, first[at]);
    if (count == 1 && e->text[e->cursor] != ' ')
        (void)insert(e, ' ');
    return count;
}
