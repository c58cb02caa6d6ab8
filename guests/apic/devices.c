/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O APIC and what reaches the vCPUs through it: the PIT by pin 2, the CMOS clock by pin 8, the UART by pin 4. Also
 * helpers for 8259A and PIT.
 */
#include "guests/apic/apic.h"

#define IOAPIC_SELECT ((volatile u32 *)0xfec00000ull)
#define IOAPIC_WINDOW ((volatile u32 *)0xfec00010ull)
#define PINS          24u
#define PIN_PIT       2u
#define PIN_UART      4u
#define PIN_RTC       8u
#define VECTOR        0x55u

#define CMOS_A   0x0au
#define CMOS_B   0x0bu
#define CMOS_C   0x0cu
#define CMOS_PIE 0x40u

void ioapic_write(u32 index, u32 value)
{
    *IOAPIC_SELECT = index;
    *IOAPIC_WINDOW = value;
}

u32 ioapic_read(u32 index)
{
    *IOAPIC_SELECT = index;
    return *IOAPIC_WINDOW;
}

void ioapic_set_pin(u32 pin, u32 low, u32 destination)
{
    ioapic_write(0x11 + 2 * pin, destination << 24);
    ioapic_write(0x10 + 2 * pin, low);
}

void ioapic_mask_all(void)
{
    for (u32 pin = 0; pin < PINS; pin++)
        ioapic_set_pin(pin, LVT_MASKED, 0);
}

void pic_init(void)
{
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x11);
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, VECTOR_PIC);
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 4);
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 1);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE, 0x11);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE + 1, VECTOR_PIC + 8);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE + 1, 2);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE + 1, 1);
    pic_mask_all();
}

void pic_mask_all(void)
{
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xff);
    cpu_out8(ROOTLET_PORT_PIC_SLAVE + 1, 0xff);
}

void pit_start(u8 mode, u32 count)
{
    cpu_out8(ROOTLET_PORT_PIT + 3, (u8)(0x30 | mode << 1));
    cpu_out8(ROOTLET_PORT_PIT, (u8)count);
    cpu_out8(ROOTLET_PORT_PIT, (u8)(count >> 8));
}

void pit_stop(void)
{
    cpu_out8(ROOTLET_PORT_PIT + 3, 0x30);
}

static u8 cmos_read(u8 index)
{
    cpu_out8(ROOTLET_PORT_CMOS_INDEX, index);
    return cpu_in8(ROOTLET_PORT_CMOS_DATA);
}

static void cmos_write(u8 index, u8 value)
{
    cpu_out8(ROOTLET_PORT_CMOS_INDEX, index);
    cpu_out8(ROOTLET_PORT_CMOS_DATA, value);
}

static void check_ioapic_registers(void)
{
    u32 version = ioapic_read(1);

    need((version >> 16 & 0xff) == PINS - 1, "version %x", version);
    need((version & 0xff) >= 0x11, "version %x", version);
    ioapic_write(0, 0xffffffff);
    need(ioapic_read(0) == 0x0f000000, "the ID reads %x", ioapic_read(0));
    ioapic_write(0, 0);
    for (u32 pin = 0; pin < PINS; pin++) {
        ioapic_set_pin(pin, 0x1a7ff, 0xa5);
        need(ioapic_read(0x10 + 2 * pin) == 0x1a7ff, "pin %u low reads %x", pin, ioapic_read(0x10 + 2 * pin));
        need(ioapic_read(0x11 + 2 * pin) == 0xa5000000, "pin %u high reads %x", pin, ioapic_read(0x11 + 2 * pin));
        ioapic_set_pin(pin, LVT_MASKED | 0x5000, 0);
        need(ioapic_read(0x10 + 2 * pin) == LVT_MASKED, "pin %u: read-only bits were written", pin);
    }
    *IOAPIC_SELECT = 0x12;
    need(*IOAPIC_SELECT == 0x12, "the index reads %x", *IOAPIC_SELECT);
}

/* One PIT shot by its pin arrives at the vCPUs of `mask`, and nowhere else. */
static void need_shot(u32 low, u32 destination, u32 mask, const char *what)
{
    clear_log();
    ioapic_set_pin(PIN_PIT, low, destination);
    pit_start(0, 60);
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        if (mask >> cpu & 1)
            need(wait_for(&cpus[cpu].count[VECTOR], 1), "%s: nothing at vCPU %u", what, cpu);
    wait_ns(100000);
    barrier();
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        need(cpus[cpu].order_length == (mask >> cpu & 1), "%s: %u interrupts at vCPU %u", what, cpus[cpu].order_length,
             cpu);
}

static void set_logical(void)
{
    if (x2apic)
        return;
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 1u << cpu_index() << 24);
}

static void check_ioapic_edge(void)
{
    u32 all = (1u << cpu_count) - 1;

    run_on_all(set_logical);
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        need_shot(VECTOR, cpu, 1u << cpu, "by ID");
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        need_shot(ICR_LOGICAL | VECTOR, 1u << cpu, 1u << cpu, "logical");
    need_shot(ICR_LOGICAL | VECTOR, all, all, "logical, all");
    need_shot(VECTOR, 0xff, all, "broadcast");
    need_shot(VECTOR, 0x33, 0, "an absent ID");
    need_shot(LVT_MASKED | VECTOR, 0, 0, "masked");
    need(!apic_has(APIC_TMR, VECTOR), "TMR is set for an edge");
}

static void raise_priority(void)
{
    apic_write(APIC_TPR, 0x40);
}

static void check_ioapic_lowest(void)
{
    run_on_all(set_logical);
    for (u32 cpu = 0; cpu < cpu_count; cpu++) {
        run_on_all(raise_priority);
        run_on(cpu, apic_reset_state);
        need_shot(ICR_LOGICAL | MODE_LOWEST | VECTOR, (1u << cpu_count) - 1, 1u << cpu, "lowest priority");
    }
}

static void check_ioapic_nmi(void)
{
    for (u32 cpu = 0; cpu < cpu_count; cpu++) {
        clear_log();
        ioapic_set_pin(PIN_PIT, MODE_NMI | VECTOR, cpu);
        pit_start(0, 60);
        need(wait_for(&cpus[cpu].count[VECTOR_NMI], 1), "no NMI at vCPU %u", cpu);
        need(cpus[cpu].count[VECTOR] == 0, "the vector came");
    }
}

static volatile u32 nmi_depth, nested_nmis, nmis_inside;

/* While the first one is in service, they come by a pin of the I/O APIC, by LINT0 and by an IPI. */
static void take_more_nmis(void)
{
    nested_nmis += nmi_depth++ != 0;
    if (cpus[0].count[VECTOR_NMI] == 1) {
        pit_start(0, 60);
        apic_send(0, MODE_NMI);
        wait_ns(200000);
        nmis_inside = cpus[0].count[VECTOR_NMI];
    }
    nmi_depth--;
}

/* One in service and one latched, whatever their sources. SDM 3A 6.7.1 "Handling Multiple NMIs" */
static void check_nmi_latch(void)
{
    nmi_depth = nested_nmis = 0;
    vector_handlers[VECTOR_NMI] = take_more_nmis;
    cpu_out8(ROOTLET_PORT_PIC_MASTER + 1, 0xfe);
    apic_write(APIC_LVT_LINT0, MODE_NMI);
    ioapic_set_pin(PIN_PIT, MODE_NMI, 0);
    apic_send(0, MODE_NMI);
    wait_ns(200000);
    need(nmis_inside == 1 && nested_nmis == 0, "%u NMIs in the handler of one", nmis_inside);
    need(cpus[0].count[VECTOR_NMI] == 2, "%u NMIs, not two", cpus[0].count[VECTOR_NMI]);
    vector_handlers[VECTOR_NMI] = NULL;
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x0c); /* polling it acknowledges what it still asks for */
    cpu_in8(ROOTLET_PORT_PIC_MASTER);
    cpu_out8(ROOTLET_PORT_PIC_MASTER, 0x20);
}

static void check_ioapic_masked_edge(void)
{
    ioapic_set_pin(PIN_PIT, LVT_MASKED | VECTOR, 0);
    pit_start(0, 60);
    wait_ns(150000);
    ioapic_set_pin(PIN_PIT, VECTOR, 0);
    wait_ns(50000);
    need(cpus[0].count[VECTOR] == 0, "an edge that came while masked is delivered");
    pit_start(0, 60);
    need(wait_for(&cpus[0].count[VECTOR], 1), "the next edge does not come");
}

static void check_pit(void)
{
    ioapic_set_pin(PIN_PIT, VECTOR, 0);
    u64 before = cpu_rdtsc();
    pit_start(2, 480); /* 0.4 ms */
    need(wait_for(&cpus[0].count[VECTOR], 10), "periods: %u", cpus[0].count[VECTOR]);
    u32 came = cpus[0].count[VECTOR]; /* before its time is read: the next may come in between */
    u64 taken = cpus[0].tsc[VECTOR] - before;
    need(taken >= tsc_of_ns((u64)(came - 1) * 480 * 1000000000 / 1193182) * 999 / 1000,
         "%u periods of 480 clocks in %llu ticks", came, taken);
    pit_stop();
}

/* 976.5625 us; each interrupt only after register C was read. */
static void read_c(void)
{
    cmos_read(CMOS_C);
    apic_end();
}

static void check_rtc(void)
{
    u8 a = cmos_read(CMOS_A), b = cmos_read(CMOS_B);

    ioapic_set_pin(PIN_RTC, VECTOR, 0);
    cmos_write(CMOS_A, 0x26);
    cmos_read(CMOS_C);
    vector_handlers[VECTOR] = read_c;
    u64 before = cpu_rdtsc();
    cmos_write(CMOS_B, b | CMOS_PIE);
    need(wait_for(&cpus[0].count[VECTOR], 4), "periodic interrupts: %u", cpus[0].count[VECTOR]);
    u64 taken = cpus[0].tsc[VECTOR] - before;
    need(taken >= tsc_of_ns(3 * 976562) * 999 / 1000, "4 periods in %llu ticks", taken);
    cpu_interrupts_off(); /* none comes between the two */
    vector_handlers[VECTOR] = NULL;
    u32 count = cpus[0].count[VECTOR];
    cpu_interrupts_on();
    wait_ns(3000000);
    need(cpus[0].count[VECTOR] == count + 1, "%u interrupts though register C is not read",
         cpus[0].count[VECTOR] - count);
    u8 c = cmos_read(CMOS_C);
    need((c & 0xc0) == 0xc0, "register C is %x", c);
    cmos_write(CMOS_B, b);
    cmos_write(CMOS_A, a);
}

/* The transmitter is empty: enabling its interrupt is an edge. */
static void check_uart(void)
{
    ioapic_set_pin(PIN_UART, VECTOR, 0);
    u8 mcr = cpu_in8(ROOTLET_PORT_UART + 4);
    cpu_out8(ROOTLET_PORT_UART + 4, 0x0b);
    cpu_out8(ROOTLET_PORT_UART + 1, 2);
    need(wait_for(&cpus[0].count[VECTOR], 1), "no interrupt by the transmitter");
    need((cpu_in8(ROOTLET_PORT_UART + 2) & 7) == 2, "the UART does not say why");
    cpu_out8(ROOTLET_PORT_UART + 1, 0);
    cpu_out8(ROOTLET_PORT_UART + 4, mcr);
}

const struct check device_checks[] = {
    {"ioapic-registers",   check_ioapic_registers,   CHECK_ONCE, 1},
    {"ioapic-edge",        check_ioapic_edge,        CHECK_BOTH, 1},
    {"ioapic-lowest",      check_ioapic_lowest,      CHECK_BOTH, 1},
    {"ioapic-nmi",         check_ioapic_nmi,         CHECK_BOTH, 1},
    {"nmi-latch",          check_nmi_latch,          CHECK_BOTH, 1},
    {"ioapic-masked-edge", check_ioapic_masked_edge, CHECK_BOTH, 1},
    {"pit",                check_pit,                CHECK_ONCE, 1},
    {"rtc",                check_rtc,                CHECK_ONCE, 1},
    {"uart",               check_uart,               CHECK_ONCE, 1},
    {NULL,                 NULL,                     0,          0},
};
