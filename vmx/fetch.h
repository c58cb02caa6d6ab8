/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Code that runs where EPT forbids it: in a large page, on CPUs with the erratum of page sizes.
 */
#ifndef ROOTLET_VMX_FETCH_H
#define ROOTLET_VMX_FETCH_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

/* The exit is an EPT violation by an instruction fetch. False: there is no memory, so no code. */
COLD bool vmx_fetch_violation(struct vmx_vcpu *v, u64 qualification, enum outcome *outcome);

#endif
