/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Anybody's failed VM entry, explained: reads a VMCS as people paste it and says which rules it breaks. The rules are
 * the kernel's own (vmx/check). Needs kernel/lib alone, no C library: it runs on the host and, as WebAssembly, in a
 * browser. One answer at a time: its memory is static.
 */
#ifndef ROOTLET_TOOLS_EXPLAIN_H
#define ROOTLET_TOOLS_EXPLAIN_H

#include "kernel/lib/types.h"

struct explain_question {
    const char *text; /* the dump, and whatever stands around it */
    size_t length;
    const char *caps; /* text with capability MSRs, or none: length 0 */
    size_t caps_length;
    const char *model; /* a CPU that explain_model_name() names, or NULL */
    u32 which;         /* the dump to explain if the text has several, from 1; 0 is the first, too */
};

/*
 * Writes the answer as one JSON document, NUL-ended, into out[size]. Returns the length that it needs: with size or
 * more it was cut. docs/vmx-explain.md describes the keys.
 */
size_t explain_answer(const struct explain_question *question, char *out, size_t size);

/* The same for the first dump of a text. */
size_t explain_dump_text(const char *text, size_t length, const char *caps, size_t caps_length, const char *model,
                         char *out, size_t size);

/* The name of the CPU model of that number, counted from 0; NULL beyond the last. */
const char *explain_model_name(u32 number);

#endif
