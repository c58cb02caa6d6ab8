/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the machine comes up: what is done without, what it is refused for, and in which order clocks are tried. Each
 * part of it is a stub that a test breaks.
 *
 * links: kernel/start/host.c arch/x86/topology.c arch/x86/speculation.c test/fake/cpu.c test/fake/msr.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/acpi.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/mca.h"
#include "arch/x86/paging.h"
#include "arch/x86/pic_host.h"
#include "arch/x86/smp.h"
#include "arch/x86/tsc.h"
#include "arch/x86/xsave.h"
#include "drivers/host/hpet.h"
#include "drivers/host/pit.h"
#include "drivers/host/pmtimer.h"
#include "drivers/host/power.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/log.h"
#include "kernel/start/firmware.h"
#include "kernel/start/host.h"
#include "kernel/sched/sched.h"
#include "kernel/symbols.h"
#include "test/fake/cpu.h"

#define ARCH_SET_GS 0x1001
#define HZ          2000000000ull

static struct machine {
    struct acpi_info acpi;
    bool no_tables, remapping, no_lapic, no_ioapic, no_pin, no_hpet;
    u64 cpuid_hz, hpet_hz, pm_hz, pit_hz;
    u8 console_irq;
    bool keyboard, typing;
} machine;

static char said[2000], steps[200];
static struct cpu_local boot_cpu, second_cpu;
static u32 siblings; /* pairs that the scheduler knows */
static struct smp_plan plan;
static bool started;
static struct refusal why;

static void step(const char *word)
{
    snprintf(steps + strlen(steps), sizeof steps - strlen(steps), " %s", word);
}

static void note(const char *level, const char *format, va_list arguments)
{
    size_t used = strlen(said);

    used += (size_t)snprintf(said + used, sizeof said - used, "%s: ", level);
    used += (size_t)vsnprintf(said + used, sizeof said - used, format, arguments);
    snprintf(said + used, sizeof said - used, "\n");
}

void log_info(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    note("info", format, arguments);
    va_end(arguments);
}

void log_warn(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    note("warn", format, arguments);
    va_end(arguments);
}

/* ---- the parts ---- */

static u8 table[16];

void *phys_to_virt(hpa_t address)
{
    assert_int_equal(address.raw, 0x7000);
    return table;
}

bool paging_map_firmware(hpa_t base, u64 bytes)
{
    return base.raw + bytes <= 0x8000;
}

enum status acpi_parse(const struct acpi_reader *reader, const void *rsdp, size_t rsdp_bytes, struct acpi_info *out,
                       struct refusal *refusal)
{
    assert_ptr_equal(reader->map(reader->context, 0x7000, 16), table);
    assert_null(reader->map(reader->context, 0x9000, 16));
    assert_true((rsdp != NULL) == (rsdp_bytes != 0));
    *out = machine.acpi;
    return machine.no_tables ? refuse(refusal, STATUS_INVALID, "no ACPI tables") : STATUS_OK;
}

void power_set_acpi(const struct acpi_info *acpi)
{
    (void)acpi;
    step("power");
}

u8 firmware_choose_console(const struct acpi_info *acpi, enum console_port wanted)
{
    (void)acpi;
    assert_int_equal(wanted, CONSOLE_SPCR);
    step("console");
    return machine.console_irq;
}

bool firmware_report_iommus(const struct acpi_info *acpi)
{
    (void)acpi;
    return !machine.remapping;
}

void firmware_stop_bus_masters(const struct acpi_info *acpi, bool keep)
{
    (void)acpi;
    step(keep ? "dma-kept" : "dma-off");
}

void ioapic_set_blocked(void)
{
    step("blocked");
}

enum status ioapic_init(const struct acpi_info *acpi, struct refusal *refusal)
{
    (void)acpi;
    step("ioapic");
    return machine.no_ioapic ? refuse(refusal, STATUS_NO_MEMORY, "no address space for it") : STATUS_OK;
}

u32 ioapic_pin_count(void)
{
    return 24;
}

void pic_host_mask_all(void)
{
    step("pic");
}

enum status lapic_init_boot_cpu(bool need_x2apic, bool nmi_lint0, struct refusal *refusal)
{
    (void)nmi_lint0;
    step(need_x2apic ? "x2apic" : "lapic");
    return machine.no_lapic ? refuse(refusal, STATUS_UNSUPPORTED, "no local APIC") : STATUS_OK;
}

u32 lapic_id(void)
{
    return 7;
}

bool lapic_is_x2apic(void)
{
    return false;
}

const char *lapic_timer_init(u64 tsc_hz)
{
    assert_int_equal(tsc_hz, HZ);
    return "deadline";
}

u64 tsc_hz_from_cpuid(void)
{
    return machine.cpuid_hz;
}

u64 tsc_hz_measured(const struct tsc_reference *reference)
{
    step(reference->name);
    return reference->hz;
}

bool tsc_is_invariant(void)
{
    return true;
}

bool hpet_reference(u64 address, struct tsc_reference *out)
{
    assert_int_equal(address, machine.acpi.hpet_address);
    *out = (struct tsc_reference){.name = "hpet", .hz = machine.hpet_hz};
    return !machine.no_hpet;
}

void pmtimer_reference(u16 port, u32 bits, struct tsc_reference *out)
{
    assert_int_equal(port, 0x608);
    assert_int_equal(bits, 24);
    *out = (struct tsc_reference){.name = "pm-timer", .hz = machine.pm_hz};
}

void pit_reference_start(struct tsc_reference *out)
{
    *out = (struct tsc_reference){.name = "pit", .hz = machine.pit_hz};
}

void pit_reference_stop(void)
{
    step("pit-off");
}

void clock_init(u64 tsc_hz)
{
    assert_int_equal(tsc_hz, HZ);
    step("clock");
}

u64 clock_tsc_hz(void)
{
    return HZ;
}

void symbols_init(const struct boot_symbols *symbols)
{
    (void)symbols;
}

void xsave_detect(void) {}
void xsave_init_cpu(void) {}
void mca_init_cpu(void) {}

u32 mca_bank_count(void)
{
    return 8;
}

bool xsave_is_available(void)
{
    return true;
}

u64 xsave_supported_mask(void)
{
    return 7;
}

u32 xsave_area_bytes(u64 xcr0)
{
    return xcr0 == 7 ? 832 : 0;
}

void smp_init(u64 tsc_hz)
{
    assert_int_equal(tsc_hz, HZ);
    step("smp");
}

bool irq_route_isa(u8 irq, u8 vector)
{
    assert_int_equal(irq, machine.console_irq);
    assert_int_equal(vector, IRQ_VECTOR_SERIAL);
    return !machine.no_pin;
}

bool keys_init(void)
{
    return machine.keyboard;
}

void console_enable_typing(void)
{
    machine.typing = true;
}

void console_enable_interrupts(void)
{
    step("interrupts");
}

void smp_start_all(const struct smp_plan *wanted)
{
    started = true;
    plan = *wanted;
    plan.missing(30, "does not answer");
    plan.moved_tsc(20, -5);
}

u32 smp_cpu_count(void)
{
    return 2;
}

struct cpu_local *cpu_local_of(u32 id)
{
    return id ? &second_cpu : &boot_cpu;
}

void sched_set_sibling(u32 id, u32 first)
{
    assert_int_equal(id, 1);
    assert_int_equal(first, 0);
    siblings++;
}

/* ---- the bench ---- */

static int start(void **state)
{
    (void)state;
    memset(&machine, 0, sizeof machine);
    machine.acpi.hpet_address = 0xfed00000;
    machine.acpi.pm_timer_port = 0x608;
    machine.acpi.pm_timer_bits = 24;
    machine.hpet_hz = HZ;
    machine.console_irq = 4;
    boot_cpu = (struct cpu_local){.self = &boot_cpu};
    second_cpu = (struct cpu_local){.self = &second_cpu, .apic_id = 6};
    siblings = 0;
    fake_cpu_reset();
    return (int)syscall(SYS_arch_prctl, ARCH_SET_GS, &boot_cpu);
}

static enum status come_up(void)
{
    static const struct host_options options = {.console = CONSOLE_SPCR};
    static struct boot_info boot;

    memset(said, 0, sizeof said);
    memset(steps, 0, sizeof steps);
    return host_init(&boot, &options, &why);
}

static void assert_said(const char *text)
{
    if (!strstr(said, text))
        fail_msg("'%s' is not in\n%s", text, said);
}

/* The PIC is silent before the local APIC listens; the clock runs before smp_init() measures with it. */
static void test_order(void **state)
{
    (void)state;
    assert_int_equal(come_up(), STATUS_OK);
    assert_string_equal(steps, " power console dma-off pic lapic ioapic hpet clock smp interrupts");
    assert_int_equal(boot_cpu.apic_id, 7);
    assert_null(strstr(said, "warn"));
}

/* The finest clock first; the next one where it is not there or gives no plausible answer. */
static void test_clocks(void **state)
{
    (void)state;
    machine.cpuid_hz = HZ;
    assert_int_equal(come_up(), STATUS_OK);
    assert_non_null(strstr(steps, " ioapic clock"));
    assert_said("source=cpuid");
    machine.cpuid_hz = 0;
    machine.hpet_hz = 0;
    machine.pm_hz = HZ;
    assert_int_equal(come_up(), STATUS_OK);
    assert_non_null(strstr(steps, " ioapic hpet pm-timer clock"));
    assert_said("source=pm-timer");
    machine.no_hpet = true;
    machine.acpi.pm_timer_port = 0;
    machine.pit_hz = HZ;
    assert_int_equal(come_up(), STATUS_OK);
    assert_non_null(strstr(steps, " ioapic pit pit-off clock"));
    assert_said("source=pit");
    machine.pit_hz = 0;
    assert_int_equal(come_up(), STATUS_UNSUPPORTED);
    assert_non_null(strstr(why.text, "no clock to measure the TSC with"));
    assert_null(strstr(steps, "clock"));
}

static void test_no_local_apic_is_the_end(void **state)
{
    (void)state;
    machine.no_lapic = true;
    assert_int_equal(come_up(), STATUS_UNSUPPORTED);
    assert_string_equal(why.text, "no local APIC");
    assert_string_equal(steps, " power console dma-off pic lapic");
}

/* SDM 3A 10.12 "Extended XAPIC (x2APIC)": ids of 8 bits, of which 255 is the broadcast. */
static void test_ids_that_need_x2apic(void **state)
{
    (void)state;
    machine.acpi.max_apic_id = 254;
    assert_int_equal(come_up(), STATUS_OK);
    assert_non_null(strstr(steps, " lapic "));
    machine.acpi.max_apic_id = 255;
    assert_int_equal(come_up(), STATUS_OK);
    assert_non_null(strstr(steps, " x2apic "));
}

static void test_what_is_done_without(void **state)
{
    (void)state;
    machine.no_tables = true;
    assert_int_equal(come_up(), STATUS_OK);
    assert_said("warn: no ACPI tables: one CPU, no I/O APIC");
    machine.no_tables = false;
    machine.no_ioapic = true;
    machine.acpi.tables_broken = 3;
    machine.acpi.cpus_left_out = 5;
    assert_int_equal(come_up(), STATUS_OK);
    assert_said("warn: no address space for it");
    assert_said("warn: acpi: 3 tables are unreadable");
    assert_said("warn: acpi: 5 CPUs beyond the first 64");
}

static void test_a_console_without_interrupt_is_polled(void **state)
{
    (void)state;
    machine.no_pin = true;
    assert_int_equal(come_up(), STATUS_OK);
    assert_said("the console is polled");
    assert_null(strstr(steps, "interrupts"));
    machine.no_pin = false;
    machine.console_irq = 0;
    assert_int_equal(come_up(), STATUS_OK);
    assert_said("the console is polled");
}

static void test_a_keyboard_may_type(void **state)
{
    (void)state;
    assert_int_equal(come_up(), STATUS_OK);
    assert_false(machine.typing);
    machine.keyboard = true;
    machine.no_pin = true; /* the serial port's: they are independent */
    assert_int_equal(come_up(), STATUS_OK);
    assert_true(machine.typing);
    assert_said("keyboard kind=ps2 layout=us");
}

static void test_interrupt_remapping_blocks_before_the_io_apic(void **state)
{
    (void)state;
    machine.remapping = true;
    assert_int_equal(come_up(), STATUS_OK);
    assert_non_null(strstr(steps, " console blocked dma-off pic lapic ioapic"));
}

static void entry(struct cpu_local *cpu)
{
    (void)cpu;
}

static void test_other_cpus(void **state)
{
    const struct platform_cpus cpus = {.trampoline = hpa(0x8000), .entry = entry, .test_skew = 9};

    (void)state;
    machine.acpi.cpu_count = 3;
    machine.acpi.cpu_apic_ids[2] = 30;
    assert_int_equal(come_up(), STATUS_OK);
    host_start_cpus(&(struct platform_cpus){.entry = entry});
    assert_false(started);
    assert_said("warn: no free page below 640 KiB");
    host_start_cpus(&cpus);
    assert_true(started && plan.entry == entry && plan.test_skew == 9);
    assert_int_equal(plan.trampoline.raw, 0x8000);
    assert_int_equal(plan.count, 3);
    assert_int_equal(plan.apic_ids[2], 30);
    assert_said("warn: cpu apic=30 is left out: does not answer");
    assert_said("info: cpu apic=20 tsc moved=-5 ticks");
    assert_said("info: cpus online=2 listed=3");
}

/* A core of two threads, of a CPU that says nothing of attacks: it is taken for affected by those of siblings. */
static void test_sibling_threads(void **state)
{
    struct platform_cpus cpus = {.trampoline = hpa(0x8000), .entry = entry, .mitigations = true};

    (void)state;
    fake_cpuid_set(0, 0, (struct cpuid_result){0xb, 0x756e6547, 0x6c65746e, 0x49656e69});
    fake_cpuid_set(0xb, 0, (struct cpuid_result){1, 2, 0x100, 0});
    machine.acpi.cpu_count = 2;
    machine.acpi.cpu_apic_ids[0] = 6;
    machine.acpi.cpu_apic_ids[1] = 7; /* the boot CPU */
    assert_int_equal(come_up(), STATUS_OK);
    host_start_cpus(&cpus);
    assert_int_equal(plan.count, 2);
    assert_int_equal(siblings, 1);
    assert_said("smt policy=core thread-bits=1 siblings=1");
    cpus.mitigations = false;
    host_start_cpus(&cpus);
    assert_int_equal(siblings, 1);
    assert_said("smt policy=share");
    cpus.smt = SMT_OFF;
    host_start_cpus(&cpus);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.apic_ids[0], 7);
    assert_said("smt policy=off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_order, start),
        cmocka_unit_test_setup(test_clocks, start),
        cmocka_unit_test_setup(test_no_local_apic_is_the_end, start),
        cmocka_unit_test_setup(test_ids_that_need_x2apic, start),
        cmocka_unit_test_setup(test_what_is_done_without, start),
        cmocka_unit_test_setup(test_a_console_without_interrupt_is_polled, start),
        cmocka_unit_test_setup(test_a_keyboard_may_type, start),
        cmocka_unit_test_setup(test_interrupt_remapping_blocks_before_the_io_apic, start),
        cmocka_unit_test_setup(test_other_cpus, start),
        cmocka_unit_test_setup(test_sibling_threads, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
