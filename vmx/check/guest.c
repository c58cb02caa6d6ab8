/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM-entry checks on the guest's registers but for segments: SDM 3C 26.3.1.1 "Checks on Guest Control Registers, Debug
 * Registers, and MSRs", 26.3.1.3 "Checks on Guest Descriptor-Table Registers", 26.3.1.4 "Checks on Guest RIP and
 * RFLAGS", 26.3.1.6 "Checks on Guest Page-Directory-Pointer-Table Entries". Pure.
 */
#include "arch/x86/regs.h"
#include "vmx/check/rules.h"

#define ENTRY_LOAD_BNDCFGS 0x00010000u
#define ACCESS_L           BIT(13)
#define RFLAGS_RESERVED    0xffffffffffc08028ull

static void check_control_registers(struct check *c)
{
    u64 cr0 = c->cr0;
    u64 cr4 = check_get(c, FIELD_GUEST_CR4);
    /* VM entries do not change CD and NW, so they are never checked. */
    u64 free_bits = CR0_CD | CR0_NW | (c->unrestricted ? CR0_PE | CR0_PG : 0);

    check_bits(c, CHECK_AT(CR0_FIXED, FIELD_GUEST_CR0), (cr0 ^ vmx_caps_fix_cr0(c->caps, cr0)) & ~free_bits);
    if (cr0 & CR0_PG)
        check_bits(c, CHECK_AT(CR0_PAGING, FIELD_GUEST_CR0), ~cr0 & CR0_PE);
    check_bits(c, CHECK_AT(CR4_FIXED, FIELD_GUEST_CR4), cr4 ^ vmx_caps_fix_cr4(c->caps, cr4));
    if (cr4 & CR4_CET)
        check_bits(c, CHECK_AT(CR4_CET, FIELD_GUEST_CR0), ~cr0 & CR0_WP);
    if (c->ia32e) {
        check_bits(c, CHECK_AT(IA32E_PAGING, FIELD_GUEST_CR0), ~cr0 & CR0_PG);
        check_bits(c, CHECK_AT(IA32E_PAE, FIELD_GUEST_CR4), ~cr4 & CR4_PAE);
    } else {
        check_bits(c, CHECK_AT(CR4_PCIDE, FIELD_GUEST_CR4), cr4 & CR4_PCIDE);
    }
    check_bits(c, CHECK_AT(CR3, FIELD_GUEST_CR3), check_beyond_width(c, check_get(c, FIELD_GUEST_CR3), false));
}

static void check_efer(struct check *c)
{
    u64 efer = check_get(c, FIELD_GUEST_EFER);

    check_bits(c, CHECK_AT(EFER, FIELD_GUEST_EFER), efer & ~c->image->cpu.efer_valid);
    check_bits(c, CHECK_AT(EFER_LMA, FIELD_GUEST_EFER), (efer ^ (c->ia32e ? EFER_LMA : 0)) & EFER_LMA);
    if (c->cr0 & CR0_PG)
        check_bits(c, CHECK_AT(EFER_LME, FIELD_GUEST_EFER), (efer ^ efer >> 2) & EFER_LME);
}
_Static_assert(EFER_LMA >> 2 == EFER_LME, "check_efer compares them by a shift");

static void check_model_registers(struct check *c)
{
    u64 bndcfgs = check_get(c, FIELD_GUEST_BNDCFGS);

    if (c->entry & ENTRY_LOAD_DEBUG) {
        check_bits(c, CHECK_AT(DEBUGCTL, FIELD_GUEST_DEBUGCTL),
                   check_get(c, FIELD_GUEST_DEBUGCTL) & ~c->image->cpu.debugctl_valid);
        check_bits(c, CHECK_AT(DR7, FIELD_GUEST_DR7), check_get(c, FIELD_GUEST_DR7) >> 32 << 32);
    }
    check_canonical(c, CHECK_AT(SYSENTER, FIELD_GUEST_SYSENTER_ESP));
    check_canonical(c, CHECK_AT(SYSENTER, FIELD_GUEST_SYSENTER_EIP));
    if (c->entry & ENTRY_LOAD_PERF_GLOBAL)
        check_bits(c, CHECK_AT(PERF, FIELD_GUEST_PERF_GLOBAL_CTRL),
                   check_get(c, FIELD_GUEST_PERF_GLOBAL_CTRL) & ~c->image->cpu.perf_global_valid);
    if (c->entry & ENTRY_LOAD_PAT)
        check_pat(c, CHECK_AT(PAT, FIELD_GUEST_PAT));
    if (c->entry & ENTRY_LOAD_EFER)
        check_efer(c);
    if (c->entry & ENTRY_LOAD_BNDCFGS) {
        check_bits(c, CHECK_AT(BNDCFGS, FIELD_GUEST_BNDCFGS), bndcfgs & 0xffc);
        check_that(c, CHECK_AT(BNDCFGS_ADDRESS, FIELD_GUEST_BNDCFGS), check_is_canonical(c, bndcfgs));
    }
}

static void check_rip_and_flags(struct check *c)
{
    u64 rip = check_get(c, FIELD_GUEST_RIP);
    u64 flags = check_get(c, FIELD_GUEST_RFLAGS);
    u64 above = rip >> c->image->cpu.linear_bits;

    if (c->ia32e && check_get(c, FIELD_GUEST_CS_ACCESS) & ACCESS_L)
        check_that(c, CHECK_AT(RIP_LINEAR, FIELD_GUEST_RIP), above == 0 || above == ~0ull >> c->image->cpu.linear_bits);
    else
        check_bits(c, CHECK_AT(RIP_HIGH, FIELD_GUEST_RIP), rip >> 32 << 32);
    check_bits(c, CHECK_AT(RFLAGS, FIELD_GUEST_RFLAGS), (flags & RFLAGS_RESERVED) | (~flags & RFLAGS_ONE));
    if (c->ia32e || !(c->cr0 & CR0_PE))
        check_bits(c, CHECK_AT(RFLAGS_VM, FIELD_GUEST_RFLAGS), flags & RFLAGS_VM);
    if (c->event && check_event_type(c) == EVENT_EXTERNAL)
        check_bits(c, CHECK_AT(RFLAGS_IF, FIELD_GUEST_RFLAGS), ~flags & RFLAGS_IF);
}

/* With EPT the entries stand in the VMCS, else in memory at CR3. The host is not in PAE paging: they are always
 * checked. */
static void check_pdptes(struct check *c)
{
    u64 table = check_get(c, FIELD_GUEST_CR3) & 0xffffffe0;
    u64 entry;

    if (!(c->cr0 & CR0_PG) || !(check_get(c, FIELD_GUEST_CR4) & CR4_PAE) || c->ia32e)
        return;
    for (u32 i = 0; i < 4; i++) {
        bool ept = c->proc2 & PROC2_EPT;
        u32 field = ept ? FIELD_GUEST_PDPTE0 + i : FIELD_GUEST_CR3;
        if (ept)
            entry = check_get(c, field);
        else if (!check_memory(c, table + 8 * i, &entry, 8, CHECK_SKIPPED_PDPTE))
            return;
        u64 reserved = (entry & 0x1e6) | check_beyond_width(c, entry, false);
        if (entry & 1 && reserved)
            check_fail_entry(c, CHECK_AT(PDPTE, field), i + 1, entry, reserved);
    }
}

void check_guest(struct check *c)
{
    check_control_registers(c);
    check_model_registers(c);
    for (u32 i = 0; i < 2; i++) { /* GDTR, IDTR */
        check_canonical(c, CHECK_AT(TABLE_BASE, FIELD_GUEST_GDTR_BASE + i));
        check_bits(c, CHECK_AT(TABLE_LIMIT, FIELD_GUEST_GDTR_LIMIT + i),
                   check_get(c, FIELD_GUEST_GDTR_LIMIT + i) & 0xffff0000);
    }
    check_rip_and_flags(c);
    check_pdptes(c);
}
