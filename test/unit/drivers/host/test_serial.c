/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's UART driver on a 16550 with faults. National Semiconductor PC16550D, 8.0 "Registers".
 *
 * links: drivers/host/serial.c
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "drivers/host/serial.h"

enum { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCRATCH };
#define DLAB 0x80u
#define LOOP 0x10u
#define DR   0x01u
#define THRE 0x20u
#define TEMT 0x40u

static struct {
    u16 port;
    u8 divisor_low, divisor_high, ier, fcr, lcr, mcr, scratch;
    char sent[100];
    u32 sent_count;
    u32 in_fifo;    /* sent since the transmitter was seen empty */
    u32 polls;      /* of LSR with a full FIFO, until it is empty */
    u32 busy_polls; /* how many that takes; UINT32_MAX: for ever */
    const char *received;
    bool pending, no_scratch, no_loopback;
} uart;

static u8 line_status(void)
{
    if (uart.in_fifo && uart.busy_polls != UINT32_MAX && uart.polls++ >= uart.busy_polls)
        uart.in_fifo = uart.polls = 0;
    return (u8)((*uart.received ? DR : 0) | (uart.in_fifo ? 0 : THRE | TEMT));
}

/* In loopback DTR, RTS, OUT1 and OUT2 come back as DSR, CTS, RI and DCD. */
static u8 modem_status(void)
{
    if (!(uart.mcr & LOOP) || uart.no_loopback)
        return 0xb0;
    return (u8)((uart.mcr & 1) << 5 | (uart.mcr & 2) << 3 | (uart.mcr & 4) << 4 | (uart.mcr & 8) << 4);
}

u32 fake_port_read(u16 port, u32 bytes)
{
    bool latch = uart.lcr & DLAB;

    assert_int_equal(bytes, 1);
    if (port - uart.port > SCRATCH)
        return 0xff;
    switch (port - uart.port) {
    case DATA:
        return latch ? uart.divisor_low : *uart.received ? (u8)*uart.received++ : 0;
    case IER:
        return latch ? uart.divisor_high : uart.ier;
    case IIR_FCR:
        return uart.pending ? 0xc2 : 0xc1;
    case LCR:
        return uart.lcr;
    case MCR:
        return uart.mcr;
    case LSR:
        return line_status();
    case MSR:
        return modem_status();
    default:
        return uart.no_scratch ? 0 : uart.scratch;
    }
}

void fake_port_write(u16 port, u32 bytes, u32 value)
{
    u8 byte = (u8)value;
    bool latch = uart.lcr & DLAB;

    assert_int_equal(bytes, 1);
    if (port - uart.port > SCRATCH)
        return;
    switch (port - uart.port) {
    case DATA:
        if (latch) {
            uart.divisor_low = byte;
            return;
        }
        assert_false(uart.mcr & LOOP);
        assert_in_range(++uart.in_fifo, 1, 16); /* the 17th byte would be lost */
        uart.sent[uart.sent_count++] = (char)byte;
        return;
    case IER:
        *(latch ? &uart.divisor_high : &uart.ier) = byte;
        return;
    case IIR_FCR:
        uart.fcr = byte;
        return;
    case LCR:
        uart.lcr = byte;
        return;
    case MCR:
        uart.mcr = byte;
        return;
    case SCRATCH:
        uart.scratch = byte;
        return;
    default:
        fail_msg("register %d is read only", port - uart.port);
    }
}

/* As firmware may have left it: another speed, 7E2, interrupts on. */
static int start(void **state)
{
    (void)state;
    memset(&uart, 0, sizeof uart);
    uart.port = 0x2f8;
    uart.divisor_low = 12;
    uart.divisor_high = 1;
    uart.ier = 0x0f;
    uart.lcr = 0x1e;
    uart.received = "";
    return 0;
}

/* 115200 baud is divisor 1; 8N1 is 3; FIFOs on and emptied; DTR, RTS, and OUT2 for the interrupt. */
static void assert_started(void)
{
    assert_int_equal(uart.fcr & 0x07, 0x07);
    assert_int_equal(uart.mcr, 0x0b);
    assert_int_equal(uart.ier, 0);
    assert_int_equal(uart.lcr & DLAB, 0);
}

static void test_init(void **state)
{
    (void)state;
    assert_true(serial_init(SERIAL_COM2));
    assert_started();
    assert_int_equal(uart.divisor_high << 8 | uart.divisor_low, 1);
    assert_int_equal(uart.lcr, 0x03);
    assert_int_equal(uart.sent_count, 0);
}

/* Speed and format are firmware's, even if it stands at the divisor latch. */
static void test_take_over(void **state)
{
    (void)state;
    uart.lcr = 0x1e | DLAB;
    assert_true(serial_take_over(SERIAL_COM2));
    assert_started();
    assert_int_equal(uart.divisor_high << 8 | uart.divisor_low, 0x10c);
    assert_int_equal(uart.lcr, 0x1e);
    assert_int_equal(uart.sent_count, 0);
}

static void test_nobody_answers(void **state)
{
    (void)state;
    assert_false(serial_init(SERIAL_COM1)); /* reads all ones */
    assert_false(serial_take_over(SERIAL_COM1));
    assert_false(serial_init(SERIAL_NONE));
    assert_false(serial_take_over(SERIAL_NONE));
    uart.no_scratch = true;
    assert_false(serial_init(SERIAL_COM2));
    uart.no_scratch = false;
    uart.no_loopback = true;
    assert_false(serial_init(SERIAL_COM2));
    assert_int_equal(uart.divisor_high << 8 | uart.divisor_low, 0x10c); /* it was left as it is */
    assert_int_equal(uart.mcr & LOOP, 0);
}

/* No FIFO takes more than 16 bytes at once. */
static void test_send_polled(void **state)
{
    static const char text[] = "forty characters that take some polling.";

    (void)state;
    assert_true(serial_init(SERIAL_COM2));
    uart.busy_polls = 50;
    assert_true(serial_send_polled(SERIAL_COM2, (const u8 *)text, 40));
    assert_int_equal(uart.sent_count, 40);
    assert_string_equal(uart.sent, text);
    assert_true(serial_send_polled(SERIAL_COM2, (const u8 *)text, 0));
}

static void test_a_transmitter_that_stands_still(void **state)
{
    (void)state;
    assert_true(serial_init(SERIAL_COM2));
    uart.busy_polls = UINT32_MAX;
    assert_false(serial_send_polled(SERIAL_COM2, (const u8 *)"0123456789abcdefXYZ", 19));
    assert_string_equal(uart.sent, "0123456789abcdef");
    assert_false(serial_can_send(SERIAL_COM2));
    assert_false(serial_is_idle(SERIAL_COM2));
    uart.busy_polls = 0;
    assert_true(serial_can_send(SERIAL_COM2));
    assert_true(serial_is_idle(SERIAL_COM2));
}

static void test_receive(void **state)
{
    (void)state;
    assert_true(serial_init(SERIAL_COM2));
    assert_int_equal(serial_receive(SERIAL_COM2), -1);
    uart.received = "a\xff";
    assert_int_equal(serial_receive(SERIAL_COM2), 'a');
    assert_int_equal(serial_receive(SERIAL_COM2), 0xff);
    assert_int_equal(serial_receive(SERIAL_COM2), -1);
}

static void test_interrupts(void **state)
{
    (void)state;
    assert_true(serial_init(SERIAL_COM2));
    serial_set_interrupts(SERIAL_COM2, true, false);
    assert_int_equal(uart.ier, 0x01);
    serial_set_interrupts(SERIAL_COM2, false, true);
    assert_int_equal(uart.ier, 0x02);
    serial_set_interrupts(SERIAL_COM2, true, true);
    assert_int_equal(uart.ier, 0x03);
    assert_false(serial_acknowledge_interrupt(SERIAL_COM2));
    uart.pending = true;
    assert_true(serial_acknowledge_interrupt(SERIAL_COM2));
}

/* Where registers are 32 bits wide, each is at four times its number, and one write is one of 32 bits. */
static void test_registers_in_memory(void **state)
{
    static u32 wide[8];
    static u8 narrow[8];

    (void)state;
    serial_set_memory(wide, true);
    memset(wide, 0xff, sizeof wide);
    serial_set_interrupts(SERIAL_MEMORY, true, true);
    serial_send(SERIAL_MEMORY, 'w');
    assert_int_equal(wide[IER], 3);
    assert_int_equal(wide[DATA], 'w');
    wide[LSR] = 0xffffff00 | THRE;
    assert_true(serial_can_send(SERIAL_MEMORY));
    assert_false(serial_is_idle(SERIAL_MEMORY));
    assert_int_equal(serial_receive(SERIAL_MEMORY), -1);
    serial_set_memory(narrow, false);
    serial_set_interrupts(SERIAL_MEMORY, true, true);
    serial_send(SERIAL_MEMORY, 'n');
    assert_int_equal(narrow[IER], 3);
    assert_int_equal(narrow[DATA], 'n');
    narrow[LSR] = DR;
    assert_int_equal(serial_receive(SERIAL_MEMORY), 'n');
    assert_false(serial_init(SERIAL_MEMORY)); /* memory is no UART: it has no loopback */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_init, start),
        cmocka_unit_test_setup(test_take_over, start),
        cmocka_unit_test_setup(test_nobody_answers, start),
        cmocka_unit_test_setup(test_send_polled, start),
        cmocka_unit_test_setup(test_a_transmitter_that_stands_still, start),
        cmocka_unit_test_setup(test_receive, start),
        cmocka_unit_test_setup(test_interrupts, start),
        cmocka_unit_test_setup(test_registers_in_memory, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
