/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repeats a measurement and prints one line: bench <name> ticks=<least> median=<m> max=<n> runs=<n>.
 */
#ifndef GUEST_MEASURE_H
#define GUEST_MEASURE_H

#include "guests/lib/types.h"

/* measure: returns TSC ticks. */
void measure_run(const char *name, u32 (*measure)(void));

#endif
