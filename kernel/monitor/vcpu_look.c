/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request in the mailbox of the home CPU (arch/x86/smp.h). A vCPU that has moved meanwhile is asked for again.
 */
#include "kernel/monitor/vcpu_look.h"
#include "arch/x86/cpu.h"
#include "arch/x86/smp.h"
#include "kernel/sched/sched.h"

enum answer { ANSWER_NONE, ANSWER_READ, ANSWER_NOT_RUN, ANSWER_MOVED };

static struct {
    struct smp_request request;
    struct vcpu *vcpu;
    bool vmcs;
    u32 answer; /* atomic, enum answer */
    struct debug_registers registers;
    u64 fields[VIRT_LOOK_FIELDS];
} look;

static void set_answer(enum answer answer)
{
    __atomic_store_n(&look.answer, answer, __ATOMIC_RELEASE);
    sched_request_work();
}

static void copy(void *unused)
{
    struct vcpu *vcpu = look.vcpu;

    (void)unused;
    /* A snapshot that is being taken has the VMCS on the boot CPU. */
    if (vcpu->home_cpu != cpu_id() || __atomic_load_n(&vcpu->vm->wish, __ATOMIC_SEQ_CST) != VM_WISH_NONE)
        set_answer(ANSWER_MOVED);
    else if (sched_cpus_off >> cpu_id() & 1) /* a paused VM's vCPU stayed here; without VMX there is no VMPTRLD */
        set_answer(ANSWER_NOT_RUN);
    else if (look.vmcs ? virt_look_vmcs(vcpu, look.fields) : virt_look_registers(vcpu, &look.registers))
        set_answer(ANSWER_READ);
    else
        set_answer(ANSWER_NOT_RUN);
}

static bool is_there(const struct vcpu *vcpu)
{
    return !vm_is_stopping(vcpu->vm) && __atomic_load_n(&vcpu->home_cpu, __ATOMIC_SEQ_CST) != VCPU_NO_CPU;
}

static void ask(void)
{
    u32 home = __atomic_load_n(&look.vcpu->home_cpu, __ATOMIC_SEQ_CST);

    if (!is_there(look.vcpu)) {
        look.answer = ANSWER_NOT_RUN;
        return;
    }
    look.answer = ANSWER_NONE;
    look.request.function = copy;
    if (!smp_post(home, &look.request))
        look.answer = ANSWER_MOVED; /* the last one is just about to be off the list: again, soon */
}

void vcpu_look_begin(struct vcpu *vcpu, bool vmcs)
{
    look.vcpu = vcpu;
    look.vmcs = vmcs;
    ask();
    if (look.answer != ANSWER_NONE)
        sched_request_work();
}

enum vcpu_look vcpu_look_go_on(void)
{
    switch (__atomic_load_n(&look.answer, __ATOMIC_ACQUIRE)) {
    case ANSWER_READ:
        return VCPU_LOOK_DONE;
    case ANSWER_NOT_RUN:
        return VCPU_LOOK_NOTHING;
    case ANSWER_MOVED:
        vcpu_look_begin(look.vcpu, look.vmcs);
        return VCPU_LOOK_WAITS;
    default:
        return VCPU_LOOK_WAITS;
    }
}

const struct debug_registers *vcpu_look_registers(void)
{
    return &look.registers;
}

const u64 *vcpu_look_vmcs(void)
{
    return look.fields;
}

/* A CPU that the vCPU has left may not have seen the request yet. */
void vcpu_look_forget(const struct vm *vm)
{
    if (!look.vcpu || look.vcpu->vm != vm)
        return;
    while (__atomic_load_n(&look.request.pending, __ATOMIC_ACQUIRE)) {
        smp_mailbox_run();
        cpu_pause();
    }
    look.vcpu = NULL;
    look.answer = ANSWER_NOT_RUN;
}
