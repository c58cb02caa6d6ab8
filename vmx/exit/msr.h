/* SPDX-License-Identifier: BSD-2-Clause */
/* RDMSR and WRMSR of guests, and the MSRs that a vCPU takes along from CPU to CPU. */
#ifndef ROOTLET_VMX_EXIT_MSR_H
#define ROOTLET_VMX_EXIT_MSR_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

/* The MSRs' values as firmware leaves them; when the VMCS is written for the first time. */
void vmx_msr_init_vcpu(struct vmx_vcpu *v);
/* The MSRs that do not exit. SDM 3C 24.6.9 "MSR-Bitmap Address" */
void vmx_msr_bitmap_fill(u8 *bitmap);
enum outcome vmx_msr_read_exit(struct vmx_vcpu *v, struct trace_record *record);
enum outcome vmx_msr_write_exit(struct vmx_vcpu *v, struct trace_record *record);
/* WRMSR on behalf of the guest, without its #GP; false where it would get one. */
COLD bool vmx_msr_set(struct vmx_vcpu *v, u32 index, u64 value) MUST_CHECK;
/* RDMSR likewise. */
COLD bool vmx_msr_get(struct vmx_vcpu *v, u32 index, u64 *value) MUST_CHECK;
/* The MSRs that the CPU holds for the vCPU and no VM exit saves: after it has left, before it comes. */
void vmx_msr_save(struct vmx_vcpu *v);
void vmx_msr_restore(const struct vmx_vcpu *v);

#endif
