/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET by its specification: counter, one-shot and periodic comparators, 32 bits, levels, routing.
 * links: drivers/virt/vhpet.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include <string.h>

#include "drivers/virt/vhpet.h"
#include "test/fake/device_bench.h"

#define LEVEL    0x002u
#define ENABLE   0x004u
#define PERIODIC 0x008u
#define SET      0x040u
#define BITS_32  0x100u
#define PIN(n)   ((u64)(n) << 9)

static struct vhpet hpet;
static unsigned pulses[32];
static bool levels[32];
static bool legacy;

static void set_line(void *controller, u8 pin, bool level)
{
    (void)controller;
    levels[pin] = level;
}

static void pulse_line(void *controller, u8 pin)
{
    (void)controller;
    pulses[pin]++;
}

static void select_legacy(void *context, bool on)
{
    assert_ptr_equal(context, &hpet);
    legacy = on;
}

static int start(void **state)
{
    (void)state;
    const struct vhpet_wiring wiring = {
        {set_line, pulse_line, NULL, 0},
        {set_line, pulse_line, NULL, 0},
        select_legacy, &hpet
    };
    bench_start();
    memset(pulses, 0, sizeof pulses);
    memset(levels, 0, sizeof levels);
    assert_int_equal(vhpet_init(&hpet, &bench.bus, &bench.timers, &wiring), STATUS_OK);
    return 0;
}

static u64 get(u32 offset)
{
    return bus_read_memory(&bench.bus, gpa(0xfed00000 + offset), 8);
}

static void put(u32 offset, u64 value)
{
    bus_write_memory(&bench.bus, gpa(0xfed00000 + offset), 8, value);
}

static void put_half(u32 offset, u32 value)
{
    bus_write_memory(&bench.bus, gpa(0xfed00000 + offset), 4, value);
}

static void test_registers(void **state)
{
    (void)state;
    assert_true(get(0) == 0x009896808086a201);
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfed00004), 4), 10000000);
    for (u32 at = 0x100; at <= 0x140; at += 0x20) {
        assert_true(get(at) == 0x00f0000000000030);
        assert_true(get(at + 8) == ~0ull);
        put(at, ~0ull);
        assert_true(get(at) == 0x00f000000000017e); /* pin 31 is not offered, no FSB */
        put(at, PIN(23));
        assert_true(get(at) == 0x00f0000000000030 + PIN(23));
        put(at, PIN(5));
        assert_true(get(at) == 0x00f0000000000030 + PIN(23));
    }
    put(0x10, 0xfc);
    assert_int_equal(get(0x10), 0);
    put(0, 0);
    assert_int_equal(get(0x160), 0);
    assert_int_equal(get(0x3f8), 0);
    assert_int_equal(get(0xf8), 0);
}

static void test_counter(void **state)
{
    (void)state;
    bench_run_until(12345);
    assert_int_equal(get(0xf0), 0);
    put(0xf0, 0x1fffffff0);
    put_half(0xf4, 2);
    assert_true(get(0xf0) == 0x2fffffff0);
    put(0x10, 1);
    bench_run_until(12345 + 9);
    assert_true(get(0xf0) == 0x2fffffff0);
    bench_run_until(12345 + 160);
    assert_true(get(0xf0) == 0x300000000);
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfed000f4), 4), 3);
    put(0xf0, 0); /* only while halted */
    assert_true(get(0xf0) == 0x300000000);
    put(0x10, 0);
    bench_run_until(SECOND_NS);
    assert_true(get(0xf0) == 0x300000000);
}

static void test_one_shot(void **state)
{
    (void)state;
    put(0x140, ENABLE | PIN(22));
    put(0x148, 100);
    assert_true(bench.timers.next_ns == VTIMER_NEVER); /* halted */
    bench_run_until(7);
    put(0x10, 1);
    bench_run_until(7 + 999);
    assert_int_equal(pulses[22], 0);
    bench_run_until(7 + 1000);
    assert_int_equal(pulses[22], 1);
    assert_int_equal(get(0xf0), 100);
    bench_run_until(10 * SECOND_NS);
    assert_int_equal(pulses[22], 1);
    put(0x148, 50); /* behind the counter: in 2^64 ticks */
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
    assert_int_equal(get(0x20), 0);
    put(0x140, PIN(22)); /* not enabled */
    put(0x148, get(0xf0) + 100);
    bench_run_until(11 * SECOND_NS);
    assert_int_equal(pulses[22], 1);
}

static void test_32_bits(void **state)
{
    (void)state;
    put(0x120, ENABLE | BITS_32 | PIN(21));
    put(0xf0, 0xfffffff0);
    put(0x128, 0xffffffff00000010);
    assert_int_equal(get(0x128), 0x10);
    put(0x10, 1);
    bench_run_until(320);
    assert_int_equal(pulses[21], 1);
    bench_run_until(320 + 42949672959);
    assert_int_equal(pulses[21], 1);
    bench_run_until(320 + 42949672960); /* each time the counter's low half comes round */
    assert_int_equal(pulses[21], 2);
}

static void test_periodic(void **state)
{
    (void)state;
    put(0x10, 1);
    put(0x100, ENABLE | PERIODIC | SET | PIN(20));
    assert_int_equal(get(0x100) & SET, 0x40);
    put(0x108, 5000);
    assert_int_equal(get(0x100) & SET, 0);
    put(0x108, 100000); /* 1 ms */
    assert_int_equal(get(0x108), 5000);
    bench_run_until(50000);
    assert_int_equal(pulses[20], 1);
    assert_int_equal(get(0x108), 105000);
    bench_run_until(1050000 - 1);
    assert_int_equal(pulses[20], 1);
    bench_run_until(1050000);
    assert_int_equal(pulses[20], 2);
    bench_jump_to(500 * 1000000);
    assert_int_equal(pulses[20], 3); /* one for all that were missed */
    assert_true(bench.timers.next_ns == 500050000);
    put_half(0x108, 200000);
    bench_run_until(500050000);
    assert_true(bench.timers.next_ns == 502050000);
    put(0x108, 5ull << 32);
    put_half(0x108, 7); /* the other half stays the period's */
    assert_true(hpet.comparators[0].period == (5ull << 32 | 7));
    put(0x108, 0);
    bench_run_until(SECOND_NS);
    assert_int_equal(pulses[20], 5);
    put(0x100, ENABLE | PERIODIC | SET | PIN(20));
    put(0x108, get(0xf0) + 1); /* sets the period, too */
    put(0x108, 1);
    bench_run_until(bench.now_ns + 10);
    assert_int_equal(pulses[20], 6);
    assert_true(bench.timers.next_ns >= bench.now_ns + VHPET_MIN_TICKS * VHPET_TICK_NS);
    bench_run_until(bench.now_ns + SECOND_NS / 10);
}

static void test_levels(void **state)
{
    (void)state;
    put(0x140, ENABLE | LEVEL | PIN(23));
    put(0x148, 10);
    put(0x10, 1);
    bench_run_until(100);
    assert_true(levels[23]);
    assert_int_equal(get(0x20), 4);
    put(0x140, ENABLE | LEVEL | PIN(22)); /* the line moves with its route */
    assert_false(levels[23]);
    assert_true(levels[22]);
    put(0x20, 3);
    assert_true(levels[22]);
    put_half(0x20, 4);
    assert_false(levels[22]);
    assert_int_equal(get(0x20), 0);
    put(0x140, LEVEL | PIN(22)); /* without enable: the status alone */
    put(0x148, 20);
    bench_run_until(200);
    assert_int_equal(get(0x20), 4);
    assert_false(levels[22]);
    put(0x140, ENABLE | LEVEL | PIN(22));
    assert_true(levels[22]);
    put(0x140, ENABLE | PIN(22));
    assert_false(levels[22]);
    assert_int_equal(pulses[22], 0);
    assert_int_equal(get(0x20), 0);
}

static void test_legacy(void **state)
{
    (void)state;
    put(0x100, ENABLE | PIN(20));
    put(0x120, ENABLE | LEVEL);
    put(0x140, ENABLE | PIN(21));
    put(0x108, 10);
    put(0x128, 10);
    put(0x148, 10);
    put(0x10, 3);
    assert_true(legacy);
    bench_run_until(100);
    assert_int_equal(pulses[0], 1);
    assert_true(levels[8]);
    assert_int_equal(pulses[20], 0);
    assert_int_equal(pulses[21], 1);
    put(0x10, 1);
    assert_false(legacy);
    assert_false(levels[8]); /* and comparator 1 has no pin now */
}

static void test_odd_accesses(void **state)
{
    (void)state;
    put(0x10, 1);
    bus_write_memory(&bench.bus, gpa(0xfed00010), 1, 0);
    bus_write_memory(&bench.bus, gpa(0xfed00012), 4, 0);
    bus_write_memory(&bench.bus, gpa(0xfed0000c), 8, 0);
    assert_int_equal(get(0x10), 1);
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfed00007), 1), 0);
    assert_int_equal(bus_read_memory(&bench.bus, gpa(0xfed00005), 1), 0x96);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_registers, start), cmocka_unit_test_setup(test_counter, start),
        cmocka_unit_test_setup(test_one_shot, start),  cmocka_unit_test_setup(test_32_bits, start),
        cmocka_unit_test_setup(test_periodic, start),  cmocka_unit_test_setup(test_levels, start),
        cmocka_unit_test_setup(test_legacy, start),    cmocka_unit_test_setup(test_odd_accesses, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
