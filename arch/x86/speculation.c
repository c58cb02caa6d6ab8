/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See speculation.h. The bits are those of SDM 4 2.1 "Architectural MSRs", IA32_ARCH_CAPABILITIES, and of SDM 2A 3.2
 * "CPUID - CPU Identification", leaf 7; the models are those of Intel's "Consolidated Affected Processors by CPU". What
 * is to be done: Intel's "Speculative Execution Side Channel Mitigations", "L1 Terminal Fault", "Microarchitectural
 * Data Sampling", "Processor MMIO Stale Data Vulnerabilities", "Register File Data Sampling", "Branch History
 * Injection and Intra-mode Branch Target Injection", "Post-barrier Return Stack Buffer Predictions".
 */
#include "arch/x86/speculation.h"
#include "arch/x86/cpu.h"
#include "kernel/lib/format.h"

/* IA32_ARCH_CAPABILITIES */
#define CAPS_RDCL_NO            BIT(0)
#define CAPS_IBRS_ALL           BIT(1)
#define CAPS_SKIP_L1DFL_VMENTRY BIT(3)
#define CAPS_MDS_NO             BIT(5)
#define CAPS_TAA_NO             BIT(8)
#define CAPS_MMIO_NO            (BIT(13) | BIT(14) | BIT(15)) /* SBDR_SSDP_NO, FBSDP_NO, PSDP_NO */
#define CAPS_FB_CLEAR           BIT(17)
#define CAPS_BHI_NO             BIT(20)
#define CAPS_PBRSB_NO           BIT(24)
#define CAPS_RFDS_NO            BIT(27)
#define CAPS_RFDS_CLEAR         BIT(28)

#define LEAF7_EBX_RTM BIT(11)

/* What is known of models: bits. SAFE: not affected, whatever the CPU says. */
#define SAFE_IN_ORDER 1u /* it does not speculate */
#define SAFE_L1TF     2u
#define SAFE_MDS      4u
#define BAD_RFDS      8u /* affected, also where microcode is too old to say so */
#define SAFE_ALL      (SAFE_IN_ORDER | SAFE_L1TF | SAFE_MDS)

static const struct {
    u8 model; /* of family 6 */
    u8 known;
} models[] = {
    {0x1c, SAFE_ALL                       }, /* Bonnell */
    {0x26, SAFE_ALL                       },
    {0x27, SAFE_ALL                       }, /* Saltwell */
    {0x35, SAFE_ALL                       },
    {0x36, SAFE_ALL                       },
    {0x37, SAFE_L1TF                      }, /* Silvermont */
    {0x4a, SAFE_L1TF                      },
    {0x4d, SAFE_L1TF                      },
    {0x4c, SAFE_L1TF                      }, /* Airmont */
    {0x5a, SAFE_L1TF                      },
    {0x75, SAFE_L1TF                      },
    {0x57, SAFE_L1TF                      }, /* Knights Landing, Knights Mill */
    {0x85, SAFE_L1TF                      },
    {0x5c, SAFE_L1TF | SAFE_MDS | BAD_RFDS}, /* Goldmont, Goldmont Plus */
    {0x5f, SAFE_L1TF | SAFE_MDS | BAD_RFDS},
    {0x7a, SAFE_L1TF | SAFE_MDS | BAD_RFDS},
    {0x86, SAFE_L1TF | SAFE_MDS | BAD_RFDS}, /* Tremont */
    {0x96, SAFE_L1TF | SAFE_MDS | BAD_RFDS},
    {0x9c, SAFE_L1TF | SAFE_MDS | BAD_RFDS},
    {0x97, BAD_RFDS                       }, /* Alder Lake, Raptor Lake, Gracemont */
    {0x9a, BAD_RFDS                       },
    {0xb7, BAD_RFDS                       },
    {0xba, BAD_RFDS                       },
    {0xbf, BAD_RFDS                       },
    {0xbe, BAD_RFDS                       },
};

/* Who can be affected at all. */
enum applies {
    ALL,
    TO_INTEL,
    WITH_RTM,
    WITH_EIBRS,
    WITH_FB_CLEAR, /* a CPU that can clear its fill buffers tells so because it has to */
    WITH_RFDS      /* likewise, or by its model */
};

enum word { NO_WORD, CAPS, EDX7, EDX7_2, BUILT };

/* A function that the compiler makes where RETPOLINES=yes (kernel.mk) has it replace indirect branches. */
extern const u8 retpoline[] __asm__("__x86_indirect_thunk_rax") __attribute__((weak));

#define REMEDIES 3u

struct row {
    const char *attack;
    const char *signs; /* by which a CPU is not affected: the names of `no`, and others */
    u8 applies;
    u8 safe;       /* models that are not affected */
    bool siblings; /* a sibling thread can mount it */
    u64 no[2];     /* bits of IA32_ARCH_CAPABILITIES: not affected if it has all of either */
    struct {
        u16 act;
        u8 word; /* the remedy is there if the word has one of these bits */
        u64 bits;
    } remedies[REMEDIES];
};

#define EDX7_ANY (LEAF7_EDX_MD_CLEAR | LEAF7_EDX_IBRS | LEAF7_EDX_L1D_FLUSH | LEAF7_EDX_ARCH_CAPABILITIES)

/*
 * Without microcode of 2018 or later a CPU has none of the bits, and nothing helps: there the registers are not cleared
 * either. MASKS are in the code, for everybody. RETPOLINES are in a build of their own, for CPUs without IBRS.
 */
/* clang-format off */
static const struct row rows[SPECULATION_ROWS] = {
    {"branch-target", "none", ALL, SAFE_IN_ORDER, false, {0},
     {{SPECULATION_ENHANCED_IBRS, CAPS, CAPS_IBRS_ALL}, {SPECULATION_IBRS, EDX7, LEAF7_EDX_IBRS},
      {SPECULATION_RETPOLINES, BUILT, 1}}},
    {"return-stack", "PBRSB_NO+IBRS_ALL", ALL, SAFE_IN_ORDER, false, {CAPS_PBRSB_NO | CAPS_IBRS_ALL},
     {{SPECULATION_FILL_RETURNS, CAPS, CAPS_IBRS_ALL}, {SPECULATION_FILL_RETURNS, EDX7, LEAF7_EDX_IBRS},
      {SPECULATION_FILL_RETURNS, BUILT, 1}}},
    {"branch-history", "BHI_NO, no IBRS_ALL", WITH_EIBRS, SAFE_IN_ORDER, false, {CAPS_BHI_NO},
     {{SPECULATION_BHI_DIS_S, EDX7_2, LEAF7_2_EDX_BHI_CTRL}, {SPECULATION_CLEAR_HISTORY, CAPS, CAPS_IBRS_ALL}}},
    {"other-vm", "none", ALL, SAFE_IN_ORDER, false, {0}, {{SPECULATION_IBPB, EDX7, LEAF7_EDX_IBRS}}},
    {"bounds-check", "none", ALL, SAFE_IN_ORDER, false, {0}, {{SPECULATION_MASKS, NO_WORD, 0}}},
    {"registers", "none", ALL, SAFE_IN_ORDER, false, {0},
     {{SPECULATION_CLEAR_REGISTERS, EDX7, EDX7_ANY}, {SPECULATION_CLEAR_REGISTERS, BUILT, 1}}},
    {"l1tf", "RDCL_NO, SKIP_L1DFL_VMENTRY", TO_INTEL, SAFE_L1TF, true, {CAPS_RDCL_NO, CAPS_SKIP_L1DFL_VMENTRY},
     {{SPECULATION_FLUSH_L1D, EDX7, LEAF7_EDX_L1D_FLUSH}}},
    {"mds", "MDS_NO", TO_INTEL, SAFE_MDS, true, {CAPS_MDS_NO}, {{SPECULATION_VERW, EDX7, LEAF7_EDX_MD_CLEAR}}},
    {"taa", "TAA_NO, no RTM", WITH_RTM, SAFE_MDS, true, {CAPS_TAA_NO},
     {{SPECULATION_VERW, EDX7, LEAF7_EDX_MD_CLEAR}}},
    {"mmio-stale-data", "SBDR_SSDP_NO+FBSDP_NO+PSDP_NO, no FB_CLEAR", WITH_FB_CLEAR, 0, false, {CAPS_MMIO_NO},
     {{SPECULATION_VERW, CAPS, CAPS_FB_CLEAR}}},
    {"rfds", "RFDS_NO, no RFDS_CLEAR", WITH_RFDS, 0, false, {CAPS_RFDS_NO},
     {{SPECULATION_VERW, CAPS, CAPS_RFDS_CLEAR}}},
};
/* clang-format on */

struct speculation_cpu speculation_this_cpu(void)
{
    struct cpuid_result zero = cpu_cpuid(0, 0);
    struct cpuid_result seven = zero.eax >= 7 ? cpu_cpuid(7, 0) : (struct cpuid_result){0};
    struct speculation_cpu cpu = {
        .is_intel = zero.ebx == 0x756e6547 && zero.edx == 0x49656e69 && zero.ecx == 0x6c65746e,
        .signature = cpu_cpuid(1, 0).eax,
        .leaf7_ebx = seven.ebx,
        .leaf7_edx = seven.edx,
        .leaf7_2_edx = seven.eax >= 2 && zero.eax >= 7 ? cpu_cpuid(7, 2).edx : 0,
    };

    if (seven.edx & LEAF7_EDX_ARCH_CAPABILITIES)
        cpu.arch_capabilities = msr_read(MSR_IA32_ARCH_CAPABILITIES);
    return cpu;
}

static u8 known_of(const struct speculation_cpu *cpu)
{
    u32 model = (cpu->signature >> 4 & 15) | (cpu->signature >> 12 & 0xf0);

    for (size_t i = 0; cpu->is_intel && (cpu->signature >> 8 & 15) == 6 && i < ARRAY_SIZE(models); i++)
        if (models[i].model == model)
            return models[i].known;
    return 0;
}

static bool has_word(const struct speculation_cpu *cpu, u8 word, u64 bits)
{
    switch (word) {
    case CAPS:
        return cpu->arch_capabilities & bits;
    case EDX7:
        return cpu->leaf7_edx & bits;
    case EDX7_2:
        return cpu->leaf7_2_edx & bits;
    case BUILT:
        return retpoline != NULL;
    default:
        return true;
    }
}

static bool applies_to(const struct speculation_cpu *cpu, u8 applies)
{
    switch (applies) {
    case TO_INTEL:
        return cpu->is_intel;
    case WITH_RTM:
        return cpu->is_intel && cpu->leaf7_ebx & LEAF7_EBX_RTM;
    case WITH_EIBRS:
        return cpu->arch_capabilities & CAPS_IBRS_ALL;
    case WITH_FB_CLEAR:
        return cpu->arch_capabilities & CAPS_FB_CLEAR;
    case WITH_RFDS:
        return cpu->arch_capabilities & CAPS_RFDS_CLEAR || known_of(cpu) & BAD_RFDS;
    default:
        return true;
    }
}

static bool is_affected(const struct speculation_cpu *cpu, const struct row *row)
{
    for (size_t i = 0; i < ARRAY_SIZE(row->no); i++)
        if (row->no[i] && (cpu->arch_capabilities & row->no[i]) == row->no[i])
            return false;
    return applies_to(cpu, row->applies) && !(known_of(cpu) & row->safe);
}

static u32 remedy_for(const struct speculation_cpu *cpu, const struct row *row)
{
    for (u32 i = 0; i < REMEDIES && row->remedies[i].act; i++)
        if (has_word(cpu, row->remedies[i].word, row->remedies[i].bits))
            return row->remedies[i].act;
    return 0;
}

void speculation_decide(const struct speculation_cpu *cpu, bool wanted, struct speculation *out)
{
    *out = (struct speculation){.acts = SPECULATION_MASKS};
    for (u32 i = 0; i < SPECULATION_ROWS; i++) {
        if (!is_affected(cpu, &rows[i]))
            continue;
        u32 act = remedy_for(cpu, &rows[i]);
        out->affected |= 1u << i;
        out->helpless |= act ? 0 : 1u << i;
        out->acts |= wanted ? act : 0;
        out->sibling_threads |= rows[i].siblings;
    }
}

static const char *act_name(u32 act)
{
    static const char *const names[] = {"enhanced-ibrs", "ibrs-at-exit",   "retpolines",     "fill-at-exit",
                                        "bhi-dis-s",     "clear-history",  "ibpb-at-switch", "masks",
                                        "clear-at-exit", "flush-at-entry", "verw-at-entry"};

    return act ? names[__builtin_ctz(act)] : "nothing";
}

void speculation_report(const struct speculation_cpu *cpu, bool wanted, void (*print)(const char *line))
{
    char line[SPECULATION_LINE_BYTES];
    struct speculation decided;

    speculation_decide(cpu, wanted, &decided);
    format_text(
        line, sizeof line,
        "vmx speculation cpu intel=%u signature=0x%x ebx7=0x%x edx7=0x%x edx7.2=0x%x capabilities=0x%lx wanted=%u",
        cpu->is_intel, cpu->signature, cpu->leaf7_ebx, cpu->leaf7_edx, cpu->leaf7_2_edx, cpu->arch_capabilities,
        wanted);
    print(line);
    for (u32 i = 0; i < SPECULATION_ROWS; i++) {
        u32 act = remedy_for(cpu, &rows[i]);
        bool affected = decided.affected >> i & 1;
        format_text(line, sizeof line, "vmx speculation attack=%s affected=%s remedy=%s done=%s unless=\"%s\"",
                    rows[i].attack, affected ? "yes" : "no", act_name(act),
                    affected && decided.acts & act ? "yes" : "no", rows[i].signs);
        print(line);
    }
}

u64 speculation_spec_ctrl_bits(const struct speculation_cpu *cpu)
{
    static const struct {
        u8 word;
        u64 sign;
        u64 bits;
    } signs[] = {
        {EDX7,   LEAF7_EDX_IBRS,         SPEC_CTRL_IBRS     },
        {EDX7,   LEAF7_EDX_STIBP,        SPEC_CTRL_STIBP    },
        {EDX7,   LEAF7_EDX_SSBD,         SPEC_CTRL_SSBD     },
        {EDX7_2, LEAF7_2_EDX_PSFD,       SPEC_CTRL_PSFD     },
        {EDX7_2, LEAF7_2_EDX_IPRED_CTRL, SPEC_CTRL_IPRED_DIS},
        {EDX7_2, LEAF7_2_EDX_RRSBA_CTRL, SPEC_CTRL_RRSBA_DIS},
        {EDX7_2, LEAF7_2_EDX_DDPD_U,     SPEC_CTRL_DDPD_U   },
        {EDX7_2, LEAF7_2_EDX_BHI_CTRL,   SPEC_CTRL_BHI_DIS_S},
    };
    u64 bits = 0;

    for (size_t i = 0; i < ARRAY_SIZE(signs); i++)
        if (has_word(cpu, signs[i].word, signs[i].sign))
            bits |= signs[i].bits;
    return bits;
}

const char *speculation_summary(const struct speculation *s, bool wanted)
{
    if (!s->affected)
        return "not-needed";
    if (!wanted)
        return "off";
    return s->helpless ? "in-part" : "on";
}
