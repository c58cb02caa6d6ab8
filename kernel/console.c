/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two rings under one lock (the last in the lock order): bytes to send, 64 KiB, and bytes received. Whoever writes also
 * moves bytes if the transmitter is empty, which starts the chain of transmit interrupts, and before interrupts work is
 * the only drain. Every wait for the transmitter is bounded. The screen reads the same ring, in its own time. Any CPU,
 * interrupts off; not in NMI context but for console_panic_write.
 */
#include "kernel/console.h"
#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/spinlock.h"
#include "kernel/clock.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/serial_line.h"

#define RING_BYTES      65536u
#define INPUT_BYTES     4096u /* a pasted text */
#define NS_A_BYTE       (1000000000ull * SERIAL_BITS_A_BYTE / SERIAL_BAUD)
#define STALL_POLLS     10000u   /* a read of a UART takes about 1 us; a FIFO takes 1.4 ms */
#define LAST_POLLS      1000000u /* the last lines of a run or of a panic may wait longer for who reads them */
#define INTERRUPT_LOOPS 64u      /* a UART that never runs out of causes must not hold the CPU */
#define REPORT_LEVEL    (3 * RING_BYTES / 4) /* so much may wait when a report goes on; what remains is others' ... */
#define REPORT_STRETCH  4096u                /* ... and so much less when it goes on after a wait */
#define SHOW_BYTES      256u                 /* of the ring that the screen takes in at a time */
#define SKIP_LOOK_BYTES 4096u                /* for so short a text that many lines of it scroll away unseen */
#define SHOW_NS         200000ull            /* so long is worked for the screen ... */
#define SHOW_PAUSE_NS   1000000ull           /* ... and then others get their turn for so long */
#define SHOW_EVERY_NS   40000000ull          /* a screen that is up to date stays as it is for so long ... */
#define SHOW_SHARE      200u         /* ... and for so many times what that took, since nobody is charged for it ... */
#define SHOW_MOST_NS    500000000ull /* ... but no longer than this */

static struct spinlock lock;
static bool present, settled;
static bool stalled; /* the transmitter stood still, at out_tail == stalled_tail */
static u32 stalled_tail;
static u64 lost; /* bytes dropped since the last note of it */
static u8 ring[RING_BYTES], input[INPUT_BYTES];
static struct serial_line line = {SERIAL_COM1, RING_BYTES, INPUT_BYTES, ring, input, 0, 0, 0, 0};
static bool line_open;              /* raw bytes have gone out since the last newline */
static bool typing;                 /* there is an interrupt that brings what was typed */
static char row[CONSOLE_ROW_BYTES]; /* "": there is none */
static bool room_wanted;
static void (*reader)(void);
static struct screen screen; /* its driver is NULL: there is none */
static u32 screen_tail;      /* so far has it read the ring */
static bool show_asked;      /* atomic: console_show() will be called */
static void (*show_notify)(void);
static u64 show_next_tsc, show_spent_tsc;
_Static_assert(CONSOLE_GUEST_BYTES == RING_BYTES / 2, "the other half is the hypervisor's");

static bool has_room(void)
{
    return RING_BYTES - (line.out_head - line.out_tail) >= CONSOLE_ANSWER_BYTES;
}

static void handle_interrupt(void)
{
    void (*notify)(void) = __atomic_load_n(&reader, __ATOMIC_ACQUIRE);

    spin_lock(&lock);
    serial_line_interrupt(&line, INTERRUPT_LOOPS, NULL);
    bool concerns = line.in_head != line.in_tail || (room_wanted && has_room());
    if (concerns)
        room_wanted = false;
    spin_unlock(&lock);
    if (concerns && notify)
        notify();
}

void console_init(void)
{
    line.port = SERIAL_COM1;
    present = serial_init(SERIAL_COM1);
    settled = false;
}

bool console_is_screen_only(void)
{
    return !present && screen.draw;
}

bool console_is_there(void)
{
    return present;
}

bool console_move(enum serial_port port, bool as_it_is)
{
    if (!(as_it_is ? serial_take_over(port) : serial_init(port)))
        return false;
    console_flush();
    spin_lock(&lock);
    line.port = port;
    present = true;
    serial_line_feed(&line);
    spin_unlock(&lock);
    return true;
}

void console_settle(void)
{
    settled = true;
    if (!present)
        line.out_tail = line.out_head;
}

void console_enable_interrupts(void)
{
    if (!present)
        return;
    irq_set_handler(IRQ_VECTOR_SERIAL, handle_interrupt);
    spin_lock(&lock);
    serial_set_interrupts(line.port, true, true);
    typing = true;
    spin_unlock(&lock);
}

bool console_set_reader(void (*function)(void))
{
    __atomic_store_n(&reader, function, __ATOMIC_RELEASE);
    return typing;
}

/* ---- the screen ---- */

static void take_in(u32 most)
{
    if (line.out_head - screen_tail > RING_BYTES)
        screen_tail = line.out_head - RING_BYTES; /* it would have scrolled away */
    for (; most && screen_tail != line.out_head; most--)
        screen_put(&screen, ring[screen_tail++ % RING_BYTES]);
}

/* The escape sequence behind `at`, which is before the end of the ring, erases a row and moves nothing: ESC [ K. */
static bool only_erases(u32 at)
{
    return line.out_head - at >= 3 && ring[(at + 1) % RING_BYTES] == '[' && ring[(at + 2) % RING_BYTES] == 'K';
}

/*
 * Of many short lines the last ones are all that will be seen: twice the rows, since the first ones scroll nothing. Not
 * if the cursor goes elsewhere. The first newline stays: it ends an escape sequence that has begun before.
 */
static void skip_unseen(void)
{
    u32 lines = 0, unread = line.out_head - screen_tail;

    for (u32 back = 1; back <= unread && back <= SKIP_LOOK_BYTES; back++) {
        u32 at = line.out_head - back;
        u8 byte = ring[at % RING_BYTES];
        if (byte == '\x1b' && !only_erases(at))
            return;
        if (byte != '\n' || ++lines <= 2 * SCREEN_ROWS)
            continue;
        screen_tail = at;
        return;
    }
}

static void show_all(void)
{
    take_in(RING_BYTES);
    while (screen_draw_row(&screen))
        ;
}

/* Something has been written. With the lock. */
static void note_written(void)
{
    if (!screen.draw)
        return;
    if (!show_notify)
        show_all();
    else if (!__atomic_exchange_n(&show_asked, true, __ATOMIC_SEQ_CST))
        show_notify();
}

void console_add_screen(screen_draw draw)
{
    spin_lock(&lock);
    screen_init(&screen, draw);
    screen_tail = 0; /* all that the ring still has */
    note_written();
    spin_unlock(&lock);
}

void console_set_show(void (*notify)(void))
{
    spin_lock(&lock);
    show_notify = notify;
    note_written();
    spin_unlock(&lock);
}

/* How long a screen stays as it is that was brought up to date in the time `spent`. */
static u64 show_rest(u64 spent)
{
    u64 least = clock_tsc_from_ns(SHOW_EVERY_NS), most = clock_tsc_from_ns(SHOW_MOST_NS);
    u64 rest = spent * SHOW_SHARE;

    return rest < least ? least : rest < most ? rest : most;
}

u64 console_show(u64 now)
{
    u64 since = now;
    bool more = __atomic_load_n(&show_asked, __ATOMIC_SEQ_CST);

    if (!more)
        return UINT64_MAX;
    if (now < show_next_tsc)
        return show_next_tsc;
    if (!show_spent_tsc) { /* the first piece */
        spin_lock(&lock);
        skip_unseen();
        spin_unlock(&lock);
    }
    for (u64 until = now + clock_tsc_from_ns(SHOW_NS); more && now < until; now = cpu_tsc()) {
        spin_lock(&lock);
        take_in(SHOW_BYTES);
        bool behind = screen_tail != line.out_head;
        more = behind || screen.changed;
        __atomic_store_n(&show_asked, more, __ATOMIC_SEQ_CST);
        spin_unlock(&lock);
        if (!behind) /* nobody else draws now: without the lock, since the page is slow memory */
            screen_draw_row(&screen);
    }
    show_spent_tsc += now - since;
    if (more)
        return now + clock_tsc_from_ns(SHOW_PAUSE_NS);
    show_next_tsc = now + show_rest(show_spent_tsc);
    show_spent_tsc = 0;
    return UINT64_MAX;
}

/* ---- writing ---- */

static void append(const char *text, size_t length)
{
    u32 at = line.out_head % RING_BYTES;
    size_t first = RING_BYTES - at < length ? RING_BYTES - at : length;

    memcpy(ring + at, text, first);
    memcpy(ring, text + first, length - first);
    /* After the bytes, so that a panic on another CPU never sends what is not there yet. */
    __atomic_store_n(&line.out_head, line.out_head + (u32)length, __ATOMIC_RELEASE);
}

static bool is_stalled(void)
{
    return stalled && line.out_tail == stalled_tail;
}

/*
 * Feeds the transmitter until at most `level` bytes wait. False if it stood still for so many reads of its status; from
 * then on it is asked once each time, until it moves.
 */
static bool drain_to(u32 level, u32 patience)
{
    u32 polls = 0;

    while (line.out_head - line.out_tail > level) {
        u32 before = line.out_tail;
        u32 limit = is_stalled() ? 1 : patience;
        serial_line_feed(&line);
        if (line.out_tail != before) {
            polls = 0;
        } else if (++polls >= limit) {
            stalled = true;
            stalled_tail = line.out_tail;
            return false;
        }
    }
    return true;
}

/* Until the last byte has left the wire. */
static void drain_wire(void)
{
    if (!drain_to(0, LAST_POLLS))
        return;
    for (u32 polls = 0; polls < LAST_POLLS && !serial_is_idle(line.port); polls++)
        ;
}

/* The screen goes on, whatever the port does: what has waited longest makes room. */
static void give_up_oldest(size_t length)
{
    u32 bytes = length < RING_BYTES ? (u32)length : RING_BYTES;

    line.out_tail += bytes;
    stalled_tail = line.out_tail;
    if (present)
        lost += bytes;
}

static void send(const char *text, size_t length)
{
    while (length) {
        size_t room = RING_BYTES - (line.out_head - line.out_tail);
        size_t part = length < room ? length : room;
        if (!part && (!present || !drain_to(RING_BYTES - 1, STALL_POLLS))) {
            if (!screen.draw) {
                lost += length;
                return;
            }
            give_up_oldest(length);
            continue;
        }
        append(text, part);
        text += part;
        length -= part;
        if (present)
            serial_line_feed(&line);
    }
}

static void say_what_was_lost(void)
{
    char note[80];

    if (LIKELY(!lost) || line.out_head - line.out_tail > CONSOLE_GUEST_BYTES)
        return;
    size_t length = format_text(note, sizeof note, "rootlet: warn: console: %lu bytes were lost\n", lost);
    lost = 0;
    send(note, length);
}

/* Without a port, text waits in the ring for one until it is settled that there is none. */
static bool is_silent(void)
{
    return !present && settled && !screen.draw;
}

void console_write(const char *text, size_t length)
{
    if (is_silent())
        return;
    spin_lock(&lock);
    if (line_open)
        send("\r\n", 2);
    line_open = false;
    if (UNLIKELY(row[0]))
        send("\r\x1b[K", 4);
    say_what_was_lost();
    send(text, length);
    if (UNLIKELY(row[0]))
        send(row, string_length(row));
    note_written();
    spin_unlock(&lock);
}

void console_write_raw(const char *text, size_t length)
{
    if (is_silent() || !length)
        return;
    spin_lock(&lock);
    line_open = text[length - 1] != '\n';
    send(text, length);
    note_written();
    spin_unlock(&lock);
}

void console_set_row(const char *new_row, const char *now)
{
    if (is_silent())
        return;
    spin_lock(&lock);
    if (line_open)
        send("\r\n", 2);
    line_open = false;
    (void)string_copy(row, sizeof row, new_row);
    now = now ? now : row;
    send(now, string_length(now));
    note_written();
    spin_unlock(&lock);
}

void console_end_row(void)
{
    spin_lock(&lock);
    if (row[0])
        send("\r\n", 2);
    row[0] = 0;
    note_written();
    spin_unlock(&lock);
}

u32 console_guest_bytes(void)
{
    return LIKELY(!row[0]) ? CONSOLE_GUEST_BYTES : CONSOLE_GUEST_BYTES / 16;
}

bool console_has_room(void)
{
    if (!present)
        return true;
    spin_lock(&lock);
    bool room = has_room() || is_stalled();
    room_wanted = !room;
    spin_unlock(&lock);
    return room;
}

u32 console_position(void)
{
    return __atomic_load_n(&line.out_head, __ATOMIC_RELAXED);
}

u32 console_waiting(u32 position)
{
    s32 waiting = (s32)(position - __atomic_load_n(&line.out_tail, __ATOMIC_RELAXED));

    return waiting > 0 && present && !is_stalled() ? (u32)waiting : 0;
}

u64 console_send_time_ns(u32 bytes)
{
    return bytes * NS_A_BYTE;
}

u64 console_report_wait_ns(void)
{
    u32 waiting = console_waiting(console_position());

    return waiting > REPORT_LEVEL ? console_send_time_ns(waiting - REPORT_LEVEL + REPORT_STRETCH) : 0;
}

void console_flush(void)
{
    if (!present)
        return;
    spin_lock(&lock);
    drain_wire();
    spin_unlock(&lock);
}

static void panic_show(const char *text, size_t length, bool new_line)
{
    take_in(RING_BYTES);
    if (new_line)
        screen_put(&screen, '\n');
    for (size_t i = 0; i < length; i++)
        screen_put(&screen, (u8)text[i]);
    show_all();
}

void console_panic_write(const char *text, size_t length)
{
    /* What was logged before comes out first; the lock's owner may be stopped for ever, so none is taken. */
    bool new_line = row[0];
    row[0] = 0;
    if (present && drain_to(0, LAST_POLLS) && (!new_line || serial_send_polled(line.port, (const u8 *)"\r\n", 2)) &&
        serial_send_polled(line.port, (const u8 *)text, length))
        drain_wire();
    if (screen.draw)
        panic_show(text, length, new_line);
}

void console_enable_typing(void)
{
    typing = true;
}

void console_type(const char *bytes, u32 count)
{
    void (*notify)(void) = __atomic_load_n(&reader, __ATOMIC_ACQUIRE);

    spin_lock(&lock);
    for (u32 i = 0; i < count && line.in_head - line.in_tail < INPUT_BYTES; i++)
        input[line.in_head++ % INPUT_BYTES] = (u8)bytes[i];
    spin_unlock(&lock);
    if (notify)
        notify();
}

int console_read(void)
{
    spin_lock(&lock);
    int byte = serial_line_take(&line);
    spin_unlock(&lock);
    return byte;
}
