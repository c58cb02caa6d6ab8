/*
 * Two rings under one lock (the last in the lock order): bytes to send, 64 KiB, and bytes received. head and tail run
 * freely; their difference is the fill. Whoever writes also moves bytes if the transmitter is empty, which starts the
 * chain of transmit interrupts, and before interrupts work is the only drain. Without a UART output is thrown away. Any
 * CPU, interrupts off; not in NMI context but for console_panic_write.
 */
#include "kernel/console.h"
#include "arch/x86/irq.h"
#include "arch/x86/spinlock.h"
#include "drivers/host/serial.h"
#include "kernel/lib/string.h"

#define RING_BYTES      65536u
#define RESERVE_BYTES   (RING_BYTES / 2)
#define INPUT_BYTES     4096u /* a pasted text */
#define NS_A_BYTE       (1000000000ull * SERIAL_BITS_A_BYTE / SERIAL_BAUD)
#define INTERRUPT_LOOPS 64u /* a UART that never runs out of causes must not hold the CPU */

static struct spinlock lock;
static bool present;
static u8 ring[RING_BYTES];
static u32 head, tail;
static u8 input[INPUT_BYTES];
static u32 input_head, input_tail;
static bool line_open; /* raw bytes have gone out since the last newline */
static bool interrupts;
static void (*reader)(void);

/* Moves what fits into an empty transmit FIFO. Lock held, UART present. */
static void feed_transmitter(void)
{
    if (head == tail || !serial_can_send(SERIAL_COM1))
        return;
    for (u32 i = 0; i < SERIAL_FIFO_BYTES && head != tail; i++)
        serial_send(SERIAL_COM1, ring[tail++ % RING_BYTES]);
}

static void take_input(void)
{
    for (int byte = serial_receive(SERIAL_COM1); byte >= 0; byte = serial_receive(SERIAL_COM1))
        if (input_head - input_tail < INPUT_BYTES)
            input[input_head++ % INPUT_BYTES] = (u8)byte;
}

static void handle_interrupt(void)
{
    void (*notify)(void) = __atomic_load_n(&reader, __ATOMIC_ACQUIRE);
    u32 loops = 0;

    spin_lock(&lock);
    /* Edge-triggered at the I/O APIC: every cause must be gone, or no further edge comes. */
    for (; loops < INTERRUPT_LOOPS && serial_acknowledge_interrupt(SERIAL_COM1); loops++) {
        take_input();
        feed_transmitter();
    }
    if (loops == INTERRUPT_LOOPS) { /* others' turn, then a new edge */
        serial_set_interrupts(SERIAL_COM1, false, false);
        serial_set_interrupts(SERIAL_COM1, true, true);
    }
    bool typed = input_head != input_tail;
    spin_unlock(&lock);
    if (typed && notify)
        notify();
}

void console_init(void)
{
    present = serial_init(SERIAL_COM1);
}

void console_enable_interrupts(void)
{
    if (!present)
        return;
    irq_set_handler(IRQ_VECTOR_SERIAL, handle_interrupt);
    spin_lock(&lock);
    serial_set_interrupts(SERIAL_COM1, true, true);
    interrupts = true;
    spin_unlock(&lock);
}

bool console_set_reader(void (*function)(void))
{
    __atomic_store_n(&reader, function, __ATOMIC_RELEASE);
    return interrupts;
}

static void append(const char *text, size_t length)
{
    u32 at = head % RING_BYTES;
    size_t first = RING_BYTES - at < length ? RING_BYTES - at : length;

    memcpy(ring + at, text, first);
    memcpy(ring, text + first, length - first);
    /* After the bytes, so that a panic on another CPU never sends what is not there yet. */
    __atomic_store_n(&head, head + (u32)length, __ATOMIC_RELEASE);
}

static void send(const char *text, size_t length)
{
    while (length) {
        size_t room = RING_BYTES - (head - tail);
        size_t part = length < room ? length : room;
        append(text, part);
        text += part;
        length -= part;
        feed_transmitter();
    }
}

void console_write(const char *text, size_t length)
{
    if (!present)
        return;
    spin_lock(&lock);
    if (line_open)
        send("\r\n", 2);
    line_open = false;
    send(text, length);
    spin_unlock(&lock);
}

void console_write_raw(const char *text, size_t length)
{
    if (!present || !length)
        return;
    spin_lock(&lock);
    line_open = text[length - 1] != '\n';
    send(text, length);
    spin_unlock(&lock);
}

/* A racy look at the fill is good enough: both calls are advice. */
static u32 backlog(void)
{
    return __atomic_load_n(&head, __ATOMIC_RELAXED) - __atomic_load_n(&tail, __ATOMIC_RELAXED);
}

s64 console_room(void)
{
    return (s64)(RING_BYTES - RESERVE_BYTES) - (s64)backlog();
}

u64 console_drain_estimate_ns(void)
{
    s64 room = console_room();
    return room < 0 ? (u64)-room * NS_A_BYTE : 0;
}

void console_flush(void)
{
    if (!present)
        return;
    spin_lock(&lock);
    while (head != tail)
        feed_transmitter();
    while (!serial_is_idle(SERIAL_COM1))
        ;
    spin_unlock(&lock);
}

void console_panic_write(const char *text, size_t length)
{
    if (!present)
        return;
    /* What was logged before comes out first; the lock's owner may be stopped for ever, so none is taken. */
    while (head != tail)
        feed_transmitter();
    for (size_t i = 0; i < length; i++) {
        while (!serial_can_send(SERIAL_COM1))
            ;
        serial_send(SERIAL_COM1, (u8)text[i]);
    }
    while (!serial_is_idle(SERIAL_COM1))
        ;
}

int console_read(void)
{
    int byte = -1;

    if (!present)
        return byte;
    spin_lock(&lock);
    if (input_head != input_tail)
        byte = input[input_tail++ % INPUT_BYTES];
    spin_unlock(&lock);
    return byte;
}
