/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether the CPUs are alike in what is used of them; virt_cpu_check() in kernel/virt.h is the question as a whole.
 */
#ifndef ROOTLET_VMX_ALIKE_H
#define ROOTLET_VMX_ALIKE_H

#include "vmx/controls.h"

/*
 * STATUS_UNSUPPORTED: `theirs` lacks something of `used` that is in use, or insists on more; *why names it. used_cr4:
 * the bits of CR4 that host or guests may have set. Pure.
 */
enum status vmx_caps_check_alike(const struct vmx_caps *used, const struct vmx_controls *controls,
                                 const struct vmx_caps *theirs, u64 used_cr4, struct refusal *why) MUST_CHECK;
/* cpuid.c. STATUS_UNSUPPORTED: this CPU lacks a feature that guests are told of. */
enum status vmx_cpuid_check_alike(struct refusal *why) MUST_CHECK;
/* root.c. STATUS_UNSUPPORTED: CPUID has no VMX here. */
enum status vmx_cpu_has_vmx(struct refusal *why) MUST_CHECK;

#endif
