/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: a triple fault. With an IDT of no entries #UD cannot be delivered, nor the #GP about that, nor the #DF: the
 * CPU shuts down, and the VM stops with reason=triple-fault.
 */
#include "guests/lib/guest.h"

/* Not inlined, and compiled with frame pointers (guests.mk): the report shows who called whom. */
static __attribute__((noinline)) void fall(void)
{
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) empty = {0, 0}; /* on the stack, so that there is a frame */
    __asm__ volatile("lidt %0\n\tud2" : : "m"(empty));
}

static __attribute__((noinline)) void step_over_the_edge(void)
{
    fall();
    guest_fail("still running after a triple fault");
}

int guest_main(void)
{
    print("triple: an empty IDT, then UD2\n");
    guest_wait_for_late_slice();
    step_over_the_edge();
    return 1;
}
