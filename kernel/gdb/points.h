/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The debugged VM's memory as GDB sees it, and its breakpoints and watchpoints. All under the stub's lock.
 */
#ifndef ROOTLET_KERNEL_GDB_POINTS_H
#define ROOTLET_KERNEL_GDB_POINTS_H

#include "kernel/gdb/command.h"

/* This VM is debugged; before it starts, once. */
void gdb_points_begin(struct vm *vm);
/* Reads at a linear address by these registers' page tables, without the INT3s; returns how many bytes there were. */
size_t gdb_points_read_memory(const struct debug_registers *registers, u64 address, u8 *bytes, size_t count);
/* Writes, under the INT3s. False: not all of it is memory; what comes before that is written. */
bool gdb_points_write_memory(const struct debug_registers *registers, u64 address, const u8 *bytes, size_t count);
/* False: no room for it, or no memory there. Setting one that is set changes nothing. */
bool gdb_points_insert(const struct debug_registers *registers, enum gdb_point point, u64 address, u64 bytes);
/* True also if there is none. */
bool gdb_points_remove(enum gdb_point point, u64 address, u64 bytes);
void gdb_points_remove_all(void);
/* No INT3 is in memory until gdb_points_plant_again(): what GDB has set stays set, also on other memory. */
void gdb_points_lift(void);
void gdb_points_plant_again(void);
/* What the vCPUs run with. */
void gdb_points_collect(struct debug_points *points);
/* Whether the byte at `where` is an INT3 of the debugger's; no lock, while the VM runs: then nobody changes them. */
bool gdb_points_has_planted(const struct vm *vm, gpa_t where);

#endif
