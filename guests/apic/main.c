/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests the PC's interrupt hardware from inside: local APIC in both modes, IPIs, timers, I/O APIC, HPET, PIT, CMOS
 * clock, PM timer. One line per check, `apic <mode> <name> ok|FAIL detail`; the exit status is the number of failures.
 * Options: mode=xapic|x2apic|both, only=<prefix of names>, skip=<name>, end=poweroff|reset (by the ACPI tables, at
 * once). Give it cpus=1..4.
 */
#include "guests/apic/apic.h"

bool check_failed;
char check_text[120];

static u32 checks_run, failures;

static const struct check *const groups[] = {local_checks,  priority_checks, timer_checks, ipi_checks, start_checks,
                                             device_checks, hpet_checks,     clock_checks, last_checks};

/* One line in one call: the UART would take an exit for each character. */
static void say(const char *mode, const char *name)
{
    char line[200];
    u32 written;
    size_t length = format_text(line, sizeof line, "apic %s %s %s%s%s\n", mode, name, check_failed ? "FAIL" : "ok",
                                check_text[0] ? " " : "", check_text);
    hypercall_console_write((uintptr_t)line, (u32)length, &written);
}

static void quiet_devices(void)
{
    ioapic_mask_all();
    pic_mask_all();
    pit_stop();
}

static bool is_wanted(const char *name)
{
    const char *only = guest_option("only");
    const char *skip = guest_option("skip");

    if (skip && text_begins_with(skip, name))
        return false;
    while (only && *only && *only != ' ')
        if (*only++ != *name++)
            return false;
    return true;
}

static void run_check(const struct check *check)
{
    if (cpu_count < check->least_cpus || !is_wanted(check->name))
        return;
    check_failed = false;
    check_text[0] = '\0';
    for (u32 vector = VECTOR_PIC + 16; vector < 256; vector++)
        vector_handlers[vector] = NULL;
    vector_handlers[VECTOR_NMI] = NULL;
    quiet_devices();
    run_on_all(apic_reset_state);
    clear_log();
    check->run();
    cpu_interrupts_on();
    need(cpus[0].count[VECTOR_SPURIOUS] == 0, "a spurious interrupt came");
    checks_run++;
    failures += check_failed;
    say(x2apic ? "x2apic" : "xapic", check->name);
}

static void enter_xapic(void)
{
    apic_enter_mode(false);
}

static void enter_x2apic(void)
{
    apic_enter_mode(true);
}

static void run_mode(bool extended)
{
    const char *wanted = guest_option("mode");

    if (wanted && text_begins_with(wanted, extended ? "xapic" : "x2apic"))
        return;
    for (u32 cpu = cpu_count; cpu-- > 0;)
        run_on(cpu, extended ? enter_x2apic : enter_xapic);
    x2apic = extended;
    for (u32 group = 0; group < ARRAY_LENGTH(groups); group++) {
        for (const struct check *check = groups[group]; check->name; check++) {
            bool fits = check->modes == CHECK_BOTH || (check->modes == CHECK_X2) == extended;
            if (fits)
                run_check(check);
        }
    }
}

static void end_by_acpi(const char *how)
{
    if (text_begins_with(how, "reset"))
        cpu_out8(acpi_reset_port(), acpi_reset_value());
    else
        cpu_out16(acpi_pm1_control_port(), ROOTLET_PM1A_SLP_EN);
    print("apic FAIL still here after %s\n", how);
}

int guest_main(void)
{
    struct hypercall identity = {ROOTLET_CALL_IDENTITY, 0, 0, 0};
    const char *end = guest_option("end");

    expect(hypercall_present() && hypercall(&identity) == ROOTLET_OK, "no hypervisor in sight");
    if (end)
        end_by_acpi(end);
    cpu_count = identity.edx;
    expect(cpu_count <= MAX_CPUS, "more vCPUs than this guest has stacks");
    interrupts_setup();
    pic_init();
    start_cpus();
    run_mode(false);
    run_mode(true);
    print("apic done checks=%u failures=%u\n", checks_run, failures);
    return (int)failures;
}
