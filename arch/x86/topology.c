/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See topology.h. SDM 3A 8.9.2 "Hierarchical Mapping of CPUID Extended Topology Leaf", and 8.9.3 "Hierarchical ID of
 * Logical Processors in an MP System" for CPUs without leaf 0xB.
 */
#include "arch/x86/topology.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/bits.h"

#define LEVEL_THREADS    1u
#define LEAF1_EDX_HTT    BIT(28)
#define LEAF7_EDX_HYBRID BIT(15)

/* Of the power of two that is not below it. */
static u32 bits_for(u32 count)
{
    u32 bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

/* A hybrid CPU: what one core says of its threads is not true of all. */
static COLD bool other_cores_differ(u32 last_leaf)
{
    return last_leaf >= 7 && cpu_cpuid(7, 0).edx & LEAF7_EDX_HYBRID;
}

u32 topology_thread_bits(void)
{
    u32 last = cpu_cpuid(0, 0).eax;
    struct cpuid_result one = cpu_cpuid(1, 0);

    if (last >= 0xb) {
        struct cpuid_result threads = cpu_cpuid(0xb, 0);
        u32 here = threads.ebx & 0xffff;
        /* A core with one thread may leave room for two in its ids; Bochs 3.0 says so, and has ids without the room. */
        if (here && (threads.ecx >> 8 & 0xff) == LEVEL_THREADS)
            return here > 1 || other_cores_differ(last) ? threads.eax & 31 : 0;
    }
    if (!(one.edx & LEAF1_EDX_HTT) || last < 4)
        return 0;
    u32 ids = 1u << bits_for(one.ebx >> 16 & 0xff);
    u32 cores = (cpu_cpuid(4, 0).eax >> 26) + 1;
    return ids > cores ? bits_for(ids / cores) : 0;
}

u32 topology_keep_one_of_a_core(u32 *ids, u32 count, u32 own, u32 thread_bits)
{
    u32 kept = 0;

    for (u32 i = 0; i < count; i++) {
        bool sibling = ids[i] != own && ids[i] >> thread_bits == own >> thread_bits;
        for (u32 j = 0; j < kept && !sibling; j++)
            sibling = ids[j] >> thread_bits == ids[i] >> thread_bits;
        if (!sibling)
            ids[kept++] = ids[i];
    }
    return kept;
}
