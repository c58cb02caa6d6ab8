/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Task switches of an inner guest in protected mode: each exits before the switch. SDM 3C 25.4.2 "Treatment of Task
 * Switches", 27.2.1 "Basic VM-Exit Information", table "Exit Qualification for Task Switch", 27.2.3 "Information for VM
 * Exits During Event Delivery", 27.1 "Architectural State Before a VM Exit": an NMI blocks further ones.
 */
#include "guests/inner/inner.h"

#define CODE      0x08u
#define DATA      0x10u
#define OWN_TSS   0x18u
#define OTHER_TSS 0x20u /* behind a call, and that which IRET returns to */
#define TASK_GATE 0x28u
#define BUSY      (2ull << 40)

#define GATE      0x30u
#define GATES     64u
#define TSS_32    0x0000890000000067ull
#define TO_TSS    (0x0000850000000000ull | OTHER_TSS << 16)
#define CODE_32   0x00cf9b000000ffffull
#define DATA_32   0x00cf93000000ffffull
#define RFLAGS_NT 0x4000u
#define BY_NMI    8u
#define BY_CALL   (0ull << 30 | OTHER_TSS)
#define BY_IRET   (1ull << 30 | OTHER_TSS)
#define BY_JMP    (2ull << 30 | OTHER_TSS)
#define BY_GATE   (3ull << 30 | OTHER_TSS)

#define STEP(name, text) PROGRAM(name, ".code32\n\t" text "\n\tmov $0x77, %eax\n\tvmcall\n\t.code64")
STEP(by_call, "lcall $0x20, $0")
STEP(by_call_of_a_gate, "lcall $0x28, $0")
STEP(by_jmp, "ljmp $0x20, $0")
STEP(by_jmp_to_a_gate, "ljmp $0x28, $0")
STEP(by_iret, "iret")
STEP(by_int, "int $0x30")
STEP(by_int3, "int3")
STEP(by_ud2, "ud2")
STEP(no_more, "nop")

static u64 gdt[6], idt[GATES];
static u32 tss[2][26];

static u64 tss_descriptor(const u32 *base)
{
    u64 at = (u64)base;
    return TSS_32 | (at & 0xffffff) << 16 | at >> 24 << 56;
}

/* The tables are made anew: the one that runs is busy, and so is one that IRET returns to. */
static void begin(program *start, u64 rflags)
{
    inner_begin(start);
    inner_protected_mode();
    gdt[CODE / 8] = CODE_32;
    gdt[DATA / 8] = DATA_32;
    gdt[OWN_TSS / 8] = tss_descriptor(tss[0]) | BUSY;
    gdt[OTHER_TSS / 8] = tss_descriptor(tss[1]) | (rflags & RFLAGS_NT ? BUSY : 0);
    gdt[TASK_GATE / 8] = TO_TSS;
    for (u32 i = 0; i < GATES; i++)
        idt[i] = TO_TSS;
    tss[0][0] = OTHER_TSS; /* the link to the previous task */
    inner_set(GUEST_GDTR_BASE, (u64)gdt);
    inner_set(GUEST_GDTR_LIMIT, sizeof gdt - 1);
    inner_set(GUEST_IDTR_BASE, (u64)idt);
    inner_set(GUEST_IDTR_LIMIT, sizeof idt - 1);
    inner_set(GUEST_TR_BASE, (u64)tss[0]);
    inner_set(GUEST_RFLAGS, RFLAGS_FIXED | rflags);
}

static void want_unchanged(u64 rflags)
{
    inner_want("TR", inner_get(GUEST_TR_SELECTOR), OWN_TSS);
    inner_want("RFLAGS", inner_get(GUEST_RFLAGS) & ~0x10000ull, RFLAGS_FIXED | rflags); /* but for RF */
    inner_want("RSP", inner_get(GUEST_RSP), (u64)lab_inner_stack);
    inner_want("the type of the other TSS", gdt[OTHER_TSS / 8] & BUSY, rflags & RFLAGS_NT ? BUSY : 0);
}

static void by_instructions(void)
{
    static const struct {
        program *start;
        u64 rflags, qualification;
        u32 length;
    } rows[] = {
        {by_call,           0,         BY_CALL, 7},
        {by_call_of_a_gate, 0,         BY_CALL, 7},
        {by_jmp,            0,         BY_JMP,  7},
        {by_jmp_to_a_gate,  0,         BY_JMP,  7},
        {by_iret,           RFLAGS_NT, BY_IRET, 1},
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        begin(rows[i].start, rows[i].rflags);
        inner_want_exit(REASON_TASK_SWITCH, rows[i].start, 0);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION), rows[i].qualification);
        inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), rows[i].length);
        inner_want("IDT-vectoring information", inner_get(IDT_VECTORING_INFO) >> 31, 0);
        want_unchanged(rows[i].rflags);
        inner_set(GUEST_RFLAGS, RFLAGS_FIXED);
        inner_skip(); /* as if the hypervisor had done it, and the task had come back */
        inner_want_call(0x77);
    }
}

/* Through a task gate: the event is told as one whose delivery the exit has interrupted. */
static void by_events(void)
{
    static const struct {
        program *start;
        u32 info, error; /* to inject, or 0 */
        u32 vectoring, length;
    } rows[] = {
        {by_int,  0,                                 0,    VALID | SOFT_INT | GATE,           2},
        {by_int3, 0,                                 0,    VALID | SOFT | 3,                  1},
        {by_ud2,  0,                                 0,    VALID | HARDWARE | 6,              0},
        {no_more, VALID | GATE,                      0,    VALID | GATE,                      0},
        {no_more, VALID | NMI | 2,                   0,    VALID | NMI | 2,                   0},
        {no_more, VALID | HARDWARE | WITH_CODE | 13, 0x88, VALID | HARDWARE | WITH_CODE | 13, 0},
        {by_int,  VALID | SOFT_INT | GATE,           0,    VALID | SOFT_INT | GATE,           2},
    };

    for (u32 i = 0; i < ARRAY_LENGTH(rows); i++) {
        begin(rows[i].start, RFLAGS_IF);
        inner_set(ENTRY_INTERRUPTION_INFO, rows[i].info);
        inner_set(ENTRY_ERROR_CODE, rows[i].error);
        inner_set(ENTRY_INSTRUCTION_LENGTH, rows[i].length);
        inner_want_exit(REASON_TASK_SWITCH, rows[i].start, 0);
        inner_want("qualification", inner_get(EXIT_QUALIFICATION), BY_GATE);
        inner_want("interruption information", inner_get(EXIT_INTERRUPTION_INFO) >> 31, 0);
        inner_want("IDT-vectoring information", inner_get(IDT_VECTORING_INFO) & ~0x1000ull, rows[i].vectoring);
        if (rows[i].vectoring & WITH_CODE)
            inner_want("IDT-vectoring error code", inner_get(IDT_VECTORING_ERROR_CODE), rows[i].error);
        if (rows[i].length)
            inner_want("instruction length", inner_get(EXIT_INSTRUCTION_LENGTH), rows[i].length);
        inner_want("bit 31 of the injection", inner_get(ENTRY_INTERRUPTION_INFO) >> 31, 0);
        want_unchanged(RFLAGS_IF);
        inner_want("blocking", inner_get(GUEST_INTERRUPTIBILITY), (rows[i].info & 0x700) == NMI ? BY_NMI : 0);
        inner_end_nmi();
    }
}

void inner_tasks(void)
{
    static const struct inner_row scenarios[] = {
        {"task switches by instructions", by_instructions},
        {"task switches by events",       by_events      },
    };

    inner_run(scenarios, ARRAY_LENGTH(scenarios), NULL);
}
