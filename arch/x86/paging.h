/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's own address space. The kernel image is linked at KERNEL_BASE (top 2 GiB); all physical memory is mapped at
 * DIRECT_MAP_BASE with large pages, never executable. W^X, NX, WP, and SMEP/SMAP/UMIP where the CPU has them.
 * SDM 3A 4.5 "4-Level Paging and 5-Level Paging".
 */
#ifndef ROOTLET_ARCH_PAGING_H
#define ROOTLET_ARCH_PAGING_H

#include "kernel/lib/addr.h"
#include "kernel/lib/status.h"

#define KERNEL_BASE     0xffffffff80000000ull /* the image: virtual - KERNEL_BASE + paging_image_offset is physical */
#define DIRECT_MAP_BASE 0xffff800000000000ull
#define DIRECT_MAP_MAX  (64ull << 40) /* physical memory beyond is not used */

/* By how many bytes, a multiple of 2 MiB, the boot loader moved the image (boot/entry.asm). */
extern u64 paging_image_offset;

#ifndef ROOTLET_HOST_TEST
static inline void *phys_to_virt(hpa_t address)
{
    return (void *)(uintptr_t)(address.raw + DIRECT_MAP_BASE);
}

/* Of a pointer into the direct map or the kernel image. */
static inline hpa_t virt_to_phys(const void *pointer)
{
    u64 address = (u64)(uintptr_t)pointer;
    return hpa(address >= KERNEL_BASE ? address - KERNEL_BASE + paging_image_offset : address - DIRECT_MAP_BASE);
}
#else
/* In host tests the test itself provides these: physical memory is an array. */
void *phys_to_virt(hpa_t address);
hpa_t virt_to_phys(const void *pointer);
#endif

/* A piece of physical memory, for the direct map. */
struct paging_range {
    u64 base;
    u64 size_bytes;
};

/* Gives one zeroed frame that is mapped already; false if there is none. */
typedef bool (*paging_frame_source)(hpa_t *out);

/*
 * Builds the kernel's tables and loads them: the image W^X, its text and read-only data read-only through the direct
 * map too; a direct map of the first 4 GiB and of `memory` beyond (ranges of RAM and firmware tables: sorted,
 * disjoint). Boot CPU, once, after features_enable_cpu, while the boot tables map 4 GiB: `source` gives frames below 4
 * GiB until this returns, and `memory` stays as it is for ever. STATUS_NO_MEMORY: too few frames; the boot tables are
 * still in use.
 */
enum status paging_init(const struct paging_range *memory, u32 count, paging_frame_source source) MUST_CHECK;
/* Takes a page of the kernel image out of the mapping, to guard what lies above it. Before other CPUs are started. */
void paging_remove_image_page(const void *page);
/*
 * Maps [base, base + bytes) in the direct map, read-only, as far as it is not there yet: firmware tables that lie above
 * 4 GiB outside of RAM. Boot CPU, before other CPUs are started. False: beyond what can be mapped, or no memory.
 */
bool paging_map_firmware(hpa_t base, u64 bytes) MUST_CHECK;
/* Maps `bytes` of device registers uncached; STATUS_NO_MEMORY if the window for devices is full. Never unmapped. */
enum status paging_map_device(hpa_t base, u64 bytes, volatile void **out) MUST_CHECK;
/* Allocates a stack of `bytes` (a multiple of 4 KiB) with an unmapped guard page below it; *top is its end. */
enum status paging_allocate_stack(u64 bytes, u64 *top) MUST_CHECK;
/* True if all of it is memory that paging_init was told of, so that the direct map may be read there. */
bool paging_is_memory(hpa_t base, u64 bytes);
/* The CR3 that every CPU uses. */
u64 paging_cr3(void);

#endif
