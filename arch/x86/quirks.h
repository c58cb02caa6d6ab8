/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an engine gets wrong that runs us, and that we make up for: one table, quirks.c. Each row is found by what the
 * engine does or by its version, never by the guest that would suffer.
 */
#ifndef ROOTLET_ARCH_X86_QUIRKS_H
#define ROOTLET_ARCH_X86_QUIRKS_H

#include "kernel/lib/bits.h"
#include "kernel/lib/types.h"

enum quirk {
    QUIRK_XSAVEC,
    QUIRK_NMI_BLOCKING,
    QUIRK_VIRTUAL_DELIVERY,
    QUIRK_EMPTY_NOTIFICATION,
    QUIRK_STI_SHADOW,
    QUIRK_EXCEPTION_RIP,
    QUIRKS
};

extern u32 quirks_found; /* bit n: enum quirk n; constant once the machine is up */

/* Boot CPU, after xsave_init_cpu(). Precondition: the CPU has VMX. */
void quirks_detect(void);
/* The table's name of a quirk, for the log. */
const char *quirks_name(enum quirk quirk);

static inline bool quirks_have(enum quirk quirk)
{
    return quirks_found & (u32)BIT(quirk);
}

#endif
