/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * INIT and SIPI to processors that run, wait or are absent: where they begin, in which state, and that INIT stops them.
 * SDM 3A 8.4 "Multiple-Processor (MP) Initialization", 10.4.7 "Local APIC State".
 */
#include "guests/apic/apic.h"

static void init_and_sipi(u32 cpu)
{
    u32 before = cpus[cpu].starts;
    apic_send(cpu, MODE_INIT | ICR_ASSERT);
    apic_send(cpu, MODE_SIPI | TRAMPOLINE >> 12);
    need(wait_for(&cpus[cpu].starts, before + 1), "vCPU %u does not restart", cpu);
}

#define REAL_MODE_CODE 0x7c00u
#define CODE_CLI_HLT   0xf4fau

/* From address 0 on, vectors first; volatile, for GCC takes that address for none. */
static volatile u32 *volatile real_mode_memory;

static u32 svr_after_init, lvt_after_init, base_after_init;

static void look_after_init(void)
{
    svr_after_init = apic_read(APIC_SVR);
    lvt_after_init = apic_read(APIC_LVT_TIMER);
    base_after_init = (u32)msr_read(MSR_APIC_BASE);
}

/*
 * Time for each vCPU to get a slice of its CPU. Bochs lets no interrupt into a guest that has them off, so there INIT
 * waits for the end of the slice; and a vCPU that still ran would get one in the second wait.
 */
#define SLICES_NS 40000000

static void spin_masked(void)
{
    cpu_interrupts_off();
    for (;;)
        cpus[cpu_index()].turns++;
}

/*
 * INIT stops what runs, also with interrupts off; it stays stopped until SIPI; its APIC is as after reset. An NMI that
 * has not arrived by then, as on a CPU that they share, never does: it would come where there is no handler yet.
 */
static void check_init_running(void)
{
    /* A vCPU that takes an NMI in real mode stays in it. */
    real_mode_memory[VECTOR_NMI] = REAL_MODE_CODE;
    real_mode_memory[REAL_MODE_CODE / 4] = CODE_CLI_HLT;
    for (u32 cpu = 1; cpu < cpu_count; cpu++) {
        u64 turns = cpus[cpu].turns;
        cpus[cpu].job = spin_masked;
        for (u32 i = 0; i < 1000 && cpus[cpu].turns < turns + 100; i++)
            settle();
        need(cpus[cpu].turns >= turns + 100, "vCPU %u does not spin", cpu);
        apic_send(cpu, MODE_NMI);
        apic_send(cpu, MODE_INIT | ICR_ASSERT);
        wait_ns(SLICES_NS);
        cpus[cpu].job = NULL;
        turns = cpus[cpu].turns;
        u32 nmis = cpus[cpu].count[VECTOR_NMI];
        u32 interrupts = cpus[cpu].order_length; /* INIT may have come in the midst of the NMI's handler */
        wait_ns(SLICES_NS);
        need(cpus[cpu].turns == turns, "vCPU %u runs after INIT", cpu);
        apic_send(cpu, 0x51);
        apic_send(cpu, MODE_NMI);
        for (u32 i = 0; i < 5; i++)
            settle();
        need(cpus[cpu].turns == turns && cpus[cpu].order_length == interrupts, "vCPU %u wakes without SIPI", cpu);
        u32 starts = cpus[cpu].starts;
        apic_send(cpu, MODE_SIPI | TRAMPOLINE >> 12);
        need(wait_for(&cpus[cpu].starts, starts + 1), "vCPU %u does not start again", cpu);
        run_on(cpu, look_after_init);
        need(svr_after_init == 0xff && lvt_after_init == LVT_MASKED, "SVR %x, LVT %x after INIT", svr_after_init,
             lvt_after_init);
        need(base_after_init == (u32)(msr_read(MSR_APIC_BASE) & ~BASE_BSP), "IA32_APIC_BASE is %x after INIT",
             base_after_init);
        run_on(cpu, apic_reset_state);
        need(cpus[cpu].count[VECTOR_NMI] == nmis, "an NMI before SIPI was kept");
    }
}

#define CPUID_VMX     (1u << 5)
#define CR4_VMXE      (1u << 13)
#define MSR_VMX_BASIC 0x480u

static u32 vmxon_region[1024] __attribute__((aligned(4096)));
static volatile bool leaves_vmx;

static void spin_in_vmx_operation(void)
{
    u64 region = (u64)vmxon_region;
    bool failed;

    cpu_write_cr0(cpu_read_cr0() | CR0_NE);
    cpu_write_cr4(cpu_read_cr4() | CR4_VMXE);
    __asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region) : "memory");
    while (!failed && !leaves_vmx)
        cpus[cpu_index()].turns++;
    if (!failed)
        __asm__ volatile("vmxoff" ::: "cc", "memory");
    spin_masked();
}

/* In VMX operation INIT waits for VMXOFF, and SIPI means nothing. SDM 3C 23.8 "Restrictions on VMX Operation" */
static void check_init_vmx(void)
{
    struct cpu *other = &cpus[1];

    if (!(cpu_cpuid(1, 0).ecx & CPUID_VMX))
        return;
    vmxon_region[0] = (u32)msr_read(MSR_VMX_BASIC);
    leaves_vmx = false;
    u64 turns = other->turns;
    other->job = spin_in_vmx_operation;
    for (u32 i = 0; i < 1000 && other->turns < turns + 100; i++)
        settle();
    need(other->turns >= turns + 100, "VMXON fails");
    u32 starts = other->starts;
    apic_send(1, MODE_INIT | ICR_ASSERT);
    apic_send(1, MODE_SIPI | TRAMPOLINE >> 12);
    wait_ns(SLICES_NS);
    turns = other->turns;
    wait_ns(SLICES_NS);
    need(other->turns > turns && other->starts == starts, "INIT ends VMX operation");
    leaves_vmx = true;
    other->job = NULL;
    wait_ns(SLICES_NS);
    turns = other->turns;
    wait_ns(SLICES_NS);
    need(other->turns == turns, "VMXOFF, and INIT does not come");
    apic_send(1, MODE_SIPI | TRAMPOLINE >> 12);
    need(wait_for(&other->starts, starts + 1), "it does not start after that INIT");
    run_on(1, apic_reset_state);
}

/* A vCPU in HLT, with interrupts off for good, is still INIT's. */
static void halt_for_good(void)
{
    cpu_halt_for_good();
}

static void check_init_halted(void)
{
    for (u32 cpu = 1; cpu < cpu_count; cpu++) {
        cpus[cpu].job = halt_for_good;
        settle();
        apic_send(cpu, MODE_INIT | ICR_ASSERT);
        cpus[cpu].job = NULL;
        u32 starts = cpus[cpu].starts;
        apic_send(cpu, MODE_SIPI | TRAMPOLINE >> 12);
        need(wait_for(&cpus[cpu].starts, starts + 1), "vCPU %u does not start from HLT", cpu);
    }
    run_on_all(apic_reset_state);
}

/* What the trampoline finds: entry.asm. */
struct init_state {
    u32 eax, ebx, ecx, edx, esi, edi, ebp, esp;
    u32 cr0, cr2, cr3, cr4, dr0, dr1, dr2, dr3, dr6, dr7;
    u16 gdt_limit, gdt_base[2], idt_limit, idt_base[2];
    u32 unused[3];
    u64 r8_to_r15[8];
};

#define INIT_STATE 0x9000u

#define MSR_SYSENTER_EIP 0x176u
#define CPUID_XSAVE      (1u << 26)

void apic_spoil(bool has_xsave);
extern volatile u32 apic_spoilt;

static u32 xcr0_after_init;
static u64 pi_after_init, msr_after_init;

static bool has_xsave(void)
{
    return cpu_cpuid(1, 0).ecx & CPUID_XSAVE;
}

static void spoil(void)
{
    msr_write(MSR_SYSENTER_EIP, 0x1234);
    apic_spoil(has_xsave());
}

static void look_at_what_stays(void)
{
    __asm__ volatile("fstpl %0" : "=m"(pi_after_init));
    msr_after_init = msr_read(MSR_SYSENTER_EIP);
    cpu_write_cr0(cpu_read_cr0() & ~0x40000000ul);
    if (!has_xsave())
        return;
    cpu_write_cr4(cpu_read_cr4() | CR4_OSXSAVE);
    __asm__ volatile("xgetbv" : "=a"(xcr0_after_init) : "c"(0) : "edx");
    cpu_write_cr4(cpu_read_cr4() & ~(u64)CR4_OSXSAVE);
}

/* SDM 3A 9.1.1 "Processor State After Reset", table 9-1, the column for INIT. */
static void check_init_state(void)
{
    const volatile struct init_state *found = (const volatile struct init_state *)INIT_STATE;

    apic_spoilt = 0;
    cpus[1].job = spoil;
    need(wait_for(&apic_spoilt, 1), "vCPU 1 does not begin");
    cpus[1].job = NULL;
    init_and_sipi(1);
    need(found->edx == cpu_cpuid(1, 0).eax, "EDX is %x", found->edx);
    need(!(found->eax | found->ebx | found->ecx | found->esi | found->edi | found->ebp | found->esp), "a register");
    for (u32 i = 0; i < 8; i++)
        need(found->r8_to_r15[i] == 0, "R%u is %x", i + 8, (u32)found->r8_to_r15[i]);
    need(found->cr0 == 0x40000010, "CR0 is %x", found->cr0);
    need(!(found->cr2 | found->cr3 | found->cr4), "CR2 %x, CR3 %x, CR4 %x", found->cr2, found->cr3, found->cr4);
    need(!(found->dr0 | found->dr1 | found->dr2 | found->dr3), "DR0 %x, DR3 %x", found->dr0, found->dr3);
    need(found->dr6 == 0xffff0ff0 && found->dr7 == 0x400, "DR6 %x, DR7 %x", found->dr6, found->dr7);
    need(found->gdt_limit == 0xffff && found->idt_limit == 0xffff, "GDT %x, IDT %x", found->gdt_limit,
         found->idt_limit);
    run_on(1, look_at_what_stays);
    need(pi_after_init == 0x400921fb54442d18, "ST0 is gone");
    need(msr_after_init == 0x1234, "SYSENTER_EIP is %x", (u32)msr_after_init);
    need(!has_xsave() || xcr0_after_init == 3, "XCR0 is %x", xcr0_after_init);
    run_on_all(apic_reset_state);
}

static void check_sipi_running(void)
{
    u32 starts = cpus[1].starts;
    for (u32 i = 0; i < 10; i++)
        apic_send(1, MODE_SIPI | TRAMPOLINE >> 12);
    barrier();
    need(cpus[1].starts == starts, "a running vCPU takes SIPI");
    /* The second of two SIPIs is ignored, as Linux sends them. */
    apic_send(1, MODE_INIT | ICR_ASSERT | ICR_LEVEL);
    apic_send(1, MODE_INIT | ICR_LEVEL);
    apic_send(1, MODE_SIPI | TRAMPOLINE >> 12);
    wait_for(&cpus[1].starts, starts + 1);
    apic_send(1, MODE_SIPI | TRAMPOLINE >> 12);
    barrier();
    need(cpus[1].starts == starts + 1, "%u starts by two SIPIs", cpus[1].starts - starts);
    run_on_all(apic_reset_state);
}

static void check_restart_often(void)
{
    for (u32 i = 0; i < 20; i++)
        init_and_sipi(1 + i % (cpu_count - 1));
    barrier();
    run_on_all(apic_reset_state);
}

static void check_shorthand(void)
{
    u32 before[MAX_CPUS];
    for (u32 cpu = 1; cpu < cpu_count; cpu++)
        before[cpu] = cpus[cpu].starts;
    apic_send(0, TO_OTHERS | MODE_INIT | ICR_ASSERT);
    apic_send(0, TO_OTHERS | MODE_SIPI | TRAMPOLINE >> 12);
    for (u32 cpu = 1; cpu < cpu_count; cpu++)
        need(wait_for(&cpus[cpu].starts, before[cpu] + 1), "vCPU %u does not start", cpu);
    run_on_all(apic_reset_state);
}

/* ---- the TSC as several vCPUs see it ---- */

#define TURNS 2000u

static volatile u64 last_tsc;
static u32 lock;
static volatile u32 backwards, takers, finished;

static void compare_clocks(void)
{
    __atomic_fetch_add(&takers, 1, __ATOMIC_SEQ_CST);
    for (u32 i = 0; i < TURNS; i++) {
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
            hypercall_yield();
        u64 now = cpu_rdtsc();
        if (now < last_tsc && last_tsc - now > backwards)
            backwards = (u32)(last_tsc - now);
        last_tsc = now;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
        if (i % 64 == 0)
            hypercall_yield();
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
}

static void check_tsc(void)
{
    last_tsc = 0;
    takers = finished = 0;
    for (u32 cpu = 1; cpu < cpu_count; cpu++)
        cpus[cpu].job = compare_clocks;
    compare_clocks();
    need(wait_for(&finished, cpu_count), "a vCPU did not finish");
    need(backwards == 0, "the TSC went back by up to %u ticks", backwards);
}

const struct check start_checks[] = {
    {"init-running",   check_init_running,  CHECK_BOTH, 2},
    {"init-vmx",       check_init_vmx,      CHECK_BOTH, 2},
    {"init-halted",    check_init_halted,   CHECK_BOTH, 2},
    {"init-state",     check_init_state,    CHECK_BOTH, 2},
    {"sipi-running",   check_sipi_running,  CHECK_BOTH, 2},
    {"init-often",     check_restart_often, CHECK_BOTH, 2},
    {"init-shorthand", check_shorthand,     CHECK_BOTH, 2},
    {"tsc-across",     check_tsc,           CHECK_ONCE, 1},
    {NULL,             NULL,                0,          0},
};
