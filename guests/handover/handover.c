/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A turn that two vCPUs hand to and fro (cpus=2): each waits for its own in a loop of PAUSE. On one CPU the one that
 * spins keeps the other from its turn, unless the hypervisor notices. Option: rounds=<n> (20) for each.
 */
#include "guests/lib/guest.h"

void handover_entry(void);
void handover_second(void);

u8 handover_stack[4096] __attribute__((aligned(16)));
static u32 turn, rounds;

static void take_turns(u32 self)
{
    for (u32 i = 0; i < rounds; i++) {
        while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != self)
            cpu_pause();
        __atomic_store_n(&turn, 1 - self, __ATOMIC_RELEASE);
    }
}

/* entry.asm has given it a stack. */
void handover_second(void)
{
    take_turns(1);
}

int guest_main(void)
{
    struct hypercall start = {ROOTLET_CALL_START_VCPU, 1, (u32)handover_entry, 0};

    rounds = guest_option_number("rounds", 20);
    expect(hypercall(&start) == ROOTLET_OK, "vCPU 1 (cpus=2)");
    u64 before = hypercall_clock_ns();
    take_turns(0);
    print("handover rounds=%u us=%u\n", rounds, (u32)(hypercall_clock_ns() - before) / 1000);
    return 0;
}
