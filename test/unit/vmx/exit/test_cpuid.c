/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's CPUID says, on a CPU that has every feature: nothing that the hypervisor does not provide, and
 * everything consistent with itself. SDM 2A 3.2 "CPUID - CPU Identification", 1 13.2.
 *
 * links: vmx/exit/cpuid.c vmx/caps.c vmx/exit/cr.c vmx/event.c vmx/points.c vmx/apicv.c vmx/controls.c arch/x86/xsave.c
 * kernel/vm/memory.c kernel/vm/layer.c
 *
 * links: test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/xsave.h"
#include "test/fake/host_memory.h"
#include "vmx/exit/cpuid.h"
#include "vmx/report/debug.h"

/* No debugger here. */
enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v)
{
    (void)v;
    fail();
    return OUTCOME_STOP;
}

static u64 tsc_hz;

u64 clock_tsc_hz(void)
{
    return tsc_hz;
}

static void build(void)
{
    xsave_detect();
    vmx_cpuid_build();
    vmx_cpuid_init_vcpu(&bench.v);
}

static int set_up(void **state)
{
    (void)state;
    bench_start();
    tsc_hz = 2100000000;
    build();
    return 0;
}

static struct cpuid_result cpuid(u32 leaf, u32 subleaf)
{
    bench.v.gpr[GPR_RAX] = 0xdead00000000 | leaf;
    bench.v.gpr[GPR_RBX] = bench.v.gpr[GPR_RDX] = ~0ull;
    bench.v.gpr[GPR_RCX] = 0xdead00000000 | subleaf;
    assert_int_equal(vmx_cpuid_exit(&bench.v, trace_last()), OUTCOME_SKIP);
    for (unsigned i = GPR_RAX; i <= GPR_RBX; i++)
        assert_int_equal(bench.v.gpr[i] >> 32, 0);
    return (struct cpuid_result){(u32)bench.v.gpr[GPR_RAX], (u32)bench.v.gpr[GPR_RBX], (u32)bench.v.gpr[GPR_RCX],
                                 (u32)bench.v.gpr[GPR_RDX]};
}

static void assert_same(struct cpuid_result a, struct cpuid_result b)
{
    assert_memory_equal(&a, &b, sizeof a);
}

static void assert_zero(struct cpuid_result r)
{
    assert_same(r, (struct cpuid_result){0});
}

static void test_leaf_1_offers_nothing_that_is_not_there(void **state)
{
    /* MONITOR DS-CPL VMX SMX EIST TM2 CNXT-ID SDBG xTPR PDCM DCA; PCLMUL's neighbour DTES64. */
    static const u8 no_ecx[] = {2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 16, 18};
    /* PSN DS ACPI TM IA64 PBE, and the reserved 10, 20. */
    static const u8 no_edx[] = {10, 18, 20, 21, 22, 29, 30, 31};
    /* SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND; x2APIC TSC-deadline. */
    static const u8 ecx[] = {0, 1, 9, 12, 13, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29, 30};
    static const u8 edx[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26};
    struct cpuid_result r = cpuid(1, 0);

    (void)state;
    assert_int_equal(r.eax, 0x00050654);
    for (size_t i = 0; i < sizeof no_ecx; i++)
        assert_false(r.ecx & BIT(no_ecx[i]));
    for (size_t i = 0; i < sizeof no_edx; i++)
        assert_false(r.edx & BIT(no_edx[i]));
    for (size_t i = 0; i < sizeof ecx; i++)
        assert_true(r.ecx & BIT(ecx[i]));
    for (size_t i = 0; i < sizeof edx; i++)
        assert_true(r.edx & BIT(edx[i]));
    assert_int_equal(r.ebx & 0xff00, 0x0800); /* CLFLUSH line of 64 bytes */
}

/* SGX, MPX, RTM, HLE, PT, RDT, PKU, WAITPKG, CET, LA57, PCONFIG, core capabilities. */
static void test_leaf_7_offers_nothing_that_is_not_there(void **state)
{
    struct cpuid_result r = cpuid(7, 0);

    (void)state;
    assert_int_equal(r.eax, 0);
    assert_false(r.ebx & (BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(22) | BIT(25)));
    assert_false(r.ecx & (BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(13) | BIT(16) | BIT(30)));
    assert_false(r.edx & (BIT(18) | BIT(20) | BIT(30)));
    assert_true(r.edx & BIT(10) && r.edx & BIT(26) && r.edx & BIT(27) && r.edx & BIT(28) && r.edx & BIT(29) &&
                r.edx & BIT(31));
    assert_true(r.ebx & BIT(1)); /* TSC_ADJUST */
    assert_true(r.ebx & BIT(0) && r.ebx & BIT(5) && r.ebx & BIT(7) && r.ebx & BIT(10) && r.ebx & BIT(16) &&
                r.ebx & BIT(20));
    assert_true(r.ecx & BIT(2));
    assert_zero(cpuid(7, 1));
    assert_zero(cpuid(7, ~0u));
}

/* Subleaf 2 where the CPU has it: bits of IA32_SPEC_CTRL, and no others. */
static void test_leaf_7_subleaf_2(void **state)
{
    fake_cpuid_set(7, 0, (struct cpuid_result){2, ~0u, ~0u, ~0u});
    fake_cpuid_set(7, 2, (struct cpuid_result){~0u, ~0u, ~0u, ~0u});
    vmx_cpuid_build();
    assert_int_equal(cpuid(7, 0).eax, 2);
    assert_same(cpuid(7, 2), ((struct cpuid_result){0, 0, 0, 0x3f}));
    assert_zero(cpuid(7, 1));
    assert_zero(cpuid(7, 3));
    fake_cpuid_set(7, 2, (struct cpuid_result){0, 0, 0, 0x40});
    vmx_cpuid_build();
    assert_int_equal(cpuid(7, 0).eax, 0);
    (void)state;
}

/* MONITOR, thermal, performance counters, and leaves that no guest is told about. */
static void test_empty_leaves(void **state)
{
    static const u32 empty[] = {3, 5, 8, 9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x13, 0x14};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        assert_zero(cpuid(empty[i], 0));
}

static void test_out_of_range_is_the_highest_basic_leaf(void **state)
{
    static const u32 beyond[] = {0x17, 0x18, 0x1000, 0x3fffffff, 0x40000002, 0x40000100, 0x7fffffff, 0x80000009, ~0u};
    struct cpuid_result highest = cpuid(cpuid(0, 0).eax, 0);

    (void)state;
    assert_int_equal(cpuid(0, 0).eax, 0x16);
    for (size_t i = 0; i < ARRAY_SIZE(beyond); i++)
        assert_same(cpuid(beyond[i], 0), highest);
}

static void test_vendor_and_brand_are_the_cpus(void **state)
{
    struct cpuid_result vendor = cpuid(0, 0);

    (void)state;
    assert_int_equal(vendor.ebx, 0x756e6547);
    assert_int_equal(vendor.ecx, 0x6c65746e);
    assert_int_equal(vendor.edx, 0x49656e69);
    assert_same(cpuid(0x80000002, 0), cpu_cpuid(0x80000002, 0));
    assert_int_equal(cpuid(0x80000000, 0).eax, 0x80000008);
    assert_int_equal(cpuid(0x80000008, 0).eax, 0x302e);
    assert_int_equal(cpuid(0x80000007, 0).edx, BIT(8));
    assert_int_equal(cpuid(0x80000001, 0).edx, BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29));
    assert_int_equal(cpuid(0x80000001, 0).ecx, BIT(0) | BIT(5) | BIT(8)); /* no SVM */
}

static void test_hypervisor_leaves_only_without_stealth(void **state)
{
    (void)state;
    assert_true(cpuid(1, 0).ecx & BIT(31));
    struct cpuid_result r = cpuid(0x40000000, 0);
    assert_int_equal(r.eax, 0x40000001);
    assert_memory_equal(&r.ebx, "Root", 4);
    assert_memory_equal(&r.ecx, "letR", 4);
    assert_memory_equal(&r.edx, "ootl", 4);
    assert_same(cpuid(0x40000001, 0), (struct cpuid_result){0, 1, 0, 0});

    bench.vm.spec.stealth = true;
    vmx_cpuid_init_vcpu(&bench.v);
    assert_false(cpuid(1, 0).ecx & BIT(31));
    assert_same(cpuid(0x40000000, 0), cpuid(0x16, 0));
    assert_same(cpuid(0x40000001, 0), cpuid(0x16, 0));
}

/* A control that the CPU lacks or the user disabled takes its feature along: else the guest would get #UD. */
static void test_features_follow_the_controls(void **state)
{
    (void)state;
    assert_true(cpuid(0xd, 1).eax & BIT(3));
    vmx_features.controls.value[VMX_PROC2] &= ~(PROC2_XSAVES | PROC2_RDTSCP | PROC2_INVPCID);
    vmx_features.caps.ept_vpid &= ~EPT_CAP_1G;
    vmx_features.caps.cr4_fixed1 &= ~CR4_UMIP;
    build();
    assert_false(cpuid(0xd, 1).eax & BIT(3));
    assert_false(cpuid(0x80000001, 0).edx & BIT(27));
    assert_false(cpuid(7, 0).ecx & BIT(22)); /* RDPID */
    assert_false(cpuid(7, 0).ebx & BIT(10));
    assert_false(cpuid(0x80000001, 0).edx & BIT(26));
    assert_false(cpuid(7, 0).ecx & BIT(2));
    assert_false(vmx_features.guest_cr4_allowed & CR4_UMIP);
}

/* XSAVEC and XSAVES need each other's format to be right; XSAVES its control too. */
static void test_compacted_format(void **state)
{
    (void)state;
    assert_int_equal(cpuid(0xd, 1).eax, 0xf);
    assert_true(vmx_features.controls.value[VMX_PROC2] & PROC2_XSAVES);
    quirks_found = BIT(QUIRK_XSAVEC);
    build();
    assert_int_equal(cpuid(0xd, 1).eax, 5);
    assert_int_equal(cpuid(0xd, 1).ebx, 0);
    assert_false(vmx_features.controls.value[VMX_PROC2] & PROC2_XSAVES);
}

/* OSPKE follows CR4.PKE, which the guest may set if PKU is there. */
static void test_protection_keys(void **state)
{
    (void)state;
    assert_false(cpuid(7, 0).ecx & BIT(3)); /* this CPU's VMX does not let CR4.PKE be set */
    assert_false(vmx_features.guest_cr4_allowed & CR4_PKE);
    vmx_features.caps.cr4_fixed1 |= CR4_PKE;
    build();
    assert_true(cpuid(7, 0).ecx & BIT(3));
    assert_true(vmx_features.guest_cr4_allowed & CR4_PKE);
    assert_false(cpuid(7, 0).ecx & BIT(4));
    VMCS_SET(GUEST_CR4, CR4_VMXE | CR4_PKE);
    assert_true(cpuid(7, 0).ecx & BIT(4));
    VMCS_SET(GUEST_CR4, CR4_VMXE);
    assert_false(cpuid(7, 0).ecx & BIT(4));
    fake_cpuid_set(0xd, 0, (struct cpuid_result){0xe7, 2688, 2688, 0}); /* PKRU is not in XCR0 */
    build();
    assert_false(cpuid(7, 0).ecx & BIT(3));
}

/* Widths: what the CPU has, but no more than a walk of four levels covers. */
static void test_address_widths(void **state)
{
    static const struct {
        u32 host, guest;
    } widths[] = {
        {0x3024, 0x3024},
        {0x302e, 0x302e},
        {0x3934, 0x3030},
        {0x3930, 0x3030}
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
        fake_cpuid_set(0x80000008, 0, (struct cpuid_result){widths[i].host, ~0u, ~0u, ~0u});
        build();
        assert_same(cpuid(0x80000008, 0), (struct cpuid_result){widths[i].guest, 0, 0, 0});
        assert_int_equal(vmx_features.guest_physical_bits, widths[i].guest & 0xff);
    }
}

/* No XSAVE: no AVX and nothing that builds on it, no leaf 0xD, no CR4.OSXSAVE. */
static void test_cpu_without_xsave(void **state)
{
    struct cpuid_result one = cpu_cpuid(1, 0);

    (void)state;
    one.ecx &= ~(u32)BIT(26);
    fake_cpuid_set(1, 0, one);
    build();
    assert_false(cpuid(1, 0).ecx & (BIT(12) | BIT(26) | BIT(28) | BIT(29)));
    for (u32 i = 0; i < 64; i++)
        assert_zero(cpuid(0xd, i));
    assert_false(vmx_features.guest_cr4_allowed & CR4_OSXSAVE);
}

/* No AVX-512 state: none of the instructions. */
static void test_vector_features_need_their_state(void **state)
{
    (void)state;
    fake_cpuid_set(0xd, 0, (struct cpuid_result){7, 832, 832, 0});
    build();
    assert_false(cpuid(7, 0).ebx & (BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)));
    assert_false(cpuid(7, 0).ecx & (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14)));
    assert_false(cpuid(7, 0).edx & (BIT(2) | BIT(3)));
    assert_true(cpuid(7, 0).ebx & BIT(5));
    fake_cpuid_set(0xd, 0, (struct cpuid_result){3, 576, 576, 0});
    build();
    assert_false(cpuid(7, 0).ebx & BIT(5));
}

/* Sizes by SDM 1 13.4.2 and 13.4.3, computed here from the subleaves that the guest itself sees. */
static void test_leaf_d_sizes_for_every_xcr0(void **state)
{
    struct cpuid_result main = cpuid(0xd, 0);
    u64 supported = (u64)main.edx << 32 | main.eax;
    unsigned valid = 0;

    (void)state;
    assert_int_equal(supported, xsave_supported_mask());
    assert_int_equal(cpuid(0xd, 1).ecx, 0); /* supervisor states */
    assert_int_equal(cpuid(0xd, 1).edx, 0);
    for (u64 xcr0 = 0; xcr0 <= supported; xcr0++) {
        u32 standard = 576, compacted = 576;
        if (!xsave_xcr0_is_valid(xcr0))
            continue;
        valid++;
        for (u32 i = 2; i < 63; i++) {
            struct cpuid_result r = cpuid(0xd, i);
            assert_int_equal(r.eax != 0, (supported >> i & 1));
            assert_false(r.ecx & 1); /* a supervisor state */
            if (!(xcr0 & BIT(i)))
                continue;
            standard = r.ebx + r.eax > standard ? r.ebx + r.eax : standard;
            compacted = (r.ecx & 2 ? (compacted + 63) / 64 * 64 : compacted) + r.eax;
        }
        fake_cpu.xcr0 = xcr0;
        struct cpuid_result zero = cpuid(0xd, 0);
        assert_int_equal(zero.ebx, standard);
        assert_true(zero.ebx <= zero.ecx);
        assert_int_equal(zero.ecx, main.ecx);
        assert_int_equal(cpuid(0xd, 1).ebx, compacted);
    }
    assert_int_equal(valid, 8); /* x87; and SSE; and AVX; and AVX-512; each with PKRU or without */
    assert_int_equal(main.ecx, 2696);
}

/*
 * The CPU's own leaf 0x16 is not the TSC's frequency. Leaf 0x15: crystal * EBX / EAX, right to half a kHz of the
 * crystal, also where a system divides EBX by EAX in integers; and Linux's product of its kHz and EBX fits in 32 bits.
 */
static void assert_clock_leaves(u64 hz)
{
    struct cpuid_result r;

    tsc_hz = hz;
    build();
    r = cpuid(0x15, 0);
    assert_true(r.eax && r.ebx && r.ecx);
    u64 told = (u64)r.ecx * r.ebx / r.eax;
    assert_true(told <= hz + 500 * r.ebx && told + 500 * r.ebx >= hz);
    assert_int_equal((u64)r.ecx * (r.ebx / r.eax), told);
    assert_true((u64)(r.ecx / 1000) * r.ebx < 1ull << 32);
    assert_true(r.ecx <= CLOCK_CRYSTAL_HZ_MAX);
    assert_int_equal(r.ebx / r.eax, clock_crystal_ratio(hz)); /* what the APIC timer goes by */
    assert_int_equal(r.ecx % 1000, 0);                        /* systems count in kHz */
    assert_int_equal(cpuid(0x16, 0).eax, (hz + 500000) / 1000000);
}

static void test_clock_leaves_tell_the_truth(void **state)
{
    static const u64 rates[] = {50000000,   49998765,   1000000,    33333333,   999999999,  1000000000,
                                1000000001, 1000100000, 1001000001, 2099999999, 2100000000, 2999700000,
                                3000300000, 3700000123, 3792874000, 4294967295, 4294967311, 6000000001};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rates); i++)
        assert_clock_leaves(rates[i]);
    for (u64 hz = 20000003; hz < 7000000000; hz += hz / 97)
        assert_clock_leaves(hz);
    /* Frequencies that exist are told exactly. */
    tsc_hz = 2100000000;
    build();
    assert_same(cpuid(0x15, 0), (struct cpuid_result){1, 3, 700000000, 0});
    tsc_hz = 50000000;
    build();
    assert_same(cpuid(0x15, 0), (struct cpuid_result){1, 1, 50000000, 0});
}

/* With the bus clock of the CPU's model: Skylake and all others since Sandy Bridge 100 MHz, Lynnfield 133.33 MHz. */
static void test_platform_info(void **state)
{
    static const struct {
        u32 signature;
        u64 hz;
        u8 ratio;
    } cases[] = {
        {0x50654, 2100000000, 21},
        {0x50654, 2149999999, 21},
        {0x50654, 2150000000, 22},
        {0x50654, 50000000,   1 },
        {0x50654, 1000000,    1 },
        {0x106e5, 2666666666, 20},
        {0x206c2, 3333333333, 25},
        {0x206a7, 3400000000, 34},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        fake_cpuid_set(1, 0, (struct cpuid_result){cases[i].signature, 0, 0, 0});
        tsc_hz = cases[i].hz;
        vmx_cpuid_build();
        assert_true(vmx_cpuid_platform_info() == ((u64)cases[i].ratio << 8 | (u64)cases[i].ratio << 40));
    }
}

/* IA32_MISC_ENABLE bit 22: leaves up to 2, and what is beyond reads as the last; those above 0x40000000 stay. */
static void test_limited_leaves(void **state)
{
    struct cpuid_result two, extended, hypervisor;

    (void)state;
    build();
    two = cpuid(2, 0);
    extended = cpuid(0x80000001, 0);
    hypervisor = cpuid(0x40000000, 0);
    vmx_cpuid_set_limited(&bench.v, true);
    assert_int_equal(cpuid(0, 0).eax, 2);
    assert_int_equal(cpuid(0, 0).ebx, 0x756e6547); /* "Genu" */
    assert_same(cpuid(1, 0), bench.v.cpuid_leaf1);
    assert_same(cpuid(2, 0), two);
    for (u32 leaf = 3; leaf < 0x20; leaf++)
        assert_same(cpuid(leaf, 0), two);
    assert_same(cpuid(0x80000001, 0), extended);
    assert_same(cpuid(0x40000000, 0), hypervisor);
    vmx_cpuid_set_limited(&bench.v, false);
    assert_int_equal(cpuid(0, 0).eax, 0x16);
    assert_int_equal(cpuid(0x15, 0).eax, 1);
}

/* Bit 34: no NX. */
static void test_nx_disabled(void **state)
{
    (void)state;
    build();
    assert_true(vmx_cpuid_has_nx());
    u32 features = cpuid(0x80000001, 0).edx;
    assert_true(features & BIT(20));
    bench.v.misc_enable = MISC_ENABLE_XD_DISABLE;
    assert_int_equal(cpuid(0x80000001, 0).edx, features & ~BIT(20));
    bench.v.misc_enable = 0;
}

/* Each vCPU is a core of one package, whatever their number. */
static void test_topology(void **state)
{
    (void)state;
    for (u32 cpus = 1; cpus <= VM_MAX_VCPUS; cpus++) {
        for (u32 index = 0; index < cpus; index++) {
            u32 shift = 0;
            while (1u << shift < cpus)
                shift++;
            bench.vm.spec.cpus = cpus;
            bench.v.base.index = index;
            vmx_cpuid_init_vcpu(&bench.v);
            assert_same(cpuid(0xb, 0), (struct cpuid_result){0, 1, 0x100, index});
            assert_same(cpuid(0xb, 1), (struct cpuid_result){shift, cpus, 0x201, index});
            assert_same(cpuid(0xb, 2), (struct cpuid_result){0, 0, 2, index});
            assert_same(cpuid(0xb, 0x1ff), (struct cpuid_result){0, 0, 0xff, index});
            assert_int_equal(cpuid(1, 0).ebx >> 24, index);
            assert_int_equal(cpuid(1, 0).ebx >> 16 & 0xff, cpus);
            assert_int_equal(!!(cpuid(1, 0).edx & BIT(28)), cpus > 1);
            for (u32 level = 0; level < 4; level++) {
                struct cpuid_result r = cpuid(4, level);
                assert_int_equal((r.eax >> 26) + 1, 1u << shift);
                assert_int_equal((r.eax >> 14 & 0xfff) + 1, level == 3 ? 1u << shift : 1);
                assert_int_equal(r.ebx, cpu_cpuid(4, level).ebx);
            }
            assert_int_equal(cpuid(4, 4).eax & 0x1f, 0);
            assert_int_equal(cpuid(4, 1000).eax & 0x1f, 0);
        }
    }
}

/* An old CPU with few leaves: no index out of the table, no feature out of nothing. */
static void test_cpu_with_few_leaves(void **state)
{
    (void)state;
    fake_cpu_reset();
    fake_cpuid_set(0, 0, (struct cpuid_result){1, 1, 2, 3});
    fake_cpuid_set(1, 0, (struct cpuid_result){0x106a5, 0x800, BIT(5), 0x00000111});
    fake_cpuid_set(0x80000000, 0, (struct cpuid_result){0x80000001, 0, 0, 0});
    fake_cpuid_set(0x80000001, 0, (struct cpuid_result){0, 0, 1, BIT(29)});
    build();
    assert_int_equal(cpuid(1, 0).ecx, BIT(31) | BIT(24) | BIT(21)); /* what we provide ourselves */
    assert_int_equal(cpuid(0x80000000, 0).eax, 0x80000001);
    assert_same(cpuid(0x80000002, 0), cpuid(0x16, 0));
    assert_zero(cpuid(2, 0));
    assert_zero(cpuid(4, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_leaf_1_offers_nothing_that_is_not_there, set_up),
        cmocka_unit_test_setup(test_leaf_7_offers_nothing_that_is_not_there, set_up),
        cmocka_unit_test_setup(test_leaf_7_subleaf_2, set_up),
        cmocka_unit_test_setup(test_leaf_7_subleaf_2, set_up),
        cmocka_unit_test_setup(test_empty_leaves, set_up),
        cmocka_unit_test_setup(test_out_of_range_is_the_highest_basic_leaf, set_up),
        cmocka_unit_test_setup(test_vendor_and_brand_are_the_cpus, set_up),
        cmocka_unit_test_setup(test_hypervisor_leaves_only_without_stealth, set_up),
        cmocka_unit_test_setup(test_features_follow_the_controls, set_up),
        cmocka_unit_test_setup(test_compacted_format, set_up),
        cmocka_unit_test_setup(test_protection_keys, set_up),
        cmocka_unit_test_setup(test_address_widths, set_up),
        cmocka_unit_test_setup(test_cpu_without_xsave, set_up),
        cmocka_unit_test_setup(test_vector_features_need_their_state, set_up),
        cmocka_unit_test_setup(test_leaf_d_sizes_for_every_xcr0, set_up),
        cmocka_unit_test_setup(test_clock_leaves_tell_the_truth, set_up),
        cmocka_unit_test_setup(test_platform_info, set_up),
        cmocka_unit_test_setup(test_limited_leaves, set_up),
        cmocka_unit_test_setup(test_nx_disabled, set_up),
        cmocka_unit_test_setup(test_topology, set_up),
        cmocka_unit_test_setup(test_cpu_with_few_leaves, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
