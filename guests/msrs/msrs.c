/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: reads every MSR of the architectural ranges and many at random, writes back what it read, then writes wild
 * values. A #GP is an answer; anything else that shows is not. Every MSR that took a wild value gets its old one back.
 * Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define RANDOM_MSRS 2000u

static u32 readable, writable, faults;

static void try_msr(u32 index)
{
    u64 before;
    if (!msr_try_read(index, &before)) {
        faults++;
        /* May exist for writing only. */
        writable += msr_try_write(index, 0);
        return;
    }
    readable++;
    writable += msr_try_write(index, before);
    u64 wild = (u64)guest_random() << 32 | guest_random();
    if (msr_try_write(index, wild))
        (void)msr_try_write(index, before);
    else
        faults++;
}

static void try_range(u32 first, u32 last)
{
    print("msrs trying %x to %x\n", first, last);
    for (u32 index = first; index <= last; index++)
        try_msr(index);
}

static void expect_no_msr(u32 index, const char *text)
{
    u64 value;
    expect(!msr_try_read(index, &value) && trap_vector == VECTOR_GP && trap_error == 0, text);
    expect(!msr_try_write(index, 0) && trap_vector == VECTOR_GP && trap_error == 0, text);
}

int guest_main(void)
{
    interrupts_init();
    try_range(0x00000000, 0x00001fff);
    try_range(0xc0000000, 0xc0001fff);
    try_range(0x40000000, 0x400000ff);
    print("msrs trying %u at random\n", RANDOM_MSRS);
    for (u32 i = 0; i < RANDOM_MSRS; i++)
        try_msr(guest_random());
    expect_no_msr(0x12345678, "an unknown MSR does not give #GP(0)");
    expect_no_msr(0x480, "a VMX capability MSR exists");
    print("msrs ok readable=%u writable=%u faults=%u\n", readable, writable, faults);
    return 0;
}
