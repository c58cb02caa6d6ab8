/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler: many vCPUs on few CPUs. Each CPU owns a run queue, weighted fair by virtual run time, and a list of
 * blocked vCPUs with their wake-up times. Idle CPUs sleep in HLT; work is pushed to them by the CPU that has too much.
 * Interrupts are off everywhere here but in the idle HLT. Lock order: VM, then a CPU's queue lock; never two queue
 * locks.
 */
#ifndef ROOTLET_KERNEL_SCHED_SCHED_H
#define ROOTLET_KERNEL_SCHED_SCHED_H

#include "kernel/vm/vm.h"

#define SCHED_SLICE_NS       10000000ull /* 10 ms */
#define SCHED_SHORT_SLICE_NS 1000000ull
#define SCHED_CAP_PERIOD_NS  100000000ull /* 100 ms: cap= is kept over such periods */
#define SCHED_WORK_PIECE_NS  500000ull    /* long work lets a guest run after so much of it ... */
#define SCHED_SHARED_NS      2000000ull   /* ... for so long */

extern u64 sched_cpus_off; /* atomic; bit n: CPU n has left VMX operation, or is about to */
/* The CPUs on which a VM's vCPUs may run now. */
static ALWAYS_INLINE u64 sched_allowed_cpus(const struct vm_spec *spec)
{
    return spec->affinity & ~__atomic_load_n(&sched_cpus_off, __ATOMIC_RELAXED);
}
/* Whether CPU `id` takes vCPUs. Those that rest there move when they go on. Boot CPU's work. */
COLD void sched_use_cpu(u32 id, bool use);

/* Boot CPU, once, after the clock is known. */
void sched_init(void);
/*
 * CPUs `id` and `first` are sibling threads of a core, and shall run vCPUs of one VM only. Boot CPU, before any of them
 * runs one; `first` is the least number of the core.
 */
void sched_set_sibling(u32 id, u32 first);
/* Gives a ready vCPU to the least loaded CPU that its VM's affinity allows. Any CPU. */
void sched_add(struct vcpu *vcpu);
/* This CPU's loop: runs vCPUs until sched_finish() is called; each CPU calls it once. Returns with all its vCPUs
 * retired. */
void sched_run(void);
/* TSC when the first vCPU of all was about to enter its guest; 0: none yet. */
u64 sched_first_run_tsc(void);
/* Makes every CPU leave sched_run soon. Any CPU. */
void sched_finish(void);
/* An interrupt or a start is waiting for the vCPU: wakes it, or makes it leave its guest for a moment. Any CPU. */
void sched_notify(struct vcpu *vcpu, u32 requests);
/* Likewise for what posted_add() has posted: a vCPU in its guest need not leave it, if its CPU takes that by itself. */
void sched_notify_posted(struct vcpu *vcpu);
/*
 * The debugger wants the vCPU paused: it leaves its guest, or wakes, and its home CPU calls gdb_stub_paused() once it
 * rests. Any CPU. One that has not started pauses when it does.
 */
void sched_pause(struct vcpu *vcpu);
/* The vCPU goes on where it was; `then` is VCPU_PAUSE_NOT or VCPU_PAUSE_AT_HALT. Any CPU. */
void sched_unpause(struct vcpu *vcpu, enum vcpu_pause then);
/*
 * Likewise for whoever pauses a whole VM, beside a debugger: paused, a vCPU has left its guest and its VMCS is clear.
 * The boot CPU's work function is asked for as each of them gets there.
 */
void sched_hold(struct vcpu *vcpu);
void sched_release(struct vcpu *vcpu);
/*
 * What the boot CPU's loop does between guests: work() is called there with no lock held, after sched_request_work()
 * and when the TSC has reached what it returned last (UINT64_MAX: only when asked). Before sched_run.
 */
void sched_set_work(u64 (*work)(u64 now_tsc));
/* Any CPU, any context. */
void sched_request_work(void);
/*
 * From work(), which may take long: after half a millisecond of it the CPU's other business gets a turn, a guest a
 * slice of some milliseconds. So work() holds no lock when it allocates frames or writes guest memory, which share.
 * From anywhere else it does nothing.
 */
void sched_share_cpu(void);
/*
 * From work(), too: what it does for a vCPU that rests for it (sched_hold) is that vCPU's own time. `since` is what
 * sched_work_clock() said when it began; that clock stands still while the CPU is shared. Returns the time (TSC) before
 * which nothing more is to be done for its VM. On the boot CPU itself that is at once, since there the vCPU waits for
 * its turn. On another CPU it may have nobody to wait for; so its VM gets what its weight would get it on the boot CPU,
 * and if affinity= keeps it off that one, all such VMs together get a fiftieth.
 */
u64 sched_work_clock(void);
u64 sched_charge_work(struct vcpu *vcpu, u64 since);
/*
 * A slice is 1 ms while somebody wants that who reads a serial port: a FIFO has 16 bytes, and a guest may hold up its
 * interrupt for a slice (docs/gdb-stub.md). Calls come in pairs, but for who wants it for good.
 */
void sched_shorten_slices(bool on);
/*
 * The running vCPU spins: a vCPU of its VM that waits for this CPU gets what is left of its slice. False: none does.
 * One that waits for another CPU may come here soon.
 */
bool sched_yield_to_sibling(struct vcpu *spinner);
/* True if a vCPU of the VM is current on that CPU: in its guest, in an exit or in HLT there. Any CPU. */
bool sched_runs(u32 cpu, const struct vm *vm);
/* The VM is stopping: its vCPUs leave their guests and are retired by their home CPUs. */
void sched_stop_vm(struct vm *vm);

/* From the running vCPU's exits: its deadline may have come (preemption timer, or any interrupt without one). */
void sched_deadline_reached(struct vcpu *vcpu);
/*
 * The running vCPU is in HLT and nothing has come that ends it. False: it must leave its guest and block. True: this
 * CPU had nothing else to do and has slept, with the vCPU still current; vcpu->requests says what has come.
 */
bool sched_halt(struct vcpu *vcpu) MUST_CHECK;
/* Computes deadline_tsc anew after its timers changed. */
void sched_update_deadline(struct vcpu *vcpu);

#endif
