/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See machine_check.h. All CPUs together print one line a second at most; what was not printed is counted in the next.
 * SDM 3B 15.10.4.2 "Corrected Machine-Check Handler for Error Logging".
 */
#include "kernel/machine_check.h"
#include "arch/x86/mca.h"
#include "arch/x86/percpu.h"
#include "kernel/clock.h"
#include "kernel/log.h"

#define NS_A_SECOND 1000000000ull

static u64 next_look[CPU_MAX];
static u64 next_line; /* atomic */
static u32 unsaid;    /* atomic: errors without a line */

static void report(u32 bank, const struct mca_error *error, u64 now, u64 second)
{
    u64 due = __atomic_load_n(&next_line, __ATOMIC_RELAXED);

    if (now < due ||
        !__atomic_compare_exchange_n(&next_line, &due, now + second, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&unsaid, 1, __ATOMIC_RELAXED);
        return;
    }
    log_warn("machine check cpu=%u bank=%u kind=%s status=0x%lx address=0x%lx misc=0x%lx unsaid=%u", cpu_id(), bank,
             error->status & MCA_UNCORRECTED ? "uncorrected" : "corrected", error->status, error->address, error->misc,
             __atomic_exchange_n(&unsaid, 0, __ATOMIC_RELAXED));
}

static COLD void look(u64 now)
{
    u64 second = clock_tsc_from_ns(NS_A_SECOND);
    u32 banks = mca_bank_count();

    next_look[cpu_id()] = now + second;
    for (u32 bank = 0; bank < banks; bank++) {
        struct mca_error error;
        if (!mca_read(bank, &error))
            continue;
        mca_clear(bank);
        report(bank, &error, now, second);
    }
}

void machine_check_look(u64 now)
{
    if (UNLIKELY(now >= next_look[cpu_id()]))
        look(now);
}
