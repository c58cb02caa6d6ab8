/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's memory: the region table, sorted by guest-physical address, disjoint, page-aligned. It is the one truth that
 * EPT, the loaders and the copy functions share (docs/design.md, "Guest memory"). Each region is contiguous in host
 * memory. Built when the VM starts, constant until it is released: readers take no lock. From the VM's first snapshot
 * on its memory is layered instead: the table is empty here, and layer.h has it and what was written since.
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

struct layer;

struct guest_memory {
    struct guest_region regions[GUEST_MAX_REGIONS];
    u32 region_count;
    u64 mem_bytes;     /* as configured: the PC's memory size, the hole below 1 MiB included */
    struct layer *top; /* NULL: the regions are all there is */
    /* Layered memory: the host has written to a page, which is somewhere else now; or could not, for want of a frame.
     * No lock is held. */
    void (*page_moved)(void *context, gpa_t page);
    void (*write_failed)(void *context, gpa_t page);
    void *context;
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
/* Zeroes and frees every region, or what nobody else uses of layered memory. Precondition: no EPT maps it any more. */
void guest_memory_release(struct guest_memory *memory);
/* Likewise in pieces, each of less than a millisecond. True: all is released; else call it again. */
bool guest_memory_release_piece(struct guest_memory *memory) MUST_CHECK;

/* All of them, of layered memory, too. */
COLD const struct guest_region *guest_memory_regions(const struct guest_memory *memory, u32 *count);
/* The region that contains address, or NULL. */
const struct guest_region *guest_memory_find_in(const struct guest_region *regions, u32 count, gpa_t address);
const struct guest_region *guest_memory_find(const struct guest_memory *memory, gpa_t address);
/* The host's view of `bytes` bytes at `address`, good until the memory is released or layered; NULL if not all in one
 * region, or if the memory is layered: then a page may move. */
void *guest_memory_view(const struct guest_memory *memory, gpa_t address, u64 bytes);
/* Likewise to write to at once, layered or not; NULL if not all in one page, or if there is no frame for it. */
void *guest_memory_open(const struct guest_memory *memory, gpa_t address, u64 bytes);
/*
 * Checked copies: STATUS_OUT_OF_RANGE if any byte lies outside the regions (adjacent regions may be crossed); then
 * nothing was copied. guest_memory_write and _fill write ROM too: they act for the VM's firmware and loader. They
 * return STATUS_NO_MEMORY if layered memory has no frame for a page: the write ends there, and write_failed() is
 * called.
 */
enum status guest_memory_read(const struct guest_memory *memory, gpa_t from, void *to, u64 bytes) MUST_CHECK;
enum status guest_memory_write(const struct guest_memory *memory, gpa_t to, const void *from, u64 bytes) MUST_CHECK;
enum status guest_memory_fill(const struct guest_memory *memory, gpa_t to, u8 value, u64 bytes) MUST_CHECK;
/* Highest RAM address below 4 GiB, exclusive. */
u64 guest_memory_low_top(const struct guest_memory *memory);
/* ---- layered memory: no vCPU of the VM runs ---- */

/*
 * Freezes the memory as it is now; *frozen is a layer that the caller uses from now on. What is written from now on
 * goes to a new top layer. The first time, the VM's memory becomes layered. STATUS_NO_MEMORY: nothing has changed.
 */
enum status guest_memory_freeze(struct guest_memory *memory, struct layer **frozen) MUST_CHECK;
/*
 * Makes the memory what `frozen` has, and forgets what was written since. If the top layer lies on `frozen` anyway,
 * `each` hears of each page that goes back, with its frame; otherwise *all is true: any page may be another.
 * STATUS_NO_MEMORY: nothing has changed.
 */
enum status guest_memory_go_back(struct guest_memory *memory, struct layer *frozen,
                                 void (*each)(void *context, u64 address, u64 frame), void *context,
                                 bool *all) MUST_CHECK;
/* Fills empty memory with what `frozen` has, shared until it is written. STATUS_NO_MEMORY: nothing is held. */
enum status guest_memory_share(struct guest_memory *memory, struct layer *frozen) MUST_CHECK;

/* True if the table is sorted, disjoint and aligned: debug builds and unit tests call it. */
bool guest_memory_check(const struct guest_memory *memory);

#endif
