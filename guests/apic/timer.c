/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's timer: one-shot, periodic, TSC deadline; never early by the TSC, whose frequency and the timer's are
 * those of CPUID leaf 15H. Each time bound is derived from two readings of the TSC around the access, so that it holds
 * on a busy machine. SDM 3A 10.5.4 "APIC Timer".
 */
#include "guests/apic/apic.h"

#define VECTOR    0x61u
#define PERIODS   5u
#define DEADLINES 40u

/* Ticks of the TSC that n of the timer take at least: one may have been begun, and both clocks are rounded. */
static u64 least_tsc(u64 ns)
{
    u64 tsc = tsc_of_ns(ns);
    return tsc - tsc / 1000000 - 1;
}

static void check_oneshot(void)
{
    u64 worst = 0;

    apic_write(APIC_LVT_TIMER, VECTOR);
    for (u32 shot = 1; shot <= 5; shot++) {
        u64 ns = shot * 70020;
        u64 before = cpu_rdtsc();
        apic_write(APIC_TIMER_INITIAL, timer_of_ns(ns));
        need(wait_for(&cpus[0].count[VECTOR], shot), "shot %u does not come", shot);
        u64 taken = cpus[0].tsc[VECTOR] - before;
        need(taken >= least_tsc(ns), "shot %u is early: %llu ticks instead of %llu", shot, taken, tsc_of_ns(ns));
        worst = taken - tsc_of_ns(ns) > worst ? taken - tsc_of_ns(ns) : worst;
        need(apic_read(APIC_TIMER_CURRENT) == 0, "the count is not 0 after the shot");
        need(apic_read(APIC_TIMER_INITIAL) == timer_of_ns(ns), "the initial count is not kept");
    }
    wait_ns(200000);
    need(cpus[0].count[VECTOR] == 5, "one-shot came %u times", cpus[0].count[VECTOR]);
    if (!check_failed)
        note("latest_ticks=%llu", worst);
}

static void check_periodic(void)
{
    const u32 period_ns = 400000;

    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
    u64 before = cpu_rdtsc();
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(period_ns));
    for (u32 i = 1; i <= PERIODS; i++) {
        need(wait_for(&cpus[0].count[VECTOR], i), "period %u does not come", i);
        u32 came = cpus[0].count[VECTOR]; /* before its time is read: the next may come in between */
        u64 taken = cpus[0].tsc[VECTOR] - before;
        need(taken >= least_tsc((u64)came * period_ns), "period %u after %llu ticks", i, taken);
        u32 current = apic_read(APIC_TIMER_CURRENT);
        need(current > 0 && current <= timer_of_ns(period_ns), "the count is %u", current);
    }
    apic_write(APIC_TIMER_INITIAL, 0);
    u32 count = cpus[0].count[VECTOR];
    wait_ns(800000);
    need(cpus[0].count[VECTOR] == count, "an initial count of 0 does not stop it");
    need(apic_read(APIC_TIMER_CURRENT) == 0, "the count after the stop");
}

/* The count falls by what the TSC says, whatever the divider. */
static void check_divide(void)
{
    static const u8 divide[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};

    for (u32 power = 0; power < ARRAY_LENGTH(divide); power++) {
        apic_write(APIC_TIMER_DIVIDE, divide[power]);
        need(apic_read(APIC_TIMER_DIVIDE) == divide[power], "the divider is not kept");
        apic_write(APIC_TIMER_INITIAL, 0xffffffff);
        u64 t0 = cpu_rdtsc();
        u32 c0 = apic_read(APIC_TIMER_CURRENT);
        u64 t1 = cpu_rdtsc();
        wait_ns(100000);
        u64 t2 = cpu_rdtsc();
        u32 c1 = apic_read(APIC_TIMER_CURRENT);
        u64 t3 = cpu_rdtsc();
        u64 least = timer_of_ns(ns_of_tsc(t2 - t1)), most = timer_of_ns(ns_of_tsc(t3 - t0));
        u64 fell = (u64)(c0 - c1) << power, one = (1u << power) + 50;
        need(fell + one >= least && fell <= most + one, "divided by %u: %llu counts, not %llu to %llu", 1u << power,
             fell, least, most);
    }
}

static void check_masked(void)
{
    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR);
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(20000));
    wait_ns(100000);
    need(apic_read(APIC_TIMER_CURRENT) == 0, "a masked timer does not count");
    apic_write(APIC_LVT_TIMER, VECTOR);
    wait_ns(100000);
    need(cpus[0].count[VECTOR] == 0, "what expired while masked came");
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | LVT_MASKED | VECTOR);
    u64 before = cpu_rdtsc();
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(400000));
    wait_ns(1000000);
    need(cpus[0].count[VECTOR] == 0, "a masked periodic timer interrupts");
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
    need(wait_for(&cpus[0].count[VECTOR], 1), "unmasked, it does not come");
    need(cpus[0].tsc[VECTOR] - before >= least_tsc(3 * 400000), "unmasked, it comes out of step");
}

/* "Writing a new count restarts it" and a vector changed in flight counts. */
static void check_rewrite(void)
{
    apic_write(APIC_LVT_TIMER, VECTOR);
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(500000));
    u64 before = cpu_rdtsc();
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(1000000));
    apic_write(APIC_LVT_TIMER, VECTOR + 1);
    need(wait_for(&cpus[0].count[VECTOR + 1], 1), "it does not come by the new vector");
    need(cpus[0].tsc[VECTOR + 1] - before >= least_tsc(1000000), "the new count was not used");
    need(cpus[0].count[VECTOR] == 0, "the old vector came");
}

static void check_mode_change(void)
{
    apic_write(APIC_LVT_TIMER, VECTOR);
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(600000));
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
    need(apic_read(APIC_TIMER_CURRENT) == 0, "the count reads %u in deadline mode", apic_read(APIC_TIMER_CURRENT));
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(200000));
    need(apic_read(APIC_TIMER_INITIAL) == 0, "the initial count is written in deadline mode");
    wait_ns(1500000);
    need(cpus[0].order_length == 0, "a one-shot survives the change to deadline mode");
    msr_write(MSR_TSC_DEADLINE, cpu_rdtsc() + tsc_of_ns(600000));
    apic_write(APIC_LVT_TIMER, VECTOR);
    need(msr_read(MSR_TSC_DEADLINE) == 0, "the deadline is kept in one-shot mode");
    msr_write(MSR_TSC_DEADLINE, cpu_rdtsc() + tsc_of_ns(300000));
    need(msr_read(MSR_TSC_DEADLINE) == 0, "the deadline can be written in one-shot mode");
    wait_ns(1500000);
    need(cpus[0].order_length == 0, "a deadline survives the change to one-shot mode");
}

static void check_deadline(void)
{
    u64 worst = 0;

    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
    for (u32 i = 1; i <= DEADLINES; i++) {
        u64 deadline = cpu_rdtsc() + 200 + guest_random() % 4096;
        msr_write(MSR_TSC_DEADLINE, deadline);
        if (i % 2)
            need(wait_for(&cpus[0].count[VECTOR], i), "deadline %u does not come", i);
        cpu_interrupts_off(); /* or it comes between the look and HLT */
        while (cpus[0].count[VECTOR] < i) {
            cpu_wait_for_interrupt();
            cpu_interrupts_off();
        }
        cpu_interrupts_on();
        u64 came = cpus[0].tsc[VECTOR];
        need(came >= deadline, "deadline %u is early by %llu ticks", i, deadline - came);
        worst = came - deadline > worst ? came - deadline : worst;
        need(msr_read(MSR_TSC_DEADLINE) == 0, "the deadline does not read 0 after it");
        need(cpus[0].count[VECTOR] == i, "%u interrupts by %u deadlines", cpus[0].count[VECTOR], i);
    }
    if (!check_failed)
        note("latest_ticks=%llu", worst);
}

static void check_deadline_limits(void)
{
    static const u64 far[] = {1ull << 40, 1ull << 62, 1ull << 63, ~0ull};

    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
    msr_write(MSR_TSC_DEADLINE, cpu_rdtsc() - 1);
    need(wait_for(&cpus[0].count[VECTOR], 1), "a deadline in the past does not come");
    msr_write(MSR_TSC_DEADLINE, 1);
    need(wait_for(&cpus[0].count[VECTOR], 2), "a deadline of 1 does not come");
    msr_write(MSR_TSC_DEADLINE, 0);
    settle();
    need(cpus[0].count[VECTOR] == 2, "a deadline of 0 came");
    for (u32 i = 0; i < ARRAY_LENGTH(far); i++) {
        msr_write(MSR_TSC_DEADLINE, far[i]);
        need(msr_read(MSR_TSC_DEADLINE) == far[i], "deadline %llx reads %llx", far[i], msr_read(MSR_TSC_DEADLINE));
        settle();
        need(cpus[0].count[VECTOR] == 2, "the deadline %llx came", far[i]);
    }
    u64 deadline, ns = 30000;
    u32 before;
    do { /* again, with more time, if it passed in between: another vCPU had the CPU, or a WRMSR takes so long */
        ns *= 2;
        before = cpus[0].count[VECTOR];
        deadline = cpu_rdtsc() + tsc_of_ns(ns);
        msr_write(MSR_TSC_DEADLINE, deadline);
        msr_write(MSR_TSC_DEADLINE, 0);
    } while (cpu_rdtsc() >= deadline);
    wait_ns(3 * ns);
    need(cpus[0].count[VECTOR] == before, "a disarmed deadline came");
}

static void check_deadline_masked(void)
{
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | LVT_MASKED | VECTOR);
    msr_write(MSR_TSC_DEADLINE, cpu_rdtsc() + tsc_of_ns(300000));
    wait_ns(1000000);
    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
    settle();
    need(cpus[0].count[VECTOR] == 0, "a deadline that passed while masked came");
    msr_write(MSR_TSC_DEADLINE, cpu_rdtsc() + tsc_of_ns(300000));
    need(wait_for(&cpus[0].count[VECTOR], 1), "the next deadline does not come");
}

/* Each vCPU's timer is its own. */
static void arm_here(void)
{
    apic_write(APIC_LVT_TIMER, VECTOR + cpu_index());
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(200000));
}

static void check_timers_of_all(void)
{
    run_on_all(arm_here);
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        need(wait_for(&cpus[cpu].count[VECTOR + cpu], 1), "vCPU %u gets no timer interrupt", cpu);
    barrier();
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        need(cpus[cpu].order_length == 1, "vCPU %u got %u interrupts", cpu, cpus[cpu].order_length);
}

/* A guest that moves its TSC moves its deadlines. It cannot move it back exactly: no check may compare the TSCs of
 * several vCPUs after this one. */
static void check_deadline_tsc(void)
{
    u64 before = cpu_rdtsc();

    apic_write(APIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
    msr_write(MSR_TSC, before + (1ull << 40));
    u64 deadline = cpu_rdtsc() + tsc_of_ns(50000);
    msr_write(MSR_TSC_DEADLINE, deadline);
    u64 end = deadline + tsc_of_ns(100000000);
    while (cpus[0].count[VECTOR] == 0 && cpu_rdtsc() < end)
        cpu_pause();
    need(cpus[0].count[VECTOR] == 1, "no interrupt after the TSC was moved forward");
    need(cpus[0].tsc[VECTOR] >= deadline, "early after the TSC was moved forward");
    msr_write(MSR_TSC, cpu_rdtsc() - (1ull << 40));
    need(cpu_rdtsc() - before < tsc_of_ns(1000000000), "the TSC did not come back");
}

const struct check last_checks[] = {
    {"timer-deadline-tsc", check_deadline_tsc, CHECK_X2, 1},
    {NULL,                 NULL,               0,        0},
};

const struct check timer_checks[] = {
    {"timer-oneshot",         check_oneshot,         CHECK_BOTH, 1},
    {"timer-periodic",        check_periodic,        CHECK_BOTH, 1},
    {"timer-divide",          check_divide,          CHECK_BOTH, 1},
    {"timer-masked",          check_masked,          CHECK_BOTH, 1},
    {"timer-rewrite",         check_rewrite,         CHECK_BOTH, 1},
    {"timer-mode-change",     check_mode_change,     CHECK_BOTH, 1},
    {"timer-deadline",        check_deadline,        CHECK_BOTH, 1},
    {"timer-deadline-limits", check_deadline_limits, CHECK_BOTH, 1},
    {"timer-deadline-masked", check_deadline_masked, CHECK_BOTH, 1},
    {"timer-of-all",          check_timers_of_all,   CHECK_BOTH, 2},
    {NULL,                    NULL,                  0,          0},
};
