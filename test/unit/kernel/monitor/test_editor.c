/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor's line editor, key by key.
 *
 * links: kernel/monitor/editor.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/monitor/editor.h"

static struct editor editor;

static enum editor_event type(const char *keys)
{
    enum editor_event event = EDITOR_NOTHING;

    for (; *keys; keys++)
        event = editor_feed(&editor, (u8)*keys);
    return event;
}

static void check(const char *text, u32 cursor)
{
    assert_string_equal(editor.text, text);
    assert_int_equal(editor.length, strlen(text));
    assert_int_equal(editor.cursor, cursor);
}

static void enter(const char *keys)
{
    char line[EDITOR_LINE_BYTES];

    (void)type(keys);
    assert_int_equal(editor_feed(&editor, '\r'), EDITOR_ENTER);
    editor_take(&editor, line);
}

static int begin(void **state)
{
    (void)state;
    memset(&editor, 0, sizeof editor);
    return 0;
}

static void test_characters_are_echoed_and_inserted(void **state)
{
    char line[EDITOR_LINE_BYTES];

    (void)state;
    assert_int_equal(type("list"), EDITOR_ECHO);
    assert_int_equal(type("\x1b[D\x1b[D"), EDITOR_REDRAW);
    assert_int_equal(type("X"), EDITOR_REDRAW);
    check("liXst", 3);
    assert_int_equal(type("\r"), EDITOR_ENTER);
    editor_take(&editor, line);
    assert_string_equal(line, "liXst");
    check("", 0);
}

static void test_editing_keys(void **state)
{
    static const struct {
        const char *keys, *text;
        u32 cursor;
    } rows[] = {
        {"abc\x7f",                "ab",     2},
        {"abc\x08\x08",            "a",      1},
        {"abc\x01X",               "Xabc",   1},
        {"abc\x1b[HX",             "Xabc",   1},
        {"abc\x1b[1~X",            "Xabc",   1},
        {"abc\x1bOHX\x1bOFY",      "XabcY",  5},
        {"abc\x01\x05X",           "abcX",   4},
        {"abc\x01\x1b[FX",         "abcX",   4},
        {"abc\x01\x1b[4~X",        "abcX",   4},
        {"abc\x01\x1b[CX",         "aXbc",   2},
        {"abc\x01\x1b[3~",         "bc",     0},
        {"abc\x01\x04",            "bc",     0},
        {"abc def\x1b[D\x0b",      "abc de", 6},
        {"abc def\x1b[D\x15",      "f",      0},
        {"abc def\x17",            "abc ",   4},
        {"abc def  \x17",          "abc ",   4},
        {"abc\x01\x1b[D\x7f",      "abc",    0},
        {"abc\x1b[C\x1b[3~",       "abc",    3},
        {"abc\x03",                "",       0},
        {"abc\x1b[200~X",          "abcX",   4},
        {"abc\x1b[99999999999~X",  "abcX",   4},
        {"abc\x1b[1;5CX\x80\xffY", "abcXY",  5},
        {"abc\x1b\x7f",            "ab",     2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(&editor, 0, sizeof editor);
        (void)type(rows[i].keys);
        check(rows[i].text, rows[i].cursor);
    }
}

static void test_history(void **state)
{
    (void)state;
    enter("one");
    enter("two");
    enter("two"); /* once */
    enter("");
    (void)type("draft");
    (void)type("\x1b[A");
    check("two", 3);
    (void)type("\x1b[A");
    check("one", 3);
    assert_int_equal(type("\x1b[A"), EDITOR_NOTHING);
    check("one", 3);
    (void)type("\x1b[B\x1b[B");
    check("draft", 5);
    assert_int_equal(type("\x1b[B"), EDITOR_NOTHING);
}

static void test_history_forgets_the_oldest(void **state)
{
    char line[8] = "l000";

    (void)state;
    for (u32 i = 0; i < 1000; i++) {
        line[1] = (char)('0' + i / 100);
        line[2] = (char)('0' + i / 10 % 10);
        line[3] = (char)('0' + i % 10);
        enter(line);
    }
    for (u32 i = 0; i < 2 * EDITOR_HISTORY; i++)
        (void)type("\x1b[A");
    check("l984", 4);
}

static void test_a_full_line_takes_no_more(void **state)
{
    char out[EDITOR_DRAW_BYTES];

    (void)state;
    for (u32 i = 0; i < 1000; i++)
        (void)type("x");
    assert_int_equal(editor.length, EDITOR_LINE_BYTES - 1);
    assert_int_equal(type("y"), EDITOR_NOTHING);
    assert_in_range(editor_draw(&editor, out), 1, EDITOR_DRAW_BYTES - 1);
}

static void test_drawing(void **state)
{
    char out[EDITOR_DRAW_BYTES];

    (void)state;
    (void)type("list\x1b[D\x1b[D");
    assert_int_equal(editor_draw(&editor, out), strlen("\rrootlet> list\x1b[K\x1b[2D"));
    assert_string_equal(out, "\rrootlet> list\x1b[K\x1b[2D");
    (void)type("\x05");
    editor_draw(&editor, out);
    assert_string_equal(out, "\rrootlet> list\x1b[K");
}

static void test_a_long_line_is_scrolled(void **state)
{
    char out[EDITOR_DRAW_BYTES];

    (void)state;
    for (u32 i = 0; i < EDITOR_COLUMNS; i++)
        assert_int_equal(type("a"), EDITOR_ECHO);
    assert_int_equal(type("b"), EDITOR_REDRAW);
    editor_draw(&editor, out);
    assert_null(strstr(out, "\x1b[1D"));
    assert_non_null(strstr(out, "ab\x1b[K"));
    (void)type("\x01");
    editor_draw(&editor, out);
    assert_null(strchr(out, 'b'));
    assert_non_null(strstr(out, "\x1b[68D"));
}

static const char *candidate(void *context, u32 n)
{
    static const char *const names[] = {"regs", "restart", "restore", "list", NULL};

    (void)context;
    return names[n];
}

static void test_completion(void **state)
{
    static const struct {
        const char *typed, *text;
        u32 count;
    } rows[] = {
        {"l",      "list ",    1},
        {"re",     "re",       3},
        {"res",    "rest",     2},
        {"resto",  "restore ", 1},
        {"x",      "x",        0},
        {"help r", "help re",  3},
        {"",       "",         4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(&editor, 0, sizeof editor);
        (void)type(rows[i].typed);
        assert_int_equal(type("\t"), EDITOR_COMPLETE);
        assert_int_equal(editor_complete(&editor, candidate, NULL), rows[i].count);
        check(rows[i].text, (u32)strlen(rows[i].text));
    }
}

static void test_completion_in_the_middle(void **state)
{
    (void)state;
    (void)type("lix one\x01\x1b[C");
    assert_int_equal(editor_complete(&editor, candidate, NULL), 1);
    assert_memory_equal(editor.text, "list ", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_characters_are_echoed_and_inserted, begin),
        cmocka_unit_test_setup(test_editing_keys, begin),
        cmocka_unit_test_setup(test_history, begin),
        cmocka_unit_test_setup(test_history_forgets_the_oldest, begin),
        cmocka_unit_test_setup(test_a_full_line_takes_no_more, begin),
        cmocka_unit_test_setup(test_drawing, begin),
        cmocka_unit_test_setup(test_a_long_line_is_scrolled, begin),
        cmocka_unit_test_setup(test_completion, begin),
        cmocka_unit_test_setup(test_completion_in_the_middle, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
