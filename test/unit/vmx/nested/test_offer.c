/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest hypervisor is offered: never what the machine has not, nothing but what the table names, and capability
 * MSRs that hang together. SDM 3D Appendix A "VMX Capability Reporting Facility".
 *
 * links: vmx/nested/offer.c vmx/caps.c vmx/controls.c vmx/check/check.c vmx/check/rule.c vmx/check/controls.c
 * vmx/check/host.c vmx/check/guest.c vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c
 * vmx/check/fields.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "test/fake/check_images.h"
#include "test/fake/msr.h"
#include "vmx/nested/offer.h"

static const struct nested_guest whole = {0x003707ff, true, true, true};
static struct vmx_caps machine, offered;

static int set_up(void **state)
{
    (void)state;
    machine = bench_skylake;
    machine.feature_control = 0x100005;
    nested_offer(&machine, &whole, &offered);
    return 0;
}

static u64 msr(u32 index)
{
    u64 value = 0;
    assert_true(nested_offer_msr(&offered, index, &value));
    return value;
}

static void test_skylake(void **state)
{
    (void)state;
    assert_int_equal(msr(MSR_IA32_FEATURE_CONTROL), 5);
    assert_int_equal(msr(MSR_IA32_VMX_BASIC), 0x00d81000526f6f74);
    assert_int_equal(msr(MSR_IA32_VMX_PINBASED_CTLS), 0x0000007f00000016);
    assert_int_equal(msr(MSR_IA32_VMX_TRUE_PINBASED_CTLS), 0x0000007f00000016);
    assert_int_equal(msr(MSR_IA32_VMX_PROCBASED_CTLS), 0xf7f9fffe0401e172);
    assert_int_equal(msr(MSR_IA32_VMX_TRUE_PROCBASED_CTLS), 0xf7f9fffe04006172);
    /* EPT, descriptor tables, RDTSCP, VPID, WBINVD, unrestricted, PAUSE loops, RDRAND, INVPCID, VMCS
     * shadowing, RDSEED, XSAVES */
    assert_int_equal(msr(MSR_IA32_VMX_PROCBASED_CTLS2), 0x00117cee00000000);
    /* no IA32_PERF_GLOBAL_CTRL: bit 12 of the exit controls, 13 of the entry controls; no SMM: bits 10 and 11 */
    assert_int_equal(msr(MSR_IA32_VMX_EXIT_CTLS), 0x007fefff00036dff);
    assert_int_equal(msr(MSR_IA32_VMX_TRUE_EXIT_CTLS), 0x007fefff00036dfb);
    assert_int_equal(msr(MSR_IA32_VMX_ENTRY_CTLS), 0x0000d3ff000011ff);
    assert_int_equal(msr(MSR_IA32_VMX_TRUE_ENTRY_CTLS), 0x0000d3ff000011fb);
    assert_int_equal(msr(MSR_IA32_VMX_MISC), 0x40040060);
    assert_int_equal(msr(MSR_IA32_VMX_CR0_FIXED0), 0x80000021);
    assert_int_equal(msr(MSR_IA32_VMX_CR0_FIXED1), 0xffffffff);
    assert_int_equal(msr(MSR_IA32_VMX_CR4_FIXED0), 0x2000);
    assert_int_equal(msr(MSR_IA32_VMX_CR4_FIXED1), 0x003727ff);
    assert_int_equal(msr(MSR_IA32_VMX_EPT_VPID_CAP), 0x00000f0106334141);
    /* the preemption timer's value, 0x482e; without it GUEST_SYSENTER_CS would be no higher than XSS_EXITING_BITMAP */
    assert_int_equal(msr(MSR_IA32_VMX_VMCS_ENUM), 0x2e);
}

/* No other MSR of the range exists; without EPTP switching VMFUNC neither. */
static void test_what_does_not_exist(void **state)
{
    u64 value;

    (void)state;
    assert_int_equal(msr(MSR_IA32_VMX_VMFUNC), 1);
    machine.vmfunc = ~1ull;
    nested_offer(&machine, &whole, &offered);
    assert_false(nested_offer_msr(&offered, MSR_IA32_VMX_VMFUNC, &value));
    assert_false(nested_offer_msr(&offered, MSR_IA32_VMX_PROCBASED_CTLS3, &value));
    assert_false(nested_offer_msr(&offered, MSR_IA32_VMX_EXIT_CTLS2, &value));
    assert_false(nested_offer_msr(&offered, MSR_IA32_VMX_BASIC - 1, &value));
    assert_false(nested_offer_msr(&offered, 0, &value));
    machine.basic &= ~BIT(55);
    nested_offer(&machine, &whole, &offered);
    for (u32 index = MSR_IA32_VMX_TRUE_PINBASED_CTLS; index <= MSR_IA32_VMX_TRUE_ENTRY_CTLS; index++)
        assert_false(nested_offer_msr(&offered, index, &value));
    machine.group[VMX_PROC2].may_be_one = 0;
    nested_offer(&machine, &whole, &offered);
    assert_false(nested_offer_msr(&offered, MSR_IA32_VMX_EPT_VPID_CAP, &value));
    machine.group[VMX_PROC].may_be_one &= ~PROC_SECONDARY;
    nested_offer(&machine, &whole, &offered);
    assert_false(nested_offer_msr(&offered, MSR_IA32_VMX_PROCBASED_CTLS2, &value));
}

/* A machine that has every bit: the table alone decides. */
static void test_only_what_the_table_names(void **state)
{
    (void)state;
    for (u32 g = 0; g < VMX_GROUPS; g++)
        machine.group[g].may_be_one = 0xffffffff;
    machine.misc = ~0ull;
    machine.ept_vpid = machine.vmfunc = ~0ull;
    machine.basic = ~0ull;
    machine.cr4_fixed1 = ~0ull;
    nested_offer(&machine, &whole, &offered);
    assert_int_equal(offered.group[VMX_PIN].may_be_one, 0x7f);
    assert_int_equal(offered.group[VMX_PROC].may_be_one, 0xfff9fffe);
    assert_int_equal(offered.group[VMX_PROC2].may_be_one, 0x00117cee);
    assert_int_equal(offered.group[VMX_EXIT].may_be_one, 0x007fefff);
    assert_int_equal(offered.group[VMX_ENTRY].may_be_one, 0xd3ff);
    assert_int_equal(offered.misc, 0x4004007f);
    assert_int_equal(offered.ept_vpid, 0x00000f0106334141);
    assert_int_equal(offered.vmfunc, 1);
    assert_int_equal(offered.basic, 0x01d81000526f6f74);
    assert_int_equal(offered.cr4_fixed1, whole.cr4 | CR4_VMXE);
}

/* Take each bit away from the machine, one at a time: the guest loses it, too, and nothing appears. */
static void test_never_what_the_machine_has_not(void **state)
{
    (void)state;
    const struct vmx_caps full = machine, before = offered;
    for (u32 g = 0; g < VMX_GROUPS; g++) {
        for (u32 bit = 0; bit < 32; bit++) {
            if (full.group[g].must_be_one & BIT(bit))
                continue;
            machine = full;
            machine.group[g].may_be_one &= ~(u32)BIT(bit);
            nested_offer(&machine, &whole, &offered);
            for (u32 other = 0; other < VMX_GROUPS; other++) {
                assert_int_equal(offered.group[other].may_be_one & ~machine.group[other].may_be_one, 0);
                assert_int_equal(offered.group[other].may_be_one & ~before.group[other].may_be_one, 0);
            }
            assert_int_equal(offered.ept_vpid & ~before.ept_vpid, 0);
        }
    }
    for (u32 bit = 0; bit < 64; bit++) {
        machine = full;
        machine.ept_vpid &= ~BIT(bit);
        nested_offer(&machine, &whole, &offered);
        assert_int_equal(offered.ept_vpid & ~machine.ept_vpid, 0);
    }
}

static void test_needs(void **state)
{
    static const struct nested_guest bare = {0x7ff, false, false, false};

    (void)state;
    nested_offer(&machine, &bare, &offered);
    assert_int_equal(offered.group[VMX_PROC2].may_be_one, 0x00117cee & ~PROC2_RDTSCP & ~PROC2_INVPCID & ~PROC2_XSAVES);
    assert_int_equal(offered.cr4_fixed1, 0x27ff);
    machine.ept_vpid &= ~EPT_CAP_INVVPID_ALL;
    nested_offer(&machine, &whole, &offered);
    assert_int_equal(offered.group[VMX_PROC2].may_be_one, 0x00117cee & ~PROC2_VPID);
    assert_int_equal(offered.ept_vpid, 0x06334141);
    machine.group[VMX_PROC2].may_be_one &= ~PROC2_EPT;
    nested_offer(&machine, &whole, &offered);
    assert_int_equal(offered.group[VMX_PROC2].may_be_one,
                     0x00117cee & ~PROC2_VPID & ~PROC2_EPT & ~PROC2_UNRESTRICTED_GUEST & ~PROC2_VMFUNC);
    assert_int_equal(offered.ept_vpid, 0);
    assert_int_equal(offered.vmfunc, 0);
}

static void test_cr3_targets(void **state)
{
    static const u64 counts[][2] = {
        {0,   0},
        {1,   1},
        {3,   3},
        {4,   4},
        {5,   4},
        {256, 4}
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        machine.misc = counts[i][0] << 16;
        nested_offer(&machine, &whole, &offered);
        assert_int_equal(offered.misc, counts[i][1] << 16);
    }
}

/* What a guest reads by RDMSR gives it the same capabilities as the checker has. */
static void test_msrs_give_the_offer_back(void **state)
{
    struct vmx_caps_raw raw = {.feature_control = msr(MSR_IA32_FEATURE_CONTROL)};
    struct vmx_caps taken;

    (void)state;
    for (u32 i = 0; i < VMX_CAPS_MSRS; i++) {
        bool exists = nested_offer_msr(&offered, MSR_IA32_VMX_BASIC + i, &raw.value[i]);
        assert_int_equal(exists, vmx_caps_exists(&raw, MSR_IA32_VMX_BASIC + i));
        if (!exists)
            raw.value[i] = 0;
    }
    vmx_caps_take(&raw, &taken);
    assert_memory_equal(&taken, &offered, sizeof taken);
}

/* A valid VMCS of each mode is valid with the offer; and one that uses what is not offered is not. */
static void test_checker_takes_it(void **state)
{
    static struct bench bench;

    (void)state;
    for (u32 base = 0; base < BENCH_BASES; base++) {
        bench_set_up(&bench, base);
        assert_int_equal(vmx_check_entry(&bench.image, &offered, NULL, NULL).broken, 0);
        bench.image.value[FIELD_PROC2_CONTROLS] |= PROC2_TSC_SCALING;
        bench.image.value[FIELD_TSC_MULTIPLIER] = 1;
        assert_int_equal(vmx_check_entry(&bench.image, &bench.caps, NULL, NULL).broken, 0);
        assert_int_equal(vmx_check_entry(&bench.image, &offered, NULL, NULL).broken, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_skylake, set_up),
        cmocka_unit_test_setup(test_what_does_not_exist, set_up),
        cmocka_unit_test_setup(test_only_what_the_table_names, set_up),
        cmocka_unit_test_setup(test_never_what_the_machine_has_not, set_up),
        cmocka_unit_test_setup(test_needs, set_up),
        cmocka_unit_test_setup(test_cr3_targets, set_up),
        cmocka_unit_test_setup(test_msrs_give_the_offer_back, set_up),
        cmocka_unit_test_setup(test_checker_takes_it, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
