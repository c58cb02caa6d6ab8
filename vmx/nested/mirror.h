/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMCS shadowing: where the CPU has it, the guest hypervisor's VMREADs and VMWRITEs of the fields that it uses at each
 * exit are the CPU's own affair. They act on a shadow VMCS of the vCPU, which holds these fields of the guest's current
 * VMCS while the guest runs. Other fields exit as before. SDM 3C 24.10 "VMCS Types: Ordinary and Shadow".
 */
#ifndef ROOTLET_VMX_NESTED_MIRROR_H
#define ROOTLET_VMX_NESTED_MIRROR_H

#include "kernel/panic.h"
#include "vmx/nested/nested.h"

/* The VMREAD and the VMWRITE bitmap, a frame each, for a CPU with these capabilities: a set bit is an exit. */
COLD void mirror_fill_bitmaps(u8 *reads, u8 *writes, const struct vmx_caps *caps);

/*
 * The guest has a current VMCS from now on, or is about to have none any more; in the guest's VMCS. mirror_close()
 * takes over what the guest has written, mirror_drop() does not.
 */
COLD void mirror_open(struct vmx_vcpu *v);
COLD void mirror_close(struct vmx_vcpu *v);

static inline void mirror_drop(struct vmx_vcpu *v)
{
    if (!v->nested->has_mirror)
        return;
    vmcs_write(PROC2_CONTROLS, vmcs_read(PROC2_CONTROLS) & ~PROC2_VMCS_SHADOWING);
    vmcs_write(VMCS_LINK_POINTER, ~0ull);
    CHECK(vmcs_clear(v->nested->mirror)); /* VM entries have made it active here: SDM 3C 24.1 "Overview" */
    v->nested->has_mirror = v->nested->is_mirrored = false;
}

/* Before the guest runs on behind an exit of its inner guest: it reads what is in v->nested->image. */
void mirror_publish(struct vmx_vcpu *v);

#endif
