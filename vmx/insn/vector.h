/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPU's XMM and YMM registers by number; vector.asm. Precondition: the CPU has them, and with `wide` XCR0 has AVX.
 */
#ifndef ROOTLET_VMX_INSN_VECTOR_H
#define ROOTLET_VMX_INSN_VECTOR_H

#include "kernel/lib/types.h"

/* 16 bytes of register `index`, or all 32. To write 16 leaves the upper half as it is. */
void vector_read(u32 index, u64 value[4], bool wide);
void vector_write(u32 index, const u64 value[4], bool wide);

#endif
