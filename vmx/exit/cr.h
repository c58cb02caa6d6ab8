/* SPDX-License-Identifier: BSD-2-Clause */
/* Accesses of guests to control registers, debug registers and XCR0. */
#ifndef ROOTLET_VMX_EXIT_CR_H
#define ROOTLET_VMX_EXIT_CR_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

enum outcome vmx_cr_exit(struct vmx_vcpu *v, struct trace_record *record);
enum outcome vmx_xsetbv_exit(struct vmx_vcpu *v, struct trace_record *record);
enum outcome vmx_dr_exit(struct vmx_vcpu *v, struct trace_record *record);

#endif
