/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bit and alignment helpers. Alignments are powers of two.
 */
#ifndef ROOTLET_LIB_BITS_H
#define ROOTLET_LIB_BITS_H

#include "kernel/lib/types.h"

#define BIT(n) (1ull << (n))

static inline u64 bits_align_down(u64 value, u64 alignment)
{
    return value & ~(alignment - 1);
}

/* Wraps to 0 when value is within alignment of 2^64: callers bound value first. */
static inline u64 bits_align_up(u64 value, u64 alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool bits_is_aligned(u64 value, u64 alignment)
{
    return (value & (alignment - 1)) == 0;
}

/* Bits high..low of value, both counted from 0 and included. */
static inline u64 bits_field(u64 value, unsigned high, unsigned low)
{
    return (value >> low) & (~0ull >> (63 - (high - low)));
}

/* All ones in the low `bytes` bytes; bytes is 1, 2, 4 or 8. */
static inline u64 bits_mask_of_bytes(unsigned bytes)
{
    return ~0ull >> (64 - 8 * bytes);
}

#endif
