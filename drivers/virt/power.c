/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power-off and reset ports. Each is a plain register whose one write asks the host; nothing else happens here.
 * Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/power.h"
#include "kernel/lib/string.h"

#define PORT92_RESET   0x01u
#define PORT92_A20     0x02u
#define RESET_CPU      0x04u
#define RESET_WRITABLE 0x0eu

static const char shutdown_word[] = "Shutdown";

void power_reset(struct power *power)
{
    power->request(power->context, PC_REQUEST_RESET);
}

u8 power_read_reset_control(const struct power *power)
{
    return power->reset_control;
}

void power_write_reset_control(struct power *power, u8 value)
{
    power->reset_control = value & (RESET_WRITABLE & ~RESET_CPU);
    if (value & RESET_CPU)
        power_reset(power);
}

static u64 read_port92(void *device, u64 offset, u8 bytes)
{
    const struct power *power = device;
    (void)offset;
    (void)bytes;
    return power->port92;
}

static void write_port92(void *device, u64 offset, u8 bytes, u64 value)
{
    struct power *power = device;
    bool rises = value & ~(u64)power->port92 & PORT92_RESET;

    (void)offset;
    (void)bytes;
    power->port92 = (u8)value;
    if (rises)
        power_reset(power);
}

/* SLP_EN is write-only; SCI_EN says that ACPI mode is on. */
static u64 read_pm1(void *device, u64 offset, u8 bytes)
{
    const struct power *power = device;
    (void)bytes;
    return (u64)(power->pm1_control | POWER_PM1_SCI_EN) >> (8 * offset);
}

static void write_pm1(void *device, u64 offset, u8 bytes, u64 value)
{
    struct power *power = device;
    u16 mask = bytes == 2 ? 0xffff : (u16)(0xff << (8 * offset));
    u16 shifted = (u16)(value << (8 * offset));

    power->pm1_control = (u16)((power->pm1_control & ~mask) | (shifted & mask & ~POWER_PM1_SLP_EN));
    if (shifted & POWER_PM1_SLP_EN)
        power->request(power->context, PC_REQUEST_POWEROFF);
}

static u64 read_shutdown(void *device, u64 offset, u8 bytes)
{
    (void)device;
    (void)offset;
    (void)bytes;
    return 0;
}

static void write_shutdown(void *device, u64 offset, u8 bytes, u64 value)
{
    struct power *power = device;
    u8 character = (u8)value;

    (void)offset;
    (void)bytes;
    if (character == (u8)shutdown_word[power->shutdown_matched])
        power->shutdown_matched++;
    else
        power->shutdown_matched = character == (u8)shutdown_word[0];
    if (shutdown_word[power->shutdown_matched])
        return;
    power->shutdown_matched = 0;
    power->request(power->context, PC_REQUEST_POWEROFF);
}

static const struct bus_ops port92_ops = {read_port92, write_port92};
static const struct bus_ops pm1_ops = {read_pm1, write_pm1};
static const struct bus_ops shutdown_ops = {read_shutdown, write_shutdown};

enum status power_init(struct power *power, struct bus *bus, void (*request)(void *context, enum pc_request request),
                       void *context)
{
    memset(power, 0, sizeof *power);
    power->request = request;
    power->context = context;
    power->port92 = PORT92_A20;

    enum status status = bus_add_ports(bus, POWER_PORT_92, 1, 1, &port92_ops, power);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, POWER_PORT_PM1A, 2, 2, &pm1_ops, power);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, POWER_PORT_PM1A_BOCHS, 2, 2, &pm1_ops, power);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, POWER_PORT_SHUTDOWN, 1, 1, &shutdown_ops, power);
    return status;
}

void power_copy(struct power *power, const struct power *from)
{
    struct power own = *power;

    *power = *from;
    power->request = own.request;
    power->context = own.context;
}
