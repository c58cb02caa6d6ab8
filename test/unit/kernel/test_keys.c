/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard's interrupt: all that waits in the controller arrives at the console, and the handler ends in any case.
 * links: kernel/keys.c drivers/host/keyboard.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "kernel/console.h"
#include "kernel/keys.h"

static const u8 *codes;
static u32 count, reads;
static bool answers, routes;
static void (*handler)(void);
static char typed[100];

u32 fake_port_read(u16 port, u32 bytes)
{
    assert_int_equal(bytes, 1);
    if (port == 0x64)
        return count ? 1 : 0;
    reads++;
    return count-- ? *codes++ : 0xff;
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    static const u8 command_byte[] = {0x45};

    (void)bytes;
    if (port == 0x64 && value == 0x20 && answers) {
        codes = command_byte;
        count = 1;
    }
}

void irq_set_handler(u8 vector, void (*h)(void))
{
    assert_int_equal(vector, IRQ_VECTOR_KEYBOARD);
    handler = h;
}

static const u8 late[] = {0x1e};

bool irq_route_isa(u8 irq, u8 vector)
{
    assert_int_equal(irq, 1);
    assert_int_equal(vector, IRQ_VECTOR_KEYBOARD);
    codes = late;
    count = routes;
    return routes;
}

void console_type(const char *bytes, u32 n)
{
    strncat(typed, bytes, n);
}

static void a_keyboard_types(void **state)
{
    static const u8 keys[] = {0x23, 0xa3, 0x17, 0x97, 0xe0, 0x48, 0x1c};
    static u8 flood[1000];

    (void)state;
    assert_false(keys_init());
    answers = true;
    assert_false(keys_init());
    routes = true;
    assert_true(keys_init());
    assert_string_equal(typed, "a"); /* its edge came before there was anybody to take it */
    codes = keys;
    count = sizeof keys;
    handler();
    assert_string_equal(typed, "ahi\33[A\r");
    codes = flood;
    count = sizeof flood;
    reads = 0;
    handler();
    assert_in_range(reads, 16, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keyboard_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
