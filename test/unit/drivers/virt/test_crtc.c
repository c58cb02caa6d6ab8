/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VGA's registers in text mode: cursor, attribute flip-flop, palette, retrace.
 * links: drivers/virt/crtc.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/crtc.h"
#include "test/fake/device_bench.h"

static struct crtc crtc;

static int start(void **state)
{
    (void)state;
    bench_start();
    assert_int_equal(crtc_init(&crtc, &bench.bus, &bench.timers), STATUS_OK);
    return 0;
}

static void test_cursor(void **state)
{
    (void)state;
    out(0x3d4, 0x0e);
    out(0x3d5, 0x07);
    bus_write_port(&bench.bus, 0x3d4, 2, 0xcf0f); /* index and data in one word */
    assert_int_equal(in(0x3d4), 0x0f);
    assert_int_equal(in(0x3d5), 0xcf);
    out(0x3d4, 0x0e);
    assert_int_equal(in(0x3d5), 0x07);
    out(0x3d4, 0x0a);
    out(0x3d5, in(0x3d5) | 0x20); /* hides the cursor */
    assert_int_equal(in(0x3d5), 0x2d);
}

static void test_registers_that_are_not(void **state)
{
    (void)state;
    in(0x3da);
    out(0x3c0, 0x00);
    out(0x3c0, 0x15); /* lies behind the CRT controller's registers */
    for (unsigned i = 25; i < 256; i++) {
        out(0x3d4, (u8)i);
        out(0x3d5, 0xaa);
        if ((i & 0x3f) >= 25)
            assert_int_equal(in(0x3d5), 0);
    }
    out(0x3c4, 0xff);
    out(0x3c5, 0xff);
    out(0x3ce, 0xff);
    out(0x3cf, 0xff);
    assert_int_equal(in(0x3c5) | in(0x3cf), 0);
    assert_int_equal(in(0x3c3), 0xff);
    out(0x3c0, 0x00);
    assert_int_equal(in(0x3c1), 0x15);
}

static void test_colour_or_mono(void **state)
{
    (void)state;
    assert_int_equal(in(0x3cc), 0x67);
    assert_int_equal(in(0x3b4), 0xff);
    out(0x3d4, 0x0f);
    out(0x3d5, 0x12);
    out(0x3b4, 0x0e);
    assert_int_equal(in(0x3d4), 0x0f);
    out(0x3c2, 0x66); /* monochrome: the CRT controller moves to 0x3B4 */
    assert_int_equal(in(0x3d4), 0xff);
    assert_int_equal(in(0x3da), 0xff);
    assert_int_equal(in(0x3b5), 0x12);
}

static void test_attribute_flip_flop(void **state)
{
    (void)state;
    in(0x3da);
    out(0x3c0, 0x10);
    assert_int_equal(in(0x3c1), 0x0c); /* text mode: bit 3 is blinking */
    out(0x3c0, 0x04);
    out(0x3c0, 0x11);
    in(0x3da); /* the next write is an index again */
    out(0x3c0, 0x10);
    assert_int_equal(in(0x3c1), 0x04);
    in(0x3da);
    out(0x3c0, 0x20);
    assert_int_equal(in(0x3c0), 0x20);
    in(0x3da);
    out(0x3c0, 0x1f);
    out(0x3c0, 0xff); /* no such register */
    assert_int_equal(in(0x3c1), 0);
}

static void test_palette(void **state)
{
    (void)state;
    out(0x3c8, 0x38);
    out(0x3c9, 0x3f);
    out(0x3c9, 0xff);
    out(0x3c9, 0x01);
    out(0x3c9, 0x02);
    assert_int_equal(in(0x3c8), 0x39);
    assert_int_equal(in(0x3c7), 0);
    out(0x3c7, 0x38);
    assert_int_equal(in(0x3c7), 3);
    assert_int_equal(in(0x3c9), 0x3f);
    assert_int_equal(in(0x3c9), 0x3f); /* six bits */
    assert_int_equal(in(0x3c9), 0x01);
    assert_int_equal(in(0x3c9), 0x02);
    out(0x3c7, 0x07); /* light grey as firmware sets it */
    assert_int_equal(in(0x3c9), 0x2a);
    out(0x3c8, 0xff);
    for (unsigned i = 0; i < 6; i++)
        out(0x3c9, 0x11); /* beyond what is kept, and around */
    out(0x3c7, 0x00);
    assert_int_equal(in(0x3c9), 0x11);
    out(0x3c8, CRTC_PALETTE_ENTRIES);
    out(0x3c9, 0x22);
    out(0x3c7, CRTC_PALETTE_ENTRIES);
    assert_int_equal(in(0x3c9), 0);
}

/* A guest that waits for the retrace to begin and to end sees 70 frames a second. */
static void test_retrace(void **state)
{
    (void)state;
    unsigned frames = 0, lines = 0;
    u8 last = 0;
    for (u64 ns = 0; ns < SECOND_NS / 10; ns += 2000) {
        bench_run_until(ns);
        u8 now = in(0x3da);
        assert_true(!(now & 0x08) || now & 0x01); /* vertical retrace is blank */
        frames += (now & 0x08) && !(last & 0x08);
        lines += (now & 0x01) && !(last & 0x01);
        last = now;
    }
    assert_int_equal(frames, 7);
    assert_in_range(lines, 7 * 399, 7 * 401);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_cursor, start),         cmocka_unit_test_setup(test_registers_that_are_not, start),
        cmocka_unit_test_setup(test_colour_or_mono, start), cmocka_unit_test_setup(test_attribute_flip_flop, start),
        cmocka_unit_test_setup(test_palette, start),        cmocka_unit_test_setup(test_retrace, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
