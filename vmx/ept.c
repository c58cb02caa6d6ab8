/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Builds, walks and frees extended page tables through the direct map. Pure but for frames: host tests link it.
 * SDM 3C 28.2.2 "EPT Translation Mechanism".
 */
#include "vmx/ept.h"
#include "arch/x86/paging.h"
#include "kernel/frames.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/vm/layer.h"

#define EPT_ENTRIES 512u

static u64 *table_at(u64 entry)
{
    return phys_to_virt(hpa(entry & EPT_ADDRESS));
}

static unsigned shift_of(unsigned level)
{
    return FRAME_SHIFT + 9 * (level - 1);
}

static unsigned index_of(u64 address, unsigned level)
{
    return (unsigned)(address >> shift_of(level)) % EPT_ENTRIES;
}

/* The level (3: 1 GiB, 2: 2 MiB, 1: 4 KiB) of the largest page that fits at this place. */
static unsigned page_level(u64 from, u64 to, u64 bytes, struct ept_options options)
{
    for (unsigned level = 3; level > 1; level--) {
        bool allowed = level == 3 ? options.pages_1g : options.pages_2m;
        u64 size = 1ull << shift_of(level);
        if (allowed && bytes >= size && bits_is_aligned(from | to, size))
            return level;
    }
    return 1;
}

static enum status map_page(u64 root, u64 from, u64 leaf, unsigned leaf_level)
{
    u64 *table = table_at(root);

    for (unsigned level = 4; level > leaf_level; level--) {
        u64 *entry = &table[index_of(from, level)];
        if (!(*entry & EPT_ADDRESS)) {
            hpa_t frame;
            enum status status = frames_allocate(1, 1, &frame);
            if (status != STATUS_OK)
                return status;
            *entry = frame.raw | EPT_READ | EPT_WRITE | EPT_EXECUTE;
        }
        table = table_at(*entry);
    }
    table[index_of(from, leaf_level)] = leaf;
    return STATUS_OK;
}

static enum status map_region(u64 root, const struct guest_region *region, struct ept_options options)
{
    u64 rights = EPT_READ | EPT_EXECUTE | (region->kind == GUEST_REGION_ROM ? 0 : EPT_WRITE);

    for (u64 done = 0; done < region->size_bytes;) {
        u64 from = region->base.raw + done;
        u64 to = region->frames.raw + done;
        unsigned level = page_level(from, to, region->size_bytes - done, options);
        u64 leaf = to | rights | EPT_WRITE_BACK | (level > 1 ? EPT_LARGE : 0);
        if (level > 1 && options.fetch_small)
            leaf &= ~EPT_EXECUTE;
        enum status status = map_page(root, from, leaf, level);
        if (status != STATUS_OK)
            return status;
        done += 1ull << shift_of(level);
    }
    return STATUS_OK;
}

enum status ept_build(const struct guest_memory *memory, struct ept_options options, u64 *root)
{
    hpa_t top;
    enum status status = frames_allocate(1, 1, &top);

    if (status != STATUS_OK)
        return status;
    for (u32 i = 0; i < memory->region_count && status == STATUS_OK; i++)
        status = map_region(top.raw, &memory->regions[i], options);
    if (status != STATUS_OK) {
        ept_release(top.raw);
        return status;
    }
    *root = top.raw;
    return STATUS_OK;
}

/* The entry in place of a large page that is not executable: a table of pages of the next size, with its rights. */
static enum status split(u64 leaf, unsigned level, u64 *entry)
{
    hpa_t frame;
    enum status status = frames_allocate(1, 1, &frame);

    if (status != STATUS_OK)
        return status;
    u64 small = level - 1 > 1 ? leaf : (leaf & ~EPT_LARGE) | EPT_EXECUTE;
    for (u64 i = 0; i < EPT_ENTRIES; i++)
        table_at(frame.raw)[i] = small + (i << shift_of(level - 1));
    *entry = frame.raw | EPT_READ | EPT_WRITE | EPT_EXECUTE;
    return STATUS_OK;
}

/*
 * Tables that the copy has of its own have the same large pages as the original's: they get the same new table. An
 * entry is written at once, and after the table that it leads to.
 */
enum ept_fetch ept_allow_fetch(u64 root, u64 copy, gpa_t address)
{
    enum ept_fetch done = EPT_FETCH_ALLOWED;
    u64 table = root, other = copy;

    for (unsigned level = 4;; level--) {
        u64 *entry = &table_at(table)[index_of(address.raw, level)];
        u64 *twin = other ? &table_at(other)[index_of(address.raw, level)] : NULL;
        if (!(*entry & (EPT_READ | EPT_WRITE | EPT_EXECUTE)))
            return EPT_FETCH_UNMAPPED;
        if (level == 1 || (*entry & EPT_LARGE && *entry & EPT_EXECUTE))
            return done;
        if (*entry & EPT_LARGE) {
            u64 finer;
            if (split(*entry, level, &finer) != STATUS_OK)
                return EPT_FETCH_NO_MEMORY;
            if (twin && *twin == *entry)
                __atomic_store_n(twin, finer, __ATOMIC_RELEASE);
            __atomic_store_n(entry, finer, __ATOMIC_RELEASE);
            done = EPT_FETCH_SPLIT;
        }
        table = *entry & EPT_ADDRESS;
        other = twin ? *twin & EPT_ADDRESS : 0;
    }
}

/* A layered VM of some GiB has thousands of tables: they are handed over at once, and cleaned piece by piece. */
static void release_table(u64 table, unsigned level)
{
    for (unsigned i = 0; level > 1 && i < EPT_ENTRIES; i++) {
        u64 entry = table_at(table)[i];
        if ((entry & EPT_ADDRESS) && !(entry & EPT_LARGE))
            release_table(entry & EPT_ADDRESS, level - 1);
    }
    frames_free_dirty(hpa(table), 1);
}

void ept_release(u64 root)
{
    release_table(root, 4);
}

enum status ept_copy_with_page(u64 root, gpa_t address, hpa_t page, u64 *copy)
{
    u64 source = root;
    u64 *link = copy;

    *copy = 0;
    for (unsigned level = 4; level >= 1; level--) {
        hpa_t frame;
        if (frames_allocate(1, 1, &frame) != STATUS_OK) {
            ept_release_copy(*copy, address);
            return STATUS_NO_MEMORY;
        }
        if (source)
            memcpy(phys_to_virt(frame), table_at(source), FRAME_BYTES);
        *link = frame.raw | (level < 4 ? EPT_READ | EPT_WRITE | EPT_EXECUTE : 0);
        link = &table_at(frame.raw)[index_of(address.raw, level)];
        source = *link & EPT_ADDRESS;
        *link = 0;
    }
    *link = page.raw | EPT_READ | EPT_WRITE | EPT_WRITE_BACK;
    return STATUS_OK;
}

void ept_release_copy(u64 copy, gpa_t address)
{
    for (unsigned level = 4; level >= 1 && copy; level--) {
        u64 next = table_at(copy)[index_of(address.raw, level)] & EPT_ADDRESS;
        frames_free(hpa(copy & EPT_ADDRESS), 1);
        copy = next;
    }
}

/* ---- layered memory ---- */

/* The entry for 1 GiB in `root`, with a table above it; NULL: no memory. */
static u64 *gigabyte_entry(u64 root, u64 address)
{
    u64 *top = &table_at(root)[index_of(address, 4)];
    hpa_t frame;

    if (!*top) {
        if (frames_allocate(1, 1, &frame) != STATUS_OK)
            return NULL;
        *top = frame.raw | EPT_READ | EPT_WRITE | EPT_EXECUTE;
    }
    return &table_at(*top)[index_of(address, 3)];
}

static enum status open_gigabyte(u64 root, u64 copy, u64 address)
{
    u64 *entry = gigabyte_entry(root, address);
    u64 finer;
    hpa_t frame;

    if (!entry)
        return STATUS_NO_MEMORY;
    if (*entry && !(*entry & EPT_LARGE))
        return STATUS_OK;
    if (*entry) {
        if (split(*entry, 3, &finer) != STATUS_OK)
            return STATUS_NO_MEMORY;
    } else {
        if (frames_allocate(1, 1, &frame) != STATUS_OK)
            return STATUS_NO_MEMORY;
        finer = frame.raw | EPT_READ | EPT_WRITE | EPT_EXECUTE;
    }
    u64 *twin = copy ? gigabyte_entry(copy, address) : NULL;
    if (twin && *twin == *entry)
        *twin = finer;
    *entry = finer;
    return STATUS_OK;
}

enum status ept_open(u64 root, u64 copy, const struct guest_memory *memory)
{
    u32 count;
    const struct guest_region *regions = guest_memory_regions(memory, &count);

    for (u32 i = 0; i < count; i++) {
        u64 end = regions[i].base.raw + regions[i].size_bytes;
        for (u64 at = bits_align_down(regions[i].base.raw, GIB(1)); at < end; at += GIB(1))
            if (open_gigabyte(root, copy, at) != STATUS_OK)
                return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

/* The entry for 2 MiB. Precondition: ept_open(). */
static u64 *chunk_entry(u64 root, u64 address)
{
    u64 table = root;

    for (unsigned level = 4; level > 2; level--)
        table = table_at(table)[index_of(address, level)] & EPT_ADDRESS;
    return &table_at(table)[index_of(address, 2)];
}

static void clear_gigabyte(u64 root, u64 address)
{
    u64 *entries = chunk_entry(root, address);

    for (u32 i = 0; i < EPT_ENTRIES; i++) {
        if (entries[i] && !(entries[i] & EPT_LARGE))
            frames_free_dirty(hpa(entries[i] & EPT_ADDRESS), 1);
        entries[i] = 0;
    }
    memory_pause_between();
}

void ept_clear(u64 root, const struct guest_memory *memory)
{
    u32 count;
    const struct guest_region *regions = guest_memory_regions(memory, &count);
    u64 done = 0;

    for (u32 i = 0; i < count; i++) {
        u64 end = regions[i].base.raw + regions[i].size_bytes;
        u64 at = bits_align_down(regions[i].base.raw, GIB(1));
        for (at = at > done ? at : done; at < end; at += GIB(1))
            clear_gigabyte(root, at);
        done = at;
    }
}

static u64 page_entry(u64 frame, bool writable)
{
    return frame | EPT_READ | EPT_EXECUTE | EPT_WRITE_BACK | (writable ? EPT_WRITE : 0);
}

/* A table of all pages of the 2 MiB around the address. */
static enum status fill_table(u64 *entry, const struct layer *top, u64 chunk)
{
    hpa_t frame;

    if (frames_allocate(1, 1, &frame) != STATUS_OK)
        return STATUS_NO_MEMORY;
    u64 *pages = table_at(frame.raw);
    layer_read_chunk(top, chunk, pages);
    for (u32 i = 0; i < EPT_ENTRIES; i++)
        if (pages[i])
            pages[i] = page_entry(pages[i] & EPT_ADDRESS, pages[i] & LAYER_WRITABLE);
    __atomic_store_n(entry, frame.raw | EPT_READ | EPT_WRITE | EPT_EXECUTE, __ATOMIC_RELEASE);
    return STATUS_OK;
}

enum status ept_map_layered(u64 root, const struct guest_memory *memory, gpa_t address, struct ept_options options,
                            bool *replaced)
{
    u64 *entry = chunk_entry(root, address.raw);
    u64 chunk = bits_align_down(address.raw, LAYER_CHUNK_BYTES);
    bool own;
    u64 frame = layer_find(memory->top, address.raw, &own);

    *replaced = *entry;
    if (*entry && !(*entry & EPT_LARGE)) {
        u64 *page = &table_at(*entry)[index_of(address.raw, 1)];
        bool rom = guest_memory_find(memory, address)->kind == GUEST_REGION_ROM;
        *replaced = *page && (*page & EPT_ADDRESS) != frame;
        __atomic_store_n(page, page_entry(frame, own && !rom), __ATOMIC_RELEASE);
        return STATUS_OK;
    }
    u64 large = !*entry && options.pages_2m && !options.fetch_small ? layer_find_large(memory->top, chunk) : 0;
    if (!large)
        return fill_table(entry, memory->top, chunk);
    __atomic_store_n(entry, page_entry(large, own) | EPT_LARGE, __ATOMIC_RELEASE);
    return STATUS_OK;
}

void ept_page_moved(u64 root, gpa_t address, hpa_t frame, bool writable)
{
    u64 *entry = chunk_entry(root, address.raw);

    if (*entry & EPT_LARGE)
        __atomic_store_n(entry, 0, __ATOMIC_RELEASE);
    else if (*entry)
        __atomic_store_n(&table_at(*entry)[index_of(address.raw, 1)], page_entry(frame.raw, writable),
                         __ATOMIC_RELEASE);
}

bool ept_lookup(u64 root, gpa_t address, hpa_t *out, u64 *page_bytes)
{
    u64 entry = root;

    for (unsigned level = 4; level >= 1; level--) {
        entry = table_at(entry)[index_of(address.raw, level)];
        if (!(entry & (EPT_READ | EPT_WRITE | EPT_EXECUTE)))
            return false;
        if (level == 1 || (entry & EPT_LARGE)) {
            *page_bytes = 1ull << shift_of(level);
            out->raw = (entry & EPT_ADDRESS & ~(*page_bytes - 1)) | (address.raw & (*page_bytes - 1));
            return true;
        }
    }
    return false;
}
