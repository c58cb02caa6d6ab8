/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The integer names that the whole tree uses, and a few compiler attributes.
 * Only compiler headers stand below this file, so that host tests compile it as it is.
 */
#ifndef ROOTLET_LIB_TYPES_H
#define ROOTLET_LIB_TYPES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define MUST_CHECK                          __attribute__((warn_unused_result))
#define PRINTF(f, a)                        __attribute__((format(printf, f, a)))
#define PACKED                              __attribute__((packed))
#define ALIGNED(n)                          __attribute__((aligned(n)))
#define NORETURN                            __attribute__((noreturn))
#define ALWAYS_INLINE                       inline __attribute__((always_inline))
#define NOINLINE                            __attribute__((noinline))
#define COLD                                __attribute__((cold, noinline))
#define ARRAY_SIZE(a)                       (sizeof(a) / sizeof((a)[0]))
#define LIKELY(x)                           __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                         __builtin_expect(!!(x), 0)
#define container_of(pointer, type, member) ((type *)(void *)(((u8 *)(pointer)) - offsetof(type, member)))

#endif
