/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of a vCPU's nested state, and what VMX operation changes for the rest of the guest's CPU: its capability
 * MSRs, and the values that CR0 and CR4 may have. SDM 3C 23.7 "Enabling and Entering VMX Operation", 23.8 "Restrictions
 * on VMX Operation", 3D Appendix A "VMX Capability Reporting Facility".
 */
#include "vmx/nested/nested.h"
#include "arch/x86/paging.h"
#include "kernel/frames.h"
#include "kernel/lib/string.h"
#include "vmx/exit/cpuid.h"
#include "vmx/nested/offer.h"

#define NESTED_FRAMES ((u32)((sizeof(struct nested) + FRAME_BYTES - 1) / FRAME_BYTES))
#define LINEAR_BITS   48u

/* The checks of a VM entry look into the guest's memory. */
static bool read_memory(void *context, u64 physical, void *to, u32 bytes)
{
    const struct vmx_vcpu *v = context;

    if (guest_memory_read(&v->base.vm->memory, gpa(physical), to, bytes) != STATUS_OK)
        memset(to, 0xff, bytes); /* as a bus reads on which nothing answers */
    return true;
}

static void make_offer(struct nested *n)
{
    u32 proc2 = vmx_features.controls.value[VMX_PROC2];
    struct nested_guest guest = {
        .cr4 = vmx_features.guest_cr4_allowed,
        .has_rdtscp = proc2 & PROC2_RDTSCP,
        .has_invpcid = proc2 & PROC2_INVPCID,
        .has_xsaves = proc2 & PROC2_XSAVES,
    };

    nested_offer(&vmx_features.caps, &guest, &n->caps);
    n->caps.cr4_fixed0 = CR4_VMXE; /* CR4.MCE, which our own entries insist on, stays the guest's choice */
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        n->exists[row] = check_field_exists(row, &n->caps);
}

enum status nested_create(struct vmx_vcpu *v, u32 *frames)
{
    hpa_t first;

    if (frames_allocate(NESTED_FRAMES, 1, &first) != STATUS_OK)
        return STATUS_NO_MEMORY;
    struct nested *n = v->nested = phys_to_virt(first);
    make_offer(n);
    if (shadow_create(&n->shadow, v->base.vm, &n->caps, frames) != STATUS_OK) {
        frames_free(first, NESTED_FRAMES);
        v->nested = NULL;
        return STATUS_NO_MEMORY;
    }
    n->image.cpu = (struct check_cpu){
        .physical_bits = (u8)vmx_features.guest_physical_bits,
        .linear_bits = LINEAR_BITS,
        .sti_blocks_nmi = true,
        .efer_valid = EFER_SCE | EFER_LME | EFER_LMA | (vmx_cpuid_has_nx() ? EFER_NXE : 0),
        .debugctl_valid = CHECK_DEBUGCTL_VALID,
    };
    n->image.read_memory = read_memory;
    n->image.memory_context = v;
    n->vmxon = n->current = NESTED_NONE;
    *frames += NESTED_FRAMES;
    return STATUS_OK;
}

void nested_destroy(struct vmx_vcpu *v)
{
    if (!v->nested)
        return;
    shadow_destroy(&v->nested->shadow);
    frames_free(virt_to_phys(v->nested), NESTED_FRAMES);
}

/* What of the current VMCS was not written back is lost, as it may be in a CPU. */
void nested_reset(struct vmx_vcpu *v)
{
    if (v->nested)
        v->nested->vmxon = v->nested->current = NESTED_NONE;
}

bool nested_read_msr(const struct vmx_vcpu *v, u32 index, u64 *value)
{
    return v->nested && nested_offer_msr(&v->nested->caps, index, value);
}

bool nested_allows_cr0(const struct vmx_vcpu *v, u64 value)
{
    const struct vmx_caps *caps = &v->nested->caps;

    return (value & caps->cr0_fixed0) == caps->cr0_fixed0 && !(value & ~caps->cr0_fixed1);
}

bool nested_allows_cr4(const struct vmx_vcpu *v, u64 value)
{
    const struct vmx_caps *caps = &v->nested->caps;

    return (value & caps->cr4_fixed0) == caps->cr4_fixed0 && !(value & ~caps->cr4_fixed1);
}
