/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state of the monitor, and who gets a byte that is typed.
 *
 *   closed --key--> open --key, leave--> closed         the terminal's owner, if there is one, is behind an open one
 *   open --console VM--> handed over --key, the VM ends--> open
 *
 * While it is open what was typed stays in the console's ring until the work takes it, in order with the key.
 */
#include "kernel/monitor/monitor.h"
#include "arch/x86/cpu.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/com2.h"
#include "kernel/monitor/editor.h"
#include "kernel/monitor/terminal.h"
#include "kernel/monitor/vcpu_look.h"
#include "kernel/sched/sched.h"

#define PIECE_NS 200000ull  /* so long is worked at a time ... */
#define PAUSE_NS 1000000ull /* ... and then others get their turn for so long */

enum front { FRONT_CLOSED, FRONT_OPEN, FRONT_HANDED_OVER };

static struct {
    const struct monitor_machine *machine;
    enum front front; /* boot CPU */
    int key;          /* a control character; -1: monitor=off */
    bool listens;     /* the console calls input() */
    bool wants_open;  /* atomic */
    bool idle;        /* idle=monitor */
    bool any_ran;     /* when that was looked at last */
    struct vm *input; /* console.input= */
    struct editor editor;
    bool busy; /* `call` runs */
    struct monitor_call call;
    u64 wake_tsc;
} monitor;

/* ---- who gets a byte ---- */

/* The monitor's key was typed while the VM had the terminal. */
static void come_forward(void)
{
    if (monitor.front == FRONT_HANDED_OVER)
        monitor.front = FRONT_OPEN; /* the command that handed it over sees it, and ends */
    else
        __atomic_store_n(&monitor.wants_open, true, __ATOMIC_SEQ_CST);
}

/* Serial interrupt, boot CPU; or the work. */
static void input(void)
{
    while (monitor.front != FRONT_OPEN && !__atomic_load_n(&monitor.wants_open, __ATOMIC_SEQ_CST)) {
        int byte = console_read();
        if (byte < 0)
            return;
        if (byte == monitor.key)
            come_forward();
        else
            terminal_type((u8)byte);
    }
    sched_request_work();
}

/* ---- the row ---- */

static void show_row(const char *now)
{
    char row[EDITOR_DRAW_BYTES];

    editor_draw(&monitor.editor, row);
    console_set_row(row, now);
}

static void open_monitor(void)
{
    if (monitor.front != FRONT_CLOSED)
        return;
    monitor.front = FRONT_OPEN;
    sched_shorten_slices(true); /* a line that a program types shall not overrun the port */
    terminal_give(terminal_owner(), true);
    log_event("monitor state=open key=Ctrl-%c help=\"help lists the commands\"", monitor.key + '@');
    show_row(NULL);
}

void monitor_close(void)
{
    console_end_row();
    log_event("monitor state=closed key=Ctrl-%c", monitor.key + '@');
    monitor.front = FRONT_CLOSED;
    sched_shorten_slices(false);
    terminal_give(terminal_owner(), false);
}

/* ---- commands ---- */

static void finish_command(enum command_progress progress)
{
    monitor.busy = false;
    if (progress == COMMAND_FAILED)
        log_event("error: %s", monitor.call.why.text);
    else
        log_event("ok");
    if (monitor.front == FRONT_OPEN)
        show_row(NULL);
    else
        input(); /* `leave` has closed it: what was typed behind it is for others */
}

static enum command_progress step_command(void)
{
    enum command_progress progress = monitor.call.command->run(&monitor.call);

    if (progress == COMMAND_DONE || progress == COMMAND_FAILED)
        finish_command(progress);
    return progress;
}

static void begin_command(void)
{
    struct monitor_call *call = &monitor.call;

    console_end_row();
    memset(call, 0, sizeof *call);
    editor_take(&monitor.editor, call->line);
    if (command_parse(call->line, monitor.machine->commands, monitor.machine->command_count, &call->command,
                      &call->words, &call->why) != STATUS_OK)
        finish_command(COMMAND_FAILED);
    else if (call->command)
        monitor.busy = true;
    else
        show_row(NULL);
}

/* ---- completion ---- */

static const char *command_name(void *context, u32 n)
{
    (void)context;
    return n < monitor.machine->command_count ? monitor.machine->commands[n].name : NULL;
}

struct life *monitor_nth_vm(u32 n)
{
    struct life *life = life_next(NULL);

    while (life && n--)
        life = life_next(life);
    return life;
}

static const char *vm_name(void *context, u32 n)
{
    const struct life *life = monitor_nth_vm(n);

    (void)context;
    return life ? life->spec.name : NULL;
}

static const char *no_name(void *context, u32 n)
{
    (void)context;
    (void)n;
    return NULL;
}

/* What may stand where the cursor is: the first word is a command, the second what that takes. */
static const char *(*candidates(void))(void *, u32)
{
    const char *text = monitor.editor.text;
    u32 word = editor_word(&monitor.editor), from = 0, to;
    char name[16];

    while (text[from] == ' ')
        from++;
    if (word <= from)
        return command_name;
    for (to = from; text[to] && text[to] != ' '; to++)
        ;
    if (to - from >= sizeof name)
        return no_name;
    memcpy(name, text + from, to - from);
    name[to - from] = 0;
    const struct command *command = command_find(monitor.machine->commands, monitor.machine->command_count, name);
    for (; to < word; to++)
        if (text[to] != ' ')
            return no_name; /* a later word */
    if (!command || command->takes == COMMAND_TAKES_NOTHING)
        return no_name;
    return command->takes == COMMAND_TAKES_VM ? vm_name : command_name;
}

static void list_candidates(const char *(*candidate)(void *, u32))
{
    u32 word = editor_word(&monitor.editor);
    size_t typed = monitor.editor.cursor - word;
    const char *name;

    for (u32 n = 0; (name = candidate(NULL, n)); n++)
        if (string_length(name) >= typed && memcmp(name, monitor.editor.text + word, typed) == 0)
            log_text(name);
}

static void complete(void)
{
    const char *(*candidate)(void *, u32) = candidates();
    u32 length = monitor.editor.length;

    if (editor_complete(&monitor.editor, candidate, NULL) > 1 && monitor.editor.length == length)
        list_candidates(candidate);
    show_row(NULL);
}

/* ---- keys ---- */

static void take_byte(u8 byte)
{
    char echo[2] = {(char)byte, 0};

    if (byte == monitor.key) {
        monitor_close();
        input();
        return;
    }
    switch (editor_feed(&monitor.editor, byte)) {
    case EDITOR_ECHO:
        show_row(echo);
        break;
    case EDITOR_REDRAW:
        show_row(NULL);
        break;
    case EDITOR_CLEAR:
        show_row("\x1b[H\x1b[2J");
        show_row(NULL);
        break;
    case EDITOR_CANCEL:
        console_end_row();
        show_row(NULL);
        break;
    case EDITOR_ENTER:
        begin_command();
        break;
    case EDITOR_COMPLETE:
        complete();
        break;
    default:
        break;
    }
}

/* False: there is nothing to do. */
static bool work_a_little(void)
{
    if (__atomic_exchange_n(&monitor.wants_open, false, __ATOMIC_SEQ_CST))
        open_monitor();
    if (monitor.busy)
        return step_command() != COMMAND_WAITS;
    if (monitor.front != FRONT_OPEN)
        return false;
    int byte = console_read();
    if (byte < 0)
        return false;
    take_byte((u8)byte);
    return true;
}

/* idle=monitor: it opens once each time when the last VM has ended. */
static void look_whether_all_have_ended(void)
{
    bool any = false;

    for (struct life *life = life_next(NULL); life && !any; life = life_next(life))
        any = life->state != LIFE_STOPPED;
    if (!any && monitor.any_ran)
        open_monitor();
    monitor.any_ran = any;
}

u64 monitor_work(u64 now_tsc)
{
    u64 until = now_tsc + clock_tsc_from_ns(PIECE_NS);

    monitor.wake_tsc = UINT64_MAX;
    if (monitor.idle)
        look_whether_all_have_ended();
    while (console_has_room()) { /* else the console's interrupt asks for work */
        if (!work_a_little())
            break;
        if (cpu_tsc() >= until)
            return until + clock_tsc_from_ns(PAUSE_NS);
    }
    return monitor.wake_tsc;
}

/* ---- for the commands ---- */

const struct monitor_machine *monitor_machine(void)
{
    return monitor.machine;
}

void monitor_wake_at(u64 tsc)
{
    monitor.wake_tsc = tsc;
}

bool monitor_key_typed(void)
{
    return console_read() >= 0;
}

void monitor_hand_over(struct vm *vm)
{
    console_end_row();
    monitor.front = FRONT_HANDED_OVER;
    terminal_give(vm, true);
    terminal_give(vm, false);
    input();
}

/* Its end has been told: what the monitor says comes behind that. */
static bool has_ended(const struct vm *vm)
{
    const struct life *life = life_find(vm->spec.name);

    return !life || life->vm != vm || life->state == LIFE_STOPPED || life->state == LIFE_RESTARTING;
}

bool monitor_comes_back(void)
{
    const struct vm *vm = terminal_owner();

    if (monitor.front == FRONT_HANDED_OVER && vm && !has_ended(vm))
        return false;
    monitor.front = FRONT_OPEN;
    terminal_give(monitor.input, true);
    return true;
}

struct life *monitor_vm(struct monitor_call *call, const char *name)
{
    struct life *life = life_find(name);

    if (!life || !life->vm)
        (void)refuse(&call->why, STATUS_INVALID, "no VM has the name %.40s; list shows them", name);
    return life && life->vm ? life : NULL;
}

enum command_progress monitor_ended(struct monitor_call *call, const struct life *life)
{
    return monitor_fail(call, "vm=%s has ended, reason=%s; list shows who runs", life->spec.name,
                        vm_stop_reason_name(life->vm->reason));
}

struct life *monitor_live_vm(struct monitor_call *call, const char *name)
{
    struct life *life = monitor_vm(call, name);

    if (!life || ((life->state == LIFE_RUNNING || life->state == LIFE_PAUSED) && !vm_is_stopping(life->vm)))
        return life;
    (void)monitor_ended(call, life);
    return NULL;
}

/* ---- life ---- */

bool monitor_init(const struct host_options *options, const struct monitor_machine *machine)
{
    monitor.machine = machine;
    monitor.key = options->monitor == MONITOR_OFF ? -1 : options->monitor_key;
    monitor.listens = console_set_reader(input);
    monitor.idle = monitor.any_ran = options->idle_monitor && monitor.listens;
    if (options->monitor == MONITOR_START && monitor.listens) {
        monitor.wants_open = true;
        sched_request_work();
    }
    return monitor.listens;
}

/* What `console` has handed over to another VM stays there; monitor_comes_back() gives it to this one. */
bool monitor_connect(struct vm *vm)
{
    const struct vm *before = monitor.input;

    monitor.input = vm;
    if (monitor.front != FRONT_HANDED_OVER || (before && terminal_owner() == before))
        terminal_give(vm, monitor.front == FRONT_OPEN);
    return monitor.listens;
}

void monitor_forget(struct vm *vm)
{
    vcpu_look_forget(vm);
    if (com2_owner() == vm)
        com2_give(NULL);
    if (monitor.input == vm)
        monitor.input = NULL;
    if (terminal_owner() == vm)
        terminal_give(NULL, false);
}

void monitor_end(void)
{
    console_set_reader(NULL);
    console_end_row();
}
