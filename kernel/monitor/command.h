/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line of the monitor as words, and the command that they name. Pure: the table comes from the caller.
 */
#ifndef ROOTLET_KERNEL_MONITOR_COMMAND_H
#define ROOTLET_KERNEL_MONITOR_COMMAND_H

#include "kernel/lib/status.h"

#define COMMAND_WORDS 24u

struct monitor_call;

/* What a word of a command is, for the completion. */
enum command_takes { COMMAND_TAKES_NOTHING, COMMAND_TAKES_VM, COMMAND_TAKES_COMMAND };

struct command {
    const char *name;
    const char *usage; /* what follows the name, "" if nothing */
    const char *does;
    u8 least, most; /* words that may follow */
    u8 takes;       /* enum command_takes: the first of them */
    bool has_tail;  /* " -- TEXT" may end it */
    enum command_progress (*run)(struct monitor_call *call);
};

/* What a command says of itself; it is called again and again, so that no call takes long. */
enum command_progress {
    COMMAND_DONE,
    COMMAND_FAILED,  /* call->why says what */
    COMMAND_GOES_ON, /* there is more: soon */
    COMMAND_WAITS,   /* for somebody who wakes the monitor */
};

struct command_words {
    u32 count; /* behind the command's name */
    const char *word[COMMAND_WORDS];
    const char *tail; /* what follows " -- "; NULL: there is none */
    bool pairs;       /* -o kv */
};

/*
 * Takes a line apart, in place. *out: NULL if the line is empty. STATUS_INVALID: *why says what is wrong, and the usage
 * or the remedy.
 */
enum status command_parse(char *line, const struct command *table, u32 count, const struct command **out,
                          struct command_words *words, struct refusal *why) MUST_CHECK;
/* The row of this name, or NULL. */
const struct command *command_find(const struct command *table, u32 count, const char *name);
/* A number of a word: decimal or 0x. STATUS_INVALID: *why names the word and the bounds. */
enum status command_number(const char *word, const char *what, u64 low, u64 high, u64 *out,
                           struct refusal *why) MUST_CHECK;

#endif
