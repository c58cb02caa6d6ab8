/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stacks of each CPU: what a backtrace may read, and that a CPU which is called again gets the same ones.
 *
 * links: arch/x86/percpu.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/x86/features.h"
#include "arch/x86/gdt.h"
#include "arch/x86/idt.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"

extern struct boot_stacks percpu_boot_stacks;

static u64 next_top = 0x100000;
static u32 allocated, fail_at = UINT32_MAX, removed;
static const void *guards[8];

enum status paging_allocate_stack(u64 bytes, u64 *top)
{
    if (allocated == fail_at)
        return STATUS_NO_MEMORY;
    allocated++;
    next_top += FRAME_BYTES + bytes;
    *top = next_top;
    return STATUS_OK;
}

void paging_remove_image_page(const void *page)
{
    assert_in_range(removed, 0, 7);
    guards[removed++] = page;
}

void gdt_load_cpu(struct cpu_local *cpu)
{
    (void)cpu;
}

void idt_init(void) {}
void idt_load(void) {}
void features_detect(void) {}
void features_enable_cpu(void) {}

static void assert_stack(const struct cpu_local *cpu, u64 top, u64 bytes)
{
    u64 bottom = top - bytes;

    assert_true(percpu_stack_contains(cpu, bottom, bytes));
    assert_true(percpu_stack_contains(cpu, top - 8, 8));
    assert_false(percpu_stack_contains(cpu, top - 8, 9));
    assert_false(percpu_stack_contains(cpu, top - 8, UINT64_MAX));
    assert_false(percpu_stack_contains(cpu, top, 1));
    assert_false(percpu_stack_contains(cpu, bottom - 1, 1)); /* the guard page */
    assert_false(percpu_stack_contains(cpu, bottom - 8, 16));
}

static void test_boot_cpu(void **state)
{
    const struct boot_stacks *stacks = &percpu_boot_stacks;
    const struct cpu_local *cpu = cpu_local_of(0);

    (void)state;
    assert_false(percpu_stack_contains(cpu, 0, 8)); /* no stacks yet */
    percpu_init_boot_cpu();
    assert_int_equal(cpu->online, 1);
    assert_stack(cpu, (u64)(uintptr_t)(stacks->stack + sizeof stacks->stack), sizeof stacks->stack);
    for (u32 i = 0; i < IST_COUNT; i++)
        assert_stack(cpu, (u64)(uintptr_t)(stacks->ist[i].stack + IST_BYTES), IST_BYTES);
    percpu_guard_boot_stacks();
    assert_int_equal(removed, 1 + IST_COUNT);
    assert_ptr_equal(guards[0] + FRAME_BYTES, stacks->stack);
    for (u32 i = 0; i < IST_COUNT; i++)
        assert_ptr_equal(guards[1 + i] + FRAME_BYTES, stacks->ist[i].stack);
}

/* A CPU that was refused leaves its id to the next: its stacks, too, and those that it got before memory ran out. */
static void test_stacks_are_allocated_once(void **state)
{
    struct cpu_local *cpu = NULL;

    (void)state;
    allocated = 0;
    fail_at = 2;
    assert_int_equal(percpu_create(1, 0x20, &cpu), STATUS_NO_MEMORY);
    fail_at = UINT32_MAX;
    assert_int_equal(percpu_create(1, 0x20, &cpu), STATUS_OK);
    assert_int_equal(allocated, 1 + IST_COUNT);
    assert_int_equal(percpu_create(1, 0x30, &cpu), STATUS_OK);
    assert_int_equal(allocated, 1 + IST_COUNT);
    assert_ptr_equal(cpu, cpu_local_of(1));
    assert_ptr_equal(cpu->self, cpu);
    assert_int_equal(cpu->id, 1);
    assert_int_equal(cpu->apic_id, 0x30);
    assert_stack(cpu, cpu->stack_top, CPU_STACK_BYTES);
    for (u32 i = 0; i < IST_COUNT; i++)
        assert_stack(cpu, cpu->ist_top[i], IST_BYTES);
    assert_false(percpu_stack_contains(cpu_local_of(0), cpu->stack_top - 8, 8)); /* another's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boot_cpu),
        cmocka_unit_test(test_stacks_are_allocated_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
