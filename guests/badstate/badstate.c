/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile: leads the CPU into states that bare hardware runs but that a VM entry may refuse (SDM 3C 26.3.1 "Checks on
 * the Guest State Area"). The first two must be survived:
 *  1. CPUID as the last instruction below 4 GiB: the next EIP is 0, not 2^32.
 *  2. ICEBP behind MOV SS while single-stepping: who hands the #DB on must say that a single step is pending.
 *  3. Real mode loads a segment register that was null, which leaves its type alone: on Bochs 0, "not accessed", and
 * the next VM entry fails with reason=entry-failure. Intel's CPUs with unrestricted guest keep every state that a guest
 *     can reach enterable: there the guest survives this, too, and ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define PAGE_PRESENT  0x001u
#define PAGE_WRITABLE 0x002u
#define PAGE_LARGE    0x080u

#define VECTOR_DB 1u

#define TRAMPOLINE 0x8000u /* where real mode can reach code */

/* tricks.asm */
void badstate_wrap(void);
void badstate_debug(void);
void badstate_debug_handler(void);
extern volatile u32 badstate_debug_count;
extern const u8 badstate_trampoline[], badstate_trampoline_end[];

static u32 directory[1024] __attribute__((aligned(4096)));
static u32 top_table[1024] __attribute__((aligned(4096)));
static u8 top_page[4096] __attribute__((aligned(4096)));

static void wrap_around(void)
{
    for (u32 i = 0; i < ARRAY_LENGTH(directory); i++)
        directory[i] = i << 22 | PAGE_LARGE | PAGE_WRITABLE | PAGE_PRESENT;
    directory[1023] = (u32)top_table | PAGE_WRITABLE | PAGE_PRESENT;
    top_table[1023] = (u32)top_page | PAGE_WRITABLE | PAGE_PRESENT;
    top_page[4094] = 0x0f; /* CPUID */
    top_page[4095] = 0xa2;
    cpu_write_cr4(cpu_read_cr4() | CR4_PSE);
    cpu_write_cr3((u32)directory);
    cpu_write_cr0(cpu_read_cr0() | CR0_PG);
    badstate_wrap();
    cpu_write_cr0(cpu_read_cr0() & ~CR0_PG);
}

static void step_behind_mov_ss(void)
{
    interrupts_set_gate(VECTOR_DB, badstate_debug_handler);
    badstate_debug();
    expect(badstate_debug_count > 0, "no #DB came");
}

static void null_segment_in_real_mode(void)
{
    u32 length = (u32)(badstate_trampoline_end - badstate_trampoline);
    for (u32 i = 0; i < length; i++)
        ((volatile u8 *)TRAMPOLINE)[i] = badstate_trampoline[i];
    ((void (*)(void))TRAMPOLINE)();
}

int guest_main(void)
{
    interrupts_init();
    print("badstate 1: EIP wraps around at an instruction that exits\n");
    wrap_around();
    print("badstate 1 survived\n");
    print("badstate 2: ICEBP behind MOV SS while single-stepping\n");
    step_behind_mov_ss();
    print("badstate 2 survived\n");
    print("badstate 3: real mode with a segment that was null\n");
    guest_wait_for_late_slice();
    null_segment_in_real_mode();
    print("badstate 3 survived\n");
    return 0;
}
