/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why a VM entry failed, in words on the console: the checker (check.h) run on the current VMCS, and all its fields
 * decoded. Root operation, interrupts off, any CPU. Nothing here writes to the VMCS.
 */
#ifndef ROOTLET_VMX_CHECK_EXPLAIN_H
#define ROOTLET_VMX_CHECK_EXPLAIN_H

#include "vmx/check/check.h"
#include "vmx/vcpu.h"

#define EXPLAIN_MAX_RULES 24u /* lines about broken rules; how many more there are is said */
#define EXPLAIN_MAX_LINES 60u /* of a dump */

/* How the entry failed: VMfailValid, VMfailInvalid, or an exit with bit 31 of its reason set. */
enum explain_failure { EXPLAIN_EXIT, EXPLAIN_VMFAIL_VALID, EXPLAIN_VMFAIL_INVALID };

/*
 * What is long is printed in pieces, so that guests get their turns in between: the next one behind *at, which is 0 for
 * the first. True: there is more. v's VMCS is current each time, and nothing but VMREAD touches it in between.
 *
 * After v->failure is known: each rule that the VMCS breaks and what the CPU said, EXPLAIN_MAX_RULES + 2 lines at most.
 * SDM 3C 26.1 "Basic VM-Entry Checks", 26.2, 26.3, 26.4.
 */
bool explain_rules(const struct vmx_vcpu *v, u32 *at) MUST_CHECK;
/* A line of the current VMCS: every field that this CPU has. */
bool explain_dump(const struct vmx_vcpu *v, u32 *at) MUST_CHECK;
/* The same of the current VMCS of a guest hypervisor. */
bool explain_dump_inner(const struct vmx_vcpu *v, const struct check_image *inner, const struct vmx_caps *offered,
                        u32 *at) MUST_CHECK;

/* The SDM's words for a VM-instruction error that an entry can give. */
const char *explain_error_name(u32 error);
/* For the checker: the current VMCS, v's, and the facts about this CPU that it needs. *caps: as the CPU has them, not
 * as vmx.disable= left them. */
void explain_read(const struct vmx_vcpu *v, struct check_image *image, struct vmx_caps *caps);

#endif
