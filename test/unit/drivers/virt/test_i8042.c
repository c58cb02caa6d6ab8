/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller and its idle keyboard: commands, replies, IRQ 1, reset.
 * links: drivers/virt/i8042.c drivers/virt/power.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/i8042.h"
#include "test/fake/device_bench.h"

static struct i8042 i8042;
static struct power power;
static unsigned resets;

static void request(void *context, enum pc_request what)
{
    (void)context;
    assert_int_equal(what, PC_REQUEST_RESET);
    resets++;
}

static int start(void **state)
{
    (void)state;
    bench_start();
    resets = 0;
    assert_int_equal(power_init(&power, &bench.bus, request, NULL), STATUS_OK);
    assert_int_equal(i8042_init(&i8042, &bench.bus, bench_line(), &power), STATUS_OK);
    return 0;
}

static void expect_byte(u8 value)
{
    assert_int_equal(in(0x64) & 0x21, 0x01); /* full, and not the mouse's */
    assert_int_equal(in(0x60), value);
}

static void expect_nothing(void)
{
    assert_int_equal(in(0x64) & 0x03, 0);
    assert_false(bench.level);
}

static void test_no_key_is_pressed(void **state)
{
    (void)state;
    assert_int_equal(in(0x64), 0x14); /* system flag, not locked */
    bench_run_until(SECOND_NS);
    expect_nothing();
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_self_tests(void **state)
{
    (void)state;
    out(0x64, 0xaa);
    assert_int_equal(in(0x64) & 0x08, 0x08); /* the last write was a command */
    expect_byte(0x55);
    out(0x64, 0xab);
    expect_byte(0x00);
    out(0x64, 0xa4);
    expect_byte(0xf1);
    out(0x64, 0xe0);
    expect_byte(0x00);
    out(0x64, 0xc0);
    assert_int_equal(in(0x60) & 0x80, 0x80); /* not locked */
    expect_nothing();
}

static void test_command_byte(void **state)
{
    (void)state;
    out(0x64, 0x20);
    expect_byte(0x65);
    out(0x64, 0x60);
    out(0x60, 0x70);
    assert_int_equal(in(0x64) & 0x0c, 0); /* system flag cleared by the command byte; the last write was data */
    out(0x64, 0x20);
    expect_byte(0x70);
    out(0x64, 0xae);
    out(0x64, 0x20);
    expect_byte(0x60);
    out(0x64, 0xad);
    out(0x64, 0x20);
    expect_byte(0x70);
}

static void test_keyboard_replies(void **state)
{
    (void)state;
    out(0x60, 0xff);
    expect_byte(0xfa);
    expect_byte(0xaa);
    out(0x60, 0xf2);
    expect_byte(0xfa);
    expect_byte(0xab);
    expect_byte(0x41); /* 0x83 by translation, which firmware leaves on */
    out(0x60, 0xee);
    expect_byte(0xee);
    out(0x60, 0xed);
    expect_byte(0xfa);
    out(0x60, 0x07);
    expect_byte(0xfa);
    out(0x60, 0xf3);
    expect_byte(0xfa);
    out(0x60, 0x00);
    expect_byte(0xfa);
    out(0x60, 0xf4);
    expect_byte(0xfa);
    out(0x60, 0xf5);
    expect_byte(0xfa);
    out(0x60, 0xfe); /* resend */
    expect_byte(0xfa);
    out(0x60, 0x05); /* no command */
    expect_byte(0xfe);
    expect_nothing();
}

static void test_untranslated_identity_and_scan_set(void **state)
{
    (void)state;
    out(0x64, 0x60);
    out(0x60, 0x25);
    out(0x60, 0xf2);
    expect_byte(0xfa);
    expect_byte(0xab);
    expect_byte(0x83);
    out(0x60, 0xf0);
    expect_byte(0xfa);
    out(0x60, 0x00);
    expect_byte(0xfa);
    expect_byte(0x02);
    out(0x60, 0xf0);
    expect_byte(0xfa);
    out(0x60, 0x03);
    expect_byte(0xfa);
    out(0x60, 0xf0);
    expect_byte(0xfa);
    out(0x60, 0x00);
    expect_byte(0xfa);
    expect_byte(0x03);
    expect_nothing();
}

static void test_interrupt_for_each_byte(void **state)
{
    (void)state;
    out(0x60, 0xff);
    assert_int_equal(bench.rises, 1);
    in(0x60);
    assert_int_equal(bench.rises, 2); /* an edge of its own for the second byte */
    in(0x60);
    assert_false(bench.level);
    out(0x64, 0x60);
    out(0x60, 0x64); /* interrupts off */
    out(0x60, 0xff);
    assert_int_equal(bench.rises, 2);
    expect_byte(0xfa);
    out(0x64, 0x60);
    out(0x60, 0x65); /* on again, with a byte waiting */
    assert_true(bench.level);
}

/* The keyboard waits while its clock is held low; the controller's own replies do not. */
static void test_disabled_keyboard_waits(void **state)
{
    (void)state;
    out(0x60, 0xff);
    out(0x64, 0xad);
    expect_byte(0xfa); /* was in the buffer already */
    expect_nothing();
    out(0x64, 0xaa);
    expect_byte(0x55);
    out(0x64, 0xae);
    expect_byte(0xaa);
    expect_nothing();
}

static void test_empty_buffer_shows_its_last_byte(void **state)
{
    (void)state;
    out(0x64, 0xaa);
    expect_byte(0x55);
    assert_int_equal(in(0x60), 0x55);
    expect_nothing();
}

static void test_resets(void **state)
{
    (void)state;
    out(0x64, 0xfe);
    assert_int_equal(resets, 1);
    out(0x64, 0xff); /* pulses nothing */
    out(0x64, 0xf1); /* pulses other bits */
    assert_int_equal(resets, 1);
    out(0x64, 0xf0);
    assert_int_equal(resets, 2);
    out(0x64, 0xd1);
    out(0x60, 0xdf);
    assert_int_equal(resets, 2);
    out(0x64, 0xd1);
    out(0x60, 0xde);
    assert_int_equal(resets, 3);
}

static void test_output_port_keeps_a20(void **state)
{
    (void)state;
    out(0x64, 0xd0);
    assert_int_equal(in(0x60) & 0x03, 0x03);
    out(0x64, 0xd1);
    out(0x60, 0xdd);
    out(0x64, 0xd0);
    assert_int_equal(in(0x60) & 0x03, 0x01);
    out(0x64, 0xdf);
    out(0x64, 0xd0);
    assert_int_equal(in(0x60) & 0x03, 0x03);
    assert_int_equal(resets, 0);
}

static void test_no_mouse(void **state)
{
    (void)state;
    out(0x64, 0xa9);
    expect_byte(0x01); /* the test of the port fails */
    out(0x64, 0xd3);
    out(0x60, 0x5a);
    expect_byte(0x5a); /* echoed, but not marked as the mouse's */
    out(0x64, 0xa8);
    out(0x64, 0x20);
    assert_int_equal(in(0x60) & 0x20, 0x20); /* cannot be enabled */
    out(0x64, 0x60);
    out(0x60, 0x45);
    out(0x64, 0x20);
    expect_byte(0x65);
    out(0x64, 0xd4);
    out(0x60, 0xff);
    expect_nothing();
}

static void test_buffer_commands_and_queue_end(void **state)
{
    (void)state;
    out(0x64, 0xd2);
    out(0x60, 0x1e);
    expect_byte(0x1e);
    for (unsigned i = 0; i < 100; i++)
        out(0x60, 0xff);
    for (unsigned i = 0; i < 20; i++)
        in(0x60);
    expect_nothing();
    out(0x64, 0x75); /* writes the controller's RAM: takes a parameter, which the keyboard must not see */
    out(0x60, 0xff);
    expect_nothing();
    out(0x64, 0x35);
    expect_byte(0x00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_key_is_pressed, start),
        cmocka_unit_test_setup(test_self_tests, start),
        cmocka_unit_test_setup(test_command_byte, start),
        cmocka_unit_test_setup(test_keyboard_replies, start),
        cmocka_unit_test_setup(test_untranslated_identity_and_scan_set, start),
        cmocka_unit_test_setup(test_interrupt_for_each_byte, start),
        cmocka_unit_test_setup(test_disabled_keyboard_waits, start),
        cmocka_unit_test_setup(test_empty_buffer_shows_its_last_byte, start),
        cmocka_unit_test_setup(test_resets, start),
        cmocka_unit_test_setup(test_output_port_keeps_a20, start),
        cmocka_unit_test_setup(test_no_mouse, start),
        cmocka_unit_test_setup(test_buffer_commands_and_queue_end, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
