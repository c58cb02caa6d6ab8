/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSR policy, as one table: what a guest may touch directly, what is answered here, and nothing else (#GP). The bitmap
 * is made from the same table, so that it can never disagree. docs/cpuid.md has it with the reasons; test/lint compares
 * the two. SDM 3C 24.6.9 "MSR-Bitmap Address", 4 2.1 "Architectural MSRs".
 */
#include "vmx/exit/msr.h"
#include "arch/x86/cpu.h"
#include "arch/x86/regs.h"
#include "kernel/lib/apic.h"
#include "kernel/trace/trace.h"
#include "vmx/event.h"
#include "vmx/exit/cpuid.h"
#include "vmx/insn/guest.h"
#include "vmx/nested/nested.h"
#include "vmx/speculation.h"

#define MSR_X2APIC_EOI  (MSR_IA32_X2APIC_BASE + APIC_EOI / 16)
#define MCG_STATUS_BITS 7ull /* RIPV, EIPV, MCIP */

enum msr_kind {
    MSR_FIELD,    /* lives in a VMCS field: direct access */
    MSR_SWITCHED, /* lives in the CPU, switched when the vCPU changes: direct access */
    MSR_VALUE,    /* reads a constant, ignores writes */
    MSR_ZERO,     /* reads 0, #GP for anything else */
    MSR_COMMAND,  /* written to have something done: direct access for writes, #GP for reads */
    MSR_ANSWERED  /* read_answered, write_answered */
};

struct msr_row {
    u32 index;
    u16 kind;
    u16 value; /* MSR_FIELD: the encoding; MSR_VALUE: what is read */
};

/*
 * Not here, so #GP, and CPUID has no bit for them: machine-check banks and performance counters (the host's),
 * IA32_BNDCFGS, all that is not architectural; IA32_FEATURE_CONTROL and those of VMX, which nested/ has. The rows
 * ascend by index, for find().
 */
static const struct msr_row rows[] = {
    {MSR_IA32_P5_MC_ADDR,        MSR_VALUE,    0                          },
    {MSR_IA32_P5_MC_TYPE,        MSR_VALUE,    0                          },
    {MSR_IA32_TSC,               MSR_ANSWERED, 0                          },
    {MSR_IA32_PLATFORM_ID,       MSR_VALUE,    0                          },
    {MSR_IA32_APIC_BASE,         MSR_ANSWERED, 0                          },
    {MSR_IA32_TSC_ADJUST,        MSR_ANSWERED, 0                          },
    {MSR_IA32_SPEC_CTRL,         MSR_ANSWERED, 0                          },
    {MSR_IA32_PRED_CMD,          MSR_COMMAND,  0                          },
    {MSR_IA32_BIOS_SIGN_ID,      MSR_ANSWERED, 0                          }, /* newer than any update: no erratum of the CPU's APIC is ours */
    {MSR_PLATFORM_INFO,          MSR_ANSWERED, 0                          },
    {MSR_IA32_ARCH_CAPABILITIES, MSR_ANSWERED, 0                          },
    {MSR_IA32_FLUSH_CMD,         MSR_COMMAND,  0                          },
    {MSR_IA32_SYSENTER_CS,       MSR_FIELD,    ENCODING_GUEST_SYSENTER_CS },
    {MSR_IA32_SYSENTER_ESP,      MSR_FIELD,    ENCODING_GUEST_SYSENTER_ESP},
    {MSR_IA32_SYSENTER_EIP,      MSR_FIELD,    ENCODING_GUEST_SYSENTER_EIP},
    {MSR_IA32_MCG_CAP,           MSR_ZERO,     0                          }, /* no error-reporting banks, no IA32_MCG_CTL */
    {MSR_IA32_MCG_STATUS,        MSR_ANSWERED, 0                          },
    {MSR_IA32_MISC_ENABLE,       MSR_ANSWERED, 0                          },
    {MSR_IA32_DEBUGCTL,          MSR_VALUE,    0                          },
    {MSR_IA32_PAT,               MSR_FIELD,    ENCODING_GUEST_PAT         },
    {MSR_IA32_XSS,               MSR_ZERO,     0                          }, /* no supervisor state */
    {MSR_IA32_EFER,              MSR_FIELD,    ENCODING_GUEST_EFER        },
    {MSR_IA32_STAR,              MSR_SWITCHED, 0                          },
    {MSR_IA32_LSTAR,             MSR_SWITCHED, 0                          },
    {MSR_IA32_CSTAR,             MSR_SWITCHED, 0                          },
    {MSR_IA32_FMASK,             MSR_SWITCHED, 0                          },
    {MSR_IA32_FS_BASE,           MSR_FIELD,    ENCODING_GUEST_FS_BASE     },
    {MSR_IA32_GS_BASE,           MSR_FIELD,    ENCODING_GUEST_GS_BASE     },
    {MSR_IA32_KERNEL_GS_BASE,    MSR_SWITCHED, 0                          },
    {MSR_IA32_TSC_AUX,           MSR_SWITCHED, 0                          },
};

static const u32 switched[VMX_SWITCHED_MSRS] = {MSR_IA32_STAR,  MSR_IA32_LSTAR,          MSR_IA32_CSTAR,
                                                MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_TSC_AUX};

/* It exists only with RDTSCP. */
static bool has_tsc_aux(void)
{
    return vmx_features.controls.value[VMX_PROC2] & PROC2_RDTSCP;
}

/* TSC_AUX stands last in the list. */
static u32 switched_count(void)
{
    return VMX_SWITCHED_MSRS - (has_tsc_aux() ? 0 : 1);
}

void vmx_msr_save(struct vmx_vcpu *v)
{
    for (u32 i = 0; i < switched_count(); i++)
        v->msrs[i] = msr_read(switched[i]);
}

void vmx_msr_restore(const struct vmx_vcpu *v)
{
    for (u32 i = 0; i < switched_count(); i++)
        msr_write(switched[i], v->msrs[i]);
}

static COLD bool other_row_exists(u32 index)
{
    switch (index) {
    case MSR_IA32_SPEC_CTRL:
    case MSR_IA32_PRED_CMD:
    case MSR_IA32_ARCH_CAPABILITIES:
    case MSR_IA32_FLUSH_CMD:
        return vmx_speculation_has_msr(index);
    case MSR_IA32_XSS:
        return vmx_features.controls.value[VMX_PROC2] & PROC2_XSAVES;
    case MSR_IA32_TSC_AUX:
        return has_tsc_aux();
    default:
        return true;
    }
}

/* Of the rows between these two each exists. */
static bool row_exists(const struct msr_row *row)
{
    bool always = row->index - (MSR_IA32_FLUSH_CMD + 1) < MSR_IA32_XSS - (MSR_IA32_FLUSH_CMD + 1);
    return LIKELY(always) || other_row_exists(row->index);
}

static const struct msr_row *find(u32 index)
{
    static const struct msr_row mtrr = {0, MSR_ANSWERED, 0};
    const struct msr_row *row = rows;

    /* The last row that is not above `index`. */
    for (size_t count = ARRAY_SIZE(rows), half; count > 1; count -= half) {
        half = count / 2;
        row = row[half].index <= index ? row + half : row;
    }
    if (row->index == index)
        return row_exists(row) ? row : NULL;
    return mtrr_has(index) ? &mtrr : NULL;
}

/*
 * A clear bit lets the access through. Layout: reads of 0-1FFF, reads of C0000000-C0001FFF, then the same for writes, 1
 * KiB each. EFER writes exit: which bits exist depends on the CPUID that the guest sees.
 */
void vmx_msr_bitmap_fill(u8 *bitmap)
{
    for (u32 i = 0; i < FRAME_BYTES; i++)
        bitmap[i] = 0xff;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct msr_row *row = &rows[i];
        bool direct = row->kind == MSR_FIELD || row->kind == MSR_SWITCHED || row->kind == MSR_COMMAND ||
                      (row->index == MSR_IA32_SPEC_CTRL && vmx_speculation_spec_ctrl_is_direct());
        if (!direct || !row_exists(row))
            continue;
        u32 bit = row->index & 0x1fff;
        u32 base = row->index >= 0xc0000000 ? 1024 : 0;
        if (row->kind != MSR_COMMAND)
            bitmap[base + bit / 8] &= (u8) ~(1u << bit % 8);
        if (row->index != MSR_IA32_EFER)
            bitmap[2048 + base + bit / 8] &= (u8) ~(1u << bit % 8);
    }
}

static enum outcome give(struct vmx_vcpu *v, u64 value)
{
    v->gpr[GPR_RAX] = (u32)value;
    v->gpr[GPR_RDX] = value >> 32;
    return OUTCOME_SKIP;
}

/* The x2APIC's registers. SDM 3A 10.12.1.2 "x2APIC Register Address Space" */
static bool is_apic(u32 index)
{
    return index >= MSR_IA32_X2APIC_BASE && index <= MSR_IA32_X2APIC_BASE + 0xff;
}

static NOINLINE enum outcome read_apic(struct vmx_vcpu *v, u32 index)
{
    u64 value;
    return vm_apic_read_msr(&v->base, index, &value) ? give(v, value) : vmx_inject_gp(v);
}

/* No row: counted, so that what a system looks for in vain can be found. */
static COLD enum outcome refuse_unknown(struct vmx_vcpu *v, u32 index)
{
    v->unknown_msrs++;
    v->unknown_msr = index;
    return vmx_inject_gp(v);
}

/* With nested=on there are the capability MSRs of VMX. */
static COLD enum outcome read_unlisted(struct vmx_vcpu *v, u32 index)
{
    u64 value;
    return nested_read_msr(v, index, &value) ? give(v, value) : refuse_unknown(v, index);
}

static u64 read_answered(const struct vmx_vcpu *v, u32 index)
{
    if (index == MSR_IA32_MISC_ENABLE) /* the one that systems read often */
        return v->misc_enable;
    switch (index) {
    case MSR_IA32_TSC:
        return cpu_tsc() + v->base.tsc_offset;
    case MSR_IA32_TSC_ADJUST:
        return v->tsc_adjust;
    case MSR_IA32_MCG_STATUS:
        return v->mcg_status;
    case MSR_IA32_SPEC_CTRL:
        return v->spec_ctrl;
    case MSR_IA32_ARCH_CAPABILITIES:
        return vmx_speculation_capabilities();
    case MSR_IA32_BIOS_SIGN_ID:
        return 0xffffffffull << 32;
    case MSR_PLATFORM_INFO:
        return vmx_cpuid_platform_info();
    default:
        return mtrr_read(&v->mtrr, index);
    }
}

static NOINLINE enum outcome read_msr(struct vmx_vcpu *v, u32 index)
{
    if (is_apic(index))
        return read_apic(v, index);
    if (index == MSR_IA32_TSC_DEADLINE)
        return give(v, vm_apic_read_deadline(&v->base));

    const struct msr_row *row = find(index);
    if (!row)
        return read_unlisted(v, index);
    if (LIKELY(row->kind == MSR_ANSWERED))
        return give(v, read_answered(v, index));
    switch (row->kind) {
    case MSR_FIELD:
        return give(v, vmcs_read_raw(row->value));
    case MSR_SWITCHED:
        return give(v, msr_read(index));
    case MSR_COMMAND:
        return vmx_inject_gp(v);
    default:
        return give(v, row->value);
    }
}

enum outcome vmx_msr_read_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 index = (u32)v->gpr[GPR_RCX];

    record->detail = index;
    if (LIKELY(index == MSR_IA32_APIC_BASE))
        return give(v, *v->base.apic.base);
    return read_msr(v, index);
}

/* SDM 4 2.1 "IA32_EFER": LME may not change while paging is on, LMA is the CPU's. */
static enum outcome write_efer(struct vmx_vcpu *v, u64 value)
{
    u64 old = guest_efer(v);
    u64 nxe = v->misc_enable & MISC_ENABLE_XD_DISABLE ? 0 : EFER_NXE;
    u64 allowed = EFER_SCE | EFER_LME | EFER_LMA | nxe;

    if ((value & ~allowed) || ((value ^ old) & EFER_LME && vmcs_read(GUEST_CR0) & CR0_PG))
        return vmx_inject_gp(v);
    v->efer = value & ~EFER_LMA;
    vmcs_write(GUEST_EFER, v->efer | (old & EFER_LMA));
    return OUTCOME_SKIP;
}

static bool is_canonical(u64 value)
{
    return (u64)((s64)(value << 16) >> 16) == value;
}

/* What the CPU itself would refuse: SDM 2D "WRMSR". Reached only without MSR bitmaps. */
static bool value_is_valid(u32 index, u64 value)
{
    switch (index) {
    case MSR_IA32_PAT:
        for (u32 i = 0; i < 64; i += 8) {
            u64 type = value >> i & 0xff;
            if (type > 7 || type == 2 || type == 3)
                return false;
        }
        return true;
    case MSR_IA32_SYSENTER_CS:
    case MSR_IA32_FMASK:
    case MSR_IA32_TSC_AUX:
        return value >> 32 == 0;
    case MSR_IA32_STAR:
        return true;
    default:
        return is_canonical(value);
    }
}

/*
 * The TSC moves against the host's, by WRMSR to it or to its adjustment; a deadline stays where it was on the guest's
 * TSC. SDM 3B 18.17.3 "Time-Stamp Counter Adjustment".
 */
static COLD enum outcome move_tsc(struct vmx_vcpu *v, u64 ticks)
{
    u64 deadline = vm_apic_read_deadline(&v->base);

    v->tsc_adjust += ticks;
    v->base.tsc_offset += ticks;
    vmcs_write(TSC_OFFSET, v->base.tsc_offset);
    if (deadline)
        vm_apic_write_deadline(&v->base, deadline);
    return OUTCOME_SKIP;
}

static enum outcome write_mtrr(struct vmx_vcpu *v, u32 index, u64 value)
{
    return mtrr_write(&v->mtrr, index, value, vmx_features.guest_physical_bits) ? OUTCOME_SKIP : vmx_inject_gp(v);
}

void vmx_msr_init_vcpu(struct vmx_vcpu *v)
{
    v->misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_FIXED;
    mtrr_init(&v->mtrr, vmx_features.guest_physical_bits);
}

/* No machine check ever sets it, but software may. SDM 3B 15.3.1.3 "IA32_MCG_STATUS MSR" */
static enum outcome write_mcg_status(struct vmx_vcpu *v, u64 value)
{
    if (value & ~MCG_STATUS_BITS)
        return vmx_inject_gp(v);
    v->mcg_status = (u8)value;
    return OUTCOME_SKIP;
}

/*
 * Bits that CPUID has no feature for are reserved: thermal control, SpeedStep, MONITOR, xTPR. SDM 4 2.1 "Architectural
 * MSRs", IA32_MISC_ENABLE.
 */
static COLD enum outcome write_misc_enable(struct vmx_vcpu *v, u64 value)
{
    u64 nx = vmx_cpuid_has_nx() ? MISC_ENABLE_XD_DISABLE : 0;
    u64 writable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_LIMIT_CPUID | nx;

    if (value & ~(writable | MISC_ENABLE_FIXED))
        return vmx_inject_gp(v);
    v->misc_enable = (value & writable) | MISC_ENABLE_FIXED;
    vmx_cpuid_set_limited(v, value & MISC_ENABLE_LIMIT_CPUID);
    if (value & MISC_ENABLE_XD_DISABLE) { /* the CPU is one without NX from now on */
        v->efer &= ~EFER_NXE;
        vmcs_write(GUEST_EFER, vmcs_read(GUEST_EFER) & ~EFER_NXE);
    }
    return OUTCOME_SKIP;
}

static enum outcome write_answered(struct vmx_vcpu *v, u32 index, u64 value)
{
    switch (index) {
    case MSR_IA32_TSC:
        return move_tsc(v, value - (cpu_tsc() + v->base.tsc_offset));
    case MSR_IA32_TSC_ADJUST:
        return move_tsc(v, value - v->tsc_adjust);
    case MSR_IA32_SPEC_CTRL:
        return vmx_speculation_write(v, index, value) ? OUTCOME_SKIP : vmx_inject_gp(v);
    case MSR_IA32_ARCH_CAPABILITIES:
        return vmx_inject_gp(v);
    case MSR_IA32_BIOS_SIGN_ID:
        return OUTCOME_SKIP;
    case MSR_PLATFORM_INFO:
        return vmx_inject_gp(v);
    case MSR_IA32_MISC_ENABLE:
        return write_misc_enable(v, value);
    case MSR_IA32_MCG_STATUS:
        return write_mcg_status(v, value);
    case MSR_IA32_APIC_BASE:
        if (!vm_apic_write_base(&v->base, value))
            return vmx_inject_gp(v);
        vmx_cpuid_set_apic(v, *v->base.apic.base & BIT(11));
        return OUTCOME_SKIP;
    default:
        return write_mtrr(v, index, value);
    }
}

static NOINLINE enum outcome write_apic(struct vmx_vcpu *v, u32 index, u64 value)
{
    return vm_apic_write_msr(&v->base, index, value) ? OUTCOME_SKIP : vmx_inject_gp(v);
}

/* EOI, which is written as 0, comes from each interrupt handler where the CPU does not virtualise it. */
static NOINLINE enum outcome write_eoi(struct vmx_vcpu *v)
{
    if (UNLIKELY(!(*v->base.apic.base & APIC_BASE_EXTD)))
        return vmx_inject_gp(v);
    vm_apic_end_interrupt(&v->base);
    return OUTCOME_SKIP;
}

static NOINLINE enum outcome write_deadline(struct vmx_vcpu *v, u64 tsc)
{
    vm_apic_write_deadline(&v->base, tsc);
    return OUTCOME_SKIP;
}

static NOINLINE enum outcome write_row(struct vmx_vcpu *v, u32 index, u64 value)
{
    const struct msr_row *row = find(index);
    if (!row)
        return refuse_unknown(v, index);
    if (index == MSR_IA32_EFER)
        return write_efer(v, value);
    switch (row->kind) {
    case MSR_FIELD:
        if (!value_is_valid(index, value))
            return vmx_inject_gp(v);
        vmcs_write_raw(row->value, value);
        return OUTCOME_SKIP;
    case MSR_SWITCHED:
        if (!value_is_valid(index, value))
            return vmx_inject_gp(v);
        msr_write(index, value);
        return OUTCOME_SKIP;
    case MSR_COMMAND:
        return vmx_speculation_write(v, index, value) ? OUTCOME_SKIP : vmx_inject_gp(v);
    case MSR_ANSWERED:
        return write_answered(v, index, value);
    case MSR_ZERO:
        return value ? vmx_inject_gp(v) : OUTCOME_SKIP;
    default: /* reserved bits are refused here as in a VMCS */
        return index == MSR_IA32_DEBUGCTL && value & ~DEBUGCTL_BITS ? vmx_inject_gp(v) : OUTCOME_SKIP;
    }
}

static ALWAYS_INLINE enum outcome write_msr(struct vmx_vcpu *v, u32 index, u64 value)
{
    if (index == MSR_X2APIC_EOI && value == 0)
        return write_eoi(v);
    if (index == MSR_IA32_TSC_DEADLINE)
        return write_deadline(v, value);
    return is_apic(index) ? write_apic(v, index, value) : write_row(v, index, value);
}

enum outcome vmx_msr_write_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 index = (u32)v->gpr[GPR_RCX];

    record->detail = index;
    return write_msr(v, index, v->gpr[GPR_RDX] << 32 | (u32)v->gpr[GPR_RAX]);
}

bool vmx_msr_set(struct vmx_vcpu *v, u32 index, u64 value)
{
    struct vmx_event before = v->exception;
    bool taken = write_msr(v, index, value) == OUTCOME_SKIP;

    v->exception = before;
    return taken;
}

bool vmx_msr_get(struct vmx_vcpu *v, u32 index, u64 *value)
{
    struct vmx_event before = v->exception;
    u64 rax = v->gpr[GPR_RAX], rdx = v->gpr[GPR_RDX];
    bool given = (index == MSR_IA32_APIC_BASE ? give(v, *v->base.apic.base) : read_msr(v, index)) == OUTCOME_SKIP;

    *value = v->gpr[GPR_RDX] << 32 | v->gpr[GPR_RAX];
    v->gpr[GPR_RAX] = rax;
    v->gpr[GPR_RDX] = rdx;
    v->exception = before;
    return given;
}
