/*
 * The guest's RBX, RBP and R12-R15 stay in the CPU while a plain exit is handled (entry.asm): gpr[] has not got them. A
 * handler that needs them moves them here, in a file that is compiled without using them itself (kernel.mk: KEPT_RBX,
 * KEPT). Host tests have them in gpr[] all the time.
 */
#ifndef ROOTLET_VMX_KEPT_H
#define ROOTLET_VMX_KEPT_H

#include "vmx/vcpu.h"

#ifndef ROOTLET_HOST_TEST
static ALWAYS_INLINE void kept_rbx_save(struct vmx_vcpu *v)
{
    asm volatile("mov %%rbx, %0" : "=m"(v->gpr[GPR_RBX]));
}

static ALWAYS_INLINE void kept_rbx_load(const struct vmx_vcpu *v)
{
    asm volatile("mov %0, %%rbx" : : "m"(v->gpr[GPR_RBX]));
}

static ALWAYS_INLINE void kept_rbx_set(struct vmx_vcpu *v, u64 value)
{
    (void)v;
    asm volatile("mov %0, %%rbx" : : "rm"(value));
}
#else
static inline void kept_rbx_save(struct vmx_vcpu *v)
{
    (void)v;
}

static inline void kept_rbx_load(const struct vmx_vcpu *v)
{
    (void)v;
}

static inline void kept_rbx_set(struct vmx_vcpu *v, u64 value)
{
    v->gpr[GPR_RBX] = value;
}
#endif

#endif
