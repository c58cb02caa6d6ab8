/*
 * The empty PCI bus: how a guest detects mechanism 1, and that it then finds no device.
 * links: drivers/virt/pci.c drivers/virt/power.c kernel/bus.c kernel/vtimer.c
 */
#include "drivers/virt/pci.h"
#include "test/fake/device_bench.h"

static struct power power;
static struct pci pci;

static void request(void *context, enum pc_request what)
{
    (void)context;
    fail_msg("request %d", what);
}

static int start(void **state)
{
    (void)state;
    bench_start();
    assert_int_equal(power_init(&power, &bench.bus, request, NULL), STATUS_OK);
    assert_int_equal(pci_init(&pci, &bench.bus, &power), STATUS_OK);
    return 0;
}

static u32 in_32(u16 port)
{
    return bus_read_port(&bench.bus, port, 4);
}

static void out_32(u16 port, u32 value)
{
    bus_write_port(&bench.bus, port, 4, value);
}

static void test_mechanism_1_is_found(void **state)
{
    (void)state;
    out(0xcfb, 0x01);
    u32 before = in_32(0xcf8);
    out_32(0xcf8, 0x80000000);
    assert_int_equal(in_32(0xcf8), 0x80000000);
    out_32(0xcf8, before);
    assert_int_equal(in_32(0xcf8), before);
}

/* Mechanism 2 would read back 0 at 0xCF8 and 0xCFA. */
static void test_mechanism_2_is_not(void **state)
{
    (void)state;
    out(0xcfb, 0);
    out(0xcf8, 0);
    out(0xcfa, 0);
    assert_int_equal(in(0xcf8), 0xff);
    assert_int_equal(in(0xcfa), 0xff);
}

static void test_reserved_address_bits(void **state)
{
    (void)state;
    out_32(0xcf8, 0xffffffff);
    assert_int_equal(in_32(0xcf8), 0x80fffffc);
    out_32(0xcf8, 0x12);
    bus_write_port(&bench.bus, 0xcf8, 2, 0xabcd); /* only dword accesses reach the register */
    out(0xcf8, 0xab);
    assert_int_equal(in_32(0xcf8), 0x10);
}

static void test_no_device_answers(void **state)
{
    (void)state;
    for (u32 device = 0; device < 32; device++) {
        out_32(0xcf8, 0x80000000 | device << 11);
        assert_int_equal(in_32(0xcfc), 0xffffffff);
        assert_int_equal(bus_read_port(&bench.bus, 0xcfe, 2), 0xffff);
        assert_int_equal(in(0xcfd), 0xff);
        out_32(0xcfc, 0);
        assert_int_equal(in_32(0xcfc), 0xffffffff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_mechanism_1_is_found, start),
        cmocka_unit_test_setup(test_mechanism_2_is_not, start),
        cmocka_unit_test_setup(test_reserved_address_bits, start),
        cmocka_unit_test_setup(test_no_device_answers, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
