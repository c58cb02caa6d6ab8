/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * GDB's protocol: packets, the command set and the registers, on a target that is two threads and some memory.
 * GDB manual, Appendix E "GDB Remote Serial Protocol".
 *
 * links: kernel/gdb/packet.c kernel/gdb/command.c kernel/gdb/registers.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/regs.h"
#include "kernel/gdb/command.h"

#define MEMORY_BASE 0x1000u

static struct gdb_session session;
static struct debug_registers registers[2];
static u8 memory[600];
static bool second_lives;
static struct {
    u32 resumes, kills, detaches, removals_of_all;
    struct gdb_resume resume;
    u32 thread;
    enum gdb_point point;
    u64 address, bytes;
    bool insert, refuse;
} calls;

static bool is_alive(u32 thread)
{
    assert_in_range(thread, 1, 2);
    return thread == 1 || second_lives;
}

static struct debug_registers *registers_of(u32 thread)
{
    assert_true(is_alive(thread));
    return &registers[thread - 1];
}

static const char *describe(u32 thread)
{
    return thread == 1 ? "one" : "two";
}

static size_t read_memory(u32 thread, u64 address, u8 *bytes, size_t count)
{
    calls.thread = thread;
    size_t done = 0;
    while (done < count && address + done - MEMORY_BASE < sizeof memory) {
        bytes[done] = memory[address + done - MEMORY_BASE];
        done++;
    }
    return done;
}

static bool write_memory(u32 thread, u64 address, const u8 *bytes, size_t count)
{
    calls.thread = thread;
    if (address < MEMORY_BASE || address - MEMORY_BASE > sizeof memory ||
        count > sizeof memory - (address - MEMORY_BASE))
        return false;
    memcpy(memory + (address - MEMORY_BASE), bytes, count);
    return true;
}

static bool change(enum gdb_point point, u64 address, u64 bytes, bool insert)
{
    calls.point = point;
    calls.address = address;
    calls.bytes = bytes;
    calls.insert = insert;
    return !calls.refuse;
}

static bool insert_point(u32 thread, enum gdb_point point, u64 address, u64 bytes)
{
    calls.thread = thread;
    return change(point, address, bytes, true);
}

static bool remove_point(enum gdb_point point, u64 address, u64 bytes)
{
    return change(point, address, bytes, false);
}

static void remove_all(void)
{
    calls.removals_of_all++;
}

static void resume(const struct gdb_resume *plan)
{
    calls.resumes++;
    calls.resume = *plan;
}

static void detach(void)
{
    calls.detaches++;
}

static void kill_vm(void)
{
    calls.kills++;
}

static const struct gdb_ops ops = {
    .threads = 2,
    .is_alive = is_alive,
    .registers = registers_of,
    .describe = describe,
    .read = read_memory,
    .write = write_memory,
    .insert = insert_point,
    .remove = remove_point,
    .remove_all = remove_all,
    .resume = resume,
    .detach = detach,
    .kill = kill_vm,
};

static int reset(void **state)
{
    (void)state;
    memset(&session, 0, sizeof session);
    memset(registers, 0, sizeof registers);
    memset(&calls, 0, sizeof calls);
    for (u32 i = 0; i < sizeof memory; i++)
        memory[i] = (u8)(i * 7);
    second_lives = true;
    gdb_command_init(&session, &ops);
    gdb_command_stopped(&session, &(struct gdb_stop){GDB_STOP_TRAP, 1, 0});
    return 0;
}

/* ---- packets ---- */

static enum gdb_input feed(const char *text, size_t length)
{
    enum gdb_input last = GDB_INPUT_NONE;

    for (size_t i = 0; i < length; i++)
        last = gdb_packet_feed(&session.reader, (u8)text[i]);
    return last;
}

static enum gdb_input feed_text(const char *text)
{
    return feed(text, strlen(text));
}

static void assert_content(const char *text)
{
    assert_int_equal(session.reader.length, strlen(text));
    assert_string_equal((const char *)session.reader.content, text);
}

static void test_a_packet_with_its_sum(void **state)
{
    (void)state;
    assert_int_equal(feed_text("+$g#67"), GDB_INPUT_PACKET);
    assert_content("g");
    assert_int_equal(feed_text("$m100,4#5E"), GDB_INPUT_PACKET); /* digits of either case */
    assert_content("m100,4");
    assert_int_equal(feed_text("$#00"), GDB_INPUT_PACKET);
    assert_content("");
}

static void test_damaged_packets(void **state)
{
    (void)state;
    assert_int_equal(feed_text("$g#68"), GDB_INPUT_BAD);
    assert_int_equal(feed_text("$g#6x"), GDB_INPUT_BAD);
    assert_int_equal(feed_text("$g#x7"), GDB_INPUT_BAD);
    assert_int_equal(feed_text("$}#7d"), GDB_INPUT_BAD); /* ends in an escape */
    assert_int_equal(feed_text("g#67"), GDB_INPUT_NONE); /* no beginning */
    assert_int_equal(feed_text("$m10$g#67"), GDB_INPUT_PACKET);
    assert_content("g"); /* the end of the first was lost */
}

static void test_too_long_a_packet(void **state)
{
    (void)state;
    for (u32 length = GDB_CONTENT_BYTES - 1; length < GDB_CONTENT_BYTES + 3; length++) {
        char sum[4];
        gdb_packet_feed(&session.reader, '$');
        for (u32 i = 0; i < length; i++)
            gdb_packet_feed(&session.reader, 'a');
        snprintf(sum, sizeof sum, "#%02x", (u8)(length * 'a'));
        assert_int_equal(feed_text(sum), length <= GDB_CONTENT_BYTES ? GDB_INPUT_PACKET : GDB_INPUT_BAD);
    }
    assert_int_equal(feed_text("$g#67"), GDB_INPUT_PACKET);
}

static void test_between_packets(void **state)
{
    (void)state;
    assert_int_equal(feed_text("\x03"), GDB_INPUT_INTERRUPT);
    assert_int_equal(feed_text("-"), GDB_INPUT_RESEND);
    assert_int_equal(feed_text("+"), GDB_INPUT_NONE);
    assert_int_equal(feed_text("$X\x03-+#fc"),
                     GDB_INPUT_BAD); /* inside, they are data: the sum is 0x58 + 3 + 0x2d + 0x2b */
    assert_int_equal(feed_text("$X\x03-+#b3"), GDB_INPUT_PACKET);
    assert_content("X\x03-+");
}

static void test_escapes(void **state)
{
    (void)state;
    /* "}" and the byte XOR 0x20: "$#}*" as data. */
    assert_int_equal(feed_text("$X}\x04}\x03}]}\n#ba"), GDB_INPUT_PACKET);
    assert_content("X$#}*");
}

static void put_all(const char *text)
{
    session.reply.length = 0;
    gdb_packet_put_text(&session.reply, text);
}

static void assert_frame(const char *expected)
{
    static u8 frame[GDB_FRAME_BYTES + 1];
    size_t used = gdb_packet_frame(&session.reply, frame);

    assert_true(used <= GDB_FRAME_BYTES);
    frame[used] = 0;
    assert_string_equal((const char *)frame, expected);
}

static void test_frames(void **state)
{
    (void)state;
    put_all("OK");
    assert_frame("$OK#9a"); /* the manual's own example of a reply's sum */
    put_all("");
    assert_frame("$#00");
    put_all("a$b");
    assert_frame("$a}\x04"
                 "b#44");
}

/* The manual: "0* " stands for "0000", since ' ' is 29 + 3. */
static void test_run_lengths(void **state)
{
    static const char *const frames[] = {"0", "00", "000", "0* ", "0*!", "0*\"", "0*\"0", "0*\"00", "0*%"};
    (void)state;
    for (u32 n = 1; n <= ARRAY_SIZE(frames); n++) {
        char text[20], expected[40];
        u8 sum = 0;
        memset(text, '0', n);
        text[n] = 0;
        for (const char *c = frames[n - 1]; *c; c++)
            sum = (u8)(sum + *c);
        snprintf(expected, sizeof expected, "$%s#%02x", frames[n - 1], sum);
        put_all(text);
        assert_frame(expected);
    }
}

/* What the frame says, taken apart as GDB does it. */
static size_t expand(const u8 *frame, size_t used, char *out)
{
    size_t n = 0;

    for (size_t i = 1; i < used - 3; i++) {
        if (frame[i] == '}') {
            out[n++] = (char)(frame[++i] ^ 0x20);
        } else if (frame[i] == '*') {
            for (u32 count = frame[++i] - 29u; count; count--, n++)
                out[n] = out[n - 1];
        } else {
            out[n++] = (char)frame[i];
        }
    }
    return n;
}

static void test_any_content_survives_the_frame(void **state)
{
    static u8 frame[GDB_FRAME_BYTES];
    static char back[GDB_CONTENT_BYTES + 1];
    (void)state;
    srand(1);
    for (u32 round = 0; round < 3000; round++) {
        u32 kinds = 1 + (u32)rand() % 4;
        session.reply.length = (u32)rand() % (GDB_CONTENT_BYTES + 1);
        for (u32 i = 0; i < session.reply.length; i++)
            session.reply.content[i] = (u8)("0#$}*a\x7e\xff"[(u32)rand() % (kinds * 2)]);
        size_t used = gdb_packet_frame(&session.reply, frame);
        assert_true(used <= sizeof frame);
        for (size_t i = 1; i < used - 3; i++)
            assert_true(frame[i] != '#' && frame[i] != '$');
        assert_int_equal(expand(frame, used, back), session.reply.length);
        assert_memory_equal(back, session.reply.content, session.reply.length);
    }
}

/* ---- commands ---- */

static bool run(const char *content)
{
    session.reader.length = (u32)strlen(content);
    memcpy(session.reader.content, content, strlen(content) + 1);
    return gdb_command_run(&session);
}

static const char *reply(void)
{
    static char text[GDB_CONTENT_BYTES + 1];
    memcpy(text, session.reply.content, session.reply.length);
    text[session.reply.length] = 0;
    assert_false(session.reply.overflow);
    return text;
}

#define ASSERT_REPLY(content, expected)                                                                                \
    do {                                                                                                               \
        assert_true(run(content));                                                                                     \
        assert_string_equal(reply(), expected);                                                                        \
    } while (0)

static void assert_error(const char *content)
{
    assert_true(run(content));
    if (session.reply.length != 3 || session.reply.content[0] != 'E')
        fail_msg("%s: %s", content, reply());
}

static void test_unknown_commands_have_the_empty_reply(void **state)
{
    (void)state;
    ASSERT_REPLY("", "");
    ASSERT_REPLY("!", "");
    ASSERT_REPLY("vMustReplyEmpty", "");
    ASSERT_REPLY("qTStatus", "");
    ASSERT_REPLY("qCRC:0,1", "");
    ASSERT_REPLY("QNonStop:1", "");
    ASSERT_REPLY("Z9,0,1", "");
    ASSERT_REPLY("i", "");
}

static void test_session(void **state)
{
    (void)state;
    ASSERT_REPLY("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386",
                 "PacketSize=800;qXfer:features:read+;swbreak+;hwbreak+;vContSupported+");
    assert_true(session.knows_swbreak && session.knows_hwbreak && session.attached);
    assert_int_equal(calls.removals_of_all, 1);
    assert_true(run("qSupported"));
    assert_false(session.knows_swbreak || session.knows_hwbreak);
    ASSERT_REPLY("qAttached", "1");
    ASSERT_REPLY("QStartNoAckMode", "OK");
    assert_true(session.no_ack);
    ASSERT_REPLY("D", "OK");
    assert_int_equal(calls.detaches, 1);
    assert_false(session.attached || session.no_ack);
    ASSERT_REPLY("vKill;1", "OK");
    assert_false(run("k"));
    assert_int_equal(calls.kills, 2);
}

static void test_stop_replies(void **state)
{
    (void)state;
    registers[1].rip = 0x12345678;
    registers[1].gpr[4] = 0xa0;
    registers[1].gpr[5] = 0xb0;
    struct gdb_stop stop = {GDB_STOP_SOFTWARE, 2, 0};
    gdb_command_stopped(&session, &stop);
    assert_string_equal(reply(), "T05thread:2;08:78563412;04:a0000000;05:b0000000;");
    assert_true(run("qSupported:swbreak+;hwbreak+"));
    ASSERT_REPLY("Hg1", "OK");
    ASSERT_REPLY("?", "T05thread:2;swbreak:;08:78563412;04:a0000000;05:b0000000;");
    session.arch = GDB_X86_64;
    stop = (struct gdb_stop){GDB_STOP_WRITE, 2, 0xffff800000001234};
    gdb_command_stopped(&session, &stop);
    assert_string_equal(
        reply(), "T05thread:2;watch:ffff800000001234;10:7856341200000000;07:a000000000000000;06:b000000000000000;");
    stop.kind = GDB_STOP_INTERRUPT;
    gdb_command_stopped(&session, &stop);
    assert_true(strncmp(reply(), "T02thread:2;10:", 15) == 0);
    stop.kind = GDB_STOP_HARDWARE;
    gdb_command_stopped(&session, &stop);
    assert_true(strncmp(reply(), "T05thread:2;hwbreak:;10:", 24) == 0);
}

static void test_after_the_end(void **state)
{
    static const char *const refused[] = {"g", "m1000,1", "Z0,1000,1", "c", "Hg1", "T1", "p0", "X1000,0:"};
    (void)state;
    gdb_command_stopped(&session, &(struct gdb_stop){GDB_STOP_EXITED, 1, 3});
    assert_string_equal(reply(), "W03");
    second_lives = false; /* and the first must not be asked for */
    for (u32 i = 0; i < ARRAY_SIZE(refused); i++)
        assert_error(refused[i]);
    ASSERT_REPLY("?", "W03");
    ASSERT_REPLY("vCont;c", "");
    ASSERT_REPLY("qfThreadInfo", "");
    ASSERT_REPLY("D", "OK");
    ASSERT_REPLY("vKill;1", "OK");
    assert_int_equal(calls.kills + calls.detaches + calls.resumes, 0);
    gdb_command_stopped(&session, &(struct gdb_stop){GDB_STOP_SIGNALLED, 1, 9});
    ASSERT_REPLY("?", "X09");
}

static void test_registers_one_by_one(void **state)
{
    (void)state;
    registers[0].gpr[3] = 0x1122334455667788;
    ASSERT_REPLY("p3", "88776655"); /* EBX */
    session.arch = GDB_X86_64;
    ASSERT_REPLY("p1", "8877665544332211"); /* RBX */
    ASSERT_REPLY("P1=0102030405060708", "OK");
    assert_int_equal(registers[0].gpr[3], 0x0807060504030201);
    assert_true(registers[0].changed && !registers[0].changed_f);
    ASSERT_REPLY("P12=33000000", "E22"); /* CS */
    assert_error("P1=01");
    assert_error("P1=010203040506070x");
    assert_error("P1");
    assert_error("P999=00");
    assert_error("p999");
    assert_error("p");
    assert_error("pffffffffffffffff");
}

static void test_program_counter(void **state)
{
    (void)state;
    session.arch = GDB_X86_64;
    registers[0].code64 = true;
    ASSERT_REPLY("P10=0000000000700000", "OK");
    ASSERT_REPLY("P10=0000000000800000", "E22"); /* not canonical */
    ASSERT_REPLY("P10=000000000080ffff", "OK");
    assert_int_equal(registers[0].rip, 0xffff800000000000);
    registers[0].code64 = false;
    ASSERT_REPLY("P10=78563412ffffffff", "OK");
    assert_int_equal(registers[0].rip, 0x12345678);
}

static void test_flags(void **state)
{
    (void)state;
    registers[0].rflags = RFLAGS_ONE | RFLAGS_TF | 3u << 12; /* IOPL 3 */
    ASSERT_REPLY("P9=ffffffff", "OK");
    /* Neither VM nor IOPL nor TF nor a reserved bit changes. */
    assert_int_equal(registers[0].rflags, 0x257fd7 & ~RFLAGS_VM);
    ASSERT_REPLY("P9=00000000", "OK");
    assert_int_equal(registers[0].rflags, RFLAGS_ONE | RFLAGS_TF | 3u << 12);
}

static void test_fpu_registers(void **state)
{
    u16 fcw = 0x37f;
    (void)state;
    memcpy(registers[0].fpu, &fcw, 2);
    registers[0].fpu[4] = 0x81;                     /* registers 0 and 7 are in use */
    memset(registers[0].fpu + 32 + 16, 0x42, 10);   /* ST1 */
    memset(registers[0].fpu + 160 + 7 * 16, 9, 16); /* XMM7 */
    ASSERT_REPLY("p11", "42424242424242424242");    /* 16 + 1 */
    ASSERT_REPLY("p18", "7f030000");                /* FCW */
    ASSERT_REPLY("p1a", "fc3f0000");                /* tags: empty but 0 and 7 */
    ASSERT_REPLY("p27", "09090909090909090909090909090909");
    ASSERT_REPLY("P27=000102030405060708090a0b0c0d0e0f", "OK");
    assert_true(registers[0].changed_f && !registers[0].changed);
    assert_int_equal(registers[0].fpu[160 + 7 * 16 + 15], 15);
    assert_error("P18=00000000");
    assert_error("P28=ffffffff"); /* MXCSR: reserved bits would stop the host */
}

static void test_all_registers(void **state)
{
    char all[GDB_CONTENT_BYTES + 2];
    (void)state;
    for (int arch = GDB_I386; arch <= GDB_X86_64; arch++) {
        u8 value[GDB_REGISTER_BYTES];
        size_t bytes = 0;
        session.arch = (enum gdb_arch)arch;
        for (u32 i = 0; i < gdb_register_count(session.arch); i++)
            bytes += gdb_register_read(session.arch, i, &registers[0], value);
        registers[0].gpr[0] = 0x77;
        registers[0].cr3 = 0x5000;
        assert_true(run("g"));
        assert_int_equal(session.reply.length, 2 * bytes);
        snprintf(all, sizeof all, "G%s", reply());
        memcpy(all + 1, "78", 2);
        ASSERT_REPLY(all, "OK");
        assert_int_equal(registers[0].gpr[0], 0x78);
        assert_int_equal(registers[0].cr3, 0x5000);
        all[strlen(all) - 1] = 0;
        assert_error(all);
    }
    assert_error("G");
}

static void test_description(void **state)
{
    static const char *const words_32[6] = {
        "<architecture>i386</architecture>",
        "\"org.gnu.gdb.i386.core\"",
        "<reg name=\"eip\" bitsize=\"32\" type=\"code_ptr\"/>",
        "<reg name=\"st7\" bitsize=\"80\" type=\"i387_ext\"/>",
        "\"org.gnu.gdb.i386.sse\"",
        "name=\"xmm7\"",
    };
    static const char *const words_64[6] = {
        "<architecture>i386:x86-64</architecture>",
        "<reg name=\"rip\" bitsize=\"64\" type=\"code_ptr\"/>",
        "name=\"xmm15\"",
        "\"org.gnu.gdb.i386.segments\"",
        "<reg name=\"gs_base\" bitsize=\"64\" type=\"int64\"/>",
        "name=\"cr4\"",
    };
    static const char *const *const words[2] = {words_32, words_64};
    static char text[20000];
    (void)state;
    for (int arch = GDB_I386; arch <= GDB_X86_64; arch++) {
        size_t used = 0;
        session.arch = (enum gdb_arch)arch;
        for (char first = 'm'; first == 'm';) {
            char ask[60];
            snprintf(ask, sizeof ask, "qXfer:features:read:target.xml:%zx,%x", used, 1 + (u32)used % 300);
            assert_true(run(ask));
            first = reply()[0];
            assert_true(first == 'm' || first == 'l');
            assert_true(session.reply.length - 1 <= 1 + (u32)used % 300);
            memcpy(text + used, reply() + 1, session.reply.length - 1);
            used += session.reply.length - 1;
            assert_true(used < sizeof text);
        }
        text[used] = 0;
        assert_string_equal(text + used - strlen("</feature></target>"), "</feature></target>");
        for (u32 i = 0; i < 6; i++)
            assert_non_null(strstr(text, words[arch][i]));
        u32 count = 0;
        for (const char *at = text; (at = strstr(at, "<reg ")); at++)
            count++;
        assert_int_equal(count, gdb_register_count(session.arch));
    }
    ASSERT_REPLY("qXfer:features:read:other.xml:0,100", "E00");
    assert_error("qXfer:features:read:target.xml:x");
}

static void test_memory(void **state)
{
    (void)state;
    ASSERT_REPLY("m1001,3", "070e15");
    ASSERT_REPLY("m1257,4", "61"); /* one byte before the end, as the manual allows: fewer than asked for */
    ASSERT_REPLY("m1000,0", "");
    assert_error("m1258,1");
    assert_error("mffffffffffffffff,ffffffffffffffff");
    assert_error("m1000");
    assert_error("m,1");
    assert_true(run("m1000,fffff"));
    assert_int_equal(session.reply.length, 2 * sizeof memory);
    ASSERT_REPLY("M1000,2:beef", "OK");
    assert_true(memory[0] == 0xbe && memory[1] == 0xef);
    assert_error("M1000,2:be");
    assert_error("M1000,2:beefbe");
    assert_error("M1000,1:xx");
    assert_error("M1258,1:00");
    ASSERT_REPLY("X1000,0:", "OK"); /* GDB asks so whether X is known */
    ASSERT_REPLY("X1001,3:a:\xff", "OK");
    assert_memory_equal(memory,
                        "\xbe"
                        "a:\xff",
                        4);
    assert_error("X1000,2:a");
    assert_error("Xffffffffffffffff,2:aa");
    ASSERT_REPLY("Hg2", "OK");
    assert_true(run("m1000,1"));
    assert_int_equal(calls.thread, 2);
}

static void test_long_writes_reach_memory_whole(void **state)
{
    char packet[GDB_CONTENT_BYTES];
    (void)state;
    int used = snprintf(packet, sizeof packet, "M1000,%zx:", sizeof memory);
    for (u32 i = 0; i < sizeof memory; i++)
        used += snprintf(packet + used, sizeof packet - (size_t)used, "%02x", (u8)(i + 1));
    ASSERT_REPLY(packet, "OK");
    for (u32 i = 0; i < sizeof memory; i++)
        assert_int_equal(memory[i], (u8)(i + 1));
}

static void test_points(void **state)
{
    (void)state;
    ASSERT_REPLY("Z0,100010,1", "OK");
    assert_true(calls.insert && calls.point == GDB_POINT_SOFTWARE && calls.address == 0x100010);
    ASSERT_REPLY("Z2,ffffffff81000000,8", "OK");
    assert_true(calls.point == GDB_POINT_WRITE && calls.bytes == 8 && calls.address == 0xffffffff81000000);
    ASSERT_REPLY("z4,10,2", "OK");
    assert_true(!calls.insert && calls.point == GDB_POINT_ACCESS && calls.bytes == 2);
    calls.refuse = true;
    assert_error("Z1,10,1");
    assert_error("Z1,10");
    assert_error("Z");
    ASSERT_REPLY("Z5,10,1", "");
}

static void test_threads(void **state)
{
    (void)state;
    ASSERT_REPLY("qfThreadInfo", "m1,2");
    ASSERT_REPLY("qsThreadInfo", "l");
    ASSERT_REPLY("qC", "QC1");
    ASSERT_REPLY("qThreadExtraInfo,2", "74776f");
    ASSERT_REPLY("T2", "OK");
    ASSERT_REPLY("Hg2", "OK");
    ASSERT_REPLY("qC", "QC2");
    ASSERT_REPLY("Hg0", "OK"); /* any: the one it was */
    ASSERT_REPLY("qC", "QC2");
    ASSERT_REPLY("Hc-1", "OK");
    assert_error("T3");
    assert_error("T0");
    assert_error("Hg3");
    assert_error("Hx1");
    assert_error("Hg");
    second_lives = false;
    ASSERT_REPLY("qfThreadInfo", "m1");
    assert_error("T2");
    assert_error("qThreadExtraInfo,2");
    registers[0].gpr[0] = 5;
    ASSERT_REPLY("p0", "05000000"); /* the chosen one is gone: the first */
}

static void assert_resumed(const char *content, u8 first, u8 second, u8 others)
{
    u32 before = calls.resumes;
    assert_false(run(content));
    assert_int_equal(calls.resumes, before + 1);
    assert_int_equal(calls.resume.actions[0], first);
    assert_int_equal(calls.resume.actions[1], second);
    assert_int_equal(calls.resume.others, others);
}

static void test_resume_by_list(void **state)
{
    enum { STAY = GDB_ACTION_STAY, GO = GDB_ACTION_CONTINUE, STEP = GDB_ACTION_STEP };
    (void)state;
    ASSERT_REPLY("vCont?", "vCont;c;C;s;S;r");
    assert_resumed("vCont;c", GO, GO, GO);
    assert_resumed("vCont;s:2", STAY, STEP, STAY);
    assert_resumed("vCont;s:1;c", STEP, GO, GO);
    assert_resumed("vCont;c:2;s:1;c:-1", STEP, GO, GO);
    assert_resumed("vCont;C05:1;S02:2", GO, STEP, STAY);
    assert_resumed("vCont;s", STEP, STEP, GO);
    assert_resumed("vCont;r100010,100020:2;c", GO, STEP, GO);
    assert_int_equal(calls.resume.start, 0x100010);
    assert_int_equal(calls.resume.end, 0x100020);
    assert_error("vCont");
    assert_error("vCont;");
    assert_error("vCont;x");
    assert_error("vCont;c:");
    assert_error("vCont;r1");
    assert_error("vCont;c:9");
    assert_error("vCont;cc");
    second_lives = false;
    assert_error("vCont;s:2");
}

static void test_resume_the_old_way(void **state)
{
    enum { STAY = GDB_ACTION_STAY, GO = GDB_ACTION_CONTINUE, STEP = GDB_ACTION_STEP };
    (void)state;
    assert_resumed("c", GO, GO, GO);
    assert_resumed("s", STEP, STAY, STAY);
    assert_true(run("Hc2"));
    assert_resumed("c", STAY, GO, STAY);
    assert_resumed("s", STAY, STEP, STAY);
    assert_true(run("Hc0"));
    assert_resumed("C05", GO, GO, GO);
    assert_resumed("c100", GO, GO, GO);
    assert_int_equal(registers[0].rip, 0x100);
    assert_resumed("S05;200", STEP, STAY, STAY);
    assert_int_equal(registers[0].rip, 0x200);
    assert_error("cx");
    assert_error("C");
    assert_error("C05;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_packet_with_its_sum, reset),
        cmocka_unit_test_setup(test_damaged_packets, reset),
        cmocka_unit_test_setup(test_too_long_a_packet, reset),
        cmocka_unit_test_setup(test_between_packets, reset),
        cmocka_unit_test_setup(test_escapes, reset),
        cmocka_unit_test_setup(test_frames, reset),
        cmocka_unit_test_setup(test_run_lengths, reset),
        cmocka_unit_test_setup(test_any_content_survives_the_frame, reset),
        cmocka_unit_test_setup(test_unknown_commands_have_the_empty_reply, reset),
        cmocka_unit_test_setup(test_session, reset),
        cmocka_unit_test_setup(test_stop_replies, reset),
        cmocka_unit_test_setup(test_after_the_end, reset),
        cmocka_unit_test_setup(test_registers_one_by_one, reset),
        cmocka_unit_test_setup(test_program_counter, reset),
        cmocka_unit_test_setup(test_flags, reset),
        cmocka_unit_test_setup(test_fpu_registers, reset),
        cmocka_unit_test_setup(test_all_registers, reset),
        cmocka_unit_test_setup(test_description, reset),
        cmocka_unit_test_setup(test_memory, reset),
        cmocka_unit_test_setup(test_long_writes_reach_memory_whole, reset),
        cmocka_unit_test_setup(test_points, reset),
        cmocka_unit_test_setup(test_threads, reset),
        cmocka_unit_test_setup(test_resume_by_list, reset),
        cmocka_unit_test_setup(test_resume_the_old_way, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
