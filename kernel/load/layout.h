/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where things go in guest memory while an image is loaded: what the image itself covers, and free places for modules
 * and the information block. Pure but for layout_append.
 */
#ifndef ROOTLET_KERNEL_LOAD_LAYOUT_H
#define ROOTLET_KERNEL_LOAD_LAYOUT_H

#include "kernel/load/load.h"

#define LAYOUT_MAX_EXTENTS 56u
#define LAYOUT_STACK_TOP   0x7c00u /* where ESP and SP start: below the boot sector's place, as after a BIOS */

struct layout_extent {
    u64 base;
    u64 end;
};

struct layout {
    const struct guest_memory *memory;
    struct layout_extent used[LAYOUT_MAX_EXTENTS];
    u32 used_count;
    u64 image_end; /* the highest end that was claimed */
};

void layout_init(struct layout *layout, const struct guest_memory *memory);
/* True if all of [base, base + bytes) is RAM. */
bool layout_is_ram(const struct guest_memory *memory, u64 base, u64 bytes);
/* STATUS_NO_MEMORY if `end` lies above the RAM below 4 GiB; *why names the mem= that would do. */
COLD enum status layout_check_top(const struct guest_memory *memory, u64 end, struct refusal *why) MUST_CHECK;
/* Notes a part of the image. STATUS_OUT_OF_RANGE: it is not all RAM. Parts may overlap. */
COLD enum status layout_claim(struct layout *layout, u64 base, u64 bytes, struct refusal *why) MUST_CHECK;
/*
 * Finds and claims a page-aligned place in RAM below 4 GiB that overlaps nothing: after the image if possible, else
 * above 1 MiB, else in low memory. STATUS_NO_MEMORY: none is large enough; `what` is named in *why.
 */
COLD enum status layout_place(struct layout *layout, u64 bytes, const char *what, u64 *address,
                              struct refusal *why) MUST_CHECK;
/* Places and copies every module of the request; starts[i] is the address of module i. */
COLD enum status layout_place_modules(struct layout *layout, const struct load_request *request, u64 *starts,
                                      struct refusal *why) MUST_CHECK;

/* One entry of a PC's memory map, in the numbering that multiboot 1 and 2 share. */
struct layout_map_entry {
    u64 base;
    u64 size_bytes;
    u32 type; /* 1: RAM, 2: reserved */
};

/* The next entry after *index regions, adjacent RAM joined; *index begins at 0. False at the end. */
COLD bool layout_next_map_entry(const struct guest_memory *memory, u32 *index, struct layout_map_entry *entry);
u32 layout_count_map_entries(const struct guest_memory *memory);

/* Appends to a block in guest memory; with memory NULL it only counts, so that one function sizes and writes a block.
 */
struct layout_writer {
    const struct guest_memory *memory;
    u64 base;
    u64 used_bytes;
};

/* Precondition: the block was placed with the size that a counting run gave. */
void layout_append(struct layout_writer *writer, const void *data, u64 bytes);
void layout_append_u32(struct layout_writer *writer, u32 value);
void layout_append_u64(struct layout_writer *writer, u64 value);
/* With its NUL. */
void layout_append_string(struct layout_writer *writer, const char *text);

#endif
