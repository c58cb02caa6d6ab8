/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two local APICs and an I/O APIC under hostile guests: registers of both interfaces, mode changes, interrupts, pins,
 * IPIs that reach each other, INIT and time. Checked beyond what the sanitizers see: what is pending is what the SDM's
 * priority rules say of the page, computed anew; no vector below 16; no deadline in the past after a run.
 * links: drivers/virt/vlapic.c drivers/virt/vlapic_requests.c drivers/virt/vlapic_timer.c drivers/virt/vioapic.c
 * kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include <stdio.h>
#include <stdlib.h>

#include "drivers/virt/vioapic.h"
#include "drivers/virt/vlapic.h"
#include "drivers/virt/vlapic_timer.h"
#include "kernel/panic.h"
#include "test/fake/fuzz_input.h"

#define CPUS      2
#define CLOCK_MAX (1ull << 61)

static struct bus bus;
static struct vtimer_set timers;
static struct vlapic apics[CPUS];
static u32 pages[CPUS][VLAPIC_PAGE_BYTES / 4] ALIGNED(4096);
static struct vioapic ioapic;
static bool told[CPUS];
static bool intr[CPUS]; /* LINT0 */
static u64 now_ns;

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static u64 read_clock(void *clock)
{
    (void)clock;
    return now_ns;
}

static void notify(void *context)
{
    told[(struct vlapic *)context - apics] = true;
}

static void nmi(void *context)
{
    (void)context;
}

static void take_ipi(void *context, const struct vlapic_ipi *ipi)
{
    require(ipi->delivery != APIC_SMI && ipi->delivery != 3 && ipi->delivery != APIC_EXTINT, "delivery mode");
    require(ipi->shorthand != VLAPIC_TO_SELF, "an IPI to self left the APIC");
    for (unsigned i = 0; i < CPUS; i++) {
        if (!vlapic_receives(&apics[i], context, ipi))
            continue;
        if (ipi->delivery == APIC_INIT)
            vlapic_handle_init(&apics[i]);
        else if (ipi->delivery < APIC_SMI)
            vlapic_accept(&apics[i], ipi->vector, false);
    }
}

static void end_level(void *context, u8 vector)
{
    (void)context;
    require(vector >= 16, "the end of an illegal vector");
    vioapic_end_interrupt(&ioapic, vector);
}

static u64 ns_of_tsc(void *context, u64 tsc)
{
    (void)context;
    return tsc / 2 + (tsc & 1);
}

static bool deliver(void *context, const struct vioapic_message *message)
{
    bool accepted = false;
    (void)context;
    for (unsigned i = 0; i < CPUS; i++)
        if (message->delivery < 2 && vlapic_matches(&apics[i], message->destination, message->logical))
            accepted |= vlapic_accept(&apics[i], message->vector, message->level);
    return accepted;
}

static const struct vlapic_host host = {notify, notify, nmi, take_ipi, end_level, ns_of_tsc};

/* The highest vector of a bank of the page, or -1. */
static int top_vector(const struct vlapic *v, u32 bank)
{
    for (int vector = 255; vector >= 0; vector--)
        if (*vlapic_register(v, bank + (u32)vector / 32 * 16) >> vector % 32 & 1)
            return vector;
    return -1;
}

static void check(struct vlapic *v, int before)
{
    int request = top_vector(v, APIC_IRR);
    int serving = top_vector(v, APIC_ISR);
    int tpr = (int)*vlapic_register(v, APIC_TPR);
    int ppr = serving >= 0 && serving >> 4 > tpr >> 4 ? serving & 0xf0 : tpr;
    int expected = request >> 4 > ppr >> 4 ? request : -1;

    require(request < 0 || request >= 16, "an illegal vector is requested");
    require(vlapic_pending(v) == expected, "pending differs from the page");
    require((int)*vlapic_register(v, APIC_PPR) == ppr, "PPR");
    require(expected < 0 || before >= expected || told[v - apics], "nobody was told of a new vector");
    require((v->base & APIC_BASE_MODE) != APIC_BASE_EXTD, "an invalid mode");
}

static void access(struct vlapic *v, struct input *input, bool write)
{
    u8 index = (u8)take(input, 1);
    u8 bytes = (u8)(1u << (index >> 6));
    u64 value = 0;

    if (v->base & APIC_BASE_EXTD) {
        if (write)
            (void)!vlapic_write_msr(v, index & 0x7f, take(input, index == 0x30 ? 8 : 4));
        else
            (void)!vlapic_read_msr(v, index & 0x7f, &value);
    } else if (write) {
        vlapic_write(v, (u64)(index & 0x3f) << 4, 4, take(input, 4));
    } else {
        value = vlapic_read(v, ((u64)(index & 0x3f) << 4) + (index & 3), bytes);
        require(bytes == 8 || value >> (8 * bytes) == 0, "a result is wider than its access");
    }
}

static void pass_time(u64 span_ns)
{
    now_ns += now_ns < CLOCK_MAX ? span_ns : 0;
    for (unsigned runs = 0; timers.next_ns <= now_ns; runs++) {
        require(runs < 4, "timers without end");
        vtimer_run(&timers, now_ns);
    }
}

static void set_lint(struct vlapic *v, u8 pin, bool level)
{
    bool *lint0 = &intr[v - apics];

    if (pin) {
        vlapic_set_lint1(v, level);
        return;
    }
    bool rises = level && !*lint0;
    *lint0 = level;
    if (rises)
        vlapic_raise_lint0(v);
}

static void step(struct input *input)
{
    u8 what = (u8)take(input, 1);
    struct vlapic *v = &apics[what >> 7];
    int before[CPUS] = {vlapic_pending(&apics[0]), vlapic_pending(&apics[1])};

    told[0] = told[1] = false;
    switch (what & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
        access(v, input, what & 3);
        break;
    case 4:
        if (vlapic_pending(v) >= 0)
            require(vlapic_acknowledge(v) == before[v - apics], "acknowledged another vector");
        before[v - apics] = -1;
        break;
    case 5:
        vlapic_end_interrupt(v);
        break;
    case 6:
        vlapic_accept(v, (u8)take(input, 1), what & 16);
        break;
    case 7:
        set_lint(v, what >> 4 & 1, what >> 5 & 1);
        break;
    case 8: {
        static const u16 modes[] = {0x000, 0x400, 0x800, 0xc00, 0x900, 0xd00, 0xc01, 0x100};
        (void)!vlapic_write_base(v, APIC_ADDRESS | modes[what >> 4 & 7]);
        break;
    }
    case 9:
        vlapic_timer_write_deadline(v, take(input, 8));
        break;
    case 10:
        require(*vlapic_register(v, APIC_LVT_TIMER) & APIC_LVT_TSC_DEADLINE || !vlapic_timer_read_deadline(v),
                "a deadline outside its mode");
        break;
    case 11:
        pass_time(take(input, 1 + (what >> 4 & 7)) >> 8);
        break;
    case 12:
        bus_write_memory(&bus, gpa(VIOAPIC_ADDRESS), 4, take(input, 1));
        bus_write_memory(&bus, gpa(VIOAPIC_ADDRESS + (what & 16 ? 0x40 : 0x10)), 4, take(input, 4));
        break;
    case 13:
        vioapic_set_line(&ioapic, (u8)take(input, 1) % VIOAPIC_PINS, what & 16);
        break;
    case 14:
        vlapic_write_cr8(v, what >> 3);
        break;
    default:
        vlapic_set_virtual_wire(v);
        break;
    }
    check(&apics[0], before[0]);
    check(&apics[1], before[1]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input input = {data, size};

    now_ns = 0;
    intr[0] = intr[1] = false;
    bus_init(&bus);
    vtimer_set_init(&timers, read_clock, NULL);
    require(vioapic_init(&ioapic, &bus, deliver, NULL) == STATUS_OK, "vioapic_init");
    for (u32 i = 0; i < CPUS; i++) {
        const struct vlapic_setup setup = {&host, &apics[i], pages[i], &intr[i], &timers, i,
                                           39,    i == 0,    true,     BIT(54),  BIT(60), NULL};
        vlapic_init(&apics[i], &setup);
    }
    while (input.left)
        step(&input);
    return 0;
}
