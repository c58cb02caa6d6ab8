/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See tsc_sync.h. The shorter the round trip, the narrower the bounds; one that was disturbed says little, and nothing
 * wrong.
 */
#include "arch/x86/tsc_sync.h"

void tsc_offset_narrow(struct tsc_offset *offset, u64 before, u64 theirs, u64 after)
{
    s64 low = (s64)(theirs - after);
    s64 high = (s64)(theirs - before);

    offset->low = low > offset->low ? low : offset->low;
    offset->high = high < offset->high ? high : offset->high;
}

enum tsc_verdict tsc_offset_judge(const struct tsc_offset *offset, u64 limit, s64 *correction)
{
    *correction = 0;
    if (offset->low > offset->high)
        return TSC_UNSTEADY;
    if (offset->low <= (s64)limit && offset->high >= -(s64)limit)
        return TSC_ALIKE;
    *correction = -(offset->low + (offset->high - offset->low) / 2);
    return TSC_DIFFERS;
}
