/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests' MP table, found and read as a system does that knows nothing else: Intel MultiProcessor Specification
 * 1.4, chapter 4.
 * links: kernel/vm/mptable.c kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c test/fake/cpu.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/vm/mptable.h"
#include "test/fake/cpu.h"
#include "test/fake/host_memory.h"

#define HEADER_BYTES 44u

static struct guest_memory memory;
static struct refusal why;
static u8 rom[KIB(64)]; /* from 0xf0000 */
static const u8 *table;

static void assert_sum(const u8 *bytes, u32 count)
{
    u8 sum = 0;
    while (count--)
        sum += bytes[count];
    assert_int_equal(sum, 0);
}

static u32 get32(const u8 *from)
{
    u32 value;
    memcpy(&value, from, 4);
    return value;
}

static void install(u32 cpus)
{
    const u8 *pointer = NULL;

    host_memory_init(MIB(1), MIB(4));
    fake_cpu_reset();
    fake_cpuid_set(1, 0, (struct cpuid_result){0x50654, 0, 0, 0xbfebfbff});
    assert_int_equal(guest_memory_allocate(&memory, MIB(2), &why), STATUS_OK);
    assert_int_equal(guest_mptable_install(&memory, cpus), STATUS_OK);
    assert_int_equal(guest_memory_read(&memory, gpa(0xf0000), rom, sizeof rom), STATUS_OK);
    for (u32 at = 0; at < sizeof rom && !pointer; at += 16)
        if (memcmp(rom + at, "_MP_", 4) == 0)
            pointer = rom + at;
    assert_non_null(pointer);
    assert_int_equal(pointer[8], 1); /* paragraph */
    assert_sum(pointer, 16);
    assert_int_equal(pointer[9], 4);  /* version 1.4 */
    assert_int_equal(pointer[11], 0); /* there is a table */
    assert_int_equal(pointer[12], 0); /* no IMCR */
    table = rom + (get32(pointer + 4) - 0xf0000);
    assert_memory_equal(table, "PCMP", 4);
    assert_int_equal(table[6], 4);
    assert_sum(table, get32(table + 4) & 0xffff);
    assert_int_equal(get32(table + 36), 0xfee00000);
}

static void test_processors(void **state)
{
    (void)state;
    for (u32 cpus = 1; cpus <= 16; cpus++) {
        install(cpus);
        const u8 *entry = table + HEADER_BYTES;
        for (u32 i = 0; i < cpus; i++, entry += 20) {
            assert_int_equal(entry[0], 0);
            assert_int_equal(entry[1], i); /* APIC id */
            assert_int_equal(entry[2], 0x14);
            assert_int_equal(entry[3], i ? 1 : 3); /* enabled; the first is the boot processor */
            assert_int_equal(get32(entry + 4), 0x50654);
            assert_int_equal(get32(entry + 8), 0x381); /* those that the specification knows */
        }
        assert_int_equal(entry[0], 1);
    }
}

/* The entries behind the processors, in order, to the last byte. */
static void test_buses_and_interrupts(void **state)
{
    static const u8 before[] = {1,   0,   'P', 'C', 'I', ' ', ' ',  ' ', 1,    1,    'I',  'S',
                                'A', ' ', ' ', ' ', 2,   0,   0x20, 1,   0x00, 0x00, 0xc0, 0xfe};
    static const u8 after[] = {4, 3, 0, 0, 1, 0, 0, 0, 4, 1, 0, 0, 1, 0, 0xff, 1}; /* ExtINT, NMI */

    (void)state;
    install(2);
    const u8 *entry = table + HEADER_BYTES + 2 * 20;
    assert_memory_equal(entry, before, sizeof before);
    entry += sizeof before;
    for (u8 irq = 0; irq < 16; irq++) {
        const u8 expected[] = {3, 0, irq == 9 ? 0xd : 0, 0, 1, irq, 0, irq ? irq : 2};
        if (irq == 2)
            continue;
        assert_memory_equal(entry, expected, sizeof expected);
        entry += sizeof expected;
    }
    assert_memory_equal(entry, after, sizeof after);
    entry += sizeof after;
    assert_int_equal(entry - table, get32(table + 4) & 0xffff);
    assert_int_equal(get32(table + 34) & 0xffff, 2 + 2 + 1 + 15 + 2);
}

static void test_no_firmware_area(void **state)
{
    (void)state;
    memset(&memory, 0, sizeof memory);
    assert_int_equal(guest_mptable_install(&memory, 1), STATUS_OUT_OF_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processors),
        cmocka_unit_test(test_buses_and_interrupts),
        cmocka_unit_test(test_no_firmware_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
