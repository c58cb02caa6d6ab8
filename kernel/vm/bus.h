/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's buses: port I/O and memory-mapped I/O. Devices register ranges when the VM is built; afterwards the tables are
 * constant. What nothing answers reads all ones and ignores writes. Callers hold the VM's device lock.
 */
#ifndef ROOTLET_KERNEL_VM_BUS_H
#define ROOTLET_KERNEL_VM_BUS_H

#include "kernel/lib/addr.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/status.h"

struct bus_ops {
    /* offset: from the range's first port or byte. bytes: 1, 2 or 4 (memory: also 8), at most the range's max_bytes. */
    u64 (*read)(void *device, u64 offset, u8 bytes);
    void (*write)(void *device, u64 offset, u8 bytes, u64 value);
};

/* max_bytes: a wider access, or one that runs past the range's end, is split at ascending addresses. */
struct bus_port_range {
    const struct bus_ops *ops;
    void *device;
    u16 first;
    u16 count;
    u8 max_bytes;
};

struct bus_memory_range {
    const struct bus_ops *ops;
    void *device;
    u64 first;
    u64 count;
    u8 max_bytes;
};

#define BUS_MAX_PORT_RANGES   24
#define BUS_MAX_MEMORY_RANGES 8
#define BUS_PAGE_PORTS        256u
#define BUS_MAX_PAGES         8u /* pages of ports that some range reaches into */

struct bus {
    /* A table of two levels: the page's table by the port's high byte, the range by its low byte. */
    u8 page_of[BUS_PAGE_PORTS];                  /* 0: the table that has nothing */
    u8 pages[BUS_MAX_PAGES + 1][BUS_PAGE_PORTS]; /* 0: nothing, else index into ports + 1 */
    struct bus_port_range ports[BUS_MAX_PORT_RANGES];
    struct bus_memory_range memory[BUS_MAX_MEMORY_RANGES];
    u8 page_count; /* without the one that has nothing */
    u8 port_count;
    u8 memory_count;
};

void bus_init(struct bus *bus);
/*
 * max_bytes: the widest access that the device takes: 1, 2 or 4 (memory: also 8); alignment is not asked for.
 * STATUS_NO_MEMORY: a table is full. STATUS_INVALID: overlaps a range, wraps, is empty, or max_bytes is none of
 * these.
 */
enum status bus_add_ports(struct bus *bus, u16 first, u16 count, u8 max_bytes, const struct bus_ops *ops,
                          void *device) MUST_CHECK;
enum status bus_add_memory(struct bus *bus, gpa_t first, u64 count, u8 max_bytes, const struct bus_ops *ops,
                           void *device) MUST_CHECK;
/* The range that answers `port`, or NULL. */
static ALWAYS_INLINE const struct bus_port_range *bus_find_port(const struct bus *bus, u32 port)
{
    size_t index = bus->pages[bus->page_of[port / BUS_PAGE_PORTS]][port % BUS_PAGE_PORTS];

    return index ? &bus->ports[index - 1] : NULL;
}

/* True if the device takes the access whole. */
static ALWAYS_INLINE bool bus_takes_port(const struct bus_port_range *range, u32 offset, u8 bytes)
{
    return bytes <= range->max_bytes && offset + bytes <= range->count;
}

/* An access of which no one device takes the whole: piece by piece at ascending ports. */
COLD u32 bus_read_port_split(const struct bus *bus, u16 port, u8 bytes);
COLD void bus_write_port_split(const struct bus *bus, u16 port, u8 bytes, u32 value);

/* bytes: 1, 2 or 4. An access that runs past port 0xFFFF reads ones there. The result has zeros above `bytes`. */
static ALWAYS_INLINE u32 bus_read_port(const struct bus *bus, u16 port, u8 bytes)
{
    const struct bus_port_range *range = bus_find_port(bus, port);

    if (!range)
        return bytes == 1 ? 0xff : bus_read_port_split(bus, port, bytes);
    u32 offset = (u32)port - range->first;
    if (LIKELY(bytes == 1))
        return (u8)range->ops->read(range->device, offset, 1);
    if (UNLIKELY(!bus_takes_port(range, offset, bytes)))
        return bus_read_port_split(bus, port, bytes);
    return (u32)range->ops->read(range->device, offset, bytes) & (u32)bits_mask_of_bytes(bytes);
}

/* What `value` has above `bytes` does not count. */
static ALWAYS_INLINE void bus_write_port(const struct bus *bus, u16 port, u8 bytes, u32 value)
{
    const struct bus_port_range *range = bus_find_port(bus, port);

    if (!range) {
        if (bytes != 1)
            bus_write_port_split(bus, port, bytes, value);
        return;
    }
    u32 offset = (u32)port - range->first;
    if (LIKELY(bytes == 1))
        range->ops->write(range->device, offset, 1, (u8)value);
    else if (LIKELY(bus_takes_port(range, offset, bytes)))
        range->ops->write(range->device, offset, bytes, value & bits_mask_of_bytes(bytes));
    else
        bus_write_port_split(bus, port, bytes, value);
}

/* The range that takes an access whole, or NULL; bytes: 1, 2, 4 or 8. */
static ALWAYS_INLINE const struct bus_memory_range *bus_find_memory(const struct bus *bus, gpa_t address, u8 bytes)
{
    const struct bus_memory_range *end = bus->memory + bus->memory_count;

    for (const struct bus_memory_range *range = bus->memory; range < end; range++) {
        u64 offset = address.raw - range->first;
        if (offset < range->count)
            return bytes <= range->max_bytes && bytes <= range->count - offset ? range : NULL;
    }
    return NULL;
}

/* True if some device has one of the bytes. */
bool bus_has_memory(const struct bus *bus, gpa_t address, u8 bytes);
/* bytes: 1, 2, 4 or 8. */
u64 bus_read_memory(const struct bus *bus, gpa_t address, u8 bytes);
void bus_write_memory(const struct bus *bus, gpa_t address, u8 bytes, u64 value);

#endif
