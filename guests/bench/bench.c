/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an exit costs, measured inside the guest: RDTSC, the operation, RDTSC; the least, median and greatest difference
 * of many runs, nothing subtracted. `empty` is the bare pair of RDTSCs. `pit` is the time from a PIT expiry in a
 * spinning guest to the first instruction of its handler. One line each: bench <name> ticks=<least> median=<m> max=<n>
 * runs=<n>. Option: only=<beginning of the names to measure>.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"
#include "guests/lib/measure.h"

#define SHOT_CLOCKS  600u /* about 0.5 ms */
#define NOTHING      "0x2f0"
#define NOTHING_TOO  "0x505" /* beside the power-management ports */
#define NO_MEMORY    "0xd0000"
#define HPET_CONFIG  0xfed00010u
#define HPET_COUNT   "0xfed000f0"
#define APIC_ID      "0xfee00020"
#define APIC_COUNT   "0xfee00390"
#define APIC_LVT     0xfee00320u
#define APIC_START   0xfee00380u
#define LVT_TIMER    (1u << 18 | TIMER_VECTOR) /* TSC deadline */
#define IOAPIC_AT    0xfec00000u
#define IOAPIC_DATA  "0xfec00010"
#define IOAPIC_PIN5  0x1au /* the register: low half of its entry */
#define APIC_SVR     0xfee000f0u
#define APIC_ICR     0xfee00300u
#define SELF         0x40000u /* ICR's shorthand */
#define EOI_VECTOR   (IRQ_VECTOR_BASE + 1)
#define TIMER_VECTOR (IRQ_VECTOR_BASE + 2)
#define SHOT_TICKS   20000u

u32 latency_measure(void); /* latency.asm */
void latency_interrupt(void);
void eoi_interrupt(void);
void apic_latency_interrupt(void);

/* EDI keeps the first reading: no operation here touches it. */
#define DEFINE_MEASURE(name, operation)                                                                                \
    static u32 measure_##name(void)                                                                                    \
    {                                                                                                                  \
        u32 ticks;                                                                                                     \
        __asm__ volatile("movl $0x1b, %%ecx\n\trdtsc\n\tmovl %%eax, %%edi\n\t" operation                               \
                         "\n\trdtsc\n\tsubl %%edi, %%eax"                                                              \
                         : "=a"(ticks)                                                                                 \
                         :                                                                                             \
                         : "ebx", "ecx", "edx", "edi", "memory");                                                      \
        return ticks;                                                                                                  \
    }

DEFINE_MEASURE(empty, "")
DEFINE_MEASURE(cpuid, "movl $1, %%eax\n\tcpuid")
DEFINE_MEASURE(hypercall, "xorl %%eax, %%eax\n\tvmcall") /* ROOTLET_CALL_VERSION */
DEFINE_MEASURE(rdmsr, "rdmsr")                           /* IA32_APIC_BASE: ECX is 1BH */
DEFINE_MEASURE(in_pic, "inb $0x21, %%al")
DEFINE_MEASURE(out_nothing, "movw $" NOTHING ", %%dx\n\toutb %%al, %%dx")
DEFINE_MEASURE(out_505, "movw $" NOTHING_TOO ", %%dx\n\toutb %%al, %%dx")
DEFINE_MEASURE(rdmsr_1a0, "movl $0x1a0, %%ecx\n\trdmsr")
DEFINE_MEASURE(wrmsr_deadline, "movl $0x6e0, %%ecx\n\tincl %%edx\n\twrmsr")
DEFINE_MEASURE(ioapic_read, "movl " IOAPIC_DATA ", %%ebx")
DEFINE_MEASURE(ioapic_write, "movl $0x10000, " IOAPIC_DATA) /* the entry stays masked */
DEFINE_MEASURE(apic_count, "movl " APIC_COUNT ", %%ebx")
DEFINE_MEASURE(mmio_nothing, "movl " NO_MEMORY ", %%ebx")
DEFINE_MEASURE(mmio_or, "orl $0, " NO_MEMORY)
DEFINE_MEASURE(mmio_hpet, "movl " HPET_COUNT ", %%ebx")
DEFINE_MEASURE(mmio_apic, "movl " APIC_ID ", %%ebx")

static u32 measure_pit(void)
{
    pit_set_oneshot(SHOT_CLOCKS);
    return latency_measure();
}

static u32 measure_deadline(void)
{
    expect(msr_try_write(0x6e0, cpu_rdtsc() + SHOT_TICKS), "no IA32_TSC_DEADLINE");
    return latency_measure();
}

/* The EOI of an interrupt that is in service. */
static u32 measure_mmio_eoi(void)
{
    *(volatile u32 *)APIC_ICR = SELF | EOI_VECTOR;
    return latency_measure();
}

static void measure(const char *name, u32 (*once)(void))
{
    const char *only = guest_option("only");

    for (const char *at = name; only && *only && *only != ' ';)
        if (*only++ != *at++)
            return;
    measure_run(name, once);
}

int guest_main(void)
{
    interrupts_init();
    measure("empty", measure_empty);
    measure("cpuid", measure_cpuid);
    if (hypercall_present())
        measure("hypercall", measure_hypercall);
    measure("rdmsr", measure_rdmsr);
    measure("in-pic", measure_in_pic);
    measure("out-nothing", measure_out_nothing);
    measure("out-505", measure_out_505);
    measure("rdmsr-1a0", measure_rdmsr_1a0);
    measure("mmio-nothing", measure_mmio_nothing);
    measure("mmio-or", measure_mmio_or);
    *(volatile u32 *)HPET_CONFIG = 1; /* the counter runs */
    measure("mmio-hpet", measure_mmio_hpet);
    measure("mmio-apic", measure_mmio_apic);

    interrupts_set_irq(ROOTLET_IRQ_PIT, NULL); /* unmasks the line */
    interrupts_set_gate(IRQ_VECTOR_BASE + ROOTLET_IRQ_PIT, latency_interrupt);
    measure("pit", measure_pit);
    interrupts_set_gate(EOI_VECTOR, eoi_interrupt);
    *(volatile u32 *)APIC_SVR = 0x1ff; /* on */
    measure("mmio-eoi", measure_mmio_eoi);
    *(volatile u32 *)IOAPIC_AT = IOAPIC_PIN5;
    measure("ioapic-read", measure_ioapic_read);
    measure("ioapic-write", measure_ioapic_write);
    *(volatile u32 *)APIC_START = ~0u;
    measure("apic-count", measure_apic_count);
    *(volatile u32 *)APIC_LVT = LVT_TIMER;
    measure("wrmsr-deadline", measure_wrmsr_deadline); /* they are too far to come */
    interrupts_set_gate(TIMER_VECTOR, apic_latency_interrupt);
    measure("deadline", measure_deadline);
    print("bench ok\n");
    return 0;
}
