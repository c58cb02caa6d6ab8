/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The last code that runs. One CPU, interrupts off, the others stopped. Each way of switching off is tried in turn; an
 * emulator's ports come last, when the ACPI way does not exist or did nothing, and only on that emulator: elsewhere
 * anything may stand there.
 * ACPI Specification 6.4, 7.4.2.6 "System \_S5 State", 16.1.7 "Transitioning from the Working to the Soft Off State".
 */
#include "drivers/host/power.h"
#include "arch/x86/cpu.h"
#include "drivers/host/pci.h"
#include "drivers/host/serial.h"

#define PM1_SCI_ENABLE       0x0001u
#define PM1_SLEEP_TYPE_SHIFT 10u
#define PM1_SLEEP_TYPE_MASK  (7u << PM1_SLEEP_TYPE_SHIFT)
#define PM1_SLEEP_ENABLE     0x2000u
#define SCI_WAIT_READS       300000u
#define OFF_WAIT_READS       1000000u
#define RESET_WAIT_READS     50000u
#define PORT_DELAY           0x80 /* a read takes about 1 us on hardware */
#define QEMU_PM1A_CONTROL    0x604
#define BOCHS_PM1A_CONTROL   0xb004
#define BOCHS_SHUTDOWN_PORT  0x8900
/* The chip set's reset control register: 0xCF9 of every PC with PCI; and the keyboard controller's way, older still. */
#define RESET_CONTROL_PORT    0xcf9
#define RESET_CONTROL_HARD    0x02
#define RESET_CONTROL_CPU     0x04
#define KEYBOARD_COMMAND_PORT 0x64
#define KEYBOARD_PULSE_RESET  0xfe

#define QEMU_SUBSYSTEM    0x11001af4u
#define BOCHS_HOST_BRIDGE 0x12378086u

enum emulator { EMULATOR_NONE, EMULATOR_QEMU, EMULATOR_BOCHS };

static u16 pm1a_control, pm1b_control, smi_command_port;
static u8 acpi_enable_value;
static struct acpi_sleep s5;
static struct acpi_reset reset;

void power_set_acpi(const struct acpi_info *acpi)
{
    pm1a_control = acpi->pm1a_control;
    pm1b_control = acpi->pm1b_control;
    smi_command_port = acpi->smi_command_port;
    acpi_enable_value = acpi->acpi_enable_value;
    s5 = acpi->s5;
    reset = acpi->reset;
}

static void write_sleep(u16 port, u8 type)
{
    u32 value = (port_in16(port) & ~(PM1_SLEEP_TYPE_MASK | PM1_SLEEP_ENABLE)) | (u32)type << PM1_SLEEP_TYPE_SHIFT;

    port_out16(port, (u16)value);
    port_out16(port, (u16)(value | PM1_SLEEP_ENABLE));
}

/* While firmware owns the PM registers (SCI_EN clear) it may trap our write: ask for them, 4.8.2.5 "Legacy/ACPI
 * Select". */
static void take_over_from_firmware(void)
{
    if (!smi_command_port || !acpi_enable_value || (port_in16(pm1a_control) & PM1_SCI_ENABLE))
        return;
    port_out8(smi_command_port, acpi_enable_value);
    for (u32 i = 0; i < SCI_WAIT_READS && !(port_in16(pm1a_control) & PM1_SCI_ENABLE); i++)
        cpu_pause();
}

static void power_off_by_acpi(void)
{
    if (!pm1a_control || !s5.usable)
        return;
    take_over_from_firmware();
    write_sleep(pm1a_control, s5.type_a);
    if (pm1b_control)
        write_sleep(pm1b_control, s5.type_b);
    for (u32 i = 0; i < OFF_WAIT_READS; i++)
        (void)port_in8(PORT_DELAY);
}

/*
 * By the host bridge, function 0 of bus 0. QEMU's has its own subsystem id, whichever chip it is; Bochs's is a bare
 * 440FX, a chip that is older than all CPUs with VMX. boot/entry.asm does the same.
 */
static enum emulator recognise(void)
{
    if (pci_read(0, PCI_SUBSYSTEM) == QEMU_SUBSYSTEM)
        return EMULATOR_QEMU;
    return pci_read(0, 0) == BOCHS_HOST_BRIDGE ? EMULATOR_BOCHS : EMULATOR_NONE;
}

static void power_off_by_emulator_ports(void)
{
    static const char command[] = "Shutdown";

    switch (recognise()) {
    case EMULATOR_QEMU:
        port_out16(QEMU_PM1A_CONTROL, PM1_SLEEP_ENABLE);
        break;
    case EMULATOR_BOCHS:
        port_out16(BOCHS_PM1A_CONTROL, PM1_SLEEP_ENABLE);
        for (const char *c = command; *c; c++)
            port_out8(BOCHS_SHUTDOWN_PORT, (u8)*c);
        break;
    case EMULATOR_NONE:
        break;
    }
}

NORETURN void power_off(void)
{
    static const char still_here[] = "rootlet: the machine cannot be switched off; it stands still\n";

    cpu_interrupts_disable();
    power_off_by_acpi();
    power_off_by_emulator_ports();
    if (serial_init(SERIAL_COM1))
        (void)!serial_send_polled(SERIAL_COM1, (const u8 *)still_here, sizeof still_here - 1);
    for (;;)
        asm volatile("cli; hlt");
}

/* A register in memory is left alone: it may lie where nothing is mapped, and the two others are on every PC. */
NORETURN void power_restart(void)
{
    cpu_interrupts_disable();
    if (reset.usable && reset.is_port)
        port_out8((u16)reset.address, reset.value);
    for (u32 i = 0; i < RESET_WAIT_READS; i++)
        (void)port_in8(PORT_DELAY);
    port_out8(RESET_CONTROL_PORT, RESET_CONTROL_HARD);
    port_out8(RESET_CONTROL_PORT, RESET_CONTROL_HARD | RESET_CONTROL_CPU);
    for (u32 i = 0; i < RESET_WAIT_READS; i++)
        (void)port_in8(PORT_DELAY);
    port_out8(KEYBOARD_COMMAND_PORT, KEYBOARD_PULSE_RESET);
    for (;;)
        asm volatile("cli; hlt");
}
