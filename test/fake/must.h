/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a fuzzer insists on: a condition that does not hold is printed with its line and ends the run.
 */
#ifndef ROOTLET_TEST_FAKE_MUST_H
#define ROOTLET_TEST_FAKE_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
