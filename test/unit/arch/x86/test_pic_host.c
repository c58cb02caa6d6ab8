/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's way with its 8259A pair, on the guests' model of one: no line interrupts, and what comes all the same is
 * no exception. links: arch/x86/pic_host.c drivers/virt/pic.c kernel/vm/bus.c kernel/vm/vtimer.c flags: -Itest/fake
 */
#include "test/fake/device_bench.h"
#include "arch/x86/cpu.h"
#include "arch/x86/pic_host.h"
#include "drivers/virt/pic.h"

#define MASTER      0x20
#define MASTER_DATA 0x21
#define SLAVE       0xa0
#define SLAVE_DATA  0xa1

static struct pic pic;
static u8 to_master[8], to_slave[8]; /* what the data registers got */
static unsigned to_master_count, to_slave_count;

u32 fake_port_read(u16 port, u32 bytes)
{
    return bus_read_port(&bench.bus, port, (u8)bytes);
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    bus_write_port(&bench.bus, port, (u8)bytes, value);
    if (port == MASTER_DATA)
        to_master[to_master_count++ % ARRAY_SIZE(to_master)] = (u8)value;
    if (port == SLAVE_DATA)
        to_slave[to_slave_count++ % ARRAY_SIZE(to_slave)] = (u8)value;
}

static void output_raised(void *context)
{
    (void)context;
}

static int start(void **state)
{
    (void)state;
    bench_start();
    to_master_count = to_slave_count = 0;
    assert_int_equal(pic_init(&pic, &bench.bus, output_raised, &pic), STATUS_OK);
    return 0;
}

static void test_no_line_interrupts(void **state)
{
    (void)state;
    pic_set_line(&pic, 1, true); /* the firmware's keyboard */
    assert_true(pic_pending(&pic));
    pic_host_mask_all();
    for (u8 pin = 0; pin < 16; pin++) {
        if (pin == 2)
            continue;
        pic_set_line(&pic, pin, false);
        pic_set_line(&pic, pin, true);
        assert_false(pic_pending(&pic));
    }
    assert_int_equal(bus_read_port(&bench.bus, MASTER_DATA, 1), 0xff);
    assert_int_equal(bus_read_port(&bench.bus, SLAVE_DATA, 1), 0xff);
}

/* ICW3, which the model does not look at: the master has a slave at line 2, and the slave has that number. */
static void test_cascade(void **state)
{
    (void)state;
    pic_host_mask_all();
    assert_int_equal(to_master[1], 1 << 2);
    assert_int_equal(to_slave[1], 2);
}

/* With no request left an INTA cycle gives IR7: 0xe7, or 0xef if the line was the slave's and fell meanwhile. */
static void test_vectors_are_no_exceptions(void **state)
{
    (void)state;
    pic_host_mask_all();
    assert_int_equal(pic_acknowledge(&pic), PIC_HOST_VECTOR_BASE + 7);
    bus_write_port(&bench.bus, MASTER_DATA, 1, 0);
    bus_write_port(&bench.bus, SLAVE_DATA, 1, 0);
    for (u8 pin = 0; pin < 16; pin++) {
        if (pin == 2)
            continue;
        pic_set_line(&pic, pin, true);
        assert_true(pic_pending(&pic));
        assert_int_equal(pic_acknowledge(&pic), PIC_HOST_VECTOR_BASE + pin);
        pic_set_line(&pic, pin, false);
        bus_write_port(&bench.bus, SLAVE, 1, 0x20);
        bus_write_port(&bench.bus, MASTER, 1, 0x20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_line_interrupts, start),
        cmocka_unit_test_setup(test_cascade, start),
        cmocka_unit_test_setup(test_vectors_are_no_exceptions, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
