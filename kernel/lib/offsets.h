/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How X/offsets.c hands constants to NASM: each OFFSET line leaves a marker in the compiler's assembly output, which
 * the build turns into build/X/offsets.inc.
 */
#ifndef ROOTLET_LIB_OFFSETS_H
#define ROOTLET_LIB_OFFSETS_H

#include "kernel/lib/types.h"

#define OFFSET_VALUE(name, value)     asm volatile("\n->" #name " %0" : : "i"((long)(value)))
#define OFFSET_OF(name, type, member) OFFSET_VALUE(name, offsetof(type, member))

#endif
