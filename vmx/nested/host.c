/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See host.h. The values come from the cached VMCS, which was checked when the inner guest was entered and cannot be
 * written while it runs. SDM 3C 27.5.1 to 27.5.6, 27.7 "VMX Aborts".
 */
#include "vmx/nested/host.h"
#include "kernel/log.h"
#include "vmx/event.h"
#include "vmx/exit/cpuid.h"
#include "vmx/exit/cr.h"
#include "vmx/exit/msr.h"
#include "vmx/nested/level.h"
#include "vmx/nested/mirror.h"
#include "vmx/nested/msrs.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/report/debug.h"
#include "vmx/tlb.h"

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR0_OURS    (CR0_NE | CR0_ET | CR0_NW | CR0_CD)
#define DR7_INIT    0x400u
#define DATA_ACCESS 0xc093u
#define CODE_ACCESS 0x809bu /* with L or D */
#define TSS_ACCESS  0x8bu
#define UNUSABLE    0x10000u
#define TSS_LIMIT   0x67u
#define TABLE_LIMIT 0xffffu

bool host_abort(struct vmx_vcpu *v, enum host_abort indicator)
{
    vmcs12_abort(v, indicator);
    vm_stop(v->base.vm, VM_STOP_TRIPLE_FAULT, "what=\"VMX abort\" indicator=%u", indicator);
    return false;
}

static void load_cr0(u64 host)
{
    u64 old = vmcs_read(CR0_SHADOW);
    u64 value = (host & CR0_DEFINED & ~LEVEL_CR0_KEPT) | (old & LEVEL_CR0_KEPT);

    vmcs_write(GUEST_CR0, (value & ~CR0_OURS) | (vmcs_read(GUEST_CR0) & CR0_OURS));
    vmcs_write(CR0_SHADOW, value | CR0_ET);
}

static void load_cr4(struct vmx_vcpu *v, u64 host, bool long_mode)
{
    u64 value = long_mode ? host | CR4_PAE : host & ~CR4_PCIDE;

    vmcs_write(GUEST_CR4, value | vmx_features.caps.cr4_fixed0);
    vmcs_write(CR4_SHADOW, value);
    vmx_cpuid_set_osxsave(v, value & CR4_OSXSAVE);
}

static void load_efer(struct vmx_vcpu *v, const u64 *fields, u32 controls, bool long_mode)
{
    u64 value = controls & EXIT_LOAD_EFER ? fields[FIELD_HOST_EFER] : v->efer;
    u32 entry = vmcs_read(ENTRY_CONTROLS);

    v->efer = (value & ~(EFER_LME | EFER_LMA)) | (long_mode ? EFER_LME : 0);
    vmcs_write(GUEST_EFER, v->efer | (long_mode ? EFER_LMA : 0));
    vmcs_write(ENTRY_CONTROLS, long_mode ? entry | ENTRY_IA32E_GUEST : entry & ~ENTRY_IA32E_GUEST);
}

static void load_control_registers(struct vmx_vcpu *v, const u64 *fields, u32 controls)
{
    bool long_mode = controls & EXIT_HOST_ADDRESS_SPACE;

    load_cr0(fields[FIELD_HOST_CR0]);
    load_cr4(v, fields[FIELD_HOST_CR4], long_mode);
    vmcs_write(GUEST_CR3, fields[FIELD_HOST_CR3]);
    load_efer(v, fields, controls, long_mode);
    vmcs_write(GUEST_DR7, DR7_INIT);
    vmcs_write(GUEST_DEBUGCTL, 0);
    vmcs_write(GUEST_SYSENTER_CS, (u32)fields[FIELD_HOST_SYSENTER_CS]);
    vmcs_write(GUEST_SYSENTER_ESP, fields[FIELD_HOST_SYSENTER_ESP]);
    vmcs_write(GUEST_SYSENTER_EIP, fields[FIELD_HOST_SYSENTER_EIP]);
    if (controls & EXIT_LOAD_PAT)
        vmcs_write(GUEST_PAT, fields[FIELD_HOST_PAT]);
}

#define DATA_SEGMENT(name) GUEST_##name##_SELECTOR, GUEST_##name##_LIMIT, GUEST_##name##_ACCESS

static ALWAYS_INLINE void load_data_segment(struct vmcs_16_rw selector, struct vmcs_32_rw limit,
                                            struct vmcs_32_rw access, u64 value)
{
    vmcs_write_16(selector, (u16)value);
    vmcs_write_32(limit, UINT32_MAX);
    vmcs_write_32(access, (u16)value ? DATA_ACCESS : DATA_ACCESS | UNUSABLE);
}

static void load_segments(const u64 *fields, bool long_mode)
{
    load_data_segment(DATA_SEGMENT(ES), fields[FIELD_HOST_ES_SELECTOR]);
    load_data_segment(DATA_SEGMENT(SS), fields[FIELD_HOST_SS_SELECTOR]);
    load_data_segment(DATA_SEGMENT(DS), fields[FIELD_HOST_DS_SELECTOR]);
    load_data_segment(DATA_SEGMENT(FS), fields[FIELD_HOST_FS_SELECTOR]);
    load_data_segment(DATA_SEGMENT(GS), fields[FIELD_HOST_GS_SELECTOR]);
    vmcs_write(GUEST_ES_BASE, 0);
    vmcs_write(GUEST_SS_BASE, 0);
    vmcs_write(GUEST_DS_BASE, 0);
    vmcs_write(GUEST_FS_BASE, fields[FIELD_HOST_FS_BASE]);
    vmcs_write(GUEST_GS_BASE, fields[FIELD_HOST_GS_BASE]);
    vmcs_write(GUEST_CS_SELECTOR, (u16)fields[FIELD_HOST_CS_SELECTOR]);
    vmcs_write(GUEST_CS_LIMIT, UINT32_MAX);
    vmcs_write(GUEST_CS_ACCESS, CODE_ACCESS | (long_mode ? SEGMENT_LONG : SEGMENT_BIG));
    vmcs_write(GUEST_CS_BASE, 0);
    vmcs_write(GUEST_TR_SELECTOR, (u16)fields[FIELD_HOST_TR_SELECTOR]);
    vmcs_write(GUEST_TR_LIMIT, TSS_LIMIT);
    vmcs_write(GUEST_TR_ACCESS, TSS_ACCESS);
    vmcs_write(GUEST_TR_BASE, fields[FIELD_HOST_TR_BASE]);
    vmcs_write(GUEST_LDTR_SELECTOR, 0);
    vmcs_write(GUEST_LDTR_ACCESS, UNUSABLE);
    vmcs_write(GUEST_GDTR_BASE, fields[FIELD_HOST_GDTR_BASE]);
    vmcs_write(GUEST_GDTR_LIMIT, TABLE_LIMIT);
    vmcs_write(GUEST_IDTR_BASE, fields[FIELD_HOST_IDTR_BASE]);
    vmcs_write(GUEST_IDTR_LIMIT, TABLE_LIMIT);
}

static bool load_pdptes(struct vmx_vcpu *v)
{
    u64 pdpte[4];

    if (!(vmcs_read(GUEST_CR4) & CR4_PAE))
        return true;
    if (!vmx_read_pdptes(v, vmcs_read(GUEST_CR3), pdpte))
        return host_abort(v, HOST_ABORT_PDPTES);
    vmcs_write(GUEST_PDPTE0, pdpte[0]);
    vmcs_write(GUEST_PDPTE1, pdpte[1]);
    vmcs_write(GUEST_PDPTE2, pdpte[2]);
    vmcs_write(GUEST_PDPTE3, pdpte[3]);
    return true;
}

bool host_load(struct vmx_vcpu *v)
{
    const u64 *fields = vmcs12_fields(v);
    u32 controls = (u32)fields[FIELD_EXIT_CONTROLS];
    bool long_mode = controls & EXIT_HOST_ADDRESS_SPACE;

    if (UNLIKELY(v->debug))
        vmx_debug_put_off(v);
    load_control_registers(v, fields, controls);
    load_segments(fields, long_mode);
    vmcs_write(GUEST_RIP, fields[FIELD_HOST_RIP]);
    vmcs_write(GUEST_RSP, fields[FIELD_HOST_RSP]);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE);
    vmcs_write(GUEST_INTERRUPTIBILITY, vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI);
    vmcs_write(GUEST_PENDING_DEBUG, 0);
    vmcs_write(GUEST_ACTIVITY_STATE, 0);
    if (!(vmcs12_proc2(v) & PROC2_VPID))
        vmx_vcpu_flush_tlb(v);
    if (!long_mode && !load_pdptes(v))
        return false;
    if (msrs_load(v, fields[FIELD_EXIT_MSR_LOAD_ADDRESS], (u32)fields[FIELD_EXIT_MSR_LOAD_COUNT]))
        return host_abort(v, HOST_ABORT_LOADING_MSRS);
    if (UNLIKELY(v->debug))
        vmx_debug_go_on(v);
    mirror_publish(v);
    return true;
}
