/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test=WORD on the hypervisor's line: what the test-suite provokes. docs/running.md does not offer it to users.
 */
#ifndef ROOTLET_KERNEL_START_SELFTEST_H
#define ROOTLET_KERNEL_START_SELFTEST_H

#include "kernel/lib/types.h"

struct selftest_cpus {
    s64 tsc_skew;   /* what each of the other CPUs' TSCs is moved by before it is looked at */
    bool tsc_stuck; /* and no correction of it takes effect */
};
/* The boot CPU, before the others start: what is to be odd about them by the word. */
struct selftest_cpus selftest_before_cpus(const char *word);
/* The boot CPU, before the first VM: does what the word says at once, or keeps it for its time. "": no test. */
void selftest_begin(const char *word);
/* Each CPU, behind its VMXOFF. */
void selftest_after_vmxoff(void);
/* The boot CPU, when the last VM has stopped. */
void selftest_at_end(void);

#endif
