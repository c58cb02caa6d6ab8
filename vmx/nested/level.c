/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See level.h. SDM 3C 24.6 "VM-Execution Control Fields", 26.3.2 "Loading Guest State", 27.3 "Saving Guest State".
 */
#include "vmx/nested/level.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu.h"
#include "arch/x86/quirks.h"
#include "kernel/panic.h"
#include "vmx/ept.h"
#include "vmx/entry.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/load.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/points.h"
#include "vmx/tlb.h"

/* ---- which VMCS is current ---- */

#define EXCHANGE(a, b)                                                                                                 \
    do {                                                                                                               \
        __typeof__(a) was = (a);                                                                                       \
        (a) = (b);                                                                                                     \
        (b) = was;                                                                                                     \
    } while (0)

_Static_assert(offsetof(struct nested_level, windows) == 4 * sizeof(u64), "these are all of them");

void level_swap(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    EXCHANGE(v->level_words[0], n->other.level_words[0]);
    EXCHANGE(v->level_words[1], n->other.level_words[1]);
    EXCHANGE(v->level_words[2], n->other.level_words[2]);
    EXCHANGE(v->level_words[3], n->other.level_words[3]);
    EXCHANGE(v->base.windows, n->other.windows);
    n->inside = !n->inside;
    n->owed_reason = 0;
    v->inner_physical = NULL;
    CHECK(vmcs_load(v->vmcs));
    vmx_take_cpu(v);
}

void level_make(struct vmx_vcpu *v)
{
    if (v->nested->made)
        return;
    v->nested->made = true;
    *(u32 *)phys_to_virt(v->nested->other.vmcs) = vmx_caps_revision(&vmx_features.caps);
    CHECK(vmcs_clear(v->nested->other.vmcs));
    u64 host_rip = vmcs_read(HOST_RIP);
    level_swap(v);
    vmx_write_constant_state();
    vmcs_write(HOST_RIP, host_rip);
    level_swap(v);
}

/* ---- controls ---- */

static u64 get(const struct vmx_vcpu *v, enum check_field row)
{
    return vmcs12_get(v, row);
}

/*
 * What the guest hypervisor sets is set, as far as it is one of those that it is offered. I/O bitmaps are none of the
 * CPU's: each access to a port exits, and route.c looks into the guest hypervisor's.
 */
#define PROC_CR8        (PROC_CR8_LOAD_EXITING | PROC_CR8_STORE_EXITING)
#define PROC_OURS_ONLY  (PROC_TPR_SHADOW | PROC_MSR_BITMAPS | PROC_IO_BITMAPS | PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW)
#define PROC_NOT_PASSED (PROC_MSR_BITMAPS | PROC_IO_BITMAPS | PROC_SECONDARY)
/* What an inner guest has only if its hypervisor says so; and what exits if either says so: the caches hold other VMs'
 * data, too. */
#define PROC2_INNER                                                                                                    \
    (PROC2_DESCRIPTOR_TABLE | PROC2_RDTSCP | PROC2_UNRESTRICTED_GUEST | PROC2_PAUSE_LOOP_EXITING |                     \
     PROC2_RDRAND_EXITING | PROC2_INVPCID | PROC2_VMFUNC | PROC2_RDSEED_EXITING | PROC2_XSAVES)
#define PROC2_EITHER PROC2_WBINVD_EXITING

#define VTPR 0x80u /* SDM 3C 29.1.1 "Virtualized APIC Registers" */

static u8 *virtual_tpr(const struct vmx_vcpu *v)
{
    return (u8 *)phys_to_virt(v->nested->tpr_page) + VTPR;
}

/*
 * Without APIC-register virtualisation the CPU uses nothing of the virtual-APIC page but its TPR. That is copied: other
 * vCPUs can write to the guest hypervisor's page at any time, and an entry with a threshold above the TPR would fail.
 */
static void write_tpr(struct vmx_vcpu *v)
{
    u8 *tpr = virtual_tpr(v);
    u32 threshold = (u32)get(v, FIELD_TPR_THRESHOLD);
    u64 page = get(v, FIELD_VIRTUAL_APIC_ADDRESS);
    const volatile u8 *theirs = nested_find_page(v, &v->nested->tpr, page);

    if (LIKELY(theirs))
        *tpr = theirs[VTPR];
    else
        nested_memory_read(v, page + VTPR, tpr, 1);
    vmcs_write(VIRTUAL_APIC_ADDRESS, v->nested->tpr_page.raw);
    vmcs_write(TPR_THRESHOLD, threshold < *tpr >> 4 ? threshold : *tpr >> 4);
}

static void save_tpr(struct vmx_vcpu *v)
{
    u64 page = get(v, FIELD_VIRTUAL_APIC_ADDRESS);
    u8 *theirs = nested_find_page(v, &v->nested->tpr, page);

    if (LIKELY(theirs))
        theirs[VTPR] = *virtual_tpr(v);
    else
        nested_memory_write(v, page + VTPR, virtual_tpr(v), 1);
}

/*
 * Without an exit the inner guest accesses what both bitmaps pass. The guest hypervisor may have changed its own since
 * the last entry, and another vCPU may do so at any moment, so that they are read once in each entry.
 */
static void write_msr_bitmap(struct vmx_vcpu *v)
{
    const u64 *ours = phys_to_virt(vmx_features.msr_bitmap);
    const volatile u64 *theirs = (const void *)v->nested->msrs.host;
    u64 *both = phys_to_virt(v->nested->msr_bitmap);

    for (u32 i = 0; i < v->nested->msr_word_count; i++) {
        u32 word = v->nested->msr_words[i];
        both[word] = ours[word] | theirs[word];
    }
}

/* Whether the CPU uses that bitmap; else each RDMSR and WRMSR exits, and route.c looks into the guest hypervisor's. */
static bool merges_msrs(struct vmx_vcpu *v)
{
    return get(v, FIELD_PROC_CONTROLS) & PROC_MSR_BITMAPS && vmx_features.controls.value[VMX_PROC] & PROC_MSR_BITMAPS &&
           nested_find_page(v, &v->nested->msrs, get(v, FIELD_MSR_BITMAPS));
}

static void write_proc_controls(struct vmx_vcpu *v)
{
    const struct vmx_controls *ours = &vmx_features.controls;
    u32 proc = (ours->value[VMX_PROC] & ~(PROC_OURS_ONLY | PROC_CR8)) | PROC_UNCONDITIONAL_IO;
    u32 inner = (u32)get(v, FIELD_PROC_CONTROLS);
    u32 proc2 = vmcs12_proc2(v);

    if (!(inner & PROC_TPR_SHADOW))
        proc |= PROC_CR8;
    if (v->debug_used)
        proc &= ~PROC_MOV_DR_EXITING;
    v->nested->merges_msrs = merges_msrs(v);
    if (v->nested->merges_msrs) {
        proc |= PROC_MSR_BITMAPS;
        vmcs_write(MSR_BITMAPS, v->nested->msr_bitmap.raw);
    }
    vmcs_write(PROC_CONTROLS, proc | (inner & ~PROC_NOT_PASSED));
    v->base.windows = 0; /* none of Rootlet's is open in it */
    vmcs_write(PROC2_CONTROLS, (ours->value[VMX_PROC2] & ~PROC2_INNER) | (proc2 & (PROC2_INNER | PROC2_EITHER)));
    if (proc2 & PROC2_PAUSE_LOOP_EXITING) {
        vmcs_write(PLE_GAP, (u32)get(v, FIELD_PLE_GAP));
        vmcs_write(PLE_WINDOW, (u32)get(v, FIELD_PLE_WINDOW));
    }
    if (proc2 & PROC2_VMFUNC) /* each function exits: the EPTs in the CPU are Rootlet's */
        vmcs_write(VM_FUNCTION_CONTROLS, 0);
    if (proc2 & PROC2_XSAVES)
        vmcs_write(XSS_EXITING_BITMAP, get(v, FIELD_XSS_EXITING_BITMAP));
}

/* If Rootlet wants all page faults, route.c sorts out those that the guest hypervisor wants. SDM 3C 25.2 "Other Causes
 * of VM Exits" */
static void write_exceptions(struct vmx_vcpu *v)
{
    u32 ours = vmx_exception_bitmap();
    bool all_page_faults = ours & BIT(VECTOR_PF);

    vmcs_write(EXCEPTION_BITMAP, ours | (u32)get(v, FIELD_EXCEPTION_BITMAP));
    vmcs_write(PF_ERROR_MASK, all_page_faults ? 0 : (u32)get(v, FIELD_PF_ERROR_MASK));
    vmcs_write(PF_ERROR_MATCH, all_page_faults ? 0 : (u32)get(v, FIELD_PF_ERROR_MATCH));
}

void level_write_tsc_offset(struct vmx_vcpu *v)
{
    u64 inner = get(v, FIELD_PROC_CONTROLS) & PROC_TSC_OFFSETTING ? get(v, FIELD_TSC_OFFSET) : 0;

    vmcs_write(TSC_OFFSET, v->base.tsc_offset + inner);
}

/* "IA-32e mode guest" an exit updates in the CPU as in the inner VMCS. The EPT pointer is that of inner guests without
 * EPT. */
static NOINLINE void write_changed_controls(struct vmx_vcpu *v)
{
    u32 mode = (u32)get(v, FIELD_ENTRY_CONTROLS) & ENTRY_IA32E_GUEST;

    v->nested->controls_written = false;
    v->nested->inner_debug_used = v->debug_used;
    write_proc_controls(v);
    write_exceptions(v);
    vmcs_write(ENTRY_CONTROLS, vmx_features.controls.value[VMX_ENTRY] | mode);
    vmcs_write(EPT_POINTER, ept_pointer(v->base.vm->ept_root));
    if (vmx_features.has_vpid)
        vmcs_write(VPID, v->vpid);
}

void level_write_controls(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    const u64 *fields = vmcs12_fields(v);

    if (n->controls_written || n->inner_debug_used != v->debug_used)
        write_changed_controls(v);
    level_write_tsc_offset(v);
    if (fields[FIELD_PROC_CONTROLS] & PROC_TPR_SHADOW)
        write_tpr(v);
    if (n->merges_msrs)
        write_msr_bitmap(v);
    if (vmcs12_proc2(v) & PROC2_EPT)
        vmcs_write(EPT_POINTER, shadow_pointer(&n->shadow, fields[FIELD_EPT_POINTER]));
}

/* ---- guest state ---- */

/* What is the same in both VMCSs, by how it is copied: saved if somebody asks for it, written if it has changed. SDM 3C
 * 24.4 "Guest-State Area" */
#define FETCHED(F)                                                                                                     \
    F(GUEST_ES_SELECTOR)                                                                                               \
    F(GUEST_CS_SELECTOR)                                                                                               \
    F(GUEST_SS_SELECTOR)                                                                                               \
    F(GUEST_DS_SELECTOR)                                                                                               \
    F(GUEST_FS_SELECTOR)                                                                                               \
    F(GUEST_GS_SELECTOR)                                                                                               \
    F(GUEST_LDTR_SELECTOR)                                                                                             \
    F(GUEST_TR_SELECTOR)                                                                                               \
    F(GUEST_ES_LIMIT)                                                                                                  \
    F(GUEST_CS_LIMIT)                                                                                                  \
    F(GUEST_SS_LIMIT)                                                                                                  \
    F(GUEST_DS_LIMIT)                                                                                                  \
    F(GUEST_FS_LIMIT)                                                                                                  \
    F(GUEST_GS_LIMIT)                                                                                                  \
    F(GUEST_LDTR_LIMIT)                                                                                                \
    F(GUEST_TR_LIMIT)                                                                                                  \
    F(GUEST_GDTR_LIMIT)                                                                                                \
    F(GUEST_IDTR_LIMIT)                                                                                                \
    F(GUEST_ES_ACCESS)                                                                                                 \
    F(GUEST_DS_ACCESS)                                                                                                 \
    F(GUEST_FS_ACCESS)                                                                                                 \
    F(GUEST_GS_ACCESS)                                                                                                 \
    F(GUEST_LDTR_ACCESS)                                                                                               \
    F(GUEST_TR_ACCESS)                                                                                                 \
    F(GUEST_ES_BASE)                                                                                                   \
    F(GUEST_CS_BASE)                                                                                                   \
    F(GUEST_SS_BASE)                                                                                                   \
    F(GUEST_DS_BASE)                                                                                                   \
    F(GUEST_FS_BASE)                                                                                                   \
    F(GUEST_GS_BASE)                                                                                                   \
    F(GUEST_LDTR_BASE)                                                                                                 \
    F(GUEST_TR_BASE)                                                                                                   \
    F(GUEST_GDTR_BASE)                                                                                                 \
    F(GUEST_IDTR_BASE)                                                                                                 \
    F(GUEST_SYSENTER_CS)                                                                                               \
    F(GUEST_SYSENTER_ESP)                                                                                              \
    F(GUEST_SYSENTER_EIP)
/* Saved at each exit, written if it has changed. */
#define SAVED(F)                                                                                                       \
    F(GUEST_CS_ACCESS)                                                                                                 \
    F(GUEST_SS_ACCESS)                                                                                                 \
    F(GUEST_CR3)
/* Saved at each exit and written at each entry. */
#define ALWAYS(F)                                                                                                      \
    F(GUEST_RSP)                                                                                                       \
    F(GUEST_RIP)                                                                                                       \
    F(GUEST_RFLAGS)                                                                                                    \
    F(GUEST_PENDING_DEBUG)                                                                                             \
    F(GUEST_INTERRUPTIBILITY)

struct same {
    u16 encoding;
    u8 row;
};
#define DEFINE_SAME(name) {ENCODING_##name, FIELD_##name},
static const struct same fetched[] = {FETCHED(DEFINE_SAME)};
/* Of a few that are copied often, one after the other: a loop would take as long again. */
#define SAVE(name)  vmcs_store_raw(ENCODING_##name, &fields[FIELD_##name]);
#define WRITE(name) vmcs_write_raw(ENCODING_##name, fields[FIELD_##name]);
static const struct same pdptes[] = {
    {ENCODING_GUEST_PDPTE0, FIELD_GUEST_PDPTE0},
    {ENCODING_GUEST_PDPTE1, FIELD_GUEST_PDPTE1},
    {ENCODING_GUEST_PDPTE2, FIELD_GUEST_PDPTE2},
    {ENCODING_GUEST_PDPTE3, FIELD_GUEST_PDPTE3}
};

/*
 * A bit that neither masks is the inner guest's in the CPU. One that only Rootlet masks is read from the shadow, since
 * to the guest hypervisor the inner guest owns it. SDM 3C 24.6.6 "Guest/Host Masks and Read Shadows for CR0 and CR4"
 */
static u64 seen(u64 cpu, u64 cpu_shadow, u64 kept, u64 inner_mask, u64 ours)
{
    u64 owned = cpu ^ ((cpu ^ cpu_shadow) & ours);
    return owned ^ ((owned ^ kept) & inner_mask);
}

static ALWAYS_INLINE u64 seen_cr0(const u64 *fields, u64 cpu)
{
    return seen(cpu, vmcs_read(CR0_SHADOW), fields[FIELD_GUEST_CR0], fields[FIELD_CR0_MASK], VMX_CR0_OURS);
}

static ALWAYS_INLINE u64 seen_cr4(const u64 *fields)
{
    return seen(vmcs_read(GUEST_CR4), vmcs_read(CR4_SHADOW), fields[FIELD_GUEST_CR4], fields[FIELD_CR4_MASK],
                vmx_cr4_ours());
}

u64 level_cr0(const struct vmx_vcpu *v)
{
    return seen_cr0(vmcs12_fields(v), vmcs_read(GUEST_CR0));
}

u64 level_cr4(const struct vmx_vcpu *v)
{
    return seen_cr4(vmcs12_fields(v));
}

static NOINLINE void write_control_registers(struct vmx_vcpu *v, u64 cr0_kept)
{
    u64 fixed = vmx_features.caps.cr0_fixed0 & ~(CR0_PE | CR0_PG);
    u64 cr0 = (get(v, FIELD_GUEST_CR0) & LEVEL_CR0_LOADED) | cr0_kept, mask0 = get(v, FIELD_CR0_MASK);
    u64 cr4 = get(v, FIELD_GUEST_CR4), mask4 = get(v, FIELD_CR4_MASK);

    vmcs_write(GUEST_CR0, (cr0 & ~VMX_CR0_OURS) | fixed);
    vmcs_write(CR0_MASK, mask0 | VMX_CR0_OURS);
    vmcs_write(CR0_SHADOW, (get(v, FIELD_CR0_SHADOW) & mask0) | (cr0 & ~mask0));
    vmcs_write(GUEST_CR4, cr4 | vmx_features.caps.cr4_fixed0);
    vmcs_write(CR4_MASK, mask4 | vmx_cr4_ours());
    vmcs_write(CR4_SHADOW, (get(v, FIELD_CR4_SHADOW) & mask4) | (cr4 & ~mask4));
}

/* SDM 3C 26.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs". Of IA32_DEBUGCTL nothing is kept. */
static void write_msrs(struct vmx_vcpu *v, const struct level_outer *outer)
{
    const u64 *fields = vmcs12_fields(v);
    u32 controls = (u32)fields[FIELD_ENTRY_CONTROLS];
    bool long_mode = controls & ENTRY_IA32E_GUEST;
    u64 efer = v->efer;

    if (fields[FIELD_GUEST_CR0] & CR0_PG)
        efer = (efer & ~EFER_LME) | (long_mode ? EFER_LME : 0);
    if (controls & ENTRY_LOAD_EFER)
        efer = fields[FIELD_GUEST_EFER];
    v->efer = efer & ~EFER_LMA;
    vmcs_write(GUEST_EFER, v->efer | (long_mode ? EFER_LMA : 0));
    vmcs_write(GUEST_PAT, controls & ENTRY_LOAD_PAT ? fields[FIELD_GUEST_PAT] : outer->pat);
    u64 dr7 = controls & ENTRY_LOAD_DEBUG ? fields[FIELD_GUEST_DR7] : outer->dr7;
    vmcs_write(GUEST_DR7, dr7);
    if (dr7 & POINTS_DR7_ENABLES && !v->debug_used)
        vmx_points_begin(v);
}

/*
 * The guest hypervisor has set BTF, so that its pending debug exceptions have no single step. Here it does nothing
 * (msr.c), and each instruction traps: with blocking by STI or MOV SS, and in HLT, an entry with TF then wants one. SDM
 * 3C 26.3.1.5 "Checks on Guest Non-Register State"
 */
static COLD void set_step_without_branch(struct vmx_vcpu *v, bool pending)
{
    bool wants =
        get(v, FIELD_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_STI_MOV_SS || get(v, FIELD_GUEST_ACTIVITY_STATE);
    u64 others = get(v, FIELD_GUEST_PENDING_DEBUG) & ~PENDING_DEBUG_SINGLE_STEP;

    if (wants && get(v, FIELD_GUEST_RFLAGS) & RFLAGS_TF)
        vmcs12_set(v, FIELD_GUEST_PENDING_DEBUG, others | (pending ? PENDING_DEBUG_SINGLE_STEP : 0));
}

/*
 * In HLT Rootlet's scheduler waits for what ends it, but for the preemption timer, which goes on in HLT: so with that
 * the CPU itself is put into HLT. A debug exception that is pending ends it at once (SDM 3C 26.6.3 "Delivery of Pending
 * Debug Exceptions after VM Entry").
 */
static void write_activity(struct vmx_vcpu *v)
{
    enum { HLT = 1 };
    bool halted = UNLIKELY(get(v, FIELD_GUEST_ACTIVITY_STATE) == HLT) &&
                  !(get(v, FIELD_GUEST_PENDING_DEBUG) & PENDING_DEBUG_VALID);
    bool by_cpu = halted && v->nested->timer_tsc != UINT64_MAX;

    vmcs_write(GUEST_ACTIVITY_STATE, by_cpu ? HLT : 0);
    v->base.halted = halted && !by_cpu;
}

static ALWAYS_INLINE void write_rows(const struct vmx_vcpu *v, const struct same *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vmcs_write_raw(rows[i].encoding, get(v, rows[i].row));
}

static NOINLINE void write_changed_guest(struct vmx_vcpu *v, u64 cr0_kept)
{
    const u64 *fields = vmcs12_fields(v);

    v->nested->guest_written = false;
    write_rows(v, fetched, ARRAY_SIZE(fetched));
    SAVED(WRITE)
    write_rows(v, pdptes, ARRAY_SIZE(pdptes));
    write_control_registers(v, cr0_kept);
}

void level_write_guest(struct vmx_vcpu *v, const struct level_outer *outer)
{
    const u64 *fields = vmcs12_fields(v);

    if (v->nested->guest_written)
        write_changed_guest(v, outer->cr0_kept);
    else if (UNLIKELY((fields[FIELD_GUEST_CR0] ^ outer->cr0_kept) & LEVEL_CR0_KEPT))
        write_control_registers(v, outer->cr0_kept);
    if (UNLIKELY(fields[FIELD_GUEST_DEBUGCTL] & DEBUGCTL_BTF))
        set_step_without_branch(v, true);
    ALWAYS(WRITE)
    write_msrs(v, outer);
    write_activity(v);
    v->nmi_in_service = get(v, FIELD_GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_NMI;
    for (u32 i = 0; outer->has_pdptes && i < ARRAY_SIZE(pdptes); i++)
        vmcs_write_raw(pdptes[i].encoding, outer->pdpte[i]);
}

static void set(struct vmx_vcpu *v, enum check_field row, u64 value)
{
    vmcs12_set(v, row, value);
}

/* SDM 3C 27.3.1 "Saving Control Registers, Debug Registers, and MSRs" */
static ALWAYS_INLINE void save_msrs(u64 *fields, u64 efer)
{
    u32 controls = (u32)fields[FIELD_EXIT_CONTROLS];
    u64 entry = fields[FIELD_ENTRY_CONTROLS] & ~(u64)ENTRY_IA32E_GUEST;

    if (controls & EXIT_SAVE_DEBUG) {
        SAVE(GUEST_DR7)
        fields[FIELD_GUEST_DEBUGCTL] = 0;
    }
    if (controls & EXIT_SAVE_PAT)
        SAVE(GUEST_PAT)
    if (controls & EXIT_SAVE_EFER)
        fields[FIELD_GUEST_EFER] = efer;
    fields[FIELD_ENTRY_CONTROLS] = entry | (efer & EFER_LMA ? ENTRY_IA32E_GUEST : 0);
}

static ALWAYS_INLINE void save_rows(struct vmx_vcpu *v, const struct same *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        set(v, rows[i].row, vmcs_read_raw(rows[i].encoding));
}

static void save_rest(struct vmx_vcpu *v)
{
    save_rows(v, fetched, ARRAY_SIZE(fetched));
    if (vmcs12_proc2(v) & PROC2_EPT)
        save_rows(v, pdptes, ARRAY_SIZE(pdptes));
}

void level_save_guest(struct vmx_vcpu *v)
{
    u64 *fields = v->nested->image.value;
    u64 cr0 = vmcs_read(GUEST_CR0);

    ALWAYS(SAVE)
    SAVED(SAVE)
    SAVE(GUEST_ACTIVITY_STATE)
    fields[FIELD_GUEST_CR0] = seen_cr0(fields, cr0);
    fields[FIELD_GUEST_CR4] = seen_cr4(fields);
    save_msrs(fields, v->efer | (v->efer & EFER_LME && cr0 & CR0_PG ? EFER_LMA : 0));
    if (v->base.halted)
        fields[FIELD_GUEST_ACTIVITY_STATE] = 1;
    v->base.halted = false;
    if (quirks_have(QUIRK_NMI_BLOCKING)) {
        u64 blocking = fields[FIELD_GUEST_INTERRUPTIBILITY] & ~(u64)INTERRUPTIBILITY_NMI;
        fields[FIELD_GUEST_INTERRUPTIBILITY] = blocking | (v->nmi_in_service ? INTERRUPTIBILITY_NMI : 0);
    }
    if (UNLIKELY(fields[FIELD_GUEST_DEBUGCTL] & DEBUGCTL_BTF))
        set_step_without_branch(v, false);
    v->nested->guest_is_stale = true;
    if (fields[FIELD_PROC_CONTROLS] & PROC_TPR_SHADOW)
        save_tpr(v);
    if (UNLIKELY(v->base.vm->spec.dump == VM_DUMP_VMCS)) { /* a report cannot fetch it */
        v->nested->guest_is_stale = false;
        save_rest(v);
    }
}

void level_fetch_guest(struct vmx_vcpu *v)
{
    if (!v->nested->guest_is_stale)
        return;
    v->nested->guest_is_stale = false;
    level_swap(v);
    save_rest(v);
    level_swap(v);
}
