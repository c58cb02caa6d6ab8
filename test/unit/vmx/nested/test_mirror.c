/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMCS shadowing: what a guest hypervisor reads and writes in its shadow VMCS is what is in its VMCS, and the bitmaps
 * let through no other field. SDM 3C 24.6.15 "VMCS Shadowing Bitmap Addresses", 24.10 "VMCS Types: Ordinary and
 * Shadow".
 *
 * links: vmx/nested/mirror.c vmx/nested/vmcs12.c vmx/check/fields.c vmx/check/text.c vmx/caps.c vmx/controls.c
 * vmx/nested/offer.c kernel/lib/format.c kernel/lib/status.c test/fake/vmcs.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/panic.h"
#include "test/fake/vmcs.h"
#include "vmx/nested/mirror.h"
#include "vmx/nested/vmcs12.h"

enum { REGION = 0x21000, MIRROR = 0x100000, BITMAPS = 0x200000, GUESTS = 0x300000 };

struct vmx_features vmx_features;
static struct nested nested;
static struct vmx_vcpu vcpu;
static u32 fetches, clears;
static u8 region[FRAME_BYTES];
static bool active; /* the shadow VMCS */

NORETURN void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

bool vmcs_load(hpa_t vmcs)
{
    fake_vmcs_load_shadow(vmcs.raw == MIRROR);
    active |= vmcs.raw == MIRROR;
    return vmcs.raw == MIRROR || vmcs.raw == GUESTS;
}

bool vmcs_clear(hpa_t vmcs)
{
    clears++;
    active &= vmcs.raw != MIRROR;
    return vmcs.raw == MIRROR;
}

void level_fetch_guest(struct vmx_vcpu *v)
{
    (void)v;
    vmcs_write(TSC_OFFSET, vmcs_read(TSC_OFFSET)); /* it is the guest's VMCS that is current */
    fetches++;
}

void nested_memory_read(const struct vmx_vcpu *v, u64 physical, void *to, u64 bytes)
{
    (void)v;
    assert_int_equal(physical, REGION);
    memcpy(to, region, bytes);
}

void nested_memory_write(const struct vmx_vcpu *v, u64 physical, const void *from, u64 bytes)
{
    (void)v;
    assert_in_range(physical, REGION, REGION + FRAME_BYTES - bytes);
    memcpy(region + (physical - REGION), from, bytes);
}

static int set_up(void **state)
{
    (void)state;
    fake_vmcs_reset();
    memset(&nested, 0, sizeof nested);
    memset(&vcpu, 0, sizeof vcpu);
    memset(region, 0, sizeof region);
    memset(nested.exists, 1, sizeof nested.exists);
    vcpu.nested = &nested;
    vcpu.vmcs = hpa(GUESTS);
    nested.mirror = hpa(MIRROR);
    nested.current = NESTED_NONE;
    vmx_features.has_shadowing = true;
    vmx_features.vmcs_bitmaps = hpa(BITMAPS);
    VMCS_SET(PROC2_CONTROLS, PROC2_EPT);
    VMCS_SET(VMCS_LINK_POINTER, ~0ull);
    fetches = clears = 0;
    active = false;
    return 0;
}

/* VMPTRLD and VMCLEAR. */
static void load(void)
{
    vmcs12_load(&vcpu, REGION, false);
    mirror_open(&vcpu);
}

static void unload(void)
{
    mirror_close(&vcpu);
    vmcs12_unload(&vcpu);
}

/* As the CPU does it for the guest. */
static u64 guest_reads(u32 encoding)
{
    assert_int_equal(vmcs_read(VMCS_LINK_POINTER), MIRROR);
    assert_true(vmcs_read(PROC2_CONTROLS) & PROC2_VMCS_SHADOWING);
    fake_vmcs_load_shadow(true);
    u64 value = vmcs_read_raw(encoding);
    fake_vmcs_load_shadow(false);
    return value;
}

static void guest_writes(u32 encoding, u64 value)
{
    fake_vmcs_load_shadow(true);
    vmcs_write_raw(encoding, value);
    fake_vmcs_load_shadow(false);
}

static void test_while_there_is_a_current_vmcs(void **state)
{
    (void)state;
    load();
    assert_int_equal(vmcs_read(VMREAD_BITMAP), BITMAPS);
    assert_int_equal(vmcs_read(VMWRITE_BITMAP), BITMAPS + FRAME_BYTES);
    assert_int_equal(guest_reads(ENCODING_EXIT_REASON), 0);
    assert_false(active); /* until a VM entry makes it so */
    active = true;
    unload();
    assert_int_equal(vmcs_read(PROC2_CONTROLS), PROC2_EPT);
    assert_int_equal(vmcs_read(VMCS_LINK_POINTER), ~0ull);
    assert_false(active); /* the vCPU may go to another CPU, or its frames to another VM */
}

static void test_not_on_a_cpu_without(void **state)
{
    (void)state;
    vmx_features.has_shadowing = false;
    load();
    mirror_publish(&vcpu);
    nested_collect(&vcpu);
    assert_int_equal(vmcs_read(VMCS_LINK_POINTER), ~0ull);
    unload();
    assert_int_equal(vmcs_read(PROC2_CONTROLS), PROC2_EPT);
    assert_int_equal(clears, 0);
}

static void test_each_field_both_ways(void **state)
{
    static u8 reads[FRAME_BYTES], writes[FRAME_BYTES];
    struct vmx_caps caps;
    u32 readable = 0, writable = 0;

    (void)state;
    memset(&caps, 0xff, sizeof caps);
    mirror_fill_bitmaps(reads, writes, &caps);
    load();
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        vmcs12_set(&vcpu, row, 0x100 + row);
    mirror_publish(&vcpu);
    for (u32 encoding = 0; encoding < FRAME_BYTES * 8; encoding++) {
        u32 row = encoding == (encoding & 0x6c3f) ? vmcs12_row(&vcpu, encoding) : VMCS12_NO_ROW;
        if (!(reads[encoding / 8] >> encoding % 8 & 1)) {
            readable++;
            assert_int_equal(guest_reads(encoding), 0x100 + row);
        }
        if (writes[encoding / 8] >> encoding % 8 & 1)
            continue;
        writable++;
        assert_false(reads[encoding / 8] >> encoding % 8 & 1);
        assert_int_not_equal(encoding >> 10 & 3, 1); /* not the read-only ones */
        guest_writes(encoding, 0x8000 + row);
        nested_collect(&vcpu);
        assert_int_equal(vmcs12_get(&vcpu, row), 0x8000 + row);
    }
    assert_int_equal(readable, 15);
    assert_int_equal(writable, 8);
}

/* As VMWRITEs that exit: vmcs12.c notes which rules are to be looked at again. */
static void test_what_is_written_is_checked(void **state)
{
    (void)state;
    load();
    nested.image.settled = CHECK_SETTLED_ALL;
    nested_collect(&vcpu);
    assert_int_equal(nested.image.settled, CHECK_SETTLED_ALL);
    guest_writes(ENCODING_GUEST_RIP, 0x7000);
    nested_collect(&vcpu);
    assert_int_equal(nested.image.settled, CHECK_SETTLED_ALL);
    guest_writes(ENCODING_GUEST_RFLAGS, 2);
    nested_collect(&vcpu);
    assert_int_equal(nested.image.settled, CHECK_SETTLED_ALL & ~CHECK_SETTLED_GUEST);
    assert_int_equal(fetches, 0);
    guest_writes(ENCODING_PROC_CONTROLS, PROC_HLT_EXITING);
    nested_collect(&vcpu);
    assert_int_equal(nested.image.settled, 0);
    assert_int_equal(fetches, 1);
    assert_true(nested.controls_written);
}

static void test_nothing_is_lost_with_the_current_vmcs(void **state)
{
    (void)state;
    load();
    guest_writes(ENCODING_GUEST_RSP, 0x1234);
    unload();
    load();
    assert_int_equal(vmcs12_get(&vcpu, FIELD_GUEST_RSP), 0x1234);
    assert_int_equal(guest_reads(ENCODING_GUEST_RSP), 0x1234);
}

/* From VM entry to VM exit the shadow VMCS is behind: what is in it has been collected. */
static void test_not_while_the_inner_guest_runs(void **state)
{
    (void)state;
    load();
    guest_writes(ENCODING_GUEST_RIP, 0x7000);
    nested_collect(&vcpu);
    nested.is_mirrored = false; /* inner_enter() */
    vmcs12_set(&vcpu, FIELD_GUEST_RIP, 0x7002);
    nested_collect(&vcpu);
    assert_int_equal(vmcs12_get(&vcpu, FIELD_GUEST_RIP), 0x7002);
    mirror_publish(&vcpu);
    assert_int_equal(guest_reads(ENCODING_GUEST_RIP), 0x7002);
}

/* The CPU reads what the bitmaps pass; the guest must have just these fields. */
static void test_guests_have_what_passes(void **state)
{
    static u8 reads[FRAME_BYTES], writes[FRAME_BYTES];
    struct vmx_caps with, without;

    (void)state;
    memset(&with, 0xff, sizeof with);
    without = with;
    without.group[VMX_PIN].may_be_one &= ~PIN_PREEMPTION_TIMER;
    without.group[VMX_PROC2].may_be_one &= ~PROC2_EPT;
    mirror_fill_bitmaps(reads, writes, &without);
    u32 timer = ENCODING_PREEMPTION_TIMER_VALUE, address = ENCODING_GUEST_PHYSICAL_ADDRESS;
    assert_true(reads[timer / 8] >> timer % 8 & 1 && writes[timer / 8] >> timer % 8 & 1);
    assert_true(reads[address / 8] >> address % 8 & 1);
    mirror_fill_bitmaps(reads, writes, &with);
    assert_false(reads[timer / 8] >> timer % 8 & 1 || writes[timer / 8] >> timer % 8 & 1);
    assert_false(reads[address / 8] >> address % 8 & 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_while_there_is_a_current_vmcs, set_up),
        cmocka_unit_test_setup(test_not_on_a_cpu_without, set_up),
        cmocka_unit_test_setup(test_each_field_both_ways, set_up),
        cmocka_unit_test_setup(test_what_is_written_is_checked, set_up),
        cmocka_unit_test_setup(test_nothing_is_lost_with_the_current_vmcs, set_up),
        cmocka_unit_test_setup(test_not_while_the_inner_guest_runs, set_up),
        cmocka_unit_test_setup(test_guests_have_what_passes, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
