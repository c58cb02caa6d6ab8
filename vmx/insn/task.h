/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hardware task switch, as the CPU makes one outside IA-32e mode. Pure: registers are values, and guest memory comes
 * by callbacks. The checks stand in the order of SDM 3A table 7-1 "Exception Conditions Checked During a Task Switch";
 * the steps are those of 3A 7.3 "Task Switching". What VMX has checked before its exit is checked again, since another
 * CPU may have changed the tables since.
 */
#ifndef ROOTLET_VMX_INSN_TASK_H
#define ROOTLET_VMX_INSN_TASK_H

#include "vmx/insn/gva.h"

/* What asks for the switch; as in the exit qualification: SDM 3C 27.2.1, table "Exit Qualification for Task Switches".
 */
enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

/* As instructions encode them, and as they stand in a TSS; then the two system registers. */
enum task_segment { TASK_ES, TASK_CS, TASK_SS, TASK_DS, TASK_FS, TASK_GS, TASK_LDTR, TASK_TR, TASK_SEGMENTS };

#define TASK_DR7_LOCAL                                                                                                 \
    0x155ull /* L0 to L3 and LE of DR7, which a switch clears: SDM 3B 17.2.4 "Debug Control Register (DR7)" */
#define TASK_UNUSABLE 0x10000u /* access rights: as in the VMCS, SDM 3C 24.4.1 "Guest Register State" */

struct task_register {
    u32 base;
    u32 limit;
    u32 access;
    u16 selector;
};

struct task_state {
    u32 gpr[8];
    u32 eip; /* what the old task shall go on with */
    u32 eflags;
    u32 cr0;
    u32 cr3;
    u32 cr4;
    u32 gdt_base;
    u32 gdt_limit;
    u64 pdpte[4]; /* PAE paging only */
    struct task_register segment[TASK_SEGMENTS];
};

struct task_request {
    enum task_source source;
    u16 selector;   /* of the new TSS */
    bool external;  /* a gate, met by an event that no instruction asked for */
    bool has_error; /* that event has an error code for the new task's stack */
    u32 error_code;
};

enum task_result {
    TASK_DONE,
    TASK_TRAP,  /* done, and a debug trap is due in front of the new task's first instruction */
    TASK_FAULT, /* `vector` is due: in the new task if it is committed, else in the old one */
    TASK_STOP   /* the page tables cannot be walked */
};

struct task_outcome {
    enum task_result result;
    bool committed; /* the state is the new task's; else it has not been changed */
    u8 vector;
    u32 error_code;
    u32 linear; /* of a page fault */
};

struct task_calls {
    /* As gva_translate(), by the paging of `state`; with cpl 0 as an implicit access of the supervisor. */
    enum gva_result (*translate)(void *context, const struct task_state *state, u8 cpl, u32 linear,
                                 enum gva_access access, gpa_t *out, u32 *pf_error);
    /* 1, 2 or 4 bytes that do not cross a page. */
    u32 (*read)(void *context, gpa_t address, u8 bytes);
    void (*write)(void *context, gpa_t address, u8 bytes, u32 value);
    /* Clears and sets bits of one byte, atomically where it is RAM; the byte as it was. */
    u8 (*update)(void *context, gpa_t address, u8 clear, u8 set);
    /* The four entries that CR3 points to. False: one of them has reserved bits, and `pdpte` has not been changed. */
    bool (*load_pdptes)(void *context, u32 cr3, u64 pdpte[4]);
};

COLD void task_switch(const struct task_calls *calls, void *context, const struct task_request *request,
                      struct task_state *state, struct task_outcome *out);

#endif
