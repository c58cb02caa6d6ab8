/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which memory is free when the boot loader hands over: RAM, less everything else that the memory map names, less what
 * we keep (the kernel, its symbols, the information block, the modules). Pure.
 */
#ifndef ROOTLET_KERNEL_START_BOOT_MEMORY_H
#define ROOTLET_KERNEL_START_BOOT_MEMORY_H

#include "boot/boot_info.h"

#define BOOT_MEMORY_MAX_RANGES (BOOT_MAX_REGIONS + BOOT_MAX_MODULES + 8u)

/* [base, end), in bytes */
struct boot_range {
    u64 base;
    u64 end;
};

struct boot_ranges {
    struct boot_range items[BOOT_MEMORY_MAX_RANGES];
    u32 count;
};

/* Appends [base, base + size_bytes); an empty range or one that wraps is cut or left out. False if the list is full. */
bool boot_memory_append(struct boot_ranges *ranges, u64 base, u64 size_bytes) MUST_CHECK;
/* The map's regions of one kind, sorted and merged. */
void boot_memory_regions(const struct boot_info *info, enum boot_region_kind kind, struct boot_ranges *out);
/*
 * Calls give(context, base, count) for every run of whole free frames, ascending, disjoint and not touching. `keep`:
 * the caller's exclusions; modules, symbols and every region that is not RAM are added to it, and it is sorted. Even a
 * byte of a frame that is kept keeps the frame. Frame 0 is always kept. STATUS_NO_MEMORY: `keep` has no room left.
 */
enum status boot_memory_collect(const struct boot_info *info, struct boot_ranges *keep,
                                void (*give)(void *context, hpa_t base, u64 count), void *context) MUST_CHECK;

#endif
