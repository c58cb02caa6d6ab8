/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ways to switch a PC off or to reset it: port 0x92, the reset control register 0xCF9 (which the PCI device forwards),
 * the ACPI PM1a control register and the "Shutdown" port that Bochs and QEMU have. All end in one request to the host.
 * ACPI Specification 4.8.3.2.1 "PM1 Control Registers"; 82371SB (PIIX3) "Reset Control Register", "Port 92 Register".
 */
#ifndef ROOTLET_DRIVERS_VIRT_POWER_H
#define ROOTLET_DRIVERS_VIRT_POWER_H

#include "kernel/vm/bus.h"

#define POWER_PORT_92         0x92u   /* bit 0: reset when it rises; bit 1: A20, kept but without effect */
#define POWER_PORT_RESET      0xcf9u  /* bit 2: reset */
#define POWER_PORT_PM1A       0x604u  /* 16 bits; bit 13 (SLP_EN): power off, whatever SLP_TYP says */
#define POWER_PORT_PM1A_BOCHS 0xb004u /* the same register at Bochs's address */
#define POWER_PORT_SHUTDOWN   0x8900u /* the bytes of "Shutdown", one after the other: power off */
#define POWER_PM1_SLP_EN      0x2000u
#define POWER_PM1_SCI_EN      0x0001u

enum pc_request { PC_REQUEST_POWEROFF, PC_REQUEST_RESET };

struct power {
    void (*request)(void *context, enum pc_request request);
    void *context;
    u16 pm1_control;
    u8 port92;
    u8 reset_control;
    u8 shutdown_matched; /* bytes of "Shutdown" seen so far */
};

/* Registers all ports but 0xCF9. Status: as of bus_add_ports. */
enum status power_init(struct power *power, struct bus *bus, void (*request)(void *context, enum pc_request request),
                       void *context) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void power_copy(struct power *power, const struct power *from);
/* Passes a reset on that another device decoded. */
void power_reset(struct power *power);
/* The byte register at POWER_PORT_RESET. */
u8 power_read_reset_control(const struct power *power);
void power_write_reset_control(struct power *power, u8 value);

#endif
