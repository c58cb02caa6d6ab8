/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See entry.h. The checker that looks at our own entries looks at the guest's VMCS, with what the guest was offered.
 * SDM 3C 26.1 "Basic VM-Entry Checks" to 26.4, 26.7 "VM-Entry Failures During or After Loading Guest State".
 */
#include "vmx/nested/entry.h"
#include "kernel/log.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/host.h"
#include "vmx/nested/inner.h"
#include "vmx/nested/insn.h"
#include "vmx/nested/level.h"
#include "vmx/nested/mirror.h"
#include "vmx/nested/vmcs12.h"
#include "vmx/nested/why.h"

#define EXIT_ENTRY_FAILED 0x80000000u

/* What is asked before the CPU looks into the VMCS; false: something is wrong. */
static bool passes_basics(const struct vmx_vcpu *v, bool launch)
{
    return v->nested->current != NESTED_NONE && v->nested->launched != launch &&
           !(vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_MOV_SS);
}

static COLD enum outcome refuse_by_basics(struct vmx_vcpu *v, bool launch)
{
    struct nested *n = v->nested;
    struct why_refusal how = {.launch = launch};

    if (n->current == NESTED_NONE) {
        why_basic(v, &how, "a VMCS must be current: VMPTRLD, and no VMCLEAR of it since", "current-VMCS-pointer",
                  n->current);
        return insn_fail_invalid();
    }
    if (n->is_shadow) {
        why_basic(v, &how, "the current VMCS must be an ordinary one, bit 31 of whose revision identifier is 0",
                  "current-VMCS-pointer", n->current);
        return insn_fail_invalid();
    }
    if (vmcs_read(GUEST_INTERRUPTIBILITY) & INTERRUPTIBILITY_MOV_SS) {
        how.number = INSN_ENTRY_MOV_SS;
        why_basic(v, &how, "no VM entry in the instruction after MOV SS or POP SS, which blocks events",
                  "blocking-by-MOV-SS", 1);
    } else if (launch) {
        how.number = INSN_VMLAUNCH_NOT_CLEAR;
        why_basic(v, &how, "the VMCS that VMLAUNCH enters must be clear, not launched: VMCLEAR first, or VMRESUME",
                  "launch-state", 1);
    } else {
        how.number = INSN_VMRESUME_NOT_LAUNCHED;
        why_basic(v, &how, "the VMCS that VMRESUME enters must be launched, not clear: VMLAUNCH first", "launch-state",
                  0);
    }
    return insn_fail(v, (enum insn_error)how.number);
}

/* Bit 31 of the reason; other information on the exit stays as it was. SDM 3C 26.7, 24.9.1 "Basic VM-Exit Information"
 */
enum outcome entry_fail_late(struct vmx_vcpu *v, u32 reason, u32 qualification)
{
    vmcs12_set(v, FIELD_EXIT_REASON, reason | EXIT_ENTRY_FAILED);
    vmcs12_set(v, FIELD_EXIT_QUALIFICATION, qualification);
    return host_load(v, vmcs_read(CR0_SHADOW), vmcs_read(GUEST_INTERRUPTIBILITY)) ? OUTCOME_RESUME : OUTCOME_STOP;
}

static enum outcome refuse_entry(struct vmx_vcpu *v, bool launch, const struct check_result *result)
{
    static const struct {
        bool is_exit;
        u8 number;
    } ends[] = {
        [CHECK_FAILS_CONTROLS] = {false, INSN_ENTRY_CONTROLS     },
        [CHECK_FAILS_HOST] = {false, INSN_ENTRY_HOST         },
        [CHECK_FAILS_GUEST] = {true,  ENTRY_FAILED_GUEST_STATE},
        [CHECK_FAILS_MSRS] = {true,  ENTRY_FAILED_MSRS       }
    };
    struct why_refusal how = {launch, ends[result->outcome].is_exit, ends[result->outcome].number};

    why_rules(v, &how);
    if (!how.is_exit)
        return insn_fail(v, (enum insn_error)how.number);
    return entry_fail_late(v, how.number, result->qualification);
}

/*
 * The groups of rules that need not be looked at again: what they look at has not been written since the last entry,
 * and the state that an exit saves can be entered again. Not where a rule looks into memory, or at the mode of the CPU.
 */
static void settle(struct vmx_vcpu *v, bool long_mode)
{
    struct check_image *image = &v->nested->image;
    const u64 *fields = image->value;
    bool threshold = fields[FIELD_PROC_CONTROLS] & PROC_TPR_SHADOW && fields[FIELD_TPR_THRESHOLD];

    if (image->cpu.long_mode != long_mode)
        image->settled = 0;
    if (threshold)
        image->settled &= (u8)~CHECK_SETTLED_CONTROLS;
    bool pae = fields[FIELD_GUEST_CR4] & CR4_PAE && !(fields[FIELD_ENTRY_CONTROLS] & ENTRY_IA32E_GUEST);
    if (fields[FIELD_VMCS_LINK_POINTER] != ~0ull || pae) /* the VMCS there; page-directory pointers */
        image->settled &= (u8)~CHECK_SETTLED_GUEST;
    image->cpu.long_mode = long_mode;
    if (!(image->settled & CHECK_SETTLED_GUEST))
        level_fetch_guest(v);
}

static NOINLINE enum outcome check_and_enter(struct vmx_vcpu *v, bool launch)
{
    struct nested *n = v->nested;

    if (n->is_shadow) /* of which nothing is ever settled */
        return refuse_by_basics(v, launch);
    struct check_result result = vmx_check_entry(&n->image, &n->caps, NULL, NULL);
    if (result.outcome != CHECK_ENTERS)
        return refuse_entry(v, launch, &result);
    n->image.settled = CHECK_SETTLED_ALL;
    return inner_enter(v, launch);
}

enum outcome entry_enter(struct vmx_vcpu *v, bool launch)
{
    struct nested *n = v->nested;

    if (UNLIKELY(!passes_basics(v, launch)))
        return refuse_by_basics(v, launch);
    nested_collect(v);
    settle(v, v->efer & EFER_LME); /* in VMX operation paging is on */
    if (n->image.settled != CHECK_SETTLED_ALL || vmcs12_get(v, FIELD_ENTRY_MSR_LOAD_COUNT))
        return check_and_enter(v, launch);
    return inner_enter(v, launch);
}
