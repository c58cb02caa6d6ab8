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
#include "kernel/panic.h"
#include "vmx/exit/cpuid.h"
#include "vmx/load.h"
#include "vmx/nested/level.h"
#include "vmx/nested/mirror.h"
#include "vmx/nested/offer.h"
#include "vmx/nested/vmcs12.h"

#define NESTED_FRAMES ((u32)((sizeof(struct nested) + FRAME_BYTES - 1) / FRAME_BYTES))
#define ALL_FRAMES    (NESTED_FRAMES + 4) /* two VMCS regions, a virtual-APIC page, an MSR bitmap */
#define SHADOW_VMCS   BIT(31)             /* SDM 3C 24.2 "Format of the VMCS Region" */
#define LINEAR_BITS   48u
/* Beside the tables of the shadow, which grow with the VM's memory. */
_Static_assert(ALL_FRAMES <= KIB(64) / FRAME_BYTES, "docs/nested.md says how much a vCPU's nested state may take");

void nested_memory_read(const struct vmx_vcpu *v, u64 physical, void *to, u64 bytes)
{
    if (guest_memory_read(&v->base.vm->memory, gpa(physical), to, bytes) != STATUS_OK)
        memset(to, 0xff, bytes);
}

/* guest_memory_write() acts for firmware and writes ROM, too. If there is no frame for layered memory, the VM stops. */
void nested_memory_write(const struct vmx_vcpu *v, u64 physical, const void *from, u64 bytes)
{
    const struct guest_region *where = guest_memory_find(&v->base.vm->memory, gpa(physical));

    if (where && where->kind != GUEST_REGION_ROM)
        (void)!guest_memory_write(&v->base.vm->memory, gpa(physical), from, bytes);
}

/* RAM stays where it is: a VM with nested=on has no snapshots, whose memory moves. */
u8 *nested_find_page(const struct vmx_vcpu *v, struct nested_page *page, u64 physical)
{
    const struct guest_memory *memory = &v->base.vm->memory;

    if (UNLIKELY(page->address != physical)) {
        const struct guest_region *where = guest_memory_find(memory, gpa(physical));
        page->address = physical;
        page->host =
            where && where->kind == GUEST_REGION_RAM ? guest_memory_view(memory, gpa(physical), FRAME_BYTES) : NULL;
    }
    return page->host;
}

/* The checks of a VM entry look into the guest's memory. */
static bool read_memory(void *context, u64 physical, void *to, u32 bytes)
{
    nested_memory_read(context, physical, to, bytes);
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

/* The MSRs that Rootlet passes to any guest are in few words of its bitmap. */
static void find_msr_words(struct nested *n)
{
    const u64 *ours = phys_to_virt(vmx_features.msr_bitmap);

    for (u16 i = 0; i < FRAME_BYTES / sizeof *ours; i++) {
        if (ours[i] == ~0ull)
            continue;
        CHECK(n->msr_word_count < NESTED_MSR_WORDS);
        n->msr_words[n->msr_word_count++] = i;
    }
}

enum status nested_create(struct vmx_vcpu *v, u32 *frames)
{
    hpa_t first;

    if (frames_allocate(ALL_FRAMES, 1, &first) != STATUS_OK)
        return STATUS_NO_MEMORY;
    struct nested *n = v->nested = phys_to_virt(first);
    n->other.vmcs = hpa(first.raw + NESTED_FRAMES * FRAME_BYTES);
    n->tpr_page = hpa(n->other.vmcs.raw + FRAME_BYTES);
    n->mirror = hpa(n->tpr_page.raw + FRAME_BYTES);
    n->msr_bitmap = hpa(n->mirror.raw + FRAME_BYTES);
    memset(phys_to_virt(n->msr_bitmap), 0xff, FRAME_BYTES);
    n->tpr.address = n->msrs.address = NESTED_NONE;
    *(u32 *)phys_to_virt(n->mirror) = vmx_caps_revision(&vmx_features.caps) | SHADOW_VMCS;
    n->other.host_cpu = n->other.tlb_cpu = VCPU_NO_CPU;
    n->other.vpid = vmx_new_vpid();
    n->timer_tsc = UINT64_MAX;
    make_offer(n);
    find_msr_words(n);
    if (shadow_create(&n->shadow, v->base.vm, &n->caps, frames) != STATUS_OK) {
        frames_free(first, ALL_FRAMES);
        v->nested = NULL;
        return STATUS_NO_MEMORY;
    }
    n->image.cpu = (struct check_cpu){
        .physical_bits = (u8)vmx_features.guest_physical_bits,
        .linear_bits = LINEAR_BITS,
        .sti_blocks_nmi = true,
        .efer_valid = EFER_SCE | EFER_LME | EFER_LMA | (vmx_cpuid_has_nx() ? EFER_NXE : 0),
        .debugctl_valid = DEBUGCTL_BITS,
    };
    n->image.read_memory = read_memory;
    n->image.memory_context = v;
    n->vmxon = n->current = NESTED_NONE;
    *frames += ALL_FRAMES;
    return STATUS_OK;
}

void nested_destroy(struct vmx_vcpu *v)
{
    if (!v->nested)
        return;
    if (v->nested->inside) /* the VMCS of inner guests is one of our frames; the vCPU's own is not */
        v->vmcs = v->nested->other.vmcs;
    shadow_destroy(&v->nested->shadow);
    frames_free(virt_to_phys(v->nested), ALL_FRAMES);
}

void nested_detach(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    if (n && n->has_mirror) /* which is active as the guest's VMCS is: SDM 3C 24.1 "Overview" */
        CHECK(vmcs_clear(n->mirror));
    if (!n || !n->made)
        return;
    CHECK(vmcs_clear(n->other.vmcs));
    n->other.launched = 0;
}

/* What of the current VMCS was not written back is lost, as it may be in a CPU. */
void nested_reset(struct vmx_vcpu *v)
{
    if (!v->nested)
        return;
    if (v->nested->inside)
        level_swap(v);
    v->nested->guest_is_stale = false;
    mirror_drop(v);
    v->nested->vmxon = v->nested->current = NESTED_NONE;
    v->nested->refusal.broken = 0;
}

bool nested_read_msr(const struct vmx_vcpu *v, u32 index, u64 *value)
{
    return v->nested && nested_offer_msr(&v->nested->caps, index, value);
}

bool nested_allows_cr0(const struct vmx_vcpu *v, u64 value)
{
    const struct vmx_caps *caps = &v->nested->caps;
    u64 fixed0 = caps->cr0_fixed0;

    if (v->nested->inside && vmcs12_proc2(v) & PROC2_UNRESTRICTED_GUEST)
        fixed0 &= ~(CR0_PE | CR0_PG);
    return (value & fixed0) == fixed0 && !(value & ~caps->cr0_fixed1);
}

bool nested_allows_cr4(const struct vmx_vcpu *v, u64 value)
{
    const struct vmx_caps *caps = &v->nested->caps;

    return (value & caps->cr4_fixed0) == caps->cr4_fixed0 && !(value & ~caps->cr4_fixed1);
}
