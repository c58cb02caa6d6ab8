/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables out of any bytes. The input is cut into table bodies, which get a true header and checksum, so that the
 * parsers behind the checks are reached; its first byte says which checks to leave to chance.
 * links: arch/x86/acpi.c arch/x86/acpi_devices.c
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/acpi.h"

#define TABLES      8u
#define TABLE_BYTES 0x1000u
#define BASE        0x10000u

struct piece {
    u8 *bytes; /* a heap block of exactly `length` bytes: an overrun is seen */
    u32 length;
};

static struct piece pieces[TABLES + 1]; /* the last one is the root */

static const void *map(void *context, u64 address, u64 bytes)
{
    (void)context;
    u64 index = (address - BASE) / TABLE_BYTES;
    u64 offset = (address - BASE) % TABLE_BYTES;
    if (address < BASE || index > TABLES || offset > pieces[index].length || bytes > pieces[index].length - offset)
        return NULL;
    return pieces[index].bytes + offset;
}

static void seal(struct piece *piece, const char *signature)
{
    u8 sum = 0;
    memcpy(piece->bytes, signature, 4);
    memcpy(piece->bytes + 4, &piece->length, 4);
    piece->bytes[9] = 0;
    for (u32 i = 0; i < piece->length; i++)
        sum = (u8)(sum + piece->bytes[i]);
    piece->bytes[9] = (u8)-sum;
}

static struct piece make_piece(const u8 *body, u32 bytes)
{
    struct piece piece = {malloc(36 + bytes), 36 + bytes};
    memset(piece.bytes, 0, 36);
    memcpy(piece.bytes + 36, body, bytes);
    return piece;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const signatures[TABLES] = {"APIC", "FACP", "HPET", "DSDT", "SSDT", "DMAR", "MCFG", "SPCR"};
    const struct acpi_reader reader = {map, NULL};
    struct acpi_info info;
    struct refusal why;
    u8 rsdp[36] = "RSD PTR ";
    u32 entries[TABLES];

    if (size < 1 + TABLES || size > TABLE_BYTES)
        return 0;
    u8 chance = data[0];
    const u8 *shares = data + 1;
    const u8 *body = data + 1 + TABLES;
    u32 left = (u32)size - 1 - TABLES;
    for (u32 i = 0; i < TABLES; i++) {
        u32 bytes = left * shares[i] / 255;
        pieces[i] = make_piece(body, bytes);
        entries[i] = BASE + i * TABLE_BYTES;
        body += bytes;
        left -= bytes;
    }
    /* The FADT points to the DSDT, unless chance shall say where. */
    if (!(chance & 1) && pieces[1].length >= 44)
        memcpy(pieces[1].bytes + 40, &entries[3], 4);
    for (u32 i = 0; i < TABLES; i++)
        if (!(chance >> (i + 1) & 1))
            seal(&pieces[i], signatures[i]);
    pieces[TABLES] = make_piece((const u8 *)entries, sizeof entries);
    seal(&pieces[TABLES], "RSDT");
    u32 root = BASE + TABLES * TABLE_BYTES;
    memcpy(rsdp + 16, &root, 4);
    u8 sum = 0;
    for (u32 i = 0; i < 20; i++)
        sum = (u8)(sum + rsdp[i]);
    rsdp[8] = (u8)-sum;

    if (acpi_parse(&reader, rsdp, 20, &info, &why) == STATUS_OK)
        if (info.cpu_count > CPU_MAX || info.ioapic_count > ACPI_MAX_IOAPICS || info.iommu_count > ACPI_MAX_IOMMUS ||
            info.s5.type_a > 7)
            abort();
    for (u32 i = 0; i <= TABLES; i++)
        free(pieces[i].bytes);
    return 0;
}
