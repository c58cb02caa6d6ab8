/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine: its CPUs, what VMX they have, what the flight recorder has of all.
 */
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/commands.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/virt_look.h"

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
    log_event("cpu id=%u apic=%u vcpus=%u running=%s", id, cpu_local_of(id)->apic_id, here, running ? name : "none");
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
