/*
 * Reads the VMX capability MSRs and masks what the user disabled. SDM 3D Appendix A "VMX Capability Reporting
 * Facility". Root or non-VMX operation, any CPU.
 */
#include "vmx/caps.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/string.h"
#include "vmx/controls.h"

static struct vmx_allowed read_allowed(u32 msr)
{
    u64 value = msr_read(msr);
    return (struct vmx_allowed){.must_be_one = (u32)value, .may_be_one = (u32)(value >> 32)};
}

void vmx_caps_read(struct vmx_caps *caps)
{
    *caps = (struct vmx_caps){.basic = msr_read(MSR_IA32_VMX_BASIC)};
    bool has_true = caps->basic & BIT(55); /* SDM 3D A.2: the TRUE MSRs exist */

    caps->group[VMX_PIN] = read_allowed(has_true ? MSR_IA32_VMX_TRUE_PINBASED_CTLS : MSR_IA32_VMX_PINBASED_CTLS);
    caps->group[VMX_PROC] = read_allowed(has_true ? MSR_IA32_VMX_TRUE_PROCBASED_CTLS : MSR_IA32_VMX_PROCBASED_CTLS);
    caps->group[VMX_EXIT] = read_allowed(has_true ? MSR_IA32_VMX_TRUE_EXIT_CTLS : MSR_IA32_VMX_EXIT_CTLS);
    caps->group[VMX_ENTRY] = read_allowed(has_true ? MSR_IA32_VMX_TRUE_ENTRY_CTLS : MSR_IA32_VMX_ENTRY_CTLS);
    if (caps->group[VMX_PROC].may_be_one & PROC_SECONDARY)
        caps->group[VMX_PROC2] = read_allowed(MSR_IA32_VMX_PROCBASED_CTLS2);
    if (caps->group[VMX_PROC2].may_be_one & (PROC2_EPT | PROC2_VPID))
        caps->ept_vpid = msr_read(MSR_IA32_VMX_EPT_VPID_CAP);
    caps->misc = msr_read(MSR_IA32_VMX_MISC);
    caps->cr0_fixed0 = msr_read(MSR_IA32_VMX_CR0_FIXED0);
    caps->cr0_fixed1 = msr_read(MSR_IA32_VMX_CR0_FIXED1);
    caps->cr4_fixed0 = msr_read(MSR_IA32_VMX_CR4_FIXED0);
    caps->cr4_fixed1 = msr_read(MSR_IA32_VMX_CR4_FIXED1);
    caps->feature_control = msr_read(MSR_IA32_FEATURE_CONTROL);
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
            char known[120];
            list_features(known, sizeof known);
            return refuse(why, STATUS_INVALID, "vmx.disable=%s: no such optional feature; there are: %s", name, known);
        }
    }
    return STATUS_OK;
}

enum status vmx_feature_control_check(u64 control, u64 *to_write, struct refusal *why)
{
    *to_write = 0;
    if (!(control & FEATURE_CONTROL_LOCKED)) {
        *to_write = control | FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUTSIDE;
        return STATUS_OK;
    }
    if (!(control & FEATURE_CONTROL_VMX_OUTSIDE))
        return refuse(why, STATUS_UNSUPPORTED,
                      "firmware has disabled and locked VMX (IA32_FEATURE_CONTROL 0x%lx); enable it in the setup",
                      control);
    return STATUS_OK;
}
