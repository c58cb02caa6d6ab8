/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A load plan: which bytes of an image go where, and where execution begins. ELF program headers and multiboot's
 * address fields both end as one. Everything in a plan has been checked against the image; nothing yet against guest
 * memory.
 */
#ifndef ROOTLET_KERNEL_LOAD_PLAN_H
#define ROOTLET_KERNEL_LOAD_PLAN_H

#include "kernel/load/layout.h"

#define PLAN_MAX_SEGMENTS 32u

_Static_assert(LAYOUT_MAX_EXTENTS > PLAN_MAX_SEGMENTS + LOAD_MAX_MODULES, "room for all parts and the information");

/* Invariant: the file bytes lie inside the image, file_bytes <= memory_bytes, address + memory_bytes <= 4 GiB. */
struct plan_segment {
    u64 file_offset;
    u64 file_bytes;
    u64 address;
    u64 memory_bytes; /* the rest is zeroed */
};

struct plan {
    struct plan_segment segments[PLAN_MAX_SEGMENTS];
    u32 count;
    u64 low; /* the lowest and the highest address of all segments */
    u64 high;
    u64 entry; /* physical */
};

/* The address fields of a multiboot header, version 1 or 2. */
struct plan_address_form {
    u64 header_offset; /* where the header is in the file */
    u32 header_address;
    u32 load_address;
    u32 load_end; /* 0: to the end of the file */
    u32 bss_end;  /* 0: no bss */
    u32 entry;
};

void plan_init(struct plan *plan);
/* STATUS_TRUNCATED: the file bytes are not all there. STATUS_INVALID: the invariant above or too many segments. */
COLD enum status plan_add(struct plan *plan, const struct image *image, const struct plan_segment *segment,
                          struct refusal *why) MUST_CHECK;
/* Fills an empty plan. STATUS_INVALID: the fields contradict each other. */
COLD enum status plan_from_addresses(struct plan *plan, const struct image *image, const struct plan_address_form *form,
                                     struct refusal *why) MUST_CHECK;
/* True if `address` lies in one of the segments. */
bool plan_contains(const struct plan *plan, u64 address);
/* True if every segment, moved up by delta, lies in RAM. */
bool plan_fits(const struct plan *plan, const struct guest_memory *memory, u64 delta);
/*
 * Claims and writes every segment, moved by `delta` (modulo 2^64); later ones win where they overlap. STATUS_NO_MEMORY
 * and STATUS_OUT_OF_RANGE as layout_check_top and layout_claim.
 */
COLD enum status plan_load(const struct plan *plan, const struct image *image, struct layout *layout, u64 delta,
                           struct refusal *why) MUST_CHECK;

#endif
