/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUs that are not quite the boot CPU: what is used and lacks, or is insisted on, is named; what is not used may
 * differ. SDM 3C 31.5.1 "Algorithms for Determining VMX Capabilities".
 *
 * links: vmx/alike.c vmx/nested/offer.c vmx/check/fields.c vmx/check/text.c vmx/caps.c vmx/exit/cpuid.c
 * links: vmx/exit/cr.c vmx/event.c vmx/points.c vmx/apicv.c vmx/controls.c
 * links: vmx/speculation.c arch/x86/speculation.c arch/x86/errata.c arch/x86/xsave.c kernel/lib/format.c
 * links: kernel/vm/memory.c kernel/vm/layer.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/host_memory.h"
#include "vmx/alike.h"
#include "vmx/exit/cpuid.h"
#include "vmx/nested/offer.h"
#include "vmx/report/debug.h"
#include "vmx/speculation.h"

static struct refusal why;

/* No debugger here. */
enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v)
{
    (void)v;
    fail();
    return OUTCOME_STOP;
}

u64 clock_tsc_hz(void)
{
    return 3000000000;
}

enum status vmx_cpu_has_vmx(struct refusal *reason)
{
    return cpu_cpuid(1, 0).ecx & BIT(5) ? STATUS_OK : refuse(reason, STATUS_UNSUPPORTED, "no VMX");
}

/* The boot CPU, with what root.c makes of it. */
static int set_up(void **state)
{
    (void)state;
    host_memory_init(MIB(1), MIB(1));
    bench_start();
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, BIT(6));
    fake_cpu.cr4 = CR4_PAE | CR4_MCE;
    struct vmx_caps_raw raw;
    vmx_caps_read(&raw);
    vmx_caps_take(&raw, &vmx_features.caps);
    vmx_features.caps.cr4_fixed0 |= CR4_MCE;
    assert_int_equal(vmx_controls_resolve(&vmx_features.caps, &vmx_features.controls, &why), STATUS_OK);
    vmx_features.mitigates = true;
    vmx_speculation_init(true);
    xsave_detect();
    vmx_cpuid_build();
    why.text[0] = 0;
    return 0;
}

static void assert_alike(void)
{
    assert_int_equal(virt_cpu_check(&why), STATUS_OK);
}

static void assert_refused(const char *words)
{
    assert_int_equal(virt_cpu_check(&why), STATUS_UNSUPPORTED);
    if (!strstr(why.text, words))
        fail_msg("'%s' is not in '%s'", words, why.text);
}

static void change_msr(u32 index, u64 clear, u64 set)
{
    fake_msr_set(index, (fake_msr_get(index) & ~clear) | set);
}

static void change_cpuid(u32 leaf, u32 subleaf, struct cpuid_result clear)
{
    struct cpuid_result r = cpu_cpuid(leaf, subleaf);

    r.eax &= ~clear.eax, r.ebx &= ~clear.ebx, r.ecx &= ~clear.ecx, r.edx &= ~clear.edx;
    fake_cpuid_set(leaf, subleaf, r);
}

static void test_the_same(void **state)
{
    (void)state;
    assert_alike();
}

/* Each control that is on, is turned on at run time or is offered to guests, one by one; and each that is not. */
static void test_each_control(void **state)
{
    static const u32 msrs[] = {MSR_IA32_VMX_TRUE_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
                               MSR_IA32_VMX_PROCBASED_CTLS2, MSR_IA32_VMX_TRUE_EXIT_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS};
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    u32 refused = 0, allowed = 0;
    struct vmx_caps caps;

    nested_offer(&vmx_features.caps, &(struct nested_guest){~0ull, true, true, true}, &caps);
    for (size_t i = 0; i < count; i++) {
        u32 msr = msrs[rows[i].group];
        set_up(state);
        bool on = vmx_features.controls.value[rows[i].group] & rows[i].bit;
        bool at_run_time = rows[i].need == VMX_REQUIRED_AVAILABLE ||
                           (rows[i].need == VMX_SWITCHED && rows[i].group != VMX_PIN); /* no posted interrupts here */
        bool offered = caps.group[rows[i].group].may_be_one & rows[i].bit;
        if (rows[i].bit == PROC_SECONDARY && rows[i].group == VMX_PROC)
            continue; /* without it there are no secondary ones, so the first of those is named, too */
        change_msr(msr, (u64)rows[i].bit << 32, 0);
        if (on || at_run_time || offered) {
            assert_refused(rows[i].name);
            assert_non_null(strstr(why.text, "it lacks"));
            refused++;
        } else {
            assert_alike();
            allowed++;
        }
        set_up(state);
        change_msr(msr, 0, rows[i].bit);
        if (on) {
            assert_alike();
        } else {
            assert_refused(rows[i].name);
            assert_non_null(strstr(why.text, "it insists on"));
        }
    }
    assert_true(refused > 40 && allowed > 5);
}

/* What vmx.disable= has taken away nobody misses. */
static void test_disabled_features(void **state)
{
    (void)state;
    assert_int_equal(vmx_caps_disable(&vmx_features.caps, "vpid,preemption-timer,apicv,ept-1g", &why), STATUS_OK);
    assert_int_equal(vmx_controls_resolve(&vmx_features.caps, &vmx_features.controls, &why), STATUS_OK);
    vmx_features.has_timer = vmx_features.has_vpid = false;
    change_msr(MSR_IA32_VMX_PROCBASED_CTLS2, (u64)(PROC2_VPID | PROC2_VIRTUAL_INTERRUPTS) << 32, 0);
    change_msr(MSR_IA32_VMX_TRUE_PINBASED_CTLS, (u64)PIN_PREEMPTION_TIMER << 32, 0);
    change_msr(MSR_IA32_VMX_EPT_VPID_CAP, EPT_CAP_1G | EPT_CAP_INVVPID | EPT_CAP_INVVPID_ONE | EPT_CAP_INVVPID_ALL, 0);
    change_msr(MSR_IA32_VMX_MISC, 0, 5);
    assert_alike();
    change_msr(MSR_IA32_VMX_EPT_VPID_CAP, EPT_CAP_2M, 0);
    assert_refused("EPT or VPID capabilities 0x10000");
}

static void test_other_capabilities(void **state)
{
    static const struct {
        u32 msr;
        u64 clear, set;
        const char *words; /* NULL: it does not matter */
    } rows[] = {
        {MSR_IA32_VMX_BASIC,        0,                   4,       "its VMCS revision is 0x2f"           },
        {MSR_IA32_VMX_EPT_VPID_CAP, EPT_CAP_1G,          0,       "0x20000"                             },
        {MSR_IA32_VMX_EPT_VPID_CAP, EPT_CAP_INVVPID_ONE, 0,       "0x20000000000"                       },
        {MSR_IA32_VMX_EPT_VPID_CAP, BIT(0),              0,       "capabilities 0x1"                    }, /* execute-only */
        {MSR_IA32_VMX_EPT_VPID_CAP, BIT(21),             0,       "0x200000"                            }, /* accessed and dirty flags */
        {MSR_IA32_VMX_EPT_VPID_CAP, EPT_CAP_INVEPT_ONE,  0,       "0x2000000"                           },
        {MSR_IA32_VMX_EPT_VPID_CAP, BIT(7),              0,       NULL                                  }, /* walks of five levels */
        {MSR_IA32_VMX_MISC,         BIT(6),              0,       "it lacks bits 0x40 of IA32_VMX_MISC" }, /* HLT as an activity state */
        {MSR_IA32_VMX_MISC,         BIT(30),             0,       "0x40000000"                          }, /* injection with length 0 */
        {MSR_IA32_VMX_BASIC,        BIT(54),             0,       "0x40000000000000 of IA32_VMX_BASIC"  },
        {MSR_IA32_VMX_MISC,         0,                   5,       "counts at another rate"              },
        {MSR_IA32_VMX_MISC,         0x600000,            0,       NULL                                  },
        {MSR_IA32_VMX_MISC,         BIT(29),             0,       "cannot write exit information"       },
        {MSR_IA32_VMX_CR0_FIXED0,   0,                   CR0_WP,  "fixes other bits"                    },
        {MSR_IA32_VMX_CR4_FIXED0,   0,                   CR4_PSE, "fixes other bits"                    },
        {MSR_IA32_VMX_CR4_FIXED0,   0,                   CR4_MCE, NULL                                  }, /* set anyway */
        {MSR_IA32_VMX_CR4_FIXED1,   CR4_PAE,             0,       "fixes other bits"                    },
        {MSR_IA32_VMX_CR4_FIXED1,   BIT(14),             0,       NULL                                  }, /* SMX */
        {MSR_IA32_FEATURE_CONTROL,  4,                   0,       "firmware has disabled and locked VMX"},
        {MSR_IA32_FEATURE_CONTROL,  5,                   0,       NULL                                  }, /* not locked: it will be */
    };

    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        set_up(state);
        change_msr(rows[i].msr, rows[i].clear, rows[i].set);
        if (rows[i].words)
            assert_refused(rows[i].words);
        else
            assert_alike();
    }
}

static void test_what_guests_are_told(void **state)
{
    static const struct {
        u32 leaf, subleaf;
        struct cpuid_result clear;
        const char *words;
    } rows[] = {
        {1,          0, {0, 0, BIT(5), 0},           "no VMX"                            },
        {1,          0, {0, 0, BIT(25), 0},          "bits 0x2000000 of CPUID leaf 1 ECX"}, /* AES */
        {1,          0, {0, 0, 0, BIT(26)},          "CPUID leaf 1 EDX"                  }, /* SSE2 */
        {1,          0, {0, 0, BIT(21), 0},          NULL                                }, /* x2APIC is ours */
        {1,          0, {0xff, 0xff000000, 0, 0},    NULL                                }, /* stepping, APIC id */
        {7,          0, {0, BIT(16), 0, 0},          "CPUID leaf 7 EBX"                  }, /* AVX512F: a hybrid's other cores */
        {7,          0, {0, 0, BIT(8), 0},           "CPUID leaf 7 ECX"                  },
        {7,          0, {0, 0, 0, BIT(4)},           "CPUID leaf 7 EDX"                  },
        {7,          0, {0, BIT(12) | BIT(4), 0, 0}, NULL                                }, /* no guest is told of PQM or HLE */
        {0xd,        1, {BIT(0), 0, 0, 0},           "CPUID leaf 0xd.1 EAX"              },
        {0xd,        2, {0, 576, 0, 0},              "XSAVE state 2"                     },
        {0xd,        6, {512, 0, 0, 0},              "XSAVE state 6"                     },
        {0x80000001, 0, {0, 0, BIT(5), 0},           "CPUID leaf 0x80000001 ECX"         },
        {0x80000001, 0, {0, 0, 0, BIT(26)},          "CPUID leaf 0x80000001 EDX"         },
        {0x80000008, 0, {0x0f, 0, 0, 0},             "physical addresses"                },
        {4,          3, {0x1f, ~0u, ~0u, 0},         NULL                                }, /* another cache */
        {0x16,       0, {~0u, ~0u, 0, 0},            NULL                                },
    };

    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        set_up(state);
        change_cpuid(rows[i].leaf, rows[i].subleaf, rows[i].clear);
        if (rows[i].words)
            assert_refused(rows[i].words);
        else
            assert_alike();
    }
}

/* The boot CPU's errata were looked at; another model, or other microcode, has its own. */
static void test_errata(void **state)
{
    (void)state;
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, 0);
    assert_refused("code in large pages");
    vmx_features.fetch_small = true;
    vmx_speculation_init(true);
    assert_alike();
    vmx_features.fetch_small = false;
    vmx_features.mitigates = false; /* mitigations=off */
    assert_alike();
    struct cpuid_result one = cpu_cpuid(1, 0);
    one.eax = 0x106a5;
    fake_cpuid_set(1, 0, one);
    assert_refused("VMX-preemption timer counts wrongly");
    vmx_features.has_timer = false;
    assert_alike();
}

/* The remedies were chosen by what the boot CPU says, and guests are told of its capabilities. */
static void test_transient_execution(void **state)
{
    const u64 all_is_well = BIT(0) | BIT(1) | BIT(5) | BIT(6) | BIT(8) | BIT(20) | BIT(24) | BIT(27);

    (void)state;
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well);
    vmx_speculation_init(true);
    assert_alike();
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well & ~BIT(5)); /* MDS */
    assert_refused("it needs more against transient execution (0x400)");
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well & ~BIT(1)); /* no enhanced IBRS */
    assert_refused("it needs more against transient execution");
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well | BIT(62) | BIT(3) | BIT(7)); /* better */
    assert_alike();
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well | BIT(19)); /* RRSBA, of which guests do not know */
    assert_refused("it lacks what IA32_ARCH_CAPABILITIES tells guests (0x80000)");
    vmx_speculation_init(true);
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well);
    assert_alike();
    vmx_features.mitigates = false;
    vmx_speculation_init(false);
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, all_is_well & ~BIT(5));
    assert_refused("it lacks what IA32_ARCH_CAPABILITIES tells guests (0x20)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_same, set_up),
        cmocka_unit_test_setup(test_each_control, set_up),
        cmocka_unit_test_setup(test_disabled_features, set_up),
        cmocka_unit_test_setup(test_other_capabilities, set_up),
        cmocka_unit_test_setup(test_what_guests_are_told, set_up),
        cmocka_unit_test_setup(test_errata, set_up),
        cmocka_unit_test_setup(test_transient_execution, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
