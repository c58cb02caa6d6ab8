/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor's commands, as the table in commands.c has them. Each runs in pieces (kernel/monitor/command.h).
 */
#ifndef ROOTLET_KERNEL_MONITOR_COMMANDS_H
#define ROOTLET_KERNEL_MONITOR_COMMANDS_H

#include "kernel/monitor/monitor.h"

extern const struct command commands_table[];
extern const u32 commands_count;

/* life.c */
enum command_progress commands_console(struct monitor_call *call);
enum command_progress commands_kill(struct monitor_call *call);
enum command_progress commands_modules(struct monitor_call *call);
enum command_progress commands_nmi(struct monitor_call *call);
enum command_progress commands_pause(struct monitor_call *call);
enum command_progress commands_poweroff(struct monitor_call *call);
enum command_progress commands_reboot(struct monitor_call *call);
enum command_progress commands_restart(struct monitor_call *call);
enum command_progress commands_resume(struct monitor_call *call);
enum command_progress commands_set(struct monitor_call *call);
enum command_progress commands_start(struct monitor_call *call);
enum command_progress commands_stop(struct monitor_call *call);

/* look.c */
enum command_progress commands_info(struct monitor_call *call);
enum command_progress commands_list(struct monitor_call *call);
enum command_progress commands_mem(struct monitor_call *call);
enum command_progress commands_regs(struct monitor_call *call);
enum command_progress commands_vmcs(struct monitor_call *call);

/* machine.c */
enum command_progress commands_caps(struct monitor_call *call);
enum command_progress commands_cpus(struct monitor_call *call);
enum command_progress commands_trace(struct monitor_call *call);
enum command_progress commands_vmx(struct monitor_call *call);

/* printed.c */
enum command_progress commands_log(struct monitor_call *call);
enum command_progress commands_screen(struct monitor_call *call);

/* snapshots.c */
enum command_progress commands_clone(struct monitor_call *call);
enum command_progress commands_forget(struct monitor_call *call);
enum command_progress commands_restore(struct monitor_call *call);
enum command_progress commands_snapshot(struct monitor_call *call);
enum command_progress commands_snapshots(struct monitor_call *call);

/* stats.c */
enum command_progress commands_stats(struct monitor_call *call);

#endif
