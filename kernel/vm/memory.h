/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's memory: the region table, sorted by guest-physical address, disjoint, page-aligned. It is the one truth that
 * EPT, the loaders and the copy functions share (docs/design.md, "Guest memory"). Each region is contiguous in host
 * memory. Built when the VM starts, constant until it is released: readers take no lock.
 */
#ifndef ROOTLET_KERNEL_VM_MEMORY_H
#define ROOTLET_KERNEL_VM_MEMORY_H

#include "kernel/lib/addr.h"
#include "kernel/lib/status.h"

#define GUEST_LOW_RAM_BYTES   KIB(640)
#define GUEST_TEXT_PAGE       0xB8000ull /* 32 KiB of text memory */
#define GUEST_TEXT_BYTES      KIB(32)
#define GUEST_FIRMWARE_BASE   0xE0000ull /* firmware tables; ROM for the guest */
#define GUEST_FIRMWARE_BYTES  KIB(128)
#define GUEST_HIGH_RAM_BASE   MIB(1)
#define GUEST_LOW_RAM_TOP_MAX GIB(3) /* RAM beyond goes to 4 GiB and up */
#define GUEST_MEM_MIN_BYTES   MIB(1)
#define GUEST_MEM_MAX_BYTES   GIB(64)
#define GUEST_MAX_REGIONS     48

enum guest_region_kind {
    GUEST_REGION_RAM,
    GUEST_REGION_TEXT, /* text page: memory, but not in the guest's memory map */
    GUEST_REGION_ROM   /* firmware tables: the guest reads, writes are ignored */
};

struct guest_region {
    gpa_t base;
    u64 size_bytes;
    hpa_t frames;
    enum guest_region_kind kind;
};

struct guest_memory {
    struct guest_region regions[GUEST_MAX_REGIONS];
    u32 region_count;
    u64 mem_bytes; /* as configured: the PC's memory size, the hole below 1 MiB included */
};

/* A size as the configuration writes it: "8M", "1536K". */
struct guest_memory_text {
    char text[24];
};
struct guest_memory_text guest_memory_text(u64 bytes);

/*
 * Allocates zeroed memory for a PC with mem_bytes of memory (a multiple of 4 KiB between the two bounds above), in the
 * largest pieces that the allocator has, aligned for 2 MiB (or 1 GiB) EPT mappings where possible.
 * STATUS_OUT_OF_RANGE, STATUS_NO_MEMORY: nothing is held; *why names the figure that is missing.
 */
enum status guest_memory_allocate(struct guest_memory *memory, u64 mem_bytes, struct refusal *why) MUST_CHECK;
/* Zeroes and frees every region. Precondition: no EPT maps it any more. */
void guest_memory_release(struct guest_memory *memory);

/* The region that contains address, or NULL. */
const struct guest_region *guest_memory_find(const struct guest_memory *memory, gpa_t address);
/* The host's view of `bytes` bytes at `address`, good until the memory is released; NULL if not all in one region. */
void *guest_memory_view(const struct guest_memory *memory, gpa_t address, u64 bytes);
/*
 * Checked copies: STATUS_OUT_OF_RANGE if any byte lies outside the regions (adjacent regions may be crossed); then
 * nothing was copied. guest_memory_write and _fill write ROM too: they act for the VM's firmware and loader.
 */
enum status guest_memory_read(const struct guest_memory *memory, gpa_t from, void *to, u64 bytes) MUST_CHECK;
enum status guest_memory_write(const struct guest_memory *memory, gpa_t to, const void *from, u64 bytes) MUST_CHECK;
enum status guest_memory_fill(const struct guest_memory *memory, gpa_t to, u8 value, u64 bytes) MUST_CHECK;
/* Highest RAM address below 4 GiB, exclusive. */
u64 guest_memory_low_top(const struct guest_memory *memory);
/* True if the table is sorted, disjoint and aligned: debug builds and unit tests call it. */
bool guest_memory_check(const struct guest_memory *memory);

#endif
