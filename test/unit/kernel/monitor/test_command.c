/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor's lines as words: which command, which words, and what is said of a wrong one.
 *
 * links: kernel/monitor/command.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/monitor/command.h"

static const struct command table[] = {
    {"list",  "",                       "a line for each VM", 0, 0, COMMAND_TAKES_NOTHING, false, NULL},
    {"pause", "VM",                     "holds it",           1, 1, COMMAND_TAKES_VM,      false, NULL},
    {"start", "NAME MODULE [-- WORDS]", "begins one",         2, 9, COMMAND_TAKES_NOTHING, true,  NULL},
};
static const struct command *command;
static struct command_words words;
static struct refusal why;

static enum status parse(const char *text)
{
    static char line[600];

    assert_true(strlen(text) < sizeof line);
    strcpy(line, text);
    why.text[0] = 0;
    return command_parse(line, table, 3, &command, &words, &why);
}

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(parse("  pause   hello  "), STATUS_OK);
    assert_ptr_equal(command, &table[1]);
    assert_int_equal(words.count, 1);
    assert_string_equal(words.word[0], "hello");
    assert_false(words.pairs);
    assert_null(words.tail);
}

static void test_an_empty_line_is_no_command(void **state)
{
    (void)state;
    assert_int_equal(parse(""), STATUS_OK);
    assert_null(command);
    assert_int_equal(parse("     "), STATUS_OK);
    assert_null(command);
}

static void test_pairs(void **state)
{
    (void)state;
    assert_int_equal(parse("list -o kv"), STATUS_OK);
    assert_true(words.pairs && words.count == 0);
    assert_int_equal(parse("pause -o kv hello"), STATUS_OK);
    assert_true(words.pairs && words.count == 1);
    assert_int_equal(parse("list -o"), STATUS_INVALID);
    assert_int_equal(parse("list -o json"), STATUS_INVALID);
    assert_string_equal(why.text, "list: -o takes kv; usage: list");
}

static void test_tail(void **state)
{
    (void)state;
    assert_int_equal(parse("start a m mem=8M --   one -o  two -- three"), STATUS_OK);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.tail, "one -o  two -- three");
    assert_int_equal(parse("start a m --"), STATUS_OK);
    assert_string_equal(words.tail, "");
    assert_int_equal(parse("pause a -- b"), STATUS_INVALID);
}

static void test_wrong_lines_say_the_remedy(void **state)
{
    (void)state;
    assert_int_equal(parse("lst"), STATUS_INVALID);
    assert_string_equal(why.text, "lst: no such command; help lists them");
    assert_int_equal(parse("pause"), STATUS_INVALID);
    assert_string_equal(why.text, "pause: a word is missing; usage: pause VM");
    assert_int_equal(parse("list all"), STATUS_INVALID);
    assert_string_equal(why.text, "list: too many words; usage: list");
    assert_int_equal(parse("start a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a"), STATUS_INVALID);
    assert_int_equal(words.count, COMMAND_WORDS);
}

static void test_numbers(void **state)
{
    u64 number = 7;

    (void)state;
    assert_int_equal(command_number("12", "-w", 1, 60, &number, &why), STATUS_OK);
    assert_int_equal(number, 12);
    assert_int_equal(command_number("0x10", "-w", 1, 60, &number, &why), STATUS_OK);
    assert_int_equal(number, 16);
    assert_int_equal(command_number("61", "-w", 1, 60, &number, &why), STATUS_INVALID);
    assert_int_equal(command_number("-1", "-w", 0, 60, &number, &why), STATUS_INVALID);
    assert_string_equal(why.text, "-w -1: a number from 0 to 60, decimal or 0x");
    assert_int_equal(number, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_an_empty_line_is_no_command),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_wrong_lines_say_the_remedy),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
