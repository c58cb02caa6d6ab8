/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A against its data sheet: registers, interrupt identification, FIFO, timeout, loopback, modem status.
 * links: drivers/virt/uart.c kernel/vm/bus.c kernel/vm/vtimer.c
 */
#include "drivers/virt/uart.h"
#include "test/fake/device_bench.h"

#define COM1 0x3f8
#define DATA (COM1 + 0)
#define IER  (COM1 + 1)
#define IIR  (COM1 + 2)
#define FCR  (COM1 + 2)
#define LCR  (COM1 + 3)
#define MCR  (COM1 + 4)
#define LSR  (COM1 + 5)
#define MSR  (COM1 + 6)
#define SCR  (COM1 + 7)

static struct uart uart;
static char sent[64];
static unsigned sent_count;

static void put(void *context, u8 character)
{
    assert_ptr_equal(context, sent);
    sent[sent_count++] = (char)character;
    sent[sent_count] = 0;
}

static const char *typed; /* what is still with the peer */

static int get(void *context)
{
    assert_ptr_equal(context, sent);
    return *typed ? (u8)*typed++ : -1;
}

static int start(void **state)
{
    const struct uart_peer peer = {put, sent, get};
    (void)state;
    bench_start();
    sent_count = 0;
    sent[0] = 0;
    typed = "";
    assert_int_equal(uart_init(&uart, &bench.bus, &bench.timers, bench_line(), &peer), STATUS_OK);
    out(MCR, 0x0b); /* DTR, RTS, OUT2: interrupts reach the line */
    return 0;
}

/* A byte comes; false: the peer keeps it. */
static bool arrives(char character)
{
    const char text[] = {character, 0};

    typed = text;
    uart_take_input(&uart);
    bool taken = *typed == 0;
    typed = "";
    return taken;
}

static void receive(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_true(arrives((char)('a' + i)));
}

static void test_polled_output(void **state)
{
    (void)state;
    for (const char *c = "hello\n"; *c; c++) {
        assert_int_equal(in(LSR), 0x60);
        out(DATA, (u8)*c);
    }
    assert_string_equal(sent, "hello\n");
    assert_false(bench.level);
}

static void test_registers(void **state)
{
    (void)state;
    out(LCR, 0x83);
    out(DATA, 0x34);
    out(IER, 0x12);
    assert_int_equal(in(DATA), 0x34);
    assert_int_equal(in(IER), 0x12);
    out(LCR, 0x1b);
    assert_int_equal(in(LCR), 0x1b);
    assert_int_equal(in(IER), 0);
    assert_string_equal(sent, "");
    out(IER, 0xff);
    assert_int_equal(in(IER), 0x0f);
    out(SCR, 0xa5);
    assert_int_equal(in(SCR), 0xa5);
    out(MCR, 0xff);
    assert_int_equal(in(MCR), 0x1f);
}

static void test_detected_as_16550a(void **state)
{
    (void)state;
    assert_int_equal(in(IIR), 0x01);
    out(FCR, 0x01);
    assert_int_equal(0xc0 & in(IIR), 0xc0);
    out(FCR, 0x00);
    assert_int_equal(0xc0 & in(IIR), 0x00);
}

static void test_receive_without_fifo(void **state)
{
    (void)state;
    out(IER, 0x01);
    assert_true(arrives('x'));
    assert_false(arrives('y')); /* no room: the host keeps it */
    assert_true(bench.level);
    assert_int_equal(in(IIR), 0x04);
    assert_int_equal(in(LSR), 0x61);
    assert_int_equal(in(DATA), 'x');
    assert_false(bench.level);
    assert_int_equal(in(LSR), 0x60);
    assert_int_equal(in(IIR), 0x01);
}

static void test_transmitter_interrupt(void **state)
{
    (void)state;
    out(IER, 0x02); /* enabling it with an empty transmitter raises it */
    assert_true(bench.level);
    assert_int_equal(in(IIR), 0x02); /* reading the identification acknowledges it */
    assert_false(bench.level);
    assert_int_equal(in(IIR), 0x01);
    out(DATA, 'a'); /* sent at once: empty again, raised again */
    assert_true(bench.level);
    assert_int_equal(bench.rises, 2);
    out(IER, 0x00);
    assert_false(bench.level);
    out(IER, 0x02);
    assert_true(bench.level);
    assert_int_equal(in(IIR), 0x02);
    out(IER, 0x02); /* no change, no interrupt */
    assert_false(bench.level);
}

/* A driver that writes THR in its handler without a look at IIR: the line falls when THR is full, and rises again. */
static void test_transmitter_edge_without_iir(void **state)
{
    (void)state;
    out(IER, 0x02);
    assert_true(bench.level);
    unsigned rises = bench.rises;
    out(DATA, 'a');
    assert_true(bench.level);
    assert_int_equal(bench.rises, rises + 1);
    assert_int_equal(in(IIR), 0x02);
    assert_false(bench.level);
    out(DATA, 'b');
    assert_int_equal(bench.rises, rises + 2);
}

static void test_short_words_and_break(void **state)
{
    (void)state;
    for (u8 lcr = 0; lcr < 4; lcr++) {
        out(LCR, lcr);
        out(DATA, 0xff);
        assert_int_equal((u8)sent[lcr], 0xff >> (3 - lcr));
    }
    out(LCR, 0x40 | 0x03); /* acts on SOUT alone: in a loop the words go on */
    out(DATA, 'x');
    assert_int_equal(sent_count, 4);
    out(MCR, 0x10);
    out(DATA, 'y');
    assert_int_equal(in(LSR), 0x61);
    assert_int_equal(in(DATA), 'y');
    assert_int_equal(in(LSR), 0x60);
    assert_int_equal(in(DATA), 'y'); /* RBR keeps it */
}

static void test_priorities(void **state)
{
    (void)state;
    out(IER, 0x0f);
    out(MCR, 0x1b); /* in loopback, to make an overrun and a modem change */
    out(MCR, 0x1a);
    out(DATA, 'a');
    out(DATA, 'b');
    assert_int_equal(in(IIR), 0x06); /* line status: overrun */
    assert_int_equal(in(LSR), 0x63);
    assert_int_equal(in(LSR), 0x61); /* reading cleared it */
    assert_int_equal(in(IIR), 0x04);
    assert_int_equal(in(DATA), 'b'); /* without FIFO the new byte takes the place */
    assert_int_equal(in(IIR), 0x02);
    assert_int_equal(in(IIR), 0x00); /* modem status */
    in(MSR);
    assert_int_equal(in(IIR), 0x01);
}

static void test_fifo_triggers(void **state)
{
    (void)state;
    static const u8 levels[4] = {1, 4, 8, 14};
    out(IER, 0x01);
    for (unsigned i = 0; i < 4; i++) {
        out(FCR, (u8)(0x03 | i << 6));
        assert_false(bench.level);
        receive(levels[i] - 1u);
        assert_false(bench.level);
        receive(1);
        assert_true(bench.level);
        assert_int_equal(in(IIR), 0xc4);
        in(DATA);
        assert_false(bench.level); /* below the trigger again */
    }
}

static void test_fifo_order_and_end(void **state)
{
    (void)state;
    out(FCR, 0x01);
    receive(16);
    assert_false(arrives('z'));
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(DATA), 'a' + i);
    assert_int_equal(in(LSR), 0x60);
    receive(3);
    out(FCR, 0x03); /* clears the receive FIFO */
    assert_int_equal(in(LSR), 0x60);
    receive(3);
    out(FCR, 0x00); /* and so does leaving FIFO mode */
    assert_int_equal(in(LSR), 0x60);
}

/* Four character times of 10 bits at 9600 baud are 4.167 ms. */
static void test_fifo_timeout(void **state)
{
    (void)state;
    out(LCR, 0x83);
    out(DATA, 12);
    out(IER, 0);
    out(LCR, 0x03);
    out(FCR, 0xc1);
    out(IER, 0x01);
    receive(2);
    bench_run_until(4100000);
    assert_false(bench.level);
    receive(1); /* each byte starts the time anew */
    bench_run_until(8200000);
    assert_false(bench.level);
    bench_run_until(8300000);
    assert_true(bench.level);
    assert_int_equal(in(IIR), 0xcc);
    assert_int_equal(in(DATA), 'a'); /* reading clears it and starts the time anew */
    assert_false(bench.level);
    bench_run_until(13000000);
    assert_int_equal(in(IIR), 0xcc);
    in(DATA);
    in(DATA);
    bench_run_until(SECOND_NS);
    assert_false(bench.level); /* nothing is left */
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
}

static void test_out2_gates_the_line(void **state)
{
    (void)state;
    out(MCR, 0x03);
    out(IER, 0x03);
    receive(1);
    assert_false(bench.level);
    assert_int_equal(in(IIR), 0x04);
    out(MCR, 0x0b);
    assert_true(bench.level);
    out(MCR, 0x1b); /* loopback makes the pin inactive */
    assert_false(bench.level);
    assert_int_equal(in(IIR), 0x04);
}

static void test_loopback(void **state)
{
    (void)state;
    assert_int_equal(0xf0 & in(MSR), 0xb0); /* a terminal: DCD, DSR, CTS */
    out(FCR, 0x01);
    out(MCR, 0x1f);
    assert_int_equal(0xf0 & in(MSR), 0xf0);
    out(MCR, 0x11);                         /* DTR becomes DSR */
    assert_int_equal(in(MSR), 0x20 | 0x0d); /* CTS and DCD fell, and RI ended */
    out(MCR, 0x14);                         /* OUT1 becomes RI */
    assert_int_equal(in(MSR), 0x40 | 0x02); /* the beginning of RI is no delta */
    assert_int_equal(in(MSR), 0x40);
    out(DATA, 'l');
    assert_string_equal(sent, "");
    assert_int_equal(in(DATA), 'l');
    assert_false(arrives('x')); /* cut off from the line */
    for (unsigned i = 0; i < 17; i++)
        out(DATA, (u8)('0' + i));
    assert_int_equal(in(LSR), 0x63);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(DATA), '0' + i); /* an overrun does not touch the FIFO */
    assert_int_equal(in(LSR), 0x60);
}

/* Without FIFO one byte at a time; what the guest's read makes room for follows at once, with a new interrupt. */
static void test_takes_what_was_typed(void **state)
{
    (void)state;
    typed = "ab";
    uart_take_input(&uart);
    assert_string_equal(typed, "b");
    out(IER, 0x01);
    assert_true(bench.level);
    assert_int_equal(in(DATA), 'a');
    assert_true(bench.level);
    assert_int_equal(in(DATA), 'b');
    assert_int_equal(in(LSR), 0x60);
    assert_false(bench.level);
}

static void test_takes_no_more_than_fits(void **state)
{
    (void)state;
    out(FCR, 0x81); /* trigger at 8 */
    out(IER, 0x01);
    typed = "0123456789abcdefgh";
    uart_take_input(&uart);
    assert_string_equal(typed, "gh");
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in(DATA), "0123456789abcdef"[i]);
    assert_string_equal(typed, "");
    assert_int_equal(in(LSR), 0x61);
    assert_int_equal(in(DATA), 'g');
}

/* A driver's loopback test neither takes nor loses a byte; when it begins to listen, what waits comes. */
static void test_typed_before_the_driver(void **state)
{
    (void)state;
    out(MCR, 0x1b);
    typed = "x";
    uart_take_input(&uart);
    assert_string_equal(typed, "x");
    out(MCR, 0x0b);
    out(IER, 0x01);
    assert_true(bench.level);
    assert_int_equal(in(DATA), 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_polled_output, start),
        cmocka_unit_test_setup(test_registers, start),
        cmocka_unit_test_setup(test_detected_as_16550a, start),
        cmocka_unit_test_setup(test_receive_without_fifo, start),
        cmocka_unit_test_setup(test_transmitter_interrupt, start),
        cmocka_unit_test_setup(test_transmitter_edge_without_iir, start),
        cmocka_unit_test_setup(test_short_words_and_break, start),
        cmocka_unit_test_setup(test_priorities, start),
        cmocka_unit_test_setup(test_fifo_triggers, start),
        cmocka_unit_test_setup(test_fifo_order_and_end, start),
        cmocka_unit_test_setup(test_fifo_timeout, start),
        cmocka_unit_test_setup(test_out2_gates_the_line, start),
        cmocka_unit_test_setup(test_loopback, start),
        cmocka_unit_test_setup(test_takes_what_was_typed, start),
        cmocka_unit_test_setup(test_takes_no_more_than_fits, start),
        cmocka_unit_test_setup(test_typed_before_the_driver, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
