/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Little-endian values at any alignment, out of bytes that somebody else laid out: boot information, images.
 * The caller has checked that the bytes exist.
 */
#ifndef ROOTLET_LIB_BYTES_H
#define ROOTLET_LIB_BYTES_H

#include "kernel/lib/types.h"

static inline u16 bytes_u16(const u8 *at)
{
    u16 value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

static inline u32 bytes_u32(const u8 *at)
{
    u32 value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

static inline u64 bytes_u64(const u8 *at)
{
    u64 value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}

/* What a checksum field that is still 0 must become, for all bytes to add up to 0. */
static inline u8 bytes_checksum(const void *data, u64 count)
{
    const u8 *bytes = data;
    u8 sum = 0;

    while (count--)
        sum = (u8)(sum - bytes[count]);
    return sum;
}

/* True if [offset, offset + bytes) lies within `total` bytes; for any values, without overflow. */
static inline bool bytes_contain(u64 total, u64 offset, u64 bytes)
{
    return offset <= total && bytes <= total - offset;
}

#endif
