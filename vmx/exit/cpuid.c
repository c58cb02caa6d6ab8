/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's CPUID says: deliberate, as masks over what the CPU has. A leaf or bit that is not listed reads 0, so
 * that a guest is never offered what the hypervisor does not provide: no machine checks, no performance counters, VMX
 * only with nested=on. docs/cpuid.md has the table with the reasons; test/lint compares the two. Built once at boot;
 * the exit is a look-up. SDM 2A 3.2 "CPUID - CPU Identification".
 */
#include "vmx/exit/cpuid.h"
#include "arch/x86/cpu.h"
#include "arch/x86/quirks.h"
#include "arch/x86/xsave.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/clock.h"
#include "kernel/lib/string.h"
#include "kernel/trace/trace.h"
#include "vmx/alike.h"
#include "vmx/event.h"

#define BASIC_LEAVES    0x17u
#define EXTENDED_LEAVES 9u
#define CACHE_LEAVES    5u
#define STATE_LEAVES    10u

#define XSAVE_FIXED_BYTES 576u /* legacy region and header */
#define XSAVEC            BIT(1)
#define XSAVES            BIT(3)
#define PHYSICAL_BITS_MAX 48u /* what a walk of four levels covers */
#define LINEAR_BITS       48u

#define LEAF1_EDX_APIC       BIT(9)
#define LEAF1_EDX_HTT        BIT(28)
#define LEAF1_ECX_VMX        BIT(5)
#define LEAF1_ECX_OSXSAVE    BIT(27)
#define LEAF1_ECX_HYPERVISOR BIT(31)
#define LEAF7_ECX_OSPKE      BIT(4)
#define LEAFX1_EDX_NX        BIT(20)

enum word { W1_ECX, W1_EDX, W7_EBX, W7_ECX, W7_EDX, W7_2_EDX, WD_1_EAX, WX_1_ECX, WX_1_EDX, WORDS };

/* What must be there besides the CPU's own bit. PROVIDED: by us, whatever the CPU has. */
enum need {
    ALWAYS,
    PROVIDED,
    NEEDS_XSAVE,
    NEEDS_AVX,
    NEEDS_AVX512,
    NEEDS_PKE,
    NEEDS_UMIP,
    NEEDS_INVPCID,
    NEEDS_RDTSCP,
    NEEDS_XSAVEC,
    NEEDS_XSAVES,
    NEEDS_EPT_1G,
    NEEDS
};

static const struct {
    u8 word;
    u8 need;
    u32 bits;
} rules[] = {
    {W1_ECX,   ALWAYS,        0x42da2203}, /* SSE3 PCLMUL SSSE3 CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND */
    {W1_ECX,   PROVIDED,      0x01200000}, /* x2APIC, TSC deadline */
    {W1_ECX,   NEEDS_XSAVE,   0x04000000},
    {W1_ECX,   NEEDS_AVX,     0x30001000}, /* FMA AVX F16C */
    {W1_EDX,   ALWAYS,        0x0f8be9ff}, /* FPU to PAE MCE CX8 SEP PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS */
    {W1_EDX,   PROVIDED,      0x00001200}, /* APIC MTRR */
    {W7_EBX,   ALWAYS,        0x219c23c9}, /* FSGSBASE BMI1 FDP SMEP BMI2 ERMS FCSFDS RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
    {W7_EBX,   PROVIDED,      0x00000002}, /* TSC_ADJUST */
    {W7_EBX,   NEEDS_AVX,     0x00000020}, /* AVX2 */
    {W7_EBX,   NEEDS_INVPCID, 0x00000400},
    {W7_EBX,   NEEDS_AVX512,  0xdc230000}, /* F DQ IFMA PF ER CD BW VL */
    {W7_ECX,   ALWAYS,        0x00000100}, /* GFNI */
    {W7_ECX,   NEEDS_UMIP,    0x00000004},
    {W7_ECX,   NEEDS_PKE,     0x00000008},
    {W7_ECX,   NEEDS_AVX,     0x00000600}, /* VAES VPCLMUL */
    {W7_ECX,   NEEDS_AVX512,  0x00005842}, /* VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
    {W7_ECX,   NEEDS_RDTSCP,  0x00400000}, /* RDPID */
    {W7_EDX,   ALWAYS,        0xbc004410}, /* FSRM MD_CLEAR SERIALIZE IBRS STIBP L1D_FLUSH ARCH_CAPABILITIES SSBD */
    {W7_EDX,   NEEDS_AVX512,  0x0080010c}, /* 4VNNIW 4FMAPS VP2INTERSECT FP16 */
    {W7_2_EDX, ALWAYS,        0x0000003f}, /* PSFD IPRED_CTRL RRSBA_CTRL DDPD_U BHI_CTRL MCDT_NO */
    {WD_1_EAX, NEEDS_XSAVE,   0x00000005}, /* XSAVEOPT XGETBV1 */
    {WD_1_EAX, NEEDS_XSAVEC,  0x00000002},
    {WD_1_EAX, NEEDS_XSAVES,  0x00000008},
    {WX_1_ECX, ALWAYS,        0x00000121}, /* LAHF LZCNT PREFETCHW */
    {WX_1_EDX, ALWAYS,        0x20100800}, /* SYSCALL NX LM */
    {WX_1_EDX, NEEDS_EPT_1G,  0x04000000}, /* 1 GiB pages */
    {WX_1_EDX, NEEDS_RDTSCP,  0x08000000},
};

static struct {
    u32 max_basic;
    u32 max_extended;
    struct cpuid_result basic[BASIC_LEAVES];
    u32 features_7_2; /* EDX of leaf 7, subleaf 2; the other words are 0 */
    struct cpuid_result extended[EXTENDED_LEAVES];
    struct cpuid_result cache[CACHE_LEAVES];
    struct cpuid_result state[STATE_LEAVES];
} table;

static bool met[NEEDS]; /* by enum need */

static struct cpuid_result host(u32 leaf, u32 subleaf)
{
    return cpu_cpuid(leaf, subleaf);
}

/* XSAVES uses XSAVEC's format. */
static COLD void check_compaction(void)
{
    met[NEEDS_XSAVEC] = xsave_is_available() && host(0xd, 1).eax & XSAVEC && !quirks_have(QUIRK_XSAVEC);
    if (!met[NEEDS_XSAVEC])
        vmx_features.controls.value[VMX_PROC2] &= ~PROC2_XSAVES;
}

static COLD void find_met(void)
{
    u32 proc2 = vmx_features.controls.value[VMX_PROC2];
    u64 cr4 = vmx_features.caps.cr4_fixed1;
    u64 states = xsave_supported_mask();

    met[ALWAYS] = met[PROVIDED] = true;
    met[NEEDS_XSAVE] = xsave_is_available();
    met[NEEDS_AVX] = states & XCR0_AVX;
    met[NEEDS_AVX512] = (states & XCR0_AVX512) == XCR0_AVX512;
    met[NEEDS_PKE] = (states & XCR0_PKRU) && (cr4 & CR4_PKE);
    met[NEEDS_UMIP] = cr4 & CR4_UMIP;
    met[NEEDS_INVPCID] = proc2 & PROC2_INVPCID;
    met[NEEDS_RDTSCP] = proc2 & PROC2_RDTSCP;
    met[NEEDS_XSAVES] = proc2 & PROC2_XSAVES;
    met[NEEDS_EPT_1G] = vmx_features.caps.ept_vpid & EPT_CAP_1G;
}

/* What of a word that the CPU has the guest sees. */
static COLD u32 filter(enum word word, u32 value)
{
    u32 result = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].word == word && met[rules[i].need])
            result |= rules[i].need == PROVIDED ? rules[i].bits : value & rules[i].bits;
    return result;
}

static COLD u32 host_7_2(void)
{
    return host(0, 0).eax >= 7 && host(7, 0).eax >= 2 ? host(7, 2).edx : 0;
}

static COLD void build_features(void)
{
    struct cpuid_result one = host(1, 0);
    struct cpuid_result seven = host(0, 0).eax >= 7 ? host(7, 0) : (struct cpuid_result){0};

    /* CLFLUSH line; one logical CPU until vmx_cpuid_init_vcpu says how many */
    one.ebx = (one.ebx & 0xff00) | 1u << 16;
    one.ecx = filter(W1_ECX, one.ecx);
    one.edx = filter(W1_EDX, one.edx);
    table.basic[1] = one;
    table.features_7_2 = filter(W7_2_EDX, host_7_2());
    u32 last_subleaf = table.features_7_2 ? 2 : 0;
    table.basic[7] = (struct cpuid_result){last_subleaf, filter(W7_EBX, seven.ebx), filter(W7_ECX, seven.ecx),
                                           filter(W7_EDX, seven.edx)};
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
static COLD void build_states(void)
{
    u64 mask = xsave_supported_mask();

    if (!xsave_is_available())
        return;
    table.state[1] = (struct cpuid_result){filter(WD_1_EAX, host(0xd, 1).eax), 0, 0, 0};
    for (u32 i = 2; i < STATE_LEAVES; i++)
        if (mask & BIT(i))
            table.state[i] = host(0xd, i);
    table.state[0] = (struct cpuid_result){(u32)mask, 0, standard_bytes(mask), 0};
}

/*
 * The truth about the TSC: SDM 3B 18.7.3 "Determining the Processor Base Frequency". The "crystal" is the local APIC
 * timer's clock: guests take the one from the other. In whole kHz, in which systems count. Leaf 0x16 in MHz, rounded.
 */
static COLD void build_clock(void)
{
    u64 hz = clock_tsc_hz();
    u32 mhz = (u32)((hz + 500000) / 1000000);
    u32 ratio = clock_crystal_ratio(hz);
    u32 crystal_khz = (u32)((hz / ratio + 500) / 1000);

    table.basic[0x15] = (struct cpuid_result){1, ratio, crystal_khz * 1000, 0};
    table.basic[0x16] = (struct cpuid_result){mhz, mhz, 0, 0};
    table.basic[6] = (struct cpuid_result){BIT(2), 0, 0, 0}; /* the APIC timer never stops */
}

/*
 * The ratio of TSC and bus clock, as near as a whole number is; the CPU has no other. SDM 4 2.11 "MSRs in the
 * Intel Microarchitecture Code Name Sandy Bridge", 2.8 "MSRs in the Processors Based on Intel Microarchitecture Code
 * Name Nehalem": the bus clock was 133.33 MHz up to Westmere.
 */
COLD u64 vmx_cpuid_platform_info(void)
{
    static const u8 nehalem_and_westmere[] = {0x1a, 0x1e, 0x1f, 0x2e, 0x25, 0x2c, 0x2f};
    u32 signature = table.basic[1].eax;
    u32 model = (signature >> 4 & 0xf) | (signature >> 12 & 0xf0);
    u64 bus_hz = 100000000;

    for (size_t i = 0; i < ARRAY_SIZE(nehalem_and_westmere); i++)
        if ((signature >> 8 & 0xf) == 6 && model == nehalem_and_westmere[i])
            bus_hz = 133333333;
    u64 ratio = (clock_tsc_hz() + bus_hz / 2) / bus_hz;
    ratio = ratio ? ratio : 1; /* guests divide by it */
    return ratio << 8 | ratio << 40;
}

static COLD void build_extended(void)
{
    u32 max = host(0x80000000, 0).eax;

    table.max_extended = max > 0x80000008 ? 0x80000008 : max;
    for (u32 i = 0; i <= table.max_extended - 0x80000000; i++)
        table.extended[i] = host(0x80000000 + i, 0);
    table.extended[0].eax = table.max_extended;
    table.extended[1].ecx = filter(WX_1_ECX, table.extended[1].ecx);
    table.extended[1].edx = filter(WX_1_EDX, table.extended[1].edx);
    table.extended[7] = (struct cpuid_result){0, 0, 0, BIT(8)}; /* invariant TSC: it is never scaled or stopped */
    u32 bits = max >= 0x80000008 ? table.extended[8].eax & 0xff : 36;
    vmx_features.guest_physical_bits = bits < PHYSICAL_BITS_MAX ? bits : PHYSICAL_BITS_MAX;
    table.extended[8] = (struct cpuid_result){vmx_features.guest_physical_bits | LINEAR_BITS << 8, 0, 0, 0};
}

COLD void vmx_cpuid_build(void)
{
    struct cpuid_result zero = host(0, 0);

    memset(&table, 0, sizeof table);
    table.basic[0] = zero;
    table.max_basic = 0x16;
    table.basic[0].eax = table.max_basic;
    table.basic[2] = zero.eax >= 2 ? host(2, 0) : (struct cpuid_result){0};
    for (u32 i = 0; zero.eax >= 4 && i < CACHE_LEAVES; i++)
        table.cache[i] = host(4, i);
    check_compaction();
    find_met();
    build_features();
    build_states();
    build_clock();
    build_extended();
    vmx_features.guest_cr4_allowed =
        vmx_caps_guest_cr4(&vmx_features.caps, table.basic[7].ebx, table.basic[7].ecx, table.basic[1].ecx);
}

/* The words of this CPU's own CPUID, and what guests are told. */
static COLD void compare_words(u32 told[WORDS], u32 own[WORDS])
{
    bool has_seven = host(0, 0).eax >= 7;
    struct cpuid_result one = host(1, 0), extended = host(0x80000001, 0);
    struct cpuid_result seven = has_seven ? host(7, 0) : (struct cpuid_result){0};
    struct cpuid_result states = xsave_is_available() ? host(0xd, 1) : (struct cpuid_result){0};

    own[W1_ECX] = one.ecx, own[W1_EDX] = one.edx;
    own[W7_EBX] = seven.ebx, own[W7_ECX] = seven.ecx, own[W7_EDX] = seven.edx;
    own[W7_2_EDX] = host_7_2();
    own[WD_1_EAX] = states.eax;
    own[WX_1_ECX] = extended.ecx, own[WX_1_EDX] = extended.edx;
    told[W1_ECX] = table.basic[1].ecx, told[W1_EDX] = table.basic[1].edx;
    told[W7_EBX] = table.basic[7].ebx, told[W7_ECX] = table.basic[7].ecx, told[W7_EDX] = table.basic[7].edx;
    told[W7_2_EDX] = table.features_7_2;
    told[WD_1_EAX] = table.state[1].eax;
    told[WX_1_ECX] = table.extended[1].ecx, told[WX_1_EDX] = table.extended[1].edx;
}

COLD enum status vmx_cpuid_check_alike(struct refusal *why)
{
    static const char *const names[WORDS] = {"1 ECX",   "1 EDX",     "7 EBX",          "7 ECX",         "7 EDX",
                                             "7.2 EDX", "0xd.1 EAX", "0x80000001 ECX", "0x80000001 EDX"};
    u32 told[WORDS], own[WORDS];
    u64 states = xsave_supported_mask();

    compare_words(told, own);
    for (u32 word = 0; word < WORDS; word++) {
        u32 lacks = told[word] & ~filter(word, own[word]);
        if (lacks)
            return refuse(why, STATUS_UNSUPPORTED, "it lacks bits 0x%x of CPUID leaf %s, of which guests are told",
                          lacks, names[word]);
    }
    for (u32 i = 2; xsave_is_available() && i < STATE_LEAVES; i++) {
        struct cpuid_result own_state = host(0xd, i);
        if ((states & BIT(i)) && (own_state.eax != table.state[i].eax || own_state.ebx != table.state[i].ebx))
            return refuse(why, STATUS_UNSUPPORTED, "it keeps XSAVE state %u in another place", i);
    }
    if (host(0x80000000, 0).eax >= 0x80000008 && (host(0x80000008, 0).eax & 0xff) < vmx_features.guest_physical_bits)
        return refuse(why, STATUS_UNSUPPORTED, "its physical addresses have fewer bits");
    return STATUS_OK;
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
    if (subleaf == 1 && r.eax & (XSAVEC | XSAVES)) /* IA32_XSS is 0 */
        r.ebx = compacted_bytes(xcr0_read());
    return r;
}

/* SDM 3A 4.6.2 "Protection Keys": the guest owns CR4.PKE. */
static struct cpuid_result features(void)
{
    struct cpuid_result r = table.basic[7];

    if (vmcs_read(GUEST_CR4) & CR4_PKE)
        r.ecx |= (u32)LEAF7_ECX_OSPKE;
    return r;
}

static struct cpuid_result hypervisor(u32 leaf)
{
    if (leaf == ROOTLET_CPUID_SIGNATURE)
        return (struct cpuid_result){ROOTLET_CPUID_FEATURES, ROOTLET_SIGNATURE_EBX, ROOTLET_SIGNATURE_ECX,
                                     ROOTLET_SIGNATURE_EDX};
    /* EAX is 0: where KVM has its feature bits. Some guests look there without a look at the signature. */
    return (struct cpuid_result){0, ROOTLET_ABI_VERSION, 0, 0};
}

/* The guest's own leaf 1; cr.c keeps OSXSAVE true to CR4. */
void vmx_cpuid_init_vcpu(struct vmx_vcpu *v)
{
    struct cpuid_result r = table.basic[1];
    u32 cpus = v->base.vm->spec.cpus;

    r.ebx |= v->base.index << 24;
    if (cpus > 1) {
        r.ebx = (r.ebx & ~0x00ff0000u) | cpus << 16;
        r.edx |= (u32)LEAF1_EDX_HTT;
    }
    if (!v->base.vm->spec.stealth)
        r.ecx |= (u32)LEAF1_ECX_HYPERVISOR;
    if (v->nested)
        r.ecx |= (u32)LEAF1_ECX_VMX;
    v->cpuid_leaf1 = r;
    v->cpuid_direct = BASIC_LEAVES;
}

bool vmx_cpuid_has_nx(void)
{
    return table.extended[1].edx & LEAFX1_EDX_NX;
}

COLD void vmx_cpuid_set_limited(struct vmx_vcpu *v, bool on)
{
    v->cpuid_direct = on ? 0 : BASIC_LEAVES;
}

/* SDM 4 2.1 "Architectural MSRs", IA32_MISC_ENABLE: only leaves up to 2 are there, and those beyond read as it. */
#define LIMITED_LEAVES 3u
static COLD struct cpuid_result limited(u32 leaf)
{
    struct cpuid_result r = table.basic[leaf < LIMITED_LEAVES ? leaf : LIMITED_LEAVES - 1];

    if (leaf == 0)
        r.eax = LIMITED_LEAVES - 1;
    return r;
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
    if (leaf >= 0x80000000 && leaf <= table.max_extended) {
        struct cpuid_result r = table.extended[leaf - 0x80000000];
        if (leaf == 0x80000001 && v->misc_enable & MISC_ENABLE_XD_DISABLE)
            r.edx &= ~(u32)LEAFX1_EDX_NX;
        return r;
    }
    if ((leaf == ROOTLET_CPUID_SIGNATURE || leaf == ROOTLET_CPUID_FEATURES) && !v->base.vm->spec.stealth)
        return hypervisor(leaf);
    return table.basic[table.max_basic]; /* "the highest basic information leaf" */
}

/* Leaves whose answer depends on the subleaf or on state that changes. */
static COLD struct cpuid_result compute(const struct vmx_vcpu *v, u32 leaf, u32 subleaf)
{
    if (!v->cpuid_direct && leaf < ROOTLET_CPUID_SIGNATURE)
        return limited(leaf);
    switch (leaf) {
    case 4:
        return cache(v, subleaf);
    case 7:
        if (subleaf == 0)
            return features();
        return (struct cpuid_result){0, 0, 0, subleaf == 2 ? table.features_7_2 : 0};
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

enum outcome vmx_cpuid_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 leaf = (u32)v->gpr[GPR_RAX];

    record->detail = leaf;
    if (leaf == 1)
        return answer(v, &v->cpuid_leaf1);
    if (UNLIKELY(leaf >= v->cpuid_direct || BIT(leaf) & COMPUTED_LEAVES))
        return answer_computed(v, leaf);
    return answer(v, &table.basic[leaf]);
}
