/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that debugs itself: INT3, a single step by RFLAGS.TF, a watchpoint in DR0. All must work as on bare hardware,
 * also while GDB has breakpoints in this guest, and a step of GDB's must not show in what PUSHF pushes. Small functions
 * with plain names, for the debugger's scripts in test/bochs/. Ends with status 0.
 */
#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define EFLAGS_TF     0x100u
#define DR6_B0        0x1u
#define DR6_BS        0x4000u
#define DR7_WRITE_DR0 0x000d0602u /* G0, GE and the bit that is always 1; four bytes, writes */

void selfdebug_on_int3(void);
void selfdebug_on_debug(void);
void selfdebug_note_debug(u32 dr6);

volatile u32 int3_count, step_count, watch_count, other_count;
volatile u32 watched, plain;

/* #DB leaves with TF clear, so that one step is one trap. */
__asm__(".text\n"
        "selfdebug_on_int3:\n\t"
        "incl int3_count\n\t"
        "iret\n"
        "selfdebug_on_debug:\n\t"
        "pusha\n\t"
        "mov %dr6, %eax\n\t"
        "push %eax\n\t"
        "call selfdebug_note_debug\n\t"
        "pop %eax\n\t"
        "xor %eax, %eax\n\t"
        "mov %eax, %dr6\n\t"
        "popa\n\t"
        "andl $~0x100, 8(%esp)\n\t"
        "iret\n");

void selfdebug_note_debug(u32 dr6)
{
    if (dr6 & DR6_BS)
        step_count++;
    else if (dr6 & DR6_B0)
        watch_count++;
    else
        other_count++;
}

__attribute__((noinline)) static u32 read_flags(void)
{
    u32 flags;
    __asm__ volatile("pushf\n\tpop %0" : "=r"(flags));
    return flags;
}

__attribute__((noinline)) static void call_int3(void)
{
    __asm__ volatile("nop\n\tint3"); /* GDB goes around an INT3 on which it is asked to break */
    plain = plain + 1;
}

__attribute__((noinline)) static void step_once(void)
{
    __asm__ volatile("pushf\n\torl $0x100, (%%esp)\n\tpopf\n\tnop\n\tnop" : : : "memory", "cc");
}

__attribute__((noinline)) static void watch_once(void)
{
    __asm__ volatile("mov %0, %%dr0\n\tmov %1, %%dr7" : : "r"(&watched), "r"(DR7_WRITE_DR0));
    watched = 1;
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400));
}

__attribute__((noinline)) static void change_plain(void)
{
    plain = 100;
    plain = 200;
}

int guest_main(void)
{
    interrupts_init();
    interrupts_set_gate(1, selfdebug_on_debug);
    interrupts_set_gate(3, selfdebug_on_int3);
    expect(!(read_flags() & EFLAGS_TF), "PUSHF pushes a TF that nobody has set");
    for (u32 i = 0; i < 3; i++)
        call_int3();
    expect(int3_count == 3, "INT3");
    step_once();
    expect(step_count == 1, "a single step");
    change_plain();
    watch_once();
    expect(watch_count == 1, "a watchpoint of the guest's own");
    expect(other_count == 0, "a debug exception that nobody asked for");
    print("selfdebug ok int3=%u steps=%u watches=%u\n", int3_count, step_count, watch_count);
    return 0;
}
