/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * console=com2: the second serial port is one VM's alone, raw in both directions. What the VM prints is kept as ever
 * (kernel/vm/vm.c), and none of it appears at the console.
 */
#ifndef ROOTLET_KERNEL_MONITOR_COM2_H
#define ROOTLET_KERNEL_MONITOR_COM2_H

#include "kernel/vm/vm.h"

/*
 * Before the VM is made, boot CPU: opens the port, if nobody has. STATUS_UNSUPPORTED: there is no COM2, or no interrupt
 * of it. STATUS_WRONG_STATE: another VM has it.
 */
COLD enum status com2_open(const char *vm_name, struct refusal *why) MUST_CHECK;
/* The run of that VM that gets what is typed from now on; NULL: none. Boot CPU. */
COLD void com2_give(struct vm *vm);
struct vm *com2_owner(void);
/* A byte from the VM. Any CPU. */
void com2_put(u8 byte);
/* How many of them have not been sent yet. Any CPU. */
u32 com2_waiting(void);
/* The next byte for this VM, or -1. Any CPU. */
int com2_read(const struct vm *vm);

#endif
