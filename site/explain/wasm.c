/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explainer as WebAssembly: what the page calls, and what the compiler calls where there is no C library. The page
 * writes the texts into the memory behind __heap_base, which nothing else here uses, and reads the answer from there.
 */
#include "kernel/lib/string.h"
#include "tools/vmx_explain/explain.h"

/* model: counted from 1 as explain_model_name() counts from 0; 0 is none. which: the dump of the text, from 1. */
size_t page_answer(const char *text, size_t length, const char *caps, size_t caps_length, u32 model, u32 which,
                   char *out, size_t size);

size_t page_answer(const char *text, size_t length, const char *caps, size_t caps_length, u32 model, u32 which,
                   char *out, size_t size)
{
    struct explain_question question = {.text = text,
                                        .length = length,
                                        .caps = caps,
                                        .caps_length = caps_length,
                                        .model = model ? explain_model_name(model - 1) : NULL,
                                        .which = which};

    return explain_answer(&question, out, size);
}

void *memcpy(void *to, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    if (to <= from)
        return memcpy(to, from, bytes);
    while (bytes--)
        ((u8 *)to)[bytes] = ((const u8 *)from)[bytes];
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((u8 *)to)[i] = (u8)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const u8 *)a)[i] != ((const u8 *)b)[i])
            return ((const u8 *)a)[i] < ((const u8 *)b)[i] ? -1 : 1;
    return 0;
}
