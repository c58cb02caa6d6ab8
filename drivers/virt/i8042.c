/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller. What the guest reads at port 0x60 comes from one output buffer; the controller's replies go
 * into it before what the keyboard has queued, and the keyboard's bytes wait while its clock is held low (command byte
 * bit 4). With no mouse the auxiliary commands fail as on a board without that port. Runs in VMX root operation under
 * the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/i8042.h"
#include "kernel/lib/string.h"

#define PORT_DATA    0x60u
#define PORT_COMMAND 0x64u

#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_SYSTEM      0x04u
#define STATUS_COMMAND     0x08u
#define STATUS_UNLOCKED    0x10u

#define BYTE_INTERRUPT         0x01u /* bits of the command byte */
#define BYTE_SYSTEM            0x04u
#define BYTE_KEYBOARD_DISABLED 0x10u
#define BYTE_MOUSE_DISABLED    0x20u
#define BYTE_TRANSLATE         0x40u
#define BYTE_DEFAULT           (BYTE_INTERRUPT | BYTE_SYSTEM | BYTE_MOUSE_DISABLED | BYTE_TRANSLATE)

#define OUTPUT_NOT_RESET 0x01u /* bits of the output port */
#define OUTPUT_A20       0x02u
#define OUTPUT_FULL      0x10u
#define OUTPUT_DEFAULT   0xcfu
#define INPUT_DEFAULT    0xa0u /* not locked, no manufacturing jumper */

/* Controller commands. */
enum {
    COMMAND_READ_BYTE = 0x20,
    COMMAND_WRITE_BYTE = 0x60,
    COMMAND_PASSWORD_TEST = 0xa4,
    COMMAND_MOUSE_DISABLE = 0xa7,
    COMMAND_MOUSE_ENABLE = 0xa8,
    COMMAND_MOUSE_TEST = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_KEYBOARD_TEST = 0xab,
    COMMAND_KEYBOARD_DISABLE = 0xad,
    COMMAND_KEYBOARD_ENABLE = 0xae,
    COMMAND_READ_INPUT = 0xc0,
    COMMAND_READ_OUTPUT = 0xd0,
    COMMAND_WRITE_OUTPUT = 0xd1,
    COMMAND_WRITE_KEYBOARD_BUFFER = 0xd2,
    COMMAND_WRITE_MOUSE_BUFFER = 0xd3,
    COMMAND_WRITE_MOUSE = 0xd4,
    COMMAND_A20_OFF = 0xdd,
    COMMAND_A20_ON = 0xdf,
    COMMAND_READ_TEST_INPUTS = 0xe0,
    COMMAND_PULSE = 0xf0 /* to 0xff: pulses low the output port's bits whose command bit is 0 */
};

#define REPLY_SELF_TEST   0x55u
#define REPLY_NO_PASSWORD 0xf1u
#define REPLY_PASSED      0x00u
#define REPLY_STUCK_CLOCK 0x01u

/* Keyboard commands and replies. */
enum {
    KEYBOARD_LEDS = 0xed,
    KEYBOARD_ECHO = 0xee,
    KEYBOARD_SCAN_SET = 0xf0,
    KEYBOARD_IDENTIFY = 0xf2,
    KEYBOARD_RATE = 0xf3,
    KEYBOARD_KEY_TYPEMATIC = 0xfb,
    KEYBOARD_KEY_MAKE = 0xfd,
    KEYBOARD_RESEND = 0xfe,
    KEYBOARD_RESET = 0xff
};

#define KEYBOARD_ACK    0xfau
#define KEYBOARD_PASSED 0xaau
#define KEYBOARD_ID_1   0xabu
#define KEYBOARD_ID_2   0x83u

/* Of scan code set 2 to 1, for the few bytes below 0x84 that a keyboard sends while no key is pressed. */
static u8 translate(const struct i8042 *k, u8 value)
{
    if (!(k->command_byte & BYTE_TRANSLATE))
        return value;
    switch (value) {
    case 0x01:
        return 0x43;
    case 0x02:
        return 0x41;
    case 0x03:
        return 0x3f;
    case KEYBOARD_ID_2:
        return 0x41;
    default:
        return value;
    }
}

/* Fills the output buffer if it is empty and something waits, and sets IRQ 1: buffer full, and interrupts wanted. */
static void update(struct i8042 *k)
{
    if (!k->output_full && k->reply_waits) {
        k->output = k->reply;
        k->reply_waits = false;
        k->output_full = true;
    } else if (!k->output_full && k->queue_count && !(k->command_byte & BYTE_KEYBOARD_DISABLED)) {
        k->output = translate(k, k->queue[0]);
        k->queue_count--;
        memmove(k->queue, k->queue + 1, k->queue_count);
        k->output_full = true;
    }
    line_set(&k->irq, k->output_full && k->command_byte & BYTE_INTERRUPT);
}

/* A reply of the controller; one that is not fetched before the next is lost. */
static void reply(struct i8042 *k, u8 value)
{
    k->reply = value;
    k->reply_waits = true;
}

/* The keyboard sends a byte; its buffer, once full, takes no more. */
static void send(struct i8042 *k, u8 value)
{
    if (k->queue_count < I8042_KEYBOARD_QUEUE)
        k->queue[k->queue_count++] = value;
    k->keyboard_last = value;
}

static void write_output_port(struct i8042 *k, u8 value)
{
    k->output_port = value | OUTPUT_NOT_RESET;
    if (!(value & OUTPUT_NOT_RESET))
        power_reset(k->power);
}

static void run_command(struct i8042 *k, u8 command)
{
    switch (command) {
    case COMMAND_READ_BYTE:
        reply(k, k->command_byte);
        break;
    case COMMAND_PASSWORD_TEST:
        reply(k, REPLY_NO_PASSWORD);
        break;
    case COMMAND_MOUSE_DISABLE:
        k->command_byte |= BYTE_MOUSE_DISABLED;
        break;
    case COMMAND_MOUSE_ENABLE: /* there is nothing to enable: guests that read the bit back see it */
        break;
    case COMMAND_MOUSE_TEST:
        reply(k, REPLY_STUCK_CLOCK);
        break;
    case COMMAND_SELF_TEST:
        k->command_byte |= BYTE_SYSTEM;
        reply(k, REPLY_SELF_TEST);
        break;
    case COMMAND_KEYBOARD_TEST:
        reply(k, REPLY_PASSED);
        break;
    case COMMAND_KEYBOARD_DISABLE:
        k->command_byte |= BYTE_KEYBOARD_DISABLED;
        break;
    case COMMAND_KEYBOARD_ENABLE:
        k->command_byte &= (u8)~BYTE_KEYBOARD_DISABLED;
        break;
    case COMMAND_READ_INPUT:
        reply(k, INPUT_DEFAULT);
        break;
    case COMMAND_READ_OUTPUT:
        reply(k, (u8)((k->output_port & ~OUTPUT_FULL) | (k->output_full ? OUTPUT_FULL : 0)));
        break;
    case COMMAND_WRITE_BYTE:
    case COMMAND_WRITE_OUTPUT:
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_MOUSE_BUFFER:
    case COMMAND_WRITE_MOUSE:
        k->parameter_of = command;
        break;
    case COMMAND_A20_OFF:
        k->output_port &= (u8)~OUTPUT_A20;
        break;
    case COMMAND_A20_ON:
        k->output_port |= OUTPUT_A20;
        break;
    case COMMAND_READ_TEST_INPUTS:
        reply(k, 0);
        break;
    default:
        if (command >= COMMAND_PULSE && !(command & OUTPUT_NOT_RESET))
            power_reset(k->power);
        else if ((command & 0xe0) == COMMAND_READ_BYTE)
            reply(k, 0); /* the controller's RAM beyond the command byte: nothing in it */
        else if ((command & 0xe0) == COMMAND_WRITE_BYTE)
            k->parameter_of = command;
        break;
    }
}

/* The parameter of a controller command. */
static void take_parameter(struct i8042 *k, u8 command, u8 value)
{
    switch (command) {
    case COMMAND_WRITE_BYTE:
        k->command_byte = value | BYTE_MOUSE_DISABLED;
        break;
    case COMMAND_WRITE_OUTPUT:
        write_output_port(k, value);
        break;
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_MOUSE_BUFFER: /* comes back as if from the keyboard: no status bit marks it as the mouse's */
        reply(k, value);
        break;
    default: /* for the mouse, which is absent, or the controller's RAM, which is not kept */
        break;
    }
}

static void take_keyboard_parameter(struct i8042 *k, u8 command, u8 value)
{
    send(k, KEYBOARD_ACK);
    if (command != KEYBOARD_SCAN_SET)
        return;
    if (value == 0)
        send(k, k->scan_set);
    else if (value <= 3)
        k->scan_set = value;
}

static void run_keyboard_command(struct i8042 *k, u8 command)
{
    if (command < KEYBOARD_LEDS || command == 0xef || command == 0xf1) {
        send(k, KEYBOARD_RESEND); /* not a command */
        return;
    }
    if (command == KEYBOARD_ECHO) {
        send(k, KEYBOARD_ECHO);
        return;
    }
    if (command == KEYBOARD_RESEND) {
        send(k, k->keyboard_last);
        return;
    }
    if (command == KEYBOARD_RESET) {
        k->queue_count = 0;
        k->scan_set = 2;
    }
    send(k, KEYBOARD_ACK);
    if (command == KEYBOARD_RESET) {
        send(k, KEYBOARD_PASSED);
    } else if (command == KEYBOARD_IDENTIFY) {
        send(k, KEYBOARD_ID_1);
        send(k, KEYBOARD_ID_2);
    } else if (command == KEYBOARD_LEDS || command == KEYBOARD_SCAN_SET || command == KEYBOARD_RATE ||
               (command >= KEYBOARD_KEY_TYPEMATIC && command <= KEYBOARD_KEY_MAKE)) {
        k->keyboard_parameter_of = command;
    }
}

/* A byte for the keyboard; sending one releases its clock. */
static void write_keyboard(struct i8042 *k, u8 value)
{
    u8 command = k->keyboard_parameter_of;

    k->command_byte &= (u8)~BYTE_KEYBOARD_DISABLED;
    k->keyboard_parameter_of = 0;
    if (command && value < KEYBOARD_LEDS)
        take_keyboard_parameter(k, command, value);
    else
        run_keyboard_command(k, value);
}

/* The buffer is empty for a moment even if more waits: each byte is an edge of its own on IRQ 1. */
static u64 read_data(void *device, u64 offset, u8 bytes)
{
    struct i8042 *k = device;
    u8 value = k->output; /* an empty buffer still shows its last byte */

    (void)offset;
    (void)bytes;
    if (k->output_full) {
        k->output_full = false;
        line_set(&k->irq, false);
        update(k);
    }
    return value;
}

static void write_data(void *device, u64 offset, u8 bytes, u64 value)
{
    struct i8042 *k = device;
    u8 command = k->parameter_of;

    (void)offset;
    (void)bytes;
    k->last_was_command = false;
    k->parameter_of = 0;
    if (command)
        take_parameter(k, command, (u8)value);
    else
        write_keyboard(k, (u8)value);
    update(k);
}

static u64 read_status(void *device, u64 offset, u8 bytes)
{
    const struct i8042 *k = device;

    (void)offset;
    (void)bytes;
    return STATUS_UNLOCKED | (k->output_full ? STATUS_OUTPUT_FULL : 0) |
           (k->command_byte & BYTE_SYSTEM ? STATUS_SYSTEM : 0) | (k->last_was_command ? STATUS_COMMAND : 0);
}

static void write_command(void *device, u64 offset, u8 bytes, u64 value)
{
    struct i8042 *k = device;

    (void)offset;
    (void)bytes;
    k->last_was_command = true;
    k->parameter_of = 0;
    run_command(k, (u8)value);
    update(k);
}

static const struct bus_ops data_ops = {read_data, write_data};
static const struct bus_ops command_ops = {read_status, write_command};

enum status i8042_init(struct i8042 *i8042, struct bus *bus, struct line irq, struct power *power)
{
    memset(i8042, 0, sizeof *i8042);
    i8042->irq = irq;
    i8042->power = power;
    i8042->command_byte = BYTE_DEFAULT;
    i8042->output_port = OUTPUT_DEFAULT;
    i8042->scan_set = 2;

    enum status status = bus_add_ports(bus, PORT_DATA, 1, 1, &data_ops, i8042);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, PORT_COMMAND, 1, 1, &command_ops, i8042);
    return status;
}

void i8042_copy(struct i8042 *i8042, const struct i8042 *from)
{
    struct i8042 own = *i8042;

    *i8042 = *from;
    i8042->irq = own.irq;
    i8042->power = own.power;
}
