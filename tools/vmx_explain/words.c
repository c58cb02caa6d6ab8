/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Splits a text into words and drops what loggers and mailers put before a line: quote marks, dates, times, hosts,
 * program names. Pure.
 */
#include "tools/vmx_explain/words.h"
#include "kernel/lib/string.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_mark(char c)
{
    switch (c) {
    case '=':
    case ':':
    case ',':
    case '|':
    case '(':
    case ')':
    case '{':
    case '}':
    case '[':
    case ']':
    case ';':
    case '"':
        return true;
    default:
        return false;
    }
}

/* A part of a line. */
struct span {
    const char *at, *end;
};

static struct span skip_blanks(struct span s)
{
    while (s.at < s.end && is_blank(*s.at))
        s.at++;
    return s;
}

/* The span behind the word that it begins with. */
static struct span behind_word(struct span s)
{
    while (s.at < s.end && !is_blank(*s.at))
        s.at++;
    return skip_blanks(s);
}

static bool begins(struct span s, const char *text)
{
    size_t length = string_length(text);
    if ((size_t)(s.end - s.at) < length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (lower(s.at[i]) != lower(text[i]))
            return false;
    return true;
}

/* [   33.812345], [T123], [2019-11-02 14:09:46], <4>: a number in it, nothing that a dump would write so. */
static bool skip_bracket(struct span *s, char open, char close)
{
    const char *p = s->at;
    bool number = false;

    if (p == s->end || *p != open)
        return false;
    for (p++; p < s->end && *p != close; p++) {
        if (!is_digit(*p) && !is_letter(*p) && *p != '.' && *p != ':' && *p != '-' && *p != '+' && *p != '@' &&
            !is_blank(*p))
            return false;
        number |= is_digit(*p);
    }
    if (p == s->end || !number || p - s->at > 40 || begins((struct span){s->at + 1, p}, "0x"))
        return false;
    struct span rest = skip_blanks((struct span){p + 1, s->end});
    if (rest.at < rest.end && (*rest.at == '=' || *rest.at == ':') && close == ']' && p - s->at <= 6)
        return false; /* [6800] = 80000031 */
    *s = rest;
    return true;
}

/* (XEN), (d1) */
static bool skip_origin(struct span *s)
{
    if (!begins(*s, "(XEN)") && !(begins(*s, "(d") && s->end - s->at > 3 && is_digit(s->at[2])))
        return false;
    const char *p = s->at;
    while (p < s->end && *p != ')')
        p++;
    if (p == s->end)
        return false;
    *s = skip_blanks((struct span){p + 1, s->end});
    return true;
}

/* 14:09:46, 00:00:12.345678, 2019-11-02, 2019-11-02T14:09:46.123456+00:00 */
static bool is_time(struct span s)
{
    u32 digits = 0, marks = 0;

    for (; s.at < s.end && !is_blank(*s.at); s.at++) {
        if (is_digit(*s.at))
            digits++;
        else if (*s.at == ':' || *s.at == '-')
            marks++;
        else if (*s.at != '.' && *s.at != 'T' && *s.at != 'Z' && *s.at != '+' && *s.at != ',')
            return false;
    }
    return marks >= 2 && digits >= 4;
}

static bool skip_time(struct span *s)
{
    if (!is_time(*s))
        return false;
    *s = behind_word(*s);
    return true;
}

/* "Jun 24 17:25:51", "Mon Jun 24" */
static bool skip_date(struct span *s)
{
    static const char *const names[] = {"Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ", "Aug ", "Sep ", "Oct ",
                                        "Nov ", "Dec ", "Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "};

    for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
        struct span rest = behind_word(*s);
        if (!begins(*s, names[i]))
            continue;
        if (rest.at < rest.end && is_digit(*rest.at))
            *s = behind_word(rest);
        else if (i >= 12)
            *s = rest;
        else
            return false;
        return true;
    }
    return false;
}

/* "kernel:", "kvm_intel:", "qemu-kvm[1234]:" */
static bool skip_program(struct span *s)
{
    static const char *const names[] = {"kernel", "kvm", "rootlet", "qemu", "haxm", "hax", "xen", "vbox", "vboxdrv"};

    for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
        if (!begins(*s, names[i]))
            continue;
        const char *p = s->at;
        while (p < s->end && !is_blank(*p) && *p != ':' && *p != '=')
            p++;
        struct span rest = skip_blanks((struct span){p + 1, s->end});
        if (p < s->end && *p == ':') {
            *s = rest;
            return true;
        }
    }
    return false;
}

/* Behind a date and a time stands the host's name, if a program's name follows it. */
static bool skip_host(struct span *s)
{
    struct span rest = behind_word(*s);

    if (!skip_program(&rest))
        return false;
    *s = rest;
    return true;
}

static struct span skip_prefix(struct span s)
{
    bool dated = false, more = true;

    while (more) {
        s = skip_blanks(s);
        more = false;
        if (s.at < s.end && *s.at == '>') {
            s.at++;
            more = true;
        } else if (skip_date(&s) || skip_time(&s)) {
            dated = more = true;
        } else if (skip_bracket(&s, '[', ']') || skip_bracket(&s, '<', '>') || skip_origin(&s) || skip_program(&s) ||
                   (dated && skip_host(&s))) {
            more = true;
        }
    }
    return s;
}

static bool has_own_prefix(struct span s)
{
    for (; s.at < s.end; s.at++)
        if (begins(s, "rootlet:"))
            return true;
    return false;
}

static void add(struct words *words, const char *text, size_t length, u32 line, bool first)
{
    if (words->count == WORDS_MAX) {
        words->cut = true;
        return;
    }
    words->word[words->count++] = (struct word){.text = text, .length = (u32)length, .line = line, .first = first};
}

static void split_line(struct words *words, struct span s, u32 line)
{
    u32 before = words->count;

    for (s = skip_blanks(s); s.at < s.end; s = skip_blanks(s)) {
        const char *begin = s.at++;
        if (!is_mark(*begin))
            while (s.at < s.end && !is_blank(*s.at) && !is_mark(*s.at))
                s.at++;
        add(words, begin, (size_t)(s.at - begin), line, words->count == before);
    }
}

void words_split(struct words *words, const char *text, size_t length)
{
    const char *end = text + length;
    u32 line = 1;

    words->count = 0;
    words->cut = false;
    for (const char *at = text; at < end; line++) {
        const char *stop = at;
        while (stop < end && *stop != '\n')
            stop++;
        struct span rest = skip_prefix((struct span){at, stop});
        u32 before = words->count;
        split_line(words, rest, line);
        if (words->count > before)
            words->word[before].own = has_own_prefix((struct span){at, rest.at});
        at = stop + 1;
    }
}

static int hex_digit(char c)
{
    c = lower(c);
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Quoted-printable writes = as =3D, which no dump has otherwise. */
static bool is_quoted_printable(struct span s)
{
    for (; s.at < s.end; s.at++)
        if (begins(s, "=3D") && s.at + 3 < s.end && (is_blank(s.at[3]) || begins((struct span){s.at + 3, s.end}, "0x")))
            return true;
    return false;
}

/* What stands at s.at, as one character; *taken: how many it is written with. 0: nothing. */
static char clean_one(struct span s, bool quoted, size_t *taken)
{
    *taken = 1;
    if (quoted && *s.at == '=' && s.end - s.at >= 2) {
        struct span end = {s.at + 1, s.end};
        while (end.at < end.end && is_blank(*end.at))
            end.at++;
        if (end.at < end.end && *end.at == '\n') { /* a soft line end */
            *taken = (size_t)(end.at + 1 - s.at);
            return 0;
        }
        if (s.end - s.at >= 3 && hex_digit(s.at[1]) >= 0 && hex_digit(s.at[2]) >= 0) {
            *taken = 3;
            char c = (char)(hex_digit(s.at[1]) << 4 | hex_digit(s.at[2]));
            return c == '\xc2' ? 0 : c == '\xa0' ? ' ' : c; /* C2 A0: a non-breaking space */
        }
    }
    if (begins(s, "\xc2\xa0") || begins(s, "&gt;") || begins(s, "&lt;")) {
        *taken = *s.at == '&' ? 4 : 2;
        return *s.at != '&' ? ' ' : s.at[1] == 'g' ? '>' : '<';
    }
    return *s.at;
}

size_t words_clean(const char *text, size_t length, char *out, size_t size)
{
    struct span s = {text, text + length};
    bool quoted = is_quoted_printable(s);
    size_t used = 0, taken;

    for (; s.at < s.end && used < size; s.at += taken) {
        char c = clean_one(s, quoted, &taken);
        if (c)
            out[used++] = c;
    }
    return used;
}

bool word_equals(const struct word *word, const char *text)
{
    struct span s = {word->text, word->text + word->length};
    return word->length == string_length(text) && begins(s, text);
}

bool word_begins(const struct word *word, const char *prefix)
{
    return begins((struct span){word->text, word->text + word->length}, prefix);
}

bool word_is(const struct words *words, u32 i, const char *text)
{
    return i < words->count && word_equals(&words->word[i], text);
}

u32 words_match(const struct words *words, u32 i, const char *pattern)
{
    u32 from = i;

    while (*pattern) {
        u32 length = 0;
        while (pattern[length] && pattern[length] != ' ')
            length++;
        if (i == words->count || words->word[i].length != length)
            return 0;
        for (u32 k = 0; k < length; k++)
            if (lower(words->word[i].text[k]) != lower(pattern[k]))
                return 0;
        i++;
        pattern += length;
        while (*pattern == ' ')
            pattern++;
    }
    return i - from;
}

/* "UL", "ull", "." */
static bool is_suffix(struct span s)
{
    for (; s.at < s.end; s.at++)
        if (lower(*s.at) != 'u' && lower(*s.at) != 'l' && *s.at != '.')
            return false;
    return true;
}

bool word_hex(const struct words *words, u32 i, u64 *value, bool *prefixed)
{
    if (i >= words->count)
        return false;
    struct span s = {words->word[i].text, words->word[i].text + words->word[i].length};
    bool known = begins(s, "0x");
    u32 digits = 0;
    u64 number = 0;

    s.at += known ? 2 : 0;
    for (; s.at < s.end; s.at++) {
        int digit = hex_digit(*s.at);
        if (digits && (*s.at == '_' || *s.at == '`'))
            continue;
        if (digits && s.at + 1 == s.end && lower(*s.at) == 'h') {
            known = true;
            continue;
        }
        if (digits && is_suffix((struct span){s.at, s.end}))
            break;
        if (digit < 0)
            return false;
        number = number << 4 | (u64)digit;
        digits += number != 0 || digits == 0; /* leading zeros do not count */
    }
    if (digits == 0 || digits > 16)
        return false;
    *value = number;
    if (prefixed)
        *prefixed = known;
    return true;
}

bool word_decimal(const struct words *words, u32 i, u64 *value)
{
    if (i >= words->count)
        return false;
    for (u32 k = 0; k < words->word[i].length; k++)
        if (!is_digit(words->word[i].text[k]))
            return false;
    return string_to_number(words->word[i].text, words->word[i].length, value);
}
