/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See tlb.h. Whoever frees or changes an EPT raises a generation; each CPU compares it with the one that it has flushed
 * last. SDM 3C 28.3.3.3 "Guidelines for Use of the INVVPID Instruction", 28.3.3.4 "Guidelines for Use of the INVEPT
 * Instruction".
 */
#include "vmx/tlb.h"
#include "arch/x86/percpu.h"
#include "arch/x86/spinlock.h"
#include "kernel/panic.h"
#include "vmx/ept.h"

#define CHANGES 16u /* that are told apart: who has missed more flushes all contexts; a power of two */

static u32 flushed_generation[CPU_MAX];
static u32 ept_generation;        /* atomic */
static u64 changed_epts[CHANGES]; /* atomic; the EPT pointer of generation n is at n % CHANGES */
static struct spinlock changing;

static void note_change(u64 root)
{
    u32 generation = ept_generation;

    __atomic_store_n(&changed_epts[generation % CHANGES], ept_pointer(root), __ATOMIC_SEQ_CST);
    __atomic_store_n(&ept_generation, generation + 1, __ATOMIC_SEQ_CST);
}

void vmx_invalidate_ept_everywhere(const struct vm *vm)
{
    spin_lock(&changing);
    if (vm)
        note_change(vm->ept_root);
    if (vm && vm->ept_apic_root)
        note_change(vm->ept_apic_root);
    if (!vm) /* more than anybody tells apart */
        __atomic_fetch_add(&ept_generation, CHANGES + 1, __ATOMIC_SEQ_CST);
    spin_unlock(&changing);
}

/*
 * Firmware or a hypervisor that ran before us may have used the same VPIDs and EPTPs, and neither VMXOFF nor VMXON
 * forgets what was cached for them. INVVPID is there or not, whether we use VPIDs or not; INVEPT of all contexts is
 * (vmx_caps_check_ept).
 */
void vmx_tlb_flush_all(void)
{
    CHECK(vmx_invept(VMX_ALL_CONTEXTS, 0));
    if (vmx_caps_has_invvpid(&vmx_features.caps))
        CHECK(vmx_invvpid(VMX_ALL_CONTEXTS, 0));
}

/* Without VPID each entry and exit flushes by itself: SDM 3C 28.3.3.1 "Operations that Invalidate Cached Mappings". */
void vmx_vcpu_flush_tlb(struct vmx_vcpu *v)
{
    if (!vmx_features.has_vpid)
        return;
    bool has_one = vmx_features.caps.ept_vpid & EPT_CAP_INVVPID_ONE;
    CHECK(vmx_invvpid(has_one ? VMX_SINGLE_CONTEXT : VMX_ALL_CONTEXTS, v->vpid));
}

/*
 * INVEPT of one context forgets what was cached by way of this EPT, for every VPID. False: too many have changed since,
 * or one that was looked at has been overwritten meanwhile.
 */
static bool flush_changed(u32 from, u32 to)
{
    if (!(vmx_features.caps.ept_vpid & EPT_CAP_INVEPT_ONE) || to - from > CHANGES)
        return false;
    for (u32 n = from; n != to; n++)
        CHECK(vmx_invept(VMX_SINGLE_CONTEXT, __atomic_load_n(&changed_epts[n % CHANGES], __ATOMIC_SEQ_CST)));
    return __atomic_load_n(&ept_generation, __ATOMIC_SEQ_CST) - from < CHANGES;
}

void vmx_tlb_flush_freed(void)
{
    u32 cpu = cpu_id();
    u32 generation = __atomic_load_n(&ept_generation, __ATOMIC_SEQ_CST);

    if (LIKELY(flushed_generation[cpu] == generation))
        return;
    if (!flush_changed(flushed_generation[cpu], generation))
        CHECK(vmx_invept(VMX_ALL_CONTEXTS, 0));
    __atomic_store_n(&flushed_generation[cpu], generation, __ATOMIC_SEQ_CST);
}

u32 vmx_tlb_generation(void)
{
    return __atomic_load_n(&ept_generation, __ATOMIC_SEQ_CST);
}

bool vmx_tlb_has_flushed(u32 cpu, u32 generation)
{
    return (s32)(__atomic_load_n(&flushed_generation[cpu], __ATOMIC_SEQ_CST) - generation) >= 0;
}
