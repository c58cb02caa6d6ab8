/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a CPU is like the boot CPU in all that is used of it. A vCPU may run on any CPU, with controls that were
 * resolved once and a CPUID that was built once, and a guest hypervisor with any control that it was offered by the
 * boot CPU. What is not used may differ. Runs on the CPU in question, before it enters VMX operation. SDM 3C 31.5.1
 * "Algorithms for Determining VMX Capabilities".
 */
#include "vmx/alike.h"
#include "arch/x86/cpu.h"
#include "arch/x86/errata.h"
#include "kernel/virt.h"
#include "vmx/exit/cpuid.h"
#include "vmx/features.h"
#include "vmx/nested/offer.h"
#include "vmx/speculation.h"

#define MISC_TIMER_RATE 0x1full /* a number */

static const char *name_of(enum vmx_group group, u32 bits)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    for (size_t i = 0; i < count; i++)
        if (rows[i].group == group && rows[i].bit & bits)
            return rows[i].name;
    return "without a name";
}

static enum status check_group(const struct vmx_caps *used, const struct vmx_caps *offered,
                               const struct vmx_controls *controls, const struct vmx_caps *theirs, enum vmx_group group,
                               struct refusal *why)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    u32 on = controls->value[group];
    u32 wanted = on | offered->group[group].may_be_one;

    for (size_t i = 0; i < count; i++)
        if (rows[i].group == group && vmx_controls_are_switched(used, &rows[i]))
            wanted |= rows[i].bit;
    u32 lacks = wanted & ~theirs->group[group].may_be_one;
    u32 insists = theirs->group[group].must_be_one & ~on;
    if (lacks)
        return refuse(why, STATUS_UNSUPPORTED, "it lacks the %s control '%s'", vmx_controls_group_name(group),
                      name_of(group, lacks));
    if (insists)
        return refuse(why, STATUS_UNSUPPORTED, "it insists on the %s control '%s'", vmx_controls_group_name(group),
                      name_of(group, insists));
    return STATUS_OK;
}

enum status vmx_caps_check_alike(const struct vmx_caps *used, const struct vmx_controls *controls,
                                 const struct vmx_caps *theirs, u64 used_cr4, struct refusal *why)
{
    static const struct nested_guest any_guest = {~0ull, true, true, true};
    struct vmx_caps offered, theirs_offered;
    u64 ept = EPT_CAP_WALK_4 | EPT_CAP_WRITE_BACK | EPT_CAP_2M | EPT_CAP_1G | EPT_CAP_INVEPT | EPT_CAP_INVEPT_ALL;

    nested_offer(used, &any_guest, &offered);
    nested_offer(theirs, &any_guest, &theirs_offered);
    for (unsigned group = 0; group < VMX_GROUPS; group++)
        if (check_group(used, &offered, controls, theirs, (enum vmx_group)group, why) != STATUS_OK)
            return STATUS_UNSUPPORTED;
    /* SDM 3D A.1 "Basic VMX Information": a VMCS of one revision is not another's. */
    if (vmx_caps_revision(used) != vmx_caps_revision(theirs))
        return refuse(why, STATUS_UNSUPPORTED, "its VMCS revision is 0x%x", vmx_caps_revision(theirs));
    if (controls->value[VMX_PROC2] & PROC2_VPID)
        ept |= EPT_CAP_INVVPID | EPT_CAP_INVVPID_ONE | EPT_CAP_INVVPID_ALL;
    ept = ((used->ept_vpid & ept) | offered.ept_vpid) & ~theirs->ept_vpid;
    if (ept)
        return refuse(why, STATUS_UNSUPPORTED, "it lacks EPT or VPID capabilities 0x%lx", ept);
    if (controls->value[VMX_PIN] & PIN_PREEMPTION_TIMER && vmx_caps_timer_shift(used) != vmx_caps_timer_shift(theirs))
        return refuse(why, STATUS_UNSUPPORTED, "its VMX-preemption timer counts at another rate");
    u64 misc = offered.misc & ~theirs_offered.misc & ~MISC_TIMER_RATE;
    u64 basic = offered.basic & ~theirs_offered.basic;
    if (misc || basic)
        return refuse(why, STATUS_UNSUPPORTED, "it lacks bits 0x%lx of IA32_VMX_MISC and 0x%lx of IA32_VMX_BASIC", misc,
                      basic);
    if (vmx_controls_have_shadowing(used) && !vmx_controls_have_shadowing(theirs))
        return refuse(why, STATUS_UNSUPPORTED, "its VMWRITE cannot write exit information");
    if (theirs->cr0_fixed0 & ~used->cr0_fixed0 || used->cr0_fixed1 & ~theirs->cr0_fixed1 ||
        theirs->cr4_fixed0 & ~used->cr4_fixed0 || used_cr4 & ~theirs->cr4_fixed1)
        return refuse(why, STATUS_UNSUPPORTED, "it fixes other bits of CR0 or CR4 in VMX operation");
    return STATUS_OK;
}

/* What is done about errata was decided by those of the boot CPU. */
static enum status check_errata(struct refusal *why)
{
    struct errata_cpu cpu = errata_this_cpu();

    if (vmx_features.has_timer && errata_preemption_timer(&cpu))
        return refuse(why, STATUS_UNSUPPORTED, "its VMX-preemption timer counts wrongly (erratum)");
    if (vmx_features.mitigates && !vmx_features.fetch_small && errata_page_size_change(&cpu))
        return refuse(why, STATUS_UNSUPPORTED, "code in large pages can raise machine checks on it (erratum)");
    return STATUS_OK;
}

enum status virt_cpu_check(struct refusal *why)
{
    struct vmx_caps_raw raw;
    struct vmx_caps theirs;
    u64 to_write;
    enum status status = vmx_cpu_has_vmx(why);

    if (status == STATUS_OK)
        status = vmx_feature_control_check(msr_read(MSR_IA32_FEATURE_CONTROL), &to_write, why);
    if (status != STATUS_OK)
        return status;
    vmx_caps_read(&raw);
    vmx_caps_take(&raw, &theirs);
    if (vmx_features.spoils_cpus)
        theirs.group[VMX_PROC2].may_be_one &= ~PROC2_EPT;
    status = vmx_caps_check_alike(&vmx_features.caps, &vmx_features.controls, &theirs,
                                  vmx_features.guest_cr4_allowed | cr4_read(), why);
    if (status == STATUS_OK)
        status = vmx_cpuid_check_alike(why);
    if (status == STATUS_OK)
        status = check_errata(why);
    if (status == STATUS_OK)
        status = vmx_speculation_check_alike(why);
    return status;
}
