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

static void load_cr0(u64 host, u64 kept)
{
    u64 value = (host & LEVEL_CR0_LOADED) | (kept & LEVEL_CR0_KEPT);

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

/* The mode is that in which the guest hypervisor has entered: SDM 3C 26.2.4 "Checks Related to Address-Space Size". So
 * "IA-32e mode guest" is as it must be. */
static void load_efer(struct vmx_vcpu *v, const u64 *fields, u32 controls, bool long_mode)
{
    u64 value = controls & EXIT_LOAD_EFER ? fields[FIELD_HOST_EFER] : v->efer;

    v->efer = (value & ~(EFER_LME | EFER_LMA)) | (long_mode ? EFER_LME : 0);
    vmcs_write(GUEST_EFER, v->efer | (long_mode ? EFER_LMA : 0));
}

/* IA32_DEBUGCTL, which becomes 0, always is. */
static void load_control_registers(struct vmx_vcpu *v, const u64 *fields, u32 controls, u64 cr0_kept)
{
    bool long_mode = controls & EXIT_HOST_ADDRESS_SPACE;

    load_cr0(fields[FIELD_HOST_CR0], cr0_kept);
    load_cr4(v, fields[FIELD_HOST_CR4], long_mode);
    vmcs_write(GUEST_CR3, fields[FIELD_HOST_CR3]);
    load_efer(v, fields, controls, long_mode);
    vmcs_write(GUEST_DR7, DR7_INIT);
    vmcs_write(GUEST_SYSENTER_CS, (u32)fields[FIELD_HOST_SYSENTER_CS]);
    vmcs_write(GUEST_SYSENTER_ESP, fields[FIELD_HOST_SYSENTER_ESP]);
    vmcs_write(GUEST_SYSENTER_EIP, fields[FIELD_HOST_SYSENTER_EIP]);
    if (controls & EXIT_LOAD_PAT)
        vmcs_write(GUEST_PAT, fields[FIELD_HOST_PAT]);
}

/* The compiler would load a constant anew for each VMWRITE. */
static ALWAYS_INLINE u64 in_register(u64 constant)
{
    asm("" : "+r"(constant));
    return constant;
}

#define WRITE(to, value) vmcs_write_raw(ENCODING_GUEST_##to, value)
#define LOAD(name)       WRITE(name, fields[FIELD_HOST_##name])
/* The limit of one that is unusable is undefined. */
#define LOAD_DATA(name)                                                                                                \
    do {                                                                                                               \
        LOAD(name##_SELECTOR);                                                                                         \
        if (fields[FIELD_HOST_##name##_SELECTOR]) {                                                                    \
            WRITE(name##_LIMIT, all);                                                                                  \
            WRITE(name##_ACCESS, data);                                                                                \
        } else {                                                                                                       \
            WRITE(name##_ACCESS, DATA_ACCESS | UNUSABLE);                                                              \
        }                                                                                                              \
    } while (0)

static ALWAYS_INLINE void load_segments(const u64 *fields, bool long_mode)
{
    u64 all = in_register(UINT32_MAX), data = in_register(DATA_ACCESS), none = in_register(0);

    LOAD_DATA(ES);
    LOAD_DATA(SS);
    LOAD_DATA(DS);
    LOAD_DATA(FS);
    LOAD_DATA(GS);
    WRITE(ES_BASE, none);
    WRITE(SS_BASE, none);
    WRITE(DS_BASE, none);
    LOAD(FS_BASE);
    LOAD(GS_BASE);
    LOAD(CS_SELECTOR);
    WRITE(CS_LIMIT, all);
    WRITE(CS_ACCESS, CODE_ACCESS | (long_mode ? SEGMENT_LONG : SEGMENT_BIG));
    WRITE(CS_BASE, none);
    LOAD(TR_SELECTOR);
    WRITE(TR_LIMIT, TSS_LIMIT);
    WRITE(TR_ACCESS, TSS_ACCESS);
    LOAD(TR_BASE);
    WRITE(LDTR_SELECTOR, none);
    WRITE(LDTR_ACCESS, UNUSABLE);
    LOAD(GDTR_BASE);
    WRITE(GDTR_LIMIT, TABLE_LIMIT);
    LOAD(IDTR_BASE);
    WRITE(IDTR_LIMIT, TABLE_LIMIT);
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

bool host_load(struct vmx_vcpu *v, u64 cr0_kept, u32 blocking)
{
    const u64 *fields = vmcs12_fields(v);
    u32 controls = (u32)fields[FIELD_EXIT_CONTROLS];
    bool long_mode = controls & EXIT_HOST_ADDRESS_SPACE;
    u32 unused;

    if (UNLIKELY(v->debug))
        vmx_debug_put_off(v);
    load_control_registers(v, fields, controls, cr0_kept);
    load_segments(fields, long_mode);
    vmcs_write(GUEST_RIP, fields[FIELD_HOST_RIP]);
    vmcs_write(GUEST_RSP, fields[FIELD_HOST_RSP]);
    vmcs_write(GUEST_RFLAGS, RFLAGS_ONE);
    vmcs_write(GUEST_INTERRUPTIBILITY, blocking & INTERRUPTIBILITY_NMI);
    vmcs_write(GUEST_PENDING_DEBUG, 0);
    if (!(vmcs12_proc2(v) & PROC2_VPID))
        vmx_vcpu_flush_tlb(v);
    if (!long_mode && !load_pdptes(v))
        return false;
    if (msrs_load(v, fields[FIELD_EXIT_MSR_LOAD_ADDRESS], (u32)fields[FIELD_EXIT_MSR_LOAD_COUNT], &unused))
        return host_abort(v, HOST_ABORT_LOADING_MSRS);
    if (UNLIKELY(v->debug))
        vmx_debug_go_on(v);
    mirror_publish(v);
    return true;
}
