/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSR policy through the exit handlers, and the bitmap against it, bit for bit.
 * SDM 3C 24.6.9 "MSR-Bitmap Address", 4 2.1 "Architectural MSRs", 2D "WRMSR".
 *
 * links: vmx/exit/msr.c vmx/exit/mtrr.c vmx/event.c vmx/apicv.c vmx/controls.c vmx/speculation.c
 * links: arch/x86/speculation.c kernel/lib/format.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/msr.h"

#define CANONICAL     0xffff800000000000ull
#define NON_CANONICAL 0x0000800000000000ull

/* What a guest may touch without an exit. Writes of EFER are checked first. */
static const u32 direct[] = {0x174,      0x175,      0x176,      0x277,      0xc0000080, 0xc0000081, 0xc0000082,
                             0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103};
static const u32 answered[] = {0x0,   0x1,   0x179, 0x17a, 0x10,  0x17,  0x1b,  0x3b,  0x8b,  0xce,  0xfe,
                               0x1a0, 0x1d9, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208,
                               0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268,
                               0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff, 0x6e0, 0xda0};
static const u32 switched[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103};

static u8 bitmap[FRAME_BYTES];

static int apic_shown; /* by CPUID */

void vmx_cpuid_set_apic(struct vmx_vcpu *v, bool on)
{
    (void)v;
    apic_shown = on;
}

static bool has_nx, cpuid_limited;

bool vmx_cpuid_has_nx(void)
{
    return has_nx;
}

void vmx_cpuid_set_limited(struct vmx_vcpu *v, bool on)
{
    (void)v;
    cpuid_limited = on;
}

u64 vmx_cpuid_platform_info(void)
{
    return 0x170000001500;
}

static int set_up(void **state)
{
    (void)state;
    bench_start();
    has_nx = true;
    for (size_t i = 0; i < ARRAY_SIZE(switched); i++)
        fake_msr_set(switched[i], 0);
    return 0;
}

static bool contains(const u32 *list, size_t count, u32 index)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == index)
            return true;
    return false;
}

static enum outcome rdmsr(u32 index)
{
    bench.v.gpr[GPR_RCX] = 0xdead00000000 | index; /* the upper half does not count */
    bench.v.gpr[GPR_RAX] = bench.v.gpr[GPR_RDX] = ~0ull;
    return vmx_msr_read_exit(&bench.v, trace_last());
}

static enum outcome wrmsr(u32 index, u64 value)
{
    bench.v.gpr[GPR_RCX] = index;
    bench.v.gpr[GPR_RAX] = 0xdead00000000 | (u32)value;
    bench.v.gpr[GPR_RDX] = 0xdead00000000 | value >> 32;
    return vmx_msr_write_exit(&bench.v, trace_last());
}

static void assert_reads(u32 index, u64 value)
{
    assert_int_equal(rdmsr(index), OUTCOME_SKIP);
    assert_int_equal(bench.v.gpr[GPR_RAX], (u32)value);
    assert_int_equal(bench.v.gpr[GPR_RDX], value >> 32);
    bench_assert_no_exception();
}

/* The write gets #GP, and nothing has changed. */
static void assert_write_refused(u32 index, u64 value)
{
    struct fake_vmcs_copy before, after;
    u32 writes = fake_msr_write_count();
    u64 offset = bench.v.base.tsc_offset;

    fake_vmcs_save(&before);
    assert_int_equal(wrmsr(index, value), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    fake_vmcs_save(&after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(fake_msr_write_count(), writes);
    assert_int_equal(bench.v.base.tsc_offset, offset);
}

static void assert_read_refused(u32 index)
{
    assert_int_equal(rdmsr(index), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
}

static bool exits(u32 index, bool write)
{
    u32 base = (write ? 2048 : 0) + (index >= 0xc0000000 ? 1024 : 0);
    return bitmap[base + (index & 0x1fff) / 8] >> (index & 7) & 1;
}

static void check_bitmap(bool has_tsc_aux)
{
    u32 let_through = 0;

    for (u32 at = 0; at < 0x4000; at++) {
        u32 index = at < 0x2000 ? at : 0xc0000000 + (at - 0x2000);
        bool expected = contains(direct, ARRAY_SIZE(direct), index) && (has_tsc_aux || index != MSR_IA32_TSC_AUX);
        assert_int_equal(exits(index, false), !expected);
        assert_int_equal(exits(index, true), !expected || index == MSR_IA32_EFER);
        let_through += expected;
    }
    assert_int_equal(let_through, ARRAY_SIZE(direct) - !has_tsc_aux);
}

static void test_bitmap_bit_for_bit(void **state)
{
    (void)state;
    memset(bitmap, 0x5a, sizeof bitmap);
    vmx_msr_bitmap_fill(bitmap);
    check_bitmap(true);
    vmx_features.controls.value[VMX_PROC2] &= ~PROC2_RDTSCP;
    vmx_msr_bitmap_fill(bitmap);
    check_bitmap(false);
}

/* Every index of the bitmap's ranges and some beyond: known ones are answered, all others are #GP for both. */
static void test_unknown_msrs_are_gp(void **state)
{
    static const u32 beyond[] = {0x2000, 0x40000000, 0x4b564d00, 0xbfffffff, 0xc0002000, 0xc0010015, 0xffffffff};

    (void)state;
    for (u32 at = 0; at < 0x4000 + ARRAY_SIZE(beyond); at++) {
        u32 index = at < 0x2000 ? at : at < 0x4000 ? 0xc0000000 + (at - 0x2000) : beyond[at - 0x4000];
        if (contains(direct, ARRAY_SIZE(direct), index) || contains(answered, ARRAY_SIZE(answered), index)) {
            assert_int_equal(rdmsr(index), OUTCOME_SKIP);
            bench_assert_no_exception();
            continue;
        }
        assert_int_equal(rdmsr(index), OUTCOME_RESUME);
        assert_int_equal(bench.v.gpr[GPR_RAX], ~0ull);
        bench_assert_exception(VECTOR_GP, 0);
        assert_write_refused(index, 0);
    }
}

/* Without MSR bitmaps every access exits: the same MSRs, kept where the CPU keeps them. */
static void test_fields_without_bitmaps(void **state)
{
    (void)state;
    assert_int_equal(wrmsr(0x174, 0x10), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_SYSENTER_CS), 0x10);
    assert_int_equal(wrmsr(0x175, CANONICAL | 0x1000), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_SYSENTER_ESP), CANONICAL | 0x1000);
    assert_int_equal(wrmsr(0x176, 0x2000), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_SYSENTER_EIP), 0x2000);
    assert_int_equal(wrmsr(0xc0000100, 0x3000), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_FS_BASE), 0x3000);
    assert_int_equal(wrmsr(0xc0000101, CANONICAL), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_GS_BASE), CANONICAL);
    assert_reads(0x174, 0x10);
    assert_reads(0x175, CANONICAL | 0x1000);
    assert_reads(0x176, 0x2000);
    assert_reads(0xc0000100, 0x3000);
    assert_reads(0xc0000101, CANONICAL);
}

static void test_switched_msrs_without_bitmaps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(switched); i++) {
        assert_int_equal(wrmsr(switched[i], 0x1000 + i), OUTCOME_SKIP);
        assert_int_equal(fake_msr_get(switched[i]), 0x1000 + i);
        assert_reads(switched[i], 0x1000 + i);
    }
    vmx_msr_save(&bench.v);
    for (size_t i = 0; i < ARRAY_SIZE(switched); i++)
        fake_msr_set(switched[i], ~0ull);
    vmx_msr_restore(&bench.v);
    for (size_t i = 0; i < ARRAY_SIZE(switched); i++)
        assert_int_equal(fake_msr_get(switched[i]), 0x1000 + i);
}

/* A CPU without RDTSCP has no TSC_AUX: touching it would be #GP in the host, where fake_msr aborts. */
static void test_no_tsc_aux_without_rdtscp(void **state)
{
    (void)state;
    vmx_features.controls.value[VMX_PROC2] &= ~PROC2_RDTSCP;
    fake_msr_reset();
    for (size_t i = 0; i + 1 < ARRAY_SIZE(switched); i++)
        fake_msr_set(switched[i], i);
    vmx_msr_save(&bench.v);
    vmx_msr_restore(&bench.v);
    assert_int_equal(rdmsr(MSR_IA32_TSC_AUX), OUTCOME_RESUME);
    bench_assert_exception(VECTOR_GP, 0);
    assert_write_refused(MSR_IA32_TSC_AUX, 0);
}

/* What WRMSR itself refuses must not get into a VMCS field: the next entry would fail. */
static void test_bad_values(void **state)
{
    static const u32 addresses[] = {0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        assert_write_refused(addresses[i], NON_CANONICAL);
        assert_write_refused(addresses[i], 1ull << 63);
        assert_write_refused(addresses[i], CANONICAL - 1);
        assert_int_equal(wrmsr(addresses[i], CANONICAL), OUTCOME_SKIP);
        assert_int_equal(wrmsr(addresses[i], NON_CANONICAL - 1), OUTCOME_SKIP);
    }
    assert_write_refused(0xc0000084, BIT(32));
    assert_write_refused(0xc0000103, BIT(32));
    assert_int_equal(wrmsr(0xc0000081, ~0ull), OUTCOME_SKIP);
}

/* SDM 3A 11.12.2: types 0, 1, 4, 5, 6, 7 and nothing else, in each of the eight bytes. */
static void test_pat(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        for (unsigned slot = 0; slot < 8; slot++) {
            u64 value = (0x0007040600070406ull & ~(0xffull << 8 * slot)) | (u64)type << 8 * slot;
            if (type == 0 || type == 1 || (type >= 4 && type <= 7)) {
                assert_int_equal(wrmsr(MSR_IA32_PAT, value), OUTCOME_SKIP);
                assert_int_equal(vmcs_read(GUEST_PAT), value);
            } else {
                assert_write_refused(MSR_IA32_PAT, value);
            }
        }
    }
}

static void test_efer(void **state)
{
    u64 allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++)
        if (!(allowed & BIT(bit)))
            assert_write_refused(MSR_IA32_EFER, BIT(bit));
    /* LMA is the CPU's: it cannot be written, nor does writing 0 clear it. */
    assert_int_equal(wrmsr(MSR_IA32_EFER, EFER_SCE | EFER_NXE | EFER_LME | EFER_LMA), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_EFER), EFER_SCE | EFER_NXE | EFER_LME);
    bench_set_efer(EFER_LME | EFER_LMA);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_NE | CR0_PG);
    assert_int_equal(wrmsr(MSR_IA32_EFER, EFER_LME | EFER_SCE), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_EFER), EFER_LME | EFER_LMA | EFER_SCE);
    /* LME may not change while paging is on, either way. */
    assert_write_refused(MSR_IA32_EFER, EFER_SCE);
    bench_set_efer(0);
    assert_write_refused(MSR_IA32_EFER, EFER_LME);
    assert_int_equal(wrmsr(MSR_IA32_EFER, EFER_NXE), OUTCOME_SKIP);
    assert_reads(MSR_IA32_EFER, EFER_NXE);
    /* The entry control follows CR0.PG (cr.c), not EFER. */
    assert_false(vmcs_read(ENTRY_CONTROLS) & ENTRY_IA32E_GUEST);
}

/* The local APIC decides; CPUID.1:EDX.APIC follows its enable bit. */
static void test_apic_base(void **state)
{
    (void)state;
    assert_reads(MSR_IA32_APIC_BASE, 0xfee00900);
    assert_int_equal(wrmsr(MSR_IA32_APIC_BASE, 0xfee00d00), OUTCOME_SKIP);
    assert_reads(MSR_IA32_APIC_BASE, 0xfee00d00);
    assert_int_equal(apic_shown, 1);
    assert_int_equal(wrmsr(MSR_IA32_APIC_BASE, 0xfee00100), OUTCOME_SKIP);
    assert_int_equal(apic_shown, 0);
    assert_write_refused(MSR_IA32_APIC_BASE, 1ull << 40 | 0xfee00100);
}

/* The page's registers as MSRs, if the APIC lets them be. */
static void test_apic_registers(void **state)
{
    (void)state;
    assert_read_refused(0x808);
    assert_write_refused(0x80b, 0);
    bench.apic_base |= BIT(10);
    assert_reads(0x808, 0x808);
    assert_int_equal(wrmsr(0x830, 0x1234), OUTCOME_SKIP);
    assert_int_equal(bench.apic_written, 0x83000001234);
    assert_int_equal(wrmsr(0x80b, 1), OUTCOME_SKIP); /* no EOI: the registers refuse it */
    assert_int_equal(bench.apic_written, 0x80b00000001);
    assert_read_refused(0x900);
}

/* Whatever the APIC's mode. */
static void test_tsc_deadline(void **state)
{
    (void)state;
    assert_int_equal(wrmsr(MSR_IA32_TSC_DEADLINE, 0x123456789a), OUTCOME_SKIP);
    assert_int_equal(bench.apic_deadline, 0x123456789a);
    assert_reads(MSR_IA32_TSC_DEADLINE, 0x123456789a);
}

static void test_tsc(void **state)
{
    (void)state;
    fake_cpu.tsc = 1000000;
    bench.v.base.tsc_offset = 0 - 400000ull;
    assert_reads(MSR_IA32_TSC, 600000);
    assert_int_equal(wrmsr(MSR_IA32_TSC, 0x123456789abcdef0), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(TSC_OFFSET), 0x123456789abcdef0 - 1000000);
    fake_cpu.tsc += 7;
    assert_reads(MSR_IA32_TSC, 0x123456789abcdef7);
    assert_int_equal(wrmsr(MSR_IA32_TSC, 0), OUTCOME_SKIP); /* backwards */
    assert_reads(MSR_IA32_TSC, 0);
}

/* SDM 3B 18.17.3: what a write adds to the one it adds to the other. */
static void test_tsc_adjust(void **state)
{
    (void)state;
    fake_cpu.tsc = 1000000;
    bench.v.base.tsc_offset = 0 - 400000ull;
    assert_reads(MSR_IA32_TSC_ADJUST, 0);
    assert_int_equal(wrmsr(MSR_IA32_TSC, 650000), OUTCOME_SKIP);
    assert_reads(MSR_IA32_TSC_ADJUST, 50000);
    assert_int_equal(wrmsr(MSR_IA32_TSC_ADJUST, 30000), OUTCOME_SKIP);
    assert_reads(MSR_IA32_TSC, 630000);
    assert_int_equal(vmcs_read(TSC_OFFSET), bench.v.base.tsc_offset);
    assert_int_equal(wrmsr(MSR_IA32_TSC_ADJUST, 0 - 600000ull), OUTCOME_SKIP);
    assert_reads(MSR_IA32_TSC, 0);
    assert_reads(MSR_IA32_TSC_ADJUST, 0 - 600000ull);
    assert_int_equal(wrmsr(MSR_IA32_TSC_ADJUST, 0), OUTCOME_SKIP);
    assert_reads(MSR_IA32_TSC, 600000);
}

/* A deadline is a value of the guest's TSC: when that moves, the timer is armed anew. */
static void test_deadline_follows_the_tsc(void **state)
{
    (void)state;
    bench.apic_deadline = 0x123456789a;
    assert_int_equal(wrmsr(MSR_IA32_TSC, 5), OUTCOME_SKIP);
    assert_int_equal(bench.apic_deadline_writes, 1);
    assert_int_equal(wrmsr(MSR_IA32_TSC_ADJUST, 5), OUTCOME_SKIP);
    assert_int_equal(bench.apic_deadline_writes, 2);
    assert_int_equal(bench.apic_deadline, 0x123456789a);
    bench.apic_deadline = 0; /* it is not armed */
    assert_int_equal(wrmsr(MSR_IA32_TSC, 7), OUTCOME_SKIP);
    assert_int_equal(bench.apic_deadline_writes, 2);
}

/* Only what can be switched may be enabled in IA32_XSS: nothing. */
static void test_xss(void **state)
{
    (void)state;
    assert_reads(MSR_IA32_XSS, 0);
    assert_int_equal(wrmsr(MSR_IA32_XSS, 0), OUTCOME_SKIP);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_write_refused(MSR_IA32_XSS, BIT(bit));
    vmx_features.controls.value[VMX_PROC2] &= ~PROC2_XSAVES;
    assert_read_refused(MSR_IA32_XSS);
    assert_write_refused(MSR_IA32_XSS, 0);
}

/* Each vCPU's are its own, and state only: no memory changes with them. */
static void test_mtrrs_are_state(void **state)
{
    struct vmx_vcpu other = {
        .base = {.vm = &bench.vm, .index = 1}
    };

    (void)state;
    vmx_msr_init_vcpu(&other);
    vmx_msr_init_vcpu(&bench.v);
    assert_memory_equal(&other.mtrr, &bench.v.mtrr, sizeof other.mtrr);
    assert_reads(MSR_IA32_MTRR_DEF_TYPE, 0xc06);
    assert_reads(MSR_IA32_MTRRCAP, 0x508);
    assert_int_equal(wrmsr(MSR_IA32_MTRR_DEF_TYPE, 0xc00), OUTCOME_SKIP);
    assert_reads(MSR_IA32_MTRR_DEF_TYPE, 0xc00);
    assert_int_equal(mtrr_read(&other.mtrr, MSR_IA32_MTRR_DEF_TYPE), 0xc06);
    assert_int_equal(bench.v.base.requests, 0);
    assert_int_equal(bench.flushes, 0);
    assert_write_refused(MSR_IA32_MTRRCAP, 0x508);
    assert_write_refused(MSR_IA32_MTRR_DEF_TYPE, 0x1000);
    assert_write_refused(MSR_IA32_MTRR_PHYSBASE0, BIT(46)); /* beyond what CPUID says */
    assert_reads(MSR_IA32_MTRR_DEF_TYPE, 0xc00);
}

/* Without banks: there is nothing to enable, to count or to find in them. SDM 3B 15.3.1 */
static void test_machine_check_architecture(void **state)
{
    (void)state;
    assert_reads(MSR_IA32_MCG_CAP, 0);
    assert_write_refused(MSR_IA32_MCG_CAP, 1);
    assert_read_refused(0x17b); /* IA32_MCG_CTL */
    for (u32 bank = 0; bank < 32; bank++)
        for (u32 i = 0; i < 4; i++)
            assert_read_refused(0x400 + 4 * bank + i);
    assert_reads(MSR_IA32_MCG_STATUS, 0);
    assert_int_equal(wrmsr(MSR_IA32_MCG_STATUS, 7), OUTCOME_SKIP);
    assert_reads(MSR_IA32_MCG_STATUS, 7);
    for (unsigned bit = 3; bit < 64; bit++)
        assert_write_refused(MSR_IA32_MCG_STATUS, BIT(bit));
    assert_reads(MSR_IA32_MCG_STATUS, 7);
    assert_int_equal(wrmsr(MSR_IA32_MCG_STATUS, 0), OUTCOME_SKIP);
    assert_reads(MSR_IA32_MCG_STATUS, 0);
    assert_int_equal(fake_msr_write_count(), 0);
}

static void test_constants_ignore_writes(void **state)
{
    static const u32 constants[] = {MSR_IA32_PLATFORM_ID, MSR_IA32_BIOS_SIGN_ID, MSR_IA32_P5_MC_ADDR,
                                    MSR_IA32_P5_MC_TYPE};

    (void)state;
    assert_reads(MSR_IA32_P5_MC_ADDR, 0);
    assert_reads(MSR_IA32_P5_MC_TYPE, 0);
    assert_reads(MSR_IA32_PLATFORM_ID, 0);
    assert_reads(MSR_IA32_BIOS_SIGN_ID, 0xffffffff00000000);
    for (size_t i = 0; i < ARRAY_SIZE(constants); i++)
        assert_int_equal(wrmsr(constants[i], ~0ull), OUTCOME_SKIP);
    bench_assert_no_exception();
    assert_int_equal(fake_msr_write_count(), 0);
    assert_int_equal(fake_vmcs_write_count(), 0);
}

/* The same bits as those that a VM entry loads. SDM 3B 17.4.1 "IA32_DEBUGCTL MSR" */
static void test_debugctl_keeps_nothing(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        bool reserved = bit >= 16 || (bit >= 2 && bit <= 5);
        assert_int_equal(wrmsr(MSR_IA32_DEBUGCTL, BIT(bit)), reserved ? OUTCOME_RESUME : OUTCOME_SKIP);
        if (reserved)
            bench_assert_exception(VECTOR_GP, 0);
        assert_reads(MSR_IA32_DEBUGCTL, 0);
    }
    bench_assert_no_exception();
    assert_int_equal(fake_msr_write_count(), 0);
    assert_int_equal(fake_vmcs_write_count(), 0);
}

static void test_platform_info_is_read_only(void **state)
{
    (void)state;
    assert_reads(MSR_PLATFORM_INFO, 0x170000001500);
    assert_write_refused(MSR_PLATFORM_INFO, 0x170000001500);
}

/*
 * SDM 4 2.1 "Architectural MSRs", IA32_MISC_ENABLE: what CPUID has a feature for is kept; BTS and PEBS unavailable are
 * read-only; the rest is reserved.
 */
static void test_misc_enable(void **state)
{
    const u64 fixed = BIT(11) | BIT(12), writable = BIT(0) | BIT(22) | BIT(34);

    (void)state;
    vmx_msr_init_vcpu(&bench.v);
    bench.v.efer = EFER_LME | EFER_NXE;
    fake_vmcs_set(ENCODING_GUEST_EFER, EFER_LME | EFER_LMA | EFER_NXE);
    assert_reads(MSR_IA32_MISC_ENABLE, fixed | BIT(0)); /* fast strings; no BTS, no PEBS; no MONITOR */
    for (unsigned bit = 0; bit < 64; bit++) {
        u64 value = fixed ^ BIT(bit);
        if (!((writable | fixed) & BIT(bit))) {
            assert_write_refused(MSR_IA32_MISC_ENABLE, value);
            continue;
        }
        assert_int_equal(wrmsr(MSR_IA32_MISC_ENABLE, value), OUTCOME_SKIP);
        assert_reads(MSR_IA32_MISC_ENABLE, value | fixed);
        assert_int_equal(cpuid_limited, bit == 22);
        assert_int_equal(bench.v.efer, bit < 34 ? EFER_LME | EFER_NXE : EFER_LME);
    }
    /* With bit 34 the CPU has no NX, as its CPUID says; EFER.NXE is reserved. */
    assert_int_equal(wrmsr(MSR_IA32_MISC_ENABLE, BIT(34)), OUTCOME_SKIP);
    assert_int_equal(vmcs_read(GUEST_EFER), EFER_LME | EFER_LMA);
    assert_write_refused(MSR_IA32_EFER, EFER_LME | EFER_NXE);
    assert_int_equal(wrmsr(MSR_IA32_MISC_ENABLE, 0), OUTCOME_SKIP);
    assert_int_equal(wrmsr(MSR_IA32_EFER, EFER_LME | EFER_NXE), OUTCOME_SKIP);
    has_nx = false;
    assert_write_refused(MSR_IA32_MISC_ENABLE, BIT(34));
    assert_reads(MSR_IA32_MISC_ENABLE, fixed);
}

/* The statistics say how often a guest asked for what is not there, and for what last. */
static void test_unknown_msrs_are_counted(void **state)
{
    (void)state;
    assert_read_refused(0xcd);
    assert_write_refused(0x140, 0);
    assert_int_equal(bench.v.unknown_msrs, 2);
    assert_int_equal(bench.v.unknown_msr, 0x140);
    assert_write_refused(MSR_IA32_PAT, 2); /* known: a bad value */
    assert_int_equal(bench.v.unknown_msrs, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bitmap_bit_for_bit, set_up),
        cmocka_unit_test_setup(test_unknown_msrs_are_gp, set_up),
        cmocka_unit_test_setup(test_fields_without_bitmaps, set_up),
        cmocka_unit_test_setup(test_switched_msrs_without_bitmaps, set_up),
        cmocka_unit_test_setup(test_no_tsc_aux_without_rdtscp, set_up),
        cmocka_unit_test_setup(test_bad_values, set_up),
        cmocka_unit_test_setup(test_pat, set_up),
        cmocka_unit_test_setup(test_efer, set_up),
        cmocka_unit_test_setup(test_apic_base, set_up),
        cmocka_unit_test_setup(test_apic_registers, set_up),
        cmocka_unit_test_setup(test_tsc_deadline, set_up),
        cmocka_unit_test_setup(test_tsc, set_up),
        cmocka_unit_test_setup(test_tsc_adjust, set_up),
        cmocka_unit_test_setup(test_deadline_follows_the_tsc, set_up),
        cmocka_unit_test_setup(test_xss, set_up),
        cmocka_unit_test_setup(test_mtrrs_are_state, set_up),
        cmocka_unit_test_setup(test_unknown_msrs_are_counted, set_up),
        cmocka_unit_test_setup(test_machine_check_architecture, set_up),
        cmocka_unit_test_setup(test_platform_info_is_read_only, set_up),
        cmocka_unit_test_setup(test_misc_enable, set_up),
        cmocka_unit_test_setup(test_constants_ignore_writes, set_up),
        cmocka_unit_test_setup(test_debugctl_keeps_nothing, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
