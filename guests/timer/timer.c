/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time on a PC: PIC and PIT interrupts, a one-shot, channel 2 behind port 0x61, and the CMOS clock, each held against
 * the hypercall clock where there is one. A timer may be late on a busy machine, but never early. Ends by halting for
 * good: reason=halt. Options: ticks=<n> (100), gate=<clocks of channel 2 to wait for> (11932).
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define PERIOD_CLOCKS  1193u  /* about 1 ms */
#define ONESHOT_CLOCKS 5966u  /* about 5 ms */
#define GATE_CLOCKS    11932u /* about 10 ms */
#define ONESHOTS       5u

#define CMOS_STATUS_A 0x0a
#define CMOS_STATUS_B 0x0b
#define CMOS_UPDATING 0x80
#define CMOS_BINARY   0x04

static volatile u32 ticks;

static void count_tick(struct interrupt_frame *frame)
{
    (void)frame;
    ticks++;
}

static u64 clock_ns(void)
{
    return hypercall_present() ? hypercall_clock_ns() : 0;
}

/* PIT input clocks as nanoseconds. */
static u64 clocks_to_ns(u64 clocks)
{
    return divide_u64(clocks * 1000000000u, PIT_HZ, NULL);
}

/* Without a hypervisor there is no clock to compare with. The tenth of a percent allows for rounding in both clocks. */
static void expect_not_early(u64 elapsed_ns, u64 due_ns, const char *text)
{
    expect(!hypercall_present() || elapsed_ns * 1000 >= due_ns * 999, text);
}

static void wait_for_ticks(u32 count)
{
    while (ticks < count) {
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
}

static void check_periodic(u32 count)
{
    u64 start_ns = clock_ns();
    ticks = 0;
    pit_set_periodic(PERIOD_CLOCKS);
    wait_for_ticks(count);
    u64 elapsed_ns = clock_ns() - start_ns;
    u64 due_ns = clocks_to_ns((u64)count * PERIOD_CLOCKS);
    print("timer periodic ticks=%u elapsed_us=%llu due_us=%llu\n", count, divide_u64(elapsed_ns, 1000, NULL),
          divide_u64(due_ns, 1000, NULL));
    expect_not_early(elapsed_ns, due_ns, "the periodic timer runs too fast");
}

static void check_oneshot(void)
{
    u64 due_ns = clocks_to_ns(ONESHOT_CLOCKS);
    u64 latest_ns = 0;
    for (u32 shot = 0; shot < ONESHOTS; shot++) {
        u64 start_ns = clock_ns();
        ticks = 0;
        pit_set_oneshot(ONESHOT_CLOCKS);
        wait_for_ticks(1);
        u64 elapsed_ns = clock_ns() - start_ns;
        expect_not_early(elapsed_ns, due_ns, "the one-shot timer came too early");
        if (elapsed_ns > latest_ns)
            latest_ns = elapsed_ns;
    }
    print("timer oneshot due_us=%llu latest_us=%llu\n", divide_u64(due_ns, 1000, NULL),
          divide_u64(latest_ns, 1000, NULL));
}

/* Channel 2 has no interrupt: bit 0 of port 0x61 is its gate, bit 5 its output. */
static void check_channel_2(u32 gate_clocks)
{
    u8 speaker = (u8)(cpu_in8(ROOTLET_PORT_SPEAKER) & 0xfc);
    u64 start_ns = clock_ns();
    cpu_out8(ROOTLET_PORT_SPEAKER, speaker | 1);
    cpu_out8(ROOTLET_PORT_PIT + 3, 0xb0); /* channel 2, both bytes, mode 0 */
    cpu_out8(ROOTLET_PORT_PIT + 2, (u8)gate_clocks);
    cpu_out8(ROOTLET_PORT_PIT + 2, (u8)(gate_clocks >> 8));
    while (!(cpu_in8(ROOTLET_PORT_SPEAKER) & 0x20))
        cpu_pause();
    u64 elapsed_ns = clock_ns() - start_ns;
    cpu_out8(ROOTLET_PORT_SPEAKER, speaker);
    expect_not_early(elapsed_ns, clocks_to_ns(gate_clocks), "channel 2 finished too early");
    print("timer channel=2 elapsed_us=%llu\n", divide_u64(elapsed_ns, 1000, NULL));
}

static u8 cmos_read(u8 index)
{
    cpu_out8(ROOTLET_PORT_CMOS_INDEX, index);
    return cpu_in8(ROOTLET_PORT_CMOS_DATA);
}

static u32 cmos_field(u8 index, u32 least, u32 most)
{
    u32 value = cmos_read(index);
    if (!(cmos_read(CMOS_STATUS_B) & CMOS_BINARY))
        value = (value >> 4) * 10 + (value & 0xf);
    expect(value >= least && value <= most, "a field of the CMOS clock is out of range");
    return value;
}

static void check_cmos_clock(void)
{
    for (u32 attempt = 0; cmos_read(CMOS_STATUS_A) & CMOS_UPDATING; attempt++)
        expect(attempt < 1000000, "the CMOS clock is updating for ever");
    u32 second = cmos_field(0, 0, 59), minute = cmos_field(2, 0, 59), hour = cmos_field(4, 0, 23);
    u32 day = cmos_field(7, 1, 31), month = cmos_field(8, 1, 12), year = cmos_field(9, 0, 99);
    print("timer cmos=20%02u-%02u-%02uT%02u:%02u:%02u\n", year, month, day, hour, minute, second);
}

int guest_main(void)
{
    interrupts_init();
    interrupts_set_irq(ROOTLET_IRQ_PIT, count_tick);
    check_periodic(guest_option_number("ticks", 100));
    check_oneshot();
    interrupts_mask_irq(ROOTLET_IRQ_PIT);
    check_channel_2(guest_option_number("gate", GATE_CLOCKS));
    check_cmos_clock();
    print("timer ok\n");
    cpu_halt_for_good();
}
