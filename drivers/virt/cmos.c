/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MC146818A. Updates happen once a second at whole seconds from phase_ns; sync() applies those that have passed
 * since it last ran, in constant time however many they are. Timers run only while an enabled interrupt could raise the
 * line: once IRQF is set they rest until register C is read. Daylight saving (register B bit 0) and square wave have no
 * effect. Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/cmos.h"
#include "kernel/lib/string.h"

#define PORT_INDEX 0x70u
#define INDEX_NMI  0x80u

enum {
    REG_SECONDS = 0x00,
    REG_SECONDS_ALARM = 0x01,
    REG_MINUTES = 0x02,
    REG_MINUTES_ALARM = 0x03,
    REG_HOURS = 0x04,
    REG_HOURS_ALARM = 0x05,
    REG_WEEKDAY = 0x06,
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_EQUIPMENT = 0x14,
    REG_BASE_KIB = 0x15,
    REG_EXTENDED_KIB = 0x17,
    REG_EXTENDED_KIB_FOUND = 0x30,
    REG_CENTURY = 0x32,
    REG_ABOVE_16M_64KIB = 0x34,
    REG_ABOVE_4G_64KIB = 0x5b
};

#define A_UIP           0x80u
#define A_RATE          0x0fu
#define A_DIVIDER_RESET 0x60u /* 110 and 111 */
#define A_DEFAULT       0x26u
#define B_SET           0x80u
#define B_BINARY        0x04u
#define B_24_HOURS      0x02u
#define C_IRQF          0x80u
#define C_PF            0x40u /* the flags of register C stand where register B has their enable bits */
#define C_AF            0x20u
#define C_UF            0x10u
#define C_FLAGS         (C_PF | C_AF | C_UF)
#define D_VALID         0x80u

#define HOUR_PM          0x80u
#define ALARM_ANY        0xc0u
#define EQUIPMENT_COLOUR 0x22u /* 80x25 colour text, a coprocessor, no diskette */

#define NS_PER_SECOND   1000000000ll
#define UIP_NS          2228000ll /* 244 us ahead of the update cycle, which takes 1984 us */
#define FIRST_UPDATE_NS 500000000ll
#define SECONDS_PER_DAY 86400
#define OSCILLATOR_HZ   32768

static s64 now(const struct cmos *cmos)
{
    return (s64)vtimer_now(cmos->timers);
}

static bool is_binary(const struct cmos *cmos)
{
    return cmos->ram[REG_B] & B_BINARY;
}

static u32 decode(const struct cmos *cmos, u8 raw)
{
    return is_binary(cmos) ? raw : (u32)(raw >> 4) * 10 + (raw & 15);
}

static u8 encode(const struct cmos *cmos, u32 value)
{
    return (u8)(is_binary(cmos) ? value : (value / 10 % 10) << 4 | value % 10);
}

static u32 decode_hours(const struct cmos *cmos, u8 raw)
{
    if (cmos->ram[REG_B] & B_24_HOURS)
        return decode(cmos, raw);
    return decode(cmos, raw & 0x7f) % 12 + (raw & HOUR_PM ? 12 : 0);
}

static u8 encode_hours(const struct cmos *cmos, u32 hours)
{
    if (cmos->ram[REG_B] & B_24_HOURS)
        return encode(cmos, hours);
    return encode(cmos, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? HOUR_PM : 0);
}

/* Days from the first day of year 0 to the first of `year` in the Gregorian calendar; year 0 is a leap year. */
static u32 days_before_year(u32 year)
{
    return 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

/* Days of the year before the first of `month` (1 to 13). */
static u32 days_before_month(u32 year, u32 month)
{
    static const u16 before[13] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return before[month - 1] + (leap && month > 2 ? 1u : 0u);
}

static u32 date_to_days(const struct cmos *cmos)
{
    u32 year = decode(cmos, cmos->ram[REG_YEAR]) % 100 + decode(cmos, cmos->ram[REG_CENTURY]) % 100 * 100;
    u32 month = (decode(cmos, cmos->ram[REG_MONTH]) + 11) % 12 + 1;
    u32 day = decode(cmos, cmos->ram[REG_DAY]);
    return days_before_year(year) + days_before_month(year, month) + (day ? day - 1 : 0);
}

static void days_to_date(struct cmos *cmos, u32 days)
{
    days %= days_before_year(10000);
    u32 year = (u32)((u64)days * 400 / 146097);
    u32 month = 1;

    while (days_before_year(year + 1) <= days) /* the estimate is at most a year off */
        year++;
    while (days_before_year(year) > days)
        year--;
    days -= days_before_year(year);
    while (days_before_month(year, month + 1) <= days)
        month++;
    cmos->ram[REG_DAY] = encode(cmos, days - days_before_month(year, month) + 1);
    cmos->ram[REG_MONTH] = encode(cmos, month);
    cmos->ram[REG_YEAR] = encode(cmos, year % 100);
    cmos->ram[REG_CENTURY] = encode(cmos, year / 100);
}

static u32 time_of_day(const struct cmos *cmos)
{
    return decode_hours(cmos, cmos->ram[REG_HOURS]) % 24 * 3600 + decode(cmos, cmos->ram[REG_MINUTES]) % 60 * 60 +
           decode(cmos, cmos->ram[REG_SECONDS]) % 60;
}

static void set_time_of_day(struct cmos *cmos, u32 seconds)
{
    cmos->ram[REG_HOURS] = encode_hours(cmos, seconds / 3600);
    cmos->ram[REG_MINUTES] = encode(cmos, seconds / 60 % 60);
    cmos->ram[REG_SECONDS] = encode(cmos, seconds % 60);
}

/* Seconds (1 to 86400) after time of day `from` until the alarm next matches; 0: never. */
static u32 alarm_delay(const struct cmos *cmos, u32 from)
{
    const u8 *ram = cmos->ram;
    bool any_second = ram[REG_SECONDS_ALARM] >= ALARM_ANY;
    bool any_minute = ram[REG_MINUTES_ALARM] >= ALARM_ANY;
    bool any_hour = ram[REG_HOURS_ALARM] >= ALARM_ANY;
    u32 second = any_second ? 0 : decode(cmos, ram[REG_SECONDS_ALARM]);
    u32 minute = any_minute ? 0 : decode(cmos, ram[REG_MINUTES_ALARM]);
    u32 hour = any_hour ? 0 : decode_hours(cmos, ram[REG_HOURS_ALARM]);
    u32 at = from + 1;

    if (second > 59 || minute > 59 || hour > 23)
        return 0;
    /* Each step moves on to the next time that matches one field more, and resets the finer fields. */
    if (!any_second)
        at += (second + 60 - at % 60) % 60;
    if (!any_minute && at / 60 % 60 != minute)
        at = (at / 60 + (minute + 60 - at / 60 % 60) % 60) * 60 + second;
    if (!any_hour && at / 3600 % 24 != hour)
        at = (at / 3600 + (hour + 24 - at / 3600 % 24) % 24) * 3600 + minute * 60 + second;
    return at - from;
}

static bool is_counting(const struct cmos *cmos)
{
    return !(cmos->ram[REG_B] & B_SET) && (cmos->ram[REG_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

static void advance(struct cmos *cmos, u64 seconds)
{
    u32 today = time_of_day(cmos);
    u32 delay = alarm_delay(cmos, today);
    u64 days = (today + seconds) / SECONDS_PER_DAY;

    cmos->ram[REG_C] |= C_UF;
    if (delay && delay <= seconds)
        cmos->ram[REG_C] |= C_AF;
    set_time_of_day(cmos, (u32)((today + seconds) % SECONDS_PER_DAY));
    if (days) {
        u32 weekday = decode(cmos, cmos->ram[REG_WEEKDAY]);
        cmos->ram[REG_WEEKDAY] = encode(cmos, (u32)((weekday + 6 + days) % 7 + 1));
        days_to_date(cmos, date_to_days(cmos) + (u32)(days % days_before_year(10000)));
    }
}

/* Ticks of the periodic interrupt's oscillator, and the first nanosecond of one. */
static s64 oscillator_at(s64 ns)
{
    return ns / NS_PER_SECOND * OSCILLATOR_HZ + ns % NS_PER_SECOND * OSCILLATOR_HZ / NS_PER_SECOND;
}

static s64 ns_of_oscillator(s64 tick)
{
    return tick / OSCILLATOR_HZ * NS_PER_SECOND +
           (tick % OSCILLATOR_HZ * NS_PER_SECOND + OSCILLATOR_HZ - 1) / OSCILLATOR_HZ;
}

/* Oscillator ticks between periodic edges; 0: none. */
static s64 period(const struct cmos *cmos)
{
    unsigned rate = cmos->ram[REG_A] & A_RATE;

    if (rate == 0)
        return 0;
    return rate < 3 ? 64 << rate : 1 << (rate - 1); /* rates 1 and 2 repeat 8 and 9 */
}

/* Brings registers and flags up to the present. */
static void sync(struct cmos *cmos)
{
    s64 at = now(cmos);
    s64 updates = (at - cmos->phase_ns) / NS_PER_SECOND;
    s64 seconds = updates - cmos->updates;
    s64 ticks = period(cmos);

    cmos->updates = updates;
    if (seconds > 0 && is_counting(cmos))
        advance(cmos, (u64)seconds);
    if (ticks && oscillator_at(at) / ticks > cmos->periods) {
        cmos->periods = oscillator_at(at) / ticks;
        cmos->ram[REG_C] |= C_PF;
    }
}

static void arm(struct cmos *cmos)
{
    u8 enabled = cmos->ram[REG_C] & C_IRQF ? 0 : cmos->ram[REG_B] & C_FLAGS;
    s64 ticks = period(cmos);
    s64 seconds = 0;

    if (is_counting(cmos) && enabled & C_UF)
        seconds = 1;
    else if (is_counting(cmos) && enabled & C_AF)
        seconds = alarm_delay(cmos, time_of_day(cmos));
    vtimer_arm(cmos->timers, cmos->update_timer,
               seconds ? (u64)(cmos->phase_ns + (cmos->updates + seconds) * NS_PER_SECOND) : VTIMER_NEVER);
    vtimer_arm(cmos->timers, cmos->periodic_timer,
               enabled & C_PF && ticks ? (u64)ns_of_oscillator((cmos->periods + 1) * ticks) : VTIMER_NEVER);
}

/* After a change of flags or enable bits. */
static void update(struct cmos *cmos)
{
    bool raised = cmos->ram[REG_B] & cmos->ram[REG_C] & C_FLAGS;

    cmos->ram[REG_C] = (u8)((cmos->ram[REG_C] & C_FLAGS) | (raised ? C_IRQF : 0));
    line_set(&cmos->irq, raised);
    arm(cmos);
}

static void fire(void *device, u64 now_ns)
{
    struct cmos *cmos = device;
    (void)now_ns;
    sync(cmos);
    update(cmos);
}

static u8 read_ram(struct cmos *cmos)
{
    u8 value;

    if (cmos->index > REG_D && cmos->index != REG_CENTURY)
        return cmos->ram[cmos->index];
    sync(cmos);
    value = cmos->ram[cmos->index];
    if (cmos->index == REG_A) {
        bool updating = (now(cmos) - cmos->phase_ns) % NS_PER_SECOND >= NS_PER_SECOND - UIP_NS;
        value |= updating && is_counting(cmos) ? A_UIP : 0;
    } else if (cmos->index == REG_C) {
        value |= cmos->ram[REG_B] & value & C_FLAGS ? C_IRQF : 0;
        cmos->ram[REG_C] = 0;
        update(cmos);
    }
    return value;
}

static void write_a(struct cmos *cmos, u8 value)
{
    bool held = (cmos->ram[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;

    cmos->ram[REG_A] = value & (u8)~A_UIP;
    if (held && (value & A_DIVIDER_RESET) != A_DIVIDER_RESET) {
        cmos->phase_ns = now(cmos) - (NS_PER_SECOND - FIRST_UPDATE_NS);
        cmos->updates = 0;
    }
    s64 ticks = period(cmos);
    cmos->periods = ticks ? oscillator_at(now(cmos)) / ticks : 0;
}

static void write_ram(struct cmos *cmos, u8 value)
{
    if (cmos->index > REG_D && cmos->index != REG_CENTURY) {
        cmos->ram[cmos->index] = value;
        return;
    }
    sync(cmos);
    if (cmos->index == REG_A)
        write_a(cmos, value);
    else if (cmos->index == REG_B)
        cmos->ram[REG_B] = value & B_SET ? value & (u8)~C_UF : value; /* SET clears the update interrupt's enable */
    else if (cmos->index != REG_C && cmos->index != REG_D)
        cmos->ram[cmos->index] = value;
    update(cmos);
}

static u64 read_port(void *device, u64 offset, u8 bytes)
{
    (void)bytes;
    return offset ? read_ram(device) : 0xff; /* the index register cannot be read */
}

static void write_port(void *device, u64 offset, u8 bytes, u64 value)
{
    struct cmos *cmos = device;

    (void)bytes;
    if (offset) {
        write_ram(cmos, (u8)value);
        return;
    }
    cmos->index = value & (CMOS_BYTES - 1);
    cmos->nmi_masked = value & INDEX_NMI;
}

static const struct bus_ops cmos_ops = {read_port, write_port};

static void put_16(struct cmos *cmos, u8 at, u64 value)
{
    u64 shown = value < 0xffff ? value : 0xffff;
    cmos->ram[at] = (u8)shown;
    cmos->ram[at + 1] = (u8)(shown >> 8);
}

static void set_memory_size(struct cmos *cmos, u64 mem_bytes)
{
    u64 low = mem_bytes < 3ull << 30 ? mem_bytes : 3ull << 30;
    u64 above_4g_64kib = (mem_bytes - low) >> 16;

    put_16(cmos, REG_BASE_KIB, 640);
    put_16(cmos, REG_EXTENDED_KIB, low > 1u << 20 ? (low >> 10) - 1024 : 0);
    put_16(cmos, REG_EXTENDED_KIB_FOUND, low > 1u << 20 ? (low >> 10) - 1024 : 0);
    put_16(cmos, REG_ABOVE_16M_64KIB, low > 1u << 24 ? (low >> 16) - 256 : 0);
    for (unsigned i = 0; i < 3; i++)
        cmos->ram[REG_ABOVE_4G_64KIB + i] = (u8)(above_4g_64kib >> (8 * i));
}

enum status cmos_init(struct cmos *cmos, struct bus *bus, struct vtimer_set *timers, struct line irq,
                      const struct cmos_setup *setup)
{
    u32 days = (u32)(setup->wall_seconds / SECONDS_PER_DAY % days_before_year(10000)) + days_before_year(1970);

    memset(cmos, 0, sizeof *cmos);
    cmos->irq = irq;
    cmos->timers = timers;
    cmos->update_timer = vtimer_add(timers, fire, cmos);
    cmos->periodic_timer = vtimer_add(timers, fire, cmos);
    cmos->ram[REG_A] = A_DEFAULT;
    cmos->ram[REG_B] = B_24_HOURS;
    cmos->ram[REG_D] = D_VALID;
    cmos->ram[REG_EQUIPMENT] = EQUIPMENT_COLOUR;
    set_memory_size(cmos, setup->mem_bytes);
    set_time_of_day(cmos, (u32)(setup->wall_seconds % SECONDS_PER_DAY));
    days_to_date(cmos, days);
    cmos->ram[REG_WEEKDAY] = encode(cmos, days % 7 ? days % 7 : 7); /* Sunday is 1 */
    return bus_add_ports(bus, PORT_INDEX, 2, 1, &cmos_ops, cmos);
}

void cmos_copy(struct cmos *cmos, const struct cmos *from)
{
    struct cmos own = *cmos;

    *cmos = *from;
    cmos->timers = own.timers;
    cmos->irq = own.irq;
    cmos->periodic_timer = own.periodic_timer;
    cmos->update_timer = own.update_timer;
}
