/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands for snapshots (kernel/vm/snapshot.h). A VM that runs is paused for the moment that one takes; a VM that
 * has ended begins again where its snapshot was taken.
 */
#include "arch/x86/cpu.h"
#include "kernel/clock.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/commands.h"
#include "kernel/vm/snapshot.h"

/* The snapshot of the VM that the word names, or its last one if there is no such word; NULL: *call has the refusal. */
static const struct snapshot *find(struct monitor_call *call, u32 word)
{
    const char *of = call->words.word[0];
    const struct snapshot *found = NULL;

    if (call->words.count > word) {
        found = snapshot_find(of, call->words.word[word]);
        if (!found)
            (void)monitor_fail(call, "%s has no snapshot %s; snapshots shows what there is", of,
                               call->words.word[word]);
        return found;
    }
    for (const struct snapshot *s = snapshot_next(NULL); s; s = snapshot_next(s))
        if (string_equal(s->of, of))
            found = s;
    if (!found)
        (void)monitor_fail(call, "%s has no snapshot; snapshot %s takes one", of, of);
    return found;
}

/* True: it rests. Else the command waits; the run may be another one then. */
static bool rests(struct life *life)
{
    return __atomic_load_n(&life->vm->wish, __ATOMIC_SEQ_CST) == VM_WISH_NONE && snapshot_settle(life->vm);
}

static void go_on(struct life *life, bool moved)
{
    snapshot_settled(life->vm, moved);
    if (life->state != LIFE_PAUSED)
        vm_resume(life->vm);
}

/* The first number that is no name of one of its snapshots. */
static void choose_name(const char *of, char *name, size_t size)
{
    u32 number = 1;

    do
        format_text(name, size, "%u", number++);
    while (snapshot_find(of, name));
}

enum command_progress commands_snapshot(struct monitor_call *call)
{
    char name[VM_NAME_BYTES];
    struct life *life = monitor_live_vm(call, call->words.word[0]);

    if (!life)
        return COMMAND_FAILED;
    if (call->words.count > 1 && !vm_spec_is_name(call->words.word[1]))
        return monitor_fail(call, "'%.48s' is no name; it has 1 to 31 characters of A-Z a-z 0-9 . _ -",
                            call->words.word[1]);
    if (!rests(life))
        return COMMAND_WAITS;
    if (call->words.count > 1)
        (void)string_copy(name, sizeof name, call->words.word[1]);
    else
        choose_name(life->spec.name, name, sizeof name);
    enum status status = snapshot_take(life->vm, name, &call->why);
    go_on(life, false);
    if (status != STATUS_OK)
        return COMMAND_FAILED;
    log_event("snapshot vm=%s name=%s frames=%lu", life->spec.name, name,
              snapshot_frames(snapshot_find(life->spec.name, name)));
    return COMMAND_DONE;
}

/* The time that it took, from the command on. */
static enum command_progress say_done(const struct monitor_call *call, const char *vm, const struct snapshot *s)
{
    log_event("%s vm=%s of=%s name=%s ticks=%lu", call->command->name, vm, s->of, s->name, cpu_tsc() - call->at);
    return COMMAND_DONE;
}

static void note_begin(struct monitor_call *call)
{
    if (call->step++ == 0)
        call->at = cpu_tsc();
}

static enum command_progress begin(struct monitor_call *call, const struct snapshot *s, const char *name)
{
    struct vm_spec spec = s->spec;
    struct life *life;
    struct vm *vm;

    (void)string_copy(spec.name, sizeof spec.name, name);
    spec.com2 = spec.com2 && string_equal(name, s->of); /* the port is one VM's alone */
    if (life_check_name(name, &call->why) != STATUS_OK ||
        snapshot_clone(s, &spec, life_new_id(), &vm, &call->why) != STATUS_OK)
        return COMMAND_FAILED;
    if (life_adopt(vm, &life, &call->why) == STATUS_OK)
        return say_done(call, name, s);
    vm_discard(vm);
    return COMMAND_FAILED;
}

enum command_progress commands_restore(struct monitor_call *call)
{
    struct life *life = life_find(call->words.word[0]);
    const struct snapshot *s = find(call, 1);

    note_begin(call);
    if (!s)
        return COMMAND_FAILED;
    if (!life || life->state == LIFE_STOPPED)
        return begin(call, s, s->of);
    if (life->state == LIFE_RESTARTING || vm_is_stopping(life->vm))
        return monitor_fail(call, "%s is being stopped or started again; wait until it is done", life->spec.name);
    if (!rests(life))
        return COMMAND_WAITS;
    enum status status = snapshot_restore(life->vm, s, &call->why);
    go_on(life, status == STATUS_OK);
    return status == STATUS_OK ? say_done(call, life->spec.name, s) : COMMAND_FAILED;
}

enum command_progress commands_clone(struct monitor_call *call)
{
    const struct snapshot *s = find(call, 2);

    note_begin(call);
    return s ? begin(call, s, call->words.word[1]) : COMMAND_FAILED;
}

enum command_progress commands_snapshots(struct monitor_call *call)
{
    const struct snapshot *s = snapshot_next(NULL);

    for (u32 i = 0; s && i < call->step; i++)
        s = snapshot_next(s);
    if (!s)
        return COMMAND_DONE;
    call->step++;
    log_event("snapshot vm=%s name=%s cpus=%u mem=%lu taken_us=%lu restores=%lu frames=%lu", s->of, s->name,
              s->spec.cpus, s->spec.mem_bytes, s->taken_ns / 1000, s->restores, snapshot_frames(s));
    return COMMAND_GOES_ON;
}

enum command_progress commands_forget(struct monitor_call *call)
{
    const struct snapshot *s = find(call, 1);

    if (!s)
        return COMMAND_FAILED;
    snapshot_forget(s);
    return COMMAND_DONE;
}
