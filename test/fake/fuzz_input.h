/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a fuzzer has still to take from its input. Behind the end there are zeros only.
 */
#ifndef ROOTLET_TEST_FAKE_FUZZ_INPUT_H
#define ROOTLET_TEST_FAKE_FUZZ_INPUT_H

#include <stddef.h>

#include "kernel/lib/types.h"

struct input {
    const u8 *data;
    size_t left;
};

static inline u64 take(struct input *in, size_t bytes)
{
    u64 value = 0;
    for (; bytes && in->left; bytes--, in->left--)
        value = value << 8 | *in->data++;
    return value;
}

#endif
