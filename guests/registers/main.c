/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All registers that a hypervisor switches between VMs, and no VM entry or exit does: x87, SSE and every XSAVE state
 * that CPUID offers, PKRU among them; debug registers, CR2, the MSRs. At first each has its reset value, whoever used
 * the CPU before. Then they get a pattern of this VM's own, which must stay while the VM gives the CPU away and gets it
 * back. late=MS: it sleeps that long before the first look. dr=late: it looks at the debug registers only at its end;
 * dr=off: it enables no breakpoint. ms=MS: how long it goes on. Ends with status 0.
 */
#include "guests/lib/guest.h"

#define LEAF1_ECX_XSAVE   (1u << 26)
#define LEAF7_EDX_SSBD    (1u << 31)
#define LEAFX1_EDX_RDTSCP (1u << 27)

#define AREA_BYTES   4096u
#define LEGACY_BYTES 512u
#define STATE_BV     (LEGACY_BYTES / 8) /* the header's first word */
#define PKRU_STATE   9u
#define STATES       10u

static u64 area_pattern[AREA_BYTES / 8] __attribute__((aligned(64)));
static u64 area_mine[AREA_BYTES / 8] __attribute__((aligned(64)));
static u64 area_now[AREA_BYTES / 8] __attribute__((aligned(64)));

static bool has_xsave;
static u64 states; /* XCR0 */
static u32 id;

/* A sequence of its own for each VM: never 0, and no two VMs share a word. */
static u64 word(u32 number)
{
    return (0x9e3779b97f4a7c15ull * (number + 1)) ^ ((u64)id << 56 | (u64)id << 32 | (u64)id << 8 | 1);
}

static void __attribute__((noreturn)) differs(const char *what, u32 number, u64 is, u64 due)
{
    print("FAIL: %s %x is %llx, not %llx\n", what, number, is, due);
    guest_exit(1);
}

/* ---- x87, SSE and what XSAVE knows ---- */

static void save(u64 *area)
{
    for (u32 i = 0; i < AREA_BYTES / 8; i++)
        area[i] = 0;
    if (has_xsave)
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static void restore(const u64 *area)
{
    if (has_xsave)
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static void enable_states(void)
{
    has_xsave = cpu_cpuid(1, 0).ecx & LEAF1_ECX_XSAVE;
    cpu_write_cr0((cpu_read_cr0() | CR0_MP) & ~(uintptr_t)(CR0_EM | CR0_TS));
    cpu_write_cr4(cpu_read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (has_xsave ? CR4_OSXSAVE : 0));
    if (!has_xsave)
        return;
    struct cpuid leaf = cpu_cpuid(0xd, 0);
    states = (u64)leaf.edx << 32 | leaf.eax;
    expect(leaf.ecx <= AREA_BYTES, "the XSAVE area is larger than 4 KiB");
    __asm__ volatile("xsetbv" : : "a"((u32)states), "d"((u32)(states >> 32)), "c"(0));
}

/*
 * From 32: ST0 to ST7, 16 bytes each of which 10 count, then XMM0 to XMM15; then the states by CPUID. True if `do_word`
 * was called for each of their words.
 */
static void each_word(void (*do_word)(u32 at))
{
    for (u32 at = 32; at < 416; at += 8)
        do_word(at / 8);
    for (u32 state = 2; has_xsave && state < STATES; state++) {
        struct cpuid leaf = cpu_cpuid(0xd, state);
        for (u32 at = 0; states >> state & 1 && at < leaf.eax; at += 8)
            do_word((leaf.ebx + at) / 8);
    }
}

static void check_empty_word(u32 at)
{
    if (area_now[at])
        differs("fresh state at", at * 8, area_now[at], 0);
}

static void set_word(u32 at)
{
    bool upper_of_st = at >= 4 && at < 20 && at & 1; /* 2 of 8 bytes */
    area_pattern[at] = upper_of_st ? word(at) & 0xffff : word(at);
}

static void check_pattern_word(u32 at)
{
    if (area_mine[at] != area_pattern[at])
        differs("pattern at", at * 8, area_mine[at], area_pattern[at]);
}

static void check_fresh_states(void)
{
    save(area_now);
    each_word(check_empty_word);
    u32 mxcsr = (u32)area_now[3];
    if (mxcsr != 0x1f80)
        differs("fresh MXCSR", 0, mxcsr, 0x1f80);
}

static void fill_states(void)
{
    each_word(set_word);
    area_pattern[0] = 0x037full | (u64)(id & 7) << 27 | 0xffull << 32; /* FCW, TOP, all eight in use */
    area_pattern[3] = 0xffff00001f80ull | (u64)(id & 3) << 13;         /* MXCSR's rounding, its mask */
    area_pattern[STATE_BV] = has_xsave ? states : 0;
    if (states >> PKRU_STATE & 1) /* key 0 stays open */
        area_pattern[cpu_cpuid(0xd, PKRU_STATE).ebx / 8] = (u32)word(99) & ~3u;
    restore(area_pattern);
    save(area_mine);
    each_word(check_pattern_word);
}

static void check_states(void)
{
    save(area_now);
    for (u32 i = 0; i < AREA_BYTES / 8; i++)
        if (area_now[i] != area_mine[i])
            differs("state at", i * 8, area_now[i], area_mine[i]);
}

/* ---- MSRs ---- */

static u64 msr_read(u32 index)
{
    u32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (u64)high << 32 | low;
}

static void msr_write(u32 index, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)));
}

#define ADDRESS 0x00007ffffffffffful /* canonical */

static struct {
    u32 index;
    u64 fresh;
    u64 bits; /* of the pattern */
    bool there;
} msrs[] = {
    {0x48,       0,                     6,          false}, /* SPEC_CTRL: STIBP, SSBD */
    {0x174,      0,                     0xffffffff, true }, /* SYSENTER_CS, _ESP, _EIP */
    {0x175,      0,                     ADDRESS,    true },
    {0x176,      0,                     ADDRESS,    true },
    {0x277,      0x0007040600070406ull, 0,          true }, /* PAT */
    {0xc0000081, 0,                     ~0ull,      true }, /* STAR, LSTAR, CSTAR, FMASK */
    {0xc0000082, 0,                     ADDRESS,    true },
    {0xc0000083, 0,                     ADDRESS,    true },
    {0xc0000084, 0,                     0xffffffff, true },
    {0xc0000100, 0,                     ADDRESS,    true }, /* FS, GS, KERNEL_GS_BASE */
    {0xc0000101, 0,                     ADDRESS,    true },
    {0xc0000102, 0,                     ADDRESS,    true },
    {0xc0000103, 0,                     0xffffffff, false}, /* TSC_AUX */
};
#define MSRS (sizeof msrs / sizeof msrs[0])

static u64 msr_due(u32 i)
{
    static const u8 types[] = {0, 1, 4, 5, 6, 7};
    u64 pat = 0;

    for (u32 shift = 0; shift < 64; shift += 8)
        pat |= (u64)types[(id + shift / 8) % sizeof types] << shift;
    return msrs[i].bits ? word(i) & msrs[i].bits : pat;
}

static void find_msrs(void)
{
    msrs[0].there = cpu_cpuid(0, 0).eax >= 7 && cpu_cpuid(7, 0).edx & LEAF7_EDX_SSBD;
    msrs[MSRS - 1].there = cpu_cpuid(0x80000001, 0).edx & LEAFX1_EDX_RDTSCP;
}

static void check_msrs(bool fresh)
{
    for (u32 i = 0; i < MSRS; i++) {
        u64 due = fresh ? msrs[i].fresh : msr_due(i);
        if (msrs[i].there && msr_read(msrs[i].index) != due)
            differs(fresh ? "fresh MSR" : "MSR", msrs[i].index, msr_read(msrs[i].index), due);
    }
}

static void fill_msrs(void)
{
    for (u32 i = 0; i < MSRS; i++)
        if (msrs[i].there)
            msr_write(msrs[i].index, msr_due(i));
}

/* ---- CR2 and debug registers ---- */

#define REGISTER(name)                                                                                                 \
    static u64 name##_read(void)                                                                                       \
    {                                                                                                                  \
        u64 value;                                                                                                     \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value));                                                         \
        return value;                                                                                                  \
    }                                                                                                                  \
    static void name##_write(u64 value)                                                                                \
    {                                                                                                                  \
        __asm__ volatile("mov %0, %%" #name : : "r"(value));                                                           \
    }
REGISTER(cr2)
REGISTER(dr0)
REGISTER(dr1)
REGISTER(dr2)
REGISTER(dr3)
REGISTER(dr6)
REGISTER(dr7)

static const struct {
    const char *name;
    u64 (*read)(void);
    void (*write)(u64 value);
    u64 fresh;
    u64 bits; /* of the pattern; the others stay */
} registers[] = {
    {"CR2", cr2_read, cr2_write, 0,          ADDRESS},
    {"DR0", dr0_read, dr0_write, 0,          ADDRESS},
    {"DR1", dr1_read, dr1_write, 0,          ADDRESS},
    {"DR2", dr2_read, dr2_write, 0,          ADDRESS},
    {"DR3", dr3_read, dr3_write, 0,          ADDRESS},
    {"DR6", dr6_read, dr6_write, 0xffff0ff0, 15     },
    {"DR7", dr7_read, dr7_write, 0x400,      0      },
};
#define REGISTERS (sizeof registers / sizeof registers[0])

/* A hypervisor may keep the debug registers in memory until a breakpoint is enabled. There is nothing at DR0. */
#define DR7_WRITES_AT_DR0 0x10001u
static bool enables;

static u64 register_due(u32 i)
{
    if (registers[i].write == dr7_write)
        return registers[i].fresh | (enables ? DR7_WRITES_AT_DR0 : 0);
    return (registers[i].fresh & ~registers[i].bits) | (word(i + 50) & registers[i].bits);
}

static void check_registers(bool fresh, u32 count)
{
    for (u32 i = 0; i < count; i++) {
        u64 due = fresh ? registers[i].fresh : register_due(i);
        if (registers[i].read() != due)
            differs(registers[i].name, i, registers[i].read(), due);
    }
}

/* ---- */

static u64 milliseconds(void)
{
    return hypercall_clock_ns() / 1000000;
}

/* Away from the CPU in three ways: by the end of the slice, by asking, asleep. */
static void give_way(u32 round)
{
    u64 now = hypercall_clock_ns();

    if (round % 3 == 0)
        while (hypercall_clock_ns() < now + 3000000)
            cpu_pause();
    else if (round % 3 == 1)
        hypercall_yield();
    else
        hypercall_sleep_until(now + 500000);
}

static u32 identity(void)
{
    struct hypercall call = {ROOTLET_CALL_IDENTITY, 0, 0, 0};
    hypercall(&call);
    return call.ebx + 1;
}

int guest_main(void)
{
    u32 late = guest_option_number("late", 0);
    const char *dr = guest_option("dr");
    bool late_dr = dr && text_begins_with(dr, "late");
    u32 count = late_dr ? 1 : REGISTERS; /* CR2 */
    u32 round = 0;

    id = identity();
    enables = !dr;
    if (late)
        hypercall_sleep_until((u64)late * 1000000);
    find_msrs();
    check_msrs(true);
    check_registers(true, count);
    enable_states();
    check_fresh_states();
    print("registers fresh\n");
    fill_states();
    fill_msrs();
    for (u32 i = 0; i < count; i++)
        registers[i].write(register_due(i));
    u64 end = milliseconds() + guest_option_number("ms", 40);
    do {
        check_states();
        check_msrs(false);
        check_registers(false, count);
        give_way(round++);
    } while (milliseconds() < end);
    for (u32 i = count; i < REGISTERS; i++)
        if (registers[i].read() != registers[i].fresh)
            differs(registers[i].name, i, registers[i].read(), registers[i].fresh);
    print("registers ok rounds=%u xcr0=%llx\n", round, states);
    return 0;
}
