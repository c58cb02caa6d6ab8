/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes at the monitor: the editor keeps its bounds and draws one row, and each line that is entered is taken apart
 * or refused. links: kernel/monitor/editor.c kernel/monitor/command.c
 */
#include <string.h>

#include "kernel/monitor/command.h"
#include "kernel/monitor/editor.h"
#include "test/fake/must.h"

static const struct command table[] = {
    {"help",  "[COMMAND]",              "says what there is", 0, 1, COMMAND_TAKES_COMMAND, false, NULL},
    {"start", "NAME MODULE [-- WORDS]", "begins one",         2, 9, COMMAND_TAKES_NOTHING, true,  NULL},
};

static const char *candidate(void *context, u32 n)
{
    (void)context;
    return n < 2 ? table[n].name : NULL;
}

static void enter(struct editor *editor)
{
    static char line[EDITOR_LINE_BYTES];
    const struct command *command;
    struct command_words words;
    struct refusal why;

    editor_take(editor, line);
    MUST(memchr(line, 0, sizeof line));
    const char *end = line + strlen(line);
    if (command_parse(line, table, 2, &command, &words, &why) != STATUS_OK || !command)
        return;
    MUST(words.count >= command->least && words.count <= command->most && words.count <= COMMAND_WORDS);
    for (u32 i = 0; i < words.count; i++)
        MUST(words.word[i] >= line && words.word[i] < end && words.word[i][0]);
    MUST(!words.tail || (command->has_tail && words.tail >= line && words.tail <= end));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct editor editor;
    char out[EDITOR_DRAW_BYTES];

    memset(&editor, 0, sizeof editor);
    for (size_t i = 0; i < size; i++) {
        enum editor_event event = editor_feed(&editor, data[i]);
        if (event == EDITOR_ENTER)
            enter(&editor);
        if (event == EDITOR_COMPLETE)
            MUST(editor_complete(&editor, candidate, NULL) <= 2);
        MUST(editor.length < EDITOR_LINE_BYTES && editor.cursor <= editor.length && !editor.text[editor.length]);
        MUST(editor.first <= editor.cursor && editor.cursor - editor.first <= EDITOR_COLUMNS);
        MUST(strlen(editor.text) == editor.length);
        MUST(editor_draw(&editor, out) < EDITOR_DRAW_BYTES && !strchr(out, '\n'));
    }
    return 0;
}
