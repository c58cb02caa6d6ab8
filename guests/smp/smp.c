/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several vCPUs: the boot vCPU starts the others by hypercall, all count together, once with atomic additions and once
 * under a lock, and the boot vCPU adds up. Run it with cpus=2 or more (it also works with one). Options: turns=<n>
 * (20000) of each vCPU.
 */
#include "guests/lib/guest.h"

#define MAX_VCPUS 16u
#define PATIENCE  100000u /* yields until a vCPU that does not come is given up */

void smp_entry(void); /* entry.asm: sets up segments and a stack, calls smp_main(its index) */
void smp_main(u32 index);

/* One stack per vCPU that is started, found by entry.asm. */
u8 smp_stacks[MAX_VCPUS][4096] __attribute__((aligned(16)));

static volatile u32 atomic_count, locked_count, finished;
static volatile u32 own_count[MAX_VCPUS];
static u32 lock;
static u32 turns; /* written before the other vCPUs start */

static void lock_acquire(void)
{
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) {
        /* The holder may be waiting for this CPU. */
        hypercall_yield();
    }
}

static void count(u32 index)
{
    for (u32 turn = 0; turn < turns; turn++) {
        __atomic_fetch_add(&atomic_count, 1, __ATOMIC_RELAXED);
        own_count[index] = own_count[index] + 1;
        if (turn % 8)
            continue;
        lock_acquire();
        locked_count = locked_count + 1;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_RELEASE);
}

void smp_main(u32 index)
{
    struct hypercall call = {ROOTLET_CALL_IDENTITY, 0, 0, 0};
    if (hypercall(&call) != ROOTLET_OK || call.ecx != index)
        guest_fail("a vCPU was told a wrong index");
    count(index);
    cpu_halt_for_good();
}

static u32 start_vcpu(u32 index)
{
    struct hypercall call = {ROOTLET_CALL_START_VCPU, index, (u32)smp_entry, index};
    return hypercall(&call);
}

int guest_main(void)
{
    expect(hypercall_present(), "no hypervisor in sight");
    struct hypercall identity = {ROOTLET_CALL_IDENTITY, 0, 0, 0};
    expect(hypercall(&identity) == ROOTLET_OK, "identity");
    u32 vcpus = identity.edx;
    turns = guest_option_number("turns", 20000);
    expect(vcpus >= 1 && vcpus <= MAX_VCPUS, "number of vCPUs");

    for (u32 index = 1; index < vcpus; index++) {
        expect(start_vcpu(index) == ROOTLET_OK, "a vCPU cannot be started");
        expect(start_vcpu(index) == ROOTLET_ERROR_STATE, "a vCPU was started twice");
    }
    count(0);
    for (u32 yields = 0; __atomic_load_n(&finished, __ATOMIC_ACQUIRE) < vcpus; yields++) {
        expect(yields < PATIENCE, "a vCPU did not finish");
        hypercall_yield();
    }

    for (u32 index = 0; index < vcpus; index++)
        expect(own_count[index] == turns, "a vCPU lost a turn");
    expect(atomic_count == vcpus * turns, "an atomic addition was lost");
    expect(locked_count == vcpus * ((turns + 7) / 8), "the lock did not keep others out");
    print("smp ok vcpus=%u count=%u\n", vcpus, atomic_count);
    return 0;
}
