/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the machine is switched off: which ports are written, in which order, and that none is where nobody knows what
 * stands there. ACPI Specification 6.4, 4.8.3.2.1 "PM1 Control Registers", 16.1.7 "Transitioning from the Working to
 * the Soft Off State".
 *
 * links: drivers/host/power.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "drivers/host/pci.h"
#include "drivers/host/power.h"
#include "drivers/host/serial.h"

#define PM1A       0x404
#define PM1B       0x414
#define SMI        0xb2
#define DELAY      0x80
#define SCI_EN     0x0001u
#define SLP_EN     0x2000u
#define SLP_TYP(n) ((u32)(n) << 10)
#define ENABLE     0xf1

enum { OFF = 1, STANDS_STILL };

static jmp_buf end;
static u32 pm1a, pm1b;
static u32 sci_after; /* reads of PM1a after the SMI command, or 0: firmware does not answer */
static u32 asked, reads;
static u32 bridge, subsystem; /* of the PCI host bridge */
static u16 off_port;          /* SLP_EN here switches the machine off; 0: no port does */
static struct {
    u16 port;
    u32 bytes, value;
} writes[20];
static u32 write_count;
static bool said;

u32 fake_port_read(u16 port, u32 bytes)
{
    if (port == DELAY)
        return 0xff;
    assert_int_equal(bytes, 2);
    if (port == PM1A && asked && sci_after && ++reads == sci_after)
        pm1a |= SCI_EN;
    return port == PM1A ? pm1a : port == PM1B ? pm1b : 0xffff;
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    assert_in_range(write_count, 0, 19);
    writes[write_count].port = port;
    writes[write_count].bytes = bytes;
    writes[write_count++].value = value;
    asked += port == SMI;
    if (port == off_port && (value & SLP_EN))
        longjmp(end, OFF);
}

u32 pci_read(u16 function, u8 offset)
{
    assert_int_equal(function, 0);
    return offset == 0 ? bridge : offset == PCI_SUBSYSTEM ? subsystem : 0xffffffff;
}

bool serial_init(enum serial_port port)
{
    return port == SERIAL_COM1;
}

bool serial_send_polled(enum serial_port port, const u8 *bytes, size_t count)
{
    static const char begin[] = "rootlet: the machine cannot be switched off";

    assert_true(port == SERIAL_COM1 && count > sizeof begin);
    said = !memcmp(bytes, begin, sizeof begin - 1);
    longjmp(end, STANDS_STILL);
}

static int start(void **state)
{
    (void)state;
    pm1a = pm1b = SCI_EN;
    sci_after = asked = reads = write_count = 0;
    bridge = 0x29c08086;
    subsystem = 0x00011234;
    off_port = 0;
    said = false;
    return 0;
}

static int switch_off(struct acpi_info *acpi)
{
    power_set_acpi(acpi);
    int how = setjmp(end);
    if (!how)
        power_off();
    assert_int_equal(said, how == STANDS_STILL);
    return how;
}

static void assert_write(u32 index, u16 port, u32 bytes, u32 value)
{
    assert_in_range(index, 0, write_count - 1);
    assert_int_equal(writes[index].port, port);
    assert_int_equal(writes[index].bytes, bytes);
    assert_int_equal(writes[index].value, value);
}

/* SLP_TYP first, then SLP_EN with it; all other bits stay. */
static void test_acpi(void **state)
{
    struct acpi_info acpi = {
        .pm1a_control = PM1A, .s5 = {true, 5, 2}
    };

    (void)state;
    pm1a = 0x0203 | SLP_TYP(2) | SLP_EN | SCI_EN;
    off_port = PM1A;
    assert_int_equal(switch_off(&acpi), OFF);
    assert_int_equal(write_count, 2);
    assert_write(0, PM1A, 2, 0x0203 | SLP_TYP(5));
    assert_write(1, PM1A, 2, 0x0203 | SLP_TYP(5) | SLP_EN);
}

static void test_both_blocks(void **state)
{
    struct acpi_info acpi = {
        .pm1a_control = PM1A, .pm1b_control = PM1B, .s5 = {true, 5, 2}
    };

    (void)state;
    off_port = PM1B;
    assert_int_equal(switch_off(&acpi), OFF);
    assert_int_equal(write_count, 4);
    assert_write(3, PM1B, 2, SCI_EN | SLP_TYP(2) | SLP_EN);
}

/* 4.8.2.5 "Legacy/ACPI Select": who finds SCI_EN clear asks firmware, and waits until it is set. */
static void test_firmware_has_the_registers(void **state)
{
    struct acpi_info acpi = {
        .pm1a_control = PM1A, .smi_command_port = SMI, .acpi_enable_value = ENABLE, .s5 = {true, 0, 0}
    };

    (void)state;
    pm1a = 0;
    sci_after = 1000;
    off_port = PM1A;
    assert_int_equal(switch_off(&acpi), OFF);
    assert_int_equal(write_count, 3);
    assert_write(0, SMI, 1, ENABLE);
    assert_write(1, PM1A, 2, SCI_EN);
    write_count = 0; /* it is ours by now */
    assert_int_equal(switch_off(&acpi), OFF);
    assert_write(0, PM1A, 2, SCI_EN);
    write_count = pm1a = sci_after = 0; /* firmware never answers: that is no reason to stay on */
    assert_int_equal(switch_off(&acpi), OFF);
    assert_write(0, SMI, 1, ENABLE);
    assert_write(1, PM1A, 2, 0);
}

static void test_nothing_is_written_on_a_machine_that_nobody_knows(void **state)
{
    struct acpi_info no_acpi = {.pm1a_control = 0}, no_s5 = {.pm1a_control = PM1A};

    (void)state;
    assert_int_equal(switch_off(&no_acpi), STANDS_STILL);
    assert_int_equal(switch_off(&no_s5), STANDS_STILL);
    assert_int_equal(write_count, 0);
}

static void test_qemu_without_acpi(void **state)
{
    struct acpi_info acpi = {.pm1a_control = 0};

    (void)state;
    subsystem = 0x11001af4;
    off_port = 0x604;
    assert_int_equal(switch_off(&acpi), OFF);
    assert_int_equal(write_count, 1);
    assert_write(0, 0x604, 2, SLP_EN);
}

/* The register of its chip set, then the port that takes a word. */
static void test_bochs_where_acpi_did_nothing(void **state)
{
    struct acpi_info acpi = {
        .pm1a_control = PM1A, .s5 = {true, 5, 5}
    };

    (void)state;
    bridge = 0x12378086;
    assert_int_equal(switch_off(&acpi), STANDS_STILL);
    assert_int_equal(write_count, 2 + 1 + strlen("Shutdown"));
    assert_write(2, 0xb004, 2, SLP_EN);
    for (u32 i = 0; i < strlen("Shutdown"); i++)
        assert_write(3 + i, 0x8900, 1, (u32) "Shutdown"[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_acpi, start),
        cmocka_unit_test_setup(test_both_blocks, start),
        cmocka_unit_test_setup(test_firmware_has_the_registers, start),
        cmocka_unit_test_setup(test_nothing_is_written_on_a_machine_that_nobody_knows, start),
        cmocka_unit_test_setup(test_qemu_without_acpi, start),
        cmocka_unit_test_setup(test_bochs_where_acpi_did_nothing, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
