/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC. An edge is delivered when it comes, and lost if its pin is masked; a level-triggered pin is evaluated
 * whenever its line, its entry or its remote IRR changes. Runs in VMX root operation under the VM's device lock; also
 * on the host in tests.
 */
#include "drivers/virt/vioapic.h"
#include "kernel/lib/apic.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define OFFSET_SELECT 0x00u
#define OFFSET_WINDOW 0x10u
#define OFFSET_EOI    0x40u

#define REGISTER_ID          0x00u
#define REGISTER_VERSION     0x01u
#define REGISTER_ARBITRATION 0x02u
#define REGISTER_ENTRIES     0x10u
#define VERSION              (0x20u | (VIOAPIC_PINS - 1) << 16)

#define ENTRY_VECTOR     0xffull
#define ENTRY_LOGICAL    0x800ull
#define ENTRY_REMOTE_IRR 0x4000ull
#define ENTRY_LEVEL      0x8000ull
#define ENTRY_WRITABLE   0xff0000000001afffull

/* Fixed and lowest priority: the delivery modes that have a vector and an end. */
static bool has_vector(u64 entry)
{
    return bits_field(entry, 10, 8) < 2;
}

static bool send(struct vioapic *ioapic, unsigned pin)
{
    u64 entry = ioapic->entries[pin];
    u8 destination = (u8)(entry >> 56);
    struct vioapic_message message = {
        .destination = destination == 0xff ? VIOAPIC_BROADCAST : destination,
        .vector = (u8)entry,
        .delivery = (u8)bits_field(entry, 10, 8),
        .logical = entry & ENTRY_LOGICAL,
        .level = entry & ENTRY_LEVEL && has_vector(entry),
    };
    return ioapic->deliver(ioapic->context, &message);
}

/* rises: the line went from low to high just now. */
static void evaluate(struct vioapic *ioapic, unsigned pin, bool rises)
{
    u64 *entry = &ioapic->entries[pin];

    if (*entry & VIOAPIC_MASKED || !(ioapic->lines >> pin & 1))
        return;
    if (!(*entry & ENTRY_LEVEL) || !has_vector(*entry)) {
        if (rises)
            send(ioapic, pin);
    } else if (!(*entry & ENTRY_REMOTE_IRR)) {
        /* Set first, since an APIC may end the interrupt at once. */
        *entry |= ENTRY_REMOTE_IRR;
        if (!send(ioapic, pin))
            *entry &= ~ENTRY_REMOTE_IRR;
    }
}

void vioapic_set_line(void *device, u8 pin, bool level)
{
    struct vioapic *ioapic = device;
    u32 bit = 1u << pin;

    if (!level) {
        ioapic->lines &= ~bit;
    } else if (!(ioapic->lines & bit)) {
        ioapic->lines |= bit;
        evaluate(ioapic, pin, true);
    }
}

void vioapic_pulse_line(void *device, u8 pin)
{
    struct vioapic *ioapic = device;

    ioapic->lines |= 1u << pin;
    evaluate(ioapic, pin, true);
}

bool vioapic_has_nmi(const struct vioapic *ioapic)
{
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
        if (!(ioapic->entries[pin] & VIOAPIC_MASKED) && bits_field(ioapic->entries[pin], 10, 8) == APIC_NMI)
            return true;
    return false;
}

void vioapic_end_interrupt(struct vioapic *ioapic, u8 vector)
{
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
        u64 *entry = &ioapic->entries[pin];
        if ((*entry & (ENTRY_REMOTE_IRR | ENTRY_VECTOR)) != (ENTRY_REMOTE_IRR | vector))
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        evaluate(ioapic, pin, false);
    }
}

/* Remote IRR survives a write, unless it makes the pin edge-triggered: by that guests clear it where there is no EOI
 * register. */
static void write_entry(struct vioapic *ioapic, unsigned index, u32 value)
{
    unsigned pin = index / 2;
    u64 *entry = &ioapic->entries[pin];
    u64 half = index & 1 ? 0xffffffff00000000 : 0xffffffff;
    u64 writable = ENTRY_WRITABLE & half;

    *entry = (*entry & ~writable) | (((u64)value << (index & 1 ? 32 : 0)) & writable);
    if (!(*entry & ENTRY_LEVEL))
        *entry &= ~ENTRY_REMOTE_IRR;
    evaluate(ioapic, pin, false);
}

static u32 read_window(const struct vioapic *ioapic)
{
    unsigned index = ioapic->select - REGISTER_ENTRIES;

    switch (ioapic->select) {
    case REGISTER_ID:
    case REGISTER_ARBITRATION:
        return (u32)ioapic->id << 24;
    case REGISTER_VERSION:
        return VERSION;
    default:
        if (index >= 2 * VIOAPIC_PINS)
            return 0;
        return (u32)(ioapic->entries[index / 2] >> (index & 1 ? 32 : 0));
    }
}

/* Bytes of the three registers that an access does not cover read 0. */
static u64 read_memory(void *device, u64 offset, u8 bytes)
{
    const struct vioapic *ioapic = device;
    u64 at = offset & ~3ull;
    u32 value = at == OFFSET_SELECT ? ioapic->select : at == OFFSET_WINDOW ? read_window(ioapic) : 0;

    (void)bytes;
    return value >> 8 * (offset & 3);
}

/* Only whole registers can be written; the index also by its low byte. */
static void write_memory(void *device, u64 offset, u8 bytes, u64 value)
{
    struct vioapic *ioapic = device;
    unsigned index = ioapic->select - REGISTER_ENTRIES;

    if (offset == OFFSET_SELECT) {
        ioapic->select = (u8)value;
    } else if (bytes != 4) {
        return;
    } else if (offset == OFFSET_EOI) {
        vioapic_end_interrupt(ioapic, (u8)value);
    } else if (offset == OFFSET_WINDOW) {
        if (ioapic->select == REGISTER_ID)
            ioapic->id = value >> 24 & 15;
        else if (index < 2 * VIOAPIC_PINS)
            write_entry(ioapic, index, (u32)value);
    }
}

static const struct bus_ops ops = {read_memory, write_memory};

enum status vioapic_init(struct vioapic *ioapic, struct bus *bus,
                         bool (*deliver)(void *context, const struct vioapic_message *message), void *context)
{
    memset(ioapic, 0, sizeof *ioapic);
    ioapic->deliver = deliver;
    ioapic->context = context;
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
        ioapic->entries[pin] = VIOAPIC_MASKED;
    return bus_add_memory(bus, gpa(VIOAPIC_ADDRESS), VIOAPIC_BYTES, 4, &ops, ioapic);
}

void vioapic_copy(struct vioapic *ioapic, const struct vioapic *from)
{
    struct vioapic own = *ioapic;

    *ioapic = *from;
    ioapic->deliver = own.deliver;
    ioapic->context = own.context;
}
