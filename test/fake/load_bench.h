/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of loaders share: a file that is loaded into guest memory, and a look at what came out of it. Each
 * test program includes it once.
 */
#ifndef ROOTLET_TEST_FAKE_LOAD_BENCH_H
#define ROOTLET_TEST_FAKE_LOAD_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/load/load.h"
#include "test/fake/host_memory.h"
#include "test/fake/image_builder.h"

static u8 file[KIB(16)];
static struct guest_memory memory;
static struct load_request request;
static struct start_state start;
static enum image_kind kind;
static struct refusal why;

/* An empty file, and memory for a VM that gives the image this command line. */
static inline void begin_with(u64 mem_bytes, const char *line)
{
    host_memory_init(MIB(1), MIB(64));
    assert_int_equal(guest_memory_allocate(&memory, mem_bytes, &why), STATUS_OK);
    memset(file, 0, sizeof file);
    request = (struct load_request){
        .vm_name = "t", .boot = {file, sizeof file, line}
    };
    kind = IMAGE_AUTO;
}

static inline u64 word(u64 address, unsigned width)
{
    u64 value = 0;
    if (guest_memory_read(&memory, gpa(address), &value, width) != STATUS_OK)
        fail_msg("0x%lx is not memory", address);
    return value;
}

static inline const char *text(u64 address)
{
    static char buffers[4][64];
    static u32 next;
    char *buffer = buffers[next++ % 4];
    assert_int_equal(guest_memory_read(&memory, gpa(address), buffer, 64), STATUS_OK);
    return buffer;
}

/* Loads from a heap copy of exactly the image's size, so that the sanitizer sees a read past its end. */
static inline enum status load(void)
{
    u8 *copy = malloc(request.boot.size_bytes ? request.boot.size_bytes : 1);
    memcpy(copy, file, request.boot.size_bytes);
    request.boot.bytes = copy;
    why.text[0] = 0;
    enum status status = load_image(&request, &memory, &start, &kind, &why);
    free(copy);
    return status;
}

static inline void expect_refusal(enum status status, const char *wanted)
{
    assert_int_equal(load(), status);
    if (!strstr(why.text, wanted))
        fail_msg("refused with '%s', not '%s'", why.text, wanted);
}

#endif
