/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: misuses the PC's interrupt hardware. what=storm: INITs and SIPIs to everybody, absent IDs included, ended
 * with status 0. what=init: INIT to the boot vCPU, which resets the VM. what=wild: random writes to local APIC, I/O
 * APIC, HPET, 8259A, PIT, CMOS clock and ACPI registers, status 0; rounds=<n>, seed=<n>. what=wait: starts no other
 * vCPU, and works for rounds=<n>. Interrupts stay off; NMIs are ignored.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define APIC       0xfee00000u
#define ICR        0x300u
#define ICR_HIGH   0x310u
#define IOAPIC     0xfec00000u
#define HPET       0xfed00000u
#define MODE_INIT  0x500u
#define MODE_SIPI  0x600u
#define TO_OTHERS  0xc0000u
#define TRAMPOLINE 0x8000u
#define MSR_BASE   0x1bu
#define VECTOR_NMI 2u

void wild_ignore(void);
__asm__(".text\nwild_ignore: iretl");

static void write32(u32 address, u32 value)
{
    *(volatile u32 *)address = value;
}

static void send(u32 destination, u32 command)
{
    write32(APIC + ICR_HIGH, destination << 24);
    write32(APIC + ICR, command);
}

/* Where SIPI starts the others: some halt, some spin with interrupts off. */
static void prepare_trampolines(void)
{
    static const u8 halt[] = {0xf4, 0xeb, 0xfd}, spin[] = {0xfa, 0xeb, 0xfe};
    for (u32 i = 0; i < sizeof halt; i++) {
        ((volatile u8 *)TRAMPOLINE)[i] = halt[i];
        ((volatile u8 *)(TRAMPOLINE + 0x1000))[i] = spin[i];
    }
}

static void storm(u32 rounds)
{
    prepare_trampolines();
    for (u32 i = 0; i < rounds; i++) {
        u32 value = guest_random();
        send(1 + value % 6, (value & 0x100 ? MODE_INIT : MODE_SIPI) | (TRAMPOLINE >> 12) | (value >> 9 & 1));
        send(0, MODE_SIPI | 0x55);
        if (value % 16 == 0)
            send(0, TO_OTHERS | MODE_SIPI | TRAMPOLINE >> 12);
    }
}

/* Not INIT, which would reset the VM. */
static u32 without_init(u32 value)
{
    return (value & 0x700) == MODE_INIT ? value & ~0x100u : value;
}

static void wild_memory(u32 value)
{
    u32 number = guest_random();
    u32 offset = number >> 4 & 0x3fc;
    switch (number & 7) {
    case 0:
    case 1:
        write32(APIC + (offset & 0x3f0), offset >> 4 == ICR >> 4 ? without_init(value) : value);
        break;
    case 2:
    case 3:
        write32(IOAPIC, number >> 8 & 0x3f);
        write32(IOAPIC + 0x10, without_init(value));
        break;
    case 4:
        write32(IOAPIC + (offset & 0xfc), offset & 0x10 ? without_init(value) : value);
        break;
    case 5:
        *(volatile u16 *)(HPET + offset) = (u16)value;
        break;
    default:
        write32(HPET + offset, value);
    }
}

static void wild_port(u32 value)
{
    static const u16 ports[] = {0x20,  0x21,  0xa0,  0xa1,  0x40,  0x41,  0x42,  0x43,  0x61,  0x70, 0x71,
                                0x4d0, 0x4d1, 0x600, 0x601, 0x602, 0x603, 0x608, 0x609, 0x60a, 0x60b};
    u16 port = ports[guest_random() % ARRAY_LENGTH(ports)];
    if (port >= 0x600 && value & 1)
        cpu_out16(port & 0xfffe, (u16)value);
    else if (port == 0x608)
        cpu_out32(port, value);
    else
        cpu_out8(port, (u8)value);
    cpu_in8(port);
}

static void wild(u32 rounds)
{
    u64 base;
    for (u32 i = 0; i < rounds; i++) {
        u32 value = guest_random();
        if (value & 0x10000)
            wild_port(value);
        else
            wild_memory(value ^ value >> 7);
        if (i % 64 == 0 && msr_try_read(MSR_BASE, &base)) {
            msr_try_write(MSR_BASE, value & 0x400 ? base ^ 0x800 : base ^ 0xc00);
            msr_try_write(MSR_BASE, 0xfee00900);
        }
        if (i % 16 == 0)
            msr_try_write(0x800 + value % 64, value);
    }
}

/* Costs the same whoever else runs. */
static void work(u32 rounds)
{
    for (u32 i = 0; i < rounds; i++)
        hypercall_clock_ns();
}

int guest_main(void)
{
    const char *what = guest_option("what");
    u32 rounds = guest_option_number("rounds", 500);

    expect(what, "what= is missing");
    interrupts_init();
    interrupts_set_gate(VECTOR_NMI, wild_ignore);
    for (u32 seed = guest_option_number("seed", 1); seed; seed--)
        guest_random();
    if (text_begins_with(what, "init")) {
        send(0, MODE_INIT | 0x4000);
        print("FAIL: still here after INIT\n");
        return 1;
    }
    if (text_begins_with(what, "storm"))
        storm(rounds);
    else if (text_begins_with(what, "wild"))
        wild(rounds);
    else
        work(rounds);
    print("apicwild ok\n");
    return 0;
}
