/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extended page tables: a VM's guest-physical to host-physical map, built once from its region table, with the largest
 * pages that alignment and the CPU allow. SDM 3C 28.2 "The Extended Page Table Mechanism (EPT)".
 */
#ifndef ROOTLET_VMX_EPT_H
#define ROOTLET_VMX_EPT_H

#include "kernel/lib/bits.h"
#include "kernel/vm/memory.h"

/* Entries. SDM 3C tables 28-1 to 28-6 */
#define EPT_READ    BIT(0)
#define EPT_WRITE   BIT(1)
#define EPT_EXECUTE BIT(2)
/* SDM 3C 28.2.6.2 "Memory Type Used for Translated Guest-Physical Addresses": so the guest's PAT does not count. */
#define EPT_WRITE_BACK (6ull << 3 | BIT(6))
#define EPT_LARGE      BIT(7)
#define EPT_ADDRESS    0x000ffffffffff000ull

struct ept_options {
    bool pages_2m;
    bool pages_1g;
    bool fetch_small; /* code runs in pages of 4 KiB only: errata_page_size_change() */
};

/*
 * Builds the tables for `memory`; *root is the frame of the top level. RAM and the text page are read, write and
 * execute, ROM is read and execute (but see fetch_small); all is write-back with "ignore PAT", as the host maps it: a
 * guest that chose a type of its own would make aliases of two types (SDM 3A 11.12.4 "Programming the PAT"), and has no
 * device in memory that could tell. STATUS_NO_MEMORY: nothing is held.
 */
enum status ept_build(const struct guest_memory *memory, struct ept_options options, u64 *root) MUST_CHECK;
/*
 * Copies of the tables on the way to one address, with a page mapped there (read, write); *copy is the new root, all
 * else is shared. Precondition: nothing is mapped in the page's 2 MiB by a larger page. STATUS_NO_MEMORY: nothing is
 * held.
 */
enum status ept_copy_with_page(u64 root, gpa_t address, hpa_t page, u64 *copy) MUST_CHECK;
/* Frees what ept_copy_with_page made, before its original. */
void ept_release_copy(u64 copy, gpa_t address);
enum ept_fetch {
    EPT_FETCH_ALLOWED,  /* code may run there */
    EPT_FETCH_SPLIT,    /* now it may: EPT translations are to be flushed */
    EPT_FETCH_UNMAPPED, /* there is no memory */
    EPT_FETCH_NO_MEMORY /* for tables; what is mapped where has not changed */
};
/*
 * Makes the page of 4 KiB at `address` executable, in `root` and in `copy` (0: there is none), by splitting the larger
 * pages that have it. Other CPUs may be walking the tables. The caller holds the VM's lock.
 */
enum ept_fetch ept_allow_fetch(u64 root, u64 copy, gpa_t address) MUST_CHECK;
/* Frees the tables below and including `root`. Precondition: no CPU uses them (detached and invalidated before reuse).
 */
void ept_release(u64 root);
/* ---- layered memory (kernel/vm/layer.h): the tables are a cache of it, filled where the guest goes ---- */

/*
 * Tables down to those of 2 MiB for all memory, in `root` and in `copy` (0: there is none). What is mapped where does
 * not change. STATUS_NO_MEMORY: likewise, and some are missing.
 */
enum status ept_open(u64 root, u64 copy, const struct guest_memory *memory) MUST_CHECK;
/* Nothing is mapped any more. Precondition: ept_open(), and no CPU runs the VM. */
void ept_clear(u64 root, const struct guest_memory *memory);
/*
 * Maps the page of layered memory at `address`, or all of its 2 MiB: to be read, and to be written if it is the VM's
 * own. *replaced: something else was mapped there, which CPUs may have cached. The caller holds the VM's lock.
 * Precondition: ept_open(), and there is memory. STATUS_NO_MEMORY: nothing has changed.
 */
enum status ept_map_layered(u64 root, const struct guest_memory *memory, gpa_t address, struct ept_options options,
                            bool *replaced) MUST_CHECK;
/* The page is somewhere else now: what maps it is changed, or taken away. The caller holds the VM's lock. */
void ept_page_moved(u64 root, gpa_t address, hpa_t frame, bool writable);

/* The EPTP for a root: write-back, four levels. SDM 3C 24.6.11 "Extended-Page-Table Pointer (EPTP)" */
static inline u64 ept_pointer(u64 root)
{
    return root | 6 | 3 << 3;
}
/* What the tables map an address to; for tests and reports. False if nothing. */
bool ept_lookup(u64 root, gpa_t address, hpa_t *out, u64 *page_bytes);

#endif
