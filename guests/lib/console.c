/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest library: the UART as a console, the text page, and a small formatter. Polls the UART; runs with interrupts on
 * or off, in 32-bit and 64-bit guests. The UART is a 16550A at its usual port.
 */
#include "guests/lib/console.h"
#include "guests/include/rootlet_abi.h"
#include "guests/lib/cpu.h"
#include <stdarg.h>

#define UART_DATA             (ROOTLET_PORT_UART + 0)
#define UART_INTERRUPT_ENABLE (ROOTLET_PORT_UART + 1)
#define UART_FIFO_CONTROL     (ROOTLET_PORT_UART + 2)
#define UART_LINE_CONTROL     (ROOTLET_PORT_UART + 3)
#define UART_MODEM_CONTROL    (ROOTLET_PORT_UART + 4)
#define UART_LINE_STATUS      (ROOTLET_PORT_UART + 5)
#define UART_HOLDING_EMPTY    0x20
#define UART_TRANSMIT_EMPTY   0x40

#define TEXT_COLUMNS   80u
#define TEXT_ROWS      25u
#define TEXT_ATTRIBUTE 0x0700u /* light grey on black */

/* Where formatted characters go. */
struct sink {
    char *buffer; /* NULL: the console */
    size_t size;
    size_t length;
};

void console_init(void)
{
    cpu_out8(UART_INTERRUPT_ENABLE, 0);
    cpu_out8(UART_LINE_CONTROL, 0x83); /* divisor latch, 8N1 */
    cpu_out8(UART_DATA, 1);            /* 115200 baud */
    cpu_out8(UART_INTERRUPT_ENABLE, 0);
    cpu_out8(UART_LINE_CONTROL, 0x03);
    cpu_out8(UART_FIFO_CONTROL, 0x07);
    cpu_out8(UART_MODEM_CONTROL, 0x03); /* DTR, RTS; OUT2 off: no interrupt reaches the PIC */
}

void console_put(char character)
{
    while (!(cpu_in8(UART_LINE_STATUS) & UART_HOLDING_EMPTY))
        cpu_pause();
    cpu_out8(UART_DATA, (u8)character);
}

void console_flush(void)
{
    while (!(cpu_in8(UART_LINE_STATUS) & UART_TRANSMIT_EMPTY))
        cpu_pause();
}

void console_text_page(u32 row, const char *text)
{
    volatile u16 *cell = (volatile u16 *)(uintptr_t)ROOTLET_MEM_TEXT + (row % TEXT_ROWS) * TEXT_COLUMNS;
    for (u32 column = 0; column < TEXT_COLUMNS && text[column]; column++)
        cell[column] = (u16)(TEXT_ATTRIBUTE | (u8)text[column]);
}

size_t text_length(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

u64 divide_u64(u64 dividend, u32 divisor, u32 *remainder)
{
    u32 high = (u32)(dividend >> 32), low = (u32)dividend;
    u32 quotient_high = high / divisor, quotient_low, rest = high % divisor;
    __asm__("divl %4" : "=a"(quotient_low), "=d"(rest) : "0"(low), "1"(rest), "r"(divisor));
    if (remainder)
        *remainder = rest;
    return (u64)quotient_high << 32 | quotient_low;
}

static void sink_put(struct sink *sink, char character)
{
    if (!sink->buffer)
        console_put(character);
    else if (sink->length + 1 < sink->size)
        sink->buffer[sink->length++] = character;
}

static void sink_number(struct sink *sink, u64 value, u32 base, u32 width, char padding)
{
    char digits[24];
    u32 count = 0;
    do {
        u32 digit;
        value = divide_u64(value, base, &digit);
        digits[count++] = "0123456789abcdef"[digit];
    } while (value);
    for (u32 missing = width > count ? width - count : 0; missing; missing--)
        sink_put(sink, padding);
    while (count)
        sink_put(sink, digits[--count]);
}

static void sink_string(struct sink *sink, const char *text)
{
    while (*text)
        sink_put(sink, *text++);
}

/* One conversion, `format` just behind its %; returns the rest of the format. */
static const char *sink_convert(struct sink *sink, const char *format, va_list *arguments)
{
    char padding = ' ';
    u32 width = 0, longs = 0;
    if (*format == '0')
        padding = *format++;
    while (*format >= '0' && *format <= '9')
        width = width * 10 + (u32)(*format++ - '0');
    while (*format == 'l') {
        longs++;
        format++;
    }
    switch (*format) {
    case 'c':
        sink_put(sink, (char)va_arg(*arguments, int));
        break;
    case 's':
        sink_string(sink, va_arg(*arguments, const char *));
        break;
    case 'd': {
        int value = va_arg(*arguments, int);
        if (value < 0)
            sink_put(sink, '-');
        sink_number(sink, value < 0 ? 0u - (u32)value : (u32)value, 10, width, padding);
        break;
    }
    case 'u':
    case 'x': {
        u64 value = longs == 2 ? va_arg(*arguments, u64) : va_arg(*arguments, u32);
        sink_number(sink, value, *format == 'x' ? 16 : 10, width, padding);
        break;
    }
    default:
        sink_put(sink, *format);
    }
    return format + 1;
}

static void sink_format(struct sink *sink, const char *format, va_list *arguments)
{
    while (*format) {
        if (*format == '%')
            format = sink_convert(sink, format + 1, arguments);
        else
            sink_put(sink, *format++);
    }
}

void print(const char *format, ...)
{
    struct sink sink = {NULL, 0, 0};
    va_list arguments;
    va_start(arguments, format);
    sink_format(&sink, format, &arguments);
    va_end(arguments);
}

size_t format_text(char *buffer, size_t size, const char *format, ...)
{
    struct sink sink = {buffer, size, 0};
    va_list arguments;
    va_start(arguments, format);
    sink_format(&sink, format, &arguments);
    va_end(arguments);
    buffer[sink.length] = '\0';
    return sink.length;
}

/* gcc turns loops and structure copies into calls of these two, also in freestanding code. */
void *memset(void *to, int value, size_t bytes)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
    return start;
}

void *memcpy(void *to, const void *from, size_t bytes)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return start;
}
