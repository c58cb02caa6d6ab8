/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI configuration mechanism 1: ports 0xCF8-0xCFF. On the bus is a host bridge at 00:00.0, with the registers of an
 * Intel 82441FX, and nothing else: other data reads all ones. Byte accesses to 0xCF9 are the reset control register's,
 * as in PC chipsets. PCI Local Bus Specification 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions",
 * 6.2 "PCI Configuration Space Functions".
 */
#ifndef ROOTLET_DRIVERS_VIRT_PCI_H
#define ROOTLET_DRIVERS_VIRT_PCI_H

#include "drivers/virt/power.h"

#define PCI_PORT_ADDRESS 0xcf8u
#define PCI_PORT_DATA    0xcfcu

struct pci {
    struct power *power;
    u32 address;
};

/* Registers the ports. `power` takes resets and must outlive the device. Status: as of bus_add_ports. */
enum status pci_init(struct pci *pci, struct bus *bus, struct power *power) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void pci_copy(struct pci *pci, const struct pci *from);

#endif
