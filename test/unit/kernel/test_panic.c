/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a host bug: what is printed, how far the backtrace goes on a broken stack, and that failures on the way
 * end it. A panic is once in a lifetime, so that each one here has a process of its own.
 *
 * links: kernel/panic.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/mca.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "arch/x86/traps.h"
#include "drivers/host/power.h"
#include "kernel/console.h"
#include "kernel/lib/format.h"
#include "kernel/panic.h"
#include "kernel/symbols.h"
#include "test/fake/cpu.h"

#define CODE      0x10000ull /* kernel code of one function: 4 KiB */
#define VECTOR_GP 13

static struct cpu_local cpus[2];
static u64 stack[64];
static char text[8192]; /* what the last panic printed */
static int out;         /* in the process that panics: the way to `text` */
static void (*fatal_handler)(const struct trap_frame *frame);
static u32 banks;
static bool off_fails, other_panics;

static void run_on(u32 cpu)
{
    if (syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &cpus[cpu]) != 0)
        abort();
}

/* ---- what panic.c calls ---- */

void console_panic_write(const char *line, size_t length)
{
    if (write(out, line, length) != (ssize_t)length)
        abort();
}

static void say(const char *line)
{
    console_panic_write(line, strlen(line));
}

NORETURN void power_off(void)
{
    if (off_fails)
        panic("no power-off");
    say("(off)\n");
    _exit(0);
}

NORETURN void smp_halt_forever(void)
{
    say(cpu_id() ? "(cpu 1 halts)\n" : "(cpu 0 halts)\n");
    if (!cpu_id() || !other_panics)
        _exit(0);
    other_panics = false; /* the other CPU goes on with its panic */
    run_on(0);
    power_off();
}

void smp_stop_others_for_panic(void)
{
    say("(others stop)\n");
    if (!other_panics)
        return;
    run_on(1);
    panic("me too");
}

u32 smp_cpu_count(void)
{
    return 2;
}

void smp_handle_nmi(void) {}

void traps_set_fatal_handler(void (*handler)(const struct trap_frame *frame))
{
    fatal_handler = handler;
}

void traps_set_nmi_handler(void (*handler)(void))
{
    assert_ptr_equal(handler, smp_handle_nmi);
}

const char *traps_vector_name(u64 vector)
{
    return vector == VECTOR_PF ? "#PF" : "#GP";
}

u32 mca_bank_count(void)
{
    return banks;
}

bool mca_read(u32 bank, struct mca_error *error)
{
    *error = (struct mca_error){.status = 0xb000, .address = 0xadd0, .misc = 3};
    return bank == 1;
}

bool percpu_stack_contains(const struct cpu_local *cpu, u64 address, u64 bytes)
{
    assert_ptr_equal(cpu, &cpus[cpu_id()]);
    return address - (u64)(uintptr_t)stack < sizeof stack && bytes <= sizeof stack - (address - (u64)(uintptr_t)stack);
}

bool symbols_is_code(u64 address)
{
    return address - CODE < 0x1000;
}

bool symbols_find(u64 address, struct symbol *symbol)
{
    strcpy(symbol->name, "code");
    symbol->offset = address - CODE;
    return symbols_is_code(address);
}

/* ---- panics ---- */

static int start(void **state)
{
    (void)state;
    for (u32 cpu = 0; cpu < 2; cpu++)
        cpus[cpu] = (struct cpu_local){.self = &cpus[cpu], .id = cpu};
    run_on(0);
    fake_cpu_reset();
    memset(stack, 0, sizeof stack);
    banks = 0;
    off_fails = other_panics = false;
    panic_set_epilogue(NULL);
    panic_init();
    return 0;
}

/* Runs what panics in a process of its own. */
static void collect(void (*scenario)(void))
{
    int ends[2], status;
    size_t length = 0;
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        out = ends[1];
        scenario();
        _exit(9);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        fail_msg("status 0x%x after:\n%s", status, text);
}

static void assert_says(const char *what)
{
    if (!strstr(text, what))
        fail_msg("no \"%s\" in:\n%s", what, text);
}

static unsigned count(const char *what)
{
    unsigned found = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        found++;
    return found;
}

/* A frame at stack[at] whose caller's is at stack[next]. */
static void make_frame(unsigned at, unsigned next, u64 caller)
{
    stack[at] = (u64)(uintptr_t)&stack[next];
    stack[at + 1] = caller;
}

static struct trap_frame trap_at(u64 vector, u64 rip, u64 rbp)
{
    return (struct trap_frame){.vector = vector,
                               .error_code = 2,
                               .rip = rip,
                               .rbp = rbp,
                               .rsp = (u64)(uintptr_t)&stack[1],
                               .rax = 0xaaaa,
                               .r15 = 0xffff};
}

static struct trap_frame trap;

static void trap_now(void)
{
    fatal_handler(&trap);
}

static void panic_now(void)
{
    panic("code %u of %s", 7, "doom");
}

static void test_a_panic(void **state)
{
    static const char beginning[] = "(others stop)\nrootlet: panic: code 7 of doom cpu=0\nrootlet:   #0 0x";

    (void)state;
    collect(panic_now);
    assert_int_equal(strncmp(text, beginning, strlen(beginning)), 0);
    assert_says("\nrootlet: end status=fail\n(off)\n");
    assert_int_equal(count("panic:"), 1);
}

static void test_a_trap(void **state)
{
    (void)state;
    fake_cpu.cr2 = 0xbadadd;
    trap = trap_at(VECTOR_PF, CODE + 0x10, 0);
    collect(trap_now);
    assert_says("panic: #PF error=0x2 address=0x0000000000badadd cpu=0\n");
    assert_says("rax=000000000000aaaa");
    assert_says("r15=000000000000ffff");
    assert_says("rip=0000000000010010");
    assert_says("#0 0x0000000000010010 code+0x10\nrootlet: end");
    trap = trap_at(VECTOR_GP, CODE + 0x10, 0);
    collect(trap_now);
    assert_says("panic: #GP error=0x2 cpu=0\n");
}

/* A return address is named by the call before it, even at a function's end. */
static void test_the_chain_of_frames(void **state)
{
    (void)state;
    make_frame(4, 10, CODE + 0x20);
    make_frame(10, 20, CODE + 0x1000); /* the call was the last instruction */
    make_frame(20, 30, CODE + 0x30);
    make_frame(30, 40, 0x1234); /* no code: the end */
    make_frame(40, 50, CODE + 0x40);
    trap = trap_at(VECTOR_GP, CODE, (u64)(uintptr_t)&stack[4]);
    collect(trap_now);
    assert_says("#0 0x0000000000010000 code+0x0\nrootlet:   #1 0x0000000000010020 code+0x20\n"
                "rootlet:   #2 0x0000000000011000 code+0x1000\nrootlet:   #3 0x0000000000010030 code+0x30\n"
                "rootlet: end");
}

static void test_broken_chains(void **state)
{
    (void)state;
    make_frame(4, 4, CODE + 0x20); /* its own caller */
    trap = trap_at(VECTOR_GP, CODE, (u64)(uintptr_t)&stack[4]);
    collect(trap_now);
    assert_says("#23 ");
    assert_says("rootlet:   ...\nrootlet: end");
    assert_int_equal(count("#24 "), 0);
    trap.rbp += 4; /* not aligned */
    collect(trap_now);
    assert_int_equal(count("#1 "), 0);
    trap.rbp = (u64)(uintptr_t)&stack[63]; /* half of a frame */
    collect(trap_now);
    assert_int_equal(count("#1 "), 0);
}

static void test_a_call_to_nowhere(void **state)
{
    (void)state;
    stack[1] = CODE + 0x55; /* the top of the stack */
    make_frame(4, 10, CODE + 0x66);
    trap = trap_at(VECTOR_PF, 0, (u64)(uintptr_t)&stack[4]);
    collect(trap_now);
    assert_says("#0 0x0000000000000000 ?\nrootlet:   #1 0x0000000000010055 code+0x55\n"
                "rootlet:   #2 0x0000000000010066 code+0x66\nrootlet: end");
    trap.rip = CODE; /* then the top of the stack is anything */
    collect(trap_now);
    assert_int_equal(count("code+0x55"), 0);
}

static void last_words(void (*print)(const char *line))
{
    print("last words");
}

static void test_machine_checks_and_the_epilogue(void **state)
{
    (void)state;
    banks = 3;
    panic_set_epilogue(last_words);
    collect(panic_now);
    assert_says("machine check bank=1 status=0xb000 address=0xadd0 misc=0x3\nrootlet: last words\n"
                "rootlet: end status=fail\n(off)\n");
    assert_int_equal(count("bank="), 1);
}

static void fail_again(void (*print)(const char *line))
{
    (void)print;
    panic("once more");
}

static void test_a_second_failure_is_one_line(void **state)
{
    (void)state;
    banks = 3;
    panic_set_epilogue(fail_again);
    collect(panic_now);
    assert_says("\nrootlet: panic: again while panicking: once more\nrootlet: end status=fail\n(off)\n");
    assert_int_equal(count("bank="), 1);
    assert_int_equal(count("(others stop)"), 1);
}

static void test_a_third_failure_halts(void **state)
{
    (void)state;
    panic_set_epilogue(fail_again);
    off_fails = true;
    collect(panic_now);
    assert_says("again while panicking: once more\nrootlet: end status=fail\n(cpu 0 halts)\n");
    assert_int_equal(count("(off)"), 0);
}

static void test_the_first_cpu_owns_the_panic(void **state)
{
    (void)state;
    other_panics = true;
    collect(panic_now);
    assert_says("(others stop)\n(cpu 1 halts)\n");
    assert_int_equal(count("me too"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_panic, start),
        cmocka_unit_test_setup(test_a_trap, start),
        cmocka_unit_test_setup(test_the_chain_of_frames, start),
        cmocka_unit_test_setup(test_broken_chains, start),
        cmocka_unit_test_setup(test_a_call_to_nowhere, start),
        cmocka_unit_test_setup(test_machine_checks_and_the_epilogue, start),
        cmocka_unit_test_setup(test_a_second_failure_is_one_line, start),
        cmocka_unit_test_setup(test_a_third_failure_halts, start),
        cmocka_unit_test_setup(test_the_first_cpu_owns_the_panic, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
