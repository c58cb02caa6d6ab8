/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The battery of VM entries (make battery): for each baseline and each field a row of values, one at a time; then some
 * fields at once, at random. For each case the checker says what should happen, then the CPU does it. Both verdicts go
 * to Bochs's log, through its BIOS's port for messages, between whose lines Bochs itself names the rule that it
 * applied; tools/battery compares. Lines are shorter than the 80 characters that Bochs keeps of one: B name; C number
 * row=value ...; P outcome qualification skipped rule:row ...; R what came of it
 */
#include "test/battery/battery.h"
#include "arch/x86/irq.h"
#include "arch/x86/paging.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "vmx/load.h"
#include "vmx/nested/nested.h"

#define PORT_MESSAGE 0x402u
#define LINE_BYTES   78u
#define MAX_REPORTS  12u /* rules that a case's line names */
#define MAX_CHANGES  8u
#define MIXED_MOST   4u
#define MIXED_CASES  25u   /* for each baseline of all fields */
#define RANDOM_CASES 50u   /* before the next baseline is chosen */
#define RANDOM_TICKS 2000u /* of the preemption timer */
#define MSR_LIST_ROW 255u

struct change {
    u32 row;
    u64 value;
};

static struct check_image image;  /* of the baseline; a case changes it and changes it back */
static struct vmx_caps caps;      /* of which the cases are made, and which the checker is told */
static struct vmx_caps cpu_caps;  /* those of the CPU, which may have more */
static u64 written[CHECK_FIELDS]; /* the VMCS as vmx/vcpu.c wrote it */
static u8 rows[CHECK_FIELDS];     /* the fields that exist and can be written */
static u32 row_count;
static struct {
    u32 cases, entered, failed, skipped, number, step, only;
    u64 random;
    u32 at_random; /* so many random cases, in the place of the battery's; or 0 */
    bool pair;     /* the run has a counterpart at the other level: equal cases have equal numbers */
    bool in_vm;    /* it is the one in a VM */
} run;

/* ---- lines in Bochs's log ---- */

static PRINTF(1, 2) void say(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;

    if (run.in_vm)
        return;
    va_start(arguments, format);
    size_t length = format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < length; i++)
        port_out8(PORT_MESSAGE, (u8)line[i]);
    port_out8(PORT_MESSAGE, '\n');
}

struct verdict {
    struct check_result result;
    struct check_report reports[MAX_REPORTS];
};

static void collect(void *context, const struct check_report *report)
{
    struct verdict *verdict = context;
    if (verdict->result.broken < MAX_REPORTS)
        verdict->reports[verdict->result.broken] = *report;
    verdict->result.broken++;
}

static void say_verdict(const struct verdict *verdict)
{
    u32 count = verdict->result.broken < MAX_REPORTS ? verdict->result.broken : MAX_REPORTS;
    char line[LINE_BYTES - 20];

    for (u32 i = 0, used = 0; i <= count; i++) {
        if (i == count || used > sizeof line - 10) {
            say("P %u %u %u%s", verdict->result.outcome, verdict->result.qualification, verdict->result.skipped,
                used ? line : "");
            used = 0;
        }
        if (i < count)
            used += (u32)format_text(line + used, sizeof line - used, " %u:%u", verdict->reports[i].rule,
                                     verdict->reports[i].field);
    }
}

/* ---- entering ---- */

static void restore_host(void)
{
    cr0_write(written[FIELD_HOST_CR0]);
    cr4_write(written[FIELD_HOST_CR4]);
    cr3_write(written[FIELD_HOST_CR3]);
    msr_write(MSR_IA32_EFER, written[FIELD_HOST_EFER]);
    msr_write(MSR_IA32_PAT, written[FIELD_HOST_PAT]);
    msr_write(MSR_IA32_SYSENTER_CS, written[FIELD_HOST_SYSENTER_CS]);
    msr_write(MSR_IA32_SYSENTER_ESP, written[FIELD_HOST_SYSENTER_ESP]);
    msr_write(MSR_IA32_SYSENTER_EIP, written[FIELD_HOST_SYSENTER_EIP]);
}

void battery_restore(void)
{
    for (u32 i = 0; i < row_count; i++)
        battery_write(rows[i], image.value[rows[i]]);
}

u32 battery_try(u32 launched)
{
    u32 failed = battery_enter(launched);

    if (failed)
        return failed;
    restore_host();
    u32 info = vmcs_read(EXIT_INTERRUPTION_INFO);
    if (vmcs_read(EXIT_REASON) == 1 && info >> 31) /* an external interrupt, acknowledged */
        irq_dispatch((u8)info);
    return 0;
}

/* What the CPU makes of an entry, in the words of the checker. NO_OUTCOME: in none of them. */
#define NO_OUTCOME 'x'
static char outcome_of(u32 failed, u32 reason, u32 *qualification)
{
    static const struct {
        u32 failed, number;
    } ends[] = {
        [CHECK_FAILS_CONTROLS] = {1, 7         },
        [CHECK_FAILS_HOST] = {1, 8         },
        [CHECK_FAILS_GUEST] = {0, 0x80000021},
        [CHECK_FAILS_MSRS] = {0, 0x80000022}
    };
    u32 number = failed == 1 ? vmcs_read(INSTRUCTION_ERROR) : reason;

    *qualification = 0;
    if (!failed && !(reason >> 31))
        return '0' + CHECK_ENTERS;
    for (u32 i = CHECK_FAILS_CONTROLS; i < ARRAY_SIZE(ends); i++) {
        if (ends[i].failed != failed || ends[i].number != number)
            continue;
        *qualification = failed ? 0 : (u32)vmcs_read(EXIT_QUALIFICATION);
        return (char)('0' + i);
    }
    return NO_OUTCOME;
}

/* A verdict that is not the checker's, and the fields in which the VMCS differs from the one that Rootlet writes. */
static void report_disagreement(const char *verdict, const struct check_result *said)
{
    char text[1024];
    size_t used = format_text(text, sizeof text, "D %u %s, the checker: %u %u:", run.number, verdict, said->outcome,
                              said->qualification);

    for (u32 i = 0; i < row_count && used < sizeof text - 32; i++)
        if (image.value[rows[i]] != written[rows[i]])
            used += format_text(text + used, sizeof text - used, " %u=%lx", rows[i], image.value[rows[i]]);
    battery_report_line(text);
}

/* In a VM: the CPU's verdict, and a mark if it is not the checker's, which has seen all that the CPU sees. */
static void report_end(u32 failed, u32 reason, const struct check_result *said)
{
    u32 qualification;
    char verdict[4];
    char outcome = outcome_of(failed, reason, &qualification);
    bool agree = said->skipped || (outcome == (char)('0' + said->outcome) &&
                                   (said->outcome < CHECK_FAILS_GUEST || qualification == said->qualification));

    format_text(verdict, sizeof verdict, "%c%x%s", outcome, qualification & 15, agree ? "" : "!");
    if (!run.at_random)
        battery_report(run.number - 1, run.step, verdict);
    else if (!agree)
        report_disagreement(verdict, said);
}

/* True: a guest ran. */
static bool say_end(u32 failed, const struct check_result *said)
{
    u32 reason = failed ? 0 : vmcs_read(EXIT_REASON);

    if (run.in_vm)
        report_end(failed, reason, said);
    else if (failed == 2)
        say("R invalid");
    else if (failed == 1)
        say("R error %u", vmcs_read(INSTRUCTION_ERROR));
    else
        say("R exit %x %lx", reason, vmcs_read(EXIT_QUALIFICATION));
    if (failed || reason >> 31) {
        run.failed++;
        return false;
    }
    run.entered++;
    return true;
}

/* ---- cases ---- */

static bool is_list_address(u32 row, u32 address_row, u32 count_row)
{
    return row == address_row && image.value[count_row];
}

/* Why a case is not entered although it should be possible: the host could not go on. NULL: it is. */
static const char *hazard(const struct change *change, u64 before)
{
    u32 row = change->row;
    u64 value = change->value;

    if (row == FIELD_HOST_RSP || row == FIELD_HOST_RIP)
        return "host-stack-or-code";
    if (row == FIELD_HOST_CR3 && (value ^ before) >> 12)
        return "host-page-tables";
    if ((row == FIELD_EXIT_MSR_STORE_COUNT || row == FIELD_EXIT_MSR_LOAD_COUNT || row == FIELD_ENTRY_MSR_LOAD_COUNT) &&
        value > before)
        return "msr-list-of-garbage";
    if (is_list_address(row, FIELD_EXIT_MSR_STORE_ADDRESS, FIELD_EXIT_MSR_STORE_COUNT) ||
        is_list_address(row, FIELD_EXIT_MSR_LOAD_ADDRESS, FIELD_EXIT_MSR_LOAD_COUNT) ||
        is_list_address(row, FIELD_ENTRY_MSR_LOAD_ADDRESS, FIELD_ENTRY_MSR_LOAD_COUNT))
        return "msr-list-of-garbage";
    if (row == FIELD_VIRTUAL_APIC_ADDRESS && image.value[FIELD_PROC2_CONTROLS] & PROC2_VIRTUAL_INTERRUPTS)
        return "virtual-apic-page-in-use";
    return NULL;
}

/* A guest that nothing would bring back. */
static const char *never_returns(void)
{
    u64 activity = image.value[FIELD_GUEST_ACTIVITY_STATE];
    bool timer = image.value[FIELD_PIN_CONTROLS] & PIN_PREEMPTION_TIMER;

    if (activity == 3)
        return "waits-for-sipi";
    return activity && !timer ? "sleeps-without-timer" : NULL;
}

/* What ends the emulator in mid-entry, whatever the checker says of it: docs/entry-checks.md, "What is not entered". */
static const char *panics_bochs(void)
{
    u64 event = image.value[FIELD_ENTRY_INTERRUPTION_INFO];

    if (event >> 31 && (event & 0x700) == 0x700 && !(caps.group[VMX_PROC].may_be_one & PROC_MONITOR_TRAP_FLAG))
        return "bochs-panics-mtf";
    return NULL;
}

static bool is_wanted(void)
{
    u32 number = run.number++;
    return run.only ? number == run.only : number % run.step == 0;
}

static void say_case(const struct change *changes, u32 count)
{
    char line[LINE_BYTES];
    size_t used = format_text(line, sizeof line, "C %u", run.number - 1);

    for (u32 i = 0; i < count; i++) {
        if (used > sizeof line - 24) {
            say("%s", line);
            used = format_text(line, sizeof line, "+");
        }
        used += format_text(line + used, sizeof line - used, " %u=%lx", changes[i].row, changes[i].value);
    }
    say("%s", line);
}

/* The checker's word and the CPU's. `why`: do not enter, if the checker has nothing against it. True: a guest ran. */
static bool judge(const char *why)
{
    static struct verdict verdict;

    verdict.result.broken = 0;
    struct check_result result = vmx_check_entry(&image, &caps, collect, &verdict);
    verdict.result = result;
    say_verdict(&verdict);
    run.cases++;
    u8 outcome = vmx_check_entry(&image, &cpu_caps, NULL, NULL).outcome;
    if (outcome == CHECK_ENTERS && !why)
        why = never_returns();
    if (outcome == CHECK_FAILS_CONTROLS || outcome == CHECK_FAILS_HOST)
        why = NULL; /* nothing will be loaded; all other failures load the host's state */
    if (panics_bochs())
        why = panics_bochs();
    if (why) {
        run.skipped++;
        say("R skipped %s", why);
        if (run.in_vm && !run.at_random)
            battery_report(run.number - 1, run.step, "s");
        return false;
    }
    return say_end(battery_try(true), &result);
}

static bool is_guest_row(u32 row)
{
    return (check_field_encoding(row) >> 10 & 3) == 2 || row == FIELD_PROC2_CONTROLS || row == FIELD_ENTRY_CONTROLS ||
           row == FIELD_ENTRY_INTERRUPTION_INFO;
}

/*
 * The changes, and what the exit of a guest that ran has written. Where a VMWRITE costs a thousand instructions it is
 * not all fields. An entry that fails saves nothing: SDM 3C 26.7 "VM-Entry Failures During or After Loading Guest
 * State".
 */
static void put_back(const struct change *changes, u32 count, bool ran)
{
    for (u32 i = 0; ran && i < row_count; i++)
        if (is_guest_row(rows[i]))
            battery_write(rows[i], image.value[rows[i]]);
    for (u32 i = 0; i < count; i++)
        battery_write(changes[i].row, image.value[changes[i].row]);
}

/* Changes the fields, judges, and puts everything back. */
static void try_case(struct change *changes, u32 count)
{
    u64 before[MAX_CHANGES];
    const char *why = NULL;

    for (u32 i = 0; i < count; i++) {
        before[i] = image.value[changes[i].row];
        battery_write(changes[i].row, changes[i].value);
        changes[i].value = vmcs_read_raw(check_field_encoding(changes[i].row)); /* what the CPU keeps of it */
        image.value[changes[i].row] = changes[i].value;
    }
    for (u32 i = 0; i < count && !why; i++)
        why = hazard(&changes[i], before[i]);
    say_case(changes, count);
    bool ran = judge(why);
    for (u32 i = count; i-- > 0;)
        image.value[changes[i].row] = before[i];
    put_back(changes, count, ran);
}

static void try_field(u32 row)
{
    static u64 values[BATTERY_VALUES];
    u64 base = image.value[row];
    u32 count = battery_values(row, base, image.cpu.physical_bits, run.pair, values);

    for (u32 i = 0; i < count; i++)
        if (is_wanted() && !battery_is_repeated(values, i, base))
            try_case(&(struct change){row, values[i]}, 1);
}

/* In each run, whatever its step. */
static void try_always(struct change change)
{
    run.number++;
    try_case(&change, 1);
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" */
static u64 random_bits(void)
{
    run.random ^= run.random >> 12;
    run.random ^= run.random << 25;
    run.random ^= run.random >> 27;
    return run.random * 0x2545f4914f6cdd1dull;
}

static u32 random_below(u32 end)
{
    return (u32)(random_bits() >> 33) % end;
}

static void try_mixed(void)
{
    static u64 values[BATTERY_VALUES];
    struct change changes[MIXED_MOST];
    u32 count = 2 + random_below(MIXED_MOST - 1);

    for (u32 i = 0; i < count; i++) {
        bool again;
        do {
            changes[i].row = rows[random_below(row_count)];
            again = false;
            for (u32 j = 0; j < i; j++)
                again |= changes[j].row == changes[i].row;
        } while (again);
        u32 choices =
            battery_values(changes[i].row, image.value[changes[i].row], image.cpu.physical_bits, run.pair, values);
        changes[i].value = values[random_below(choices)];
    }
    if (is_wanted())
        try_case(changes, count);
}

/* The second entry of the VM-entry MSR-load list. */
static void try_msr_list(void)
{
    static const struct msr_entry {
        u32 index;
        u32 reserved;
        u64 value;
    } entries[] = {
        {MSR_IA32_FS_BASE,        0,          0                 },
        {MSR_IA32_GS_BASE,        0,          0                 },
        {0x7ff,                   0,          0                 },
        {0x800,                   0,          0                 },
        {0x808,                   0,          0                 },
        {0x8ff,                   0,          0                 },
        {0x79,                    0,          0                 },
        {0x9b,                    0,          0                 },
        {MSR_IA32_SYSENTER_CS,    1,          0                 },
        {MSR_IA32_SYSENTER_CS,    0x80000000, 0                 },
        {MSR_IA32_SYSENTER_ESP,   0,          0x7fffffffffff    },
        {MSR_IA32_SYSENTER_ESP,   0,          0x800000000000    },
        {MSR_IA32_SYSENTER_EIP,   0,          0xffff7fffffffffff},
        {MSR_IA32_LSTAR,          0,          0xffff800000000000},
        {MSR_IA32_LSTAR,          0,          0x8000000000000000},
        {MSR_IA32_CSTAR,          0,          0x1000000000000   },
        {MSR_IA32_KERNEL_GS_BASE, 0,          0x800000000000    },
        {MSR_IA32_FMASK,          0,          0xffffffff        },
        {MSR_IA32_FMASK,          0,          0x100000000       },
        {MSR_IA32_TSC_AUX,        0,          0xffffffff        },
        {MSR_IA32_TSC_AUX,        0,          0x100000000       },
        {MSR_IA32_PAT,            0,          0                 },
        {MSR_IA32_PAT,            0,          2                 },
        {MSR_IA32_PAT,            0,          0x0800000000000000},
        {MSR_IA32_EFER,           0,          0                 },
        {MSR_IA32_EFER,           0,          EFER_SCE          },
        {MSR_IA32_EFER,           0,          2                 },
        {MSR_IA32_EFER,           0,          0x100000000       },
    };
    struct msr_entry *list = phys_to_virt(hpa(battery_msr_list()));
    static const u32 kept[] = {MSR_IA32_LSTAR, MSR_IA32_CSTAR, MSR_IA32_FMASK, MSR_IA32_KERNEL_GS_BASE,
                               MSR_IA32_TSC_AUX};
    struct msr_entry before = list[1];
    u64 values[ARRAY_SIZE(kept)];

    for (u32 i = 0; i < ARRAY_SIZE(kept); i++)
        values[i] = msr_read(kept[i]);
    for (u32 i = 0; i < ARRAY_SIZE(entries); i++) {
        if (!is_wanted())
            continue;
        list[1] = entries[i];
        say_case(&(struct change){MSR_LIST_ROW, entries[i].index}, 1);
        (void)judge(NULL);
        battery_restore();
    }
    list[1] = before;
    for (u32 i = 0; i < ARRAY_SIZE(kept); i++)
        msr_write(kept[i], values[i]);
}

/*
 * The VMCS and what the checker is to know. A battery that is to be compared with one in a VM makes its cases of what
 * that is offered, though the CPU has more.
 */
static void read_image(const struct vmx_vcpu *v)
{
    explain_read(v, &image, &cpu_caps);
    caps = cpu_caps;
    if (!v->nested)
        return;
    caps = v->nested->caps;
    caps.basic = (caps.basic & ~(u64)UINT32_MAX) | (u32)cpu_caps.basic; /* the revision identifier is the CPU's */
    image.cpu = v->nested->image.cpu;
    image.cpu.long_mode = true;
    image.cpu.vmcs_pointer = v->vmcs.raw;
}

static void begin(const struct battery_baseline *baseline, const struct vmx_vcpu *v)
{
    memcpy(image.value, written, sizeof written);
    battery_restore();
    baseline->set();
    read_image(v);
    say("B %s", baseline->name);
    run.number++;
    say_case(NULL, 0);
    (void)judge(NULL);
    battery_restore();
}

static void run_baseline(const struct battery_baseline *baseline, const struct vmx_vcpu *v)
{
    bool any = !baseline->rows || baseline->rows == battery_guest_rows;

    if (baseline->proc2 & ~vmx_features.caps.group[VMX_PROC2].may_be_one)
        return;
    begin(baseline, v);
    if (run.pair && run.step > 1 && baseline == battery_baselines) /* Bochs 2.7 refuses it, the checker does not */
        try_always((struct change){FIELD_GUEST_CS_SELECTOR, image.value[FIELD_GUEST_CS_SELECTOR] | 1});
    for (u32 i = 0; any && i < row_count; i++)
        if (!baseline->rows || is_guest_row(rows[i]))
            try_field(rows[i]);
    for (u32 i = 0; any && i < MIXED_CASES; i++)
        try_mixed();
    for (u32 i = 0; !any && baseline->rows[i] != CHECK_FIELDS; i++)
        if (check_field_exists(baseline->rows[i], &caps))
            try_field(baseline->rows[i]);
    if (string_equal(baseline->name, "entry-msr-list"))
        try_msr_list();
    if (string_equal(baseline->name, "linked") && is_wanted())
        try_case(&(struct change){FIELD_VMCS_LINK_POINTER, v->vmcs.raw}, 1);
}

/* ---- random cases (make soak): not one field after the other, but many at a time, and VMCSs that stay ---- */

/* One of the battery's, anything, or the field's own value with some bits flipped. */
static u64 random_value(u32 row)
{
    static u64 values[BATTERY_VALUES];
    u64 value = image.value[row];
    u32 bits = check_field_bits(row);

    switch (random_below(3)) {
    case 0:
        return values[random_below(battery_values(row, value, image.cpu.physical_bits, true, values))];
    case 1:
        return random_bits() & ~0ull >> (64 - bits);
    default:
        for (u32 i = random_below(3) + 1; i; i--)
            value ^= BIT(random_below(bits));
        return value;
    }
}

/* Its guest may do anything, but must come back, and must not reach the memory of its hypervisor. */
static bool is_bearable(const struct change *change, u64 before)
{
    u64 proc2 = image.value[FIELD_PROC_CONTROLS] & PROC_SECONDARY ? image.value[FIELD_PROC2_CONTROLS] : 0;
    u64 timer = image.value[FIELD_PREEMPTION_TIMER_VALUE];

    return !hazard(change, before) && image.value[FIELD_PIN_CONTROLS] & PIN_PREEMPTION_TIMER &&
           timer < (proc2 & PROC2_EPT ? RANDOM_TICKS : 1);
}

/*
 * Changes some fields at random. Most that the checker refuses are left out: what is refused goes no further, and all
 * that comes behind the checks is to be tried as well.
 */
static void change_at_random(void)
{
    for (u32 i = 1 + random_below(MAX_CHANGES); i; i--) {
        struct change change = {.row = rows[random_below(row_count)]};
        u64 before = image.value[change.row];
        change.value = image.value[change.row] = random_value(change.row);
        if (!is_bearable(&change, before) ||
            (vmx_check_entry(&image, &caps, NULL, NULL).outcome != CHECK_ENTERS && random_below(8)))
            image.value[change.row] = before;
        else
            battery_write(change.row, change.value);
    }
}

/* What the exit has changed. */
static void read_guest(void)
{
    for (u32 i = 0; i < row_count; i++)
        if (is_guest_row(rows[i]))
            image.value[rows[i]] = vmcs_read_raw(check_field_encoding(rows[i]));
}

/* Some entries of one VMCS, of which each time but a part is written anew. */
static void try_random(const u64 *base)
{
    for (u32 i = 1 + random_below(4); i && run.cases < run.at_random; i--) {
        change_at_random();
        run.number++;
        if (judge(NULL))
            read_guest();
    }
    for (u32 i = 0; i < row_count; i++) {
        if (image.value[rows[i]] == base[rows[i]])
            continue;
        image.value[rows[i]] = base[rows[i]];
        battery_write(rows[i], base[rows[i]]);
    }
}

static void run_random(const struct vmx_vcpu *v)
{
    static u64 base[CHECK_FIELDS];

    while (run.cases < run.at_random) {
        const struct battery_baseline *baseline = &battery_baselines[random_below(battery_baseline_count)];
        if (baseline->proc2 & ~vmx_features.caps.group[VMX_PROC2].may_be_one)
            continue;
        begin(baseline, v);
        memcpy(base, image.value, sizeof base);
        for (u32 i = 0; i < RANDOM_CASES && run.cases < run.at_random; i++)
            try_random(base);
    }
}

/* ---- what takes the place of running a guest ---- */

static u64 option(const char *line, const char *name, u64 otherwise)
{
    size_t length = string_length(name);
    u64 number;

    for (; *line; line++) {
        if (memcmp(line, name, length))
            continue;
        size_t digits = 0;
        while (line[length + digits] >= '0' && line[length + digits] <= '9')
            digits++;
        return string_to_number(line + length, digits, &number) ? number : otherwise;
    }
    return otherwise;
}

/* The VMCS becomes one that the vCPU would have got on a CPU with no more than a guest is offered. */
static void take_offer(void)
{
    static const u8 groups[VMX_GROUPS] = {[VMX_PIN] = FIELD_PIN_CONTROLS,
                                          [VMX_PROC] = FIELD_PROC_CONTROLS,
                                          [VMX_PROC2] = FIELD_PROC2_CONTROLS,
                                          [VMX_EXIT] = FIELD_EXIT_CONTROLS,
                                          [VMX_ENTRY] = FIELD_ENTRY_CONTROLS};

    vmx_features.caps = caps;
    for (u32 i = 0; i < VMX_GROUPS; i++) {
        image.value[groups[i]] &= caps.group[i].may_be_one;
        battery_write(groups[i], image.value[groups[i]]);
    }
    image.value[FIELD_VIRTUAL_APIC_ADDRESS] = 0; /* it is written where the CPU virtualises the APIC */
    vmcs_write(VIRTUAL_APIC_ADDRESS, 0);
}

static void prepare(struct vmx_vcpu *v)
{
    vmx_load(v);
    vmcs_write(HOST_RIP, (u64)(uintptr_t)battery_exit);
    vmcs_write(PREEMPTION_TIMER_VALUE, 0);
    read_image(v);
    if (v->nested)
        take_offer();
    battery_prepare_pages();
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        if ((check_field_encoding(row) >> 10 & 3) != 1 && check_field_exists(row, &caps) && row != FIELD_HOST_RSP)
            rows[row_count++] = (u8)row;
    memcpy(written, image.value, sizeof written);
    CHECK(battery_try(false) == 0 && !(vmcs_read(EXIT_REASON) >> 31));
    battery_restore();
}

void __wrap_virt_vcpu_run(struct vcpu *vcpu);
void __wrap_virt_vcpu_run(struct vcpu *vcpu)
{
    struct vmx_vcpu *v = vmx_vcpu_of(vcpu);
    const char *line = vcpu->vm->spec.guest_command_line;

    run.in_vm = option(line, "in-vm=", 0);
    run.pair = run.in_vm || v->nested;
    prepare(v);
    run.step = (u32)option(line, "step=", 1);
    run.only = (u32)option(line, "only=", 0);
    run.random = option(line, "seed=", 1);
    run.at_random = (u32)option(line, "random=", 0);
    if (option(line, "tour=", 0)) {
        battery_tour(v);
    } else {
        for (u32 i = 0; i < battery_baseline_count && !run.at_random; i++)
            run_baseline(&battery_baselines[i], v);
        run_random(v);
        battery_report_flush();
        log_event("battery cases=%u entered=%u failed=%u skipped=%u of=%u", run.cases, run.entered, run.failed,
                  run.skipped, run.number);
    }
    v->launched = 1; /* as prepare() left it: the VMCS is cleared on the way out */
    vm_exit(vcpu->vm, 0);
}
