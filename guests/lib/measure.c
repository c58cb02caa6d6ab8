/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest library: repeated measurements, sorted and printed. On one vCPU at a time.
 */
#include "guests/lib/measure.h"
#include "guests/lib/console.h"

#define RUNS 200u

static u32 results[RUNS];

static void sort(void)
{
    for (u32 i = 1; i < RUNS; i++) {
        u32 value = results[i], j = i;
        for (; j > 0 && results[j - 1] > value; j--)
            results[j] = results[j - 1];
        results[j] = value;
    }
}

void measure_run(const char *name, u32 (*measure)(void))
{
    for (u32 i = 0; i < RUNS; i++)
        results[i] = measure();
    sort();
    print("bench %s ticks=%u median=%u max=%u runs=%u\n", name, results[0], results[RUNS / 2], results[RUNS - 1], RUNS);
}
