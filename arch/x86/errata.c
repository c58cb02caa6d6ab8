/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See errata.h. A model is CPUID.1:EAX: SDM 2A "CPUID-CPU Identification", figure 3-6 "Version Information Returned by
 * CPUID in EAX".
 */
#include "arch/x86/errata.h"
#include "arch/x86/cpu.h"

#define PSCHANGE_MC_NO              BIT(6) /* of IA32_ARCH_CAPABILITIES: SDM 4 2.1 "Architectural MSRs" */
#define SIGNATURE_RESERVED          0xf000c000u
#define LEAF7_EDX_ARCH_CAPABILITIES BIT(29)

struct errata_cpu errata_this_cpu(void)
{
    struct cpuid_result leaf0 = cpu_cpuid(0, 0);
    struct errata_cpu cpu = {
        .is_intel = leaf0.ebx == 0x756e6547 && leaf0.edx == 0x49656e69 && leaf0.ecx == 0x6c65746e,
        .signature = cpu_cpuid(1, 0).eax,
    };

    if (leaf0.eax >= 7 && (cpu_cpuid(7, 0).edx & LEAF7_EDX_ARCH_CAPABILITIES))
        cpu.arch_capabilities = msr_read(MSR_IA32_ARCH_CAPABILITIES);
    return cpu;
}

/*
 * "VMX-Preemption Timer Does Not Count Down at the Rate Specified": the number that the erratum has in each of Intel's
 * specification updates. There is no update for the last one; KVM leaves its timer alone, and so do we.
 */
static const u32 bad_timers[] = {
    0x206e6, /* BA86: Xeon 7500, D0 */
    0x20652, /* AAX65: Xeon L3406; AAT59, AAU65: Core i7-600 to i3-300 mobile, i5-600, i3-500, Pentium G6950, C2 */
    0x20655, /* AAU65: the same for desktops, K0 */
    0x106e5, /* AAO95: Xeon 3400; AAN92: Core i7-800, i5-700; AAP86: Core i7-900 to i7-700 mobile, B1 */
    0x106a0, /* AAM126: Xeon 3500, C0 */
    0x106a1, /* AAM126: Xeon 3500, C1 */
    0x106a4, /* AAJ124: Core i7-900, C0 */
    0x106a5, /* AAM126, AAK139, AAJ124: Xeon 3500, Xeon 5500, Core i7-900, D0 */
    0x306a8, /* Xeon E3-1220 V2 */
};

bool errata_preemption_timer(const struct errata_cpu *cpu)
{
    for (u32 i = 0; cpu->is_intel && i < ARRAY_SIZE(bad_timers); i++)
        if ((cpu->signature & ~SIGNATURE_RESERVED) == bad_timers[i])
            return true;
    return false;
}

/*
 * "Instruction Fetch May Cause Machine Check if Page Size Was Changed Without Invalidation" (SKL002 and its like;
 * CVE-2018-12207, INTEL-SA-00210): all Intel CPUs that do not say otherwise, but for these models of family 6, Atoms
 * and Xeon Phis. One that this table does not know is taken for affected.
 */
static const u8 good_fetchers[] = {
    0x1c, 0x26,       /* Bonnell */
    0x27, 0x35, 0x36, /* Saltwell */
    0x37, 0x4a, 0x4d, /* Silvermont */
    0x4c, 0x5a, 0x75, /* Airmont */
    0x57, 0x85,       /* Knights Landing, Knights Mill */
    0x5c, 0x5f, 0x7a, /* Goldmont, Goldmont Plus */
    0x86,             /* Tremont, in servers */
};

static u32 family_of(u32 signature)
{
    u32 family = signature >> 8 & 15;
    return family == 15 ? family + (signature >> 20 & 0xff) : family;
}

bool errata_page_size_change(const struct errata_cpu *cpu)
{
    u32 model = (cpu->signature >> 4 & 15) | (cpu->signature >> 12 & 0xf0);

    if (!cpu->is_intel || cpu->arch_capabilities & PSCHANGE_MC_NO)
        return false;
    for (u32 i = 0; family_of(cpu->signature) == 6 && i < ARRAY_SIZE(good_fetchers); i++)
        if (model == good_fetchers[i])
            return false;
    return true;
}
