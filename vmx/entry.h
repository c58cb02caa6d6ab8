/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM entry of entry.asm, as C calls it.
 */
#ifndef ROOTLET_VMX_ENTRY_H
#define ROOTLET_VMX_ENTRY_H

#include "vmx/vcpu.h"

/* Where each VM exit arrives: HOST_RIP. The second is the one with guards against transient execution. */
extern const u8 vmx_exit_entry[], vmx_exit_guarded[];

#ifndef ROOTLET_HOST_TEST
/*
 * Enters the guest and returns at its next VM exit, with the guest's registers in v->gpr[]. False: the entry failed,
 * the guest did not run. entry.asm gives back RBX, which is v, RBP and RSP. The compiler is told that it loses the
 * others: it saves what it needs of them once, outside of the loop that calls this.
 */
#define VMX_DEFINE_RUN(name, entry)                                                                                    \
    static ALWAYS_INLINE bool name(struct vmx_vcpu *v)                                                                 \
    {                                                                                                                  \
        bool failed;                                                                                                   \
                                                                                                                       \
        asm volatile("call " entry                                                                                     \
                     : "=@ccbe"(failed)                                                                                \
                     : "b"(v)                                                                                          \
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",        \
                       "memory");                                                                                      \
        return !failed;                                                                                                \
    }
VMX_DEFINE_RUN(vmx_run_guest, "vmx_enter_guest")
VMX_DEFINE_RUN(vmx_run_guarded, "vmx_enter_guest_guarded")
#else
bool vmx_run_guest(struct vmx_vcpu *v);
bool vmx_run_guarded(struct vmx_vcpu *v);
#endif

#endif
