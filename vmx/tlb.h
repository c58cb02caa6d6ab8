/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When this CPU must forget translations that it has cached for guests. Root operation, interrupts off.
 * SDM 3C 28.3 "Caching Translation Information".
 */
#ifndef ROOTLET_VMX_TLB_H
#define ROOTLET_VMX_TLB_H

#include "vmx/vcpu.h"

/* All translations of guests: this CPU has just entered VMX operation. */
void vmx_tlb_flush_all(void);
/* The linear translations of one vCPU. */
void vmx_vcpu_flush_tlb(struct vmx_vcpu *v);
/*
 * The VM's EPT, or memory that it leads to, has changed or is about to be freed: every CPU flushes what it has cached
 * of it before it enters a guest again. NULL: those of any VM. Any CPU.
 */
void vmx_invalidate_ept_everywhere(const struct vm *vm);
/* Before an entry: what the above asks of this CPU. */
void vmx_tlb_flush_freed(void);
/* How often something has been freed or changed; and whether a CPU has flushed since. Any CPU. */
u32 vmx_tlb_generation(void);
bool vmx_tlb_has_flushed(u32 cpu, u32 generation);

#endif
