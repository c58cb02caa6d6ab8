/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of this guest share: its tables, the tasks, and what a task behind a gate has caught.
 */
#ifndef GUEST_TASKS_H
#define GUEST_TASKS_H

#include "guests/lib/guest.h"

#define VECTOR_DB   1u
#define VECTOR_NMI  2u
#define VECTOR_BP   3u
#define VECTOR_OF   4u
#define VECTOR_UD   6u
#define VECTOR_DF   8u
#define VECTOR_TS   10u
#define VECTOR_NP   11u
#define VECTOR_SS   12u
#define VECTOR_GP   13u
#define VECTOR_PF   14u
#define VECTOR_IRQ  0x20u
#define VECTOR_USER 0x2du
#define VECTOR_IPI  0x2eu
#define VECTOR_INT  0x2fu

#define EFLAGS_TF 0x100u
#define EFLAGS_NT 0x4000u
#define EFLAGS_RF 0x10000u
#define EFLAGS_VM 0x20000u

/* Selectors. */
enum {
    CODE = 0x08,
    DATA = 0x10,
    USER_CODE = 0x1b,
    USER_DATA = 0x23,
    MAIN = 0x28,    /* the TSS of guest_main() */
    TASK = 0x30,    /* that of the task under test */
    TASK16 = 0x38,  /* that of a task with 16-bit TSS */
    GATE = 0x40,    /* to TASK */
    CODE16 = 0x48,  /* begins at task16_entry */
    STACK16 = 0x50, /* begins at task16_stack */
    LDT = 0x58,
    SCRATCH = 0x60,
    CATCHERS = 0x68 /* TSSs of the tasks behind gates of the IDT */
};

/* Access rights: the descriptor's bits 47:40, and from bit 12 on its bits 55:52. */
#define ACCESS_CODE  0xc09bu
#define ACCESS_DATA  0xc093u
#define ACCESS_LDT   0x82u
#define ACCESS_TSS   0x89u
#define ACCESS_TSS16 0x81u
#define ACCESS_BUSY  0x02u

struct tss {
    u16 link, link_high;
    u32 esp0;
    u16 ss0, ss0_high;
    u32 esp1;
    u16 ss1, ss1_high;
    u32 esp2;
    u16 ss2, ss2_high;
    u32 cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u16 es, es_high, cs, cs_high, ss, ss_high, ds, ds_high, fs, fs_high, gs, gs_high, ldt, ldt_high;
    u16 trap, io_map;
};

struct tss16 {
    u16 link, sp0, ss0, sp1, ss1, sp2, ss2;
    u16 ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};

extern u64 gdt[64];
extern struct tss main_tss;
extern struct tss *task; /* it may be moved */
extern struct tss16 task16;
extern void (*task_work)(void); /* what the task under test does each time that it is switched to */

/* The last fault or interrupt that a task behind a gate has got. */
struct caught {
    u32 count;
    u32 vector;
    u32 error;
    u32 cr2;
    u16 link;        /* the task that it came in */
    u32 eip, eflags; /* where, and with which flags */
};
extern volatile struct caught caught;
extern volatile u32 resume_eip;

u64 descriptor(u32 base, u32 limit, u32 access);
u8 access_of(u16 selector);
/* All tasks are at their beginnings, and nobody but MAIN is busy. `work` may be NULL. */
void tasks_reset(void (*work)(void));
/* Puts the task's TSS elsewhere. */
void tasks_move(struct tss *to);
/* Behind which vectors a task catches. */
void tasks_catch(u8 vector, bool catches);
void tasks_set_gate(u8 vector, u16 selector);
/* CALL; a fault in it ends here, too, once it has been caught. */
void far_call(u16 selector);
void far_jump(u16 selector);
/* The fault since the last tasks_reset(). */
void expect_caught(u32 vector, u32 error, u16 link, const char *text);

/* Each has a file or a part of one. */
void test_segment_faults(void);
void test_paging(void);
void test_pae(void);

/* entry.asm */
extern u8 task_entry[], catch_entry[], task16_entry[], task16_iret[], vm86_code[], vm86_end[], user_code[];
extern u8 task16_stack[];
extern volatile u32 task16_runs, task16_eax, task16_error, task16_takes_error;

#endif
