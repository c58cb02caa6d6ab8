/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads the VMX capability MSRs and masks what the user disabled. SDM 3D Appendix A "VMX Capability Reporting
 * Facility". Root or non-VMX operation, any CPU.
 */
#include "vmx/caps.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/string.h"
#include "vmx/controls.h"

static u64 get(const struct vmx_caps_raw *raw, u32 index)
{
    return raw->value[index - MSR_IA32_VMX_BASIC];
}

bool vmx_caps_exists(const struct vmx_caps_raw *raw, u32 index)
{
    u64 basic = get(raw, MSR_IA32_VMX_BASIC);
    u64 proc = get(raw, MSR_IA32_VMX_PROCBASED_CTLS) >> 32;
    u64 proc2 = get(raw, MSR_IA32_VMX_PROCBASED_CTLS2) >> 32;

    switch (index) {
    case MSR_IA32_VMX_PROCBASED_CTLS2:
        return proc & PROC_SECONDARY;
    case MSR_IA32_VMX_EPT_VPID_CAP:
        return proc2 & (PROC2_EPT | PROC2_VPID);
    case MSR_IA32_VMX_TRUE_PINBASED_CTLS:
    case MSR_IA32_VMX_TRUE_PROCBASED_CTLS:
    case MSR_IA32_VMX_TRUE_EXIT_CTLS:
    case MSR_IA32_VMX_TRUE_ENTRY_CTLS:
        return basic & BIT(55); /* SDM 3D A.2 "Reserved Controls and Default Settings" */
    case MSR_IA32_VMX_VMFUNC:
        return proc2 & PROC2_VMFUNC;
    case MSR_IA32_VMX_PROCBASED_CTLS3:
        return proc & PROC_TERTIARY;
    case MSR_IA32_VMX_EXIT_CTLS2:
        return get(raw, MSR_IA32_VMX_EXIT_CTLS) >> 32 & EXIT_SECONDARY;
    default:
        return true;
    }
}

void vmx_caps_read(struct vmx_caps_raw *raw)
{
    *raw = (struct vmx_caps_raw){.feature_control = msr_read(MSR_IA32_FEATURE_CONTROL)};
    for (u32 i = 0; i < VMX_CAPS_MSRS; i++)
        if (vmx_caps_exists(raw, MSR_IA32_VMX_BASIC + i))
            raw->value[i] = msr_read(MSR_IA32_VMX_BASIC + i);
}

static struct vmx_allowed allowed(const struct vmx_caps_raw *raw, u32 msr)
{
    u64 value = get(raw, msr);
    return (struct vmx_allowed){.must_be_one = (u32)value, .may_be_one = (u32)(value >> 32)};
}

void vmx_caps_take(const struct vmx_caps_raw *raw, struct vmx_caps *caps)
{
    bool has_true = vmx_caps_exists(raw, MSR_IA32_VMX_TRUE_PINBASED_CTLS);

    *caps = (struct vmx_caps){
        .basic = get(raw, MSR_IA32_VMX_BASIC),
        .misc = get(raw, MSR_IA32_VMX_MISC),
        .cr0_fixed0 = get(raw, MSR_IA32_VMX_CR0_FIXED0),
        .cr0_fixed1 = get(raw, MSR_IA32_VMX_CR0_FIXED1),
        .cr4_fixed0 = get(raw, MSR_IA32_VMX_CR4_FIXED0),
        .cr4_fixed1 = get(raw, MSR_IA32_VMX_CR4_FIXED1),
        .ept_vpid = get(raw, MSR_IA32_VMX_EPT_VPID_CAP),
        .vmfunc = get(raw, MSR_IA32_VMX_VMFUNC),
        .feature_control = raw->feature_control,
    };
    caps->group[VMX_PIN] = allowed(raw, has_true ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS);
    caps->group[VMX_PROC] = allowed(raw, has_true ? MSR_IA32_VMX_TRUE_PROCBASED_CTLS : MSR_IA32_VMX_PROCBASED_CTLS);
    caps->group[VMX_PROC2] = allowed(raw, MSR_IA32_VMX_PROCBASED_CTLS2);
    caps->group[VMX_EXIT] = allowed(raw, has_true ? MSR_IA32_VMX_TRUE_EXIT_CTLS : MSR_IA32_VMX_EXIT_CTLS);
    caps->group[VMX_ENTRY] = allowed(raw, has_true ? MSR_IA32_VMX_TRUE_ENTRY_CTLS : MSR_IA32_VMX_ENTRY_CTLS);
}

/* Optional features that are bits of EPT_VPID_CAP rather than controls. */
static const struct {
    const char *feature;
    u64 bits;
} cap_features[] = {
    {"ept-1g", EPT_CAP_1G             },
    {"ept-2m", EPT_CAP_2M | EPT_CAP_1G},
};

static bool disable_one(struct vmx_caps *caps, const char *name)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    for (size_t i = 0; i < ARRAY_SIZE(cap_features); i++) {
        if (string_equal(cap_features[i].feature, name)) {
            caps->ept_vpid &= ~cap_features[i].bits;
            return true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (rows[i].feature && string_equal(rows[i].feature, name)) {
            caps->group[rows[i].group].may_be_one &= ~rows[i].bit;
            return true;
        }
    }
    return false;
}

static void list_features(char *out, size_t size)
{
    size_t count;
    size_t used = 0;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    out[0] = 0;
    for (size_t i = 0; i < ARRAY_SIZE(cap_features) + count; i++) {
        const char *name =
            i < ARRAY_SIZE(cap_features) ? cap_features[i].feature : rows[i - ARRAY_SIZE(cap_features)].feature;
        if (!name)
            continue;
        if (used && used + 2 < size)
            out[used++] = ' ';
        string_copy(out + used, size - used, name);
        used += string_length(out + used);
    }
}

enum status vmx_caps_disable(struct vmx_caps *caps, const char *list, struct refusal *why)
{
    while (*list) {
        char name[24];
        size_t n = 0;
        while (*list && *list != ',') {
            if (n + 1 < sizeof name)
                name[n++] = *list;
            list++;
        }
        name[n] = 0;
        if (*list)
            list++;
        if (n == 0)
            continue;
        if (!disable_one(caps, name)) {
            char known[160];
            list_features(known, sizeof known);
            return refuse(why, STATUS_INVALID, "vmx.disable=%s: no such optional feature; there are: %s", name, known);
        }
    }
    return STATUS_OK;
}

enum status vmx_caps_check_ept(const struct vmx_caps *caps, struct refusal *why)
{
    if ((caps->ept_vpid & (EPT_CAP_WALK_4 | EPT_CAP_WRITE_BACK)) != (EPT_CAP_WALK_4 | EPT_CAP_WRITE_BACK))
        return refuse(why, STATUS_UNSUPPORTED, "this CPU's EPT lacks four-level walks or write-back tables");
    if ((caps->ept_vpid & (EPT_CAP_INVEPT | EPT_CAP_INVEPT_ALL)) != (EPT_CAP_INVEPT | EPT_CAP_INVEPT_ALL))
        return refuse(why, STATUS_UNSUPPORTED, "this CPU lacks INVEPT of all contexts");
    return STATUS_OK;
}

enum status vmx_feature_control_check(u64 control, u64 *to_write, struct refusal *why)
{
    *to_write = 0;
    if (!(control & FEATURE_CONTROL_LOCKED)) {
        *to_write = control | FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUTSIDE;
        return STATUS_OK;
    }
    /* VMXON works outside SMX operation only, since nothing here enters it, or inside only: SDM 3C 23.7 */
    if ((control & FEATURE_CONTROL_VMX_INSIDE) && !(control & FEATURE_CONTROL_VMX_OUTSIDE))
        return refuse(
            why, STATUS_UNSUPPORTED,
            "firmware has locked VMX to measured launches (IA32_FEATURE_CONTROL 0x%lx); enable VMX outside of "
            "SMX in the setup",
            control);
    if (!(control & FEATURE_CONTROL_VMX_OUTSIDE))
        return refuse(why, STATUS_UNSUPPORTED,
                      "firmware has disabled and locked VMX (IA32_FEATURE_CONTROL 0x%lx); enable it in the setup",
                      control);
    return STATUS_OK;
}

u64 vmx_caps_guest_cr4(const struct vmx_caps *caps, u32 leaf7_ebx, u32 leaf7_ecx, u32 leaf1_ecx)
{
    u64 allowed = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
                  CR4_OSXMMEXCPT;

    allowed |= leaf1_ecx & BIT(17) ? CR4_PCIDE : 0;
    allowed |= leaf1_ecx & BIT(26) ? CR4_OSXSAVE : 0;
    allowed |= leaf7_ebx & BIT(0) ? CR4_FSGSBASE : 0;
    allowed |= leaf7_ebx & BIT(7) ? CR4_SMEP : 0;
    allowed |= leaf7_ebx & BIT(20) ? CR4_SMAP : 0;
    allowed |= leaf7_ecx & BIT(2) ? CR4_UMIP : 0;
    allowed |= leaf7_ecx & BIT(3) ? CR4_PKE : 0;
    return allowed & caps->cr4_fixed1;
}
