/* SPDX-License-Identifier: BSD-2-Clause */
/* Hardware task switches: VMX leaves them to us. SDM 3C 25.4.2 "Treatment of Task Switches". */
#ifndef ROOTLET_VMX_EXIT_TASK_SWITCH_H
#define ROOTLET_VMX_EXIT_TASK_SWITCH_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

COLD enum outcome vmx_task_switch_exit(struct vmx_vcpu *v, struct trace_record *record);

#endif
