/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the boot loader told us, in our own form: the result of parsing the multiboot2 information block.
 * Multiboot2 Specification 2.0, section 3.6 "Boot information format".
 * Strings point into the information block, which stays mapped and out of the frame allocator.
 */
#ifndef ROOTLET_BOOT_BOOT_INFO_H
#define ROOTLET_BOOT_BOOT_INFO_H

#include "kernel/lib/addr.h"
#include "kernel/lib/status.h"

#define BOOT_MAX_MODULES 256
#define BOOT_MAX_REGIONS 256

enum boot_region_kind {
    BOOT_REGION_RAM,      /* free once the boot loader is gone */
    BOOT_REGION_RESERVED, /* everything that must never be allocated */
    BOOT_REGION_ACPI,     /* ACPI tables (reclaimable) or ACPI NVS */
};

struct boot_region {
    u64 base;
    u64 size_bytes;
    enum boot_region_kind kind;
};

struct boot_module {
    hpa_t start;
    u64 size_bytes;
    const char *line; /* NUL-terminated */
};

/* Where the loader put the kernel's own ELF symbol table, which is no part of the image. All 0: nowhere. */
struct boot_symbols {
    hpa_t entries; /* Elf64_Sym */
    u64 entries_bytes;
    hpa_t names;
    u64 names_bytes;
};

/* What the screen shows, if the loader says so. */
enum boot_screen_kind { BOOT_SCREEN_UNKNOWN, BOOT_SCREEN_PALETTE, BOOT_SCREEN_RGB, BOOT_SCREEN_TEXT };
struct boot_screen {
    enum boot_screen_kind kind;
    u64 address;
    u32 row_bytes, width, height; /* pixels; of text characters */
    u8 pixel_bits;
    u8 shift[3], bits[3]; /* of BOOT_SCREEN_RGB: where red, green and blue stand in a pixel */
};

struct boot_info {
    const char *command_line; /* never NULL; "" if there is none */
    const char *loader_name;  /* never NULL */
    struct boot_module modules[BOOT_MAX_MODULES];
    u32 module_count;
    u32 modules_dropped; /* how many came after the table was full */
    struct boot_region regions[BOOT_MAX_REGIONS];
    u32 region_count;
    bool regions_from_efi;
    u8 rsdp[36]; /* copy of the RSDP that the loader found; rsdp_bytes is 0, 20 (v1) or 36 (v2) */
    u32 rsdp_bytes;
    struct boot_symbols symbols; /* below 4 GiB */
    struct boot_screen screen;
};

#define MULTIBOOT2_BOOTLOADER_MAGIC 0x36d76289u

/*
 * Parses the block of `size_bytes` bytes that begins at `block` (8-byte aligned). Every length is checked against the
 * block before it is used. The EFI memory map, where present, is preferred over the basic one.
 * STATUS_TRUNCATED: the block, a tag or a string ends too early. STATUS_INVALID: a field breaks the format (module end
 * before its start, entry size too small, no memory map at all). *out is complete only with STATUS_OK. ELF sections
 * and a framebuffer that make no sense are no error: they only name functions in backtraces, and show the console.
 */
COLD enum status boot_info_parse(const void *block, size_t size_bytes, struct boot_info *out,
                                 struct refusal *why) MUST_CHECK;

#endif
