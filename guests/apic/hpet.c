/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET: its counter, comparators by edge and by level through the I/O APIC, legacy replacement; with a level,
 * remote IRR and the EOI that local APICs broadcast. IA-PC HPET Specification 1.0a, 2.3 "Register Overview".
 */
#include "guests/apic/apic.h"

#define HPET          0xfed00000ull
#define CAPABILITIES  0x000u
#define CONFIG        0x010u
#define STATUS        0x020u
#define COUNTER       0x0f0u
#define TIMER(n)      (0x100u + 0x20u * (n))
#define TIMER_VALUE   8u
#define LEVEL         0x02u
#define ENABLE        0x04u
#define PERIODIC      0x08u
#define SET_VALUE     0x40u
#define ONLY_32       0x100u
#define ROUTE_SHIFT   9
#define CONFIG_RUN    1u
#define CONFIG_LEGACY 2u
#define REMOTE_IRR    0x4000u
#define PIN_LEVEL     0x8000u
#define VECTOR        0x65u
#define VECTOR_8      0x66u

static u64 hpet_read(u32 offset)
{
    return *(volatile u64 *)(HPET + offset);
}

static void hpet_write(u32 offset, u64 value)
{
    *(volatile u64 *)(HPET + offset) = value;
}

static u64 tick_ns(void)
{
    return (hpet_read(CAPABILITIES) >> 32) / 1000000;
}

/* The first I/O APIC pin that comparator 0 may drive. */
static u32 pin(void)
{
    u32 routes = (u32)(hpet_read(TIMER(0)) >> 32);
    return routes ? (u32)__builtin_ctz(routes) : 0;
}

static void stop(void)
{
    hpet_write(CONFIG, 0);
    for (u32 i = 0; i < 3; i++) {
        hpet_write(TIMER(i), 0);
        hpet_write(TIMER(i) + TIMER_VALUE, ~0ull);
    }
    hpet_write(STATUS, ~0ull);
    hpet_write(COUNTER, 0);
}

/* The counter stands still meanwhile: it must not pass the match while others have the CPU. */
static void match_in(u64 ticks)
{
    hpet_write(CONFIG, 0);
    hpet_write(TIMER(0) + TIMER_VALUE, hpet_read(COUNTER) + ticks);
    hpet_write(CONFIG, CONFIG_RUN);
}

static void check_hpet_registers(void)
{
    u64 capabilities = hpet_read(CAPABILITIES), femtoseconds = capabilities >> 32;

    need(femtoseconds >= 100000 && femtoseconds <= 100000000, "period %llu fs", femtoseconds);
    need((capabilities >> 8 & 31) >= 2, "%llu comparators", (capabilities >> 8 & 31) + 1);
    need(capabilities & 1u << 13, "no counter of 64 bits");
    need(*(volatile u32 *)(HPET + 4) == (u32)femtoseconds, "the high half by 32 bits");
    stop();
    hpet_write(COUNTER, 0x123456789abcdef0);
    need(hpet_read(COUNTER) == 0x123456789abcdef0, "the halted counter reads %llx", hpet_read(COUNTER));
    wait_ns(10000);
    need(hpet_read(COUNTER) == 0x123456789abcdef0, "the halted counter runs");
    hpet_write(CONFIG, CONFIG_RUN);
    u64 first = hpet_read(COUNTER);
    u32 low = *(volatile u32 *)(HPET + COUNTER), high = *(volatile u32 *)(HPET + COUNTER + 4);
    u64 second = hpet_read(COUNTER);
    need(first >= 0x123456789abcdef0 && second > first, "the counter runs from %llx to %llx", first, second);
    need(high == (u32)(first >> 32) && low >= (u32)first && low <= (u32)second, "the counter by halves: %x %x", high,
         low);
    hpet_write(TIMER(0), ENABLE | LEVEL | ONLY_32 | (u64)pin() << ROUTE_SHIFT);
    u64 config = hpet_read(TIMER(0));
    need((config & 0x3f4f) == (ENABLE | LEVEL | ONLY_32 | (u64)pin() << ROUTE_SHIFT), "comparator 0 reads %llx",
         config);
    stop();
}

static void check_hpet_oneshot(void)
{
    u64 ticks = 800000 / tick_ns();

    stop();
    ioapic_set_pin(pin(), VECTOR, 0);
    hpet_write(TIMER(0), ENABLE | (u64)pin() << ROUTE_SHIFT);
    hpet_write(CONFIG, CONFIG_RUN);
    for (u32 i = 1; i <= 3; i++) {
        u64 before = cpu_rdtsc();
        match_in(ticks);
        need(wait_for(&cpus[0].count[VECTOR], i), "match %u does not come", i);
        u64 taken = cpus[0].tsc[VECTOR] - before;
        need(taken >= tsc_of_ns((ticks - 1) * tick_ns()), "match %u after %llu ticks", i, taken);
    }
    wait_ns(200000);
    need(cpus[0].count[VECTOR] == 3, "%u interrupts by 3 matches", cpus[0].count[VECTOR]);
    hpet_write(TIMER(0) + TIMER_VALUE, hpet_read(COUNTER) - 1);
    wait_ns(100000);
    need(cpus[0].count[VECTOR] == 3, "a match in the past came");
    stop();
}

static void check_hpet_periodic(void)
{
    u64 ticks = 400000 / tick_ns();

    stop();
    ioapic_set_pin(pin(), VECTOR, 0);
    hpet_write(TIMER(0), ENABLE | PERIODIC | SET_VALUE | (u64)pin() << ROUTE_SHIFT);
    hpet_write(TIMER(0) + TIMER_VALUE, ticks);
    hpet_write(TIMER(0) + TIMER_VALUE, ticks);
    u64 before = cpu_rdtsc();
    hpet_write(CONFIG, CONFIG_RUN);
    need(wait_for(&cpus[0].count[VECTOR], 6), "periods: %u", cpus[0].count[VECTOR]);
    u32 came = cpus[0].count[VECTOR]; /* before its time is read: the next may come in between */
    u64 taken = cpus[0].tsc[VECTOR] - before;
    need(taken >= tsc_of_ns((came * ticks - 1) * tick_ns()), "%u periods in %llu ticks", came, taken);
    u64 next = hpet_read(TIMER(0) + TIMER_VALUE);
    need(next % ticks == 0 && next > 5 * ticks, "the comparator reads %llu, period %llu", next, ticks);
    stop();
    u32 count = cpus[0].count[VECTOR];
    wait_ns(800000);
    need(cpus[0].count[VECTOR] == count, "it goes on after the stop");
}

static u32 seen_in_service;

/* The line stays high until the status bit is cleared. */
static void serve_level(void)
{
    u32 entry = ioapic_read(0x10 + 2 * pin());
    seen_in_service += (entry & REMOTE_IRR) && apic_has(APIC_TMR, VECTOR);
    if (cpus[0].count[VECTOR] >= 3)
        hpet_write(STATUS, 1);
    apic_end();
}

static void check_level(void)
{
    stop();
    vector_handlers[VECTOR] = serve_level;
    seen_in_service = 0;
    ioapic_set_pin(pin(), PIN_LEVEL | VECTOR, 0);
    hpet_write(TIMER(0), ENABLE | LEVEL | (u64)pin() << ROUTE_SHIFT);
    match_in(500000 / tick_ns());
    need(wait_for(&cpus[0].count[VECTOR], 3), "%u interrupts while the line is high", cpus[0].count[VECTOR]);
    settle();
    need(cpus[0].count[VECTOR] == 3, "%u interrupts; the line fell in the third", cpus[0].count[VECTOR]);
    need(seen_in_service == 3, "remote IRR or TMR were not set in %u of 3", 3 - seen_in_service);
    need(!(ioapic_read(0x10 + 2 * pin()) & REMOTE_IRR), "remote IRR stays");
    need(!(hpet_read(STATUS) & 1), "the status bit stays");
    stop();
}

/* Without EOI nothing more comes; masking the pin keeps the line's level. */
static void leave_in_service(void) {}

static void check_level_pending(void)
{
    stop();
    vector_handlers[VECTOR] = leave_in_service;
    hpet_write(TIMER(0), ENABLE | LEVEL | (u64)pin() << ROUTE_SHIFT);
    match_in(500000 / tick_ns());
    wait_ns(1000000);
    need(hpet_read(STATUS) & 1, "the status bit is not set");
    ioapic_set_pin(pin(), PIN_LEVEL | VECTOR, 0);
    settle();
    need(cpus[0].count[VECTOR] == 1, "a level that waited comes %u times once unmasked", cpus[0].count[VECTOR]);
    ioapic_set_pin(pin(), PIN_LEVEL | LVT_MASKED | VECTOR, 0);
    ioapic_set_pin(pin(), PIN_LEVEL | VECTOR, 0);
    settle();
    need(cpus[0].count[VECTOR] == 1, "it comes again before its EOI");
    apic_end();
    settle();
    need(cpus[0].count[VECTOR] == 2, "after the EOI it came %u times", cpus[0].count[VECTOR]);
    hpet_write(STATUS, 1);
    apic_end();
    settle();
    need(cpus[0].count[VECTOR] == 2, "it comes though its line is low");
    stop();
}

static void end_here(void)
{
    apic_end();
}

/* The EOI is another vCPU's, and the I/O APIC hears it. */
static void check_level_elsewhere(void)
{
    u32 other = cpu_count - 1;

    stop();
    vector_handlers[VECTOR] = leave_in_service;
    ioapic_set_pin(pin(), PIN_LEVEL | VECTOR, other);
    hpet_write(TIMER(0), ENABLE | LEVEL | (u64)pin() << ROUTE_SHIFT);
    match_in(500000 / tick_ns());
    need(wait_for(&cpus[other].count[VECTOR], 1), "nothing at vCPU %u", other);
    hpet_write(STATUS, 1);
    need(ioapic_read(0x10 + 2 * pin()) & REMOTE_IRR, "remote IRR is not set");
    run_on(other, end_here);
    need(!(ioapic_read(0x10 + 2 * pin()) & REMOTE_IRR), "the EOI does not reach the I/O APIC");
    stop();
}

/* Comparator 0 takes pin 2 from the PIT, comparator 1 pin 8 from the clock. */
static void check_legacy(void)
{
    u64 ticks = 50000 / tick_ns();

    stop();
    ioapic_set_pin(2, VECTOR, 0);
    ioapic_set_pin(8, VECTOR_8, 0);
    hpet_write(TIMER(0), ENABLE);
    hpet_write(TIMER(1), ENABLE);
    hpet_write(TIMER(0) + TIMER_VALUE, ticks);
    hpet_write(TIMER(1) + TIMER_VALUE, 2 * ticks);
    u64 before = cpu_rdtsc();
    hpet_write(CONFIG, CONFIG_RUN | CONFIG_LEGACY);
    pit_start(0, 20);
    need(wait_for(&cpus[0].count[VECTOR], 1), "comparator 0 does not drive pin 2");
    need(cpus[0].tsc[VECTOR] - before >= tsc_of_ns((ticks - 1) * tick_ns()), "pin 2 is early: is it the PIT?");
    need(wait_for(&cpus[0].count[VECTOR_8], 1), "comparator 1 does not drive pin 8");
    wait_ns(100000);
    need(cpus[0].count[VECTOR] == 1 && cpus[0].count[VECTOR_8] == 1, "%u by pin 2, %u by pin 8", cpus[0].count[VECTOR],
         cpus[0].count[VECTOR_8]);
    stop();
    pit_start(0, 60);
    need(wait_for(&cpus[0].count[VECTOR], 2), "the PIT does not get pin 2 back");
}

const struct check hpet_checks[] = {
    {"hpet-registers",  check_hpet_registers,  CHECK_ONCE, 1},
    {"hpet-oneshot",    check_hpet_oneshot,    CHECK_ONCE, 1},
    {"hpet-periodic",   check_hpet_periodic,   CHECK_ONCE, 1},
    {"hpet-legacy",     check_legacy,          CHECK_ONCE, 1},
    {"level",           check_level,           CHECK_BOTH, 1},
    {"level-pending",   check_level_pending,   CHECK_BOTH, 1},
    {"level-elsewhere", check_level_elsewhere, CHECK_BOTH, 1},
    {NULL,              NULL,                  0,          0},
};
