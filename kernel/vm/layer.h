/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory in layers, from a VM's first snapshot on. The lowest layer is the memory as it was allocated; each layer
 * above it has the pages that were written since the one below was frozen. A VM writes to its top layer, which is its
 * own. What lies below is constant while somebody else uses it, too: a snapshot, or the layers of other VMs. Users are
 * counted by layer, so a snapshot costs two frames, whatever memory there is, and each page that is written then one.
 *
 * A layer's pages stand in a tree of three levels. One lock guards all trees, which every function takes for itself.
 */
#ifndef ROOTLET_KERNEL_VM_LAYER_H
#define ROOTLET_KERNEL_VM_LAYER_H

#include "kernel/vm/memory.h"

#define LAYER_ROOTS       68u /* of 1 GiB: guest memory ends at 68 GiB */
#define LAYER_CHUNK_PAGES 512u
#define LAYER_CHUNK_BYTES MIB(2)

struct layer {
    u32 users;           /* atomic: VMs whose top it is, layers above it, snapshots */
    struct layer *below; /* NULL: this is the lowest, and has the regions */
    struct layer *base;  /* the lowest: it stays the same, and as long as this one, whatever is joined in between */
    u64 pages;           /* that it has, without the regions' */
    u64 tables;          /* frames of its tree */
    u64 spare;           /* frames of pages that it no longer has, each with the next one's address; 0: none */
    u64 roots[LAYER_ROOTS];
    u64 mem_bytes;
    u32 region_count;
    struct guest_region regions[GUEST_MAX_REGIONS];
};

/* The lowest layer, which takes the memory's frames over. NULL: no memory; nothing has changed. */
struct layer *layer_make_base(const struct guest_memory *memory);
/* An empty layer above `below`, which it uses. NULL: no memory. */
struct layer *layer_make_above(struct layer *below);
/* Undoes layer_make_base(): the frames are the memory's again. */
void layer_drop_base(struct layer *base);
void layer_hold(struct layer *layer);
/* The last user frees the layer and what it has, and lets the one below go. */
void layer_release(struct layer *layer);
/* Likewise in pieces, of 64 pages: *layer is what there is to release yet. True: nothing; else call it again. */
bool layer_release_piece(struct layer **layer) MUST_CHECK;
/* The regions of the lowest layer. */
const struct layer *layer_base(const struct layer *layer);

/* Where a page's content is; *own: nobody else uses it, so that it may be written. 0: no memory is there. */
u64 layer_find(const struct layer *top, u64 address, bool *own);
/*
 * Makes the page the top layer's own: *frame is where it is now, *moved whether that is another place than before.
 * STATUS_OUT_OF_RANGE: no memory is there. STATUS_NO_MEMORY: nothing has changed.
 */
enum status layer_own(struct layer *top, u64 address, hpa_t *frame, bool *moved) MUST_CHECK;

#define LAYER_PAGE     1u /* bits in an entry of layer_read_chunk() beside the frame: there is memory */
#define LAYER_WRITABLE 2u /* the page may be written: it is nobody else's, and no ROM */

/* All pages of the 2 MiB at `chunk`. `out` has LAYER_CHUNK_PAGES entries, zeroed. */
void layer_read_chunk(const struct layer *top, u64 chunk, u64 *out);
/* The frames of the 2 MiB at `chunk`, contiguous and aligned alike, if no layer but the lowest has a page there; else
 * 0. */
u64 layer_find_large(const struct layer *top, u64 chunk);

/*
 * Forgets all pages of a top layer; `each` hears of every one, and of the frame that shows now in its place, and may
 * not call anything here. The frames stay for pages to come. No vCPU of the VM runs.
 */
void layer_reset(struct layer *top, void (*each)(void *context, u64 address, u64 frame), void *context);
/*
 * Joins each layer below that nothing but the one above it uses with that one, so that a chain does not grow for ever:
 * what remains has a snapshot or leads to another VM, too. Without memory for tables fewer are joined. The VM rests;
 * boot CPU, so that nobody else joins layers meanwhile.
 */
void layer_absorb(struct layer *top);
/* Frames that the layer alone has, its own ones included. */
u64 layer_frames(const struct layer *layer);

#endif
