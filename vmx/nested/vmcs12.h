/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's VMCS regions: where they may be, what stands in them, and the fields of the current one. The region's
 * format is ours to choose: revision identifier, abort indicator, launch state, then the fields in the order of
 * VMCS_FIELDS. SDM 3C 24.2 "Format of the VMCS Region", 24.11 "Software Use of the VMCS and Related Structures".
 */
#ifndef ROOTLET_VMX_NESTED_VMCS12_H
#define ROOTLET_VMX_NESTED_VMCS12_H

#include "vmx/nested/nested.h"

/* The identifier of the first four bytes at `region`; where no memory is, all ones are read. */
u32 vmcs12_revision(const struct vmx_vcpu *v, u64 region);
/* Whether `region` can be that of a VMCS or of VMXON: aligned, and within the physical-address width. */
bool vmcs12_is_address(const struct vmx_vcpu *v, u64 region);
/*
 * The region becomes the current VMCS: its fields are read. Its predecessor's have been written back. is_shadow: by the
 * revision that the caller has judged; another vCPU may write another one meanwhile.
 */
void vmcs12_load(struct vmx_vcpu *v, u64 region, bool is_shadow);
/* The current VMCS, if there is one, is written back, and none is current. */
void vmcs12_unload(struct vmx_vcpu *v);
/* VMCLEAR of any region but the current one: its launch state becomes clear. */
void vmcs12_clear(const struct vmx_vcpu *v, u64 region);

/* Writes the VMX-abort indicator of the current VMCS. SDM 3C 27.7 "VMX Aborts" */
void vmcs12_abort(const struct vmx_vcpu *v, u32 indicator);

#define VMCS12_NO_ROW CHECK_FIELDS
/* The row of the field with this encoding, for either access type; VMCS12_NO_ROW: the guest's CPU has no such field. */
u32 vmcs12_row(const struct vmx_vcpu *v, u64 encoding);
u64 vmcs12_read(struct vmx_vcpu *v, u32 row, u64 encoding);
void vmcs12_write(struct vmx_vcpu *v, u32 row, u64 encoding, u64 value);
/* The same in the region that the current VMCS's link pointer names. */
u64 vmcs12_read_linked(const struct vmx_vcpu *v, u32 row, u64 encoding);
void vmcs12_write_linked(const struct vmx_vcpu *v, u32 row, u64 encoding, u64 value);

/* The fields of the current VMCS by their rows. vmcs_write() between two uses does not make the compiler look for them
 * anew, as it does with vmcs12_get(). */
static inline const u64 *vmcs12_fields(const struct vmx_vcpu *v)
{
    return v->nested->image.value;
}

/* One of them. */
static inline u64 vmcs12_get(const struct vmx_vcpu *v, u32 row)
{
    return v->nested->image.value[row];
}

/* SDM 3C 24.6.2 "Processor-Based VM-Execution Controls": unless they are activated all secondary ones act as 0. */
static inline u32 vmcs12_proc2(const struct vmx_vcpu *v)
{
    return vmcs12_get(v, FIELD_PROC_CONTROLS) & PROC_SECONDARY ? (u32)vmcs12_get(v, FIELD_PROC2_CONTROLS) : 0;
}

static inline void vmcs12_set(struct vmx_vcpu *v, u32 row, u64 value)
{
    v->nested->image.value[row] = value;
}

#endif
