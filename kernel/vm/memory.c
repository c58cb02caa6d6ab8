/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's memory: how the PC's map is cut into pieces that the frame allocator has and EPT can map large, and the
 * checked copies. The host touches guest memory through this file only. Runs where a VM starts, stops or asks for a
 * copy: never on the path of a plain exit; takes no lock of its own.
 */
#include "kernel/vm/memory.h"
#include "kernel/vm/layer.h"
#include "kernel/frames.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "arch/x86/paging.h"

#define TOP_OF_32_BITS GIB(4)

struct guest_memory_text guest_memory_text(u64 bytes)
{
    static const char suffixes[] = {'K', 'M', 'G'};
    struct guest_memory_text out;
    u64 number = bytes;
    unsigned unit = 0;

    while (unit < sizeof suffixes && number && number % 1024 == 0) {
        number /= 1024;
        unit++;
    }
    if (unit)
        format_text(out.text, sizeof out.text, "%lu%c", number, suffixes[unit - 1]);
    else
        format_text(out.text, sizeof out.text, "%lu", number);
    return out;
}

/* A piece from `at` should end where a better alignment begins, if at least one large page follows there. */
static u64 piece_end(u64 at, u64 end)
{
    static const u64 alignments[] = {MIB(2), GIB(1)};

    for (u32 i = 0; i < ARRAY_SIZE(alignments); i++) {
        u64 boundary = bits_align_up(at, alignments[i]);
        if (boundary != at && boundary + alignments[i] <= end)
            return boundary;
    }
    return end;
}

/*
 * The largest piece of at most `bytes` for guest address `at` that the allocator can give, congruent to `at` for as
 * large a page as possible; 0 if there is no free frame.
 */
static u64 choose_piece(u64 at, u64 bytes, u64 *alignment)
{
    static const u64 alignments[] = {GIB(1), MIB(2), FRAME_BYTES};

    for (u32 i = 0; i < ARRAY_SIZE(alignments); i++) {
        *alignment = alignments[i];
        if (!bits_is_aligned(at, *alignment) || bytes < *alignment)
            continue;
        u64 largest = frames_largest(*alignment / FRAME_BYTES) * FRAME_BYTES;
        if (largest >= bytes)
            return bytes;
        if (largest >= *alignment)
            return bits_align_down(largest, *alignment);
    }
    return 0;
}

/* False: out of frames, or the table is full. What was added so far stays in the table. */
static bool allocate_range(struct guest_memory *memory, u64 base, u64 end, enum guest_region_kind kind)
{
    while (base < end) {
        u64 alignment;
        u64 bytes = choose_piece(base, piece_end(base, end) - base, &alignment);
        hpa_t frames;
        if (bytes == 0 || memory->region_count == GUEST_MAX_REGIONS)
            return false;
        if (frames_allocate(bytes / FRAME_BYTES, alignment / FRAME_BYTES, &frames) != STATUS_OK)
            return false;
        memory->regions[memory->region_count++] = (struct guest_region){gpa(base), bytes, frames, kind};
        base += bytes;
    }
    return true;
}

enum status guest_memory_allocate(struct guest_memory *memory, u64 mem_bytes, struct refusal *why)
{
    u64 low_top = mem_bytes < GUEST_LOW_RAM_TOP_MAX ? mem_bytes : GUEST_LOW_RAM_TOP_MAX;
    u64 hole_bytes = GUEST_HIGH_RAM_BASE - GUEST_LOW_RAM_BYTES - GUEST_TEXT_BYTES - GUEST_FIRMWARE_BYTES;
    u64 needed = (mem_bytes - hole_bytes) / FRAME_BYTES;

    memset(memory, 0, sizeof *memory);
    if (mem_bytes < GUEST_MEM_MIN_BYTES || mem_bytes > GUEST_MEM_MAX_BYTES || !bits_is_aligned(mem_bytes, FRAME_BYTES))
        return refuse(why, STATUS_OUT_OF_RANGE, "mem=%lu is not a multiple of 4K from 1M to 64G", mem_bytes);
    memory->mem_bytes = mem_bytes;
    u64 available = frames_free_count();
    if (available < needed)
        return refuse(why, STATUS_NO_MEMORY,
                      "mem=%s: needs %lu frames, only %lu free; lower mem= or give the machine more memory",
                      guest_memory_text(mem_bytes).text, needed, available);
    if (allocate_range(memory, 0, GUEST_LOW_RAM_BYTES, GUEST_REGION_RAM) &&
        allocate_range(memory, GUEST_TEXT_PAGE, GUEST_TEXT_PAGE + GUEST_TEXT_BYTES, GUEST_REGION_TEXT) &&
        allocate_range(memory, GUEST_FIRMWARE_BASE, GUEST_FIRMWARE_BASE + GUEST_FIRMWARE_BYTES, GUEST_REGION_ROM) &&
        allocate_range(memory, GUEST_HIGH_RAM_BASE, low_top, GUEST_REGION_RAM) &&
        allocate_range(memory, TOP_OF_32_BITS, TOP_OF_32_BITS + mem_bytes - low_top, GUEST_REGION_RAM))
        return STATUS_OK;
    guest_memory_release(memory);
    return refuse(why, STATUS_NO_MEMORY,
                  "mem=%s: needs %lu frames, %lu are free but in too many pieces; lower mem= or stop other VMs",
                  guest_memory_text(mem_bytes).text, needed, available);
}

static void release_regions(struct guest_memory *memory)
{
    for (u32 i = 0; i < memory->region_count; i++) {
        const struct guest_region *r = &memory->regions[i];
        frames_free_dirty(r->frames, r->size_bytes / FRAME_BYTES);
    }
    memory->region_count = 0;
}

bool guest_memory_release_piece(struct guest_memory *memory)
{
    if (!layer_release_piece(&memory->top))
        return false;
    release_regions(memory);
    memset(memory, 0, sizeof *memory);
    return true;
}

void guest_memory_release(struct guest_memory *memory)
{
    while (!guest_memory_release_piece(memory))
        memory_pause_between();
}

const struct guest_region *guest_memory_find_in(const struct guest_region *regions, u32 count, gpa_t address)
{
    u32 low = 0;
    u32 high = count;

    /* Invariant: regions below `low` end at or before address, regions from `high` on begin after it. */
    while (low < high) {
        u32 middle = (low + high) / 2;
        const struct guest_region *r = &regions[middle];
        if (address.raw < r->base.raw)
            high = middle;
        else if (address.raw - r->base.raw >= r->size_bytes)
            low = middle + 1;
        else
            return r;
    }
    return NULL;
}

const struct guest_region *guest_memory_regions(const struct guest_memory *memory, u32 *count)
{
    const struct layer *base = memory->top ? layer_base(memory->top) : NULL;

    *count = base ? base->region_count : memory->region_count;
    return base ? base->regions : memory->regions;
}

static COLD const struct guest_region *find_layered(const struct guest_memory *memory, gpa_t address)
{
    if (!memory->top)
        return NULL;
    const struct layer *base = layer_base(memory->top);
    return guest_memory_find_in(base->regions, base->region_count, address);
}

const struct guest_region *guest_memory_find(const struct guest_memory *memory, gpa_t address)
{
    const struct guest_region *r = guest_memory_find_in(memory->regions, memory->region_count, address);

    return LIKELY(r) ? r : find_layered(memory, address);
}

/* In layered memory a view ends with its page. To write, the page is made the VM's own; false: no frame. */
static COLD u8 *view_layered(const struct guest_memory *memory, u64 at, u64 bytes, u64 *run, bool write)
{
    u64 offset = at % FRAME_BYTES;
    hpa_t frame = {0};
    bool moved = false;

    if (!memory->top)
        return NULL;
    if (!write)
        frame.raw = layer_find(memory->top, at, &moved);
    else if (layer_own(memory->top, at, &frame, &moved) == STATUS_NO_MEMORY)
        memory->write_failed(memory->context, gpa(at));
    else if (moved)
        memory->page_moved(memory->context, gpa(at - offset));
    if (!frame.raw)
        return NULL;
    *run = bytes < FRAME_BYTES - offset ? bytes : FRAME_BYTES - offset;
    return (u8 *)phys_to_virt(hpa(frame.raw + offset));
}

/* The host's view of guest address `at`, good for *run bytes (1 to `bytes`); NULL outside the regions. */
static u8 *view(const struct guest_memory *memory, u64 at, u64 bytes, u64 *run, bool write)
{
    const struct guest_region *r = guest_memory_find_in(memory->regions, memory->region_count, gpa(at));

    *run = 0;
    if (UNLIKELY(!r))
        return view_layered(memory, at, bytes, run, write);
    u64 offset = at - r->base.raw;
    *run = bytes < r->size_bytes - offset ? bytes : r->size_bytes - offset;
    return (u8 *)phys_to_virt(hpa(r->frames.raw + offset));
}

void *guest_memory_view(const struct guest_memory *memory, gpa_t address, u64 bytes)
{
    u64 run;
    u8 *host = memory->top ? NULL : view(memory, address.raw, bytes, &run, false);
    return host && run == bytes ? host : NULL;
}

void *guest_memory_open(const struct guest_memory *memory, gpa_t address, u64 bytes)
{
    u64 run;
    u8 *host = view(memory, address.raw, bytes, &run, true);
    return run == bytes ? host : NULL;
}

static bool is_covered(const struct guest_memory *memory, u64 at, u64 bytes)
{
    u64 run;
    for (; bytes; at += run, bytes -= run)
        if (!view(memory, at, bytes, &run, false))
            return false;
    return true;
}

enum status guest_memory_read(const struct guest_memory *memory, gpa_t from, void *to, u64 bytes)
{
    u64 run;
    if (!is_covered(memory, from.raw, bytes))
        return STATUS_OUT_OF_RANGE;
    for (u64 done = 0; done < bytes; done += run) {
        u8 *host = view(memory, from.raw + done, bytes - done, &run, false);
        memcpy((u8 *)to + done, host, run);
    }
    return STATUS_OK;
}

enum status guest_memory_write(const struct guest_memory *memory, gpa_t to, const void *from, u64 bytes)
{
    u64 run;
    if (!is_covered(memory, to.raw, bytes))
        return STATUS_OUT_OF_RANGE;
    for (u64 done = 0; done < bytes; done += run) {
        u8 *host = view(memory, to.raw + done, bytes - done, &run, true);
        if (UNLIKELY(!host))
            return STATUS_NO_MEMORY;
        memory_copy_long(host, (const u8 *)from + done, run);
    }
    return STATUS_OK;
}

enum status guest_memory_fill(const struct guest_memory *memory, gpa_t to, u8 value, u64 bytes)
{
    u64 run;
    if (!is_covered(memory, to.raw, bytes))
        return STATUS_OUT_OF_RANGE;
    for (u64 done = 0; done < bytes; done += run) {
        u8 *host = view(memory, to.raw + done, bytes - done, &run, true);
        if (UNLIKELY(!host))
            return STATUS_NO_MEMORY;
        memory_fill_long(host, value, run);
    }
    return STATUS_OK;
}

u64 guest_memory_low_top(const struct guest_memory *memory)
{
    u64 top = 0;
    for (u32 i = 0; i < memory->region_count; i++) {
        const struct guest_region *r = &memory->regions[i];
        if (r->kind == GUEST_REGION_RAM && r->base.raw < TOP_OF_32_BITS)
            top = r->base.raw + r->size_bytes;
    }
    return top;
}

/* ---- layered memory ---- */

/* The memory's frames are the base's from now on. */
static COLD void set_top(struct guest_memory *memory, struct layer *top)
{
    memory->region_count = 0;
    memory->top = top;
}

enum status guest_memory_freeze(struct guest_memory *memory, struct layer **frozen)
{
    struct layer *below = memory->top ? memory->top : layer_make_base(memory);

    if (!below)
        return STATUS_NO_MEMORY;
    if (memory->top)
        layer_absorb(below);
    struct layer *top = layer_make_above(below);
    if (!top) {
        if (!memory->top)
            layer_drop_base(below);
        return STATUS_NO_MEMORY;
    }
    set_top(memory, top);
    *frozen = below; /* the new top has counted itself; what the memory had is the caller's */
    return STATUS_OK;
}

enum status guest_memory_go_back(struct guest_memory *memory, struct layer *frozen,
                                 void (*each)(void *context, u64 address, u64 frame), void *context, bool *all)
{
    struct layer *old = memory->top;

    *all = !old || old->below != frozen;
    if (!*all) {
        layer_reset(old, each, context);
        return STATUS_OK;
    }
    struct layer *top = layer_make_above(frozen);
    if (!top)
        return STATUS_NO_MEMORY;
    release_regions(memory);
    set_top(memory, top);
    layer_release(old);
    return STATUS_OK;
}

enum status guest_memory_share(struct guest_memory *memory, struct layer *frozen)
{
    struct layer *top = layer_make_above(frozen);

    memset(memory, 0, sizeof *memory);
    if (!top)
        return STATUS_NO_MEMORY;
    memory->mem_bytes = layer_base(frozen)->mem_bytes;
    set_top(memory, top);
    return STATUS_OK;
}

bool guest_memory_check(const struct guest_memory *memory)
{
    u64 end = 0;
    for (u32 i = 0; i < memory->region_count; i++) {
        const struct guest_region *r = &memory->regions[i];
        if (r->base.raw < end || r->size_bytes == 0 || r->size_bytes > 0 - r->base.raw - 1)
            return false;
        if (!bits_is_aligned(r->base.raw | r->size_bytes | r->frames.raw, FRAME_BYTES))
            return false;
        end = r->base.raw + r->size_bytes;
    }
    return true;
}
