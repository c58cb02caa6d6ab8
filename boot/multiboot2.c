/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of the multiboot2 information block: the only code that looks at the boot loader's own structures. Pure:
 * it reads nothing outside the block and writes nothing but *out. Multiboot2 Specification 2.0, section 3.6 "Boot
 * information format"; ELF-64 Object File Format 1.5, "Sections".
 */
#include "boot/boot_info.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

enum tag_type {
    TAG_END = 0,
    TAG_COMMAND_LINE = 1,
    TAG_LOADER_NAME = 2,
    TAG_MODULE = 3,
    TAG_MEMORY_MAP = 6,
    TAG_FRAMEBUFFER = 8,
    TAG_ELF_SECTIONS = 9,
    TAG_RSDP_V1 = 14,
    TAG_RSDP_V2 = 15,
    TAG_EFI_MEMORY_MAP = 17,
    TAG_EFI_BOOT_SERVICES = 18,
};

#define BLOCK_HEADER_BYTES   8u /* total size, reserved */
#define TAG_HEADER_BYTES     8u /* type, size */
#define MODULE_HEADER_BYTES  16u
#define MAP_HEADER_BYTES     16u /* both kinds: tag header, entry size, version */
#define MAP_ENTRY_BYTES      24u /* base, length, type, reserved */
#define EFI_DESCRIPTOR_BYTES 40u /* type, padding, physical, virtual, pages, attribute */
#define RSDP_V1_BYTES        20u
#define RSDP_V2_BYTES        36u
#define EFI_PAGES_MAX        (1ull << 52)
#define EFI_MEMORY_WB        (1ull << 3)
#define EFI_MEMORY_SP        (1ull << 18) /* for a specific purpose */
#define SECTIONS_AT          20u          /* tag header, number, entry size, index of the names' section */
#define SECTION_BYTES        64u          /* Elf64_Shdr: name, type, flags, address, offset, size, link, ... */
#define SECTION_SYMTAB       2u
#define FRAMEBUFFER_BYTES    32u /* tag header, address, pitch, width, height, depth, type, reserved */
#define FRAMEBUFFER_COLOURS  6u  /* position and size of red, green, blue */

struct tag {
    const u8 *bytes; /* begins with the tag header */
    u32 type;
    u32 size_bytes; /* the header included */
};

struct parser {
    struct boot_info *out;
    struct refusal *why;
    struct tag map; /* the first of its kind; bytes NULL: none */
    struct tag efi_map;
    bool boot_services; /* the loader has not left them: their memory is theirs */
    const char *command_line;
    const char *loader_name;
};

static enum status take_string(struct parser *p, const struct tag *tag, u32 offset, const char **out)
{
    const char *text = (const char *)tag->bytes + offset;
    size_t room = tag->size_bytes > offset ? tag->size_bytes - offset : 0;

    if (string_length_bounded(text, room) == room)
        return refuse(p->why, STATUS_TRUNCATED, "multiboot2 information: the string of tag %u has no end", tag->type);
    if (!*out)
        *out = text;
    return STATUS_OK;
}

static enum status take_module(struct parser *p, const struct tag *tag)
{
    struct boot_info *out = p->out;
    const char *line = NULL;

    if (tag->size_bytes < MODULE_HEADER_BYTES)
        return refuse(p->why, STATUS_TRUNCATED, "multiboot2 information: module tag of %u bytes", tag->size_bytes);
    enum status status = take_string(p, tag, MODULE_HEADER_BYTES, &line);
    if (status != STATUS_OK)
        return status;
    u32 start = bytes_u32(tag->bytes + 8);
    u32 end = bytes_u32(tag->bytes + 12);
    if (end < start)
        return refuse(p->why, STATUS_INVALID, "multiboot2 information: module ends at 0x%x before its start 0x%x", end,
                      start);
    if (out->module_count == BOOT_MAX_MODULES) {
        out->modules_dropped++;
        return STATUS_OK;
    }
    out->modules[out->module_count++] = (struct boot_module){hpa(start), end - start, line};
    return STATUS_OK;
}

static enum status take_rsdp(struct parser *p, const struct tag *tag, u32 bytes)
{
    if (tag->size_bytes - TAG_HEADER_BYTES < bytes)
        return refuse(p->why, STATUS_TRUNCATED, "multiboot2 information: RSDP tag of %u bytes", tag->size_bytes);
    if (p->out->rsdp_bytes >= bytes)
        return STATUS_OK; /* the first one of the higher version counts */
    memcpy(p->out->rsdp, tag->bytes + TAG_HEADER_BYTES, bytes);
    p->out->rsdp_bytes = bytes;
    return STATUS_OK;
}

/* Section `index` if it is whole and lies where the boot tables map it. */
static bool find_section(const struct tag *tag, u32 index, const u8 **header, hpa_t *start, u64 *size_bytes)
{
    u64 at = SECTIONS_AT + (u64)index * SECTION_BYTES;

    if (!bytes_contain(tag->size_bytes, at, SECTION_BYTES))
        return false;
    *header = tag->bytes + at;
    *start = hpa(bytes_u64(*header + 16));
    *size_bytes = bytes_u64(*header + 32);
    return start->raw && bytes_contain(GIB(4), start->raw, *size_bytes);
}

static void take_sections(struct boot_symbols *out, const struct tag *tag)
{
    struct boot_symbols found;
    const u8 *header;
    const u8 *names;

    for (u32 i = 0; SECTIONS_AT + (u64)i * SECTION_BYTES < tag->size_bytes; i++) {
        if (find_section(tag, i, &header, &found.entries, &found.entries_bytes) &&
            bytes_u32(header + 4) == SECTION_SYMTAB &&
            find_section(tag, bytes_u32(header + 40), &names, &found.names, &found.names_bytes)) {
            *out = found;
            return;
        }
    }
}

static void take_screen(struct boot_screen *out, const struct tag *tag)
{
    const u8 *bytes = tag->bytes;

    if (tag->size_bytes < FRAMEBUFFER_BYTES || out->kind != BOOT_SCREEN_UNKNOWN)
        return;
    switch (bytes[29]) {
    case 0:
        out->kind = BOOT_SCREEN_PALETTE;
        break;
    case 1:
        if (tag->size_bytes < FRAMEBUFFER_BYTES + FRAMEBUFFER_COLOURS)
            return;
        out->kind = BOOT_SCREEN_RGB;
        for (u32 i = 0; i < 3; i++) {
            out->shift[i] = bytes[FRAMEBUFFER_BYTES + 2 * i];
            out->bits[i] = bytes[FRAMEBUFFER_BYTES + 2 * i + 1];
        }
        break;
    case 2:
        out->kind = BOOT_SCREEN_TEXT;
        break;
    default:
        return;
    }
    out->address = bytes_u64(bytes + 8);
    out->row_bytes = bytes_u32(bytes + 16);
    out->width = bytes_u32(bytes + 20);
    out->height = bytes_u32(bytes + 24);
    out->pixel_bits = bytes[28];
}

static enum status take_tag(struct parser *p, const struct tag *tag)
{
    switch (tag->type) {
    case TAG_COMMAND_LINE:
        return take_string(p, tag, TAG_HEADER_BYTES, &p->command_line);
    case TAG_LOADER_NAME:
        return take_string(p, tag, TAG_HEADER_BYTES, &p->loader_name);
    case TAG_MODULE:
        return take_module(p, tag);
    case TAG_RSDP_V1:
        return take_rsdp(p, tag, RSDP_V1_BYTES);
    case TAG_RSDP_V2:
        return take_rsdp(p, tag, RSDP_V2_BYTES);
    case TAG_ELF_SECTIONS:
        take_sections(&p->out->symbols, tag);
        return STATUS_OK;
    case TAG_FRAMEBUFFER:
        take_screen(&p->out->screen, tag);
        return STATUS_OK;
    case TAG_MEMORY_MAP:
        if (!p->map.bytes)
            p->map = *tag;
        return STATUS_OK;
    case TAG_EFI_MEMORY_MAP:
        if (!p->efi_map.bytes)
            p->efi_map = *tag;
        return STATUS_OK;
    case TAG_EFI_BOOT_SERVICES:
        p->boot_services = true;
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

static enum status walk_tags(struct parser *p, const u8 *block, u32 total_bytes)
{
    u64 at = BLOCK_HEADER_BYTES;

    while (bytes_contain(total_bytes, at, TAG_HEADER_BYTES)) {
        struct tag tag = {block + at, bytes_u32(block + at), bytes_u32(block + at + 4)};
        if (tag.size_bytes < TAG_HEADER_BYTES)
            return refuse(p->why, STATUS_INVALID, "multiboot2 information: tag %u has size %u", tag.type,
                          tag.size_bytes);
        if (!bytes_contain(total_bytes, at, tag.size_bytes))
            return refuse(p->why, STATUS_TRUNCATED, "multiboot2 information: tag %u runs past the end", tag.type);
        if (tag.type == TAG_END)
            return STATUS_OK;
        enum status status = take_tag(p, &tag);
        if (status != STATUS_OK)
            return status;
        at += ((u64)tag.size_bytes + 7) & ~7ull;
    }
    return refuse(p->why, STATUS_TRUNCATED, "multiboot2 information: no end tag");
}

/* A full table gives up RAM, never a reservation: RAM that is missing is only lost, a lost reservation is corruption.
 */
static struct boot_region *find_room(struct boot_info *out, enum boot_region_kind kind)
{
    if (out->region_count < BOOT_MAX_REGIONS)
        return &out->regions[out->region_count++];
    struct boot_region *smallest = NULL;
    for (u32 i = 0; kind != BOOT_REGION_RAM && i < out->region_count; i++) {
        struct boot_region *r = &out->regions[i];
        if (r->kind == BOOT_REGION_RAM && (!smallest || r->size_bytes < smallest->size_bytes))
            smallest = r;
    }
    return smallest;
}

/*
 * Adds a region, joined to the one before it if it continues it. A range that wraps is cut at the top, RAM that wraps
 * is not believed. False only if a reservation has no room.
 */
static bool add_region(struct boot_info *out, u64 base, u64 size_bytes, enum boot_region_kind kind)
{
    if (size_bytes > 0 - base && base) {
        if (kind == BOOT_REGION_RAM)
            return true;
        size_bytes = 0 - base;
    }
    if (size_bytes == 0)
        return true;
    if (out->region_count && base) {
        struct boot_region *last = &out->regions[out->region_count - 1];
        bool whole = last->size_bytes > ~0ull - size_bytes; /* all 2^64 bytes: no size says that */
        if (last->kind == kind && last->base + last->size_bytes == base && !whole) {
            last->size_bytes += size_bytes;
            return true;
        }
    }
    struct boot_region *room = find_room(out, kind);
    if (room)
        *room = (struct boot_region){base, size_bytes, kind};
    return room || kind == BOOT_REGION_RAM;
}

static bool add_map_entry(struct boot_info *out, const u8 *entry)
{
    u32 type = bytes_u32(entry + 16);
    enum boot_region_kind kind = BOOT_REGION_RESERVED;

    if (type == 1)
        kind = BOOT_REGION_RAM;
    else if (type == 3 || type == 4)
        kind = BOOT_REGION_ACPI;
    return add_region(out, bytes_u64(entry), bytes_u64(entry + 8), kind);
}

/*
 * UEFI Specification 2.10, 7.2 "Memory Allocation Services", table "Memory Type Usage after
 * EFI_BOOT_SERVICES.ExitBootServices()": the loader's (1, 2), boot services' (3, 4) and conventional memory (7) are
 * free. So is none that cannot be write-back or is set apart (7.2.3 "EFI_BOOT_SERVICES.GetMemoryMap()", attributes).
 */
static bool efi_is_free(const struct parser *p, u32 type, u64 attributes)
{
    bool free = type == 1 || type == 2 || type == 7 || (!p->boot_services && (type == 3 || type == 4));

    return free && (attributes & EFI_MEMORY_WB) && !(attributes & EFI_MEMORY_SP);
}

static bool add_efi_descriptor(const struct parser *p, const u8 *descriptor)
{
    u32 type = bytes_u32(descriptor);
    u64 pages = bytes_u64(descriptor + 24);
    u64 size_bytes = pages < EFI_PAGES_MAX ? pages << 12 : ~0ull;
    enum boot_region_kind kind = BOOT_REGION_RESERVED;

    if (efi_is_free(p, type, bytes_u64(descriptor + 32)))
        kind = BOOT_REGION_RAM;
    else if (type == 9 || type == 10)
        kind = BOOT_REGION_ACPI;
    return add_region(p->out, bytes_u64(descriptor + 8), size_bytes, kind);
}

static enum status take_map(struct parser *p)
{
    bool efi = p->efi_map.bytes;
    const struct tag *map = efi ? &p->efi_map : &p->map;

    if (!map->bytes)
        return refuse(p->why, STATUS_INVALID, "multiboot2 information: no memory map");
    if (map->size_bytes < MAP_HEADER_BYTES)
        return refuse(p->why, STATUS_TRUNCATED, "multiboot2 information: memory map of %u bytes", map->size_bytes);
    u32 entry_bytes = bytes_u32(map->bytes + 8);
    u32 entries_bytes = map->size_bytes - MAP_HEADER_BYTES;
    if (entry_bytes < (efi ? EFI_DESCRIPTOR_BYTES : MAP_ENTRY_BYTES) || entries_bytes % entry_bytes)
        return refuse(p->why, STATUS_INVALID, "multiboot2 information: memory map of %u bytes with entries of %u",
                      entries_bytes, entry_bytes);
    p->out->regions_from_efi = efi;
    for (u32 at = 0; at < entries_bytes; at += entry_bytes) {
        const u8 *entry = map->bytes + MAP_HEADER_BYTES + at;
        if (!(efi ? add_efi_descriptor(p, entry) : add_map_entry(p->out, entry)))
            return refuse(p->why, STATUS_INVALID, "memory map with more than %u reserved regions", BOOT_MAX_REGIONS);
    }
    return STATUS_OK;
}

enum status boot_info_parse(const void *block, size_t size_bytes, struct boot_info *out, struct refusal *why)
{
    struct parser p = {.out = out, .why = why};

    memset(out, 0, sizeof *out);
    if (size_bytes < BLOCK_HEADER_BYTES)
        return refuse(why, STATUS_TRUNCATED, "multiboot2 information of %lu bytes", size_bytes);
    u32 total_bytes = bytes_u32(block);
    if (total_bytes > size_bytes)
        return refuse(why, STATUS_TRUNCATED, "multiboot2 information says %u bytes, only %lu are there", total_bytes,
                      size_bytes);
    enum status status = walk_tags(&p, block, total_bytes);
    if (status == STATUS_OK)
        status = take_map(&p);
    out->command_line = p.command_line ? p.command_line : "";
    out->loader_name = p.loader_name ? p.loader_name : "";
    return status;
}
