/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Placement in guest memory. Few things are placed, so all searches are linear: a free place begins where something
 * else ends.
 */
#include "kernel/load/layout.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define LOW_PLACE_BASE 0x10000ull /* above vectors, BIOS data and the first stack */

void layout_init(struct layout *layout, const struct guest_memory *memory)
{
    layout->memory = memory;
    layout->used_count = 0;
    layout->image_end = 0;
}

bool layout_is_ram(const struct guest_memory *memory, u64 base, u64 bytes)
{
    while (bytes) {
        const struct guest_region *r = guest_memory_find(memory, gpa(base));
        if (!r || r->kind != GUEST_REGION_RAM)
            return false;
        u64 run = r->base.raw + r->size_bytes - base;
        if (run >= bytes)
            return true;
        base += run;
        bytes -= run;
    }
    return true;
}

enum status layout_check_top(const struct guest_memory *memory, u64 end, struct refusal *why)
{
    u64 top = guest_memory_low_top(memory);
    u64 enough = bits_align_up(end, MIB(1));

    if (end <= top)
        return STATUS_OK;
    if (end > GUEST_LOW_RAM_TOP_MAX)
        return refuse(why, STATUS_NO_MEMORY,
                      "image needs memory up to 0x%lx, but a guest's RAM below 4 GiB ends at 0x%lx", end,
                      (u64)GUEST_LOW_RAM_TOP_MAX);
    if (enough <= GUEST_HIGH_RAM_BASE)
        enough = GUEST_HIGH_RAM_BASE + MIB(1); /* the end lies in the hole: only moving above it helps */
    return refuse(why, STATUS_NO_MEMORY,
                  "image needs memory up to 0x%lx but mem=%s ends at 0x%lx; use mem=%luM or more", end,
                  guest_memory_text(memory->mem_bytes).text, top, enough >> 20);
}

static enum status note(struct layout *layout, u64 base, u64 end, struct refusal *why)
{
    if (layout->used_count == LAYOUT_MAX_EXTENTS)
        return refuse(why, STATUS_UNSUPPORTED, "image and modules have more than %u parts", LAYOUT_MAX_EXTENTS);
    layout->used[layout->used_count++] = (struct layout_extent){base, end};
    if (layout->image_end < end)
        layout->image_end = end;
    return STATUS_OK;
}

enum status layout_claim(struct layout *layout, u64 base, u64 bytes, struct refusal *why)
{
    if (bytes == 0)
        return STATUS_OK;
    if (!layout_is_ram(layout->memory, base, bytes))
        return refuse(why, STATUS_OUT_OF_RANGE,
                      "image covers 0x%lx to 0x%lx, which is not all RAM (0xa0000 to 0xfffff is video and firmware)",
                      base, base + bytes);
    return note(layout, base, base + bytes, why);
}

static bool is_free(const struct layout *layout, u64 base, u64 bytes)
{
    if (base >= GIB(4) || bytes > GIB(4) - base || !layout_is_ram(layout->memory, base, bytes))
        return false;
    for (u32 i = 0; i < layout->used_count; i++)
        if (base < layout->used[i].end && layout->used[i].base < base + bytes)
            return false;
    return true;
}

/* The lowest free place at or above `floor`: it begins at `floor` or where something ends. */
static bool find_free(const struct layout *layout, u64 floor, u64 bytes, u64 *address)
{
    bool found = is_free(layout, floor, bytes);

    *address = floor;
    if (found)
        return true;
    for (u32 i = 0; i < layout->used_count; i++) {
        u64 candidate = bits_align_up(layout->used[i].end, FRAME_BYTES);
        if (candidate < floor || (found && candidate >= *address) || !is_free(layout, candidate, bytes))
            continue;
        *address = candidate;
        found = true;
    }
    return found;
}

enum status layout_place(struct layout *layout, u64 bytes, const char *what, u64 *address, struct refusal *why)
{
    u64 wanted = bytes ? bytes : 1;
    u64 after = bits_align_up(layout->image_end, FRAME_BYTES);

    if (!find_free(layout, after, wanted, address) && !find_free(layout, GUEST_HIGH_RAM_BASE, wanted, address) &&
        !find_free(layout, LOW_PLACE_BASE, wanted, address)) {
        u64 floor = after < GUEST_HIGH_RAM_BASE ? GUEST_HIGH_RAM_BASE : after;
        return refuse(why, STATUS_NO_MEMORY,
                      "%s of %lu bytes does not fit beside the image in mem=%s; use mem=%luM or more", what, bytes,
                      guest_memory_text(layout->memory->mem_bytes).text, bits_align_up(floor + wanted, MIB(1)) >> 20);
    }
    return note(layout, *address, *address + wanted, why);
}

enum status layout_place_modules(struct layout *layout, const struct load_request *request, u64 *starts,
                                 struct refusal *why)
{
    for (u32 i = 0; i < request->module_count; i++) {
        const struct image *module = &request->modules[i];
        enum status status = layout_place(layout, module->size_bytes, "a module", &starts[i], why);
        if (status == STATUS_OK)
            status = guest_memory_write(layout->memory, gpa(starts[i]), module->bytes, module->size_bytes);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

bool layout_next_map_entry(const struct guest_memory *memory, u32 *index, struct layout_map_entry *entry)
{
    while (*index < memory->region_count && memory->regions[*index].kind == GUEST_REGION_TEXT)
        (*index)++;
    if (*index >= memory->region_count)
        return false;
    const struct guest_region *r = &memory->regions[(*index)++];
    *entry = (struct layout_map_entry){r->base.raw, r->size_bytes, r->kind == GUEST_REGION_RAM ? 1 : 2};
    for (; *index < memory->region_count; (*index)++) {
        const struct guest_region *next = r + 1;
        if (next->kind != r->kind || next->base.raw != r->base.raw + r->size_bytes)
            break;
        entry->size_bytes += next->size_bytes;
        r = next;
    }
    return true;
}

u32 layout_count_map_entries(const struct guest_memory *memory)
{
    struct layout_map_entry entry;
    u32 count = 0;
    for (u32 index = 0; layout_next_map_entry(memory, &index, &entry);)
        count++;
    return count;
}

void layout_append(struct layout_writer *writer, const void *data, u64 bytes)
{
    /* Placed in RAM beforehand, so the write cannot fail; a short block would only hurt its own guest. */
    if (writer->memory &&
        guest_memory_write(writer->memory, gpa(writer->base + writer->used_bytes), data, bytes) != STATUS_OK)
        return;
    writer->used_bytes += bytes;
}

void layout_append_u32(struct layout_writer *writer, u32 value)
{
    layout_append(writer, &value, sizeof value);
}

void layout_append_u64(struct layout_writer *writer, u64 value)
{
    layout_append(writer, &value, sizeof value);
}

void layout_append_string(struct layout_writer *writer, const char *text)
{
    layout_append(writer, text, string_length(text) + 1);
}
