/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console against a UART model: a FIFO of 16 bytes that empties when the test says so (or, if the console polls,
 * after a number of polls), and an edge-triggered transmit interrupt.
 * links: kernel/console.c kernel/serial_line.c kernel/screen.c kernel/lib/format.c kernel/lib/string.c test/fake/cpu.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/irq.h"
#include "drivers/host/serial.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "test/fake/cpu.h"

#define RING 65536u

static struct {
    enum serial_port port;
    bool present;
    u32 fifo;         /* bytes in it */
    bool transmit_on; /* interrupt enabled */
    bool pending;     /* transmit interrupt not yet acknowledged */
    u32 polls;        /* status reads since the last byte */
    u64 asked;        /* status reads in all */
    bool stuck;       /* does not empty by itself however often it is asked */
    char wire[4 * RING];
    u32 sent;
    const char *typed;
    const char *late; /* comes byte by byte, each as soon as the one before has been fetched */
    u32 edges;        /* of its line by itself: an interrupt enabled while there is a cause */
} uart;
static void (*handler)(void);

static void uart_empties(void)
{
    uart.fifo = 0;
    uart.pending = true;
}

bool serial_init(enum serial_port port)
{
    assert_int_equal(port, uart.port);
    return uart.present;
}

bool serial_take_over(enum serial_port port)
{
    return serial_init(port);
}

bool serial_send_polled(enum serial_port port, const u8 *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i % SERIAL_FIFO_BYTES == 0)
            for (u32 polls = 0; !serial_can_send(port); polls++)
                if (polls == 100)
                    return false;
        serial_send(port, bytes[i]);
    }
    return true;
}

void serial_set_interrupts(enum serial_port port, bool receive, bool transmit)
{
    assert_int_equal(port, uart.port);
    assert_int_equal(receive, transmit);
    uart.transmit_on = transmit;
    uart.pending = transmit && uart.fifo == 0;
    uart.edges += uart.pending;
}

bool serial_can_send(enum serial_port port)
{
    assert_int_equal(port, uart.port);
    assert_true(uart.present);
    uart.asked++;
    if (uart.fifo && !uart.stuck && ++uart.polls > 20)
        uart_empties();
    return uart.fifo == 0;
}

bool serial_is_idle(enum serial_port port)
{
    assert_int_equal(port, uart.port);
    return serial_can_send(port);
}

void serial_send(enum serial_port port, u8 byte)
{
    assert_int_equal(port, uart.port);
    assert_true(uart.fifo < SERIAL_FIFO_BYTES); /* else the byte would be lost */
    assert_true(uart.sent < sizeof uart.wire);
    uart.wire[uart.sent++] = (char)byte;
    uart.fifo++;
    uart.polls = 0;
    uart.pending = false;
}

int serial_receive(enum serial_port port)
{
    assert_int_equal(port, uart.port);
    return uart.typed && *uart.typed ? (u8)*uart.typed++ : -1;
}

bool serial_acknowledge_interrupt(enum serial_port port)
{
    assert_int_equal(port, uart.port);
    if (uart.late && *uart.late && !(uart.typed && *uart.typed)) {
        static char byte[2];
        byte[0] = *uart.late++;
        uart.typed = byte;
    }
    bool pending = uart.pending || (uart.typed && *uart.typed);
    uart.pending = false;
    return pending;
}

void irq_set_handler(u8 vector, void (*h)(void))
{
    assert_int_equal(vector, IRQ_VECTOR_SERIAL);
    handler = h;
}

u64 clock_tsc_from_ns(u64 ns)
{
    return ns;
}

/* As the machine would: the FIFO runs empty, the interrupt comes. False once nothing more happens. */
static bool interrupt(void)
{
    u32 before = uart.sent;
    uart_empties();
    if (uart.transmit_on && handler)
        handler();
    return uart.sent != before;
}

static void drain_and_forget(void)
{
    uart.stuck = false;
    console_flush();
    uart.sent = 0;
    uart.fifo = 0;
    uart.stuck = true;
}

static int reset(void **state)
{
    (void)state;
    memset(&uart, 0, sizeof uart);
    uart.port = SERIAL_COM1;
    uart.present = true;
    handler = NULL;
    console_set_show(NULL);
    console_add_screen(NULL);
    console_init();
    while (console_read() >= 0)
        ;
    drain_and_forget();
    return 0;
}

static void write_text(const char *text)
{
    console_write(text, strlen(text));
}

static void assert_wire(const char *text)
{
    assert_int_equal(uart.sent, strlen(text));
    assert_memory_equal(uart.wire, text, uart.sent);
}

static void without_interrupts_each_write_moves_a_fifo_full(void **state)
{
    (void)state;
    write_text("0123456789abcdefghij\n");
    assert_wire("0123456789abcdef");
    write_text("x\n"); /* FIFO still full */
    assert_wire("0123456789abcdef");
    uart.fifo = 0;
    write_text("y\n");
    assert_wire("0123456789abcdefghij\nx\ny\n");
}

static void the_interrupt_chain_drains_and_restarts(void **state)
{
    (void)state;
    console_enable_interrupts();
    handler();
    write_text("0123456789abcdefghij\n");
    while (interrupt())
        ;
    assert_wire("0123456789abcdefghij\n");
    write_text("again\n"); /* the transmitter is idle and its interrupt was acknowledged: the write must start it */
    while (interrupt())
        ;
    assert_wire("0123456789abcdefghij\nagain\n");
}

static void a_full_ring_waits_and_loses_nothing(void **state)
{
    static char text[RING + 5000];

    (void)state;
    for (u32 i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 23);
    console_write(text, 3000); /* so that the ring's end lies inside */
    drain_and_forget();
    uart.stuck = false;
    console_write(text, sizeof text);
    assert_in_range(uart.sent, 5000, 5000 + SERIAL_FIFO_BYTES);
    console_flush();
    assert_int_equal(uart.sent, sizeof text);
    assert_memory_equal(uart.wire, text, sizeof text);
}

static void what_waits_and_how_long(void **state)
{
    static char text[RING];

    (void)state;
    u32 before = console_position();
    assert_int_equal(console_waiting(before), 0);
    uart.fifo = 1; /* nothing moves */
    console_write(text, 1000);
    u32 first = console_position();
    console_write(text, 152);
    assert_int_equal(first - before, 1000);
    assert_int_equal(console_waiting(first), 1000);
    assert_int_equal(console_waiting(console_position()), 1152);
    assert_int_equal(console_report_wait_ns(), 0);
    console_write(text, RING * 3 / 4 - 1152);
    assert_int_equal(console_report_wait_ns(), 0);
    console_write(text, 1);
    assert_int_equal(console_report_wait_ns(),
                     console_send_time_ns(4097));                     /* then there is room for more than a line */
    assert_in_range(console_send_time_ns(1152), 99990000, 100000000); /* 11520 bytes a second */
    drain_and_forget();
    assert_int_equal(console_waiting(first), 0);
    assert_int_equal(console_waiting(console_position()), 0);
}

static void panic_text_follows_what_was_buffered(void **state)
{
    (void)state;
    uart.fifo = 1;
    write_text("before it\n");
    uart.stuck = false;
    console_panic_write("panic\n", 6);
    assert_wire("before it\npanic\n");
}

static void typed_bytes_come_back_in_order(void **state)
{
    static char flood[6000];

    (void)state;
    assert_int_equal(console_read(), -1);
    console_enable_interrupts();
    uart.typed = "hi\xff";
    handler();
    assert_int_equal(console_read(), 'h');
    assert_int_equal(console_read(), 'i');
    assert_int_equal(console_read(), 0xff);
    assert_int_equal(console_read(), -1);
    memset(flood, 'z', sizeof flood - 1);
    uart.typed = flood;
    handler(); /* more than fits is dropped, and the UART is emptied all the same */
    assert_int_equal(*uart.typed, 0);
    u32 kept = 0;
    while (console_read() == 'z')
        kept++;
    assert_int_equal(kept, 4096);
}

/* The handler leaves a UART that never runs out of causes; its line has not fallen, so it must be made to rise. */
static void bytes_that_never_end_get_a_new_edge(void **state)
{
    char text[301] = "";

    (void)state;
    memset(text, 'b', sizeof text - 1);
    console_enable_interrupts();
    uart.late = text;
    u32 seen, rounds = 0;
    do {
        seen = uart.edges;
        handler();
        rounds++;
    } while (uart.edges != seen);
    assert_int_equal(*uart.late, 0);
    assert_in_range(rounds, 2, 300); /* it does not stay until all have come */
    u32 kept = 0;
    while (console_read() == 'b')
        kept++;
    assert_int_equal(kept, 300);
}

static unsigned calls;

static void reader(void)
{
    calls++;
    while (console_read() >= 0) /* the console's lock is free */
        ;
}

static void the_reader_is_told_of_typed_bytes_only(void **state)
{
    (void)state;
    calls = 0;
    console_enable_interrupts();
    assert_true(console_set_reader(reader));
    write_text("out\n");
    interrupt();
    assert_int_equal(calls, 0);
    uart.typed = "hi";
    handler();
    assert_int_equal(calls, 1);
    console_set_reader(NULL);
    uart.typed = "x";
    handler();
    assert_int_equal(calls, 1);
}

/* Whatever is written comes above the row that somebody types. */
static void a_row_stays_below_what_is_written(void **state)
{
    (void)state;
    uart.stuck = false;
    console_set_row("\rrow", NULL);
    assert_int_equal(console_guest_bytes(), CONSOLE_GUEST_BYTES / 16);
    write_text("one\n");
    console_set_row("\rrow+", "+");
    write_text("two\n");
    console_end_row();
    write_text("three\n");
    assert_int_equal(console_guest_bytes(), CONSOLE_GUEST_BYTES);
    console_flush();
    assert_wire("\rrow\r\x1b[Kone\n\rrow+\r\x1b[Ktwo\n\rrow+\r\nthree\n");
}

static void a_panic_does_not_continue_the_row(void **state)
{
    (void)state;
    uart.stuck = false;
    console_set_row("row", NULL);
    console_panic_write("panic\n", 6);
    console_panic_write("more\n", 5);
    assert_wire("row\r\npanic\nmore\n");
}

/* Who has a long answer is called when there is room again, and not before. */
static void room_that_was_asked_for(void **state)
{
    static char text[RING - 8000];

    (void)state;
    calls = 0;
    console_enable_interrupts();
    assert_true(console_set_reader(reader));
    assert_true(console_has_room());
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\n';
    console_write(text, sizeof text);
    assert_false(console_has_room());
    interrupt();
    assert_int_equal(calls, 0);
    for (u32 i = 0; i < 64; i++)
        interrupt();
    assert_int_equal(calls, 1);
    assert_true(console_has_room());
}

/* What a VM sends raw comes out as it is and at once; a line of the host's never continues it. */
static void raw_bytes_and_lines(void **state)
{
    (void)state;
    uart.stuck = false;
    console_write_raw("$ ", 2);
    console_write_raw("\x1b[J", 3);
    write_text("line\n");
    write_text("two\n");
    console_write_raw("a\r\n", 3);
    write_text("next\n");
    console_flush();
    assert_wire("$ \x1b[J\r\nline\ntwo\na\r\nnext\n");
}

static void without_a_uart_all_is_silent(void **state)
{
    static char text[2 * RING];

    (void)state;
    uart.present = false;
    console_init();
    console_settle();
    console_write(text, sizeof text);
    console_enable_interrupts();
    console_flush();
    console_panic_write(text, 100);
    assert_int_equal(console_read(), -1);
    assert_null(handler);
    assert_int_equal(console_waiting(console_position()), 0);
    assert_int_equal(uart.sent, 0);
}

/* It holds the machine up once; from then on nothing waits for it, and what is missing is said when it goes on. */
static void a_dead_transmitter_ends_no_machine(void **state)
{
    static char text[RING];
    static const char note[] = "rootlet: warn: console: 1017 bytes were lost\n";

    (void)state;
    memset(text, 't', sizeof text);
    uart.fifo = 1;
    console_write(text, RING - 10);
    assert_int_equal(console_waiting(console_position()), RING - 10); /* until it is known to be dead */
    console_write(text, 1000);                                        /* of which 10 fit */
    assert_in_range(uart.asked, 5000, 30000);                         /* some 10 ms */
    uart.asked = 0;
    console_write(text, 27);
    console_flush();
    console_panic_write(text, 10);
    assert_in_range(uart.asked, 1, 10);
    assert_int_equal(console_waiting(console_position()), 0);
    uart.stuck = false;
    uart.fifo = 0;
    console_flush();
    write_text("alive\n");
    console_flush();
    assert_int_equal(uart.sent, RING + strlen(note) + 6);
    assert_memory_equal(uart.wire + RING, note, strlen(note));
    assert_memory_equal(uart.wire + RING + strlen(note), "alive\n", 6);
}

static void a_port_found_later_gets_all(void **state)
{
    (void)state;
    uart.present = false;
    console_init();
    write_text("early\n");
    assert_int_equal(uart.sent, 0);
    uart.port = (enum serial_port)0xc000;
    assert_false(console_move(uart.port, false)); /* nothing answers */
    uart.present = true;
    assert_true(console_move(uart.port, true));
    console_settle();
    write_text("late\n");
    uart.stuck = false;
    console_flush();
    assert_wire("early\nlate\n");
}

/* ---- the screen ---- */

static char page[SCREEN_ROWS][SCREEN_COLUMNS];
static u32 draws, notes;

static void draw(u32 row, u32 column, const u16 *cells, u32 count)
{
    draws++;
    fake_cpu.tsc += 150000;
    for (u32 i = 0; i < count; i++)
        page[row][column + i] = (char)cells[i];
}

static void note(void)
{
    notes++;
}

/* The last row with text, and those above it, of which nothing else is asked here. */
static bool screen_ends_with(const char *text)
{
    const char *end = text + strlen(text);
    u32 row = SCREEN_ROWS;

    while (row && !memcmp(page[row - 1], "        ", 8))
        row--;
    for (; row && end > text; row--) {
        const char *begin = end;
        while (begin > text && begin[-1] != '|')
            begin--;
        if (memcmp(page[row - 1], begin, (size_t)(end - begin)) || page[row - 1][end - begin] != ' ')
            return false;
        end = begin > text ? begin - 1 : text;
    }
    return end == text;
}

static void the_screen_shows_what_was_and_is_written(void **state)
{
    (void)state;
    write_text("before\n");
    console_add_screen(draw);
    assert_true(screen_ends_with("before"));
    write_text("after\n");
    console_write_raw("$ ", 2);
    assert_true(screen_ends_with("before|after|$"));
    console_set_row("\rrow", NULL);
    write_text("line\n");
    assert_true(screen_ends_with("after|$|line|row"));
    console_end_row();
    uart.stuck = false;
    console_panic_write("panic\n", 6);
    assert_true(screen_ends_with("$|line|row|panic"));
    assert_memory_equal(uart.wire + uart.sent - 6, "panic\n", 6);
}

/* While guests run no writer draws; the work does, in pieces, and leaves a screen alone that has just changed. */
static void the_screen_is_drawn_by_work(void **state)
{
    static char text[4000];
    u64 again;
    u32 pieces = 1;

    (void)state;
    console_add_screen(draw);
    console_set_show(note);
    fake_cpu.tsc += 100000000;
    assert_int_equal(console_show(fake_cpu.tsc), UINT64_MAX);
    fake_cpu.tsc += 100000000;
    draws = notes = 0;
    memset(text, 'x', sizeof text);
    for (u32 i = 9; i < sizeof text; i += 10)
        text[i] = '\n';
    console_write(text, sizeof text);
    write_text("end\n");
    assert_int_equal(draws, 0);
    assert_int_equal(notes, 1);
    while ((again = console_show(fake_cpu.tsc)) != UINT64_MAX) {
        assert_int_equal(draws, 2 * pieces); /* 150 us each: the second one began before 200 us had passed */
        assert_int_equal(again, fake_cpu.tsc + 1000000);
        pieces++;
    }
    assert_int_equal(pieces, (SCREEN_ROWS + 1) / 2);
    assert_true(screen_ends_with("xxxxxxxxx|xxxxxxxxx|end"));
    assert_int_equal(notes, 1);
    write_text("more\n");
    assert_int_equal(notes, 2);
    again = console_show(fake_cpu.tsc);
    assert_int_equal(again, fake_cpu.tsc + 500000000); /* at most: two hundred times what it took would be longer */
    assert_true(screen_ends_with("end"));
    fake_cpu.tsc = again;
    while (console_show(fake_cpu.tsc) != UINT64_MAX)
        ;
    assert_true(screen_ends_with("end|more"));
    fake_cpu.tsc += 250000000;
    write_text("\x1b[A\x1b[A\n5\x1b[A\b67"); /* three rows change: 450 us */
    while (console_show(fake_cpu.tsc) != UINT64_MAX)
        ;
    write_text("8");
    assert_int_equal(console_show(fake_cpu.tsc), fake_cpu.tsc + 90000000);
    fake_cpu.tsc += 90000000;
    assert_int_equal(console_show(fake_cpu.tsc), UINT64_MAX);
    write_text("9");
    assert_int_equal(console_show(fake_cpu.tsc), fake_cpu.tsc + 40000000); /* at least */
    write_text("\nlast\n");
    console_set_show(NULL);
    assert_true(screen_ends_with("last"));
}

static void show_to_the_end(void)
{
    fake_cpu.tsc += 1000000000;
    while (console_show(fake_cpu.tsc) != UINT64_MAX)
        fake_cpu.tsc += 1000000;
}

/* What many short lines scroll away need not be drawn; but these scroll nothing. */
static void lines_that_scroll_nothing_are_shown(void **state)
{
    (void)state;
    console_add_screen(draw);
    console_set_show(note);
    write_text("\x1b[2Jbefore");
    show_to_the_end();
    write_text("\x1b[1;1Htop     ");
    for (u32 n = 0; n < 3 * SCREEN_ROWS; n++)
        write_text("\x1b[5;1Hx\n");
    write_text("end\n");
    show_to_the_end();
    assert_memory_equal(page[0], "top", 3);
    assert_memory_equal(page[4], "x ", 2);
    assert_memory_equal(page[5], "end", 3);
    for (u32 n = 0; n < 3 * SCREEN_ROWS; n++)
        write_text("\r\x1b[Ky\n");
    show_to_the_end();
    assert_true(screen_ends_with("y|y|y"));
    assert_memory_equal(page[0], "y ", 2);
    console_set_show(NULL);
    memset(page, ' ', sizeof page);
}

static void the_screen_needs_no_uart(void **state)
{
    static char text[3 * RING + 1];

    (void)state;
    uart.present = false;
    uart.asked = 0;
    console_init();
    write_text("early\n");
    console_add_screen(draw);
    console_settle();
    assert_true(screen_ends_with("early"));
    console_set_show(note);
    memset(text, 'x', sizeof text);
    for (u32 i = 0; i < 100; i++)
        text[sizeof text - 1 - i * 20] = '\n';
    console_write(text, sizeof text);
    write_text("end\n");
    assert_true(console_has_room());
    assert_int_equal(console_waiting(console_position()), 0);
    console_set_show(NULL);
    assert_true(screen_ends_with("xxxxxxxxxxxxxxxxxxx|xxxxxxxxxxxxxxxxxxx|end"));
    console_flush();
    console_panic_write("panic\n", 6);
    assert_true(screen_ends_with("end|panic"));
    assert_int_equal(uart.sent, 0);
    assert_int_equal(uart.asked, 0);
}

/* What keys send is read as what arrives at the port is, also without one. */
static void keys_type(void **state)
{
    static char flood[5000];

    (void)state;
    uart.present = false;
    console_init();
    console_settle();
    console_enable_typing();
    calls = 0;
    assert_true(console_set_reader(NULL));
    console_type("\x1d"
                 "ab",
                 3);
    assert_int_equal(console_read(), 0x1d);
    assert_int_equal(console_read(), 'a');
    assert_int_equal(console_read(), 'b');
    assert_int_equal(console_read(), -1);
    console_type(flood, sizeof flood);
    for (u32 kept = 0; kept < 4096; kept++)
        assert_int_equal(console_read(), 0);
    assert_int_equal(console_read(), -1);
    assert_true(console_set_reader(reader));
    console_type("x", 1);
    assert_int_equal(calls, 1);
    assert_int_equal(console_read(), -1);
    console_set_reader(NULL);
}

/* What a dead port has no room for is seen, and when it goes on it sends the newest. */
static void the_screen_goes_on_beside_a_dead_transmitter(void **state)
{
    static char text[RING];
    static const char lost[] = "rootlet: warn: console: 4 bytes were lost\n";

    (void)state;
    console_add_screen(draw);
    memset(text, 't', sizeof text);
    text[sizeof text - 1] = '\n';
    uart.fifo = 1;
    console_write(text, RING);
    write_text("new\n");
    assert_true(screen_ends_with("new"));
    uart.asked = 0;
    console_panic_write("panic\n", 6);
    assert_true(screen_ends_with("new|panic"));
    assert_in_range(uart.asked, 1, 10);
    uart.stuck = false;
    uart.fifo = 0;
    console_flush();
    write_text("alive\n");
    console_flush();
    assert_memory_equal(uart.wire, text + 4, RING - 4);
    assert_memory_equal(uart.wire + RING - 4, "new\n", 4);
    assert_memory_equal(uart.wire + RING, lost, strlen(lost));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        T(without_interrupts_each_write_moves_a_fifo_full),
        T(the_interrupt_chain_drains_and_restarts),
        T(a_full_ring_waits_and_loses_nothing),
        T(what_waits_and_how_long),
        T(panic_text_follows_what_was_buffered),
        T(typed_bytes_come_back_in_order),
        T(bytes_that_never_end_get_a_new_edge),
        T(the_reader_is_told_of_typed_bytes_only),
        T(a_row_stays_below_what_is_written),
        T(a_panic_does_not_continue_the_row),
        T(room_that_was_asked_for),
        T(raw_bytes_and_lines),
        T(without_a_uart_all_is_silent),
        T(a_dead_transmitter_ends_no_machine),
        T(a_port_found_later_gets_all),
        T(the_screen_shows_what_was_and_is_written),
        T(the_screen_is_drawn_by_work),
        T(lines_that_scroll_nothing_are_shown),
        T(the_screen_needs_no_uart),
        T(keys_type),
        T(the_screen_goes_on_beside_a_dead_transmitter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
