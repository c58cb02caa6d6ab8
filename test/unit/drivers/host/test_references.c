/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clocks that the TSC is measured with. IA-PC HPET Specification 1.0a, 2.3 "Timer Register Descriptions"; Intel
 * 8254 data sheet, "Counter Latch Command".
 *
 * links: drivers/host/hpet.c drivers/host/pit.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "drivers/host/hpet.h"
#include "drivers/host/pit.h"

/* ---- HPET ---- */

static u32 hpet[0x400 / 4];
static bool no_room;

enum status paging_map_device(hpa_t base, u64 bytes, volatile void **out)
{
    assert_int_equal(base.raw, 0xfed00000);
    assert_int_equal(bytes, sizeof hpet);
    *out = hpet;
    return no_room ? STATUS_NO_MEMORY : STATUS_OK;
}

static void test_hpet(void **state)
{
    struct tsc_reference reference;

    (void)state;
    hpet[0x004 / 4] = 69841279; /* femtoseconds: 14.31818 MHz */
    hpet[0x010 / 4] = 0xc2;     /* stopped, legacy replacement on; the others are reserved and stay */
    assert_true(hpet_reference(0xfed00000, &reference));
    assert_int_equal(hpet[0x010 / 4], 0xc1);
    assert_int_equal(reference.hz, 14318179);
    assert_int_equal(reference.bits, 32);
    hpet[0x0f0 / 4] = 0x89abcdef;
    hpet[0x0f4 / 4] = 0x01234567;
    assert_int_equal(reference.read(), 0x89abcdef);
}

/* The counter runs at 10 MHz at least: a period above 100 ns is none, and neither is 0. */
static void test_no_hpet(void **state)
{
    struct tsc_reference reference;

    (void)state;
    assert_false(hpet_reference(0, &reference));
    assert_false(hpet_reference(0xfed00004, &reference));
    memset(hpet, 0xff, sizeof hpet); /* nobody there */
    assert_false(hpet_reference(0xfed00000, &reference));
    memset(hpet, 0, sizeof hpet);
    assert_false(hpet_reference(0xfed00000, &reference));
    hpet[1] = 0x05f5e101;
    assert_false(hpet_reference(0xfed00000, &reference));
    assert_int_equal(hpet[4], 0); /* it was not started */
    hpet[1] = 0x05f5e100;
    assert_true(hpet_reference(0xfed00000, &reference));
    assert_int_equal(reference.hz, 10000000);
    no_room = true;
    assert_false(hpet_reference(0xfed00000, &reference));
    no_room = false;
}

/* ---- PIT ---- */

/* Channel 2: it counts down with each access, and a latch holds it until both bytes are read. */
static u16 counter, latched;
static u8 gate, command;
static u32 latch_bytes, loaded;

u32 fake_port_read(u16 port, u32 bytes)
{
    assert_int_equal(bytes, 1);
    if (port == 0x61)
        return gate;
    assert_int_equal(port, 0x42);
    counter--;
    if (!latch_bytes) {
        fail_msg("read without a latch: the halves may not belong together");
        return 0;
    }
    return latch_bytes-- == 2 ? latched & 0xff : latched >> 8;
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    assert_int_equal(bytes, 1);
    counter--;
    if (port == 0x61) {
        gate = (u8)value;
    } else if (port == 0x42) {
        assert_int_equal(value, 0);
        loaded++;
    } else {
        assert_int_equal(port, 0x43);
        if (value & 0x30) {
            command = (u8)value;
            return;
        }
        assert_int_equal(value >> 6, 2);
        latched = counter;
        latch_bytes = 2;
    }
}

static void test_pit(void **state)
{
    struct tsc_reference reference;

    (void)state;
    gate = 0x3e; /* the speaker is on; other bits are not ours */
    pit_reference_start(&reference);
    assert_int_equal(gate, 0x3d);    /* channel 2 counts, and the speaker is off */
    assert_int_equal(command, 0xb4); /* channel 2, both bytes, mode 2, binary */
    assert_int_equal(loaded, 2);     /* 0 is 65536 */
    assert_int_equal(reference.hz, 1193182);
    assert_int_equal(reference.bits, 16);
    counter = 0x0101; /* less one for the latch's own access: the low byte wraps between the two readings */
    u64 first = reference.read();
    assert_int_equal(first, 0xffff - 0x0100);
    assert_true(reference.read() > first); /* it goes up */
    pit_reference_stop();
    assert_int_equal(gate, 0x3c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hpet),
        cmocka_unit_test(test_no_hpet),
        cmocka_unit_test(test_pit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
