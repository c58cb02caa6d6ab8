/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A text as a stream of words: what a log writes before each line is gone, and so are the line ends, since a mailer may
 * have put some in the middle of a pair. Each of = : , | ( ) { } [ ] is a word of its own.
 */
#ifndef ROOTLET_TOOLS_EXPLAIN_WORDS_H
#define ROOTLET_TOOLS_EXPLAIN_WORDS_H

#include "kernel/lib/types.h"

#define WORDS_MAX 65536u

struct word {
    const char *text;
    u32 length;
    u32 line;   /* counted from 1 */
    bool first; /* of its line */
    bool own;   /* of a line that Rootlet printed: "rootlet:" stood before it */
};

struct words {
    u32 count;
    bool cut; /* the text has more words than fit */
    struct word word[WORDS_MAX];
};

/*
 * Undoes what mailers and web pages do to a text: quoted-printable (=3D, soft line ends), non-breaking spaces, &gt; and
 * &lt;. Lines keep their number but for those that a soft line end has cut. Returns the length in out[size]; what does
 * not fit is cut.
 */
size_t words_clean(const char *text, size_t length, char *out, size_t size);
void words_split(struct words *words, const char *text, size_t length);

/* Words compare without regard to case. An index beyond the last is no word. */
bool word_is(const struct words *words, u32 i, const char *text);
bool word_equals(const struct word *word, const char *text);
bool word_begins(const struct word *word, const char *prefix);
/* The number of words that `pattern`, words divided by blanks, takes from i on; 0 if they do not stand there. */
u32 words_match(const struct words *words, u32 i, const char *pattern);
/*
 * Hexadecimal: 0x50, 50, 50h, ffff8000`00000000 or ffff_8000_0000_0000, at most 16 digits. *prefixed (may be NULL):
 * whether 0x or h says that it is a number.
 */
bool word_hex(const struct words *words, u32 i, u64 *value, bool *prefixed);
bool word_decimal(const struct words *words, u32 i, u64 *value);

#endif
