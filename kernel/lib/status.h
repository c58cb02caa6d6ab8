/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Status codes of functions that can be refused, and the text that says why.
 *
 * A configuration or image fault travels as a status that must be checked plus a `struct refusal`, whose one line names
 * the cause and the remedy: it ends as `rootlet: vm refused name=<n> why="<text>"`.
 */
#ifndef ROOTLET_LIB_STATUS_H
#define ROOTLET_LIB_STATUS_H

#include "kernel/lib/types.h"

enum status {
    STATUS_OK = 0,
    STATUS_INVALID,      /* the input breaks its format or a rule; the refusal says which */
    STATUS_TRUNCATED,    /* the input ends before what it promises */
    STATUS_UNSUPPORTED,  /* well formed, but this machine or version does not have it */
    STATUS_NO_MEMORY,    /* too few frames, or a fixed table is full */
    STATUS_OUT_OF_RANGE, /* an address or number lies outside what it may be */
    STATUS_GONE,         /* what it names has ended */
    STATUS_WRONG_STATE   /* it is in no state for that */
};

#define REFUSAL_BYTES 256

struct refusal {
    char text[REFUSAL_BYTES]; /* NUL-terminated; no quote character and no newline */
};

/*
 * Formats the reason into *why (which may be NULL) and returns `status`, so that a check reads
 *     return refuse(why, STATUS_INVALID, "mem=%s is not a size; write for example mem=8M", text);
 * Quotes, control and non-ASCII characters in the text are replaced by '?', since it is printed inside quotes.
 */
enum status refuse(struct refusal *why, enum status status, const char *format, ...) PRINTF(3, 4);

#endif
