/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CMOS clock, read once. Two equal readings with no update in progress make one good one.
 */
#include "drivers/host/rtc.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/string.h"

#define RTC_INDEX             0x70
#define RTC_DATA              0x71
#define RTC_NMI_OFF           0x80 /* bit 7 of the index port: leave NMIs on by never setting it */
#define RTC_STATUS_A          0x0a
#define RTC_STATUS_B          0x0b
#define RTC_CENTURY           0x32 /* where PC firmware keeps it, by custom */
#define STATUS_A_UPDATING     0x80
#define STATUS_B_24_HOURS     0x02
#define STATUS_B_BINARY       0x04
#define HOUR_PM               0x80
#define READ_ATTEMPTS         4u
#define UPDATE_WAITS_A_SECOND 100u
#define SECONDS_A_DAY         86400u

static u8 read_register(u8 index)
{
    port_out8(RTC_INDEX, index & (u8)~RTC_NMI_OFF);
    return port_in8(RTC_DATA);
}

static struct rtc_registers read_all(void)
{
    return (struct rtc_registers){
        .second = read_register(0),
        .minute = read_register(2),
        .hour = read_register(4),
        .day = read_register(7),
        .month = read_register(8),
        .year = read_register(9),
        .century = read_register(RTC_CENTURY),
        .status_b = read_register(RTC_STATUS_B),
    };
}

static bool wait_for_update_end(u64 tsc_hz)
{
    u64 start = cpu_tsc();

    while (read_register(RTC_STATUS_A) & STATUS_A_UPDATING)
        if (cpu_tsc() - start > tsc_hz / UPDATE_WAITS_A_SECOND)
            return false;
    return true;
}

u64 rtc_read_seconds(u64 tsc_hz)
{
    for (u32 i = 0; i < READ_ATTEMPTS; i++) {
        struct rtc_registers first, second;
        if (!wait_for_update_end(tsc_hz))
            return 0;
        first = read_all();
        second = read_all();
        if (!memcmp(&first, &second, sizeof first))
            return rtc_seconds_from(&first);
    }
    return 0;
}

static u32 from_bcd(u8 value)
{
    return (u32)(value >> 4) * 10 + (value & 0xf);
}

static u32 decode(const struct rtc_registers *r, u8 value)
{
    return r->status_b & STATUS_B_BINARY ? value : from_bcd(value);
}

static u32 decode_hour(const struct rtc_registers *r)
{
    u32 hour;

    if (r->status_b & STATUS_B_24_HOURS)
        return decode(r, r->hour);
    hour = decode(r, r->hour & (u8)~HOUR_PM);
    if (hour < 1 || hour > 12)
        return 24; /* refused by the caller */
    return hour % 12 + (r->hour & HOUR_PM ? 12 : 0);
}

static bool is_leap(u32 year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

u64 rtc_seconds_from(const struct rtc_registers *r)
{
    static const u8 month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    u32 second = decode(r, r->second), minute = decode(r, r->minute), hour = decode_hour(r);
    u32 day = decode(r, r->day), month = decode(r, r->month), year = decode(r, r->year);
    u32 century = from_bcd(r->century);
    u64 days = 0;

    if (second > 59 || minute > 59 || hour > 23 || month < 1 || month > 12 || day < 1 || year > 99)
        return 0;
    /* Machines that keep no century there live in this one. */
    year += (century >= 19 && century <= 21 ? century : 20) * 100;
    if (year < 1970 || day > month_days[month - 1] + (u32)(month == 2 && is_leap(year)))
        return 0;
    for (u32 y = 1970; y < year; y++)
        days += is_leap(y) ? 366 : 365;
    for (u32 m = 1; m < month; m++)
        days += month_days[m - 1] + (u32)(m == 2 && is_leap(year));
    return (days + day - 1) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second;
}
