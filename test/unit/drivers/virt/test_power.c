/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power-off and reset: each port, and what must not trigger it.
 * links: drivers/virt/power.c drivers/virt/pci.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/pci.h"
#include "drivers/virt/power.h"
#include "test/fake/device_bench.h"

static struct power power;
static struct pci pci;
static unsigned resets, poweroffs;

static void request(void *context, enum pc_request what)
{
    assert_ptr_equal(context, &power);
    resets += what == PC_REQUEST_RESET;
    poweroffs += what == PC_REQUEST_POWEROFF;
}

static int start(void **state)
{
    (void)state;
    bench_start();
    resets = poweroffs = 0;
    assert_int_equal(power_init(&power, &bench.bus, request, &power), STATUS_OK);
    assert_int_equal(pci_init(&pci, &bench.bus, &power), STATUS_OK);
    return 0;
}

static void out_16(u16 port, u16 value)
{
    bus_write_port(&bench.bus, port, 2, value);
}

static void test_port_92(void **state)
{
    (void)state;
    assert_int_equal(in(0x92), 0x02); /* A20 open */
    out(0x92, 0x00);
    assert_int_equal(in(0x92), 0x00);
    out(0x92, 0x02);
    assert_int_equal(resets, 0);
    out(0x92, 0x03);
    assert_int_equal(resets, 1);
    out(0x92, 0x03); /* no rise */
    assert_int_equal(resets, 1);
}

static void test_reset_control(void **state)
{
    (void)state;
    out(0xcf9, 0x02);
    assert_int_equal(in(0xcf9), 0x02);
    assert_int_equal(resets, 0);
    out(0xcf9, 0x06);
    assert_int_equal(resets, 1);
    out(0xcf9, 0x0e);
    assert_int_equal(resets, 2);
    bus_write_port(&bench.bus, 0xcf8, 4, 0xffffffff); /* the PCI address, not a reset */
    bus_write_port(&bench.bus, 0xcf8, 2, 0xffff);
    assert_int_equal(resets, 2);
}

static void test_acpi(void **state)
{
    (void)state;
    out_16(0x604, 0x1c00); /* a sleep type without SLP_EN */
    assert_int_equal(bus_read_port(&bench.bus, 0x604, 2), 0x1c01);
    assert_int_equal(in(0x605), 0x1c);
    assert_int_equal(poweroffs, 0);
    out_16(0x604, 0x3c00);
    assert_int_equal(poweroffs, 1);
    out_16(0x604, 0x2000);
    assert_int_equal(poweroffs, 2);
    assert_int_equal(bus_read_port(&bench.bus, 0x604, 2), 0x0001); /* SLP_EN reads 0 */
    out_16(0xb004, 0x2000);
    assert_int_equal(poweroffs, 3);
    out(0x604, 0x20);
    out(0xb004, 0x20);
    assert_int_equal(poweroffs, 3);
    out(0x605, 0x20); /* the high byte alone holds SLP_EN */
    assert_int_equal(poweroffs, 4);
    assert_int_equal(resets, 0);
}

static void say(const char *text)
{
    while (*text)
        out(0x8900, (u8)*text++);
}

static void test_shutdown_word(void **state)
{
    (void)state;
    say("Shutdow");
    assert_int_equal(poweroffs, 0);
    say("n");
    assert_int_equal(poweroffs, 1);
    say("shutdown Shut down");
    assert_int_equal(poweroffs, 1);
    say("ShutShutdown");
    assert_int_equal(poweroffs, 2);
    say("SSSShutdownShutdown");
    assert_int_equal(poweroffs, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_port_92, start),
        cmocka_unit_test_setup(test_reset_control, start),
        cmocka_unit_test_setup(test_acpi, start),
        cmocka_unit_test_setup(test_shutdown_word, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
