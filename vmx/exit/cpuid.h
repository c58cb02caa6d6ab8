/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUID as guests see it: a policy for all, and the few bits that follow a vCPU's state. */
#ifndef ROOTLET_VMX_EXIT_CPUID_H
#define ROOTLET_VMX_EXIT_CPUID_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

struct trace_record;

/* Boot CPU, once, before the first vCPU is made: what this machine's CPUs have is told from them. */
void vmx_cpuid_build(void);
/* A vCPU begins: its own leaf 1. */
void vmx_cpuid_init_vcpu(struct vmx_vcpu *v);
/* IA32_APIC_BASE.EN and CR4.OSXSAVE show in CPUID.1. */
void vmx_cpuid_set_apic(struct vmx_vcpu *v, bool on);
void vmx_cpuid_set_osxsave(struct vmx_vcpu *v, bool on);
/* "Limit CPUID Maxval" of IA32_MISC_ENABLE. */
void vmx_cpuid_set_limited(struct vmx_vcpu *v, bool on);
bool vmx_cpuid_has_nx(void);
/* The guests' MSR_PLATFORM_INFO. */
u64 vmx_cpuid_platform_info(void);
enum outcome vmx_cpuid_exit(struct vmx_vcpu *v, struct trace_record *record);

#endif
