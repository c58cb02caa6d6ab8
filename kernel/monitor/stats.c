/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What VMs cost: run time and counters from the vCPUs, what an exit takes from the flight recorder, whose records other
 * CPUs go on writing: one that is half written may count with a wrong time. One exit's cause is worked on at a time.
 */
#include "arch/x86/cpu.h"
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/commands.h"
#include "kernel/sched/sched.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"
#include "kernel/virt_look.h"

#define SAMPLES      512u /* of an exit's cause, the newest */
#define SECONDS_MOST 3600u
#define SHARE_LEVEL  10000u /* hundredths of a percent */

static u32 samples[SAMPLES];
static u32 sample_count;

/* What a CPU still has of the VM's exits by this cause; at most `most` of them, newest first. */
static void collect(u32 cpu, u32 tag, u32 cause, u32 most)
{
    struct trace_ring ring = trace_ring(cpu, false);

    for (u32 n = 0; ring.records && n < ring.size && most; n++) {
        const struct trace_record *record = &ring.records[(ring.newest - n) & (ring.size - 1)];
        if (!record->tsc)
            break;
        if (record->cause != cause || record->vcpu >> 4 != tag || !record->entry_tsc)
            continue;
        samples[sample_count++] = record->entry_tsc - record->tsc_low;
        most--;
    }
}

/* Shell's sort: no stack, and no order of the input is bad for it. */
static void sort_samples(void)
{
    static const u32 gaps[] = {301, 132, 57, 23, 10, 4, 1};

    for (u32 g = 0; g < ARRAY_SIZE(gaps); g++) {
        for (u32 i = gaps[g]; i < sample_count; i++) {
            u32 value = samples[i], at = i;
            for (; at >= gaps[g] && samples[at - gaps[g]] > value; at -= gaps[g])
                samples[at] = samples[at - gaps[g]];
            samples[at] = value;
        }
    }
}

static void say_exits(const struct vm *vm, u32 cause, u64 count)
{
    u32 cpus = smp_cpu_count();

    sample_count = 0;
    for (u32 cpu = 0; cpu < cpus; cpu++) {
        collect(cpu, trace_vm_number(vm), cause, SAMPLES / cpus);
        sched_share_cpu();
    }
    sort_samples();
    if (sample_count)
        log_event("stats name=%s exit=%s count=%lu median=%u p99=%u samples=%u", vm->spec.name, virt_exit_name(cause),
                  count, samples[sample_count / 2], samples[sample_count * 99 / 100], sample_count);
    else
        log_event("stats name=%s exit=%s count=%lu samples=0", vm->spec.name, virt_exit_name(cause), count);
}

/* Since it was looked at last, or started. */
static u32 share_of_a_cpu(struct vm *vm, u64 run_tsc)
{
    u64 now = vm->stop_tsc ? vm->stop_tsc : cpu_tsc(), wall = now - vm->seen_tsc, ran = run_tsc - vm->seen_run_tsc;

    if (!vm->seen_tsc)
        wall = now - vm->born_tsc; /* of a clone, guest time began with the original */
    vm->seen_tsc = now;
    vm->seen_run_tsc = run_tsc;
    return wall ? (u32)(clock_ns_from_tsc(ran) * SHARE_LEVEL / (clock_ns_from_tsc(wall) + 1)) : 0;
}

static void say_vm(const struct life *life)
{
    struct vm *vm = life->vm;
    u64 wakes = 0, injected = 0, run_tsc = vm_sums(vm).run_tsc;

    for (u32 i = 0; i < vm->spec.cpus; i++) {
        wakes += vm->vcpus[i]->wakes;
        injected += vm->vcpus[i]->injected;
    }
    u32 share = share_of_a_cpu(vm, run_tsc - vm->before.run_tsc);
    log_event("stats name=%s state=%s run_us=%lu share=%u.%02u exits=%lu wakeups=%lu injected=%lu", vm->spec.name,
              life_state_name(life->state), clock_ns_from_tsc(run_tsc) / 1000, share / 100, share % 100,
              virt_vm_entries(vm), wakes, injected);
}

/* Words: [VM] [-w SECONDS]. call->until: the seconds, 0: once. */
static enum command_progress begin(struct monitor_call *call)
{
    const struct command_words *words = &call->words;

    for (u32 i = 0; i < words->count; i++) {
        if (!string_equal(words->word[i], "-w")) {
            call->lines = i + 1; /* the word that names it */
            if (!monitor_vm(call, words->word[i]))
                return COMMAND_FAILED;
        } else if (++i == words->count) {
            return monitor_fail(call, "stats: -w: how many seconds? usage: stats [VM] [-w SECONDS]");
        } else if (command_number(words->word[i], "-w", 1, SECONDS_MOST, &call->until, &call->why) != STATUS_OK) {
            return COMMAND_FAILED;
        }
    }
    call->step = 1;
    return COMMAND_GOES_ON;
}

/* The end of a round: done, or the next one begins after a while. */
static enum command_progress end_round(struct monitor_call *call)
{
    if (!call->until)
        return COMMAND_DONE;
    call->at = cpu_tsc() + clock_tsc_from_ns(call->until * 1000000000);
    call->step = 2;
    return COMMAND_GOES_ON;
}

static enum command_progress wait(struct monitor_call *call)
{
    if (monitor_key_typed())
        return COMMAND_DONE;
    if (cpu_tsc() < call->at) {
        monitor_wake_at(call->at);
        return COMMAND_WAITS;
    }
    log_event("stats again, every %lu s until a key is typed", call->until);
    call->n = 0;
    call->step = 1;
    return COMMAND_GOES_ON;
}

enum command_progress commands_stats(struct monitor_call *call)
{
    const struct life *life;

    if (call->step == 0)
        return begin(call);
    if (call->step == 2)
        return wait(call);
    if (call->lines)
        life = call->n++ ? NULL : life_find(call->words.word[call->lines - 1]);
    else
        life = monitor_nth_vm(call->n++);
    if (!life || !life->vm)
        return end_round(call);
    say_vm(life);
    for (u32 cause = 0; cause < VIRT_LOOK_REASONS; cause++) {
        u64 count = virt_look_exits(life->vm, cause);
        if (count)
            say_exits(life->vm, cause, count);
    }
    return COMMAND_GOES_ON;
}
