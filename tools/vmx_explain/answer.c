/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a text to the answer, as one JSON document: tools/vmx-explain prints it in words, the page shows it. Pure.
 */
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "tools/vmx_explain/causes.h"
#include "tools/vmx_explain/explain.h"
#include "tools/vmx_explain/judge.h"
#include "tools/vmx_explain/models.h"
#include "vmx/check/rules.h"

#define TEXT_BYTES    (1u << 20)
#define DECODED_BYTES 1600u /* a sentence for each of 32 controls */

static char clean_text[TEXT_BYTES], caps_text[TEXT_BYTES];
static struct words words, caps_words;
static struct dump dump;
static struct judgement judgement;
static struct facts facts;

/* ---- JSON ---- */

struct json {
    char *out;
    size_t size, used; /* used: also what did not fit */
    bool comma;        /* one is due before the next item */
};

static void put(struct json *j, char c)
{
    if (j->used + 1 < j->size)
        j->out[j->used] = c;
    j->used++;
}

static void put_text(struct json *j, const char *text)
{
    while (*text)
        put(j, *text++);
}

static void separate(struct json *j)
{
    if (j->comma)
        put(j, ',');
    j->comma = true;
}

static void put_string(struct json *j, const char *text, size_t length)
{
    put(j, '"');
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '"' || c == '\\')
            put(j, '\\');
        put(j, c >= ' ' && c < 127 ? c : '?');
    }
    put(j, '"');
}

static void open(struct json *j, const char *key, char bracket)
{
    separate(j);
    if (key) {
        put_string(j, key, string_length(key));
        put(j, ':');
    }
    put(j, bracket);
    j->comma = false;
}

static void close(struct json *j, char bracket)
{
    put(j, bracket);
    j->comma = true;
}

static void add_string(struct json *j, const char *key, const char *text)
{
    separate(j);
    if (key) {
        put_string(j, key, string_length(key));
        put(j, ':');
    }
    put_string(j, text, string_length(text));
}

static PRINTF(3, 4) void add_format(struct json *j, const char *key, const char *format, ...)
{
    char text[800];
    va_list arguments;

    va_start(arguments, format);
    format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    add_string(j, key, text);
}

static void add_number(struct json *j, const char *key, u64 number)
{
    char text[24];

    separate(j);
    put_string(j, key, string_length(key));
    put(j, ':');
    format_text(text, sizeof text, "%lu", number);
    put_text(j, text);
}

static void add_flag(struct json *j, const char *key, bool flag)
{
    separate(j);
    put_string(j, key, string_length(key));
    put_text(j, flag ? ":true" : ":false");
}

/* ---- findings ---- */

static bool is_broken(const struct finding *f)
{
    return f->certainty == FINDING_BROKEN;
}

static bool is_the_cpus(const struct finding *f)
{
    return judge_is_the_cpus(&judgement, f->report.rule);
}

static u32 count(enum certainty certainty, bool the_cpus)
{
    u32 number = 0;
    for (u32 i = 0; i < judgement.findings; i++)
        number += judgement.finding[i].certainty == certainty && is_the_cpus(&judgement.finding[i]) == the_cpus;
    return number;
}

static void add_report(struct json *j, const struct check_report *report, bool known)
{
    size_t rows;
    const struct vmx_control_row *control = vmx_control_rows(&rows);
    char decoded[DECODED_BYTES] = "";

    add_string(j, "rule", cause_rule_name(report->rule));
    add_string(j, "field", check_field_name(report->field));
    if (report->entry)
        add_number(j, "entry", report->entry);
    if (known) {
        add_format(j, "value", "0x%lx", report->value);
        if (!report->entry)
            check_format_value(report->field, report->value, report->bits, decoded, sizeof decoded);
    }
    add_string(j, "decoded", decoded);
    if (report->because)
        add_format(j, "words", "%s with '%s'", check_rule_text(report->rule), control[report->because - 1].name);
    else
        add_string(j, "words", check_rule_text(report->rule));
    add_format(j, "sdm", "3C %s", check_rule_section(report->rule));
    if (dump.has[report->field])
        add_number(j, "line", dump.line[report->field]);
}

static void add_broken(struct json *j, bool the_cpus)
{
    for (u32 i = 0; i < judgement.findings; i++) {
        const struct finding *f = &judgement.finding[i];
        if (!is_broken(f) || is_the_cpus(f) != the_cpus)
            continue;
        open(j, NULL, '{');
        add_report(j, &f->report, true);
        add_string(j, "cause", cause_of(f->report.rule));
        close(j, '}');
    }
}

/* What SDM 3C 26.1 asks before the CPU looks into the VMCS: the error alone tells it. */
/* Releases of clang-format break this line differently. */
/* clang-format off */
#define B(...) {__VA_ARGS__}
/* clang-format on */
static const struct {
    u64 error;
    const char *rule, *field, *words, *cause;
} basic[] = {
    B(4, "LAUNCH_CLEAR", "launch state", "the VMCS that VMLAUNCH enters must be clear, not launched",
      "VMLAUNCH was used twice. Use VMRESUME after the first entry, or VMCLEAR the VMCS before it goes to another "
      "CPU."),
    B(5, "RESUME_LAUNCHED", "launch state", "the VMCS that VMRESUME enters must be launched, not clear",
      "VMRESUME was used first, or VMCLEAR (a move to another CPU) came between. Keep a flag for each VMCS that "
      "VMCLEAR resets."),
    B(26, "ENTRY_MOV_SS", "blocking", "no VM entry in the instruction after MOV SS or POP SS, which blocks events",
      "The hypervisor loads SS directly before VMLAUNCH or VMRESUME, or single-steps there. Put an instruction "
      "between."),
};

static void add_basic(struct json *j)
{
    for (u32 i = 0; judgement.cpu == CPU_SAYS_BASIC && i < ARRAY_SIZE(basic); i++) {
        if (basic[i].error != judgement.error)
            continue;
        open(j, NULL, '{');
        add_string(j, "rule", basic[i].rule);
        add_string(j, "field", basic[i].field);
        add_format(j, "value", "error %lu", judgement.error);
        add_string(j, "decoded", "");
        add_string(j, "words", basic[i].words);
        add_string(j, "sdm", "3C 26.1 Basic VM-Entry Checks");
        add_string(j, "cause", basic[i].cause);
        close(j, '}');
    }
}

/* An MSR that the CPU itself has refused, whatever the rules know of it. */
static bool has_refused_msr(void)
{
    return judgement.cpu == CPU_SAYS_MSRS && dump.has_refused_msr && !count(FINDING_BROKEN, true);
}

static void add_refused_msr(struct json *j)
{
    const struct dump_msr *msr = &dump.refused_msr;
    bool is_branch = (msr->index >= 0x1db && msr->index <= 0x1de) || (msr->index >= 0x680 && msr->index <= 0x6df);

    if (!has_refused_msr())
        return;
    open(j, NULL, '{');
    add_string(j, "rule", cause_rule_name(RULE_MSR_VALUE));
    add_string(j, "field", check_field_name(FIELD_ENTRY_MSR_LOAD_ADDRESS));
    if (dump.told_entry != ~0ull)
        add_number(j, "entry", dump.told_entry);
    add_format(j, "value", "0x%x", msr->index);
    add_format(j, "decoded", "MSR 0x%x with the value 0x%lx", msr->index, msr->value);
    add_string(j, "words", check_rule_text(RULE_MSR_VALUE));
    add_format(j, "sdm", "3C %s", check_rule_section(RULE_MSR_VALUE));
    add_string(j, "cause",
               is_branch ? "A last-branch record: on CPUs that have TSX switched off, bits 62:61 of what the CPU "
                           "itself stored are not as WRMSR wants them. Extend the sign over them before the entry."
                         : cause_of(RULE_MSR_VALUE));
    close(j, '}');
}

/* Each MSR of controls is two facts: what must be 1 and what may be. */
static bool is_named_already(const struct finding *f, u32 fact)
{
    for (u32 i = 0; i < fact; i++)
        if (f->needs[CHECK_FIELDS + i] && string_equal(facts_name(i), facts_name(fact)))
            return true;
    return false;
}

static void add_needs(struct json *j, const struct finding *f)
{
    open(j, "needs", '[');
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if (f->needs[row])
            add_string(j, NULL, check_field_name(row));
    close(j, ']');
    open(j, "needs_cpu", '[');
    for (u32 i = 0; i < FACTS; i++)
        if (f->needs[CHECK_FIELDS + i] && !is_named_already(f, i))
            add_string(j, NULL, facts_name(i));
    close(j, ']');
}

/* Checks that want memory which no dump shows. */
static const struct {
    u8 skipped;
    u16 rule, field;
    const char *need;
} memory[] = {
    {CHECK_SKIPPED_VTPR,  RULE_TPR_ABOVE_VTPR, FIELD_TPR_THRESHOLD,          "VTPR in the virtual-APIC page"          },
    {CHECK_SKIPPED_LINK,  RULE_LINK_REVISION,  FIELD_VMCS_LINK_POINTER,      "the VMCS that the link pointer names"   },
    {CHECK_SKIPPED_PDPTE, RULE_PDPTE,          FIELD_GUEST_CR3,              "the page-directory-pointer table at CR3"},
    {CHECK_SKIPPED_MSRS,  RULE_MSR_VALUE,      FIELD_ENTRY_MSR_LOAD_ADDRESS, "the VM-entry MSR-load area"             },
};

static bool is_skipped(u32 i)
{
    return judgement.result.skipped & memory[i].skipped && judge_is_the_cpus(&judgement, memory[i].rule);
}

static u32 count_skipped(void)
{
    u32 number = 0;
    for (u32 i = 0; i < ARRAY_SIZE(memory); i++)
        number += is_skipped(i);
    return number;
}

static void add_unjudged(struct json *j)
{
    for (u32 i = 0; i < judgement.findings; i++) {
        const struct finding *f = &judgement.finding[i];
        if (is_broken(f) || !is_the_cpus(f))
            continue;
        open(j, NULL, '{');
        add_report(j, &f->report, dump.has[f->report.field]);
        add_needs(j, f);
        close(j, '}');
    }
    for (u32 i = 0; i < ARRAY_SIZE(memory); i++) {
        struct check_report report = {
            .rule = memory[i].rule, .field = memory[i].field, .value = dump.value[memory[i].field]};
        if (!is_skipped(i))
            continue;
        open(j, NULL, '{');
        add_report(j, &report, dump.has[report.field]);
        open(j, "needs", '[');
        close(j, ']');
        open(j, "needs_cpu", '[');
        close(j, ']');
        add_string(j, "needs_memory", memory[i].need);
        close(j, '}');
    }
}

/* ---- the verdict ---- */

static const char *cpu_words(void)
{
    static char text[160];

    switch (judgement.cpu) {
    case CPU_SAYS_GUEST:
    case CPU_SAYS_MSRS:
    case CPU_SAYS_OTHER:
        format_text(text, sizeof text, "exit reason %u (%s)", (u32)(judgement.reason & 0xffff),
                    judgement.cpu == CPU_SAYS_GUEST     ? "VM-entry failure due to invalid guest state"
                    : judgement.cpu == CPU_SAYS_MSRS    ? "VM-entry failure due to MSR loading"
                    : (judgement.reason & 0xffff) == 41 ? "VM-entry failure due to machine-check event"
                                                        : "VM-entry failure");
        if (judgement.qualification != ~0ull && judgement.qualification)
            format_text(text + string_length(text), sizeof text - string_length(text), ", qualification %lu",
                        judgement.qualification);
        return text;
    case CPU_SAYS_BASIC:
    case CPU_SAYS_CONTROLS:
    case CPU_SAYS_HOST:
        format_text(text, sizeof text, "VMfailValid, error %lu (%s)", judgement.error,
                    judgement.cpu == CPU_SAYS_CONTROLS ? "VM entry with invalid control field(s)"
                    : judgement.cpu == CPU_SAYS_HOST   ? "VM entry with invalid host-state field(s)"
                    : judgement.error == 4             ? "VMLAUNCH with non-clear VMCS"
                    : judgement.error == 5             ? "VMRESUME with non-launched VMCS"
                                                       : "VM entry with events blocked by MOV SS");
        return text;
    default:
        return "";
    }
}

enum verdict { NOT_A_DUMP, BROKEN, UNKNOWN, CLEAN };

static enum verdict verdict_of(void)
{
    if (!dump.fields)
        return NOT_A_DUMP;
    if (judgement.cpu == CPU_SAYS_BASIC || has_refused_msr() || count(FINDING_BROKEN, true) ||
        count(FINDING_BROKEN, false))
        return BROKEN;
    return count(FINDING_OPEN, true) || count_skipped() || judgement.cpu != CPU_SAYS_NOTHING ? UNKNOWN : CLEAN;
}

/* 0: explained, or proved clean; 1: something could not be judged; 2: not a dump. */
static u32 status_of(enum verdict verdict)
{
    switch (verdict) {
    case NOT_A_DUMP:
        return 2;
    case BROKEN:
        return judgement.cpu == CPU_SAYS_BASIC || has_refused_msr() || count(FINDING_BROKEN, true) ? 0 : 1;
    case UNKNOWN:
        return 1;
    default:
        return 0;
    }
}

static void add_also(struct json *j)
{
    static const char *const also[] = {
        "VMLAUNCH of a launched VMCS, or VMRESUME of a clear one: VM-instruction errors 4 and 5",
        "a VM entry directly behind MOV SS or POP SS: error 26",
        "no current VMCS, or a shadow VMCS as the current one: VMfailInvalid, which leaves no error",
        "the VMCS region: revision identifier, VMPTRLD on another CPU without VMCLEAR",
        "an MSR in the VM-entry MSR-load area that WRMSR refuses: exit reason 34",
        "EPT tables that are misconfigured, or not there: exits 49 and 48, behind an entry that succeeded",
        "a value that changed between the entry and the dump",
    };

    open(j, "also", '[');
    for (u32 i = 0; i < ARRAY_SIZE(also); i++)
        add_string(j, NULL, also[i]);
    close(j, ']');
}

static void add_remarks(struct json *j, bool caps_without_msrs)
{
    u32 the_cpus = count(FINDING_BROKEN, true) + has_refused_msr(), others = count(FINDING_BROKEN, false);
    bool open_ones = count(FINDING_OPEN, true) || count_skipped();

    open(j, "remarks", '[');
    if (dump.dumps > 1)
        add_format(j, NULL, "the text has more than one dump (%u seen); this is one of them", dump.dumps);
    if (words.cut)
        add_string(j, NULL, "the text is too long: its end was not read");
    if (caps_without_msrs)
        add_string(j, NULL, "no capability was found in the text that should have them");
    if (dump.told_error == 0 && judgement.cpu == CPU_SAYS_NOTHING)
        add_string(j, NULL,
                   "the error that is told is 0, which is none: the CPU did not refuse this entry; the hypervisor "
                   "itself took something for a failure");
    if (judgement.cpu == CPU_SAYS_OTHER)
        add_string(j, NULL,
                   "the CPU reports a machine check (or an unknown failure) during the VM entry: no rule is "
                   "behind it; look at the machine-check banks");
    else if (judgement.cpu != CPU_SAYS_NOTHING && judgement.cpu != CPU_SAYS_BASIC && !the_cpus && others)
        add_format(j, NULL,
                   "contradiction: the CPU says %s, and of that kind nothing is broken here. What is broken "
                   "fails in another way: the dump is of another moment or VMCS, or was not read right",
                   cpu_words());
    else if (judgement.cpu != CPU_SAYS_NOTHING && judgement.cpu != CPU_SAYS_BASIC && !the_cpus && !open_ones)
        add_format(j, NULL,
                   "contradiction: the CPU says %s, and of that kind nothing is broken here: the fields were "
                   "changed since, or the cause is none that the VMCS shows",
                   cpu_words());
    if ((judgement.cpu == CPU_SAYS_GUEST || judgement.cpu == CPU_SAYS_MSRS) && the_cpus && others)
        add_string(j, NULL,
                   "contradiction: the CPU had found controls and host state right before it looked at what "
                   "it complains of; what is broken there was changed since, or depends on this CPU");
    if (judgement.cpu == CPU_SAYS_NOTHING && judgement.reason != ~0ull && !(judgement.reason & 0x80000000u) &&
        (the_cpus || others))
        add_format(j, NULL,
                   "the exit reason (%lu) is that of an exit, not of a failed entry: the last entry "
                   "succeeded, or VMLAUNCH or VMRESUME failed and left it as it was",
                   judgement.reason & 0xffff);
    if (judgement.cut)
        add_string(j, NULL, "there are more findings than are listed");
    close(j, ']');
}

static void add_fields(struct json *j)
{
    char decoded[DECODED_BYTES];

    open(j, "fields", '[');
    for (u32 a = 0; a < CHECK_AREAS; a++) {
        for (u32 row = 0; row < CHECK_FIELDS; row++) {
            bool broken = false;
            if (!dump.has[row] || (check_field_encoding(row) >> 10 & 3) != check_areas[a].type)
                continue;
            for (u32 i = 0; i < judgement.findings; i++)
                broken |= is_broken(&judgement.finding[i]) && judgement.finding[i].report.field == row;
            decoded[0] = 0;
            check_format_names(row, dump.value[row], decoded, sizeof decoded);
            open(j, NULL, '{');
            add_string(j, "name", check_field_name(row));
            add_format(j, "encoding", "0x%x", check_field_encoding(row));
            add_string(j, "area", check_areas[a].name);
            add_format(j, "value", "0x%lx", dump.value[row]);
            add_string(j, "decoded", decoded);
            add_number(j, "line", dump.line[row]);
            add_flag(j, "broken", broken);
            close(j, '}');
        }
    }
    close(j, ']');
}

static void add_missing(struct json *j)
{
    open(j, "missing", '[');
    for (u32 row = 0; dump.fields && row < CHECK_FIELDS; row++) {
        bool matters = false;
        for (u32 i = 0; !dump.has[row] && i < judgement.findings; i++)
            matters |= !is_broken(&judgement.finding[i]) && is_the_cpus(&judgement.finding[i]) &&
                       judgement.finding[i].needs[row];
        if (matters)
            add_string(j, NULL, check_field_name(row));
    }
    close(j, ']');
}

static void add_not_understood(struct json *j)
{
    open(j, "not_understood", '[');
    for (u32 i = 0; i < dump.strange_count && i < DUMP_STRANGE_MAX; i++) {
        const struct dump_strange *strange = &dump.strange[i];
        const struct word *first = &words.word[strange->first];
        const struct word *last = &words.word[strange->first + strange->words - 1];
        bool one_line = last->line == first->line;
        open(j, NULL, '{');
        add_number(j, "line", strange->line);
        separate(j);
        put_text(j, "\"text\":");
        put_string(j, first->text, one_line ? (size_t)(last->text + last->length - first->text) : first->length);
        add_string(j, "why", strange->why ? strange->why : "no field of that name");
        close(j, '}');
    }
    close(j, ']');
    add_number(j, "not_understood_count", dump.strange_count);
}

/* Capabilities: of the model, of the dump's own text and of the text that is given for them, the later over the
 * earlier. Returns false if that last text has none. */
static bool collect_facts(const struct explain_question *question)
{
    facts_of_any_cpu(&facts);
    if (question->model)
        facts_of_model(&facts, question->model);
    facts_from_text(&facts, &words);
    if (!question->caps_length)
        return true;
    words_split(&caps_words, caps_text,
                words_clean(question->caps, question->caps_length, caps_text, sizeof caps_text));
    return facts_from_text(&facts, &caps_words) != 0;
}

size_t explain_answer(const struct explain_question *question, char *out, size_t size)
{
    static const char *const verdicts[] = {"not-a-dump", "broken", "unknown", "clean"};
    struct json j = {.out = out, .size = size};

    words_split(&words, clean_text, words_clean(question->text, question->length, clean_text, sizeof clean_text));
    words.cut |= question->length > sizeof clean_text;
    dump_parse(&dump, &words, question->which);
    if (question->which > dump.dumps)
        dump.fields = 0;
    bool has_caps = collect_facts(question);
    memset(&judgement, 0, sizeof judgement);
    if (dump.fields)
        judge(&judgement, &dump, &facts);
    enum verdict verdict = verdict_of();

    open(&j, NULL, '{');
    add_string(&j, "format", dump_format_name(dump.format));
    add_string(&j, "verdict", verdicts[verdict]);
    add_number(&j, "status", status_of(verdict));
    add_number(&j, "dumps", dump.dumps);
    add_string(&j, "cpu", dump.fields ? cpu_words() : "");
    open(&j, "broken", '[');
    add_basic(&j);
    add_refused_msr(&j);
    add_broken(&j, true);
    add_broken(&j, false);
    close(&j, ']');
    open(&j, "unjudged", '[');
    add_unjudged(&j);
    close(&j, ']');
    add_missing(&j);
    add_remarks(&j, !has_caps);
    add_not_understood(&j);
    add_fields(&j);
    open(&j, "models", '[');
    for (u32 i = 0; i < ARRAY_SIZE(models); i++)
        add_string(&j, NULL, models[i].name);
    close(&j, ']');
    add_also(&j);
    close(&j, '}');
    if (size)
        out[j.used < size ? j.used : size - 1] = 0;
    return j.used;
}

size_t explain_dump_text(const char *text, size_t length, const char *caps, size_t caps_length, const char *model,
                         char *out, size_t size)
{
    struct explain_question question = {
        .text = text, .length = length, .caps = caps, .caps_length = caps_length, .model = model};
    return explain_answer(&question, out, size);
}

const char *explain_model_name(u32 number)
{
    return number < ARRAY_SIZE(models) ? models[number].name : NULL;
}
