/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The capability report of a Skylake-X, of a CPU that barely has VMX, and of one that has everything: each bit stands
 * in it once, with the right word for it. SDM 3D Appendix A "VMX Capability Reporting Facility".
 *
 * links: vmx/report/caps.c vmx/caps.c vmx/controls.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test/fake/msr.h"
#include "vmx/report/caps.h"
#include "vmx/controls.h"

static struct vmx_caps_raw raw;
static char lines[400][CAPS_REPORT_LINE_BYTES];
static unsigned count;

static void keep(const char *line)
{
    assert_in_range(strlen(line), 1, CAPS_REPORT_LINE_BYTES - 1);
    assert_in_range(count, 0, ARRAY_SIZE(lines) - 1);
    strcpy(lines[count++], line);
}

static void report_withheld(const char *disable, const char *withheld)
{
    count = 0;
    vmx_caps_report(&raw, disable, withheld, keep);
}

static void report(const char *disable)
{
    report_withheld(disable, "");
}

static void set(u32 index, u64 value)
{
    raw.value[index - MSR_IA32_VMX_BASIC] = value;
}

static int set_up(void **state)
{
    (void)state;
    fake_msr_reset();
    fake_msr_skylake();
    vmx_caps_read(&raw);
    return 0;
}

/* How many lines have both texts. */
static unsigned with(const char *one, const char *other)
{
    unsigned found = 0;
    for (unsigned i = 0; i < count; i++)
        found += strstr(lines[i], one) && strstr(lines[i], other);
    return found;
}

static void expect(const char *line)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(lines[i], line) == 0)
            return;
    for (unsigned i = 0; i < count; i++)
        fprintf(stderr, "%s\n", lines[i]);
    fail_msg("no line: %s", line);
}

static void test_raw_values_come_first(void **state)
{
    (void)state;
    report("vpid,,ept-1g,");
    expect("vmx cap msr=0x3a name=IA32_FEATURE_CONTROL value=0x0000000000000005");
    expect("vmx cap msr=0x480 name=IA32_VMX_BASIC value=0x00d810000000002b");
    expect("vmx cap msr=0x490 name=IA32_VMX_TRUE_ENTRY_CTLS value=0x0000ffff000011fb");
    expect("vmx cap disable=vpid");
    expect("vmx cap disable=ept-1g");
    assert_int_equal(with("vmx cap ", ""), 19 + 2); /* 0x3a and 0x480 to 0x491 */
    for (unsigned i = 0; i < 21; i++)
        assert_non_null(strstr(lines[i], "vmx cap "));
}

/* SDM 3D A.1, A.6, A.7 and A.8 read by hand for the values of Bochs's Skylake-X. */
static void test_fields(void **state)
{
    (void)state;
    report("");
    expect("vmx basic revision=0x2b region_bytes=4096 memory-type=6(write-back) 32-bit-addresses=no dual-monitor=no");
    expect("vmx basic ins-outs-information=yes true-controls=yes exceptions-with-any-error-code=no");
    expect("vmx feature-control lock=yes vmx-inside-smx=no vmx-outside-smx=yes");
    expect(
        "vmx misc preemption-timer-shift=0 store-lma-on-exit=yes hlt=yes shutdown=yes wait-for-sipi=yes pt-in-vmx=no");
    expect("vmx misc smbase-readable-in-smm=no cr3-targets=4 msr-list-max=512 smm-monitor-ctl-bit-2=no");
    expect("vmx misc vmwrite-to-any-field=yes injection-with-length-0=yes mseg-revision=0x0");
    expect("vmx CR0 fixed to 1: PE, NE, PG");
    expect("vmx CR4 fixed to 1: VMXE");
    expect("vmx vmcs-enum highest-index=26");
}

/* Each bit of MISC and BASIC moves one word and no other. */
static void test_each_flag_has_its_word(void **state)
{
    static const struct {
        u32 msr;
        u8 bit;
        const char *word;
    } flags[] = {
        {MSR_IA32_VMX_BASIC, 48, "32-bit-addresses="              },
        {MSR_IA32_VMX_BASIC, 49, "dual-monitor="                  },
        {MSR_IA32_VMX_BASIC, 54, "ins-outs-information="          },
        {MSR_IA32_VMX_BASIC, 56, "exceptions-with-any-error-code="},
        {MSR_IA32_VMX_MISC,  5,  "store-lma-on-exit="             },
        {MSR_IA32_VMX_MISC,  6,  " hlt="                          },
        {MSR_IA32_VMX_MISC,  7,  "shutdown="                      },
        {MSR_IA32_VMX_MISC,  8,  "wait-for-sipi="                 },
        {MSR_IA32_VMX_MISC,  14, "pt-in-vmx="                     },
        {MSR_IA32_VMX_MISC,  15, "smbase-readable-in-smm="        },
        {MSR_IA32_VMX_MISC,  28, "smm-monitor-ctl-bit-2="         },
        {MSR_IA32_VMX_MISC,  29, "vmwrite-to-any-field="          },
        {MSR_IA32_VMX_MISC,  30, "injection-with-length-0="       },
    };
    (void)state;
    for (unsigned value = 0; value < 2; value++) {
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
            u64 all_but = value ? 0 : BIT(56) | BIT(54) | BIT(49) | BIT(48) | 0x7000c1e0;
            char word[64];
            set_up(NULL);
            set(flags[i].msr, value ? BIT(flags[i].bit) : all_but & ~BIT(flags[i].bit));
            snprintf(word, sizeof word, "%s%s", flags[i].word, value ? "yes" : "no");
            report("");
            assert_int_equal(with(word, ""), 1);
            for (size_t j = 0; j < ARRAY_SIZE(flags); j++) {
                if (j == i || flags[j].msr != flags[i].msr)
                    continue;
                snprintf(word, sizeof word, "%s%s", flags[j].word, value ? "no" : "yes");
                assert_int_equal(with(word, ""), 1);
            }
        }
    }
}

static void test_controls_of_skylake(void **state)
{
    (void)state;
    report("");
    expect("vmx control group=\"pin-based\" bit=3 name=\"NMI exiting\" cpu=0/1 need=required state=on");
    expect("vmx control group=\"pin-based\" bit=6 name=\"VMX-preemption timer\" cpu=0/1 need=optional state=on "
           "feature=preemption-timer");
    expect("vmx control group=\"VM-entry\" bit=9 name=\"IA-32e mode guest\" cpu=0/1 need=required state=at-run-time");
    expect("vmx control group=\"primary processor-based\" bit=15 name=\"CR3-load exiting\" cpu=0/1 need=tolerated "
           "state=off");
    expect("vmx unused group=\"pin-based\" reserved to 1: bit 1, bit 2, bit 4");
    expect("vmx control group=\"pin-based\" bit=7 name=\"process posted interrupts\" cpu=0 need=optional state=absent "
           "feature=posted-interrupts");
    expect("vmx unused group=\"primary processor-based\" available: INVLPG exiting, RDTSC exiting, PAUSE exiting");
    expect("vmx unused group=\"VM-function\" available: EPTP switching");
    expect("vmx verdict this CPU has all that Rootlet needs");
    assert_int_equal(with("vmx fallback", ""), 1);
    assert_int_equal(with("vmx fallback feature=posted-interrupts why=absent", ""), 1);
    assert_int_equal(with("MISSING", "") + with("INSISTED-ON", "") + with("state=disabled", ""), 0);
}

/* With any set of optional features the words agree with what the resolver does. */
static void test_states_agree_with_the_resolver(void **state)
{
    static const struct {
        u32 group;
        u32 msr;
    } msrs[] = {
        {VMX_PIN,   MSR_IA32_VMX_TRUE_PINBASED_CTLS },
        {VMX_PROC,  MSR_IA32_VMX_TRUE_PROCBASED_CTLS},
        {VMX_PROC2, MSR_IA32_VMX_PROCBASED_CTLS2    }
    };
    size_t rows_count;
    const struct vmx_control_row *rows = vmx_control_rows(&rows_count);

    (void)state;
    srand(2);
    for (unsigned round = 0; round < 300; round++) {
        struct vmx_caps caps;
        struct vmx_controls controls;
        struct refusal why;
        set_up(NULL);
        for (size_t i = 0; i < rows_count; i++)
            for (size_t m = 0; m < ARRAY_SIZE(msrs); m++)
                if (rows[i].group == msrs[m].group && rows[i].need == VMX_OPTIONAL && rand() & 1)
                    raw.value[msrs[m].msr - MSR_IA32_VMX_BASIC] &= ~((u64)rows[i].bit << 32);
        vmx_caps_take(&raw, &caps);
        assert_int_equal(vmx_controls_resolve(&caps, &controls, &why), STATUS_OK);
        report("");
        for (size_t i = 0; i < rows_count; i++) {
            bool on = controls.value[rows[i].group] & rows[i].bit;
            char name[64];
            snprintf(name, sizeof name, "name=\"%s\"", rows[i].name);
            if (rows[i].need == VMX_REQUIRED || rows[i].need == VMX_OPTIONAL)
                assert_int_equal(with(name, on ? "state=on" : "state=absent"), 1);
        }
    }
}

/* Everything that has a name in vmx.disable= can be taken away, and the report says what happens instead. */
static void test_each_feature_disabled(void **state)
{
    static const char *const features[] = {"preemption-timer", "apicv",         "io-bitmap",      "msr-bitmap",
                                           "rdtscp",           "vpid",          "wbinvd-exiting", "invpcid",
                                           "xsaves",           "ept-2m",        "ept-1g",         "posted-interrupts",
                                           "pause-loops",      "vmcs-shadowing"};
    size_t rows_count, known = 2; /* ept-2m and ept-1g are in no row */
    const struct vmx_control_row *rows = vmx_control_rows(&rows_count);

    (void)state;
    for (size_t i = 0; i < rows_count; i++)
        known += rows[i].feature != NULL;
    assert_int_equal(known, ARRAY_SIZE(features));
    set(MSR_IA32_VMX_PINBASED_CTLS, 0x000000ff00000016); /* a CPU that has them all */
    set(MSR_IA32_VMX_TRUE_PINBASED_CTLS, 0x000000ff00000016);
    report("");
    assert_int_equal(with("vmx fallback", ""), 0);
    assert_int_equal(with("name=\"process posted interrupts\"", "state=at-run-time"), 1);
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        char word[64];
        report(features[i]);
        snprintf(word, sizeof word, "fallback feature=%s why=disabled instead=\"", features[i]);
        assert_int_equal(with(word, ""), 1);
        snprintf(word, sizeof word, "feature=%s", features[i]);
        assert_true(with("state=disabled", word) >= 1);
        expect("vmx verdict this CPU has all that Rootlet needs");
    }
    report("ept-2m"); /* takes 1-GByte pages along; the MSR bitmap, APIC virtualisation */
    assert_int_equal(with("fallback feature=ept-1g why=disabled", ""), 1);
    report("msr-bitmap");
    assert_int_equal(with("fallback feature=apicv why=disabled", ""), 1);
    assert_int_equal(with("fallback feature=posted-interrupts why=disabled", ""), 1);
    assert_int_equal(with("name=\"use TPR shadow\"", "state=off"), 1);
    report("turbo");
    assert_int_equal(with("vmx verdict refused: vmx.disable=turbo: no such optional feature", ""), 1);
}

/* What the CPU has but gets wrong is as good as absent, and is named as what it is. */
static void test_withheld(void **state)
{
    (void)state;
    report_withheld("vpid", "xsaves");
    expect("vmx cap withheld=xsaves");
    assert_int_equal(with("name=\"enable XSAVES/XRSTORS\"", "cpu=0/1 need=optional state=withheld"), 1);
    assert_int_equal(with("fallback feature=xsaves why=withheld", ""), 1);
    assert_int_equal(with("fallback feature=vpid why=disabled", ""), 1);
    assert_int_equal(with("group=\"secondary processor-based\"", "value=0x14ca"), 1);
    expect("vmx verdict this CPU has all that Rootlet needs");
}

/* INVVPID alone missing: VPID stays off though its control is there. */
static void test_vpid_without_invvpid(void **state)
{
    (void)state;
    set(MSR_IA32_VMX_EPT_VPID_CAP, 0x06334141);
    report("");
    assert_int_equal(with("name=\"enable VPID\"", "cpu=0/1 need=optional state=off"), 1);
    assert_int_equal(with("fallback feature=vpid why=absent", ""), 1);
}

/* A CPU of the first generation: no TRUE MSRs, no secondary controls, VMX switched off by firmware. */
static void test_minimal_cpu(void **state)
{
    (void)state;
    raw = (struct vmx_caps_raw){.feature_control = 1};
    set(MSR_IA32_VMX_BASIC, 0x001a040000000007);
    set(MSR_IA32_VMX_PINBASED_CTLS, 0x0000001f00000016);
    set(MSR_IA32_VMX_PROCBASED_CTLS, 0x77b9fffe0401e172);
    set(MSR_IA32_VMX_EXIT_CTLS, 0x0003ffff00036dff);
    set(MSR_IA32_VMX_ENTRY_CTLS, 0x00001fff000011ff);
    set(MSR_IA32_VMX_MISC, 0x000403c0);
    set(MSR_IA32_VMX_CR0_FIXED0, 0x80000021);
    set(MSR_IA32_VMX_CR0_FIXED1, 0xffffffff);
    set(MSR_IA32_VMX_CR4_FIXED0, 0x2000);
    set(MSR_IA32_VMX_CR4_FIXED1, 0x27ff);
    set(MSR_IA32_VMX_VMCS_ENUM, 0x2c);
    report("");
    assert_int_equal(with("vmx cap msr=", ""), 12); /* neither 0x48b nor 0x48c nor the TRUE ones */
    expect("vmx basic revision=0x7 region_bytes=1024 memory-type=6(write-back) 32-bit-addresses=no dual-monitor=yes");
    assert_int_equal(with("name=\"virtual NMIs\"", "cpu=0 need=required state=MISSING"), 1);
    assert_int_equal(with("name=\"enable EPT\"", "cpu=0 need=required state=MISSING"), 1);
    assert_int_equal(with("name=\"CR3-load exiting\"", "cpu=1 need=tolerated state=on"), 1);
    assert_int_equal(with("name=\"page-walk length 4\"", "state=MISSING"), 1);
    assert_int_equal(with("vmx fallback", "why=absent"), 12); /* it has both bitmaps */
    expect("vmx verdict IA32_FEATURE_CONTROL is locked by firmware, VMX outside SMX OFF");
    assert_int_equal(with("vmx verdict refused: firmware has disabled and locked VMX", ""), 1);
    raw.feature_control = 5;
    report("");
    assert_int_equal(with("vmx verdict refused: this CPU lacks the pin-based control 'virtual NMIs'", ""), 1);
}

/* Every bit set everywhere: each name once, all other bits by number, and what the CPU insists on is refused. */
static void test_cpu_with_every_bit(void **state)
{
    size_t rows_count;
    const struct vmx_control_row *rows = vmx_control_rows(&rows_count);

    (void)state;
    for (u32 i = 0; i < VMX_CAPS_MSRS; i++)
        raw.value[i] = ~0ull;
    report("");
    assert_int_equal(with("vmx cap msr=", ""), VMX_CAPS_MSRS + 1);
    for (size_t i = 0; i < rows_count; i++)
        assert_true(with(rows[i].name, "vmx ") >= 1);
    assert_int_equal(with("name=\"IA-32e mode guest\"", "cpu=1 need=required state=INSISTED-ON"), 1);
    assert_int_equal(with("unused", "prematurely busy shadow stack"), 1);
    assert_int_equal(with("group=\"tertiary processor-based\"", "IPI virtualization"), 1);
    assert_int_equal(with("group=\"EPT and VPID\"", "bit 63"), 1);
    assert_int_equal(with("vmx verdict refused: ", ""), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_raw_values_come_first, set_up),
        cmocka_unit_test_setup(test_fields, set_up),
        cmocka_unit_test_setup(test_each_flag_has_its_word, set_up),
        cmocka_unit_test_setup(test_controls_of_skylake, set_up),
        cmocka_unit_test_setup(test_states_agree_with_the_resolver, set_up),
        cmocka_unit_test_setup(test_each_feature_disabled, set_up),
        cmocka_unit_test_setup(test_withheld, set_up),
        cmocka_unit_test_setup(test_vpid_without_invvpid, set_up),
        cmocka_unit_test_setup(test_minimal_cpu, set_up),
        cmocka_unit_test_setup(test_cpu_with_every_bit, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
