/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the readers of ACPI tables share (acpi.c, acpi_devices.c): a table whose length and checksum are right, and its
 * fields.
 */
#ifndef ROOTLET_ARCH_ACPI_TABLE_H
#define ROOTLET_ARCH_ACPI_TABLE_H

#include "arch/x86/acpi.h"

#define ACPI_HEADER_BYTES 36u

/* Address spaces of a Generic Address Structure: ACPI Specification 6.4, 5.2.3.2. */
#define ACPI_SPACE_MEMORY 0u
#define ACPI_SPACE_PORT   1u

struct acpi_table {
    const u8 *bytes;
    u32 length;
};

/* `count` bytes, little-endian. A field that lies beyond the table's end reads as 0: older tables are shorter. */
u64 acpi_field(const struct acpi_table *table, u32 offset, u32 count);

/* acpi_devices.c: each takes what it knows of such a table into *info. */
void acpi_take_dmar(struct acpi_info *info, const struct acpi_table *dmar);
void acpi_take_mcfg(struct acpi_info *info, const struct acpi_table *mcfg);
void acpi_take_spcr(struct acpi_info *info, const struct acpi_table *spcr);
void acpi_find_roots(struct acpi_info *info, const struct acpi_table *aml);

#endif
