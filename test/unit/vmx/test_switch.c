/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transient execution: what a CPU gets written when it starts and when it changes vCPUs, and the guests' own MSRs. The
 * fake CPU reports each kind of CPU in turn. SDM 4 2.1 "Architectural MSRs".
 *
 * links: vmx/speculation.c arch/x86/speculation.c kernel/lib/format.c vmx/exit/msr.c vmx/exit/mtrr.c vmx/event.c
 * links: vmx/apicv.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/msr.h"
#include "vmx/speculation.h"

#define SPEC_CTRL    0x48
#define PRED_CMD     0x49
#define CAPABILITIES 0x10a
#define FLUSH_CMD    0x10b

#define IBRS      1
#define STIBP     2
#define SSBD      4
#define BHI_DIS_S 0x400

void vmx_cpuid_set_apic(struct vmx_vcpu *v, bool on)
{
    (void)v;
    (void)on;
}

bool vmx_cpuid_has_nx(void)
{
    return true;
}

void vmx_cpuid_set_limited(struct vmx_vcpu *v, bool on)
{
    (void)v;
    (void)on;
}

u64 vmx_cpuid_platform_info(void)
{
    return 0;
}

static struct vm vms[2] = {{.id = 0}, {.id = 7}};
static struct vmx_vcpu others[3]; /* two of the first VM, one of the second */

/* A CPU with these bits in CPUID.7; MSRs that CPUID does not show do not exist. */
static void begin(u32 edx, u32 edx_2, u64 capabilities, bool wanted)
{
    bench_start();
    fake_cpuid_set(7, 0, (struct cpuid_result){edx_2 ? 2 : 0, 0, 0, edx});
    fake_cpuid_set(7, 2, (struct cpuid_result){0, 0, 0, edx_2});
    if (edx & BIT(26)) {
        fake_msr_set(SPEC_CTRL, 0);
        fake_msr_set(PRED_CMD, 0);
    }
    if (edx & BIT(28))
        fake_msr_set(FLUSH_CMD, 0);
    if (edx & BIT(29))
        fake_msr_set(CAPABILITIES, capabilities);
    for (u32 i = 0; i < 3; i++)
        others[i] = (struct vmx_vcpu){.base.vm = &vms[i / 2]};
    vmx_speculation_init(wanted);
    vmx_speculation_enter_cpu();
}

#define ALL_EDX  ((u32)(BIT(10) | BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(31)))
#define ENHANCED (BIT(0) | BIT(1) | BIT(5) | BIT(24))

static u32 writes_of_switch_to(struct vmx_vcpu *v)
{
    u32 before = fake_msr_write_count();

    if (vmx_features.switches_speculation)
        vmx_speculation_switch(v);
    return fake_msr_write_count() - before;
}

static enum outcome rdmsr(u32 index)
{
    bench.v.gpr[GPR_RCX] = index;
    bench.v.gpr[GPR_RAX] = bench.v.gpr[GPR_RDX] = ~0ull;
    return vmx_msr_read_exit(&bench.v, trace_last());
}

static enum outcome wrmsr(u32 index, u64 value)
{
    bench.v.gpr[GPR_RCX] = index;
    bench.v.gpr[GPR_RAX] = (u32)value;
    bench.v.gpr[GPR_RDX] = value >> 32;
    return vmx_msr_write_exit(&bench.v, trace_last());
}

static void assert_reads(u32 index, u64 value)
{
    assert_int_equal(rdmsr(index), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RDX] << 32 | bench.v.gpr[GPR_RAX], value);
}

#define assert_gp(access)                                                                                              \
    do {                                                                                                               \
        u32 count = fake_msr_write_count();                                                                            \
        assert_int_equal(access, OUTCOME_RESUME);                                                                      \
        bench_assert_exception(VECTOR_GP, 0);                                                                          \
        assert_int_equal(fake_msr_write_count(), count);                                                               \
    } while (0)

/* The fakes stop the test at an MSR that does not exist. */
static void test_a_cpu_without_any(void **state)
{
    (void)state;
    begin(0, 0, 0, true);
    assert_false(vmx_features.switches_speculation);
    assert_false(vmx_features.speculation.acts & SPECULATION_AT_ENTRY_OR_EXIT);
    assert_int_equal(fake_msr_write_count(), 0);
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(writes_of_switch_to(&others[i]), 0);
    for (u32 index = SPEC_CTRL; index <= FLUSH_CMD; index += index == PRED_CMD ? CAPABILITIES - PRED_CMD : 1) {
        assert_gp(rdmsr(index));
        assert_gp(wrmsr(index, 0));
    }
}

/* Set once; another VM's vCPU comes after IBPB, one of the same VM without it. */
static void test_enhanced_ibrs(void **state)
{
    (void)state;
    begin(ALL_EDX, 0, ENHANCED, true);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS);
    assert_int_equal(fake_msr_write_count(), 1);
    assert_int_equal(writes_of_switch_to(&others[0]), 1); /* nobody knows who was before */
    assert_int_equal(fake_msr_get(PRED_CMD), 1);
    fake_msr_set(PRED_CMD, 0);
    assert_int_equal(writes_of_switch_to(&others[1]), 0);
    assert_int_equal(writes_of_switch_to(&others[0]), 0);
    assert_int_equal(writes_of_switch_to(&others[2]), 1);
    assert_int_equal(fake_msr_get(PRED_CMD), 1);
    fake_msr_set(PRED_CMD, 0);
    assert_int_equal(writes_of_switch_to(&others[0]), 1);
    assert_int_equal(fake_msr_get(PRED_CMD), 1);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS);
}

static void test_history(void **state)
{
    (void)state;
    begin(ALL_EDX, BIT(4), ENHANCED, true);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS | BHI_DIS_S);
    assert_false(vmx_features.speculation.acts & SPECULATION_CLEAR_HISTORY);
    begin(ALL_EDX, BIT(4), ENHANCED | BIT(20), true);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS);
    begin(ALL_EDX, 0, ENHANCED, true);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS);
    assert_true(vmx_features.speculation.acts & SPECULATION_CLEAR_HISTORY);
}

/* The guest's bits come and go with the vCPU, the host's stay, and the guest reads its own. */
static void test_guest_value_beside_the_hosts(void **state)
{
    (void)state;
    begin(ALL_EDX, BIT(4), ENHANCED, true);
    bench.v.base.vm = &vms[0];
    (void)writes_of_switch_to(&bench.v);
    assert_reads(SPEC_CTRL, 0);
    assert_int_equal(wrmsr(SPEC_CTRL, SSBD | STIBP), OUTCOME_SKIP);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS | BHI_DIS_S | SSBD | STIBP);
    assert_reads(SPEC_CTRL, SSBD | STIBP);
    assert_int_equal(writes_of_switch_to(&others[0]), 1);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS | BHI_DIS_S);
    assert_int_equal(writes_of_switch_to(&others[1]), 0);
    assert_int_equal(writes_of_switch_to(&bench.v), 1);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS | BHI_DIS_S | SSBD | STIBP);
    assert_int_equal(wrmsr(SPEC_CTRL, IBRS), OUTCOME_SKIP);
    assert_int_equal(fake_msr_get(SPEC_CTRL), IBRS | BHI_DIS_S);
    assert_reads(SPEC_CTRL, IBRS);
    assert_gp(wrmsr(SPEC_CTRL, 0x8));
    assert_gp(wrmsr(SPEC_CTRL, 0x80));
    assert_gp(wrmsr(SPEC_CTRL, 1ull << 32));
    assert_reads(SPEC_CTRL, IBRS);
}

static bool exits(const u8 *bitmap, u32 index, bool write)
{
    return bitmap[(write ? 2048 : 0) + index / 8] >> index % 8 & 1;
}

static void test_bitmap(void **state)
{
    static u8 bitmap[FRAME_BYTES];
    static const struct {
        u32 edx;
        u64 capabilities;
        bool wanted;
        bool spec_ctrl, commands;
    } rows[] = {
        {0,       0,        true,  false, false},
        {ALL_EDX, ENHANCED, true,  false, true },
        {ALL_EDX, 0,        true,  true,  true }, /* IBRS, which each exit writes */
        {ALL_EDX, 0,        false, false, true },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        begin(rows[i].edx, 0, rows[i].capabilities, rows[i].wanted);
        vmx_msr_bitmap_fill(bitmap);
        assert_int_equal(!exits(bitmap, SPEC_CTRL, false), rows[i].spec_ctrl);
        assert_int_equal(!exits(bitmap, SPEC_CTRL, true), rows[i].spec_ctrl);
        assert_true(exits(bitmap, PRED_CMD, false) && exits(bitmap, FLUSH_CMD, false));
        assert_int_equal(!exits(bitmap, PRED_CMD, true), rows[i].commands);
        assert_int_equal(!exits(bitmap, FLUSH_CMD, true), rows[i].commands);
        assert_true(exits(bitmap, CAPABILITIES, false) && exits(bitmap, CAPABILITIES, true));
    }
}

/* There each entry writes the guest's value, and each exit the host's: entry.asm. The switch has nothing to write. */
static void test_ibrs_at_each_exit(void **state)
{
    (void)state;
    begin(ALL_EDX, 0, 0, true);
    assert_true(vmx_speculation_spec_ctrl_is_direct());
    (void)writes_of_switch_to(&others[0]);
    assert_int_equal(writes_of_switch_to(&others[1]), 0);
    bench.v.base.vm = &vms[0];
    assert_int_equal(wrmsr(SPEC_CTRL, SSBD), OUTCOME_SKIP); /* without bitmaps */
    assert_int_equal(bench.v.spec_ctrl, SSBD);
    assert_int_equal(fake_msr_get(SPEC_CTRL), 0);
    assert_reads(SPEC_CTRL, SSBD);
}

/* The host does nothing, but guests may protect themselves. */
static void test_off(void **state)
{
    (void)state;
    begin(ALL_EDX, BIT(4), ENHANCED, false);
    assert_int_equal(fake_msr_get(SPEC_CTRL), 0);
    assert_int_equal(vmx_features.speculation.acts, SPECULATION_MASKS);
    bench.v.base.vm = &vms[1];
    assert_int_equal(writes_of_switch_to(&bench.v), 0);
    assert_int_equal(wrmsr(SPEC_CTRL, SSBD), OUTCOME_SKIP);
    assert_int_equal(fake_msr_get(SPEC_CTRL), SSBD);
    assert_int_equal(writes_of_switch_to(&others[0]), 1);
    assert_int_equal(fake_msr_get(SPEC_CTRL), 0);
    assert_int_equal(fake_msr_get(PRED_CMD), 0);
}

static void test_commands(void **state)
{
    (void)state;
    begin(ALL_EDX, 0, ENHANCED, true);
    for (u32 i = 0; i < 2; i++) {
        u32 index = i ? FLUSH_CMD : PRED_CMD;
        fake_msr_set(index, 0);
        assert_gp(rdmsr(index));
        assert_gp(wrmsr(index, 2));
        assert_gp(wrmsr(index, 1ull << 32));
        assert_int_equal(wrmsr(index, 0), OUTCOME_SKIP);
        assert_int_equal(fake_msr_get(index), 0);
        assert_int_equal(wrmsr(index, 1), OUTCOME_SKIP);
        assert_int_equal(fake_msr_get(index), 1);
    }
    begin(ALL_EDX & ~(u32)BIT(28), 0, ENHANCED, true);
    assert_gp(wrmsr(FLUSH_CMD, 1));
}

/* What holds for a guest: nothing of MSRs that it does not have (TSX_CTRL, MCU_CONTROL, FB_CLEAR_CTRL, GDS_CTRL). */
static void test_capabilities(void **state)
{
    (void)state;
    begin(ALL_EDX, 0, ~0ull, true);
    assert_reads(CAPABILITIES, 0x400000001d1ae177);
    assert_gp(wrmsr(CAPABILITIES, 0));
    begin(ALL_EDX, 0, ENHANCED, true);
    assert_reads(CAPABILITIES, ENHANCED);
    begin(ALL_EDX & ~(u32)BIT(29), 0, 0, true);
    assert_gp(rdmsr(CAPABILITIES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cpu_without_any),
        cmocka_unit_test(test_enhanced_ibrs),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_guest_value_beside_the_hosts),
        cmocka_unit_test(test_bitmap),
        cmocka_unit_test(test_ibrs_at_each_exit),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_capabilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
