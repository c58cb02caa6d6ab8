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
#include "vmx/ept.h"
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

static u32 our_exceptions;

u32 vmx_exception_bitmap(void)
{
    return our_exceptions;
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

/* Where the bitmap of Rootlet's own has the bit that makes RDMSR of it exit. */
static u8 *our_msr(u32 index)
{
    return (u8 *)phys_to_virt(vmx_features.msr_bitmap) + index / 8;
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
    *our_msr(0x174) &= (u8)~BIT(4);
    *our_msr(0x277) &= (u8)~BIT(7);
    assert_int_equal(nested_create(&bench.v, &frames), STATUS_OK);
    return 0;
}

/* ---- the controls of both levels: SDM 3C 24.6 ---- */

enum { PAGE = 0x40000, NO_RAM = 0xfee00000, VTPR = 0x80 };

static void write_controls(u32 proc, u32 proc2)
{
    set(FIELD_PROC_CONTROLS, proc);
    set(FIELD_PROC2_CONTROLS, proc2);
    bench.v.nested->controls_written = true;
    level_write_controls(&bench.v);
}

/* What the inner guest's hypervisor asks for is set, and beside it what Rootlet needs, whatever the former says. */
static void test_merge_of_primary_controls(void **state)
{
    enum {
        CR8 = PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING,
        OURS = PROC_UNCONDITIONAL_IO | PROC_HLT_EXITING | PROC_MOV_DR_EXITING | (int)PROC_SECONDARY,
        PASSED = PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_INVLPG_EXITING | PROC_MWAIT_EXITING |
                 PROC_RDPMC_EXITING | PROC_RDTSC_EXITING | PROC_CR3_LOAD_EXITING | PROC_CR3_STORE_EXITING |
                 PROC_NMI_WINDOW | PROC_MONITOR_TRAP_FLAG | PROC_MONITOR_EXITING | PROC_PAUSE_EXITING,
    };
    u32 *ours = &vmx_features.controls.value[VMX_PROC], set_in_cpu, base;

    (void)state;
    *ours = (*ours & ~PROC_UNCONDITIONAL_IO) | PROC_IO_BITMAPS; /* as where ports are passed on */
    write_controls(0, 0);
    base = vmcs_read(PROC_CONTROLS);
    assert_int_equal(base & ((u32)OURS | CR8), (u32)OURS | CR8);
    assert_int_equal(base & (PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_TPR_SHADOW), 0);
    assert_int_equal(base & (PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW | PROC_MONITOR_TRAP_FLAG), 0);
    for (u32 bit = 0; bit < 32; bit++) {
        u32 asked = (u32)BIT(bit);
        bench.v.base.windows = PROC_NMI_WINDOW;
        set(FIELD_MSR_BITMAPS, NO_RAM);
        write_controls(asked, 0);
        set_in_cpu = vmcs_read(PROC_CONTROLS);
        if (asked & (PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY)) /* Rootlet looks into the former itself */
            assert_int_equal(set_in_cpu, base);
        else if (asked == PROC_TPR_SHADOW) /* in place of the exits */
            assert_int_equal(set_in_cpu, (base & ~(u32)CR8) | asked);
        else
            assert_int_equal(set_in_cpu, base | asked);
        if (asked & PASSED)
            assert_int_equal(set_in_cpu & asked, asked);
        assert_int_equal(bench.v.base.windows, 0);
    }
    write_controls(PROC_TPR_SHADOW | PROC_CR8_LOAD_EXITING, 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS) & CR8, PROC_CR8_LOAD_EXITING);
    bench.v.debug_used = true;
    write_controls(0, 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS), base & ~PROC_MOV_DR_EXITING);
    write_controls(PROC_MOV_DR_EXITING, 0);
    assert_int_equal(vmcs_read(PROC_CONTROLS), base);
}

static void test_merge_of_secondary_controls(void **state)
{
    enum { OURS = PROC2_EPT | PROC2_VPID | PROC2_WBINVD_EXITING };
    static const u32 asked[] = {PROC2_DESCRIPTOR_TABLE,   PROC2_RDTSCP,  PROC2_UNRESTRICTED_GUEST,
                                PROC2_RDRAND_EXITING,     PROC2_INVPCID, PROC2_RDSEED_EXITING,
                                PROC2_PAUSE_LOOP_EXITING, PROC2_XSAVES,  PROC2_VMFUNC};

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(asked); i++) {
        VMCS_SET(VM_FUNCTION_CONTROLS, 1);
        set(FIELD_VM_FUNCTION_CONTROLS, 1);
        set(FIELD_PLE_GAP, 11);
        set(FIELD_PLE_WINDOW, 12);
        set(FIELD_XSS_EXITING_BITMAP, 13);
        write_controls(PROC_SECONDARY, asked[i]);
        assert_int_equal(vmcs_read(PROC2_CONTROLS) & (asked[i] | OURS), asked[i] | OURS);
        write_controls(PROC_SECONDARY, ~asked[i] & ~(u32)PROC2_EPT); /* no other control brings it */
        assert_int_equal(vmcs_read(PROC2_CONTROLS) & (asked[i] | OURS), OURS);
        assert_false(vmcs_read(PROC2_CONTROLS) & PROC2_VMCS_SHADOWING); /* Rootlet does it */
        write_controls(0, asked[i]);                                    /* not activated */
        assert_int_equal(vmcs_read(PROC2_CONTROLS) & (asked[i] | OURS), OURS);
    }
    assert_int_equal(vmcs_read(VM_FUNCTION_CONTROLS), 0); /* all exit */
    assert_int_equal(vmcs_read(PLE_GAP), 11);
    assert_int_equal(vmcs_read(PLE_WINDOW), 12);
    assert_int_equal(vmcs_read(XSS_EXITING_BITMAP), 13);
}

static void test_merge_of_exceptions(void **state)
{
    (void)state;
    our_exceptions = BIT(VECTOR_DB);
    set(FIELD_EXCEPTION_BITMAP, BIT(VECTOR_UD));
    set(FIELD_PF_ERROR_MASK, 5);
    set(FIELD_PF_ERROR_MATCH, 4);
    write_controls(0, 0);
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), BIT(VECTOR_DB) | BIT(VECTOR_UD));
    assert_int_equal(vmcs_read(PF_ERROR_MASK), 5);
    assert_int_equal(vmcs_read(PF_ERROR_MATCH), 4);
    our_exceptions |= BIT(VECTOR_PF); /* all of them */
    write_controls(0, 0);
    assert_int_equal(vmcs_read(EXCEPTION_BITMAP), BIT(VECTOR_DB) | BIT(VECTOR_UD) | BIT(VECTOR_PF));
    assert_int_equal(vmcs_read(PF_ERROR_MASK), 0);
    assert_int_equal(vmcs_read(PF_ERROR_MATCH), 0);
    our_exceptions = 0;
}

static void test_offsets_add_up(void **state)
{
    (void)state;
    bench.v.base.tsc_offset = 1000;
    set(FIELD_TSC_OFFSET, (u64)-3);
    write_controls(PROC_TSC_OFFSETTING, 0);
    assert_int_equal(vmcs_read(TSC_OFFSET), 997);
    write_controls(0, 0);
    assert_int_equal(vmcs_read(TSC_OFFSET), 1000);
}

/* The CPU's virtual-APIC page is none of the guest's: of its own the TPR is copied, and back. */
static void test_tpr_of_an_inner_guest(void **state)
{
    static const struct {
        u8 tpr;
        u32 threshold, in_cpu;
    } rows[] = {
        {0x35, 2, 2},
        {0x35, 3, 3},
        {0x35, 5, 3}, /* else the entry would fail */
        {0x00, 1, 0},
    };
    u8 *cpus = (u8 *)phys_to_virt(bench.v.nested->tpr_page) + VTPR, theirs;

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(PAGE + VTPR), &rows[i].tpr, 1), STATUS_OK);
        set(FIELD_VIRTUAL_APIC_ADDRESS, PAGE);
        set(FIELD_TPR_THRESHOLD, rows[i].threshold);
        write_controls(PROC_TPR_SHADOW, 0);
        assert_int_equal(vmcs_read(VIRTUAL_APIC_ADDRESS), bench.v.nested->tpr_page.raw);
        assert_int_equal(vmcs_read(TPR_THRESHOLD), rows[i].in_cpu);
        assert_int_equal(*cpus, rows[i].tpr);
        *cpus = 0x70;
        level_save_guest(&bench.v);
        assert_int_equal(guest_memory_read(&bench.vm.memory, gpa(PAGE + VTPR), &theirs, 1), STATUS_OK);
        assert_int_equal(theirs, 0x70);
    }
    set(FIELD_VIRTUAL_APIC_ADDRESS, NO_RAM);
    write_controls(PROC_TPR_SHADOW, 0);
    assert_int_equal(*cpus, 0xff);
}

/* An MSR is the inner guest's without an exit if both bitmaps say so; the guest's is read at each entry. */
static void test_merge_of_msr_bitmaps(void **state)
{
    const u8 *both = phys_to_virt(bench.v.nested->msr_bitmap);
    u8 theirs[FRAME_BYTES];

    (void)state;
    memset(theirs, 0, sizeof theirs);
    theirs[0x277 / 8] = BIT(7);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(PAGE), theirs, sizeof theirs), STATUS_OK);
    set(FIELD_MSR_BITMAPS, PAGE);
    write_controls(PROC_MSR_BITMAPS, 0);
    assert_true(vmcs_read(PROC_CONTROLS) & PROC_MSR_BITMAPS);
    assert_int_equal(vmcs_read(MSR_BITMAPS), bench.v.nested->msr_bitmap.raw);
    for (u32 i = 0; i < FRAME_BYTES; i++)
        assert_int_equal(both[i], i == 0x174 / 8 ? 0xff & ~BIT(4) : 0xff);
    theirs[0x174 / 8] = BIT(4);
    theirs[0x277 / 8] = 0;
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(PAGE), theirs, sizeof theirs), STATUS_OK);
    level_write_controls(&bench.v);
    for (u32 i = 0; i < FRAME_BYTES; i++)
        assert_int_equal(both[i], i == 0x277 / 8 ? 0xff & ~BIT(7) : 0xff);
    set(FIELD_MSR_BITMAPS, NO_RAM); /* reads as ones */
    write_controls(PROC_MSR_BITMAPS, 0);
    assert_false(vmcs_read(PROC_CONTROLS) & PROC_MSR_BITMAPS);
}

static void test_ept_of_an_inner_guest(void **state)
{
    u64 own;

    (void)state;
    bench.vm.ept_root = 0x123000;
    write_controls(PROC_SECONDARY, 0);
    assert_int_equal(own = vmcs_read(EPT_POINTER), ept_pointer(0x123000));
    set(FIELD_EPT_POINTER, PAGE | 6 | 3 << 3);
    write_controls(PROC_SECONDARY, PROC2_EPT);
    assert_int_not_equal(vmcs_read(EPT_POINTER), own); /* the shadow's, and never the guest's */
    assert_int_not_equal(vmcs_read(EPT_POINTER) & ~0xfffull, PAGE);
    write_controls(0, PROC2_EPT);
    assert_int_equal(vmcs_read(EPT_POINTER), own);
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

/* ---- CR0 ---- */

/* Reserved bits of CR0 are not loaded. SDM 3C 26.3.2.1 */
static void test_reserved_bits_of_cr0(void **state)
{
    (void)state;
    set(FIELD_GUEST_CR0, CR0_PE | CR0_NE | CR0_PG | BIT(10) | BIT(17));
    bench.v.nested->guest_written = true;
    level_write_guest(&bench.v, &(struct level_outer){.dr7 = 0x400, .cr0_kept = CR0_ET});
    assert_int_equal(vmcs_read(CR0_SHADOW), CR0_PE | CR0_NE | CR0_PG | CR0_ET);
    assert_int_equal(level_cr0(&bench.v), CR0_PE | CR0_NE | CR0_PG | CR0_ET);
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
        cmocka_unit_test_setup(test_merge_of_primary_controls, set_up),
        cmocka_unit_test_setup(test_merge_of_secondary_controls, set_up),
        cmocka_unit_test_setup(test_merge_of_exceptions, set_up),
        cmocka_unit_test_setup(test_offsets_add_up, set_up),
        cmocka_unit_test_setup(test_tpr_of_an_inner_guest, set_up),
        cmocka_unit_test_setup(test_merge_of_msr_bitmaps, set_up),
        cmocka_unit_test_setup(test_ept_of_an_inner_guest, set_up),
        cmocka_unit_test_setup(test_activity, set_up),
        cmocka_unit_test_setup(test_reserved_bits_of_cr0, set_up),
        cmocka_unit_test_setup(test_debug_controls, set_up),
        cmocka_unit_test_setup(test_single_steps_on_branches, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
