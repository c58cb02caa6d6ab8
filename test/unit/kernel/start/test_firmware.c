/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What firmware left running, on a PCI bus of arrays: each function that masters the bus is found behind whatever
 * bridges, and stopped but for bridges; IOMMUs are read and said; the console goes to the port that is named.
 * links: kernel/start/firmware.c drivers/host/pci.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "drivers/host/framebuffer.h"
#include "drivers/host/pci.h"
#include "drivers/host/serial.h"
#include "drivers/host/vga_text.h"
#include "kernel/console.h"
#include "kernel/start/firmware.h"
#include "kernel/log.h"

#define ENABLE      0x80000000u
#define FUNCTIONS   16u
#define AT(b, d, f) (u16)((b) << 8 | (d) << 3 | (f))

static struct function {
    u16 at;
    u32 registers[64];
    bool stubborn; /* its bus-master bit cannot be cleared */
} functions[FUNCTIONS];
static u32 function_count, config_address, reads;
static bool has_pci;
static char said[4096];
static struct acpi_info acpi;
static u32 iommu_registers[1024], serial_registers[8];
static u64 mapped;
static struct {
    bool com1, answers, settled, as_it_is, memory_wide;
    enum serial_port moved;
} console;
static struct {
    bool text_works, pixels_work;
    struct framebuffer framebuffer;
    u32 text_asked;
    screen_draw draw;
} screen;

static struct function *selected(void)
{
    for (u32 i = 0; i < function_count; i++)
        if ((config_address & ENABLE) && functions[i].at == (config_address >> 8 & 0xffff))
            return &functions[i];
    return NULL;
}

u32 fake_port_read(u16 port, u32 bytes)
{
    assert_int_equal(bytes, 4);
    if (!has_pci)
        return UINT32_MAX;
    if (port == 0xcf8)
        return config_address;
    assert_int_equal(port, 0xcfc);
    reads++;
    return selected() ? selected()->registers[(config_address & 0xff) / 4] : UINT32_MAX;
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    assert_int_equal(bytes, 4);
    if (port == 0xcf8) {
        assert_int_equal(value & 0x7f000003, 0); /* reserved */
        config_address = value;
        return;
    }
    assert_int_equal(port, 0xcfc);
    assert_non_null(selected());
    assert_int_equal(config_address & 0xfc, PCI_COMMAND); /* nothing else is written */
    assert_int_equal(value >> 16, 0);                     /* status bits would be cleared */
    selected()->registers[1] = selected()->stubborn ? value | PCI_COMMAND_MASTER : value;
}

static struct function *add(u16 at, u32 class_code, u32 command, u32 header)
{
    struct function *f = &functions[function_count++];

    assert_in_range(function_count, 1, FUNCTIONS);
    *f = (struct function){.at = at};
    f->registers[0] = 0x12348086;
    f->registers[1] = command;
    f->registers[2] = class_code << 8;
    f->registers[3] = header << 16;
    return f;
}

static void add_bridge(u16 at, u32 secondary, u32 header)
{
    add(at, 0x060400, 7, header)->registers[6] = 0xff0000 | secondary << 8 | at >> 8;
}

static void say(const char *format, va_list arguments)
{
    size_t used = strlen(said);
    vsnprintf(said + used, sizeof said - used, format, arguments);
    strcat(said, "\n");
}

#define LOG(name)                                                                                                      \
    void name(const char *format, ...)                                                                                 \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        say(format, arguments);                                                                                        \
        va_end(arguments);                                                                                             \
    }
LOG(log_info)
LOG(log_warn)
LOG(log_debug)

enum status paging_map_device(hpa_t base, u64 bytes, volatile void **out)
{
    mapped = base.raw;
    if (base.raw == 0xbad000)
        return STATUS_NO_MEMORY;
    *out = bytes == 4096 ? (volatile void *)iommu_registers : serial_registers;
    return STATUS_OK;
}

void serial_set_memory(volatile void *registers, bool wide)
{
    assert_ptr_equal(registers, serial_registers);
    console.memory_wide = wide;
}

bool console_is_there(void)
{
    return console.com1;
}

bool console_move(enum serial_port port, bool as_it_is)
{
    console.as_it_is = as_it_is;
    console.moved = console.answers ? port : SERIAL_NONE;
    return console.answers && port != SERIAL_NONE;
}

void console_settle(void)
{
    console.settled = true;
}

bool vga_text_init(void)
{
    screen.text_asked++;
    return screen.text_works;
}

void vga_text_draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    (void)row;
    (void)column;
    (void)cells;
    (void)count;
}

bool framebuffer_init(const struct framebuffer *framebuffer)
{
    screen.framebuffer = *framebuffer;
    return screen.pixels_work;
}

void framebuffer_draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    vga_text_draw(row, column, cells, count);
}

void console_add_screen(screen_draw draw)
{
    screen.draw = draw;
}

static int reset(void **state)
{
    (void)state;
    function_count = reads = config_address = 0;
    has_pci = true;
    said[0] = 0;
    acpi = (struct acpi_info){0};
    memset(&console, 0, sizeof console);
    memset(&screen, 0, sizeof screen);
    memset(iommu_registers, 0, sizeof iommu_registers);
    add(AT(0, 0, 0), 0x060000, 6, 0); /* the host bridge */
    return 0;
}

static bool masters_bus(u32 index)
{
    return functions[index].registers[1] & PCI_COMMAND_MASTER;
}

static void masters_stop_and_bridges_do_not(void **state)
{
    (void)state;
    add(AT(0, 1, 0), 0x060100, 7, 0x80); /* ISA bridge, one of several functions */
    add(AT(0, 1, 1), 0x010180, 5, 0);
    add(AT(0, 1, 7), 0x0c0330, 0xffff, 0);
    add_bridge(AT(0, 31, 0), 5, 1);
    add(AT(5, 3, 0), 0x020000, 7, 0);
    add(AT(5, 4, 0), 0x030000, 3, 0);
    functions[2].registers[1] |= 0x02900000; /* status, which must not be written back */
    firmware_stop_bus_masters(&acpi, false);
    assert_true(masters_bus(0) && masters_bus(1) && masters_bus(4));
    assert_int_equal(functions[2].registers[1], 1);
    assert_int_equal(functions[3].registers[1], 0xfffb);
    assert_int_equal(functions[5].registers[1], 3);
    assert_int_equal(functions[6].registers[1], 3);
    assert_non_null(strstr(said, "pci functions=7 bus-masters=3 stopped=3\n"));
    assert_non_null(strstr(said, "pci 05:03.0 class=0x020000 masters the bus\n"));
}

static void functions_of_a_device_that_has_one_are_not_asked_for(void **state)
{
    (void)state;
    add(AT(0, 2, 0), 0x020000, 4, 0);
    add(AT(0, 2, 1), 0x020000, 4, 0); /* a ghost, as devices that decode no function number show */
    firmware_stop_bus_masters(&acpi, false);
    assert_false(masters_bus(1));
    assert_true(masters_bus(2));
}

static void bridges_that_lead_back_end(void **state)
{
    (void)state;
    add_bridge(AT(0, 1, 0), 7, 1);
    add_bridge(AT(7, 0, 0), 2, 1); /* downwards, through a CardBus bridge */
    add_bridge(AT(2, 0, 0), 9, 2);
    add_bridge(AT(2, 1, 0), 7, 1);
    add_bridge(AT(9, 0, 0), 0, 1);
    add(AT(9, 2, 0), 0x020000, 4, 0);
    firmware_stop_bus_masters(&acpi, false);
    assert_false(masters_bus(6));
    assert_non_null(strstr(said, "pci functions=7 "));
}

static void other_roots_are_looked_for_where_the_tables_have_them(void **state)
{
    (void)state;
    add(AT(0x80, 5, 0), 0x010802, 6, 0);
    firmware_stop_bus_masters(&acpi, false);
    assert_true(masters_bus(1));
    assert_in_range(reads, 32, 40); /* bus 0 alone */
    acpi.other_pci_roots = true;
    firmware_stop_bus_masters(&acpi, false);
    assert_false(masters_bus(1));
}

static void what_cannot_be_stopped_is_said(void **state)
{
    (void)state;
    add(AT(0, 3, 0), 0x030000, 7, 0)->stubborn = true;
    acpi.last_pci_segment = 2;
    firmware_stop_bus_masters(&acpi, false);
    assert_non_null(strstr(said, "pci 00:03.0 stays a bus master"));
    assert_non_null(strstr(said, "bus-masters=1 stopped=0\n"));
    assert_non_null(strstr(said, "segments 1 to 2 are out of"));
}

static void dma_keep_changes_nothing(void **state)
{
    (void)state;
    add(AT(0, 3, 0), 0x030000, 7, 0);
    firmware_stop_bus_masters(&acpi, true);
    assert_true(masters_bus(1));
    assert_non_null(strstr(said, "bus-masters=1 stopped=0\n"));
    assert_non_null(strstr(said, "dma=keep: 1 bus masters"));
}

static void no_pci(void **state)
{
    (void)state;
    has_pci = false;
    firmware_stop_bus_masters(&acpi, false);
    assert_string_equal(said, "pci none\n");
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_ANY), 0);
}

static void iommu(u32 status, bool passes, const char *words)
{
    said[0] = 0;
    acpi.iommu_count = 1;
    acpi.iommus[0] = (struct acpi_iommu){.address = 0xfed90000, .segment = 3};
    iommu_registers[0x1c / 4] = status;
    assert_int_equal(firmware_report_iommus(&acpi), passes);
    assert_int_equal(mapped, 0xfed90000);
    assert_non_null(strstr(said, words));
}

static void iommus_are_said(void **state)
{
    (void)state;
    iommu(0, true, "iommu at=0xfed90000 segment=3 dma-remapping=off interrupt-remapping=off\n");
    iommu(0x80000000, true, "dma-remapping=on interrupt-remapping=off\n");
    iommu(0x02800000, true, "dma-remapping=off interrupt-remapping=on\n"); /* compatibility format passes */
    iommu(0x82000000, false, "dma-remapping=on interrupt-remapping=on\n");
    assert_non_null(strstr(said, "blocks the I/O APICs' interrupts"));
    iommu(0x04000000, true, "dma-remapping=off interrupt-remapping=off\n"); /* queued invalidation only */
    acpi.iommus[0].address = 0xbad000;
    assert_true(firmware_report_iommus(&acpi));
    assert_non_null(strstr(said, "cannot be reached"));
}

static void com1_stays_unless_another_is_wanted(void **state)
{
    (void)state;
    console.com1 = console.answers = true;
    acpi.spcr = (struct acpi_serial){.is_named = true, .usable = true, .is_port = true, .address = 0x2e8, .isa_irq = 3};
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_ANY), 4);
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_COM1), 4);
    assert_int_equal(console.moved, SERIAL_NONE);
    assert_true(console.settled);
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_SPCR), 3);
    assert_int_equal(console.moved, 0x2e8);
    assert_true(console.as_it_is);
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_PCI), 4); /* there is none */
    assert_non_null(strstr(said, "console=pci: there is no such"));
}

static void the_spcr_port_in_memory(void **state)
{
    (void)state;
    console.answers = true;
    acpi.spcr = (struct acpi_serial){.is_named = true, .usable = true, .wide = true, .address = 0xfe030000};
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_ANY), 0);
    assert_int_equal(console.moved, SERIAL_MEMORY);
    assert_true(console.memory_wide);
    assert_int_equal(mapped, 0xfe030000);
    acpi.spcr.usable = false;
    console.moved = SERIAL_NONE;
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_ANY), 0);
    assert_int_equal(console.moved, SERIAL_NONE);
    assert_non_null(strstr(said, "0xfe030000 is no 16550"));
}

static void a_pci_card_at_ports_and_in_memory(void **state)
{
    (void)state;
    console.answers = true;
    add(AT(0, 4, 0), 0x070002, 0, 0)->registers[4] = 0xc001;
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_ANY), 0);
    assert_int_equal(console.moved, 0xc000);
    assert_false(console.as_it_is);
    assert_int_equal(functions[1].registers[1], PCI_COMMAND_PORTS);
    functions[1].registers[4] = 0xd0000004; /* 64-bit */
    functions[1].registers[5] = 9;
    assert_int_equal(firmware_choose_console(&acpi, CONSOLE_ANY), 0);
    assert_int_equal(mapped, 0x9d0000000);
    assert_int_equal(console.moved, SERIAL_MEMORY);
    assert_int_equal(functions[1].registers[1], PCI_COMMAND_PORTS | PCI_COMMAND_MEMORY);
}

static screen_draw chosen(struct boot_screen left, bool efi)
{
    static struct boot_info boot;

    boot.screen = left;
    boot.regions_from_efi = efi;
    screen.draw = NULL;
    screen.text_asked = 0;
    firmware_choose_screen(&boot);
    return screen.draw;
}

static void text_screens(void **state)
{
    const struct boot_screen text = {.kind = BOOT_SCREEN_TEXT, .address = 0xb8000, .width = 80, .height = 25};
    struct boot_screen wide = text;

    (void)state;
    wide.width = 132;
    screen.text_works = true;
    assert_ptr_equal(chosen(text, false), vga_text_draw);
    assert_non_null(strstr(said, "screen kind=text columns=80 rows=25\n"));
    assert_ptr_equal(chosen((struct boot_screen){0}, false), vga_text_draw); /* the loader says nothing */
    assert_null(chosen((struct boot_screen){0}, true));
    assert_null(chosen(wide, false));
    assert_null(chosen((struct boot_screen){.kind = BOOT_SCREEN_PALETTE}, false));
    assert_int_equal(screen.text_asked, 0);
    screen.text_works = false;
    assert_null(chosen(text, false));
}

static void framebuffers(void **state)
{
    struct boot_screen left = {
        .kind = BOOT_SCREEN_RGB,
        .address = 0x4000000000,
        .row_bytes = 8192,
        .width = 1920,
        .height = 1080,
        .pixel_bits = 32,
        .shift = {16, 8, 0},
        .bits = {8,  8, 8}
    };

    (void)state;
    assert_null(chosen(left, true));
    assert_non_null(strstr(said, "screen kind=framebuffer at=0x4000000000 width=1920 height=1080 bits=32 used=no\n"));
    screen.pixels_work = true;
    assert_ptr_equal(chosen(left, true), framebuffer_draw);
    assert_ptr_equal(chosen(left, false), framebuffer_draw);
    assert_int_equal(screen.framebuffer.address.raw, 0x4000000000);
    assert_int_equal(screen.framebuffer.row_bytes, 8192);
    assert_int_equal(screen.framebuffer.width, 1920);
    assert_int_equal(screen.framebuffer.height, 1080);
    assert_memory_equal(screen.framebuffer.shift, left.shift, 3);
    assert_memory_equal(screen.framebuffer.bits, left.bits, 3);
    left.kind = BOOT_SCREEN_PALETTE;
    assert_null(chosen(left, true));
    assert_int_equal(screen.text_asked, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        T(masters_stop_and_bridges_do_not),
        T(functions_of_a_device_that_has_one_are_not_asked_for),
        T(bridges_that_lead_back_end),
        T(other_roots_are_looked_for_where_the_tables_have_them),
        T(what_cannot_be_stopped_is_said),
        T(dma_keep_changes_nothing),
        T(no_pci),
        T(iommus_are_said),
        T(com1_stays_unless_another_is_wanted),
        T(the_spcr_port_in_memory),
        T(a_pci_card_at_ports_and_in_memory),
        T(text_screens),
        T(framebuffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
