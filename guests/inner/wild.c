/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile hypervisor. It makes VMCSs at random, and enters them; all that they point to, and the regions themselves,
 * lies in memory to which its second vCPU writes at the same time, as do its inner guests: VMCSs, shadow VMCSs,
 * bitmaps, MSR lists, the virtual-APIC page, EPT tables, EPTPs. It only keeps its own head above water: its inner
 * guests have EPT, which hardly ever leads to its own code and data, and the preemption timer, and its host state is
 * right. Each entry must end as the SDM has it. wild=N VMCSs, seed=N.
 */
#include "guests/inner/inner.h"

#define CODE         0x800000ull /* 2 MiB for inner guests: code, stack, and page tables */
#define CODE_PAGES   256u        /* before the tables, which as a part of an EPT would lead to all memory */
#define STACK        0x8ff000ull
#define PAGE_TABLES  0x900000ull
#define TORN         0xa00000ull /* and all that the second vCPU writes to */
#define TORN_PAGES   32u
#define PAGE(number) (TORN + 4096ull * (number))
enum { REGIONS = 0, REGION_COUNT = 4, IO_A, IO_B, MSR_BITMAP, MSR_LIST, APIC_PAGE, SHADOW, BITMAP, EPTPS };
enum { TABLES = 16, TABLE_COUNT = 8 };

#define EPT_ALL       0x37u /* read, write and execute; write-back */
#define EPT_LARGE     0x80u
#define EPTP_WALK_4   (3u << 3 | 6u)
#define TIMER_TICKS   30000u /* some of it for the first touch of each page */
#define FAILED        0x80000000u
#define MSR_FS_BASE   0xc0000100u
#define MSR_GS_KERNEL 0xc0000102u

#define VTPR        0x80u
#define SHADOW_VMCS 0x80000000u /* beside a revision identifier */
#define VMXONS      50u         /* after each VMCS */

static volatile u32 revision;

/* ---- chance ---- */

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled". One for each vCPU.
 */
static u64 next(u64 *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

static u32 below(u64 *state, u32 end)
{
    return (u32)(next(state) >> 33) % end;
}

/* Mostly memory that inner guests may spoil; else devices, ROM, the hole below 1 MiB, and where nothing is. */
static u64 address(u64 *state)
{
    static const u64 others[] = {0xfee00000, 0xfed00000, 0xfec00000, 0xf0000,    0xffff0000,
                                 0xa0000,    0xc0000000, 1ull << 40, 1ull << 51, ~0xfffull};

    switch (below(state, 8)) {
    case 0:
        return others[below(state, ARRAY_LENGTH(others))];
    case 1:
    case 2:
        return CODE + below(state, CODE_PAGES) * 4096ull;
    default:
        return PAGE(below(state, TORN_PAGES));
    }
}

/* Tables lead to each other and to themselves. */
static u64 table_entry(u64 *state)
{
    u64 flags = below(state, 4) ? EPT_ALL | (below(state, 4) ? 0 : EPT_LARGE) : next(state) & 0xfff;
    return address(state) | flags | (below(state, 16) ? 0 : next(state) << 48);
}

/* ---- the second vCPU ---- */

static void tear(u64 *state)
{
    static const u32 msrs[] = {0x10, 0x1b, 0x174, 0x175, 0x277, 0x808, 0x1a0, MSR_FS_BASE, MSR_GS_KERNEL};
    volatile u64 *word = (volatile u64 *)TORN + below(state, TORN_PAGES * 512);
    volatile u64 *entry = (volatile u64 *)PAGE(TABLES + below(state, TABLE_COUNT)) + below(state, 32);
    volatile u32 *list = (volatile u32 *)PAGE(MSR_LIST) + 4 * below(state, 8);
    volatile u32 *region = (volatile u32 *)PAGE(REGIONS + below(state, REGION_COUNT));

    switch (below(state, 8)) {
    case 0:
        *word = next(state);
        break;
    case 1:
        *word ^= 1ull << below(state, 64);
        break;
    case 2:
        list[0] = msrs[below(state, ARRAY_LENGTH(msrs))];
        list[1] = below(state, 8) ? 0 : (u32)next(state);
        list[2] = (u32)next(state);
        list[3] = below(state, 2) ? 0 : (u32)next(state);
        break;
    case 3:
        region[0] = below(state, 4) ? revision : (u32)next(state);
        region[2] = below(state, 2); /* where Rootlet has the launch state */
        break;
    case 4:
        *(volatile u8 *)(PAGE(APIC_PAGE) + VTPR) = (u8)next(state);
        break;
    case 5:
        ((volatile u64 *)PAGE(EPTPS))[below(state, TABLE_COUNT)] = address(state) | EPTP_WALK_4;
        break;
    default:
        *entry = table_entry(state);
    }
}

static void tear_for_ever(void)
{
    u64 state = guest_option_number("seed", 1) + 1;

    for (;;) {
        tear(&state);
        for (u32 pause = below(&state, 1000); pause; pause--)
            cpu_pause();
    }
}

static void start_second(void)
{
    struct hypercall call = {ROOTLET_CALL_START_VCPU, 1, (u32)(u64)inner_second, 0};

    inner_other = tear_for_ever;
    if (!inner_bare && hypercall(&call) != ROOTLET_OK)
        print("inner: there is one vCPU only\n");
}

/* ---- inner guests ---- */

static void make_page_tables(void)
{
    u64 *table = (u64 *)PAGE_TABLES;

    table[0] = (PAGE_TABLES + 0x1000) | 3;
    for (u32 gib = 0; gib < 4; gib++)
        table[512 + gib] = (PAGE_TABLES + 0x2000 + gib * 0x1000) | 3;
    for (u32 i = 0; i < 2048; i++)
        table[1024 + i] = (u64)i << 21 | 0x83;
}

/* Instructions that exit, or that reach memory; RBX, RSI and RDI are anywhere. */
static void make_code(u64 *state, u8 *at)
{
    static const char *const pieces[] = {
        "\x48\x89\x03",             /* mov %rax, (%rbx) */
        "\x48\x8b\x06",             /* mov (%rsi), %rax */
        "\x48\xf7\x13",             /* notq (%rbx) */
        "\xf3\xa4",                 /* rep movsb */
        "\xf3\x48\xab",             /* rep stosq */
        "\x0f\xa2",                 /* cpuid */
        "\x0f\x32",                 /* rdmsr */
        "\xb9\x02\x01\x01\xc0",     /* mov, of no MSR, to %ecx */
        "\x0f\x30",                 /* wrmsr */
        "\xec",                     /* in (%dx), %al */
        "\xe6\xed",                 /* out %al, $0xed */
        "\x6c",                     /* insb */
        "\xf4",                     /* hlt */
        "\x0f\x01\xc1",             /* vmcall */
        "\x0f\x01\x3b",             /* invlpg (%rbx) */
        "\x0f\x20\xd8\x0f\x22\xd8", /* CR3, to and fro */
        "\x0f\x20\xc0\x0f\x22\xc0", /* CR0 */
        "\x0f\x20\xe0\x0f\x22\xe0", /* CR4 */
        "\x44\x0f\x20\xc0",         /* mov %cr8, %rax */
        "\x44\x0f\x22\xc0",         /* mov %rax, %cr8 */
        "\x0f\x06",                 /* clts */
        "\x0f\x23\xf8",             /* mov %rax, %dr7 */
        "\xcc",                     /* int3 */
        "\x0f\x0b",                 /* ud2 */
        "\xf3\x90",                 /* pause */
        "\x0f\x31",                 /* rdtsc */
        "\xfb",                     /* sti */
        "\x0f\x01\x03",             /* sgdt (%rbx) */
        "\x0f\x01\x1e",             /* lidt (%rsi) */
        "\x0f\xc7\x3b",             /* vmptrst (%rbx) */
        "\x0f\x01\xd1",             /* xsetbv */
        "\x0f\x09",                 /* wbinvd */
        "\xff\xe3",                 /* jmp *%rbx */
        "\xff\xd6",                 /* call *%rsi */
        "\x66\xba\x1e\x68",         /* mov, of the guest's RIP, to %dx */
        "\x66\xba\x02\x44",         /* mov, of the exit reason, to %dx */
        "\x0f\x78\xd0",             /* vmread %rdx, %rax */
        "\x0f\x78\x13",             /* vmread %rdx, (%rbx) */
        "\x0f\x79\xd0",             /* vmwrite %rax, %rdx */
        "\x0f\x79\x16",             /* vmwrite (%rsi), %rdx */
        "\x31\xc0\x31\xc9",         /* xor %eax, %eax; xor %ecx, %ecx */
        "\xb1\x07",                 /* mov $7, %cl */
        "\x0f\x01\xd4",             /* vmfunc */
    };

    for (u32 i = 0; i < 16; i++)
        for (const char *byte = pieces[below(state, ARRAY_LENGTH(pieces))]; *byte; byte++)
            *at++ = (u8)*byte;
    *at++ = 0xf4;
}

/* ---- VMCSs ---- */

static u64 any_value(u64 *state, u64 before)
{
    switch (below(state, 8)) {
    case 0:
        return next(state);
    case 1:
        return address(state) | below(state, 16);
    case 2:
        return below(state, 64);
    case 3:
        return ~0ull << below(state, 64);
    default:
        return before ^ 1ull << below(state, 64);
    }
}

/* Fields of controls and of the guest, whether there are such or not. SDM 3D Appendix B "Field Encoding in VMCS" */
static void change_fields(u64 *state)
{
    for (u32 i = below(state, 4); i; i--) {
        u32 area = below(state, 2) ? 0x0800 : 0;
        u32 field = below(state, 4) << 13 | area | below(state, 28) << 1;
        u64 before = 0;
        (void)vmx_read(field, &before);
        u32 answer = vmx_write(field, any_value(state, before));
        expect(answer == DONE || answer == 12 || answer == 13, "VMWRITE fails with another error than 12 and 13");
    }
}

/* What keeps this hypervisor alive, and what is worth being looked at. */
static void set_bounds(u64 *state)
{
    inner_set_host();
    inner_set(PIN_CONTROLS, inner_get(PIN_CONTROLS) | PIN_TIMER);
    inner_set(PREEMPTION_TIMER_VALUE, below(state, TIMER_TICKS));
    inner_set(PROC_CONTROLS, inner_get(PROC_CONTROLS) | PROC_SECONDARY);
    inner_set(PROC2_CONTROLS, inner_get(PROC2_CONTROLS) | PROC2_EPT);
    inner_set(EXIT_CONTROLS, inner_get(EXIT_CONTROLS) | EXIT_HOST_ADDRESS_SPACE);
    inner_set(EXIT_MSR_STORE_COUNT, 0);
    inner_set(EXIT_MSR_LOAD_COUNT, 0);
    u64 table = below(state, 8) ? PAGE(TABLES + below(state, TABLE_COUNT)) : address(state);
    if (below(state, 4))
        table = PAGE(TABLES); /* what mend() has put in order */
    inner_set(EPT_POINTER, table | EPTP_WALK_4 | (below(state, 2) ? 0x40 : 0));
}

static void fill(u64 *state)
{
    u8 *code = (u8 *)CODE + 64 * below(state, 1024);

    make_code(state, code);
    inner_fill((program *)code);
    inner_set(GUEST_RSP, STACK);
    inner_set(GUEST_CR3, below(state, 4) ? PAGE_TABLES : address(state));
    inner_set(IO_BITMAP_A, below(state, 8) ? PAGE(IO_A) : address(state));
    inner_set(IO_BITMAP_B, PAGE(IO_B));
    inner_set(MSR_BITMAPS, below(state, 8) ? PAGE(MSR_BITMAP) : address(state));
    inner_set(VIRTUAL_APIC_ADDRESS, below(state, 8) ? PAGE(APIC_PAGE) : address(state));
    inner_set(ENTRY_MSR_LOAD_ADDRESS, below(state, 8) ? PAGE(MSR_LIST) : address(state));
    inner_set(ENTRY_MSR_LOAD_COUNT, below(state, 2) ? 0 : below(state, 4));
    inner_set(TPR_THRESHOLD, below(state, 2) ? 0 : below(state, 16));
    if (!below(state, 8))
        inner_set(VMCS_LINK_POINTER, PAGE(REGIONS + below(state, REGION_COUNT)));
    if (below(state, 2) && inner_can(PROC2_CONTROLS, PROC2_VMCS_SHADOWING)) {
        inner_add(PROC2_CONTROLS, PROC2_VMCS_SHADOWING | PROC2_EPT);
        inner_set(VMCS_LINK_POINTER, below(state, 8) ? PAGE(SHADOW) : ~0ull);
        inner_set(VMREAD_BITMAP, below(state, 8) ? PAGE(BITMAP) : address(state));
        inner_set(VMWRITE_BITMAP, PAGE(BITMAP));
    }
    if (below(state, 2) && inner_can(PROC2_CONTROLS, PROC2_VMFUNC)) {
        inner_add(PROC2_CONTROLS, PROC2_VMFUNC | PROC2_EPT);
        inner_set(VM_FUNCTION_CONTROLS, 1);
        inner_set(EPTP_LIST_ADDRESS, below(state, 8) ? PAGE(EPTPS) : address(state));
    }
    u32 controls = (u32)next(state) & (PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_TPR_SHADOW);
    if (inner_can(PROC_CONTROLS, controls))
        inner_add(PROC_CONTROLS, controls);
    if (below(state, 2) && inner_can(PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST))
        inner_add(PROC2_CONTROLS, PROC2_EPT | PROC2_UNRESTRICTED_GUEST);
}

/* All in order, for a moment: tables of four levels over what inner guests may have, and a list of one MSR. */
static void mend(u64 *state)
{
    volatile u64 *list = (volatile u64 *)PAGE(MSR_LIST);
    volatile u64 *table = (volatile u64 *)PAGE(TABLES);
    volatile u64 *eptps = (volatile u64 *)PAGE(EPTPS);

    table[0] = PAGE(TABLES + 1) | 7;
    table[512] = PAGE(TABLES + 2) | 7;
    table[1024 + (CODE >> 21)] = CODE | EPT_ALL | EPT_LARGE;
    table[1024 + (TORN >> 21)] = below(state, 2) ? TORN | EPT_ALL | EPT_LARGE : PAGE(TABLES + 3) | 7;
    for (u32 i = 0; i < TORN_PAGES; i++)
        table[1536 + i] = PAGE(i) | EPT_ALL;
    for (u32 i = 0; i < TABLE_COUNT; i++)
        eptps[i] = PAGE(TABLES + i) | EPTP_WALK_4;
    *(volatile u32 *)PAGE(SHADOW) = revision | SHADOW_VMCS;
    for (u32 i = 0; i < 16; i += 2) {
        list[i] = MSR_GS_KERNEL;
        list[i + 1] = below(state, 2);
    }
}

/* ---- what must come of it ---- */

static u32 entered, refused;

static void check_host(void)
{
    expect(cpu_read_cr0() == inner_get(HOST_CR0) && cpu_read_cr4() == inner_get(HOST_CR4),
           "an exit has loaded another CR0 or CR4");
    expect((inner_read_msr(0xc0000080) >> 8 & 5) == 5, "an exit has left long mode");
}

/* The launch state that is expected; the second vCPU may have changed it. */
static u32 how;

/* How it ends may depend on what the second vCPU does meanwhile, but it is one of the ways that there are. */
static void enter(u64 *state)
{
    inner_registers =
        (struct registers){.rax = next(state), .rdx = 0x40 + below(state, 64), .rcx = next(state) & 0x3ff};
    inner_registers.rbx = address(state) + below(state, 4096);
    inner_registers.rsi = address(state) + below(state, 4096);
    inner_registers.rdi = address(state) + below(state, 4096);
    u32 failed = lab_enter(&inner_registers, below(state, 8) ? how : LAUNCH);
    if (failed == 1) {
        expect(inner_can(PROC2_CONTROLS, PROC2_VMCS_SHADOWING), "VMfailInvalid with a current VMCS");
        refused++; /* it is a shadow VMCS */
        return;
    }
    if (failed) {
        u64 error = 0;
        expect(vmx_read(INSTRUCTION_ERROR, &error) == DONE, "VMREAD fails with a current VMCS");
        expect(error == 4 || error == 5 || error == 7 || error == 8, "another error than 4, 5, 7 and 8");
        how = error == 4 ? RESUME : error == 5 ? LAUNCH : how;
        refused++;
        return;
    }
    check_host();
    u32 reason = (u32)inner_get(EXIT_REASON);
    if (reason & FAILED) {
        expect((u16)reason == 33 || (u16)reason == 34, "a failed entry with another exit reason than 33 and 34");
        refused++;
        return;
    }
    expect(reason <= REASON_RDSEED, "an exit reason that is none");
    how = RESUME;
    entered++;
}

/* Pointers to anywhere: an error, or a region that the second vCPU has made one. */
static void try_pointers(u64 *state)
{
    u64 region = address(state) | (below(state, 4) ? 0 : below(state, 4096));
    u32 answer = vmx_vmclear(region);

    expect(answer == DONE || answer == 2 || answer == INVALID, "VMCLEAR fails with another error than 2");
    answer = vmx_vmptrld(region);
    expect(answer == DONE || answer == 9 || answer == 11 || answer == INVALID,
           "VMPTRLD fails with another error than 9 and 11");
}

/* In and out of VMX operation, so often that what is lost on the way would be missed. */
static void leave_and_come_back(void)
{
    for (u32 i = 0; i < VMXONS; i++)
        expect(vmx_off() == DONE && vmx_vmxon(inner_vmxon_region()) == DONE, "VMXOFF or VMXON failed");
}

static void one_vmcs(u64 *state)
{
    volatile u32 *region = (volatile u32 *)PAGE(REGIONS + below(state, REGION_COUNT));

    region[0] = revision | (below(state, 16) ? 0 : SHADOW_VMCS);
    if (below(state, 8))
        expect(vmx_vmclear((u64)region) == DONE, "VMCLEAR failed");
    u32 answer = vmx_vmptrld((u64)region);
    if (answer != DONE) { /* the second vCPU was faster */
        expect(answer == INVALID || answer == 11, "another error than 11");
        refused++;
        return;
    }
    how = LAUNCH;
    if (below(state, 8))
        fill(state); /* otherwise it is what the region holds */
    for (u32 i = 1 + below(state, 4); i; i--) {
        change_fields(state);
        set_bounds(state);
        if (below(state, 4))
            mend(state);
        enter(state);
        if (!below(state, 4))
            (void)vmx_invept(2);
    }
    try_pointers(state);
    leave_and_come_back();
}

void inner_wild(u32 rounds)
{
    u64 state = guest_option_number("seed", 1);
    revision = (u32)inner_read_msr(0x480) & 0x7fffffff;
    make_page_tables();
    start_second();
    for (u32 i = 0; i < rounds; i++)
        one_vmcs(&state);
    print("inner: wild vmcss=%u entered=%u refused=%u\n", rounds, entered, refused);
}
