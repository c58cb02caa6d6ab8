/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explainer of VMCS dumps under any text. Checked beyond what the sanitizers see: a value fits its field and stands
 * in a line of the text; what is kept of what was not understood lies in it; the answer is closed, NUL-ended and as
 * long as was said, whatever the buffer's size; and it is the same twice.
 * links: vmx/check/check.c vmx/check/rule.c vmx/check/controls.c vmx/check/host.c vmx/check/guest.c
 * vmx/check/segments.c vmx/check/state.c vmx/check/msrs.c vmx/check/text.c vmx/controls.c tools/vmx_explain/words.c
 * tools/vmx_explain/names.c tools/vmx_explain/parse.c tools/vmx_explain/facts.c tools/vmx_explain/judge.c
 * tools/vmx_explain/causes.c tools/vmx_explain/answer.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vmx_explain/dump.h"
#include "tools/vmx_explain/explain.h"
#include "tools/vmx_explain/facts.h"
#include "test/fake/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t length)
{
    static struct words words;
    static struct dump dump;
    struct facts facts;
    u32 lines = 1;

    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    words_split(&words, text, length);
    for (u32 which = 1; which < 3; which++) {
        dump_parse(&dump, &words, which);
        for (u32 row = 0; row < CHECK_FIELDS; row++)
            MUST(!dump.has[row] || (dump.value[row] <= ~0ull >> (64 - check_field_bits(row)) && dump.line[row] &&
                                    dump.line[row] <= lines));
        for (u32 i = 0; i < dump.strange_count && i < DUMP_STRANGE_MAX; i++)
            MUST(dump.strange[i].line <= lines && dump.strange[i].first + dump.strange[i].words <= words.count);
    }
    facts_of_any_cpu(&facts);
    facts_from_text(&facts, &words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char answer[1 << 20], again[1 << 20];
    char *text = malloc(size + 1); /* of its own size, so that a read beyond it is seen */

    if (!text)
        return 0;
    memcpy(text, data, size);
    parse(text, size);
    u32 sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + data[i];
    if (sum % 256 == 0) { /* a whole answer takes as long as hundreds of these */
        size_t length = explain_dump_text(text, size, text, size / 2, NULL, answer, sizeof answer);
        MUST(length < sizeof answer && strlen(answer) == length && answer[0] == '{' && answer[length - 1] == '}');
        MUST(explain_dump_text(text, size, text, size / 2, NULL, again, 100) == length);
        MUST(strlen(again) == 99 && !memcmp(again, answer, 99));
    }
    free(text);
    return 0;
}
