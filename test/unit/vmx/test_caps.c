/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capability MSRs as values: which MSR each comes from, and what vmx.disable= takes away.
 * SDM 3D Appendix A "VMX Capability Reporting Facility".
 *
 * links: vmx/caps.c vmx/controls.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test/fake/msr.h"
#include "vmx/controls.h"

static struct vmx_caps caps;
static struct refusal why;

static void read_caps(struct vmx_caps *out)
{
    struct vmx_caps_raw raw;

    vmx_caps_read(&raw);
    vmx_caps_take(&raw, out);
}

static int set_up(void **state)
{
    (void)state;
    fake_msr_reset();
    fake_msr_skylake();
    return 0;
}

static void test_true_msrs_are_read_where_basic_says_so(void **state)
{
    (void)state;
    read_caps(&caps);
    assert_int_equal(caps.group[VMX_PIN].must_be_one, 0x16);
    assert_int_equal(caps.group[VMX_PIN].may_be_one, 0x7f);
    assert_int_equal(caps.group[VMX_PROC].must_be_one, 0x04006172);
    assert_int_equal(caps.group[VMX_PROC].may_be_one, 0xf7f9fffe);
    assert_int_equal(caps.group[VMX_PROC2].must_be_one, 0);
    assert_int_equal(caps.group[VMX_PROC2].may_be_one, 0x02177fff);
    assert_int_equal(caps.group[VMX_EXIT].must_be_one, 0x00036dfb);
    assert_int_equal(caps.group[VMX_ENTRY].must_be_one, 0x000011fb);
    assert_int_equal(caps.ept_vpid, 0x00000f0106334141);
    assert_int_equal(caps.feature_control, 5);
    assert_int_equal(vmx_caps_revision(&caps), 0x2b);
    assert_int_equal(vmx_caps_region_bytes(&caps), 0x1000);
    assert_int_equal(vmx_caps_memory_type(&caps), 6);
    assert_int_equal(vmx_caps_timer_shift(&caps), 0);
}

/* BASIC bit 55 clear: the TRUE MSRs are not there, and reading one would be #GP in the host. */
static void test_old_cpu_has_no_true_msrs(void **state)
{
    (void)state;
    fake_msr_reset();
    fake_msr_set(MSR_IA32_VMX_BASIC, 0x005810000000000d);
    fake_msr_set(MSR_IA32_VMX_PINBASED_CTLS, 0x0000003f00000016);
    fake_msr_set(MSR_IA32_VMX_PROCBASED_CTLS, 0x77f9fffe0401e172); /* no secondary controls: 0x48b is not there */
    fake_msr_set(MSR_IA32_VMX_EXIT_CTLS, 0x0003ffff00036dff);
    fake_msr_set(MSR_IA32_VMX_ENTRY_CTLS, 0x00003fff000011ff);
    fake_msr_set(MSR_IA32_VMX_MISC, 0x403c0);
    fake_msr_set(MSR_IA32_VMX_CR0_FIXED0, 0x80000021);
    fake_msr_set(MSR_IA32_VMX_CR0_FIXED1, 0xffffffff);
    fake_msr_set(MSR_IA32_VMX_CR4_FIXED0, 0x2000);
    fake_msr_set(MSR_IA32_VMX_CR4_FIXED1, 0x27ff);
    fake_msr_set(MSR_IA32_VMX_VMCS_ENUM, 0x2a);
    fake_msr_set(MSR_IA32_FEATURE_CONTROL, 0);
    read_caps(&caps);
    assert_int_equal(caps.group[VMX_PROC].must_be_one, 0x0401e172);
    assert_int_equal(caps.group[VMX_PROC2].may_be_one, 0);
    assert_int_equal(caps.ept_vpid, 0);
    assert_int_equal(caps.group[VMX_EXIT].may_be_one, 0x0003ffff);
    assert_int_equal(caps.feature_control, 0);
}

static void test_fixed_bits(void **state)
{
    (void)state;
    read_caps(&caps);
    assert_int_equal(vmx_caps_fix_cr0(&caps, 0), 0x80000021);
    assert_int_equal(vmx_caps_fix_cr0(&caps, 0x10000ffffffffull), 0xffffffff);
    assert_int_equal(vmx_caps_fix_cr4(&caps, 0), CR4_VMXE);
    assert_int_equal(vmx_caps_fix_cr4(&caps, CR4_PKE | CR4_SMAP), CR4_VMXE | CR4_SMAP);
}

/* Each name takes away its bit and no other one. */
static void test_each_name_disables_one_thing(void **state)
{
    static const struct {
        const char *name;
        enum vmx_group group; /* VMX_GROUPS: a bit of EPT_VPID_CAP */
        u64 bits;
    } features[] = {
        {"preemption-timer", VMX_PIN,    0x40             },
        {"apicv",            VMX_PROC,   0x200000         },
        {"io-bitmap",        VMX_PROC,   0x02000000       },
        {"msr-bitmap",       VMX_PROC,   0x10000000       },
        {"rdtscp",           VMX_PROC2,  0x08             },
        {"vpid",             VMX_PROC2,  0x20             },
        {"wbinvd-exiting",   VMX_PROC2,  0x40             },
        {"pause-loops",      VMX_PROC2,  0x400            },
        {"invpcid",          VMX_PROC2,  0x1000           },
        {"ept-1g",           VMX_GROUPS, BIT(17)          },
        {"ept-2m",           VMX_GROUPS, BIT(16) | BIT(17)},
    };
    struct vmx_caps before;

    (void)state;
    read_caps(&before);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        struct vmx_caps expected = before;
        if (features[i].group == VMX_GROUPS)
            expected.ept_vpid &= ~features[i].bits;
        else
            expected.group[features[i].group].may_be_one &= ~(u32)features[i].bits;
        caps = before;
        assert_int_equal(vmx_caps_disable(&caps, features[i].name, &why), STATUS_OK);
        assert_memory_equal(&caps, &expected, sizeof caps);
        assert_memory_not_equal(&caps, &before, sizeof caps);
    }
}

/* Every optional control has a name, so that a test can run without it; nothing else has one. */
static void test_names_belong_to_optional_controls(void **state)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        /* APIC virtualisation is all or nothing, but for posted interrupts: one of its controls carries the name. */
        bool apicv = (rows[i].group == VMX_PROC && rows[i].bit == PROC_TPR_SHADOW) ||
                     (rows[i].group == VMX_PIN && rows[i].bit == PIN_POSTED_INTERRUPTS);
        bool shadowing = rows[i].group == VMX_PROC2 && rows[i].bit == PROC2_VMCS_SHADOWING;
        assert_int_equal(rows[i].feature != NULL, rows[i].need == VMX_OPTIONAL || apicv || shadowing);
        assert_true(rows[i].bit != 0 && (rows[i].bit & (rows[i].bit - 1)) == 0);
        for (size_t j = 0; j < i; j++)
            assert_false(rows[j].group == rows[i].group && rows[j].bit == rows[i].bit);
    }
}

static void test_lists(void **state)
{
    struct vmx_caps before;

    (void)state;
    read_caps(&before);
    caps = before;
    assert_int_equal(vmx_caps_disable(&caps, "", &why), STATUS_OK);
    assert_memory_equal(&caps, &before, sizeof caps);
    assert_int_equal(vmx_caps_disable(&caps, "vpid,ept-1g,preemption-timer", &why), STATUS_OK);
    assert_int_equal(caps.group[VMX_PROC2].may_be_one, before.group[VMX_PROC2].may_be_one & ~0x20u);
    assert_int_equal(caps.group[VMX_PIN].may_be_one, before.group[VMX_PIN].may_be_one & ~0x40u);
    assert_int_equal(caps.ept_vpid, before.ept_vpid & ~BIT(17));
    assert_int_equal(vmx_caps_disable(&caps, "vpid,vpid,", &why), STATUS_OK);
}

static void test_unknown_name_lists_the_known_ones(void **state)
{
    static const char *const known[] = {
        "ept-1g",      "ept-2m",         "preemption-timer", "io-bitmap", "msr-bitmap", "rdtscp",
        "vpid",        "wbinvd-exiting", "invpcid",          "apicv",     "xsaves",     "posted-interrupts",
        "pause-loops", "vmcs-shadowing"};
    (void)state;
    read_caps(&caps);
    assert_int_equal(vmx_caps_disable(&caps, "vpid,turbo", &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "vmx.disable=turbo:"));
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        assert_non_null(strstr(why.text, known[i]));
    /* A required control has no name; a part of a name and a name too long are none. */
    assert_int_equal(vmx_caps_disable(&caps, "unrestricted guest", &why), STATUS_INVALID);
    assert_int_equal(vmx_caps_disable(&caps, "vpi", &why), STATUS_INVALID);
    assert_int_equal(vmx_caps_disable(&caps, "preemption-timerpreemption-timer", &why), STATUS_INVALID);
}

/* Bit 0: locked; bit 2: VMX outside SMX operation. Other bits are firmware's and stay. */
static void test_feature_control(void **state)
{
    struct refusal why = {""};
    u64 to_write = 1;

    (void)state;
    assert_int_equal(vmx_feature_control_check(0x5, &to_write, &why), STATUS_OK);
    assert_int_equal(to_write, 0); /* a locked MSR is never written: that would be #GP */
    assert_int_equal(vmx_feature_control_check(0x0, &to_write, &why), STATUS_OK);
    assert_int_equal(to_write, 0x5);
    assert_int_equal(vmx_feature_control_check(0x20000, &to_write, &why), STATUS_OK);
    assert_int_equal(to_write, 0x20005);
    assert_int_equal(vmx_feature_control_check(0x1, &to_write, &why), STATUS_UNSUPPORTED);
    assert_int_equal(to_write, 0);
    assert_non_null(strstr(why.text, "firmware has disabled and locked VMX"));
    assert_int_equal(vmx_feature_control_check(0x3, &to_write, &why), STATUS_UNSUPPORTED); /* inside SMX only */
    assert_non_null(strstr(why.text, "firmware has locked VMX to measured launches"));
    assert_int_equal(vmx_feature_control_check(0x7, &to_write, &why), STATUS_OK);
    assert_int_equal(to_write, 0);
    assert_int_equal(vmx_feature_control_check(0x2, &to_write, &why), STATUS_OK); /* not locked: both */
    assert_int_equal(to_write, 0x7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_true_msrs_are_read_where_basic_says_so, set_up),
        cmocka_unit_test_setup(test_old_cpu_has_no_true_msrs, set_up),
        cmocka_unit_test_setup(test_fixed_bits, set_up),
        cmocka_unit_test_setup(test_each_name_disables_one_thing, set_up),
        cmocka_unit_test_setup(test_names_belong_to_optional_controls, set_up),
        cmocka_unit_test_setup(test_lists, set_up),
        cmocka_unit_test_setup(test_unknown_name_lists_the_known_ones, set_up),
        cmocka_unit_test(test_feature_control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
