/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Violations in layered memory: the page is mapped, copied if somebody else uses it, and nobody goes on before each CPU
 * that runs the VM has forgotten where it was. SDM 3C 28.3.3.4 "Guidelines for Use of the INVEPT Instruction".
 *
 * links: vmx/cow.c vmx/ept.c vmx/event.c vmx/apicv.c vmx/controls.c kernel/vm/memory.c kernel/vm/layer.c
 * test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c test/fake/host_memory.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "arch/x86/smp.h"
#include "kernel/lib/string.h"
#include "kernel/sched/sched.h"
#include "kernel/vm/layer.h"
#include "test/fake/host_memory.h"
#include "vmx/cow.h"
#include "vmx/ept.h"
#include "vmx/exit/mmio.h"
#include "vmx/tlb.h"

#define PAGE 0x345000ull

static struct layer *frozen;
static struct refusal why;
static u32 generation, flushed[3], stops, notified, polls;
static u32 flush_after; /* polls until the CPU that has been asked flushes */
static bool runs[3];
static struct vcpu others[2];

u32 smp_cpu_count(void)
{
    return 3;
}

bool sched_runs(u32 cpu, const struct vm *vm)
{
    assert_ptr_equal(vm, &bench.vm);
    assert_int_equal(bench.vm.lock.next, bench.vm.lock.owner); /* else the other could wait for us */
    return runs[cpu];
}

void sched_notify(struct vcpu *vcpu, u32 requests)
{
    assert_int_equal(requests, VCPU_REQUEST_RESCHEDULE);
    notified |= 1u << vcpu->index;
}

void vmx_invalidate_ept_everywhere(const struct vm *vm)
{
    (void)vm;
    generation++;
}

void vmx_tlb_flush_freed(void)
{
    flushed[0] = generation;
}

u32 vmx_tlb_generation(void)
{
    return generation;
}

bool vmx_tlb_has_flushed(u32 cpu, u32 wanted)
{
    if (notified && ++polls == flush_after)
        flushed[1] = flushed[2] = generation;
    return flushed[cpu] >= wanted;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)detail;
    assert_ptr_equal(vm, &bench.vm);
    assert_int_equal(reason, VM_STOP_NO_MEMORY);
    stops++;
}

static int set_up(void **state)
{
    (void)state;
    bench_start();
    host_memory_init(MIB(1), MIB(32));
    generation = stops = notified = polls = 0;
    flush_after = 5;
    memset(flushed, 0, sizeof flushed);
    memset(runs, 0, sizeof runs);
    vmx_features.caps.ept_vpid = EPT_CAP_2M;
    bench.vm.ept_apic_root = 0;
    assert_int_equal(guest_memory_allocate(&bench.vm.memory, MIB(8), &why), STATUS_OK);
    assert_int_equal(ept_build(&bench.vm.memory, (struct ept_options){.pages_2m = true}, &bench.vm.ept_root),
                     STATUS_OK);
    vmx_cow_attach(&bench.vm);
    return 0;
}

static void freeze(void)
{
    assert_int_equal(virt_memory_open(&bench.vm), STATUS_OK);
    assert_int_equal(guest_memory_freeze(&bench.vm.memory, &frozen), STATUS_OK);
    virt_memory_clear(&bench.vm);
    generation = 0;
}

static bool violate(u64 address, u64 qualification, enum outcome *outcome)
{
    VMCS_SET(GUEST_PHYSICAL_ADDRESS, address);
    return vmx_cow_violation(&bench.v, qualification, outcome);
}

static void assert_resolved(u64 address, u64 qualification)
{
    enum outcome outcome = OUTCOME_STOP;

    assert_true(violate(address, qualification, &outcome));
    assert_int_equal(outcome, OUTCOME_RESUME);
}

static u64 frame_of(u64 address)
{
    hpa_t frame;
    u64 bytes;

    return ept_lookup(bench.vm.ept_root, gpa(address), &frame, &bytes) ? frame.raw : 0;
}

static u64 frozen_frame_of(u64 address)
{
    bool own;

    return layer_find(frozen, address, &own) + address % FRAME_BYTES;
}

static void test_only_layered_memory(void **state)
{
    enum outcome outcome;

    (void)state;
    assert_false(violate(PAGE, VIOLATION_WRITE, &outcome));
    freeze();
    assert_false(violate(0xa0000, VIOLATION_READ, &outcome));
    assert_false(violate(0xfed00000, VIOLATION_WRITE, &outcome));
    assert_false(violate(0xe0000, VIOLATION_WRITE, &outcome)); /* ROM */
    assert_int_equal(frame_of(0xe0000), 0);
    assert_resolved(0xe0000, VIOLATION_READ);
    assert_int_equal(frame_of(0xe0000), frozen_frame_of(0xe0000));
    assert_int_equal(stops, 0);
}

static void test_reads_share_and_writes_copy(void **state)
{
    u64 value = 0x1122334455667788;

    (void)state;
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(PAGE), &value, sizeof value), STATUS_OK);
    freeze();
    assert_resolved(PAGE + 8, VIOLATION_READ);
    assert_int_equal(frame_of(PAGE), frozen_frame_of(PAGE));
    assert_int_equal(generation, 0); /* nothing was there */
    assert_resolved(PAGE + 8, VIOLATION_READ | VIOLATION_WRITE);
    u64 frame = frame_of(PAGE);
    assert_int_not_equal(frame, frozen_frame_of(PAGE));
    assert_int_equal(*(u64 *)phys_to_virt(hpa(frame)), value);
    assert_int_equal(generation, 1);
    assert_int_equal(flushed[0], 1);
    assert_resolved(PAGE, VIOLATION_WRITE); /* another vCPU was there before */
    assert_int_equal(frame_of(PAGE), frame);
    assert_int_equal(frame_of(PAGE + FRAME_BYTES), frozen_frame_of(PAGE + FRAME_BYTES));
    /* The host's own writes, and pages that it moves while they are mapped as a large one or not at all. */
    assert_resolved(MIB(4), VIOLATION_FETCH);
    value = 1;
    for (u64 at = MIB(4); at < MIB(8); at += MIB(2))
        assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(at), &value, sizeof value), STATUS_OK);
    assert_int_equal(frame_of(MIB(4)), 0);
    assert_int_equal(frame_of(MIB(6)), 0);
    assert_resolved(MIB(4), VIOLATION_READ);
    assert_int_equal(*(u64 *)phys_to_virt(hpa(frame_of(MIB(4)))), 1);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(PAGE + FRAME_BYTES), &value, sizeof value), STATUS_OK);
    assert_int_equal(*(u64 *)phys_to_virt(hpa(frame_of(PAGE + FRAME_BYTES))), 1);
    assert_int_equal(notified, 0);
}

static void test_what_the_exit_interrupted(void **state)
{
    (void)state;
    freeze();
    VMCS_SET(IDT_VECTORING_INFO, EVENT_VALID | 0x20);
    assert_resolved(PAGE, VIOLATION_WRITE);
    assert_int_equal(bench.v.reinject.info, EVENT_VALID | 0x20);
}

static void test_no_memory(void **state)
{
    enum outcome outcome = OUTCOME_RESUME;
    hpa_t frame;
    u64 value = 0;

    (void)state;
    freeze();
    while (frames_allocate(1, 1, &frame) == STATUS_OK)
        ;
    assert_true(violate(PAGE, VIOLATION_WRITE, &outcome));
    assert_int_equal(outcome, OUTCOME_STOP);
    assert_int_equal(stops, 1);
    assert_int_equal(guest_memory_write(&bench.vm.memory, gpa(PAGE), &value, sizeof value), STATUS_NO_MEMORY);
    assert_int_equal(stops, 2);
}

/* CPU 1 runs another of the VM's vCPUs, CPU 2 none. */
static void test_others_forget_first(void **state)
{
    (void)state;
    bench.vm.spec.cpus = 3;
    bench.v.base.home_cpu = 0;
    for (u32 i = 0; i < 2; i++) {
        others[i] = (struct vcpu){.vm = &bench.vm, .index = i + 1, .home_cpu = i + 1};
        bench.vm.vcpus[i + 1] = &others[i];
    }
    bench.vm.vcpus[0] = &bench.v.base;
    freeze();
    runs[0] = runs[1] = true;
    assert_resolved(PAGE, VIOLATION_READ);
    assert_int_equal(notified, 0);
    assert_resolved(PAGE, VIOLATION_WRITE);
    assert_int_equal(notified, 1u << 1);
    assert_true(polls >= flush_after);
    /* Another vCPU has moved the page: who finds it done waits all the same. */
    notified = polls = 0;
    generation++;
    assert_resolved(PAGE, VIOLATION_WRITE);
    assert_int_equal(notified, 1u << 1);
    notified = polls = 0;
    assert_resolved(PAGE, VIOLATION_WRITE);
    assert_int_equal(notified, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_only_layered_memory, set_up),
        cmocka_unit_test_setup(test_reads_share_and_writes_copy, set_up),
        cmocka_unit_test_setup(test_what_the_exit_interrupted, set_up),
        cmocka_unit_test_setup(test_no_memory, set_up),
        cmocka_unit_test_setup(test_others_forget_first, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
