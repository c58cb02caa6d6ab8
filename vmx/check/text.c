/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM-entry checker's words: rules, sections of the SDM, names of fields and bits, and how they are printed. Strings
 * of one kind stand in one block, each ended by a NUL, and are found by counting (fields by their place): no pointers,
 * and all of it in the section .explain. Pure. SDM 3C 26.7 "VM-Entry Failures During or After Loading Guest State".
 */
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "vmx/check/rules.h"

#define DEFINE_WORDS(id, section, words)   words "\0"
#define DEFINE_SECTION(id, section, words) CHECK_SECTION_##section,
#define DEFINE_TITLE(id, class, title)     title "\0"
#define DEFINE_CLASS(id, class, title)     class,
#define DEFINE_NAME(name, c, w, a)         #name "\0"
#define DEFINE_ENCODING(name, c, w, a)     c,
#define DEFINE_SIZE(name, c, w, a)         char name[sizeof #name];
#define DEFINE_PLACE(name, c, w, a)        offsetof(struct name_sizes, name),

static const char rule_words[] EXPLAIN = CHECK_RULES(DEFINE_WORDS);
static const u8 rule_sections[] EXPLAIN = {CHECK_RULES(DEFINE_SECTION)};
static const char section_titles[] EXPLAIN = CHECK_SECTIONS(DEFINE_TITLE);
static const u8 section_classes[] EXPLAIN = {CHECK_SECTIONS(DEFINE_CLASS)};
static const char field_names[] EXPLAIN = VMCS_FIELDS(DEFINE_NAME);
static const u16 field_encodings[] EXPLAIN = {VMCS_FIELDS(DEFINE_ENCODING)};

/* Where each name is: a dump has them all, and a failed entry's report holds up whoever shares its CPU. */
struct name_sizes {
    VMCS_FIELDS(DEFINE_SIZE)
};
static const u16 field_name_at[] EXPLAIN = {VMCS_FIELDS(DEFINE_PLACE)};

static const char outcomes[] EXPLAIN = "VM entry should succeed\0"
                                       "VMfailValid, error 7 (VM entry with invalid control field(s))\0"
                                       "VMfailValid, error 8 (VM entry with invalid host-state field(s))\0"
                                       "exit reason 33 (VM-entry failure due to invalid guest state)\0"
                                       "exit reason 34 (VM-entry failure due to MSR loading)\0";
static const char skips[] EXPLAIN = "VTPR\0the linked VMCS\0PDPTEs\0MSR-load area\0";
static const char event_types[] EXPLAIN = "external interrupt\0reserved\0NMI\0hardware exception\0software interrupt\0"
                                          "privileged software exception\0software exception\0other event\0";
static const char activities[] EXPLAIN = "active\0HLT\0shutdown\0wait-for-SIPI\0";

/* Kinds of register: bit numbers, each followed by the bit's name. */
enum { BITS_CR0, BITS_CR4, BITS_EFER, BITS_RFLAGS, BITS_ACCESS, BITS_BLOCKING, BITS_DEBUGCTL, BITS_PENDING, BITS_NONE };
static const char bit_names[] EXPLAIN =
    "0PE 1MP 2EM 3TS 4ET 5NE 16WP 18AM 29NW 30CD 31PG \0"
    "0VME 1PVI 2TSD 3DE 4PSE 5PAE 6MCE 7PGE 8PCE 9OSFXSR 10OSXMMEXCPT 11UMIP 12LA57 13VMXE 14SMXE 16FSGSBASE 17PCIDE "
    "18OSXSAVE 20SMEP 21SMAP 22PKE 23CET 24PKS \0"
    "0SCE 8LME 10LMA 11NXE \0"
    "0CF 2PF 4AF 6ZF 7SF 8TF 9IF 10DF 11OF 14NT 16RF 17VM 18AC 19VIF 20VIP 21ID \0"
    "4S 7P 12AVL 13L 14D/B 15G 16unusable \0"
    "0STI 1MOV-SS 2SMI 3NMI 4enclave \0"
    "0LBR 1BTF 6TR 7BTS 8BTINT \0"
    "0B0 1B1 2B2 3B3 12enabled-breakpoint 14BS 16RTM \0";
static const struct {
    u8 first, last, kind;
} kinds[] EXPLAIN = {
    {FIELD_GUEST_CR0,              FIELD_GUEST_CR0,              BITS_CR0     },
    {FIELD_HOST_CR0,               FIELD_HOST_CR0,               BITS_CR0     },
    {FIELD_GUEST_CR4,              FIELD_GUEST_CR4,              BITS_CR4     },
    {FIELD_HOST_CR4,               FIELD_HOST_CR4,               BITS_CR4     },
    {FIELD_GUEST_EFER,             FIELD_GUEST_EFER,             BITS_EFER    },
    {FIELD_HOST_EFER,              FIELD_HOST_EFER,              BITS_EFER    },
    {FIELD_GUEST_RFLAGS,           FIELD_GUEST_RFLAGS,           BITS_RFLAGS  },
    {FIELD_GUEST_ES_ACCESS,        FIELD_GUEST_TR_ACCESS,        BITS_ACCESS  },
    {FIELD_GUEST_INTERRUPTIBILITY, FIELD_GUEST_INTERRUPTIBILITY, BITS_BLOCKING},
    {FIELD_GUEST_DEBUGCTL,         FIELD_GUEST_DEBUGCTL,         BITS_DEBUGCTL},
    {FIELD_GUEST_PENDING_DEBUG,    FIELD_GUEST_PENDING_DEBUG,    BITS_PENDING },
};
/* The rows of the five control fields, by enum vmx_group. */
static const u8 group_fields[VMX_GROUPS] EXPLAIN = {FIELD_PIN_CONTROLS, FIELD_PROC_CONTROLS, FIELD_PROC2_CONTROLS,
                                                    FIELD_EXIT_CONTROLS, FIELD_ENTRY_CONTROLS};
_Static_assert(CHECK_FIELDS < 256, "rows are kept in bytes");

static const char *nth(const char *block, u32 n)
{
    while (n--)
        block += string_length(block) + 1;
    return block;
}

const struct check_area check_areas[CHECK_AREAS] = {
    {2, "guest"  },
    {0, "control"},
    {3, "host"   },
    {1, "exit"   }
};

u32 check_field_encoding(u32 row)
{
    return field_encodings[row];
}

u32 check_field_bits(u32 row)
{
    return (field_encodings[row] >> 13) == VMCS_WIDTH_CODE_16   ? 16
           : (field_encodings[row] >> 13) == VMCS_WIDTH_CODE_32 ? 32
                                                                : 64;
}

const char *check_field_name(u32 row)
{
    return field_names + field_name_at[row];
}

u32 check_rules(void)
{
    return CHECK_RULE_COUNT;
}

const char *check_rule_text(u32 rule)
{
    return nth(rule_words, rule);
}

const char *check_rule_section(u32 rule)
{
    return nth(section_titles, rule_sections[rule]);
}

enum check_outcome check_rule_outcome(u32 rule)
{
    return section_classes[rule_sections[rule]];
}

struct line {
    char *buffer;
    size_t size;
    size_t used;
};

static PRINTF(2, 3) void add(struct line *line, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line->used += format_list(line->buffer + line->used, line->size - line->used, format, arguments);
    va_end(arguments);
}

/* The next bit of a list such as "0PE 1MP ", with its name and that one's length; what comes behind it. */
static const char *next_bit(const char *names, u32 *bit, const char **name, int *length)
{
    *bit = 0;
    while (*names >= '0' && *names <= '9')
        *bit = *bit * 10 + (u32)(*names++ - '0');
    *name = names;
    while (*names++ != ' ')
        ;
    *length = (int)(names - 1 - *name);
    return names;
}

/* The name of a bit in such a list, and its length; NULL if it has none. */
static const char *find_bit(const char *names, u32 bit, int *length)
{
    const char *name;
    u32 number;

    while (*names) {
        names = next_bit(names, &number, &name, length);
        if (number == bit)
            return name;
    }
    return NULL;
}

/* VMX_GROUPS: it has no controls. */
static u32 group_of(u32 row)
{
    u32 group = 0;

    while (group < VMX_GROUPS && group_fields[group] != row)
        group++;
    return group;
}

static const char *find_control(u32 row, u32 bit, int *length)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    u32 group = group_of(row);

    for (size_t i = 0; group < VMX_GROUPS && i < count; i++) {
        if (rows[i].group == group && rows[i].bit == BIT(bit)) {
            *length = (int)string_length(rows[i].name);
            return rows[i].name;
        }
    }
    return NULL;
}

static u32 kind_of(u32 row)
{
    for (u32 i = 0; i < ARRAY_SIZE(kinds); i++)
        if (row >= kinds[i].first && row <= kinds[i].last)
            return kinds[i].kind;
    return BITS_NONE;
}

static const char *name_of_bit(u32 row, u32 bit, int *length)
{
    u32 kind = kind_of(row);
    return kind == BITS_NONE ? find_control(row, bit, length) : find_bit(nth(bit_names, kind), bit, length);
}

/* "PE NE PG": what is set and has a name. */
static void add_set_bits(struct line *line, u32 kind, u64 value)
{
    const char *name;
    int length;
    u32 bit;

    for (const char *names = nth(bit_names, kind); *names;) {
        names = next_bit(names, &bit, &name, &length);
        if (value >> bit & 1)
            add(line, " %.*s", length, name);
    }
}

static void add_decoded(struct line *line, u32 row, u64 value)
{
    u32 kind = kind_of(row);

    if (row == FIELD_ENTRY_INTERRUPTION_INFO)
        add(line, "%s type %u %s, vector %u", value & EVENT_VALID ? "" : " not valid,", (u32)(value >> 8 & 7),
            nth(event_types, value >> 8 & 7), (u32)(value & 0xff));
    else if (row == FIELD_GUEST_ACTIVITY_STATE && value < 4)
        add(line, " %s", nth(activities, (u32)value));
    if (kind == BITS_ACCESS)
        add(line, " type %u DPL %u", (u32)(value & 15), (u32)(value >> 5 & 3));
    if (kind != BITS_NONE)
        add_set_bits(line, kind, value);
}

/* "bit 13 VMXE must be 1", "bits 63:32 must be 0": adjacent bits without names make one range. */
static void add_wrong_bits(struct line *line, u32 row, u64 value, u64 bits)
{
    const char *comma = "";
    int length;

    for (s32 high = 63, low; high >= 0; high = low - 1) {
        low = high;
        if (!(bits >> high & 1))
            continue;
        const char *name = name_of_bit(row, (u32)high, &length);
        u32 must = !(value >> high & 1);
        while (!name && low > 0 && bits >> (low - 1) & 1 && (value >> (low - 1) & 1) != must &&
               !name_of_bit(row, (u32)low - 1, &length))
            low--;
        if (name)
            add(line, "%s bit %d '%.*s' must be %u", comma, high, length, name, must);
        else if (low == high)
            add(line, "%s bit %d must be %u", comma, high, must);
        else
            add(line, "%s bits %d:%d must be %u", comma, high, low, must);
        comma = ",";
    }
}

static void add_value(struct line *line, u32 row, u64 value, u64 bits)
{
    size_t begin = line->used;

    add_decoded(line, row, value);
    if (bits) {
        if (line->used != begin)
            add(line, ":");
        add_wrong_bits(line, row, value, bits);
    }
}

size_t check_format_value(u32 row, u64 value, u64 bits, char *buffer, size_t size)
{
    struct line line = {buffer, size, 0};

    add_value(&line, row, value, bits);
    if (line.used) /* each item begins with a blank */
        memmove(buffer, buffer + 1, line.used--);
    return line.used;
}

size_t check_format_names(u32 row, u64 value, char *buffer, size_t size)
{
    struct line line = {buffer, size, 0};
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    u32 group = group_of(row);

    add(&line, "%s", ""); /* ended, also if there is no name */
    for (size_t i = 0; group < VMX_GROUPS && i < count; i++)
        if (rows[i].group == group && rows[i].bit & value)
            add(&line, "%s%s", line.used ? ", " : "", rows[i].name);
    return line.used ? line.used : check_format_value(row, value, 0, buffer, size);
}

size_t check_format(const struct check_report *report, char *buffer, size_t size)
{
    struct line line = {buffer, size, 0};
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    char decoded[200];

    add(&line, "field=%s", check_field_name(report->field));
    if (report->entry)
        add(&line, " entry=%u", report->entry);
    add(&line, " value=0x%lx", report->value);
    if (!report->entry && check_format_value(report->field, report->value, report->bits, decoded, sizeof decoded))
        add(&line, " (%s)", decoded);
    add(&line, " rule=\"%s", check_rule_text(report->rule));
    if (report->because)
        add(&line, " with '%s'", rows[report->because - 1].name);
    add(&line, "\" sdm=\"3C %s\"", check_rule_section(report->rule));
    return line.used;
}

size_t check_format_result(struct check_result result, char *buffer, size_t size)
{
    struct line line = {buffer, size, 0};
    const char *comma = "; not looked at: ";

    add(&line, "%u broken: %s", result.broken, nth(outcomes, result.outcome));
    if (result.outcome >= CHECK_FAILS_GUEST)
        add(&line, ", qualification %u", result.qualification);
    for (u32 i = 0; i < 4; i++) {
        if (result.skipped >> i & 1) {
            add(&line, "%s%s", comma, nth(skips, i));
            comma = ", ";
        }
    }
    return line.used;
}
