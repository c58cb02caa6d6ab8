/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers of vCPUs that sleep, as fast as they go; with interrupts that are taken, and with such as nobody ever takes.
 */
#include "guests/hostile/hostile.h"

#define TICK_DIVISOR    24u /* of 1.193182 MHz: 20 us */
#define SLOW_DIVISOR    0u  /* 65536: 55 ms */
#define LVT_PERIODIC    0x20000u
#define DIVIDE_BY_1     0xbu
#define APIC_TICK_COUNT 1000u
#define APIC_SLOW_COUNT 2000000u

#define HPET               0xfed00000u
#define HPET_CONFIG        0x010u
#define HPET_TIMER(n)      (0x100u + 0x20u * (n))
#define HPET_LEVEL         0x02u
#define HPET_ENABLE        0x04u
#define HPET_PERIODIC      0x08u
#define HPET_SET_VALUE     0x40u
#define HPET_ROUTE(pin)    ((pin) << 9)
#define HPET_TICKS         100u
#define IOAPIC_SELECT      0xfec00000u
#define IOAPIC_WINDOW      0xfec00010u
#define IOAPIC_REDIRECT(n) (0x10u + 2 * (n))
#define PIN_LEVEL          0x8000u
#define PIN_HPET           20u
#define RTC_A              0x0au
#define RTC_B              0x0bu
#define RTC_FASTEST        0x23u /* 8192 Hz */
#define RTC_PERIODIC       0x42u

void hostile_note_tick(void);

static volatile u32 ticks;

/* Where a tick costs more than its 20 us, only the handler runs: so it is the handler that ends the attack. */
static void count_tick(struct interrupt_frame *frame)
{
    (void)frame;
    ticks++;
    if (hostile_is_over())
        pit_set_periodic(SLOW_DIVISOR);
}

static void timer(void)
{
    interrupts_set_irq(0, count_tick);
    pit_set_periodic(TICK_DIVISOR);
    hostile_sleep();
    print("hostile ticks=%u\n", ticks);
}

/* A slow sleep notices the end. */
static void wait_for_end(void)
{
    while (!hostile_is_over())
        hypercall_sleep_until(hypercall_clock_ns() + 50000000);
}

static void blocked(void)
{
    pit_set_periodic(TICK_DIVISOR);
    wait_for_end();
}

static void periodic(u32 tpr)
{
    hostile_open_apic(tpr);
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TAKEN);
    apic_write(APIC_TIMER_INITIAL, APIC_TICK_COUNT);
}

/* As count_tick(). */
void hostile_note_tick(void)
{
    if (hostile_is_over())
        apic_write(APIC_TIMER_INITIAL, APIC_SLOW_COUNT);
}

static void prepare_lapic(void)
{
    interrupts_set_gate(VECTOR_TAKEN, hostile_tick);
}

/* The local APIC's timer of each vCPU. */
static void lapic(u32 self)
{
    (void)self;
    periodic(0);
    hostile_sleep();
    hypercall_exit(0);
}

static void first_lapic(void)
{
    lapic(0);
}

static void lapic_masked(u32 self)
{
    (void)self;
    periodic(TPR_ALL);
    for (;;)
        cpu_wait_for_interrupt();
}

static void first_lapic_masked(void)
{
    periodic(TPR_ALL);
    wait_for_end();
}

static void ioapic_write(u32 reg, u32 value)
{
    *(volatile u32 *)IOAPIC_SELECT = reg;
    *(volatile u32 *)IOAPIC_WINDOW = value;
}

static void hpet_write(u32 offset, u32 value)
{
    *(volatile u32 *)(HPET + offset) = value;
    *(volatile u32 *)(HPET + offset + 4) = 0;
}

/* All comparators, by a level that nobody clears: each EOI is followed by the next interrupt. */
static void start_hpet(void)
{
    hpet_write(HPET_CONFIG, 0);
    for (u32 n = 0; n < 3; n++) {
        u32 mode = n == 0 ? HPET_PERIODIC | HPET_SET_VALUE : 0;
        ioapic_write(IOAPIC_REDIRECT(PIN_HPET + n) + 1, 0);
        ioapic_write(IOAPIC_REDIRECT(PIN_HPET + n), PIN_LEVEL | VECTOR_TAKEN);
        hpet_write(HPET_TIMER(n), HPET_LEVEL | HPET_ENABLE | mode | HPET_ROUTE(PIN_HPET + n));
        hpet_write(HPET_TIMER(n) + 8, HPET_TICKS);
    }
    hpet_write(HPET_CONFIG, 1);
}

static void hpet(void)
{
    hostile_open_apic(0);
    start_hpet();
    for (;;)
        cpu_wait_for_interrupt();
}

/* The first vCPU does nothing but handle interrupts: another one ends the attack. */
static void end(u32 self)
{
    (void)self;
    wait_for_end();
    hypercall_exit(0);
}

static void hpet_masked(void)
{
    hostile_open_apic(TPR_ALL);
    start_hpet();
    wait_for_end();
}

static void rtc_write(u8 index, u8 value)
{
    cpu_out8(ROOTLET_PORT_CMOS_INDEX, index);
    cpu_out8(ROOTLET_PORT_CMOS_DATA, value);
}

static void end_rtc(struct interrupt_frame *frame)
{
    (void)frame;
    cpu_out8(ROOTLET_PORT_CMOS_INDEX, 0x0c);
    (void)cpu_in8(ROOTLET_PORT_CMOS_DATA);
}

static void rtc(void)
{
    interrupts_set_irq(8, end_rtc);
    rtc_write(RTC_A, RTC_FASTEST);
    rtc_write(RTC_B, RTC_PERIODIC);
    hostile_sleep();
}

/* Everything at once on the boot vCPU, and each other vCPU with its own. */
static void first_all(void)
{
    pit_set_periodic(1);
    rtc_write(RTC_A, RTC_FASTEST);
    rtc_write(RTC_B, RTC_PERIODIC);
    periodic(TPR_ALL);
    start_hpet();
    wait_for_end();
}

/* Short sleeps by hypercall. */
static void naps(u32 self)
{
    (void)self;
    while (!hostile_is_over())
        hypercall_sleep_until(hypercall_clock_ns() + 10000);
    hypercall_exit(0);
}

static void first_naps(void)
{
    naps(0);
}

const struct attack hostile_timers[] = {
    {"timer",        NULL,          timer,              NULL        },
    {"blocked",      NULL,          blocked,            NULL        },
    {"lapic",        prepare_lapic, first_lapic,        lapic       },
    {"lapic-masked", NULL,          first_lapic_masked, lapic_masked},
    {"hpet",         NULL,          hpet,               end         },
    {"hpet-masked",  NULL,          hpet_masked,        NULL        },
    {"rtc",          NULL,          rtc,                NULL        },
    {"all",          NULL,          first_all,          lapic_masked},
    {"naps",         NULL,          first_naps,         naps        },
    {NULL,           NULL,          NULL,               NULL        },
};
