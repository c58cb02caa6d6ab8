/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory, tables and two tasks for vmx/insn/task.c: OLD runs, NEW waits. Linear addresses are guest-physical ones. A
 * page can be taken away, or made read-only.
 */
#ifndef ROOTLET_TEST_FAKE_TASK_BENCH_H
#define ROOTLET_TEST_FAKE_TASK_BENCH_H

#include <string.h>

#include "arch/x86/regs.h"
#include "vmx/insn/task.h"

#define PAGE      0x1000u
#define PAGES     16u
#define GDT       0x1000u
#define GDT_LIMIT 0xffu
#define OLD_TSS   0x2000u
#define NEW_TSS   0x3000u
#define LDT_AT    0x4000u
#define STACK_TOP 0x6000u

enum {
    CODE = 0x08,
    DATA = 0x10,
    OLD = 0x18,
    NEW = 0x20,
    LOCAL_TABLE = 0x28,
    SCRATCH = 0x30,
    CODE3 = 0x38,
    DATA3 = 0x40
};

/* Of the 32-bit TSS. */
enum {
    TSS_LINK = 0,
    TSS_CR3 = 0x1c,
    TSS_EIP = 0x20,
    TSS_EFLAGS = 0x24,
    TSS_ESP = 0x38,
    TSS_ES = 0x48,
    TSS_CS = 0x4c,
    TSS_SS = 0x50,
    TSS_DS = 0x54,
    TSS_FS = 0x58,
    TSS_GS = 0x5c,
    TSS_LDT = 0x60,
    TSS_TRAP = 0x64
};
enum { TSS16_IP = 0x0e, TSS16_FLAGS = 0x10, TSS16_AX = 0x12, TSS16_ES = 0x22, TSS16_LDT = 0x2a };

#define EFLAGS_NT 0x4000u
#define CODE_32   0xc09bu
#define DATA_32   0xc093u
#define TSS_32    0x89u
#define TSS_16    0x81u
#define BUSY      0x02u

#define PF_PRESENT 1u
#define PF_WRITE   2u
#define PF_USER    4u

struct task_bench {
    u8 memory[PAGES * PAGE];
    bool missing[PAGES], read_only[PAGES], users_only[PAGES];
    u32 bad_cr3; /* its PDPTEs have reserved bits */
    bool taken;  /* another CPU sets the busy bit first */
    bool unwalkable;
    u32 translations;
    struct task_state state;
    struct task_request request;
    struct task_outcome out;
};

static inline u32 task_get(const struct task_bench *b, u32 at, u8 bytes)
{
    u32 value = 0;
    memcpy(&value, b->memory + at % sizeof b->memory, bytes);
    return value;
}

static inline void task_put(struct task_bench *b, u32 at, u8 bytes, u32 value)
{
    memcpy(b->memory + at % sizeof b->memory, &value, bytes);
}

static inline void task_describe(struct task_bench *b, u32 at, u32 base, u32 limit, u32 access)
{
    task_put(b, at, 4, base << 16 | (limit & 0xffff));
    task_put(b, at + 4, 4, (base & 0xff000000) | (limit & 0xf0000) | access << 8 | (base >> 16 & 0xff));
}

static enum gva_result bench_translate(void *context, const struct task_state *state, u8 cpl, u32 linear,
                                       enum gva_access access, gpa_t *out, u32 *pf_error)
{
    struct task_bench *b = context;
    u32 page = linear / PAGE % PAGES;

    (void)state;
    b->translations++;
    if (b->unwalkable)
        return GVA_BAD_TABLE;
    bool denied = (access == GVA_WRITE && b->read_only[page]) || (cpl == 3 && !b->users_only[page]);
    if (b->missing[page] || denied) {
        *pf_error =
            (b->missing[page] ? 0 : PF_PRESENT) | (access == GVA_WRITE ? PF_WRITE : 0) | (cpl == 3 ? PF_USER : 0);
        return GVA_FAULT;
    }
    *out = gpa(linear % (PAGES * PAGE));
    return GVA_OK;
}

static u32 bench_read(void *context, gpa_t address, u8 bytes)
{
    return task_get(context, (u32)address.raw, bytes);
}

static void bench_write(void *context, gpa_t address, u8 bytes, u32 value)
{
    task_put(context, (u32)address.raw, bytes, value);
}

static u8 bench_update(void *context, gpa_t address, u8 clear, u8 set)
{
    struct task_bench *b = context;
    u8 before = b->memory[address.raw];

    if (b->taken && set & BUSY)
        before |= BUSY;
    b->memory[address.raw] = (u8)((before & ~clear) | set);
    return before;
}

static bool bench_load_pdptes(void *context, u32 cr3, u64 pdpte[4])
{
    struct task_bench *b = context;

    if (cr3 == b->bad_cr3)
        return false;
    for (u32 i = 0; i < 4; i++)
        pdpte[i] = cr3 + i;
    return true;
}

static const struct task_calls bench_calls = {bench_translate, bench_read, bench_write, bench_update,
                                              bench_load_pdptes};

static inline struct task_register task_flat(u16 selector, u32 access)
{
    return (struct task_register){.limit = UINT32_MAX, .access = access, .selector = selector};
}

/* Two tasks of 32 bits at CPL 0, flat; OLD asks for `source`. */
static inline void task_bench_start(struct task_bench *b, enum task_source source)
{
    memset(b, 0, sizeof *b);
    task_describe(b, GDT + CODE, 0, 0xfffff, CODE_32);
    task_describe(b, GDT + DATA, 0, 0xfffff, DATA_32);
    task_describe(b, GDT + CODE3, 0, 0xfffff, CODE_32 | 0x60);
    task_describe(b, GDT + DATA3, 0, 0xfffff, DATA_32 | 0x60);
    task_describe(b, GDT + OLD, OLD_TSS, 0x67, TSS_32 | BUSY);
    task_describe(b, GDT + NEW, NEW_TSS, 0x67, TSS_32 | (source == TASK_IRET ? BUSY : 0));
    task_describe(b, GDT + LOCAL_TABLE, LDT_AT, 0x1f, 0x82);
    for (u32 i = 0; i < 8; i++)
        task_put(b, NEW_TSS + 0x28 + 4 * i, 4, 0x11111111 * (i + 1));
    task_put(b, NEW_TSS + TSS_EIP, 4, 0x5678);
    task_put(b, NEW_TSS + TSS_EFLAGS, 4, 0x202);
    task_put(b, NEW_TSS + TSS_ESP, 4, STACK_TOP);
    for (u32 at = TSS_ES; at <= TSS_GS; at += 4)
        task_put(b, NEW_TSS + at, 2, at == TSS_CS ? CODE : DATA);
    struct task_state *s = &b->state;
    *s = (struct task_state){
        .eip = 0x1234, .eflags = 0x4046, .cr0 = (u32)CR0_PE, .gdt_base = GDT, .gdt_limit = GDT_LIMIT};
    for (u32 i = 0; i < 8; i++)
        s->gpr[i] = 0x01010101 * (i + 1);
    for (u32 i = TASK_ES; i <= TASK_GS; i++)
        s->segment[i] = i == TASK_CS ? task_flat(CODE, CODE_32) : task_flat(DATA, DATA_32);
    s->segment[TASK_LDTR] = (struct task_register){.access = TASK_UNUSABLE};
    s->segment[TASK_TR] = (struct task_register){OLD_TSS, 0x67, TSS_32 | BUSY, OLD};
    b->request = (struct task_request){.source = source, .selector = NEW};
}

static inline void task_bench_switch(struct task_bench *b)
{
    task_switch(&bench_calls, b, &b->request, &b->state, &b->out);
}

static inline u8 task_access(const struct task_bench *b, u16 selector)
{
    return b->memory[GDT + selector + 5];
}

#endif
