/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM that goes back: it takes a snapshot of itself, spoils memory, devices and its other vCPUs' work, goes back, and
 * finds all as it was, but for the time. Timers that were armed at the snapshot must fire each time. Options:
 * restores=<n> (20), pages=<n> that are spoiled each time (20), plain=1: nothing but memory, and few lines, to see what
 * a restore costs, mark=<n>: no snapshot, but that hypercall, for snapshot-at=. Run it with cpus=1 or more.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define MAX_VCPUS   16u
#define PAGE_WORDS  1024u
#define FIRST_PAGE  0x200000u
#define APIC        0xfee00000u
#define APIC_VECTOR 0x2fu /* the last that the IDT has; nothing is at IRQ 15 */
#define ONESHOT     3579u /* about 3 ms of the PIT's clock */
#define APIC_COUNT  3000000u
#define PATIENCE    1000000u
#define NEVER       0xffffffffu

void rewind_entry(void); /* entry.asm: sets up segments and a stack, calls rewind_main(its index) */
void rewind_main(u32 index);
void rewind_apic_entry(void); /* counts, and ends the interrupt */

/* One stack per vCPU that is started, found by entry.asm. */
u8 rewind_stacks[MAX_VCPUS][4096] __attribute__((aligned(16)));
volatile u32 rewind_apic_count;

static volatile u32 pit_count;
static volatile u32 turns[MAX_VCPUS], mirrors[MAX_VCPUS];

static u32 *page_at(u32 page)
{
    return (u32 *)(uintptr_t)(FIRST_PAGE + page * 4096u);
}

static volatile u32 *apic_register(u32 offset)
{
    return (volatile u32 *)(uintptr_t)(APIC + offset);
}

static void count_pit(struct interrupt_frame *frame)
{
    (void)frame;
    pit_count++;
}

/*
 * Two counters that are always equal, or the second one behind; whoever goes back must not tear them apart. Nothing
 * interrupts this vCPU, but with interrupts off Bochs holds up the host's, too.
 */
void rewind_main(u32 index)
{
    cpu_interrupts_on();
    for (;;) {
        expect(turns[index] == mirrors[index], "a vCPU's two counters differ");
        turns[index]++;
        mirrors[index]++;
    }
}

static void start_others(u32 vcpus)
{
    for (u32 index = 1; index < vcpus; index++) {
        struct hypercall call = {ROOTLET_CALL_START_VCPU, index, (u32)rewind_entry, index};
        expect(hypercall(&call) == ROOTLET_OK, "a vCPU cannot be started");
    }
}

static void wait_for_others(u32 vcpus, const u32 *last)
{
    for (u32 index = 1; index < vcpus; index++)
        for (u32 yields = 0; mirrors[index] == last[index]; yields++) {
            expect(yields < PATIENCE, "a vCPU does not go on");
            hypercall_yield();
        }
}

static u32 word_of(u32 page, u32 word)
{
    return page * 2654435761u + word;
}

static void fill(u32 pages)
{
    for (u32 page = 0; page < pages; page++)
        for (u32 word = 0; word < PAGE_WORDS; word++)
            page_at(page)[word] = word_of(page, word);
}

static void check(u32 pages)
{
    for (u32 page = 0; page < pages; page++)
        for (u32 word = 0; word < PAGE_WORDS; word++)
            expect(page_at(page)[word] == word_of(page, word), "memory is not as it was");
}

static void spoil(u32 pages)
{
    for (u32 page = 0; page < pages; page++)
        page_at(page)[page * 7 % PAGE_WORDS] ^= NEVER;
}

static void arm_timers(void)
{
    interrupts_set_irq(0, count_pit);
    interrupts_set_gate(APIC_VECTOR, rewind_apic_entry);
    *apic_register(0xf0) = 0x1ff;
    *apic_register(0x3e0) = 0xb; /* divide by 1 */
    *apic_register(0x320) = APIC_VECTOR;
    *apic_register(0x380) = APIC_COUNT;
    pit_set_oneshot(ONESHOT);
}

static void wait_for_timers(void)
{
    while (pit_count == 0 || rewind_apic_count == 0) {
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
    expect(pit_count == 1 && rewind_apic_count == 1, "a timer fired twice");
}

static void spoil_devices(void)
{
    interrupts_mask_irq(0);
    pit_set_periodic(2000);
    *apic_register(0x320) = 0x10000;
    cpu_out8(ROOTLET_PORT_DMA_PAGES, 0x77);
}

static u32 snapshot(void)
{
    struct hypercall call = {ROOTLET_CALL_SNAPSHOT, NEVER, 0, 0};
    expect(hypercall(&call) == ROOTLET_OK, "the snapshot was refused");
    return call.ebx;
}

/* Where snapshot-at= takes one, if that is what the VM's line says. It returns no count: each 10 ms count as one. */
static u32 mark(u32 number, u32 restores)
{
    struct hypercall call = {number, 0, 0, 0};
    expect(hypercall(&call) == ROOTLET_ERROR_UNKNOWN, "the mark is a call");
    u32 times = (u32)divide_u64(hypercall_clock_ns(), 10000000, NULL);
    return times < restores ? times : restores;
}

static void restore(void)
{
    struct hypercall call = {ROOTLET_CALL_RESTORE, 0, 0, 0};
    u32 status;
    do { /* another vCPU may be at it */
        status = hypercall(&call);
        call.eax = ROOTLET_CALL_RESTORE;
    } while (status == ROOTLET_ERROR_STATE);
    guest_fail("a restore returned");
}

static u32 now_us(void)
{
    return (u32)divide_u64(hypercall_clock_ns(), 1000, NULL);
}

int guest_main(void)
{
    struct hypercall identity = {ROOTLET_CALL_IDENTITY, 0, 0, 0};
    struct hypercall none = {ROOTLET_CALL_RESTORE, 0, 0, 0};
    u32 last[MAX_VCPUS];

    expect(hypercall_present(), "no hypervisor in sight");
    expect(hypercall(&identity) == ROOTLET_OK, "identity");
    expect(hypercall(&none) == ROOTLET_ERROR_STATE, "a restore without a snapshot");
    u32 vcpus = identity.edx;
    u32 restores = guest_option_number("restores", 20);
    u32 pages = guest_option_number("pages", 20);
    bool plain = guest_option("plain") != NULL;
    fill(pages);
    start_others(vcpus);
    cpu_out8(ROOTLET_PORT_DMA_PAGES, 0x55);
    if (!plain) {
        interrupts_init();
        arm_timers();
    }
    u64 before_ns = hypercall_clock_ns(), before_tsc = cpu_rdtsc();
    for (u32 index = 1; index < vcpus; index++)
        last[index] = mirrors[index];

    u32 number = guest_option_number("mark", 0);
    u32 times = number ? mark(number, restores) : snapshot();
    u32 us = now_us();
    expect(hypercall_clock_ns() >= before_ns && cpu_rdtsc() >= before_tsc, "time went back");
    if (!plain || times <= 1 || times == 100 || times + 100 == restores || times == restores)
        print("rewind times=%u us=%u\n", times, us);
    expect(cpu_in8(ROOTLET_PORT_DMA_PAGES) == 0x55, "a device is not as it was");
    if (!plain) {
        check(pages);
        wait_for_others(vcpus, last);
        wait_for_timers();
    }
    if (times == restores) {
        print("rewind ok restores=%u vcpus=%u\n", restores, vcpus);
        return 0;
    }
    spoil(pages);
    spoil_devices();
    restore();
    return 1;
}
