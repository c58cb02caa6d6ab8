/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spins for ever and counts, for tests of fairness: run two of them on one CPU with different weight= and a limit=. The
 * count stands on the text page (dump=screen shows it), which is plain memory: the guest causes no exit of its own.
 */
#include "guests/lib/guest.h"

#define TURNS_PER_DISPLAY 0x10000u

static volatile u32 turns; /* of no function: a debugger prints it wherever the guest stands */

int guest_main(void)
{
    /* Interrupts on, as in most guests that compute (guests/spincli has them off), but none can come: the PICs are
     * masked. */
    cpu_out8(0x21, 0xff);
    cpu_out8(0xa1, 0xff);
    cpu_interrupts_on();
    print("spinner spinning\n");
    for (;;) {
        while (++turns % TURNS_PER_DISPLAY)
            ;
        char line[40];
        format_text(line, sizeof(line), "spinner count=%u", turns);
        console_text_page(0, line);
    }
}
