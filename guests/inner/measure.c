/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What exits cost, in ticks of the TSC, as the hypervisor sees it: an emulator's tick is an instruction. Each number is
 * the least of some tries, since interrupts of others may fall into one. With measure=1 nothing else is done.
 */
#include "guests/inner/inner.h"

#define TRIES    8u
#define ACCESSES 64u

PROGRAM(cpuids, "cpuid")
PROGRAM(reads_ports, "mov $64, %ecx\n\t1: in $0x80, %al\n\tdec %ecx\n\tjnz 1b")
PROGRAM(reads_msrs, "mov $64, %esi\n\tmov $0xc0000102, %ecx\n\t1: rdmsr\n\tdec %esi\n\tjnz 1b")

static u8 no_bitmaps[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static u32 least(u32 (*measure)(void))
{
    u32 best = ~0u;

    for (u32 i = 0; i < TRIES; i++) {
        u32 ticks = measure();
        best = ticks < best ? ticks : best;
    }
    return best;
}

static u32 vmread(void)
{
    u64 value, before = cpu_rdtsc();
    (void)vmx_read(GUEST_RIP, &value);
    return (u32)(cpu_rdtsc() - before);
}

static u32 vmwrite(void)
{
    u64 before = cpu_rdtsc();
    (void)vmx_write(GUEST_RSP, (u64)lab_inner_stack);
    return (u32)(cpu_rdtsc() - before);
}

/* Answered at once: RIP stays, and the next entry executes CPUID again. lab_enter() has one VMWRITE in it. */
static u32 cpuid(void)
{
    u64 before = cpu_rdtsc();
    (void)lab_enter(&inner_registers, RESUME);
    return (u32)(cpu_rdtsc() - before);
}

static u32 inner_accesses(program *start)
{
    inner_begin(start);
    inner_add(PROC_CONTROLS, PROC_MSR_BITMAPS);
    inner_set(MSR_BITMAPS, (u64)no_bitmaps);
    u64 before = cpu_rdtsc();
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    return (u32)(cpu_rdtsc() - before);
}

static u32 inner_ports(void)
{
    return inner_accesses(reads_ports);
}

static u32 inner_msrs(void)
{
    return inner_accesses(reads_msrs);
}

static u32 nothing_inside(void)
{
    static const u8 vmcall[] = {0x0f, 0x01, 0xc1};
    return inner_accesses((program *)(u64)vmcall);
}

static u32 own_ports(void)
{
    u64 before = cpu_rdtsc();
    for (u32 i = 0; i < ACCESSES; i++)
        (void)cpu_in8(0x80);
    return (u32)(cpu_rdtsc() - before);
}

static u32 own_msrs(void)
{
    u64 before = cpu_rdtsc();
    for (u32 i = 0; i < ACCESSES; i++)
        (void)inner_read_msr(0xc0000102);
    return (u32)(cpu_rdtsc() - before);
}

static u32 for_each(u32 all, u32 nothing)
{
    return (all - nothing) / ACCESSES;
}

void inner_measure(void)
{
    inner_begin(cpuids);
    inner_want("exit reason", inner_go(), REASON_CPUID);
    u32 write = least(vmwrite), nothing;
    print("inner: ticks vmread=%u vmwrite=%u cpuid=%u\n", least(vmread), write, least(cpuid) - write);
    nothing = least(nothing_inside);
    print("inner: ticks in=%u in_outer=%u rdmsr=%u rdmsr_outer=%u\n", for_each(least(inner_ports), nothing),
          for_each(least(own_ports), 0), for_each(least(inner_msrs), nothing), for_each(least(own_msrs), 0));
    if (inner_can(PROC2_CONTROLS, PROC2_EPT))
        print("inner: ticks first_touch=%u\n", inner_first_touch());
}
