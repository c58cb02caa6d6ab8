/*
 * An empty PCI bus. Only a whole dword at 0xCF8 is the address register; other accesses there pass on to the ISA bus,
 * where nothing answers but the reset control register. Runs in VMX root operation under the VM's device lock; also on
 * the host in tests.
 */
#include "drivers/virt/pci.h"

#define OFFSET_RESET     (POWER_PORT_RESET - PCI_PORT_ADDRESS)
#define ADDRESS_WRITABLE 0x80fffffcu

static u64 read_pci(void *device, u64 offset, u8 bytes)
{
    const struct pci *pci = device;

    if (offset == 0 && bytes == 4)
        return pci->address;
    if (offset == OFFSET_RESET && bytes == 1)
        return power_read_reset_control(pci->power);
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
