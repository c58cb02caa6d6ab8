/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 against its data sheet: the waveform of each mode, counts read back, gate, latches, exact timing of IRQ 0.
 * A count that is written during tick t is loaded by clock pulse t + 1.
 * links: drivers/virt/pit.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/pit.h"
#include "test/fake/device_bench.h"

#define WORD 0x43

static struct pit pit;

/* The first nanosecond of PIT tick n, with 128-bit arithmetic. */
static u64 tick_ns(u64 n)
{
    return (u64)(((unsigned __int128)n * 1000000000u + 1193181u) / 1193182u);
}

static void run_until_tick(u64 n)
{
    bench_run_until(tick_ns(n));
}

static int start(void **state)
{
    (void)state;
    bench_start();
    assert_int_equal(pit_init(&pit, &bench.bus, &bench.timers, bench_line()), STATUS_OK);
    return 0;
}

static void set(unsigned channel, u8 mode, u16 count)
{
    out(WORD, (u8)(channel << 6 | 0x30 | mode << 1));
    out((u16)(0x40 + channel), (u8)count);
    out((u16)(0x40 + channel), (u8)(count >> 8));
}

static u16 read_16(unsigned channel)
{
    u16 low = in((u16)(0x40 + channel));
    return (u16)(low | in((u16)(0x40 + channel)) << 8);
}

static u16 latched(unsigned channel)
{
    out(WORD, (u8)(channel << 6));
    return read_16(channel);
}

static bool out2(void)
{
    return in(0x61) & 0x20;
}

static u8 status_of(unsigned channel)
{
    out(WORD, (u8)(0xe0 | 2u << channel));
    return in((u16)(0x40 + channel));
}

static void test_firmware_state(void **state)
{
    (void)state;
    assert_int_equal(status_of(0) & 0x3f, 0x36);
    bench_run_until(SECOND_NS);
    assert_int_equal(bench.rises, 18); /* 18.2 Hz */
}

/* Rising edges at load + n * count, exactly at the first nanosecond of their tick. */
static void test_mode2_is_exact(void **state)
{
    (void)state;
    bench_run_until(12345);
    u64 written = (u64)((unsigned __int128)12345 * 1193182u / 1000000000u);
    set(0, 2, 1193);
    bench.rises = 0;
    for (u64 n = 1; n <= 1000; n++) {
        assert_int_equal(bench.timers.next_ns, tick_ns(written + 1 + n * 1193));
        bench_run_until(bench.timers.next_ns);
        assert_int_equal(bench.rises, n);
    }
}

static void test_no_drift_over_a_day(void **state)
{
    (void)state;
    set(0, 2, 11932);
    for (u64 hour = 1; hour <= 24; hour++) {
        bench_jump_to(hour * 3600 * SECOND_NS);
        u64 edge = (u64)((unsigned __int128)bench.timers.next_ns * 1193182u / 1000000000u);
        assert_int_equal((edge - 1) % 11932, 0);
        assert_int_equal(bench.timers.next_ns, tick_ns(edge));
        assert_true(bench.timers.next_ns - bench.now_ns <= tick_ns(11932));
    }
}

static void test_missed_edges_are_one(void **state)
{
    (void)state;
    set(0, 2, 1000);
    bench.rises = 0;
    bench_jump_to(tick_ns(1 + 1000 * 50) + 5);
    assert_int_equal(bench.rises, 1);
    assert_int_equal(bench.timers.next_ns, tick_ns(1 + 1000 * 51));
    bench_run_until(bench.timers.next_ns);
    assert_int_equal(bench.rises, 2);
}

/* An absurd rate and a jump of years: one edge, at once; and never more than one in PIT_MIN_PERIOD_TICKS. */
static void test_absurd_rate(void **state)
{
    (void)state;
    set(0, 2, 1);
    bench_jump_to(3600ull * 24 * 365 * 10 * SECOND_NS);
    bench.rises = 0;
    u64 begin = bench.now_ns;
    bench_run_until(begin + SECOND_NS / 100);
    assert_in_range(bench.rises, 11932 / (PIT_MIN_PERIOD_TICKS + 1), 11932 / PIT_MIN_PERIOD_TICKS + 1);
}

static void test_mode2_counts(void **state)
{
    (void)state;
    set(0, 2, 5);
    run_until_tick(1);
    for (u64 t = 1; t < 20; t++) {
        run_until_tick(t);
        assert_int_equal(latched(0), 5 - (t - 1) % 5); /* 5 4 3 2 1 5 4 ... */
        assert_int_equal(status_of(0) >> 7, (t - 1) % 5 != 4);
    }
}

static void test_mode3_even_and_odd(void **state)
{
    (void)state;
    static const u8 even_count[] = {4, 2, 4, 2, 4, 2, 4, 2, 4, 2};
    static const u8 even_out[] = {1, 1, 0, 0, 1, 1, 0, 0, 1, 1};
    static const u8 odd_count[] = {4, 2, 0, 4, 2, 4, 2, 0, 4, 2};
    static const u8 odd_out[] = {1, 1, 1, 0, 0, 1, 1, 1, 0, 0};

    out(0x61, 1);
    set(2, 3, 4);
    for (u64 t = 0; t < 10; t++) {
        run_until_tick(t + 1);
        assert_int_equal(latched(2), even_count[t]);
        assert_int_equal(out2(), even_out[t]);
    }
    set(2, 3, 5); /* written at tick 10 with its control word: loaded at 11 */
    for (u64 t = 0; t < 10; t++) {
        run_until_tick(t + 11);
        assert_int_equal(latched(2), odd_count[t]);
        assert_int_equal(out2(), odd_out[t]);
    }
}

static void test_mode3_edges(void **state)
{
    (void)state;
    set(0, 3, 101);
    bench.rises = 0;
    run_until_tick(1 + 101 * 7);
    assert_int_equal(bench.rises, 7);
    assert_int_equal(bench.timers.next_ns, tick_ns(1 + 101 * 8));
}

/* A new count takes over at the end of the cycle (mode 2) or half cycle (mode 3). */
static void test_count_changes_in_flight(void **state)
{
    (void)state;
    set(0, 2, 100);
    run_until_tick(31);
    out(0x40, 200);
    out(0x40, 0);
    assert_int_equal(latched(0), 70); /* still the old cycle */
    assert_int_equal(status_of(0) & 0x40, 0x40);
    assert_int_equal(bench.timers.next_ns, tick_ns(101));
    run_until_tick(101);
    assert_int_equal(status_of(0) & 0x40, 0);
    assert_int_equal(latched(0), 200);
    assert_int_equal(bench.timers.next_ns, tick_ns(301));

    set(0, 3, 100); /* loaded at 102: high to 152 */
    run_until_tick(110);
    out(0x40, 200);
    out(0x40, 0);
    assert_int_equal(bench.timers.next_ns, tick_ns(152 + 100)); /* then low for 100 */
    run_until_tick(160);
    assert_int_equal(latched(0), 200 - 2 * 8);
    assert_int_equal(status_of(0) >> 7, 0);
    out(0x40, 50); /* in the low half, which ends at 252 */
    out(0x40, 0);
    assert_int_equal(bench.timers.next_ns, tick_ns(252));
    run_until_tick(252);
    assert_int_equal(bench.timers.next_ns, tick_ns(302));
}

static void test_mode0(void **state)
{
    (void)state;
    set(0, 0, 4); /* out rises 4 + 1 pulses after the write */
    bench.rises = 0;
    assert_false(bench.level);
    assert_int_equal(bench.timers.next_ns, tick_ns(5));
    run_until_tick(1);
    assert_int_equal(latched(0), 4);
    run_until_tick(4);
    assert_int_equal(latched(0), 1);
    assert_int_equal(status_of(0) >> 7, 0);
    run_until_tick(5);
    assert_int_equal(latched(0), 0);
    assert_int_equal(status_of(0) >> 7, 1);
    assert_int_equal(bench.rises, 1);
    run_until_tick(6);
    assert_int_equal(latched(0), 0xffff); /* counts on */
    run_until_tick(200000);
    assert_int_equal(bench.rises, 1); /* one shot */
    assert_true(bench.level);
    out(0x40, 10); /* the first byte of a new count: out low, counter stopped */
    assert_false(bench.level);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
    run_until_tick(200100);
    out(0x40, 0);
    assert_int_equal(bench.timers.next_ns, tick_ns(200111));
    out(0x40, 10); /* stopped in the middle of its count */
    run_until_tick(200200);
    assert_false(bench.level);
    assert_int_equal(status_of(0) >> 7, 0);
}

static void test_mode4(void **state)
{
    (void)state;
    bench.rises = 0;
    set(0, 4, 10);
    assert_int_equal(bench.rises, 0);                    /* the output was high and stays high: no edge */
    assert_int_equal(bench.timers.next_ns, tick_ns(12)); /* low for tick 11, the rise ends the strobe */
    run_until_tick(10);
    assert_int_equal(status_of(0) >> 7, 1);
    run_until_tick(11);
    assert_int_equal(status_of(0) >> 7, 0);
    run_until_tick(12);
    assert_int_equal(status_of(0) >> 7, 1);
    assert_int_equal(bench.rises, 1);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_mode1_one_shot(void **state)
{
    (void)state;
    out(0x61, 0);
    set(2, 1, 3);
    run_until_tick(5);
    assert_true(out2());
    out(0x61, 1); /* the trigger: low from the next pulse, for 3 */
    assert_true(out2());
    run_until_tick(6);
    assert_false(out2());
    run_until_tick(8);
    assert_false(out2());
    out(0x61, 0); /* the gate's fall does nothing, its rise triggers again */
    assert_false(out2());
    out(0x61, 1);
    run_until_tick(11);
    assert_false(out2());
    run_until_tick(12);
    assert_true(out2());
    out(0x42, 6); /* a new count waits for the next trigger */
    out(0x42, 0);
    run_until_tick(20);
    assert_true(out2());
    out(0x61, 0);
    out(0x61, 1);
    run_until_tick(26);
    assert_false(out2());
    run_until_tick(27);
    assert_true(out2());
}

static void test_mode5_strobe(void **state)
{
    (void)state;
    out(0x61, 0);
    set(2, 5, 3);
    run_until_tick(10);
    assert_true(out2());
    out(0x61, 1);
    run_until_tick(13);
    assert_true(out2());
    run_until_tick(14);
    assert_false(out2());
    run_until_tick(15);
    assert_true(out2());
}

/* How kernels calibrate: mode 0 on channel 2, gate by port 0x61, poll bit 5. */
static void test_gate_holds_mode0(void **state)
{
    (void)state;
    out(0x61, 0);
    set(2, 0, 100);
    run_until_tick(50);
    assert_int_equal(latched(2), 100);
    assert_false(out2());
    out(0x61, 1);
    run_until_tick(80);
    assert_int_equal(latched(2), 70);
    out(0x61, 0);
    run_until_tick(500);
    assert_int_equal(latched(2), 70);
    out(0x61, 1);
    run_until_tick(569);
    assert_false(out2());
    run_until_tick(570);
    assert_true(out2());
}

/* Written and released in the same tick: the count is loaded by the next pulse all the same, out is not early. */
static void test_gate_opens_at_once(void **state)
{
    (void)state;
    out(0x61, 0);
    set(2, 0, 10);
    out(0x61, 1);
    run_until_tick(10);
    assert_false(out2());
    run_until_tick(11);
    assert_true(out2());
}

static void test_gate_stops_square_wave(void **state)
{
    (void)state;
    out(0x61, 3);
    assert_int_equal(in(0x61) & 0x0f, 3);
    set(2, 3, 100);
    run_until_tick(60);
    assert_false(out2());
    out(0x61, 2);
    assert_true(out2()); /* at once */
    run_until_tick(500);
    assert_true(out2());
    out(0x61, 3); /* and the wave starts anew */
    run_until_tick(550);
    assert_true(out2());
    run_until_tick(551);
    assert_false(out2());
}

static void test_bcd(void **state)
{
    (void)state;
    out(WORD, 0x31 | 2 << 1);
    out(0x40, 0x34);
    out(0x40, 0x12);
    assert_int_equal(bench.timers.next_ns, tick_ns(1 + 1234));
    run_until_tick(36);
    assert_int_equal(latched(0), 0x1199); /* 1234 - 35 */
    out(WORD, 0x31);
    out(0x40, 0);
    out(0x40, 0);
    assert_int_equal(bench.timers.next_ns, tick_ns(37 + 10000));
    run_until_tick(37 + 10001);
    assert_int_equal(latched(0), 0x9999);
}

static void test_byte_access(void **state)
{
    (void)state;
    out(WORD, 0x14); /* low byte only, mode 2 */
    out(0x40, 200);
    assert_int_equal(bench.timers.next_ns, tick_ns(201));
    run_until_tick(101);
    assert_int_equal(in(0x40), 100);
    assert_int_equal(in(0x40), 100);
    out(WORD, 0x24); /* high byte only */
    out(0x40, 2);
    assert_int_equal(bench.timers.next_ns, tick_ns(102 + 512));
    run_until_tick(102 + 256);
    assert_int_equal(in(0x40), 1);
    assert_int_equal(in(0x40), 1);
    out(0x40, 0);
    out(WORD, 0x34); /* both: reads alternate */
    out(0x40, 0x10);
    out(0x40, 0x32);
    run_until_tick(102 + 257);
    assert_int_equal(in(0x40), 0x10);
    assert_int_equal(in(0x40), 0x32);
    assert_int_equal(in(0x40), 0x10);
    assert_int_equal(in(0x40), 0x32);
}

static void test_latch_holds(void **state)
{
    (void)state;
    set(0, 2, 1000);
    run_until_tick(101);
    out(WORD, 0x00);
    run_until_tick(201);
    out(WORD, 0x00); /* ignored until the first latch is read */
    assert_int_equal(read_16(0), 900);
    assert_int_equal(read_16(0), 800);
}

static void test_read_back(void **state)
{
    (void)state;
    out(0x61, 1);
    set(0, 2, 1000);
    set(2, 3, 500);
    assert_int_equal(status_of(0), 0xf4); /* out high, count not loaded yet, both bytes, mode 2 */
    run_until_tick(101);
    out(WORD, 0xca); /* count and status of channels 0 and 2 */
    run_until_tick(301);
    assert_int_equal(in(0x40), 0xb4);
    assert_int_equal(read_16(0), 900);
    assert_int_equal(in(0x42), 0xb6);
    assert_int_equal(read_16(2), 300);
    assert_int_equal(read_16(0), 700); /* not latched any more */
    assert_int_equal(in(WORD), 0xff);
}

static void test_refresh_toggle(void **state)
{
    (void)state;
    unsigned toggles = 0;
    u8 last = in(0x61) & 0x10;
    for (u64 ns = 0; ns < SECOND_NS / 100; ns += 1000) {
        bench_run_until(ns);
        u8 bit = in(0x61) & 0x10;
        toggles += bit != last;
        last = bit;
    }
    assert_in_range(toggles, 655, 670); /* each 15.086 us */
}

/* Changing the mode drives the output, which IRQ 0 sees. */
static void test_control_word_drives_the_line(void **state)
{
    (void)state;
    out(WORD, 0x30);
    assert_false(bench.level);
    bench.rises = 0;
    out(WORD, 0x34);
    assert_int_equal(bench.rises, 1);
    assert_true(bench.timers.next_ns == VTIMER_NEVER); /* no count yet */
    run_until_tick(100000);
    assert_int_equal(bench.rises, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_firmware_state, start),
        cmocka_unit_test_setup(test_mode2_is_exact, start),
        cmocka_unit_test_setup(test_no_drift_over_a_day, start),
        cmocka_unit_test_setup(test_missed_edges_are_one, start),
        cmocka_unit_test_setup(test_absurd_rate, start),
        cmocka_unit_test_setup(test_mode2_counts, start),
        cmocka_unit_test_setup(test_mode3_even_and_odd, start),
        cmocka_unit_test_setup(test_mode3_edges, start),
        cmocka_unit_test_setup(test_count_changes_in_flight, start),
        cmocka_unit_test_setup(test_mode0, start),
        cmocka_unit_test_setup(test_mode4, start),
        cmocka_unit_test_setup(test_mode1_one_shot, start),
        cmocka_unit_test_setup(test_mode5_strobe, start),
        cmocka_unit_test_setup(test_gate_holds_mode0, start),
        cmocka_unit_test_setup(test_gate_opens_at_once, start),
        cmocka_unit_test_setup(test_gate_stops_square_wave, start),
        cmocka_unit_test_setup(test_bcd, start),
        cmocka_unit_test_setup(test_byte_access, start),
        cmocka_unit_test_setup(test_latch_holds, start),
        cmocka_unit_test_setup(test_read_back, start),
        cmocka_unit_test_setup(test_refresh_toggle, start),
        cmocka_unit_test_setup(test_control_word_drives_the_line, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
