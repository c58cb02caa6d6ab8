/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A. Each change of state ends in update(), which sets the interrupt line from the sources. On a PC the UART's
 * OUT2 pin gates its interrupt; in loopback mode the pin is inactive, and so is IRQ 4.
 * Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/uart.h"
#include "kernel/lib/string.h"

#define PORT_COM1 0x3f8u

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RECEIVED 0x01u
#define IER_THRE     0x02u
#define IER_LINE     0x04u
#define IER_MODEM    0x08u
#define IER_WRITABLE 0x0fu

#define IIR_NONE     0x01u
#define IIR_MODEM    0x00u
#define IIR_THRE     0x02u
#define IIR_RECEIVED 0x04u
#define IIR_LINE     0x06u
#define IIR_TIMEOUT  0x0cu
#define IIR_FIFO     0xc0u

#define FCR_ENABLE      0x01u
#define FCR_CLEAR_INPUT 0x02u

#define LCR_WORD    0x03u
#define LCR_STOP    0x04u
#define LCR_PARITY  0x08u
#define LCR_BREAK   0x40u
#define LCR_DIVISOR 0x80u
#define LCR_8_BITS  0x03u

#define MCR_DTR      0x01u
#define MCR_RTS      0x02u
#define MCR_OUT1     0x04u
#define MCR_OUT2     0x08u
#define MCR_LOOP     0x10u
#define MCR_WRITABLE 0x1fu

#define LSR_READY   0x01u
#define LSR_OVERRUN 0x02u
#define LSR_THRE    0x20u
#define LSR_TEMT    0x40u

#define MSR_DELTA  0x0fu
#define MSR_TERI   0x04u
#define MSR_CTS    0x10u
#define MSR_DSR    0x20u
#define MSR_RI     0x40u
#define MSR_DCD    0x80u
#define MSR_INPUTS 0xf0u

#define DIVISOR_9600 12u
/* One bit lasts divisor / 115200 s. */
#define NS_PER_BIT_OF_DIVISOR_1 8681u
#define TIMEOUT_CHARACTERS      4u

/* The highest-priority interrupt that is raised and enabled, as IIR shows it. */
static u8 interrupt_id(const struct uart *uart)
{
    if (uart->ier & IER_LINE && uart->overrun)
        return IIR_LINE;
    if (uart->ier & IER_RECEIVED && uart->received >= uart->trigger)
        return IIR_RECEIVED;
    if (uart->ier & IER_RECEIVED && uart->timeout)
        return IIR_TIMEOUT;
    if (uart->ier & IER_THRE && uart->thre_pending)
        return IIR_THRE;
    if (uart->ier & IER_MODEM && uart->msr & MSR_DELTA)
        return IIR_MODEM;
    return IIR_NONE;
}

static void update(const struct uart *uart)
{
    bool gated = (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
    line_set(&uart->irq, gated && interrupt_id(uart) != IIR_NONE);
}

/* Four character times, start, parity and stop bits included. */
static u64 timeout_ns(const struct uart *uart)
{
    u32 divisor = uart->divisor ? uart->divisor : 65536;
    u32 bits = 1 + 5 + (uart->lcr & LCR_WORD) + (uart->lcr & LCR_PARITY ? 1 : 0) + (uart->lcr & LCR_STOP ? 2 : 1);
    return (u64)TIMEOUT_CHARACTERS * bits * divisor * NS_PER_BIT_OF_DIVISOR_1;
}

/* The FIFO's timeout runs anew from each byte that comes or goes, while bytes wait below the trigger. */
static void restart_timeout(struct uart *uart)
{
    bool runs = uart->fifo_enabled && uart->received && uart->received < uart->trigger && uart->ier & IER_RECEIVED;

    uart->timeout = false;
    vtimer_arm(uart->timers, uart->timer, runs ? vtimer_now(uart->timers) + timeout_ns(uart) : VTIMER_NEVER);
}

static void fire_timeout(void *device, u64 now_ns)
{
    struct uart *uart = device;
    (void)now_ns;
    uart->timeout = uart->received != 0;
    update(uart);
}

static u8 capacity(const struct uart *uart)
{
    return uart->fifo_enabled ? UART_FIFO_BYTES : 1;
}

static void push(struct uart *uart, u8 character)
{
    uart->fifo[(uart->head + uart->received) % UART_FIFO_BYTES] = character;
    uart->received++;
    restart_timeout(uart);
    update(uart);
}

void uart_take_input(struct uart *uart)
{
    int character;

    if (!uart->peer.get)
        return;
    while (uart->received < capacity(uart) && !(uart->mcr & MCR_LOOP)) {
        character = uart->peer.get(uart->peer.context);
        if (character < 0)
            break;
        push(uart, (u8)character);
    }
}

/* Loopback: the receiver cannot hold the sender back. A full FIFO keeps its bytes, a full RBR is overwritten. */
static void receive_looped(struct uart *uart, u8 character)
{
    if (uart->received < capacity(uart)) {
        push(uart, character);
        return;
    }
    uart->overrun = true;
    if (!uart->fifo_enabled)
        uart->fifo[uart->head] = character;
    update(uart);
}

static u8 read_data(struct uart *uart)
{
    if (uart->received == 0)
        return uart->fifo[(uart->head + UART_FIFO_BYTES - 1) % UART_FIFO_BYTES]; /* RBR keeps what was read last */
    u8 character = uart->fifo[uart->head];
    uart->head = (u8)((uart->head + 1) % UART_FIFO_BYTES);
    uart->received--;
    restart_timeout(uart);
    update(uart);
    if (uart->received == 0)
        uart_take_input(uart);
    return character;
}

static void clear_fifo(struct uart *uart)
{
    uart->head = 0;
    uart->received = 0;
    restart_timeout(uart);
}

/*
 * Sending takes no time: THR is full and empty again at once. The transmitter's interrupt falls and rises anew, an edge
 * also for a driver that has not read IIR. Short words lack their upper bits; what is sent in a break is not heard.
 */
static void write_data(struct uart *uart, u8 character)
{
    u8 sent = character & (0xff >> (LCR_8_BITS - (uart->lcr & LCR_WORD)));

    if (uart->thre_pending && uart->ier & IER_THRE) {
        uart->thre_pending = false;
        update(uart);
    }
    uart->thre_pending = true;
    if (uart->mcr & MCR_LOOP)
        receive_looped(uart, sent);
    else if (!(uart->lcr & LCR_BREAK))
        uart->peer.put(uart->peer.context, sent);
    update(uart);
}

static u8 read_iir(struct uart *uart)
{
    u8 id = interrupt_id(uart);

    if (id == IIR_THRE) {
        uart->thre_pending = false; /* reading its identification acknowledges this source, and only this */
        update(uart);
    }
    return id | (uart->fifo_enabled ? IIR_FIFO : 0);
}

static u8 read_lsr(struct uart *uart)
{
    u8 lsr = LSR_THRE | LSR_TEMT | (uart->received ? LSR_READY : 0) | (uart->overrun ? LSR_OVERRUN : 0);

    if (uart->overrun) {
        uart->overrun = false;
        update(uart);
    }
    return lsr;
}

static u8 read_msr(struct uart *uart)
{
    u8 msr = uart->msr;

    if (msr & MSR_DELTA) {
        uart->msr &= MSR_INPUTS;
        update(uart);
    }
    return msr;
}

static void write_ier(struct uart *uart, u8 value)
{
    u8 old = uart->ier;

    uart->ier = value & IER_WRITABLE;
    if (uart->ier & ~(unsigned)old & IER_THRE)
        uart->thre_pending = true; /* the transmitter is empty: enabling its interrupt raises it */
    if ((uart->ier ^ old) & IER_RECEIVED && !uart->timeout)
        restart_timeout(uart);
    update(uart);
    uart_take_input(uart); /* a driver that begins to listen: what was typed before is still with the peer */
}

static void write_fcr(struct uart *uart, u8 value)
{
    static const u8 triggers[4] = {1, 4, 8, 14};
    bool enable = value & FCR_ENABLE;

    if (enable != uart->fifo_enabled || (enable && value & FCR_CLEAR_INPUT))
        uart->received = 0;
    uart->fifo_enabled = enable;
    uart->trigger = enable ? triggers[value >> 6] : 1;
    if (uart->received == 0)
        clear_fifo(uart);
    else
        restart_timeout(uart);
    update(uart);
}

/* MSR's input bits; what changed is added to its delta bits (RI: only its end counts). */
static void set_modem_inputs(struct uart *uart, u8 inputs)
{
    unsigned changed = (uart->msr ^ inputs) & MSR_INPUTS;
    unsigned delta = changed >> 4;

    if (inputs & MSR_RI)
        delta &= ~MSR_TERI;
    uart->msr = (u8)(inputs | delta | (uart->msr & MSR_DELTA));
}

static void write_mcr(struct uart *uart, u8 value)
{
    u8 inputs = MSR_CTS | MSR_DSR | MSR_DCD;

    uart->mcr = value & MCR_WRITABLE;
    if (value & MCR_LOOP)
        inputs = (u8)((value & MCR_RTS ? MSR_CTS : 0) | (value & MCR_DTR ? MSR_DSR : 0) |
                      (value & MCR_OUT1 ? MSR_RI : 0) | (value & MCR_OUT2 ? MSR_DCD : 0));
    set_modem_inputs(uart, inputs);
    update(uart);
}

static u64 read_register(void *device, u64 offset, u8 bytes)
{
    struct uart *uart = device;

    (void)bytes;
    switch (offset) {
    case REG_DATA:
        return uart->lcr & LCR_DIVISOR ? uart->divisor & 0xff : read_data(uart);
    case REG_IER:
        return uart->lcr & LCR_DIVISOR ? uart->divisor >> 8 : uart->ier;
    case REG_IIR_FCR:
        return read_iir(uart);
    case REG_LCR:
        return uart->lcr;
    case REG_MCR:
        return uart->mcr;
    case REG_LSR:
        return read_lsr(uart);
    case REG_MSR:
        return read_msr(uart);
    default:
        return uart->scr;
    }
}

static void write_register(void *device, u64 offset, u8 bytes, u64 value)
{
    struct uart *uart = device;
    u8 byte = (u8)value;

    (void)bytes;
    switch (offset) {
    case REG_DATA:
        if (uart->lcr & LCR_DIVISOR)
            uart->divisor = (u16)((uart->divisor & 0xff00) | byte);
        else
            write_data(uart, byte);
        break;
    case REG_IER:
        if (uart->lcr & LCR_DIVISOR)
            uart->divisor = (u16)((uart->divisor & 0xff) | byte << 8);
        else
            write_ier(uart, byte);
        break;
    case REG_IIR_FCR:
        write_fcr(uart, byte);
        break;
    case REG_LCR:
        uart->lcr = byte;
        break;
    case REG_MCR:
        write_mcr(uart, byte);
        break;
    case REG_SCR:
        uart->scr = byte;
        break;
    default: /* LSR and MSR: writing is for factory tests */
        break;
    }
}

static const struct bus_ops uart_ops = {read_register, write_register};

enum status uart_init(struct uart *uart, struct bus *bus, struct vtimer_set *timers, struct line irq,
                      const struct uart_peer *peer)
{
    memset(uart, 0, sizeof *uart);
    uart->irq = irq;
    uart->timers = timers;
    uart->peer = *peer;
    uart->timer = vtimer_add(timers, fire_timeout, uart);
    uart->trigger = 1;
    uart->lcr = LCR_8_BITS;
    uart->divisor = DIVISOR_9600;
    uart->msr = MSR_CTS | MSR_DSR | MSR_DCD;
    return bus_add_ports(bus, PORT_COM1, 8, 1, &uart_ops, uart);
}

void uart_copy(struct uart *uart, const struct uart *from)
{
    struct uart own = *uart;

    *uart = *from;
    uart->irq = own.irq;
    uart->timers = own.timers;
    uart->peer = own.peer;
    uart->timer = own.timer;
}
