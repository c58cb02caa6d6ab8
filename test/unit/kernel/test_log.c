/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log lines: prefix, level, one line whatever the text.
 * links: kernel/log.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/console.h"
#include "kernel/log.h"

static char written[4096];
static size_t used;

void console_write(const char *text, size_t length)
{
    assert_true(used + length < sizeof written);
    memcpy(written + used, text, length);
    used += length;
    written[used] = 0;
}

static int reset(void **state)
{
    (void)state;
    used = 0;
    written[0] = 0;
    log_set_level(LOG_INFO);
    return 0;
}

static void prefixes(void **state)
{
    (void)state;
    log_set_level(LOG_DEBUG);
    log_event("boot version=%s cpus=%u", "1", 2u);
    log_error("e");
    log_warn("w");
    log_info("i %d", -1);
    log_debug("d");
    assert_string_equal(written, "rootlet: boot version=1 cpus=2\nrootlet: error: e\nrootlet: warn: w\n"
                                 "rootlet: info: i -1\nrootlet: debug: d\n");
}

static void levels(void **state)
{
    static const char *const expected[] = {
        [LOG_ERROR] = "rootlet: x\nrootlet: error: x\n",
        [LOG_WARN] = "rootlet: x\nrootlet: error: x\nrootlet: warn: x\n",
        [LOG_INFO] = "rootlet: x\nrootlet: error: x\nrootlet: warn: x\nrootlet: info: x\n",
        [LOG_DEBUG] = "rootlet: x\nrootlet: error: x\nrootlet: warn: x\nrootlet: info: x\nrootlet: debug: x\n",
    };

    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        reset(state);
        log_set_level((enum log_level)level);
        log_event("x");
        log_error("x");
        log_warn("x");
        log_info("x");
        log_debug("x");
        assert_string_equal(written, expected[level]);
    }
}

static void what_is_not_printable_is_replaced(void **state)
{
    (void)state;
    log_event("a%sb", "\n\r\x1b[2J\x80\xff\x7f~ ");
    assert_string_equal(written, "rootlet: a???[2J???~ b\n");
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    log_warn("%s", text);
    assert_in_range(used, 400, 520);
    assert_int_equal(written[used - 1], '\n');
    assert_int_equal(written[used - 2], 'x');
    assert_ptr_equal(strchr(written, '\n'), written + used - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(prefixes, reset),
        cmocka_unit_test_setup(levels, reset),
        cmocka_unit_test_setup(what_is_not_printable_is_replaced, reset),
        cmocka_unit_test_setup(a_long_line_is_cut_and_still_ends, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
