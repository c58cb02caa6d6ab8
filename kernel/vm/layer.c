/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See layer.h. Runs where a VM is snapshotted, restored, cloned or ends, and where a page is written for the first time
 * afterwards. Nothing here is on the path of a plain exit.
 */
#include "kernel/vm/layer.h"
#include "arch/x86/paging.h"
#include "arch/x86/spinlock.h"
#include "kernel/frames.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define TABLE_ENTRIES 512u
#define STRETCH       64u /* pages in a piece of work, and for which the lock is held */

/* Of all layers' trees. Any CPU; order: VM, then this, then frames. A page is copied under it. */
static struct spinlock lock;

_Static_assert(sizeof(struct layer) <= FRAME_BYTES, "a layer is one frame, besides its tables");
_Static_assert(GUEST_MEM_MAX_BYTES + GIB(4) <= LAYER_ROOTS * GIB(1), "every guest address has a root");

static u64 *table_at(u64 frame)
{
    return phys_to_virt(hpa(frame));
}

static u32 users_of(const struct layer *layer)
{
    return __atomic_load_n(&layer->users, __ATOMIC_ACQUIRE);
}

/* ---- life ---- */

static struct layer *make(struct layer *below)
{
    hpa_t frame;

    if (frames_allocate(1, 1, &frame) != STATUS_OK)
        return NULL;
    struct layer *layer = phys_to_virt(frame);
    layer->users = 1;
    layer->below = below;
    layer->base = below ? below->base : layer;
    return layer;
}

struct layer *layer_make_base(const struct guest_memory *memory)
{
    struct layer *layer = make(NULL);

    if (!layer)
        return NULL;
    layer->mem_bytes = memory->mem_bytes;
    layer->region_count = memory->region_count;
    memcpy(layer->regions, memory->regions, memory->region_count * sizeof memory->regions[0]);
    return layer;
}

void layer_drop_base(struct layer *base)
{
    frames_free(virt_to_phys(base), 1);
}

struct layer *layer_make_above(struct layer *below)
{
    struct layer *layer = make(below);

    if (layer)
        layer_hold(below);
    return layer;
}

void layer_hold(struct layer *layer)
{
    __atomic_fetch_add(&layer->users, 1, __ATOMIC_ACQ_REL);
}

/* Calls `each` for each leaf table: `chunk` is the first address that it has, `table` its frame. */
static void for_each_table(struct layer *layer, void (*each)(struct layer *layer, u64 chunk, u64 table, void *context),
                           void *context)
{
    for (u64 i = 0; i < LAYER_ROOTS; i++) {
        if (!layer->roots[i])
            continue;
        const u64 *middle = table_at(layer->roots[i]);
        for (u64 j = 0; j < TABLE_ENTRIES; j++)
            if (middle[j])
                each(layer, i * GIB(1) + j * LAYER_CHUNK_BYTES, middle[j], context);
    }
}

/*
 * Calls `each`, with the lock, for the entries of a leaf table, some at a time: others get their turns in between, and
 * no CPU waits long for the lock. Nobody else changes this tree, since its VM rests.
 */
static void for_each_entry(u64 chunk, u64 table, void (*each)(u64 *entry, u64 address, void *context), void *context)
{
    u64 *entries = table_at(table);

    for (u64 i = 0; i < LAYER_CHUNK_PAGES;) {
        spin_lock(&lock);
        do {
            if (entries[i])
                each(&entries[i], chunk + i * FRAME_BYTES, context);
        } while (++i % STRETCH);
        spin_unlock(&lock);
        memory_pause_between();
    }
}

/* True: all pages of the leaf table are free, and so is the table. */
static bool free_leaf_piece(u64 table)
{
    u64 *entries = table_at(table);
    u32 freed = 0;

    for (u32 i = 0; i < LAYER_CHUNK_PAGES; i++) {
        if (!entries[i])
            continue;
        if (freed++ == STRETCH)
            return false;
        frames_free_dirty(hpa(entries[i]), 1);
        entries[i] = 0;
    }
    frames_free_dirty(hpa(table), 1);
    return true;
}

/* False: there was none. */
static bool free_leaves_piece(struct layer *layer)
{
    for (u32 i = 0; i < LAYER_ROOTS; i++) {
        if (!layer->roots[i])
            continue;
        u64 *middle = table_at(layer->roots[i]);
        for (u32 j = 0; j < TABLE_ENTRIES; j++) {
            if (!middle[j])
                continue;
            if (free_leaf_piece(middle[j]))
                middle[j] = 0;
            return true;
        }
        frames_free_dirty(hpa(layer->roots[i]), 1);
        layer->roots[i] = 0;
    }
    return false;
}

static bool free_some_spare(struct layer *layer)
{
    for (u32 i = 0; i < STRETCH && layer->spare; i++) {
        u64 frame = layer->spare;
        layer->spare = *table_at(frame);
        frames_free_dirty(hpa(frame), 1);
    }
    return layer->spare;
}

/* No lock is held. Some pages, and a table at most. True: all is free. */
static bool free_piece(struct layer *layer)
{
    if (free_leaves_piece(layer) || free_some_spare(layer))
        return false;
    for (u32 i = 0; i < layer->region_count; i++)
        frames_free_dirty(layer->regions[i].frames, layer->regions[i].size_bytes / FRAME_BYTES);
    frames_free(virt_to_phys(layer), 1);
    return true;
}

bool layer_release_piece(struct layer **at)
{
    struct layer *layer = *at;

    if (!layer)
        return true;
    if (users_of(layer) && __atomic_sub_fetch(&layer->users, 1, __ATOMIC_ACQ_REL)) { /* 0: it has begun to go */
        *at = NULL;
        return true;
    }
    struct layer *below = layer->below;
    if (free_piece(layer))
        *at = below;
    return !*at;
}

void layer_release(struct layer *layer)
{
    while (!layer_release_piece(&layer))
        memory_pause_between();
}

const struct layer *layer_base(const struct layer *layer)
{
    return layer->base;
}

u64 layer_frames(const struct layer *layer)
{
    u64 frames = 1 + layer->pages + layer->tables;

    for (u64 spare = layer->spare; spare; spare = *table_at(spare))
        frames++;
    for (u32 i = 0; i < layer->region_count; i++)
        frames += layer->regions[i].size_bytes / FRAME_BYTES;
    return frames;
}

/* ---- looking up ---- */

/* The leaf table of the 2 MiB around `address`, or NULL. */
static u64 *leaf_of(const struct layer *layer, u64 address)
{
    u64 root = layer->roots[address / GIB(1)];
    u64 leaf = root ? table_at(root)[address / LAYER_CHUNK_BYTES % TABLE_ENTRIES] : 0;

    return leaf ? table_at(leaf) : NULL;
}

static u64 *entry_in(u64 *leaf, u64 address)
{
    return &leaf[address / FRAME_BYTES % LAYER_CHUNK_PAGES];
}

static u64 region_frame(const struct layer *base, u64 address)
{
    const struct guest_region *region = guest_memory_find_in(base->regions, base->region_count, gpa(address));

    return region ? bits_align_down(region->frames.raw + (address - region->base.raw), FRAME_BYTES) : 0;
}

/* Likewise; the caller has the lock. */
static u64 find(const struct layer *top, u64 address, bool *own)
{
    const struct layer *layer = top;

    *own = true;
    if (address >= LAYER_ROOTS * GIB(1))
        return 0;
    for (;; layer = layer->below) {
        u64 *leaf = leaf_of(layer, address);
        u64 frame = leaf ? *entry_in(leaf, address) : 0;
        if (layer != top && users_of(layer) > 1)
            *own = false;
        if (frame)
            return frame;
        if (!layer->below)
            return region_frame(layer, address);
    }
}

u64 layer_find(const struct layer *top, u64 address, bool *own)
{
    spin_lock(&lock);
    u64 frame = find(top, address, own);
    spin_unlock(&lock);
    return frame;
}

static u64 find_large(const struct layer *layer, u64 chunk)
{
    for (; layer->below; layer = layer->below)
        if (leaf_of(layer, chunk))
            return 0;
    const struct guest_region *region = guest_memory_find_in(layer->regions, layer->region_count, gpa(chunk));
    if (!region || region->size_bytes - (chunk - region->base.raw) < LAYER_CHUNK_BYTES)
        return 0;
    u64 frames = region->frames.raw + (chunk - region->base.raw);
    return bits_is_aligned(frames, LAYER_CHUNK_BYTES) ? frames : 0;
}

u64 layer_find_large(const struct layer *top, u64 chunk)
{
    spin_lock(&lock);
    u64 frames = find_large(top, chunk);
    spin_unlock(&lock);
    return frames;
}

/* The lowest layer's part of a chunk. */
static void read_regions(const struct layer *base, u64 chunk, bool own, u64 *out)
{
    u64 end = chunk + LAYER_CHUNK_BYTES;

    for (u32 i = 0; i < base->region_count; i++) {
        const struct guest_region *region = &base->regions[i];
        u64 from = region->base.raw > chunk ? region->base.raw : chunk;
        u64 to = region->base.raw + region->size_bytes < end ? region->base.raw + region->size_bytes : end;
        u64 bits = LAYER_PAGE | (own && region->kind != GUEST_REGION_ROM ? LAYER_WRITABLE : 0);
        u64 frame = region->frames.raw + (from - region->base.raw);
        for (; from < to; from += FRAME_BYTES, frame += FRAME_BYTES)
            out[(from - chunk) / FRAME_BYTES] = frame | bits;
    }
}

/*
 * From the lowest layer upwards, so that what lies above replaces what lies below: chains are short, and each layer has
 * few tables. No page of ROM is in a layer but the lowest.
 */
static void read_layer(const struct layer *layer, u64 chunk, bool own, u64 *out)
{
    if (!layer->below) {
        read_regions(layer, chunk, own, out);
        return;
    }
    read_layer(layer->below, chunk, own && users_of(layer->below) == 1, out);
    const u64 *leaf = leaf_of(layer, chunk);
    for (u32 i = 0; leaf && i < LAYER_CHUNK_PAGES; i++)
        if (leaf[i])
            out[i] = leaf[i] | LAYER_PAGE | (own ? LAYER_WRITABLE : 0);
}

void layer_read_chunk(const struct layer *top, u64 chunk, u64 *out)
{
    spin_lock(&lock);
    read_layer(top, chunk, true, out);
    spin_unlock(&lock);
}

/* ---- writing ---- */

/* The lock is held: frames_allocate() might give others a turn in between, and they would wait for it. */
static enum status open_table(struct layer *layer, u64 *entry)
{
    hpa_t frame;

    if (*entry)
        return STATUS_OK;
    if (frames_allocate_dirty(1, 1, &frame) != STATUS_OK)
        return STATUS_NO_MEMORY;
    memset(phys_to_virt(frame), 0, FRAME_BYTES);
    layer->tables++;
    *entry = frame.raw;
    return STATUS_OK;
}

/* The entry for a page in the layer's tree, with the tables that lead to it. */
static u64 *open_entry(struct layer *layer, u64 address)
{
    u64 *root = &layer->roots[address / GIB(1)];

    if (open_table(layer, root) != STATUS_OK)
        return NULL;
    u64 *middle = &table_at(*root)[address / LAYER_CHUNK_BYTES % TABLE_ENTRIES];
    if (open_table(layer, middle) != STATUS_OK)
        return NULL;
    return entry_in(table_at(*middle), address);
}

static enum status take_frame(struct layer *layer, hpa_t *frame)
{
    if (!layer->spare)
        return frames_allocate_dirty(1, 1, frame);
    frame->raw = layer->spare;
    layer->spare = *table_at(frame->raw);
    return STATUS_OK;
}

static enum status copy_page(struct layer *top, u64 address, u64 from, hpa_t *frame)
{
    u64 *entry = open_entry(top, address);

    if (!entry || take_frame(top, frame) != STATUS_OK)
        return STATUS_NO_MEMORY;
    memcpy(phys_to_virt(*frame), phys_to_virt(hpa(from)), FRAME_BYTES);
    *entry = frame->raw;
    top->pages++;
    return STATUS_OK;
}

enum status layer_own(struct layer *top, u64 address, hpa_t *frame, bool *moved)
{
    enum status status = STATUS_OK;
    bool own;

    spin_lock(&lock);
    u64 from = find(top, address, &own);
    *frame = hpa(from);
    *moved = from && !own;
    if (!from)
        status = STATUS_OUT_OF_RANGE;
    else if (!own)
        status = copy_page(top, address, from, frame);
    spin_unlock(&lock);
    if (status != STATUS_OK) {
        *frame = hpa(0);
        *moved = false;
    }
    return status;
}

/* ---- going back ---- */

struct reset {
    struct layer *layer;
    void (*each)(void *context, u64 address, u64 frame);
    void *context;
};

static void reset_entry(u64 *entry, u64 address, void *context)
{
    const struct reset *reset = context;
    struct layer *layer = reset->layer;
    u64 frame = *entry;
    bool own;

    *entry = 0;
    *table_at(frame) = layer->spare;
    layer->spare = frame;
    layer->pages--;
    reset->each(reset->context, address, find(layer, address, &own));
}

static void reset_table(struct layer *layer, u64 chunk, u64 table, void *context)
{
    (void)layer;
    for_each_entry(chunk, table, reset_entry, context);
}

void layer_reset(struct layer *top, void (*each)(void *context, u64 address, u64 frame), void *context)
{
    struct reset reset = {top, each, context};

    for_each_table(top, reset_table, &reset);
}

/* ---- absorbing ---- */

struct absorption {
    struct layer *from, *into;
    bool failed;
};

/* Room for all of another layer's tables, so that moving its pages cannot fail. */
static void open_tables(struct layer *layer, u64 chunk, u64 table, void *context)
{
    struct absorption *a = context;

    (void)layer;
    (void)table;
    spin_lock(&lock);
    a->failed = a->failed || !open_entry(a->into, chunk);
    spin_unlock(&lock);
    memory_pause_between();
}

static void move_entry(u64 *entry, u64 address, void *context)
{
    const struct absorption *a = context;
    u64 *to = open_entry(a->into, address);

    if (!to || *to) /* what stands above hides it */
        return;
    *to = *entry;
    *entry = 0;
    a->into->pages++;
    a->from->pages--;
}

static void move_table(struct layer *layer, u64 chunk, u64 table, void *context)
{
    (void)layer;
    for_each_entry(chunk, table, move_entry, context);
}

/* Whoever looks meanwhile finds each page above or below, and what is below is not freed before nobody gets there. */
static bool absorb_one(struct layer *layer)
{
    struct layer *below = layer->below;
    struct absorption a = {below, layer, false};

    for_each_table(below, open_tables, &a);
    if (a.failed)
        return false;
    for_each_table(below, move_table, &a);
    spin_lock(&lock);
    layer->below = below->below;
    spin_unlock(&lock);
    while (!free_piece(below))
        memory_pause_between();
    return true;
}

void layer_absorb(struct layer *top)
{
    struct layer *layer = top;

    while (layer->below) {
        bool lonely = layer->below->below && users_of(layer->below) == 1;
        if (!lonely || !absorb_one(layer))
            layer = layer->below;
    }
}
