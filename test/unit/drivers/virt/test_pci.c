/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI bus: how a guest detects mechanism 1, and that it then finds a host bridge and nothing else.
 * links: drivers/virt/pci.c drivers/virt/power.c kernel/vm/bus.c kernel/vm/vtimer.c
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

static u32 config(u32 address)
{
    out_32(0xcf8, 0x80000000 | address);
    return in_32(0xcfc);
}

/* The predefined header of the PCI specification, 6.1, with the numbers of Intel's 82441FX data sheet, 3.2. */
static void test_host_bridge(void **state)
{
    (void)state;
    assert_int_equal(config(0x00), 0x12378086);
    assert_int_equal(config(0x08) >> 8, 0x060000);
    assert_int_equal(in(0xcff), 0x06);
    assert_int_equal(bus_read_port(&bench.bus, 0xcfe, 2), 0x0600);
    assert_int_equal(config(0x0c) >> 16 & 0xff, 0x00); /* header type 0, one function */
    assert_int_equal(config(0x04) & 0x10 << 16, 0);    /* no list of capabilities */
    for (u32 bar = 0x10; bar < 0x28; bar += 4) {
        config(bar);
        out_32(0xcfc, 0xffffffff);
        assert_int_equal(config(bar), 0); /* a base address register of size 0 is none */
    }
    assert_int_equal(config(0x3c) >> 8 & 0xff, 0); /* no interrupt pin */
    out_32(0xcf8, 0);
    assert_int_equal(in_32(0xcfc), 0xffffffff); /* not enabled */
}

static void test_header_is_read_only(void **state)
{
    (void)state;
    for (u32 at = 0; at < 0x100; at += 4) {
        u32 before = config(at);
        out_32(0xcfc, ~before);
        bus_write_port(&bench.bus, 0xcfd, 1, 0x5a);
        assert_int_equal(config(at), before);
    }
}

static void test_no_other_device_answers(void **state)
{
    (void)state;
    for (u32 function = 1; function < 0x10000; function++) { /* of all 256 buses */
        assert_int_equal(config(function << 8), 0xffffffff);
        assert_int_equal(config(function << 8 | 8), 0xffffffff);
    }
    for (u32 device = 1; device < 32; device++) {
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
        cmocka_unit_test_setup(test_host_bridge, start),
        cmocka_unit_test_setup(test_header_is_read_only, start),
        cmocka_unit_test_setup(test_no_other_device_answers, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
