/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other CPUs: starting them, calling functions on them, waking them, stopping them. Ids are dense over the CPUs
 * that came up; the boot CPU is 0. Requests travel in per-CPU mailboxes (lock-free lists), IRQ_VECTOR_KICK announces
 * them. SDM 3A 8.4.4 "MP Initialization Example".
 */
#ifndef ROOTLET_ARCH_SMP_H
#define ROOTLET_ARCH_SMP_H

#include "arch/x86/percpu.h"
#include "kernel/lib/status.h"

struct smp_request {
    void (*function)(void *argument);
    void *argument;
    struct smp_request *next;
    u32 pending; /* 1 from posting until the function has returned */
};

/* Boot CPU, once, after lapic_init_boot_cpu: installs the kick handler. `tsc_hz` measures the waits. */
void smp_init(u64 tsc_hz);

struct smp_plan {
    const u32 *apic_ids; /* the caller's own is skipped */
    u32 count;
    hpa_t trampoline; /* a page of RAM below 640 KiB that nobody uses, ever: a CPU that comes late stops in it */
    /* Runs on the new CPU for ever: own stack, interrupts off, local APIC, timer and FPU ready. */
    void (*entry)(struct cpu_local *cpu);
    /* NULL, or runs on the new CPU before it counts: a CPU that it refuses is left out. */
    enum status (*check)(struct refusal *why);
    /* A CPU that did not come up, or is left out; `why` for the log. */
    void (*missing)(u32 apic_id, const char *why);
    /* A CPU whose TSC differed by more than a microsecond: so many ticks were added to it. */
    void (*moved_tsc)(u32 apic_id, s64 ticks);
    s64 test_skew;   /* 0, or what each new CPU's TSC is moved by beforehand */
    bool test_stuck; /* and no correction of it takes effect */
};

/*
 * Starts the planned CPUs, one after another. A CPU that has not come after the time limit, that plan->check refuses or
 * whose TSC cannot be made like the boot CPU's is reported and left out.
 * Returns when all that came are online; only then do they run their entry, so that they see the final count.
 */
void smp_start_all(const struct smp_plan *plan);
/* CPUs online, the boot CPU included. */
u32 smp_cpu_count(void);

/* Runs function(argument) on CPU `id` and waits for its return; serves this CPU's mailbox meanwhile. On the own CPU: a
 * plain call. */
void smp_call(u32 id, void (*function)(void *), void *argument);
/*
 * Hands over a request without waiting; *request must live until its `pending` is 0 again. False (and nothing done)
 * if it is still pending. Takes no lock; any CPU, also the own one.
 */
bool smp_post(u32 id, struct smp_request *request);
/* Wakes CPU `id` from HLT, or forces a VM exit there. */
void smp_kick(u32 id);
/* Sends the notification vector of posted interrupts: as a kick, but a guest that has them gets no VM exit. */
void smp_notify_posted(u32 id);
/* Runs what waits in this CPU's mailbox, oldest first; the kick handler does it too. Cheap if there is nothing. */
void smp_mailbox_run(void);

/* Stops all other CPUs for good (interrupts off, HLT); VMX must be off there already. Waits until they stand, at most
 * 100 ms each. */
void smp_stop_all(void);
/* The same by NMI, for panic: takes no lock, waits a little. Any CPU that is the second to panic stops here itself. */
void smp_stop_others_for_panic(void);
/* The NMI handler and the NMI exit call this first: does not return if another CPU has asked to stop. */
void smp_handle_nmi(void);
/* Interrupts off and HLT, for ever. */
NORETURN void smp_halt_forever(void);

#endif
