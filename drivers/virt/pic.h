/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC's pair of 8259A interrupt controllers with the ELCR of a PCI chipset: ports 0x20-0x21, 0xA0-0xA1, 0x4D0-0x4D1.
 * Invariant: `output` is INTR, the result of the priority logic on the present state; each rise is told to the host
 * once. Intel 8259A data sheet (231468); the ELCR as in the 82371SB (PIIX3), which disables ICW1's LTIM bit.
 */
#ifndef ROOTLET_DRIVERS_VIRT_PIC_H
#define ROOTLET_DRIVERS_VIRT_PIC_H

#include "kernel/vm/bus.h"

struct pic_chip {
    u8 irr;
    u8 imr;
    u8 isr;
    u8 lines; /* level of each input now */
    u8 level; /* ELCR: bit set: level-triggered, clear: edge-triggered */
    u8 base;  /* vector of IR0 */
    u8 first; /* the level that has the highest priority */
    u8 init;  /* the ICW that is expected next (2 to 4); 0: initialised */
    bool need_icw4;
    bool single;
    bool auto_eoi;
    bool rotate_on_auto_eoi;
    bool special_mask;
    bool special_fully_nested;
    bool poll; /* the next read is a poll */
    bool read_isr;
};

struct pic {
    bool output;
    struct pic_chip master;
    struct pic_chip slave;
    void (*output_raised)(void *context);
    void *context;
};

/*
 * Registers the ports. The pair begins as a PC's firmware leaves it: vectors 0x08 and 0x70, IRQ 0 and 1 not masked.
 * output_raised is called at each rise of INTR. Status: as of bus_add_ports.
 */
enum status pic_init(struct pic *pic, struct bus *bus, void (*output_raised)(void *context), void *context) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void pic_copy(struct pic *pic, const struct pic *from);
/* A struct line's `set`. pin: 0 to 15 but not 2, to which no device is wired: it is the cascade. */
void pic_set_line(void *pic, u8 pin, bool level);
/* And its `pulse`: as low and high again, but a request that is still latched stays so without INTR moving. */
void pic_pulse_line(void *pic, u8 pin);
/* INTR: a struct intc's `pending`. */
bool pic_pending(void *pic);
/* The INTA cycle: a struct intc's `acknowledge`. With no request left it is IR7, not put in service, as hardware does.
 */
u8 pic_acknowledge(void *pic);

#endif
