/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM-entry checks on the MSR-load area, as far as its memory can be read: SDM 3C 26.4 "Loading MSRs". What WRMSR would
 * refuse is known here for the MSRs of the architecture that ask for an address, a PAT or EFER. Pure.
 */
#include "arch/x86/msr.h"
#include "arch/x86/regs.h"
#include "vmx/check/rules.h"

#define MSR_IA32_BIOS_UPDT_TRIG  0x79u
#define MSR_IA32_SMM_MONITOR_CTL 0x9bu

struct msr_entry {
    u32 index;
    u32 reserved;
    u64 value;
};

/* LME cannot change while paging is on: SDM 3C 26.4, note on IA32_EFER. */
static bool is_efer_writable(const struct check *c, u64 value)
{
    u64 lme = c->entry & ENTRY_LOAD_EFER ? check_get(c, FIELD_GUEST_EFER) & EFER_LME : c->ia32e ? EFER_LME : 0;

    return !(value & ~c->image->cpu.efer_valid) && (!(c->cr0 & CR0_PG) || (value & EFER_LME) == lme);
}

static bool is_writable(const struct check *c, const struct msr_entry *entry)
{
    switch (entry->index) {
    case MSR_IA32_SYSENTER_ESP:
    case MSR_IA32_SYSENTER_EIP:
    case MSR_IA32_LSTAR:
    case MSR_IA32_CSTAR:
    case MSR_IA32_KERNEL_GS_BASE:
        return check_is_canonical(c, entry->value);
    case MSR_IA32_PAT:
        return check_is_pat(entry->value);
    case MSR_IA32_EFER:
        return is_efer_writable(c, entry->value);
    case MSR_IA32_DEBUGCTL:
        return !(entry->value & ~c->image->cpu.debugctl_valid);
    case MSR_IA32_PERF_GLOBAL_CTRL:
        return !(entry->value & ~c->image->cpu.perf_global_valid);
    case MSR_IA32_FMASK:
    case MSR_IA32_TSC_AUX:
        return entry->value >> 32 == 0;
    default:
        return true;
    }
}

/* The rule that the entry breaks, or -1. */
static s32 rule_of(const struct check *c, const struct msr_entry *entry)
{
    if (entry->index == MSR_IA32_FS_BASE || entry->index == MSR_IA32_GS_BASE)
        return RULE_MSR_BASE;
    if (entry->index >> 8 == MSR_IA32_X2APIC_BASE >> 8)
        return RULE_MSR_X2APIC;
    if (entry->index == MSR_IA32_SMM_MONITOR_CTL && !c->image->cpu.in_smm)
        return RULE_MSR_SMM;
    if (entry->index == MSR_IA32_BIOS_UPDT_TRIG)
        return RULE_MSR_MODEL;
    if (entry->reserved)
        return RULE_MSR_RESERVED;
    return is_writable(c, entry) ? -1 : RULE_MSR_VALUE;
}

void check_msrs(struct check *c)
{
    u64 count = check_get(c, FIELD_ENTRY_MSR_LOAD_COUNT);
    u64 area = check_get(c, FIELD_ENTRY_MSR_LOAD_ADDRESS);
    u64 most = 512 * (bits_field(c->caps->misc, 27, 25) + 1); /* SDM 3D A.6: the recommended maximum */
    struct msr_entry entry;

    if (area & 0xf || check_beyond_width(c, area, true)) /* fails long before it is read */
        return;
    if (count > most) {
        count = most;
        c->result.skipped |= CHECK_SKIPPED_MSRS;
    }
    for (u32 i = 0; i < count; i++) {
        if (!check_memory(c, area + 16 * i, &entry, 16, CHECK_SKIPPED_MSRS))
            return;
        s32 rule = rule_of(c, &entry);
        if (rule >= 0)
            check_fail_entry(c, (u32)rule << 16 | FIELD_ENTRY_MSR_LOAD_ADDRESS, i + 1, entry.index, 0);
    }
}
