/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each check of a task switch that can fail, by CALL: exception, error code, and the task that gets it. SDM 3A 7.3
 * "Task Switching", table 7-1.
 */
#include "guests/tasks/tasks.h"

#define NOWHERE 0x7ff8u /* beyond the GDT */
#define LOCAL   4u

struct row {
    const char *text;
    u16 offset; /* of the field in the TSS */
    u16 selector;
    u64 scratch; /* what SCRATCH is */
    u32 vector;
    bool user; /* the task has CPL 3 */
};

#define FIELD(name)    (u16) __builtin_offsetof(struct tss, name)
#define FLAT(access)   (0xcf000000000000ull | 0xffffull | (u64)(access) << 40)
#define SYSTEM(access) (0x67ull | (u64)(access) << 40)

static const struct row rows[] = {
    {"LDT in an LDT",                    FIELD(ldt), SCRATCH | LOCAL, 0,            VECTOR_TS, false},
    {"LDT beyond the GDT",               FIELD(ldt), NOWHERE,         0,            VECTOR_TS, false},
    {"LDT that is none",                 FIELD(ldt), DATA,            0,            VECTOR_TS, false},
    {"LDT not present",                  FIELD(ldt), SCRATCH,         SYSTEM(0x02), VECTOR_TS, false},
    {"CS null",                          FIELD(cs),  0,               0,            VECTOR_TS, false},
    {"CS beyond the GDT",                FIELD(cs),  NOWHERE,         0,            VECTOR_TS, false},
    {"CS in no LDT",                     FIELD(cs),  CODE | LOCAL,    0,            VECTOR_TS, false},
    {"CS data",                          FIELD(cs),  DATA,            0,            VECTOR_TS, false},
    {"CS a TSS",                         FIELD(cs),  SCRATCH,         SYSTEM(0x8b), VECTOR_TS, false},
    {"CS of another level",              FIELD(cs),  USER_CODE & ~3,  0,            VECTOR_TS, false},
    {"CS conforming, of an outer level", FIELD(cs),  SCRATCH,         FLAT(0xfe),   VECTOR_TS, false},
    {"CS not present",                   FIELD(cs),  SCRATCH,         FLAT(0x1a),   VECTOR_NP, false},
    {"SS null",                          FIELD(ss),  0,               0,            VECTOR_TS, false},
    {"SS beyond the GDT",                FIELD(ss),  NOWHERE,         0,            VECTOR_TS, false},
    {"SS code",                          FIELD(ss),  CODE,            0,            VECTOR_TS, false},
    {"SS read-only",                     FIELD(ss),  SCRATCH,         FLAT(0x90),   VECTOR_TS, false},
    {"SS not present",                   FIELD(ss),  SCRATCH,         FLAT(0x12),   VECTOR_SS, false},
    {"SS of another level",              FIELD(ss),  USER_DATA & ~3,  0,            VECTOR_TS, false},
    {"SS with another RPL",              FIELD(ss),  DATA | 3,        0,            VECTOR_TS, false},
    {"SS of an inner level",             FIELD(ss),  DATA,            0,            VECTOR_TS, true },
    {"DS beyond the GDT",                FIELD(ds),  NOWHERE,         0,            VECTOR_TS, false},
    {"DS in no LDT",                     FIELD(ds),  DATA | LOCAL,    0,            VECTOR_TS, false},
    {"DS not readable",                  FIELD(ds),  SCRATCH,         FLAT(0x98),   VECTOR_TS, false},
    {"DS a TSS",                         FIELD(ds),  MAIN,            0,            VECTOR_TS, false},
    {"DS not present",                   FIELD(ds),  SCRATCH,         FLAT(0x12),   VECTOR_NP, false},
    {"DS of an inner level",             FIELD(ds),  DATA,            0,            VECTOR_TS, true },
    {"DS with a high RPL",               FIELD(ds),  DATA | 3,        0,            VECTOR_TS, false},
    {"ES beyond the GDT",                FIELD(es),  NOWHERE,         0,            VECTOR_TS, false},
    {"ES not present",                   FIELD(es),  SCRATCH,         FLAT(0x12),   VECTOR_NP, false},
    {"FS beyond the GDT",                FIELD(fs),  NOWHERE,         0,            VECTOR_TS, false},
    {"FS not present",                   FIELD(fs),  SCRATCH,         FLAT(0x12),   VECTOR_NP, false},
    {"GS beyond the GDT",                FIELD(gs),  NOWHERE,         0,            VECTOR_TS, false},
    {"GS not present",                   FIELD(gs),  SCRATCH,         FLAT(0x12),   VECTOR_NP, false},
};

static void prepare(const struct row *row)
{
    tasks_reset(NULL);
    if (row->user) {
        task->cs = USER_CODE;
        task->ss = task->ds = task->es = task->fs = task->gs = USER_DATA;
    }
    gdt[SCRATCH >> 3] = row->scratch;
    *(u16 *)((u8 *)task + row->offset) = row->selector;
}

/* In the new task, before its first instruction; its selectors are loaded, so that they are what is saved. */
static void in_the_new_task(const struct row *row)
{
    prepare(row);
    far_call(TASK);
    expect_caught(row->vector, row->selector & 0xfffc, TASK, row->text);
    expect(caught.eip == (u32)task_entry, row->text);
    expect(*(u16 *)((u8 *)task + row->offset) == row->selector, row->text);
}

/* By a task gate of an exception, which the error code tells; and of two that make a double fault. */
static void during_a_delivery(const struct row *row)
{
    prepare(row);
    tasks_set_gate(VECTOR_INT, TASK);
    __asm__ volatile("movl $1f, resume_eip\n\tint $0x2f\n1:" : : : "memory");
    expect_caught(row->vector, row->selector & 0xfffc, TASK, "a fault in INT n");
    prepare(row);
    tasks_set_gate(VECTOR_UD, TASK);
    __asm__ volatile("movl $1f, resume_eip\n\tud2\n1:" : : : "memory");
    tasks_catch(VECTOR_UD, true);
    expect_caught(row->vector, (row->selector & 0xfffc) | 1, TASK, "a fault in the delivery of #UD");
    prepare(row);
    tasks_set_gate(VECTOR_GP, TASK);
    __asm__ volatile("movl $1f, resume_eip\n\tmovw %w0, %%fs\n1:" : : "r"(NOWHERE) : "memory");
    tasks_catch(VECTOR_GP, true);
    expect_caught(VECTOR_DF, 0, TASK, "a fault in the delivery of #GP");
}

/* What is checked before anything is switched. */
static void in_the_old_task(void)
{
    tasks_reset(NULL);
    far_call(MAIN);
    expect_caught(VECTOR_GP, MAIN, MAIN, "CALL to a busy TSS");
    tasks_reset(NULL);
    gdt[TASK >> 3] &= ~(0x80ull << 40);
    far_call(TASK);
    expect_caught(VECTOR_NP, TASK, MAIN, "a TSS that is not present");
    tasks_reset(NULL);
    gdt[TASK >> 3] -= 1; /* its limit */
    far_call(TASK);
    expect_caught(VECTOR_TS, TASK, MAIN, "a TSS with a low limit");
    tasks_reset(NULL);
    gdt[TASK16 >> 3] -= 1;
    far_call(TASK16);
    expect_caught(VECTOR_TS, TASK16, MAIN, "a 16-bit TSS with a low limit");
    /* IRET to what is not busy. */
    tasks_reset(NULL);
    main_tss.link = TASK;
    __asm__ volatile("movl $1f, resume_eip\n\tpushf\n\torl $0x4000, (%%esp)\n\tpopf\n\tiret\n1:" : : : "memory", "cc");
    expect_caught(VECTOR_TS, TASK, MAIN, "IRET to an idle task");
    __asm__ volatile("pushf\n\tandl $~0x4000, (%%esp)\n\tpopf" : : : "memory", "cc");
}

static void beginning(void)
{
    tasks_reset(NULL);
    gdt[SCRATCH >> 3] = descriptor(0, 0xfff, 0x409b);
    task->cs = SCRATCH;
    far_call(TASK);
    expect_caught(VECTOR_GP, 0, TASK, "EIP beyond CS");
    /* An error code that the new stack has no room for. */
    tasks_reset(NULL);
    gdt[SCRATCH >> 3] = descriptor(0, 0xfff, 0x4093);
    task->ss = SCRATCH;
    tasks_set_gate(VECTOR_GP, TASK);
    __asm__ volatile("movl $1f, resume_eip\n\tmovw %w0, %%fs\n1:" : : "r"(NOWHERE) : "memory");
    tasks_catch(VECTOR_GP, true);
    expect_caught(VECTOR_DF, 0, TASK, "no room for an error code");
}

void test_segment_faults(void)
{
    for (u32 i = 0; i < sizeof rows / sizeof rows[0]; i++)
        in_the_new_task(&rows[i]);
    during_a_delivery(&rows[4]);
    during_a_delivery(&rows[16]);
    in_the_old_task();
    beginning();
}
