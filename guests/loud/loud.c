/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prints faster than any console goes, so that it has to wait, and counts how long its timer's interrupts have to: one
 * comes each millisecond. Options: ms=<n> (1500) to print, by=uart or by=call.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define LINE "loud, and louder, with a line that says nothing to anybody who might read it\n"

static u64 last, worst;
static u32 ticks;

static void tick(struct interrupt_frame *frame)
{
    u64 now = cpu_rdtsc();

    (void)frame;
    if (ticks++ && now - last > worst)
        worst = now - last;
    last = now;
}

/* A count that is short, or 0, is no failure: the rest is to be written again. */
static void write_by_call(void)
{
    u32 written;

    for (u32 done = 0; done < sizeof LINE - 1; done += written)
        expect(hypercall_console_write((u32)LINE + done, sizeof LINE - 1 - done, &written) == ROOTLET_OK, "write");
}

int guest_main(void)
{
    u32 khz = hypercall_tsc_khz();
    u64 end = cpu_rdtsc() + (u64)guest_option_number("ms", 1500) * khz;
    const char *by = guest_option("by");
    bool by_call = by && text_begins_with(by, "call");

    interrupts_init();
    interrupts_set_irq(0, tick);
    pit_set_periodic(PIT_HZ / 1000);
    cpu_interrupts_on();
    while (cpu_rdtsc() < end) {
        if (by_call)
            write_by_call();
        else
            print("%s", LINE);
    }
    cpu_interrupts_off();
    print("loud ticks=%u worst_us=%u\n", ticks, (u32)worst / (khz / 1000));
    return 0;
}
