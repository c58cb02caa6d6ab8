/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes on the debugger's line: the packet reader and the command set must keep their bounds, ask only for threads
 * that live, and answer with frames that a reader takes. If the first byte is odd, the rest is one packet's content, so
 * that the checksum is no obstacle. links: kernel/gdb/packet.c kernel/gdb/command.c kernel/gdb/registers.c
 */
#include <stdlib.h>
#include <string.h>

#include "kernel/gdb/command.h"

#define THREADS 3u

static struct gdb_session session;
static struct gdb_reader other_side;
static struct debug_registers registers[THREADS];
static u8 memory[5000];

static void check(bool good)
{
    if (!good)
        abort();
}

static bool is_alive(u32 thread)
{
    check(thread >= 1 && thread <= THREADS);
    return thread != 2;
}

static void check_thread(u32 thread)
{
    check(is_alive(thread) && session.stop.kind < GDB_STOP_EXITED);
}

static struct debug_registers *registers_of(u32 thread)
{
    check_thread(thread);
    return &registers[thread - 1];
}

static const char *describe(u32 thread)
{
    check_thread(thread);
    return "a thread";
}

static size_t read_memory(u32 thread, u64 address, u8 *bytes, size_t count)
{
    check_thread(thread);
    if (address >= sizeof memory)
        return 0;
    count = count < sizeof memory - address ? count : sizeof memory - (size_t)address;
    memcpy(bytes, memory + address, count);
    return count;
}

static bool write_memory(u32 thread, u64 address, const u8 *bytes, size_t count)
{
    check_thread(thread);
    if (address > sizeof memory || count > sizeof memory - address)
        return false;
    memcpy(memory + address, bytes, count);
    return true;
}

static bool insert_point(u32 thread, enum gdb_point point, u64 address, u64 bytes)
{
    check_thread(thread);
    check(point < GDB_POINTS);
    return (address ^ bytes) & 1;
}

static bool remove_point(enum gdb_point point, u64 address, u64 bytes)
{
    check(point < GDB_POINTS);
    return (address ^ bytes) & 1;
}

static void no_effect(void)
{
    check(session.stop.kind < GDB_STOP_EXITED);
}

static void resume(const struct gdb_resume *plan)
{
    bool any = false;

    for (u32 i = 0; i < THREADS; i++) {
        check(plan->actions[i] <= GDB_ACTION_STEP);
        any |= plan->actions[i] && is_alive(i + 1);
    }
    check(any && session.stop.kind < GDB_STOP_EXITED);
}

static const struct gdb_ops ops = {
    .threads = THREADS,
    .is_alive = is_alive,
    .registers = registers_of,
    .describe = describe,
    .read = read_memory,
    .write = write_memory,
    .insert = insert_point,
    .remove = remove_point,
    .remove_all = no_effect,
    .resume = resume,
    .detach = no_effect,
    .kill = no_effect,
};

static void run(void)
{
    static u8 frame[GDB_FRAME_BYTES];
    enum gdb_input input = GDB_INPUT_NONE;

    if (!gdb_command_run(&session))
        return;
    check(!session.reply.overflow);
    size_t used = gdb_packet_frame(&session.reply, frame);
    check(used >= 4 && used <= sizeof frame);
    for (size_t i = 0; i < used; i++)
        input = gdb_packet_feed(&other_side, frame[i]);
    check(input == GDB_INPUT_PACKET);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    memset(&session, 0, sizeof session);
    gdb_command_init(&session, &ops);
    if (!size)
        return 0;
    session.arch = data[0] & 2 ? GDB_X86_64 : GDB_I386;
    gdb_command_stopped(&session,
                        &(struct gdb_stop){(enum gdb_stop_kind)(data[0] >> 2) % (GDB_STOP_SIGNALLED + 1), 1, 5});
    if (data[0] & 1) {
        size_t length = size - 1 < GDB_CONTENT_BYTES ? size - 1 : GDB_CONTENT_BYTES;
        memcpy(session.reader.content, data + 1, length);
        session.reader.content[length] = 0;
        session.reader.length = (u32)length;
        run();
        return 0;
    }
    for (size_t i = 1; i < size; i++)
        if (gdb_packet_feed(&session.reader, data[i]) == GDB_INPUT_PACKET)
            run();
    return 0;
}
