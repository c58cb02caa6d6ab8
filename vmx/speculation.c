/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See speculation.h. SDM 4 2.1 "Architectural MSRs" has the MSRs; Intel's "Speculative Execution Side Channel
 * Mitigations" says when to write them.
 */
#include "vmx/speculation.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"

/*
 * IA32_ARCH_CAPABILITIES: not the MSRs that it tells of and guests do not have, nor SKIP_L1DFL_VMENTRY, which is for
 * hypervisors.
 */
#define CAPABILITIES_FOR_GUESTS                                                                                        \
    (BIT(0) /* RDCL_NO */ | BIT(1) /* IBRS_ALL */ | BIT(2) /* RSBA */ | BIT(4) /* SSB_NO */ | BIT(5) /* MDS_NO */ |    \
     BIT(6) /* PSCHANGE_MC_NO */ | BIT(8) /* TAA_NO */ | BIT(13) /* SBDR_SSDP_NO */ | BIT(14) /* FBSDP_NO */ |         \
     BIT(15) /* PSDP_NO */ | BIT(17) /* FB_CLEAR */ | BIT(19) /* RRSBA */ | BIT(20) /* BHI_NO */ |                     \
     BIT(24) /* PBRSB_NO */ | BIT(26) /* GDS_NO */ | BIT(27) /* RFDS_NO */ | BIT(28) /* RFDS_CLEAR */ |                \
     BIT(62) /* ITS_NO */)
/* Of these, the ones that say that something is to be done, or not to be relied on. */
#define CAPABILITIES_BAD (BIT(2) | BIT(17) | BIT(19) | BIT(28))

static struct speculation_cpu boot_cpu;
static u32 spec_ctrl_bits; /* those that exist */
static u32 spec_ctrl_host; /* those that are always set */

static struct {
    u32 vm;        /* 1 + the number of the VM whose vCPU ran here last */
    u32 spec_ctrl; /* what IA32_SPEC_CTRL holds */
} cpus[CPU_MAX];

void vmx_speculation_init(bool wanted)
{
    struct speculation *s = &vmx_features.speculation;

    boot_cpu = speculation_this_cpu();
    speculation_decide(&boot_cpu, wanted, s);
    spec_ctrl_bits = (u32)speculation_spec_ctrl_bits(&boot_cpu);
    spec_ctrl_host = (u32)(s->acts & SPECULATION_ENHANCED_IBRS ? SPEC_CTRL_IBRS : 0) |
                     (u32)(s->acts & SPECULATION_BHI_DIS_S ? SPEC_CTRL_BHI_DIS_S : 0);
    vmx_features.switches_speculation = spec_ctrl_bits || s->acts & SPECULATION_IBPB;
}

static void set_spec_ctrl(u32 value)
{
    cpus[cpu_id()].spec_ctrl = value;
    msr_write(MSR_IA32_SPEC_CTRL, value);
}

void vmx_speculation_enter_cpu(void)
{
    cpus[cpu_id()].vm = 0;
    if (spec_ctrl_bits)
        set_spec_ctrl(spec_ctrl_host);
}

enum status vmx_speculation_check_alike(struct refusal *why)
{
    struct speculation_cpu own = speculation_this_cpu();
    struct speculation needs;
    u64 differ = (own.arch_capabilities ^ boot_cpu.arch_capabilities) & CAPABILITIES_FOR_GUESTS;

    speculation_decide(&own, vmx_features.mitigates, &needs);
    if (needs.acts & ~vmx_features.speculation.acts)
        return refuse(why, STATUS_UNSUPPORTED, "it needs more against transient execution (0x%x)",
                      needs.acts & ~vmx_features.speculation.acts);
    if (differ & ((boot_cpu.arch_capabilities & ~CAPABILITIES_BAD) | (own.arch_capabilities & CAPABILITIES_BAD)))
        return refuse(why, STATUS_UNSUPPORTED, "it lacks what IA32_ARCH_CAPABILITIES tells guests (0x%lx)", differ);
    return STATUS_OK;
}

void vmx_speculation_switch(const struct vmx_vcpu *v)
{
    u32 cpu = cpu_id();
    u32 vm = v->base.vm->id + 1;

    if (vmx_features.speculation.acts & SPECULATION_IBPB && cpus[cpu].vm != vm)
        msr_write(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
    cpus[cpu].vm = vm;
    if (spec_ctrl_bits && !vmx_speculation_spec_ctrl_is_direct() &&
        cpus[cpu].spec_ctrl != (spec_ctrl_host | v->spec_ctrl))
        set_spec_ctrl(spec_ctrl_host | v->spec_ctrl);
}

bool vmx_speculation_has_msr(u32 index)
{
    switch (index) {
    case MSR_IA32_SPEC_CTRL:
        return spec_ctrl_bits;
    case MSR_IA32_PRED_CMD:
        return boot_cpu.leaf7_edx & LEAF7_EDX_IBRS;
    case MSR_IA32_FLUSH_CMD:
        return boot_cpu.leaf7_edx & LEAF7_EDX_L1D_FLUSH;
    default:
        return boot_cpu.leaf7_edx & LEAF7_EDX_ARCH_CAPABILITIES;
    }
}

u64 vmx_speculation_capabilities(void)
{
    return boot_cpu.arch_capabilities & CAPABILITIES_FOR_GUESTS;
}

bool vmx_speculation_write(struct vmx_vcpu *v, u32 index, u64 value)
{
    if (index != MSR_IA32_SPEC_CTRL) {
        if (value & ~1ull) /* IBPB, L1D_FLUSH */
            return false;
        if (value)
            msr_write(index, value);
        return true;
    }
    if (value & ~(u64)spec_ctrl_bits)
        return false;
    v->spec_ctrl = (u16)value;
    if (!vmx_speculation_spec_ctrl_is_direct())
        set_spec_ctrl(spec_ctrl_host | v->spec_ctrl);
    return true;
}
