/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX instructions of a guest that is a hypervisor, each as the SDM's operation section has it: what makes it #UD,
 * then the privilege level, then its operands, then what it does. Before the exit the CPU has seen that its mode has
 * these instructions; CR4.VMXE and VMX operation are not the CPU's, so that VMXON is checked for all. SDM 3C 30.3 "VMX
 * Instructions", 30.2 "Conventions".
 */
#include "vmx/nested/insn.h"
#include "kernel/log.h"
#include "kernel/trace/trace.h"
#include "vmx/event.h"
#include "vmx/insn/gva.h"
#include "vmx/nested/entry.h"
#include "vmx/nested/mirror.h"
#include "vmx/nested/offer.h"
#include "vmx/nested/operand.h"
#include "vmx/nested/vmcs12.h"

/* ---- how an instruction ends ---- */

#define RESULT_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

static enum outcome finish(u64 flags)
{
    vmcs_write(GUEST_RFLAGS, (vmcs_read(GUEST_RFLAGS) & ~RESULT_FLAGS) | flags);
    return OUTCOME_SKIP;
}

enum outcome insn_succeed(void)
{
    return finish(0);
}

enum outcome insn_fail_invalid(void)
{
    return finish(RFLAGS_CF);
}

enum outcome insn_fail(struct vmx_vcpu *v, enum insn_error error)
{
    if (v->nested->current == NESTED_NONE)
        return insn_fail_invalid();
    vmcs12_set(v, FIELD_INSTRUCTION_ERROR, error);
    return finish(RFLAGS_ZF);
}

/* An operand could not be accessed: a fault is queued, or the guest has page tables where none can be. */
static enum outcome give_up(struct vmx_vcpu *v, enum guest_access access)
{
    if (access == GUEST_ACCESS_FAULT) {
        v->points_met = 0; /* breakpoints are for what ends; the first half of an operand may have met one */
        return OUTCOME_RESUME;
    }
    vm_stop(v->base.vm, VM_STOP_UNSUPPORTED_INSTRUCTION, "what=\"VMX instruction through unreadable page tables\"");
    return OUTCOME_STOP;
}

/* ---- VMX operation ---- */

/*
 * In VMX operation the guest does not own CR0.PE and PG: an attempt to clear them exits, and is #GP(0). SDM 3C 23.8
 * "Restrictions on VMX Operation"
 */
static void own_paging(bool own)
{
    u64 fixed = CR0_PE | CR0_PG;
    u64 mask = vmcs_read(CR0_MASK);

    vmcs_write(CR0_MASK, own ? mask | fixed : mask & ~fixed);
    vmcs_write(CR0_SHADOW, vmcs_read(CR0_SHADOW) | fixed);
}

static u64 visible_cr0(void)
{
    u64 mask = vmcs_read(CR0_MASK);
    return (vmcs_read(GUEST_CR0) & ~mask) | (vmcs_read(CR0_SHADOW) & mask);
}

static u64 visible_cr4(void)
{
    u64 mask = vmcs_read(CR4_MASK);
    return (vmcs_read(GUEST_CR4) & ~mask) | (vmcs_read(CR4_SHADOW) & mask);
}

static bool is_privileged(void)
{
    return !(vmcs_read(GUEST_SS_ACCESS) & SEGMENT_DPL);
}

static enum outcome enter_vmx(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    u64 region = 0;

    if (!is_privileged() || !nested_allows_cr0(v, visible_cr0()) || !nested_allows_cr4(v, visible_cr4()))
        return vmx_inject_gp(v);
    enum guest_access access = operand_read(v, 0, sizeof region, &region);
    if (access != GUEST_ACCESS_OK)
        return give_up(v, access);
    if (!vmcs12_is_address(v, region) || vmcs12_revision(v, region) != NESTED_REVISION)
        return insn_fail_invalid();
    n->vmxon = region;
    n->current = NESTED_NONE;
    own_paging(true);
    vm_block_init(&v->base, true);
    return insn_succeed();
}

static void unload(struct vmx_vcpu *v)
{
    mirror_close(v);
    vmcs12_unload(v);
}

static enum outcome vmxoff(struct vmx_vcpu *v)
{
    unload(v);
    v->nested->vmxon = NESTED_NONE;
    own_paging(false);
    vm_block_init(&v->base, false);
    return insn_succeed();
}

/* ---- the current VMCS ---- */

/* The operand of VMCLEAR and VMPTRLD: a VMCS's address, not that of the VMXON region. False: *outcome is what comes of
 * it, with one of the two errors if that is what is wrong. */
static bool take_vmcs(struct vmx_vcpu *v, u32 address_error, u32 vmxon_error, u64 *region, enum outcome *outcome)
{
    enum guest_access access = operand_read(v, 0, sizeof *region, region);

    if (access != GUEST_ACCESS_OK)
        *outcome = give_up(v, access);
    else if (!vmcs12_is_address(v, *region))
        *outcome = insn_fail(v, address_error);
    else if (*region == v->nested->vmxon)
        *outcome = insn_fail(v, vmxon_error);
    else
        return true;
    return false;
}

static enum outcome vmclear(struct vmx_vcpu *v)
{
    enum outcome outcome;
    u64 region = 0;

    if (!take_vmcs(v, INSN_VMCLEAR_ADDRESS, INSN_VMCLEAR_VMXON, &region, &outcome))
        return outcome;
    if (region == v->nested->current)
        unload(v);
    vmcs12_clear(v, region);
    return insn_succeed();
}

/* Bit 31 tells a shadow VMCS. SDM 3C 24.10 "VMCS Types: Ordinary and Shadow" */
static bool is_revision(const struct vmx_vcpu *v, u32 revision)
{
    bool knows_shadows = v->nested->caps.group[VMX_PROC2].may_be_one & PROC2_VMCS_SHADOWING;

    return (knows_shadows ? revision & ~NESTED_SHADOW_VMCS : revision) == NESTED_REVISION;
}

static enum outcome vmptrld(struct vmx_vcpu *v)
{
    enum outcome outcome;
    u64 region = 0;

    if (!take_vmcs(v, INSN_VMPTRLD_ADDRESS, INSN_VMPTRLD_VMXON, &region, &outcome))
        return outcome;
    u32 revision = vmcs12_revision(v, region);
    if (!is_revision(v, revision))
        return insn_fail(v, INSN_VMPTRLD_REVISION);
    if (region != v->nested->current) {
        unload(v);
        vmcs12_load(v, region, revision & NESTED_SHADOW_VMCS);
        mirror_open(v);
    }
    return insn_succeed();
}

static enum outcome vmptrst(struct vmx_vcpu *v)
{
    enum guest_access access = operand_write(v, sizeof v->nested->current, v->nested->current);

    return access == GUEST_ACCESS_OK ? insn_succeed() : give_up(v, access);
}

/*
 * VMREAD and VMWRITE of the guest with an operand in memory, those with a register being access_field()'s; and all of
 * an inner guest's that do not exit, which act on the shadow VMCS that its VMCS links to.
 */
static bool has_accessible_vmcs(const struct vmx_vcpu *v)
{
    const struct nested *n = v->nested;
    return (n->inside ? vmcs12_get(v, FIELD_VMCS_LINK_POINTER) : n->current) != NESTED_NONE;
}

static enum guest_access put_operand(struct vmx_vcpu *v, u64 value)
{
    u32 info = vmcs_read(EXIT_INSTRUCTION_INFO);

    value &= bits_mask_of_bytes(operand_bytes(v));
    if (!(info & OPERAND_IS_REGISTER))
        return operand_write(v, operand_bytes(v), value);
    vmx_vcpu_set_gpr(v, OPERAND_REGISTER(info), value);
    return GUEST_ACCESS_OK;
}

static enum guest_access take_operand(struct vmx_vcpu *v, u64 *value)
{
    u32 info = vmcs_read(EXIT_INSTRUCTION_INFO);

    if (!(info & OPERAND_IS_REGISTER))
        return operand_read(v, 0, operand_bytes(v), value);
    *value = vmx_vcpu_gpr(v, OPERAND_REGISTER(info)) & bits_mask_of_bytes(operand_bytes(v));
    return GUEST_ACCESS_OK;
}

static enum outcome vmread(struct vmx_vcpu *v)
{
    u64 encoding = operand_second(v);

    if (!has_accessible_vmcs(v))
        return insn_fail_invalid();
    u32 row = vmcs12_row(v, encoding);
    if (row == VMCS12_NO_ROW)
        return insn_fail(v, INSN_NO_COMPONENT);
    u64 value = v->nested->inside ? vmcs12_read_linked(v, row, encoding) : vmcs12_read(v, row, encoding);
    enum guest_access access = put_operand(v, value);
    return access == GUEST_ACCESS_OK ? insn_succeed() : give_up(v, access);
}

static enum outcome vmwrite(struct vmx_vcpu *v)
{
    u64 encoding = operand_second(v);
    u64 value = 0;

    if (!has_accessible_vmcs(v))
        return insn_fail_invalid();
    enum guest_access access = take_operand(v, &value);
    if (access != GUEST_ACCESS_OK)
        return give_up(v, access);
    u32 row = vmcs12_row(v, encoding);
    if (row == VMCS12_NO_ROW)
        return insn_fail(v, INSN_NO_COMPONENT);
    if ((encoding >> 10 & 3) == VMCS_ACCESS_CODE_ro) /* IA32_VMX_MISC[29] is 0 */
        return insn_fail(v, INSN_READ_ONLY);
    if (v->nested->inside)
        vmcs12_write_linked(v, row, encoding, value);
    else
        vmcs12_write(v, row, encoding, value);
    return insn_succeed();
}

/* ---- translations ---- */

enum { INVVPID_ADDRESS, INVVPID_CONTEXT, INVVPID_ALL, INVVPID_NOT_GLOBAL };

/* A type that IA32_VMX_EPT_VPID_CAP has, counted from its first bit; and the descriptor. */
static enum guest_access read_invalidation(struct vmx_vcpu *v, u64 types, u64 *type, u64 descriptor[2])
{
    *type = operand_second(v);
    if (*type > 3 || !(types >> *type & 1)) {
        *type = ~0ull;
        return GUEST_ACCESS_OK;
    }
    enum guest_access access = operand_read(v, 0, 8, &descriptor[0]);
    return access == GUEST_ACCESS_OK ? operand_read(v, 8, 8, &descriptor[1]) : access;
}

bool insn_is_eptp(const struct vmx_vcpu *v, u64 eptp)
{
    u64 caps = v->nested->caps.ept_vpid;
    u64 type = eptp & 7;
    bool known = type == 6 ? caps & EPT_CAP_WRITE_BACK : type == 0 && caps & BIT(8);

    return known && (eptp >> 3 & 7) == 3 && !(eptp & BIT(6) && !(caps & BIT(21))) && !(eptp & 0xf80) &&
           !(eptp >> v->nested->image.cpu.physical_bits);
}

static enum outcome invept(struct vmx_vcpu *v)
{
    u64 types = v->nested->caps.ept_vpid >> 24; /* 25: single context, type 1; 26: all contexts, type 2 */
    u64 type, descriptor[2] = {0, 0};

    if (!(v->nested->caps.ept_vpid & EPT_CAP_INVEPT))
        return vmx_inject_ud(v);
    enum guest_access access = read_invalidation(v, types & 6, &type, descriptor);
    if (access != GUEST_ACCESS_OK)
        return give_up(v, access);
    if (type == ~0ull || (type == VMX_SINGLE_CONTEXT && !insn_is_eptp(v, descriptor[0])))
        return insn_fail(v, INSN_INVALIDATE);
    if (type == VMX_SINGLE_CONTEXT)
        shadow_forget(&v->nested->shadow, descriptor[0]);
    else
        shadow_forget_all(&v->nested->shadow);
    return insn_succeed();
}

static enum outcome invvpid(struct vmx_vcpu *v)
{
    u64 types = v->nested->caps.ept_vpid >> 40;
    u64 type, descriptor[2] = {0, 0};

    if (!(v->nested->caps.ept_vpid & EPT_CAP_INVVPID))
        return vmx_inject_ud(v);
    enum guest_access access = read_invalidation(v, types, &type, descriptor);
    if (access != GUEST_ACCESS_OK)
        return give_up(v, access);
    if (type == ~0ull || descriptor[0] >> 16 || (type != INVVPID_ALL && !descriptor[0]) ||
        (type == INVVPID_ADDRESS && !gva_is_canonical(descriptor[1], 0)))
        return insn_fail(v, INSN_INVALIDATE);
    v->nested->stale = true;
    return insn_succeed();
}

static enum outcome vmlaunch(struct vmx_vcpu *v)
{
    return entry_enter(v, true);
}

static enum outcome vmresume(struct vmx_vcpu *v)
{
    return entry_enter(v, false);
}

/* ---- the exit ---- */

/* By exit reason. SDM 3D Appendix C "VMX Basic Exit Reasons" */
enum { FIRST = 19, VMREAD = 23, VMWRITE = 25, VMXON = 27, INVEPT = 50, INVVPID = 53 };
static enum outcome (*const instructions[])(struct vmx_vcpu *v) = {vmclear, vmlaunch, vmptrld, vmptrst,
                                                                   vmread,  vmresume, vmwrite, vmxoff};

/* In the modes that have VMX instructions: not in real-address, virtual-8086 and compatibility mode. */
static bool is_recognized(const struct vmx_vcpu *v)
{
    return vmcs_read(GUEST_CR0) & CR0_PE && !(vmcs_read(GUEST_RFLAGS) & RFLAGS_VM) &&
           (guest_is_code64(v) || !(guest_efer(v) & EFER_LMA));
}

static enum outcome execute(struct vmx_vcpu *v, u32 reason)
{
    switch (reason) {
    case VMXON:
        return insn_fail(v, INSN_VMXON_IN_ROOT);
    case INVEPT:
        return invept(v);
    case INVVPID:
        return invvpid(v);
    default:
        return instructions[reason - FIRST](v);
    }
}

/*
 * VMREAD and VMWRITE with a register, in VMX operation with a current VMCS: the way that a guest hypervisor goes most
 * where the CPU has no VMCS shadowing. Before these exit the CPU has seen that its mode is one that has them (SDM
 * 3C 30.3), and in VMX operation paging is on: so with IA32_EFER.LME it is 64-bit mode.
 */
static ALWAYS_INLINE enum outcome access_field(struct vmx_vcpu *v, u32 reason, u32 info)
{
    u64 mask = v->efer & EFER_LME ? ~0ull : UINT32_MAX;
    u64 encoding = vmx_vcpu_gpr(v, OPERAND_SECOND(info)) & mask;
    u32 row = vmcs12_row(v, encoding);

    if (UNLIKELY(row == VMCS12_NO_ROW))
        return insn_fail(v, INSN_NO_COMPONENT);
    if (reason == VMREAD) {
        vmx_vcpu_set_gpr(v, OPERAND_REGISTER(info), vmcs12_read(v, row, encoding) & mask);
        return insn_succeed();
    }
    if (UNLIKELY((encoding >> 10 & 3) == VMCS_ACCESS_CODE_ro)) /* IA32_VMX_MISC[29] is 0 */
        return insn_fail(v, INSN_READ_ONLY);
    vmcs12_write(v, row, encoding, vmx_vcpu_gpr(v, OPERAND_REGISTER(info)) & mask);
    return insn_succeed();
}

enum outcome nested_access_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 info = vmcs_read(EXIT_INSTRUCTION_INFO);

    if (LIKELY(v->nested) && LIKELY(v->nested->current != NESTED_NONE) && LIKELY(info & OPERAND_IS_REGISTER) &&
        LIKELY(is_privileged()))
        return access_field(v, record->cause, info);
    return nested_exit(v, record);
}

enum outcome nested_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 reason = record->cause;

    if (LIKELY(nested_is_on(v)))
        return LIKELY(is_privileged()) ? execute(v, reason) : vmx_inject_gp(v);
    if (v->nested && is_recognized(v) && reason == VMXON && visible_cr4() & CR4_VMXE)
        return enter_vmx(v);
    return vmx_inject_ud(v);
}

enum outcome nested_refuse_vmcall(struct vmx_vcpu *v)
{
    if (!nested_is_on(v))
        return vmx_inject_ud(v);
    return is_privileged() ? insn_fail(v, INSN_VMCALL_IN_ROOT) : vmx_inject_gp(v);
}
