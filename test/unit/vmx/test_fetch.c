/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instruction fetches from large pages that are not executable: split, and the instruction runs again, with whatever
 * event or blocking the exit took away. SDM 3C 27.2.1 "Basic VM-Exit Information", 28.2.3.2 "EPT Violations".
 *
 * links: vmx/fetch.c vmx/event.c vmx/apicv.c vmx/controls.c test/fake/vmcs.c test/fake/msr.c test/fake/cpu.c
 *
 * flags: -Itest/fake
 */
#include "test/fake/vmx_bench.h"
#include "kernel/lib/format.h"
#include "kernel/sched/sched.h"
#include "vmx/ept.h"
#include "vmx/fetch.h"
#include "vmx/outcome.h"
#include "vmx/tlb.h"

#define CODE 0x40123456ull

static enum ept_fetch answer;
static u32 flushes, notified, stops;
static enum vm_stop_reason stop_reason;
static char stop_detail[VM_DETAIL_BYTES];

static bool is_locked(void)
{
    return bench.vm.lock.next != bench.vm.lock.owner;
}

enum ept_fetch ept_allow_fetch(u64 root, u64 copy, gpa_t address)
{
    assert_int_equal(root, 0x5000);
    assert_int_equal(copy, 0x6000);
    assert_int_equal(address.raw, CODE);
    assert_int_equal(is_locked(), bench.vm.spec.cpus > 1); /* two vCPUs may come here at once */
    return answer;
}

void vmx_invalidate_ept_everywhere(const struct vm *vm)
{
    assert_ptr_equal(vm, &bench.vm);
    assert_int_equal(notified, 0); /* else a vCPU could come back too early to see it */
    assert_false(is_locked());
    flushes++;
}

void sched_notify(struct vcpu *vcpu, u32 requests)
{
    assert_int_equal(requests, VCPU_REQUEST_RESCHEDULE);
    notified |= 1u << vcpu->index;
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    va_list arguments;

    assert_ptr_equal(vm, &bench.vm);
    assert_false(is_locked());
    va_start(arguments, detail);
    format_list(stop_detail, sizeof stop_detail, detail, arguments);
    va_end(arguments);
    stop_reason = reason;
    stops++;
}

static struct vmx_vcpu other = {
    .base = {.vm = &bench.vm, .index = 1}
};

static int set_up(void **state)
{
    (void)state;
    bench_start();
    bench.vm.ept_root = 0x5000;
    bench.vm.ept_apic_root = 0x6000;
    bench.vm.spec.cpus = 2;
    bench.vm.vcpus[1] = &other.base;
    flushes = notified = stops = 0;
    answer = EPT_FETCH_SPLIT;
    VMCS_SET(GUEST_PHYSICAL_ADDRESS, CODE);
    return 0;
}

/* True: it was memory. */
static bool fetch(u64 qualification, enum outcome expected)
{
    enum outcome outcome = (enum outcome)99;
    bool taken = vmx_fetch_violation(&bench.v, qualification, &outcome);

    assert_int_equal(outcome, taken ? expected : 99);
    return taken;
}

/* SDM 3C 28.3.3.4: the size of a page has changed, so all CPUs flush, and the VM's leave their guests for that. */
static void test_split(void **state)
{
    (void)state;
    assert_true(fetch(4, OUTCOME_RESUME));
    assert_int_equal(flushes, 1);
    assert_int_equal(notified, 3);
    bench_assert_no_exception();
    assert_int_equal(stops, 0);
    bench.vm.spec.cpus = 1;
    notified = 0;
    assert_true(fetch(4, OUTCOME_RESUME));
    assert_int_equal(notified, 1);
}

/* Another vCPU was faster: nothing to do, and no CPU is disturbed. */
static void test_split_already(void **state)
{
    (void)state;
    answer = EPT_FETCH_ALLOWED;
    assert_true(fetch(4, OUTCOME_RESUME));
    assert_int_equal(flushes + notified + stops, 0);
}

static void test_no_memory_there(void **state)
{
    (void)state;
    answer = EPT_FETCH_UNMAPPED;
    assert_false(fetch(4, OUTCOME_RESUME));
    assert_int_equal(flushes + notified + stops, 0);
}

static void test_no_frame(void **state)
{
    (void)state;
    answer = EPT_FETCH_NO_MEMORY;
    VMCS_SET(GUEST_RIP, 0xffffffff81000000);
    assert_true(fetch(4, OUTCOME_STOP));
    assert_int_equal(stops, 1);
    assert_int_equal(stop_reason, VM_STOP_NO_MEMORY);
    assert_non_null(strstr(stop_detail, "rip=0xffffffff81000000 address=0x40123456"));
    assert_int_equal(flushes + notified, 0);
}

/* Table 27-7, bit 12: blocking by NMI that an IRET had ended is there again when it runs again; undefined while an
 * event was being delivered, which comes again itself. */
static void test_what_the_exit_took_away(void **state)
{
    (void)state;
    answer = EPT_FETCH_ALLOWED;
    assert_true(fetch(4, OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_true(fetch(0x1004, OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), INTERRUPTIBILITY_NMI);
    assert_int_equal(bench.v.reinject.info, 0);
    VMCS_SET(GUEST_INTERRUPTIBILITY, 0);
    VMCS_SET(IDT_VECTORING_INFO, EVENT_VALID | 0x31);
    assert_true(fetch(0x1004, OUTCOME_RESUME));
    assert_int_equal(vmcs_read(GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(bench.v.reinject.info, EVENT_VALID | 0x31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_split, set_up),
        cmocka_unit_test_setup(test_split_already, set_up),
        cmocka_unit_test_setup(test_no_memory_there, set_up),
        cmocka_unit_test_setup(test_no_frame, set_up),
        cmocka_unit_test_setup(test_what_the_exit_took_away, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
