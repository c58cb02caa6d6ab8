/*
 * A VM's buses: port I/O and memory-mapped I/O. Devices register ranges when the VM is built; afterwards the tables are
 * constant. What nothing answers reads all ones and ignores writes. Callers hold the VM's device lock.
 */
#ifndef ROOTLET_KERNEL_BUS_H
#define ROOTLET_KERNEL_BUS_H

#include "kernel/lib/addr.h"
#include "kernel/lib/status.h"

struct bus_ops {
    /* offset: from the range's first port or byte. bytes: 1, 2 or 4 (memory: also 8), at most the range's max_bytes. */
    u64 (*read)(void *device, u64 offset, u8 bytes);
    void (*write)(void *device, u64 offset, u8 bytes, u64 value);
};

struct bus_range {
    u64 first;
    u64 count;
    const struct bus_ops *ops;
    void *device;
    u8 max_bytes; /* a wider access is split into accesses of this size at ascending addresses */
};

#define BUS_MAX_RANGES 24
#define BUS_LOW_PORTS  1024u /* ports below are found by one table look-up */

struct bus {
    u8 low[BUS_LOW_PORTS]; /* 0: nothing, else index into ports + 1 */
    struct bus_range ports[BUS_MAX_RANGES];
    struct bus_range memory[BUS_MAX_RANGES];
    u8 port_count;
    u8 memory_count;
};

void bus_init(struct bus *bus);
/* STATUS_NO_MEMORY: the table is full. STATUS_INVALID: overlaps a range, wraps, or is empty. */
enum status bus_add_ports(struct bus *bus, u16 first, u16 count, u8 max_bytes, const struct bus_ops *ops,
                          void *device) MUST_CHECK;
enum status bus_add_memory(struct bus *bus, gpa_t first, u64 count, u8 max_bytes, const struct bus_ops *ops,
                           void *device) MUST_CHECK;
/* bytes: 1, 2 or 4. An access that runs past port 0xFFFF reads ones there. The result has zeros above `bytes`. */
u32 bus_read_port(const struct bus *bus, u16 port, u8 bytes);
void bus_write_port(const struct bus *bus, u16 port, u8 bytes, u32 value);
/* bytes: 1, 2, 4 or 8. */
u64 bus_read_memory(const struct bus *bus, gpa_t address, u8 bytes);
void bus_write_memory(const struct bus *bus, gpa_t address, u8 bytes, u64 value);

#endif
