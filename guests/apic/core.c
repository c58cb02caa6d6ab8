/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The runtime under the checks: IDT, interrupt log, the local APIC's registers in either mode, vCPUs that wait for
 * jobs, and time by TSC. A vCPU knows itself by its stack, so that nothing here depends on what is tested.
 */
#include "guests/apic/apic.h"

#define CODE_SEGMENT 0x08u
#define GATE         0x8e00u
#define PATIENCE_NS  1000000000ull

struct trap_frame {
    u64 r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

struct gate {
    u16 offset_low, segment, attributes, offset_middle;
    u32 offset_high, reserved;
};

extern const u64 apic_vectors[256], apic_tries[3];
extern const u8 apic_trampoline[], apic_trampoline_end[];
void apic_try_failed(void);
void apic_load_idt(void);
void apic_trap(struct trap_frame *frame);
void apic_cpu_main(u32 index) __attribute__((noreturn));

u8 apic_stacks[MAX_CPUS][1u << STACK_SHIFT] __attribute__((aligned(1u << STACK_SHIFT)));
static struct gate idt[256] __attribute__((aligned(16)));
struct {
    u16 limit;
    u64 base;
} __attribute__((packed)) apic_idt_pointer;

struct cpu cpus[MAX_CPUS];
u32 cpu_count = 1;
bool x2apic;
void (*vector_handlers[256])(void);

u32 cpu_index(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return (u32)((here - (uintptr_t)apic_stacks) >> STACK_SHIFT);
}

/* ---- traps ---- */

static void unexpected(const struct trap_frame *frame)
{
    print("apic FAIL exception vector=%u error=%x rip=%llx cpu=%u\n", (u32)frame->vector, (u32)frame->error, frame->rip,
          cpu_index());
    guest_exit(255);
}

static void exception(struct trap_frame *frame)
{
    for (u32 i = 0; i < ARRAY_LENGTH(apic_tries); i++) {
        if (frame->vector == 13 && frame->rip == apic_tries[i]) {
            frame->rip = (u64)apic_try_failed;
            return;
        }
    }
    unexpected(frame);
}

void apic_trap(struct trap_frame *frame)
{
    struct cpu *cpu = &cpus[cpu_index()];
    u8 vector = (u8)frame->vector;

    /* Vector 16 is an interrupt here: no x87 instruction is used. */
    if (vector < 32 && vector != VECTOR_NMI && vector != 16) {
        exception(frame);
        return;
    }
    cpu->tsc[vector] = cpu_rdtsc();
    cpu->count[vector]++;
    if (cpu->order_length < sizeof cpu->order)
        cpu->order[cpu->order_length++] = vector;
    if (vector_handlers[vector])
        vector_handlers[vector]();
    else if (vector != VECTOR_NMI && vector != VECTOR_SPURIOUS)
        apic_end();
}

void interrupts_setup(void)
{
    for (u32 vector = 0; vector < 256; vector++) {
        u64 entry = apic_vectors[vector];
        idt[vector] = (struct gate){(u16)entry, CODE_SEGMENT, GATE, (u16)(entry >> 16), (u32)(entry >> 32), 0};
    }
    apic_idt_pointer.limit = sizeof idt - 1;
    apic_idt_pointer.base = (u64)idt;
    apic_load_idt();
}

/* ---- registers ---- */

u64 msr_read(u32 msr)
{
    u64 value = 0;
    if (!apic_try_read(msr, &value))
        need(false, "RDMSR %x raised #GP", msr);
    return value;
}

void msr_write(u32 msr, u64 value)
{
    if (!apic_try_write(msr, value))
        need(false, "WRMSR %x of %llx raised #GP", msr, value);
}

u64 read_cr8(void)
{
    u64 value;
    __asm__ volatile("mov %%cr8, %0" : "=r"(value));
    return value;
}

u32 apic_read(u32 offset)
{
    if (x2apic)
        return (u32)msr_read(MSR_X2APIC + offset / 16);
    return *(volatile u32 *)(APIC_MEMORY + offset);
}

void apic_write(u32 offset, u32 value)
{
    if (x2apic)
        msr_write(MSR_X2APIC + offset / 16, value);
    else
        *(volatile u32 *)(APIC_MEMORY + offset) = value;
}

void apic_send(u32 destination, u32 command)
{
    if (x2apic) {
        msr_write(MSR_X2APIC + APIC_ICR / 16, (u64)destination << 32 | command);
        return;
    }
    apic_write(APIC_ICR_HIGH, destination << 24);
    apic_write(APIC_ICR, command);
}

bool apic_has(u32 bank, u32 vector)
{
    return apic_read(bank + vector / 32 * 16) >> vector % 32 & 1;
}

void apic_end(void)
{
    apic_write(APIC_EOI, 0);
}

static bool anything_in_service(void)
{
    u32 any = 0;
    for (u32 i = 0; i < 8; i++)
        any |= apic_read(APIC_ISR + i * 16);
    return any;
}

void apic_reset_state(void)
{
    apic_write(APIC_SVR, SVR_ENABLED | VECTOR_SPURIOUS);
    apic_write(APIC_TIMER_INITIAL, 0);
    for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
        apic_write(lvt, LVT_MASKED);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    for (u32 i = 0; i < 256 && anything_in_service(); i++)
        apic_end();
    apic_write(APIC_TPR, 0);
    cpu_interrupts_on();
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ESR, 0);
}

void apic_enter_mode(bool extended)
{
    u64 base = msr_read(MSR_APIC_BASE) & ~(BASE_ENABLED | BASE_EXTENDED);

    msr_write(MSR_APIC_BASE, base);
    msr_write(MSR_APIC_BASE, base | BASE_ENABLED);
    if (extended)
        msr_write(MSR_APIC_BASE, base | BASE_ENABLED | BASE_EXTENDED);
}

/* ---- the other vCPUs ---- */

void apic_cpu_main(u32 index)
{
    struct cpu *cpu = &cpus[index];

    cpu_interrupts_on();
    __atomic_fetch_add(&cpu->starts, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        cpu->turns++;
        if (cpu->job) {
            cpu->job();
            cpu->job = NULL;
        }
        hypercall_yield();
    }
}

void start_cpus(void)
{
    u32 length = (u32)(apic_trampoline_end - apic_trampoline);
    for (u32 i = 0; i < length; i++)
        ((volatile u8 *)(uintptr_t)TRAMPOLINE)[i] = apic_trampoline[i];
    for (u32 cpu = 1; cpu < cpu_count; cpu++) {
        apic_send(cpu, MODE_INIT | ICR_ASSERT);
        apic_send(cpu, MODE_SIPI | TRAMPOLINE >> 12);
        if (!wait_for(&cpus[cpu].starts, 1)) {
            print("apic FAIL start: vCPU %u does not come\n", cpu);
            guest_exit(254);
        }
    }
}

void run_on(u32 index, void (*job)(void))
{
    u64 end = cpu_rdtsc() + tsc_of_ns(PATIENCE_NS);

    if (index == cpu_index()) {
        job();
        return;
    }
    cpus[index].job = job;
    while (cpus[index].job) {
        if (cpu_rdtsc() > end) {
            print("apic FAIL vCPU %u does no job; before that: %s\n", index, check_text);
            guest_exit(253);
        }
        hypercall_yield();
    }
}

void run_on_all(void (*job)(void))
{
    for (u32 cpu = cpu_count; cpu-- > 0;)
        run_on(cpu, job);
}

static void do_nothing(void)
{
    settle();
}

void barrier(void)
{
    run_on_all(do_nothing);
}

void clear_log(void)
{
    for (u32 cpu = 0; cpu < cpu_count; cpu++) {
        for (u32 vector = 0; vector < 256; vector++)
            cpus[cpu].count[vector] = 0;
        cpus[cpu].order_length = 0;
    }
}

/* ---- time ---- */

u64 tsc_of_ns(u64 ns)
{
    static u64 hz;
    if (!hz) {
        struct cpuid clock = cpu_cpuid(0x15, 0);
        hz = (u64)clock.ecx * clock.ebx / clock.eax;
    }
    return ns / 1000000000 * hz + ns % 1000000000 * hz / 1000000000;
}

u64 ns_of_tsc(u64 tsc)
{
    u64 hz = tsc_of_ns(1000000000);
    return tsc / hz * 1000000000 + tsc % hz * 1000000000 / hz;
}

u32 timer_of_ns(u64 ns)
{
    static u64 hz;
    if (!hz)
        hz = cpu_cpuid(0x15, 0).ecx;
    return (u32)(ns * hz / 1000000000);
}

void wait_ns(u64 ns)
{
    u64 end = cpu_rdtsc() + tsc_of_ns(ns);
    while (cpu_rdtsc() < end)
        cpu_pause();
}

bool wait_for(const volatile u32 *counter, u32 least)
{
    u64 end = cpu_rdtsc() + tsc_of_ns(PATIENCE_NS);
    while (*counter < least) {
        if (cpu_rdtsc() > end)
            return false;
        hypercall_yield();
    }
    return true;
}

void settle(void)
{
    hypercall_yield();
    wait_ns(20000);
    hypercall_yield();
}
