/*
 * The GDB stub: serves one VM to a debugger at COM2 (option gdb=). The commands run wherever the port's interrupt
 * comes; all that they need of a vCPU lies in memory, for it is paused (kernel/virt_debug.h).
 */
#ifndef ROOTLET_KERNEL_GDB_STUB_H
#define ROOTLET_KERNEL_GDB_STUB_H

#include "kernel/gdb/command.h"

/* The VM will be debugged; before it starts, on the boot CPU, once. Unless the options say otherwise it waits at its
 * first instruction. */
void gdb_stub_connect(struct vm *vm, const struct host_options *options);
/*
 * Opens the port, on the boot CPU, when that is about to take interrupts: what comes before would be lost.
 * STATUS_UNSUPPORTED: there is no COM2, or no interrupt of it; *why says which, and the VM runs without a debugger.
 */
enum status gdb_stub_open(struct refusal *why) MUST_CHECK;
/* From the home CPU's loop: the vCPU has left its guest and rests until sched_unpause(). */
void gdb_stub_paused(struct vcpu *vcpu);
/*
 * From an exit of the vCPU: it has met a breakpoint, or its step is done. All vCPUs of the VM pause. False: they are
 * pausing already, for somebody else's reason.
 */
bool gdb_stub_stopped(struct vcpu *vcpu, enum gdb_stop_kind kind, u64 value);
/* Any VM has ended: if it is the debugged one, GDB hears of it before its memory goes. All its vCPUs are retired. */
void gdb_stub_vm_ended(struct vm *vm);
/* Sends what GDB has not got yet, by polling, some seconds at most: at the machine's end, when no guest runs. */
void gdb_stub_flush(void);

#endif
