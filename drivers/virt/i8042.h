/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller at ports 0x60 and 0x64 with a keyboard on which nobody types, and no mouse. IRQ 1. The input
 * buffer is always empty: commands and data are taken at once. Commands reset the PC through the output port.
 * IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
 */
#ifndef ROOTLET_DRIVERS_VIRT_I8042_H
#define ROOTLET_DRIVERS_VIRT_I8042_H

#include "drivers/virt/power.h"
#include "kernel/vm/irq.h"

#define I8042_KEYBOARD_QUEUE 8

struct i8042 {
    struct line irq;
    struct power *power;
    u8 command_byte;
    u8 output_port;
    u8 output;       /* the output buffer, if output_full */
    u8 reply;        /* a controller's reply that waits for the buffer, if reply_waits */
    u8 parameter_of; /* the controller command whose parameter comes next at port 0x60; 0: none */
    u8 keyboard_parameter_of;
    u8 keyboard_last; /* for "resend" */
    u8 scan_set;
    u8 queue[I8042_KEYBOARD_QUEUE]; /* what the keyboard has yet to send */
    u8 queue_count;
    bool output_full;
    bool reply_waits;
    bool last_was_command; /* the last byte was written to port 0x64: status bit 3 */
};

/* Registers the ports. `power` takes resets and must outlive the device. Status: as of bus_add_ports. */
enum status i8042_init(struct i8042 *i8042, struct bus *bus, struct line irq, struct power *power) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void i8042_copy(struct i8042 *i8042, const struct i8042 *from);

#endif
