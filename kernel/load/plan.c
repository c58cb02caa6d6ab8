/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Load plans: the arithmetic of segments, done once and in 64 bits, so that 32-bit fields cannot overflow.
 * Multiboot Specification 0.6.96, 3.1.3 "The address fields of Multiboot header".
 */
#include "kernel/load/plan.h"
#include "kernel/lib/bytes.h"

void plan_init(struct plan *plan)
{
    plan->count = 0;
    plan->low = ~0ull;
    plan->high = 0;
    plan->entry = 0;
}

enum status plan_add(struct plan *plan, const struct image *image, const struct plan_segment *segment,
                     struct refusal *why)
{
    if (segment->file_bytes > segment->memory_bytes)
        return refuse(why, STATUS_INVALID, "image is broken: a segment has 0x%lx bytes in the file, 0x%lx in memory",
                      segment->file_bytes, segment->memory_bytes);
    if (!bytes_contain(image->size_bytes, segment->file_offset, segment->file_bytes))
        return refuse(why, STATUS_TRUNCATED, "image is truncated: a segment needs 0x%lx bytes at offset 0x%lx of 0x%lx",
                      segment->file_bytes, segment->file_offset, image->size_bytes);
    if (segment->memory_bytes == 0)
        return STATUS_OK;
    if (!bytes_contain(GIB(4), segment->address, segment->memory_bytes))
        return refuse(why, STATUS_INVALID, "image has a segment of 0x%lx bytes at 0x%lx, which ends above 4 GiB",
                      segment->memory_bytes, segment->address);
    if (plan->count == PLAN_MAX_SEGMENTS)
        return refuse(why, STATUS_UNSUPPORTED, "image has more than %u segments to load", PLAN_MAX_SEGMENTS);
    plan->segments[plan->count++] = *segment;
    u64 end = segment->address + segment->memory_bytes;
    plan->low = segment->address < plan->low ? segment->address : plan->low;
    plan->high = end > plan->high ? end : plan->high;
    return STATUS_OK;
}

enum status plan_from_addresses(struct plan *plan, const struct image *image, const struct plan_address_form *form,
                                struct refusal *why)
{
    u64 before_header = (u64)form->header_address - form->load_address;
    struct plan_segment segment = {.address = form->load_address};

    if (form->load_address > form->header_address || before_header > form->header_offset)
        return refuse(why, STATUS_INVALID, "image is broken: header_addr 0x%x does not agree with load_addr 0x%x",
                      form->header_address, form->load_address);
    segment.file_offset = form->header_offset - before_header;
    if (form->load_end && form->load_end < form->load_address)
        return refuse(why, STATUS_INVALID, "image is broken: load_end_addr 0x%x is below load_addr 0x%x",
                      form->load_end, form->load_address);
    segment.file_bytes =
        form->load_end ? (u64)form->load_end - form->load_address : image->size_bytes - segment.file_offset;
    u64 load_end = segment.address + segment.file_bytes;
    if (form->bss_end && form->bss_end < load_end)
        return refuse(why, STATUS_INVALID, "image is broken: bss_end_addr 0x%x is below the loaded end 0x%lx",
                      form->bss_end, load_end);
    segment.memory_bytes = form->bss_end ? (u64)form->bss_end - form->load_address : segment.file_bytes;
    enum status status = plan_add(plan, image, &segment, why);
    if (status != STATUS_OK)
        return status;
    plan->entry = form->entry;
    if (!plan_contains(plan, plan->entry))
        return refuse(why, STATUS_INVALID, "image is broken: its entry point 0x%lx lies outside", plan->entry);
    return STATUS_OK;
}

bool plan_contains(const struct plan *plan, u64 address)
{
    for (u32 i = 0; i < plan->count; i++)
        if (address - plan->segments[i].address < plan->segments[i].memory_bytes)
            return true;
    return false;
}

bool plan_fits(const struct plan *plan, const struct guest_memory *memory, u64 delta)
{
    for (u32 i = 0; i < plan->count; i++)
        if (!layout_is_ram(memory, plan->segments[i].address + delta, plan->segments[i].memory_bytes))
            return false;
    return true;
}

static enum status load_segment(const struct plan_segment *segment, const struct image *image, struct layout *layout,
                                u64 address, struct refusal *why)
{
    const u8 *bytes = image->bytes + segment->file_offset;
    enum status status = layout_claim(layout, address, segment->memory_bytes, why);

    if (status == STATUS_OK)
        status = guest_memory_write(layout->memory, gpa(address), bytes, segment->file_bytes);
    if (status == STATUS_OK)
        status = guest_memory_fill(layout->memory, gpa(address + segment->file_bytes), 0,
                                   segment->memory_bytes - segment->file_bytes);
    return status;
}

enum status plan_load(const struct plan *plan, const struct image *image, struct layout *layout, u64 delta,
                      struct refusal *why)
{
    enum status status = layout_check_top(layout->memory, plan->high + delta, why);

    for (u32 i = 0; status == STATUS_OK && i < plan->count; i++)
        status = load_segment(&plan->segments[i], image, layout, plan->segments[i].address + delta, why);
    return status;
}
