/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sibling threads of a core run vCPUs of one VM only (smt=core): what one of them leaves in caches and buffers, another
 * may read on some CPUs. A CPU whose next vCPU is of another VM than the core's waits, and meanwhile runs what it has
 * of that one. Without siblings, or with smt=share, nothing of this is asked.
 */
#ifndef ROOTLET_KERNEL_SCHED_SMT_H
#define ROOTLET_KERNEL_SCHED_SMT_H

#include "kernel/lib/types.h"

struct core;
struct vm;

/* Who asks, and when. */
struct smt_asker {
    struct core *core;
    u32 id;
    u64 now, slice_tsc;
};

/* The core whose first CPU has this number. */
struct core *sched_smt_core(u32 first);
/*
 * The CPU may run a vCPU of the VM now, and has the core with it until sched_smt_leave(): true. Else false; `first`: it
 * is this CPU's next one, and the core will be given to it in its turn; the CPUs of *to_leave must leave their guests
 * for that. With the CPU's queue locked.
 */
bool sched_smt_enter(const struct smt_asker *asker, const struct vm *vm, bool first, u64 *to_leave);
void sched_smt_leave(struct core *core, u32 id);
/* It has nothing to run. */
void sched_smt_give_up(const struct smt_asker *asker);
/* Whether a vCPU of the VM would get its turn at once. NULL: a core of one thread. */
bool sched_smt_is_free(struct core *core, const struct vm *vm);
/* When the turn of whoever leads ends. */
u64 sched_smt_turn_end(const struct core *core);

#endif
