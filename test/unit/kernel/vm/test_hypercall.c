/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypercalls of the guest ABI: results, and each way in which arguments can be wrong. docs/guest-abi.md.
 *
 * links: kernel/vm/hypercall.c kernel/vm/memory.c kernel/vm/layer.c kernel/clock.c test/fake/host_memory.c
 * test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "drivers/host/rtc.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/clock.h"
#include "kernel/virt.h"
#include "kernel/vm/hypercall.h"
#include "kernel/vm/snapshot.h"
#include "test/fake/cpu.h"
#include "test/fake/host_memory.h"

#define UNTOUCHED 0x5555555555555555ull

static struct vm vm;
static struct vcpu vcpu;
static u64 registers[16];
static char console[16384];
static u32 console_bytes;
static u32 console_limit = UINT32_MAX;
static u32 throttled;
static u32 exit_status, exits;
static u32 started_index, started_count;
static struct start_state started;
static bool start_succeeds;

u64 rtc_read_seconds(u64 tsc_hz)
{
    (void)tsc_hz;
    return 0;
}

u64 vm_clock_ns(const struct vm *which)
{
    return clock_ns_from_tsc(cpu_tsc() - which->start_tsc);
}

void vm_console_put(struct vm *which, u8 character)
{
    assert_ptr_equal(which, &vm);
    assert_true(console_bytes < sizeof console);
    console[console_bytes++] = (char)character;
}

u32 vm_console_excess(const struct vm *which)
{
    assert_ptr_equal(which, &vm);
    return console_bytes >= console_limit;
}

bool vm_console_is_full(const struct vm *which)
{
    return vm_console_excess(which) && console_bytes >= console_limit + 64;
}

void vm_console_throttle(struct vcpu *which)
{
    assert_ptr_equal(which, &vcpu);
    throttled++;
}

void vm_exit(struct vm *which, u32 status)
{
    assert_ptr_equal(which, &vm);
    exit_status = status;
    exits++;
}

bool vm_start_vcpu(struct vm *which, u32 index, const struct start_state *start)
{
    assert_ptr_equal(which, &vm);
    started_index = index;
    started = *start;
    started_count++;
    return start_succeeds;
}

static enum vm_wish wish;
static bool wish_is_taken;

bool snapshot_request(struct vcpu *which, enum vm_wish wanted)
{
    assert_ptr_equal(which, &vcpu);
    wish = wanted;
    return wish_is_taken;
}

static const char *refusal_lines[3];

void virt_vcpu_refusal(struct vcpu *which, bool (*take)(void *context, const char *line), void *context)
{
    assert_ptr_equal(which, &vcpu);
    for (u32 i = 0; i < ARRAY_SIZE(refusal_lines) && refusal_lines[i]; i++)
        assert_true(take(context, refusal_lines[i]));
}

static int set_up(void **state)
{
    struct refusal why;

    (void)state;
    memset(&vm, 0, sizeof vm);
    memset(&vcpu, 0, sizeof vcpu);
    fake_cpu_reset();
    clock_init(2000000000);
    host_memory_init(MIB(16), MIB(16));
    assert_int_equal(guest_memory_allocate(&vm.memory, MIB(4), &why), STATUS_OK);
    vm.id = 7;
    vm.spec.cpus = 3;
    vm.start_tsc = 1000;
    vcpu.vm = &vm;
    vcpu.index = 2;
    console_bytes = throttled = exits = started_count = 0;
    start_succeeds = true;
    return 0;
}

static u64 call(u32 number, u32 ebx, u32 ecx, u32 edx)
{
    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
        registers[i] = UNTOUCHED;
    registers[HYPERCALL_EAX] = 0xdead00000000 | number; /* only 32 bits carry arguments */
    registers[HYPERCALL_EBX] = 0xdead00000000 | ebx;
    registers[HYPERCALL_ECX] = 0xdead00000000 | ecx;
    registers[HYPERCALL_EDX] = 0xdead00000000 | edx;
    assert_true(number < HYPERCALL_COUNT);
    u64 status = hypercall_table[number](&vcpu, registers);
    for (unsigned i = 4; i < ARRAY_SIZE(registers); i++)
        assert_int_equal(registers[i], UNTOUCHED);
    return status;
}

/* The call fails with this status, and no register has changed. */
static void assert_error(u64 expected, u32 number, u32 ebx, u32 ecx, u32 edx)
{
    assert_int_equal(call(number, ebx, ecx, edx), expected);
    assert_int_equal(registers[HYPERCALL_EBX], 0xdead00000000 | ebx);
    assert_int_equal(registers[HYPERCALL_ECX], 0xdead00000000 | ecx);
    assert_int_equal(registers[HYPERCALL_EDX], 0xdead00000000 | edx);
}

static u64 write_at(u64 address, u32 bytes)
{
    return call(ROOTLET_CALL_CONSOLE_WRITE, (u32)address, (u32)(address >> 32), bytes);
}

static void assert_write_error(u64 expected, u64 address, u32 bytes)
{
    assert_error(expected, ROOTLET_CALL_CONSOLE_WRITE, (u32)address, (u32)(address >> 32), bytes);
    assert_int_equal(console_bytes, 0); /* all or nothing */
}

static void test_every_number_has_a_call(void **state)
{
    (void)state;
    assert_int_equal(HYPERCALL_COUNT, 11);
    for (u32 i = 0; i < HYPERCALL_COUNT; i++)
        assert_non_null(hypercall_table[i]);
}

static void test_version_and_identity(void **state)
{
    (void)state;
    assert_int_equal(call(ROOTLET_CALL_VERSION, 1, 2, 3), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_EBX], ROOTLET_ABI_VERSION);
    assert_int_equal(call(ROOTLET_CALL_IDENTITY, 0, 0, 0), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_EBX], 7);
    assert_int_equal(registers[HYPERCALL_ECX], 2);
    assert_int_equal(registers[HYPERCALL_EDX], 3);
}

/* Across each page boundary, at each offset of the small pieces in which it is copied. */
static void test_console_write_copies_exactly(void **state)
{
    static u8 text[FRAME_BYTES];

    (void)state;
    for (u32 i = 0; i < sizeof text; i++)
        text[i] = (u8)(i * 7 + i / 256);
    for (u32 bytes = 0; bytes <= ROOTLET_CONSOLE_WRITE_MAX; bytes += bytes < 200 ? 1 : 487) {
        for (u64 address = 0x8000 - 70; address < 0x8000 + 70; address += 23) {
            assert_int_equal(guest_memory_write(&vm.memory, gpa(address), text, sizeof text), STATUS_OK);
            console_bytes = 0;
            assert_int_equal(write_at(address, bytes), ROOTLET_OK);
            u32 printed = bytes < 1024 ? bytes : 1024; /* of one call */
            assert_int_equal(registers[HYPERCALL_EBX], printed);
            assert_int_equal(console_bytes, printed);
            assert_memory_equal(console, text, printed);
        }
    }
    assert_true(throttled > 0);
}

/* No call holds its CPU for long, and none waits for the console: the count says how far it came. */
static void test_console_write_is_short(void **state)
{
    static u8 newlines[FRAME_BYTES];

    (void)state;
    memset(newlines, '\n', sizeof newlines);
    assert_int_equal(guest_memory_write(&vm.memory, gpa(0x8000), newlines, sizeof newlines), STATUS_OK);
    assert_int_equal(write_at(0x8000, 4096), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_EBX], 16);
    console_bytes = 0;
    console_limit = 40; /* the VM has its share waiting from there on */
    memset(newlines, 'x', sizeof newlines);
    assert_int_equal(guest_memory_write(&vm.memory, gpa(0x8000), newlines, sizeof newlines), STATUS_OK);
    assert_int_equal(write_at(0x8000, 4096), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_EBX], 48);
    assert_int_equal(console_bytes, 48);
    assert_int_equal(write_at(0x8000, 4096), ROOTLET_OK); /* who does not look at the count loses no short line */
    assert_int_equal(registers[HYPERCALL_EBX], 16);
    for (u32 i = 0; i < 10; i++)
        assert_int_equal(write_at(0x8000, 16), ROOTLET_OK); /* who goes on for ever does */
    assert_int_equal(registers[HYPERCALL_EBX], 0);
    assert_int_equal(console_bytes, 48 + 4 * 16);
    console_limit = UINT32_MAX;
}

static void test_console_write_up_to_the_edge_of_memory(void **state)
{
    (void)state;
    assert_int_equal(write_at(MIB(4) - 1, 1), ROOTLET_OK);
    assert_int_equal(write_at(MIB(4) - 4096, 4096), ROOTLET_OK);
    assert_int_equal(write_at(KIB(640) - 100, 100), ROOTLET_OK);
    assert_int_equal(write_at(0, 4096), ROOTLET_OK);
    assert_int_equal(write_at(GUEST_TEXT_PAGE, 10), ROOTLET_OK);
}

static void test_console_write_wild_pointers(void **state)
{
    (void)state;
    assert_write_error(ROOTLET_ERROR_POINTER, MIB(4), 1);
    assert_write_error(ROOTLET_ERROR_POINTER, MIB(4) - 1, 2);
    assert_write_error(ROOTLET_ERROR_POINTER, MIB(4) - 4095, 4096);
    assert_write_error(ROOTLET_ERROR_POINTER, KIB(640) - 100, 101);
    assert_write_error(ROOTLET_ERROR_POINTER, KIB(640), 1);
    assert_write_error(ROOTLET_ERROR_POINTER, 0xb7fff, 2); /* begins outside, ends in the text page */
    assert_write_error(ROOTLET_ERROR_POINTER, 0xfee00000, 4);
    assert_write_error(ROOTLET_ERROR_POINTER, 1ull << 32, 1);
    assert_write_error(ROOTLET_ERROR_POINTER, 1ull << 32 | 0x8000, 1); /* the upper half counts */
    assert_write_error(ROOTLET_ERROR_POINTER, 1ull << 63, 16);
    /* Around 2^64: neither begins nor ends up in low memory. */
    for (u64 before = 1; before <= 4096; before *= 2) {
        assert_write_error(ROOTLET_ERROR_POINTER, 0 - before, 1);
        assert_write_error(ROOTLET_ERROR_POINTER, 0 - before, (u32)before);
        assert_write_error(ROOTLET_ERROR_POINTER, 0 - before, 4096);
    }
    assert_int_equal(throttled, 0);
}

static void test_console_write_sizes(void **state)
{
    (void)state;
    assert_write_error(ROOTLET_ERROR_ARGUMENT, 0x8000, 4097);
    assert_write_error(ROOTLET_ERROR_ARGUMENT, 0x8000, 0x80000000);
    assert_write_error(ROOTLET_ERROR_ARGUMENT, 0x8000, 0xffffffff);
    assert_int_equal(write_at(0x8000, 0), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_EBX], 0);
    assert_int_equal(write_at(0xffffffffffffffff, 0), ROOTLET_OK); /* no byte, no bad byte */
}

static void test_clock(void **state)
{
    u64 ns = 5000000000123;

    (void)state;
    fake_cpu.tsc = 1000 + ns * 2; /* 2 GHz */
    assert_int_equal(call(ROOTLET_CALL_CLOCK, 0, 0, 0), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_ECX] << 32 | registers[HYPERCALL_EBX], ns);
    assert_int_equal(registers[HYPERCALL_EDX], 2000000);
}

static void test_sleep(void **state)
{
    (void)state;
    fake_cpu.tsc = 1000 + 2000;
    assert_int_equal(call(ROOTLET_CALL_SLEEP_UNTIL, 5000, 1, 0), ROOTLET_OK);
    u64 due = 1000 + 2 * (0x100000000 + 5000);
    assert_in_range(vcpu.sleep_until_tsc, due, due + 2); /* never early: kernel/clock.h */
    assert_true(vcpu.requests & VCPU_REQUEST_RESCHEDULE);
    /* A time that has passed: no sleep at all. */
    vcpu.sleep_until_tsc = vcpu.requests = 0;
    assert_int_equal(call(ROOTLET_CALL_SLEEP_UNTIL, 999, 0, 0), ROOTLET_OK);
    assert_int_equal(vcpu.sleep_until_tsc, 0);
    assert_int_equal(vcpu.requests, 0);
    /* The end of time does not wrap into the past. */
    assert_int_equal(call(ROOTLET_CALL_SLEEP_UNTIL, ~0u, ~0u, 0), ROOTLET_OK);
    assert_int_equal(vcpu.sleep_until_tsc, UINT64_MAX);
}

static void test_yield_and_exit(void **state)
{
    (void)state;
    assert_int_equal(call(ROOTLET_CALL_YIELD, 0, 0, 0), ROOTLET_OK);
    assert_true(vcpu.yielded);
    assert_true(vcpu.requests & VCPU_REQUEST_RESCHEDULE);
    assert_int_equal(call(ROOTLET_CALL_EXIT, 0xfffffffe, 0, 0), ROOTLET_OK);
    assert_int_equal(exit_status, 0xfffffffe);
    assert_int_equal(exits, 1);
}

static void test_start_vcpu(void **state)
{
    (void)state;
    assert_int_equal(call(ROOTLET_CALL_START_VCPU, 2, 0xfff01234, 0x89abcdef), ROOTLET_OK);
    assert_int_equal(started_index, 2);
    assert_int_equal(started.mode, START_PROTECTED32);
    assert_int_equal(started.rip, 0xfff01234);
    assert_int_equal(started.rbx, 0x89abcdef);
    assert_int_equal(started.rsp, 0);
    assert_error(ROOTLET_ERROR_ARGUMENT, ROOTLET_CALL_START_VCPU, 3, 0, 0);
    assert_error(ROOTLET_ERROR_ARGUMENT, ROOTLET_CALL_START_VCPU, ~0u, 0, 0);
    assert_int_equal(started_count, 1);
    start_succeeds = false;
    assert_error(ROOTLET_ERROR_STATE, ROOTLET_CALL_START_VCPU, 1, 0, 0);
}

static void test_snapshot_and_restore(void **state)
{
    (void)state;
    wish_is_taken = true;
    assert_error(ROOTLET_OK, ROOTLET_CALL_SNAPSHOT, 1, 2, 3); /* the rest is written when it is done */
    assert_int_equal(wish, VM_WISH_SNAPSHOT);
    assert_error(ROOTLET_OK, ROOTLET_CALL_RESTORE, 1, 2, 3);
    assert_int_equal(wish, VM_WISH_RESTORE);
    wish_is_taken = false;
    assert_error(ROOTLET_ERROR_STATE, ROOTLET_CALL_SNAPSHOT, 1, 2, 3);
    assert_error(ROOTLET_ERROR_STATE, ROOTLET_CALL_RESTORE, 1, 2, 3);
}

static u64 refusal_at(u64 address, u32 bytes)
{
    return call(ROOTLET_CALL_REFUSAL, (u32)address, (u32)(address >> 32), bytes);
}

static void assert_memory_is(u64 address, const char *text)
{
    char found[64] = "";

    assert_in_range(strlen(text), 0, sizeof found - 1);
    assert_int_equal(guest_memory_read(&vm.memory, gpa(address), found, strlen(text)), STATUS_OK);
    assert_string_equal(found, text);
}

/* The whole length is told, and no byte behind the buffer is written. */
static void test_refusal(void **state)
{
    static const char all[] = "one\nsecond\n";
    u64 at = 0x8ffd; /* across pages */

    (void)state;
    refusal_lines[0] = refusal_lines[1] = NULL;
    assert_int_equal(refusal_at(at, 64), ROOTLET_OK);
    assert_int_equal(registers[HYPERCALL_EBX], 0);
    refusal_lines[0] = "one";
    refusal_lines[1] = "second";
    for (u32 room = 0; room < 20; room++) {
        char text[64];
        snprintf(text, sizeof text, "%.*s................", (int)room, all);
        assert_int_equal(guest_memory_fill(&vm.memory, gpa(at), '.', 64), STATUS_OK);
        assert_int_equal(refusal_at(at, room), ROOTLET_OK);
        assert_int_equal(registers[HYPERCALL_EBX], strlen(all));
        assert_int_equal(registers[HYPERCALL_ECX], 0xdead00000000);
        assert_memory_is(at, text);
    }
}

static void assert_refusal_error(u64 expected, u64 address, u32 bytes)
{
    assert_error(expected, ROOTLET_CALL_REFUSAL, (u32)address, (u32)(address >> 32), bytes);
}

static void test_refusal_wild_buffers(void **state)
{
    (void)state;
    refusal_lines[0] = "one";
    refusal_lines[1] = NULL;
    assert_int_equal(guest_memory_fill(&vm.memory, gpa(KIB(640) - 16), '.', 16), STATUS_OK);
    assert_refusal_error(ROOTLET_ERROR_ARGUMENT, 0x8000, ROOTLET_REFUSAL_MAX + 1);
    assert_refusal_error(ROOTLET_ERROR_ARGUMENT, 0x8000, ~0u);
    assert_refusal_error(ROOTLET_ERROR_POINTER, MIB(4), 1);
    assert_refusal_error(ROOTLET_ERROR_POINTER, MIB(4) - 4096, 4097);
    assert_refusal_error(ROOTLET_ERROR_POINTER, KIB(640) - 16, 8192);
    assert_memory_is(KIB(640) - 16, "................"); /* all or nothing */
    assert_refusal_error(ROOTLET_ERROR_POINTER, 0xb7fff, 2);
    assert_refusal_error(ROOTLET_ERROR_POINTER, GUEST_FIRMWARE_BASE, 1); /* ROM */
    assert_refusal_error(ROOTLET_ERROR_POINTER, 0xfee00000, 4);
    assert_refusal_error(ROOTLET_ERROR_POINTER, 1ull << 32 | 0x8000, 1);
    assert_refusal_error(ROOTLET_ERROR_POINTER, 0 - 4096ull, 8192);
    assert_int_equal(refusal_at(MIB(4) - ROOTLET_REFUSAL_MAX, ROOTLET_REFUSAL_MAX), ROOTLET_OK);
    assert_int_equal(refusal_at(GUEST_TEXT_PAGE, 80), ROOTLET_OK);
    assert_int_equal(refusal_at(~0ull, 0), ROOTLET_OK); /* no byte, no bad byte */
    assert_int_equal(registers[HYPERCALL_EBX], 4);
}

static u64 rare(u32 number)
{
    u64 registers[4] = {number};

    wish = VM_WISH_NONE;
    return hypercall_rare(&vcpu, registers, number);
}

/* It follows the call with that number, whether there is one or not, and no other; the call's own answer stays. */
static void test_snapshot_at(void **state)
{
    (void)state;
    assert_int_equal(rare(ROOTLET_CALL_YIELD), ROOTLET_OK);
    assert_int_equal(rare(0x5eed), ROOTLET_ERROR_UNKNOWN);
    assert_int_equal(wish, VM_WISH_NONE);
    vm.spec.has_snapshot_at = true;
    vm.spec.snapshot_at = 0x5eed;
    assert_int_equal(rare(ROOTLET_CALL_YIELD), ROOTLET_OK);
    assert_int_equal(rare(0), ROOTLET_OK);
    assert_int_equal(wish, VM_WISH_NONE);
    assert_int_equal(rare(0x5eed), ROOTLET_ERROR_UNKNOWN);
    assert_int_equal(wish, VM_WISH_SNAPSHOT_AT);
    vm.spec.snapshot_at = ROOTLET_CALL_YIELD;
    vcpu.yielded = false;
    assert_int_equal(rare(ROOTLET_CALL_YIELD), ROOTLET_OK);
    assert_int_equal(wish, VM_WISH_SNAPSHOT_AT);
    assert_true(vcpu.yielded);
    assert_int_equal(rare(HYPERCALL_COUNT), ROOTLET_ERROR_UNKNOWN);
    assert_int_equal(wish, VM_WISH_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_number_has_a_call, set_up),
        cmocka_unit_test_setup(test_version_and_identity, set_up),
        cmocka_unit_test_setup(test_console_write_copies_exactly, set_up),
        cmocka_unit_test_setup(test_console_write_is_short, set_up),
        cmocka_unit_test_setup(test_console_write_up_to_the_edge_of_memory, set_up),
        cmocka_unit_test_setup(test_console_write_wild_pointers, set_up),
        cmocka_unit_test_setup(test_console_write_sizes, set_up),
        cmocka_unit_test_setup(test_clock, set_up),
        cmocka_unit_test_setup(test_sleep, set_up),
        cmocka_unit_test_setup(test_yield_and_exit, set_up),
        cmocka_unit_test_setup(test_start_vcpu, set_up),
        cmocka_unit_test_setup(test_snapshot_and_restore, set_up),
        cmocka_unit_test_setup(test_refusal, set_up),
        cmocka_unit_test_setup(test_refusal_wild_buffers, set_up),
        cmocka_unit_test_setup(test_snapshot_at, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
