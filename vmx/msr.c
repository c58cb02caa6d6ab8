/*
 * MSR policy, as one table: what a guest may touch directly, what is answered here, and nothing else (#GP). The bitmap
 * is made from the same table, so that it can never disagree. SDM 3C 24.6.9 "MSR-Bitmap Address", 4 2.1 "Architectural
 * MSRs".
 */
#include "arch/x86/cpu.h"
#include "vmx/event.h"
#include "vmx/vcpu.h"

enum msr_kind {
    MSR_FIELD,    /* lives in a VMCS field: direct access */
    MSR_SWITCHED, /* lives in the CPU, switched when the vCPU changes: direct access */
    MSR_VALUE,    /* reads a constant, ignores writes */
    MSR_ANSWERED  /* read_answered, write_answered */
};

struct msr_row {
    u32 index;
    enum msr_kind kind;
    u64 value; /* MSR_FIELD: the encoding; MSR_VALUE: what is read */
};

/*
 * IA32_MISC_ENABLE: fast strings, BTS and PEBS unavailable. IA32_BIOS_SIGN_ID: no microcode revision. IA32_PLATFORM_ID:
 * 0.
 */
static const struct msr_row rows[] = {
    {MSR_IA32_TSC,            MSR_ANSWERED, 0                         },
    {MSR_IA32_PLATFORM_ID,    MSR_VALUE,    0                         },
    {MSR_IA32_APIC_BASE,      MSR_ANSWERED, 0                         },
    {MSR_IA32_BIOS_SIGN_ID,   MSR_VALUE,    0                         },
    {MSR_IA32_SYSENTER_CS,    MSR_FIELD,    0x482a                    },
    {MSR_IA32_SYSENTER_ESP,   MSR_FIELD,    0x6824                    },
    {MSR_IA32_SYSENTER_EIP,   MSR_FIELD,    0x6826                    },
    {MSR_IA32_MISC_ENABLE,    MSR_VALUE,    BIT(0) | BIT(11) | BIT(12)},
    {MSR_IA32_PAT,            MSR_FIELD,    0x2804                    },
    {MSR_IA32_EFER,           MSR_FIELD,    0x2806                    },
    {MSR_IA32_STAR,           MSR_SWITCHED, 0                         },
    {MSR_IA32_LSTAR,          MSR_SWITCHED, 0                         },
    {MSR_IA32_CSTAR,          MSR_SWITCHED, 0                         },
    {MSR_IA32_FMASK,          MSR_SWITCHED, 0                         },
    {MSR_IA32_FS_BASE,        MSR_FIELD,    0x680e                    },
    {MSR_IA32_GS_BASE,        MSR_FIELD,    0x6810                    },
    {MSR_IA32_KERNEL_GS_BASE, MSR_SWITCHED, 0                         },
    {MSR_IA32_TSC_AUX,        MSR_SWITCHED, 0                         },
};

static const u32 switched[VMX_SWITCHED_MSRS] = {MSR_IA32_STAR,  MSR_IA32_LSTAR,          MSR_IA32_CSTAR,
                                                MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE, MSR_IA32_TSC_AUX};

/* TSC_AUX exists only with RDTSCP, which stands last in the list. */
static u32 switched_count(void)
{
    return VMX_SWITCHED_MSRS - (vmx_machine.has_rdtscp ? 0 : 1);
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

static bool row_exists(const struct msr_row *row)
{
    return row->index != MSR_IA32_TSC_AUX || vmx_machine.has_rdtscp;
}

/* SDM 3A 11.11 "Memory Type Range Registers (MTRRs)": 16 variable registers, 11 fixed ones, the default type. */
static u32 mtrr_slot(u32 index)
{
    if (index >= 0x200 && index <= 0x20f)
        return index - 0x200;
    if (index == MSR_IA32_MTRR_FIX64K)
        return 16;
    if (index == 0x258 || index == 0x259)
        return 17 + index - 0x258;
    if (index >= 0x268 && index <= 0x26f)
        return 19 + index - 0x268;
    return index == MSR_IA32_MTRR_DEF_TYPE ? 27 : VMX_MTRRS;
}

static bool is_memory_type(u64 type)
{
    return type <= 6 && type != 2 && type != 3;
}

static bool mtrr_value_is_valid(u32 index, u64 value)
{
    if (index == MSR_IA32_MTRR_DEF_TYPE)
        return !(value & ~0xcffull) && is_memory_type(value & 0xff);
    if (mtrr_slot(index) >= 16) {
        for (u32 i = 0; i < 64; i += 8)
            if (!is_memory_type(value >> i & 0xff))
                return false;
        return true;
    }
    if (value >> (cpu_cpuid(0x80000008, 0).eax & 0xff))
        return false;
    return index & 1 ? !(value & 0x7ff) : !(value & 0xf00) && is_memory_type(value & 0xff);
}

static const struct msr_row *find(u32 index)
{
    static const struct msr_row mtrr = {0, MSR_ANSWERED, 0};

    if (index == MSR_IA32_MTRRCAP || mtrr_slot(index) < VMX_MTRRS)
        return &mtrr;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].index == index)
            return row_exists(&rows[i]) ? &rows[i] : NULL;
    return NULL;
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
        if ((row->kind != MSR_FIELD && row->kind != MSR_SWITCHED) || !row_exists(row))
            continue;
        u32 bit = row->index & 0x1fff;
        u32 base = row->index >= 0xc0000000 ? 1024 : 0;
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

/* The x2APIC's registers, and the deadline of its timer. SDM 3A 10.12.1.2 "x2APIC Register Address Space" */
static bool is_apic(u32 index)
{
    return (index >= MSR_IA32_X2APIC_BASE && index <= MSR_IA32_X2APIC_BASE + 0xff) || index == MSR_IA32_TSC_DEADLINE;
}

static NOINLINE enum outcome read_apic(struct vmx_vcpu *v, u32 index)
{
    u64 value;
    return vm_apic_read_msr(&v->base, index, &value) ? give(v, value) : vmx_inject_gp(v);
}

/* Kept for the guest; memory types come from its page tables (PAT) alone, since all its memory is write-back to EPT. */
static u64 read_mtrr(const struct vmx_vcpu *v, u32 index)
{
    if (index == MSR_IA32_MTRRCAP)
        return 8 | BIT(8) | BIT(10); /* 8 variable ranges, fixed ranges, write-combining */
    return v->mtrrs[mtrr_slot(index)];
}

enum outcome vmx_msr_read_exit(struct vmx_vcpu *v)
{
    u32 index = (u32)v->gpr[GPR_RCX];

    if (LIKELY(index == MSR_IA32_APIC_BASE))
        return give(v, *v->base.apic.base);
    if (is_apic(index))
        return read_apic(v, index);

    const struct msr_row *row = find(index);
    if (!row)
        return vmx_inject_gp(v);
    switch (row->kind) {
    case MSR_FIELD:
        return give(v, vmcs_read_raw((u32)row->value));
    case MSR_SWITCHED:
        return give(v, msr_read(index));
    case MSR_VALUE:
        return give(v, row->value);
    case MSR_ANSWERED:
        return give(v, index == MSR_IA32_TSC ? cpu_tsc() + v->base.tsc_offset : read_mtrr(v, index));
    }
    return vmx_inject_gp(v);
}

/* SDM 4 2.1 "IA32_EFER": LME may not change while paging is on, LMA is the CPU's. */
static enum outcome write_efer(struct vmx_vcpu *v, u64 value)
{
    u64 old = vmcs_read(GUEST_EFER);
    u64 allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

    if ((value & ~allowed) || ((value ^ old) & EFER_LME && vmcs_read(GUEST_CR0) & CR0_PG))
        return vmx_inject_gp(v);
    vmcs_write(GUEST_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
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

static enum outcome write_answered(struct vmx_vcpu *v, u32 index, u64 value)
{
    if (index == MSR_IA32_TSC) {
        v->base.tsc_offset = value - cpu_tsc();
        vmcs_write(TSC_OFFSET, v->base.tsc_offset);
        return OUTCOME_SKIP;
    }
    if (index == MSR_IA32_APIC_BASE) {
        if (!vm_apic_write_base(&v->base, value))
            return vmx_inject_gp(v);
        vmx_cpuid_set_apic(v, *v->base.apic.base & BIT(11));
        return OUTCOME_SKIP;
    }
    if (index == MSR_IA32_MTRRCAP || !mtrr_value_is_valid(index, value))
        return vmx_inject_gp(v);
    v->mtrrs[mtrr_slot(index)] = value;
    return OUTCOME_SKIP;
}

enum outcome vmx_msr_write_exit(struct vmx_vcpu *v)
{
    u32 index = (u32)v->gpr[GPR_RCX];
    u64 value = (v->gpr[GPR_RDX] << 32) | (u32)v->gpr[GPR_RAX];

    if (is_apic(index))
        return vm_apic_write_msr(&v->base, index, value) ? OUTCOME_SKIP : vmx_inject_gp(v);
    const struct msr_row *row = find(index);
    if (!row)
        return vmx_inject_gp(v);
    if (index == MSR_IA32_EFER)
        return write_efer(v, value);
    switch (row->kind) {
    case MSR_FIELD:
        if (!value_is_valid(index, value))
            return vmx_inject_gp(v);
        vmcs_write_raw((u32)row->value, value);
        return OUTCOME_SKIP;
    case MSR_SWITCHED:
        if (!value_is_valid(index, value))
            return vmx_inject_gp(v);
        msr_write(index, value);
        return OUTCOME_SKIP;
    case MSR_VALUE:
        return OUTCOME_SKIP;
    case MSR_ANSWERED:
        return write_answered(v, index, value);
    }
    return vmx_inject_gp(v);
}
