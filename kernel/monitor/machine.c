/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine: its CPUs, what VMX they have, what the flight recorder has of all.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/commands.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"
#include "kernel/virt_look.h"

#define MOVE_NS 1000000ull /* until a vCPU that moves is looked for again */

/* A line of an answer that is made in one go. */
static void say(const char *line)
{
    log_text(line);
    sched_share_cpu();
}

enum command_progress commands_caps(struct monitor_call *call)
{
    (void)call;
    virt_look_caps(say);
    return COMMAND_DONE;
}

static bool is_off(u32 id)
{
    return sched_cpus_off >> id & 1;
}

enum command_progress commands_cpus(struct monitor_call *call)
{
    u32 id = call->step++, here = 0, running = 0;
    const char *name = "";

    for (struct life *life = life_next(NULL); life; life = life_next(life)) {
        const struct vm *vm = life->vm;
        for (u32 i = 0; vm && i < vm->spec.cpus && !vm_is_stopping(vm); i++) {
            const struct vcpu *vcpu = vm->vcpus[i];
            if (vcpu->home_cpu != id)
                continue;
            here++;
            if (vcpu->state == VCPU_RUNNING) {
                running++;
                name = vm->spec.name;
            }
        }
    }
    log_event("cpus id=%u apic=%u vmx=%s vcpus=%u running=%s", id, cpu_local_of(id)->apic_id,
              is_off(id) ? "off" : "root", here, running ? name : "none");
    return call->step < smp_cpu_count() ? COMMAND_GOES_ON : COMMAND_DONE;
}

/* Words: [VM] [N]. A VM may have a number for its name: two words tell. */
enum command_progress commands_trace(struct monitor_call *call)
{
    const struct command_words *words = &call->words;
    const struct life *life = NULL;
    u64 count = TRACE_LAST;

    if (words->count &&
        (words->count == 2 || !string_to_number(words->word[0], string_length(words->word[0]), &count))) {
        life = monitor_vm(call, words->word[0]);
        if (!life)
            return COMMAND_FAILED;
    }
    if (words->count && (words->count == 2 || !life) &&
        command_number(words->word[words->count - 1], "records", 1, TRACE_LAST, &count, &call->why) != STATUS_OK)
        return COMMAND_FAILED;
    trace_print_newest(life ? life->vm : NULL, (u32)count, say);
    return COMMAND_DONE;
}

/* ---- vmx off and on ---- */

static struct {
    struct smp_request request;
    bool done; /* atomic */
    enum status status;
    struct refusal why;
} change;

static void leave_vmx(void *unused)
{
    (void)unused;
    virt_cpu_leave();
    log_event("cpu id=%u vmx=off", cpu_id());
    __atomic_store_n(&change.done, true, __ATOMIC_RELEASE);
    sched_request_work();
}

static void enter_vmx(void *unused)
{
    (void)unused;
    change.status = virt_cpu_enter(&change.why);
    if (change.status == STATUS_OK)
        log_event("cpu id=%u apic=%u vmx=root", cpu_id(), cpu_local()->apic_id);
    __atomic_store_n(&change.done, true, __ATOMIC_RELEASE);
    sched_request_work();
}

/* The last change is long over: its command has seen that it is done. */
static void ask_cpu(u32 id, void (*function)(void *))
{
    change.done = false;
    change.request.function = function;
    while (!smp_post(id, &change.request))
        cpu_pause();
}

static bool is_running(const struct life *life)
{
    return life->state == LIFE_RUNNING && !vm_is_stopping(life->vm);
}

/* Every VM must have another CPU to go to. False: *call has the refusal. */
static bool can_do_without(struct monitor_call *call, u32 id)
{
    u64 others = (smp_cpu_count() == 64 ? ~0ull : BIT(smp_cpu_count()) - 1) & ~sched_cpus_off & ~BIT(id);

    if (!others) {
        (void)refuse(&call->why, STATUS_INVALID, "CPU %u is the last one in VMX operation; switch another one on first",
                     id);
        return false;
    }
    for (const struct life *life = life_next(NULL); life; life = life_next((struct life *)life)) {
        if (life->state == LIFE_STOPPED || life->spec.affinity & others)
            continue;
        (void)refuse(&call->why, STATUS_INVALID, "vm=%s may run on no other CPU; set its affinity first",
                     life->spec.name);
        return false;
    }
    return true;
}

/* Those of a paused VM stay, at rest with their VMCS clear. Those of a VM that stops are retired here, by VMCLEAR. */
static bool needs_vmx(const struct life *life, const struct vcpu *vcpu)
{
    bool stays = life->state == LIFE_PAUSED && !vm_is_stopping(life->vm);

    if (__atomic_load_n(&vcpu->retired, __ATOMIC_SEQ_CST))
        return false;
    return !stays || !__atomic_load_n(&vcpu->rests, __ATOMIC_SEQ_CST);
}

static bool has_vcpus(u32 id)
{
    for (const struct life *life = life_next(NULL); life; life = life_next((struct life *)life))
        for (u32 i = 0; life->vm && i < life->vm->spec.cpus; i++)
            if (__atomic_load_n(&life->vm->vcpus[i]->home_cpu, __ATOMIC_SEQ_CST) == id &&
                needs_vmx(life, life->vm->vcpus[i]))
                return true;
    return false;
}

/*
 * Also those that began to run, or went on after a snapshot that they had asked for, since the last time. True: all
 * rest.
 */
static bool pause_all(void)
{
    bool rest = true;

    for (struct life *life = life_next(NULL); life; life = life_next(life)) {
        if (!is_running(life))
            continue;
        vm_pause(life->vm);
        rest &= vm_is_at_rest(life->vm);
    }
    return rest;
}

/* All VMs rest for a moment; going on, each vCPU finds itself a CPU that takes it. */
static enum command_progress empty_cpu(struct monitor_call *call, u32 id)
{
    if (call->step == 1) {
        if (!pause_all())
            return COMMAND_WAITS;
        for (struct life *life = life_next(NULL); life; life = life_next(life))
            if (life->state == LIFE_RUNNING)
                vm_resume(life->vm);
        call->step++;
    }
    if (has_vcpus(id)) {
        monitor_wake_at(cpu_tsc() + clock_tsc_from_ns(MOVE_NS));
        return COMMAND_WAITS;
    }
    ask_cpu(id, leave_vmx);
    call->step++;
    return COMMAND_WAITS;
}

static enum command_progress switch_off(struct monitor_call *call, u32 id)
{
    if (call->step == 0) {
        if (is_off(id))
            return monitor_fail(call, "CPU %u has left VMX operation already; vmx on enters it again", id);
        if (!can_do_without(call, id))
            return COMMAND_FAILED;
        sched_use_cpu(id, false);
        call->step++;
    }
    if (call->step < 3)
        return empty_cpu(call, id);
    return __atomic_load_n(&change.done, __ATOMIC_ACQUIRE) ? COMMAND_DONE : COMMAND_WAITS;
}

static enum command_progress switch_on(struct monitor_call *call, u32 id)
{
    if (call->step == 0) {
        if (!is_off(id))
            return monitor_fail(call, "CPU %u is in VMX operation; vmx off leaves it", id);
        ask_cpu(id, enter_vmx);
        call->step++;
    }
    if (!__atomic_load_n(&change.done, __ATOMIC_ACQUIRE))
        return COMMAND_WAITS;
    if (change.status != STATUS_OK)
        return monitor_fail(call, "%s", change.why.text);
    sched_use_cpu(id, true);
    return COMMAND_DONE;
}

enum command_progress commands_vmx(struct monitor_call *call)
{
    const char *way = call->words.word[0];
    u64 id;

    if (command_number(call->words.word[1], "CPU", 0, smp_cpu_count() - 1, &id, &call->why) != STATUS_OK)
        return COMMAND_FAILED;
    if (string_equal(way, "off"))
        return switch_off(call, (u32)id);
    if (string_equal(way, "on"))
        return switch_on(call, (u32)id);
    return monitor_fail(call, "vmx %.40s: give off or on, and a CPU", way);
}
