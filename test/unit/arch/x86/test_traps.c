/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which exceptions of the host are repaired. They are real: RDMSR and WRMSR are #GP in a program, which gets it as a
 * signal and hands it on as the kernel's entry code would.
 * links: arch/x86/traps.c
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/traps.h"

#define MSR_TSC 0x10u /* any will do */

/* The linker script's: where the two fixups of traps.c lie, which is linked behind this file. */
asm(".pushsection .fixups, \"a\"\n"
    ".globl fixups_start, fixups_end\n"
    "fixups_start:\n"
    ".set fixups_end, fixups_start + 2 * 8\n"
    ".popsection");
struct fixup {
    s32 instruction;
    s32 resume;
};
extern const struct fixup fixups_start[], fixups_end[];

void trap_handle(struct trap_frame *frame);
void trap_handle_nmi(void);

static sigjmp_buf fatal;
static struct trap_frame fatal_frame;
static unsigned traps, nmis;
static u64 vector; /* what the next trap says it is; 0: what it is */

void *phys_to_virt(hpa_t address)
{
    (void)address;
    return NULL;
}

hpa_t virt_to_phys(const void *pointer)
{
    return hpa((u64)(uintptr_t)pointer);
}

static void end(const struct trap_frame *frame)
{
    fatal_frame = *frame;
    siglongjmp(fatal, 1);
}

static void take_nmi(void)
{
    nmis++;
}

static void take_trap(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct trap_frame frame = {.vector = vector ? vector : (u64)registers[REG_TRAPNO],
                               .error_code = (u64)registers[REG_ERR],
                               .rip = (u64)registers[REG_RIP]};

    (void)number;
    (void)info;
    traps++;
    trap_handle(&frame);
    registers[REG_RIP] = (greg_t)frame.rip;
}

static int start(void **state)
{
    (void)state;
    traps = nmis = 0;
    vector = 0;
    traps_set_fatal_handler(end);
    return 0;
}

/* Within a test: cmocka takes these signals behind the set-up. */
static void catch_traps(void)
{
    const struct sigaction action = {.sa_sigaction = take_trap, .sa_flags = SA_SIGINFO};

    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    assert_int_equal(sigaction(SIGILL, &action, NULL), 0);
}

static void test_an_msr_that_faults(void **state)
{
    u64 value = 0x1234;

    (void)state;
    catch_traps();
    assert_false(msr_read_safe(MSR_TSC, &value));
    assert_int_equal(value, 0x1234);
    assert_int_equal(traps, 1);
    assert_false(msr_write_safe(MSR_TSC, 0));
    assert_int_equal(traps, 2);
}

/* Only #GP is what such an instruction may raise. */
static void test_another_exception_there_is_fatal(void **state)
{
    u64 value;

    (void)state;
    catch_traps();
    vector = 14;
    if (sigsetjmp(fatal, 1) == 0) {
        assert_false(msr_read_safe(MSR_TSC, &value));
        fail();
    }
    assert_int_equal(fatal_frame.vector, 14);
    assert_int_equal(traps, 1);
}

static void test_the_same_exception_elsewhere_is_fatal(void **state)
{
    (void)state;
    catch_traps();
    if (sigsetjmp(fatal, 1) == 0) {
        (void)msr_read(MSR_TSC);
        fail();
    }
    assert_int_equal(fatal_frame.vector, 13);
    if (sigsetjmp(fatal, 1) == 0) {
        assert_false(traps_provoke("ud"));
        fail();
    }
    assert_int_equal(fatal_frame.vector, 6);
    assert_int_equal(traps, 2);
}

static void test_nmis(void **state)
{
    (void)state;
    trap_handle_nmi(); /* before anybody wants them */
    traps_set_nmi_handler(take_nmi);
    trap_handle_nmi();
    assert_int_equal(nmis, 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(traps_vector_name(0), "#DE divide error");
    assert_string_equal(traps_vector_name(14), "#PF page fault");
    assert_string_equal(traps_vector_name(21), "#CP control protection exception");
    assert_string_equal(traps_vector_name(22), "reserved exception");
    assert_string_equal(traps_vector_name(31), "reserved exception");
    assert_string_equal(traps_vector_name(32), "interrupt");
    assert_string_equal(traps_vector_name(UINT64_MAX), "interrupt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_msr_that_faults, start),
        cmocka_unit_test_setup(test_another_exception_there_is_fatal, start),
        cmocka_unit_test_setup(test_the_same_exception_elsewhere_is_fatal, start),
        cmocka_unit_test_setup(test_nmis, start),
        cmocka_unit_test_setup(test_names, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
