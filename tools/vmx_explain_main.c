/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The explainer as a host program, for tools/vmx-explain: reads the dump from standard input and writes the answer as
 * JSON. Arguments: --which N, --model NAME, --caps FILE; --models lists the models. Exit status: 0, or 2 for wrong
 * usage; the answer has the verdict.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vmx_explain/explain.h"

static char *read_all(FILE *file, size_t *length)
{
    size_t room = 1 << 16;
    char *text = malloc(room);

    *length = 0;
    while (text) {
        *length += fread(text + *length, 1, room - *length, file);
        if (*length < room)
            return text;
        room *= 2;
        text = realloc(text, room);
    }
    return NULL;
}

static int fail(const char *what, const char *name)
{
    fprintf(stderr, "vmx-explain: %s%s\n", what, name);
    return 2;
}

static int answer(const struct explain_question *question)
{
    size_t size = explain_answer(question, NULL, 0) + 1;
    char *out = malloc(size);

    if (!out)
        return fail("no memory", "");
    explain_answer(question, out, size);
    puts(out);
    free(out);
    return 0;
}

int main(int count, char **words)
{
    struct explain_question question = {0};

    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "--models")) {
            for (u32 k = 0; explain_model_name(k); k++)
                puts(explain_model_name(k));
            return 0;
        }
        if (i + 1 == count)
            return fail("wrong usage: ", words[i]);
        const char *value = words[++i];
        if (!strcmp(words[i - 1], "--which")) {
            question.which = (u32)strtoul(value, NULL, 10);
        } else if (!strcmp(words[i - 1], "--model")) {
            question.model = value;
        } else if (!strcmp(words[i - 1], "--caps")) {
            FILE *file = fopen(value, "r");
            if (!file)
                return fail("cannot read ", value);
            question.caps = read_all(file, &question.caps_length);
            fclose(file);
        } else {
            return fail("wrong usage: ", words[i - 1]);
        }
    }
    question.text = read_all(stdin, &question.length);
    return question.text ? answer(&question) : fail("no memory", "");
}
