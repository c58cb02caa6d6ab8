/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's CMOS clock, read once at boot. Motorola MC146818A, "Time, Calendar, and Alarm Locations".
 */
#ifndef ROOTLET_DRIVERS_HOST_RTC_H
#define ROOTLET_DRIVERS_HOST_RTC_H

#include "kernel/lib/types.h"

struct rtc_registers {
    u8 second, minute, hour, day, month, year, century, status_b;
};

/* Seconds since 1970-01-01, taking the clock as UTC; 0 if the clock does not answer or holds nonsense. Waits at most 10
 * ms. */
u64 rtc_read_seconds(u64 tsc_hz);
/* Pure part: BCD or binary, 12 or 24 hours, with or without a century byte. 0 for an impossible date. */
u64 rtc_seconds_from(const struct rtc_registers *registers);

#endif
