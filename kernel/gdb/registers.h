/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registers as GDB numbers and names them, and the description (target.xml) that tells it so. Pure.
 * GDB manual, G.5.17 "i386 Features".
 */
#ifndef ROOTLET_KERNEL_GDB_REGISTERS_H
#define ROOTLET_KERNEL_GDB_REGISTERS_H

#include "kernel/virt_debug.h"

enum gdb_arch {
    GDB_I386,  /* GDB's "i386": for 16- and 32-bit code */
    GDB_X86_64 /* "i386:x86-64" */
};

#define GDB_REGISTER_BYTES 16u /* of the widest */

u32 gdb_register_count(enum gdb_arch arch);
/* The value of register `number` in GDB's format. Returns its width in bytes; 0: there is no such register. */
size_t gdb_register_read(enum gdb_arch arch, u32 number, const struct debug_registers *registers,
                         u8 out[GDB_REGISTER_BYTES]);
/*
 * Changes a register; `in` has its width. False: there is none, or the debugger may not change it (segments, control
 * registers, the FPU's control words), or the value could not be loaded.
 */
bool gdb_register_write(enum gdb_arch arch, u32 number, struct debug_registers *registers, const u8 *in) MUST_CHECK;
/* By number: those that a stop reply carries. */
u32 gdb_register_of_pc(enum gdb_arch arch);
u32 gdb_register_of_sp(enum gdb_arch arch);
u32 gdb_register_of_fp(enum gdb_arch arch);
/* The description from byte `offset` on, at most `size` bytes. Returns how many; fewer than `size` only at its end. */
size_t gdb_register_description(enum gdb_arch arch, u64 offset, u8 *out, size_t size);

#endif
