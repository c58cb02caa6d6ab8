/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Breakpoints of the debug registers against accesses that the CPU does not see: which are met, over the examples of
 * the SDM and against a comparison byte by byte; and what is pending for the next entry behind an instruction.
 * SDM 3B 17.2.4 "Debug Control Register (DR7)", 17.2.5 "Breakpoint Field Recognition".
 *
 * links: vmx/points.c vmx/event.c vmx/apicv.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "vmx/points.h"

enum { LENGTH_1, LENGTH_2, LENGTH_8, LENGTH_4 };

/* DR7 with breakpoint n, enabled by Ln or Gn. */
static u64 point(u32 n, bool global, enum points_access kind, u32 length)
{
    return (global ? 2ull : 1ull) << 2 * n | (u64)kind << (16 + 4 * n) | (u64)length << (18 + 4 * n);
}

static int set_up(void **state)
{
    (void)state;
    bench_start();
    vmx_points_begin(&bench.v);
    return 0;
}

/* SDM 3B table 17-1 "Breakpoint Examples" */
static void test_examples_of_the_sdm(void **state)
{
    static const u64 address[4] = {0xa0001, 0xb0002, 0xb0002, 0xc0000};
    u64 dr7 = point(0, false, POINTS_READ, LENGTH_1) | point(1, true, POINTS_WRITE, LENGTH_1) |
              point(2, false, POINTS_READ, LENGTH_2) | point(3, true, POINTS_WRITE, LENGTH_4);
    static const struct {
        enum points_access access;
        u64 at;
        u32 bytes, met;
    } cases[] = {
        {POINTS_READ,  0xa0001, 1, 1},
        {POINTS_WRITE, 0xa0001, 1, 1},
        {POINTS_READ,  0xa0001, 2, 1},
        {POINTS_WRITE, 0xa0001, 2, 1},
        {POINTS_READ,  0xb0002, 1, 4},
        {POINTS_READ,  0xb0001, 4, 4},
        {POINTS_WRITE, 0xb0001, 4, 6},
        {POINTS_READ,  0xb0002, 2, 4},
        {POINTS_WRITE, 0xb0002, 2, 6},
        {POINTS_WRITE, 0xc0000, 4, 8},
        {POINTS_WRITE, 0xc0001, 2, 8},
        {POINTS_WRITE, 0xc0003, 1, 8},
        {POINTS_READ,  0xa0000, 1, 0},
        {POINTS_READ,  0xa0002, 1, 0},
        {POINTS_READ,  0xa0003, 4, 0},
        {POINTS_READ,  0xb0000, 2, 0},
        {POINTS_READ,  0xc0000, 2, 0},
        {POINTS_READ,  0xc0004, 4, 0},
        {POINTS_PORT,  0xa0001, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(points_match(dr7, address, cases[i].access, cases[i].at, cases[i].bytes), cases[i].met);
}

/* Every kind, length and alignment, at both ends of the address space, byte by byte. */
static void test_against_single_bytes(void **state)
{
    static const u64 bases[] = {0x1000, 0, ~0ull - 15, 0xfffffff0};
    static const u8 lengths[] = {1, 2, 8, 4};
    static const u8 widths[] = {1, 2, 4, 8, 16, 32};

    (void)state;
    for (u32 i = 0; i < 4 * 4 * 4 * 16; i++)
        for (u32 j = 0; j < 16 * ARRAY_SIZE(widths) * 3; j++) {
            u64 base = bases[i % 4];
            enum points_access kind = (enum points_access)(i / 4 % 4), access = (enum points_access)(j % 3 + 1);
            u32 length = i / 16 % 4, bytes = widths[j / 3 % ARRAY_SIZE(widths)];
            u64 address[4] = {0, 0, base + i / 64, 0};
            u64 first = base + j / 18;
            bool met = false;

            for (u64 n = 0; n < bytes; n++)
                met |= ((first + n) & ~(lengths[length] - 1ull)) == (address[2] & ~(lengths[length] - 1ull));
            if (kind == 0 || (kind != access && !(kind == POINTS_READ && access == POINTS_WRITE)))
                met = false;
            assert_int_equal(points_match(point(2, i & 1, kind, length), address, access, first, bytes), met ? 4 : 0);
            assert_int_equal(points_match(point(2, 0, kind, length) & ~0xffull, address, access, first, bytes), 0);
        }
}

static void set_exit(u32 reason, u64 qualification)
{
    VMCS_SET(EXIT_REASON, reason);
    VMCS_SET(EXIT_QUALIFICATION, qualification);
}

static void assert_trap(u64 pending)
{
    assert_true(vmx_points_finish(&bench.v, false));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), pending);
    assert_true(bench.v.base.windows & EVENT_TRAP_FIRST);
    assert_true(bench.v.base.requests & VCPU_REQUEST_EVENT);
    VMCS_SET(GUEST_PENDING_DEBUG, 0);
    bench.v.base.requests_or_windows = 0;
}

static void assert_no_trap(void)
{
    assert_false(vmx_points_finish(&bench.v, false));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), 0);
    assert_int_equal(bench.v.base.requests_or_windows, 0);
}

/* The last exit was an IN or OUT: its port. */
static void test_ports(void **state)
{
    (void)state;
    fake_cpu.dr3 = 0x3f8;
    VMCS_SET(GUEST_DR7, point(3, true, POINTS_PORT, LENGTH_4));
    VMCS_SET(GUEST_CR4, CR4_DE);
    set_exit(30, 0x3f9ull << 16 | 8);
    assert_trap(PENDING_DEBUG_ENABLED | 8);
    set_exit(30, 0x3f6ull << 16 | 3);
    assert_trap(PENDING_DEBUG_ENABLED | 8);
    set_exit(30, 0x3f6ull << 16 | 1);
    assert_no_trap();
    set_exit(30, 0x3fcull << 16);
    assert_no_trap();
    set_exit(48, 0x3f9ull << 16); /* no I/O */
    assert_no_trap();
    VMCS_SET(GUEST_CR4, 0);
    set_exit(30, 0x3f9ull << 16);
    assert_no_trap();
}

static void test_memory(void **state)
{
    (void)state;
    fake_cpu.dr0 = fake_cpu.dr1 = 0xfed00010;
    VMCS_SET(GUEST_DR7, point(0, false, POINTS_WRITE, LENGTH_4) | point(1, false, POINTS_READ, LENGTH_8));
    vmx_points_note(&bench.v, 0xfed00010, 4, false);
    assert_trap(PENDING_DEBUG_ENABLED | 2);
    vmx_points_note(&bench.v, 0xfed00010, 4, false);
    vmx_points_note(&bench.v, 0xfed00010, 4, true);
    assert_trap(PENDING_DEBUG_ENABLED | 3);
    assert_no_trap(); /* it was for that instruction */
}

/* MOV SS has met a breakpoint, or TF is set: due behind this instruction, with what it meets itself. */
static void test_what_mov_ss_has_put_off(void **state)
{
    (void)state;
    VMCS_SET(GUEST_INTERRUPTIBILITY, INTERRUPTIBILITY_MOV_SS | INTERRUPTIBILITY_NMI);
    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_ENABLED | 4);
    assert_trap(PENDING_DEBUG_ENABLED | 4);
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);

    VMCS_SET(GUEST_PENDING_DEBUG, PENDING_DEBUG_ENABLED | 4);
    assert_true(vmx_points_finish(&bench.v, true));
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_ENABLED | PENDING_DEBUG_SINGLE_STEP | 4);
}

/* With RF behind all iterations but the last, which run.c ends. */
static void test_iterations(void **state)
{
    (void)state;
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
    assert_false(vmx_points_finish_iteration(&bench.v));
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_TF);
    assert_true(vmx_points_finish_iteration(&bench.v));
    assert_int_equal(vmcs_read(GUEST_RFLAGS), RFLAGS_ONE | RFLAGS_TF | RFLAGS_RF);
    assert_int_equal(vmcs_read(GUEST_PENDING_DEBUG), PENDING_DEBUG_SINGLE_STEP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_examples_of_the_sdm, set_up),
        cmocka_unit_test_setup(test_against_single_bytes, set_up),
        cmocka_unit_test_setup(test_ports, set_up),
        cmocka_unit_test_setup(test_memory, set_up),
        cmocka_unit_test_setup(test_what_mov_ss_has_put_off, set_up),
        cmocka_unit_test_setup(test_iterations, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
