/*
 * See errata.h. A model is CPUID.1:EAX: SDM 2A "CPUID-CPU Identification", figure 3-6 "Version Information Returned by
 * CPUID in EAX".
 */
#include "arch/x86/errata.h"
#include "arch/x86/cpu.h"

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
