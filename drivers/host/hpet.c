/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET's main counter, read as 32 bits: a narrower counter is allowed, and 32 bits last for 43 s at 100 MHz.
 * Boot CPU only.
 */
#include "drivers/host/hpet.h"
#include "arch/x86/paging.h"
#include "kernel/lib/bits.h"

#define HPET_BYTES            0x400u
#define HPET_PERIOD           1u /* words of 4 bytes: period in femtoseconds */
#define HPET_CONFIGURATION    4u
#define HPET_COUNTER          60u
#define CONFIGURATION_ENABLE  ((u32)BIT(0))
#define CONFIGURATION_LEGACY  ((u32)BIT(1))
#define HPET_PERIOD_MAX       100000000u
#define FEMTOSECONDS_A_SECOND 1000000000000000ull

static volatile u32 *registers;

static u64 read_counter(void)
{
    return registers[HPET_COUNTER];
}

bool hpet_reference(u64 address, struct tsc_reference *out)
{
    volatile void *window = NULL;
    u32 period;

    if (!address || !bits_is_aligned(address, 8) || paging_map_device(hpa(address), HPET_BYTES, &window) != STATUS_OK)
        return false;
    registers = window;
    period = registers[HPET_PERIOD];
    if (!period || period > HPET_PERIOD_MAX)
        return false;
    /* Legacy replacement would put its interrupts where the PIT's and RTC's are. */
    registers[HPET_CONFIGURATION] = (registers[HPET_CONFIGURATION] | CONFIGURATION_ENABLE) & ~CONFIGURATION_LEGACY;
    *out =
        (struct tsc_reference){.name = "hpet", .hz = FEMTOSECONDS_A_SECOND / period, .bits = 32, .read = read_counter};
    return true;
}
