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

/* MOV to CR0, CR3, CR4 or CR8 of a value that fits the guest's operand size. */
enum outcome vmx_cr_write(struct vmx_vcpu *v, unsigned cr, u64 value);

/* The four entries that PAE paging takes from CR3. False: one that is present has reserved bits, or they are not in the
 * VM's memory; `pdpte` is as it was. */
COLD bool vmx_read_pdptes(const struct vmx_vcpu *v, u64 cr3, u64 pdpte[4]) MUST_CHECK;

#endif
