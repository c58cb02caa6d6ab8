/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Machine-check banks: what is set up, read and cleared, and how often the log hears of it. SDM 3B 15.8 "Machine-Check
 * Initialization", 15.3.2 "Error-Reporting Register Banks".
 *
 * links: arch/x86/mca.c kernel/machine_check.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/mca.h"
#include "arch/x86/percpu.h"
#include "kernel/clock.h"
#include "kernel/lib/format.h"
#include "kernel/log.h"
#include "kernel/machine_check.h"
#include "test/fake/cpu.h"
#include "test/fake/msr.h"

#define SECOND 3000000000ull
#define CTL(n) (0x400u + 4 * (n))
#define VALID  BIT(63)
#define UC     BIT(61)
#define MISCV  BIT(59)
#define ADDRV  BIT(58)

static struct cpu_local cpus[2];
static char line[200];
static u32 lines;
static u64 now = 1000; /* never goes back: the log's limit is the program's */

void log_warn(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    lines++;
}

u64 clock_tsc_from_ns(u64 ns)
{
    return ns * 3;
}

static void run_on(u32 cpu)
{
    assert_int_equal(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &cpus[cpu]), 0);
}

static void make_cpu(u32 signature, u64 capabilities)
{
    fake_cpu_reset();
    fake_cpuid_set(1, 0, (struct cpuid_result){signature, 0, 0, BIT(7) | BIT(14)});
    fake_msr_reset();
    fake_msr_set(0x179, capabilities);
    if (capabilities & BIT(8))
        fake_msr_set(0x17b, 0);
    for (u32 bank = 0; bank < (capabilities & 0xff); bank++) {
        fake_msr_set(CTL(bank), 0);
        fake_msr_set(CTL(bank) + 1, 0);
    }
}

static int set_up(void **state)
{
    (void)state;
    for (u32 cpu = 0; cpu < 2; cpu++)
        cpus[cpu] = (struct cpu_local){.self = &cpus[cpu], .id = cpu};
    run_on(0);
    make_cpu(0x50654, 0xf0000 | 4 | BIT(8));
    lines = 0;
    line[0] = 0;
    now += 10 * SECOND;
    return 0;
}

/* Example 15-1: IA32_MCG_CTL where it is, and each bank's CTL; but bank 0 is firmware's on P6 before model 1AH. */
static void test_every_error_is_enabled(void **state)
{
    static const struct {
        u32 signature;
        u64 first;
    } rows[] = {
        {0x50654, ~0ull},
        {0x106a5, ~0ull},
        {0x10676, 0    },
        {0x006fb, 0    },
        {0x00f62, ~0ull}
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        make_cpu(rows[i].signature, 3 | BIT(8));
        mca_init_cpu();
        assert_int_equal(fake_msr_get(0x17b), ~0ull);
        assert_int_equal(fake_msr_get(CTL(0)), rows[i].first);
        assert_int_equal(fake_msr_get(CTL(1)), ~0ull);
        assert_int_equal(fake_msr_get(CTL(2)), ~0ull);
        assert_int_equal(mca_bank_count(), 3);
    }
    make_cpu(0x50654, 2); /* whatever is at IA32_MCG_CTL's index, it is another MSR */
    fake_msr_set(0x17b, 0);
    mca_init_cpu();
    assert_int_equal(fake_msr_get(0x17b), 0);
    assert_int_equal(fake_msr_get(CTL(1)), ~0ull);
}

/* What firmware left of the time before the reset is kept, for the first look. */
static void test_old_errors_are_kept(void **state)
{
    (void)state;
    fake_msr_set(CTL(2) + 1, VALID | 0x0151);
    mca_init_cpu();
    assert_int_equal(fake_msr_get(CTL(2) + 1), VALID | 0x0151);
    machine_check_look(now);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(line, "cpu=0 bank=2 kind=corrected status=0x8000000000000151 address=0x0 misc=0x0"));
    assert_int_equal(fake_msr_get(CTL(2) + 1), 0);
}

static void test_cpus_without(void **state)
{
    (void)state;
    fake_cpuid_set(1, 0, (struct cpuid_result){0x50654, 0, 0, BIT(7)}); /* the exception, but no banks */
    assert_int_equal(mca_bank_count(), 0);
    mca_init_cpu();
    fake_cpuid_set(1, 0, (struct cpuid_result){0x50654, 0, 0, BIT(7) | BIT(14)});
    fake_msr_reset(); /* an emulator that says it has them */
    assert_int_equal(mca_bank_count(), 0);
    mca_init_cpu();
    machine_check_look(now);
    assert_int_equal(lines, 0);
    fake_msr_set(0x179, 40); /* banks of which no MSR exists */
    assert_int_equal(mca_bank_count(), 32);
    mca_init_cpu();
    machine_check_look(now + SECOND);
    assert_int_equal(lines, 0);
}

/* The MSRs of address and misc exist, or have a meaning, only where the status says so: 15.3.2.3, 15.3.2.4. */
static void test_what_a_bank_says(void **state)
{
    struct mca_error error;

    (void)state;
    assert_false(mca_read(1, &error));
    fake_msr_set(CTL(1) + 1, ~VALID);
    assert_false(mca_read(1, &error));
    fake_msr_set(CTL(1) + 1, VALID | UC | 0x150);
    fake_msr_set(CTL(1) + 2, 0x777);
    fake_msr_set(CTL(1) + 3, 0x777);
    assert_true(mca_read(1, &error));
    assert_int_equal(error.status, VALID | UC | 0x150);
    assert_int_equal(error.address | error.misc, 0);
    fake_msr_set(CTL(1) + 1, VALID | ADDRV | MISCV);
    fake_msr_set(CTL(1) + 2, 0x12345678);
    fake_msr_set(CTL(1) + 3, 0x8c);
    assert_true(mca_read(1, &error));
    assert_int_equal(error.address, 0x12345678);
    assert_int_equal(error.misc, 0x8c);
    mca_clear(1);
    assert_false(mca_read(1, &error));
    assert_int_equal(fake_msr_get(CTL(1) + 1), 0); /* all of it: 1s would be #GP */
}

/* A line a second at most, of all CPUs together; but every bank is emptied, and what has no line is counted. */
static void test_at_most_a_line_a_second(void **state)
{
    (void)state;
    machine_check_look(now);
    assert_int_equal(lines, 0);
    fake_msr_set(CTL(0) + 1, VALID);
    machine_check_look(now + SECOND - 1); /* it has just looked */
    assert_int_equal(lines, 0);
    assert_int_equal(fake_msr_get(CTL(0) + 1), VALID);
    fake_msr_set(CTL(1) + 1, VALID | UC);
    fake_msr_set(CTL(3) + 1, VALID);
    machine_check_look(now + SECOND);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(line, "bank=0 kind=corrected"));
    assert_non_null(strstr(line, "unsaid=0"));
    for (u32 bank = 0; bank < 4; bank++)
        assert_int_equal(fake_msr_get(CTL(bank) + 1), 0);

    run_on(1); /* whose own time has come, but not that of a line */
    fake_msr_set(CTL(1) + 1, VALID);
    machine_check_look(now + SECOND + SECOND / 2);
    assert_int_equal(lines, 1);
    assert_int_equal(fake_msr_get(CTL(1) + 1), 0);
    fake_msr_set(CTL(2) + 1, VALID | UC);
    run_on(0);
    machine_check_look(now + 2 * SECOND);
    assert_int_equal(lines, 2);
    assert_non_null(strstr(line, "bank=2 kind=uncorrected"));
    assert_non_null(strstr(line, "unsaid=3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_error_is_enabled, set_up),
        cmocka_unit_test_setup(test_old_errors_are_kept, set_up),
        cmocka_unit_test_setup(test_cpus_without, set_up),
        cmocka_unit_test_setup(test_what_a_bank_says, set_up),
        cmocka_unit_test_setup(test_at_most_a_line_a_second, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
