/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH kernels: an ELF file whose Xen note names a 32-bit entry point, started with EBX pointing to a start-info block
 * that holds command line, modules, memory map and the ACPI root pointer.
 * Xen, "x86/HVM direct boot ABI" (docs/misc/pvh.pandoc); layout: xen/include/public/arch-x86/hvm/start_info.h.
 */
#include "kernel/load/pvh.h"
#include "kernel/load/elf.h"
#include "kernel/lib/string.h"

#define NOTE_PHYS32_ENTRY 18u
#define START_MAGIC       0x336ec578u
#define START_VERSION     1u
#define START_BYTES       56u
#define MODULE_BYTES      32u
#define MAP_BYTES         24u

bool pvh_find_entry(const struct image *image, u64 *entry)
{
    static const struct elf_note_key key = {"Xen", NOTE_PHYS32_ENTRY};
    return elf_find_note(image, &key, entry);
}

/* The block: start info, module list, memory map, then the strings (command line, module lines). */
static void write_info(const struct load_request *request, const u64 *module_starts, struct layout_writer *writer,
                       const struct guest_memory *memory)
{
    struct layout_map_entry entry;
    u32 map_count = layout_count_map_entries(memory);
    u64 modules = writer->base + START_BYTES;
    u64 map = modules + request->module_count * MODULE_BYTES;
    u64 string = map + map_count * MAP_BYTES;

    layout_append_u64(writer, (u64)START_VERSION << 32 | START_MAGIC);
    layout_append_u64(writer, (u64)request->module_count << 32); /* flags: 0 */
    layout_append_u64(writer, modules);
    layout_append_u64(writer, string);
    layout_append_u64(writer, request->acpi_root.raw);
    layout_append_u64(writer, map);
    layout_append_u64(writer, map_count);
    string += string_length(request->boot.line) + 1;
    for (u32 i = 0; i < request->module_count; i++) {
        layout_append_u64(writer, module_starts[i]);
        layout_append_u64(writer, request->modules[i].size_bytes);
        layout_append_u64(writer, string);
        layout_append_u64(writer, 0);
        string += string_length(request->modules[i].line) + 1;
    }
    for (u32 index = 0; layout_next_map_entry(memory, &index, &entry);) {
        layout_append_u64(writer, entry.base);
        layout_append_u64(writer, entry.size_bytes);
        layout_append_u64(writer, entry.type); /* numbered as in E820; the upper half is reserved */
    }
    layout_append_string(writer, request->boot.line);
    for (u32 i = 0; i < request->module_count; i++)
        layout_append_string(writer, request->modules[i].line);
}

/* With the initrd as the first module: that is where Linux looks. */
static enum status list_modules(const struct load_request *request, struct load_request *out, struct refusal *why)
{
    *out = *request;
    if (!request->initrd.bytes)
        return STATUS_OK;
    if (request->module_count == LOAD_MAX_MODULES)
        return refuse(why, STATUS_UNSUPPORTED, "a VM takes at most %u modules, its initrd included", LOAD_MAX_MODULES);
    out->modules[0] = request->initrd;
    memcpy(out->modules + 1, request->modules, request->module_count * sizeof request->modules[0]);
    out->module_count++;
    return STATUS_OK;
}

enum status load_pvh(const struct load_request *request, const struct guest_memory *memory, struct start_state *start,
                     struct refusal *why)
{
    struct load_request all;
    u64 module_starts[LOAD_MAX_MODULES];
    struct plan plan;
    struct layout layout;
    u64 entry;

    if (!pvh_find_entry(&request->boot, &entry))
        return refuse(why, STATUS_INVALID, "image is no PVH kernel: no ELF file with a Xen note of type %u",
                      NOTE_PHYS32_ENTRY);
    layout_init(&layout, memory);
    plan_init(&plan);
    enum status status = elf_plan(&request->boot, &plan, why);
    if (status != STATUS_OK)
        return status;
    if (!plan_contains(&plan, entry))
        return refuse(why, STATUS_INVALID, "image is broken: its PVH entry point 0x%lx lies outside", entry);
    status = list_modules(request, &all, why);
    if (status == STATUS_OK)
        status = plan_load(&plan, &request->boot, &layout, 0, why);
    if (status == STATUS_OK)
        status = layout_place_modules(&layout, &all, module_starts, why);
    if (status != STATUS_OK)
        return status;
    struct layout_writer writer = {0};
    write_info(&all, module_starts, &writer, memory);
    status = layout_place(&layout, writer.used_bytes, "the PVH start info", &writer.base, why);
    if (status != STATUS_OK)
        return status;
    writer = (struct layout_writer){memory, writer.base, 0};
    write_info(&all, module_starts, &writer, memory);
    *start = (struct start_state){.mode = START_PROTECTED32, .rip = entry, .rbx = writer.base, .rsp = LAYOUT_STACK_TOP};
    return STATUS_OK;
}
