/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registers of a VGA in 80x25 text mode: ports 0x3B4-0x3BA (monochrome) and 0x3C0-0x3DA. They keep what is written
 * and show a plausible retrace; the text page itself is guest memory, and nothing here changes how it is shown. IBM
 * PS/2 Hardware Interface Technical Reference, "Video Graphics Array".
 */
#ifndef ROOTLET_DRIVERS_VIRT_CRTC_H
#define ROOTLET_DRIVERS_VIRT_CRTC_H

#include "kernel/vm/bus.h"
#include "kernel/vm/vtimer.h"

#define CRTC_REGISTERS       25
#define CRTC_ATTRIBUTES      21
#define CRTC_GRAPHICS        9
#define CRTC_SEQUENCER       5
#define CRTC_PALETTE_ENTRIES 64 /* what text mode can show; the rest of the 256 is not kept */

struct crtc {
    const struct vtimer_set *timers;
    u8 index;
    u8 attribute_index;
    u8 graphics_index;
    u8 sequencer_index;
    u8 misc_output;
    u8 feature_control;
    u8 palette_mask;
    bool attribute_data; /* the next write to 0x3C0 is data, not an index */
    bool palette_reading;
    u16 palette_at; /* entry * 3 + component, 0 to 767 */
    u8 registers[CRTC_REGISTERS];
    u8 attributes[CRTC_ATTRIBUTES];
    u8 graphics[CRTC_GRAPHICS];
    u8 sequencer[CRTC_SEQUENCER];
    u8 palette[CRTC_PALETTE_ENTRIES * 3];
};

/* Registers the ports; `timers` tells the time. Status: as of bus_add_ports. */
enum status crtc_init(struct crtc *crtc, struct bus *bus, const struct vtimer_set *timers) MUST_CHECK;
/* Takes over what the guest has made of another such device: all but whom it is wired to, and its timers. */
COLD void crtc_copy(struct crtc *crtc, const struct crtc *from);

#endif
