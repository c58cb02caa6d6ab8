/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vmx/entry.asm itself, instruction by instruction: it runs here with the trap flag set. What only the kernel may
 * execute faults, goes on record and is skipped; VMRESUME looks at the guest's registers and comes back as a VM exit,
 * with others. SDM 3C 27.5.3 "Loading Host RIP, RSP, and RFLAGS", 30.2 "Conventions".
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <cmocka.h>

#include "vmx/entry.h"

extern const u8 vmx_enter_guest[], vmx_enter_guest_guarded[], entry_test_back[];
struct vmx_features vmx_features;

static struct vmx_vcpu v;
static char record[512];
static u32 calls;
static u64 left[16]; /* the general registers behind the exit, numbered as in gpr[] */
static u64 left_flags, host_rsp, guest_spec_ctrl;
static const u8 *exit_entry;
static enum { EXITS, FAILS_INVALID, FAILS_VALID } comes;

#define FLAG_CF   1u
#define FLAG_ZF   64u
#define FLAG_TF   256u
#define GUEST(i)  (0x1111111111111111ull * ((i) + 1))
#define EXITED(i) (0xeeee000000000000ull + (i))

/* REG_ of each of gpr[]. */
static const int numbers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static void note(const char *format, ...)
{
    va_list arguments;
    size_t used = strlen(record);

    va_start(arguments, format);
    vsnprintf(record + used, sizeof record - used, format, arguments);
    va_end(arguments);
}

static void enter_guest(greg_t *r, const char *name)
{
    note("%s ", name);
    for (u32 i = 0; i < 16; i++) {
        if (i != GPR_RSP && (u64)r[numbers[i]] != GUEST(i))
            note("wrong-%u ", i);
        if (i != GPR_RSP && comes == EXITS)
            r[numbers[i]] = (greg_t)EXITED(i);
    }
    r[REG_EFL] &= ~(greg_t)(FLAG_CF | FLAG_ZF);
    if (comes == EXITS) {
        r[REG_RIP] = (greg_t)exit_entry;
        r[REG_RSP] = (greg_t)host_rsp;
        return;
    }
    r[REG_RIP] += 3;
    r[REG_EFL] |= comes == FAILS_INVALID ? FLAG_CF : FLAG_ZF;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const u8 *code = (const u8 *)r[REG_RIP];

    (void)info;
    if (code[0] == 0x0f && code[1] == 0x30) {
        note("wrmsr-%x=%x:%x ", (u32)r[REG_RCX], (u32)r[REG_RDX], (u32)r[REG_RAX]);
        r[REG_RIP] += 2;
    } else if (code[0] == 0x0f && code[1] == 0x32) {
        note("rdmsr-%x ", (u32)r[REG_RCX]);
        r[REG_RAX] = (greg_t)guest_spec_ctrl;
        r[REG_RDX] = 0;
        r[REG_RIP] += 2;
    } else if (code[0] == 0x0f && code[1] == 0x79) {
        note("vmwrite-%x ", (u32)r[REG_RAX]);
        host_rsp = (u64)r[REG_RSP];
        r[REG_EFL] &= ~(greg_t)(FLAG_CF | FLAG_ZF);
        r[REG_RIP] += 3;
    } else if (code[0] == 0x0f && code[1] == 0x01 && (code[2] == 0xc2 || code[2] == 0xc3)) {
        enter_guest(r, code[2] == 0xc2 ? "vmlaunch" : "vmresume");
    } else {
        signal(number, SIG_DFL); /* a true fault */
    }
}

/* RIP is that of the instruction to come. */
static void on_trap(int number, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const u8 *code = (const u8 *)r[REG_RIP];

    (void)number;
    (void)info;
    if (code == entry_test_back) {
        for (u32 i = 0; i < 16; i++)
            left[i] = (u64)r[numbers[i]];
        left_flags = (u64)r[REG_EFL];
        r[REG_EFL] &= ~(greg_t)FLAG_TF;
    } else if (code[0] == 0xe8) {
        calls++;
    } else if (code[0] == 0x0f && code[1] == 0x00 && (code[2] >> 3 & 7) == 5) {
        note("verw ");
    } else if (code[0] == 0x0f && code[1] == 0xae && code[2] == 0xe8) {
        note("lfence-%u ", calls);
    } else if (code[0] == 0xc3 && code > exit_entry && !strstr(record, "ret")) {
        note("ret ");
    }
}

/* By the way that is guarded against `acts`, or by the other one if there are none. */
static void run(u32 acts, bool launched)
{
    const u8 *entry = acts ? vmx_enter_guest_guarded : vmx_enter_guest;
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO},
                     trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

    sigaction(SIGILL, &fault, NULL);
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGTRAP, &trap, NULL);
    record[0] = 0;
    calls = 0;
    vmx_features.speculation.acts = acts;
    exit_entry = acts ? vmx_exit_guarded : vmx_exit_entry;
    memset(&v, 0, sizeof v);
    for (u32 i = 0; i < 16; i++)
        v.gpr[i] = GUEST(i);
    v.launched = launched;
    v.spec_ctrl = 4;
    __asm__ volatile("pushfq\n\torq $256, (%%rsp)\n\tpopfq\n\tcall *%%rax\nentry_test_back: nop"
                     : "+a"(entry)
                     : "b"(&v)
                     : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
                       "cc");
}

static void assert_exited(void)
{
    assert_false(left_flags & (FLAG_CF | FLAG_ZF));
    for (u32 i = 0; i < 16; i++)
        if (i != GPR_RSP)
            assert_int_equal(v.gpr[i], EXITED(i));
    assert_int_equal(left[GPR_RBX], (u64)&v);
}

static void test_plain(void **state)
{
    (void)state;
    comes = EXITS;
    run(0, true);
    assert_string_equal(record, "vmwrite-6c14 vmresume ret ");
    assert_exited();
    assert_int_equal(calls, 0);
    run(0, false);
    assert_string_equal(record, "vmwrite-6c14 vmlaunch ret ");
    assert_exited();
}

/* No general register holds a value of the guest's but v's own, RSP and RBP, which are the host's. */
static void assert_clear(void)
{
    for (u32 i = 0; i < 16; i++)
        if (i != GPR_RBX && i != GPR_RSP && i != GPR_RBP)
            assert_int_equal(left[i] >> 32, 0); /* MSRs, and whether it failed */
    assert_true(left[GPR_RBP] >> 48 == 0);
}

static void test_each_guard(void **state)
{
    /* clang-format off */
    static const struct {
        u32 acts;
        const char *record;
    } rows[] = {
        {SPECULATION_CLEAR_REGISTERS, "vmwrite-6c14 vmresume lfence-0 ret "},
        {SPECULATION_FLUSH_L1D, "vmwrite-6c14 wrmsr-10b=0:1 vmresume lfence-0 ret "},
        {SPECULATION_VERW, "vmwrite-6c14 verw vmresume lfence-0 ret "},
        {SPECULATION_IBRS, "vmwrite-6c14 wrmsr-48=0:4 vmresume rdmsr-48 wrmsr-48=0:1 lfence-0 ret "},
        {SPECULATION_FILL_RETURNS, "vmwrite-6c14 vmresume lfence-32 ret "},
        {SPECULATION_FLUSH_L1D | SPECULATION_VERW | SPECULATION_IBRS | SPECULATION_FILL_RETURNS,
         "vmwrite-6c14 wrmsr-10b=0:1 wrmsr-48=0:4 verw vmresume rdmsr-48 wrmsr-48=0:1 lfence-32 ret "},
    };
    /* clang-format on */

    (void)state;
    comes = EXITS;
    guest_spec_ctrl = 6;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        run(rows[i].acts, true);
        assert_string_equal(record, rows[i].record);
        assert_exited();
        assert_clear();
        assert_int_equal(v.spec_ctrl, rows[i].acts & SPECULATION_IBRS ? 6 : 4);
    }
    run(SPECULATION_VERW, false);
    assert_string_equal(record, "vmwrite-6c14 verw vmlaunch lfence-0 ret ");
    run(SPECULATION_CLEAR_REGISTERS, false);
    assert_string_equal(record, "vmwrite-6c14 vmlaunch lfence-0 ret ");
}

/* Its own returns are behind the guards of the returns, and an LFENCE is behind all. */
static void test_history(void **state)
{
    (void)state;
    comes = EXITS;
    run(SPECULATION_FILL_RETURNS | SPECULATION_CLEAR_HISTORY, true);
    assert_exited();
    assert_clear();
    assert_int_equal(calls, 32 + 1 + 1 + 12); /* the sequence, its first round, and one call in each */
    assert_non_null(strstr(record, "ret lfence-46 lfence-46 "));
    assert_null(strstr(record, "lfence-32"));
}

static void test_failed_entries(void **state)
{
    static const u32 ways[] = {0, SPECULATION_CLEAR_REGISTERS, SPECULATION_VERW | SPECULATION_IBRS};

    (void)state;
    for (u32 i = 0; i < 2 * ARRAY_SIZE(ways); i++) {
        comes = i & 1 ? FAILS_VALID : FAILS_INVALID;
        run(ways[i / 2], i & 1);
        assert_true(left_flags & (FLAG_CF | FLAG_ZF));
        for (u32 j = 0; j < 16; j++)
            assert_int_equal(v.gpr[j], GUEST(j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_each_guard),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_failed_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
