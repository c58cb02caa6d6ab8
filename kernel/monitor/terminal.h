/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which VM has the terminal, and what was typed for it. The VM's own CPU takes the bytes when it looks after its
 * devices; everything else is done on the boot CPU.
 */
#ifndef ROOTLET_KERNEL_MONITOR_TERMINAL_H
#define ROOTLET_KERNEL_MONITOR_TERMINAL_H

#include "kernel/vm/vm.h"

/* The VM gets the terminal, from whoever has it; NULL: nobody. `behind`: the monitor stands in front of it. */
void terminal_give(struct vm *vm, bool behind);
/* The VM that has it, or NULL. */
struct vm *terminal_owner(void);
/* A byte for the owner. What its UART does not take is kept, 4 KiB of it; more is dropped, as a UART does. */
void terminal_type(u8 byte);
/* The next byte for this VM, or -1. Any CPU. */
int terminal_read(const struct vm *vm);

#endif
