/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Words, options, the table's rows. The line may hold any printable characters.
 */
#include "kernel/monitor/command.h"
#include "kernel/lib/string.h"

/* The next word, with a NUL behind it; *line moves behind that. NULL: there is none. */
static char *next_word(char **line)
{
    char *at = *line;

    while (*at == ' ')
        at++;
    if (!*at)
        return NULL;
    char *word = at;
    while (*at && *at != ' ')
        at++;
    if (*at)
        *at++ = 0;
    *line = at;
    return word;
}

const struct command *command_find(const struct command *table, u32 count, const char *name)
{
    for (u32 i = 0; i < count; i++)
        if (string_equal(table[i].name, name))
            return &table[i];
    return NULL;
}

enum status command_number(const char *word, const char *what, u64 low, u64 high, u64 *out, struct refusal *why)
{
    u64 number;

    if (!string_to_number(word, string_length(word), &number) || number < low || number > high)
        return refuse(why, STATUS_INVALID, "%s %.40s: a number from %lu to %lu, decimal or 0x", what, word, low, high);
    *out = number;
    return STATUS_OK;
}

static enum status usage(const struct command *command, const char *what, struct refusal *why)
{
    return refuse(why, STATUS_INVALID, "%s: %s; usage: %s%s%s", command->name, what, command->name,
                  command->usage[0] ? " " : "", command->usage);
}

static enum status take_words(char *line, const struct command *command, struct command_words *words,
                              struct refusal *why)
{
    char *word;

    while ((word = next_word(&line))) {
        if (command->has_tail && string_equal(word, "--")) {
            while (*line == ' ')
                line++;
            words->tail = line;
            break;
        }
        if (string_equal(word, "-o")) {
            word = next_word(&line);
            if (!word || !string_equal(word, "kv"))
                return usage(command, "-o takes kv", why);
            words->pairs = true;
            continue;
        }
        if (words->count == COMMAND_WORDS)
            return usage(command, "too many words", why);
        words->word[words->count++] = word;
    }
    if (words->count < command->least)
        return usage(command, "a word is missing", why);
    if (words->count > command->most)
        return usage(command, "too many words", why);
    return STATUS_OK;
}

enum status command_parse(char *line, const struct command *table, u32 count, const struct command **out,
                          struct command_words *words, struct refusal *why)
{
    char *name = next_word(&line);

    *out = NULL;
    *words = (struct command_words){0};
    if (!name)
        return STATUS_OK;
    const struct command *command = command_find(table, count, name);
    if (!command)
        return refuse(why, STATUS_INVALID, "%.40s: no such command; help lists them", name);
    *out = command;
    return take_words(line, command, words, why);
}
