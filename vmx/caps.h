/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this CPU's VMX can do: the capability MSRs as values, and questions about them. Pure but for vmx_caps_read().
 * SDM 3D Appendix A "VMX Capability Reporting Facility".
 */
#ifndef ROOTLET_VMX_CAPS_H
#define ROOTLET_VMX_CAPS_H

#include "arch/x86/msr.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/status.h"

/* The capability MSRs as the CPU has them: those from IA32_VMX_BASIC on that exist, and IA32_FEATURE_CONTROL. */
#define VMX_CAPS_MSRS (MSR_IA32_VMX_EXIT_CTLS2 - MSR_IA32_VMX_BASIC + 1)
struct vmx_caps_raw {
    u64 value[VMX_CAPS_MSRS]; /* at the MSR's index less that of IA32_VMX_BASIC; 0 where it does not exist */
    u64 feature_control;
};

enum vmx_group { VMX_PIN, VMX_PROC, VMX_PROC2, VMX_EXIT, VMX_ENTRY, VMX_GROUPS };

struct vmx_allowed {
    u32 must_be_one; /* "allowed 0-settings": a set bit must be 1 */
    u32 may_be_one;  /* "allowed 1-settings" */
};

struct vmx_caps {
    u64 basic;
    u64 misc;
    u64 cr0_fixed0, cr0_fixed1;
    u64 cr4_fixed0, cr4_fixed1;
    u64 ept_vpid;
    u64 vmfunc; /* 0 where the MSR does not exist */
    u64 feature_control;
    struct vmx_allowed group[VMX_GROUPS];
};

/* IA32_VMX_EPT_VPID_CAP, SDM 3D A.10 "VPID and EPT Capabilities" */
#define EPT_CAP_WALK_4      BIT(6)
#define EPT_CAP_WRITE_BACK  BIT(14)
#define EPT_CAP_2M          BIT(16)
#define EPT_CAP_1G          BIT(17)
#define EPT_CAP_INVEPT      BIT(20)
#define EPT_CAP_INVEPT_ONE  BIT(25)
#define EPT_CAP_INVEPT_ALL  BIT(26)
#define EPT_CAP_INVVPID     BIT(32)
#define EPT_CAP_INVVPID_ONE BIT(41)
#define EPT_CAP_INVVPID_ALL BIT(42)

#define FEATURE_CONTROL_LOCKED      BIT(0)
#define FEATURE_CONTROL_VMX_INSIDE  BIT(1) /* SMX operation, in which a measured launch ends */
#define FEATURE_CONTROL_VMX_OUTSIDE BIT(2)

/* Reads every capability MSR that exists. Precondition: CPUID.1:ECX.VMX is 1. */
void vmx_caps_read(struct vmx_caps_raw *raw);
/*
 * Whether the capability MSR `index`, from MSR_IA32_VMX_BASIC to MSR_IA32_VMX_EXIT_CTLS2, exists. Only MSRs of lower
 * indices need to be in *raw.
 */
bool vmx_caps_exists(const struct vmx_caps_raw *raw, u32 index);
/* The capabilities that the MSRs report, by the TRUE ones where they exist. */
void vmx_caps_take(const struct vmx_caps_raw *raw, struct vmx_caps *caps);
/*
 * Masks the optional features of a comma-separated list (vmx.disable=) out of *caps. STATUS_INVALID: an unknown name;
 * *why lists those that exist.
 */
enum status vmx_caps_disable(struct vmx_caps *caps, const char *list, struct refusal *why) MUST_CHECK;

/* STATUS_UNSUPPORTED: EPT lacks something that every VM needs; *why names it. */
enum status vmx_caps_check_ept(const struct vmx_caps *caps, struct refusal *why) MUST_CHECK;

/*
 * What IA32_FEATURE_CONTROL, as firmware left it, lets us do: *to_write is the value to write first, 0 for none (a
 * locked MSR must not be written). STATUS_UNSUPPORTED: firmware has disabled and locked VMX. SDM 3C 23.7 "Enabling and
 * Entering VMX Operation".
 */
enum status vmx_feature_control_check(u64 control, u64 *to_write, struct refusal *why) MUST_CHECK;

static inline u32 vmx_caps_revision(const struct vmx_caps *caps)
{
    return (u32)bits_field(caps->basic, 30, 0);
}

static inline u32 vmx_caps_region_bytes(const struct vmx_caps *caps)
{
    return (u32)bits_field(caps->basic, 44, 32);
}

/* Memory type for VMX regions: 6 is write-back, 0 uncacheable. */
static inline u32 vmx_caps_memory_type(const struct vmx_caps *caps)
{
    return (u32)bits_field(caps->basic, 53, 50);
}

/* The preemption timer counts down by one each time this bit of the TSC changes. SDM 3C 25.5.1 "VMX-Preemption Timer"
 */
static inline u32 vmx_caps_timer_shift(const struct vmx_caps *caps)
{
    return (u32)bits_field(caps->misc, 4, 0);
}

/* VPID without INVVPID could not be flushed when a vCPU moves. */
static inline bool vmx_caps_has_invvpid(const struct vmx_caps *caps)
{
    u64 needed = EPT_CAP_INVVPID | EPT_CAP_INVVPID_ALL;
    return (caps->ept_vpid & needed) == needed;
}

/* The bits of CR4 that a guest may set, out of those that its CPUID offers the features of. SDM 3A 2.5 "Control
 * Registers" */
u64 vmx_caps_guest_cr4(const struct vmx_caps *caps, u32 leaf7_ebx, u32 leaf7_ecx, u32 leaf1_ecx);
/* A legal CR0 (CR4) in VMX operation nearest to `value`. SDM 3D A.7 and A.8. */
static inline u64 vmx_caps_fix_cr0(const struct vmx_caps *caps, u64 value)
{
    return (value | caps->cr0_fixed0) & caps->cr0_fixed1;
}

static inline u64 vmx_caps_fix_cr4(const struct vmx_caps *caps, u64 value)
{
    return (value | caps->cr4_fixed0) & caps->cr4_fixed1;
}

#endif
