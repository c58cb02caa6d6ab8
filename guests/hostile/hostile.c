/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A neighbour that means harm, not to memory but to time. attack=<name>, for ms=<n> (1000); then it ends with status 0.
 * flood: console hypercalls of 4096 newlines. timer: sleeps, and its PIT ends the sleep every 20 us. blocked: the same,
 * but with interrupts that are never taken. ipi: its vCPU 1 sends IPIs of all vectors to vCPU 0, which sleeps and will
 * not take them (cpus=2).
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define APIC_BASE     0xfee00000u
#define APIC_TPR      0x80u
#define APIC_SVR      0xf0u
#define APIC_ICR_LOW  0x300u
#define APIC_ICR_HIGH 0x310u
#define ICR_ASSERT    0x4000u
#define TICK_DIVISOR  24u /* of 1.193182 MHz: 20 us */
#define SLOW_DIVISOR  0u  /* 65536: 55 ms */
#define FLOOD_BYTES   4096u
#define FIRST_VECTOR  0x20u

void hostile_entry(void);
void hostile_main(void);

u8 hostile_stack[4096] __attribute__((aligned(16)));
static u8 newlines[FLOOD_BYTES];
static u64 end;
static volatile u32 ticks;

static void apic_write(u32 offset, u32 value)
{
    *(volatile u32 *)(APIC_BASE + offset) = value;
}

static bool is_over(void)
{
    return cpu_rdtsc() >= end;
}

static void flood(void)
{
    u32 written;

    for (u32 i = 0; i < FLOOD_BYTES; i++)
        newlines[i] = '\n';
    while (!is_over())
        hypercall_console_write((u32)newlines, FLOOD_BYTES, &written);
}

/* Where a tick costs more than its 20 us, only the handler runs: so it is the handler that ends the attack. */
static void count_tick(struct interrupt_frame *frame)
{
    (void)frame;
    ticks++;
    if (is_over())
        pit_set_periodic(SLOW_DIVISOR);
}

static void tick(void)
{
    interrupts_set_irq(0, count_tick);
    pit_set_periodic(TICK_DIVISOR);
    while (!is_over())
        cpu_wait_for_interrupt();
    print("hostile ticks=%u\n", ticks);
}

/* A second, slow timer ends the sleep: the PIT is masked at the controller. */
static void tick_blocked(void)
{
    pit_set_periodic(TICK_DIVISOR);
    while (!is_over())
        hypercall_sleep_until(hypercall_clock_ns() + 50000000);
}

/* vCPU 1, which entry.asm has given a stack. */
void hostile_main(void)
{
    apic_write(APIC_ICR_HIGH, 0);
    while (!is_over())
        for (u32 vector = FIRST_VECTOR; vector < 0x100; vector++)
            apic_write(APIC_ICR_LOW, ICR_ASSERT | vector);
    hypercall_exit(0);
}

static void send_ipis(void)
{
    struct hypercall call = {ROOTLET_CALL_START_VCPU, 1, (u32)hostile_entry, 1};

    apic_write(APIC_SVR, 0x1ff);
    apic_write(APIC_TPR, 0xff);
    pit_set_periodic(60000);
    expect(hypercall(&call) == ROOTLET_OK, "vCPU 1 (cpus=2)");
    for (;;)
        cpu_wait_for_interrupt();
}

int guest_main(void)
{
    const char *attack = guest_option("attack");

    expect(attack, "attack=flood, timer, blocked or ipi");
    end = cpu_rdtsc() + (u64)guest_option_number("ms", 1000) * hypercall_tsc_khz();
    interrupts_init();
    if (text_begins_with(attack, "flood"))
        flood();
    else if (text_begins_with(attack, "timer"))
        tick();
    else if (text_begins_with(attack, "blocked"))
        tick_blocked();
    else if (text_begins_with(attack, "ipi"))
        send_ipis();
    else
        guest_fail("attack= is none of flood, timer, blocked, ipi");
    return 0;
}
