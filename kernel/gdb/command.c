/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command set. Each command parses its own packet with the cursor in struct input and writes the reply; what is not
 * known here gets the empty reply, by which GDB learns that it must do without. Pure.
 * GDB manual, E.2 "Packets"; error numbers mean nothing to GDB.
 */
#include "kernel/gdb/command.h"
#include "kernel/lib/string.h"

#define SIGINT  2u
#define SIGTRAP 5u

#define ERROR_FORM   "E01" /* not of the form that the manual gives */
#define ERROR_MEMORY "E14" /* there is no memory */
#define ERROR_STATE  "E22" /* cannot be done: no such thread, no room, a register that is not to be written */

struct input {
    const u8 *at, *end;
};

static void reply_text(struct gdb_session *session, const char *text)
{
    gdb_packet_put_text(&session->reply, text);
}

static void reply_ok(struct gdb_session *session, bool done, const char *error)
{
    reply_text(session, done ? "OK" : error);
}

static bool take(struct input *in, const char *word)
{
    size_t length = string_length(word);

    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0)
        return false;
    in->at += length;
    return true;
}

static bool take_number(struct input *in, u64 *number)
{
    return gdb_packet_take_number(&in->at, in->end, number);
}

static bool is_at_end(const struct input *in)
{
    return in->at == in->end;
}

static bool has_ended(const struct gdb_session *session)
{
    return session->stop.kind >= GDB_STOP_EXITED;
}

static bool is_thread(const struct gdb_session *session, u64 thread)
{
    return thread >= 1 && thread <= session->ops->threads && session->ops->is_alive((u32)thread);
}

static u32 first_thread(const struct gdb_session *session)
{
    u32 thread = 1;

    while (thread < session->ops->threads && !session->ops->is_alive(thread))
        thread++;
    return thread;
}

/* A thread's number, or -1 and 0 for all and any, which become 0. */
static bool take_thread(struct input *in, u64 *thread)
{
    *thread = 0;
    return take(in, "-1") || take_number(in, thread);
}

/* ---- stop replies ---- */

static void put_register(struct gdb_session *session, u32 thread, u32 number, bool with_number)
{
    u8 value[GDB_REGISTER_BYTES];
    size_t bytes = gdb_register_read(session->arch, number, session->ops->registers(thread), value);

    if (with_number) {
        u8 narrow = (u8)number;
        gdb_packet_put_hex(&session->reply, &narrow, 1);
        reply_text(session, ":");
    }
    gdb_packet_put_hex(&session->reply, value, bytes);
    if (with_number)
        reply_text(session, ";");
}

static void put_reason(struct gdb_session *session)
{
    static const char *const watch[] = {
        [GDB_STOP_WRITE] = "watch:", [GDB_STOP_READ] = "rwatch:", [GDB_STOP_ACCESS] = "awatch:"};
    const struct gdb_stop *stop = &session->stop;

    if (stop->kind == GDB_STOP_SOFTWARE && session->knows_swbreak)
        reply_text(session, "swbreak:;");
    if (stop->kind == GDB_STOP_HARDWARE && session->knows_hwbreak)
        reply_text(session, "hwbreak:;");
    if (stop->kind >= GDB_STOP_WRITE && stop->kind <= GDB_STOP_ACCESS) {
        reply_text(session, watch[stop->kind]);
        gdb_packet_put_number(&session->reply, stop->value);
        reply_text(session, ";");
    }
}

static void put_stop(struct gdb_session *session)
{
    const struct gdb_stop *stop = &session->stop;
    u8 value = (u8)stop->value;

    if (has_ended(session)) {
        reply_text(session, stop->kind == GDB_STOP_EXITED ? "W" : "X");
        gdb_packet_put_hex(&session->reply, &value, 1);
        return;
    }
    u8 signal = stop->kind == GDB_STOP_INTERRUPT ? SIGINT : SIGTRAP;
    reply_text(session, "T");
    gdb_packet_put_hex(&session->reply, &signal, 1);
    reply_text(session, "thread:");
    gdb_packet_put_number(&session->reply, stop->thread);
    reply_text(session, ";");
    put_reason(session);
    put_register(session, stop->thread, gdb_register_of_pc(session->arch), true);
    put_register(session, stop->thread, gdb_register_of_sp(session->arch), true);
    put_register(session, stop->thread, gdb_register_of_fp(session->arch), true);
}

static void clear_reply(struct gdb_session *session)
{
    session->reply.length = 0;
    session->reply.overflow = false;
}

void gdb_command_say(struct gdb_session *session, const char *text)
{
    clear_reply(session);
    reply_text(session, "O");
    gdb_packet_put_hex(&session->reply, text, string_length(text));
}

void gdb_command_stopped(struct gdb_session *session, const struct gdb_stop *stop)
{
    session->stop = *stop;
    if (!has_ended(session))
        session->thread = stop->thread;
    clear_reply(session);
    put_stop(session);
}

/* ---- registers and memory ---- */

static void read_registers(struct gdb_session *session)
{
    for (u32 i = 0; i < gdb_register_count(session->arch); i++)
        put_register(session, session->thread, i, false);
}

/* Those that may not be written keep their values: GDB sends all of them. */
static void write_registers(struct gdb_session *session, struct input *in)
{
    struct debug_registers *registers = session->ops->registers(session->thread);
    u8 value[GDB_REGISTER_BYTES];

    for (u32 i = 0; i < gdb_register_count(session->arch); i++) {
        size_t bytes = gdb_register_read(session->arch, i, registers, value);
        if (!gdb_packet_take_hex(&in->at, in->end, value, bytes)) {
            reply_text(session, ERROR_FORM);
            return;
        }
        (void)!gdb_register_write(session->arch, i, registers, value);
    }
    reply_text(session, "OK");
}

static void read_register(struct gdb_session *session, struct input *in)
{
    u64 number;

    if (!take_number(in, &number) || number >= gdb_register_count(session->arch))
        reply_text(session, ERROR_FORM);
    else
        put_register(session, session->thread, (u32)number, false);
}

static void write_register(struct gdb_session *session, struct input *in)
{
    struct debug_registers *registers = session->ops->registers(session->thread);
    u8 value[GDB_REGISTER_BYTES];
    u64 number;

    if (!take_number(in, &number) || !take(in, "=") || number >= gdb_register_count(session->arch)) {
        reply_text(session, ERROR_FORM);
        return;
    }
    size_t bytes = gdb_register_read(session->arch, (u32)number, registers, value);
    reply_ok(session,
             gdb_packet_take_hex(&in->at, in->end, value, bytes) &&
                 gdb_register_write(session->arch, (u32)number, registers, value),
             ERROR_STATE);
}

#define MEMORY_PART 256u

/* As much as can be read: GDB asks again for the rest. */
static void read_memory(struct gdb_session *session, struct input *in)
{
    u8 part[MEMORY_PART];
    u64 address, count;

    if (!take_number(in, &address) || !take(in, ",") || !take_number(in, &count)) {
        reply_text(session, ERROR_FORM);
        return;
    }
    if (count > GDB_CONTENT_BYTES / 2)
        count = GDB_CONTENT_BYTES / 2;
    for (u64 done = 0; done < count;) {
        size_t wanted = count - done < MEMORY_PART ? (size_t)(count - done) : MEMORY_PART;
        size_t got = session->ops->read(session->thread, address + done, part, wanted);
        gdb_packet_put_hex(&session->reply, part, got);
        done += got;
        if (got < wanted)
            break;
    }
    if (count && !session->reply.length)
        reply_text(session, ERROR_MEMORY);
}

/* M with hexadecimal digits, X with bytes as they are. */
static void write_memory(struct gdb_session *session, struct input *in, bool binary)
{
    u8 part[MEMORY_PART];
    u64 address, count;
    bool good = true;

    if (!take_number(in, &address) || !take(in, ",") || !take_number(in, &count) || !take(in, ":") ||
        (u64)(in->end - in->at) != (binary ? count : 2 * count) || count > GDB_CONTENT_BYTES) {
        reply_text(session, ERROR_FORM);
        return;
    }
    for (u64 done = 0; good && done < count;) {
        size_t wanted = count - done < MEMORY_PART ? (size_t)(count - done) : MEMORY_PART;
        const u8 *bytes = binary ? in->at : part;
        if (binary)
            in->at += wanted;
        else
            good = gdb_packet_take_hex(&in->at, in->end, part, wanted);
        good = good && session->ops->write(session->thread, address + done, bytes, wanted);
        done += wanted;
    }
    reply_ok(session, good, ERROR_MEMORY);
}

static void change_point(struct gdb_session *session, struct input *in, bool insert)
{
    u64 type, address, bytes;

    if (!take_number(in, &type) || !take(in, ",") || !take_number(in, &address) || !take(in, ",") ||
        !take_number(in, &bytes)) {
        reply_text(session, ERROR_FORM);
        return;
    }
    if (type >= GDB_POINTS)
        return;
    if (insert)
        reply_ok(session, session->ops->insert(session->thread, (enum gdb_point)type, address, bytes), ERROR_MEMORY);
    else
        reply_ok(session, session->ops->remove((enum gdb_point)type, address, bytes), ERROR_MEMORY);
}

/* ---- threads ---- */

static void choose_thread(struct gdb_session *session, struct input *in)
{
    bool to_run = take(in, "c");
    u64 thread;

    if ((!to_run && !take(in, "g")) || !take_thread(in, &thread)) {
        reply_text(session, ERROR_FORM);
        return;
    }
    if (thread && !is_thread(session, thread)) {
        reply_text(session, ERROR_STATE);
        return;
    }
    if (to_run)
        session->thread_to_run = (u32)thread;
    else if (thread)
        session->thread = (u32)thread;
    reply_text(session, "OK");
}

static void ask_thread(struct gdb_session *session, struct input *in)
{
    u64 thread;
    reply_ok(session, take_number(in, &thread) && is_thread(session, thread), ERROR_STATE);
}

static void list_threads(struct gdb_session *session, bool first)
{
    char before = 'm';

    if (first)
        session->listed = 0;
    while (session->listed < session->ops->threads) {
        if (!session->ops->is_alive(++session->listed))
            continue;
        gdb_packet_put(&session->reply, &before, 1);
        gdb_packet_put_number(&session->reply, session->listed);
        before = ',';
    }
    if (before == 'm')
        reply_text(session, "l");
}

static void describe_thread(struct gdb_session *session, struct input *in)
{
    u64 thread;

    if (!take_number(in, &thread) || !is_thread(session, thread)) {
        reply_text(session, ERROR_STATE);
        return;
    }
    const char *text = session->ops->describe((u32)thread);
    gdb_packet_put_hex(&session->reply, text, string_length(text));
}

/* ---- running ---- */

/* False: there is nobody to run. */
static bool resume(struct gdb_session *session, const struct gdb_resume *resume)
{
    for (u32 i = 0; i < session->ops->threads; i++) {
        if (resume->actions[i] != GDB_ACTION_STAY && session->ops->is_alive(i + 1)) {
            session->ops->resume(resume);
            return true;
        }
    }
    return false;
}

static void give_action(const struct gdb_session *session, struct gdb_resume *plan, u64 thread, u8 action)
{
    for (u32 i = 0; i < session->ops->threads; i++)
        if ((!thread || thread == i + 1) && plan->actions[i] == GDB_ACTION_STAY)
            plan->actions[i] = action;
    if (!thread && plan->others == GDB_ACTION_STAY)
        plan->others = GDB_ACTION_CONTINUE;
}

/* c, s, and C, S with a signal, which no vCPU could get; an address to go on at may follow. */
static bool run_old(struct gdb_session *session, struct input *in, u8 action, bool with_signal)
{
    struct gdb_resume plan = {.others = GDB_ACTION_STAY};
    u32 thread = session->thread_to_run;
    u64 value;

    if (with_signal && !take_number(in, &value))
        goto malformed;
    if ((with_signal ? take(in, ";") : !is_at_end(in))) {
        struct debug_registers *registers = session->ops->registers(session->thread);
        if (!take_number(in, &value) ||
            !gdb_register_write(session->arch, gdb_register_of_pc(session->arch), registers, (const u8 *)&value))
            goto malformed;
    }
    if (action == GDB_ACTION_STEP && !thread)
        thread = session->thread;
    give_action(session, &plan, thread, action);
    if (resume(session, &plan))
        return false;
malformed:
    reply_text(session, ERROR_FORM);
    return true;
}

/* "vCont;action[:thread]...": the first action that fits a thread is its own. */
static bool run_list(struct gdb_session *session, struct input *in)
{
    struct gdb_resume plan = {.others = GDB_ACTION_STAY};

    while (take(in, ";")) {
        u64 thread = 0, signal;
        bool with_signal = take(in, "C") || take(in, "S");
        u8 action = with_signal && in->at[-1] == 'S' ? GDB_ACTION_STEP : GDB_ACTION_CONTINUE;
        if (with_signal) {
            if (!take_number(in, &signal))
                goto malformed;
        } else if (take(in, "r")) {
            action = GDB_ACTION_STEP;
            if (!take_number(in, &plan.start) || !take(in, ",") || !take_number(in, &plan.end))
                goto malformed;
        } else if (take(in, "s")) {
            action = GDB_ACTION_STEP;
        } else if (!take(in, "c")) {
            goto malformed;
        }
        if (take(in, ":") && !take_thread(in, &thread))
            goto malformed;
        give_action(session, &plan, thread, action);
    }
    if (is_at_end(in) && resume(session, &plan))
        return false;
malformed:
    reply_text(session, ERROR_FORM);
    return true;
}

static void leave(struct gdb_session *session, void (*how)(void))
{
    if (!has_ended(session))
        how();
    session->attached = false;
    session->no_ack = false;
}

/* ---- queries ---- */

/* A new GDB: what the last one left behind goes. */
static void begin_session(struct gdb_session *session, struct input *in)
{
    session->knows_swbreak = session->knows_hwbreak = false;
    session->thread_to_run = 0;
    for (; !is_at_end(in); in->at++) {
        session->knows_swbreak |= take(in, "swbreak+");
        session->knows_hwbreak |= take(in, "hwbreak+");
        if (is_at_end(in))
            break;
    }
    if (!has_ended(session))
        session->ops->remove_all();
    reply_text(session, "PacketSize=");
    gdb_packet_put_number(&session->reply, GDB_CONTENT_BYTES);
    reply_text(session, ";qXfer:features:read+;swbreak+;hwbreak+;vContSupported+");
}

static void read_description(struct gdb_session *session, struct input *in)
{
    u8 text[MEMORY_PART];
    u64 offset, count;

    if (!take(in, "target.xml:")) {
        reply_text(session, "E00"); /* no such annex */
        return;
    }
    if (!take_number(in, &offset) || !take(in, ",") || !take_number(in, &count)) {
        reply_text(session, ERROR_FORM);
        return;
    }
    size_t size = count < sizeof text ? (size_t)count : sizeof text;
    size_t used = gdb_register_description(session->arch, offset, text, size);
    reply_text(session, used < size ? "l" : "m");
    gdb_packet_put(&session->reply, text, used);
}

static void query(struct gdb_session *session, struct input *in)
{
    if (take(in, "Supported")) {
        begin_session(session, in);
    } else if (take(in, "Attached")) {
        reply_text(session, "1");
    } else if (has_ended(session)) {
        return;
    } else if (take(in, "Xfer:features:read:")) {
        read_description(session, in);
    } else if (take(in, "fThreadInfo")) {
        list_threads(session, true);
    } else if (take(in, "sThreadInfo")) {
        list_threads(session, false);
    } else if (take(in, "ThreadExtraInfo,")) {
        describe_thread(session, in);
    } else if (take(in, "C") && is_at_end(in)) {
        reply_text(session, "QC");
        gdb_packet_put_number(&session->reply, session->thread);
    }
}

static bool run_v(struct gdb_session *session, struct input *in)
{
    if (take(in, "Kill")) {
        reply_text(session, "OK");
        leave(session, session->ops->kill);
    } else if (has_ended(session)) {
        return true;
    } else if (take(in, "Cont?")) {
        reply_text(session, "vCont;c;C;s;S;r");
    } else if (take(in, "Cont")) {
        return run_list(session, in);
    }
    return true;
}

/* Those that need no target. */
static bool run_any_time(struct gdb_session *session, struct input *in, u8 command)
{
    switch (command) {
    case '?':
        put_stop(session);
        return true;
    case 'D':
        reply_text(session, "OK");
        leave(session, session->ops->detach);
        return true;
    case 'k': /* without a reply */
        leave(session, session->ops->kill);
        return false;
    case 'q':
        query(session, in);
        return true;
    case 'Q':
        if (take(in, "StartNoAckMode")) {
            session->no_ack = true;
            reply_text(session, "OK");
        }
        return true;
    default:
        return run_v(session, in);
    }
}

static bool run_stopped(struct gdb_session *session, struct input *in, u8 command)
{
    switch (command) {
    case 'g':
        read_registers(session);
        break;
    case 'G':
        write_registers(session, in);
        break;
    case 'p':
        read_register(session, in);
        break;
    case 'P':
        write_register(session, in);
        break;
    case 'm':
        read_memory(session, in);
        break;
    case 'M':
    case 'X':
        write_memory(session, in, command == 'X');
        break;
    case 'Z':
    case 'z':
        change_point(session, in, command == 'Z');
        break;
    case 'H':
        choose_thread(session, in);
        break;
    case 'T':
        ask_thread(session, in);
        break;
    case 'c':
    case 'C':
        return run_old(session, in, GDB_ACTION_CONTINUE, command == 'C');
    case 's':
    case 'S':
        return run_old(session, in, GDB_ACTION_STEP, command == 'S');
    default:
        break;
    }
    return true;
}

static bool is_any_time(u8 command)
{
    return command == '?' || command == 'D' || command == 'k' || command == 'q' || command == 'Q' || command == 'v';
}

bool gdb_command_run(struct gdb_session *session)
{
    struct input in = {session->reader.content, session->reader.content + session->reader.length};

    clear_reply(session);
    session->attached = true;
    if (is_at_end(&in))
        return true;
    u8 command = *in.at++;
    if (is_any_time(command))
        return run_any_time(session, &in, command);
    if (has_ended(session)) {
        reply_text(session, ERROR_STATE);
        return true;
    }
    if (!is_thread(session, session->thread))
        session->thread = first_thread(session);
    return run_stopped(session, &in, command);
}

void gdb_command_init(struct gdb_session *session, const struct gdb_ops *ops)
{
    session->ops = ops;
    session->thread = 1;
    session->stop = (struct gdb_stop){GDB_STOP_TRAP, 1, 0};
}
