/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: turns paging on and writes over its own page tables while they are in use. With fill=zero (the default)
 * nothing is mapped any more: the next fetch cannot even deliver its page fault, and the VM stops with
 * reason=triple-fault. With fill=ones or fill=wild the tables point to reserved or wild physical addresses, which the
 * host must survive too.
 */
#include "guests/lib/guest.h"

#define PAGE_PRESENT  0x001u
#define PAGE_WRITABLE 0x002u
#define PAGE_LARGE    0x080u

static u32 directory[1024] __attribute__((aligned(4096)));

static u32 fill_value(const char *fill)
{
    if (fill && text_begins_with(fill, "ones"))
        return 0xffffffff;
    if (fill && text_begins_with(fill, "wild"))
        return 0x7ad5a000 | PAGE_WRITABLE | PAGE_PRESENT; /* a page table far outside the VM's memory */
    return 0;
}

int guest_main(void)
{
    for (u32 i = 0; i < ARRAY_LENGTH(directory); i++)
        directory[i] = i << 22 | PAGE_LARGE | PAGE_WRITABLE | PAGE_PRESENT;
    cpu_write_cr4(cpu_read_cr4() | CR4_PSE);
    cpu_write_cr3((u32)directory);
    cpu_write_cr0(cpu_read_cr0() | CR0_PG);

    u32 value = fill_value(guest_option("fill"));
    print("ownpt writing %08x over its page tables\n", value);
    for (u32 i = 0; i < ARRAY_LENGTH(directory); i++)
        *(volatile u32 *)&directory[i] = value;
    cpu_write_cr3((u32)directory);
    guest_fail("still running without page tables");
}
