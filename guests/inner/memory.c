/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * EPT that changes under the inner guest, and VPIDs. SDM 3C 28.2 "The Extended Page Table Mechanism (EPT)", 28.3
 * "Caching Translation Information", 27.2.1 "Basic VM-Exit Information", 25.6 "Unrestricted Guests".
 */
#include "guests/inner/inner.h"

#define READ         1u
#define WRITE        2u
#define EXECUTE      4u
#define ALL          7u
#define WRITE_BACK   (6u << 3)
#define UNCACHED     0u
#define LARGE        0x80u
#define ACCESSED     0x100u
#define DIRTY        0x200u
#define EPTP_WALK_4  (3u << 3 | 6u)
#define EPTP_FLAGS   0x40u
#define CAP_EXECUTE  (1u << 0)
#define CAP_1G       (1u << 17)
#define CAP_FLAGS    (1u << 21)
#define MSR_EPT_VPID 0x48cu
#define SINGLE       1u
#define GLOBAL       2u
#define LINEAR       0x180u /* of a qualification: there is a linear address, and this is its translation */
#define LINEAR_TABLE 0x080u /* the access was to a paging-structure entry */
#define ENTRIES      512u
#define AREA         0x800000ull /* 2 MiB that the EPT maps in small pages */
#define OTHER        0xa00000ull /* and 2 MiB of one page */
#define PAGE(number) (AREA + 4096ull * (number))

typedef u64 table[ENTRIES] __attribute__((aligned(PAGE_BYTES)));
static table ept_top, ept_gib, ept_directory[4], ept_pages, ept_split, ept_top2;

static u64 capabilities(void)
{
    return inner_read_msr(MSR_EPT_VPID);
}

static u64 page_entry(u64 physical, u32 rights)
{
    return physical | rights | WRITE_BACK;
}

static void map_all(void)
{
    ept_top[0] = ept_top2[0] = (u64)ept_gib | ALL;
    for (u32 gib = 0; gib < 4; gib++) {
        ept_gib[gib] = (u64)ept_directory[gib] | ALL;
        for (u32 i = 0; i < ENTRIES; i++)
            ept_directory[gib][i] = (u64)(gib * ENTRIES + i) << 21 | ALL | LARGE | (gib == 3 ? UNCACHED : WRITE_BACK);
    }
    ept_directory[0][AREA >> 21] = (u64)ept_pages | ALL;
    for (u32 i = 0; i < ENTRIES; i++) {
        ept_pages[i] = page_entry(PAGE(i), ALL);
        ept_split[i] = page_entry(OTHER + i * 4096, ALL);
    }
}

static void invept(u64 type)
{
    inner_want("INVEPT", inner_invalidate(false, type, inner_get(EPT_POINTER), 0), DONE);
}

static void begin(program *start, u64 flags, u64 address)
{
    inner_begin(start);
    inner_add(PROC2_CONTROLS, PROC2_EPT);
    inner_set(EPT_POINTER, (u64)ept_top | EPTP_WALK_4 | flags);
    inner_registers.rbx = address;
}

/* Anew: tables, and nothing known of them. */
static void begin_anew(program *start, u64 flags, u64 address)
{
    map_all();
    begin(start, flags, address);
    invept(GLOBAL);
}

PROGRAM(read_page, "mov (%rbx), %rax")
PROGRAM(write_page, "mov %rdx, (%rbx)\n\tmov $0x77, %eax")
PROGRAM(call_page, "call *%rbx")
#define WROTE 0x77u

static u64 *at(u64 address)
{
    return (u64 *)address;
}

static void want_violation(program *start, u64 qualification, u64 physical)
{
    inner_want_exit(REASON_EPT_VIOLATION, start, 0);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION) & 0x1bf, qualification);
    inner_want("guest-physical address", inner_get(GUEST_PHYSICAL_ADDRESS), physical);
    if (qualification & LINEAR_TABLE)
        inner_want("guest-linear address", inner_get(GUEST_LINEAR_ADDRESS), inner_registers.rbx);
}

static void map_and_unmap(void)
{
    u64 address = PAGE(3) + 0x18;

    begin_anew(read_page, 0, address);
    *at(address) = 4711;
    ept_pages[3] = 0;
    want_violation(read_page, READ | LINEAR, address);
    ept_pages[3] = page_entry(PAGE(3), ALL); /* what was not there need not be invalidated */
    inner_want_call(4711);
    ept_pages[3] = 0;
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)write_page);
    want_violation(write_page, WRITE | LINEAR, address);
    ept_pages[3] = page_entry(PAGE(5), ALL); /* another page */
    *at(PAGE(5) + 0x18) = 4712;
    inner_set(GUEST_RIP, (u64)read_page);
    inner_want_call(4712);
    ept_pages[3] = page_entry(PAGE(3), ALL);
    invept(GLOBAL);
    inner_set(GUEST_RIP, (u64)read_page);
    inner_want_call(4711);
    ept_directory[0][AREA >> 21] = 0; /* of the level above */
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)read_page);
    want_violation(read_page, READ | LINEAR, address);
}

static void rights(void)
{
    u64 address = PAGE(7);

    begin_anew(write_page, 0, address);
    ept_pages[7] = page_entry(address, READ);
    want_violation(write_page, WRITE | READ << 3 | LINEAR, address);
    ept_pages[7] = page_entry(address, READ | WRITE); /* more rights need no INVEPT after the violation */
    inner_want_call(WROTE);
    inner_set(GUEST_RIP, (u64)call_page);
    inner_want("exit reason", inner_go(), REASON_EPT_VIOLATION);
    inner_want("qualification", inner_get(EXIT_QUALIFICATION) & 0x1bf, EXECUTE | (READ | WRITE) << 3 | LINEAR);
    inner_want("RIP", inner_get(GUEST_RIP), address);
    *(u8 *)address = 0xc3; /* RET */
    ept_pages[7] = page_entry(address, ALL);
    inner_registers.rax = 5;
    inner_want_call(5);
    ept_pages[7] = page_entry(address, READ | EXECUTE);
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)write_page);
    want_violation(write_page, WRITE | (READ | EXECUTE) << 3 | LINEAR, address);
    ept_directory[0][AREA >> 21] = (u64)ept_pages | READ; /* the rights of all levels count */
    ept_pages[7] = page_entry(address, ALL);
    invept(SINGLE);
    want_violation(write_page, WRITE | READ << 3 | LINEAR, address);
}

static void execute_only(void)
{
    if (!(capabilities() & CAP_EXECUTE)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    begin_anew(call_page, 0, PAGE(7));
    *(u8 *)PAGE(7) = 0xc3;
    ept_pages[7] = page_entry(PAGE(7), EXECUTE);
    inner_registers.rax = 5;
    inner_want_call(5);
    inner_set(GUEST_RIP, (u64)read_page);
    want_violation(read_page, READ | EXECUTE << 3 | LINEAR, PAGE(7));
}

static void misconfiguration(void)
{
    static const u64 entries[] = {
        AREA | WRITE | WRITE_BACK,           /* write without read */
        AREA | WRITE | EXECUTE | WRITE_BACK, /* the same */
        AREA | ALL | 2 << 3,                 /* reserved memory types */
        AREA | ALL | 7 << 3,
        1ull << 51 | AREA | ALL | WRITE_BACK, /* an address that is too wide */
    };

    for (u32 i = 0; i < ARRAY_LENGTH(entries); i++) {
        begin_anew(read_page, 0, PAGE(9));
        ept_pages[9] = entries[i];
        inner_want_exit(REASON_EPT_MISCONFIGURATION, read_page, 0);
        inner_want("guest-physical address", inner_get(GUEST_PHYSICAL_ADDRESS), PAGE(9));
        ept_pages[9] = page_entry(PAGE(9), ALL); /* it is not cached: 28.3.2 */
        *at(PAGE(9)) = 4713;
        inner_want_call(4713);
    }
}

/* SDM 3C 28.2.4 "Accessed and Dirty Flags for EPT" */
static void flags(void)
{
    if (!(capabilities() & CAP_FLAGS)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    begin_anew(read_page, EPTP_FLAGS, PAGE(11));
    *at(PAGE(11)) = 1;
    inner_want_call(1);
    inner_want("flags after a read", ept_pages[11] & (ACCESSED | DIRTY), ACCESSED);
    inner_want("flags of the levels above", ept_top[0] & ept_gib[0] & ept_directory[0][AREA >> 21] & (ACCESSED | DIRTY),
               ACCESSED);
    inner_want("flags of a page without access", ept_pages[12] & (ACCESSED | DIRTY), 0);
    inner_want("the page of the paging structures is written to", ept_directory[0][0] & (ACCESSED | DIRTY),
               ACCESSED | DIRTY);
    inner_set(GUEST_RIP, (u64)write_page);
    inner_want_call(WROTE);
    inner_want("flags after a write", ept_pages[11] & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    ept_pages[11] &= ~(u64)(ACCESSED | DIRTY);
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)write_page);
    inner_want_call(WROTE);
    inner_want("flags after INVEPT and a write", ept_pages[11] & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    begin_anew(write_page, 0, PAGE(11)); /* not enabled: they are ignored */
    inner_want_call(WROTE);
    inner_want("flags that are not in use", ept_pages[11] & (ACCESSED | DIRTY), 0);
}

/* The inner guest's own tables are where the EPT has no page, or none that may be written. */
static void tables_of_the_guest(void)
{
    bool has_flags = capabilities() & CAP_FLAGS;

    for (u32 with = 0; with <= has_flags; with++) {
        begin_anew(read_page, with ? EPTP_FLAGS : 0, PAGE(20));
        for (u32 i = 0; i < ENTRIES; i++)
            at(PAGE(13))[i] = at(inner_get(HOST_CR3))[i] | 0x20; /* accessed */
        *at(PAGE(20)) = 4714;
        inner_set(GUEST_CR3, PAGE(13));
        ept_pages[13] = 0;
        inner_want_exit(REASON_EPT_VIOLATION, read_page, 0);
        /* With flags it is a read and a write; Bochs has the latter only. */
        inner_want("qualification", (inner_get(EXIT_QUALIFICATION) & 0x1bf) | READ,
                   LINEAR_TABLE | READ | (with ? WRITE : 0));
        inner_want("guest-physical address", inner_get(GUEST_PHYSICAL_ADDRESS), PAGE(13));
        ept_pages[13] = page_entry(PAGE(13), READ);
        if (with) { /* accesses to tables count as writes */
            inner_want_exit(REASON_EPT_VIOLATION, read_page, 0);
            inner_want("qualification", (inner_get(EXIT_QUALIFICATION) & 0x1bf) | READ,
                       LINEAR_TABLE | READ | WRITE | READ << 3);
            ept_pages[13] = page_entry(PAGE(13), ALL);
        }
        inner_want_call(4714);
    }
}

static void large_pages(void)
{
    begin_anew(read_page, 0, OTHER + 0x5000);
    *at(OTHER + 0x5000) = 1;
    *at(PAGE(30)) = 2;
    inner_want_call(1);
    ept_split[5] = page_entry(PAGE(30), ALL);
    ept_directory[0][OTHER >> 21] = (u64)ept_split | ALL;
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)read_page);
    inner_want_call(2);
    ept_directory[0][OTHER >> 21] = page_entry(OTHER, ALL) | LARGE;
    invept(GLOBAL);
    inner_set(GUEST_RIP, (u64)read_page);
    inner_want_call(1);
    if (!(capabilities() & CAP_1G))
        return;
    ept_gib[0] = page_entry(0, ALL) | LARGE;
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)read_page);
    inner_want_call(1);
    ept_directory[0][OTHER >> 21] = page_entry(AREA, ALL) | LARGE;
    *at(AREA + 0x5000) = 3;
    ept_gib[0] = (u64)ept_directory[0] | ALL;
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)read_page);
    inner_want_call(3);
}

/* A second EPT, which has other memory at this address. */
static void begin_two_pointers(program *start)
{
    static table gib, directory;

    begin_anew(start, 0, OTHER + 0x40);
    *at(OTHER + 0x40) = 1;
    *at(AREA + 0x40) = 2;
    gib[0] = (u64)directory | ALL;
    for (u32 i = 0; i < ENTRIES; i++)
        directory[i] = ept_directory[0][i];
    directory[OTHER >> 21] = page_entry(AREA, ALL) | LARGE;
    ept_top2[0] = (u64)gib | ALL;
}

/* Each EPT pointer has mappings of its own. */
static void two_pointers(void)
{
    begin_two_pointers(read_page);
    for (u32 i = 0; i < 6; i++) {
        inner_set(EPT_POINTER, (u64)(i & 1 ? ept_top2 : ept_top) | EPTP_WALK_4);
        inner_set(GUEST_RIP, (u64)read_page);
        inner_want_call(1 + i % 2);
    }
}

/* ---- EPTP switching: SDM 3C 25.5.5 "VM Functions" ---- */

#define MSR_VMFUNC 0x491u

PROGRAM(call_function, "vmfunc\n\tmov (%rbx), %rax")

static table eptp_list;

/* Entries 5 and 511 are EPTPs. */
static bool begin_switching(void)
{
    if (!inner_can(PROC2_CONTROLS, PROC2_VMFUNC) || !(inner_read_msr(MSR_VMFUNC) & 1)) {
        inner_leave_out("the CPU has it not");
        return false;
    }
    begin_two_pointers(call_function);
    inner_add(PROC2_CONTROLS, PROC2_VMFUNC);
    inner_set(VM_FUNCTION_CONTROLS, 1);
    inner_set(EPTP_LIST_ADDRESS, (u64)eptp_list);
    eptp_list[5] = (u64)ept_top2 | EPTP_WALK_4;
    eptp_list[511] = (u64)ept_top | EPTP_WALK_4;
    return true;
}

static void eptp_switching(void)
{
    if (!begin_switching())
        return;
    for (u32 i = 0; i < 6; i++) {
        u32 entry = i & 1 ? 511 : 5;
        inner_set(GUEST_RIP, (u64)call_function);
        inner_registers.rax = 0;
        inner_registers.rcx = entry;
        inner_want_call(i & 1 ? 1 : 2);
        inner_want("the EPT pointer", inner_get(EPT_POINTER), eptp_list[entry]);
        inner_set(GUEST_RIP, (u64)read_page); /* and so it stays */
        inner_want_call(i & 1 ? 1 : 2);
    }
}

static void functions_that_exit(void)
{
    static const struct {
        u64 function, entry, value;
        u32 reason;
    } rows[] = {
        {0,          6,              0,                        REASON_VMFUNC}, /* no walk of 4 levels */
        {0,          6,              EPTP_WALK_4 | 1,          REASON_VMFUNC}, /* a reserved memory type */
        {0,          6,              EPTP_WALK_4 | 1u << 11,   REASON_VMFUNC},
        {0,          6,              EPTP_WALK_4 | 1ull << 60, REASON_VMFUNC}, /* wider than an address */
        {0,          512,            0,                        REASON_VMFUNC},
        {0,          0x80000005,     0,                        REASON_VMFUNC},
        {1,          5,              0,                        REASON_VMFUNC}, /* not enabled */
        {63,         5,              0,                        REASON_VMFUNC},
        {64,         5,              0,                        0            }, /* #UD */
        {0x80000000, 5,              0,                        0            },
        {1ull << 32, 1ull << 32 | 5, 0,                        REASON_VMCALL}, /* EAX and ECX count */
    };

    if (!begin_switching())
        return;
    u64 before = inner_get(EPT_POINTER);
    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        eptp_list[6] = rows[i].value;
        inner_set(GUEST_RIP, (u64)call_function);
        inner_registers.rax = rows[i].function;
        inner_registers.rcx = rows[i].entry;
        if (rows[i].reason == REASON_VMFUNC) {
            inner_want_exit(REASON_VMFUNC, call_function, 0);
            inner_want("qualification", inner_get(EXIT_QUALIFICATION), 0);
            inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), 3);
        } else if (rows[i].reason == REASON_VMCALL) {
            inner_want_call(2);
            inner_set(EPT_POINTER, before);
        } else {
            inner_want_call(TRAPPED(6));
        }
        inner_want("the EPT pointer", inner_get(EPT_POINTER), before);
    }
    inner_set(VM_FUNCTION_CONTROLS, 0);
    inner_set(GUEST_RIP, (u64)call_function);
    inner_registers.rax = 0;
    inner_registers.rcx = 5;
    inner_want_exit(REASON_VMFUNC, call_function, 0);
    inner_set(VM_FUNCTION_CONTROLS, 2);
    inner_want("an entry with a function that is none", inner_go(), NOT_ENTERED | 7);
    inner_set(VM_FUNCTION_CONTROLS, 1);
    inner_set(EPTP_LIST_ADDRESS, (u64)eptp_list + 8);
    inner_want("an entry with a list that is not aligned", inner_go(), NOT_ENTERED | 7);
    inner_set(EPTP_LIST_ADDRESS, (u64)eptp_list);
    inner_drop(PROC2_CONTROLS, PROC2_EPT);
    inner_want("an entry without EPT", inner_go(), NOT_ENTERED | 7);
}

/* The interrupt table is where the EPT has no page. */
static void delivery(void)
{
    begin_anew(read_page, 0, OTHER);
    u64 idt = inner_get(GUEST_IDTR_BASE);
    for (u32 i = 0; i < 128; i++)
        at(PAGE(40))[i] = at(idt)[i];
    inner_set(GUEST_IDTR_BASE, PAGE(40));
    inner_set(GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    ept_pages[40] = 0;
    inner_set(ENTRY_INTERRUPTION_INFO, 0x80000030);
    inner_want_exit(REASON_EPT_VIOLATION, read_page, 0);
    inner_want("guest-physical address", inner_get(GUEST_PHYSICAL_ADDRESS) & ~15ull, PAGE(40) + 0x300);
    inner_want("IDT-vectoring information", inner_get(IDT_VECTORING_INFO), 0x80000030);
    ept_pages[40] = page_entry(PAGE(40), ALL);
    inner_set(ENTRY_INTERRUPTION_INFO, inner_get(IDT_VECTORING_INFO));
    inner_want_call(TRAPPED(0x30));
    inner_want("IDT-vectoring information of the next exit", inner_get(IDT_VECTORING_INFO) >> 31, 0);
}

PROGRAM(read_device, "mov (%rbx), %eax")

/* A device that the hypervisor leaves to its inner guest: the local APIC's version. */
static void device(void)
{
    u64 version = 0xfee00030;

    begin_anew(read_device, 0, version);
    inner_want_call(*(volatile u32 *)version);
}

/* ---- without paging, and with another ---- */

PROGRAM(read_32,
        ".code32\n\tmov (%ebx), %eax\n\tvmcall\n\tmov %cr3, %ecx\n\tmov %ecx, %cr3\n\tmov 4(%ebx), %eax\n\t.code64")
PROGRAM(real_mode, ".code16\n\tmov (%bx), %ax\n\tmov %ax, 2(%bx)\n\tmov %esi, %cr0\n\tmov %edi, %cr0\n\t"
                   "mov %cr0, %edx\n\t.code64")

static bool has_unrestricted_guest(void)
{
    if (inner_can(PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST))
        return true;
    inner_leave_out("the CPU has it not");
    return false;
}

static void real(void)
{
    u8 *copy = (u8 *)0x8000;

    if (!has_unrestricted_guest())
        return;
    for (u32 i = 0; i < 32; i++)
        copy[i] = ((const u8 *)real_mode)[i];
    begin_anew(real_mode, 0, 0x100);
    inner_add(PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST);
    inner_leave_long_mode(CR0_PE ^ (cpu_read_cr0() & ~0x80000000ull));
    for (u32 i = 0; i < 6; i++) {
        inner_set(GUEST_ES_SELECTOR + 2 * i, 0x800);
        inner_set(GUEST_ES_BASE + 2 * i, 0x8000);
        inner_set(GUEST_ES_LIMIT + 2 * i, 0xffff);
        inner_set(GUEST_ES_ACCESS + 2 * i, i == 1 ? 0x9b : 0x93);
    }
    inner_set(GUEST_RIP, 0);
    *(u16 *)(copy + 0x100) = 4715;
    inner_registers.rsi = CR0_NE | CR0_CD | CR0_NW; /* PE and PG may be 0, and ET cannot: SDM 3C 23.8 */
    inner_registers.rdi = CR0_NE;
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    inner_want("AX", inner_registers.rax & 0xffff, 4715);
    inner_want("memory", *(u16 *)(copy + 0x102), 4715);
    inner_want("CR0", inner_registers.rdx, CR0_NE | CR0_ET);
    inner_want("the hypervisor is in long mode", inner_read_msr(0xc0000080) >> 8 & 5, 5);
}

static void unpaged(void)
{
    if (!has_unrestricted_guest())
        return;
    begin_anew(read_32, 0, PAGE(50));
    inner_add(PROC2_CONTROLS, PROC2_UNRESTRICTED_GUEST);
    inner_leave_long_mode(cpu_read_cr0() & ~0x80000000ull);
    *at(PAGE(50)) = 4716;
    inner_want_call(4716);
    ept_pages[50] = 0;
    invept(SINGLE);
    inner_set(GUEST_RIP, (u64)read_32);
    want_violation(read_32, READ | LINEAR, PAGE(50));
}

/* With EPT the page-directory pointers come from the VMCS; MOV to CR3 loads them from memory. SDM 3C 26.3.2.4 */
static void pae(void)
{
    u64 *pointers = at(PAGE(60));
    const u64 *directories = at(at(inner_get(HOST_CR3))[0] & ~0xfffull);

    begin_anew(read_32, 0, PAGE(61));
    inner_leave_long_mode(cpu_read_cr0());
    inner_set(GUEST_CR3, PAGE(60));
    for (u32 i = 0; i < 4; i++) {
        inner_set(GUEST_PDPTE_0 + 2 * i, (directories[i] & ~0xfffull) | 1);
        pointers[i] = i == 2 ? 0 : (directories[i] & ~0xfffull) | 1;
    }
    at(PAGE(61))[0] = 4717 | 4718ull << 32;
    inner_want_call(4717);
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    inner_want("RAX", inner_registers.rax, 4718);
    inner_want("the third pointer", inner_get(GUEST_PDPTE_0 + 4), 0);
    inner_want("the fourth pointer", inner_get(GUEST_PDPTE_0 + 6), pointers[3]);
}

/* ---- VPIDs: SDM 3C 28.3.3.1 "Operations that Invalidate Cached Mappings" ---- */

#define MAPPED 0x100000000ull /* the fifth GiB of the page tables, for the time of a scenario */

static void vpids(void)
{
    static table directory, pages;
    u64 *pointers = at(at(inner_get(HOST_CR3))[0] & ~0xfffull);

    if (!inner_can(PROC2_CONTROLS, PROC2_VPID)) {
        inner_leave_out("the CPU has it not");
        return;
    }
    for (u32 vpid = 0; vpid < 5; vpid++) { /* the last without one */
        inner_begin(read_page);
        if (vpid < 4) {
            inner_add(PROC2_CONTROLS, PROC2_VPID);
            inner_set(VPID, 1 + vpid);
        }
        inner_registers.rbx = MAPPED;
        *at(PAGE(70)) = 1;
        *at(PAGE(71)) = 2;
        pages[0] = PAGE(70) | 3;
        directory[0] = (u64)pages | 3;
        pointers[4] = (u64)directory | 3;
        inner_want_call(1);
        pages[0] = PAGE(71) | 3;
        if (vpid < 4) /* an address, a context, all, a context without global ones */
            inner_want("INVVPID", inner_invalidate(true, vpid, 1 + vpid, vpid ? 0 : MAPPED), DONE);
        inner_set(GUEST_RIP, (u64)read_page);
        inner_want_call(2);
        pointers[4] = 0;
        if (vpid < 4)
            inner_want("INVVPID", inner_invalidate(true, SINGLE, 1 + vpid, 0), DONE);
        inner_set(GUEST_RIP, (u64)read_page);
        inner_want_call(TRAPPED(14));
    }
    inner_want("INVVPID of VPID 0", inner_invalidate(true, SINGLE, 0, 0), 28);
    inner_want("INVVPID with reserved bits", inner_invalidate(true, SINGLE, 1 << 16, 0), 28);
    inner_want("INVVPID of an address that is not canonical", inner_invalidate(true, 0, 1, 1ull << 62), 28);
    inner_want("INVVPID of type 4", inner_invalidate(true, 4, 1, 0), 28);
}

#define TOUCHED 256u
PROGRAM(touch, "1: mov (%rbx), %rax\n\tadd $4096, %rbx\n\tdec %ecx\n\tjnz 1b")

static u32 touch_pages(u32 count)
{
    inner_set(GUEST_RIP, (u64)touch);
    inner_registers.rbx = AREA;
    inner_registers.rcx = count;
    u64 before = cpu_rdtsc();
    inner_want("exit reason", inner_go(), REASON_VMCALL);
    return (u32)(cpu_rdtsc() - before);
}

/* The hypervisor itself has had the pages, and the inner guest one of them: so the rest is what touching costs. */
u32 inner_first_touch(void)
{
    begin_anew(touch, 0, AREA);
    for (u32 i = 0; i < TOUCHED; i++)
        *at(PAGE(i)) = i;
    (void)touch_pages(1);
    u32 first = touch_pages(TOUCHED);
    return (first - touch_pages(TOUCHED)) / (TOUCHED - 1);
}

void inner_memory(void)
{
    static const struct inner_row scenarios[] = {
        {"EPT: map and unmap",                           map_and_unmap      },
        {"EPT: rights",                                  rights             },
        {"EPT: execute-only pages",                      execute_only       },
        {"EPT: misconfiguration",                        misconfiguration   },
        {"EPT: accessed and dirty flags",                flags              },
        {"EPT: the inner guest's tables",                tables_of_the_guest},
        {"EPT: large pages",                             large_pages        },
        {"EPT: two pointers",                            two_pointers       },
        {"EPTP switching",                               eptp_switching     },
        {"VM functions that exit",                       functions_that_exit},
        {"EPT: a violation in the middle of a delivery", delivery           },
        {"EPT: a device",                                device             },
        {"real mode",                                    real               },
        {"protected mode without paging",                unpaged            },
        {"PAE paging",                                   pae                },
        {"VPIDs",                                        vpids              },
    };
    const char *missing = inner_can(PROC2_CONTROLS, PROC2_EPT) ? NULL : "the CPU has no EPT";

    inner_run(scenarios, ARRAY_LENGTH(scenarios), missing);
}
