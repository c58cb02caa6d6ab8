/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A neighbour that watches what others cost it: counts loops for a while and prints how many, the longest time in which
 * it did not run, and the sum of all such times. Options: ms=<n> (3000) to watch, say=<n>: prints a line each n ms.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define LOOP_TICKS 100u /* more than a loop takes: some 30 */

static u32 us_of(u64 tsc, u32 khz)
{
    u32 units = (u32)(tsc >> 4);
    return units / (khz >> 4) * 1000 + units % (khz >> 4) * 1000 / (khz >> 4);
}

int guest_main(void)
{
    u32 khz = hypercall_tsc_khz(), loops = 0;
    u64 span = (u64)guest_option_number("ms", 3000) * khz, worst = 0, lost = 0;

    interrupts_init();
    cpu_interrupts_on(); /* none will come; but with interrupts off Bochs holds up the host's, too */
    u64 start = cpu_rdtsc(), last = start;
    u64 pause = (u64)guest_option_number("say", 0) * khz, next = pause ? start + pause : ~0ull;

    while (last - start < span) {
        u64 now = cpu_rdtsc();
        if (now - last > worst)
            worst = now - last;
        if (now - last > LOOP_TICKS)
            lost += now - last;
        last = now;
        loops++;
        if (now >= next) {
            print("gap goes on\n");
            next += pause;
        }
    }
    print("gap worst_us=%u loops=%u lost_us=%u\n", us_of(worst, khz), loops, us_of(lost, khz));
    return 0;
}
