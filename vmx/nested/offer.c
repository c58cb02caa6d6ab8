/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See offer.h. SDM 3D A.1 "Basic VMX Information" to A.11 "VM Functions".
 */
#include "vmx/nested/offer.h"
#include "vmx/check/check.h"

/* IA32_VMX_BASIC, SDM 3D A.1 "Basic VMX Information" */
#define BASIC_REGION_4K        (4096ull << 32)
#define BASIC_WRITE_BACK       (6ull << 50)
#define BASIC_INS_OUTS         BIT(54)
#define BASIC_TRUE_CONTROLS    BIT(55)
#define BASIC_ANY_ERROR_CODE   BIT(56)
#define BASIC_OFFERED          (BASIC_INS_OUTS | BASIC_TRUE_CONTROLS | BASIC_ANY_ERROR_CODE)
#define MISC_TIMER_SHIFT       0x1full
#define MISC_STORES_LMA        BIT(5)
#define MISC_HLT               BIT(6)
#define MISC_INJECTS_LENGTH_0  BIT(30)
#define MISC_CR3_TARGETS_SHIFT 16

/*
 * IA32_VMX_MISC, SDM 3D A.6 "Miscellaneous Data". Of the activity states only HLT is offered: from shutdown and
 * wait-for-SIPI a CPU is not woken by an interrupt, so that its time could not be shared. VMWRITE to read-only fields
 * (bit 29) is error 13 on any machine, and an MSR list has at most 512 entries (bits 27:25).
 */
#define MISC_OFFERED (MISC_TIMER_SHIFT | MISC_STORES_LMA | MISC_HLT | MISC_INJECTS_LENGTH_0)
#define CR3_TARGETS  4u
/*
 * IA32_VMX_EPT_VPID_CAP, SDM 3D A.10 "VPID and EPT Capabilities": execute-only pages, walks of four levels, tables UC
 * or WB, pages of 2 MiB and 1 GiB, accessed and dirty flags; and below every type of INVEPT and INVVPID.
 */
#define EPT_OFFERED                                                                                                    \
    (BIT(0) | EPT_CAP_WALK_4 | BIT(8) | EPT_CAP_WRITE_BACK | EPT_CAP_2M | EPT_CAP_1G | EPT_CAP_INVEPT | BIT(21) |      \
     EPT_CAP_INVEPT_ONE | EPT_CAP_INVEPT_ALL)
#define VMFUNC_OFFERED BIT(0) /* EPTP switching: SDM 3D A.11 "VM Functions" */
#define VPID_OFFERED   (EPT_CAP_INVVPID | BIT(40) | EPT_CAP_INVVPID_ONE | EPT_CAP_INVVPID_ALL | BIT(43))

enum need { NEED_CPU, NEED_EPT, NEED_INVVPID, NEED_VMFUNC, NEED_CPUID_RDTSCP, NEED_CPUID_INVPCID, NEED_CPUID_XSAVES };

#define DEFINE_ROW(group, control, need, why) {control, group, NEED_##need},
static const struct {
    u32 bit;
    u8 group;
    u8 need;
} rows[] = {NESTED_OFFER(DEFINE_ROW)};

static bool is_met(enum need need, const struct vmx_caps *machine, const struct nested_guest *guest)
{
    switch (need) {
    case NEED_EPT:
        return machine->group[VMX_PROC2].may_be_one & PROC2_EPT;
    case NEED_VMFUNC:
        return machine->group[VMX_PROC2].may_be_one & PROC2_EPT && machine->vmfunc & VMFUNC_OFFERED;
    case NEED_INVVPID:
        return vmx_caps_has_invvpid(machine);
    case NEED_CPUID_RDTSCP:
        return guest->has_rdtscp;
    case NEED_CPUID_INVPCID:
        return guest->has_invpcid;
    case NEED_CPUID_XSAVES:
        return guest->has_xsaves;
    case NEED_CPU:
        break;
    }
    return true;
}

static u64 offer_misc(u64 machine)
{
    u64 targets = bits_field(machine, 24, 16);

    return (machine & MISC_OFFERED) | (targets < CR3_TARGETS ? targets : CR3_TARGETS) << MISC_CR3_TARGETS_SHIFT;
}

void nested_offer(const struct vmx_caps *machine, const struct nested_guest *guest, struct vmx_caps *offered)
{
    *offered = (struct vmx_caps){
        .basic = NESTED_REVISION | BASIC_REGION_4K | BASIC_WRITE_BACK | (machine->basic & BASIC_OFFERED),
        .misc = offer_misc(machine->misc),
        .cr0_fixed0 = machine->cr0_fixed0,
        .cr0_fixed1 = machine->cr0_fixed1,
        .cr4_fixed0 = machine->cr4_fixed0,
        .cr4_fixed1 = (guest->cr4 | machine->cr4_fixed0) & machine->cr4_fixed1,
        .feature_control = FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX_OUTSIDE,
    };
    /* What the machine insists on is offered, too: the entry that runs the inner guest must have it. */
    for (u32 g = 0; g < VMX_GROUPS; g++) {
        offered->group[g].must_be_one = machine->group[g].must_be_one;
        offered->group[g].may_be_one = machine->group[g].must_be_one;
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (machine->group[rows[i].group].may_be_one & rows[i].bit && is_met(rows[i].need, machine, guest))
            offered->group[rows[i].group].may_be_one |= rows[i].bit;
    if (!(offered->group[VMX_PROC].may_be_one & PROC_SECONDARY))
        offered->group[VMX_PROC2] = (struct vmx_allowed){0};
    if (offered->group[VMX_PROC2].may_be_one & PROC2_EPT)
        offered->ept_vpid |= machine->ept_vpid & EPT_OFFERED;
    if (offered->group[VMX_PROC2].may_be_one & PROC2_VPID)
        offered->ept_vpid |= machine->ept_vpid & VPID_OFFERED;
    if (offered->group[VMX_PROC2].may_be_one & PROC2_VMFUNC)
        offered->vmfunc = machine->vmfunc & VMFUNC_OFFERED;
}

/* As the TRUE MSR has it. */
static u64 allowed(const struct vmx_caps *offered, enum vmx_group group)
{
    return offered->group[group].must_be_one | (u64)offered->group[group].may_be_one << 32;
}

/* As the MSR without TRUE has it: each control of the default1 class must be 1. SDM 3D A.2. */
static u64 allowed_old(const struct vmx_caps *offered, enum vmx_group group)
{
    return allowed(offered, group) | vmx_controls_default_one(group);
}

/* The highest index of a field that exists. SDM 3D A.9 "VMCS Enumeration" */
static u64 enumeration(const struct vmx_caps *offered)
{
    u64 most = 0;

    for (u32 row = 0; row < CHECK_FIELDS; row++) {
        u64 index = check_field_encoding(row) & 0x3fe;
        if (index > most && check_field_exists(row, offered))
            most = index;
    }
    return most;
}

bool nested_offer_msr(const struct vmx_caps *offered, u32 index, u64 *value)
{
    bool has_true = offered->basic & BASIC_TRUE_CONTROLS;
    const struct vmx_allowed *proc2 = &offered->group[VMX_PROC2];

    switch (index) {
    case MSR_IA32_FEATURE_CONTROL:
        *value = offered->feature_control;
        return true;
    case MSR_IA32_VMX_BASIC:
        *value = offered->basic;
        return true;
    case MSR_IA32_VMX_PINBASED_CTLS:
        *value = allowed_old(offered, VMX_PIN);
        return true;
    case MSR_IA32_VMX_PROCBASED_CTLS:
        *value = allowed_old(offered, VMX_PROC);
        return true;
    case MSR_IA32_VMX_EXIT_CTLS:
        *value = allowed_old(offered, VMX_EXIT);
        return true;
    case MSR_IA32_VMX_ENTRY_CTLS:
        *value = allowed_old(offered, VMX_ENTRY);
        return true;
    case MSR_IA32_VMX_MISC:
        *value = offered->misc;
        return true;
    case MSR_IA32_VMX_CR0_FIXED0:
        *value = offered->cr0_fixed0;
        return true;
    case MSR_IA32_VMX_CR0_FIXED1:
        *value = offered->cr0_fixed1;
        return true;
    case MSR_IA32_VMX_CR4_FIXED0:
        *value = offered->cr4_fixed0;
        return true;
    case MSR_IA32_VMX_CR4_FIXED1:
        *value = offered->cr4_fixed1;
        return true;
    case MSR_IA32_VMX_VMCS_ENUM:
        *value = enumeration(offered);
        return true;
    case MSR_IA32_VMX_PROCBASED_CTLS2:
        *value = allowed(offered, VMX_PROC2);
        return offered->group[VMX_PROC].may_be_one & PROC_SECONDARY;
    case MSR_IA32_VMX_EPT_VPID_CAP:
        *value = offered->ept_vpid;
        return proc2->may_be_one & (PROC2_EPT | PROC2_VPID);
    case MSR_IA32_VMX_TRUE_PINBASED_CTLS:
        *value = allowed(offered, VMX_PIN);
        return has_true;
    case MSR_IA32_VMX_TRUE_PROCBASED_CTLS:
        *value = allowed(offered, VMX_PROC);
        return has_true;
    case MSR_IA32_VMX_TRUE_EXIT_CTLS:
        *value = allowed(offered, VMX_EXIT);
        return has_true;
    case MSR_IA32_VMX_TRUE_ENTRY_CTLS:
        *value = allowed(offered, VMX_ENTRY);
        return has_true;
    case MSR_IA32_VMX_VMFUNC:
        *value = offered->vmfunc;
        return proc2->may_be_one & PROC2_VMFUNC;
    default:
        return false; /* what came later is not offered */
    }
}
