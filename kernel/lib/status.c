/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place where a refusal's text is made printable: it may carry bytes of an untrusted module line.
 */
#include "kernel/lib/status.h"
#include "kernel/lib/format.h"

enum status refuse(struct refusal *why, enum status status, const char *format, ...)
{
    if (why) {
        va_list arguments;
        va_start(arguments, format);
        format_list(why->text, sizeof why->text, format, arguments);
        va_end(arguments);
        for (char *c = why->text; *c; c++)
            if (*c == '"' || *c < ' ' || *c > '~')
                *c = '?';
    }
    return status;
}
