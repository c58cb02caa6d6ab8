/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads of a core, by CPUID as CPUs of several kinds have it, and smt=off's choice among APIC ids.
 *
 * links: arch/x86/topology.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "arch/x86/topology.h"
#include "kernel/lib/bits.h"
#include "test/fake/cpu.h"

static void begin(u32 last_leaf)
{
    fake_cpu_reset();
    fake_cpuid_set(0, 0, (struct cpuid_result){last_leaf, 0, 0, 0});
}

static void test_leaf_b(void **state)
{
    (void)state;
    begin(0x16);
    fake_cpuid_set(0xb, 0, (struct cpuid_result){1, 2, 0x100, 7});
    assert_int_equal(topology_thread_bits(), 1);
    fake_cpuid_set(0xb, 0, (struct cpuid_result){0, 1, 0x100, 7}); /* one thread */
    assert_int_equal(topology_thread_bits(), 0);
    fake_cpuid_set(0xb, 0, (struct cpuid_result){1, 1, 0x100, 7}); /* one, with room for two, as Bochs 3.0 has it */
    assert_int_equal(topology_thread_bits(), 0);
    fake_cpuid_set(7, 0, (struct cpuid_result){0, 0, 0, 1u << 15}); /* another core may have two */
    assert_int_equal(topology_thread_bits(), 1);
    fake_cpuid_set(7, 0, (struct cpuid_result){0});
    fake_cpuid_set(0xb, 0, (struct cpuid_result){2, 4, 0x100, 7}); /* Knights Landing */
    assert_int_equal(topology_thread_bits(), 2);
    fake_cpuid_set(0xb, 0, (struct cpuid_result){3, 8, 0x201, 7}); /* the first level is that of cores */
    assert_int_equal(topology_thread_bits(), 0);
}

/* Without the leaf, or with an empty one: the ids of the package by those of its cores. */
static void test_leaf_4(void **state)
{
    static const struct {
        u32 last, ids, cores, edx;
        u32 bits;
    } rows[] = {
        {0xa, 2,  1, 1u << 28, 1}, /* Pentium 4 */
        {0xa, 2,  2, 1u << 28, 0}, /* Core 2 */
        {0xb, 16, 8, 1u << 28, 1},
        {0xa, 12, 8, 1u << 28, 1}, /* 12 is 16 ids */
        {0xa, 16, 8, 0,        0},
        {2,   2,  1, 1u << 28, 0},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        begin(rows[i].last);
        fake_cpuid_set(1, 0, (struct cpuid_result){0, rows[i].ids << 16, 0, rows[i].edx});
        fake_cpuid_set(4, 0, (struct cpuid_result){(rows[i].cores - 1) << 26 | 0x121, 0, 0, 0});
        assert_int_equal(topology_thread_bits(), rows[i].bits);
    }
}

static void check(const u32 *ids, u32 count, u32 own, u32 bits, const u32 *expected, u32 left)
{
    u32 copy[8];

    for (u32 i = 0; i < count; i++)
        copy[i] = ids[i];
    assert_int_equal(topology_keep_one_of_a_core(copy, count, own, bits), left);
    for (u32 i = 0; i < left; i++)
        assert_int_equal(copy[i], expected[i]);
}

static void test_one_of_a_core(void **state)
{
    static const u32 ids[] = {0, 2, 4, 6, 1, 3, 5, 7}, pairs[] = {0, 1, 2, 3};

    (void)state;
    check(ids, 8, 0, 1, (const u32[]){0, 2, 4, 6}, 4);
    check(ids, 8, 3, 1, (const u32[]){0, 4, 6, 3}, 4); /* the boot CPU's own thread stays */
    check(ids, 8, 5, 2, (const u32[]){0, 5}, 2);
    check(ids, 8, 0, 0, ids, 8);
    check(pairs, 4, 1, 1, (const u32[]){1, 2}, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaf_b),
        cmocka_unit_test(test_leaf_4),
        cmocka_unit_test(test_one_of_a_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
