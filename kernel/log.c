/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log line is formatted on the caller's stack and handed to the console whole. Text may stem from a module line, so
 * whatever is not printable is replaced. Any CPU; no lock of its own.
 */
#include "kernel/log.h"
#include "kernel/console.h"
#include "kernel/lib/format.h"

#define LINE_BYTES 512u /* a longer line is cut */

static int threshold = LOG_INFO;

static void write_line(const char *kind, const char *format, va_list arguments)
{
    char line[LINE_BYTES];
    size_t used = format_text(line, sizeof line, "rootlet: %s", kind);

    used += format_list(line + used, sizeof line - used, format, arguments);
    for (size_t i = 0; i < used; i++)
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?';
    line[used] = '\n'; /* where the NUL stood */
    console_write(line, used + 1);
}

void log_event(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line("", format, arguments);
    va_end(arguments);
}

void log_text(const char *text)
{
    log_event("%s", text);
}

#define LOG_DEFINE(name, level, kind)                                                                                  \
    void name(const char *format, ...)                                                                                 \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        if ((int)(level) > __atomic_load_n(&threshold, __ATOMIC_RELAXED))                                              \
            return;                                                                                                    \
        va_start(arguments, format);                                                                                   \
        write_line(kind, format, arguments);                                                                           \
        va_end(arguments);                                                                                             \
    }

LOG_DEFINE(log_error, LOG_ERROR, "error: ")
LOG_DEFINE(log_warn, LOG_WARN, "warn: ")
LOG_DEFINE(log_info, LOG_INFO, "info: ")
LOG_DEFINE(log_debug, LOG_DEBUG, "debug: ")

void log_set_level(enum log_level level)
{
    __atomic_store_n(&threshold, (int)level, __ATOMIC_RELAXED);
}
