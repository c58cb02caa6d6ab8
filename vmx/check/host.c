/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM-entry checks on the host-state area: SDM 3C 26.2.2 "Checks on Host Control Registers and MSRs", 26.2.3 "Checks on
 * Host Segment and Descriptor-Table Registers", 26.2.4 "Checks Related to Address-Space Size". Pure.
 */
#include "arch/x86/regs.h"
#include "vmx/check/rules.h"

static void check_registers(struct check *c, u32 exit)
{
    const struct vmx_caps *caps = c->caps;
    u64 cr0 = check_get(c, FIELD_HOST_CR0);
    u64 cr4 = check_get(c, FIELD_HOST_CR4);
    u64 efer = check_get(c, FIELD_HOST_EFER);
    u64 size = exit & EXIT_HOST_ADDRESS_SPACE ? EFER_LMA | EFER_LME : 0;

    /* VM exits do not change CD and NW, so they are never checked. */
    check_bits(c, CHECK_AT(HOST_CR0, FIELD_HOST_CR0), (cr0 ^ vmx_caps_fix_cr0(caps, cr0)) & ~(CR0_CD | CR0_NW));
    check_bits(c, CHECK_AT(HOST_CR4, FIELD_HOST_CR4), cr4 ^ vmx_caps_fix_cr4(caps, cr4));
    if (cr4 & CR4_CET)
        check_bits(c, CHECK_AT(HOST_CET, FIELD_HOST_CR0), ~cr0 & CR0_WP);
    check_bits(c, CHECK_AT(HOST_CR3, FIELD_HOST_CR3), check_beyond_width(c, check_get(c, FIELD_HOST_CR3), false));
    check_canonical(c, CHECK_AT(HOST_SYSENTER, FIELD_HOST_SYSENTER_ESP));
    check_canonical(c, CHECK_AT(HOST_SYSENTER, FIELD_HOST_SYSENTER_EIP));
    if (exit & EXIT_LOAD_PERF_GLOBAL)
        check_bits(c, CHECK_AT(HOST_PERF, FIELD_HOST_PERF_GLOBAL_CTRL),
                   check_get(c, FIELD_HOST_PERF_GLOBAL_CTRL) & ~c->image->cpu.perf_global_valid);
    if (exit & EXIT_LOAD_PAT)
        check_pat(c, CHECK_AT(HOST_PAT, FIELD_HOST_PAT));
    if (exit & EXIT_LOAD_EFER) {
        check_bits(c, CHECK_AT(HOST_EFER, FIELD_HOST_EFER), efer & ~c->image->cpu.efer_valid);
        check_bits(c, CHECK_AT(HOST_EFER_SIZE, FIELD_HOST_EFER), (efer ^ size) & (EFER_LMA | EFER_LME));
    }
}

static void check_tables(struct check *c, u32 exit)
{
    static const u8 bases[] = {FIELD_HOST_FS_BASE, FIELD_HOST_GS_BASE, FIELD_HOST_TR_BASE, FIELD_HOST_GDTR_BASE,
                               FIELD_HOST_IDTR_BASE};

    for (u32 field = FIELD_HOST_ES_SELECTOR; field <= FIELD_HOST_TR_SELECTOR; field++)
        check_bits(c, CHECK_AT(HOST_SELECTOR, field), check_get(c, field) & 7);
    check_that(c, CHECK_AT(HOST_SELECTOR_NULL, FIELD_HOST_CS_SELECTOR), check_get(c, FIELD_HOST_CS_SELECTOR) != 0);
    check_that(c, CHECK_AT(HOST_SELECTOR_NULL, FIELD_HOST_TR_SELECTOR), check_get(c, FIELD_HOST_TR_SELECTOR) != 0);
    if (!(exit & EXIT_HOST_ADDRESS_SPACE))
        check_that(c, CHECK_AT(HOST_SS_NULL, FIELD_HOST_SS_SELECTOR), check_get(c, FIELD_HOST_SS_SELECTOR) != 0);
    for (u32 i = 0; i < ARRAY_SIZE(bases); i++)
        check_canonical(c, CHECK_AT(HOST_BASE, bases[i]));
}
_Static_assert(FIELD_HOST_TR_SELECTOR - FIELD_HOST_ES_SELECTOR == 6, "the host's selectors stand in a row");

static void check_size(struct check *c, u32 exit)
{
    u32 host_is_64_bit = exit & EXIT_HOST_ADDRESS_SPACE;
    u32 guest = c->entry & ENTRY_IA32E_GUEST;
    u64 cr4 = check_get(c, FIELD_HOST_CR4);

    if (!c->image->cpu.long_mode)
        check_bits(c, CHECK_AT(SIZE_GUEST, FIELD_ENTRY_CONTROLS), guest);
    if (c->image->cpu.long_mode != !!host_is_64_bit)
        check_fail(c, CHECK_AT(SIZE_HOST, FIELD_EXIT_CONTROLS), EXIT_HOST_ADDRESS_SPACE);
    if (host_is_64_bit) {
        check_bits(c, CHECK_AT(SIZE_PAE, FIELD_HOST_CR4), ~cr4 & CR4_PAE);
        check_canonical(c, CHECK_AT(SIZE_RIP, FIELD_HOST_RIP));
    } else {
        check_bits(c, CHECK_AT(SIZE_GUEST_HOST, FIELD_ENTRY_CONTROLS), guest);
        check_bits(c, CHECK_AT(SIZE_PCIDE, FIELD_HOST_CR4), cr4 & CR4_PCIDE);
        check_bits(c, CHECK_AT(SIZE_RIP_HIGH, FIELD_HOST_RIP), check_get(c, FIELD_HOST_RIP) >> 32 << 32);
    }
}

void check_host(struct check *c)
{
    u32 exit = (u32)check_get(c, FIELD_EXIT_CONTROLS);

    check_registers(c, exit);
    check_tables(c, exit);
    check_size(c, exit);
}
