/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSRs as an array. An access to an MSR that the test has not made is what #GP would be in the host: it aborts.
 */
#ifndef ROOTLET_TEST_FAKE_MSR_H
#define ROOTLET_TEST_FAKE_MSR_H

#include "arch/x86/cpu.h"

/* No MSR exists any more. */
void fake_msr_reset(void);
/* Makes an MSR, or gives it a value. */
void fake_msr_set(u32 index, u64 value);
u64 fake_msr_get(u32 index);
/* WRMSRs since fake_msr_reset. */
u32 fake_msr_write_count(void);
/* The VMX capability MSRs of a Skylake-X server with everything on, FEATURE_CONTROL locked with VMX on. */
void fake_msr_skylake(void);

#endif
