/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC by the 82093AA's data sheet: registers, edges and levels, remote IRR, EOI by broadcast and register.
 * links: drivers/virt/vioapic.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/vioapic.h"
#include "test/fake/device_bench.h"

static struct vioapic ioapic;
static struct vioapic_message last;
static unsigned messages;
static bool accepting;

static bool deliver(void *context, const struct vioapic_message *message)
{
    assert_ptr_equal(context, &last);
    last = *message;
    messages++;
    return accepting;
}

static int start(void **state)
{
    (void)state;
    bench_start();
    messages = 0;
    accepting = true;
    assert_int_equal(vioapic_init(&ioapic, &bench.bus, deliver, &last), STATUS_OK);
    return 0;
}

static u32 get(u8 index)
{
    bus_write_memory(&bench.bus, gpa(0xfec00000), 4, index);
    return (u32)bus_read_memory(&bench.bus, gpa(0xfec00010), 4);
}

static void put(u8 index, u32 value)
{
    bus_write_memory(&bench.bus, gpa(0xfec00000), 4, index);
    bus_write_memory(&bench.bus, gpa(0xfec00010), 4, value);
}

static void test_registers(void **state)
{
    (void)state;
    assert_int_equal(get(1), 0x00170020);
    put(1, 0);
    assert_int_equal(get(1), 0x00170020);
    put(0, 0xffffffff);
    assert_int_equal(get(0), 0x0f000000);
    assert_int_equal(get(2), 0x0f000000);
    assert_int_equal(get(3), 0);
    for (u8 pin = 0; pin < 24; pin++) {
        u8 low = (u8)(0x10 + 2 * pin);
        assert_int_equal(get(low), 0x00010000);
        assert_int_equal(get((u8)(low + 1)), 0);
        put(low, 0xffffffff);
        put((u8)(low + 1), 0xffffffff);
        assert_int_equal(get(low), 0x0001afff); /* delivery status and remote IRR are read-only */
        assert_int_equal(get((u8)(low + 1)), 0xff000000);
    }
    assert_int_equal(get(0x40), 0);
    put(0x40, 0xffffffff);
    assert_int_equal(messages, 0);
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfec00000), 4), 0x40);
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfec00ffc), 4), 0);
    bus_write_memory(&bench.bus, gpa(0xfec00000), 1, 0x01); /* the index by its low byte */
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfec00012), 1), 0x17);
}

static void test_edges(void **state)
{
    (void)state;
    vioapic_set_line(&ioapic, 4, true); /* masked: lost */
    put(0x19, 0x03000000);
    put(0x18, 0x0934);
    assert_int_equal(messages, 0);
    vioapic_set_line(&ioapic, 4, true); /* no rise */
    assert_int_equal(messages, 0);
    vioapic_set_line(&ioapic, 4, false);
    vioapic_set_line(&ioapic, 4, true);
    assert_int_equal(messages, 1);
    assert_int_equal(last.destination, 3);
    assert_int_equal(last.vector, 0x34);
    assert_int_equal(last.delivery, 1);
    assert_true(last.logical);
    assert_false(last.level);
    vioapic_pulse_line(&ioapic, 4);
    assert_int_equal(messages, 2);
    assert_int_equal(get(0x18), 0x0934);
    put(0x19, 0xff000000);
    assert_false(vioapic_has_nmi(&ioapic));
    put(0x18, 0x10400);
    assert_false(vioapic_has_nmi(&ioapic)); /* masked */
    put(0x18, 0x0400);                      /* NMI */
    assert_true(vioapic_has_nmi(&ioapic));
    vioapic_pulse_line(&ioapic, 4);
    assert_int_equal(last.destination, VIOAPIC_BROADCAST);
    assert_int_equal(last.delivery, 4);
    put(0x18, 0x8700); /* ExtINT is an edge whatever the trigger mode */
    vioapic_pulse_line(&ioapic, 4);
    assert_int_equal(messages, 4);
    assert_false(last.level);
}

static void test_levels(void **state)
{
    (void)state;
    vioapic_set_line(&ioapic, 9, true);
    put(0x22, 0x8051);
    assert_int_equal(messages, 1); /* it was high already */
    assert_true(last.level);
    assert_int_equal(get(0x22), 0xc051);
    put(0x22, 0x8051);
    vioapic_set_line(&ioapic, 9, false);
    vioapic_set_line(&ioapic, 9, true);
    assert_int_equal(messages, 1); /* until its end */
    vioapic_end_interrupt(&ioapic, 0x52);
    assert_int_equal(messages, 1);
    vioapic_end_interrupt(&ioapic, 0x51);
    assert_int_equal(messages, 2); /* still high */
    vioapic_set_line(&ioapic, 9, false);
    bus_write_memory(&bench.bus, gpa(0xfec00040), 4, 0x51); /* the EOI register */
    assert_int_equal(get(0x22), 0x8051);
    assert_int_equal(messages, 2);
    vioapic_set_line(&ioapic, 9, true);
    assert_int_equal(messages, 3);
    put(0x22, 0x18051); /* masked: remote IRR stays */
    assert_int_equal(get(0x22), 0x1c051);
    put(0x22, 0x10051); /* edge clears it */
    put(0x22, 0x18051);
    assert_int_equal(get(0x22), 0x18051);
}

static void test_not_accepted(void **state)
{
    (void)state;
    accepting = false;
    put(0x22, 0x8051);
    vioapic_set_line(&ioapic, 9, true);
    assert_int_equal(messages, 1);
    assert_int_equal(get(0x22), 0x8051);
    accepting = true;
    put(0x22, 0x8051);
    assert_int_equal(messages, 2);
    assert_int_equal(get(0x22), 0xc051);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_registers, start),
        cmocka_unit_test_setup(test_edges, start),
        cmocka_unit_test_setup(test_levels, start),
        cmocka_unit_test_setup(test_not_accepted, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
