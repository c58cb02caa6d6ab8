/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a VM printed: the lines that were kept, and its screen.
 */
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/commands.h"

#define LINES_DEFAULT 20u
#define LINES_MOST    65536u
#define CHUNK_BYTES   512u /* that are looked at in one piece */
#define TEXT_BYTES    400u /* of a line that is shown */

/* What stands between quotes. */
static char printable(char c)
{
    return c == '"' ? '\'' : c >= ' ' && c <= '~' ? c : '?';
}

/* Goes back over lines until there are enough: call->at is the first character that will be shown. */
static enum command_progress find_first(struct monitor_call *call, const struct vm *vm)
{
    char text[CHUNK_BYTES];
    u64 from = call->at > CHUNK_BYTES ? call->at - CHUNK_BYTES : 0, first;
    size_t count = vm_read_kept(vm, from, text, (size_t)(call->at - from), &first);

    if (!count || first >= call->at) { /* nothing older is kept */
        call->step++;
        return COMMAND_GOES_ON;
    }
    for (; count; count--) {
        call->at = first + count;
        if (text[count - 1] == '\n' && call->lines-- == 0) {
            call->step++;
            return COMMAND_GOES_ON;
        }
    }
    call->at = first;
    return COMMAND_GOES_ON;
}

static enum command_progress begin_log(struct monitor_call *call, const struct vm *vm)
{
    u64 lines = LINES_DEFAULT, total;
    char last = '\n';

    if (call->words.count > 1 &&
        command_number(call->words.word[1], "lines", 1, LINES_MOST, &lines, &call->why) != STATUS_OK)
        return COMMAND_FAILED;
    if (!vm->kept)
        return monitor_fail(call,
                            "vm=%s: there was no memory to keep what it prints; give it less mem=", vm->spec.name);
    total = __atomic_load_n(&vm->kept_total, __ATOMIC_ACQUIRE);
    if (total)
        (void)vm_read_kept(vm, total - 1, &last, 1, &call->at);
    call->at = call->until = total;
    call->lines = (u32)lines - (last != '\n'); /* a line that has no end yet is one */
    u64 kept = total < VM_KEPT_BYTES ? total : VM_KEPT_BYTES;
    log_event("log name=%s kept=%lu dropped=%lu", vm->spec.name, kept, total - kept);
    call->step++;
    return COMMAND_GOES_ON;
}

static enum command_progress show_line(struct monitor_call *call, const struct vm *vm)
{
    char text[TEXT_BYTES + 1];
    size_t count, length = 0;
    u64 at;

    if (call->at >= call->until)
        return COMMAND_DONE;
    count = vm_read_kept(vm, call->at, text, TEXT_BYTES, &at);
    if (!count)
        return COMMAND_DONE;
    call->at = at;
    for (size_t i = 0; i < count && call->at < call->until; i++) {
        call->at++;
        if (text[i] == '\n')
            break;
        if (text[i] != '\r')
            text[length++] = printable(text[i]);
    }
    text[length] = 0;
    log_event("log name=%s text=\"%s\"", vm->spec.name, text);
    return COMMAND_GOES_ON;
}

enum command_progress commands_log(struct monitor_call *call)
{
    const struct life *life = monitor_vm(call, call->words.word[0]);

    if (!life)
        return COMMAND_FAILED;
    if (call->step == 0)
        return begin_log(call, life->vm);
    return call->step == 1 ? find_first(call, life->vm) : show_line(call, life->vm);
}

enum command_progress commands_screen(struct monitor_call *call)
{
    const struct life *life = monitor_live_vm(call, call->words.word[0]);
    char text[VM_SCREEN_COLUMNS + 1];

    if (!life)
        return COMMAND_FAILED;
    if (!vm_begin_reading(life->vm))
        return monitor_ended(call, life);
    if (call->step == 0)
        call->lines = vm_screen_rows(life->vm);
    bool done = call->step >= call->lines || !vm_screen_row(life->vm, call->step, text);
    vm_end_reading(life->vm);
    if (done)
        return COMMAND_DONE;
    for (char *c = text; *c; c++)
        *c = printable(*c);
    log_event("screen name=%s row=%u text=\"%s\"", life->spec.name, call->step++, text);
    return COMMAND_GOES_ON;
}
