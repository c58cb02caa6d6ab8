/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC's clocks against each other, and the ACPI tables that say where they are. Two readings of a clock, each
 * between two of the TSC, bound the time between them from both sides, however busy the machine is.
 */
#include "guests/apic/apic.h"

#define HPET_COUNTER 0xfed000f0ull
#define HPET_CONFIG  0xfed00010ull
#define HPET_PERIOD  0xfed00004ull
#define PIT_HZ       1193182u
#define PM_HZ        3579545u
#define PIT_ROUND_NS 54000000u /* a little less than 65536 counts */

/* A table of the firmware area, by its signature, through RSDP and XSDT. NULL: none, or its sum is wrong. */
static const u8 *checked(const u8 *table, u32 bytes)
{
    u8 sum = 0;
    for (u32 i = 0; i < bytes; i++)
        sum = (u8)(sum + table[i]);
    return sum == 0 ? table : NULL;
}

static u32 get32(const u8 *from)
{
    return *(const u32 *)from;
}

static const u8 *find_table(const char *signature)
{
    for (uintptr_t at = 0xe0000; at < 0x100000; at += 16) {
        const u8 *rsdp = (const u8 *)at;
        if (!text_begins_with((const char *)rsdp, "RSD PTR ") || !checked(rsdp, 20) || !checked(rsdp, get32(rsdp + 20)))
            continue;
        const u8 *xsdt = (const u8 *)(uintptr_t)get32(rsdp + 24);
        for (u32 i = 36; i < get32(xsdt + 4); i += 8) {
            const u8 *table = (const u8 *)(uintptr_t)get32(xsdt + i);
            if (text_begins_with((const char *)table, signature))
                return checked(table, get32(table + 4));
        }
    }
    return NULL;
}

static u32 fadt_field(u32 offset)
{
    const u8 *fadt = find_table("FACP");
    return fadt ? get32(fadt + offset) : 0;
}

u16 acpi_pm1_control_port(void)
{
    return (u16)fadt_field(64);
}

u16 acpi_reset_port(void)
{
    return (u16)fadt_field(120);
}

u8 acpi_reset_value(void)
{
    return (u8)fadt_field(128);
}

static void check_acpi(void)
{
    const u8 *madt = find_table("APIC");
    u32 processors = 0, ioapics = 0;

    need(madt && find_table("FACP") && find_table("HPET"), "a table is missing or its sum is wrong");
    for (u32 i = 44; madt && i < get32(madt + 4) && madt[i + 1]; i += madt[i + 1]) {
        if (madt[i] == 0 && get32(madt + i + 4) & 1) {
            need(madt[i + 3] == processors, "processor %u has the APIC ID %u", processors, madt[i + 3]);
            processors++;
        }
        ioapics += madt[i] == 1 && get32(madt + i + 4) == 0xfec00000;
    }
    need(processors == cpu_count && ioapics == 1, "MADT: %u processors, %u I/O APICs", processors, ioapics);
    need(madt && get32(madt + 36) == APIC_MEMORY, "MADT: where the local APIC is");
    need(acpi_pm1_control_port() == ROOTLET_PORT_PM1A_CONTROL, "PM1a control at %x", acpi_pm1_control_port());
    need(acpi_reset_port() == ROOTLET_PORT_RESET, "reset register at %x", acpi_reset_port());
}

struct bounds {
    u64 least_ns, most_ns;
};

/* Reads a clock twice, 10 ms apart. */
static u64 measure(u64 (*clock)(void), struct bounds *bounds)
{
    u64 t0 = cpu_rdtsc();
    u64 first = clock();
    u64 t1 = cpu_rdtsc();
    wait_ns(10000000);
    u64 t2 = cpu_rdtsc();
    u64 second = clock();
    u64 t3 = cpu_rdtsc();
    *bounds = (struct bounds){ns_of_tsc(t2 - t1), ns_of_tsc(t3 - t0)};
    return second - first;
}

/* hz: the clock's; it may round by one tick either way, and so may the TSC. */
static void need_rate(u64 (*clock)(void), u64 hz, const char *name)
{
    struct bounds bounds;
    u64 ticks;
    do /* again if others had the CPU so long that the PIT's 16 bits may have gone round */
        ticks = measure(clock, &bounds);
    while (bounds.most_ns >= PIT_ROUND_NS);
    u64 ns = ticks * 1000000000 / hz, slack = 1000000000 / hz + 100;

    need(ns + slack >= bounds.least_ns && ns <= bounds.most_ns + slack, "%s: %llu ns in %llu to %llu ns", name, ns,
         bounds.least_ns, bounds.most_ns);
    if (!check_failed)
        note("%llu ns in %llu to %llu ns", ns, bounds.least_ns, bounds.most_ns);
}

static u64 read_pm(void)
{
    static u32 last;
    static u64 total;
    static u16 port;
    if (!port)
        port = (u16)fadt_field(76);
    u32 now = cpu_in32(port);
    total += now - last;
    last = now;
    return total;
}

static void check_pm(void)
{
    u64 last = read_pm();
    for (u32 i = 0; i < 200; i++) {
        u64 now = read_pm();
        need(now >= last && now - last < PM_HZ, "it goes from %llx to %llx", last, now);
        last = now;
    }
    need_rate(read_pm, PM_HZ, "PM timer");
}

static u64 read_hpet(void)
{
    return *(volatile u64 *)HPET_COUNTER;
}

static void check_hpet(void)
{
    u64 femtoseconds = *(volatile u32 *)HPET_PERIOD;
    *(volatile u64 *)HPET_CONFIG = 1;
    need_rate(read_hpet, 1000000000000000 / femtoseconds, "HPET");
    *(volatile u64 *)HPET_CONFIG = 0;
}

/* Channel 0 as a rate generator of 65536 counts, by the latch command; it falls. */
static u64 read_pit(void)
{
    static u16 last;
    static u64 total;
    cpu_out8(ROOTLET_PORT_PIT + 3, 0);
    u16 now = cpu_in8(ROOTLET_PORT_PIT);
    now = (u16)(now | cpu_in8(ROOTLET_PORT_PIT) << 8);
    total += (u16)(last - now);
    last = now;
    return total;
}

static void check_pit(void)
{
    pit_start(2, 0);
    read_pit();
    need_rate(read_pit, PIT_HZ, "PIT");
    pit_stop();
}

static u64 read_apic_timer(void)
{
    return 0xffffffff - apic_read(APIC_TIMER_CURRENT);
}

static void check_apic_timer(void)
{
    apic_write(APIC_TIMER_INITIAL, 0xffffffff);
    need_rate(read_apic_timer, cpu_cpuid(0x15, 0).ecx, "APIC timer");
}

static u64 read_hypercall(void)
{
    return hypercall_clock_ns();
}

static void check_hypercall(void)
{
    need_rate(read_hypercall, 1000000000, "hypercall clock");
    u64 khz = tsc_of_ns(1000000), said = hypercall_tsc_khz();
    need(khz + 2 >= said && khz <= said + 2, "CPUID says %llu kHz, the hypercall %llu", khz, said);
}

const struct check clock_checks[] = {
    {"acpi-tables",      check_acpi,       CHECK_ONCE, 1},
    {"clock-pm",         check_pm,         CHECK_ONCE, 1},
    {"clock-hpet",       check_hpet,       CHECK_ONCE, 1},
    {"clock-pit",        check_pit,        CHECK_ONCE, 1},
    {"clock-apic-timer", check_apic_timer, CHECK_BOTH, 1},
    {"clock-hypercall",  check_hypercall,  CHECK_ONCE, 1},
    {NULL,               NULL,             0,          0},
};
