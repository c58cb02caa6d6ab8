/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CMOS clock's registers as dates.
 * links: drivers/host/rtc.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "drivers/host/rtc.h"

#define BCD_24    0x02
#define BINARY_24 0x06
#define BCD_12    0x00

static u64 seconds(struct rtc_registers r)
{
    return rtc_seconds_from(&r);
}

/* second, minute, hour, day, month, year, century, status B */
static void good_dates(void **state)
{
    (void)state;
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 1, 0x70, 0x19, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0x59, 0x59, 0x23, 0x31, 0x12, 0x99, 0x19, BCD_24}), 946684799);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 0x29, 0x02, 0x00, 0x20, BCD_24}), 951782400);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 3, 0x00, 0x21, BCD_24}), 4107542400);
    assert_int_equal(seconds((struct rtc_registers){12, 34, 21, 22, 11, 26, 0x20, BINARY_24}), 1795383252);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 3, 0x24, 0, BCD_24}), 1709251200); /* no century */
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 3, 0x24, 0xff, BCD_24}),
                     1709251200); /* nonsense there */
}

static void twelve_hours(void **state)
{
    const u64 midnight = 1709251200;

    (void)state;
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x12, 1, 3, 0x24, 0x20, BCD_12}), midnight);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x11, 1, 3, 0x24, 0x20, BCD_12}), midnight + 11 * 3600);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x92, 1, 3, 0x24, 0x20, BCD_12}), midnight + 12 * 3600);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x91, 1, 3, 0x24, 0x20, BCD_12}), midnight + 23 * 3600);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x00, 1, 3, 0x24, 0x20, BCD_12}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x13, 1, 3, 0x24, 0x20, BCD_12}), 0);
}

static void impossible_dates(void **state)
{
    (void)state;
    assert_int_equal(seconds((struct rtc_registers){0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 0);
    assert_int_equal(seconds((struct rtc_registers){0x60, 0, 0, 1, 3, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0x60, 0, 1, 3, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0x24, 1, 3, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 0, 3, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 0, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 0x13, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 0x29, 2, 0x25, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 0x30, 2, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 0x31, 4, 0x24, 0x20, BCD_24}), 0);
    assert_int_equal(seconds((struct rtc_registers){0, 0, 0, 1, 1, 0x69, 0x19, BCD_24}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_dates),
        cmocka_unit_test(twelve_hours),
        cmocka_unit_test(impossible_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
