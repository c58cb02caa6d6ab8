/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets of GDB's remote serial protocol. Pure; any bytes may come, and nothing but a packet with a right checksum
 * gets through. GDB manual, Appendix E "GDB Remote Serial Protocol".
 */
#include "kernel/gdb/packet.h"
#include "kernel/lib/string.h"

#define ESCAPE       '}'
#define ESCAPE_XOR   0x20
#define INTERRUPT    0x03
#define RUN_MIN      3u  /* repetitions that are worth a run length */
#define RUN_MAX      97u /* '~' stands for it */
#define RUN_OFFSET   29u
#define RUN_UNUSABLE 6u /* it and the next would be '#' and '$' */

static int digit_value(u8 c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static u8 digit_of(unsigned value)
{
    return (u8) "0123456789abcdef"[value & 15];
}

/* ---- reading ---- */

static void begin(struct gdb_reader *reader)
{
    reader->state = GDB_READ_CONTENT;
    reader->length = 0;
    reader->sum = 0;
    reader->escaped = reader->damaged = false;
}

static enum gdb_input feed_idle(struct gdb_reader *reader, u8 byte)
{
    switch (byte) {
    case '$':
        begin(reader);
        return GDB_INPUT_NONE;
    case '-':
        return GDB_INPUT_RESEND;
    case INTERRUPT:
        return GDB_INPUT_INTERRUPT;
    default:
        return GDB_INPUT_NONE; /* '+', or noise */
    }
}

static void feed_content(struct gdb_reader *reader, u8 byte)
{
    reader->sum = (u8)(reader->sum + byte);
    if (byte == ESCAPE && !reader->escaped) {
        reader->escaped = true;
        return;
    }
    if (reader->length == GDB_CONTENT_BYTES) {
        reader->damaged = true;
        return;
    }
    reader->content[reader->length++] = reader->escaped ? byte ^ ESCAPE_XOR : byte;
    reader->escaped = false;
}

static enum gdb_input finish(struct gdb_reader *reader)
{
    reader->state = GDB_READ_IDLE;
    reader->content[reader->length] = 0;
    if (reader->damaged || reader->escaped || reader->sum != reader->sum_given)
        return GDB_INPUT_BAD;
    return GDB_INPUT_PACKET;
}

enum gdb_input gdb_packet_feed(struct gdb_reader *reader, u8 byte)
{
    if (reader->state == GDB_READ_IDLE)
        return feed_idle(reader, byte);
    if (byte == '$') { /* never inside a packet: its end was lost */
        begin(reader);
        return GDB_INPUT_NONE;
    }
    if (reader->state == GDB_READ_CONTENT) {
        if (byte == '#')
            reader->state = GDB_READ_SUM_HIGH;
        else
            feed_content(reader, byte);
        return GDB_INPUT_NONE;
    }
    int digit = digit_value(byte);
    if (digit < 0)
        reader->damaged = true;
    reader->sum_given = (u8)(reader->sum_given << 4 | (digit & 15));
    if (reader->state == GDB_READ_SUM_LOW)
        return finish(reader);
    reader->state = GDB_READ_SUM_LOW;
    return GDB_INPUT_NONE;
}

bool gdb_packet_take_number(const u8 **at, const u8 *end, u64 *number)
{
    const u8 *start = *at;

    *number = 0;
    while (*at < end && *at - start < 16 && digit_value(**at) >= 0)
        *number = *number << 4 | (u64)digit_value(*(*at)++);
    return *at > start;
}

bool gdb_packet_take_hex(const u8 **at, const u8 *end, u8 *bytes, size_t count)
{
    if ((size_t)(end - *at) < 2 * count)
        return false;
    for (size_t i = 0; i < count; i++) {
        int high = digit_value((*at)[0]), low = digit_value((*at)[1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (u8)(high << 4 | low);
        *at += 2;
    }
    return true;
}

/* ---- writing ---- */

void gdb_packet_put(struct gdb_writer *writer, const void *bytes, size_t count)
{
    if (count > GDB_CONTENT_BYTES - writer->length) {
        writer->overflow = true;
        return;
    }
    memcpy(writer->content + writer->length, bytes, count);
    writer->length += (u32)count;
}

void gdb_packet_put_text(struct gdb_writer *writer, const char *text)
{
    gdb_packet_put(writer, text, string_length(text));
}

void gdb_packet_put_hex(struct gdb_writer *writer, const void *bytes, size_t count)
{
    const u8 *from = bytes;

    for (size_t i = 0; i < count; i++)
        gdb_packet_put(writer, (u8[]){digit_of(from[i] >> 4), digit_of(from[i])}, 2);
}

void gdb_packet_put_number(struct gdb_writer *writer, u64 number)
{
    unsigned digits = 1;

    while (digits < 16 && number >> 4 * digits)
        digits++;
    while (digits--)
        gdb_packet_put(writer, (u8[]){digit_of((unsigned)(number >> 4 * digits))}, 1);
}

static bool must_escape(u8 byte)
{
    return byte == '$' || byte == '#' || byte == ESCAPE || byte == '*';
}

/* How often the byte at `from` comes again, as a count that can be written. */
static u32 repetitions(const struct gdb_writer *writer, u32 from)
{
    u32 count = 0;

    while (from + count + 1 < writer->length && count < RUN_MAX &&
           writer->content[from + count + 1] == writer->content[from])
        count++;
    return count == RUN_UNUSABLE || count == RUN_UNUSABLE + 1 ? RUN_UNUSABLE - 1 : count;
}

size_t gdb_packet_frame(const struct gdb_writer *writer, u8 *out)
{
    size_t used = 0;
    u8 sum = 0;

    out[used++] = '$';
    for (u32 i = 0; i < writer->length; i++) {
        u8 byte = writer->content[i];
        if (must_escape(byte)) {
            out[used++] = ESCAPE;
            out[used++] = byte ^ ESCAPE_XOR;
            continue;
        }
        out[used++] = byte;
        u32 count = repetitions(writer, i);
        if (count >= RUN_MIN) {
            out[used++] = '*';
            out[used++] = (u8)(count + RUN_OFFSET);
            i += count;
        }
    }
    for (size_t i = 1; i < used; i++)
        sum = (u8)(sum + out[i]);
    out[used++] = '#';
    out[used++] = digit_of(sum >> 4);
    out[used++] = digit_of(sum);
    return used;
}
