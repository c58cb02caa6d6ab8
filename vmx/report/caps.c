/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The capability report. Rows of bits, those of the table of controls and those that it leaves out, are judged one by
 * one: what the CPU allows, what we need, what comes of it. Whatever we need or want has a line of its own; the rest
 * is gathered into lists. Pure: the kernel prints it, and a host tool makes it of a saved log.
 * SDM 3D Appendix A "VMX Capability Reporting Facility".
 */
#include "vmx/report/caps.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "vmx/controls.h"

/* ---- lines ---- */

struct line {
    char text[CAPS_REPORT_LINE_BYTES];
    size_t used;
    size_t head; /* bytes that each line of a list begins with */
    void (*print)(const char *line);
};

static void add(struct line *l, const char *format, ...) PRINTF(2, 3);
static void add(struct line *l, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    l->used += format_list(l->text + l->used, sizeof l->text - l->used, format, arguments);
    va_end(arguments);
}

static void end(struct line *l)
{
    l->print(l->text);
    l->used = l->head = 0;
}

/* A list: its head, then items. A line that is full ends, and the next one begins with the head again. */
static void begin_list(struct line *l)
{
    l->head = l->used;
}

static void add_item(struct line *l, const char *item)
{
    if (l->used > l->head && l->used + string_length(item) + 3 > sizeof l->text) {
        l->print(l->text);
        l->used = l->head;
    }
    add(l, "%s%s", l->used > l->head ? ", " : " ", item);
}

static void end_list(struct line *l)
{
    if (l->used == l->head)
        add(l, " none");
    end(l);
}

static const char *yes_no(u64 bit)
{
    return bit ? "yes" : "no";
}

/* ---- the raw values ---- */

static const char *const msr_names[VMX_CAPS_MSRS] = {
    "IA32_VMX_BASIC",           "IA32_VMX_PINBASED_CTLS",      "IA32_VMX_PROCBASED_CTLS",
    "IA32_VMX_EXIT_CTLS",       "IA32_VMX_ENTRY_CTLS",         "IA32_VMX_MISC",
    "IA32_VMX_CR0_FIXED0",      "IA32_VMX_CR0_FIXED1",         "IA32_VMX_CR4_FIXED0",
    "IA32_VMX_CR4_FIXED1",      "IA32_VMX_VMCS_ENUM",          "IA32_VMX_PROCBASED_CTLS2",
    "IA32_VMX_EPT_VPID_CAP",    "IA32_VMX_TRUE_PINBASED_CTLS", "IA32_VMX_TRUE_PROCBASED_CTLS",
    "IA32_VMX_TRUE_EXIT_CTLS",  "IA32_VMX_TRUE_ENTRY_CTLS",    "IA32_VMX_VMFUNC",
    "IA32_VMX_PROCBASED_CTLS3", "IA32_VMX_EXIT_CTLS2",
};

const char *caps_report_msr_name(u32 index)
{
    if (index == MSR_IA32_FEATURE_CONTROL)
        return "IA32_FEATURE_CONTROL";
    return index - MSR_IA32_VMX_BASIC < VMX_CAPS_MSRS ? msr_names[index - MSR_IA32_VMX_BASIC] : NULL;
}

static void report_raw(struct line *l, const struct vmx_caps_raw *raw)
{
    add(l, "vmx cap msr=0x%x name=IA32_FEATURE_CONTROL value=0x%016lx", MSR_IA32_FEATURE_CONTROL, raw->feature_control);
    end(l);
    for (u32 i = 0; i < VMX_CAPS_MSRS; i++) {
        if (!vmx_caps_exists(raw, MSR_IA32_VMX_BASIC + i))
            continue;
        add(l, "vmx cap msr=0x%x name=%s value=0x%016lx", MSR_IA32_VMX_BASIC + i, msr_names[i], raw->value[i]);
        end(l);
    }
}

/* One name of the list on a line. */
static void report_list(struct line *l, const char *what, const char *list)
{
    while (*list) {
        size_t length = 0;
        while (list[length] && list[length] != ',')
            length++;
        if (length) {
            add(l, "vmx cap %s=%.*s", what, (int)length, list);
            end(l);
        }
        list += length + (list[length] == ',');
    }
}

/* ---- fields that are no controls ---- */

static void report_basic(struct line *l, const struct vmx_caps *caps)
{
    u32 type = vmx_caps_memory_type(caps);

    add(l, "vmx basic revision=0x%x region_bytes=%u memory-type=%u(%s) 32-bit-addresses=%s dual-monitor=%s",
        vmx_caps_revision(caps), vmx_caps_region_bytes(caps), type,
        type == 6   ? "write-back"
        : type == 0 ? "uncacheable"
                    : "reserved",
        yes_no(caps->basic & BIT(48)), yes_no(caps->basic & BIT(49)));
    end(l);
    add(l, "vmx basic ins-outs-information=%s true-controls=%s exceptions-with-any-error-code=%s",
        yes_no(caps->basic & BIT(54)), yes_no(caps->basic & BIT(55)), yes_no(caps->basic & BIT(56)));
    end(l);
}

static void report_feature_control(struct line *l, u64 value)
{
    add(l, "vmx feature-control lock=%s vmx-inside-smx=%s vmx-outside-smx=%s", yes_no(value & FEATURE_CONTROL_LOCKED),
        yes_no(value & FEATURE_CONTROL_VMX_INSIDE), yes_no(value & FEATURE_CONTROL_VMX_OUTSIDE));
    end(l);
}

static void report_misc(struct line *l, u64 misc)
{
    add(l, "vmx misc preemption-timer-shift=%lu store-lma-on-exit=%s hlt=%s shutdown=%s wait-for-sipi=%s pt-in-vmx=%s",
        bits_field(misc, 4, 0), yes_no(misc & BIT(5)), yes_no(misc & BIT(6)), yes_no(misc & BIT(7)),
        yes_no(misc & BIT(8)), yes_no(misc & BIT(14)));
    end(l);
    add(l, "vmx misc smbase-readable-in-smm=%s cr3-targets=%lu msr-list-max=%lu smm-monitor-ctl-bit-2=%s",
        yes_no(misc & BIT(15)), bits_field(misc, 24, 16), 512 * (bits_field(misc, 27, 25) + 1), yes_no(misc & BIT(28)));
    end(l);
    add(l, "vmx misc vmwrite-to-any-field=%s injection-with-length-0=%s mseg-revision=0x%lx", yes_no(misc & BIT(29)),
        yes_no(misc & BIT(30)), misc >> 32);
    end(l);
}

/* Names of bits, from bit 0 on; "" has none. */
static const char *const cr0_bits[64] = {[0] = "PE",  [1] = "MP",  [2] = "EM",  [3] = "TS",  [4] = "ET", [5] = "NE",
                                         [16] = "WP", [18] = "AM", [29] = "NW", [30] = "CD", [31] = "PG"};
static const char *const cr4_bits[64] = {
    [0] = "VME",   [1] = "PVI",       [2] = "TSD",    [3] = "DE",          [4] = "PSE",   [5] = "PAE",   [6] = "MCE",
    [7] = "PGE",   [8] = "PCE",       [9] = "OSFXSR", [10] = "OSXMMEXCPT", [11] = "UMIP", [12] = "LA57", [13] = "VMXE",
    [14] = "SMXE", [16] = "FSGSBASE", [17] = "PCIDE", [18] = "OSXSAVE",    [19] = "KL",   [20] = "SMEP", [21] = "SMAP",
    [22] = "PKE",  [23] = "CET",      [24] = "PKS",   [25] = "UINTR"};

static void list_bits(struct line *l, u64 bits, const char *const *names)
{
    begin_list(l);
    for (u32 i = 0; i < 64; i++)
        if (names[i] && bits & BIT(i))
            add_item(l, names[i]);
    end_list(l);
}

static void report_fixed(struct line *l, const char *name, u64 fixed0, u64 fixed1, const char *const *names)
{
    add(l, "vmx %s fixed to 1:", name);
    list_bits(l, fixed0 & fixed1, names);
    add(l, "vmx %s fixed to 0:", name);
    list_bits(l, ~fixed0 & ~fixed1, names);
    add(l, "vmx %s flexible:", name);
    list_bits(l, fixed1 & ~fixed0, names);
}

/* ---- bits that we need, want or leave alone ---- */

/* More groups of bits than a VMCS of ours has: IA32_VMX_EPT_VPID_CAP, and what we leave off altogether. */
enum { REPORT_EPT = VMX_GROUPS, REPORT_PROC3, REPORT_EXIT2, REPORT_VMFUNC };

/* Controls that the table of controls does not have, since nothing here asks for them. Sorted by group and bit. */
static const struct {
    u8 group;
    u8 bit;
    const char *name;
} other_names[] = {
    {VMX_PROC,      17, "activate tertiary controls"            },
    {VMX_PROC2,     15, "enable ENCLS exiting"                  },
    {VMX_PROC2,     19, "conceal VMX from PT"                   },
    {VMX_PROC2,     22, "mode-based execute control for EPT"    },
    {VMX_PROC2,     23, "sub-page write permissions for EPT"    },
    {VMX_PROC2,     24, "Intel PT uses guest physical addresses"},
    {VMX_PROC2,     26, "enable user wait and pause"            },
    {VMX_PROC2,     27, "enable PCONFIG"                        },
    {VMX_PROC2,     28, "enable ENCLV exiting"                  },
    {VMX_PROC2,     30, "VMM bus-lock detection"                },
    {VMX_PROC2,     31, "instruction timeout"                   },
    {VMX_EXIT,      23, "clear IA32_BNDCFGS"                    },
    {VMX_EXIT,      24, "conceal VMX from PT on exit"           },
    {VMX_EXIT,      25, "clear IA32_RTIT_CTL"                   },
    {VMX_EXIT,      26, "clear IA32_LBR_CTL"                    },
    {VMX_EXIT,      27, "clear UINV"                            },
    {VMX_EXIT,      28, "load CET state on exit"                },
    {VMX_EXIT,      29, "load PKRS on exit"                     },
    {VMX_EXIT,      30, "save IA32_PERF_GLOBAL_CTL"             },
    {VMX_EXIT,      31, "activate secondary controls (VM exit)" },
    {VMX_ENTRY,     16, "load IA32_BNDCFGS"                     },
    {VMX_ENTRY,     17, "conceal VMX from PT on entry"          },
    {VMX_ENTRY,     18, "load IA32_RTIT_CTL"                    },
    {VMX_ENTRY,     19, "load UINV"                             },
    {VMX_ENTRY,     20, "load CET state on entry"               },
    {VMX_ENTRY,     21, "load guest IA32_LBR_CTL"               },
    {VMX_ENTRY,     22, "load PKRS on entry"                    },
    {REPORT_PROC3,  0,  "LOADIWKEY exiting"                     },
    {REPORT_PROC3,  1,  "enable HLAT"                           },
    {REPORT_PROC3,  2,  "EPT paging-write control"              },
    {REPORT_PROC3,  3,  "guest-paging verification"             },
    {REPORT_PROC3,  4,  "IPI virtualization"                    },
    {REPORT_PROC3,  7,  "virtualize IA32_SPEC_CTRL"             },
    {REPORT_EXIT2,  3,  "prematurely busy shadow stack"         },
    {REPORT_VMFUNC, 0,  "EPTP switching"                        },
};

/* A bit of any of the groups. The need is that of struct vmx_control_row. */
struct bit {
    u8 number;
    u8 need;
    const char *name;
    const char *feature;
};

static const struct bit ept_bits[] = {
    {0,  VMX_FORBIDDEN, "execute-only translations",                       NULL    },
    {6,  VMX_REQUIRED,  "page-walk length 4",                              NULL    },
    {7,  VMX_FORBIDDEN, "page-walk length 5",                              NULL    },
    {8,  VMX_FORBIDDEN, "uncacheable paging structures",                   NULL    },
    {14, VMX_REQUIRED,  "write-back paging structures",                    NULL    },
    {16, VMX_OPTIONAL,  "2-MByte pages",                                   "ept-2m"},
    {17, VMX_OPTIONAL,  "1-GByte pages",                                   "ept-1g"},
    {20, VMX_REQUIRED,  "INVEPT",                                          NULL    },
    {21, VMX_FORBIDDEN, "accessed and dirty flags",                        NULL    },
    {22, VMX_FORBIDDEN, "advanced VM-exit information for EPT violations", NULL    },
    {23, VMX_FORBIDDEN, "supervisor shadow-stack control",                 NULL    },
    {25, VMX_OPTIONAL,  "single-context INVEPT",                           NULL    },
    {26, VMX_REQUIRED,  "all-context INVEPT",                              NULL    },
    {32, VMX_OPTIONAL,  "INVVPID",                                         "vpid"  },
    {40, VMX_FORBIDDEN, "individual-address INVVPID",                      NULL    },
    {41, VMX_OPTIONAL,  "single-context INVVPID",                          "vpid"  },
    {42, VMX_OPTIONAL,  "all-context INVVPID",                             "vpid"  },
    {43, VMX_FORBIDDEN, "single-context-retaining-globals INVVPID",        NULL    },
};

/* What happens without an optional feature. */
static const struct {
    const char *feature;
    const char *instead;
} fallbacks[] = {
    {"preemption-timer",  "the local APIC timer ends slices and wakes for guest timers"   },
    {"apicv",             "local APICs are software's: their accesses and interrupts exit"},
    {"posted-interrupts", "an interrupt from elsewhere makes a running vCPU exit"         },
    {"io-bitmap",         "unconditional I/O exiting, to the same effect"                 },
    {"msr-bitmap",        "every RDMSR and WRMSR exits, and local APICs are software's"   },
    {"rdtscp",            "guests have no RDTSCP and no RDPID"                            },
    {"vpid",              "VM entries and VM exits flush the TLB"                         },
    {"pause-loops",       "a vCPU that spins for another keeps its CPU"                   },
    {"wbinvd-exiting",    "WBINVD of a guest writes back and empties the CPU's caches"    },
    {"invpcid",           "guests have no INVPCID"                                        },
    {"xsaves",            "guests have no XSAVES and no XRSTORS"                          },
    {"vmcs-shadowing",    "each VMREAD and VMWRITE of a guest hypervisor exits"           },
    {"ept-2m",            "EPT maps guest memory in 4-KByte pages"                        },
    {"ept-1g",            "EPT maps guest memory in pages of at most 2 MBytes"            },
};

/* The CPU's word on a group of bits, before and after vmx.disable=, and ours. */
struct group {
    u32 id; /* enum vmx_group or REPORT_EPT */
    const char *title;
    u64 must, may; /* allowed 0-settings and 1-settings */
    u64 left;      /* of `may` after vmx.disable= */
    u64 usable;    /* of `left` without what is withheld */
    u64 value;     /* bits that a new VMCS has on; of REPORT_EPT, those that are used */
    u64 default1;  /* must be 1, and mean nothing that we know of */
    u64 switched;  /* turned on and off at run time */
};

/* The bit `number` of the group, with a NULL name if nobody knows it. */
static struct bit find_bit(u32 group, u32 number)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    for (size_t i = 0; i < count; i++)
        if (rows[i].group == group && rows[i].bit == BIT(number))
            return (struct bit){(u8)number, rows[i].need, rows[i].name, rows[i].feature};
    for (size_t i = 0; group == REPORT_EPT && i < ARRAY_SIZE(ept_bits); i++)
        if (ept_bits[i].number == number)
            return ept_bits[i];
    for (size_t i = 0; i < ARRAY_SIZE(other_names); i++)
        if (other_names[i].group == group && other_names[i].bit == number)
            return (struct bit){(u8)number, VMX_FORBIDDEN, other_names[i].name, NULL};
    return (struct bit){.number = (u8)number, .need = VMX_FORBIDDEN};
}

static const char *outcome_of(const struct group *g, const struct bit *bit)
{
    u64 mask = BIT(bit->number);

    if (!(g->may & mask))
        return bit->need == VMX_REQUIRED || bit->need == VMX_REQUIRED_AVAILABLE ? "MISSING" : "absent";
    if (!(g->left & mask))
        return "disabled";
    if (!(g->usable & mask))
        return "withheld";
    if (bit->need == VMX_REQUIRED_AVAILABLE || bit->need == VMX_SWITCHED) {
        if (g->must & mask)
            return "INSISTED-ON";
        return g->switched & mask ? "at-run-time" : "off";
    }
    return g->value & mask ? "on" : "off";
}

static bool wants(const struct bit *bit)
{
    return bit->name && bit->need != VMX_FORBIDDEN;
}

static void report_wanted(struct line *l, const struct group *g)
{
    static const char *const needs[] = {
        [VMX_REQUIRED] = "required", [VMX_REQUIRED_AVAILABLE] = "required", [VMX_OPTIONAL] = "optional",
        [VMX_SWITCHED] = "optional", [VMX_TOLERATED] = "tolerated",         [VMX_FORBIDDEN] = "unused"};

    for (u32 i = 0; i < 64; i++) {
        struct bit bit = find_bit(g->id, i);
        if (!wants(&bit))
            continue;
        add(l, "vmx control group=\"%s\" bit=%u name=\"%s\" cpu=%s need=%s state=%s", g->title, i, bit.name,
            g->must & BIT(i)  ? "1"
            : g->may & BIT(i) ? "0/1"
                              : "0",
            needs[bit.need], outcome_of(g, &bit));
        if (bit.feature)
            add(l, " feature=%s", bit.feature);
        end(l);
    }
}

/* Those of `bits` that have no line of their own. */
static void report_unused(struct line *l, const struct group *g, const char *what, u64 bits)
{
    bool any = false;

    add(l, "vmx unused group=\"%s\" %s:", g->title, what);
    begin_list(l);
    for (u32 i = 0; i < 64; i++) {
        struct bit bit = find_bit(g->id, i);
        char number[12];
        if (!(bits & BIT(i)) || wants(&bit))
            continue;
        format_text(number, sizeof number, "bit %u", i);
        add_item(l, bit.name ? bit.name : number);
        any = true;
    }
    if (any)
        end_list(l);
    l->used = 0;
}

static u64 named_bits(u32 group)
{
    u64 bits = 0;

    for (u32 i = 0; i < 64; i++)
        if (find_bit(group, i).name)
            bits |= BIT(i);
    return bits;
}

static void report_group(struct line *l, const struct group *g)
{
    u64 meaningless = g->default1 & ~named_bits(g->id);

    add(l, "vmx group=\"%s\" must-be-1=0x%lx may-be-1=0x%lx value=0x%lx", g->title, g->must, g->may, g->value);
    end(l);
    report_wanted(l, g);
    report_unused(l, g, "reserved to 1", g->must & meaningless);
    report_unused(l, g, "fixed to 1", g->must & ~meaningless);
    report_unused(l, g, "available", g->may & ~g->must & ~meaningless);
    report_unused(l, g, "absent", ~g->may & named_bits(g->id));
}

/* The capabilities as the CPU has them, after vmx.disable=, and without what does not work; the controls of the last.
 */
struct stages {
    struct vmx_caps whole, left, usable;
    struct vmx_controls controls;
};

static u64 switched_bits(u32 group, const struct vmx_caps *caps)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);
    u64 bits = 0;

    for (size_t i = 0; i < count; i++)
        if (rows[i].group == group && vmx_controls_are_switched(caps, &rows[i]))
            bits |= rows[i].bit;
    return bits;
}

static void report_controls(struct line *l, const struct stages *s)
{
    for (u32 id = 0; id < VMX_GROUPS; id++) {
        struct group g = {.id = id,
                          .title = vmx_controls_group_name(id),
                          .must = s->whole.group[id].must_be_one,
                          .may = s->whole.group[id].may_be_one,
                          .left = s->left.group[id].may_be_one,
                          .usable = s->usable.group[id].may_be_one,
                          .value = s->controls.value[id],
                          .default1 = vmx_controls_default_one(id),
                          .switched = switched_bits(id, &s->usable)};
        report_group(l, &g);
    }
}

/* A group of bits of which Rootlet uses none. */
static void report_extra(struct line *l, const struct vmx_caps_raw *raw, u32 index, u32 id, const char *title)
{
    struct group g = {.id = id, .title = title, .may = raw->value[index - MSR_IA32_VMX_BASIC]};

    if (vmx_caps_exists(raw, index))
        report_group(l, &g);
}

static void report_ept(struct line *l, const struct stages *s)
{
    bool vpid = s->controls.value[VMX_PROC2] & PROC2_VPID;
    u64 usable = s->usable.ept_vpid;
    struct group g = {.id = REPORT_EPT,
                      .title = "EPT and VPID",
                      .may = s->whole.ept_vpid,
                      .left = s->left.ept_vpid,
                      .usable = usable};

    for (size_t i = 0; i < ARRAY_SIZE(ept_bits); i++) {
        bool for_vpid = ept_bits[i].feature && string_equal(ept_bits[i].feature, "vpid");
        if (ept_bits[i].need != VMX_FORBIDDEN && (!for_vpid || vpid))
            g.value |= usable & BIT(ept_bits[i].number);
    }
    report_group(l, &g);
}

/* ---- what is done without ---- */

/* Whether a bit that carries the feature, or is needed for it, is available in *caps. */
static bool has_feature(const char *feature, const struct vmx_caps *caps)
{
    size_t count;
    const struct vmx_control_row *rows = vmx_control_rows(&count);

    if (string_equal(feature, "ept-2m"))
        return caps->ept_vpid & EPT_CAP_2M;
    if (string_equal(feature, "ept-1g"))
        return caps->ept_vpid & EPT_CAP_1G;
    if (string_equal(feature, "apicv"))
        return vmx_controls_have_apicv(caps);
    if (string_equal(feature, "posted-interrupts"))
        return vmx_controls_have_posted(caps);
    if (string_equal(feature, "vmcs-shadowing"))
        return vmx_controls_have_shadowing(caps);
    if (string_equal(feature, "vpid") && !vmx_caps_has_invvpid(caps))
        return false;
    for (size_t i = 0; i < count; i++)
        if (rows[i].feature && string_equal(rows[i].feature, feature))
            return caps->group[rows[i].group].may_be_one & rows[i].bit;
    return false;
}

static void report_fallbacks(struct line *l, const struct stages *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(fallbacks); i++) {
        const char *feature = fallbacks[i].feature;
        if (has_feature(feature, &s->usable))
            continue;
        add(l, "vmx fallback feature=%s why=%s instead=\"%s\"", feature,
            has_feature(feature, &s->left)    ? "withheld"
            : has_feature(feature, &s->whole) ? "disabled"
                                              : "absent",
            fallbacks[i].instead);
        end(l);
    }
}

static void report_verdict(struct line *l, const struct vmx_caps *caps, const char *why)
{
    if (!(caps->feature_control & FEATURE_CONTROL_LOCKED))
        add(l, "vmx verdict IA32_FEATURE_CONTROL is open: Rootlet sets and locks it");
    else
        add(l, "vmx verdict IA32_FEATURE_CONTROL is locked by firmware, VMX outside SMX %s",
            caps->feature_control & FEATURE_CONTROL_VMX_OUTSIDE ? "on" : "OFF");
    end(l);
    add(l, why ? "vmx verdict refused: %s" : "vmx verdict this CPU has all that Rootlet needs", why);
    end(l);
}

/* What virt_init makes of the capabilities; every part of *s is filled even if it refuses. */
static enum status resolve(struct stages *s, const char *disable, const char *withheld, struct refusal *why)
{
    u64 control;

    s->left = s->whole;
    enum status status = vmx_caps_disable(&s->left, disable, why);
    s->usable = s->left;
    if (status == STATUS_OK)
        status = vmx_caps_disable(&s->usable, withheld, why);
    if (status == STATUS_OK)
        status = vmx_feature_control_check(s->whole.feature_control, &control, why);
    enum status resolved = vmx_controls_resolve(&s->usable, &s->controls, status == STATUS_OK ? why : NULL);
    status = status == STATUS_OK ? resolved : status;
    if (status == STATUS_OK)
        status = vmx_caps_check_ept(&s->usable, why);
    if (!vmx_caps_has_invvpid(&s->usable))
        s->controls.value[VMX_PROC2] &= ~PROC2_VPID;
    return status;
}

void vmx_caps_report(const struct vmx_caps_raw *raw, const char *disable, const char *withheld,
                     void (*print)(const char *line))
{
    struct line l = {.print = print};
    struct stages s;
    struct refusal why;

    vmx_caps_take(raw, &s.whole);
    enum status status = resolve(&s, disable, withheld, &why);
    report_raw(&l, raw);
    report_list(&l, "disable", disable);
    report_list(&l, "withheld", withheld);
    report_basic(&l, &s.whole);
    report_feature_control(&l, raw->feature_control);
    report_misc(&l, s.whole.misc);
    report_fixed(&l, "CR0", s.whole.cr0_fixed0, s.whole.cr0_fixed1, cr0_bits);
    report_fixed(&l, "CR4", s.whole.cr4_fixed0, s.whole.cr4_fixed1, cr4_bits);
    add(&l, "vmx vmcs-enum highest-index=%lu",
        bits_field(raw->value[MSR_IA32_VMX_VMCS_ENUM - MSR_IA32_VMX_BASIC], 9, 1));
    end(&l);
    report_controls(&l, &s);
    report_extra(&l, raw, MSR_IA32_VMX_PROCBASED_CTLS3, REPORT_PROC3, "tertiary processor-based");
    report_extra(&l, raw, MSR_IA32_VMX_EXIT_CTLS2, REPORT_EXIT2, "secondary VM-exit");
    report_extra(&l, raw, MSR_IA32_VMX_VMFUNC, REPORT_VMFUNC, "VM-function");
    report_ept(&l, &s);
    report_fallbacks(&l, &s);
    report_verdict(&l, &s.whole, status == STATUS_OK ? NULL : why.text);
}
