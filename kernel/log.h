/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's own lines. Each call writes one whole line "rootlet: <text>\n" into the console's ring; it never
 * waits for the UART unless the ring is full. Any CPU; not from NMI context (panic has its own path).
 */
#ifndef ROOTLET_KERNEL_LOG_H
#define ROOTLET_KERNEL_LOG_H

#include "kernel/lib/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines of a fixed form, on which tools and tests rely: printed at every level. */
void log_event(const char *format, ...) PRINTF(1, 2);
/* The same of a text as it is: for those that hand out lines. */
void log_text(const char *text);
/* Printed as "rootlet: error: ...", "rootlet: warn: ..." and so on if the level is enabled. */
void log_error(const char *format, ...) PRINTF(1, 2);
void log_warn(const char *format, ...) PRINTF(1, 2);
void log_info(const char *format, ...) PRINTF(1, 2);
void log_debug(const char *format, ...) PRINTF(1, 2);
void log_set_level(enum log_level level);

#endif
