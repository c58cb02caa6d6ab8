/*
 * Extended page tables: a VM's guest-physical to host-physical map, built once from its region table, with the largest
 * pages that alignment and the CPU allow. SDM 3C 28.2 "The Extended Page Table Mechanism (EPT)".
 */
#ifndef ROOTLET_VMX_EPT_H
#define ROOTLET_VMX_EPT_H

#include "kernel/guest_memory.h"

struct ept_options {
    bool pages_2m;
    bool pages_1g;
};

/*
 * Builds the tables for `memory`; *root is the frame of the top level. RAM and the text page are read, write and
 * execute, ROM is read and execute; all is write-back with "ignore PAT", as the host maps it: a guest that chose a type
 * of its own would make aliases of two types (SDM 3A 11.12.4 "Programming the PAT"), and has no device in memory that
 * could tell. STATUS_NO_MEMORY: nothing is held.
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
/* Frees the tables below and including `root`. Precondition: no CPU uses them (detached and invalidated before reuse).
 */
void ept_release(u64 root);
/* The EPTP for a root: write-back, four levels. SDM 3C 24.6.11 "Extended-Page-Table Pointer (EPTP)" */
static inline u64 ept_pointer(u64 root)
{
    return root | 6 | 3 << 3;
}
/* What the tables map an address to; for tests and reports. False if nothing. */
bool ept_lookup(u64 root, gpa_t address, hpa_t *out, u64 *page_bytes);

#endif
