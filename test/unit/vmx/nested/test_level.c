/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State that goes into the VMCS of inner guests and comes out of it. The two VMCSs are one here. SDM 3C 26.3.2 "Loading
 * Guest State", 26.6 "Special Features of VM Entry", 27.3 "Saving Guest State".
 *
 * links: vmx/nested/level.c vmx/nested/nested.c vmx/nested/vmcs12.c vmx/nested/shadow.c vmx/nested/offer.c
 * vmx/insn/guest.c vmx/insn/gva.c vmx/insn/guest_physical.c vmx/event.c vmx/apicv.c vmx/caps.c vmx/controls.c
 * vmx/exit/cpuid.c vmx/check/fields.c vmx/check/text.c vmx/speculation.c arch/x86/xsave.c arch/x86/speculation.c
 * kernel/lib/format.c kernel/vm/memory.c kernel/vm/layer.c kernel/vm/bus.c test/fake/vmcs.c test/fake/msr.c
 * test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/host_memory.h"
#include "test/fake/vm_bus.h"
#include "vmx/exit/cpuid.h"
#include "vmx/nested/level.h"
#include "vmx/nested/vmcs12.h"

enum { ACTIVE, HLT };

/* ---- what level.c needs beside ---- */

bool vmcs_load(hpa_t region)
{
    (void)region;
    return true;
}

bool vmcs_clear(hpa_t region)
{
    (void)region;
    return true;
}

void vmx_take_new_cpu(struct vmx_vcpu *v)
{
    (void)v;
}

void vmx_write_constant_state(void)
{
    abort();
}

u32 vmx_exception_bitmap(void)
{
    abort();
}

void vmx_points_begin(struct vmx_vcpu *v)
{
    (void)v;
    abort();
}

u64 clock_tsc_hz(void)
{
    return 2000000000;
}

u16 vmx_new_vpid(void)
{
    return 77;
}

bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    (void)type, (void)ept_pointer;
    return true;
}

void vmx_invalidate_ept_everywhere(const struct vm *vm)
{
    (void)vm;
}

static void set(u32 row, u64 value)
{
    vmcs12_set(&bench.v, row, value);
}

static u64 get(u32 row)
{
    return vmcs12_get(&bench.v, row);
}

static int set_up(void **state)
{
    struct refusal why;
    u32 frames;

    (void)state;
    bench_start();
    host_memory_init(MIB(16), MIB(8));
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(2), &why), STATUS_OK);
    xsave_detect();
    vmx_cpuid_build();
    assert_int_equal(frames_allocate(1, 1, &vmx_features.msr_bitmap), STATUS_OK);
    memset(phys_to_virt(vmx_features.msr_bitmap), 0xff, FRAME_BYTES);
    assert_int_equal(nested_create(&bench.v, &frames), STATUS_OK);
    return 0;
}

/* ---- HLT ---- */

static void test_activity(void **state)
{
    static const struct {
        u64 activity, pending;
        bool timer;
        bool halted; /* in Rootlet's scheduler */
        u64 in_cpu;
    } rows[] = {
        {ACTIVE, 0,                         false, false, ACTIVE},
        {HLT,    0,                         false, true,  ACTIVE},
        {HLT,    0,                         true,  false, HLT   },
        {HLT,    PENDING_DEBUG_SINGLE_STEP, false, false, ACTIVE},
        {HLT,    PENDING_DEBUG_ENABLED | 1, true,  false, ACTIVE},
        {HLT,    1,                         false, true,  ACTIVE}, /* met, but not enabled */
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        set(FIELD_GUEST_ACTIVITY_STATE, rows[i].activity);
        set(FIELD_GUEST_PENDING_DEBUG, rows[i].pending);
        bench.v.nested->timer_tsc = rows[i].timer ? 1000 : UINT64_MAX;
        level_write_guest(&bench.v, &(struct level_outer){.dr7 = 0x400});
        assert_int_equal(bench.v.base.halted, rows[i].halted);
        assert_int_equal(vmcs_read(GUEST_ACTIVITY_STATE), rows[i].in_cpu);
    }
}

/* ---- debug controls ---- */

static void test_debug_controls(void **state)
{
    (void)state;
    set(FIELD_GUEST_DR7, 0x500);
    set(FIELD_GUEST_DEBUGCTL, 1);
    level_write_guest(&bench.v, &(struct level_outer){.dr7 = 0x400});
    assert_int_equal(vmcs_read(GUEST_DR7), 0x400); /* not loaded: the guest hypervisor's */
    level_save_guest(&bench.v);
    assert_int_equal(get(FIELD_GUEST_DR7), 0x500);
    assert_int_equal(get(FIELD_GUEST_DEBUGCTL), 1);
    set(FIELD_EXIT_CONTROLS, EXIT_SAVE_DEBUG);
    level_save_guest(&bench.v);
    assert_int_equal(get(FIELD_GUEST_DR7), 0x400);
    assert_int_equal(get(FIELD_GUEST_DEBUGCTL), 0);
}

/* BTF does nothing, so that a CPU without wants the single step that the guest hypervisor must leave out. */
static void test_single_steps_on_branches(void **state)
{
    enum { BTF = 2, BS = PENDING_DEBUG_SINGLE_STEP };
    static const struct {
        u64 debugctl, rflags, blocking, activity;
        bool saved; /* by "save debug controls" */
        u64 in_vmcs12, in_cpu, after;
    } rows[] = {
        {BTF, RFLAGS_TF, INTERRUPTIBILITY_STI,    ACTIVE, false, 0,  BS,     0 },
        {BTF, RFLAGS_TF, INTERRUPTIBILITY_MOV_SS, ACTIVE, false, 1,  BS | 1, 1 },
        {BTF, RFLAGS_TF, INTERRUPTIBILITY_MOV_SS, ACTIVE, true,  0,  BS,     BS},
        {BTF, RFLAGS_TF, 0,                       HLT,    false, 0,  BS,     BS}, /* which has ended the HLT */
        {BTF, RFLAGS_TF, 0,                       ACTIVE, false, 0,  0,      0 },
        {BTF, 0,         INTERRUPTIBILITY_STI,    ACTIVE, false, 0,  0,      0 },
        {1,   RFLAGS_TF, INTERRUPTIBILITY_STI,    ACTIVE, false, BS, BS,     BS},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        set(FIELD_GUEST_DEBUGCTL, rows[i].debugctl);
        set(FIELD_GUEST_RFLAGS, RFLAGS_ONE | rows[i].rflags);
        set(FIELD_GUEST_INTERRUPTIBILITY, rows[i].blocking);
        set(FIELD_GUEST_ACTIVITY_STATE, rows[i].activity);
        set(FIELD_GUEST_PENDING_DEBUG, rows[i].in_vmcs12);
        set(FIELD_EXIT_CONTROLS, rows[i].saved ? EXIT_SAVE_DEBUG : 0);
        bench.v.nested->timer_tsc = UINT64_MAX;
        level_write_guest(&bench.v, &(struct level_outer){.dr7 = 0x400});
        assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), rows[i].in_cpu);
        assert_false(bench.v.base.halted);
        level_save_guest(&bench.v); /* an exit at once */
        assert_int_equal(get(FIELD_GUEST_PENDING_DEBUG), rows[i].after);
        assert_int_equal(get(FIELD_GUEST_DEBUGCTL), rows[i].saved ? 0 : rows[i].debugctl);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_activity, set_up),
        cmocka_unit_test_setup(test_debug_controls, set_up),
        cmocka_unit_test_setup(test_single_steps_on_branches, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
