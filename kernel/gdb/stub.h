/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The GDB stub: serves one VM to a debugger at COM2 (option gdb=). The commands run wherever the port's interrupt
 * comes; all that they need of a vCPU lies in memory, for it is paused (kernel/virt_debug.h).
 */
#ifndef ROOTLET_KERNEL_GDB_STUB_H
#define ROOTLET_KERNEL_GDB_STUB_H

#include "kernel/gdb/command.h"

/* The VM will be debugged, and watched by the stub; before it starts, on the boot CPU, once. Unless the options say
 * otherwise it waits at its first instruction. */
void gdb_stub_connect(struct vm *vm, const struct host_options *options);
/*
 * Opens the port, on the boot CPU, when that is about to take interrupts: what comes before would be lost.
 * STATUS_UNSUPPORTED: there is no COM2, or no interrupt of it; *why says which, and the VM runs without a debugger.
 */
enum status gdb_stub_open(struct refusal *why) MUST_CHECK;
/*
 * From an exit of the vCPU: it has met a breakpoint, or its step is done. All vCPUs of the VM pause. False: they are
 * pausing already, for somebody else's reason.
 */
bool gdb_stub_stopped(struct vcpu *vcpu, enum gdb_stop_kind kind, u64 value);
/* Sends what GDB has not got yet, by polling, some seconds at most: at the machine's end, when no guest runs. */
void gdb_stub_flush(void);

#endif
