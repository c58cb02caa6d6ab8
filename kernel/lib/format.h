/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * printf-like formatting into a bounded buffer: %s %.*s %c %d %u %x %X %p %% with 0, width, -, and l, ll, z.
 */
#ifndef ROOTLET_LIB_FORMAT_H
#define ROOTLET_LIB_FORMAT_H

#include "kernel/lib/types.h"

/* Writes at most size-1 characters and a NUL (nothing if size is 0). Returns the number of characters written. */
size_t format_list(char *buffer, size_t size, const char *format, va_list arguments) PRINTF(3, 0);
size_t format_text(char *buffer, size_t size, const char *format, ...) PRINTF(3, 4);

#endif
