/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM-entry checks on the guest's activity, interruptibility, pending debug exceptions and VMCS link pointer. SDM 3C
 * 26.3.1.5 "Checks on Guest Non-Register State". Pure.
 */
#include "arch/x86/regs.h"
#include "vmx/check/rules.h"

enum { ACTIVE, HLT, SHUTDOWN, WAIT_FOR_SIPI };

#define BLOCKING_STI     BIT(0)
#define BLOCKING_MOV_SS  BIT(1)
#define BLOCKING_SMI     BIT(2)
#define BLOCKING_NMI     BIT(3)
#define BLOCKING_ENCLAVE BIT(4)

#define DEBUGCTL_BUS_LOCK BIT(2)

#define PENDING_BUS_LOCK BIT(11)
#define PENDING_ENABLED  BIT(12)
#define PENDING_BS       BIT(14)
#define PENDING_RTM      BIT(16)

static bool may_inject(u64 activity, u32 type, u32 vector)
{
    bool machine_check = type == EVENT_HARDWARE && vector == VECTOR_MC;
    bool nmi = type == EVENT_NMI && vector == VECTOR_NMI;

    switch (activity) {
    case HLT:
        return nmi || machine_check || type == EVENT_EXTERNAL || (type == EVENT_HARDWARE && vector == VECTOR_DB) ||
               (type == EVENT_OTHER && vector == 0);
    case SHUTDOWN:
        return nmi || machine_check;
    case WAIT_FOR_SIPI:
        return false;
    default:
        return true;
    }
}

static void check_activity(struct check *c, u64 blocking)
{
    u64 activity = check_get(c, FIELD_GUEST_ACTIVITY_STATE);
    u64 supported = 1 | bits_field(c->caps->misc, 8, 6) << 1;

    check_that(c, CHECK_AT(ACTIVITY, FIELD_GUEST_ACTIVITY_STATE), activity < 4 && supported >> activity & 1);
    if (activity == HLT)
        check_that(c, CHECK_AT(ACTIVITY_HLT, FIELD_GUEST_ACTIVITY_STATE),
                   !(check_get(c, FIELD_GUEST_SS_ACCESS) & 0x60));
    if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS))
        check_that(c, CHECK_AT(ACTIVITY_BLOCKED, FIELD_GUEST_ACTIVITY_STATE), activity == ACTIVE);
    if (c->event)
        check_that(c, CHECK_AT(ACTIVITY_INJECT, FIELD_GUEST_ACTIVITY_STATE),
                   may_inject(activity, check_event_type(c), c->event & 0xff));
    if (c->entry & ENTRY_SMM)
        check_that(c, CHECK_AT(ACTIVITY_SMM, FIELD_GUEST_ACTIVITY_STATE), activity != WAIT_FOR_SIPI);
}

static void check_blocking_event(struct check *c, u64 blocking)
{
    u64 of_nmi = BLOCKING_MOV_SS | (c->image->cpu.sti_blocks_nmi ? BLOCKING_STI : 0);

    if (check_event_type(c) == EVENT_EXTERNAL)
        check_bits(c, CHECK_AT(BLOCKING_EXTERNAL, FIELD_GUEST_INTERRUPTIBILITY),
                   blocking & (BLOCKING_STI | BLOCKING_MOV_SS));
    if (check_event_type(c) != EVENT_NMI)
        return;
    check_bits(c, CHECK_AT(BLOCKING_NMI, FIELD_GUEST_INTERRUPTIBILITY), blocking & of_nmi);
    if (check_get(c, FIELD_PIN_CONTROLS) & PIN_VIRTUAL_NMIS)
        check_bits(c, CHECK_AT(BLOCKING_VIRTUAL_NMI, FIELD_GUEST_INTERRUPTIBILITY), blocking & BLOCKING_NMI);
}

static void check_blocking(struct check *c, u64 blocking)
{
    u64 both = BLOCKING_STI | BLOCKING_MOV_SS;

    check_bits(c, CHECK_AT(BLOCKING, FIELD_GUEST_INTERRUPTIBILITY), blocking & 0xffffffe0);
    if ((blocking & both) == both)
        check_fail(c, CHECK_AT(BLOCKING_BOTH, FIELD_GUEST_INTERRUPTIBILITY), both);
    if (!(check_get(c, FIELD_GUEST_RFLAGS) & RFLAGS_IF))
        check_bits(c, CHECK_AT(BLOCKING_STI, FIELD_GUEST_INTERRUPTIBILITY), blocking & BLOCKING_STI);
    if (c->event)
        check_blocking_event(c, blocking);
    if (!c->image->cpu.in_smm)
        check_bits(c, CHECK_AT(BLOCKING_SMI, FIELD_GUEST_INTERRUPTIBILITY), blocking & BLOCKING_SMI);
    if (c->entry & ENTRY_SMM)
        check_bits(c, CHECK_AT(BLOCKING_SMM, FIELD_GUEST_INTERRUPTIBILITY), ~blocking & BLOCKING_SMI);
    if (blocking & BLOCKING_ENCLAVE)
        check_that(c, CHECK_AT(BLOCKING_ENCLAVE, FIELD_GUEST_INTERRUPTIBILITY),
                   c->image->cpu.has_sgx && !(blocking & BLOCKING_MOV_SS));
}

static void check_pending_debug(struct check *c, u64 blocking)
{
    u64 pending = check_get(c, FIELD_GUEST_PENDING_DEBUG);
    u64 reserved = 0xfffffffffffeaff0ull;
    bool trap = check_get(c, FIELD_GUEST_RFLAGS) & RFLAGS_TF && !(check_get(c, FIELD_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

    if (c->image->cpu.debugctl_valid & DEBUGCTL_BUS_LOCK) /* such a CPU has a use for bit 11 */
        reserved &= ~PENDING_BUS_LOCK;
    check_bits(c, CHECK_AT(DEBUG, FIELD_GUEST_PENDING_DEBUG), pending & reserved);
    if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS) || check_get(c, FIELD_GUEST_ACTIVITY_STATE) == HLT)
        check_bits(c, CHECK_AT(DEBUG_STEP, FIELD_GUEST_PENDING_DEBUG),
                   (pending ^ (trap ? PENDING_BS : 0)) & PENDING_BS);
    if (!(pending & PENDING_RTM))
        return;
    check_bits(c, CHECK_AT(DEBUG_RTM, FIELD_GUEST_PENDING_DEBUG), ((pending ^ PENDING_ENABLED) & 0xffff));
    check_that(c, CHECK_AT(DEBUG_RTM_CPU, FIELD_GUEST_PENDING_DEBUG),
               c->image->cpu.has_rtm && !(blocking & BLOCKING_MOV_SS));
}

static void check_link(struct check *c)
{
    const struct check_cpu *cpu = &c->image->cpu;
    u64 link = check_get(c, FIELD_VMCS_LINK_POINTER);
    u64 beyond = check_beyond_width(c, link, true);
    u32 revision;

    if (link == ~0ull)
        return;
    check_bits(c, CHECK_AT(LINK_ALIGNED, FIELD_VMCS_LINK_POINTER), link & 0xfff);
    check_bits(c, CHECK_AT(LINK_WIDTH, FIELD_VMCS_LINK_POINTER), beyond);
    if (!cpu->in_smm || c->entry & ENTRY_SMM)
        check_that(c, CHECK_AT(LINK_CURRENT, FIELD_VMCS_LINK_POINTER), link != cpu->vmcs_pointer);
    else
        check_that(c, CHECK_AT(LINK_EXECUTIVE, FIELD_VMCS_LINK_POINTER),
                   link != check_get(c, FIELD_EXECUTIVE_VMCS_POINTER));
    if (link & 0xfff || beyond || !check_memory(c, link, &revision, 4, CHECK_SKIPPED_LINK))
        return;
    check_that(c, CHECK_AT(LINK_REVISION, FIELD_VMCS_LINK_POINTER),
               (revision & 0x7fffffff) == vmx_caps_revision(c->caps));
    check_that(c, CHECK_AT(LINK_SHADOW, FIELD_VMCS_LINK_POINTER),
               revision >> 31 == !!(c->proc2 & PROC2_VMCS_SHADOWING));
}

void check_state(struct check *c)
{
    u64 blocking = check_get(c, FIELD_GUEST_INTERRUPTIBILITY);

    check_activity(c, blocking);
    check_blocking(c, blocking);
    check_pending_debug(c, blocking);
    check_link(c);
}
