/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's page tables: built once by the boot CPU, then only ever added to, in two windows whose top-level entries
 * exist from the start, so that no other CPU has to invalidate anything. No user pages. Memory types come from the
 * MTRRs, except device mappings (PCD and PWT: PAT entry 3, uncacheable). SDM 3A 4.5 "4-Level Paging and 5-Level
 * Paging", 11.11.9 "Large Page Size Considerations".
 */
#include "arch/x86/paging.h"
#include "arch/x86/cpu.h"
#include "arch/x86/features.h"
#include "arch/x86/spinlock.h"

#define PTE_PRESENT      BIT(0)
#define PTE_WRITABLE     BIT(1)
#define PTE_WRITETHROUGH BIT(3)
#define PTE_UNCACHED     BIT(4)
#define PTE_ACCESSED     BIT(5)
#define PTE_DIRTY        BIT(6)
#define PTE_LARGE        BIT(7)
#define PTE_GLOBAL       BIT(8)
#define PTE_NX           BIT(63)
#define PTE_ADDRESS      0x000ffffffffff000ull

#define TABLE_ENTRIES 512u
#define PAGE_4K       12u /* page sizes by their shift */
#define PAGE_2M       21u
#define PAGE_1G       30u

#define WINDOW_BYTES  GIB(1)
#define DEVICE_WINDOW 0xffffff0000000000ull
#define STACK_WINDOW  0xfffffe8000000000ull

/* boot/linker script symbols: the kernel image */
extern const u8 image_start[], image_rodata[], image_rodata_end[], image_data[], image_end[];

struct mapping {
    u64 virtual;
    u64 physical;
    u64 bytes;
    u64 flags;   /* PTE bits, without PTE_PRESENT and PTE_LARGE */
    u32 largest; /* PAGE_ shift of the largest page allowed */
};

struct window {
    struct spinlock lock;
    u64 next;
    u64 end;
};

static u64 top_level[TABLE_ENTRIES] ALIGNED(4096);
static paging_frame_source frame_source;
static const struct paging_range *memory_ranges;
static u32 memory_count;
static struct window device_window = {.next = DEVICE_WINDOW, .end = DEVICE_WINDOW + WINDOW_BYTES};
static struct window stack_window = {.next = STACK_WINDOW, .end = STACK_WINDOW + WINDOW_BYTES};

/* The bits that every data mapping has. Accessed and dirty are preset: nobody reads them. */
static u64 data_flags(void)
{
    const struct features *features = features_get();
    return PTE_ACCESSED | PTE_DIRTY | (features->global_pages ? PTE_GLOBAL : 0) | (features->nx ? PTE_NX : 0);
}

/*
 * The entry for `address` in the table whose entries cover 2^shift bytes each, or a large page's that it lies in; NULL
 * without memory for a table.
 */
static u64 *entry_of(u64 address, u32 shift)
{
    u64 *table = top_level;

    for (u32 level = 39; level > shift; level -= 9) {
        u64 *entry = &table[address >> level & (TABLE_ENTRIES - 1)];
        if (!(*entry & PTE_PRESENT)) {
            hpa_t frame;
            if (!frame_source(&frame))
                return NULL;
            *entry = frame.raw | PTE_PRESENT | PTE_WRITABLE;
        }
        if (*entry & PTE_LARGE)
            return entry;
        table = phys_to_virt(hpa(*entry & PTE_ADDRESS));
    }
    return &table[address >> shift & (TABLE_ENTRIES - 1)];
}

static u32 page_shift_for(const struct mapping *m)
{
    u64 together = m->virtual | m->physical;

    if (m->largest >= PAGE_1G && bits_is_aligned(together, BIT(PAGE_1G)) && m->bytes >= BIT(PAGE_1G))
        return PAGE_1G;
    if (m->largest >= PAGE_2M && bits_is_aligned(together, BIT(PAGE_2M)) && m->bytes >= BIT(PAGE_2M))
        return PAGE_2M;
    return PAGE_4K;
}

/* Everything in *m is a multiple of 4 KiB. */
static enum status map(struct mapping m)
{
    while (m.bytes) {
        u32 shift = page_shift_for(&m);
        u64 *entry = entry_of(m.virtual, shift);
        if (!entry)
            return STATUS_NO_MEMORY;
        if (!(*entry & PTE_PRESENT) || !(*entry & PTE_LARGE)) /* else a widened range before this one has it */
            *entry = m.physical | m.flags | PTE_PRESENT | (shift > PAGE_4K ? PTE_LARGE : 0);
        m.virtual += BIT(shift);
        m.physical += BIT(shift);
        m.bytes -= BIT(shift);
    }
    return STATUS_OK;
}

static u64 image_physical(const u8 *symbol)
{
    return virt_to_phys(symbol).raw;
}

/* [from, to) of the image, at its linked address. */
static enum status map_image(const u8 *from, const u8 *to, u64 flags)
{
    u64 start = image_physical(from);
    u64 end = bits_align_up(image_physical(to), FRAME_BYTES);

    return map((struct mapping){(u64)(uintptr_t)from, start, end - start, flags, PAGE_4K});
}

static enum status map_direct(u64 from, u64 to, u64 flags, u32 largest)
{
    return map((struct mapping){DIRECT_MAP_BASE + from, from, to - from, flags, largest});
}

/*
 * The first 4 GiB hold memory of different types, so no page there is larger than 2 MiB; beyond there is only RAM.
 * Ranges are widened to 2 MiB: where two meet in one such page, both write the same entry.
 */
static enum status map_all_memory(const struct paging_range *memory, u32 count)
{
    u64 text = image_physical(image_start);
    u64 data = image_physical(image_data);
    enum status status = map_direct(0, text, data_flags() | PTE_WRITABLE, PAGE_2M);

    if (status == STATUS_OK)
        status = map_direct(text, data, data_flags(), PAGE_4K);
    if (status == STATUS_OK)
        status = map_direct(data, GIB(4), data_flags() | PTE_WRITABLE, PAGE_2M);
    for (u32 i = 0; i < count && status == STATUS_OK; i++) {
        u64 from = bits_align_down(memory[i].base, BIT(PAGE_2M));
        u64 to = bits_align_up(memory[i].base + memory[i].size_bytes, BIT(PAGE_2M));
        from = from < GIB(4) ? GIB(4) : from;
        to = to > DIRECT_MAP_MAX ? DIRECT_MAP_MAX : to;
        if (from < to)
            status = map_direct(from, to, data_flags() | PTE_WRITABLE, features_get()->pages_1g ? PAGE_1G : PAGE_2M);
    }
    return status;
}

enum status paging_init(const struct paging_range *memory, u32 count, paging_frame_source source)
{
    u64 text_flags = data_flags() & ~PTE_NX;

    frame_source = source;
    memory_ranges = memory;
    memory_count = count;
    enum status status = map_image(image_start, image_rodata, text_flags);
    if (status == STATUS_OK)
        status = map_image(image_rodata, image_data, data_flags());
    if (status == STATUS_OK)
        status = map_image(image_data, image_end, data_flags() | PTE_WRITABLE);
    if (status == STATUS_OK)
        status = map_all_memory(memory, count);
    if (status == STATUS_OK && (!entry_of(DEVICE_WINDOW, PAGE_1G) || !entry_of(STACK_WINDOW, PAGE_1G)))
        status = STATUS_NO_MEMORY;
    if (status != STATUS_OK)
        return status;
    cr3_write(paging_cr3());
    return STATUS_OK;
}

/* SDM 3A 4.1.4 "Enumeration of Paging Features by CPUID": an address beyond MAXPHYADDR is a reserved bit in an entry.
 */
static u64 physical_end(void)
{
    u32 width = cpu_cpuid(0x80000000, 0).eax >= 0x80000008 ? cpu_cpuid(0x80000008, 0).eax & 0xff : 36;
    u64 end = BIT(width);

    return end < DIRECT_MAP_MAX ? end : DIRECT_MAP_MAX;
}

bool paging_map_firmware(hpa_t base, u64 bytes)
{
    u64 limit = physical_end();

    if (base.raw >= limit || bytes > limit - base.raw)
        return false;
    u64 end = bits_align_up(base.raw + bytes, FRAME_BYTES);
    for (u64 page = bits_align_down(base.raw, FRAME_BYTES); page < end; page += FRAME_BYTES) {
        u64 *entry = entry_of(DIRECT_MAP_BASE + page, PAGE_4K);
        if (!entry)
            return false;
        if (!(*entry & PTE_PRESENT))
            *entry = page | data_flags() | PTE_PRESENT;
    }
    return true;
}

void paging_remove_image_page(const void *page)
{
    *entry_of((u64)(uintptr_t)page, PAGE_4K) = 0;
    asm volatile("invlpg (%0)" : : "r"(page) : "memory");
}

/* Address space for `bytes` (a multiple of 4 KiB), or 0. */
static u64 window_take(struct window *window, u64 bytes)
{
    u64 address = 0;

    spin_lock(&window->lock);
    if (bytes <= window->end - window->next) {
        address = window->next;
        window->next += bytes;
    }
    spin_unlock(&window->lock);
    return address;
}

enum status paging_map_device(hpa_t base, u64 bytes, volatile void **out)
{
    u64 first = bits_align_down(base.raw, FRAME_BYTES);
    u64 size = bits_align_up(base.raw + bytes, FRAME_BYTES) - first;
    u64 address = window_take(&device_window, size);

    if (!address)
        return STATUS_NO_MEMORY;
    enum status status = map(
        (struct mapping){address, first, size, data_flags() | PTE_WRITABLE | PTE_UNCACHED | PTE_WRITETHROUGH, PAGE_4K});
    if (status == STATUS_OK)
        *out = (volatile void *)(uintptr_t)(address + (base.raw - first));
    return status;
}

enum status paging_allocate_stack(u64 bytes, u64 *top)
{
    u64 guard = window_take(&stack_window, FRAME_BYTES + bytes);

    if (!guard)
        return STATUS_NO_MEMORY;
    u64 end = guard + FRAME_BYTES + bytes;
    for (u64 page = guard + FRAME_BYTES; page < end; page += FRAME_BYTES) {
        hpa_t frame;
        if (!frame_source(&frame))
            return STATUS_NO_MEMORY;
        enum status status = map((struct mapping){page, frame.raw, FRAME_BYTES, data_flags() | PTE_WRITABLE, PAGE_4K});
        if (status != STATUS_OK)
            return status;
    }
    *top = end;
    return STATUS_OK;
}

bool paging_is_memory(hpa_t base, u64 bytes)
{
    for (u32 i = 0; i < memory_count; i++) {
        u64 offset = base.raw - memory_ranges[i].base; /* huge if it lies below */
        if (offset < memory_ranges[i].size_bytes && bytes <= memory_ranges[i].size_bytes - offset)
            return true;
    }
    return false;
}

u64 paging_cr3(void)
{
    return virt_to_phys(top_level).raw;
}
