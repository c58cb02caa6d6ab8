/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VGA registers, in the state in which firmware leaves 80x25 colour text (mode 3). Bit 0 of the miscellaneous output
 * register decides whether the CRT controller answers at 0x3D4 (colour) or 0x3B4 (monochrome). Retrace follows guest
 * time: 70 frames a second, and in status register 1 both bits are set for the whole vertical blank, so that a slow
 * poll meets it too. Runs in VMX root operation under the VM's device lock; also on the host in tests.
 */
#include "drivers/virt/crtc.h"
#include "kernel/lib/string.h"

#define PORT_MONO     0x3b4u
#define PORT_VGA      0x3c0u
#define PORT_COLOUR   0x3d4u
#define ABSENT        0xffu
#define MISC_COLOUR   0x01u
#define MISC_DEFAULT  0x67u
#define ATTRIBUTE_MAX 0x3fu /* index and the bit that keeps the screen on */

/* 449 lines of 800 dots (900 in 9-dot text) at 28.322 MHz: 31.777 us each; 49 lines of them are vertical blank. */
#define LINE_NS         31777u
#define LINE_SHOWN_NS   25422u
#define FRAME_NS        (449u * LINE_NS)
#define FRAME_SHOWN_NS  (400u * LINE_NS)
#define STATUS_BLANK    0x01u
#define STATUS_VERTICAL 0x08u

enum { CRTC_INDEX = 0, CRTC_DATA = 1, CRTC_STATUS = 6 };

/* Offsets from PORT_VGA. */
enum {
    VGA_ATTRIBUTE = 0x0,
    VGA_ATTRIBUTE_READ = 0x1,
    VGA_MISC_WRITE = 0x2,
    VGA_SEQUENCER_INDEX = 0x4,
    VGA_SEQUENCER_DATA = 0x5,
    VGA_PALETTE_MASK = 0x6,
    VGA_PALETTE_READ_INDEX = 0x7,
    VGA_PALETTE_WRITE_INDEX = 0x8,
    VGA_PALETTE_DATA = 0x9,
    VGA_FEATURE_READ = 0xa,
    VGA_MISC_READ = 0xc,
    VGA_GRAPHICS_INDEX = 0xe,
    VGA_GRAPHICS_DATA = 0xf
};

/* Mode 3 of a VGA; the cursor is an underline. */
static const u8 registers_mode3[CRTC_REGISTERS] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00,
                                                   0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
                                                   0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const u8 attributes_mode3[CRTC_ATTRIBUTES] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
                                                     0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
static const u8 graphics_mode3[CRTC_GRAPHICS] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const u8 sequencer_mode3[CRTC_SEQUENCER] = {0x03, 0x00, 0x03, 0x00, 0x02};

static u8 read_file(const u8 *file, u8 count, u8 index)
{
    return index < count ? file[index] : 0;
}

static void write_file(u8 *file, u8 count, u8 index, u8 value)
{
    if (index < count)
        file[index] = value;
}

/* Also makes the next write to 0x3C0 an index again: that is how guests reset the flip-flop. */
static u8 read_status(struct crtc *crtc)
{
    u32 in_frame = (u32)(vtimer_now(crtc->timers) % FRAME_NS);

    crtc->attribute_data = false;
    if (in_frame >= FRAME_SHOWN_NS)
        return STATUS_VERTICAL | STATUS_BLANK;
    return in_frame % LINE_NS >= LINE_SHOWN_NS ? STATUS_BLANK : 0;
}

/* The ports that move between 0x3B4 and 0x3D4: `offset` from there. */
static u8 read_moving(struct crtc *crtc, u64 offset)
{
    if (offset == CRTC_INDEX)
        return crtc->index;
    if (offset == CRTC_DATA)
        return read_file(crtc->registers, CRTC_REGISTERS, crtc->index);
    return offset == CRTC_STATUS ? read_status(crtc) : ABSENT;
}

static void write_moving(struct crtc *crtc, u64 offset, u8 value)
{
    if (offset == CRTC_INDEX)
        crtc->index = value & 0x3f;
    else if (offset == CRTC_DATA)
        write_file(crtc->registers, CRTC_REGISTERS, crtc->index, value);
    else if (offset == CRTC_STATUS)
        crtc->feature_control = value;
}

static void write_attribute(struct crtc *crtc, u8 value)
{
    if (crtc->attribute_data)
        write_file(crtc->attributes, CRTC_ATTRIBUTES, crtc->attribute_index & 0x1f, value);
    else
        crtc->attribute_index = value & ATTRIBUTE_MAX;
    crtc->attribute_data = !crtc->attribute_data;
}

static void step_palette(struct crtc *crtc)
{
    crtc->palette_at = (u16)((crtc->palette_at + 1) % (256 * 3));
}

static u8 read_palette(struct crtc *crtc)
{
    u8 value = crtc->palette_at < sizeof crtc->palette ? crtc->palette[crtc->palette_at] : 0;
    step_palette(crtc);
    return value;
}

static void write_palette(struct crtc *crtc, u8 value)
{
    if (crtc->palette_at < sizeof crtc->palette)
        crtc->palette[crtc->palette_at] = value & 0x3f;
    step_palette(crtc);
}

static u8 read_fixed(struct crtc *crtc, u64 offset)
{
    switch (offset) {
    case VGA_ATTRIBUTE:
        return crtc->attribute_index;
    case VGA_ATTRIBUTE_READ:
        return read_file(crtc->attributes, CRTC_ATTRIBUTES, crtc->attribute_index & 0x1f);
    case VGA_MISC_WRITE: /* input status register 0: no interrupt, switch sense off */
        return 0;
    case VGA_SEQUENCER_INDEX:
        return crtc->sequencer_index;
    case VGA_SEQUENCER_DATA:
        return read_file(crtc->sequencer, CRTC_SEQUENCER, crtc->sequencer_index);
    case VGA_PALETTE_MASK:
        return crtc->palette_mask;
    case VGA_PALETTE_READ_INDEX: /* the DAC's state: 3 while reading, 0 while writing */
        return crtc->palette_reading ? 3 : 0;
    case VGA_PALETTE_WRITE_INDEX:
        return (u8)(crtc->palette_at / 3);
    case VGA_PALETTE_DATA:
        return read_palette(crtc);
    case VGA_FEATURE_READ:
        return crtc->feature_control;
    case VGA_MISC_READ:
        return crtc->misc_output;
    case VGA_GRAPHICS_INDEX:
        return crtc->graphics_index;
    case VGA_GRAPHICS_DATA:
        return read_file(crtc->graphics, CRTC_GRAPHICS, crtc->graphics_index);
    default:
        return ABSENT;
    }
}

static void write_fixed(struct crtc *crtc, u64 offset, u8 value)
{
    switch (offset) {
    case VGA_ATTRIBUTE:
        write_attribute(crtc, value);
        break;
    case VGA_MISC_WRITE:
        crtc->misc_output = value;
        break;
    case VGA_SEQUENCER_INDEX:
        crtc->sequencer_index = value & 7;
        break;
    case VGA_SEQUENCER_DATA:
        write_file(crtc->sequencer, CRTC_SEQUENCER, crtc->sequencer_index, value);
        break;
    case VGA_PALETTE_MASK:
        crtc->palette_mask = value;
        break;
    case VGA_PALETTE_READ_INDEX:
    case VGA_PALETTE_WRITE_INDEX:
        crtc->palette_at = (u16)(value * 3);
        crtc->palette_reading = offset == VGA_PALETTE_READ_INDEX;
        break;
    case VGA_PALETTE_DATA:
        write_palette(crtc, value);
        break;
    case VGA_GRAPHICS_INDEX:
        crtc->graphics_index = value & 15;
        break;
    case VGA_GRAPHICS_DATA:
        write_file(crtc->graphics, CRTC_GRAPHICS, crtc->graphics_index, value);
        break;
    default:
        break;
    }
}

static bool is_colour(const struct crtc *crtc)
{
    return crtc->misc_output & MISC_COLOUR;
}

static u64 read_mono(void *device, u64 offset, u8 bytes)
{
    (void)bytes;
    return is_colour(device) ? ABSENT : read_moving(device, offset);
}

static void write_mono(void *device, u64 offset, u8 bytes, u64 value)
{
    (void)bytes;
    if (!is_colour(device))
        write_moving(device, offset, (u8)value);
}

static u64 read_vga(void *device, u64 offset, u8 bytes)
{
    (void)bytes;
    if (offset < PORT_COLOUR - PORT_VGA)
        return read_fixed(device, offset);
    return is_colour(device) ? read_moving(device, offset - (PORT_COLOUR - PORT_VGA)) : ABSENT;
}

static void write_vga(void *device, u64 offset, u8 bytes, u64 value)
{
    (void)bytes;
    if (offset < PORT_COLOUR - PORT_VGA)
        write_fixed(device, offset, (u8)value);
    else if (is_colour(device))
        write_moving(device, offset - (PORT_COLOUR - PORT_VGA), (u8)value);
}

static const struct bus_ops mono_ops = {read_mono, write_mono};
static const struct bus_ops vga_ops = {read_vga, write_vga};

/* The 64 colours of EGA and VGA text: two bits for each of red, green and blue (rgbRGB). */
static void fill_palette(struct crtc *crtc)
{
    for (u8 i = 0; i < CRTC_PALETTE_ENTRIES; i++) {
        crtc->palette[3 * i] = (u8)((i & 0x04 ? 0x2a : 0) + (i & 0x20 ? 0x15 : 0));
        crtc->palette[3 * i + 1] = (u8)((i & 0x02 ? 0x2a : 0) + (i & 0x10 ? 0x15 : 0));
        crtc->palette[3 * i + 2] = (u8)((i & 0x01 ? 0x2a : 0) + (i & 0x08 ? 0x15 : 0));
    }
}

enum status crtc_init(struct crtc *crtc, struct bus *bus, const struct vtimer_set *timers)
{
    memset(crtc, 0, sizeof *crtc);
    crtc->timers = timers;
    crtc->misc_output = MISC_DEFAULT;
    crtc->palette_mask = 0xff;
    crtc->attribute_index = 0x20;
    memcpy(crtc->registers, registers_mode3, sizeof crtc->registers);
    memcpy(crtc->attributes, attributes_mode3, sizeof crtc->attributes);
    memcpy(crtc->graphics, graphics_mode3, sizeof crtc->graphics);
    memcpy(crtc->sequencer, sequencer_mode3, sizeof crtc->sequencer);
    fill_palette(crtc);

    enum status status = bus_add_ports(bus, PORT_MONO, 7, 1, &mono_ops, crtc);
    if (status == STATUS_OK)
        status = bus_add_ports(bus, PORT_VGA, 0x20, 1, &vga_ops, crtc);
    return status;
}

void crtc_copy(struct crtc *crtc, const struct crtc *from)
{
    struct crtc own = *crtc;

    *crtc = *from;
    crtc->timers = own.timers;
}
