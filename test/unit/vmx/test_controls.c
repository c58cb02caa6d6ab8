/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control resolver against the capability values of a Skylake-X, and against every way in which a CPU can fall
 * short of the table. SDM 3D A.3 to A.5, 3C 31.5.1 "Algorithms for Determining VMX Capabilities".
 *
 * links: vmx/controls.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmx/controls.h"

static const struct vmx_caps skylake = {
    .group = {{0x16, 0x7f}, {0x04006172, 0xf7f9fffe}, {0, 0x02177fff}, {0x00036dfb, 0x007fffff}, {0x000011fb, 0xffff}},
};
/* The same CPU through the MSRs of old: the default1 class is insisted on. */
static const struct vmx_caps default1 = {
    .group = {{0x16, 0x7f}, {0x0401e172, 0xf7f9fffe}, {0, 0x02177fff}, {0x00036dff, 0x007fffff}, {0x000011ff, 0xffff}},
};

static struct vmx_controls out;
static struct refusal why;

static void test_skylake(void **state)
{
    (void)state;
    assert_int_equal(vmx_controls_resolve(&skylake, &out, &why), STATUS_OK);
    /* External interrupt, NMI, virtual NMIs, timer. */
    assert_int_equal(out.value[VMX_PIN], 0x16 | 0x01 | 0x08 | 0x20 | 0x40);
    /* TSC offset, HLT, MWAIT, RDPMC, CR8 both, MOV DR, I/O, both bitmaps, MONITOR, secondary; no CR3 exits. */
    assert_int_equal(out.value[VMX_PROC], 0x04006172 | 0x08 | 0x80 | 0x400 | 0x800 | 0x80000 | 0x100000 | 0x800000 |
                                              0x01000000 | 0x02000000 | 0x10000000 | 0x20000000 | 0x80000000);
    /* EPT, RDTSCP, VPID, WBINVD, unrestricted guest, PAUSE loops, INVPCID, XSAVES. */
    assert_int_equal(out.value[VMX_PROC2], 0x02 | 0x08 | 0x20 | 0x40 | 0x80 | 0x400 | 0x1000 | 0x100000);
    assert_int_equal(out.value[VMX_EXIT], 0x00036dfb | 0x04 | 0x200 | 0x8000 | 0x40000 | 0x80000 | 0x100000 | 0x200000);
    assert_int_equal(out.value[VMX_ENTRY], 0x000011fb | 0x04 | 0x4000 | 0x8000);
}

static void test_default1_adds_only_what_the_cpu_insists_on(void **state)
{
    struct vmx_controls with_true;

    (void)state;
    assert_int_equal(vmx_controls_resolve(&skylake, &with_true, &why), STATUS_OK);
    assert_int_equal(vmx_controls_resolve(&default1, &out, &why), STATUS_OK);
    assert_int_equal(out.value[VMX_PROC], with_true.value[VMX_PROC] | PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING);
    assert_int_equal(out.value[VMX_PIN], with_true.value[VMX_PIN]);
    assert_int_equal(out.value[VMX_EXIT], with_true.value[VMX_EXIT]);
    assert_int_equal(out.value[VMX_ENTRY], with_true.value[VMX_ENTRY]);
}

/* Whatever is missing: a needed control is refused by its name, an optional one stays 0, the rest does not change. */
static void test_each_control_missing(void **state)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    struct vmx_controls full;

    (void)state;
    assert_int_equal(vmx_controls_resolve(&skylake, &full, &why), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        const struct vmx_control_row *row = &rows[i];
        struct vmx_caps caps = skylake;
        caps.group[row->group].may_be_one &= ~row->bit;
        enum status status = vmx_controls_resolve(&caps, &out, &why);
        if (row->need == VMX_REQUIRED || row->need == VMX_REQUIRED_AVAILABLE) {
            assert_int_equal(status, STATUS_UNSUPPORTED);
            assert_non_null(strstr(why.text, row->name));
            continue;
        }
        assert_int_equal(status, STATUS_OK);
        for (unsigned g = 0; g < VMX_GROUPS; g++)
            assert_int_equal(out.value[g], full.value[g] & ~(g == row->group ? row->bit : 0));
    }
}

/* Whatever the CPU insists on: a control that must not be on is refused by its name, any other is on. */
static void test_each_control_insisted_on(void **state)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct vmx_control_row *row = &rows[i];
        struct vmx_caps caps = skylake;
        caps.group[row->group].may_be_one |= row->bit;
        caps.group[row->group].must_be_one |= row->bit;
        enum status status = vmx_controls_resolve(&caps, &out, &why);
        if (row->need == VMX_FORBIDDEN || row->need == VMX_REQUIRED_AVAILABLE || row->need == VMX_SWITCHED) {
            assert_int_equal(status, STATUS_INVALID);
            assert_non_null(strstr(why.text, row->name));
            continue;
        }
        assert_int_equal(status, STATUS_OK);
        assert_true(out.value[row->group] & row->bit);
    }
}

/* The result is always one that VM entry accepts: SDM 3C 26.2.1. */
static void test_results_keep_to_the_allowed_settings(void **state)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    u32 optional[VMX_GROUPS] = {0};

    (void)state;
    for (size_t i = 0; i < count; i++)
        if (rows[i].need == VMX_OPTIONAL)
            optional[rows[i].group] |= rows[i].bit;
    srand(1);
    for (unsigned round = 0; round < 20000; round++) {
        struct vmx_caps caps = round & 1 ? skylake : default1;
        for (unsigned g = 0; g < VMX_GROUPS; g++)
            caps.group[g].may_be_one &= ~(optional[g] & (u32)rand());
        assert_int_equal(vmx_controls_resolve(&caps, &out, &why), STATUS_OK);
        for (unsigned g = 0; g < VMX_GROUPS; g++) {
            assert_int_equal(out.value[g] & ~caps.group[g].may_be_one, 0);
            assert_int_equal(caps.group[g].must_be_one & ~out.value[g], 0);
        }
    }
}

/* A control that the SDM had not defined when this was written. */
static void test_unknown_control_insisted_on(void **state)
{
    struct vmx_caps caps = skylake;

    (void)state;
    caps.group[VMX_PROC2].must_be_one |= 0x10000000;
    caps.group[VMX_PROC2].may_be_one |= 0x10000000;
    assert_int_equal(vmx_controls_resolve(&caps, &out, &why), STATUS_INVALID);
    assert_non_null(strstr(why.text, "secondary processor-based controls 0x10000000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skylake),
        cmocka_unit_test(test_default1_adds_only_what_the_cpu_insists_on),
        cmocka_unit_test(test_each_control_missing),
        cmocka_unit_test(test_each_control_insisted_on),
        cmocka_unit_test(test_results_keep_to_the_allowed_settings),
        cmocka_unit_test(test_unknown_control_insisted_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
