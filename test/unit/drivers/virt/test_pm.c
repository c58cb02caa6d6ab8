/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI PM block: the timer's rate and width, its event, the SCI.
 * links: drivers/virt/pm.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/pm.h"
#include "test/fake/device_bench.h"

#define HALF_NS 599932015941ull /* 2^31 / 3.579545 MHz, rounded up */

static struct pm pm;

static int start(void **state)
{
    (void)state;
    bench_start();
    assert_int_equal(pm_init(&pm, &bench.bus, &bench.timers, bench_line()), STATUS_OK);
    return 0;
}

static u32 get(u16 port, u8 bytes)
{
    return bus_read_port(&bench.bus, port, bytes);
}

static void put(u16 port, u8 bytes, u32 value)
{
    bus_write_port(&bench.bus, port, bytes, value);
}

static void test_timer(void **state)
{
    (void)state;
    assert_int_equal(get(0x608, 4), 0);
    bench_run_until(279); /* a tick is 279.365 ns */
    assert_int_equal(get(0x608, 4), 0);
    bench_run_until(280);
    assert_int_equal(get(0x608, 4), 1);
    bench_run_until(SECOND_NS);
    assert_int_equal(get(0x608, 4), 3579545);
    assert_int_equal(get(0x609, 1), 3579545 >> 8 & 0xff);
    put(0x608, 4, 0);
    assert_int_equal(get(0x608, 4), 3579545);
    bench_run_until(1200 * SECOND_NS);
    assert_int_equal(get(0x608, 4), (u32)(1200ull * 3579545));
    bench.now_ns = 1ull << 62;
    assert_int_equal(get(0x608, 4), (u32)((u64)((unsigned __int128)bench.now_ns * 3579545 / SECOND_NS)));
}

static void test_status(void **state)
{
    (void)state;
    bench_run_until(HALF_NS - 1);
    assert_int_equal(get(0x600, 2), 0);
    bench_run_until(HALF_NS);
    assert_int_equal(get(0x608, 4), 0x80000000);
    assert_int_equal(get(0x600, 2), 1);
    put(0x600, 2, 0xfffe);
    assert_int_equal(get(0x600, 2), 1);
    put(0x600, 1, 1);
    assert_int_equal(get(0x600, 2), 0);
    assert_int_equal(bench.rises, 0); /* not enabled */
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_interrupt(void **state)
{
    (void)state;
    put(0x602, 2, 0xffff);
    assert_int_equal(get(0x602, 2), 0x0521);
    assert_int_equal(get(0x600, 4), 0x05210000);
    put(0x603, 1, 0);
    assert_int_equal(get(0x602, 2), 0x21);
    bench_run_until(HALF_NS - 1);
    assert_false(bench.level);
    bench_run_until(HALF_NS);
    assert_true(bench.level);
    put(0x600, 2, 1);
    assert_false(bench.level);
    bench_run_until(2 * HALF_NS);
    assert_true(bench.level);
    put(0x602, 2, 0);
    assert_false(bench.level);
    put(0x602, 2, 1); /* the status is still set */
    assert_true(bench.level);
    assert_int_equal(get(0x600, 2), 1);
    put(0x600, 4, 1); /* clears it and the enable */
    assert_false(bench.level);
    bench_jump_to(100 * HALF_NS);
    assert_false(bench.level);
}

/* ACPI Specification 4.8.2.2.1.1 "Fixed Power Button" */
static void test_power_button(void **state)
{
    (void)state;
    put(0x602, 2, 0x0100);
    pm_press_power_button(&pm);
    assert_int_equal(get(0x600, 2), 0x0100);
    assert_true(bench.level);
    put(0x600, 2, 0x0421); /* not its bit */
    assert_true(bench.level);
    put(0x601, 1, 0x01);
    assert_int_equal(get(0x600, 2), 0);
    assert_false(bench.level);
    put(0x602, 2, 0);
    pm_press_power_button(&pm);
    assert_false(bench.level);
    assert_int_equal(get(0x600, 2), 0x0100);
    put(0x602, 2, 0x0100); /* it was pressed before */
    assert_true(bench.level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_timer, start),
        cmocka_unit_test_setup(test_status, start),
        cmocka_unit_test_setup(test_interrupt, start),
        cmocka_unit_test_setup(test_power_button, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
