/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame allocator. A free extent's descriptor stands in its own first frame, reached through the direct map; the
 * list is sorted by address and neighbours are merged, so a double free is an overlap and cannot hide. An allocation
 * takes the high end of the smallest extent that fits: small ones use up the small pieces, large aligned ones find the
 * big pieces whole, and what lies below 1 MiB goes last. Any CPU; one lock (order: frames, then console).
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
    u64 next; /* physical address of the next extent, or NO_EXTENT */
};

/* What frames_add gave: a frame outside of it is a foreign one. Ascending additions that touch share an entry. */
struct owned {
    u64 base;
    u64 end;
};

static struct spinlock lock;
static u64 first_extent = NO_EXTENT;
static u64 first_dirty = NO_EXTENT; /* extents that are free but for being zeroed, in no order */
static u64 free_frames, dirty_frames;
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

static void set_link(u64 previous, u64 next)
{
    if (previous == NO_EXTENT)
        first_extent = next;
    else
        extent_at(previous)->next = next;
}

/* Takes [place, place + count frames) out of the extent at `base`, whose predecessor in the list is `previous`. */
static void carve(u64 previous, u64 base, u64 place, u64 count)
{
    u64 end = extent_end(base);
    u64 next = extent_at(base)->next;
    u64 rest = place + count * FRAME_BYTES;

    if (rest < end) {
        *extent_at(rest) = (struct extent){(end - rest) / FRAME_BYTES, next};
        next = rest;
    }
    if (place > base) {
        *extent_at(base) = (struct extent){(place - base) / FRAME_BYTES, next};
        next = base;
    }
    set_link(previous, next);
    free_frames -= count;
}

/* Smaller is better; extents below 1 MiB are worse than any other. */
static u64 cost_of(u64 base)
{
    return extent_at(base)->frames + (base < LOW_MEMORY_END ? BIT(62) : 0);
}

static bool take_best(u64 count, u64 align_frames, u64 *out)
{
    u64 best_cost = ~0ull;
    u64 best = 0, best_previous = 0, best_place = 0;
    u64 previous = NO_EXTENT;

    for (u64 base = first_extent; base != NO_EXTENT; base = extent_at(base)->next) {
        u64 place;
        if (cost_of(base) < best_cost && place_in(base, count, align_frames, &place)) {
            best_cost = cost_of(base);
            best = base;
            best_previous = previous;
            best_place = place;
        }
        previous = base;
    }
    if (best_cost == ~0ull)
        return false;
    carve(best_previous, best, best_place, count);
    *out = best_place;
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
    u64 base = first_extent;
    bool found = base != NO_EXTENT && base + FRAME_BYTES <= limit.raw;
    if (found)
        carve(NO_EXTENT, base, base, 1);
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

/* Puts [base, end) into the list and merges it with its neighbours. False if any frame of it is free already. */
static bool insert(u64 base, u64 end)
{
    u64 previous = NO_EXTENT;
    u64 next = first_extent;

    while (next != NO_EXTENT && next < base) {
        previous = next;
        next = extent_at(next)->next;
    }
    if ((previous != NO_EXTENT && extent_end(previous) > base) || (next != NO_EXTENT && next < end))
        return false;
    free_frames += (end - base) / FRAME_BYTES;
    if (next != NO_EXTENT && next == end) {
        struct extent *merged = extent_at(next);
        end = extent_end(next);
        next = merged->next;
        *merged = (struct extent){0, 0}; /* no descriptor stays inside an extent */
    }
    if (previous != NO_EXTENT && extent_end(previous) == base) {
        *extent_at(previous) = (struct extent){(end - previous) / FRAME_BYTES, next};
        return true;
    }
    *extent_at(base) = (struct extent){(end - base) / FRAME_BYTES, next};
    set_link(previous, base);
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
        *extent_at(base.raw) = (struct extent){count, first_dirty};
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
        first_dirty = extent->next;
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

u64 frames_largest(u64 align_frames)
{
    u64 largest = 0;
    u64 alignment = align_frames * FRAME_BYTES;

    spin_lock(&lock);
    for (u64 base = first_extent; base != NO_EXTENT; base = extent_at(base)->next) {
        u64 start = bits_align_up(base, alignment);
        u64 end = extent_end(base);
        if (start < end && (end - start) / FRAME_BYTES > largest)
            largest = (end - start) / FRAME_BYTES;
    }
    spin_unlock(&lock);
    return largest;
}
