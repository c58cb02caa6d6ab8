/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The features that the host uses: what firmware hides in CPUID is shown first, on each CPU.
 * links: arch/x86/features.c test/fake/cpu.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "arch/x86/features.h"
#include "test/fake/cpu.h"

#define LIMIT      BIT(22)
#define XD_DISABLE BIT(34)
#define OTHERS     0x850089ull

static bool has_misc_enable;
static u64 misc_enable, efer, pat;
static u32 misc_writes;

bool msr_read_safe(u32 index, u64 *value)
{
    assert_int_equal(index, MSR_IA32_MISC_ENABLE);
    *value = misc_enable;
    return has_misc_enable;
}

/* With NX away, EFER.NXE is reserved. */
void msr_write(u32 index, u64 value)
{
    if (index == MSR_IA32_MISC_ENABLE) {
        misc_enable = value;
        misc_writes++;
        fake_cpuid_set(0, 0, (struct cpuid_result){7, 0x756e6547, 0x6c65746e, 0x49656e69});
        fake_cpuid_set(0x80000001, 0, (struct cpuid_result){.edx = BIT(20)});
    } else if (index == MSR_IA32_EFER) {
        assert_false((value & EFER_NXE) && (misc_enable & XD_DISABLE));
        efer = value;
    } else {
        assert_int_equal(index, MSR_IA32_PAT);
        pat = value;
    }
}

static int reset(void **state)
{
    (void)state;
    fake_cpu_reset();
    has_misc_enable = true;
    misc_enable = OTHERS;
    misc_writes = 0;
    fake_cpuid_set(0, 0, (struct cpuid_result){3, 0x756e6547, 0x6c65746e, 0x49656e69});
    fake_cpuid_set(1, 0, (struct cpuid_result){.edx = BIT(7) | BIT(13) | BIT(16)});
    fake_cpuid_set(7, 0, (struct cpuid_result){.ebx = BIT(7)});
    return 0;
}

static void hidden_leaves_and_nx_are_shown(void **state)
{
    (void)state;
    misc_enable = OTHERS | LIMIT | XD_DISABLE;
    features_detect();
    assert_true(features_get()->nx && features_get()->smep);
    assert_true(misc_enable == OTHERS);
    misc_enable = OTHERS | XD_DISABLE; /* another CPU, which firmware has set up alike */
    features_enable_cpu();
    assert_true(misc_enable == OTHERS && (efer & EFER_NXE));
    assert_true(fake_cpu.cr4 & CR4_SMEP);
}

static void what_is_not_hidden_is_not_written(void **state)
{
    (void)state;
    features_detect();
    features_enable_cpu();
    assert_int_equal(misc_writes, 0);
    assert_false(features_get()->nx || features_get()->smep); /* this CPU has no leaf 7 */
    misc_enable |= LIMIT;
    has_misc_enable = false;
    features_detect();
    assert_int_equal(misc_writes, 0);
    has_misc_enable = true; /* an AMD CPU has other things there */
    fake_cpuid_set(0, 0, (struct cpuid_result){1, 0x68747541, 0x444d4163, 0x69746e65});
    features_detect();
    assert_int_equal(misc_writes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(hidden_leaves_and_nx_are_shown, reset),
        cmocka_unit_test_setup(what_is_not_hidden_is_not_written, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
