/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See tlb.h. Whoever frees or changes an EPT raises a generation; each CPU compares it with the one that it has flushed
 * last. SDM 3C 28.3.3.3 "Guidelines for Use of the INVVPID Instruction", 28.3.3.4 "Guidelines for Use of the INVEPT
 * Instruction".
 */
#include "vmx/tlb.h"
#include "arch/x86/percpu.h"
#include "kernel/panic.h"

static u32 flushed_generation[CPU_MAX];
static u32 ept_generation; /* atomic */

void vmx_invalidate_ept_everywhere(void)
{
    __atomic_fetch_add(&ept_generation, 1, __ATOMIC_SEQ_CST);
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

void vmx_tlb_flush_freed(void)
{
    u32 cpu = cpu_id();
    u32 generation = __atomic_load_n(&ept_generation, __ATOMIC_SEQ_CST);

    if (LIKELY(flushed_generation[cpu] == generation))
        return;
    vmx_tlb_flush_all();
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
