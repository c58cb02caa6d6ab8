/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * By how much another CPU's TSC differs from ours, from readings that it takes between two of ours. Pure.
 * SDM 3B 17.17 "Time-Stamp Counter".
 */
#ifndef ROOTLET_ARCH_TSC_SYNC_H
#define ROOTLET_ARCH_TSC_SYNC_H

#include "kernel/lib/types.h"

/* Theirs less ours lies in [low, high]. */
struct tsc_offset {
    s64 low, high;
};
#define TSC_OFFSET_UNKNOWN ((struct tsc_offset){INT64_MIN, INT64_MAX})

enum tsc_verdict {
    TSC_ALIKE,   /* the difference may be within the limit */
    TSC_DIFFERS, /* it is not; *correction, added to theirs, mends that */
    TSC_UNSTEADY /* the readings contradict each other: the two run at different rates, or one jumps */
};

/* A reading of theirs, taken after our `before` and before our `after`. */
void tsc_offset_narrow(struct tsc_offset *offset, u64 before, u64 theirs, u64 after);
enum tsc_verdict tsc_offset_judge(const struct tsc_offset *offset, u64 limit, s64 *correction) MUST_CHECK;

#endif
