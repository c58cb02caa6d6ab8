/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * GDB's remote serial protocol below its commands: "$content#checksum", acknowledgements, escapes and run lengths.
 * Pure. GDB manual, Appendix E "GDB Remote Serial Protocol", E.1 "Overview".
 */
#ifndef ROOTLET_KERNEL_GDB_PACKET_H
#define ROOTLET_KERNEL_GDB_PACKET_H

#include "kernel/lib/types.h"

#define GDB_CONTENT_BYTES 2048u                        /* a packet's content, either way: PacketSize */
#define GDB_FRAME_BYTES   (2u * GDB_CONTENT_BYTES + 4) /* if each byte were escaped, with '$', '#' and the sum */

enum gdb_input {
    GDB_INPUT_NONE,      /* in the middle of something, or nothing of interest */
    GDB_INPUT_PACKET,    /* content[0..length) is a packet */
    GDB_INPUT_BAD,       /* a packet has ended that is damaged or too long */
    GDB_INPUT_RESEND,    /* '-': the other side did not get the last packet */
    GDB_INPUT_INTERRUPT, /* 0x03 between packets: Ctrl-C */
};

struct gdb_reader {
    enum { GDB_READ_IDLE, GDB_READ_CONTENT, GDB_READ_SUM_HIGH, GDB_READ_SUM_LOW } state;
    bool escaped; /* the last byte was '}' */
    bool damaged;
    u8 sum, sum_given;
    u32 length;
    u8 content[GDB_CONTENT_BYTES + 1]; /* a NUL follows the content */
};

/* Takes one byte. After GDB_INPUT_PACKET the content stays until the next byte is fed. */
enum gdb_input gdb_packet_feed(struct gdb_reader *reader, u8 byte);

/* What is being written: content first, then gdb_packet_frame(). */
struct gdb_writer {
    u32 length;
    bool overflow; /* something did not fit and was left out */
    u8 content[GDB_CONTENT_BYTES];
};

void gdb_packet_put(struct gdb_writer *writer, const void *bytes, size_t count);
void gdb_packet_put_text(struct gdb_writer *writer, const char *text);
/* Bytes as hexadecimal digits, in their order in memory. */
void gdb_packet_put_hex(struct gdb_writer *writer, const void *bytes, size_t count);
/* A number, most significant digit first, without leading zeros. */
void gdb_packet_put_number(struct gdb_writer *writer, u64 number);
/* The content as it goes over the line, at most GDB_FRAME_BYTES. Returns the number of bytes. */
size_t gdb_packet_frame(const struct gdb_writer *writer, u8 *out);

/* Takes a hexadecimal number of at most 16 digits at *at, not beyond `end`; moves *at behind it. False: there is none.
 */
bool gdb_packet_take_number(const u8 **at, const u8 *end, u64 *number) MUST_CHECK;
/* Exactly 2 * count hexadecimal digits at *at, not beyond `end`, as bytes. False: they are not there. */
bool gdb_packet_take_hex(const u8 **at, const u8 *end, u8 *bytes, size_t count) MUST_CHECK;

#endif
