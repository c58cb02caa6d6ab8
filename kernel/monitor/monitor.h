/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor: whoever sits at the console sees and steers every VM. The serial interrupt hands over what was typed;
 * commands run in the boot CPU's work (sched_set_work), outside of all exits, with no lock held, in pieces that hold up
 * nobody. kernel/monitor/command.h says how a command goes on.
 */
#ifndef ROOTLET_KERNEL_MONITOR_MONITOR_H
#define ROOTLET_KERNEL_MONITOR_MONITOR_H

#include "kernel/monitor/command.h"
#include "kernel/vm/life.h"

/* What the composition root knows. */
struct monitor_machine {
    const struct command *commands; /* the table, and its rows */
    u32 command_count;
    void (*end)(bool reboot); /* the machine need not go on when no VM runs */
};

/*
 * Before the first VM. False: the console has no interrupt, so that nothing typed arrives (or monitor=off, and then
 * nobody listens).
 */
bool monitor_init(const struct host_options *options, const struct monitor_machine *machine);
/* console.input=: the VM has the terminal whenever the monitor is not in front of it. False: nothing typed arrives. */
bool monitor_connect(struct vm *vm);
/* The object goes: nobody looks at it any more, and it has no terminal. Boot CPU. */
void monitor_forget(struct vm *vm);
/* The boot CPU's work, as sched_set_work() has it. */
u64 monitor_work(u64 now_tsc);
/* The machine ends: nothing more is read or shown. */
void monitor_end(void);

/* ---- for the commands' files ---- */

struct monitor_call {
    const struct command *command;
    struct command_words words;
    char line[256];
    struct refusal why;
    u32 step;      /* the command's own, 0 at first */
    u32 n;         /* likewise */
    u64 at, until; /* likewise */
    u32 lines;     /* likewise */
};

const struct monitor_machine *monitor_machine(void);
/* The VM of this name; NULL: *call has the refusal. Good for this piece of the command. */
struct life *monitor_vm(struct monitor_call *call, const char *name);
/* Likewise, and it must run, or be paused. */
struct life *monitor_live_vm(struct monitor_call *call, const char *name);
/* Fails, since the VM has ended. */
enum command_progress monitor_ended(struct monitor_call *call, const struct life *life);
/* The n-th VM, NULL: there are no more. */
struct life *monitor_nth_vm(u32 n);
/* The command fails: format as of refuse(). */
#define monitor_fail(call, ...) ((void)refuse(&(call)->why, STATUS_INVALID, __VA_ARGS__), COMMAND_FAILED)
/* The command is called again at this time at the latest, too. */
void monitor_wake_at(u64 tsc);
/* A key was typed meanwhile; it is used up. */
bool monitor_key_typed(void);
/* console VM: the terminal is the VM's until the monitor's key. */
void monitor_hand_over(struct vm *vm);
/* True: that has been typed, or the VM has ended, and the terminal is the monitor's again. */
bool monitor_comes_back(void);
/* leave. */
void monitor_close(void);

#endif
