/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The formatter: one pass over the format, one bounded sink. It never allocates and never writes past the buffer.
 */
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"

struct sink {
    char *buffer;
    size_t size;
    size_t used;
};

struct spec {
    bool left;
    bool zero;
    bool upper;
    bool alternate;
    unsigned width;
    int precision; /* -1: none */
};

static void put(struct sink *s, char c)
{
    if (s->used + 1 < s->size)
        s->buffer[s->used++] = c;
}

static void put_text(struct sink *s, const char *text, size_t length)
{
    size_t room = s->size > s->used + 1 ? s->size - s->used - 1 : 0;
    size_t n = length < room ? length : room;

    if (n)
        memcpy(s->buffer + s->used, text, n);
    s->used += n;
}

static void put_padded(struct sink *s, const struct spec *f, const char *prefix, const char *text, size_t length)
{
    size_t prefix_length = string_length(prefix);
    size_t total = prefix_length + length;
    size_t pad = f->width > total ? f->width - total : 0;

    for (size_t i = 0; !f->left && !f->zero && i < pad; i++)
        put(s, ' ');
    put_text(s, prefix, prefix_length);
    for (size_t i = 0; !f->left && f->zero && i < pad; i++)
        put(s, '0');
    put_text(s, text, length);
    for (size_t i = 0; f->left && i < pad; i++)
        put(s, ' ');
}

static void put_number(struct sink *s, const struct spec *f, u64 value, unsigned base, const char *prefix)
{
    char digits[20];
    size_t at = sizeof digits;
    const char *alphabet = f->upper ? "0123456789ABCDEF" : "0123456789abcdef";

    do {
        digits[--at] = alphabet[value % base];
        value /= base;
    } while (value);
    put_padded(s, f, prefix, digits + at, sizeof digits - at);
}

static const char *parse_spec(const char *p, struct spec *f, va_list *arguments)
{
    *f = (struct spec){.precision = -1};
    for (;; p++) {
        if (*p == '-')
            f->left = true;
        else if (*p == '0')
            f->zero = true;
        else if (*p == '#')
            f->alternate = true;
        else
            break;
    }
    if (*p == '*') {
        f->width = va_arg(*arguments, unsigned);
        p++;
    }
    for (; *p >= '0' && *p <= '9'; p++)
        f->width = f->width * 10 + (unsigned)(*p - '0');
    if (*p == '.') {
        p++;
        f->precision = 0;
        if (*p == '*') {
            f->precision = va_arg(*arguments, int);
            p++;
        }
        for (; *p >= '0' && *p <= '9'; p++)
            f->precision = f->precision * 10 + (*p - '0');
    }
    return p;
}

static u64 next_unsigned(unsigned longs, va_list *arguments)
{
    return longs ? va_arg(*arguments, u64) : va_arg(*arguments, unsigned);
}

static void put_directive(struct sink *s, const struct spec *f, char conversion, unsigned longs, va_list *arguments)
{
    if (conversion == 'd' || conversion == 'i') {
        s64 value = longs ? va_arg(*arguments, s64) : va_arg(*arguments, int);
        put_number(s, f, value < 0 ? 0 - (u64)value : (u64)value, 10, value < 0 ? "-" : "");
    } else if (conversion == 'u') {
        put_number(s, f, next_unsigned(longs, arguments), 10, "");
    } else if (conversion == 'x' || conversion == 'X') {
        put_number(s, f, next_unsigned(longs, arguments), 16, f->alternate ? "0x" : "");
    } else if (conversion == 'p') {
        put_number(s, f, (u64)(uintptr_t)va_arg(*arguments, void *), 16, "0x");
    } else if (conversion == 'c') {
        char c = (char)va_arg(*arguments, int);
        put_padded(s, f, "", &c, 1);
    } else if (conversion == 's') {
        const char *text = va_arg(*arguments, const char *);
        text = text ? text : "(null)";
        size_t length = f->precision < 0 ? string_length(text) : string_length_bounded(text, (size_t)f->precision);
        put_padded(s, f, "", text, length);
    } else {
        put(s, '%');
        put(s, conversion);
    }
}

size_t format_list(char *buffer, size_t size, const char *format, va_list arguments)
{
    struct sink s = {buffer, size, 0};
    va_list rest;

    va_copy(rest, arguments);
    for (const char *p = format; *p; p++) {
        if (*p != '%') {
            put(&s, *p);
            continue;
        }
        struct spec f;
        unsigned longs = 0;
        p = parse_spec(p + 1, &f, &rest);
        for (; *p == 'l' || *p == 'z'; p++)
            longs++;
        if (!*p)
            break;
        if (*p == '%') {
            put(&s, '%');
            continue;
        }
        f.upper = *p == 'X';
        put_directive(&s, &f, *p, longs, &rest);
    }
    va_end(rest);
    if (size)
        s.buffer[s.used] = 0;
    return s.used;
}

size_t format_text(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t used = format_list(buffer, size, format, arguments);
    va_end(arguments);
    return used;
}
