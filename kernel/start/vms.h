/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's run as a whole: VMs made from module lines, how many are still there, whether all went well, and the
 * statistics at the end. Boot CPU, but for vms_vm_ended.
 */
#ifndef ROOTLET_KERNEL_START_VMS_H
#define ROOTLET_KERNEL_START_VMS_H

#include "boot/boot_info.h"
#include "kernel/vm/vm.h"

/*
 * Makes and starts a VM of each boot module; each that cannot be is refused with one line. Preconditions: scheduler and
 * VMX are ready; the other CPUs may be running already. Returns when all have been started.
 */
void vms_start(const struct boot_info *boot, const struct vm_board *board);
/* console.input=: the VM of this name, which must be among those started next, gets what is typed; "": none. */
void vms_set_console_input(const char *name);
/* gdb=: the VM of this name, which must be among those started next, is debugged through COM2. */
void vms_set_debugger(const struct host_options *options);
/* Something that the user configured was refused: the run goes on, but cannot end with status=ok. */
void vms_note_failure(void);
/* Likewise, and the run's end says it again: "rootlet: failed TEXT". */
void vms_note_failed(const char *format, ...) PRINTF(1, 2);
/* What is to be said again, a line for each. */
void vms_print_failed(void);
bool vms_all_well(void);
/* A VM has ended and its memory is released; the last one ends the scheduler's work. Any CPU. */
void vms_vm_ended(bool clean);
/* Prints the flight recorder where it is wanted, and each VM's statistics, and frees its object; all VMs have ended. */
void vms_report_and_free(enum trace_to trace);

#endif
