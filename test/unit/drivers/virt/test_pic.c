/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pair of 8259As against its data sheet: initialisation, priorities, EOI, masks, poll, edge and level, cascade.
 * links: drivers/virt/pic.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/pic.h"
#include "test/fake/device_bench.h"

#define MASTER      0x20
#define MASTER_DATA 0x21
#define SLAVE       0xa0
#define SLAVE_DATA  0xa1
#define ELCR        0x4d0

static struct pic pic;
static unsigned rises;
static bool risen; /* INTR rose and, when last looked at, had not fallen */

static void output_raised(void *context)
{
    assert_ptr_equal(context, &pic);
    assert_true(pic_pending(&pic));
    risen = true;
    rises++;
}

static void initialise(u8 icw4_master, u8 icw4_slave)
{
    out(MASTER, 0x11);
    out(MASTER_DATA, 0x20);
    out(MASTER_DATA, 0x04);
    out(MASTER_DATA, icw4_master);
    out(SLAVE, 0x11);
    out(SLAVE_DATA, 0x28);
    out(SLAVE_DATA, 0x02);
    out(SLAVE_DATA, icw4_slave);
}

static int start(void **state)
{
    (void)state;
    bench_start();
    rises = 0;
    risen = false;
    assert_int_equal(pic_init(&pic, &bench.bus, output_raised, &pic), STATUS_OK);
    initialise(0x01, 0x01);
    return 0;
}

static void raise(u8 pin)
{
    pic_set_line(&pic, pin, true);
}

static void lower(u8 pin)
{
    pic_set_line(&pic, pin, false);
}

static void pulse(u8 pin)
{
    lower(pin);
    raise(pin);
}

static bool pending(void)
{
    risen = risen && pic_pending(&pic);
    assert_true(pic_pending(&pic) == risen);
    return risen;
}

static u8 acknowledge(void)
{
    return pic_acknowledge(&pic);
}

static u8 irr(u16 port)
{
    out(port, 0x0a);
    return in(port);
}

static u8 isr(u16 port)
{
    out(port, 0x0b);
    return in(port);
}

static void test_firmware_state(void **state)
{
    (void)state;
    bench_start();
    risen = false;
    assert_int_equal(pic_init(&pic, &bench.bus, output_raised, &pic), STATUS_OK);
    assert_int_equal(in(MASTER_DATA), 0xf8);
    assert_int_equal(in(SLAVE_DATA), 0xff);
    raise(0);
    assert_int_equal(acknowledge(), 0x08);
}

static void test_simple_interrupt(void **state)
{
    (void)state;
    assert_false(pending());
    raise(3);
    assert_true(pending());
    assert_int_equal(irr(MASTER), 0x08);
    assert_int_equal(acknowledge(), 0x23);
    assert_false(pending());
    assert_int_equal(irr(MASTER), 0);
    assert_int_equal(isr(MASTER), 0x08);
    out(MASTER, 0x20);
    assert_int_equal(isr(MASTER), 0);
    assert_false(pending()); /* edge: the line is still high */
    raise(3);
    assert_false(pending());
    pulse(3);
    assert_true(pending());
    assert_int_equal(rises, 2);
}

static void test_mask(void **state)
{
    (void)state;
    out(MASTER_DATA, 0x08);
    assert_int_equal(in(MASTER_DATA), 0x08);
    raise(3);
    assert_false(pending());
    assert_int_equal(irr(MASTER), 0x08); /* masked requests are latched */
    out(MASTER_DATA, 0);
    assert_true(pending());
    out(MASTER_DATA, 0xff);
    assert_false(pending());
}

static void test_fully_nested(void **state)
{
    (void)state;
    raise(4);
    assert_int_equal(acknowledge(), 0x24);
    raise(5);
    assert_false(pending()); /* lower priority than what is in service */
    pulse(4);
    assert_false(pending()); /* the same level */
    raise(1);
    assert_int_equal(acknowledge(), 0x21); /* higher nests */
    out(MASTER, 0x20);
    assert_int_equal(isr(MASTER), 0x10); /* the non-specific EOI ended the highest */
    assert_false(pending());
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x24);
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x25);
}

static void test_cascade(void **state)
{
    (void)state;
    raise(8);
    raise(5);
    assert_int_equal(irr(MASTER), 0x24);
    assert_int_equal(acknowledge(), 0x28); /* the slave sits at level 2, above 5 */
    assert_int_equal(isr(MASTER), 0x04);
    assert_int_equal(isr(SLAVE), 0x01);
    assert_false(pending());
    out(SLAVE, 0x20);
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x25);
}

/* The slave's INT drops with INTA and rises for what is left, which the master's edge input needs. */
static void test_two_slave_requests(void **state)
{
    (void)state;
    raise(14);
    raise(12);
    assert_int_equal(acknowledge(), 0x2c);
    out(SLAVE, 0x20);
    out(MASTER, 0x20);
    assert_true(pending());
    assert_int_equal(acknowledge(), 0x2e);
    assert_int_equal(isr(SLAVE), 0x40);
    lower(12);
    lower(14);
    initialise(0x03, 0x03); /* automatic EOI: the second is due at once, and so its edge */
    raise(14);
    raise(12);
    assert_int_equal(acknowledge(), 0x2c);
    assert_int_equal(acknowledge(), 0x2e);
    assert_false(pending());
}

static void test_specific_eoi(void **state)
{
    (void)state;
    raise(6);
    acknowledge();
    raise(1);
    acknowledge();
    assert_int_equal(isr(MASTER), 0x42);
    out(MASTER, 0x66);
    assert_int_equal(isr(MASTER), 0x02);
    out(MASTER, 0x61);
    assert_int_equal(isr(MASTER), 0);
}

static void test_rotation(void **state)
{
    (void)state;
    out(MASTER, 0xc3); /* set priority: 3 is the lowest, 4 the highest */
    raise(3);
    raise(4);
    raise(0);
    assert_int_equal(acknowledge(), 0x24);
    out(MASTER, 0xa0); /* rotate on non-specific EOI: 4 becomes the lowest */
    assert_int_equal(isr(MASTER), 0);
    pulse(4);
    assert_int_equal(acknowledge(), 0x20);
    out(MASTER, 0xe0); /* rotate on specific EOI of 0: order 1 2 3 4 5 6 7 0 */
    assert_int_equal(isr(MASTER), 0);
    pulse(0);
    assert_int_equal(acknowledge(), 0x23);
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x24);
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x20);
}

static void test_automatic_eoi(void **state)
{
    (void)state;
    initialise(0x03, 0x01);
    raise(1);
    assert_int_equal(acknowledge(), 0x21);
    assert_int_equal(isr(MASTER), 0);
    out(MASTER, 0x80); /* rotate in automatic EOI mode */
    pulse(1);
    raise(6);
    assert_int_equal(acknowledge(), 0x21);
    pulse(1);
    assert_int_equal(acknowledge(), 0x26); /* 1 went to the end: order 2 3 4 5 6 7 0 1 */
    out(MASTER, 0x00);
    pulse(6);
    assert_int_equal(acknowledge(), 0x21); /* order 7 0 1 2 3 4 5 6 */
    pulse(1);
    assert_int_equal(acknowledge(), 0x21); /* no rotation any more */
}

static void test_special_mask_mode(void **state)
{
    (void)state;
    raise(3);
    acknowledge();
    out(MASTER_DATA, 0x08);
    raise(5);
    assert_false(pending());
    out(MASTER, 0x68);                     /* special mask mode */
    assert_int_equal(acknowledge(), 0x25); /* lower than 3, which is in service but masked */
    pulse(5);
    assert_false(pending()); /* but not a level that is itself in service */
    lower(5);
    out(MASTER, 0x20);
    assert_int_equal(isr(MASTER), 0x08); /* a masked level in service is not ended by a non-specific EOI */
    out(MASTER, 0x63);
    assert_int_equal(isr(MASTER), 0);
    out(MASTER, 0x48); /* and normal mode again */
    out(MASTER_DATA, 0);
    raise(4);
    acknowledge();
    pulse(5);
    assert_false(pending());
}

static void test_special_fully_nested_mode(void **state)
{
    (void)state;
    raise(12);
    acknowledge();
    raise(9); /* higher within the slave */
    assert_false(pending());
    lower(9);
    initialise(0x11, 0x01);
    pulse(12);
    assert_int_equal(acknowledge(), 0x2c);
    raise(9);
    assert_int_equal(acknowledge(), 0x29);
    raise(3);
    assert_false(pending()); /* below the slave's level it still nests */
}

static void test_poll(void **state)
{
    (void)state;
    out(MASTER, 0x0c);
    assert_int_equal(0x80 & in(MASTER), 0);
    raise(6);
    out(MASTER, 0x0c);
    assert_int_equal(in(MASTER), 0x86);
    assert_int_equal(isr(MASTER), 0x40);
    assert_false(pending());
    out(MASTER, 0x20);
    raise(11);
    out(MASTER, 0x0c);
    assert_int_equal(in(MASTER_DATA), 0x82); /* either port */
    out(SLAVE, 0x0c);
    assert_int_equal(in(SLAVE), 0x83);
    assert_int_equal(isr(SLAVE), 0x08);
    assert_int_equal(in(SLAVE_DATA), 0); /* one read only */
}

static void test_level_triggered(void **state)
{
    (void)state;
    out(ELCR, 0xff);
    out(ELCR + 1, 0xff);
    assert_int_equal(in(ELCR), 0xf8);     /* 0, 1, 2 stay edge-triggered */
    assert_int_equal(in(ELCR + 1), 0xde); /* 8 and 13 too */
    raise(11);
    assert_int_equal(acknowledge(), 0x2b);
    out(SLAVE, 0x20);
    out(MASTER, 0x20);
    assert_true(pending()); /* the line is still high */
    lower(11);
    assert_false(pending());
    raise(5);
    acknowledge();
    lower(5);
    out(MASTER, 0x20);
    assert_false(pending());
}

static void test_spurious(void **state)
{
    (void)state;
    raise(3);
    lower(3); /* gone before INTA: the data sheet's default IR7, which is not put in service */
    assert_false(pending());
    assert_int_equal(acknowledge(), 0x27);
    assert_int_equal(isr(MASTER), 0);
    raise(9);
    out(ELCR + 1, 0); /* no change of the edge-triggered request */
    assert_true(pending());
    assert_int_equal(acknowledge(), 0x29);
    out(SLAVE, 0x20);
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x27);
}

/* A pulse is one edge; on a request that still waits it changes nothing. */
static void test_pulse(void **state)
{
    (void)state;
    pic_pulse_line(&pic, 0);
    pic_pulse_line(&pic, 0);
    assert_int_equal(rises, 1);
    assert_int_equal(acknowledge(), 0x20);
    out(MASTER, 0x20);
    assert_false(pending());
    pic_pulse_line(&pic, 0);
    assert_int_equal(acknowledge(), 0x20);
    out(MASTER, 0x20);
    pic_pulse_line(&pic, 8);
    assert_int_equal(acknowledge(), 0x28);
    lower(0);
    raise(0); /* the line was left high */
    out(SLAVE, 0x20);
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x20);
}

static void test_initialisation(void **state)
{
    (void)state;
    raise(1);
    acknowledge();
    raise(4);
    out(MASTER_DATA, 0x55);
    out(MASTER, 0xc2);
    out(MASTER, 0x0b);
    out(MASTER, 0x11);
    assert_false(pending());
    assert_int_equal(in(MASTER), 0); /* IRR is read again, and edge requests are forgotten */
    out(MASTER_DATA, 0x47);          /* only bits 7 to 3 */
    out(MASTER_DATA, 0x04);
    pulse(4);
    assert_false(pending()); /* ICW4 is still to come */
    out(MASTER_DATA, 0x01);
    assert_int_equal(in(MASTER_DATA), 0); /* IMR was cleared */
    assert_int_equal(isr(MASTER), 0);
    raise(0);
    lower(1);
    assert_int_equal(acknowledge(), 0x40); /* 0 is the highest again */
    out(MASTER, 0x20);
    assert_int_equal(acknowledge(), 0x44);
}

static void test_single_without_icw4(void **state)
{
    (void)state;
    out(MASTER, 0x12);
    out(MASTER_DATA, 0x30);
    out(MASTER_DATA, 0xfe); /* not an ICW3: the mask */
    assert_int_equal(in(MASTER_DATA), 0xfe);
    raise(0);
    assert_int_equal(acknowledge(), 0x30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_firmware_state, start),
        cmocka_unit_test_setup(test_simple_interrupt, start),
        cmocka_unit_test_setup(test_mask, start),
        cmocka_unit_test_setup(test_fully_nested, start),
        cmocka_unit_test_setup(test_cascade, start),
        cmocka_unit_test_setup(test_two_slave_requests, start),
        cmocka_unit_test_setup(test_specific_eoi, start),
        cmocka_unit_test_setup(test_rotation, start),
        cmocka_unit_test_setup(test_automatic_eoi, start),
        cmocka_unit_test_setup(test_special_mask_mode, start),
        cmocka_unit_test_setup(test_special_fully_nested_mode, start),
        cmocka_unit_test_setup(test_poll, start),
        cmocka_unit_test_setup(test_level_triggered, start),
        cmocka_unit_test_setup(test_spurious, start),
        cmocka_unit_test_setup(test_pulse, start),
        cmocka_unit_test_setup(test_initialisation, start),
        cmocka_unit_test_setup(test_single_without_icw4, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
