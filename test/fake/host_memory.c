/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See host_memory.h. The array is mapped without reservation, so that gigabytes cost nothing until they are touched.
 */
#include "test/fake/host_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_EXTENTS 256u

struct extent {
    u64 base;
    u64 end;
};

static struct extent extents[MAX_EXTENTS]; /* sorted, merged */
static u32 extent_count;
static u64 memory_base, memory_bytes;
static u8 *memory;
static bool reused; /* something was freed: allocations must zero */

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

void host_memory_init(u64 base, u64 bytes)
{
    if (memory)
        munmap(memory, memory_bytes);
    memory_base = base;
    memory_bytes = bytes;
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    extents[0] = (struct extent){base, base + bytes};
    extent_count = 1;
    reused = false;
}

void *phys_to_virt(hpa_t address)
{
    REQUIRE(address.raw >= memory_base && address.raw - memory_base < memory_bytes);
    return memory + (address.raw - memory_base);
}

hpa_t virt_to_phys(const void *pointer)
{
    u64 offset = (u64)((const u8 *)pointer - memory);
    REQUIRE(offset < memory_bytes);
    return hpa(memory_base + offset);
}

static void cut(u32 index, u64 base, u64 end)
{
    struct extent old = extents[index];

    if (base > old.base && end < old.end) {
        REQUIRE(extent_count < MAX_EXTENTS);
        memmove(&extents[index + 1], &extents[index], (extent_count - index) * sizeof old);
        extent_count++;
        extents[index].end = base;
        extents[index + 1].base = end;
    } else if (base > old.base) {
        extents[index].end = base;
    } else if (end < old.end) {
        extents[index].base = end;
    } else {
        memmove(&extents[index], &extents[index + 1], (extent_count - index - 1) * sizeof old);
        extent_count--;
    }
}

void host_memory_take(u64 base, u64 bytes)
{
    for (u32 i = 0; i < extent_count; i++) {
        if (extents[i].base <= base && base + bytes <= extents[i].end) {
            cut(i, base, base + bytes);
            return;
        }
    }
    REQUIRE(!"the range is free");
}

enum status frames_allocate_dirty(u64 count, u64 align_frames, hpa_t *out)
{
    u64 alignment = align_frames * FRAME_BYTES;

    REQUIRE(count && align_frames && !(align_frames & (align_frames - 1)));
    for (u32 i = 0; i < extent_count; i++) {
        u64 base = (extents[i].base + alignment - 1) / alignment * alignment;
        if (base + count * FRAME_BYTES > extents[i].end)
            continue;
        cut(i, base, base + count * FRAME_BYTES);
        *out = hpa(base);
        return STATUS_OK;
    }
    return STATUS_NO_MEMORY;
}

enum status frames_allocate(u64 count, u64 align_frames, hpa_t *out)
{
    enum status status = frames_allocate_dirty(count, align_frames, out);
    if (status == STATUS_OK && reused)
        memset(phys_to_virt(*out), 0, count * FRAME_BYTES);
    return status;
}

void frames_free(hpa_t base, u64 count)
{
    u64 end = base.raw + count * FRAME_BYTES;
    u32 at = 0;

    REQUIRE(base.raw >= memory_base && end <= memory_base + memory_bytes && count);
    reused = true;
    while (at < extent_count && extents[at].end <= base.raw)
        at++;
    REQUIRE(at == extent_count || end <= extents[at].base);
    if (at && extents[at - 1].end == base.raw) {
        extents[at - 1].end = end;
        if (at < extent_count && extents[at].base == end) {
            extents[at - 1].end = extents[at].end;
            memmove(&extents[at], &extents[at + 1], (extent_count - at - 1) * sizeof extents[0]);
            extent_count--;
        }
    } else if (at < extent_count && extents[at].base == end) {
        extents[at].base = base.raw;
    } else {
        REQUIRE(extent_count < MAX_EXTENTS);
        memmove(&extents[at + 1], &extents[at], (extent_count - at) * sizeof extents[0]);
        extents[at] = (struct extent){base.raw, end};
        extent_count++;
    }
}

void frames_free_dirty(hpa_t base, u64 count)
{
    memset(phys_to_virt(base), 0, count * FRAME_BYTES);
    frames_free(base, count);
}

bool frames_clean_piece(void)
{
    return false;
}

u64 frames_free_count(void)
{
    u64 bytes = 0;
    for (u32 i = 0; i < extent_count; i++)
        bytes += extents[i].end - extents[i].base;
    return bytes / FRAME_BYTES;
}

u64 frames_largest(u64 align_frames)
{
    u64 alignment = align_frames * FRAME_BYTES;
    u64 largest = 0;

    for (u32 i = 0; i < extent_count; i++) {
        u64 base = (extents[i].base + alignment - 1) / alignment * alignment;
        if (base < extents[i].end && extents[i].end - base > largest)
            largest = extents[i].end - base;
    }
    return largest / FRAME_BYTES;
}
