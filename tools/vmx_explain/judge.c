/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs the checker on a dump with every unknown varied, one at a time, around two bases: one where what is not known is
 * as it should be, one where all its bits are set. Pure. SDM 3C 26 "VM Entries".
 */
#include "tools/vmx_explain/judge.h"
#include "arch/x86/regs.h"
#include "kernel/lib/string.h"
#include "vmx/check/rules.h"

/* One run's values. */
struct guess {
    struct check_image image;
    u64 fact[FACTS];
    const struct dump *dump;
};

struct run {
    struct judgement *judgement;
    u32 number;
    u32 unknown; /* the one that is varied; UNKNOWNS: none */
};

/* ---- memory ---- */

/* The VM-entry MSR-load area is the only memory that a dump can show. */
static bool read_memory(void *context, u64 physical, void *to, u32 bytes)
{
    const struct guess *guess = context;
    u64 offset = physical - guess->image.value[FIELD_ENTRY_MSR_LOAD_ADDRESS];
    u64 entry[2];

    if (!guess->dump->has_msrs || bytes != 16 || offset % 16 || offset / 16 >= guess->dump->msrs)
        return false;
    entry[0] = guess->dump->msr[offset / 16].index;
    entry[1] = guess->dump->msr[offset / 16].value;
    memcpy(to, entry, 16);
    return true;
}

/* ---- findings ---- */

static struct finding *find(struct judgement *j, const struct check_report *report)
{
    for (u32 i = 0; i < j->findings; i++) {
        struct finding *f = &j->finding[i];
        if (f->report.rule == report->rule && f->report.field == report->field && f->report.entry == report->entry)
            return f;
    }
    if (j->findings == FINDINGS_MAX) {
        j->cut = true;
        return NULL;
    }
    struct finding *f = &j->finding[j->findings++];
    memset(f, 0, sizeof *f);
    f->report = *report;
    f->all = ~0ull;
    return f;
}

static void note(void *context, const struct check_report *report)
{
    struct run *run = context;
    struct finding *f = find(run->judgement, report);

    if (!f || f->last_run == run->number)
        return;
    f->last_run = run->number;
    f->runs++;
    f->all &= report->bits;
    f->any |= report->bits;
    if (run->unknown == UNKNOWNS) {
        f->in_base = true;
        f->base_bits = report->bits;
    } else if (!f->in_base || f->base_bits != report->bits) {
        f->needs[run->unknown] = true;
    }
}

static struct check_result run_once(struct run *run, struct guess *guess)
{
    struct vmx_caps caps;
    struct check_cpu *cpu = &guess->image.cpu;

    facts_apply(guess->fact, &caps, cpu);
    cpu->vmcs_pointer = ~0ull;
    guess->image.read_memory = read_memory;
    guess->image.memory_context = guess;
    run->number++;
    struct check_result result = vmx_check_entry(&guess->image, &caps, note, run);
    if (run->unknown != UNKNOWNS) /* what broke in the base and does not now needs it, too */
        for (u32 i = 0; i < run->judgement->findings; i++) {
            struct finding *f = &run->judgement->finding[i];
            if (f->in_base && f->last_run != run->number)
                f->needs[run->unknown] = true;
        }
    return result;
}

/* ---- guesses ---- */

static u64 width_of(u32 row)
{
    return ~0ull >> (64 - check_field_bits(row));
}

/* A value that breaks nothing, as far as that can be said of one field. */
static u64 usual(u32 row)
{
    if (row >= FIELD_GUEST_ES_ACCESS && row <= FIELD_GUEST_GS_ACCESS)
        return row == FIELD_GUEST_CS_ACCESS ? 0xa09b : 0x10000;
    if (row >= FIELD_HOST_ES_SELECTOR && row <= FIELD_HOST_TR_SELECTOR)
        return 8;
    switch (row) {
    case FIELD_GUEST_LDTR_ACCESS:
        return 0x10000;
    case FIELD_GUEST_TR_ACCESS:
        return 0x8b;
    case FIELD_GUEST_RFLAGS:
        return RFLAGS_ONE;
    case FIELD_VMCS_LINK_POINTER:
        return ~0ull;
    case FIELD_VPID:
    case FIELD_TSC_MULTIPLIER:
    case FIELD_ENTRY_INSTRUCTION_LENGTH:
        return 1;
    case FIELD_EPT_POINTER:
        return 0x1e;
    case FIELD_GUEST_CR0:
    case FIELD_HOST_CR0:
        return CR0_PE | CR0_NE | CR0_PG;
    case FIELD_GUEST_CR4:
    case FIELD_HOST_CR4:
        return 0x2020;
    case FIELD_GUEST_EFER:
    case FIELD_HOST_EFER:
        return EFER_LME | EFER_LMA;
    case FIELD_PIN_CONTROLS:
        return 0x16;
    case FIELD_PROC_CONTROLS:
        return 0x0401e172;
    case FIELD_EXIT_CONTROLS:
        return 0x00036dff | EXIT_HOST_ADDRESS_SPACE;
    case FIELD_ENTRY_CONTROLS:
        return 0x000011ff | ENTRY_IA32E_GUEST;
    default:
        return 0;
    }
}

/* Relations between fields that no single bit meets: a base is the selector times 16 in virtual-8086 mode. */
static u64 related(const struct guess *guess, u32 row)
{
    if (row >= FIELD_GUEST_ES_SELECTOR && row <= FIELD_GUEST_GS_SELECTOR)
        return guess->image.value[FIELD_GUEST_ES_BASE + row - FIELD_GUEST_ES_SELECTOR] >> 4;
    if (row >= FIELD_GUEST_ES_BASE && row <= FIELD_GUEST_GS_BASE)
        return guess->image.value[FIELD_GUEST_ES_SELECTOR + row - FIELD_GUEST_ES_BASE] << 4;
    if (row >= FIELD_GUEST_ES_LIMIT && row <= FIELD_GUEST_GS_LIMIT)
        return 0xffff;
    if (row >= FIELD_GUEST_ES_ACCESS && row <= FIELD_GUEST_GS_ACCESS)
        return 0xf3;
    return row == FIELD_VMCS_LINK_POINTER ? 0x1000 : 0;
}

static bool is_exit_information(u32 row)
{
    return (check_field_encoding(row) >> 10 & 3) == 1;
}

/* Where all else has all its bits set, single bits count in the fields that say what else counts. */
static bool is_control(u32 row)
{
    return (check_field_encoding(row) >> 10 & 3) == 0 && check_field_bits(row) == 32;
}

static void vary_field(struct run *run, struct guess *guess, u32 row, bool usual_base)
{
    u64 base = guess->image.value[row];

    run->unknown = row;
    for (u32 bit = 0; (usual_base || is_control(row)) && bit < check_field_bits(row); bit++) {
        guess->image.value[row] = base ^ BIT(bit);
        run_once(run, guess);
    }
    const u64 others[] = {0, width_of(row), usual(row), related(guess, row) & width_of(row)};
    for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
        guess->image.value[row] = others[i];
        run_once(run, guess);
    }
    guess->image.value[row] = base;
}

static void vary(struct run *run, struct guess *guess, const struct facts *facts, bool usual_base)
{
    struct judgement *j = run->judgement;

    for (u32 i = 0; i < j->findings; i++)
        j->finding[i].in_base = false;
    run->unknown = UNKNOWNS;
    run_once(run, guess);
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (!guess->dump->has[row] && !is_exit_information(row))
            vary_field(run, guess, row, usual_base);
    for (u32 i = 0; i < FACTS; i++) {
        if (facts->loose[i] == facts->strict[i])
            continue;
        run->unknown = CHECK_FIELDS + i;
        guess->fact[i] = facts->strict[i];
        run_once(run, guess);
        guess->fact[i] = facts->loose[i];
    }
}

/* ---- what the CPU says ---- */

static void hear_cpu(struct judgement *j, const struct dump *dump)
{
    bool has_reason = dump->has[FIELD_EXIT_REASON];
    u64 reason = has_reason ? dump->value[FIELD_EXIT_REASON] : dump->told_reason;

    /* The field keeps the last exit's reason if VMLAUNCH itself fails; what is told of the failure goes before. */
    if (dump->told_reason != ~0ull && dump->told_reason & 0x80000000u)
        reason = dump->told_reason;
    j->reason = reason;
    j->error = dump->told_error != ~0ull            ? dump->told_error
               : dump->has[FIELD_INSTRUCTION_ERROR] ? dump->value[FIELD_INSTRUCTION_ERROR]
                                                    : ~0ull;
    j->qualification =
        dump->has[FIELD_EXIT_QUALIFICATION] ? dump->value[FIELD_EXIT_QUALIFICATION] : dump->told_qualification;
    if (dump->told_error != ~0ull && dump->told_reason == ~0ull)
        reason = ~0ull;
    if (reason != ~0ull && reason & 0x80000000u) {
        u32 basic = reason & 0xffff;
        j->cpu = basic == 33 ? CPU_SAYS_GUEST : basic == 34 ? CPU_SAYS_MSRS : CPU_SAYS_OTHER;
        return;
    }
    switch (j->error) {
    case 4:
    case 5:
    case 26:
        j->cpu = CPU_SAYS_BASIC;
        break;
    case 7:
        j->cpu = CPU_SAYS_CONTROLS;
        break;
    case 8:
        j->cpu = CPU_SAYS_HOST;
        break;
    default:
        break;
    }
}

static u32 class_of(enum cpu_verdict verdict)
{
    switch (verdict) {
    case CPU_SAYS_CONTROLS:
        return CHECK_FAILS_CONTROLS;
    case CPU_SAYS_HOST:
        return CHECK_FAILS_HOST;
    case CPU_SAYS_GUEST:
        return CHECK_FAILS_GUEST;
    case CPU_SAYS_MSRS:
        return CHECK_FAILS_MSRS;
    default:
        return CHECK_ENTERS;
    }
}

static bool is_link_rule(u32 rule)
{
    return rule >= RULE_LINK_ALIGNED && rule <= RULE_LINK_EXECUTIVE;
}

/* Exit qualifications of exit reason 33: SDM 3C 26.7 "VM-Entry Failures During or After Loading Guest State". */
bool judge_is_the_cpus(const struct judgement *j, u32 rule)
{
    if (j->cpu == CPU_SAYS_NOTHING)
        return true;
    if (check_rule_outcome(rule) != class_of(j->cpu))
        return false;
    if (j->cpu != CPU_SAYS_GUEST || j->qualification == ~0ull)
        return true;
    switch (j->qualification) {
    case 2:
        return rule == RULE_PDPTE;
    case 3:
        return rule == RULE_BLOCKING_NMI;
    case 4:
        return is_link_rule(rule);
    default:
        return rule != RULE_PDPTE && !is_link_rule(rule);
    }
}

/*
 * The mode at the VM entry is the hypervisor's own: 64-bit addresses in its state tell it. Without any, it is as likely
 * as not what 'host address-space size' says.
 */
static void learn_mode(struct facts *facts, const struct dump *dump)
{
    static const u8 addresses[] = {FIELD_HOST_RIP,     FIELD_HOST_RSP,       FIELD_HOST_FS_BASE,  FIELD_HOST_GS_BASE,
                                   FIELD_HOST_TR_BASE, FIELD_HOST_GDTR_BASE, FIELD_HOST_IDTR_BASE};
    u64 says_64 = dump->has[FIELD_EXIT_CONTROLS] ? dump->value[FIELD_EXIT_CONTROLS] & EXIT_HOST_ADDRESS_SPACE : 1;

    facts->loose[FACT_LONG_MODE] = says_64 != 0;
    facts->strict[FACT_LONG_MODE] = says_64 == 0;
    for (u32 i = 0; i < ARRAY_SIZE(addresses); i++)
        if (dump->has[addresses[i]] && dump->value[addresses[i]] >> 32)
            facts->loose[FACT_LONG_MODE] = facts->strict[FACT_LONG_MODE] = 1;
}

/*
 * A CPU that has got as far as the guest state has found nothing wrong in controls and host state. So it has what they
 * use, and the bits of the host's CR4 are among those that it allows.
 */
static void learn(struct facts *facts, const struct dump *dump, const struct judgement *j)
{
    static const struct {
        u8 field, fact;
    } used[] = {
        {FIELD_PIN_CONTROLS,   FACT_MAY + VMX_PIN  },
        {FIELD_PROC_CONTROLS,  FACT_MAY + VMX_PROC },
        {FIELD_PROC2_CONTROLS, FACT_MAY + VMX_PROC2},
        {FIELD_EXIT_CONTROLS,  FACT_MAY + VMX_EXIT },
        {FIELD_ENTRY_CONTROLS, FACT_MAY + VMX_ENTRY},
        {FIELD_HOST_CR4,       FACT_CR4_FIXED1     }
    };

    if (j->cpu != CPU_SAYS_GUEST && j->cpu != CPU_SAYS_MSRS)
        return;
    facts->strict[FACT_LONG_MODE] = facts->loose[FACT_LONG_MODE];
    for (u32 i = 0; i < ARRAY_SIZE(used); i++)
        if (dump->has[used[i].field])
            facts->strict[used[i].fact] |= dump->value[used[i].field] & facts->loose[used[i].fact];
    if (dump->has[FIELD_HOST_CR3])
        while (dump->value[FIELD_HOST_CR3] >> facts->strict[FACT_PHYSICAL_BITS] &&
               facts->strict[FACT_PHYSICAL_BITS] < facts->loose[FACT_PHYSICAL_BITS])
            facts->strict[FACT_PHYSICAL_BITS]++;
}

static void sort_out(struct judgement *j, u32 runs)
{
    u32 kept = j->findings;

    for (u32 i = 0; i < j->findings; i++) {
        struct finding *f = &j->finding[i];
        f->certainty = f->runs == runs ? FINDING_BROKEN : FINDING_OPEN;
        f->report.bits = f->certainty == FINDING_BROKEN ? f->all : f->any;
        /* Some of its bits are wrong in every case, others in some. */
        if (f->certainty == FINDING_BROKEN && f->all && f->any & ~f->all && kept < FINDINGS_MAX) {
            j->finding[kept] = *f;
            j->finding[kept].certainty = FINDING_OPEN;
            j->finding[kept++].report.bits = f->any & ~f->all;
        }
    }
    j->findings = kept;
}

void judge(struct judgement *j, const struct dump *dump, struct facts *facts)
{
    static struct guess guess;
    struct run run = {.judgement = j, .unknown = UNKNOWNS};

    memset(j, 0, sizeof *j);
    memset(&guess, 0, sizeof guess);
    hear_cpu(j, dump);
    learn_mode(facts, dump);
    learn(facts, dump, j);
    guess.dump = dump;
    memcpy(guess.fact, facts->loose, sizeof guess.fact);
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        guess.image.value[row] = dump->has[row] ? dump->value[row] : usual(row);
    j->result = run_once(&run, &guess);
    vary(&run, &guess, facts, true);
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (!dump->has[row])
            guess.image.value[row] = width_of(row);
    vary(&run, &guess, facts, false);
    sort_out(j, run.number);
}
