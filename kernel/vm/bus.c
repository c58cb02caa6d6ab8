/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buses: from an address to the device that answers it. A port costs two table look-ups, whether a device answers
 * it or none; the memory ranges are few and cost a linear scan. The common access (within one range, no wider than the
 * device takes) is in bus.h; everything else is split here. Runs in VMX root operation under the VM's device lock; also
 * on the host in tests.
 */
#include "kernel/vm/bus.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define PORTS 0x10000u

void bus_init(struct bus *bus)
{
    memset(bus, 0, sizeof *bus);
}

static bool is_access_size(u8 bytes, u8 widest)
{
    return bytes != 0 && bytes <= widest && (bytes & (bytes - 1)) == 0;
}

/* Makes sure that the pages of ports up to `last` have tables of their own. */
static enum status add_pages(struct bus *bus, u32 first, u32 last)
{
    for (u32 page = first / BUS_PAGE_PORTS; page <= last / BUS_PAGE_PORTS; page++) {
        if (bus->page_of[page])
            continue;
        if (bus->page_count == BUS_MAX_PAGES)
            return STATUS_NO_MEMORY;
        bus->page_of[page] = ++bus->page_count;
    }
    return STATUS_OK;
}

enum status bus_add_ports(struct bus *bus, u16 first, u16 count, u8 max_bytes, const struct bus_ops *ops, void *device)
{
    u32 end = (u32)first + count;

    if (count == 0 || end > PORTS || !is_access_size(max_bytes, 4))
        return STATUS_INVALID;
    for (u8 i = 0; i < bus->port_count; i++) {
        const struct bus_port_range *other = &bus->ports[i];
        if (first < (u32)other->first + other->count && other->first < end)
            return STATUS_INVALID;
    }
    if (bus->port_count == BUS_MAX_PORT_RANGES || add_pages(bus, first, end - 1) != STATUS_OK)
        return STATUS_NO_MEMORY;

    u8 index = bus->port_count++;
    bus->ports[index] = (struct bus_port_range){ops, device, first, count, max_bytes};
    for (u32 port = first; port < end; port++)
        bus->pages[bus->page_of[port / BUS_PAGE_PORTS]][port % BUS_PAGE_PORTS] = (u8)(index + 1);
    return STATUS_OK;
}

enum status bus_add_memory(struct bus *bus, gpa_t first, u64 count, u8 max_bytes, const struct bus_ops *ops,
                           void *device)
{
    if (count == 0 || first.raw + (count - 1) < first.raw || !is_access_size(max_bytes, 8))
        return STATUS_INVALID;
    for (u8 i = 0; i < bus->memory_count; i++) {
        const struct bus_memory_range *other = &bus->memory[i];
        if (first.raw - other->first < other->count || other->first - first.raw < count)
            return STATUS_INVALID;
    }
    if (bus->memory_count == BUS_MAX_MEMORY_RANGES)
        return STATUS_NO_MEMORY;
    bus->memory[bus->memory_count++] = (struct bus_memory_range){ops, device, first.raw, count, max_bytes};
    return STATUS_OK;
}

/* The widest piece of `bytes` bytes that one device, limited to max_bytes and `room` bytes, takes at once. */
static u8 piece_size(u8 bytes, u8 max_bytes, u64 room)
{
    u8 piece = max_bytes;
    while (piece > bytes || piece > room)
        piece >>= 1;
    return piece;
}

u32 bus_read_port_split(const struct bus *bus, u16 port, u8 bytes)
{
    u32 value = 0xffffffffu;

    for (u8 done = 0; done < bytes;) {
        u32 at = (u32)port + done;
        const struct bus_port_range *range = at < PORTS ? bus_find_port(bus, at) : NULL;
        if (!range) {
            done++;
            continue;
        }
        u32 offset = at - range->first;
        u8 piece = piece_size((u8)(bytes - done), range->max_bytes, range->count - offset);
        u32 mask = (u32)bits_mask_of_bytes(piece) << (8 * done);
        value = (value & ~mask) | (((u32)range->ops->read(range->device, offset, piece) << (8 * done)) & mask);
        done = (u8)(done + piece);
    }
    return value & (u32)bits_mask_of_bytes(bytes);
}

void bus_write_port_split(const struct bus *bus, u16 port, u8 bytes, u32 value)
{
    for (u8 done = 0; done < bytes;) {
        u32 at = (u32)port + done;
        const struct bus_port_range *range = at < PORTS ? bus_find_port(bus, at) : NULL;
        if (!range) {
            done++;
            continue;
        }
        u32 offset = at - range->first;
        u8 piece = piece_size((u8)(bytes - done), range->max_bytes, range->count - offset);
        range->ops->write(range->device, offset, piece, (value >> (8 * done)) & bits_mask_of_bytes(piece));
        done = (u8)(done + piece);
    }
}

static const struct bus_memory_range *find_memory(const struct bus *bus, u64 address)
{
    for (u8 i = 0; i < bus->memory_count; i++)
        if (address - bus->memory[i].first < bus->memory[i].count)
            return &bus->memory[i];
    return NULL;
}

bool bus_has_memory(const struct bus *bus, gpa_t address, u8 bytes)
{
    for (u8 i = 0; i < bus->memory_count; i++)
        if (address.raw - bus->memory[i].first < bus->memory[i].count || bus->memory[i].first - address.raw < bytes)
            return true;
    return false;
}

/* Addresses that wrap at 2^64 simply find no range: no range wraps. */
u64 bus_read_memory(const struct bus *bus, gpa_t address, u8 bytes)
{
    u64 value = ~0ull;

    for (u8 done = 0; done < bytes;) {
        const struct bus_memory_range *range = find_memory(bus, address.raw + done);
        if (!range) {
            done++;
            continue;
        }
        u64 offset = address.raw + done - range->first;
        u8 piece = piece_size((u8)(bytes - done), range->max_bytes, range->count - offset);
        u64 mask = bits_mask_of_bytes(piece) << (8 * done);
        value = (value & ~mask) | ((range->ops->read(range->device, offset, piece) << (8 * done)) & mask);
        done = (u8)(done + piece);
    }
    return value & bits_mask_of_bytes(bytes);
}

void bus_write_memory(const struct bus *bus, gpa_t address, u8 bytes, u64 value)
{
    for (u8 done = 0; done < bytes;) {
        const struct bus_memory_range *range = find_memory(bus, address.raw + done);
        if (!range) {
            done++;
            continue;
        }
        u64 offset = address.raw + done - range->first;
        u8 piece = piece_size((u8)(bytes - done), range->max_bytes, range->count - offset);
        range->ops->write(range->device, offset, piece, (value >> (8 * done)) & bits_mask_of_bytes(piece));
        done = (u8)(done + piece);
    }
}
