/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order in which the machine comes up, and what the log says about it. What can be done without is warned about and
 * left out (ACPI tables, I/O APIC, other CPUs); without a local APIC or a clock the machine is refused. Boot CPU,
 * interrupts off.
 */
#include "kernel/start/host.h"
#include "arch/x86/acpi.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/mca.h"
#include "arch/x86/paging.h"
#include "arch/x86/pic_host.h"
#include "arch/x86/smp.h"
#include "arch/x86/speculation.h"
#include "arch/x86/topology.h"
#include "arch/x86/tsc.h"
#include "arch/x86/xsave.h"
#include "drivers/host/hpet.h"
#include "drivers/host/pit.h"
#include "drivers/host/pmtimer.h"
#include "drivers/host/power.h"
#include "drivers/host/serial.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/keys.h"
#include "kernel/start/firmware.h"
#include "kernel/log.h"
#include "kernel/sched/sched.h"
#include "kernel/symbols.h"

#define XAPIC_MAX_ID 254u /* 255 is the broadcast */

static struct acpi_info acpi;

/* The direct map has the first 4 GiB whole; tables that firmware keeps above it are added as they are found. */
static const void *map_table(void *context, u64 address, u64 bytes)
{
    (void)context;
    return paging_map_firmware(hpa(address), bytes) ? phys_to_virt(hpa(address)) : NULL;
}

static void read_tables(const struct boot_info *boot)
{
    const struct acpi_reader reader = {map_table, NULL};
    const void *rsdp = boot->rsdp_bytes ? boot->rsdp : NULL;
    struct refusal why;

    if (acpi_parse(&reader, rsdp, boot->rsdp_bytes, &acpi, &why) != STATUS_OK) {
        log_warn("%s: one CPU, no I/O APIC", why.text);
        return;
    }
    log_info("acpi tables=%u cpus=%u ioapics=%u hpet=0x%lx pm-timer=0x%x s5=%s", acpi.tables_found, acpi.cpu_count,
             acpi.ioapic_count, acpi.hpet_address, acpi.pm_timer_port, acpi.s5.usable ? "yes" : "no");
    if (acpi.tables_broken)
        log_warn("acpi: %u tables are unreadable or corrupt and are left out", acpi.tables_broken);
    if (acpi.cpus_left_out)
        log_warn("acpi: %u CPUs beyond the first %u are left out", acpi.cpus_left_out, CPU_MAX);
}

static enum status start_interrupt_controllers(struct refusal *why)
{
    struct refusal ioapic_why;
    enum status status;

    pic_host_mask_all();
    status = lapic_init_boot_cpu(acpi.max_apic_id > XAPIC_MAX_ID, acpi.nmi_lint0, why);
    if (status != STATUS_OK)
        return status;
    cpu_local()->apic_id = lapic_id();
    log_info("lapic mode=%s id=%u", lapic_is_x2apic() ? "x2apic" : "xapic", lapic_id());
    if (ioapic_init(&acpi, &ioapic_why) != STATUS_OK)
        log_warn("%s", ioapic_why.text);
    log_info("ioapic pins=%u", ioapic_pin_count());
    return STATUS_OK;
}

/* The finest clock first. Each is tried until one gives a plausible answer. */
static u64 measure_tsc(const char **name)
{
    struct tsc_reference reference;
    u64 hz = 0;

    if (hpet_reference(acpi.hpet_address, &reference))
        hz = tsc_hz_measured(&reference);
    if (!hz && acpi.pm_timer_port) {
        pmtimer_reference(acpi.pm_timer_port, acpi.pm_timer_bits, &reference);
        hz = tsc_hz_measured(&reference);
    }
    if (!hz) {
        pit_reference_start(&reference);
        hz = tsc_hz_measured(&reference);
        pit_reference_stop();
    }
    *name = reference.name;
    return hz;
}

static enum status start_clock(struct refusal *why)
{
    const char *source = "cpuid";
    const char *timer;
    u64 hz = tsc_hz_from_cpuid();

    if (!hz)
        hz = measure_tsc(&source);
    if (!hz)
        return refuse(why, STATUS_UNSUPPORTED,
                      "no clock to measure the TSC with: CPUID leaf 0x15, HPET, PM timer, PIT");
    clock_init(hz);
    timer = lapic_timer_init(hz);
    log_info("tsc hz=%lu source=%s invariant=%s timer=%s", hz, source, tsc_is_invariant() ? "yes" : "no", timer);
    return STATUS_OK;
}

static void start_console_interrupt(u8 irq)
{
    if (irq && irq_route_isa(irq, IRQ_VECTOR_SERIAL))
        console_enable_interrupts();
    else
        log_warn("no I/O APIC pin for the serial interrupt: the console is polled");
    if (keys_init()) {
        console_enable_typing();
        log_info("keyboard kind=ps2 layout=us");
    }
}

enum status host_init(const struct boot_info *boot, const struct host_options *options, struct refusal *why)
{
    enum status status;

    symbols_init(&boot->symbols);
    read_tables(boot);
    power_set_acpi(&acpi);
    u8 console_irq = firmware_choose_console(&acpi, options->console);
    if (!firmware_report_iommus(&acpi))
        ioapic_set_blocked();
    firmware_stop_bus_masters(&acpi, options->dma_keep);
    status = start_interrupt_controllers(why);
    if (status == STATUS_OK)
        status = start_clock(why);
    if (status != STATUS_OK)
        return status;
    xsave_detect();
    xsave_init_cpu();
    mca_init_cpu();
    log_info("machine-check banks=%u", mca_bank_count());
    log_info("fpu switch=%s xcr0=0x%lx bytes=%u", xsave_is_available() ? "xsave" : "fxsave", xsave_supported_mask(),
             xsave_area_bytes(xsave_supported_mask()));
    smp_init(clock_tsc_hz());
    start_console_interrupt(console_irq);
    return STATUS_OK;
}

static void report_missing(u32 apic_id, const char *why)
{
    log_warn("cpu apic=%u is left out: %s", apic_id, why);
}

static void report_moved_tsc(u32 apic_id, s64 ticks)
{
    log_info("cpu apic=%u tsc moved=%ld ticks, to agree with the boot CPU's", apic_id, ticks);
}

/* SMT_AUTO: sibling threads run one VM where an attack by one of them is known. */
static enum host_smt choose_smt(const struct platform_cpus *cpus)
{
    struct speculation_cpu cpu = speculation_this_cpu();
    struct speculation said;

    if (cpus->smt != SMT_AUTO)
        return cpus->smt;
    speculation_decide(&cpu, cpus->mitigations, &said);
    return cpus->mitigations && said.sibling_threads ? SMT_CORE : SMT_SHARE;
}

/* The CPUs that are online, of whom CPU 0 is one. */
static void pair_siblings(enum host_smt smt, u32 thread_bits)
{
    static const char *const names[] = {[SMT_SHARE] = "share", [SMT_CORE] = "core", [SMT_OFF] = "off"};
    u32 siblings = 0;

    for (u32 id = 1; id < smp_cpu_count(); id++) {
        u32 core = cpu_local_of(id)->apic_id >> thread_bits, first = 0;
        while (cpu_local_of(first)->apic_id >> thread_bits != core)
            first++;
        if (first == id)
            continue;
        siblings++;
        if (smt == SMT_CORE)
            sched_set_sibling(id, first);
    }
    log_info("smt policy=%s thread-bits=%u siblings=%u", names[smt], thread_bits, siblings);
}

void host_start_cpus(const struct platform_cpus *cpus)
{
    enum host_smt smt = choose_smt(cpus);
    u32 thread_bits = topology_thread_bits();
    u32 listed = acpi.cpu_count;

    if (smt == SMT_OFF)
        acpi.cpu_count = topology_keep_one_of_a_core(acpi.cpu_apic_ids, listed, cpu_local()->apic_id, thread_bits);
    const struct smp_plan plan = {
        .apic_ids = acpi.cpu_apic_ids,
        .count = acpi.cpu_count,
        .trampoline = cpus->trampoline,
        .entry = cpus->entry,
        .check = cpus->check,
        .missing = report_missing,
        .moved_tsc = report_moved_tsc,
        .test_skew = cpus->test_skew,
        .test_stuck = cpus->test_stuck,
    };

    if (!cpus->trampoline.raw) {
        log_warn("no free page below 640 KiB: the other CPUs cannot be started");
        return;
    }
    smp_start_all(&plan);
    log_info("cpus online=%u listed=%u highest-apic-id=%u", smp_cpu_count(), listed, acpi.max_apic_id);
    pair_siblings(smt, thread_bits);
}
