/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Redirection entries of the I/O APICs. Reached through an index and a data register, so boot CPU only.
 * Intel 82093AA, 3.2.4 "IOREDTBL[23:0]: I/O Redirection Table Registers".
 */
#include "arch/x86/ioapic.h"
#include "arch/x86/paging.h"
#include "kernel/lib/bits.h"

#define IOAPIC_BYTES           0x20u
#define IOAPIC_INDEX           0u /* in words of 4 bytes */
#define IOAPIC_DATA            4u
#define IOAPIC_VERSION         0x01u
#define IOAPIC_REDIRECTION_LOW 0x10u
#define REDIRECTION_MASKED     ((u32)BIT(16))
#define REDIRECTION_LEVEL      ((u32)BIT(15))
#define REDIRECTION_ACTIVE_LOW ((u32)BIT(13))
#define MAX_DESTINATION        254u /* 8 bits, and 255 means every CPU */

struct ioapic {
    volatile u32 *registers;
    u32 gsi_base;
    u32 pins;
};

static struct ioapic ioapics[ACPI_MAX_IOAPICS];
static bool blocked;
static u32 ioapic_count;
static struct acpi_isa_irq isa_irqs[ACPI_ISA_IRQS];

static u32 read_register(const struct ioapic *ioapic, u32 index)
{
    ioapic->registers[IOAPIC_INDEX] = index;
    return ioapic->registers[IOAPIC_DATA];
}

static void write_register(const struct ioapic *ioapic, u32 index, u32 value)
{
    ioapic->registers[IOAPIC_INDEX] = index;
    ioapic->registers[IOAPIC_DATA] = value;
}

static void write_redirection(const struct ioapic *ioapic, u32 pin, u32 low, u32 high)
{
    /* Masked while the halves do not belong together. */
    write_register(ioapic, IOAPIC_REDIRECTION_LOW + 2 * pin, REDIRECTION_MASKED);
    write_register(ioapic, IOAPIC_REDIRECTION_LOW + 2 * pin + 1, high);
    write_register(ioapic, IOAPIC_REDIRECTION_LOW + 2 * pin, low);
}

enum status ioapic_init(const struct acpi_info *acpi, struct refusal *why)
{
    enum status status = STATUS_OK;

    for (u32 i = 0; i < ACPI_ISA_IRQS; i++)
        isa_irqs[i] = acpi->isa_irqs[i];
    for (u32 i = 0; i < acpi->ioapic_count; i++) {
        volatile void *window = NULL;
        struct ioapic *ioapic = &ioapics[ioapic_count];
        if (paging_map_device(hpa(acpi->ioapics[i].address), IOAPIC_BYTES, &window) != STATUS_OK) {
            status = refuse(why, STATUS_NO_MEMORY, "no address space for the I/O APIC at 0x%llx",
                            (unsigned long long)acpi->ioapics[i].address);
            continue;
        }
        ioapic->registers = window;
        ioapic->gsi_base = acpi->ioapics[i].gsi_base;
        ioapic->pins = (u32)bits_field(read_register(ioapic, IOAPIC_VERSION), 23, 16) + 1;
        ioapic_count++;
    }
    ioapic_mask_all();
    return status;
}

void ioapic_set_blocked(void)
{
    blocked = true;
}

enum status ioapic_route_isa(u8 irq, u8 vector, u32 apic_id)
{
    const struct acpi_isa_irq *wire = &isa_irqs[irq % ACPI_ISA_IRQS];

    if (blocked || apic_id > MAX_DESTINATION)
        return STATUS_UNSUPPORTED;
    for (u32 i = 0; i < ioapic_count; i++) {
        const struct ioapic *ioapic = &ioapics[i];
        if (wire->gsi < ioapic->gsi_base || wire->gsi - ioapic->gsi_base >= ioapic->pins)
            continue;
        u32 low = vector;
        low |= wire->level ? REDIRECTION_LEVEL : 0;
        low |= wire->active_low ? REDIRECTION_ACTIVE_LOW : 0;
        write_redirection(ioapic, wire->gsi - ioapic->gsi_base, low, apic_id << 24);
        return STATUS_OK;
    }
    return STATUS_UNSUPPORTED;
}

void ioapic_mask_all(void)
{
    for (u32 i = 0; i < ioapic_count; i++)
        for (u32 pin = 0; pin < ioapics[i].pins; pin++)
            write_redirection(&ioapics[i], pin, REDIRECTION_MASKED, 0);
}

u32 ioapic_pin_count(void)
{
    u32 pins = 0;
    for (u32 i = 0; i < ioapic_count; i++)
        pins += ioapics[i].pins;
    return pins;
}
