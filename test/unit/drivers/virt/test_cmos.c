/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MC146818A and the CMOS memory: calendar, formats, alarm, the three interrupts, update cycle, memory sizes.
 * links: drivers/virt/cmos.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include <time.h>

#include "drivers/virt/cmos.h"
#include "test/fake/device_bench.h"

#define WALL_START 1795379399ull /* 2026-11-22 20:29:59 UTC, a Sunday */

static struct cmos cmos;

static void start_at(u64 wall_seconds, u64 mem_bytes)
{
    const struct cmos_setup setup = {wall_seconds, mem_bytes};
    bench_start();
    assert_int_equal(cmos_init(&cmos, &bench.bus, &bench.timers, bench_line(), &setup), STATUS_OK);
}

static int start(void **state)
{
    (void)state;
    start_at(WALL_START, 8 << 20);
    return 0;
}

static u8 get(u8 index)
{
    out(0x70, index);
    return in(0x71);
}

static void set(u8 index, u8 value)
{
    out(0x70, index);
    out(0x71, value);
}

/* century, year, month, day, weekday, hours, minutes, seconds as the registers show them */
static void expect_clock(const u8 expected[8])
{
    static const u8 registers[8] = {0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00};
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(get(registers[i]), expected[i]);
}

static void test_clock_runs(void **state)
{
    (void)state;
    expect_clock((const u8[]){0x20, 0x26, 0x11, 0x22, 1, 0x20, 0x29, 0x59});
    bench_jump_to(SECOND_NS - 1);
    assert_int_equal(get(0), 0x59);
    bench_jump_to(SECOND_NS);
    expect_clock((const u8[]){0x20, 0x26, 0x11, 0x22, 1, 0x20, 0x30, 0x00});
    bench_jump_to(4 * 3600 * SECOND_NS);
    expect_clock((const u8[]){0x20, 0x26, 0x11, 0x23, 2, 0x00, 0x29, 0x59});
}

static void expect_wall(time_t wall)
{
    struct tm tm;
    gmtime_r(&wall, &tm);
    unsigned year = (unsigned)tm.tm_year + 1900;
    unsigned fields[] = {year / 100,
                         year % 100,
                         (unsigned)tm.tm_mon + 1,
                         (unsigned)tm.tm_mday,
                         (unsigned)tm.tm_wday + 1,
                         (unsigned)tm.tm_hour,
                         (unsigned)tm.tm_min,
                         (unsigned)tm.tm_sec};
    u8 bcd[8];
    for (unsigned i = 0; i < 8; i++)
        bcd[i] = (u8)(fields[i] / 10 << 4 | fields[i] % 10);
    expect_clock(bcd);
}

/* The C library's calendar as the second opinion: as the start, and after one jump of up to 270 years. */
static void test_calendar(void **state)
{
    (void)state;
    for (u64 wall = 0; wall < 98000ull * 86400; wall += 37 * 86400 + 4321) {
        start_at(wall, 8 << 20);
        expect_wall((time_t)wall);
        start_at(0, 8 << 20);
        bench_jump_to(wall * SECOND_NS);
        expect_wall((time_t)wall);
    }
}

static void test_leap_day(void **state)
{
    (void)state;
    start_at(1709164799, 8 << 20); /* 2024-02-28 23:59:59 */
    bench_jump_to(SECOND_NS);
    expect_clock((const u8[]){0x20, 0x24, 0x02, 0x29, 5, 0, 0, 0});
    bench_jump_to(86401 * SECOND_NS);
    expect_clock((const u8[]){0x20, 0x24, 0x03, 0x01, 6, 0, 0, 0});
    start_at(4107542399, 8 << 20); /* 2100-02-28 23:59:59: no leap year */
    bench_jump_to(SECOND_NS);
    expect_clock((const u8[]){0x21, 0x00, 0x03, 0x01, 2, 0, 0, 0});
}

/* How an operating system sets the clock: SET, write, clear SET; in binary 12-hour form. */
static void test_setting_the_clock(void **state)
{
    (void)state;
    static const u8 values[][2] = {
        {0x32, 19       },
        {9,    99       },
        {8,    12       },
        {7,    31       },
        {6,    6        },
        {4,    0x80 | 11},
        {2,    59       },
        {0,    58       }
    };
    set(0x0b, 0x80 | 0x04);
    for (unsigned i = 0; i < 8; i++)
        set(values[i][0], values[i][1]);
    bench_jump_to(10 * SECOND_NS); /* SET: the clock stands */
    expect_clock((const u8[]){19, 99, 12, 31, 6, 0x80 | 11, 59, 58});
    set(0x0b, 0x04);
    bench_jump_to(11 * SECOND_NS);
    expect_clock((const u8[]){19, 99, 12, 31, 6, 0x80 | 11, 59, 59});
    bench_jump_to(12 * SECOND_NS);
    expect_clock((const u8[]){20, 0, 1, 1, 7, 12, 0, 0}); /* midnight is 12 AM */
    bench_jump_to((12 + 12 * 3600) * SECOND_NS);
    assert_int_equal(get(4), 0x80 | 12);
}

static void test_update_in_progress(void **state)
{
    (void)state;
    bench_jump_to(SECOND_NS - 2300000);
    assert_int_equal(get(0x0a), 0x26);
    bench_jump_to(SECOND_NS - 2200000);
    assert_int_equal(get(0x0a), 0xa6);
    bench_jump_to(SECOND_NS);
    assert_int_equal(get(0x0a), 0x26);
    bench_jump_to(2 * SECOND_NS - 1000);
    set(0x0a, 0x26);
    assert_int_equal(get(0x0a), 0xa6);
    set(0x0b, 0x82);
    assert_int_equal(get(0x0a), 0x26); /* no update cycle while SET */
}

/* The divider's reset sets the phase: the first update comes half a second after its release. */
static void test_divider_reset(void **state)
{
    (void)state;
    bench_jump_to(300000000);
    set(0x0a, 0x76);
    bench_jump_to(5 * SECOND_NS + 123);
    assert_int_equal(get(0), 0x59);
    set(0x0a, 0x26);
    bench_jump_to(5 * SECOND_NS + 123 + 499999999);
    assert_int_equal(get(0), 0x59);
    bench_jump_to(5 * SECOND_NS + 123 + 500000000);
    assert_int_equal(get(0), 0x00);
}

static void test_periodic_interrupt(void **state)
{
    (void)state;
    set(0x0b, 0x42); /* 1024 Hz */
    for (unsigned i = 1; i <= 2048; i++) {
        assert_int_equal(bench.timers.next_ns, (i * SECOND_NS + 1023) / 1024);
        bench_run_until(bench.timers.next_ns);
        assert_int_equal(bench.rises, i);
        assert_true(bench.timers.next_ns == VTIMER_NEVER); /* rests until register C is read */
        assert_int_equal(get(0x0c), i % 1024 ? 0xc0 : 0xd0);
        assert_false(bench.level);
    }
    set(0x0a, 0x21); /* rate 1 is 256 Hz */
    bench_jump_to(10 * SECOND_NS);
    get(0x0c);
    assert_int_equal(bench.timers.next_ns, 10 * SECOND_NS + SECOND_NS / 256);
    set(0x0a, 0x23); /* 8192 Hz */
    assert_int_equal(bench.timers.next_ns, 10 * SECOND_NS + 122071);
    set(0x0a, 0x20); /* none */
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_flags_without_interrupt(void **state)
{
    (void)state;
    get(0x0c);
    assert_int_equal(get(0x0c), 0);
    bench_jump_to(SECOND_NS / 1024 + 1);
    assert_int_equal(get(0x0c), 0x40); /* PF without IRQF */
    bench_jump_to(SECOND_NS);
    assert_int_equal(get(0x0c), 0x50);
    assert_int_equal(bench.rises, 0);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_update_interrupt(void **state)
{
    (void)state;
    set(0x0b, 0x12);
    assert_int_equal(bench.timers.next_ns, SECOND_NS);
    bench_run_until(SECOND_NS);
    assert_true(bench.level);
    bench_run_until(5 * SECOND_NS);
    assert_int_equal(bench.rises, 1);
    assert_int_equal(get(0x0c) & 0x90, 0x90);
    assert_int_equal(bench.timers.next_ns, 6 * SECOND_NS);
    set(0x0b, 0x92); /* SET clears the enable bit */
    assert_int_equal(get(0x0b), 0x82);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void expect_alarm_after(u8 hours, u8 minutes, u8 seconds, u64 delay)
{
    start_at(WALL_START, 8 << 20);
    set(5, hours);
    set(3, minutes);
    set(1, seconds);
    set(0x0b, 0x22);
    if (delay == 0) {
        assert_true(bench.timers.next_ns == VTIMER_NEVER);
        return;
    }
    assert_int_equal(bench.timers.next_ns, delay * SECOND_NS);
    bench_run_until(delay * SECOND_NS);
    assert_true(bench.level);
    assert_int_equal(get(0x0c) & 0xa0, 0xa0);
}

static void test_alarm(void **state)
{
    (void)state;
    expect_alarm_after(0x20, 0x30, 0x05, 6); /* from 20:29:59 */
    expect_alarm_after(0x20, 0x29, 0x59, 86400);
    expect_alarm_after(0x20, 0x29, 0x58, 86399);
    expect_alarm_after(0xff, 0xff, 0xff, 1); /* every second */
    expect_alarm_after(0xc0, 0xff, 0x10, 11);
    expect_alarm_after(0xff, 0x29, 0x00, 3541); /* 21:29:00 */
    expect_alarm_after(0xff, 0x31, 0xff, 61);   /* 20:31:00 */
    expect_alarm_after(0x21, 0xff, 0xff, 1801); /* 21:00:00 */
    expect_alarm_after(0x00, 0x00, 0x00, 12601);
    expect_alarm_after(0x25, 0x00, 0x00, 0); /* no such hour */
    expect_alarm_after(0x20, 0x60, 0x00, 0);
}

/* The alarm's flag is found after one long jump too, and only if the alarm lay within it. */
static void test_alarm_flag_after_a_jump(void **state)
{
    (void)state;
    set(5, 0x22);
    set(3, 0x00);
    set(1, 0x00);
    bench_jump_to(5400 * SECOND_NS);
    assert_int_equal(get(0x0c) & 0x20, 0);
    bench_jump_to(5401 * SECOND_NS);
    assert_int_equal(get(0x0c) & 0x20, 0x20);
    bench_jump_to(100 * 365 * 86400ull * SECOND_NS);
    assert_int_equal(get(0x0c) & 0x20, 0x20);
}

static void test_memory_registers(void **state)
{
    (void)state;
    assert_int_equal(get(0x15) | get(0x16) << 8, 640);
    assert_int_equal(get(0x17) | get(0x18) << 8, 7 * 1024);
    assert_int_equal(get(0x30) | get(0x31) << 8, 7 * 1024);
    assert_int_equal(get(0x34) | get(0x35) << 8, 0);
    start_at(WALL_START, 256ull << 20);
    assert_int_equal(get(0x17) | get(0x18) << 8, 65535);
    assert_int_equal(get(0x34) | get(0x35) << 8, 240 * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 0);
    start_at(WALL_START, 7ull << 29); /* 3.5 GiB: the half lies above 4 GiB */
    assert_int_equal(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 8192);
    start_at(WALL_START, 8ull << 30);
    assert_int_equal(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 * 16384);
}

static void test_ports(void **state)
{
    (void)state;
    out(0x70, 0x80 | 0x40);
    assert_true(cmos.nmi_masked);
    out(0x71, 0x5a);
    assert_int_equal(in(0x71), 0x5a);
    out(0x70, 0x40);
    assert_false(cmos.nmi_masked);
    assert_int_equal(in(0x71), 0x5a);
    assert_int_equal(in(0x70), 0xff);
    set(0x0d, 0);
    set(0x0c, 0xff);
    assert_int_equal(get(0x0d), 0x80);
    assert_int_equal(get(0x0c), 0);
    assert_int_equal(get(0x0f), 0);
}

/* Registers full of nonsense are no reason to compute nonsense addresses or to loop. */
static void test_nonsense_in_the_registers(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < 8; mode += 2) {
        for (u8 i = 0; i < 10; i++)
            set(i, 0xff);
        set(0x32, 0xff);
        set(0x0b, (u8)mode);
        bench_jump_to(bench.now_ns + 1000 * 86400ull * SECOND_NS);
        assert_true((get(0) & 0x80) == 0);
        assert_true(get(8) >= 1 && get(8) <= 0x12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_clock_runs, start),
        cmocka_unit_test_setup(test_calendar, start),
        cmocka_unit_test_setup(test_leap_day, start),
        cmocka_unit_test_setup(test_setting_the_clock, start),
        cmocka_unit_test_setup(test_update_in_progress, start),
        cmocka_unit_test_setup(test_divider_reset, start),
        cmocka_unit_test_setup(test_periodic_interrupt, start),
        cmocka_unit_test_setup(test_flags_without_interrupt, start),
        cmocka_unit_test_setup(test_update_interrupt, start),
        cmocka_unit_test_setup(test_alarm, start),
        cmocka_unit_test_setup(test_alarm_flag_after_a_jump, start),
        cmocka_unit_test_setup(test_memory_registers, start),
        cmocka_unit_test_setup(test_ports, start),
        cmocka_unit_test_setup(test_nonsense_in_the_registers, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
