/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The few types that guests use. `u64` is unsigned long long in 32-bit and 64-bit guests, so that %llu always fits.
 */
#ifndef GUEST_TYPES_H
#define GUEST_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
