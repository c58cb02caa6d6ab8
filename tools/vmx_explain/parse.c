/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds a VMCS in a text. Three ways of writing one are known: the lists under headings that KVM's dump_vmcs() made and
 * Xen took over; a field's name with its value; a field's encoding with its value. All are looked for at each word, so
 * that a dump may stand in a mail or a log. Pure.
 */
#include "kernel/lib/string.h"
#include "tools/vmx_explain/dump.h"

#define NAME_WORDS_MAX 10u

enum section { ANYWHERE, GUEST, HOST, CONTROL, SECTIONS };

/* What the label before has opened: "CS: sel=... attr=...", "VMEntry: intr_info=... errcode=...". */
enum group {
    NO_GROUP,
    CR0,
    CR4,
    ES, /* the segment registers in the order of the fields */
    CS,
    SS,
    DS,
    FS,
    GS,
    LDTR,
    TR,
    GDTR,
    IDTR,
    ENTRY,
    EXIT,
    VECTORING,
    PLE,
    MSR_LIST
};

struct parser {
    const struct words *words;
    struct dump *dump;
    u32 which;
    enum section section;
    enum group group;
    bool full;        /* the dump that was asked for has ended */
    bool in_msr_list; /* the list of MSRs is that of the VM-entry MSR-load area */
    u32 counted;      /* the row of its count */
    u32 last_line;    /* where a field was last understood */
};

/* ---- fields ---- */

static void strange(struct parser *p, u32 first, u32 words, const char *why)
{
    struct dump *dump = p->dump;
    u32 line = p->words->word[first].line;

    if (p->full)
        return;
    if (dump->strange_count && dump->strange_count <= DUMP_STRANGE_MAX &&
        dump->strange[dump->strange_count - 1].line == line && !why)
        return;
    if (dump->strange_count < DUMP_STRANGE_MAX)
        dump->strange[dump->strange_count] = (struct dump_strange){line, first, words, why};
    dump->strange_count++;
}

/* What the dumps before showed is forgotten. */
static void begin_dump(struct parser *p)
{
    struct dump *dump = p->dump;

    dump->dumps++;
    p->full = dump->dumps > p->which;
    if (p->full)
        return;
    dump->fields = dump->msrs = dump->strange_count = 0;
    dump->has_msrs = false;
    memset(dump->has, 0, sizeof dump->has);
}

static u64 width_of(u32 row)
{
    return ~0ull >> (64 - check_field_bits(row));
}

/* The value of a field, which word `at` shows. */
static void set(struct parser *p, u32 row, u64 value, bool high, u32 at)
{
    struct dump *dump = p->dump;
    bool again = dump->fields && row == dump->first && dump->has[row] && !high;

    if (!dump->dumps || (again && dump->value[row] != (value & width_of(row)) && p->section == ANYWHERE))
        begin_dump(p);
    p->last_line = p->words->word[at].line;
    if (p->full)
        return;
    if (high) {
        if (dump->has[row])
            dump->value[row] = (dump->value[row] & 0xffffffff) | value << 32;
        return;
    }
    if (value & ~width_of(row)) {
        strange(p, at, 1, "the value has more bits than the field");
        return;
    }
    if (dump->has[row]) /* the first one counts: what comes later in a log may be of another time */
        return;
    if (!dump->fields++)
        dump->first = row;
    dump->has[row] = true;
    dump->value[row] = value;
    dump->line[row] = p->words->word[at].line;
}

/* ---- lists under headings ---- */

/*
 * The labels of KVM and Xen. `pattern`: words and marks; its value stands behind it, with or without = before it.
 * need: the group that must be open; open: the group that it opens. NO_FIELD: no rule asks for it (the last rows:
 * fields of newer CPUs).
 */
#define NO_FIELD CHECK_FIELDS
static const struct {
    u8 section, need, open;
    u16 field;
    const char *pattern;
} labels[] = {
    {GUEST,   NO_GROUP,  CR0,       FIELD_GUEST_CR0,                    "CR0 : actual"        },
    {GUEST,   NO_GROUP,  CR4,       FIELD_GUEST_CR4,                    "CR4 : actual"        },
    {GUEST,   CR0,       CR0,       FIELD_CR0_SHADOW,                   "shadow"              },
    {GUEST,   CR0,       CR0,       FIELD_CR0_MASK,                     "gh_mask"             },
    {GUEST,   CR4,       CR4,       FIELD_CR4_SHADOW,                   "shadow"              },
    {GUEST,   CR4,       CR4,       FIELD_CR4_MASK,                     "gh_mask"             },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_CR3,                    "CR3 : actual"        },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_CR3_TARGET_COUNT,             "target_count"        },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_CR0,                    "CR0"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_CR3,                    "CR3"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_CR4,                    "CR4"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE0,                 "PDPTR0"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE1,                 "PDPTR1"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE2,                 "PDPTR2"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE3,                 "PDPTR3"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE0,                 "PDPTE0"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE1,                 "PDPTE1"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE2,                 "PDPTE2"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PDPTE3,                 "PDPTE3"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_RSP,                    "RSP"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_RIP,                    "RIP"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_RFLAGS,                 "RFLAGS"              },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_DR7,                    "DR7"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_SYSENTER_ESP,           "Sysenter RSP"        },
    {GUEST,   NO_GROUP,  ES,        FIELD_GUEST_ES_SELECTOR,            "ES : sel"            },
    {GUEST,   NO_GROUP,  CS,        FIELD_GUEST_CS_SELECTOR,            "CS : sel"            },
    {GUEST,   NO_GROUP,  SS,        FIELD_GUEST_SS_SELECTOR,            "SS : sel"            },
    {GUEST,   NO_GROUP,  DS,        FIELD_GUEST_DS_SELECTOR,            "DS : sel"            },
    {GUEST,   NO_GROUP,  FS,        FIELD_GUEST_FS_SELECTOR,            "FS : sel"            },
    {GUEST,   NO_GROUP,  GS,        FIELD_GUEST_GS_SELECTOR,            "GS : sel"            },
    {GUEST,   NO_GROUP,  LDTR,      FIELD_GUEST_LDTR_SELECTOR,          "LDTR : sel"          },
    {GUEST,   NO_GROUP,  TR,        FIELD_GUEST_TR_SELECTOR,            "TR : sel"            },
    {GUEST,   NO_GROUP,  GDTR,      FIELD_GUEST_GDTR_LIMIT,             "GDTR : limit"        },
    {GUEST,   NO_GROUP,  IDTR,      FIELD_GUEST_IDTR_LIMIT,             "IDTR : limit"        },
    {GUEST,   GDTR,      GDTR,      FIELD_GUEST_GDTR_BASE,              "base"                },
    {GUEST,   IDTR,      IDTR,      FIELD_GUEST_IDTR_BASE,              "base"                },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_EFER,                   "EFER"                },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_EFER,                   "EFER ( VMCS )"       },
    {GUEST,   NO_GROUP,  NO_GROUP,  NO_FIELD,                           "EFER ( MSR LL )"     },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PAT,                    "PAT"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_PREEMPTION_TIMER_VALUE,       "PreemptionTimer"     },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_SMBASE,                 "SM Base"             },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_DEBUGCTL,               "DebugCtl"            },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PENDING_DEBUG,          "DebugExceptions"     },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_PERF_GLOBAL_CTRL,       "PerfGlobCtl"         },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_BNDCFGS,                "BndCfgS"             },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_INTERRUPTIBILITY,       "Interruptibility"    },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_ACTIVITY_STATE,         "ActivityState"       },
    {GUEST,   NO_GROUP,  NO_GROUP,  FIELD_GUEST_INTERRUPT_STATUS,       "InterruptStatus"     },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_RIP,                     "RIP"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_RSP,                     "RSP"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_CS_SELECTOR,             "CS"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_SS_SELECTOR,             "SS"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_DS_SELECTOR,             "DS"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_ES_SELECTOR,             "ES"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_FS_SELECTOR,             "FS"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_GS_SELECTOR,             "GS"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_TR_SELECTOR,             "TR"                  },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_FS_BASE,                 "FSBase"              },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_GS_BASE,                 "GSBase"              },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_TR_BASE,                 "TRBase"              },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_GDTR_BASE,               "GDTBase"             },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_IDTR_BASE,               "IDTBase"             },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_CR0,                     "CR0"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_CR3,                     "CR3"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_CR4,                     "CR4"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_SYSENTER_ESP,            "Sysenter RSP"        },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_EFER,                    "EFER"                },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_PAT,                     "PAT"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  FIELD_HOST_PERF_GLOBAL_CTRL,        "PerfGlobCtl"         },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_PIN_CONTROLS,                 "PinBased"            },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_PROC_CONTROLS,                "CPUBased"            },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_PROC2_CONTROLS,               "SecondaryExec"       },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_ENTRY_CONTROLS,               "EntryControls"       },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_EXIT_CONTROLS,                "ExitControls"        },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_EXCEPTION_BITMAP,             "ExceptionBitmap"     },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_PF_ERROR_MASK,                "PFECmask"            },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_PF_ERROR_MATCH,               "PFECmatch"           },
    {CONTROL, NO_GROUP,  ENTRY,     FIELD_ENTRY_INTERRUPTION_INFO,      "VMEntry : intr_info" },
    {CONTROL, ENTRY,     ENTRY,     FIELD_ENTRY_EXCEPTION_ERROR_CODE,   "errcode"             },
    {CONTROL, ENTRY,     ENTRY,     FIELD_ENTRY_INSTRUCTION_LENGTH,     "ilen"                },
    {CONTROL, NO_GROUP,  EXIT,      FIELD_EXIT_INTERRUPTION_INFO,       "VMExit : intr_info"  },
    {CONTROL, EXIT,      EXIT,      FIELD_EXIT_INTERRUPTION_ERROR_CODE, "errcode"             },
    {CONTROL, EXIT,      EXIT,      FIELD_EXIT_INSTRUCTION_LENGTH,      "ilen"                },
    {CONTROL, ENTRY,     ENTRY,     FIELD_ENTRY_EXCEPTION_ERROR_CODE,   "errorcode"           },
    {CONTROL, EXIT,      EXIT,      FIELD_EXIT_INTERRUPTION_ERROR_CODE, "errorcode"           },
    {CONTROL, VECTORING, VECTORING, FIELD_IDT_VECTORING_ERROR_CODE,     "errorcode"           },
    {CONTROL, NO_GROUP,  EXIT,      FIELD_EXIT_REASON,                  "reason"              },
    {CONTROL, NO_GROUP,  EXIT,      FIELD_EXIT_QUALIFICATION,           "qualification"       },
    {CONTROL, NO_GROUP,  VECTORING, FIELD_IDT_VECTORING_INFO,           "IDTVectoring : info" },
    {CONTROL, VECTORING, VECTORING, FIELD_IDT_VECTORING_ERROR_CODE,     "errcode"             },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_TSC_OFFSET,                   "TSC Offset"          },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_TSC_MULTIPLIER,               "TSC Multiplier"      },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_TPR_THRESHOLD,                "TPR Threshold"       },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_TPR_THRESHOLD,                "TPM Threshold"       },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_APIC_ACCESS_ADDRESS,          "APIC-access addr"    },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_VIRTUAL_APIC_ADDRESS,         "virt-APIC addr"      },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_POSTED_INTERRUPT_VECTOR,      "PostedIntrVec"       },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_EPT_POINTER,                  "EPT pointer"         },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_EPTP_INDEX,                   "EPTP index"          },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_CR3_TARGET_0,                 "CR3 target0"         },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_CR3_TARGET_1,                 "target1"             },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_CR3_TARGET_2,                 "CR3 target2"         },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_CR3_TARGET_3,                 "target3"             },
    {CONTROL, NO_GROUP,  PLE,       FIELD_PLE_GAP,                      "PLE Gap"             },
    {CONTROL, PLE,       PLE,       FIELD_PLE_WINDOW,                   "Window"              },
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_VPID,                         "Virtual processor ID"},
    {CONTROL, NO_GROUP,  NO_GROUP,  FIELD_VM_FUNCTION_CONTROLS,         "VMfunc controls"     },
    {CONTROL, NO_GROUP,  NO_GROUP,  NO_FIELD,                           "TertiaryExec"        },
    {GUEST,   NO_GROUP,  NO_GROUP,  NO_FIELD,                           "PKRS"                },
    {GUEST,   NO_GROUP,  NO_GROUP,  NO_FIELD,                           "S_CET"               },
    {GUEST,   NO_GROUP,  NO_GROUP,  NO_FIELD,                           "SSP"                 },
    {GUEST,   NO_GROUP,  NO_GROUP,  NO_FIELD,                           "INTR SSP TABLE"      },
    {HOST,    NO_GROUP,  NO_GROUP,  NO_FIELD,                           "PKRS"                },
    {HOST,    NO_GROUP,  NO_GROUP,  NO_FIELD,                           "S_CET"               },
    {HOST,    NO_GROUP,  NO_GROUP,  NO_FIELD,                           "SSP"                 },
    {HOST,    NO_GROUP,  NO_GROUP,  NO_FIELD,                           "INTR SSP TABLE"      },
};

static void enter_section(struct parser *p, enum section section)
{
    if (section == GUEST && (!p->dump->dumps || p->dump->fields))
        begin_dump(p);
    p->section = section;
    p->group = NO_GROUP;
}

/* "*** Guest State ***", also behind another title on that line. */
static u32 take_heading(struct parser *p, u32 i)
{
    static const struct {
        enum section section;
        const char *pattern;
    } headings[] = {
        {GUEST,   "*** Guest State ***"  },
        {HOST,    "*** Host State ***"   },
        {CONTROL, "*** Control State ***"}
    };

    for (u32 k = 0; k < ARRAY_SIZE(headings); k++) {
        u32 taken = words_match(p->words, i, headings[k].pattern);
        if (taken) {
            enter_section(p, headings[k].section);
            return taken;
        }
    }
    return 0;
}

/* The number of words up to and with the value that stands at i: "= 0x10", ": 10", "10"; 0 if there is none. */
static u32 take_value(const struct words *words, u32 i, u64 *value, bool *prefixed)
{
    u32 from = i;

    while (word_is(words, i, "=") || word_is(words, i, ":"))
        i++;
    return i - from <= 2 && word_hex(words, i, value, prefixed) ? i - from + 1 : 0;
}

/* KVM tells so that IA32_EFER is not loaded from its field: "EFER= 0x...d01 (effective)". */
static bool is_of_no_field(const struct words *words, u32 i)
{
    return words_match(words, i, "( autoload )") || words_match(words, i, "( effective )");
}

static bool is_group_open(const struct parser *p, enum group group)
{
    return group == NO_GROUP || p->group == group;
}

/* The longest label that stands at i, as an index; ARRAY_SIZE(labels) if none does. *taken: its words. */
static u32 find_label(const struct parser *p, u32 i, u32 *taken)
{
    u32 best = ARRAY_SIZE(labels);

    *taken = 0;
    for (u32 k = 0; k < ARRAY_SIZE(labels); k++) {
        if (labels[k].section != p->section || !is_group_open(p, labels[k].need))
            continue;
        u32 length = words_match(p->words, i, labels[k].pattern);
        if (length > *taken) {
            *taken = length;
            best = k;
        }
    }
    return best;
}

static u32 take_label(struct parser *p, u32 i)
{
    u32 taken, value_words;
    u32 k = find_label(p, i, &taken);
    u64 value;

    if (k == ARRAY_SIZE(labels))
        return 0;
    value_words = take_value(p->words, i + taken, &value, NULL);
    if (!value_words)
        return 0;
    p->group = labels[k].open;
    taken += value_words;
    if (labels[k].field == NO_FIELD) {
        strange(p, i, taken, "not among the fields that the rules ask for");
        p->last_line = p->words->word[i].line;
    } else if (!is_of_no_field(p->words, i + taken)) {
        set(p, labels[k].field, value, false, i + taken - 1);
    }
    return taken;
}

/* Behind "CS: sel=": attr, limit and base; VirtualBox writes flags. */
static u32 take_segment_part(struct parser *p, u32 i)
{
    static const struct {
        u8 field;
        const char *name;
    } parts[] = {
        {FIELD_GUEST_ES_ACCESS, "attr" },
        {FIELD_GUEST_ES_ACCESS, "flags"},
        {FIELD_GUEST_ES_LIMIT,  "limit"},
        {FIELD_GUEST_ES_BASE,   "base" }
    };
    u64 value;

    if (p->section != GUEST || p->group < ES || p->group > TR)
        return 0;
    for (u32 k = 0; k < ARRAY_SIZE(parts); k++) {
        u32 taken = word_is(p->words, i, parts[k].name) ? take_value(p->words, i + 1, &value, NULL) : 0;
        if (taken) {
            set(p, parts[k].field + p->group - ES, value, false, i + taken);
            return 1 + taken;
        }
    }
    return 0;
}

/* Xen's table: "CS: 0010 0209b 00000000 0000000000000000", and GDTR and IDTR without selector and attributes. */
static u32 take_segment_row(struct parser *p, u32 i)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR", "GDTR", "IDTR"};
    u64 part[4];
    u32 parts = 0;

    for (u32 k = 0; p->section == GUEST && k < ARRAY_SIZE(names); k++) {
        if (!word_is(p->words, i, names[k]) || !word_is(p->words, i + 1, ":"))
            continue;
        while (parts < 4 && word_hex(p->words, i + 2 + parts, &part[parts], NULL))
            parts++;
        if (k < 8 && parts == 4) {
            set(p, FIELD_GUEST_ES_SELECTOR + k, part[0], false, i + 2);
            set(p, FIELD_GUEST_ES_ACCESS + k, part[1], false, i + 3);
            set(p, FIELD_GUEST_ES_LIMIT + k, part[2], false, i + 4);
            set(p, FIELD_GUEST_ES_BASE + k, part[3], false, i + 5);
            return 6;
        }
        if (k >= 8 && parts >= 2) {
            set(p, FIELD_GUEST_GDTR_LIMIT + k - 8, part[0], false, i + 2);
            set(p, FIELD_GUEST_GDTR_BASE + k - 8, part[1], false, i + 3);
            return 4;
        }
        if (k >= 8 && words_match(p->words, i + 2, "limit")) /* KVM's label, which the table has */
            return 0;
    }
    return 0;
}

/* "CS:RIP=0010:ffffffffbd201d90" behind "Sysenter RSP", and "SVI|RVI = ec|00". */
static u32 take_pair(struct parser *p, u32 i)
{
    u64 first, second;
    u32 taken = words_match(p->words, i, "CS : RIP =");

    if (taken && p->section != CONTROL && word_hex(p->words, i + taken, &first, NULL) &&
        word_is(p->words, i + taken + 1, ":") && word_hex(p->words, i + taken + 2, &second, NULL)) {
        bool host = p->section == HOST;
        set(p, host ? FIELD_HOST_SYSENTER_CS : FIELD_GUEST_SYSENTER_CS, first, false, i + taken);
        set(p, host ? FIELD_HOST_SYSENTER_EIP : FIELD_GUEST_SYSENTER_EIP, second, false, i + taken + 2);
        return taken + 3;
    }
    taken = words_match(p->words, i, "SVI | RVI =");
    if (taken && word_hex(p->words, i + taken, &first, NULL) && word_is(p->words, i + taken + 1, "|") &&
        word_hex(p->words, i + taken + 2, &second, NULL)) {
        set(p, FIELD_GUEST_INTERRUPT_STATUS, first << 8 | (second & 0xff), false, i + taken);
        return taken + 3;
    }
    return 0;
}

/* "MSR guest autoload:" and below it "   0: msr=0x00000600 value=0x0000000000000000". */
static u32 take_msr_list(struct parser *p, u32 i)
{
    static const struct {
        const char *title;
        u8 count_field;
    } lists[] = {
        {"MSR guest autoload :",  FIELD_ENTRY_MSR_LOAD_COUNT},
        {"MSR guest autostore :", FIELD_EXIT_MSR_STORE_COUNT},
        {"MSR host autoload :",   FIELD_EXIT_MSR_LOAD_COUNT }
    };
    struct dump *dump = p->dump;
    u64 number, index, value;

    for (u32 k = 0; k < ARRAY_SIZE(lists); k++) {
        u32 taken = words_match(p->words, i, lists[k].title);
        if (!taken)
            continue;
        set(p, lists[k].count_field, 0, false, i);
        p->group = MSR_LIST;
        p->in_msr_list = lists[k].count_field == FIELD_ENTRY_MSR_LOAD_COUNT;
        p->counted = lists[k].count_field;
        dump->has_msrs |= p->in_msr_list && !p->full;
        return taken;
    }
    if (p->group != MSR_LIST || !word_decimal(p->words, i, &number) || !words_match(p->words, i + 1, ": msr =") ||
        !word_hex(p->words, i + 4, &index, NULL) || !words_match(p->words, i + 5, "value =") ||
        !word_hex(p->words, i + 7, &value, NULL))
        return 0;
    p->last_line = p->words->word[i].line;
    if (!p->full) {
        dump->value[p->counted]++;
        if (p->in_msr_list && dump->msrs < DUMP_MSRS_MAX)
            dump->msr[dump->msrs++] = (struct dump_msr){(u32)index, value};
    }
    return 8;
}

/* VirtualBox's "CS = {0010 base=... limit=... flags=...}" */
static u32 take_braces(struct parser *p, u32 i)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};
    u64 selector;

    for (u32 k = 0; p->section == GUEST && k < ARRAY_SIZE(names); k++) {
        if (word_is(p->words, i, names[k]) && words_match(p->words, i + 1, "= {") &&
            word_hex(p->words, i + 3, &selector, NULL)) {
            p->group = ES + k;
            set(p, FIELD_GUEST_ES_SELECTOR + k, selector, false, i + 3);
            return 4;
        }
    }
    return 0;
}

/* ---- names, encodings and what logs tell ---- */

static bool is_mark(const struct words *words, u32 i)
{
    const struct word *word = &words->word[i];
    return word->length == 1 && (*word->text == '=' || *word->text == ':');
}

/* A reason or an error in few decimal digits is a decimal number, as people write it: "exit reason 33". */
static u64 number_of(const struct words *words, u32 row, u32 at, u64 hex, bool prefixed)
{
    u64 decimal;
    bool small = row == FIELD_EXIT_REASON || row == FIELD_INSTRUCTION_ERROR;

    return small && !prefixed && words->word[at].length <= 3 && word_decimal(words, at, &decimal) ? decimal : hex;
}

/*
 * NAME = value, NAME: value, NAME value, with up to NAME_WORDS_MAX words in the name; (full), (high) and other
 * brackets belong to it. Without a mark the value must show that it is a number.
 */
static u32 take_name(struct parser *p, u32 i)
{
    const struct words *words = p->words;
    u32 end = i;
    u64 value;
    bool prefixed, high;

    if (words->word[i].length == 1 && *words->word[i].text < '0') /* a name begins with a letter */
        return 0;
    while (end < words->count && end - i < NAME_WORDS_MAX && !is_mark(words, end) &&
           (end == i || !word_hex(words, end, &value, &prefixed) || !prefixed))
        end++;
    for (; end > i; end--) {
        u32 taken = take_value(words, end, &value, &prefixed);
        if (!taken || (!is_mark(words, end) && !prefixed && words->word[end].length < 4))
            continue;
        u32 row = dump_field_by_name(words, i, end - i, &high);
        if (row == CHECK_FIELDS)
            continue;
        u32 at = end + taken - 1;
        set(p, row, number_of(words, row, at, value, prefixed), high, at);
        return at + 1 - i;
    }
    return 0;
}

/* "[0x6800] = 0x80000031", "6800: 80000031", "6800 80000031" at the beginning of a line that has nothing else. */
static u32 take_encoding(struct parser *p, u32 i)
{
    const struct words *words = p->words;
    u32 at = i + (word_is(words, i, "[") ? 1 : 0);
    u64 encoding, value;
    bool high;

    if (!words->word[i].first || !word_hex(words, at, &encoding, NULL) || encoding > 0x7fff ||
        words->word[at].length < 3)
        return 0;
    u32 row = dump_field_by_encoding(encoding, &high);
    at += word_is(words, at + 1, "]") ? 2 : 1;
    u32 taken = take_value(words, at, &value, NULL);
    if (row == CHECK_FIELDS && taken && p->dump->format == DUMP_ENCODINGS)
        strange(p, i, at + taken - i, "no such encoding among the fields that the rules ask for");
    if (row == CHECK_FIELDS || !taken)
        return 0;
    if (at + taken < words->count && !words->word[at + taken].first && !word_is(words, at + taken, "("))
        return 0;
    if (p->dump->format == DUMP_NONE)
        p->dump->format = DUMP_ENCODINGS;
    set(p, row, value, high, at + taken - 1);
    return at + taken - i;
}

/* What is told of the failed entry in words: much of it stands in no dump. */
static u32 take_story(struct parser *p, u32 i)
{
    enum told { REASON, ERROR, QUALIFICATION, MSR_ENTRY, EITHER }; /* EITHER: below 0x80000000 it is an error */
    static const struct {
        const char *pattern;
        bool decimal;
        enum told told;
    } stories[] = {
        {"hardware error",                false, EITHER       },
        {"hardware_entry_failure_reason", false, EITHER       },
        {"vmentry failure ( reason",      false, REASON       },
        {"VMfailValid , error",           true,  ERROR        },
        {"instruction error",             true,  ERROR        },
        {"VM-instruction error",          true,  ERROR        },
        {"exit reason",                   true,  REASON       },
        {"exit qualification",            true,  QUALIFICATION},
        {", qualification",               true,  QUALIFICATION}
    };
    const struct words *words = p->words;
    struct dump *dump = p->dump;
    u64 value;
    bool prefixed;

    for (u32 k = 0; k < ARRAY_SIZE(stories); k++) {
        u32 taken = words_match(words, i, stories[k].pattern);
        u32 value_words = taken ? take_value(words, i + taken, &value, &prefixed) : 0;
        u32 at = i + taken + value_words - 1;
        if (!value_words || (stories[k].decimal && !prefixed && !word_decimal(words, at, &value)))
            continue;
        if (stories[k].told == QUALIFICATION)
            dump->told_qualification = value;
        else if (stories[k].told == MSR_ENTRY)
            dump->told_entry = value;
        else if (stories[k].told == ERROR || (stories[k].told == EITHER && value < 0x80000000u))
            dump->told_error = value;
        else /* no exit but a failed entry has the numbers 33 and 34 */
            dump->told_reason = value == 33 || value == 34 ? value | 0x80000000u : value;
        return at + 1 - i;
    }
    return 0;
}

/* Xen tells the MSR that could not be loaded: "msr 000001dd val 1ffff80676f52be5 (mbz 0)". */
static u32 take_refused_msr(struct parser *p, u32 i)
{
    u64 index, value, reserved;

    if (!word_is(p->words, i, "msr") || !word_hex(p->words, i + 1, &index, NULL) || !word_is(p->words, i + 2, "val") ||
        !word_hex(p->words, i + 3, &value, NULL) || !words_match(p->words, i + 4, "( mbz") ||
        !word_hex(p->words, i + 6, &reserved, NULL))
        return 0;
    p->dump->refused_msr = (struct dump_msr){(u32)index, value};
    p->dump->has_refused_msr = true;
    return 8;
}

/* ---- the whole ---- */

static enum dump_format format_of(const struct words *words, const struct dump *dump, bool headings)
{
    for (u32 i = 0; i < words->count; i++) {
        const struct word *word = &words->word[i];
        if (words_match(words, i, "VMCS Area"))
            return DUMP_XEN;
        if (words_match(words, i, "vm vmcs name ="))
            return DUMP_ROOTLET;
        if (words_match(words, i, "VMX_PIN_CONTROLS :"))
            return DUMP_HAXM;
        if (!headings && (word_begins(word, "VMX_VMCS") || word_begins(word, "VMX_VMCS32_")))
            return DUMP_VIRTUALBOX;
    }
    return headings ? DUMP_KVM : dump->format == DUMP_ENCODINGS ? DUMP_ENCODINGS : DUMP_NAMES;
}

/* The number of words from i on that the brackets take which open there; 0 if none do or they do not close. */
static u32 take_brackets(const struct words *words, u32 i)
{
    if (!word_is(words, i, "("))
        return 0;
    for (u32 end = i + 1; end < words->count && end - i < 48; end++)
        if (word_is(words, end, ")"))
            return end + 1 - i;
    return 0;
}

/* Rootlet says more in lines of the same form (vmx cap, vm regs, last cpu=): only these two are about a VMCS. */
static u32 take_other_line(const struct words *words, u32 i)
{
    u32 end = i + 1;

    if (!words->word[i].own || words_match(words, i, "vm vmcs") || words_match(words, i, "vm entry"))
        return 0;
    while (end < words->count && !words->word[end].first)
        end++;
    return end - i;
}

/* A pair beside others that were understood, which was not: it may be a field that matters. */
static void doubt(struct parser *p, u32 i)
{
    static const char *const others[] = {"vcpu =", "name =", "msr =", "value ="};
    const struct words *words = p->words;
    u64 value;

    if (!i || !p->last_line || words->word[i].line - p->last_line > 1 || !word_is(words, i, "=") ||
        !word_hex(words, i + 1, &value, NULL))
        return;
    for (u32 k = 0; k < ARRAY_SIZE(others); k++)
        if (words_match(words, i - 1, others[k]))
            return;
    strange(p, i - 1, 3, NULL);
}

static u32 take(struct parser *p, u32 i)
{
    static u32 (*const ways[])(struct parser *, u32) = {take_heading, take_msr_list, take_pair,        take_segment_row,
                                                        take_braces,  take_label,    take_segment_part};
    static u32 (*const other_ways[])(struct parser *, u32) = {take_story, take_refused_msr, take_encoding, take_name};
    u32 taken = 0;

    for (u32 k = 0; !taken && k < ARRAY_SIZE(ways); k++)
        if (p->section != ANYWHERE || ways[k] == take_heading)
            taken = ways[k](p, i);
    for (u32 k = 0; !taken && k < ARRAY_SIZE(other_ways); k++)
        taken = other_ways[k](p, i);
    return taken;
}

void dump_parse(struct dump *dump, const struct words *words, u32 which)
{
    struct parser p = {.words = words, .dump = dump, .which = which ? which : 1};
    bool headings = false;

    memset(dump, 0, sizeof *dump);
    dump->told_reason = dump->told_error = dump->told_qualification = dump->told_entry = ~0ull;
    for (u32 i = 0; i < words->count;) {
        u32 taken = take_other_line(words, i);
        if (!taken)
            taken = take(&p, i);
        headings |= p.section != ANYWHERE;
        if (!taken)
            taken = take_brackets(words, i);
        if (!taken) {
            doubt(&p, i);
            taken = 1;
        }
        i += taken;
    }
    dump->format = dump->fields ? format_of(words, dump, headings) : DUMP_NONE;
}

const char *dump_format_name(enum dump_format format)
{
    static const char *const names[DUMP_FORMATS] = {"none", "kvm",        "xen",   "rootlet",
                                                    "haxm", "virtualbox", "names", "encodings"};
    return names[format];
}
