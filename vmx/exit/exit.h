/* SPDX-License-Identifier: BSD-2-Clause */
/* From an exit to its handler: the table of exit reasons. SDM 3D Appendix C "VMX Basic Exit Reasons". */
#ifndef ROOTLET_VMX_EXIT_EXIT_H
#define ROOTLET_VMX_EXIT_EXIT_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

/* Counts the exit, calls its handler, and has the detail that the table names written into the record. reason: the
 * whole field. */
enum outcome vmx_exit_handle(struct vmx_vcpu *v, struct trace_record *record, u64 reason);

/* An exception during the delivery of #DF: stops the VM. */
COLD enum outcome vmx_exit_shut_down(struct vmx_vcpu *v);

#endif
