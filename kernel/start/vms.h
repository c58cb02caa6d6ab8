/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's run as a whole: VMs made from module lines, whether all went well, and the statistics at the end. Boot
 * CPU.
 */
#ifndef ROOTLET_KERNEL_START_VMS_H
#define ROOTLET_KERNEL_START_VMS_H

#include "boot/boot_info.h"
#include "kernel/vm/life.h"

/*
 * Makes and starts a VM of each boot module; each that cannot be is refused with one line. Preconditions: scheduler and
 * VMX are ready; the other CPUs may be running already. Returns when all have been started.
 */
void vms_start(const struct boot_info *boot, const struct vm_board *board);
/* console.input=: the VM of this name, which must be among those started next, gets what is typed; "": none. */
void vms_set_console_input(const char *name);
/* The monitor's poweroff or reboot was the machine's end. */
bool vms_end_was_ordered(void);
/* monitor=, monitor.key=, idle=: before the first VM. */
void vms_set_monitor(const struct host_options *options);
/* The monitor's reboot was the machine's end. */
bool vms_want_reboot(void);
/* What the boot CPU does between guests (sched_set_work): VMs' ends and beginnings, and commands. */
u64 vms_work(u64 now);
/* gdb=: the VM of this name, which must be among those started next, is debugged through COM2. */
void vms_set_debugger(const struct host_options *options);
/* Something that the user configured was refused: the run goes on, but cannot end with status=ok. */
void vms_note_failure(void);
/* Likewise, and the run's end says it again: "rootlet: failed TEXT". */
void vms_note_failed(const char *format, ...) PRINTF(1, 2);
/* What is to be said again, a line for each. */
void vms_print_failed(void);
bool vms_all_well(void);
/* One VM is refused: said now, and again at the end. */
void vms_refuse(const char *name, const char *why);
/* A run of a VM, made from its boot module; its terminal and its debugger are connected. */
enum status vms_make(const struct life *life, u32 restart, struct vm **out, struct refusal *why) MUST_CHECK;
/* It gets what is typed for a VM of its name: console.input=, and console=com2, whose port is open. */
COLD void vms_connect(struct vm *vm);
/* A run's statistics, and those of the runs before it; if it did not end well, the end says it again. */
COLD void vms_report(const struct vm *vm);
/* The boot module that `text` names, or whose number it is; *spec: what its line asks for. */
COLD enum status vms_find_module(const char *text, u32 *index, struct vm_spec *spec, struct refusal *why) MUST_CHECK;
/* The VM that its line defines, "" if none: whose initrd and modules go with it. */
COLD const char *vms_name_of_module(u32 index);
/* Prints the flight recorder where it is wanted, and each VM's statistics, and frees its object; all VMs have ended. */
void vms_report_and_free(enum trace_to trace);

#endif
