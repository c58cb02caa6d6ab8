/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables about devices that firmware may have left running: IOMMUs (DMAR), PCI segments (MCFG), the serial console
 * (SPCR), several PCI root buses (_BBN). Intel Virtualization Technology for Directed I/O 3.3, 8.1 "DMA Remapping
 * Reporting Structure"; PCI Firmware Specification 3.2, 4.1.2 "MCFG Table Description"; Microsoft's "Serial Port
 * Console Redirection Table (SPCR)".
 */
#include "arch/x86/acpi_table.h"
#include "kernel/lib/string.h"

#define DMAR_FIRST_UNIT  48u
#define DMAR_UNIT        0u /* 8.3 "DMA Remapping Hardware Unit Definition Structure" */
#define DMAR_UNIT_BYTES  16u
#define MCFG_FIRST_RANGE 44u
#define MCFG_RANGE_BYTES 16u
#define AML_NAME         0x08u
#define GAS_ACCESS_32    3u
/* Types of SPCR that have the registers of a 16550. */
#define SPCR_16550     0x00u
#define SPCR_16450     0x01u
#define SPCR_16550_GAS 0x12u

static void take_unit(struct acpi_info *info, const struct acpi_table *dmar, u32 at)
{
    if (info->iommu_count == ACPI_MAX_IOMMUS) {
        info->iommus_left_out++;
        return;
    }
    info->iommus[info->iommu_count++] = (struct acpi_iommu){
        .segment = (u16)acpi_field(dmar, at + 6, 2),
        .address = acpi_field(dmar, at + 8, 8),
    };
}

void acpi_take_dmar(struct acpi_info *info, const struct acpi_table *dmar)
{
    u32 at = DMAR_FIRST_UNIT;

    while (at < dmar->length) {
        u32 type = (u32)acpi_field(dmar, at, 2);
        u32 length = (u32)acpi_field(dmar, at + 2, 2);
        if (length < 4 || length > dmar->length - at || (type == DMAR_UNIT && length < DMAR_UNIT_BYTES)) {
            info->tables_broken++; /* what came before it stays */
            return;
        }
        if (type == DMAR_UNIT)
            take_unit(info, dmar, at);
        at += length;
    }
}

void acpi_take_mcfg(struct acpi_info *info, const struct acpi_table *mcfg)
{
    for (u32 at = MCFG_FIRST_RANGE; at < mcfg->length && mcfg->length - at >= MCFG_RANGE_BYTES;
         at += MCFG_RANGE_BYTES) {
        u32 segment = (u32)acpi_field(mcfg, at + 8, 2);
        info->last_pci_segment = segment > info->last_pci_segment ? segment : info->last_pci_segment;
    }
}

void acpi_take_spcr(struct acpi_info *info, const struct acpi_table *spcr)
{
    u64 type = acpi_field(spcr, 36, 1);
    u64 space = acpi_field(spcr, 40, 1);
    u64 address = acpi_field(spcr, 44, 8);

    info->spcr = (struct acpi_serial){
        .is_named = address != 0, /* 0: console redirection is off */
        .usable = address && (type == SPCR_16550 || type == SPCR_16450 || type == SPCR_16550_GAS) &&
                  (space == ACPI_SPACE_MEMORY || (space == ACPI_SPACE_PORT && address <= 0xffff)),
        .is_port = space == ACPI_SPACE_PORT,
        .wide = acpi_field(spcr, 43, 1) == GAS_ACCESS_32,
        .address = address,
        .isa_irq = acpi_field(spcr, 52, 1) & 1 ? acpi_field(spcr, 53, 1) & (ACPI_ISA_IRQS - 1) : 0,
    };
}

/*
 * Firmware names a root bus other than 0 by _BBN (ACPI Specification 6.4, 6.5.5). Without an AML interpreter its number
 * is unknown, but not that there is one: anything but Name (_BBN, Zero).
 */
void acpi_find_roots(struct acpi_info *info, const struct acpi_table *aml)
{
    for (u32 at = ACPI_HEADER_BYTES + 1; at + 4 < aml->length; at++) {
        const u8 *name = aml->bytes + at;
        if (memcmp(name, "_BBN", 4))
            continue;
        bool is_zero = name[-1] == AML_NAME && (name[4] == 0 || (name[4] == 0x0a && acpi_field(aml, at + 5, 1) == 0));
        info->other_pci_roots = info->other_pci_roots || !is_zero;
    }
}
