/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot version 2 as a loader of guests: header tags, relocation, and the information block in guest memory.
 * Multiboot2 Specification 2.0, 3.1 "OS image format", 3.3 "I386 machine state", 3.6 "Boot information format".
 */
#include "kernel/load/multiboot.h"
#include "kernel/load/elf.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define HEADER_BYTES      16u
#define ARCHITECTURE_I386 0u
#define TAG_OPTIONAL      1u
#define BOOTED_MAGIC      0x36d76289u
#define LOAD_FROM_START   0xffffffffu /* load_addr: the file is loaded from its first byte on */
#define LOW_LOAD_BASE     0x10000ull

enum header_tag {
    HEADER_END = 0,
    HEADER_INFO_REQUEST = 1,
    HEADER_ADDRESSES = 2,
    HEADER_ENTRY = 3,
    HEADER_CONSOLE = 4,
    HEADER_FRAMEBUFFER = 5,
    HEADER_MODULE_ALIGN = 6,
    HEADER_EFI_FIRST = 7, /* boot services, i386 entry, amd64 entry: this PC has no EFI */
    HEADER_EFI_LAST = 9,
    HEADER_RELOCATABLE = 10,
};

enum info_tag {
    INFO_END = 0,
    INFO_COMMAND_LINE = 1,
    INFO_LOADER_NAME = 2,
    INFO_MODULE = 3,
    INFO_MEMORY = 4,
    INFO_BOOT_DEVICE = 5,
    INFO_MAP = 6,
    INFO_VBE = 7,
    INFO_FRAMEBUFFER = 8,
    INFO_ELF_SECTIONS = 9,
    INFO_APM = 10,
    INFO_SMBIOS = 13,
    INFO_ACPI_1 = 14,
    INFO_ACPI_2 = 15,
    INFO_NETWORK = 16,
    INFO_LOAD_BASE = 21,
};

#define RSDP_1_BYTES 20u
#define RSDP_2_BYTES 36u

enum preference { PREFER_NONE, PREFER_LOWEST, PREFER_HIGHEST };

/* The header's tags, as far as they matter. */
struct header {
    const struct image *image;
    u64 offset;
    bool has_addresses;
    struct plan_address_form addresses;
    bool has_entry;
    u32 entry;
    bool relocatable;
    u32 min_address, max_address, alignment, preference;
    bool needs_sections;
};

bool multiboot2_find(const struct image *image, u64 *offset, u32 *bytes)
{
    u64 end = image->size_bytes < MULTIBOOT2_SEARCH_BYTES ? image->size_bytes : MULTIBOOT2_SEARCH_BYTES;

    for (u64 at = 0; bytes_contain(end, at, HEADER_BYTES); at += 8) {
        const u8 *h = image->bytes + at;
        u32 length = bytes_u32(h + 8);
        if (bytes_u32(h) != MULTIBOOT2_HEADER_MAGIC || bytes_u32(h + 4) != ARCHITECTURE_I386)
            continue;
        if (bytes_u32(h) + bytes_u32(h + 4) + length + bytes_u32(h + 12) != 0 || length < HEADER_BYTES ||
            !bytes_contain(end, at, length))
            continue;
        *offset = at;
        *bytes = length;
        return true;
    }
    return false;
}

/* What the tag would tell, for those that this loader does not give; NULL: it gives the tag. */
static const char *what_is_missing(const struct image *image, u32 type)
{
    struct elf_sections sections;

    switch (type) {
    case INFO_COMMAND_LINE:
    case INFO_LOADER_NAME:
    case INFO_MODULE:
    case INFO_MEMORY:
    case INFO_MAP:
    case INFO_FRAMEBUFFER:
    case INFO_ACPI_1:
    case INFO_ACPI_2:
    case INFO_LOAD_BASE:
        return NULL;
    case INFO_BOOT_DEVICE:
        return "BIOS boot device";
    case INFO_VBE:
        return "VBE";
    case INFO_ELF_SECTIONS:
        return elf_find_sections(image, &sections) ? NULL : "ELF sections";
    case INFO_APM:
        return "APM";
    case INFO_SMBIOS:
        return "SMBIOS";
    case INFO_NETWORK:
        return "network";
    default:
        return type < INFO_LOAD_BASE ? "EFI" : "unknown";
    }
}

/* A kernel that says it cannot do without a tag would go wrong later, and less clearly. */
static enum status check_requests(struct header *header, const u8 *tag, u32 tag_bytes, struct refusal *why)
{
    for (u32 at = 8; bytes_contain(tag_bytes, at, 4); at += 4) {
        u32 type = bytes_u32(tag + at);
        const char *what = what_is_missing(header->image, type);
        if (what)
            return refuse(why, STATUS_UNSUPPORTED,
                          "multiboot2 header requires information tag %u (%s), which is not given", type, what);
        header->needs_sections |= type == INFO_ELF_SECTIONS;
    }
    return STATUS_OK;
}

static void take_addresses(struct header *header, const u8 *tag)
{
    u32 header_address = bytes_u32(tag + 8);
    u32 load_address = bytes_u32(tag + 12);

    if (load_address == LOAD_FROM_START)
        load_address = header_address - (u32)header->offset;
    header->has_addresses = true;
    header->addresses = (struct plan_address_form){header->offset,      header_address,      load_address,
                                                   bytes_u32(tag + 16), bytes_u32(tag + 20), 0};
}

static enum status take_relocatable(struct header *header, const u8 *tag, struct refusal *why)
{
    header->relocatable = true;
    header->min_address = bytes_u32(tag + 8);
    header->max_address = bytes_u32(tag + 12);
    header->alignment = bytes_u32(tag + 16);
    header->preference = bytes_u32(tag + 20);
    if (header->alignment == 0)
        header->alignment = 1;
    if (header->alignment & (header->alignment - 1))
        return refuse(why, STATUS_INVALID, "multiboot2 header: alignment %u is no power of two", header->alignment);
    return STATUS_OK;
}

static enum status take_tag(struct header *header, const u8 *tag, u32 tag_bytes, struct refusal *why)
{
    static const u8 least_bytes[] = {[HEADER_ADDRESSES] = 24, [HEADER_ENTRY] = 12, [HEADER_RELOCATABLE] = 24};
    u16 type = bytes_u16(tag);
    bool optional = bytes_u16(tag + 2) & TAG_OPTIONAL;

    if (type < ARRAY_SIZE(least_bytes) && tag_bytes < least_bytes[type])
        return refuse(why, STATUS_TRUNCATED, "multiboot2 header: tag %u has only %u bytes", type, tag_bytes);
    switch (type) {
    case HEADER_INFO_REQUEST:
        return optional ? STATUS_OK : check_requests(header, tag, tag_bytes, why);
    case HEADER_ADDRESSES:
        take_addresses(header, tag);
        return STATUS_OK;
    case HEADER_ENTRY:
        header->has_entry = true;
        header->entry = bytes_u32(tag + 8);
        return STATUS_OK;
    case HEADER_RELOCATABLE:
        return take_relocatable(header, tag, why);
    case HEADER_CONSOLE:
    case HEADER_MODULE_ALIGN:
        return STATUS_OK;
    case HEADER_FRAMEBUFFER:
        if (!optional)
            return refuse(
                why, STATUS_UNSUPPORTED,
                "multiboot2 header requires a framebuffer; there is only the text page: make the tag optional");
        return STATUS_OK;
    default:
        if (!optional && (type < HEADER_EFI_FIRST || type > HEADER_EFI_LAST))
            return refuse(why, STATUS_UNSUPPORTED, "multiboot2 header requires tag %u, which is not known", type);
        return STATUS_OK;
    }
}

static enum status parse_header(struct header *header, struct refusal *why)
{
    u32 bytes = 0;

    if (!multiboot2_find(header->image, &header->offset, &bytes)) {
        if (multiboot2_is_wrong(header->image, why))
            return STATUS_INVALID;
        return refuse(why, STATUS_INVALID, "no multiboot2 header with a right checksum in the first %u bytes",
                      MULTIBOOT2_SEARCH_BYTES);
    }
    const u8 *h = header->image->bytes + header->offset;
    u64 at = HEADER_BYTES;
    while (bytes_contain(bytes, at, 8)) {
        u32 tag_bytes = bytes_u32(h + at + 4);
        if (tag_bytes < 8 || !bytes_contain(bytes, at, tag_bytes))
            return refuse(why, STATUS_TRUNCATED, "multiboot2 header: tag %u of %u bytes does not fit",
                          bytes_u16(h + at), tag_bytes);
        if (bytes_u16(h + at) == HEADER_END)
            return STATUS_OK;
        enum status status = take_tag(header, h + at, tag_bytes, why);
        if (status != STATUS_OK)
            return status;
        at += bits_align_up(tag_bytes, 8);
    }
    return refuse(why, STATUS_TRUNCATED, "multiboot2 header: no end tag");
}

static enum status make_plan(struct header *header, struct plan *plan, struct refusal *why)
{
    plan_init(plan);
    enum status status = parse_header(header, why);
    if (status != STATUS_OK)
        return status;
    if (header->has_addresses && !header->has_entry)
        return refuse(why, STATUS_INVALID, "multiboot2 header has an address tag but no entry address tag");
    if (header->has_addresses && header->needs_sections)
        return refuse(why, STATUS_UNSUPPORTED,
                      "multiboot2 header requires the ELF sections and has an address tag, which loads without them");
    if (header->has_addresses) {
        header->addresses.entry = header->entry;
        return plan_from_addresses(plan, header->image, &header->addresses, why);
    }
    if (!elf_is(header->image))
        return refuse(why, STATUS_UNSUPPORTED, "multiboot2 image is neither ELF nor has an address tag");
    status = elf_plan(header->image, plan, why);
    if (status != STATUS_OK || !header->has_entry)
        return status;
    plan->entry = header->entry;
    if (!plan_contains(plan, plan->entry))
        return refuse(why, STATUS_INVALID, "multiboot2 header: entry address 0x%lx lies outside the image",
                      plan->entry);
    return STATUS_OK;
}

/* A place for `bytes` in [low, high) as the header prefers; both ends already lie in RAM. */
static bool find_base(const struct header *header, u64 low, u64 high, u64 bytes, u64 *base)
{
    u64 limit = (u64)header->max_address + 1;

    low = low > header->min_address ? low : header->min_address;
    high = high < limit ? high : limit;
    if (low > high || bytes > high - low)
        return false;
    *base = header->preference == PREFER_HIGHEST ? bits_align_down(high - bytes, header->alignment)
                                                 : bits_align_up(low, header->alignment);
    return *base >= low && bytes_contain(high, *base, bytes);
}

/* How far to move the image from the address it was linked at. */
static enum status choose_delta(const struct header *header, const struct plan *plan, const struct guest_memory *memory,
                                u64 *delta, struct refusal *why)
{
    u64 bytes = plan->high - plan->low;
    u64 base;

    *delta = 0;
    if (!header->relocatable)
        return STATUS_OK;
    if (plan->low >= header->min_address && plan->high <= (u64)header->max_address + 1 &&
        bits_is_aligned(plan->low, header->alignment) && plan_fits(plan, memory, 0))
        return STATUS_OK;
    u64 top = guest_memory_low_top(memory);
    if (!find_base(header, GUEST_HIGH_RAM_BASE, top, bytes, &base) &&
        !find_base(header, LOW_LOAD_BASE, GUEST_LOW_RAM_BYTES, bytes, &base))
        return refuse(why, STATUS_NO_MEMORY,
                      "image of 0x%lx bytes fits nowhere between 0x%x and 0x%x in mem=%s, whose RAM ends at 0x%lx",
                      bytes, header->min_address, header->max_address, guest_memory_text(memory->mem_bytes).text, top);
    *delta = base - plan->low;
    return STATUS_OK;
}

struct info {
    const struct load_request *request;
    const struct guest_memory *memory;
    const u64 *module_starts;
    u32 load_base;
    const struct elf_sections *sections; /* NULL: none */
};

static void begin_tag(struct layout_writer *writer, enum info_tag type, u64 payload_bytes)
{
    static const u8 zeros[8];

    layout_append(writer, zeros, bits_align_up(writer->used_bytes, 8) - writer->used_bytes);
    layout_append_u32(writer, type);
    layout_append_u32(writer, 8 + (u32)payload_bytes);
}

static void write_string_tag(struct layout_writer *writer, enum info_tag type, const char *text)
{
    begin_tag(writer, type, string_length(text) + 1);
    layout_append_string(writer, text);
}

static void write_memory_tags(struct layout_writer *writer, const struct guest_memory *memory)
{
    struct layout_map_entry entry;
    u64 top = guest_memory_low_top(memory);

    begin_tag(writer, INFO_MEMORY, 8);
    layout_append_u32(writer, GUEST_LOW_RAM_BYTES >> 10);
    layout_append_u32(writer, top > GUEST_HIGH_RAM_BASE ? (u32)((top - GUEST_HIGH_RAM_BASE) >> 10) : 0);
    begin_tag(writer, INFO_MAP, 8 + 24ull * layout_count_map_entries(memory));
    layout_append_u32(writer, 24);
    layout_append_u32(writer, 0);
    for (u32 index = 0; layout_next_map_entry(memory, &index, &entry);) {
        layout_append_u64(writer, entry.base);
        layout_append_u64(writer, entry.size_bytes);
        layout_append_u64(writer, entry.type);
    }
}

/* The text page, described as GRUB does: 80x25 characters, type 2 (EGA text). */
static void write_framebuffer_tag(struct layout_writer *writer)
{
    begin_tag(writer, INFO_FRAMEBUFFER, 24);
    layout_append_u64(writer, GUEST_TEXT_PAGE);
    layout_append_u32(writer, 160);
    layout_append_u32(writer, 80);
    layout_append_u32(writer, 25);
    layout_append_u32(writer, 2 << 8 | 16);
}

/* Copies of the root pointer, as GRUB gives them: its first version's part, and the whole. */
static void write_acpi_tags(struct layout_writer *writer, const struct guest_memory *memory, gpa_t root)
{
    u8 rsdp[RSDP_2_BYTES];

    if (!root.raw || guest_memory_read(memory, root, rsdp, sizeof rsdp) != STATUS_OK)
        return;
    begin_tag(writer, INFO_ACPI_1, RSDP_1_BYTES);
    layout_append(writer, rsdp, RSDP_1_BYTES);
    begin_tag(writer, INFO_ACPI_2, RSDP_2_BYTES);
    layout_append(writer, rsdp, RSDP_2_BYTES);
}

/* Counts of 32 bits, as GRUB writes and multiboot2.h declares them. */
static void write_sections_tag(struct layout_writer *writer, const struct elf_sections *sections)
{
    begin_tag(writer, INFO_ELF_SECTIONS, 12 + (u64)sections->count * sections->header_bytes);
    layout_append_u32(writer, sections->count);
    layout_append_u32(writer, sections->header_bytes);
    layout_append_u32(writer, sections->names);
    elf_write_sections(sections, writer);
}

static void write_info(const struct info *info, u32 total_bytes, struct layout_writer *writer)
{
    const struct load_request *request = info->request;

    layout_append_u32(writer, total_bytes);
    layout_append_u32(writer, 0);
    begin_tag(writer, INFO_LOAD_BASE, 4);
    layout_append_u32(writer, info->load_base);
    write_string_tag(writer, INFO_COMMAND_LINE, request->boot.line);
    write_string_tag(writer, INFO_LOADER_NAME, MULTIBOOT_LOADER_NAME);
    for (u32 i = 0; i < request->module_count; i++) {
        begin_tag(writer, INFO_MODULE, 8 + string_length(request->modules[i].line) + 1);
        layout_append_u32(writer, (u32)info->module_starts[i]);
        layout_append_u32(writer, (u32)(info->module_starts[i] + request->modules[i].size_bytes));
        layout_append_string(writer, request->modules[i].line);
    }
    write_memory_tags(writer, info->memory);
    if (info->sections)
        write_sections_tag(writer, info->sections);
    write_framebuffer_tag(writer);
    write_acpi_tags(writer, info->memory, request->acpi_root);
    begin_tag(writer, INFO_END, 0);
}

static u32 count_info(const struct info *info)
{
    struct layout_writer counter = {0};

    write_info(info, 0, &counter);
    return (u32)counter.used_bytes;
}

enum status load_multiboot2(const struct load_request *request, const struct guest_memory *memory,
                            struct start_state *start, struct refusal *why)
{
    u64 module_starts[LOAD_MAX_MODULES];
    struct header header = {.image = &request->boot};
    struct plan plan;
    struct layout layout;
    u64 delta;

    layout_init(&layout, memory);
    enum status status = make_plan(&header, &plan, why);
    if (status == STATUS_OK)
        status = choose_delta(&header, &plan, memory, &delta, why);
    if (status == STATUS_OK)
        status = plan_load(&plan, &request->boot, &layout, delta, why);
    if (status == STATUS_OK)
        status = layout_place_modules(&layout, request, module_starts, why);
    if (status != STATUS_OK)
        return status;
    struct elf_sections sections;
    bool has_sections = !header.has_addresses && elf_find_sections(&request->boot, &sections);
    struct info info = {request, memory, module_starts, (u32)(plan.low + delta), has_sections ? &sections : NULL};
    u64 base;
    status = layout_place(&layout, count_info(&info), "the multiboot2 information", &base, why);
    if (status != STATUS_OK)
        return status;
    if (has_sections && elf_place_sections(&sections, &layout, why) != STATUS_OK) {
        if (header.needs_sections)
            return STATUS_NO_MEMORY;
        info.sections = NULL;
    }
    struct layout_writer writer = {memory, base, 0};
    write_info(&info, count_info(&info), &writer);
    *start = (struct start_state){.mode = START_PROTECTED32,
                                  .rip = plan.entry + delta,
                                  .rax = BOOTED_MAGIC,
                                  .rbx = base,
                                  .rsp = LAYOUT_STACK_TOP};
    return STATUS_OK;
}
