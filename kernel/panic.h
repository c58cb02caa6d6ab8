/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a host bug: prints why, registers, a backtrace with function names; stops all CPUs; `rootlet: end
 * status=fail`; power off.
 */
#ifndef ROOTLET_KERNEL_PANIC_H
#define ROOTLET_KERNEL_PANIC_H

#include "kernel/lib/types.h"

/* Host exceptions end in a panic from now on, NMIs stop a CPU when another one has panicked. After console_init. */
void panic_init(void);
NORETURN void panic(const char *format, ...) PRINTF(1, 2);
/*
 * What a panic prints last: `epilogue` hands lines to `print`, one by one. It may run with any lock held and on any
 * stack, so it takes no lock. The flight recorder sets it.
 */
void panic_set_epilogue(void (*epilogue)(void (*print)(const char *line)));

/* Always checked: an invariant whose breach is a host bug. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0))                                                                         \
            panic("%s:%d: check failed", __FILE__, __LINE__);                                                          \
    } while (0)

#endif
