/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stands before the real arch/x86/xsave.h (see cpu.h here): the real one, but XCR0 is test/fake/cpu.c's.
 */
#ifndef ROOTLET_TEST_FAKE_ARCH_XSAVE_H
#define ROOTLET_TEST_FAKE_ARCH_XSAVE_H

#define pkru_read  pkru_read_of_this_machine
#define xcr0_read  xcr0_read_of_this_machine
#define xcr0_write xcr0_write_of_this_machine
#include "../../../../arch/x86/xsave.h"
#undef pkru_read
#undef xcr0_read
#undef xcr0_write

u32 pkru_read(void);
u64 xcr0_read(void);
void xcr0_write(u64 value);

#endif
