/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small guest images for host tests, built field by field. Multi-byte fields are little-endian; offsets are the
 * caller's.
 */
#ifndef ROOTLET_TEST_FAKE_IMAGE_BUILDER_H
#define ROOTLET_TEST_FAKE_IMAGE_BUILDER_H

#include "kernel/load/load.h"

#include <string.h>

struct image_segment {
    u32 type; /* 1: PT_LOAD */
    u64 offset, vaddr, paddr, filesz, memsz;
};

static inline void image_put(u8 *bytes, u64 offset, u64 value, unsigned width)
{
    memcpy(bytes + offset, &value, width);
}

static inline u64 image_get(const u8 *bytes, u64 offset, unsigned width)
{
    u64 value = 0;
    memcpy(&value, bytes + offset, width);
    return value;
}

/* A file header at 0 and program headers behind it. */
static inline void image_put_elf(u8 *bytes, bool wide, u64 entry, const struct image_segment *segments, u16 count)
{
    unsigned w = wide ? 8 : 4;
    u64 at = wide ? 64 : 52;

    memcpy(bytes, "\177ELF", 4);
    bytes[4] = wide ? 2 : 1;
    bytes[5] = 1;
    bytes[6] = 1;
    image_put(bytes, 16, 2, 2);
    image_put(bytes, 18, wide ? 62 : 3, 2);
    image_put(bytes, 24, entry, w);
    image_put(bytes, wide ? 32 : 28, at, w);
    image_put(bytes, wide ? 54 : 42, wide ? 56 : 32, 2);
    image_put(bytes, wide ? 56 : 44, count, 2);
    for (u16 i = 0; i < count; i++, at += wide ? 56 : 32) {
        image_put(bytes, at, segments[i].type, 4);
        image_put(bytes, at + (wide ? 8 : 4), segments[i].offset, w);
        image_put(bytes, at + (wide ? 16 : 8), segments[i].vaddr, w);
        image_put(bytes, at + (wide ? 24 : 12), segments[i].paddr, w);
        image_put(bytes, at + (wide ? 32 : 16), segments[i].filesz, w);
        image_put(bytes, at + (wide ? 40 : 20), segments[i].memsz, w);
    }
}

struct image_section {
    u32 type; /* 1: contents, 2: symbols, 3: strings, 8: no contents in the file */
    u64 addr, offset, size;
};

/* Section headers at `at`, named by the last one, and the file header's fields that tell of them. */
static inline void image_put_sections(u8 *bytes, bool wide, u64 at, const struct image_section *sections, u16 count)
{
    unsigned w = wide ? 8 : 4;

    image_put(bytes, wide ? 40 : 32, at, w);
    image_put(bytes, wide ? 58 : 46, wide ? 64 : 40, 2);
    image_put(bytes, wide ? 60 : 48, count, 2);
    image_put(bytes, wide ? 62 : 50, count - 1u, 2);
    for (u16 i = 0; i < count; i++, at += wide ? 64 : 40) {
        image_put(bytes, at, 0x100u + i, 4);
        image_put(bytes, at + 4, sections[i].type, 4);
        image_put(bytes, at + (wide ? 16 : 12), sections[i].addr, w);
        image_put(bytes, at + (wide ? 24 : 16), sections[i].offset, w);
        image_put(bytes, at + (wide ? 32 : 20), sections[i].size, w);
        image_put(bytes, at + (wide ? 56 : 36), 0xe0u + i, w); /* the last field */
    }
}

/* A multiboot header without address fields. */
static inline void image_put_multiboot(u8 *bytes, u64 offset, u32 flags)
{
    image_put(bytes, offset, 0x1badb002u, 4);
    image_put(bytes, offset + 4, flags, 4);
    image_put(bytes, offset + 8, 0u - 0x1badb002u - flags, 4);
}

/* A multiboot2 header whose tags, `tag_bytes` long and ended by an end tag, the caller puts at offset + 16. */
static inline void image_put_multiboot2(u8 *bytes, u64 offset, u32 tag_bytes)
{
    u32 length = 16 + tag_bytes;

    image_put(bytes, offset, 0xe85250d6u, 4);
    image_put(bytes, offset + 4, 0, 4);
    image_put(bytes, offset + 8, length, 4);
    image_put(bytes, offset + 12, 0u - 0xe85250d6u - length, 4);
}

/* A setup header of protocol 2.15 for a 64-bit kernel like Debian's: one setup sector, `payload_bytes` behind it. */
static inline void image_put_linux(u8 *bytes, u32 payload_bytes)
{
    image_put(bytes, 0x1f1, 1, 1);
    image_put(bytes, 0x1f4, payload_bytes / 16, 4);
    image_put(bytes, 0x1fe, 0xaa55, 2);
    image_put(bytes, 0x200, 0x6aeb, 2);
    memcpy(bytes + 0x202, "HdrS", 4);
    image_put(bytes, 0x206, 0x20f, 2);
    image_put(bytes, 0x211, 1, 1);
    image_put(bytes, 0x214, 0x100000, 4);
    image_put(bytes, 0x22c, 0x7fffffff, 4);
    image_put(bytes, 0x230, 0x200000, 4);
    image_put(bytes, 0x234, 1, 1);
    image_put(bytes, 0x236, 3, 2);
    image_put(bytes, 0x238, 2047, 4);
    image_put(bytes, 0x258, 0x1000000, 8);
    image_put(bytes, 0x260, 0x400000, 4);
}

/* A note whose owner has at most three letters; returns the offset of the next. */
static inline u64 image_put_note(u8 *bytes, u64 offset, const char *name, u32 type, u64 value, u32 value_bytes)
{
    image_put(bytes, offset, strlen(name) + 1, 4);
    image_put(bytes, offset + 4, value_bytes, 4);
    image_put(bytes, offset + 8, type, 4);
    memcpy(bytes + offset + 12, name, strlen(name) + 1);
    image_put(bytes, offset + 16, value, value_bytes);
    return offset + 16 + ((value_bytes + 3) & ~3u);
}

/* One header tag of up to four u32 values; returns the offset of the next. */
static inline u64 image_put_tag(u8 *bytes, u64 offset, u16 type, u16 flags, const u32 *values, u32 count)
{
    image_put(bytes, offset, type, 2);
    image_put(bytes, offset + 2, flags, 2);
    image_put(bytes, offset + 4, 8 + 4 * count, 4);
    for (u32 i = 0; i < count; i++)
        image_put(bytes, offset + 8 + 4 * i, values[i], 4);
    return (offset + 8 + 4 * count + 7) & ~7ull;
}

#endif
