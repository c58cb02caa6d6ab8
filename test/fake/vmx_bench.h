/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM with one vCPU for tests of vmx/: its VMCS, MSRs and CPU are the fakes, its interrupt controller is a variable.
 * Each test program includes it once; it stands in for vmx/root.c, vmx/vcpu.c and the kernel's panic().
 */
#ifndef ROOTLET_TEST_FAKE_VMX_BENCH_H
#define ROOTLET_TEST_FAKE_VMX_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/quirks.h"
#include "kernel/panic.h"
#include "kernel/trace/trace.h"
#include "test/fake/cpu.h"
#include "test/fake/msr.h"
#include "test/fake/vmcs.h"
#include "vmx/event.h"
#include "vmx/nested/nested.h"
#include "vmx/vcpu.h"

struct vmx_features vmx_features;
u32 quirks_found;

static struct {
    struct vm vm;
    struct vmx_vcpu v;
    struct posted_requests posted;
    bool interrupt; /* the controller asserts INTR */
    bool another;   /* and will do so again after the next acknowledge */
    u8 vector;
    u32 acknowledged;
    s16 apic_pending; /* the local APIC's vector, or -1 */
    bool extint;      /* LINT0 passes INTR on */
    bool virtual_delivery;
    u32 apic_page[1024];
    u32 ended; /* the vector of the last vm_apic_end_level() */
    u64 apic_base;
    u64 apic_written;
    u64 apic_deadline;
    u32 apic_deadline_writes;
    u64 cr8;
    u32 flushes; /* of the TLB */
    struct cpu_local local;
    enum trace_cause event; /* the last one that was recorded */
    u64 event_detail;
} bench;

/* As the kernel's: on a boundary of twice its size. */
static struct trace_record bench_records[TRACE_EXIT_RECORDS] __attribute__((aligned(2 * TRACE_EXIT_BYTES)));

void trace_event(enum trace_cause cause, const struct vcpu *vcpu, u64 detail)
{
    assert_ptr_equal(vcpu, vcpu ? &bench.v.base : NULL);
    bench.event = cause;
    bench.event_detail = detail;
}

/* Where a panic goes that the test expects; NULL: there it ends. */
static jmp_buf *bench_panic;

void panic(const char *format, ...)
{
    if (bench_panic)
        longjmp(*bench_panic, 1);
    print_error("panic: %s\n", format);
    abort();
}

void vmx_vcpu_flush_tlb(struct vmx_vcpu *v)
{
    (void)v;
    bench.flushes++;
}

static u8 bench_acknowledge(void *device)
{
    (void)device;
    assert_true(bench.interrupt);
    bench.acknowledged++;
    bench.interrupt = bench.another;
    bench.another = false;
    return bench.vector;
}

static u8 bench_apic_acknowledge(void *device)
{
    (void)device;
    u8 vector = (u8)bench.apic_pending;
    assert_true(bench.apic_pending >= 0);
    bench.apic_pending = -1;
    return vector;
}

static u64 bench_apic_read_cr8(void *device)
{
    (void)device;
    return bench.cr8;
}

/* By TPR alone. */
static bool bench_apic_is_waiting(const void *device)
{
    (void)device;
    for (u32 w = 8; w-- > 0;)
        if (bench.apic_page[0x80 + 4 * w])
            return (w * 32 + 31 - (u32)__builtin_clz(bench.apic_page[0x80 + 4 * w])) >> 4 > bench.apic_page[0x20] >> 4;
    return false;
}

static const struct cpu_apic_ops bench_apic_ops = {
    .acknowledge = bench_apic_acknowledge, .read_cr8 = bench_apic_read_cr8, .is_waiting = bench_apic_is_waiting};

void vm_apic_written(struct vcpu *vcpu, u32 offset)
{
    (void)vcpu;
    bench.apic_written = (u64)offset << 32;
}

void vm_apic_end_level(struct vcpu *vcpu, u8 vector)
{
    (void)vcpu;
    bench.ended = vector;
}

/* The kernel's way to the local APIC, whose registers are here: offset / 16 or the MSR's index is the value it reads.
 */
u64 vm_apic_read(struct vcpu *vcpu, u64 offset, u8 bytes)
{
    (void)vcpu;
    (void)bytes;
    return offset >> 4;
}

void vm_apic_write(struct vcpu *vcpu, u64 offset, u8 bytes, u64 value)
{
    (void)vcpu;
    (void)bytes;
    bench.apic_written = offset << 32 | (u32)value;
}

bool vm_apic_read_msr(struct vcpu *vcpu, u32 index, u64 *value)
{
    (void)vcpu;
    *value = index;
    return bench.apic_base & BIT(10);
}

bool vm_apic_write_msr(struct vcpu *vcpu, u32 index, u64 value)
{
    (void)vcpu;
    bench.apic_written = (u64)index << 32 | (u32)value;
    return bench.apic_base & BIT(10);
}

u64 vm_apic_read_deadline(struct vcpu *vcpu)
{
    (void)vcpu;
    return bench.apic_deadline;
}

void vm_apic_write_deadline(struct vcpu *vcpu, u64 tsc)
{
    (void)vcpu;
    bench.apic_deadline = tsc;
    bench.apic_deadline_writes++;
}

/* The bits that a local APIC could have; modes are its own affair. */
bool vm_apic_write_base(struct vcpu *vcpu, u64 value)
{
    (void)vcpu;
    if (value & ~0xfffffff00ull)
        return false;
    bench.apic_base = value;
    return true;
}

void vm_apic_write_cr8(struct vcpu *vcpu, u64 value)
{
    (void)vcpu;
    bench.cr8 = value;
}

/* Hypervisors as guests, for tests that do not link vmx/nested/. */
__attribute__((weak)) enum outcome nested_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    (void)record;
    return vmx_inject_ud(v);
}

__attribute__((weak)) enum outcome nested_shut_down(struct vmx_vcpu *v)
{
    (void)v;
    return OUTCOME_STOP;
}

__attribute__((weak)) enum outcome inner_exit(struct vmx_vcpu *v, struct trace_record *record, u64 reason)
{
    (void)v, (void)record, (void)reason;
    return OUTCOME_STOP;
}

__attribute__((weak)) enum outcome nested_access_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    return nested_exit(v, record);
}

__attribute__((weak)) void shadow_flush(struct shadow *s)
{
    (void)s;
}

__attribute__((weak)) bool inner_prepare_events(struct vmx_vcpu *v)
{
    (void)v;
    return true;
}

__attribute__((weak)) enum outcome nested_refuse_vmcall(struct vmx_vcpu *v)
{
    return vmx_inject_ud(v);
}

__attribute__((weak)) bool nested_read_msr(const struct vmx_vcpu *v, u32 index, u64 *value)
{
    (void)v, (void)index, (void)value;
    return false;
}

__attribute__((weak)) bool nested_allows_cr0(const struct vmx_vcpu *v, u64 value)
{
    (void)v, (void)value;
    return true;
}

__attribute__((weak)) bool nested_allows_cr4(const struct vmx_vcpu *v, u64 value)
{
    (void)v, (void)value;
    return true;
}

/* IA32_EFER in both places where it stands; LMA comes with paging. */
static inline void bench_set_efer(u64 efer)
{
    bench.v.efer = efer & ~EFER_LMA;
    VMCS_SET(GUEST_EFER, efer);
    if (efer & EFER_LMA)
        VMCS_SET(GUEST_CR0, vmcs_read(GUEST_CR0) | CR0_PG);
}

/* A Skylake-X, and a vCPU in 32-bit protected mode without paging, as a multiboot guest begins. */
static inline void bench_start(void)
{
    struct refusal why;

    memset(&bench, 0, sizeof bench);
    memset(&vmx_features, 0, sizeof vmx_features);
    quirks_found = 0;
    memset(bench_records, 0, sizeof bench_records);
    bench.local.trace_exit = bench_records;
    assert_int_equal(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &bench.local), 0);
    fake_cpu_reset();
    fake_cpuid_skylake();
    fake_msr_reset();
    fake_msr_skylake();
    fake_vmcs_reset();
    bench.vm.spec = (struct vm_spec){.name = "test", .cpus = 1, .weight = VM_DEFAULT_WEIGHT, .affinity = ~0ull};
    bench.vm.intc.pending = &bench.interrupt;
    bench.vm.intc.acknowledge = bench_acknowledge;
    bench.apic_pending = -1;
    bench.extint = true;
    bench.apic_base = 0xfee00900;
    bench.v.base.posted = &bench.posted;
    bench.v.base.apic = (struct cpu_apic){NULL,
                                          &bench.apic_pending,
                                          &bench.extint,
                                          &bench.interrupt,
                                          &bench.apic_base,
                                          bench.apic_page,
                                          &bench.virtual_delivery,
                                          &bench_apic_ops};
    bench.vm.vcpus[0] = &bench.v.base;
    bench.v.base.vm = &bench.vm;
    bench.v.xcr0 = 1;
    bench.v.dr6 = 0xffff0ff0;
    bench.v.end_flags = VMX_END_FLAGS;
    for (u32 reason = VMX_PIN; reason < VMX_GROUPS; reason++) {
        static const u32 msrs[] = {MSR_IA32_VMX_TRUE_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
                                   MSR_IA32_VMX_PROCBASED_CTLS2, MSR_IA32_VMX_TRUE_EXIT_CTLS,
                                   MSR_IA32_VMX_TRUE_ENTRY_CTLS};
        u64 value = fake_msr_get(msrs[reason]);
        vmx_features.caps.group[reason] = (struct vmx_allowed){(u32)value, (u32)(value >> 32)};
    }
    vmx_features.caps.ept_vpid = fake_msr_get(MSR_IA32_VMX_EPT_VPID_CAP);
    vmx_features.caps.vmfunc = fake_msr_get(MSR_IA32_VMX_VMFUNC);
    vmx_features.caps.cr0_fixed0 = 0x80000021;
    vmx_features.caps.cr0_fixed1 = 0xffffffff;
    vmx_features.caps.cr4_fixed0 = CR4_VMXE;
    vmx_features.caps.cr4_fixed1 = fake_msr_get(MSR_IA32_VMX_CR4_FIXED1);
    assert_int_equal(vmx_controls_resolve(&vmx_features.caps, &vmx_features.controls, &why), STATUS_OK);
    vmx_features.has_timer = vmx_features.has_vpid = true;
    vmx_features.guest_physical_bits = 46;
    VMCS_SET(PROC_CONTROLS, vmx_features.controls.value[VMX_PROC]);
    VMCS_SET(ENTRY_CONTROLS, vmx_features.controls.value[VMX_ENTRY]);
    VMCS_SET(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE);
    VMCS_SET(CR0_SHADOW, CR0_PE | CR0_ET);
    VMCS_SET(GUEST_CR4, CR4_VMXE);
    VMCS_SET(GUEST_CS_ACCESS, 0xc09b);
    VMCS_SET(GUEST_SS_ACCESS, 0xc093);
    VMCS_SET(GUEST_TR_ACCESS, 0x8b);
    VMCS_SET(GUEST_RFLAGS, RFLAGS_ONE);
}

#define bench_assert_no_exception() assert_int_equal(bench.v.exception.info, 0)

/* The exception queued for the next entry is this one; it is taken away. */
#define bench_assert_exception(vector, code)                                                                           \
    do {                                                                                                               \
        assert_int_equal(bench.v.exception.info & ~EVENT_HAS_ERROR, 0x80000300u | (vector));                           \
        assert_int_equal(bench.v.exception.error_code, (code));                                                        \
        assert_true(bench.v.base.requests &VCPU_REQUEST_EVENT);                                                        \
        bench.v.exception.info = 0;                                                                                    \
        bench.v.base.requests = 0;                                                                                     \
    } while (0)

#endif
