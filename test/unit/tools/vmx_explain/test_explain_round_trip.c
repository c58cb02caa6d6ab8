/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VMCS printed as a dump and explained breaks the rules that the kernel's checker names of the VMCS itself. In each
 * mode, for a sample of the battery's values in every field, in each format: what is said to be broken is; what is
 * broken is said, or is not judged for want of something that the format does not show; a list of all fields with the
 * CPU's capabilities leaves only open what no capability MSR tells. A VMCS that breaks no rule has none broken.
 *
 * links: vmx/check/check.c vmx/check/rule.c vmx/check/controls.c vmx/check/host.c vmx/check/guest.c
 * vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c vmx/controls.c test/battery/values.c
 * tools/vmx_explain/words.c tools/vmx_explain/names.c tools/vmx_explain/parse.c tools/vmx_explain/facts.c
 * tools/vmx_explain/judge.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test/battery/battery.h"
#include "test/fake/check_images.h"
#include "test/fake/dump_print.h"
#include "tools/vmx_explain/judge.h"

#define MAX_REPORTS 400u
#define STEP_PARTS  37u /* a prime: every so many of the cases for the formats that show a part of the fields */
#define STEP_LISTS  13u /* and for the lists, which take less time */

enum format { KVM, KVM_NEW, XEN, NAMES, NAMES_COLON, ENCODINGS, FORMATS };

static struct bench bench;
static struct check_report reports[MAX_REPORTS];
static u32 reported;
static struct words words;
static struct dump dump;
static struct facts facts;
static struct judgement judgement;
static u32 trips, broken_trips, open_reports, judged_reports;

static void collect(void *context, const struct check_report *report)
{
    (void)context;
    assert_true(reported < MAX_REPORTS);
    reports[reported++] = *report;
}

/* The bench's CPU, as a boot with log=debug and /proc/cpuinfo tell of it. */
static void print_caps(FILE *f)
{
    static const u32 msrs[VMX_GROUPS] = {MSR_IA32_VMX_TRUE_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
                                         MSR_IA32_VMX_PROCBASED_CTLS2, MSR_IA32_VMX_TRUE_EXIT_CTLS,
                                         MSR_IA32_VMX_TRUE_ENTRY_CTLS};
    const struct vmx_caps *caps = &bench.caps;

    fprintf(f, "flags : fpu vme sgx rtm\naddress sizes : 40 bits physical, 48 bits virtual\n");
    fprintf(f, "0x480 0x%llx\n0x485: %llx\n", (unsigned long long)caps->basic, (unsigned long long)caps->misc);
    fprintf(f, "IA32_VMX_CR0_FIXED0 = 0x%llx\n", (unsigned long long)caps->cr0_fixed0);
    fprintf(f, "rootlet: debug: vmx cap msr=0x487 name=IA32_VMX_CR0_FIXED1 value=0x%016llx\n",
            (unsigned long long)caps->cr0_fixed1);
    fprintf(f, "# rdmsr -a 0x488\n%llx\n%llx\n", (unsigned long long)caps->cr4_fixed0,
            (unsigned long long)caps->cr4_fixed0);
    fprintf(f, "MSR_IA32_VMX_CR4_FIXED1: 0x%llx\n", (unsigned long long)caps->cr4_fixed1);
    fprintf(f, "48c %llx\n491 1\n", (unsigned long long)caps->ept_vpid);
    for (u32 g = 0; g < VMX_GROUPS; g++)
        fprintf(f, "%x %08x%08x\n", msrs[g], caps->group[g].may_be_one, caps->group[g].must_be_one);
}

static void print(FILE *f, enum format format)
{
    const u64 *v = bench.image.value;

    switch (format) {
    case KVM:
    case KVM_NEW:
        print_kvm(f, v, format == KVM_NEW);
        break;
    case XEN:
        print_xen(f, v);
        break;
    case NAMES:
        print_names(f, v, "%s=0x%llx\n");
        break;
    case NAMES_COLON:
        print_names(f, v, "    VMX_VMCS_%s_FULL: %llx\n");
        break;
    default:
        print_encodings(f, v);
        break;
    }
}

static void explain(enum format format)
{
    char *text = NULL;
    size_t length;
    FILE *f = open_memstream(&text, &length);

    assert_non_null(f);
    print_caps(f);
    fclose(f);
    words_split(&words, text, length);
    facts_of_any_cpu(&facts);
    assert_true(facts_from_text(&facts, &words) > 10);
    free(text);

    f = open_memstream(&text, &length);
    print(f, format);
    fclose(f);
    words_split(&words, text, length);
    dump_parse(&dump, &words, 1);
    judge(&judgement, &dump, &facts);
    free(text);
}

static bool is_same(const struct check_report *a, const struct check_report *b)
{
    return a->rule == b->rule && a->field == b->field && a->entry == b->entry;
}

static struct finding *finding_of(const struct check_report *report, enum certainty certainty)
{
    for (u32 i = 0; i < judgement.findings; i++)
        if (judgement.finding[i].certainty == certainty && is_same(&judgement.finding[i].report, report))
            return &judgement.finding[i];
    return NULL;
}

static void complain(enum format format, const struct check_report *report, const char *what)
{
    char line[500];

    check_format(report, line, sizeof line);
    fail_msg("format %u: %s: %s", format, what, line);
}

/* What the format does not show, or no MSR tells. */
static bool has_reason_to_be_open(const struct finding *f)
{
    for (u32 i = 0; i < CHECK_FIELDS; i++)
        if (f->needs[i] && !dump.has[i])
            return true;
    for (u32 i = 0; i < FACTS; i++)
        if (f->needs[CHECK_FIELDS + i] && facts.loose[i] != facts.strict[i])
            return true;
    return false;
}

/* Rules that look into memory, which no dump shows. */
static bool is_of_memory(const struct check_report *report)
{
    const char *text = check_rule_text(report->rule);
    return strstr(text, "VTPR") || strstr(text, "VMCS there") || report->entry;
}

static void compare(enum format format)
{
    for (u32 i = 0; i < dump.fields && i < CHECK_FIELDS; i++)
        if (dump.has[i] && dump.value[i] != bench.image.value[i])
            fail_msg("format %u: %s reads as 0x%lx and is 0x%lx", format, check_field_name(i), dump.value[i],
                     bench.image.value[i]);
    for (u32 i = 0; i < judgement.findings; i++) {
        struct finding *f = &judgement.finding[i];
        bool found = false;
        for (u32 k = 0; k < reported; k++)
            found |= is_same(&reports[k], &f->report);
        if (f->certainty == FINDING_BROKEN && !found)
            complain(format, &f->report, "said to be broken and is not");
    }
    for (u32 k = 0; k < reported; k++) {
        const struct finding *open = finding_of(&reports[k], FINDING_OPEN);
        judged_reports++;
        if (finding_of(&reports[k], FINDING_BROKEN) || is_of_memory(&reports[k]))
            continue;
        open_reports++;
        if (!open)
            complain(format, &reports[k], "broken and not said");
        else if (!has_reason_to_be_open(open))
            complain(format, &reports[k], "not judged, and nothing is missing");
    }
}

static void trip(enum format format)
{
    reported = 0;
    vmx_check_entry(&bench.image, &bench.caps, collect, NULL);
    trips++;
    broken_trips += reported != 0;
    explain(format);
    compare(format);
}

static void trip_all_values(enum bench_base base, enum format first, enum format last, u32 step)
{
    static u64 values[BATTERY_VALUES];
    u32 number = 0;

    bench_set_up(&bench, base);
    bench.image.cpu.has_sgx = bench.image.cpu.has_rtm = true;
    for (enum format format = first; format <= last; format++)
        trip(format);
    for (u32 row = 0; row < CHECK_FIELDS; row++) {
        u64 before = bench.image.value[row];
        u32 count = battery_values(row, before, 40, false, values);
        for (u32 i = 0; i < count; i++) {
            if (number++ % step)
                continue;
            bench.image.value[row] = values[i];
            trip(first + number / step % (last - first + 1));
        }
        bench.image.value[row] = before;
    }
}

static void test_formats_of_a_part(void **state)
{
    (void)state;
    trips = broken_trips = open_reports = judged_reports = 0;
    for (enum bench_base base = 0; base < BENCH_BASES; base++)
        trip_all_values(base, KVM, XEN, STEP_PARTS);
    printf("%u round trips, %u of them broken; %u of %u rules not judged\n", trips, broken_trips, open_reports,
           judged_reports);
    assert_true(broken_trips > 500);
    assert_true(open_reports * 4 < judged_reports);
}

static void test_lists_of_all(void **state)
{
    (void)state;
    trips = broken_trips = open_reports = judged_reports = 0;
    for (enum bench_base base = 0; base < BENCH_BASES; base++)
        trip_all_values(base, NAMES, ENCODINGS, STEP_LISTS);
    printf("%u round trips, %u of them broken; %u of %u rules not judged\n", trips, broken_trips, open_reports,
           judged_reports);
    assert_true(broken_trips > 1500);
    assert_true(open_reports * 20 < judged_reports);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats_of_a_part),
        cmocka_unit_test(test_lists_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
