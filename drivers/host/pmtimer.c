/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the PM timer is one port read; there is nothing to set up and nothing to stop.
 */
#include "drivers/host/pmtimer.h"
#include "arch/x86/cpu.h"

#define PM_TIMER_HZ 3579545u

static u16 timer_port;

static u64 read_counter(void)
{
    return port_in32(timer_port);
}

void pmtimer_reference(u16 port, u32 bits, struct tsc_reference *out)
{
    timer_port = port;
    *out = (struct tsc_reference){.name = "pm-timer", .hz = PM_TIMER_HZ, .bits = bits, .read = read_counter};
}
