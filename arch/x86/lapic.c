/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One register file, two ways to reach it: x2APIC MSR 0x800 + n stands for xAPIC offset 16 * n. The mode is decided
 * once on the boot CPU and read-only afterwards. Every function acts on the CPU that runs it, with interrupts off. SDM
 * 3A 10.4.1 "The Local APIC Block Diagram", 10.6.1 "Interrupt Command Register (ICR)", 10.12.1.2 "x2APIC Register
 * Address Space".
 */
#include "arch/x86/lapic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/paging.h"
#include "kernel/lib/apic.h"

#define APIC_BASE_ADDRESS_MASK 0x000ffffffffff000ull
#define APIC_REGISTER_BYTES    4096u

#define LVT_DELIVERY_NMI           (4u << 8)
#define TIMER_DIVIDE_BY_1          0xbu
#define TIMER_CALIBRATION_HZ       500u /* a window of 2 ms */
#define TIMER_CALIBRATION_SLACK    500u /* part of the window */
#define TIMER_CALIBRATION_ATTEMPTS 4u

#define ICR_FIXED           (0u << 8)
#define ICR_NMI             (4u << 8)
#define ICR_INIT            (5u << 8)
#define ICR_STARTUP         (6u << 8)
#define ICR_PENDING         BIT(12)
#define ICR_ASSERT          (1u << 14)
#define ICR_ALL_BUT_SELF    (3u << 18)
#define ICR_WAIT_ITERATIONS 100000u

static bool x2apic;
static volatile u32 *registers; /* xAPIC mode only */
static bool nmi_on_lint0;
static bool timer_uses_deadline;
static u64 timer_counts_per_tsc; /* 32.32 fixed point, rounded up */

static u32 read_register(enum apic_register at)
{
    if (x2apic)
        return (u32)msr_read(MSR_IA32_X2APIC_BASE + at / 16);
    return registers[at / 4];
}

static void write_register(enum apic_register at, u32 value)
{
    if (x2apic)
        msr_write(MSR_IA32_X2APIC_BASE + at / 16, value);
    else
        registers[at / 4] = value;
}

u32 lapic_id_from_cpuid(void)
{
    u32 max_leaf = cpu_cpuid(0, 0).eax;

    if (max_leaf >= 0xb) {
        struct cpuid_result topology = cpu_cpuid(0xb, 0);
        if (topology.ebx & 0xffff)
            return topology.edx;
    }
    return cpu_cpuid(1, 0).ebx >> 24;
}

u32 lapic_id(void)
{
    u32 id = read_register(APIC_ID);
    return x2apic ? id : id >> 24;
}

bool lapic_is_x2apic(void)
{
    return x2apic;
}

void lapic_eoi(void)
{
    write_register(APIC_EOI, 0);
}

/* Interrupts that firmware accepted and never finished would block ours of lower priority for ever. */
static void end_leftover_interrupts(void)
{
    for (u32 i = 0; i < 256; i++) {
        u32 in_service = 0;
        for (u32 n = 0; n < 8; n++)
            in_service |= read_register((enum apic_register)(APIC_ISR + n * 16));
        if (!in_service)
            return;
        lapic_eoi();
    }
}

static void set_up_registers(void)
{
    u32 max_lvt = bits_field(read_register(APIC_VERSION), 23, 16) & 0xff;

    write_register(APIC_LVT_TIMER, APIC_LVT_MASKED | IRQ_VECTOR_TIMER);
    write_register(APIC_LVT_LINT0, nmi_on_lint0 ? LVT_DELIVERY_NMI : APIC_LVT_MASKED);
    write_register(APIC_LVT_LINT1, nmi_on_lint0 ? APIC_LVT_MASKED : LVT_DELIVERY_NMI);
    write_register(APIC_LVT_ERROR, APIC_LVT_MASKED | IRQ_VECTOR_SPURIOUS);
    if (max_lvt >= 4)
        write_register(APIC_LVT_PMC, APIC_LVT_MASKED);
    if (max_lvt >= 5)
        write_register(APIC_LVT_THERMAL, APIC_LVT_MASKED);
    write_register(APIC_TPR, 0);
    write_register(APIC_SVR, APIC_SVR_ENABLED | IRQ_VECTOR_SPURIOUS);
    write_register(APIC_ESR, 0);
    end_leftover_interrupts();
}

enum status lapic_init_boot_cpu(bool need_x2apic, bool nmi_lint0, struct refusal *why)
{
    struct cpuid_result features = cpu_cpuid(1, 0);

    if (!(features.edx & BIT(9)))
        return refuse(why, STATUS_UNSUPPORTED, "CPUID shows no local APIC");
    x2apic = features.ecx & BIT(21);
    if (need_x2apic && !x2apic)
        return refuse(why, STATUS_UNSUPPORTED, "an APIC id above 254 needs x2APIC, which the CPU does not have");
    nmi_on_lint0 = nmi_lint0;
    if (!x2apic) {
        volatile void *window = NULL;
        hpa_t address = hpa(msr_read(MSR_IA32_APIC_BASE) & APIC_BASE_ADDRESS_MASK);
        if (paging_map_device(address, APIC_REGISTER_BYTES, &window) != STATUS_OK)
            return refuse(why, STATUS_NO_MEMORY, "no address space for the local APIC at 0x%llx",
                          (unsigned long long)address.raw);
        registers = window;
    }
    lapic_init_cpu();
    return STATUS_OK;
}

void lapic_init_cpu(void)
{
    u64 base = msr_read(MSR_IA32_APIC_BASE);
    u64 wanted = base | APIC_BASE_EN;

    /* From disabled to x2APIC leads through xAPIC: SDM 3A 10.12.5 "x2APIC State Transitions". */
    if (wanted != base)
        msr_write(MSR_IA32_APIC_BASE, wanted);
    if (x2apic && !(wanted & APIC_BASE_EXTD))
        msr_write(MSR_IA32_APIC_BASE, wanted | APIC_BASE_EXTD);
    set_up_registers();
}

static void send(u32 apic_id, u32 command)
{
    /*
     * Writes to x2APIC MSRs are not serialising: what the other CPU shall see must be in memory first.
     * SDM 3A 10.12.3 "MSR Accesses in x2APIC Mode".
     */
    if (x2apic) {
        asm volatile("mfence; lfence" : : : "memory");
        msr_write(MSR_IA32_X2APIC_BASE + APIC_ICR / 16, (u64)apic_id << 32 | command);
        return;
    }
    for (u32 i = 0; i < ICR_WAIT_ITERATIONS && (registers[APIC_ICR / 4] & ICR_PENDING); i++)
        cpu_pause();
    registers[APIC_ICR_HIGH / 4] = apic_id << 24;
    registers[APIC_ICR / 4] = command;
}

void lapic_send_ipi(u32 apic_id, u8 vector)
{
    send(apic_id, ICR_FIXED | ICR_ASSERT | vector);
}

void lapic_send_init(u32 apic_id)
{
    send(apic_id, ICR_INIT | ICR_ASSERT);
}

void lapic_send_startup(u32 apic_id, u32 start)
{
    send(apic_id, ICR_STARTUP | ICR_ASSERT | (start >> FRAME_SHIFT & 0xff));
}

void lapic_send_nmi(u32 apic_id)
{
    send(apic_id, ICR_NMI | ICR_ASSERT);
}

void lapic_send_nmi_all_others(void)
{
    send(0, ICR_NMI | ICR_ASSERT | ICR_ALL_BUT_SELF);
}

/* Relates the timer's counts to the TSC over one window; false if something came between the two readings at its end.
 */
static bool calibrate_timer_once(u64 window)
{
    u64 start, end, counts;

    write_register(APIC_TIMER_INITIAL, UINT32_MAX);
    start = cpu_tsc();
    do
        end = cpu_tsc();
    while (end - start < window);
    counts = UINT32_MAX - read_register(APIC_TIMER_CURRENT);
    timer_counts_per_tsc = (counts << 32) / (end - start) + 1; /* rounded up: not early */
    return cpu_tsc() - end < window / TIMER_CALIBRATION_SLACK;
}

static void calibrate_timer(u64 tsc_hz)
{
    write_register(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
    for (u32 i = 0; i < TIMER_CALIBRATION_ATTEMPTS; i++)
        if (calibrate_timer_once(tsc_hz / TIMER_CALIBRATION_HZ))
            break;
    write_register(APIC_TIMER_INITIAL, 0);
}

void lapic_timer_init_cpu(void)
{
    if (timer_uses_deadline) {
        write_register(APIC_LVT_TIMER, APIC_LVT_TSC_DEADLINE | IRQ_VECTOR_TIMER);
        /* Orders the memory-mapped LVT write before the first WRMSR: SDM 3A 10.5.4.1 "TSC-Deadline Mode". */
        asm volatile("mfence" : : : "memory");
        msr_write(MSR_IA32_TSC_DEADLINE, 0);
    } else {
        write_register(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
        write_register(APIC_LVT_TIMER, IRQ_VECTOR_TIMER);
        write_register(APIC_TIMER_INITIAL, 0);
    }
}

const char *lapic_timer_init(u64 tsc_hz)
{
    timer_uses_deadline = cpu_cpuid(1, 0).ecx & BIT(24);
    if (!timer_uses_deadline)
        calibrate_timer(tsc_hz);
    lapic_timer_init_cpu();
    return timer_uses_deadline ? "tsc-deadline" : "one-shot";
}

void lapic_timer_arm(u64 deadline_tsc)
{
    if (LIKELY(timer_uses_deadline)) {
        /* 0 would disarm. A deadline in the past fires at once. */
        msr_write(MSR_IA32_TSC_DEADLINE, deadline_tsc ? deadline_tsc : 1);
        return;
    }
    u64 now = cpu_tsc();
    u64 ticks = deadline_tsc > now ? deadline_tsc - now : 0;
    unsigned __int128 counts = ((unsigned __int128)ticks * timer_counts_per_tsc >> 32) + 1;
    write_register(APIC_TIMER_INITIAL, counts > UINT32_MAX ? UINT32_MAX : (u32)counts);
}

void lapic_timer_disarm(void)
{
    if (timer_uses_deadline)
        msr_write(MSR_IA32_TSC_DEADLINE, 0);
    else
        write_register(APIC_TIMER_INITIAL, 0);
}
