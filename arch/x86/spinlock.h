/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ticket locks. The kernel runs with interrupts off everywhere but in the idle loop's HLT, so a lock needs no saving of
 * the interrupt flag; an NMI handler takes no lock.
 * The order of the locks is in docs/design.md, "A VM and its vCPUs".
 */
#ifndef ROOTLET_ARCH_SPINLOCK_H
#define ROOTLET_ARCH_SPINLOCK_H

#include "kernel/lib/types.h"

struct spinlock {
    u16 next;
    u16 owner;
};

static inline void spin_lock(struct spinlock *lock)
{
    u16 ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&lock->owner, __ATOMIC_ACQUIRE) != ticket)
        __builtin_ia32_pause();
}

static inline void spin_unlock(struct spinlock *lock)
{
    __atomic_store_n(&lock->owner, (u16)(lock->owner + 1), __ATOMIC_RELEASE);
}

#endif
