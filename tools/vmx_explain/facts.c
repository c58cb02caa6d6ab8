/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of the CPU, from its architecture, from a text or from a table of models. Pure. SDM 3D Appendix A "VMX
 * Capability Reporting Facility".
 */
#include "tools/vmx_explain/facts.h"
#include "arch/x86/regs.h"
#include "kernel/lib/string.h"
#include "tools/vmx_explain/models.h"
#include "vmx/controls.h"

#define MSRS (MSR_IA32_VMX_VMFUNC - MSR_IA32_VMX_BASIC + 1)

#define BASIC_TRUE_CONTROLS BIT(55)
#define BASIC_ERROR_CODES   BIT(56)

/*
 * CR4 as any VMX CPU has it, and as the newest has it: VME to OSXMMEXCPT, VMXE; then UMIP, LA57, SMXE, FSGSBASE, PCIDE,
 * OSXSAVE, KL, SMEP, SMAP, PKE, CET, PKS, UINTR, LASS, LAM_SUP, FRED.
 */
#define CR4_ALWAYS 0x27ffull
#define CR4_EVER   0x11bff7fffull
/* Walks of 4 levels and WB; then walks of 5, UC, accessed and dirty flags, supervisor shadow stacks. */
#define EPT_ALWAYS (BIT(6) | BIT(14))
#define EPT_EVER   (EPT_ALWAYS | BIT(7) | BIT(8) | BIT(21) | BIT(23))

#define F(fact, name, loose, strict) [FACT_##fact] = {name, loose, strict}
static const struct {
    const char *name;
    u64 loose, strict;
} facts_table[FACTS] = {
    /* The regions' size and type do not matter here; [55]: the TRUE MSRs are what the groups below stand for. */
    F(BASIC, "IA32_VMX_BASIC", BASIC_TRUE_CONTROLS | BASIC_ERROR_CODES, BASIC_TRUE_CONTROLS),
    /* HLT, shutdown, wait-for-SIPI; 4 CR3-target values; injection of instructions without length */
    F(MISC, "IA32_VMX_MISC", 0x400401c0, 0x00040000),
    F(CR0_FIXED0, "IA32_VMX_CR0_FIXED0", CR0_PE | CR0_NE | CR0_PG, CR0_PE | CR0_NE | CR0_PG),
    F(CR0_FIXED1, "IA32_VMX_CR0_FIXED1", 0xffffffff, 0xffffffff),
    F(CR4_FIXED0, "IA32_VMX_CR4_FIXED0", 0x2000, 0x2000),
    F(CR4_FIXED1, "IA32_VMX_CR4_FIXED1", CR4_EVER, CR4_ALWAYS),
    F(EPT_VPID, "IA32_VMX_EPT_VPID_CAP", EPT_EVER, EPT_ALWAYS),
    F(MUST + VMX_PIN, "IA32_VMX_TRUE_PINBASED_CTLS", 0x16, 0x16),
    F(MUST + VMX_PROC, "IA32_VMX_TRUE_PROCBASED_CTLS", 0x04006172, 0x0401e172),
    F(MUST + VMX_PROC2, "IA32_VMX_PROCBASED_CTLS2", 0, 0),
    F(MUST + VMX_EXIT, "IA32_VMX_TRUE_EXIT_CTLS", 0x00036dfb, 0x00036dff),
    F(MUST + VMX_ENTRY, "IA32_VMX_TRUE_ENTRY_CTLS", 0x000011fb, 0x000011ff),
    F(MAY + VMX_PIN, "IA32_VMX_TRUE_PINBASED_CTLS", 0xff, 0x3f),
    F(MAY + VMX_PROC, "IA32_VMX_TRUE_PROCBASED_CTLS", 0xfffbfffe, 0x77b9fffe),
    F(MAY + VMX_PROC2, "IA32_VMX_PROCBASED_CTLS2", 0xdfffffff, 0),
    F(MAY + VMX_EXIT, "IA32_VMX_TRUE_EXIT_CTLS", 0xffffffff, 0x00036fff | EXIT_ACKNOWLEDGE),
    F(MAY + VMX_ENTRY, "IA32_VMX_TRUE_ENTRY_CTLS", 0x007fffff, 0x00001fff),
    F(PHYSICAL_BITS, "MAXPHYADDR", 52, 36),
    F(LINEAR_BITS, "the linear-address width", 57, 48),
    F(LONG_MODE, "whether the hypervisor runs in 64-bit mode", 1, 0),
    F(SGX, "SGX", 1, 0),
    F(RTM, "RTM", 1, 0),
    F(STI_BLOCKS_NMI, "whether blocking by STI blocks NMIs on this CPU", 0, 1),
    F(EFER, "IA32_EFER's reserved bits", CHECK_EFER_VALID, CHECK_EFER_VALID),
    F(DEBUGCTL, "IA32_DEBUGCTL's reserved bits", DEBUGCTL_BITS | BIT(2), 0x1c3),
    F(PERF_GLOBAL, "IA32_PERF_GLOBAL_CTRL's reserved bits", 0x0001ffffffffffff, 0),
    F(VMFUNC, "IA32_VMX_VMFUNC", 1, 0),
};

const char *facts_name(enum fact fact)
{
    return facts_table[fact].name;
}

void facts_of_any_cpu(struct facts *facts)
{
    for (u32 i = 0; i < FACTS; i++) {
        facts->loose[i] = facts_table[i].loose;
        facts->strict[i] = facts_table[i].strict;
    }
}

static void know(struct facts *facts, enum fact fact, u64 value)
{
    facts->loose[fact] = facts->strict[fact] = value;
}

void facts_apply(const u64 value[FACTS], struct vmx_caps *caps, struct check_cpu *cpu)
{
    *caps = (struct vmx_caps){.basic = value[FACT_BASIC],
                              .misc = value[FACT_MISC],
                              .cr0_fixed0 = value[FACT_CR0_FIXED0],
                              .cr0_fixed1 = value[FACT_CR0_FIXED1],
                              .cr4_fixed0 = value[FACT_CR4_FIXED0],
                              .cr4_fixed1 = value[FACT_CR4_FIXED1],
                              .ept_vpid = value[FACT_EPT_VPID],
                              .vmfunc = value[FACT_VMFUNC]};
    for (u32 g = 0; g < VMX_GROUPS; g++)
        caps->group[g] =
            (struct vmx_allowed){.must_be_one = (u32)value[FACT_MUST + g], .may_be_one = (u32)value[FACT_MAY + g]};
    cpu->physical_bits = (u8)value[FACT_PHYSICAL_BITS];
    cpu->linear_bits = (u8)value[FACT_LINEAR_BITS];
    cpu->long_mode = value[FACT_LONG_MODE];
    cpu->has_sgx = value[FACT_SGX];
    cpu->has_rtm = value[FACT_RTM];
    cpu->sti_blocks_nmi = value[FACT_STI_BLOCKS_NMI];
    cpu->efer_valid = value[FACT_EFER];
    cpu->debugctl_valid = value[FACT_DEBUGCTL];
    cpu->perf_global_valid = value[FACT_PERF_GLOBAL];
}

/* ---- MSRs ---- */

/* The MSRs that a text has shown. */
struct msrs {
    bool has[MSRS];
    u64 value[MSRS];
};

static void know_group(struct facts *facts, const struct msrs *msrs, enum vmx_group group, u32 msr, u32 true_msr)
{
    u32 i = true_msr && msrs->has[true_msr - MSR_IA32_VMX_BASIC] ? true_msr : msr;

    if (!msrs->has[i - MSR_IA32_VMX_BASIC])
        return;
    know(facts, FACT_MUST + group, (u32)msrs->value[i - MSR_IA32_VMX_BASIC]);
    know(facts, FACT_MAY + group, msrs->value[i - MSR_IA32_VMX_BASIC] >> 32);
}

static u32 know_msrs(struct facts *facts, const struct msrs *msrs)
{
    static const struct {
        u32 msr;
        u8 fact;
    } plain[] = {
        {MSR_IA32_VMX_BASIC,        FACT_BASIC     },
        {MSR_IA32_VMX_MISC,         FACT_MISC      },
        {MSR_IA32_VMX_CR0_FIXED0,   FACT_CR0_FIXED0},
        {MSR_IA32_VMX_CR0_FIXED1,   FACT_CR0_FIXED1},
        {MSR_IA32_VMX_CR4_FIXED0,   FACT_CR4_FIXED0},
        {MSR_IA32_VMX_CR4_FIXED1,   FACT_CR4_FIXED1},
        {MSR_IA32_VMX_EPT_VPID_CAP, FACT_EPT_VPID  },
        {MSR_IA32_VMX_VMFUNC,       FACT_VMFUNC    }
    };
    u32 found = 0;

    for (u32 i = 0; i < ARRAY_SIZE(plain); i++)
        if (msrs->has[plain[i].msr - MSR_IA32_VMX_BASIC])
            know(facts, plain[i].fact, msrs->value[plain[i].msr - MSR_IA32_VMX_BASIC]);
    know_group(facts, msrs, VMX_PIN, MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS);
    know_group(facts, msrs, VMX_PROC, MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS);
    know_group(facts, msrs, VMX_PROC2, MSR_IA32_VMX_PROCBASED_CTLS2, 0);
    know_group(facts, msrs, VMX_EXIT, MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS);
    know_group(facts, msrs, VMX_ENTRY, MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS);
    for (u32 i = 0; i < MSRS; i++)
        found += msrs->has[i];
    return found;
}

bool facts_of_model(struct facts *facts, const char *name)
{
    struct msrs msrs = {0};

    for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
        if (!string_equal(models[i].name, name))
            continue;
        for (u32 m = 0; m < MSRS; m++) {
            msrs.has[m] = models[i].msr[m] != 0;
            msrs.value[m] = models[i].msr[m];
        }
        know_msrs(facts, &msrs);
        know(facts, FACT_PHYSICAL_BITS, models[i].physical_bits);
        know(facts, FACT_LINEAR_BITS, models[i].linear_bits);
        know(facts, FACT_VMFUNC, models[i].msr[MSR_IA32_VMX_VMFUNC - MSR_IA32_VMX_BASIC]);
        return true;
    }
    return false;
}

static void note_msr(struct msrs *msrs, u64 index, u64 value)
{
    if (index < MSR_IA32_VMX_BASIC || index > MSR_IA32_VMX_VMFUNC || msrs->has[index - MSR_IA32_VMX_BASIC])
        return;
    msrs->has[index - MSR_IA32_VMX_BASIC] = true;
    msrs->value[index - MSR_IA32_VMX_BASIC] = value;
}

static const struct {
    const char *name;
    u32 msr;
} msr_names[] = {
    {"IA32_VMX_BASIC",               MSR_IA32_VMX_BASIC              },
    {"IA32_VMX_PINBASED_CTLS",       MSR_IA32_VMX_PINBASED_CTLS      },
    {"IA32_VMX_PROCBASED_CTLS",      MSR_IA32_VMX_PROCBASED_CTLS     },
    {"IA32_VMX_EXIT_CTLS",           MSR_IA32_VMX_EXIT_CTLS          },
    {"IA32_VMX_ENTRY_CTLS",          MSR_IA32_VMX_ENTRY_CTLS         },
    {"IA32_VMX_MISC",                MSR_IA32_VMX_MISC               },
    {"IA32_VMX_CR0_FIXED0",          MSR_IA32_VMX_CR0_FIXED0         },
    {"IA32_VMX_CR0_FIXED1",          MSR_IA32_VMX_CR0_FIXED1         },
    {"IA32_VMX_CR4_FIXED0",          MSR_IA32_VMX_CR4_FIXED0         },
    {"IA32_VMX_CR4_FIXED1",          MSR_IA32_VMX_CR4_FIXED1         },
    {"IA32_VMX_PROCBASED_CTLS2",     MSR_IA32_VMX_PROCBASED_CTLS2    },
    {"IA32_VMX_EPT_VPID_CAP",        MSR_IA32_VMX_EPT_VPID_CAP       },
    {"IA32_VMX_TRUE_PINBASED_CTLS",  MSR_IA32_VMX_TRUE_PINBASED_CTLS },
    {"IA32_VMX_TRUE_PROCBASED_CTLS", MSR_IA32_VMX_TRUE_PROCBASED_CTLS},
    {"IA32_VMX_TRUE_EXIT_CTLS",      MSR_IA32_VMX_TRUE_EXIT_CTLS     },
    {"IA32_VMX_TRUE_ENTRY_CTLS",     MSR_IA32_VMX_TRUE_ENTRY_CTLS    },
    {"IA32_VMX_VMFUNC",              MSR_IA32_VMX_VMFUNC             },
};

/* "IA32_VMX_MISC = 0x...", with or without MSR_ before it. */
static u32 named_msr(const struct word *word)
{
    struct word name = *word;

    if (word_begins(word, "MSR_")) {
        name.text += 4;
        name.length -= 4;
    }
    for (u32 i = 0; i < ARRAY_SIZE(msr_names); i++)
        if (word_equals(&name, msr_names[i].name))
            return msr_names[i].msr;
    return 0;
}

static u32 skip_marks(const struct words *words, u32 i)
{
    while (word_is(words, i, "=") || word_is(words, i, ":"))
        i++;
    return i;
}

/* True if the line that begins at i has nothing but one hexadecimal number. */
static bool is_lone_number(const struct words *words, u32 i, u64 *value)
{
    return words->word[i].first && word_hex(words, i, value, NULL) &&
           (i + 1 == words->count || words->word[i + 1].first);
}

static void read_msrs(const struct words *words, struct msrs *msrs)
{
    u64 asked = 0, index, value; /* asked: by a command line "rdmsr -a 0x480", whose output stands below */

    for (u32 i = 0; i < words->count; i++) {
        u32 named = named_msr(&words->word[i]);
        u32 at = skip_marks(words, i + 1);
        if (words_match(words, i, "cap msr =") && word_hex(words, i + 3, &index, NULL)) {
            while (at < words->count && !words->word[at].first && !words_match(words, at, "value ="))
                at++;
            if (words_match(words, at, "value =") && word_hex(words, at + 2, &value, NULL))
                note_msr(msrs, index, value);
        } else if (named && word_hex(words, at, &value, NULL)) {
            note_msr(msrs, named, value);
        } else if (word_is(words, i, "rdmsr")) {
            for (at = i + 1; at < words->count && !words->word[at].first; at++)
                if (word_hex(words, at, &value, NULL) && value >= MSR_IA32_VMX_BASIC && value <= MSR_IA32_VMX_VMFUNC)
                    asked = value;
        } else if (is_lone_number(words, i, &value) && asked) {
            note_msr(msrs, asked, value);
        } else if (words->word[i].first && word_hex(words, i, &index, NULL) && word_hex(words, at, &value, NULL) &&
                   !words->word[at].first) {
            note_msr(msrs, index, value);
        }
    }
}

/* ---- /proc/cpuinfo ---- */

/* The names that Linux gives to bits of the VMX controls. */
static const struct {
    const char *flag;
    u8 fact;
    u64 bits;
} vmx_flags[] = {
    {"vnmi",                FACT_MAY + VMX_PIN,   PIN_VIRTUAL_NMIS        },
    {"preemption_timer",    FACT_MAY + VMX_PIN,   PIN_PREEMPTION_TIMER    },
    {"posted_intr",         FACT_MAY + VMX_PIN,   PIN_POSTED_INTERRUPTS   },
    {"mtf",                 FACT_MAY + VMX_PROC,  PROC_MONITOR_TRAP_FLAG  },
    {"vapic",               FACT_MAY + VMX_PROC2, PROC2_APIC_ACCESSES     },
    {"ept",                 FACT_MAY + VMX_PROC2, PROC2_EPT               },
    {"vpid",                FACT_MAY + VMX_PROC2, PROC2_VPID              },
    {"unrestricted_guest",  FACT_MAY + VMX_PROC2, PROC2_UNRESTRICTED_GUEST},
    {"vapic_reg",           FACT_MAY + VMX_PROC2, PROC2_APIC_REGISTERS    },
    {"vid",                 FACT_MAY + VMX_PROC2, PROC2_VIRTUAL_INTERRUPTS},
    {"ple",                 FACT_MAY + VMX_PROC2, PROC2_PAUSE_LOOP_EXITING},
    {"shadow_vmcs",         FACT_MAY + VMX_PROC2, PROC2_VMCS_SHADOWING    },
    {"pml",                 FACT_MAY + VMX_PROC2, PROC2_PML               },
    {"ept_mode_based_exec", FACT_MAY + VMX_PROC2, BIT(22)                 },
    {"tsc_scaling",         FACT_MAY + VMX_PROC2, PROC2_TSC_SCALING       },
    {"usr_wait_pause",      FACT_MAY + VMX_PROC2, BIT(26)                 },
    {"ept_ad",              FACT_EPT_VPID,        BIT(21)                 },
    {"ept_5level",          FACT_EPT_VPID,        BIT(7)                  },
    {"eptp_switching",      FACT_VMFUNC,          1                       },
};

/* Features whose bit of CR4 a CPU has with them, and those that are facts of their own. */
static const struct {
    const char *flag;
    u8 fact;
    u64 bits;
} cpu_flags[] = {
    {"umip",     FACT_CR4_FIXED1, BIT(11)},
    {"la57",     FACT_CR4_FIXED1, BIT(12)},
    {"smx",      FACT_CR4_FIXED1, BIT(14)},
    {"fsgsbase", FACT_CR4_FIXED1, BIT(16)},
    {"pcid",     FACT_CR4_FIXED1, BIT(17)},
    {"xsave",    FACT_CR4_FIXED1, BIT(18)},
    {"smep",     FACT_CR4_FIXED1, BIT(20)},
    {"smap",     FACT_CR4_FIXED1, BIT(21)},
    {"pku",      FACT_CR4_FIXED1, BIT(22)},
    {"sgx",      FACT_SGX,        1      },
    {"rtm",      FACT_RTM,        1      },
};

/* True if a word of the list from `from` to the end of its line is `flag`. */
static bool has_flag(const struct words *words, u32 from, const char *flag)
{
    for (u32 i = from; i < words->count && !words->word[i].first; i++)
        if (word_is(words, i, flag))
            return true;
    return false;
}

static void decide(struct facts *facts, enum fact fact, u64 bits, bool has)
{
    if (has)
        facts->strict[fact] |= bits;
    else
        facts->loose[fact] &= ~bits;
}

static u32 read_cpuinfo(struct facts *facts, const struct words *words)
{
    u32 found = 0;
    u64 number;

    for (u32 i = 0; i < words->count; i++) {
        bool vmx = words_match(words, i, "vmx flags :");
        bool cpu = words->word[i].first && words_match(words, i, "flags :");
        for (u32 k = 0; vmx && k < ARRAY_SIZE(vmx_flags); k++)
            decide(facts, vmx_flags[k].fact, vmx_flags[k].bits, has_flag(words, i + 3, vmx_flags[k].flag));
        for (u32 k = 0; cpu && k < ARRAY_SIZE(cpu_flags); k++)
            decide(facts, cpu_flags[k].fact, cpu_flags[k].bits, has_flag(words, i + 2, cpu_flags[k].flag));
        found += vmx + cpu;
        if (words_match(words, i + 1, "bits physical") && word_decimal(words, i, &number) && number >= 32 &&
            number <= 52) {
            know(facts, FACT_PHYSICAL_BITS, number);
            found++;
        }
        if (words_match(words, i + 1, "bits virtual") && word_decimal(words, i, &number) &&
            (number == 48 || number == 57))
            know(facts, FACT_LINEAR_BITS, number);
        if ((vmx || cpu) && found >= 3)
            break; /* one CPU's is enough */
    }
    return found;
}

u32 facts_from_text(struct facts *facts, const struct words *words)
{
    struct msrs msrs = {0};
    u32 found = read_cpuinfo(facts, words);

    read_msrs(words, &msrs);
    return found + know_msrs(facts, &msrs);
}
