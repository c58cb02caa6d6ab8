/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The string helpers that the host tests link too.
 */
#include "kernel/lib/string.h"

/* Bochs 3.0 lets its other CPUs wait while one is in a string instruction, for as long as that would be on a CPU. */
#define PIECE_BYTES 0x1000u

static void (*between_pieces)(void);

void memory_set_between(void (*between)(void))
{
    between_pieces = between;
}

static size_t piece_of(u64 bytes)
{
    return bytes < PIECE_BYTES ? (size_t)bytes : PIECE_BYTES;
}

void memory_pause_between(void)
{
    if (between_pieces)
        between_pieces();
}

void memory_copy_long(void *to, const void *from, u64 bytes)
{
    for (u64 done = 0; done < bytes; done += PIECE_BYTES) {
        memcpy((u8 *)to + done, (const u8 *)from + done, piece_of(bytes - done));
        memory_pause_between();
    }
}

void memory_fill_long(void *to, u8 value, u64 bytes)
{
    for (u64 done = 0; done < bytes; done += PIECE_BYTES) {
        memset((u8 *)to + done, value, piece_of(bytes - done));
        memory_pause_between();
    }
}

size_t string_length(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

size_t string_length_bounded(const char *text, size_t bound)
{
    size_t n = 0;
    while (n < bound && text[n])
        n++;
    return n;
}

bool string_equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

bool string_starts_with(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++)
            return false;
    return true;
}

bool string_copy(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; n + 1 < size && from[n]; n++)
        to[n] = from[n];
    to[n] = 0;
    return from[n] == 0;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

bool string_to_number(const char *text, size_t length, u64 *out)
{
    u64 value = 0;
    unsigned base = 10;
    size_t at = 0;

    if (length > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        at = 2;
    }
    if (at == length)
        return false;
    for (; at < length; at++) {
        unsigned digit = (unsigned)digit_value(text[at]);
        if (digit >= base || value > (~0ull - digit) / base)
            return false;
        value = value * base + digit;
    }
    *out = value;
    return true;
}
