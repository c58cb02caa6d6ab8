/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole virtual PC under a hostile guest: bytes become port accesses, input, jumps of time and acknowledges. Checked
 * beyond what the sanitizers see: INTR as told equals INTR as asked, no deadline in the past, no result too wide.
 * links: drivers/virt/pc.c drivers/virt/pic.c drivers/virt/pit.c drivers/virt/uart.c drivers/virt/cmos.c
 * links: drivers/virt/i8042.c drivers/virt/power.c drivers/virt/crtc.c drivers/virt/pci.c kernel/vm/bus.c
 * kernel/vm/vtimer.c links: drivers/virt/pm.c drivers/virt/vioapic.c drivers/virt/vhpet.c
 */
#include <stdio.h>
#include <stdlib.h>

#include "drivers/virt/pc.h"
#include "kernel/panic.h"
#include "test/fake/fuzz_input.h"

#define SPAN_MAX_NS (1ull << 57) /* four and a half years */
#define CLOCK_MAX   (1ull << 61)

static struct bus bus;
static struct vtimer_set timers;
static struct pc pc;
static u64 now_ns;
static bool asserted;

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

static void console_put(void *context, u8 character)
{
    (void)context;
    (void)character;
}

static void request(void *context, enum pc_request what)
{
    (void)context;
    require(what == PC_REQUEST_POWEROFF || what == PC_REQUEST_RESET, "request");
}

static void interrupt_raised(void *context)
{
    (void)context;
    asserted = true;
}

static u8 level_vector; /* of the last level-triggered message */

static bool interrupt_message(void *context, const struct vioapic_message *message)
{
    (void)context;
    require(message->destination < 0xff || message->destination == VIOAPIC_BROADCAST, "destination");
    require(!message->level || message->delivery < 2, "a level without a vector");
    if (message->level)
        level_vector = message->vector;
    return message->vector & 1;
}

static int typed; /* bytes that wait for COM1 */

static int console_get(void *context)
{
    (void)context;
    return typed ? typed-- : -1;
}

static const struct pc_host host = {NULL, console_put, request, interrupt_raised, interrupt_message, console_get};
static const struct pc_host plain_host = {NULL, console_put, request, interrupt_raised, NULL, console_get};

/* Ports that a device answers: a random port seldom does. */
static const u16 ports[] = {0x20,  0x21,  0xa0,  0xa1,  0x4d0, 0x4d1,  0x40,   0x41,  0x42,  0x43,  0x61,
                            0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd,  0x3fe,  0x3ff, 0x70,  0x71,  0x60,
                            0x64,  0x92,  0xcf8, 0xcf9, 0xcfc, 0x3b4,  0x3b5,  0x3c0, 0x3c1, 0x3c8, 0x3c9,
                            0x3d4, 0x3d5, 0x3da, 0x604, 0x605, 0x8900, 0xb004, 0x600, 0x602, 0x608, 0x60a};

static u16 take_port(struct input *input)
{
    u8 choice = (u8)take(input, 1);
    return choice < 240 ? ports[choice % ARRAY_SIZE(ports)] : (u16)take(input, 2);
}

/* The I/O APIC's window through its index, the HPET's registers, or anything near them. */
static u64 take_address(struct input *input)
{
    u16 choice = (u16)take(input, 2);

    if (choice & 0x8000)
        return VHPET_ADDRESS + (choice & 0x1ff);
    if (choice & 0x4000)
        return VIOAPIC_ADDRESS + (choice & 0xff);
    bus_write_memory(&bus, gpa(VIOAPIC_ADDRESS), 4, choice & 0x3f);
    return VIOAPIC_ADDRESS + 0x10;
}

static void access_memory(struct input *input, bool write)
{
    u64 address = take_address(input);
    u8 bytes = (u8)(1u << (take(input, 1) & 3));

    if (write) {
        bus_write_memory(&bus, gpa(address), bytes, take(input, bytes));
        return;
    }
    u64 value = bus_read_memory(&bus, gpa(address), bytes);
    require(bytes == 8 || value >> (8 * bytes) == 0, "a result is wider than its access");
}

/* Runs what is due, as the vCPU's loop does; the guest that lets a span pass costs a bounded number of runs. */
static void pass_time(u64 span_ns, bool late)
{
    u64 target = now_ns + span_ns;

    for (unsigned runs = 0; !late && timers.next_ns <= target && runs < 64; runs++) {
        u64 before = now_ns;
        if (timers.next_ns > now_ns)
            now_ns = timers.next_ns;
        vtimer_run(&timers, now_ns);
        require(timers.next_ns > now_ns, "a deadline is not in the future after a run");
        require(runs == 0 || now_ns > before, "time stands still");
    }
    now_ns = target;
    vtimer_run(&timers, now_ns);
    require(timers.next_ns > now_ns, "a deadline is not in the future after a late run");
}

static void step(struct input *input)
{
    static const u8 sizes[4] = {1, 1, 2, 4};
    struct intc intc = pc_interrupt_controller(&pc);
    u8 what = (u8)take(input, 1);
    u8 bytes = sizes[what >> 3 & 3];

    switch (what & 7) {
    case 0:
    case 1:
    case 2: {
        u16 port = take_port(input);
        bus_write_port(&bus, port, bytes, (u32)take(input, bytes));
        break;
    }
    case 3:
    case 4: {
        u32 value = bus_read_port(&bus, take_port(input), bytes);
        require(bytes == 4 || value >> (8 * bytes) == 0, "a result is wider than its access");
        break;
    }
    case 5:
        if (now_ns < CLOCK_MAX)
            pass_time(take(input, 1 + (what >> 5)) % SPAN_MAX_NS, what & 8);
        break;
    case 6:
        if (what & 0x80) {
            access_memory(input, what & 0x40);
            break;
        }
        if (what & 0x40)
            pc_end_interrupt(&pc, level_vector);
        if (*intc.pending)
            intc.acknowledge(intc.device);
        break;
    default:
        typed = (int)take(input, 1);
        pc_take_input(&pc);
        break;
    }
    asserted = asserted && *intc.pending;
    require(*intc.pending == asserted, "INTR differs from what was told");
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct input input = {data, size};
    u64 wall_seconds = take(&input, 5);
    u64 mem_bytes = take(&input, 5);
    const struct pc_host *chosen = mem_bytes & 1 ? &host : &plain_host;

    typed = 0;
    now_ns = 0;
    asserted = false;
    bus_init(&bus);
    vtimer_set_init(&timers, read_clock, NULL);
    require(pc_init(&pc, chosen, &bus, &timers, wall_seconds, mem_bytes) == STATUS_OK, "pc_init");
    while (input.left)
        step(&input);
    return 0;
}
