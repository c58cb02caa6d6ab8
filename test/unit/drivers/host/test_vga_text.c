/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text page's driver on a VGA of arrays: the modes in which it draws, and what it writes.
 * links: drivers/host/vga_text.c
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
#include "drivers/host/vga_text.h"

static struct {
    bool there;
    u8 misc, graphics_index, crtc_index;
    u8 graphics[9], crtc[25];
    u16 page[81 * 25];
} vga;

u32 fake_port_read(u16 port, u32 bytes)
{
    assert_int_equal(bytes, 1);
    if (!vga.there)
        return 0xff;
    switch (port) {
    case 0x3cc:
        return vga.misc;
    case 0x3cf:
        return vga.graphics[vga.graphics_index];
    case 0x3d5:
        return vga.misc & 1 ? vga.crtc[vga.crtc_index] : 0xff;
    default:
        fail();
        return 0;
    }
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    assert_int_equal(bytes, 1);
    switch (port) {
    case 0x3ce:
        assert_in_range(value, 0, 8);
        vga.graphics_index = (u8)value;
        break;
    case 0x3d4:
        assert_in_range(value, 0, 24);
        vga.crtc_index = (u8)value;
        break;
    case 0x3d5:
        vga.crtc[vga.crtc_index] = (u8)value;
        break;
    default:
        fail();
    }
}

void *phys_to_virt(hpa_t address)
{
    assert_int_equal(address.raw, 0xb8000);
    return vga.page;
}

/* Mode 3: as the BIOS leaves it. */
static int start(void **state)
{
    (void)state;
    memset(&vga, 0, sizeof vga);
    vga.there = true;
    vga.misc = 0x67;
    vga.graphics[6] = 0x0e;
    vga.crtc[1] = 79;
    vga.crtc[10] = 13;
    vga.crtc[12] = vga.crtc[13] = 1; /* scrolled */
    return 0;
}

static void text_mode(void **state)
{
    const u16 cells[] = {'a', '~' | 0x100, ' '};

    (void)state;
    assert_true(vga_text_init());
    assert_int_equal(vga.crtc[10] & 0x20, 0x20);
    assert_int_equal(vga.crtc[12] | vga.crtc[13], 0);
    vga_text_draw(24, 77, cells, 3);
    assert_int_equal(vga.page[24 * 80 + 76], 0);
    assert_int_equal(vga.page[24 * 80 + 77], 0x0761);
    assert_int_equal(vga.page[24 * 80 + 78], 0x707e);
    assert_int_equal(vga.page[24 * 80 + 79], 0x0720);
    assert_int_equal(vga.page[25 * 80], 0);
}

static void other_modes_are_left_alone(void **state)
{
    (void)state;
    vga.graphics[6] = 0x05; /* mode 12h */
    assert_false(vga_text_init());
    vga.graphics[6] = 0x0a; /* monochrome text, at 0xB0000 */
    assert_false(vga_text_init());
    vga.graphics[6] = 0x0e;
    vga.misc = 0x66;
    assert_false(vga_text_init());
    vga.misc = 0x67;
    vga.crtc[1] = 39;
    assert_false(vga_text_init());
    assert_int_equal(vga.crtc[10], 13);
    vga.there = false;
    assert_false(vga_text_init());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(text_mode, start),
        cmocka_unit_test_setup(other_modes_are_left_alone, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
