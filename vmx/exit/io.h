/* SPDX-License-Identifier: BSD-2-Clause */
/* IN, OUT, INS and OUTS of guests. */
#ifndef ROOTLET_VMX_EXIT_IO_H
#define ROOTLET_VMX_EXIT_IO_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

enum outcome vmx_io_exit(struct vmx_vcpu *v, struct trace_record *record);

#endif
