/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that steer a VM's life, or the machine's, by kernel/vm/life.h. What takes time goes on when the work
 * function is asked for again: by a vCPU that has come to rest, and by a run that has ended. Meanwhile a VM is known by
 * its name.
 */
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/commands.h"

#define FORCE_MS      10000u /* that poweroff and reboot wait for a VM */
#define FORCE_MS_MOST 3600000u

static enum command_progress outcome(enum status status)
{
    return status == STATUS_OK ? COMMAND_DONE : COMMAND_FAILED;
}

/* Words: ... [-t MS], which are taken away; *ms is left alone if they are not there. False: *call has the refusal. */
static bool take_time(struct monitor_call *call, u64 *ms)
{
    struct command_words *words = &call->words;

    if (!words->count || !string_equal(words->word[words->count - 1], "-t")) {
        if (words->count < 2 || !string_equal(words->word[words->count - 2], "-t"))
            return true;
        words->count -= 2;
        return command_number(words->word[words->count + 1], "-t", 1, FORCE_MS_MOST, ms, &call->why) == STATUS_OK;
    }
    (void)refuse(&call->why, STATUS_INVALID, "%s: -t: how many ms? usage: %s %s", call->command->name,
                 call->command->name, call->command->usage);
    return false;
}

enum command_progress commands_console(struct monitor_call *call)
{
    if (call->step++ == 0) {
        struct life *life = monitor_live_vm(call, call->words.word[0]);
        if (!life)
            return COMMAND_FAILED;
        if (life->spec.com2)
            return monitor_fail(call, "vm=%s has the second serial port; it is to be talked to there", life->spec.name);
        monitor_hand_over(life->vm);
        return COMMAND_WAITS;
    }
    return monitor_comes_back() ? COMMAND_DONE : COMMAND_WAITS;
}

/* Until the VM has ended, or is about to start again. */
static enum command_progress wait_for_end(const struct monitor_call *call)
{
    const struct life *life = life_find(call->words.word[0]);

    return !life || life->state == LIFE_STOPPED || life->state == LIFE_RESTARTING ? COMMAND_DONE : COMMAND_WAITS;
}

enum command_progress commands_kill(struct monitor_call *call)
{
    if (call->step++ == 0) {
        struct life *life = monitor_vm(call, call->words.word[0]);
        if (!life || life_kill(life, &call->why) != STATUS_OK)
            return COMMAND_FAILED;
    }
    return wait_for_end(call);
}

enum command_progress commands_stop(struct monitor_call *call)
{
    u64 ms = 0;

    if (call->step++ == 0) {
        if (!take_time(call, &ms))
            return COMMAND_FAILED;
        struct life *life = monitor_vm(call, call->words.word[0]);
        if (!life || life_stop(life, ms, &call->why) != STATUS_OK)
            return COMMAND_FAILED;
        if (!ms)
            return COMMAND_DONE;
    }
    return wait_for_end(call);
}

enum command_progress commands_nmi(struct monitor_call *call)
{
    struct life *life = monitor_vm(call, call->words.word[0]);

    return life ? outcome(life_nmi(life, &call->why)) : COMMAND_FAILED;
}

enum command_progress commands_pause(struct monitor_call *call)
{
    struct life *life = monitor_vm(call, call->words.word[0]);

    if (!life || (call->step++ == 0 && life_pause(life, &call->why) != STATUS_OK))
        return COMMAND_FAILED;
    if (life->state != LIFE_PAUSED || vm_is_stopping(life->vm))
        return monitor_live_vm(call, call->words.word[0]) ? COMMAND_DONE : COMMAND_FAILED;
    return vm_is_at_rest(life->vm) ? COMMAND_DONE : COMMAND_WAITS;
}

enum command_progress commands_resume(struct monitor_call *call)
{
    struct life *life = monitor_vm(call, call->words.word[0]);

    return life ? outcome(life_resume(life, &call->why)) : COMMAND_FAILED;
}

/* call->at: the restarts before. */
enum command_progress commands_restart(struct monitor_call *call)
{
    struct life *life = monitor_vm(call, call->words.word[0]);

    if (!life)
        return COMMAND_FAILED;
    if (call->step++ == 0) {
        call->at = life->restarts;
        if (life_restart(life, &call->why) != STATUS_OK)
            return COMMAND_FAILED;
    }
    if (life->restarts > call->at)
        return COMMAND_DONE;
    if (life->state == LIFE_STOPPED)
        return monitor_fail(call, "vm=%s could not be started again; its vm refused line says why", life->spec.name);
    return COMMAND_WAITS;
}

enum command_progress commands_set(struct monitor_call *call)
{
    const struct command_words *words = &call->words;
    struct life *life = monitor_vm(call, words->word[0]);

    return life ? outcome(life_set(life, words->word[1], words->word[2], &call->why)) : COMMAND_FAILED;
}

enum command_progress commands_start(struct monitor_call *call)
{
    const struct command_words *words = &call->words;
    char keys[256];
    struct life *life;
    size_t used = 0;

    keys[0] = 0;
    for (u32 i = 2; i < words->count; i++)
        used += format_text(keys + used, sizeof keys - used, "%s ", words->word[i]);
    if (words->tail)
        format_text(keys + used, sizeof keys - used, "-- %s", words->tail);
    return outcome(life_start(words->word[0], words->word[1], keys, &life, &call->why));
}

enum command_progress commands_modules(struct monitor_call *call)
{
    static const char *const roles[] = {
        [VM_ROLE_BOOT] = "boot", [VM_ROLE_MODULE] = "module", [VM_ROLE_INITRD] = "initrd"};
    struct life_module module;

    if (!life_module(call->step++, &module))
        return COMMAND_DONE;
    log_event("module number=%u name=%s role=%s bytes=%lu line=\"%.200s\"", call->step,
              module.name[0] ? module.name : "none", roles[module.role], module.bytes, module.line);
    return COMMAND_GOES_ON;
}

/* ---- the machine ---- */

static bool all_have_ended(void)
{
    for (const struct life *life = life_next(NULL); life; life = life_next((struct life *)life))
        if (life->state != LIFE_STOPPED)
            return false;
    return true;
}

static enum command_progress end_machine(struct monitor_call *call, bool reboot)
{
    u64 ms = FORCE_MS;

    if (call->step++ == 0) {
        if (!take_time(call, &ms))
            return COMMAND_FAILED;
        life_keep_up(true); /* until the command has said that it is done */
        life_stop_all(ms);
    }
    if (!all_have_ended())
        return COMMAND_WAITS;
    monitor_close();
    monitor_machine()->end(reboot);
    return COMMAND_DONE;
}

enum command_progress commands_poweroff(struct monitor_call *call)
{
    return end_machine(call, false);
}

enum command_progress commands_reboot(struct monitor_call *call)
{
    return end_machine(call, true);
}
