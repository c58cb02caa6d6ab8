/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is printed about a vCPU that stopped, and about exits at the end. Off the exit path; VMCS made current by
 * vmx_load. A report is printed in pieces, and other guests run in between: each piece finds all that it needs in the
 * vCPU.
 */
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "vmx/check/explain.h"
#include "vmx/nested/nested.h"
#include "vmx/report/backtrace.h"
#include "vmx/report/fault.h"
#include "vmx/load.h"

static bool print_entry(struct vmx_vcpu *v, u32 *at)
{
    return v->failure.known && explain_rules(v, at);
}

/* With dump=vmcs it comes later, and of VMfailInvalid there is none. */
static bool print_entry_vmcs(struct vmx_vcpu *v, u32 *at)
{
    if (!v->failure.known || v->failure.how == EXPLAIN_VMFAIL_INVALID || v->base.vm->spec.dump == VM_DUMP_VMCS)
        return false;
    return explain_dump(v, at);
}

static bool print_registers(struct vmx_vcpu *v, u32 *at)
{
    struct vcpu *vcpu = &v->base;
    const char *name = vcpu->vm->spec.name;
    char where[GUEST_BACKTRACE_WHERE_BYTES];
    u32 reason = vmcs_read(EXIT_REASON);

    (void)at;
    log_event("vm regs name=%s vcpu=%u exit=%u(%s) qualification=0x%lx", name, vcpu->index, (u16)reason,
              virt_exit_name((u16)reason), vmcs_read(EXIT_QUALIFICATION));
    guest_backtrace_where(v, where);
    if (vcpu->vm->spec.cpus == 1 || v->last.stopped)
        string_copy(vcpu->vm->where, sizeof vcpu->vm->where, where);
    log_event("vm regs name=%s rip=0x%lx rsp=0x%lx rflags=0x%lx%s", name, vmcs_read(GUEST_RIP), vmcs_read(GUEST_RSP),
              vmcs_read(GUEST_RFLAGS), where);
    log_event("vm regs name=%s rax=0x%lx rbx=0x%lx rcx=0x%lx rdx=0x%lx rsi=0x%lx rdi=0x%lx rbp=0x%lx", name, v->gpr[0],
              v->gpr[3], v->gpr[1], v->gpr[2], v->gpr[6], v->gpr[7], v->gpr[5]);
    log_event("vm regs name=%s r8=0x%lx r9=0x%lx r10=0x%lx r11=0x%lx r12=0x%lx r13=0x%lx r14=0x%lx r15=0x%lx", name,
              v->gpr[8], v->gpr[9], v->gpr[10], v->gpr[11], v->gpr[12], v->gpr[13], v->gpr[14], v->gpr[15]);
    log_event("vm regs name=%s cr0=0x%lx cr3=0x%lx cr4=0x%lx efer=0x%lx", name, vmcs_read(GUEST_CR0),
              vmcs_read(GUEST_CR3), vmcs_read(GUEST_CR4), vmcs_read(GUEST_EFER));
    log_event("vm regs name=%s cs=0x%x base=0x%lx limit=0x%x access=0x%x ss=0x%x access=0x%x", name,
              vmcs_read(GUEST_CS_SELECTOR), vmcs_read(GUEST_CS_BASE), vmcs_read(GUEST_CS_LIMIT),
              vmcs_read(GUEST_CS_ACCESS), vmcs_read(GUEST_SS_SELECTOR), vmcs_read(GUEST_SS_ACCESS));
    log_event("vm regs name=%s gdtr=0x%lx/0x%x idtr=0x%lx/0x%x tr=0x%x access=0x%x", name, vmcs_read(GUEST_GDTR_BASE),
              vmcs_read(GUEST_GDTR_LIMIT), vmcs_read(GUEST_IDTR_BASE), vmcs_read(GUEST_IDTR_LIMIT),
              vmcs_read(GUEST_TR_SELECTOR), vmcs_read(GUEST_TR_ACCESS));
    log_event("vm regs name=%s vectoring=0x%x interruptibility=0x%x activity=%u", name, vmcs_read(IDT_VECTORING_INFO),
              vmcs_read(GUEST_INTERRUPTIBILITY), vmcs_read(GUEST_ACTIVITY_STATE));
    return false;
}

static bool print_backtrace(struct vmx_vcpu *v, u32 *at)
{
    (void)at;
    guest_backtrace_print(v);
    return false;
}

static bool print_vmcs(struct vmx_vcpu *v, u32 *at)
{
    return v->base.vm->spec.dump == VM_DUMP_VMCS && explain_dump(v, at);
}

static bool print_inner_vmcs(struct vmx_vcpu *v, u32 *at)
{
    if (v->base.vm->spec.dump != VM_DUMP_VMCS || !nested_is_on(v) || v->nested->current == NESTED_NONE)
        return false;
    nested_collect(v);
    return explain_dump_inner(v, &v->nested->image, &v->nested->caps, at);
}

static bool print_fault(struct vmx_vcpu *v, u32 *at)
{
    (void)at;
    fault_explain(v);
    return false;
}

/* In this order. Each prints its piece behind *at, and is called again while it says that there is more. */
static bool (*const parts[])(struct vmx_vcpu *v, u32 *at) = {
    print_entry, print_entry_vmcs, print_registers, print_backtrace, print_vmcs, print_inner_vmcs, print_fault,
};

bool virt_vcpu_report(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    struct vmx_report *report = &v->report;

    if (!v->configured || report->part == ARRAY_SIZE(parts))
        return false;
    vmx_load(v);
    if (!parts[report->part](v, &report->at)) {
        report->part++;
        report->at = 0;
    }
    return true;
}

static u64 sum_of(const struct vm *vm, u32 reason)
{
    u64 sum = 0;
    for (u32 i = 0; i < vm->spec.cpus; i++)
        sum += vmx_vcpu_of(vm->vcpus[i])->exits[reason];
    return sum;
}

/* Every entry that succeeds is followed by exactly one exit, so the exits are the count of both; a failed entry counts
 * as an exit. */
u64 virt_vm_entries(const struct vm *vm)
{
    u64 sum = 0;
    for (u32 reason = 0; reason < EXIT_REASONS; reason++)
        sum += sum_of(vm, reason);
    return sum;
}

/* What the vCPU looked for in vain. */
static void print_unanswered(const struct vmx_vcpu *v)
{
    const char *name = v->base.vm->spec.name;
    char where[GUEST_BACKTRACE_WHERE_BYTES];

    if (v->unknown_msrs)
        log_info("vm msrs name=%s vcpu=%u unknown=%u last=0x%x", name, v->base.index, v->unknown_msrs, v->unknown_msr);
    if (!v->strays)
        return;
    guest_backtrace_name(v, v->stray_rip, where);
    log_info("vm memory name=%s vcpu=%u stray=%u first=0x%lx rip=0x%lx%s", name, v->base.index, v->strays,
             v->stray_address, v->stray_rip, where);
}

void virt_vm_print_statistics(const struct vm *vm)
{
    char text[200];
    size_t used = 0;

    text[0] = 0;
    for (u32 reason = 0; reason < EXIT_REASONS; reason++) {
        u64 count = sum_of(vm, reason);
        if (!count)
            continue;
        used += format_text(text + used, sizeof text - used, " %s=%lu", virt_exit_name(reason), count);
        if (used > sizeof text - 48) {
            log_event("vm exits name=%s%s", vm->spec.name, text);
            used = 0;
        }
    }
    if (used)
        log_event("vm exits name=%s%s", vm->spec.name, text);
    for (u32 i = 0; i < vm->spec.cpus; i++)
        print_unanswered(vmx_vcpu_of(vm->vcpus[i]));
}
