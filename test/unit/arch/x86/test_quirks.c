/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which engine has which quirk: Bochs's two versions by what they show, and nobody else.
 *
 * links: arch/x86/quirks.c arch/x86/xsave.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/quirks.h"
#include "arch/x86/xsave.h"
#include "test/fake/cpu.h"
#include "test/fake/msr.h"

#define BOCHS     0x00d810000000002bull /* IA32_VMX_BASIC of skylake_x in Bochs 2.7 and 3.0 */
#define BOCHS_CET 0x01d8100000000004ull /* of tigerlake in both: a real CPU's revision, Bochs's size */
#define SKYLAKE   0x00da040000000004ull /* of a real one */
#define KVM       0x00d8100011e57ed0ull /* KVM's nested VMX: its own revision, 4096 bytes */

static bool compacts_well;

bool xsave_check_compaction(void *area)
{
    for (unsigned i = 0; i < 1024; i++)
        assert_int_equal(((u8 *)area)[i], 0);
    return compacts_well;
}

static u32 found(u64 basic, bool good_xsavec)
{
    fake_cpu_reset();
    fake_cpuid_skylake();
    fake_msr_reset();
    fake_msr_skylake();
    fake_msr_set(MSR_IA32_VMX_BASIC, basic);
    xsave_detect();
    compacts_well = good_xsavec;
    quirks_detect();
    return quirks_found;
}

#define XSAVEC       BIT(QUIRK_XSAVEC)
#define NMI          BIT(QUIRK_NMI_BLOCKING)
#define DELIVERY     BIT(QUIRK_VIRTUAL_DELIVERY)
#define NOTIFICATION BIT(QUIRK_EMPTY_NOTIFICATION)
#define SHADOW       (BIT(QUIRK_STI_SHADOW) | BIT(QUIRK_EXCEPTION_RIP))

static void test_bochs_27(void **state)
{
    (void)state;
    assert_int_equal(found(BOCHS, false), XSAVEC | NMI | DELIVERY | NOTIFICATION);
    assert_int_equal(found(BOCHS_CET, false), XSAVEC | NMI | DELIVERY | NOTIFICATION);
}

static void test_bochs_30(void **state)
{
    (void)state;
    assert_int_equal(found(BOCHS, true), DELIVERY | NOTIFICATION | SHADOW);
    assert_int_equal(found(BOCHS_CET, true), DELIVERY | NOTIFICATION | SHADOW);
}

/* What KVM does inside Bochs is KVM's, but XSAVEC runs on Bochs itself. */
static void test_nobody_else(void **state)
{
    (void)state;
    assert_int_equal(found(SKYLAKE, true), 0);
    assert_int_equal(found(KVM, true), 0);
    assert_int_equal(found(KVM, false), XSAVEC);
    assert_int_equal(found((SKYLAKE & ~0x7fffffffull) | 0x2b, true), 0); /* the revision alone is no proof */
}

/* Without AVX there is nothing to misplace, and without XSAVEC nothing to try. */
static void test_nothing_to_try(void **state)
{
    (void)state;
    found(BOCHS, false);
    fake_cpuid_set(0xd, 1, (struct cpuid_result){0});
    quirks_detect();
    assert_int_equal(quirks_found, DELIVERY | NOTIFICATION | SHADOW);
}

static void test_each_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < QUIRKS; i++)
        assert_true(strlen(quirks_name(i)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bochs_27),        cmocka_unit_test(test_bochs_30),
        cmocka_unit_test(test_nobody_else),     cmocka_unit_test(test_nothing_to_try),
        cmocka_unit_test(test_each_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
