/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's state, out of its VMCS and struct vmx_vcpu and back, in this VM or in another that is a copy of it: what a
 * snapshot keeps. Controls and host state are the VMCS's own; of them only what depends on the guest's state is here.
 * SDM 3C 24.4 "Guest-State Area".
 */
#include "arch/x86/xsave.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/virt.h"
#include "vmx/event.h"
#include "vmx/load.h"

/* SDM 3C 24.4.1, 24.4.2; not what follows from other state: the guest interrupt status is made anew from the APIC page,
 * and PDPTEs count in PAE paging only, but are always there. The rest are controls that the guest's state decides. */
static const u32 fields[] = {
    ENCODING_GUEST_ES_SELECTOR,
    ENCODING_GUEST_CS_SELECTOR,
    ENCODING_GUEST_SS_SELECTOR,
    ENCODING_GUEST_DS_SELECTOR,
    ENCODING_GUEST_FS_SELECTOR,
    ENCODING_GUEST_GS_SELECTOR,
    ENCODING_GUEST_LDTR_SELECTOR,
    ENCODING_GUEST_TR_SELECTOR,
    ENCODING_GUEST_ES_LIMIT,
    ENCODING_GUEST_CS_LIMIT,
    ENCODING_GUEST_SS_LIMIT,
    ENCODING_GUEST_DS_LIMIT,
    ENCODING_GUEST_FS_LIMIT,
    ENCODING_GUEST_GS_LIMIT,
    ENCODING_GUEST_LDTR_LIMIT,
    ENCODING_GUEST_TR_LIMIT,
    ENCODING_GUEST_GDTR_LIMIT,
    ENCODING_GUEST_IDTR_LIMIT,
    ENCODING_GUEST_ES_ACCESS,
    ENCODING_GUEST_CS_ACCESS,
    ENCODING_GUEST_SS_ACCESS,
    ENCODING_GUEST_DS_ACCESS,
    ENCODING_GUEST_FS_ACCESS,
    ENCODING_GUEST_GS_ACCESS,
    ENCODING_GUEST_LDTR_ACCESS,
    ENCODING_GUEST_TR_ACCESS,
    ENCODING_GUEST_ES_BASE,
    ENCODING_GUEST_CS_BASE,
    ENCODING_GUEST_SS_BASE,
    ENCODING_GUEST_DS_BASE,
    ENCODING_GUEST_FS_BASE,
    ENCODING_GUEST_GS_BASE,
    ENCODING_GUEST_LDTR_BASE,
    ENCODING_GUEST_TR_BASE,
    ENCODING_GUEST_GDTR_BASE,
    ENCODING_GUEST_IDTR_BASE,
    ENCODING_GUEST_CR0,
    ENCODING_GUEST_CR3,
    ENCODING_GUEST_CR4,
    ENCODING_GUEST_DR7,
    ENCODING_GUEST_RSP,
    ENCODING_GUEST_RIP,
    ENCODING_GUEST_RFLAGS,
    ENCODING_GUEST_PENDING_DEBUG,
    ENCODING_GUEST_DEBUGCTL,
    ENCODING_GUEST_SYSENTER_CS,
    ENCODING_GUEST_SYSENTER_ESP,
    ENCODING_GUEST_SYSENTER_EIP,
    ENCODING_GUEST_PAT,
    ENCODING_GUEST_EFER,
    ENCODING_GUEST_PDPTE0,
    ENCODING_GUEST_PDPTE1,
    ENCODING_GUEST_PDPTE2,
    ENCODING_GUEST_PDPTE3,
    ENCODING_GUEST_ACTIVITY_STATE,
    ENCODING_GUEST_INTERRUPTIBILITY,
    ENCODING_CR0_SHADOW,
    ENCODING_CR4_SHADOW,
    ENCODING_ENTRY_CONTROLS,
};

struct state {
    bool configured;
    bool debug_used;
    bool nmi_in_service;
    u8 mcg_status;
    u8 cpuid_direct;
    u16 spec_ctrl;
    u32 windows;
    u32 end_flags;
    u64 fields[ARRAY_SIZE(fields)];
    u64 gpr[16];
    struct vmx_event reinject;
    struct vmx_event exception;
    u64 efer, xcr0, cr2;
    u64 dr[4];
    u64 dr6;
    u64 msrs[VMX_SWITCHED_MSRS];
    struct mtrr mtrr;
    u64 misc_enable;
    u64 tsc_adjust;
    u64 tsc_offset;
    struct cpuid_result cpuid_leaf1;
    struct start_state start;
    u8 xsave_area[] ALIGNED(64);
};

u64 virt_state_bytes(void)
{
    return bits_align_up(sizeof(struct state) + vmx_features.xsave_bytes, XSAVE_ALIGNMENT);
}

static void save_vmcs(struct vmx_vcpu *v, struct state *s)
{
    hpa_t previous = vmx_open(v);

    vmx_event_take_back(v);
    for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
        s->fields[i] = vmcs_read_raw(fields[i]);
    vmx_close(v, previous);
}

/* The slots have places in memory, which are others now, or are frozen. */
static void forget_slots(struct vmx_vcpu *v)
{
    for (u32 i = 0; i < MMIO_SLOTS; i++)
        v->mmio[i].cs_access = 0;
}

void virt_state_save(struct vcpu *vcpu, void *state)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    struct state *s = state;

    forget_slots(v);
    s->configured = v->configured;
    if (v->configured)
        save_vmcs(v, s);
    s->start = v->start;
    s->tsc_offset = vcpu->tsc_offset;
    s->debug_used = v->debug_used;
    s->nmi_in_service = v->nmi_in_service;
    s->mcg_status = v->mcg_status;
    s->cpuid_direct = v->cpuid_direct;
    s->spec_ctrl = v->spec_ctrl;
    s->end_flags = v->end_flags;
    s->misc_enable = v->misc_enable;
    s->windows = vcpu->windows;
    memcpy(s->gpr, v->gpr, sizeof s->gpr);
    s->reinject = v->reinject;
    s->exception = v->exception;
    s->efer = v->efer;
    s->xcr0 = v->xcr0;
    s->cr2 = v->cr2;
    memcpy(s->dr, v->dr, sizeof s->dr);
    s->dr6 = v->dr6;
    memcpy(s->msrs, v->msrs, sizeof s->msrs);
    s->mtrr = v->mtrr;
    s->tsc_adjust = v->tsc_adjust;
    s->cpuid_leaf1 = v->cpuid_leaf1;
    memcpy(s->xsave_area, v->xsave_area, vmx_features.xsave_bytes);
}

static void load_vmcs(struct vmx_vcpu *v, const struct state *s)
{
    hpa_t previous = vmx_open(v);
    u32 proc = vmcs_read(PROC_CONTROLS) & ~(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW | PROC_MOV_DR_EXITING);

    for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
        vmcs_write_raw(fields[i], s->fields[i]);
    if (!s->debug_used)
        proc |= vmx_features.controls.value[VMX_PROC] & PROC_MOV_DR_EXITING;
    vmcs_write(PROC_CONTROLS, proc | (s->windows & ~(u32)EVENT_TRAP_FIRST));
    vmcs_write(TSC_OFFSET, s->tsc_offset);
    vmcs_write(ENTRY_INTERRUPTION_INFO, 0);
    vmx_close(v, previous);
}

/* It had not run yet: its VMCS will be written when it does. */
static void begin_anew(struct vmx_vcpu *v)
{
    v->configured = false;
    v->apicv = 0;
}

void virt_state_load(struct vcpu *vcpu, const void *state)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    const struct state *s = state;

    forget_slots(v);
    v->tlb_cpu = VCPU_NO_CPU; /* the TLB has what the other past had there */
    if (s->configured)
        load_vmcs(v, s);
    else
        begin_anew(v);
    v->start = s->start;
    vcpu->tsc_offset = s->tsc_offset;
    vcpu->windows = s->windows;
    v->debug_used = s->debug_used;
    v->nmi_in_service = s->nmi_in_service;
    v->base.init_taken = false; /* if it waits for SIPI, it is reset once more */
    v->mcg_status = s->mcg_status;
    v->cpuid_direct = s->cpuid_direct;
    v->spec_ctrl = s->spec_ctrl;
    v->end_flags = s->end_flags;
    v->misc_enable = s->misc_enable;
    memcpy(v->gpr, s->gpr, sizeof v->gpr);
    v->reinject = s->reinject;
    v->exception = s->exception;
    v->efer = s->efer;
    v->xcr0 = s->xcr0;
    v->cr2 = s->cr2;
    memcpy(v->dr, s->dr, sizeof v->dr);
    v->dr6 = s->dr6;
    memcpy(v->msrs, s->msrs, sizeof v->msrs);
    v->mtrr = s->mtrr;
    memcpy(v->xsave_area, s->xsave_area, vmx_features.xsave_bytes);
    v->tsc_adjust = s->tsc_adjust;
    v->cpuid_leaf1 = s->cpuid_leaf1;
}

void virt_vcpu_set_result(struct vcpu *vcpu, u32 eax, const u32 *ebx)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);

    v->gpr[GPR_RAX] = eax;
    if (ebx)
        v->gpr[GPR_RBX] = *ebx;
}
