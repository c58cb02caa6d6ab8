/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU features that the host itself uses: found once on the boot CPU, enabled on every CPU. All CPUs are taken to
 * be alike, as the SDM demands of symmetric systems. SDM 3A 2.5 "Control Registers", 4.1.4 "Enumeration of Paging
 * Features by CPUID".
 */
#include "arch/x86/features.h"
#include "arch/x86/cpu.h"

#define LEAF1_EDX_MCE    BIT(7)
#define LEAF1_EDX_PGE    BIT(13)
#define LEAF1_EDX_PAT    BIT(16)
#define LEAF7_EBX_SMEP   BIT(7)
#define LEAF7_EBX_SMAP   BIT(20)
#define LEAF7_ECX_UMIP   BIT(2)
#define EXTENDED1_EDX_NX BIT(20)
#define EXTENDED1_EDX_1G BIT(26)

/* As after reset: WB, WT, UC-, UC, twice. paging.c's device mappings rely on entry 3. */
#define PAT_AFTER_RESET 0x0007040600070406ull

#define VENDOR_INTEL_EBX 0x756e6547u /* "Genu" */

static struct features found;

/* What firmware's setup may hide from old systems, each CPU on its own. SDM 4 2.1 "Architectural MSRs" */
static void show_all_of_cpuid(void)
{
    u64 hiding = MISC_ENABLE_LIMIT_CPUID | MISC_ENABLE_XD_DISABLE, value;

    if (cpu_cpuid(0, 0).ebx == VENDOR_INTEL_EBX && msr_read_safe(MSR_IA32_MISC_ENABLE, &value) && (value & hiding))
        msr_write(MSR_IA32_MISC_ENABLE, value & ~hiding);
}

void features_detect(void)
{
    show_all_of_cpuid();

    struct cpuid_result leaf1 = cpu_cpuid(1, 0);
    struct cpuid_result extended1 = cpu_cpuid(0x80000001, 0);
    struct cpuid_result leaf7 = {0};

    if (cpu_cpuid(0, 0).eax >= 7)
        leaf7 = cpu_cpuid(7, 0);
    found = (struct features){
        .nx = extended1.edx & EXTENDED1_EDX_NX,
        .pat = leaf1.edx & LEAF1_EDX_PAT,
        .global_pages = leaf1.edx & LEAF1_EDX_PGE,
        .pages_1g = extended1.edx & EXTENDED1_EDX_1G,
        .smep = leaf7.ebx & LEAF7_EBX_SMEP,
        .smap = leaf7.ebx & LEAF7_EBX_SMAP,
        .umip = leaf7.ecx & LEAF7_ECX_UMIP,
        .machine_check = leaf1.edx & LEAF1_EDX_MCE,
    };
}

const struct features *features_get(void)
{
    return &found;
}

u64 features_efer(void)
{
    return EFER_LME | (found.nx ? EFER_NXE : 0);
}

void features_enable_cpu(void)
{
    u64 cr4 = CR4_PAE; /* and nothing that firmware left */

    show_all_of_cpuid();
    /* LMA is read-only status. SYSCALL stays off: the host has no user mode. */
    msr_write(MSR_IA32_EFER, features_efer() | EFER_LMA);
    cr4 |= found.global_pages ? CR4_PGE : 0;
    cr4 |= found.smep ? CR4_SMEP : 0;
    cr4 |= found.smap ? CR4_SMAP : 0;
    cr4 |= found.umip ? CR4_UMIP : 0;
    cr4 |= found.machine_check ? CR4_MCE : 0;
    if (found.pat)
        msr_write(MSR_IA32_PAT, PAT_AFTER_RESET);
    cr4_write(cr4);
    cr0_write((cr0_read() | CR0_WP | CR0_NE) & ~(CR0_CD | CR0_NW | CR0_AM));
}
