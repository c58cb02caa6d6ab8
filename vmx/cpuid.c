/*
 * What a guest's CPUID says: deliberate, as masks over what the CPU has. A leaf or bit that is not listed reads 0, so
 * that a guest is never offered what the hypervisor does not provide: no VMX, no APIC, no MTRRs, no performance
 * counters in this version. Built once at boot; the exit is a look-up. SDM 2A 3.2 "CPUID - CPU Identification".
 */
#include "arch/x86/cpu.h"
#include "arch/x86/xsave.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/clock.h"
#include "kernel/lib/string.h"
#include "vmx/event.h"
#include "vmx/vcpu.h"

#define BASIC_LEAVES    0x17u
#define EXTENDED_LEAVES 9u
#define CACHE_LEAVES    5u
#define STATE_LEAVES    10u

#define XSAVE_FIXED_BYTES 576u /* legacy region and header */

#define LEAF1_EDX_APIC       BIT(9)
#define LEAF1_ECX_OSXSAVE    BIT(27)
#define LEAF1_ECX_HYPERVISOR BIT(31)

/* Bits of leaf 1 that are passed on. ECX: SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C
 * RDRAND. */
#define LEAF1_ECX 0x77fa3203u
/* FPU VME DE PSE TSC MSR PAE CX8 SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS. */
#define LEAF1_EDX 0x0f8ba97fu
/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512F AVX512DQ RDSEED ADX SMAP IFMA CLFLUSHOPT CLWB AVX512PF/ER/CD SHA BW
 * VL. */
#define LEAF7_EBX 0xfdbf07a9u
/* VBMI UMIP VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ RDPID. */
#define LEAF7_ECX   0x00405f46u
#define LEAF7_RDPID BIT(22)
#define LEAF7_EDX   0x0000001cu /* 4VNNIW 4FMAPS FSRM */
#define LEAFD1_EAX  0x7u        /* XSAVEOPT XSAVEC XGETBV1; XSAVES would need IA32_XSS */

static struct {
    u32 max_basic;
    u32 max_extended;
    struct cpuid_result basic[BASIC_LEAVES];
    struct cpuid_result extended[EXTENDED_LEAVES];
    struct cpuid_result cache[CACHE_LEAVES];
    struct cpuid_result state[STATE_LEAVES];
} table;

static struct cpuid_result host(u32 leaf, u32 subleaf)
{
    return cpu_cpuid(leaf, subleaf);
}

static void build_features(void)
{
    struct cpuid_result one = host(1, 0);
    struct cpuid_result seven = host(7, 0);
    u32 proc2 = vmx_machine.controls.value[VMX_PROC2];

    one.ecx &= LEAF1_ECX;
    one.edx &= LEAF1_EDX;
    one.ebx = (one.ebx & 0xff00) | 1u << 16; /* CLFLUSH line; one logical CPU until the exit says how many */
    if (!xsave_is_available())
        one.ecx &= ~(u32)(BIT(26) | BIT(28) | BIT(12) | BIT(29));
    table.basic[1] = one;
    if (table.max_basic < 7)
        return;
    seven.eax = 0;
    seven.ebx &= LEAF7_EBX;
    seven.ecx &= LEAF7_ECX;
    seven.edx &= LEAF7_EDX;
    if (!(proc2 & PROC2_INVPCID))
        seven.ebx &= ~(u32)BIT(10);
    if (!vmx_machine.has_rdtscp)
        seven.ecx &= ~(u32)LEAF7_RDPID;
    if (!(vmx_machine.caps.cr4_fixed1 & CR4_UMIP))
        seven.ecx &= ~(u32)BIT(2);
    u64 states = xsave_supported_mask();
    if (!(states & XCR0_AVX))
        seven.ebx &= ~(u32)BIT(5);
    if ((states & XCR0_AVX512) != XCR0_AVX512) {
        seven.ebx &= ~(u32)(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
        seven.ecx &= ~(u32)(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
        seven.edx &= ~0xcu;
    }
    table.basic[7] = seven;
}

/* SDM 1 13.4.3 "Extended Region of an XSAVE Area". */
static u32 standard_bytes(u64 xcr0)
{
    u32 bytes = XSAVE_FIXED_BYTES;

    for (u32 i = 2; i < STATE_LEAVES; i++)
        if ((xcr0 & BIT(i)) && table.state[i].ebx + table.state[i].eax > bytes)
            bytes = table.state[i].ebx + table.state[i].eax;
    return bytes;
}

/* In the compacted format the states follow each other, some aligned. */
static u32 compacted_bytes(u64 xcr0)
{
    u32 bytes = XSAVE_FIXED_BYTES;

    for (u32 i = 2; i < STATE_LEAVES; i++) {
        if (!(xcr0 & BIT(i)))
            continue;
        if (table.state[i].ecx & 2)
            bytes = (u32)bits_align_up(bytes, XSAVE_ALIGNMENT);
        bytes += table.state[i].eax;
    }
    return bytes;
}

/* SDM 1 13.2 "Enumeration of CPU Support for XSAVE Instructions and XSAVE-Supported Features". */
static void build_states(void)
{
    u64 mask = xsave_supported_mask();

    if (!xsave_is_available())
        return;
    table.state[1] = (struct cpuid_result){host(0xd, 1).eax & LEAFD1_EAX, 0, 0, 0};
    for (u32 i = 2; i < STATE_LEAVES; i++)
        if (mask & BIT(i))
            table.state[i] = host(0xd, i);
    table.state[0] = (struct cpuid_result){(u32)mask, 0, standard_bytes(mask), 0};
}

/*
 * The best fraction for `numerator` / `denominator` whose parts stay within MAX_RATIO: the last convergent of its
 * continued fraction that does. Wrong by less than one part in ten million where it is not exact.
 */
#define MAX_RATIO 4000u
static void approximate(u64 numerator, u64 denominator, u32 *top, u32 *bottom)
{
    u64 before_top = 0, before_bottom = 1, now_top = 1, now_bottom = 0;

    while (denominator) {
        u64 whole = numerator / denominator;
        u64 next_top = whole * now_top + before_top;
        u64 next_bottom = whole * now_bottom + before_bottom;
        u64 rest = numerator % denominator;

        if (whole > MAX_RATIO || next_top > MAX_RATIO || next_bottom > MAX_RATIO)
            break;
        before_top = now_top, before_bottom = now_bottom;
        now_top = next_top, now_bottom = next_bottom;
        numerator = denominator, denominator = rest;
    }
    *top = (u32)now_top;
    *bottom = (u32)now_bottom;
}

/*
 * The truth about the TSC: SDM 3B 18.7.3 "Determining the Processor Base Frequency". The "crystal" is the local APIC
 * timer's clock, 1 GHz: guests take the one from the other. The ratio's numerator is small because Linux multiplies it
 * by the crystal's kHz in 32 bits. Leaf 0x16 in MHz, rounded.
 */
static void build_clock(void)
{
    u32 mhz = (u32)((clock_tsc_hz() + 500000) / 1000000);
    struct cpuid_result ratio = {.ecx = 1000000000};

    approximate(clock_tsc_hz(), 1000000000, &ratio.ebx, &ratio.eax);
    table.basic[0x15] = ratio;
    table.basic[0x16] = (struct cpuid_result){mhz, mhz, 0, 0};
    table.basic[6] = (struct cpuid_result){BIT(2), 0, 0, 0}; /* the APIC timer never stops */
}

static void build_extended(void)
{
    u32 max = host(0x80000000, 0).eax;

    table.max_extended = max > 0x80000008 ? 0x80000008 : max;
    for (u32 i = 0; i <= table.max_extended - 0x80000000; i++)
        table.extended[i] = host(0x80000000 + i, 0);
    table.extended[0].eax = table.max_extended;
    table.extended[1].ecx &= 0x00000121u;                                        /* LAHF LZCNT PREFETCHW */
    table.extended[1].edx &= vmx_machine.has_rdtscp ? 0x2c100800u : 0x24100800u; /* SYSCALL NX PAGE1GB RDTSCP LM */
    if (!(vmx_machine.caps.ept_vpid & EPT_CAP_1G))
        table.extended[1].edx &= ~(u32)BIT(26);
    table.extended[7] = (struct cpuid_result){0, 0, 0, BIT(8)}; /* invariant TSC: it is never scaled or stopped */
    table.extended[8] = (struct cpuid_result){table.extended[8].eax & 0xffff, 0, 0, 0};
}

void vmx_cpuid_build(void)
{
    struct cpuid_result zero = host(0, 0);

    memset(&table, 0, sizeof table);
    table.basic[0] = zero;
    table.max_basic = 0x16;
    table.basic[0].eax = table.max_basic;
    table.basic[2] = zero.eax >= 2 ? host(2, 0) : (struct cpuid_result){0};
    for (u32 i = 0; zero.eax >= 4 && i < CACHE_LEAVES; i++)
        table.cache[i] = host(4, i);
    build_features();
    build_states();
    build_clock();
    build_extended();
    vmx_machine.guest_cr4_allowed =
        vmx_cr4_guest_allowed(&vmx_machine.caps, table.basic[7].ebx, table.basic[7].ecx, table.basic[1].ecx);
}

static u32 core_bits(u32 cpus)
{
    u32 bits = 0;
    while (1u << bits < cpus)
        bits++;
    return bits;
}

/* Each vCPU is a core of its own, in one package. */
static struct cpuid_result topology(const struct vmx_vcpu *v, u32 subleaf)
{
    u32 cpus = v->base.vm->spec.cpus;

    if (subleaf == 0)
        return (struct cpuid_result){0, 1, 1u << 8, v->base.index};
    if (subleaf == 1)
        return (struct cpuid_result){core_bits(cpus), cpus, 2u << 8 | 1, v->base.index};
    return (struct cpuid_result){0, 0, subleaf & 0xff, v->base.index};
}

static struct cpuid_result cache(const struct vmx_vcpu *v, u32 subleaf)
{
    struct cpuid_result r = subleaf < CACHE_LEAVES ? table.cache[subleaf] : (struct cpuid_result){0};

    if (r.eax & 0x1f) {
        u32 cores = (1u << core_bits(v->base.vm->spec.cpus)) - 1;
        u32 sharing = (r.eax >> 5 & 7) == 3 ? cores : 0;
        r.eax = (r.eax & 0x3ff) | sharing << 14 | cores << 26;
    }
    return r;
}

static struct cpuid_result states(u32 subleaf)
{
    struct cpuid_result r = subleaf < STATE_LEAVES ? table.state[subleaf] : (struct cpuid_result){0};

    if (subleaf == 0 && r.eax)
        r.ebx = standard_bytes(xcr0_read());
    if (subleaf == 1 && r.eax)
        r.ebx = compacted_bytes(xcr0_read());
    return r;
}

static struct cpuid_result hypervisor(u32 leaf)
{
    if (leaf == ROOTLET_CPUID_SIGNATURE)
        return (struct cpuid_result){ROOTLET_CPUID_FEATURES, ROOTLET_SIGNATURE_EBX, ROOTLET_SIGNATURE_ECX,
                                     ROOTLET_SIGNATURE_EDX};
    return (struct cpuid_result){ROOTLET_ABI_VERSION, 0, 0, 0};
}

/* The guest's own leaf 1; cr.c keeps OSXSAVE true to CR4. */
void vmx_cpuid_init_vcpu(struct vmx_vcpu *v)
{
    struct cpuid_result r = table.basic[1];
    u32 cpus = v->base.vm->spec.cpus;

    r.ebx |= v->base.index << 24;
    r.ecx |= (u32)(BIT(21) | BIT(24));        /* x2APIC, TSC deadline */
    r.edx |= (u32)(LEAF1_EDX_APIC | BIT(12)); /* MTRR */
    if (cpus > 1) {
        r.ebx = (r.ebx & ~0x00ff0000u) | cpus << 16;
        r.edx |= (u32)BIT(28);
    }
    if (!v->base.vm->spec.stealth)
        r.ecx |= (u32)LEAF1_ECX_HYPERVISOR;
    v->cpuid_leaf1 = r;
}

void vmx_cpuid_set_apic(struct vmx_vcpu *v, bool on)
{
    v->cpuid_leaf1.edx = (v->cpuid_leaf1.edx & ~(u32)LEAF1_EDX_APIC) | (on ? (u32)LEAF1_EDX_APIC : 0);
}

void vmx_cpuid_set_osxsave(struct vmx_vcpu *v, bool on)
{
    v->cpuid_leaf1.ecx = (v->cpuid_leaf1.ecx & ~(u32)LEAF1_ECX_OSXSAVE) | (on ? (u32)LEAF1_ECX_OSXSAVE : 0);
}

static COLD struct cpuid_result other_range(const struct vmx_vcpu *v, u32 leaf)
{
    if (leaf >= 0x80000000 && leaf <= table.max_extended)
        return table.extended[leaf - 0x80000000];
    if ((leaf == ROOTLET_CPUID_SIGNATURE || leaf == ROOTLET_CPUID_FEATURES) && !v->base.vm->spec.stealth)
        return hypervisor(leaf);
    return table.basic[table.max_basic]; /* "the highest basic information leaf" */
}

/* Leaves whose answer depends on the subleaf or on state that changes. */
static COLD struct cpuid_result compute(const struct vmx_vcpu *v, u32 leaf, u32 subleaf)
{
    switch (leaf) {
    case 4:
        return cache(v, subleaf);
    case 7:
        return subleaf ? (struct cpuid_result){0} : table.basic[7];
    case 0xb:
        return topology(v, subleaf);
    case 0xd:
        return states(subleaf);
    default:
        return other_range(v, leaf);
    }
}

#define COMPUTED_LEAVES (BIT(4) | BIT(7) | BIT(0xb) | BIT(0xd))

static ALWAYS_INLINE enum outcome answer(struct vmx_vcpu *v, const struct cpuid_result *r)
{
    v->gpr[GPR_RAX] = r->eax;
    v->gpr[GPR_RBX] = r->ebx;
    v->gpr[GPR_RCX] = r->ecx;
    v->gpr[GPR_RDX] = r->edx;
    return OUTCOME_SKIP;
}

static COLD enum outcome answer_computed(struct vmx_vcpu *v, u32 leaf)
{
    struct cpuid_result r = compute(v, leaf, (u32)v->gpr[GPR_RCX]);
    return answer(v, &r);
}

enum outcome vmx_cpuid_exit(struct vmx_vcpu *v)
{
    u32 leaf = (u32)v->gpr[GPR_RAX];

    if (leaf == 1)
        return answer(v, &v->cpuid_leaf1);
    if (UNLIKELY(leaf >= BASIC_LEAVES || BIT(leaf) & COMPUTED_LEAVES))
        return answer_computed(v, leaf);
    return answer(v, &table.basic[leaf]);
}
