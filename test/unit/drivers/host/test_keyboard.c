/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard's driver: what keys send, by scan code set 1, and a controller that is slow, silent, full or not there.
 * links: drivers/host/keyboard.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "drivers/host/keyboard.h"

static struct keyboard keyboard;
static char sent[200];

/* Codes up to the first 0. */
static const char *keys(const u8 *codes)
{
    u32 used = 0;

    memset(sent, 0, sizeof sent);
    for (; *codes; codes++) {
        char out[KEYBOARD_KEY_BYTES];
        u32 count = keyboard_decode(&keyboard, *codes, out);
        assert_in_range(count, 0, KEYBOARD_KEY_BYTES);
        memcpy(sent + used, out, count);
        used += count;
    }
    return sent;
}

#define KEYS(...) keys((const u8[]){__VA_ARGS__, 0})

static void expect(const char *text, const char *got)
{
    assert_string_equal(got, text);
}

static void characters(void **state)
{
    (void)state;
    expect("hello 1\r",
           KEYS(0x23, 0xa3, 0x12, 0x92, 0x26, 0xa6, 0x26, 0xa6, 0x18, 0x98, 0x39, 0xb9, 2, 0x82, 0x1c, 0x9c));
    expect("\33`-=[]\\;',./\t\177", KEYS(1, 0x29, 12, 13, 26, 27, 43, 39, 40, 51, 52, 53, 15, 14));
    expect("789-456+1230.*", KEYS(0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53, 0x37));
    expect("", KEYS(0x3b, 0x44, 0x57, 0x58, 0x45, 0x46, 0x38, 0xb8, 0x54, 0x7f, 0xff, 0xfa, 0xfe)); /* F1, Alt ... */
}

static void shift_and_caps_lock(void **state)
{
    (void)state;
    expect("Aa", KEYS(0x2a, 0x1e, 0xaa, 0x1e));
    expect("!_+{}|:\"<>?~@", KEYS(0x36, 2, 12, 13, 26, 27, 43, 39, 40, 51, 52, 53, 41, 3, 0xb6));
    expect("AA", KEYS(0x2a, 0x36, 0x1e, 0xaa, 0x1e, 0xb6)); /* one of two has been let go */
    expect("A1aA", KEYS(0x3a, 0xba, 0x1e, 2, 0x2a, 0x1e, 0xaa, 0x1e));
    expect("a", KEYS(0x3a, 0xba, 0x1e));
}

static void control(void **state)
{
    (void)state;
    expect("\x1d\x03\x1c\x1b\x1f", KEYS(0x1d, 0x1b, 0x2e, 0x2b, 0x1a, 0x2a, 0x0c, 0xaa, 0x9d));
    expect("\x1d]", KEYS(0xe0, 0x1d, 0x1b, 0xe0, 0x9d, 0x1b)); /* the right one */
    expect("\x1d]", KEYS(0x1d, 0xe0, 0x1d, 0x9d, 0x1b, 0xe0, 0x9d, 0x1b));
    expect("1\r", KEYS(0x1d, 2, 0x1c, 0x9d));
    char out[KEYBOARD_KEY_BYTES] = "x";
    KEYS(0x1d);
    assert_int_equal(keyboard_decode(&keyboard, 0x39, out), 1);
    assert_int_equal(out[0], 0);
}

static void movements(void **state)
{
    (void)state;
    expect("\33[A\33[B\33[C\33[D", KEYS(0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0x50, 0xe0, 0x4d, 0xe0, 0x4b));
    expect("\33[H\33[F\33[2~\33[3~\33[5~\33[6~",
           KEYS(0xe0, 0x47, 0xe0, 0x4f, 0xe0, 0x52, 0xe0, 0x53, 0xe0, 0x49, 0xe0, 0x51));
    expect("\r/", KEYS(0xe0, 0x1c, 0xe0, 0x9c, 0xe0, 0x35));
    /* with the shifts that the keyboard itself makes up around them; Print, Windows keys, keys of multimedia */
    expect("\33[Aa", KEYS(0xe0, 0x2a, 0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0xaa, 0x1e));
    expect("", KEYS(0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0x5b, 0xe0, 0x4c, 0xe0, 0x4a, 0xe0, 0x10, 0xe0, 0x1e));
    expect("a", KEYS(0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x1e)); /* Pause holds no Ctrl */
}

/* ---- the controller ---- */

static struct {
    bool absent, silent, stuck; /* does not answer; never takes a byte */
    u8 byte;                    /* the command byte */
    u8 queue[64];
    u32 count;
    u8 auxiliary; /* a bit for each of the first bytes: the mouse's */
    u32 busy, polls;
    u8 command;
    bool on;
} controller;

static void put(u8 byte)
{
    controller.queue[controller.count++] = byte;
}

u32 fake_port_read(u16 port, u32 bytes)
{
    assert_int_equal(bytes, 1);
    if (controller.absent)
        return 0xff;
    if (port == 0x64) {
        controller.polls++;
        if (controller.busy)
            controller.busy--;
        return (controller.count ? 1 : 0) | (controller.busy || controller.stuck ? 2 : 0) |
               (controller.auxiliary & 1 ? 0x20 : 0) | 0x14;
    }
    assert_int_equal(port, 0x60);
    assert_true(controller.count);
    u8 byte = controller.queue[0];
    memmove(controller.queue, controller.queue + 1, --controller.count);
    controller.auxiliary >>= 1;
    return byte;
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    assert_int_equal(bytes, 1);
    assert_int_equal(controller.busy, 0); /* else it would be lost */
    controller.busy = 10;
    if (port == 0x60) {
        assert_int_equal(controller.command, 0x60);
        controller.byte = (u8)value;
        return;
    }
    assert_int_equal(port, 0x64);
    controller.command = (u8)value;
    if (value == 0x20 && !controller.silent) {
        assert_int_equal(controller.count, 0); /* else another byte would be taken for the answer */
        put(controller.byte);
    }
    if (value == 0xad || value == 0xae)
        controller.on = value == 0xae;
}

static int start(void **state)
{
    (void)state;
    memset(&keyboard, 0, sizeof keyboard);
    memset(&controller, 0, sizeof controller);
    controller.byte = 0x14 | 0x02;
    return 0;
}

static void a_controller_as_firmware_leaves_it(void **state)
{
    (void)state;
    put(0x1c);
    put(0x9c);
    assert_true(keyboard_init());
    assert_true(controller.on);
    assert_int_equal(controller.byte, 0x65); /* translated, interrupt on; the mouse has neither clock nor interrupt */
    assert_int_equal(keyboard_receive(), -1);
    put(8);
    put(0x23);
    put(9);
    put(0xa3);
    controller.auxiliary = 5;
    assert_int_equal(keyboard_receive(), 0x23);
    assert_int_equal(keyboard_receive(), 0xa3);
    assert_int_equal(keyboard_receive(), -1);
}

static void no_wait_is_without_end(void **state)
{
    (void)state;
    controller.absent = true;
    assert_false(keyboard_init());
    assert_int_equal(controller.polls, 0);
    controller.absent = false;
    controller.silent = true;
    assert_false(keyboard_init());
    assert_in_range(controller.polls, 1000, 100000);
    controller.stuck = true;
    controller.polls = 0;
    assert_false(keyboard_init());
    assert_in_range(controller.polls, 1000, 100000);
    controller.auxiliary = 0xff; /* a mouse that never ends */
    controller.count = 40;
    controller.polls = 0;
    (void)keyboard_receive();
    assert_in_range(controller.polls, 1, 40);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, start)
    const struct CMUnitTest tests[] = {
        T(characters),
        T(shift_and_caps_lock),
        T(control),
        T(movements),
        T(a_controller_as_firmware_leaves_it),
        T(no_wait_is_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
