/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM-entry checker under any VMCS image, any capability MSRs and any memory. The input is a base image and a list
 * of changes to it, so that images nearly valid are as likely as wild ones. Checked beyond what the sanitizers see: the
 * outcome is the class of the first rule in the CPU's order, the count is that of the reports, every line prints whole
 * in its own buffer, and the same image gives the same result.
 * links: vmx/check/check.c vmx/check/rule.c vmx/check/controls.c vmx/check/host.c vmx/check/guest.c
 * vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c vmx/controls.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "test/fake/check_images.h"
#include "test/fake/fuzz_input.h"
#include "test/fake/must.h"

struct seen {
    const struct check_image *image;
    u32 reports;
    u32 lowest; /* class */
};

static void collect(void *context, const struct check_report *report)
{
    struct seen *seen = context;
    char line[640], small[48];

    MUST(report->rule < check_rules() && report->field < CHECK_FIELDS);
    u32 class = check_rule_outcome(report->rule);
    MUST(class > CHECK_ENTERS && class <= CHECK_FAILS_MSRS);
    if (!seen->reports++ || class < seen->lowest)
        seen->lowest = class;
    if (!report->entry)
        MUST(report->value == seen->image->value[report->field]);
    size_t length = check_format(report, line, sizeof line);
    MUST(length < sizeof line - 1 && line[length] == 0 && strlen(line) == length && line[length - 1] == '"');
    MUST(check_format(report, small, sizeof small) == sizeof small - 1 && memcmp(small, line, sizeof small - 1) == 0);
}

static void change(struct bench *b, struct input *in)
{
    u32 row = (u32)take(in, 1);
    u64 width = ~0ull;

    if (row < CHECK_FIELDS) {
        u32 how = (u32)take(in, 1);
        u64 value = how & 0x40 ? BIT(how & 63) : take(in, 8);
        width >>= 64 - check_field_bits(row);
        b->image.value[row] = (how & 0x80 ? b->image.value[row] ^ value : value) & width;
    } else if (row < 0xe0) {
        b->memory[take(in, 2) % BENCH_MEMORY] = (u8)take(in, 1);
    } else if (row < 0xf0) {
        b->caps.group[row % VMX_GROUPS].may_be_one ^= (u32)BIT(take(in, 1) & 31);
    } else if (row < 0xf8) {
        u64 *caps = &b->caps.basic; /* basic, misc, CR0 and CR4 fixed bits, EPT_VPID_CAP */
        caps[row % 7] ^= BIT(take(in, 1) & 63);
    } else {
        u8 facts = (u8)take(in, 1);
        b->image.cpu.physical_bits = (u8)(32 + facts % 21);
        b->image.cpu.linear_bits = facts & 0x80 ? 57 : 48;
        b->image.cpu.long_mode = facts & 1;
        b->image.cpu.in_smm = facts & 2;
        b->image.cpu.has_rtm = facts & 4;
        b->image.cpu.sti_blocks_nmi = facts & 8;
        if (facts & 0x10)
            b->image.read_memory = NULL;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bench b;
    struct input in = {data, size};
    char text[300];

    bench_set_up(&b, (enum bench_base)(take(&in, 1) % BENCH_BASES));
    while (in.left)
        change(&b, &in);
    struct seen seen = {.image = &b.image};
    struct check_result result = vmx_check_entry(&b.image, &b.caps, collect, &seen);
    struct check_result silent = vmx_check_entry(&b.image, &b.caps, NULL, NULL);
    MUST(memcmp(&result, &silent, sizeof result) == 0);
    MUST(result.broken == seen.reports);
    MUST(result.outcome == (seen.reports ? seen.lowest : CHECK_ENTERS));
    MUST(result.outcome >= CHECK_FAILS_GUEST || result.qualification == 0);
    MUST(result.outcome != CHECK_FAILS_MSRS || result.qualification > 0);
    MUST(b.image.read_memory || result.outcome != CHECK_FAILS_MSRS);
    MUST(check_format_result(result, text, sizeof text) < sizeof text - 1);
    return 0;
}
