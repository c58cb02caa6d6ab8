/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bus is walked once, whatever bridges say of it; buses wait in a bit map. PCI Local Bus Specification 3.0, 6.2.1
 * "Device Identification"; PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5.4 "Secondary Bus Number Register".
 */
#include "drivers/host/pci.h"
#include "arch/x86/cpu.h"

#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA    0xcfcu
#define CONFIG_ENABLE  BIT(31)
#define BUSES          256u

#define HEADER_TYPE      0x0cu /* in the third byte */
#define HEADER_MULTI     0x80u
#define HEADER_BRIDGE    1u
#define HEADER_CARDBUS   2u
#define BUS_NUMBERS      0x18u /* primary, secondary, subordinate; a CardBus bridge has them there, too */
#define NO_DEVICE_VENDOR 0xffffu

struct walk {
    u64 waiting[BUSES / 64];
    u64 done[BUSES / 64];
    void (*visit)(void *context, u16 function, u32 class_register);
    void *context;
};

u32 pci_read(u16 function, u8 offset)
{
    port_out32(CONFIG_ADDRESS, (u32)CONFIG_ENABLE | (u32)function << 8 | (offset & 0xfcu));
    return port_in32(CONFIG_DATA);
}

void pci_write(u16 function, u8 offset, u32 value)
{
    port_out32(CONFIG_ADDRESS, (u32)CONFIG_ENABLE | (u32)function << 8 | (offset & 0xfcu));
    port_out32(CONFIG_DATA, value);
}

static void expect_bus(struct walk *walk, u32 bus)
{
    walk->waiting[bus / 64] |= BIT(bus % 64) & ~walk->done[bus / 64];
}

/* The function's header type; 0 and nothing visited if there is none. */
static u32 look_at(struct walk *walk, u16 function)
{
    if ((pci_read(function, 0) & 0xffff) == NO_DEVICE_VENDOR)
        return 0;
    u32 header = pci_read(function, HEADER_TYPE) >> 16 & 0xff;
    u32 layout = header & ~HEADER_MULTI;

    walk->visit(walk->context, function, pci_read(function, PCI_CLASS));
    if (layout == HEADER_BRIDGE || layout == HEADER_CARDBUS)
        expect_bus(walk, pci_read(function, BUS_NUMBERS) >> 8 & 0xff);
    return header;
}

static void walk_bus(struct walk *walk, u32 bus)
{
    for (u32 device = 0; device < 32; device++) {
        u32 first = bus << 8 | device << 3;
        u32 functions = look_at(walk, (u16)first) & HEADER_MULTI ? 8 : 1;
        for (u32 i = 1; i < functions; i++)
            (void)look_at(walk, (u16)(first + i));
    }
}

/* The lowest bus that waits, which is then done; BUSES if none does. */
static u32 next_bus(struct walk *walk)
{
    for (u32 bus = 0; bus < BUSES; bus++) {
        if (walk->waiting[bus / 64] & BIT(bus % 64)) {
            walk->waiting[bus / 64] &= ~BIT(bus % 64);
            walk->done[bus / 64] |= BIT(bus % 64);
            return bus;
        }
    }
    return BUSES;
}

bool pci_walk(bool all_buses, void (*visit)(void *context, u16 function, u32 class_register), void *context)
{
    struct walk walk = {.visit = visit, .context = context};

    port_out32(CONFIG_ADDRESS, (u32)CONFIG_ENABLE);
    if (port_in32(CONFIG_ADDRESS) != CONFIG_ENABLE)
        return false;
    for (u32 bus = 0; bus < (all_buses ? BUSES : 1); bus++)
        expect_bus(&walk, bus);
    for (u32 bus = next_bus(&walk); bus < BUSES; bus = next_bus(&walk))
        walk_bus(&walk, bus);
    return true;
}
