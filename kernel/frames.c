/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame allocator. A free extent's descriptor stands in its own first frame, reached through the direct map. The
 * extents are a tree by address, and neighbours are merged, so a double free is an overlap and cannot hide. The tree is
 * a treap: who is above whom is a hash of the address and of a key that no guest can know, so that it is as deep as the
 * logarithm of its size whatever guests make free. The lock is never held for long then, and the recursion is short. A
 * single frame is the high end of the smallest extent, so that the small pieces are used up and the big ones stay
 * whole; more are in the lowest extent where they fit; and what lies below 1 MiB goes last. Any CPU; one lock (order:
 * frames, then console).
 */
#include "kernel/frames.h"
#include "arch/x86/paging.h"
#include "arch/x86/spinlock.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"

#define LOW_MEMORY_END MIB(1)
#define NO_EXTENT      0ull /* frame 0 is never given to the allocator */
#define MAX_OWNED      1024u
#define PIECE_FRAMES   8u /* that are zeroed at a time */

struct extent {
    u64 frames;
    u64 low, high;   /* subtrees, of lower and of higher addresses: the physical address of their top, or NO_EXTENT */
    u64 most, least; /* frames of the largest and of the smallest extent of this subtree */
};

/* What frames_add gave: a frame outside of it is a foreign one. Ascending additions that touch share an entry. */
struct owned {
    u64 base;
    u64 end;
};

static struct spinlock lock;
static u64 root = NO_EXTENT;
static u64 first_dirty = NO_EXTENT; /* extents that are free but for being zeroed, a list by `high` in no order */
static u64 free_frames, dirty_frames;
static u64 key;
static struct owned owned[MAX_OWNED];
static u32 owned_count;

static struct extent *extent_at(u64 base)
{
    return phys_to_virt(hpa(base));
}

static u64 extent_end(u64 base)
{
    return base + extent_at(base)->frames * FRAME_BYTES;
}

/* The highest aligned place for `count` frames in the extent at `base`; false if it does not fit. */
static bool place_in(u64 base, u64 count, u64 align_frames, u64 *place)
{
    if (extent_at(base)->frames < count)
        return false;
    *place = bits_align_down(extent_end(base) - count * FRAME_BYTES, align_frames * FRAME_BYTES);
    return *place >= base;
}

/* Whoever has more is above. Neighbours' are as different as any (the finalizer of MurmurHash3). */
static u64 priority_of(u64 base)
{
    u64 hash = base / FRAME_BYTES ^ key;

    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdull;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ull;
    return hash ^ hash >> 33;
}

/* The top of a subtree has other subtrees below it now. */
static COLD u64 updated(u64 base)
{
    struct extent *e = extent_at(base);

    e->most = e->least = e->frames;
    for (int i = 0; i < 2; i++) {
        u64 below = i ? e->high : e->low;
        if (below == NO_EXTENT)
            continue;
        if (extent_at(below)->most > e->most)
            e->most = extent_at(below)->most;
        if (extent_at(below)->least < e->least)
            e->least = extent_at(below)->least;
    }
    return base;
}

static COLD u64 make_extent(u64 base, u64 end)
{
    *extent_at(base) = (struct extent){(end - base) / FRAME_BYTES, NO_EXTENT, NO_EXTENT, 0, 0};
    return updated(base);
}

/* One tree of two, of which all of `high` is behind all of `low`. */
static COLD u64 join(u64 low, u64 high)
{
    if (low == NO_EXTENT || high == NO_EXTENT)
        return low == NO_EXTENT ? high : low;
    if (priority_of(low) > priority_of(high)) {
        extent_at(low)->high = join(extent_at(low)->high, high);
        return updated(low);
    }
    extent_at(high)->low = join(low, extent_at(high)->low);
    return updated(high);
}

/* Takes a tree apart: what begins before `address` and what does not. */
static COLD void split(u64 tree, u64 address, u64 *low, u64 *high)
{
    if (tree == NO_EXTENT) {
        *low = *high = NO_EXTENT;
    } else if (tree < address) {
        split(extent_at(tree)->high, address, &extent_at(tree)->high, high);
        *low = updated(tree);
    } else {
        split(extent_at(tree)->low, address, low, &extent_at(tree)->low);
        *high = updated(tree);
    }
}

static u64 first_of(u64 tree)
{
    while (tree != NO_EXTENT && extent_at(tree)->low != NO_EXTENT)
        tree = extent_at(tree)->low;
    return tree;
}

static u64 last_of(u64 tree)
{
    while (tree != NO_EXTENT && extent_at(tree)->high != NO_EXTENT)
        tree = extent_at(tree)->high;
    return tree;
}

static u64 smallest_of(u64 tree)
{
    while (tree != NO_EXTENT && extent_at(tree)->frames != extent_at(tree)->least) {
        u64 low = extent_at(tree)->low;
        bool is_low = low != NO_EXTENT && extent_at(low)->least == extent_at(tree)->least;
        tree = is_low ? low : extent_at(tree)->high;
    }
    return tree;
}

/* Looks at more than one path only if large extents are not aligned. */
static COLD u64 first_fit(u64 tree, u64 count, u64 align_frames)
{
    u64 place;

    if (tree == NO_EXTENT || extent_at(tree)->most < count)
        return NO_EXTENT;
    u64 found = first_fit(extent_at(tree)->low, count, align_frames);
    if (found != NO_EXTENT)
        return found;
    if (place_in(tree, count, align_frames, &place))
        return tree;
    return first_fit(extent_at(tree)->high, count, align_frames);
}

static u64 best_of(u64 tree, u64 count, u64 align_frames)
{
    return count == 1 && align_frames == 1 ? smallest_of(tree) : first_fit(tree, count, align_frames);
}

/* Takes [place, place + count frames) out of the extent at `base`. */
static COLD void carve(u64 base, u64 place, u64 count)
{
    u64 end = extent_end(base), rest = place + count * FRAME_BYTES;
    u64 low, high, alone;

    split(root, base, &low, &high);
    split(high, base + FRAME_BYTES, &alone, &high);
    if (place > base)
        low = join(low, make_extent(base, place));
    if (rest < end)
        high = join(make_extent(rest, end), high);
    root = join(low, high);
    free_frames -= count;
}

static COLD bool take_best(u64 count, u64 align_frames, u64 *place)
{
    u64 low, high;

    split(root, LOW_MEMORY_END, &low, &high);
    u64 base = best_of(high, count, align_frames);
    if (base == NO_EXTENT)
        base = best_of(low, count, align_frames);
    root = join(low, high);
    if (base == NO_EXTENT || !place_in(base, count, align_frames, place))
        return false;
    carve(base, *place, count);
    return true;
}

static bool take_clean(u64 count, u64 align_frames, u64 *out)
{
    spin_lock(&lock);
    bool found = take_best(count, align_frames, out);
    spin_unlock(&lock);
    return found;
}

enum status frames_allocate_dirty(u64 count, u64 align_frames, hpa_t *out)
{
    CHECK(count && align_frames && bits_is_aligned(align_frames, align_frames & -align_frames));
    bool found = take_clean(count, align_frames, &out->raw);
    while (!found && frames_clean_piece())
        found = take_clean(count, align_frames, &out->raw);
    return found ? STATUS_OK : STATUS_NO_MEMORY;
}

enum status frames_allocate(u64 count, u64 align_frames, hpa_t *out)
{
    enum status status = frames_allocate_dirty(count, align_frames, out);

    if (status == STATUS_OK)
        memory_fill_long(phys_to_virt(*out), 0, count * FRAME_BYTES);
    return status;
}

enum status frames_allocate_below(hpa_t limit, hpa_t *out)
{
    spin_lock(&lock);
    u64 base = first_of(root);
    bool found = base != NO_EXTENT && base + FRAME_BYTES <= limit.raw;
    if (found)
        carve(base, base, 1);
    spin_unlock(&lock);
    if (!found)
        return STATUS_NO_MEMORY;
    *out = hpa(base);
    memset(phys_to_virt(*out), 0, FRAME_BYTES);
    return STATUS_OK;
}

static bool is_owned(u64 base, u64 end)
{
    for (u32 i = 0; i < owned_count; i++)
        if (base >= owned[i].base && end <= owned[i].end)
            return true;
    return false;
}

/* Puts [base, end) into the tree and merges it with its neighbours. False if any frame of it is free already. */
static COLD bool insert(u64 base, u64 end)
{
    u64 low, high, alone;

    split(root, base, &low, &high);
    u64 previous = last_of(low), next = first_of(high);
    if ((previous != NO_EXTENT && extent_end(previous) > base) || (next != NO_EXTENT && next < end)) {
        root = join(low, high);
        return false;
    }
    free_frames += (end - base) / FRAME_BYTES;
    if (next == end) {
        split(high, end + FRAME_BYTES, &alone, &high);
        end = extent_end(next);
        *extent_at(next) = (struct extent){0}; /* no descriptor stays inside an extent */
    }
    if (previous != NO_EXTENT && extent_end(previous) == base) {
        split(low, previous, &low, &alone);
        base = previous;
    }
    root = join(join(low, make_extent(base, end)), high);
    return true;
}

void frames_free(hpa_t base, u64 count)
{
    u64 end = base.raw + count * FRAME_BYTES;

    CHECK(count && bits_is_aligned(base.raw, FRAME_BYTES));
    spin_lock(&lock);
    bool ours = is_owned(base.raw, end);
    bool inserted = ours && insert(base.raw, end);
    spin_unlock(&lock);
    if (!ours)
        panic("frames_free: 0x%lx frames at 0x%lx are not the allocator's", count, base.raw);
    if (!inserted)
        panic("frames_free: double free of 0x%lx frames at 0x%lx", count, base.raw);
}

void frames_free_dirty(hpa_t base, u64 count)
{
    u64 end = base.raw + count * FRAME_BYTES;

    CHECK(count && bits_is_aligned(base.raw, FRAME_BYTES));
    spin_lock(&lock);
    bool ours = is_owned(base.raw, end);
    if (ours) {
        *extent_at(base.raw) = (struct extent){.frames = count, .high = first_dirty};
        first_dirty = base.raw;
        dirty_frames += count;
    }
    spin_unlock(&lock);
    if (!ours)
        panic("frames_free_dirty: 0x%lx frames at 0x%lx are not the allocator's", count, base.raw);
}

/* The last frames of the first dirty extent; *count: how many, 0 if there is none. */
static u64 take_dirty(u64 *count)
{
    u64 base = first_dirty;

    *count = 0;
    if (base == NO_EXTENT)
        return base;
    struct extent *extent = extent_at(base);
    *count = extent->frames < PIECE_FRAMES ? extent->frames : PIECE_FRAMES;
    extent->frames -= *count;
    base += extent->frames * FRAME_BYTES;
    if (!extent->frames)
        first_dirty = extent->high;
    dirty_frames -= *count;
    return base;
}

bool frames_clean_piece(void)
{
    u64 count;

    if (!__atomic_load_n(&dirty_frames, __ATOMIC_RELAXED))
        return false;
    spin_lock(&lock);
    u64 base = take_dirty(&count);
    spin_unlock(&lock);
    if (!count)
        return false;
    memset(phys_to_virt(hpa(base)), 0, count * FRAME_BYTES);
    frames_free(hpa(base), count);
    return true;
}

void frames_init(u64 secret)
{
    CHECK(root == NO_EXTENT);
    key = secret;
}

void frames_add(hpa_t base, u64 count)
{
    u64 end = base.raw + count * FRAME_BYTES;

    CHECK(count && base.raw && bits_is_aligned(base.raw, FRAME_BYTES));
    spin_lock(&lock);
    if (owned_count && owned[owned_count - 1].end == base.raw) {
        owned[owned_count - 1].end = end;
    } else {
        CHECK(owned_count < MAX_OWNED);
        owned[owned_count++] = (struct owned){base.raw, end};
    }
    bool inserted = insert(base.raw, end);
    spin_unlock(&lock);
    CHECK(inserted);
}

u64 frames_free_count(void)
{
    return __atomic_load_n(&free_frames, __ATOMIC_RELAXED) + __atomic_load_n(&dirty_frames, __ATOMIC_RELAXED);
}

/* The larger subtree first: what is in the other one then hardly ever matters. */
static COLD u64 largest_of(u64 tree, u64 alignment, u64 largest)
{
    if (tree == NO_EXTENT || extent_at(tree)->most <= largest)
        return largest;
    u64 low = extent_at(tree)->low, high = extent_at(tree)->high;
    bool high_first = low == NO_EXTENT || (high != NO_EXTENT && extent_at(high)->most > extent_at(low)->most);
    largest = largest_of(high_first ? high : low, alignment, largest);
    u64 start = bits_align_up(tree, alignment), end = extent_end(tree);
    if (start < end && (end - start) / FRAME_BYTES > largest)
        largest = (end - start) / FRAME_BYTES;
    return largest_of(high_first ? low : high, alignment, largest);
}

u64 frames_largest(u64 align_frames)
{
    spin_lock(&lock);
    u64 least = align_frames - 1; /* what is smaller than the alignment is not looked for */
    u64 largest = largest_of(root, align_frames * FRAME_BYTES, least);
    spin_unlock(&lock);
    return largest > least ? largest : 0;
}
