/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The areas in the guest's memory from which MSRs are loaded at a VM entry or exit, and to which an exit saves them.
 * SDM 3C 26.4 "Loading MSRs", 27.4 "Saving MSRs", 27.6 "Loading MSRs".
 */
#ifndef ROOTLET_VMX_NESTED_MSRS_H
#define ROOTLET_VMX_NESTED_MSRS_H

#include "vmx/nested/nested.h"

/* So many are loaded or stored. SDM 3D A.6 "Miscellaneous Data": beyond it a CPU may do anything. */
#define MSRS_MOST 512u

/*
 * Into the guest whose VMCS is the CPU's. 0, or the number of the entry, counted from 1, that cannot be loaded: its MSR
 * is in *index, unless there are too many.
 */
COLD u32 msrs_load_some(struct vmx_vcpu *v, u64 area, u32 count, u32 *index);
static inline u32 msrs_load(struct vmx_vcpu *v, u64 area, u32 count, u32 *index)
{
    return count ? msrs_load_some(v, area, count, index) : 0;
}
/* From it. False: an entry cannot be saved, which is a VMX abort. */
COLD bool msrs_store_some(struct vmx_vcpu *v, u64 area, u32 count) MUST_CHECK;
static inline MUST_CHECK bool msrs_store(struct vmx_vcpu *v, u64 area, u32 count)
{
    return !count || msrs_store_some(v, area, count);
}

#endif
