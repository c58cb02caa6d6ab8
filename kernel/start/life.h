/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the composition root and the module lines (vms.c) need of the VMs by name beside kernel/vm/life.h.
 */
#ifndef ROOTLET_KERNEL_START_LIFE_H
#define ROOTLET_KERNEL_START_LIFE_H

#include "kernel/vm/life.h"

/* Makes a VM of boot module `module` and starts it; at boot, and before the boot CPU has entered sched_run. */
COLD enum status life_make(const struct vm_spec *spec, u32 module, const char *loaded_name, struct life **out,
                           struct refusal *why) MUST_CHECK;
/* Of the boot CPU's loop (sched_set_work). */
u64 life_work(u64 now);
/* A run has ended and its memory is released. Any CPU. */
void life_run_ended(struct vm *vm);
/* One more, one less who wants the machine to go on; it has one from the beginning. */
void life_begin(void);
void life_end(void);
/* The last run of each VM, linked by `next`, when nobody runs any more. */
COLD struct vm *life_list_runs(void);
/* Prints each VM's statistics and frees it. */
COLD void life_forget_all(void);
/* test=restart-at-once: no delay before a restart. */
COLD void life_restart_at_once(void);

#endif
