/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot version 1: header, the two image forms, and the information block in guest memory.
 * Multiboot Specification 0.6.96, 3.1 "OS image format", 3.2 "Machine state", 3.3 "Boot information format".
 */
#include "kernel/load/multiboot.h"
#include "kernel/load/elf.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define HEADER_BYTES     12u
#define HEADER_ADDRESSES 32u /* its size with the address fields */
#define FLAG_VIDEO       BIT(2)
#define FLAGS_REQUIRED   0xffffu /* a loader that does not know one of these must refuse */
#define FLAGS_KNOWN      0x0007u /* aligned modules, memory information, video: all given, wanted or not */
#define FLAG_ADDRESSES   BIT(16)
#define BOOTED_MAGIC     0x2badb002u

#define INFO_WORDS        30u /* up to the framebuffer's fields */
#define INFO_MODULE_BYTES 16u
#define INFO_MAP_BYTES    24u
/* memory sizes, command line, modules, memory map, loader name */
#define INFO_FLAGS       (BIT(0) | BIT(2) | BIT(3) | BIT(6) | BIT(9))
#define INFO_SECTIONS    BIT(5)
#define INFO_FRAMEBUFFER BIT(12)
#define FRAMEBUFFER_TEXT 2u

bool multiboot_find(const struct image *image, u64 *offset)
{
    u64 end = image->size_bytes < MULTIBOOT_SEARCH_BYTES ? image->size_bytes : MULTIBOOT_SEARCH_BYTES;

    for (u64 at = 0; bytes_contain(end, at, HEADER_BYTES); at += 4) {
        const u8 *h = image->bytes + at;
        if (bytes_u32(h) == MULTIBOOT_HEADER_MAGIC && bytes_u32(h) + bytes_u32(h + 4) + bytes_u32(h + 8) == 0) {
            *offset = at;
            return true;
        }
    }
    return false;
}

static enum status make_plan(const struct image *image, struct plan *plan, u32 *flags, struct refusal *why)
{
    u64 offset;

    plan_init(plan);
    if (!multiboot_find(image, &offset)) {
        if (multiboot_is_wrong(image, why))
            return STATUS_INVALID;
        return refuse(why, STATUS_INVALID, "no multiboot header with a right checksum in the first %u bytes",
                      MULTIBOOT_SEARCH_BYTES);
    }
    const u8 *h = image->bytes + offset;
    *flags = bytes_u32(h + 4);
    if (*flags & FLAGS_REQUIRED & ~FLAGS_KNOWN)
        return refuse(why, STATUS_UNSUPPORTED, "multiboot header requires flags 0x%x; known are 0x%x",
                      *flags & FLAGS_REQUIRED, FLAGS_KNOWN);
    if (*flags & FLAG_ADDRESSES) {
        if (!bytes_contain(image->size_bytes, offset, HEADER_ADDRESSES))
            return refuse(why, STATUS_TRUNCATED, "image is truncated within its multiboot header");
        struct plan_address_form form = {
            offset, bytes_u32(h + 12), bytes_u32(h + 16), bytes_u32(h + 20), bytes_u32(h + 24), bytes_u32(h + 28)};
        return plan_from_addresses(plan, image, &form, why);
    }
    if (!elf_is(image))
        return refuse(why, STATUS_UNSUPPORTED, "multiboot image is neither ELF nor has address fields (flag bit 16)");
    return elf_plan(image, plan, why);
}

/* What stands where in the information block. */
struct info {
    const struct load_request *request;
    const struct guest_memory *memory;
    const u64 *module_starts;
    bool video;
    const struct elf_sections *sections; /* NULL: none */
};

static void fill_words(const struct info *info, u64 base, u32 *words)
{
    u32 map_count = layout_count_map_entries(info->memory);
    u64 modules = base + INFO_WORDS * 4;
    u64 map = modules + info->request->module_count * INFO_MODULE_BYTES;
    u64 sections = map + map_count * INFO_MAP_BYTES;
    u64 strings = sections + (info->sections ? (u64)info->sections->count * info->sections->header_bytes : 0);
    u64 high_bytes = guest_memory_low_top(info->memory);

    memset(words, 0, INFO_WORDS * 4);
    words[0] = INFO_FLAGS | (info->video ? (u32)INFO_FRAMEBUFFER : 0);
    words[1] = GUEST_LOW_RAM_BYTES >> 10;
    words[2] = high_bytes > GUEST_HIGH_RAM_BASE ? (u32)((high_bytes - GUEST_HIGH_RAM_BASE) >> 10) : 0;
    words[4] = (u32)strings + sizeof MULTIBOOT_LOADER_NAME;
    words[5] = info->request->module_count;
    words[6] = (u32)modules;
    if (info->sections) {
        words[0] |= (u32)INFO_SECTIONS;
        words[7] = info->sections->count;
        words[8] = info->sections->header_bytes;
        words[9] = (u32)sections;
        words[10] = info->sections->names;
    }
    words[11] = map_count * INFO_MAP_BYTES;
    words[12] = (u32)map;
    words[16] = (u32)strings;
    words[22] = (u32)GUEST_TEXT_PAGE;
    words[24] = 160; /* bytes of a row */
    words[25] = 80;
    words[26] = 25;
    words[27] = FRAMEBUFFER_TEXT << 8 | 16; /* type, bits of a character */
}

/* Appends the block: info, modules, memory map, section headers, strings (loader name, command line, module lines). */
static void write_info(const struct info *info, struct layout_writer *writer)
{
    const struct load_request *request = info->request;
    u32 words[INFO_WORDS];
    struct layout_map_entry entry;

    fill_words(info, writer->base, words);
    u32 string = words[4] + (u32)string_length(request->boot.line) + 1;
    layout_append(writer, words, sizeof words);
    for (u32 i = 0; i < request->module_count; i++) {
        layout_append_u32(writer, (u32)info->module_starts[i]);
        layout_append_u32(writer, (u32)(info->module_starts[i] + request->modules[i].size_bytes));
        layout_append_u32(writer, string);
        layout_append_u32(writer, 0);
        string += (u32)string_length(request->modules[i].line) + 1;
    }
    for (u32 index = 0; layout_next_map_entry(info->memory, &index, &entry);) {
        layout_append_u32(writer, INFO_MAP_BYTES - 4);
        layout_append_u64(writer, entry.base);
        layout_append_u64(writer, entry.size_bytes);
        layout_append_u32(writer, entry.type);
    }
    if (info->sections)
        elf_write_sections(info->sections, writer);
    layout_append_string(writer, MULTIBOOT_LOADER_NAME);
    layout_append_string(writer, request->boot.line);
    for (u32 i = 0; i < request->module_count; i++)
        layout_append_string(writer, request->modules[i].line);
}

enum status load_multiboot(const struct load_request *request, const struct guest_memory *memory,
                           struct start_state *start, struct refusal *why)
{
    u64 module_starts[LOAD_MAX_MODULES];
    struct plan plan;
    struct layout layout;
    u32 flags = 0;

    layout_init(&layout, memory);
    enum status status = make_plan(&request->boot, &plan, &flags, why);
    if (status == STATUS_OK)
        status = plan_load(&plan, &request->boot, &layout, 0, why);
    if (status == STATUS_OK)
        status = layout_place_modules(&layout, request, module_starts, why);
    if (status != STATUS_OK)
        return status;
    struct elf_sections sections;
    bool has_sections = !(flags & FLAG_ADDRESSES) && elf_find_sections(&request->boot, &sections);
    struct info info = {request, memory, module_starts, flags & FLAG_VIDEO, has_sections ? &sections : NULL};
    struct layout_writer writer = {0};
    write_info(&info, &writer);
    status = layout_place(&layout, writer.used_bytes, "the multiboot information", &writer.base, why);
    if (status != STATUS_OK)
        return status;
    /* Without room for them the kernel starts without: the flag tells it. */
    if (has_sections && elf_place_sections(&sections, &layout, NULL) != STATUS_OK)
        info.sections = NULL;
    writer = (struct layout_writer){memory, writer.base, 0};
    write_info(&info, &writer);
    *start = (struct start_state){
        .mode = START_PROTECTED32, .rip = plan.entry, .rax = BOOTED_MAGIC, .rbx = writer.base, .rsp = LAYOUT_STACK_TOP};
    return STATUS_OK;
}
