/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: reads and writes memory outside its own. A PC answers with all ones and ignores writes; so must the VM,
 * whatever instruction it is. Below 4 GiB with paging off, above through PAE page tables. The firmware area is
 * read-only. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define PAGE_PRESENT  0x001u
#define PAGE_WRITABLE 0x002u
#define PAGE_LARGE    0x080u
#define WINDOW        0x40000000u /* linear address of the 2 MiB that are mapped to a high physical address */

static u64 directory_pointers[4] __attribute__((aligned(32)));
static u64 directories[2][512] __attribute__((aligned(4096)));

/* Every width and some of the instructions that compilers emit for memory. */
static void probe(u32 address)
{
    volatile u8 *byte = (volatile u8 *)address;
    volatile u16 *word = (volatile u16 *)address;
    volatile u32 *dword = (volatile u32 *)address;
    *byte = 0x12;
    *word = 0x1234;
    *dword = 0x12345678;
    *dword |= 1;
    __asm__ volatile("lock incl %0\n\tlock xaddl %1, %0\n\tnotl %0" : "+m"(*dword) : "r"(0u));
    __asm__ volatile("movl $0x5a5a5a5a, %0" : "=m"(*dword));
    expect(*byte == 0xff, "a byte outside the VM's memory is not FF");
    expect(*word == 0xffff, "a word outside the VM's memory is not all ones");
    expect(*dword == 0xffffffff, "a doubleword outside the VM's memory is not all ones");
    int widened;
    __asm__ volatile("movsbl %1, %0" : "=r"(widened) : "m"(*byte));
    expect(widened == -1, "MOVSX from outside the VM's memory");
    u32 exchanged = 7;
    __asm__ volatile("xchgl %0, %1" : "+r"(exchanged), "+m"(*dword));
    expect(exchanged == 0xffffffff, "XCHG with memory outside the VM's");
    bool carry;
    __asm__ volatile("btl $3, %1" : "=@ccc"(carry) : "m"(*dword));
    expect(carry, "BT on memory outside the VM's");

    u32 buffer[4] = {0, 0, 0, 0};
    void *to = buffer;
    const void *from = (const void *)address;
    u32 count = ARRAY_LENGTH(buffer);
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    expect(buffer[0] == 0xffffffff && buffer[3] == 0xffffffff, "REP MOVS from outside the VM's memory");
    to = (void *)address;
    count = ARRAY_LENGTH(buffer);
    __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    expect(*dword == 0xffffffff, "REP STOS outside the VM's memory");
}

/* A word of which the first byte is the last of RAM. */
static void probe_across(u32 end)
{
    volatile u8 *last = (volatile u8 *)(end - 1);
    *last = 0x21;
    volatile u16 *across = (volatile u16 *)(end - 1);
    expect(*across == 0xff21, "a word across the end of RAM reads wrong");
    *across = 0x4365;
    expect(*last == 0x65, "a word across the end of RAM writes wrong");
}

static void check_firmware_area(void)
{
    volatile u32 *rom = (volatile u32 *)ROOTLET_MEM_ROM;
    u32 before = *rom;
    *rom = ~before;
    expect(*rom == before, "the firmware area can be written");
}

static void check_below_4g(void)
{
    u32 end = ROOTLET_MEM_HIGH + (u32)guest_upper_memory_bytes();
    const u32 addresses[] = {ROOTLET_MEM_LOW_END, ROOTLET_MEM_TEXT_END, 0xd0000,    end,        end + 0x1000,
                             0x40000000,          0x80000000,           0xc0000000, 0xf0000000, 0xfffff000};
    for (u32 i = 0; i < ARRAY_LENGTH(addresses); i++) {
        print("outside probing %x\n", addresses[i]);
        probe(addresses[i]);
    }
    probe_across(end);
}

/* Maps the first GiB one to one and, at WINDOW, 2 MiB of `physical`; turns PAE paging on at the first call. */
static void map_window(u64 physical)
{
    for (u32 i = 0; i < 512; i++)
        directories[0][i] = (u64)i << 21 | PAGE_LARGE | PAGE_WRITABLE | PAGE_PRESENT;
    directories[1][0] = physical | PAGE_LARGE | PAGE_WRITABLE | PAGE_PRESENT;
    directory_pointers[0] = (u32)directories[0] | PAGE_PRESENT;
    directory_pointers[1] = (u32)directories[1] | PAGE_PRESENT;
    cpu_write_cr4(cpu_read_cr4() | CR4_PAE);
    cpu_write_cr3((u32)directory_pointers);
    cpu_write_cr0(cpu_read_cr0() | CR0_PG);
}

static void check_above_4g(void)
{
    static const u64 addresses[] = {0x400000000, 0x800000000, 0xfffe00000};
    for (u32 i = 0; i < ARRAY_LENGTH(addresses); i++) {
        print("outside probing %llx\n", addresses[i]);
        map_window(addresses[i]);
        probe(WINDOW);
    }
}

int guest_main(void)
{
    interrupts_init();
    check_firmware_area();
    check_below_4g();
    check_above_4g();
    print("outside ok\n");
    return 0;
}
