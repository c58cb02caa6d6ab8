/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory and string helpers. memcpy, memmove, memset and memcmp are the ones that the compiler itself may call; the
 * host tests take the C library's.
 */
#ifndef ROOTLET_LIB_STRING_H
#define ROOTLET_LIB_STRING_H

#include "kernel/lib/types.h"

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

/*
 * For what may be many megabytes: memcpy and memset in pieces of 4 KiB. After each, what memory_set_between() gave is
 * called, so that whoever has time for nothing else meanwhile can give others a turn.
 */
void memory_copy_long(void *to, const void *from, u64 bytes);
void memory_fill_long(void *to, u8 value, u64 bytes);
void memory_set_between(void (*between)(void));
/* The same after a piece of other long work. */
void memory_pause_between(void);

size_t string_length(const char *text);
/* The length of text, but at most `bound`: never reads past text[bound - 1]. */
size_t string_length_bounded(const char *text, size_t bound);
bool string_equal(const char *a, const char *b);
bool string_starts_with(const char *text, const char *prefix);
/* Copies with a NUL into to[size] (size > 0), cutting what does not fit; true if all of it fitted. */
bool string_copy(char *to, size_t size, const char *from);
/*
 * Decimal or 0x-hexadecimal number of exactly `length` characters. False for an empty text, a foreign character or a
 * value above 2^64-1; *out is then untouched.
 */
bool string_to_number(const char *text, size_t length, u64 *out);

#endif
