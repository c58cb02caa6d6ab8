/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two 8259As. Each change of state ends in update(), which runs the priority logic once and tells the host if INTR
 * rose; reading and the pending test then cost a load. IRR bits follow the data sheet: an edge input's request is
 * set by the rising edge and lost when the input falls before INTA, a level input's request is the input. Runs in VMX
 * root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/pic.h"
#include "kernel/lib/string.h"

#define PORT_MASTER 0x20u
#define PORT_SLAVE  0xa0u
#define PORT_ELCR   0x4d0u

#define CASCADE_PIN      2u
#define CASCADE_BIT      (1u << CASCADE_PIN)
#define NO_LEVEL         8u
#define SPURIOUS_LEVEL   7u
#define BASE_MASK        0xf8u
#define ELCR_MASTER_MASK 0xf8u /* IRQ 0, 1 and 2 are edge-triggered for good */
#define ELCR_SLAVE_MASK  0xdeu /* and so are 8 and 13 */

#define FIRMWARE_MASK 0xf8u /* IRQ 0, IRQ 1 and the cascade are open */

#define ICW1_ICW4        0x01u
#define ICW1_SINGLE      0x02u
#define ICW1_SELECT      0x10u
#define ICW4_AUTO_EOI    0x02u
#define ICW4_NESTED      0x10u
#define OCW2_LEVEL       0x07u
#define OCW2_COMMAND     0xe0u
#define OCW3_SELECT      0x08u
#define OCW3_READ_ISR    0x01u
#define OCW3_READ        0x02u
#define OCW3_POLL        0x04u
#define OCW3_MASK_SET    0x20u
#define OCW3_MASK_ENABLE 0x40u
#define POLL_REQUEST     0x80u

/* The bits of OCW2 as commands: R (rotate), SL (the level is given), EOI. */
enum {
    OCW2_ROTATE_AUTO_CLEAR = 0x00,
    OCW2_EOI = 0x20,
    OCW2_EOI_LEVEL = 0x60,
    OCW2_ROTATE_AUTO_SET = 0x80,
    OCW2_ROTATE_EOI = 0xa0,
    OCW2_SET_PRIORITY = 0xc0,
    OCW2_ROTATE_EOI_LEVEL = 0xe0
};

/* The position of the highest-priority level in `levels` (not 0), counted from the chip's highest priority: 0 to 7. */
static ALWAYS_INLINE unsigned rank(const struct pic_chip *chip, unsigned levels)
{
    return (unsigned)__builtin_ctz((levels | levels << 8) >> chip->first);
}

/* That level itself. */
static ALWAYS_INLINE unsigned highest(const struct pic_chip *chip, unsigned levels)
{
    return LIKELY(!chip->first) ? (unsigned)__builtin_ctz(levels) : (rank(chip, levels) + chip->first) & 7;
}

/* The level for which the chip asserts INT, or NO_LEVEL. */
static unsigned requested_level(const struct pic_chip *chip)
{
    unsigned requests = chip->irr & ~(unsigned)chip->imr;

    if (chip->special_mask)
        requests &= ~(unsigned)chip->isr;
    if (requests == 0 || chip->init)
        return NO_LEVEL;

    unsigned best = rank(chip, requests);
    unsigned level = (best + chip->first) & 7;
    if (chip->isr && !chip->special_mask) {
        unsigned serving = rank(chip, chip->isr);
        bool nested_slave = chip->special_fully_nested && level == CASCADE_PIN;
        if (serving < best || (serving == best && !nested_slave))
            return NO_LEVEL;
    }
    return level;
}

/* True if the chip asserts INT. With nothing in service any open request does: no need for its level. */
static ALWAYS_INLINE bool is_requesting(const struct pic_chip *chip)
{
    if (!(chip->irr & ~(unsigned)chip->imr))
        return false;
    if (LIKELY(!(chip->isr | chip->init)))
        return true;
    return requested_level(chip) != NO_LEVEL;
}

static ALWAYS_INLINE void update_master(struct pic *pic)
{
    bool output = is_requesting(&pic->master);

    if (output == pic->output)
        return;
    pic->output = output;
    if (output)
        pic->output_raised(pic->context);
}

/* True if IRR changed. */
static ALWAYS_INLINE bool set_input(struct pic_chip *chip, unsigned bit, bool level)
{
    unsigned irr = chip->irr;
    unsigned lines = chip->lines;

    if (!level) {
        chip->lines = (u8)(lines & ~bit);
        chip->irr = (u8)(irr & ~bit);
        return irr & bit;
    }
    if (lines & bit)
        return false;
    chip->lines = (u8)(lines | bit);
    chip->irr = (u8)(irr | bit);
    return true;
}

static void update(struct pic *pic)
{
    set_input(&pic->master, CASCADE_BIT, is_requesting(&pic->slave));
    update_master(pic);
}

void pic_set_line(void *device, u8 pin, bool level)
{
    struct pic *pic = device;
    struct pic_chip *chip = pin < 8 ? &pic->master : &pic->slave;

    if (!set_input(chip, 1u << (pin & 7), level))
        return;
    if (pin < 8)
        update_master(pic);
    else
        update(pic);
}

static ALWAYS_INLINE void latch_edge(struct pic_chip *chip, unsigned level)
{
    u8 bit = (u8)(1u << level);

    chip->lines |= bit;
    chip->irr |= bit;
}

void pic_pulse_line(void *device, u8 pin)
{
    struct pic *pic = device;

    if (UNLIKELY(pin >= 8)) {
        latch_edge(&pic->slave, pin - 8);
        update(pic);
    } else {
        latch_edge(&pic->master, pin);
        update_master(pic);
    }
}

bool pic_pending(void *device)
{
    const struct pic *pic = device;
    return pic->output;
}

/* Puts `level` in service, as the first INTA pulse or a poll does. */
static ALWAYS_INLINE void take(struct pic_chip *chip, unsigned level)
{
    u8 bit = (u8)(1u << level);

    chip->irr &= (u8)(~bit | chip->level); /* a level input's request stays */
    if (LIKELY(!chip->auto_eoi))
        chip->isr |= bit;
    else if (chip->rotate_on_auto_eoi)
        chip->first = (level + 1) & 7;
}

/* The slave's part of INTA. Its INT drops until the priority logic has run again: a new edge for the master. */
static COLD u8 acknowledge_slave(struct pic *pic)
{
    unsigned level = requested_level(&pic->slave);

    if (level == NO_LEVEL)
        level = SPURIOUS_LEVEL;
    else
        take(&pic->slave, level);
    set_input(&pic->master, CASCADE_BIT, false);
    update(pic);
    return (u8)(pic->slave.base | level);
}

/* INTR is asserted for `level`. It falls, or stays if there is another request: nothing to tell. */
static ALWAYS_INLINE u8 acknowledge_level(struct pic *pic, unsigned level)
{
    struct pic_chip *master = &pic->master;

    take(master, level);
    if (UNLIKELY(level == CASCADE_PIN && !master->single))
        return acknowledge_slave(pic);
    pic->output = is_requesting(master);
    return (u8)(master->base | level);
}

static COLD u8 acknowledge_nested(struct pic *pic)
{
    return acknowledge_level(pic, requested_level(&pic->master));
}

u8 pic_acknowledge(void *device)
{
    struct pic *pic = device;
    struct pic_chip *master = &pic->master;

    if (UNLIKELY(!pic->output))
        return master->base | SPURIOUS_LEVEL;
    if (UNLIKELY(master->isr))
        return acknowledge_nested(pic);
    return acknowledge_level(pic, highest(master, master->irr & ~(unsigned)master->imr));
}

/* The poll command: the next read is an INTA that returns the level instead of driving a vector. */
static u8 poll(struct pic *pic, struct pic_chip *chip)
{
    unsigned level = requested_level(chip);

    chip->poll = false;
    if (level == NO_LEVEL)
        return 0;
    take(chip, level);
    if (chip == &pic->slave)
        set_input(&pic->master, CASCADE_BIT, false);
    update(pic);
    return (u8)(POLL_REQUEST | level);
}

static ALWAYS_INLINE u64 read_chip(struct pic *pic, struct pic_chip *chip, u64 offset)
{
    if (UNLIKELY(chip->poll))
        return poll(pic, chip);
    if (offset)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip->irr;
}

/* Initialisation clears the edge latches, so a request needs a new rising edge; level inputs request on. */
static void begin_init(struct pic_chip *chip, u8 icw1)
{
    chip->irr = chip->lines & chip->level;
    chip->imr = 0;
    chip->isr = 0;
    chip->first = 0;
    chip->init = 2;
    chip->need_icw4 = icw1 & ICW1_ICW4;
    chip->single = icw1 & ICW1_SINGLE;
    chip->auto_eoi = false;
    chip->rotate_on_auto_eoi = false;
    chip->special_mask = false;
    chip->special_fully_nested = false;
    chip->poll = false;
    chip->read_isr = false;
}

/* Clears the highest-priority level in service and returns it. Special mask mode does not see masked levels. */
static unsigned end_highest(struct pic_chip *chip)
{
    unsigned serving = chip->isr & (chip->special_mask ? ~(unsigned)chip->imr : 0xffu);

    if (serving == 0)
        return NO_LEVEL;
    unsigned level = highest(chip, serving);
    chip->isr &= (u8) ~(1u << level);
    return level;
}

static void write_ocw2(struct pic_chip *chip, u8 value)
{
    unsigned level = value & OCW2_LEVEL;

    switch (value & OCW2_COMMAND) {
    case OCW2_EOI:
        end_highest(chip);
        break;
    case OCW2_EOI_LEVEL:
        chip->isr &= (u8) ~(1u << level);
        break;
    case OCW2_ROTATE_EOI:
        level = end_highest(chip);
        if (level != NO_LEVEL)
            chip->first = (level + 1) & 7;
        break;
    case OCW2_ROTATE_EOI_LEVEL:
        chip->isr &= (u8) ~(1u << level);
        chip->first = (level + 1) & 7;
        break;
    case OCW2_SET_PRIORITY:
        chip->first = (level + 1) & 7;
        break;
    case OCW2_ROTATE_AUTO_SET:
        chip->rotate_on_auto_eoi = true;
        break;
    case OCW2_ROTATE_AUTO_CLEAR:
        chip->rotate_on_auto_eoi = false;
        break;
    default: /* "no operation" */
        break;
    }
}

static void write_ocw3(struct pic_chip *chip, u8 value)
{
    if (value & OCW3_MASK_ENABLE)
        chip->special_mask = value & OCW3_MASK_SET;
    if (value & OCW3_POLL)
        chip->poll = true;
    else if (value & OCW3_READ)
        chip->read_isr = value & OCW3_READ_ISR;
}

static void write_icw(struct pic_chip *chip, u8 value)
{
    if (chip->init == 2) {
        chip->base = value & BASE_MASK;
        chip->init = !chip->single ? 3 : chip->need_icw4 ? 4 : 0;
    } else if (chip->init == 3) {
        chip->init = chip->need_icw4 ? 4 : 0; /* the cascade is wired as in every PC, whatever ICW3 says */
    } else {
        chip->auto_eoi = value & ICW4_AUTO_EOI;
        chip->special_fully_nested = value & ICW4_NESTED;
        chip->init = 0;
    }
}

static void write_chip(struct pic *pic, struct pic_chip *chip, u64 offset, u8 value)
{
    if (offset && chip->init)
        write_icw(chip, value);
    else if (offset)
        chip->imr = value;
    else if (value & ICW1_SELECT)
        begin_init(chip, value);
    else if (value & OCW3_SELECT)
        write_ocw3(chip, value);
    else
        write_ocw2(chip, value);
    if (chip == &pic->slave)
        update(pic);
    else
        update_master(pic);
}

static u64 read_master(void *device, u64 offset, u8 bytes)
{
    struct pic *pic = device;
    (void)bytes;
    return read_chip(pic, &pic->master, offset);
}

static u64 read_slave(void *device, u64 offset, u8 bytes)
{
    struct pic *pic = device;
    (void)bytes;
    return read_chip(pic, &pic->slave, offset);
}

static void write_master(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pic *pic = device;
    (void)bytes;
    write_chip(pic, &pic->master, offset, (u8)value);
}

static void write_slave(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pic *pic = device;
    (void)bytes;
    write_chip(pic, &pic->slave, offset, (u8)value);
}

static u64 read_elcr(void *device, u64 offset, u8 bytes)
{
    const struct pic *pic = device;
    (void)bytes;
    return offset ? pic->slave.level : pic->master.level;
}

/* An input that becomes level-triggered requests while it is high; one that becomes edge-triggered keeps its request.
 */
static void write_elcr(void *device, u64 offset, u8 bytes, u64 value)
{
    struct pic *pic = device;
    struct pic_chip *chip = offset ? &pic->slave : &pic->master;

    (void)bytes;
    chip->level = (u8)(value & (offset ? ELCR_SLAVE_MASK : ELCR_MASTER_MASK));
    chip->irr = (u8)((chip->irr & ~(unsigned)chip->level) | (chip->lines & chip->level));
    update(pic);
}

static const struct bus_ops master_ops = {read_master, write_master};
static const struct bus_ops slave_ops = {read_slave, write_slave};
static const struct bus_ops elcr_ops = {read_elcr, write_elcr};

enum status pic_init(struct pic *pic, struct bus *bus, void (*output_raised)(void *context), void *context)
{
    memset(pic, 0, sizeof *pic);
    pic->output_raised = output_raised;
    pic->context = context;
    pic->master.base = 0x08;
    pic->master.imr = FIRMWARE_MASK;
    pic->slave.base = 0x70;
    pic->slave.imr = 0xff;

    enum status status = bus_add_ports(bus, PORT_MASTER, 2, 1, &master_ops, pic);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, PORT_SLAVE, 2, 1, &slave_ops, pic);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, PORT_ELCR, 2, 1, &elcr_ops, pic);
    return status;
}

void pic_copy(struct pic *pic, const struct pic *from)
{
    struct pic own = *pic;

    *pic = *from;
    pic->output_raised = own.output_raised;
    pic->context = own.context;
}
