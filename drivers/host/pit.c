/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PIT channel 2 with the largest divisor, read by latching. The speaker's data line stays off, so nothing is heard.
 * Boot CPU only.
 */
#include "drivers/host/pit.h"
#include "arch/x86/cpu.h"

#define PIT_CHANNEL_2        0x42
#define PIT_COMMAND          0x43
#define PIT_GATE             0x61
#define GATE_CHANNEL_2       0x01
#define GATE_SPEAKER         0x02
#define COMMAND_LATCH_2      0x80
#define COMMAND_2_BOTH_MODE2 0xb4
#define PIT_HZ               1193182u
#define PIT_BITS             16u

/* The counter goes down; the complement goes up. */
static u64 read_counter(void)
{
    port_out8(PIT_COMMAND, COMMAND_LATCH_2);
    u32 low = port_in8(PIT_CHANNEL_2);
    u32 high = port_in8(PIT_CHANNEL_2);
    return 0xffff - (high << 8 | low);
}

void pit_reference_start(struct tsc_reference *out)
{
    port_out8(PIT_GATE, (u8)((port_in8(PIT_GATE) & ~GATE_SPEAKER) | GATE_CHANNEL_2));
    port_out8(PIT_COMMAND, COMMAND_2_BOTH_MODE2);
    port_out8(PIT_CHANNEL_2, 0);
    port_out8(PIT_CHANNEL_2, 0);
    *out = (struct tsc_reference){.name = "pit", .hz = PIT_HZ, .bits = PIT_BITS, .read = read_counter};
}

void pit_reference_stop(void)
{
    port_out8(PIT_GATE, (u8)(port_in8(PIT_GATE) & ~(GATE_SPEAKER | GATE_CHANNEL_2)));
}
