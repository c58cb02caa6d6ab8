/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that knows the MP table and nothing else of the machine's processors and interrupts: no ACPI, no CPUID, no
 * hypercall. It starts the other processors by INIT and SIPI, takes timer interrupts on each, and interrupts of PIT and
 * UART through the I/O APIC, on the processor that it routes them to. Run it with any cpus=.
 * Intel MultiProcessor Specification 1.4, 4 "MP Configuration Table", B.4 "Application Processor Startup".
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define TRAMPOLINE 0x8000u
#define MAX_CPUS   16u
#define TICKS      5u
#define PATIENCE   40000000u /* turns of a loop that waits for an interrupt or a processor */

#define BASE_MEMORY_KIB (*(volatile u16 *)(uintptr_t)bda_memory)
#define ROM_BASE        0xf0000u
#define ROM_END         0x100000u

#define APIC_ID            0x20u
#define APIC_EOI           0xb0u
#define APIC_SVR           0xf0u
#define APIC_ICR_LOW       0x300u
#define APIC_ICR_HIGH      0x310u
#define APIC_LVT_TIMER     0x320u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_DIVIDE  0x3e0u
#define ICR_INIT           0x4500u /* asserted */
#define ICR_STARTUP        0x4600u
#define LVT_PERIODIC       0x20000u
#define LVT_MASKED         0x10000u
#define DIVIDE_BY_1        0xbu
#define TIMER_COUNT        200000u

#define REDIRECTION(pin) (0x10u + 2 * (pin))
#define PIN_MASKED       0x10000u
#define PIN_LEVEL        0x8000u
#define PIN_LOW          0x2000u

#define VECTOR_TIMER    0x28u
#define VECTOR_PIT      0x29u
#define VECTOR_UART     0x2au
#define VECTOR_SPURIOUS 0x2fu

#define ENTRY_CPU     0u
#define ENTRY_BUS     1u
#define ENTRY_IO_APIC 2u
#define ENTRY_IO_INT  3u
#define ENTRY_LOCAL   4u
#define CPU_BYTES     20u
#define OTHER_BYTES   8u
#define HEADER_BYTES  44u
#define NOT_FOUND     0xffu

#define UART_IER      (ROOTLET_PORT_UART + 1)
#define UART_IIR      (ROOTLET_PORT_UART + 2)
#define UART_MCR      (ROOTLET_PORT_UART + 4)
#define UART_MCR_OUT2 0x08u
#define UART_IER_THRE 0x02u
#define PIT_TICK      1193u /* 1 ms */

extern const u8 mp_trampoline[], mp_trampoline_end[];
void mp_entry_timer(void);
void mp_entry_pit(void);
void mp_entry_uart(void);
void mp_entry_spurious(void);
void mp_cpu_main(u32 id);
void mp_timer(void);
void mp_pit(void);
void mp_uart(void);

u8 mp_stacks[MAX_CPUS][4096] __attribute__((aligned(16)));

/* What the table says. */
static u32 cpu_count, boot_id, local_apic, io_apic;
static u8 cpu_ids[MAX_CPUS], isa_bus = NOT_FOUND;
static struct {
    u8 pin;
    u16 flags;
} routes[16]; /* of ISA interrupts */
static u32 external_inputs, nmi_inputs;

static volatile u32 started, ticks[MAX_CPUS], pit_count, pit_cpu, uart_count, uart_cpu;
static volatile uintptr_t bda_memory = 0x413; /* volatile: GCC takes so low an address for none */

/* ---- the table ---- */

static bool adds_up(const u8 *bytes, u32 count)
{
    u8 sum = 0;
    while (count--)
        sum = (u8)(sum + bytes[count]);
    return sum == 0;
}

static u16 get16(const u8 *from)
{
    return (u16)(from[0] | from[1] << 8);
}

static u32 get32(const u8 *from)
{
    return get16(from) | (u32)get16(from + 2) << 16;
}

static const u8 *search(uintptr_t from, uintptr_t to)
{
    for (; from < to; from += 16) {
        const u8 *p = (const u8 *)from;
        if (text_begins_with((const char *)p, "_MP_") && adds_up(p, 16u * p[8]))
            return p;
    }
    return NULL;
}

/* In the order of the specification: the last KiB of base memory, then the BIOS. */
static const u8 *find_table(void)
{
    uintptr_t base_end = BASE_MEMORY_KIB * 1024u;
    const u8 *pointer = search(base_end - 1024, base_end);

    if (!pointer)
        pointer = search(ROM_BASE, ROM_END);
    expect(pointer, "no MP floating pointer");
    expect(pointer[9] == 1 || pointer[9] == 4, "the version of the MP specification");
    expect(pointer[11] == 0 && get32(pointer + 4), "no MP configuration table");
    expect(!(pointer[12] & 0x80), "there is an IMCR");
    const u8 *table = (const u8 *)(uintptr_t)get32(pointer + 4);
    expect(text_begins_with((const char *)table, "PCMP") && adds_up(table, get16(table + 4)), "a broken MP table");
    return table;
}

static void read_cpu(const u8 *entry)
{
    if (!(entry[3] & 1))
        return;
    expect(cpu_count < MAX_CPUS, "too many processors");
    cpu_ids[cpu_count++] = entry[1];
    if (entry[3] & 2)
        boot_id = entry[1];
}

static void read_entry(const u8 *entry)
{
    switch (entry[0]) {
    case ENTRY_CPU:
        read_cpu(entry);
        break;
    case ENTRY_BUS:
        if (text_begins_with((const char *)entry + 2, "ISA"))
            isa_bus = entry[1];
        break;
    case ENTRY_IO_APIC:
        if (entry[3] & 1)
            io_apic = get32(entry + 4);
        break;
    case ENTRY_IO_INT:
        if (entry[1] == 0 && entry[4] == isa_bus && entry[5] < 16) {
            routes[entry[5]].pin = entry[7];
            routes[entry[5]].flags = get16(entry + 2);
        }
        break;
    case ENTRY_LOCAL:
        external_inputs += entry[1] == 3;
        nmi_inputs += entry[1] == 1;
        break;
    default:
        guest_fail("an entry of unknown type");
    }
}

static void read_table(void)
{
    const u8 *table = find_table(), *entry = table + HEADER_BYTES;

    for (u32 irq = 0; irq < 16; irq++)
        routes[irq].pin = NOT_FOUND;
    local_apic = get32(table + 36);
    for (u32 i = 0; i < get16(table + 34); i++) {
        read_entry(entry);
        entry += entry[0] == ENTRY_CPU ? CPU_BYTES : OTHER_BYTES;
    }
    expect(entry == table + get16(table + 4), "the MP table's length");
    expect(cpu_count && local_apic && io_apic && isa_bus != NOT_FOUND, "the MP table lacks something");
    expect(routes[0].pin != NOT_FOUND && routes[4].pin != NOT_FOUND, "no way for the interrupts of PIT and UART");
    expect(external_inputs == 1 && nmi_inputs == 1, "local interrupts");
}

/* ---- the controllers ---- */

static void apic_write(u32 offset, u32 value)
{
    *(volatile u32 *)(local_apic + offset) = value;
}

static u32 apic_id(void)
{
    return *(volatile u32 *)(local_apic + APIC_ID) >> 24;
}

static void io_apic_write(u32 index, u32 value)
{
    *(volatile u32 *)io_apic = index;
    *(volatile u32 *)(io_apic + 0x10) = value;
}

/* Flags of the table: polarity and trigger mode, 0 and 1 for what ISA has. */
static void route(u8 irq, u8 vector, u32 destination)
{
    u32 low = vector;

    if ((routes[irq].flags & 3) == 3)
        low |= PIN_LOW;
    if ((routes[irq].flags >> 2 & 3) == 3)
        low |= PIN_LEVEL;
    io_apic_write(REDIRECTION(routes[irq].pin) + 1, destination << 24);
    io_apic_write(REDIRECTION(routes[irq].pin), low);
}

static void mask(u8 irq)
{
    io_apic_write(REDIRECTION(routes[irq].pin), PIN_MASKED);
}

void mp_timer(void)
{
    ticks[apic_id()]++;
    apic_write(APIC_EOI, 0);
}

void mp_pit(void)
{
    pit_count++;
    pit_cpu = apic_id();
    apic_write(APIC_EOI, 0);
}

void mp_uart(void)
{
    (void)cpu_in8(UART_IIR);
    uart_count++;
    uart_cpu = apic_id();
    apic_write(APIC_EOI, 0);
}

/* ---- the processors ---- */

static void wait_for(const volatile u32 *value, u32 least, const char *text)
{
    for (u32 turn = 0; *value < least; turn++) {
        expect(turn < PATIENCE, text);
        cpu_pause();
    }
}

static void take_ticks(u32 id)
{
    apic_write(APIC_SVR, 0x100 | VECTOR_SPURIOUS);
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
    apic_write(APIC_TIMER_INITIAL, TIMER_COUNT);
    cpu_interrupts_on();
    wait_for(&ticks[id], TICKS, "no ticks of the local APIC's timer");
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
}

/* The other processors; then they sleep, and take what the I/O APIC sends them. */
void mp_cpu_main(u32 id)
{
    interrupts_load();
    take_ticks(id);
    __atomic_fetch_add(&started, 1, __ATOMIC_SEQ_CST);
    for (;;)
        cpu_wait_for_interrupt();
}

static void start_cpu(u32 id)
{
    u32 before = started;

    apic_write(APIC_ICR_HIGH, id << 24);
    apic_write(APIC_ICR_LOW, ICR_INIT);
    for (u32 i = 0; i < 2; i++) { /* the second is for those that missed the first, and does nothing to others */
        apic_write(APIC_ICR_HIGH, id << 24);
        apic_write(APIC_ICR_LOW, ICR_STARTUP | TRAMPOLINE >> 12);
    }
    wait_for(&started, before + 1, "a processor does not start");
}

static void check_io_apic(void)
{
    u32 target = cpu_ids[cpu_count - 1];

    route(0, VECTOR_PIT, target);
    pit_set_periodic(PIT_TICK);
    wait_for(&pit_count, TICKS, "no interrupt of the PIT");
    mask(0);
    expect(pit_cpu == target, "the PIT's interrupt is at another processor");
    route(4, VECTOR_UART, boot_id);
    cpu_out8(UART_MCR, UART_MCR_OUT2);
    cpu_out8(UART_IER, UART_IER_THRE); /* the transmitter is empty */
    wait_for(&uart_count, 1, "no interrupt of the UART");
    cpu_out8(UART_IER, 0);
    mask(4);
    expect(uart_cpu == boot_id, "the UART's interrupt is at another processor");
}

int guest_main(void)
{
    u32 bytes = (u32)(mp_trampoline_end - mp_trampoline);

    interrupts_init();
    interrupts_set_gate(VECTOR_TIMER, mp_entry_timer);
    interrupts_set_gate(VECTOR_PIT, mp_entry_pit);
    interrupts_set_gate(VECTOR_UART, mp_entry_uart);
    interrupts_set_gate(VECTOR_SPURIOUS, mp_entry_spurious);
    read_table();
    expect(apic_id() == boot_id, "this is not the boot processor");
    for (u32 i = 0; i < bytes; i++)
        ((volatile u8 *)(uintptr_t)TRAMPOLINE)[i] = mp_trampoline[i];
    take_ticks(boot_id);
    for (u32 i = 0; i < cpu_count; i++)
        if (cpu_ids[i] != boot_id)
            start_cpu(cpu_ids[i]);
    check_io_apic();
    print("mpkernel ok cpus=%u pit_pin=%u pit_cpu=%u uart_pin=%u\n", cpu_count, routes[0].pin, pit_cpu, routes[4].pin);
    return 0;
}
