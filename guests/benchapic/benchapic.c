/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What interrupts cost: by xAPIC MMIO, by x2APIC MSRs, by the TSC deadline out of HLT, and from one vCPU to another
 * that runs. Lines as guests/bench; give it cpus=2 and two CPUs of its own.
 *   mmio-eoi, x2-eoi: RDTSC, the EOI of an interrupt in service, RDTSC. x2-tpr: likewise, a write of TPR.
 *   self-ipi: from RDTSC before the write to the first instruction of the handler.
 *   deadline: from the deadline to the handler. ipi: from RDTSC before the write to the handler of the other vCPU,
 * which spins. nmi, init-sipi: likewise; ipi-halt, nmi-halt, sipi: to one in HLT, or that waits for SIPI. init: until
 * it has stopped. one-shot: from RDTSC before the write of the count to the handler, less the count.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"
#include "guests/lib/measure.h"

#define MSR_APIC_BASE    0x01bu
#define MSR_TSC_DEADLINE 0x6e0u
#define X2_TPR           0x808u
#define X2_SVR           0x80fu
#define X2_ICR           0x830u
#define X2_LVT_TIMER     0x832u
#define X2_COUNT         0x838u
#define X2_DIVIDE        0x83eu
#define DIVIDE_BY_1      0xbu
#define ONE_SHOT_COUNT   400000u
#define APIC_ENABLED     0xc00u /* and extended */
#define APIC_SVR         0xfee000f0u
#define SVR_ENABLED      0x1ffu
#define LVT_DEADLINE     0x40000u
#define DEADLINE_TICKS   20000u

#define VECTOR_SELF  (IRQ_VECTOR_BASE + 1)
#define VECTOR_EOI   (IRQ_VECTOR_BASE + 2)
#define VECTOR_TIMER (IRQ_VECTOR_BASE + 3)
#define VECTOR_MMIO  (IRQ_VECTOR_BASE + 5)
#define VECTOR_IPI   (IRQ_VECTOR_BASE + 4)

#define TO_SECOND      (1ull << 32)
#define ICR_NMI        0x4400u
#define ICR_INIT       0x4500u
#define ICR_SIPI       0x4600u
#define SIPI_PAGE      8u
#define SIPI_CAME      0x8800u /* latency.asm */
#define SIPI_MAY_HALT  0x8804u
#define SIPI_STILL     0x8808u
#define SETTLING_TICKS 20000u

/* latency.asm */
u32 benchapic_self(u32 vector);
u32 benchapic_memory(u32 vector);
void benchapic_memory_interrupt(void);
void benchapic_self_interrupt(void);
void benchapic_eoi_interrupt(void);
void benchapic_halt_interrupt(void);
void benchapic_ipi_interrupt(void);
void benchapic_nmi_interrupt(void);
extern const u8 benchapic_trampoline[], benchapic_trampoline_end[];
void benchapic_second(void);
extern volatile u32 benchapic_came;
void benchapic_second_main(void) __attribute__((noreturn));

static volatile u32 second_runs, second_halts;
static struct {
    u16 limit;
    u32 base;
} __attribute__((packed)) idt_pointer;

static void write_msr(u32 index, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static void enter_x2apic(void)
{
    u64 base = 0;
    expect(msr_try_read(MSR_APIC_BASE, &base), "no IA32_APIC_BASE");
    write_msr(MSR_APIC_BASE, base | APIC_ENABLED);
    write_msr(X2_SVR, SVR_ENABLED);
    write_msr(X2_TPR, 0);
}

static u32 measure_self(void)
{
    return benchapic_self(VECTOR_SELF);
}

static u32 measure_eoi(void)
{
    return benchapic_self(VECTOR_EOI);
}

static u32 measure_memory_eoi(void)
{
    return benchapic_memory(VECTOR_MMIO);
}

static u32 measure_tpr(void)
{
    u32 ticks;
    __asm__ volatile("rdtsc\n\tmovl %%eax, %%edi\n\txorl %%eax, %%eax\n\txorl %%edx, %%edx\n\twrmsr\n\trdtsc\n\t"
                     "subl %%edi, %%eax"
                     : "=a"(ticks)
                     : "c"(X2_TPR)
                     : "edx", "edi", "memory");
    return ticks;
}

static u32 measure_deadline(void)
{
    u64 deadline = cpu_rdtsc() + DEADLINE_TICKS;
    benchapic_came = 0;
    write_msr(MSR_TSC_DEADLINE, deadline);
    while (!benchapic_came) {
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
    expect((int)(benchapic_came - (u32)deadline) >= 0, "the deadline came early");
    return benchapic_came - (u32)deadline;
}

/* From RDTSC before the timer gets its count to the handler. */
static u32 one_shot_ticks(u32 count)
{
    benchapic_came = 0;
    u32 before = (u32)cpu_rdtsc();
    write_msr(X2_COUNT, count);
    while (!benchapic_came) {
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
    return benchapic_came - before;
}

/* Twice as many counts take longer by just the counts. */
static u32 measure_one_shot(void)
{
    return 2 * one_shot_ticks(ONE_SHOT_COUNT) - one_shot_ticks(2 * ONE_SHOT_COUNT);
}

void benchapic_second_main(void)
{
    __asm__ volatile("lidt %0" : : "m"(idt_pointer));
    enter_x2apic();
    cpu_interrupts_on();
    for (;;) {
        second_runs = second_runs + 1;
        if (second_halts)
            cpu_wait_for_interrupt();
    }
}

static void pause_ticks(u32 ticks)
{
    u64 end = cpu_rdtsc() + ticks;
    while (cpu_rdtsc() < end)
        cpu_pause();
}

static u32 signal_ticks(u32 command)
{
    pause_ticks(second_halts ? SETTLING_TICKS : 5000);
    for (u32 runs = second_runs; !second_halts && second_runs == runs;)
        cpu_pause();
    benchapic_came = 0;
    u32 before = (u32)cpu_rdtsc();
    write_msr(X2_ICR, TO_SECOND | command);
    while (!benchapic_came)
        cpu_pause();
    return benchapic_came - before;
}

static u32 measure_ipi(void)
{
    return signal_ticks(VECTOR_IPI);
}

static u32 measure_nmi(void)
{
    return signal_ticks(ICR_NMI);
}

/* From SIPI, or from INIT if SIPI follows at once, to the first instruction at its page. */
static u32 start_ticks(bool runs)
{
    volatile u32 *came = (volatile u32 *)SIPI_CAME;

    *(volatile u16 *)SIPI_MAY_HALT = !runs;
    if (!runs)
        write_msr(X2_ICR, TO_SECOND | ICR_INIT);
    pause_ticks(SETTLING_TICKS);
    *came = 0;
    u32 before = (u32)cpu_rdtsc();
    if (runs)
        write_msr(X2_ICR, TO_SECOND | ICR_INIT);
    write_msr(X2_ICR, TO_SECOND | ICR_SIPI | SIPI_PAGE);
    while (!*came)
        cpu_pause();
    return *came - before;
}

static u32 measure_sipi(void)
{
    return start_ticks(false);
}

static u32 measure_init_sipi(void)
{
    return start_ticks(true);
}

/* It runs: when it has read the clock for the last time. */
static u32 measure_init(void)
{
    u32 before = (u32)cpu_rdtsc();
    write_msr(X2_ICR, TO_SECOND | ICR_INIT);
    pause_ticks(SETTLING_TICKS);
    u32 ticks = *(volatile u32 *)SIPI_STILL - before;
    (void)start_ticks(true);
    return ticks;
}

static void measure_signals(void)
{
    measure_run("ipi", measure_ipi);
    measure_run("nmi", measure_nmi);
    second_halts = 1;
    measure_run("ipi-halt", measure_ipi);
    measure_run("nmi-halt", measure_nmi);
    for (u32 i = 0; i < (u32)(benchapic_trampoline_end - benchapic_trampoline); i++)
        ((volatile u8 *)(SIPI_PAGE << 12))[i] = benchapic_trampoline[i];
    measure_run("sipi", measure_sipi);
    (void)start_ticks(true);
    measure_run("init-sipi", measure_init_sipi);
    measure_run("init", measure_init);
}

int guest_main(void)
{
    struct hypercall start = {ROOTLET_CALL_START_VCPU, 1, (u32)benchapic_second, 0};

    expect(hypercall_present(), "no hypervisor in sight");
    interrupts_init();
    __asm__ volatile("sidt %0" : "=m"(idt_pointer));
    interrupts_set_gate(VECTOR_SELF, benchapic_self_interrupt);
    interrupts_set_gate(VECTOR_EOI, benchapic_eoi_interrupt);
    interrupts_set_gate(VECTOR_TIMER, benchapic_halt_interrupt);
    interrupts_set_gate(VECTOR_IPI, benchapic_ipi_interrupt);
    interrupts_set_gate(2, benchapic_nmi_interrupt);
    interrupts_set_gate(VECTOR_MMIO, benchapic_memory_interrupt);
    *(volatile u32 *)APIC_SVR = SVR_ENABLED;
    measure_run("mmio-eoi", measure_memory_eoi);
    enter_x2apic();
    measure_run("x2-tpr", measure_tpr);
    measure_run("x2-eoi", measure_eoi);
    measure_run("self-ipi", measure_self);
    write_msr(X2_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
    measure_run("deadline", measure_deadline);
    write_msr(X2_LVT_TIMER, VECTOR_TIMER);
    write_msr(X2_DIVIDE, DIVIDE_BY_1);
    measure_run("one-shot", measure_one_shot);
    if (hypercall(&start) == ROOTLET_OK)
        measure_signals();
    print("bench ok\n");
    return 0;
}
