/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buses: look-up, splitting of wide accesses, what nothing answers, refusals.
 * links: kernel/vm/bus.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernel/vm/bus.h"

/* A device that remembers each access and reads the low bytes of its offset plus 0x40. */
struct probe {
    unsigned accesses;
    u64 offset[8];
    u8 bytes[8];
    u64 value[8];
};

static u64 probe_read(void *device, u64 offset, u8 bytes)
{
    struct probe *p = device;
    p->offset[p->accesses] = offset;
    p->bytes[p->accesses++] = bytes;
    u64 value = 0;
    for (u8 i = 0; i < bytes; i++)
        value |= (0x40 + offset + i) << (8 * i);
    return value | (bytes < 8 ? ~0ull << (8 * bytes) : 0); /* dirt above the access, which the bus must not pass on */
}

static void probe_write(void *device, u64 offset, u8 bytes, u64 value)
{
    struct probe *p = device;
    p->offset[p->accesses] = offset;
    p->value[p->accesses] = value;
    p->bytes[p->accesses++] = bytes;
}

static const struct bus_ops ops = {probe_read, probe_write};
static struct bus bus;
static struct probe a, b;

static int start(void **state)
{
    (void)state;
    bus_init(&bus);
    a = b = (struct probe){0};
    return 0;
}

static void test_unanswered_ports_read_ones(void **state)
{
    (void)state;
    assert_int_equal(bus_read_port(&bus, 0x80, 1), 0xff);
    assert_int_equal(bus_read_port(&bus, 0x80, 2), 0xffff);
    assert_int_equal(bus_read_port(&bus, 0x5678, 4), 0xffffffff);
    assert_int_equal(bus_read_port(&bus, 0xffff, 4), 0xffffffff);
    bus_write_port(&bus, 0x80, 1, 1);
    bus_write_port(&bus, 0xffff, 4, 1);
}

static void test_low_and_high_ports(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, 0x3f8, 8, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_ports(&bus, 0xb004, 2, 2, &ops, &b), STATUS_OK);
    assert_int_equal(bus_read_port(&bus, 0x3fa, 1), 0x42);
    assert_int_equal(bus_read_port(&bus, 0x3f7, 1), 0xff);
    assert_int_equal(bus_read_port(&bus, 0x400, 1), 0xff);
    assert_int_equal(bus_read_port(&bus, 0xb004, 2), 0x4140);
    assert_int_equal(bus_read_port(&bus, 0xb005, 1), 0x41);
    assert_int_equal(bus_read_port(&bus, 0xb006, 1), 0xff);
    assert_int_equal(a.accesses, 1);
    assert_int_equal(b.accesses, 2);
}

static void test_range_across_pages(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, 0x3fe, 4, 1, &ops, &a), STATUS_OK);
    for (u16 i = 0; i < 4; i++)
        assert_int_equal(bus_read_port(&bus, (u16)(0x3fe + i), 1), 0x40u + i);
    assert_int_equal(bus_read_port(&bus, 0x402, 1), 0xff);
}

static void test_wide_access_is_split(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, 0x100, 4, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_ports(&bus, 0x200, 4, 2, &ops, &b), STATUS_OK);
    assert_int_equal(bus_read_port(&bus, 0x100, 4), 0x43424140);
    assert_int_equal(a.accesses, 4);
    bus_write_port(&bus, 0x200, 4, 0x11223344);
    assert_int_equal(b.accesses, 2);
    assert_int_equal(b.bytes[0], 2);
    assert_int_equal(b.value[0], 0x3344);
    assert_int_equal(b.offset[1], 2);
    assert_int_equal(b.value[1], 0x1122);
}

static void test_access_across_devices_and_holes(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, 0x101, 1, 4, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_ports(&bus, 0x102, 3, 2, &ops, &b), STATUS_OK);
    assert_int_equal(bus_read_port(&bus, 0x100, 4), 0x414040ff); /* hole, a, two bytes of b */
    assert_int_equal(bus_read_port(&bus, 0x104, 2), 0xff42);     /* runs past the end of b */
    a.accesses = b.accesses = 0;
    bus_write_port(&bus, 0x100, 4, 0x44332211);
    assert_int_equal(a.value[0], 0x22);
    assert_int_equal(b.value[0], 0x4433);
    assert_int_equal(b.bytes[0], 2);
}

static void test_last_port(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, 0xfffe, 2, 2, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_ports(&bus, 0, 2, 1, &ops, &b), STATUS_OK);
    assert_int_equal(bus_read_port(&bus, 0xfffe, 4), 0xffff4140);
    bus_write_port(&bus, 0xffff, 2, 0x1234);
    assert_int_equal(a.value[a.accesses - 1], 0x34);
    assert_int_equal(b.accesses, 0); /* ports do not wrap */
}

static void test_refused_ranges(void **state)
{
    (void)state;
    assert_int_equal(bus_add_ports(&bus, 0x100, 0, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_ports(&bus, 0xffff, 2, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_ports(&bus, 0x100, 4, 3, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_ports(&bus, 0x100, 4, 8, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_ports(&bus, 0x100, 4, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_ports(&bus, 0x103, 1, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_ports(&bus, 0xff, 2, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_ports(&bus, 0x104, 1, 1, &ops, &a), STATUS_OK);
    for (u16 i = 2; i < BUS_MAX_PORT_RANGES; i++)
        assert_int_equal(bus_add_ports(&bus, (u16)(0x1000 + i), 1, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_ports(&bus, 0x2000, 1, 1, &ops, &a), STATUS_NO_MEMORY);
    assert_int_equal(bus_read_port(&bus, 0x2000, 1), 0xff);
}

/* A range that does not fit leaves no trace. */
static void test_pages_run_out(void **state)
{
    (void)state;
    for (u16 i = 0; i < BUS_MAX_PAGES; i++)
        assert_int_equal(bus_add_ports(&bus, (u16)(i * BUS_PAGE_PORTS), 1, 1, &ops, &a), STATUS_OK);
    u16 beyond = BUS_MAX_PAGES * BUS_PAGE_PORTS;
    assert_int_equal(bus_add_ports(&bus, beyond, 1, 1, &ops, &a), STATUS_NO_MEMORY);
    assert_int_equal(bus_read_port(&bus, beyond, 1), 0xff);
    assert_int_equal(bus_add_ports(&bus, 1, 1, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_read_port(&bus, 1, 1), 0x40);
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(bus_add_memory(&bus, gpa(0xfed00000), 0x400, 8, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_memory(&bus, gpa(0xfee00000), 0x10, 4, &ops, &b), STATUS_OK);
    assert_int_equal(bus_read_memory(&bus, gpa(0xfed00000), 8), 0x4746454443424140);
    assert_int_equal(bus_read_memory(&bus, gpa(0xfee00008), 8), 0x4f4e4d4c4b4a4948);
    assert_int_equal(b.accesses, 2);
    assert_int_equal(bus_read_memory(&bus, gpa(0xfee0000e), 4), 0xffff4f4e);
    assert_true(bus_read_memory(&bus, gpa(0), 8) == ~0ull);
    assert_int_equal(bus_read_memory(&bus, gpa(0xfed00400), 2), 0xffff);
    static const u64 touching[] = {0xfecffffd, 0xfecfffff, 0xfed003ff, 0xfee0000f};
    static const u64 beside[] = {0, 0xfecffffc, 0xfed00400, 0xfee00010, ~0ull, ~0ull - 2};
    for (u32 i = 0; i < ARRAY_SIZE(touching); i++)
        assert_true(bus_has_memory(&bus, gpa(touching[i]), 4));
    for (u32 i = 0; i < ARRAY_SIZE(beside); i++)
        assert_false(bus_has_memory(&bus, gpa(beside[i]), 4));
    a.accesses = 0;
    bus_write_memory(&bus, gpa(0xfecffffe), 4, 0x11223344);
    assert_int_equal(a.accesses, 1);
    assert_int_equal(a.offset[0], 0);
    assert_int_equal(a.value[0], 0x1122);
}

static void test_memory_refused_and_at_the_end(void **state)
{
    (void)state;
    assert_int_equal(bus_add_memory(&bus, gpa(~0ull), 2, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_memory(&bus, gpa(0), 0, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_add_memory(&bus, gpa(~0ull), 1, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_memory(&bus, gpa(~0ull - 1), 2, 1, &ops, &a), STATUS_INVALID);
    assert_int_equal(bus_read_memory(&bus, gpa(~0ull), 2), 0xff40);
    for (u64 i = 1; i < BUS_MAX_MEMORY_RANGES; i++)
        assert_int_equal(bus_add_memory(&bus, gpa(i << 12), 1, 1, &ops, &a), STATUS_OK);
    assert_int_equal(bus_add_memory(&bus, gpa(1 << 24), 1, 1, &ops, &a), STATUS_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_unanswered_ports_read_ones, start),
        cmocka_unit_test_setup(test_low_and_high_ports, start),
        cmocka_unit_test_setup(test_range_across_pages, start),
        cmocka_unit_test_setup(test_wide_access_is_split, start),
        cmocka_unit_test_setup(test_access_across_devices_and_holes, start),
        cmocka_unit_test_setup(test_last_port, start),
        cmocka_unit_test_setup(test_refused_ranges, start),
        cmocka_unit_test_setup(test_pages_run_out, start),
        cmocka_unit_test_setup(test_memory, start),
        cmocka_unit_test_setup(test_memory_refused_and_at_the_end, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
