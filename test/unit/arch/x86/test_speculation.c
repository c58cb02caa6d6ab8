/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done against transient execution, for CPUs as they are sold: expected values by Intel's "Consolidated
 * Affected Processors by CPU" and the papers that arch/x86/speculation.c names, not by its table.
 *
 * links: arch/x86/speculation.c kernel/lib/format.c kernel/lib/string.c test/fake/cpu.c test/fake/msr.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/speculation.h"
#include "test/fake/cpu.h"
#include "test/fake/msr.h"

#define RTM       BIT(11)
#define MICROCODE (BIT(26) | BIT(27) | BIT(28) | BIT(31) | BIT(10)) /* of 2019: IBRS STIBP L1D_FLUSH SSBD MD_CLEAR */
#define CAPS      BIT(29)

#define EIBRS  SPECULATION_ENHANCED_IBRS
#define IBRS   SPECULATION_IBRS
#define FILL   SPECULATION_FILL_RETURNS
#define BHI    SPECULATION_BHI_DIS_S
#define CLEAR  SPECULATION_CLEAR_HISTORY
#define IBPB   SPECULATION_IBPB
#define MASKS  SPECULATION_MASKS
#define REGS   SPECULATION_CLEAR_REGISTERS
#define L1D    SPECULATION_FLUSH_L1D
#define VERW   SPECULATION_VERW
#define ALWAYS (MASKS | REGS | IBPB)

/* ARCH_CAPABILITIES by names, in the order of their bits. */
enum {
    RDCL_NO = 1 << 0,
    IBRS_ALL = 1 << 1,
    SKIP_L1DFL = 1 << 3,
    MDS_NO = 1 << 5,
    TAA_NO = 1 << 8,
    SBDR_NO = 1 << 13,
    FBSDP_NO = 1 << 14,
    PSDP_NO = 1 << 15,
    FB_CLEAR = 1 << 17,
    BHI_NO = 1 << 20,
    PBRSB_NO = 1 << 24,
    RFDS_NO = 1 << 27,
    RFDS_CLEAR = 1 << 28
};
#define MMIO_NO (SBDR_NO | FBSDP_NO | PSDP_NO)

/* clang-format off */
static const struct {
    const char *name;
    struct speculation_cpu cpu;
    u32 acts;
    bool siblings;
    const char *summary;
} cpus[] = {
    {"Skylake-X before 2018 (and Bochs)", {true, 0x50654, RTM, 0, 0, 0}, MASKS, true, "in-part"},
    {"Skylake-X", {true, 0x50654, RTM, MICROCODE, 0, 0}, ALWAYS | IBRS | FILL | L1D | VERW, true, "on"},
    {"Skylake with capabilities", {true, 0x506e3, 0, MICROCODE | CAPS, 0, BIT(2) | FB_CLEAR},
     ALWAYS | IBRS | FILL | L1D | VERW, true, "on"},
    {"Haswell with the first update", {true, 0x306c3, 0, BIT(26), 0, 0}, ALWAYS | IBRS | FILL, true, "in-part"},
    {"Cascade Lake", {true, 0x50657, RTM, MICROCODE | CAPS, 0, RDCL_NO | IBRS_ALL | SKIP_L1DFL | MDS_NO},
     ALWAYS | EIBRS | FILL | CLEAR | VERW, true, "on"},
    {"Cascade Lake without TSX", {true, 0x50657, 0, MICROCODE | CAPS, 0, RDCL_NO | IBRS_ALL | MDS_NO},
     ALWAYS | EIBRS | FILL | CLEAR, false, "on"},
    {"Ice Lake", {true, 0x606a6, RTM, MICROCODE | CAPS, 0, RDCL_NO | IBRS_ALL | MDS_NO | TAA_NO | FB_CLEAR},
     ALWAYS | EIBRS | FILL | CLEAR | VERW, false, "on"},
    {"Alder Lake",
     {true, 0x90672, 0, MICROCODE | CAPS, LEAF7_2_EDX_BHI_CTRL,
      RDCL_NO | IBRS_ALL | MDS_NO | TAA_NO | MMIO_NO | RFDS_CLEAR},
     ALWAYS | EIBRS | FILL | BHI | VERW, false, "on"},
    {"Alder Lake before RFDS",
     {true, 0x90672, 0, MICROCODE | CAPS, LEAF7_2_EDX_BHI_CTRL, RDCL_NO | IBRS_ALL | MDS_NO | TAA_NO | MMIO_NO},
     ALWAYS | EIBRS | FILL | BHI, false, "in-part"},
    {"Sapphire Rapids",
     {true, 0x806f8, RTM, MICROCODE | CAPS, LEAF7_2_EDX_BHI_CTRL,
      RDCL_NO | IBRS_ALL | MDS_NO | TAA_NO | MMIO_NO | FB_CLEAR | PBRSB_NO | RFDS_NO},
     ALWAYS | EIBRS | BHI, false, "on"},
    {"one that denies all it can",
     {true, 0xc06f2, RTM, MICROCODE | CAPS, 0,
      RDCL_NO | IBRS_ALL | MDS_NO | TAA_NO | MMIO_NO | BHI_NO | PBRSB_NO | RFDS_NO},
     ALWAYS | EIBRS, false, "on"},
    {"PBRSB_NO without IBRS_ALL", {true, 0x506e3, 0, MICROCODE | CAPS, 0, PBRSB_NO | RDCL_NO | MDS_NO},
     ALWAYS | IBRS | FILL, false, "on"},
    {"a virtual Skylake whose hypervisor flushes", {true, 0x506e3, 0, MICROCODE | CAPS, 0, SKIP_L1DFL},
     ALWAYS | IBRS | FILL | VERW, true, "on"},
    {"two of three signs",
     {true, 0x606a6, 0, MICROCODE | CAPS, 0,
      RDCL_NO | IBRS_ALL | MDS_NO | FB_CLEAR | BHI_NO | PBRSB_NO | FBSDP_NO | PSDP_NO},
     ALWAYS | EIBRS | VERW, false, "on"},
    {"Bonnell", {true, 0x106c2, 0, 0, 0, 0}, MASKS, false, "not-needed"},
    {"Silvermont", {true, 0x30678, 0, BIT(26) | BIT(10), 0, 0}, ALWAYS | IBRS | FILL | VERW, true, "on"},
    {"Goldmont", {true, 0x506c9, 0, BIT(26) | CAPS, 0, RFDS_CLEAR}, ALWAYS | IBRS | FILL | VERW, false, "on"},
    {"Goldmont before RFDS", {true, 0x506c9, 0, BIT(26), 0, 0}, ALWAYS | IBRS | FILL, false, "in-part"},
    {"Zhaoxin", {false, 0x307b0, 0, BIT(26), 0, 0}, ALWAYS | IBRS | FILL, false, "on"},
    {"an Atom's model in another family", {true, 0xf10c2, RTM, MICROCODE, 0, 0},
     ALWAYS | IBRS | FILL | L1D | VERW, true, "on"},
};
/* clang-format on */

static void test_cpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
        struct speculation s, off;
        speculation_decide(&cpus[i].cpu, true, &s);
        if (s.acts != cpus[i].acts)
            fail_msg("%s: 0x%x instead of 0x%x", cpus[i].name, s.acts, cpus[i].acts);
        if (s.sibling_threads != cpus[i].siblings)
            fail_msg("%s: sibling threads", cpus[i].name);
        assert_string_equal(speculation_summary(&s, true), cpus[i].summary);
        speculation_decide(&cpus[i].cpu, false, &off);
        assert_int_equal(off.acts, MASKS);
        assert_int_equal(off.affected, s.affected);
        assert_int_equal(off.sibling_threads, s.sibling_threads);
        assert_string_equal(speculation_summary(&off, false), s.affected ? "off" : "not-needed");
    }
}

static char text[4096];

static void print(const char *line)
{
    assert_true(strlen(line) < SPECULATION_LINE_BYTES - strlen("rootlet: debug: "));
    strcat(strcat(text, line), "\n");
}

static void test_report(void **state)
{
    struct speculation_cpu cpu = {true, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, ~0ull};

    (void)state;
    speculation_report(&cpu, true, print); /* the longest */
    text[0] = 0;
    speculation_report(&cpus[1].cpu, true, print);
    assert_non_null(strstr(text, "attack=mds affected=yes remedy=verw-at-entry done=yes unless=\"MDS_NO\"\n"));
    assert_non_null(strstr(text, "attack=branch-history affected=no remedy=nothing done=no"));
    text[0] = 0;
    speculation_report(&cpus[1].cpu, false, print);
    assert_non_null(strstr(text, "attack=mds affected=yes remedy=verw-at-entry done=no unless=\"MDS_NO\"\n"));
    assert_non_null(strstr(text, "attack=bounds-check affected=yes remedy=masks done=yes"));
}

/* Leaves and MSRs that are not there are not asked for: the fakes stop the test at an MSR that does not exist. */
static void test_this_cpu(void **state)
{
    (void)state;
    fake_cpu_reset();
    fake_msr_reset();
    fake_cpuid_set(0, 0, (struct cpuid_result){6, 0x756e6547, 0x6c65746e, 0x49656e69});
    fake_cpuid_set(1, 0, (struct cpuid_result){0x206a7, 0, 0, 0});
    fake_cpuid_set(7, 0, (struct cpuid_result){2, ~0u, ~0u, ~0u});
    struct speculation_cpu cpu = speculation_this_cpu();
    assert_true(cpu.is_intel && cpu.signature == 0x206a7);
    assert_false(cpu.leaf7_ebx | cpu.leaf7_edx | cpu.leaf7_2_edx | cpu.arch_capabilities);
    fake_cpuid_set(0, 0, (struct cpuid_result){7, 0x746e6543, 0x736c7561, 0x48727561});
    fake_cpuid_set(7, 0, (struct cpuid_result){1, 1, 2, (u32)CAPS});
    fake_cpuid_set(7, 2, (struct cpuid_result){0, 0, 0, 16});
    fake_msr_set(MSR_IA32_ARCH_CAPABILITIES, 0x123);
    cpu = speculation_this_cpu();
    assert_false(cpu.is_intel || cpu.leaf7_2_edx);
    assert_int_equal(cpu.arch_capabilities, 0x123);
    fake_cpuid_set(7, 0, (struct cpuid_result){2, 1, 2, 4});
    fake_msr_reset();
    cpu = speculation_this_cpu();
    assert_int_equal(cpu.leaf7_ebx, 1);
    assert_int_equal(cpu.leaf7_edx, 4);
    assert_int_equal(cpu.leaf7_2_edx, 16);
}

/* Each bit exists by its own sign. */
static void test_spec_ctrl_bits(void **state)
{
    struct speculation_cpu cpu = {.is_intel = true};

    (void)state;
    assert_int_equal(speculation_spec_ctrl_bits(&cpu), 0);
    cpu.leaf7_edx = (u32)(BIT(26));
    assert_int_equal(speculation_spec_ctrl_bits(&cpu), 1);
    cpu.leaf7_edx = (u32)(BIT(26) | BIT(27) | BIT(31));
    assert_int_equal(speculation_spec_ctrl_bits(&cpu), 7);
    cpu.leaf7_2_edx = ~0u;
    assert_int_equal(speculation_spec_ctrl_bits(&cpu), 0x5ff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_this_cpu),
        cmocka_unit_test(test_spec_ctrl_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
