/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest-physical and host-physical addresses as distinct types: one cannot be passed for the other.
 * A frame is 4 KiB of host-physical memory; a page is 4 KiB of an address space.
 */
#ifndef ROOTLET_LIB_ADDR_H
#define ROOTLET_LIB_ADDR_H

#include "kernel/lib/types.h"

#define FRAME_BYTES 4096ull
#define FRAME_SHIFT 12u
#define KIB(n)      ((u64)(n) << 10)
#define MIB(n)      ((u64)(n) << 20)
#define GIB(n)      ((u64)(n) << 30)

struct gpa {
    u64 raw;
};
struct hpa {
    u64 raw;
};
typedef struct gpa gpa_t;
typedef struct hpa hpa_t;

static inline gpa_t gpa(u64 raw)
{
    return (gpa_t){raw};
}

static inline hpa_t hpa(u64 raw)
{
    return (hpa_t){raw};
}

#endif
