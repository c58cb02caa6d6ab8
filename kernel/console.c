/*
 * Two rings under one lock (the last in the lock order): bytes to send, 64 KiB, and bytes received. Whoever writes also
 * moves bytes if the transmitter is empty, which starts the chain of transmit interrupts, and before interrupts work is
 * the only drain. Without a UART output is thrown away. Any CPU, interrupts off; not in NMI context but for
 * console_panic_write.
 */
#include "kernel/console.h"
#include "arch/x86/irq.h"
#include "arch/x86/spinlock.h"
#include "kernel/lib/string.h"
#include "kernel/serial_line.h"

#define RING_BYTES      65536u
#define RESERVE_BYTES   (RING_BYTES / 2)
#define INPUT_BYTES     4096u /* a pasted text */
#define NS_A_BYTE       (1000000000ull * SERIAL_BITS_A_BYTE / SERIAL_BAUD)
#define INTERRUPT_LOOPS 64u /* a UART that never runs out of causes must not hold the CPU */

static struct spinlock lock;
static bool present;
static u8 ring[RING_BYTES], input[INPUT_BYTES];
static struct serial_line line = {SERIAL_COM1, RING_BYTES, INPUT_BYTES, ring, input, 0, 0, 0, 0};
static bool line_open; /* raw bytes have gone out since the last newline */
static bool interrupts;
static void (*reader)(void);

static void handle_interrupt(void)
{
    void (*notify)(void) = __atomic_load_n(&reader, __ATOMIC_ACQUIRE);

    spin_lock(&lock);
    serial_line_interrupt(&line, INTERRUPT_LOOPS, NULL);
    bool typed = line.in_head != line.in_tail;
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
    u32 at = line.out_head % RING_BYTES;
    size_t first = RING_BYTES - at < length ? RING_BYTES - at : length;

    memcpy(ring + at, text, first);
    memcpy(ring, text + first, length - first);
    /* After the bytes, so that a panic on another CPU never sends what is not there yet. */
    __atomic_store_n(&line.out_head, line.out_head + (u32)length, __ATOMIC_RELEASE);
}

static void send(const char *text, size_t length)
{
    while (length) {
        size_t room = RING_BYTES - (line.out_head - line.out_tail);
        size_t part = length < room ? length : room;
        append(text, part);
        text += part;
        length -= part;
        serial_line_feed(&line);
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
    return __atomic_load_n(&line.out_head, __ATOMIC_RELAXED) - __atomic_load_n(&line.out_tail, __ATOMIC_RELAXED);
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
    while (line.out_head != line.out_tail)
        serial_line_feed(&line);
    while (!serial_is_idle(SERIAL_COM1))
        ;
    spin_unlock(&lock);
}

void console_panic_write(const char *text, size_t length)
{
    if (!present)
        return;
    /* What was logged before comes out first; the lock's owner may be stopped for ever, so none is taken. */
    while (line.out_head != line.out_tail)
        serial_line_feed(&line);
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
    if (!present)
        return -1;
    spin_lock(&lock);
    int byte = serial_line_take(&line);
    spin_unlock(&lock);
    return byte;
}
