/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI bus with a host bridge and no other device. Only a whole dword at 0xCF8 is the address register; other accesses
 * there pass on to the ISA bus, where nothing answers but the reset control register. The bridge is there because
 * systems (Linux among them) take a bus without one for a broken configuration mechanism. Its registers are read-only.
 * Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/pci.h"

#define OFFSET_RESET     (POWER_PORT_RESET - PCI_PORT_ADDRESS)
#define OFFSET_DATA      (PCI_PORT_DATA - PCI_PORT_ADDRESS)
#define ADDRESS_WRITABLE 0x80fffffcu
#define ADDRESS_ENABLE   0x80000000u
#define ADDRESS_REGISTER 0x000000fcu
#define REGISTER_ID      0x00u
#define REGISTER_COMMAND 0x04u
#define REGISTER_CLASS   0x08u

/* The 82441FX as it comes out of reset: answers memory cycles, masters the bus; class 06, 00: host bridge. */
static u32 bridge_register(u32 number)
{
    switch (number) {
    case REGISTER_ID:
        return 0x12378086;
    case REGISTER_COMMAND:
        return 0x02800006;
    case REGISTER_CLASS:
        return 0x06000002;
    default:
        return 0;
    }
}

static u32 read_config(const struct pci *pci)
{
    bool bridge = (pci->address & ~ADDRESS_REGISTER) == ADDRESS_ENABLE; /* bus, device and function 0 */
    return bridge ? bridge_register(pci->address & ADDRESS_REGISTER) : ~0u;
}

static u64 read_pci(void *device, u64 offset, u8 bytes)
{
    const struct pci *pci = device;

    if (offset == 0 && bytes == 4)
        return pci->address;
    if (offset == OFFSET_RESET && bytes == 1)
        return power_read_reset_control(pci->power);
    if (offset >= OFFSET_DATA)
        return read_config(pci) >> 8 * (offset - OFFSET_DATA);
    return ~0ull;
}

static void write_pci(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pci *pci = device;

    if (offset == 0 && bytes == 4)
        pci->address = (u32)value & ADDRESS_WRITABLE;
    else if (offset == OFFSET_RESET && bytes == 1)
        power_write_reset_control(pci->power, (u8)value);
}

static const struct bus_ops pci_ops = {read_pci, write_pci};

enum status pci_init(struct pci *pci, struct bus *bus, struct power *power)
{
    pci->power = power;
    pci->address = 0;
    return bus_add_ports(bus, PCI_PORT_ADDRESS, 8, 4, &pci_ops, pci);
}

void pci_copy(struct pci *pci, const struct pci *from)
{
    struct pci own = *pci;

    *pci = *from;
    pci->power = own.power;
}
