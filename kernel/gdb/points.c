/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The debugged VM's memory as GDB sees it, and the points that GDB has set: INT3s in memory, of which it sees nothing,
 * and what the debug registers watch. Under the stub's lock, with the VM paused; only gdb_points_has_planted() is asked
 * while it runs.
 */
#include "kernel/gdb/points.h"
#include "kernel/lib/string.h"

#define SOFTWARE_MAX 64u
#define INT3         0xccu

static struct vm *debugged; /* NULL: no stub */

static struct planted {
    bool used;
    u64 address; /* as GDB names it */
    gpa_t where;
    u8 original;
} software[SOFTWARE_MAX];

static struct hardware {
    bool used;
    enum gdb_point point;
    u64 address; /* what this register watches... */
    u64 bytes;
    u64 of_address, of_bytes; /* ... for this request of GDB's, which may take several */
} hardware[DEBUG_POINTS];

void gdb_points_begin(struct vm *vm)
{
    debugged = vm;
}

/* The part of [address, address + count) up to the page's end, in guest memory; 0: none. Devices are no memory. */
static size_t find_part(const struct debug_registers *registers, u64 address, size_t count, gpa_t *where)
{
    size_t room = FRAME_BYTES - (size_t)(address & (FRAME_BYTES - 1));
    size_t part = count < room ? count : room;

    if (!virt_debug_translate(debugged, registers, address, where) ||
        !guest_memory_find(&debugged->memory, *where)) /* a region is whole pages */
        return 0;
    return part;
}

/* What GDB reads has no breakpoints in it, and what it writes goes under them. */
size_t gdb_points_read_memory(const struct debug_registers *registers, u64 address, u8 *bytes, size_t count)
{
    size_t done = 0;

    while (done < count) {
        gpa_t where;
        size_t part = find_part(registers, address + done, count - done, &where);
        if (!part || guest_memory_read(&debugged->memory, where, bytes + done, part) != STATUS_OK)
            break;
        for (u32 i = 0; i < SOFTWARE_MAX; i++) {
            const struct planted *p = &software[i];
            if (p->used && p->where.raw - where.raw < part && bytes[done + p->where.raw - where.raw] == INT3)
                bytes[done + p->where.raw - where.raw] = p->original;
        }
        done += part;
    }
    return done;
}

bool gdb_points_write_memory(const struct debug_registers *registers, u64 address, const u8 *bytes, size_t count)
{
    size_t part;

    for (size_t done = 0; done < count; done += part) {
        gpa_t where;
        part = find_part(registers, address + done, count - done, &where);
        if (!part || guest_memory_write(&debugged->memory, where, bytes + done, part) != STATUS_OK)
            return false;
        for (u32 i = 0; i < SOFTWARE_MAX; i++) {
            struct planted *p = &software[i];
            if (!p->used || p->where.raw - where.raw >= part)
                continue;
            p->original = bytes[done + p->where.raw - where.raw];
            (void)!guest_memory_write(&debugged->memory, p->where, &(u8){INT3}, 1);
        }
    }
    return true;
}

/* ---- breakpoints ---- */

static bool plant(const struct debug_registers *registers, u64 address)
{
    struct planted *free = NULL;
    gpa_t where;
    u8 original;

    for (u32 i = 0; i < SOFTWARE_MAX; i++) {
        if (software[i].used && software[i].address == address)
            return true;
        if (!software[i].used)
            free = &software[i];
    }
    if (!free || gdb_points_read_memory(registers, address, &original, 1) != 1 ||
        !virt_debug_translate(debugged, registers, address, &where) ||
        guest_memory_write(&debugged->memory, where, &(u8){INT3}, 1) != STATUS_OK)
        return false;
    *free = (struct planted){true, address, where, original};
    return true;
}

bool gdb_points_has_planted(const struct vm *vm, gpa_t where)
{
    for (u32 i = 0; vm == debugged && i < SOFTWARE_MAX; i++)
        if (software[i].used && software[i].where.raw == where.raw)
            return true;
    return false;
}

/* If the guest has put something else there meanwhile, that stays; so does an INT3 that another address needs. */
static void pull(struct planted *planted)
{
    u8 now;

    planted->used = false;
    if (gdb_points_has_planted(debugged, planted->where))
        return;
    if (guest_memory_read(&debugged->memory, planted->where, &now, 1) == STATUS_OK && now == INT3)
        (void)!guest_memory_write(&debugged->memory, planted->where, &planted->original, 1);
}

/* How many bytes from `address` on one debug register can watch: 1, 2, 4 or 8, aligned. SDM 3B 17.2.5 "Breakpoint Field
 * Recognition" */
static u64 watchable(u64 address, u64 bytes)
{
    u64 part = 8;

    while (part > bytes || (address & (part - 1)))
        part /= 2;
    return part;
}

static void remove_hardware(enum gdb_point point, u64 address, u64 bytes)
{
    for (u32 i = 0; i < DEBUG_POINTS; i++) {
        struct hardware *h = &hardware[i];
        if (h->used && h->point == point && h->of_address == address && h->of_bytes == bytes)
            h->used = false;
    }
}

static bool insert_hardware(enum gdb_point point, u64 address, u64 bytes)
{
    u64 done = 0;

    if (point == GDB_POINT_HARDWARE)
        bytes = 1; /* an instruction is watched at its first byte */
    remove_hardware(point, address, bytes);
    for (u32 i = 0; i < DEBUG_POINTS && done < bytes; i++) {
        if (hardware[i].used)
            continue;
        u64 part = watchable(address + done, bytes - done);
        hardware[i] = (struct hardware){true, point, address + done, part, address, bytes};
        done += part;
    }
    if (done == bytes && bytes)
        return true;
    remove_hardware(point, address, bytes);
    return false;
}

bool gdb_points_insert(const struct debug_registers *registers, enum gdb_point point, u64 address, u64 bytes)
{
    return point == GDB_POINT_SOFTWARE ? plant(registers, address) : insert_hardware(point, address, bytes);
}

bool gdb_points_remove(enum gdb_point point, u64 address, u64 bytes)
{
    if (point != GDB_POINT_SOFTWARE)
        remove_hardware(point, address, point == GDB_POINT_HARDWARE ? 1 : bytes);
    for (u32 i = 0; point == GDB_POINT_SOFTWARE && i < SOFTWARE_MAX; i++)
        if (software[i].used && software[i].address == address)
            pull(&software[i]);
    return true;
}

void gdb_points_remove_all(void)
{
    for (u32 i = 0; i < SOFTWARE_MAX; i++)
        if (software[i].used)
            pull(&software[i]);
    memset(hardware, 0, sizeof hardware);
}

void gdb_points_lift(void)
{
    u8 now;

    for (u32 i = 0; i < SOFTWARE_MAX; i++) {
        const struct planted *p = &software[i];
        if (p->used && guest_memory_read(&debugged->memory, p->where, &now, 1) == STATUS_OK && now == INT3)
            (void)!guest_memory_write(&debugged->memory, p->where, &p->original, 1);
    }
}

/* What they replace is read for all of them first: several may be at one byte. */
void gdb_points_plant_again(void)
{
    for (u32 i = 0; i < SOFTWARE_MAX; i++)
        if (software[i].used &&
            guest_memory_read(&debugged->memory, software[i].where, &software[i].original, 1) != STATUS_OK)
            software[i].used = false;
    for (u32 i = 0; i < SOFTWARE_MAX; i++)
        if (software[i].used)
            (void)!guest_memory_write(&debugged->memory, software[i].where, &(u8){INT3}, 1);
}

/* SDM 3B 17.2.4 "Debug Control Register (DR7)" */
void gdb_points_collect(struct debug_points *points)
{
    static const u8 kinds[] = {
        [GDB_POINT_HARDWARE] = 0, [GDB_POINT_WRITE] = 1, [GDB_POINT_READ] = 3, [GDB_POINT_ACCESS] = 3};
    static const u8 lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

    *points = (struct debug_points){.dr7 = 0};
    for (u32 i = 0; i < SOFTWARE_MAX; i++)
        points->software |= software[i].used;
    for (u32 i = 0; i < DEBUG_POINTS; i++) {
        const struct hardware *h = &hardware[i];
        if (!h->used)
            continue;
        points->address[i] = h->address;
        points->dr7 |= 2ull << 2 * i | (u64)(kinds[h->point] | lengths[h->bytes] << 2) << (16 + 4 * i);
    }
    if (points->dr7)
        points->dr7 |= 0x700; /* GE and LE, which old CPUs want; bit 10 is always 1 */
}
