/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Task switches: the four forms by table 7-2 of SDM 3A 7.4 "Task Linking", both kinds of TSS, each exception of table
 * 7-1 and their order, faults by paging before and behind the commit point, and what follows the loading: error code,
 * EIP, debug trap.
 *
 * links: vmx/insn/task.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/fake/task_bench.h"

static struct task_bench b;

#define assert_done()                                                                                                  \
    do {                                                                                                               \
        assert_int_equal(b.out.result, TASK_DONE);                                                                     \
        assert_true(b.out.committed);                                                                                  \
    } while (0)

#define assert_fault(is_committed, is_vector, is_error)                                                                \
    do {                                                                                                               \
        assert_int_equal(b.out.result, TASK_FAULT);                                                                    \
        assert_int_equal(b.out.committed, (is_committed));                                                             \
        assert_int_equal(b.out.vector, (is_vector));                                                                   \
        assert_int_equal(b.out.error_code, (is_error));                                                                \
    } while (0)

/* SDM 3A 7.4, table 7-2 "Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link Field, and TS Flag". */
static void test_forms(void **state)
{
    static const struct {
        enum task_source source;
        bool nested, old_stays_busy;
    } forms[] = {
        {TASK_CALL, true,  true },
        {TASK_IRET, false, false},
        {TASK_JMP,  false, false},
        {TASK_GATE, true,  true }
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(forms); i++) {
        task_bench_start(&b, forms[i].source);
        task_put(&b, NEW_TSS + TSS_LINK, 2, 0x7777);
        task_bench_switch(&b);
        assert_done();
        assert_int_equal(task_access(&b, NEW), 0x8b);
        assert_int_equal(task_access(&b, OLD), forms[i].old_stays_busy ? 0x8b : 0x89);
        assert_int_equal(task_get(&b, NEW_TSS + TSS_LINK, 2), forms[i].nested ? OLD : 0x7777);
        assert_int_equal(b.state.eflags, forms[i].nested ? 0x4202 : 0x202);
        assert_int_equal(task_get(&b, OLD_TSS + TSS_EFLAGS, 4), forms[i].source == TASK_IRET ? 0x46 : 0x4046);
        assert_true(b.state.cr0 & CR0_TS);
        assert_int_equal(b.state.segment[TASK_TR].selector, NEW);
        assert_int_equal(b.state.segment[TASK_TR].base, NEW_TSS);
        assert_int_equal(b.state.segment[TASK_TR].access, 0x8b);
    }
}

static void test_32_bit_state(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL);
    b.state.segment[TASK_FS].selector = 0x53;
    task_put(&b, OLD_TSS + TSS_CR3, 4, 0x5555);
    task_put(&b, NEW_TSS + TSS_FS, 2, 0);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(task_get(&b, OLD_TSS + TSS_EIP, 4), 0x1234);
    assert_int_equal(task_get(&b, OLD_TSS + TSS_CR3, 4), 0x5555); /* not saved */
    for (u32 i = 0; i < 8; i++) {
        assert_int_equal(task_get(&b, OLD_TSS + 0x28 + 4 * i, 4), 0x01010101 * (i + 1));
        assert_int_equal(b.state.gpr[i], i == 4 ? STACK_TOP : 0x11111111 * (i + 1));
    }
    for (u32 i = 0; i < 6; i++)
        assert_int_equal(task_get(&b, OLD_TSS + TSS_ES + 4 * i, 2), i == 1 ? CODE : i == 4 ? 0x53 : DATA);
    assert_int_equal(b.state.eip, 0x5678);
    assert_int_equal(b.state.segment[TASK_CS].access, CODE_32);
    assert_int_equal(b.state.segment[TASK_CS].limit, UINT32_MAX);
    assert_int_equal(b.state.segment[TASK_FS].access, TASK_UNUSABLE);
    assert_int_equal(b.state.segment[TASK_LDTR].access, TASK_UNUSABLE);
}

/* Flags that do not exist stay as they are; RF, VIF and others come from the TSS. */
static void test_flags(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_JMP);
    task_put(&b, NEW_TSS + TSS_EFLAGS, 4, ~(u32)RFLAGS_VM);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.eflags, 0x003d7fd7);
}

static void test_16_bit_state(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL);
    task_describe(&b, GDT + NEW, NEW_TSS, 0x2b, TSS_16);
    for (u32 i = 0; i < 10; i++)
        task_put(&b, NEW_TSS + TSS16_IP + 2 * i, 2, i == 1 ? 2 : 0x100 + i);
    for (u32 i = 0; i < 4; i++)
        task_put(&b, NEW_TSS + TSS16_ES + 2 * i, 2, i == 1 ? CODE : DATA);
    task_put(&b, NEW_TSS + TSS16_LDT, 2, LOCAL_TABLE);
    b.state.cr0 |= (u32)CR0_PG;
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.eip, 0x100);
    assert_int_equal(b.state.eflags, 0x4002);
    for (u32 i = 0; i < 8; i++)
        assert_int_equal(b.state.gpr[i], 0xffff0102 + i);
    assert_int_equal(b.state.segment[TASK_FS].selector, 0);
    assert_int_equal(b.state.segment[TASK_LDTR].base, LDT_AT);
    assert_int_equal(b.state.segment[TASK_TR].access, 0x83);
    assert_int_equal(b.state.cr3, 0);
    assert_int_equal(task_access(&b, NEW), 0x83);
    /* And back: the state is saved in words. */
    memset(b.memory + NEW_TSS, 0xee, 0x40);
    task_put(&b, NEW_TSS + TSS_LINK, 2, OLD);
    b.request = (struct task_request){.source = TASK_IRET, .selector = OLD};
    b.state.eip = 0x9abc1234;
    b.state.gpr[0] = 0x12345678;
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(task_get(&b, NEW_TSS + TSS16_IP, 4), 0x00021234); /* NT has been cleared */
    assert_int_equal(task_get(&b, NEW_TSS + TSS16_AX, 2), 0x5678);
    assert_int_equal(task_get(&b, NEW_TSS + TSS16_ES, 4), CODE << 16 | DATA);
    assert_int_equal(task_get(&b, NEW_TSS + 0x2a, 2), 0xeeee);
    assert_int_equal(b.state.eip, 0x1234);
    assert_int_equal(b.state.segment[TASK_FS].selector, DATA);
    assert_int_equal(task_access(&b, NEW), 0x81);
}

/* ---- table 7-1 ---- */

#define SYSTEM(type) (0x80u | (type))

/* Before the commit point: nothing has changed. */
static void assert_old_fault(u8 vector, u32 error)
{
    static struct task_bench before;

    before = b;
    task_bench_switch(&b);
    assert_fault(false, vector, error);
    assert_memory_equal(&before.state, &b.state, sizeof b.state);
    assert_memory_equal(before.memory, b.memory, sizeof b.memory);
}

static void test_faults_in_the_old_task(void **state)
{
    (void)state;
    for (enum task_source source = TASK_CALL; source <= TASK_GATE; source++) {
        u8 bad_selector = source == TASK_IRET ? VECTOR_TS : VECTOR_GP;
        u32 busy = source == TASK_IRET ? BUSY : 0;

        task_bench_start(&b, source);
        b.request.selector = 3;
        assert_old_fault(bad_selector, 0);
        task_bench_start(&b, source);
        b.request.selector = NEW | 4;
        assert_old_fault(bad_selector, NEW | 4);
        task_bench_start(&b, source);
        b.state.gdt_limit = NEW + 6;
        assert_old_fault(bad_selector, NEW);
        task_bench_start(&b, source);
        task_describe(&b, GDT + NEW, NEW_TSS, 0x67, TSS_32 | (BUSY ^ busy));
        assert_old_fault(bad_selector, NEW);
        task_bench_start(&b, source);
        task_describe(&b, GDT + NEW, NEW_TSS, 0x67, SYSTEM(2));
        assert_old_fault(bad_selector, NEW);
        task_bench_start(&b, source);
        task_describe(&b, GDT + NEW, NEW_TSS, 0x67, CODE_32);
        assert_old_fault(bad_selector, NEW);
        task_bench_start(&b, source);
        task_describe(&b, GDT + NEW, NEW_TSS, 0x67, (TSS_32 | busy) & ~0x80u);
        assert_old_fault(VECTOR_NP, NEW);
        task_bench_start(&b, source);
        task_describe(&b, GDT + NEW, NEW_TSS, 0x66, TSS_32 | busy);
        assert_old_fault(VECTOR_TS, NEW);
        task_bench_start(&b, source);
        task_describe(&b, GDT + NEW, NEW_TSS, 0x2a, TSS_16 | busy);
        assert_old_fault(VECTOR_TS, NEW);
        task_bench_start(&b, source);
        b.state.segment[TASK_TR].limit = 0x5c;
        assert_old_fault(VECTOR_TS, OLD);
        b.state.segment[TASK_TR].limit = 0x5d; /* room for GS */
        task_bench_switch(&b);
        assert_done();
        task_bench_start(&b, source);
        b.state.segment[TASK_TR].access = TSS_16 | BUSY;
        b.state.segment[TASK_TR].limit = 0x28;
        assert_old_fault(VECTOR_TS, OLD);
    }
}

/* Another CPU was faster: SDM 3A 8.1.2.1. */
static void test_two_cpus_take_one_task(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_JMP);
    b.taken = true;
    task_bench_switch(&b);
    assert_fault(false, VECTOR_GP, NEW);
    assert_int_equal(task_access(&b, OLD), 0x8b);
    assert_int_equal(task_get(&b, OLD_TSS + TSS_EIP, 4), 0);
}

struct row {
    u32 field; /* of the TSS */
    u16 selector;
    u32 scratch; /* access rights of SCRATCH; 0: the descriptor is empty */
    u8 vector;
    u8 cpl; /* of the new task */
};

static const struct row rows[] = {
    {TSS_LDT, SCRATCH | 4, SYSTEM(2), VECTOR_TS, 0},
    {TSS_LDT, 0x100,       0,         VECTOR_TS, 0},
    {TSS_LDT, DATA,        0,         VECTOR_TS, 0},
    {TSS_LDT, OLD,         0,         VECTOR_TS, 0},
    {TSS_LDT, SCRATCH,     0x02,      VECTOR_TS, 0},
    {TSS_CS,  0,           0,         VECTOR_TS, 0},
    {TSS_CS,  0x100,       0,         VECTOR_TS, 0},
    {TSS_CS,  CODE | 4,    0,         VECTOR_TS, 0},
    {TSS_CS,  DATA,        0,         VECTOR_TS, 0},
    {TSS_CS,  OLD,         0,         VECTOR_TS, 0},
    {TSS_CS,  CODE3,       0,         VECTOR_TS, 0},
    {TSS_CS,  SCRATCH,     0xc0fe,    VECTOR_TS, 0}, /* conforming, DPL 3 */
    {TSS_CS,  CODE | 3,    0,         VECTOR_TS, 3},
    {TSS_CS,  SCRATCH,     0xc01a,    VECTOR_NP, 0},
    {TSS_SS,  0,           0,         VECTOR_TS, 0},
    {TSS_SS,  3,           0,         VECTOR_TS, 3},
    {TSS_SS,  0x100,       0,         VECTOR_TS, 0},
    {TSS_SS,  DATA | 4,    0,         VECTOR_TS, 0},
    {TSS_SS,  CODE,        0,         VECTOR_TS, 0},
    {TSS_SS,  NEW,         0,         VECTOR_TS, 0},
    {TSS_SS,  SCRATCH,     0xc090,    VECTOR_TS, 0}, /* read-only */
    {TSS_SS,  SCRATCH,     0xc012,    VECTOR_SS, 0},
    {TSS_SS,  DATA3,       0,         VECTOR_TS, 0},
    {TSS_SS,  DATA | 3,    0,         VECTOR_TS, 0},
    {TSS_SS,  DATA,        0,         VECTOR_TS, 3},
    {TSS_DS,  0x100,       0,         VECTOR_TS, 0},
    {TSS_DS,  DATA | 4,    0,         VECTOR_TS, 0},
    {TSS_DS,  SCRATCH,     0xc098,    VECTOR_TS, 0}, /* execute-only */
    {TSS_DS,  OLD,         0,         VECTOR_TS, 0},
    {TSS_DS,  SCRATCH,     0xc012,    VECTOR_NP, 0},
    {TSS_DS,  DATA,        0,         VECTOR_TS, 3},
    {TSS_DS,  DATA | 3,    0,         VECTOR_TS, 0},
    {TSS_ES,  0x100,       0,         VECTOR_TS, 0},
    {TSS_ES,  SCRATCH,     0xc012,    VECTOR_NP, 0},
    {TSS_FS,  0x100,       0,         VECTOR_TS, 0},
    {TSS_FS,  SCRATCH,     0xc012,    VECTOR_NP, 0},
    {TSS_GS,  0x100,       0,         VECTOR_TS, 0},
    {TSS_GS,  SCRATCH,     0xc012,    VECTOR_NP, 0},
};

static void use_cpl_3(void)
{
    for (u32 at = TSS_ES; at <= TSS_GS; at += 4)
        task_put(&b, NEW_TSS + at, 2, (at == TSS_CS ? CODE3 : DATA3) | 3);
}

static void change(const struct row *row)
{
    if (row->scratch)
        task_describe(&b, GDT + SCRATCH, 0, 0xfffff, row->scratch);
    task_put(&b, NEW_TSS + row->field, 2, row->selector);
}

/* What VM entry insists on, whatever has been loaded: SDM 3C 26.3.1.2 "Checks on Guest Segment Registers". */
static void assert_can_be_entered(void)
{
    const struct task_register *segment = b.state.segment;
    u32 cpl = segment[TASK_SS].access >> 5 & 3;
    u32 code = segment[TASK_CS].access;

    assert_true(segment[TASK_LDTR].access & TASK_UNUSABLE || (segment[TASK_LDTR].access & 0x9f) == 0x82);
    for (u32 i = TASK_ES; b.state.eflags & RFLAGS_VM && i <= TASK_GS; i++) {
        assert_int_equal(segment[i].access, 0xf3);
        assert_int_equal(segment[i].limit, 0xffff);
        assert_int_equal(segment[i].base, segment[i].selector << 4);
    }
    if (b.state.eflags & RFLAGS_VM)
        return;
    assert_int_equal(code & (TASK_UNUSABLE | 0x99), 0x99); /* usable, present, code, accessed */
    if (code & 4)
        assert_true((code >> 5 & 3) <= cpl);
    else
        assert_int_equal(code >> 5 & 3, cpl);
    for (u32 i = TASK_ES; i <= TASK_GS; i++) {
        assert_int_equal(segment[i].access & 0x0f00, 0);
        if (!(segment[i].access & TASK_UNUSABLE))
            assert_int_equal(segment[i].access & 0x91, 0x91);
    }
}

static void test_faults_in_the_new_task(void **state)
{
    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];
        for (u32 external = 0; external < 2; external++) {
            task_bench_start(&b, external ? TASK_GATE : TASK_CALL);
            b.request.external = external;
            if (row->cpl == 3)
                use_cpl_3();
            change(row);
            task_bench_switch(&b);
            assert_fault(true, row->vector, (row->selector & 0xfffcu) | external);
            /* The switch is complete, with all selectors, and the old task is saved. */
            assert_int_equal(b.state.eip, 0x5678);
            assert_int_equal(b.state.segment[TASK_TR].selector, NEW);
            assert_int_equal(task_get(&b, OLD_TSS + TSS_EIP, 4), 0x1234);
            for (u32 s = TASK_ES; s <= TASK_GS; s++)
                assert_int_equal(b.state.segment[s].selector, task_get(&b, NEW_TSS + TSS_ES + 4 * s, 2));
            assert_can_be_entered();
        }
    }
}

static void test_what_may_be_loaded(void **state)
{
    static const struct row good[] = {
        {TSS_LDT, 3,           0,      0, 0}, /* null, whatever its RPL */
        {TSS_LDT, LOCAL_TABLE, 0,      0, 0},
        {TSS_CS,  SCRATCH,     0xc09e, 0, 0},
        {TSS_CS,  SCRATCH | 3, 0xc09e, 0, 3}, /* conforming, DPL 0 */
        {TSS_CS,  SCRATCH,     0xc098, 0, 0},
        {TSS_SS,  SCRATCH,     0xc096, 0, 0}, /* expand-down */
        {TSS_DS,  0,           0,      0, 0},
        {TSS_DS,  3,           0,      0, 0},
        {TSS_DS,  SCRATCH,     0xc090, 0, 0},
        {TSS_DS,  SCRATCH,     0xc09a, 0, 0},
        {TSS_DS,  SCRATCH | 3, 0xc09e, 0, 3}, /* readable conforming code of any DPL */
        {TSS_DS,  DATA3,       0,      0, 0},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(good); i++) {
        task_bench_start(&b, TASK_CALL);
        if (good[i].cpl == 3)
            use_cpl_3();
        if (good[i].field == TSS_SS) /* below the limit there is nothing */
            task_put(&b, NEW_TSS + TSS_ESP, 4, 0);
        change(&good[i]);
        task_bench_switch(&b);
        assert_done();
        assert_can_be_entered();
        if (good[i].scratch)
            assert_int_equal(task_access(&b, SCRATCH), (good[i].scratch | 1) & 0xff);
    }
}

/* Two that are wrong, in each pair: the one that the table has first. The last pair: P is looked at before DPL. */
static void test_order(void **state)
{
    static const struct row pairs[] = {
        {TSS_LDT, DATA,        0,      VECTOR_TS, 0},
        {TSS_CS,  CODE3,       0,      0,         0},
        {TSS_CS,  CODE3,       0,      VECTOR_TS, 0},
        {TSS_SS,  0,           0,      0,         0},
        {TSS_SS,  0x100,       0,      VECTOR_TS, 0},
        {TSS_CS,  DATA,        0,      0,         0},
        {TSS_SS,  DATA3,       0,      VECTOR_TS, 0},
        {TSS_LDT, SCRATCH,     0x02,   0,         0},
        {TSS_LDT, SCRATCH,     0x02,   VECTOR_TS, 0},
        {TSS_CS,  0,           0,      0,         0},
        {TSS_CS,  0,           0,      VECTOR_TS, 0},
        {TSS_DS,  0x100,       0,      0,         0},
        {TSS_CS,  SCRATCH,     0xc01a, VECTOR_NP, 0},
        {TSS_DS,  0x100,       0,      0,         0},
        {TSS_SS,  DATA | 3,    0,      VECTOR_TS, 0},
        {TSS_DS,  0x100,       0,      0,         0},
        {TSS_DS,  0x100,       0,      VECTOR_TS, 0},
        {TSS_ES,  0x108,       0,      0,         0},
        {TSS_DS,  SCRATCH | 3, 0xc012, VECTOR_NP, 0},
        {TSS_ES,  0x108,       0,      0,         0},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(pairs); i += 2) {
        task_bench_start(&b, TASK_CALL);
        change(&pairs[i]);
        change(&pairs[i + 1]);
        task_bench_switch(&b);
        assert_fault(true, pairs[i].vector, pairs[i].selector & 0xfffcu);
    }
}

static void test_ldt(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL);
    task_put(&b, NEW_TSS + TSS_LDT, 2, LOCAL_TABLE);
    task_describe(&b, LDT_AT + 0x18, 0x123450, 0xfff, 0x4092);
    task_put(&b, NEW_TSS + TSS_FS, 2, 0x1c);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.segment[TASK_FS].base, 0x123450);
    assert_int_equal(b.state.segment[TASK_FS].limit, 0xfff);
    assert_int_equal(b.state.segment[TASK_FS].access, 0x4093);
    assert_int_equal(b.memory[LDT_AT + 0x1d], 0x93);
    task_bench_start(&b, TASK_CALL); /* beyond its limit */
    task_put(&b, NEW_TSS + TSS_LDT, 2, LOCAL_TABLE);
    task_put(&b, NEW_TSS + TSS_FS, 2, 0x24);
    task_bench_switch(&b);
    assert_fault(true, VECTOR_TS, 0x24);
    /* Nothing is looked up in one that is not present. */
    task_bench_start(&b, TASK_CALL);
    task_describe(&b, GDT + SCRATCH, LDT_AT, 0x1f, 0x02);
    task_put(&b, NEW_TSS + TSS_LDT, 2, SCRATCH);
    task_put(&b, NEW_TSS + TSS_SS, 2, 0x0c);
    b.missing[LDT_AT / PAGE] = true;
    task_bench_switch(&b);
    assert_fault(true, VECTOR_TS, SCRATCH);
    assert_can_be_entered();
    task_bench_start(&b, TASK_CALL); /* the same, and the stack's fault comes first */
    task_describe(&b, GDT + SCRATCH, LDT_AT, 0x1f, 0x02);
    task_put(&b, NEW_TSS + TSS_LDT, 2, SCRATCH);
    task_put(&b, NEW_TSS + TSS_SS, 2, 0);
    task_bench_switch(&b);
    assert_fault(true, VECTOR_TS, 0);
    assert_can_be_entered();
}

static void test_virtual_8086(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL);
    task_put(&b, NEW_TSS + TSS_EFLAGS, 4, RFLAGS_VM | 2);
    for (u32 i = 0; i < 6; i++)
        task_put(&b, NEW_TSS + TSS_ES + 4 * i, 2, 0xfff0 + i);
    task_bench_switch(&b);
    assert_done();
    for (u32 i = 0; i < 6; i++) {
        assert_int_equal(b.state.segment[i].base, 0xfff00 + 0x10 * i);
        assert_int_equal(b.state.segment[i].limit, 0xffff);
        assert_int_equal(b.state.segment[i].access, 0xf3);
    }
    task_bench_start(&b, TASK_CALL); /* also when the LDT is wrong */
    task_put(&b, NEW_TSS + TSS_EFLAGS, 4, RFLAGS_VM | 2);
    task_put(&b, NEW_TSS + TSS_LDT, 2, DATA);
    task_bench_switch(&b);
    assert_fault(true, VECTOR_TS, DATA);
    assert_int_equal(b.state.segment[TASK_SS].access, 0xf3);
}

/* ---- paging ---- */

static void test_cr3(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL); /* without paging it stays */
    task_put(&b, NEW_TSS + TSS_CR3, 4, 0x9000);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.cr3, 0);
    task_bench_start(&b, TASK_CALL);
    b.state.cr0 |= (u32)CR0_PG;
    task_put(&b, NEW_TSS + TSS_CR3, 4, 0x9000);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.cr3, 0x9000);
    assert_int_equal(b.state.pdpte[0], 0);
    for (u32 bad = 0; bad < 3; bad++) {
        task_bench_start(&b, TASK_CALL);
        task_put(&b, NEW_TSS + TSS_EFLAGS, 4, bad == 2 ? RFLAGS_VM | 2 : 2);
        b.state.cr0 |= (u32)CR0_PG;
        b.state.cr4 |= (u32)CR4_PAE;
        b.bad_cr3 = bad ? 0x9000 : 0;
        task_put(&b, NEW_TSS + TSS_CR3, 4, 0x9000);
        task_bench_switch(&b);
        if (bad) {
            assert_fault(true, VECTOR_GP, 0);
            assert_int_equal(b.state.pdpte[3], 0);
            assert_can_be_entered();
        } else {
            assert_done();
            assert_int_equal(b.state.pdpte[3], 0x9003);
        }
    }
    task_bench_start(&b, TASK_CALL); /* one that does not change is not looked at */
    b.state.cr0 |= (u32)CR0_PG;
    b.state.cr4 |= (u32)CR4_PAE;
    b.state.cr3 = b.bad_cr3 = 0x9000;
    task_put(&b, NEW_TSS + TSS_CR3, 4, 0x9000);
    task_bench_switch(&b);
    assert_done();
}

/* Each page that a switch needs is missing or read-only in turn: a page fault before anything has changed, or behind
 * the commit point. The TSSs lie across two pages. */
static void test_page_faults(void **state)
{
    static const struct {
        enum task_source source;
        u32 page;
        bool missing;
        u32 error;
        u32 linear;
    } faults[] = {
        {TASK_CALL, 7,  true,  0,                     0x7fe0       },
        {TASK_CALL, 8,  true,  0,                     0x8047       },
        {TASK_CALL, 7,  false, PF_PRESENT | PF_WRITE, 0x7fe0       }, /* the link */
        {TASK_CALL, 9,  true,  PF_WRITE,              0x9fe0       },
        {TASK_CALL, 10, true,  PF_WRITE,              0xa01d       },
        {TASK_CALL, 9,  false, PF_PRESENT | PF_WRITE, 0x9fe0       },
        {TASK_CALL, 1,  false, PF_PRESENT | PF_WRITE, GDT + NEW + 5},
        {TASK_JMP,  1,  false, PF_PRESENT | PF_WRITE, GDT + OLD + 5},
        {TASK_IRET, 1,  false, PF_PRESENT | PF_WRITE, GDT + OLD + 5},
        {TASK_JMP,  1,  true,  0,                     GDT + NEW    },
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(faults); i++) {
        task_bench_start(&b, faults[i].source);
        memcpy(b.memory + 0x7fe0, b.memory + NEW_TSS, 0x68);
        task_describe(&b, GDT + NEW, 0x7fe0, 0x67, task_access(&b, NEW));
        b.state.segment[TASK_TR].base = 0x9fc0;
        (faults[i].missing ? b.missing : b.read_only)[faults[i].page] = true;
        assert_old_fault(VECTOR_PF, faults[i].error);
        assert_int_equal(b.out.linear, faults[i].linear);
        (faults[i].missing ? b.missing : b.read_only)[faults[i].page] = false;
        task_bench_switch(&b);
        assert_done();
        assert_int_equal(b.state.gpr[7], 0x88888888);
    }
    task_bench_start(&b, TASK_JMP); /* a link is written by CALL and gates only */
    b.read_only[NEW_TSS / PAGE] = true;
    task_bench_switch(&b);
    assert_done();
    task_bench_start(&b, TASK_CALL); /* a descriptor in the new task */
    task_put(&b, NEW_TSS + TSS_LDT, 2, LOCAL_TABLE);
    task_put(&b, NEW_TSS + TSS_DS, 2, 4);
    b.missing[LDT_AT / PAGE] = true;
    task_bench_switch(&b);
    assert_fault(true, VECTOR_PF, 0);
    assert_int_equal(b.out.linear, LDT_AT);
    assert_can_be_entered();
    task_bench_start(&b, TASK_CALL); /* its accessed flag */
    task_put(&b, NEW_TSS + TSS_LDT, 2, LOCAL_TABLE);
    task_put(&b, NEW_TSS + TSS_CS, 2, 4);
    task_describe(&b, LDT_AT, 0, 0xfffff, CODE_32 & ~1u);
    b.read_only[LDT_AT / PAGE] = true;
    task_bench_switch(&b);
    assert_fault(true, VECTOR_PF, PF_PRESENT | PF_WRITE);
    assert_int_equal(b.out.linear, LDT_AT + 5);
    assert_can_be_entered();
}

static void test_unwalkable_tables(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL);
    b.unwalkable = true;
    task_bench_switch(&b);
    assert_int_equal(b.out.result, TASK_STOP);
    assert_false(b.out.committed);
}

/* ---- what follows ---- */

static void deliver(u32 esp)
{
    task_bench_start(&b, TASK_GATE);
    b.request.external = b.request.has_error = true;
    b.request.error_code = 0xaabbccdd;
    task_put(&b, NEW_TSS + TSS_ESP, 4, esp);
}

static void test_error_code(void **state)
{
    (void)state;
    deliver(STACK_TOP);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.gpr[4], STACK_TOP - 4);
    assert_int_equal(task_get(&b, STACK_TOP - 4, 4), 0xaabbccdd);
    deliver(STACK_TOP); /* a stack of 16 bits */
    task_describe(&b, GDT + SCRATCH, 0x100, 0xffff, 0x93);
    task_put(&b, NEW_TSS + TSS_SS, 2, SCRATCH);
    task_put(&b, NEW_TSS + TSS_ESP, 4, 0x77775f00);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.gpr[4], 0x77775efc);
    assert_int_equal(task_get(&b, 0x5ffc, 4), 0xaabbccdd);
    deliver(STACK_TOP); /* a TSS of 16 bits */
    memset(b.memory + NEW_TSS, 0, 0x68);
    task_describe(&b, GDT + NEW, NEW_TSS, 0x2b, TSS_16);
    task_put(&b, NEW_TSS + 0x1a, 2, 0x5000);
    task_put(&b, NEW_TSS + TSS16_ES, 4, CODE << 16 | DATA);
    task_describe(&b, GDT + SCRATCH, 0, 0xffff, 0x93);
    task_put(&b, NEW_TSS + TSS16_ES + 4, 4, SCRATCH);
    task_bench_switch(&b);
    assert_done();
    assert_int_equal(b.state.gpr[4] & 0xffff, 0x4ffe);
    assert_int_equal(task_get(&b, 0x4ffc, 4), 0xccdd0000);
}

static void test_no_room_for_the_error_code(void **state)
{
    static const struct {
        u32 limit, access, esp;
        bool fits;
    } stacks[] = {
        {0x0fff, 0x4093, 0x1000, true },
        {0x0fff, 0x4093, 0x1001, false},
        {0x0fff, 0x4093, 3,      false}, /* wraps */
        {0xffff, 0x0093, 0,      true }, /* wraps: SP becomes FFFC */
        {0x0fff, 0x4097, 0x1000, false}, /* expand-down */
        {0x0fff, 0x4097, 0x1004, true },
        {0x0fff, 0x0097, 0,      true },
        {0x0fff, 0x0097, 2,      false},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(stacks); i++) {
        deliver(stacks[i].esp);
        task_describe(&b, GDT + SCRATCH, 0x4000, stacks[i].limit, stacks[i].access);
        task_put(&b, NEW_TSS + TSS_SS, 2, SCRATCH);
        task_bench_switch(&b);
        if (stacks[i].fits) {
            assert_done();
        } else {
            assert_fault(true, VECTOR_SS, 1);
            assert_int_equal(b.state.gpr[4], stacks[i].esp);
        }
    }
    deliver(STACK_TOP); /* at the new task's level */
    use_cpl_3();
    task_bench_switch(&b);
    assert_fault(true, VECTOR_PF, PF_PRESENT | PF_WRITE | PF_USER);
    assert_int_equal(b.out.linear, STACK_TOP - 4);
}

static void test_eip_and_trap(void **state)
{
    (void)state;
    task_bench_start(&b, TASK_CALL);
    task_put(&b, NEW_TSS + TSS_TRAP, 2, 1);
    task_bench_switch(&b);
    assert_int_equal(b.out.result, TASK_TRAP);
    assert_true(b.out.committed);
    task_bench_start(&b, TASK_CALL);
    task_put(&b, NEW_TSS + TSS_TRAP, 2, 0xfffe); /* the other bits are no T flag */
    task_bench_switch(&b);
    assert_done();
    for (u32 external = 0; external < 2; external++) { /* a fault comes first */
        task_bench_start(&b, TASK_CALL);
        b.request.external = external;
        task_put(&b, NEW_TSS + TSS_TRAP, 2, 1);
        task_describe(&b, GDT + SCRATCH, 0, 0x5677, 0x409b);
        task_put(&b, NEW_TSS + TSS_CS, 2, SCRATCH);
        task_bench_switch(&b);
        assert_fault(true, VECTOR_GP, external);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_32_bit_state),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_16_bit_state),
        cmocka_unit_test(test_faults_in_the_old_task),
        cmocka_unit_test(test_two_cpus_take_one_task),
        cmocka_unit_test(test_faults_in_the_new_task),
        cmocka_unit_test(test_what_may_be_loaded),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_ldt),
        cmocka_unit_test(test_virtual_8086),
        cmocka_unit_test(test_cr3),
        cmocka_unit_test(test_page_faults),
        cmocka_unit_test(test_unwalkable_tables),
        cmocka_unit_test(test_error_code),
        cmocka_unit_test(test_no_room_for_the_error_code),
        cmocka_unit_test(test_eip_and_trap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
