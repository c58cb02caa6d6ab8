/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: reads and writes every I/O port with every width and wild values. Left out are only writes that end the VM
 * by design (power-off, reset) or print on its console. Afterwards an unused port still reads all ones, and the console
 * works. Ends with status 0. Interrupts stay off, whatever the devices are told.
 */
#include "guests/lib/guest.h"

#define PORTS 0x10000u

/* Writing here would end the VM or garble its output. */
static const u16 spared[] = {
    ROOTLET_PORT_UART,                                            /* prints */
    ROOTLET_PORT_KEYBOARD,                                        /* resets */
    ROOTLET_PORT_CONTROL_A,                                       /* resets */
    ROOTLET_PORT_RESET,                                           /* resets */
    ROOTLET_PORT_PM1A_CONTROL,   ROOTLET_PORT_PM1A_CONTROL + 1,   /* power off */
    ROOTLET_PORT_PM1A_CONTROL_2, ROOTLET_PORT_PM1A_CONTROL_2 + 1, /* power off */
    ROOTLET_PORT_SHUTDOWN,                                        /* powers off */
};

static bool is_spared(u32 port, u32 bytes)
{
    /* The one 32-bit access that is meant for PCI though it covers the reset port. */
    if (port == ROOTLET_PORT_PCI_ADDRESS && bytes == 4)
        return false;
    for (u32 i = 0; i < ARRAY_LENGTH(spared); i++) {
        if (spared[i] >= port && spared[i] < port + bytes)
            return true;
    }
    return false;
}

/* How many reads were answered by something. */
static u32 read_all(u32 bytes)
{
    u32 answered = 0;
    for (u32 port = 0; port < PORTS; port++) {
        if (bytes == 1)
            answered += cpu_in8((u16)port) != 0xff;
        else if (bytes == 2)
            answered += cpu_in16((u16)port) != 0xffff;
        else
            answered += cpu_in32((u16)port) != 0xffffffff;
    }
    return answered;
}

static void write_all(u32 bytes)
{
    for (u32 port = 0; port < PORTS; port++) {
        if (is_spared(port, bytes))
            continue;
        u32 value = guest_random();
        if (bytes == 1)
            cpu_out8((u16)port, (u8)value);
        else if (bytes == 2)
            cpu_out16((u16)port, (u16)value);
        else
            cpu_out32((u16)port, value);
    }
    console_init();
}

static void check_unused(void)
{
    static const u16 unused[] = {0x2f0, 0x620, 0x1234, 0x9000, 0xfff0};
    for (u32 i = 0; i < ARRAY_LENGTH(unused); i++) {
        cpu_out32(unused[i], 0);
        expect(cpu_in8(unused[i]) == 0xff && cpu_in16(unused[i]) == 0xffff && cpu_in32(unused[i]) == 0xffffffff,
               "a port that nothing answers does not read all ones");
    }
}

int guest_main(void)
{
    for (u32 bytes = 1; bytes <= 4; bytes *= 2) {
        print("ports reading and writing all with %u bits\n", bytes * 8);
        u32 answered = read_all(bytes);
        write_all(bytes);
        print("ports bits=%u answered=%u\n", bytes * 8, answered);
    }
    check_unused();
    print("ports ok\n");
    return 0;
}
