/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU's own error reports: banks of MSRs. Only this CPU's (or its package's) errors are in them.
 * SDM 3B 15.3 "Machine-Check MSRs".
 */
#ifndef ROOTLET_ARCH_MCA_H
#define ROOTLET_ARCH_MCA_H

#include "kernel/lib/bits.h"

#define MCA_UNCORRECTED BIT(61) /* in a status */

struct mca_error {
    u64 status;
    u64 address; /* 0: the bank has none */
    u64 misc;    /* likewise */
};

/* Every CPU, with its IDT loaded: has all errors reported. What firmware left in the banks stays for the first look. */
void mca_init_cpu(void);
/* Error-reporting banks of this CPU; 0 if it has no machine-check architecture. */
u32 mca_bank_count(void);
/* The error that the bank holds; false if none. */
bool mca_read(u32 bank, struct mca_error *error) MUST_CHECK;
/* Makes room for the bank's next error. */
void mca_clear(u32 bank);

#endif
