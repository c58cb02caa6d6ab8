/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: an endless loop with interrupts off. Nothing that the VM does gives the CPU back; the end of its slice must.
 * Run it with limit=.
 */
#include "guests/lib/guest.h"

int guest_main(void)
{
    print("spincli: cli, then an endless loop\n");
    __asm__ volatile("cli\n1:\tjmp 1b");
    __builtin_unreachable();
}
