/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Task switches under paging: CR3 and PAE's page-directory pointers change with the task, the TSSs are the supervisor's
 * to read and write, and a page of theirs that is missing or read-only is a page fault in the old task.
 */
#include "guests/tasks/tasks.h"

#define PAGE    4096u
#define PRESENT 1u
#define WRITE   2u
#define LARGE   0x80u
#define CR0_WP  (1u << 16)
#define GIB     0x40000000u

#define ERROR_PRESENT 1u
#define ERROR_WRITE   2u

static u32 directory[1024] __attribute__((aligned(4096)));
static u32 other_directory[1024] __attribute__((aligned(4096)));
static u32 low[1024] __attribute__((aligned(4096))); /* the first 4 MiB */
static u32 other_low[1024] __attribute__((aligned(4096)));
static u64 pointers[4] __attribute__((aligned(32)));
static u64 other_pointers[4] __attribute__((aligned(32)));
static u64 directories[4][512] __attribute__((aligned(4096)));
static u64 pae_low[512] __attribute__((aligned(4096))); /* the first 2 MiB, of the other */
static u64 other_first[512] __attribute__((aligned(4096)));

static volatile u32 alias[2][PAGE / 4] __attribute__((aligned(4096)));
static u8 area[4 * PAGE] __attribute__((aligned(4096)));
static volatile u32 seen, seen_cr3;

static void reload(void)
{
    u32 cr3;
    __asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(cr3) : : "memory");
}

static u32 *entry_of(const void *at)
{
    return &low[(u32)at / PAGE];
}

static void look(void)
{
    seen = alias[0][0];
    __asm__ volatile("mov %%cr3, %0" : "=r"(seen_cr3));
}

/* Both map all to itself, but in the other address space the first page of `alias` is the second. */
static void build(void)
{
    for (u32 i = 0; i < 1024; i++) {
        directory[i] = other_directory[i] = i << 22 | LARGE | WRITE | PRESENT;
        low[i] = other_low[i] = i * PAGE | WRITE | PRESENT;
    }
    directory[0] = (u32)low | WRITE | PRESENT;
    other_directory[0] = (u32)other_low | WRITE | PRESENT;
    other_low[(u32)alias / PAGE] = (u32)alias[1] | WRITE | PRESENT;
    alias[0][0] = 0xa;
    alias[1][0] = 0xb;
}

static void own_address_space(u32 cr3, u32 mine, const char *text)
{
    tasks_reset(look);
    task->cr3 = cr3;
    seen = 0;
    far_call(TASK);
    expect(seen == 0xb && seen_cr3 == cr3, text);
    look();
    expect(seen == 0xa && seen_cr3 == mine, text);
}

/* The TSS lies across two pages, of which one is changed. */
static void straddle(u32 which, u32 clear)
{
    tasks_reset(look);
    tasks_move((struct tss *)(area + PAGE - 0x30));
    *entry_of(area + which * PAGE) &= ~clear;
    reload();
}

static void restore(void)
{
    for (u32 i = 0; i < sizeof area; i += PAGE)
        *entry_of(area + i) |= WRITE | PRESENT;
    reload();
}

static void expect_page_fault(u32 error, u32 from, u32 bytes, u16 link, const char *text)
{
    expect_caught(VECTOR_PF, error, link, text);
    expect(caught.cr2 - from < bytes, text);
}

static void missing_pages(void)
{
    u32 at = (u32)area + PAGE - 0x30;

    straddle(0, 0);
    far_call(TASK);
    expect(caught.count == 0 && seen == 0xa, "a TSS across two pages");
    for (u32 which = 0; which < 2; which++) {
        straddle(which, PRESENT);
        far_call(TASK);
        restore();
        expect_page_fault(0, which ? (u32)area + PAGE : at, 0x68, MAIN, "a missing page of the new TSS");
        expect(access_of(TASK) == 0x89 && access_of(MAIN) == 0x8b, "busy bits behind a page fault");
    }
    straddle(0, WRITE);
    far_call(TASK);
    restore();
    expect_page_fault(ERROR_PRESENT | ERROR_WRITE, at, 2, MAIN, "no room for the link");
}

void test_paging(void)
{
    build();
    cpu_write_cr4(cpu_read_cr4() | CR4_PSE);
    cpu_write_cr3((u32)directory);
    cpu_write_cr0(cpu_read_cr0() | CR0_PG | CR0_WP);
    own_address_space((u32)other_directory, (u32)directory, "CR3 of a task");
    missing_pages();
    cpu_write_cr0(cpu_read_cr0() & ~CR0_PG);
}

/* A change of CD takes the pointers anew, and refuses one with reserved bits. SDM 3A 4.4.1 "PDPTE Registers" */
static void cache_bits(void)
{
    const volatile u32 *above = (const volatile u32 *)(GIB + (u32)alias);

    pointers[1] = pointers[0];
    cpu_write_cr0(cpu_read_cr0() ^ CR0_CD);
    expect(*above == 0xa, "CR0.CD takes the pointers of PAE paging");
    tasks_reset(NULL);
    pointers[2] |= 0x1e6;
    __asm__ volatile("movl $1f, resume_eip\n\tmov %0, %%cr0\n1:" : : "r"(cpu_read_cr0() ^ CR0_CD) : "memory");
    expect_caught(VECTOR_GP, 0, MAIN, "reserved bits of a pointer");
    pointers[2] &= ~0x1e6ull;
}

void test_pae(void)
{
    for (u32 i = 0; i < 2048; i++)
        directories[i / 512][i % 512] = (u64)i << 21 | LARGE | WRITE | PRESENT;
    for (u32 i = 0; i < 512; i++) {
        pae_low[i] = i * PAGE | WRITE | PRESENT;
        other_first[i] = directories[0][i];
    }
    pae_low[(u32)alias / PAGE] = (u32)alias[1] | WRITE | PRESENT;
    other_first[0] = (u32)pae_low | WRITE | PRESENT;
    for (u32 i = 0; i < 4; i++)
        pointers[i] = other_pointers[i] = (u32)directories[i] | PRESENT;
    other_pointers[0] = (u32)other_first | PRESENT;
    cpu_write_cr4(cpu_read_cr4() | CR4_PAE);
    cpu_write_cr3((u32)pointers);
    cpu_write_cr0((cpu_read_cr0() & ~(CR0_CD | CR0_NW)) | CR0_PG);
    own_address_space((u32)other_pointers, (u32)pointers, "CR3 of a task in PAE paging");
    cache_bits();
    cpu_write_cr0(cpu_read_cr0() & ~(CR0_PG | CR0_CD));
    cpu_write_cr4(cpu_read_cr4() & ~CR4_PAE);
}
