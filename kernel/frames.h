/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame allocator: all free host-physical memory as free extents in a tree by address, merged. Most calls take time
 * for the logarithm of their number; aligned ones may look at each extent that is large enough. One lock; any CPU,
 * interrupts off or on. Never used on the exit path.
 */
#ifndef ROOTLET_KERNEL_FRAMES_H
#define ROOTLET_KERNEL_FRAMES_H

#include "kernel/lib/addr.h"
#include "kernel/lib/status.h"

/*
 * Before all others. secret: what guests cannot guess; else one that knows where its memory lies could make a tree that
 * is as deep as long.
 */
void frames_init(u64 secret);
/* Gives [base, base+count frames) to the allocator. Precondition: mapped in the direct map, used by nobody. */
void frames_add(hpa_t base, u64 count);
/*
 * `count` contiguous frames whose address is a multiple of `align_frames` frames (a power of two), zeroed.
 * STATUS_NO_MEMORY: no free extent is large enough; nothing changed.
 */
enum status frames_allocate(u64 count, u64 align_frames, hpa_t *out) MUST_CHECK;
/* As frames_allocate, but not zeroed: the caller overwrites every byte before anyone else can read it. */
enum status frames_allocate_dirty(u64 count, u64 align_frames, hpa_t *out) MUST_CHECK;
/*
 * One zeroed frame below `limit`, the lowest there is: for code that must run below 1 MiB. All other allocations take
 * frames below 1 MiB last. STATUS_NO_MEMORY: none is free.
 */
enum status frames_allocate_below(hpa_t limit, hpa_t *out) MUST_CHECK;
/* Returns `count` frames from `base`. A double free or a foreign frame is a host bug: panic. */
void frames_free(hpa_t base, u64 count);
/*
 * The same for frames that may still hold something: they count as free at once, and are zeroed piece by piece by
 * frames_clean_piece(), or before they are allocated if nothing else is left.
 */
void frames_free_dirty(hpa_t base, u64 count);
/* Zeroes a piece of what was freed so, in less than 0.1 ms on any CPU with VMX; false: nothing is left. */
bool frames_clean_piece(void);
/* Number of free frames now. */
u64 frames_free_count(void);
/* The largest free extent that frames_allocate could give with this alignment, in frames; 0: none of as many frames. */
u64 frames_largest(u64 align_frames);

#endif
