/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux kernel images (bzImage, protocol 2.06 and later). Low memory, which the kernel takes over once it has copied
 * what it needs, holds what it starts with: boot parameters ("zero page"), GDT, command line and page tables. The
 * kernel goes to the address that it prefers, with all the room that it says it needs; the initrd as high as it may
 * lie. Linux, Documentation/x86/boot.rst: "The Real-Mode Kernel Header", "32-bit Boot Protocol", "64-bit Boot
 * Protocol"; Documentation/x86/zero-page.rst.
 */
#include "kernel/load/linux.h"
#include "kernel/load/layout.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/bytes.h"
#include "kernel/lib/string.h"

#define BOOT_PARAMS      0x10000ull
#define BOOT_GDT         0x11000ull
#define COMMAND_LINE     0x12000ull
#define PAGE_TABLES      0x20000ull /* PML4, PDPT and a page directory for each of 4 GiB */
#define COMMAND_LINE_MAX (PAGE_TABLES - COMMAND_LINE - 1)

#define SECTOR_BYTES      512u
#define DEFAULT_SECTORS   4u /* what setup_sects = 0 means */
#define VERSION_OLDEST    0x206u
#define VERSION_INIT_SIZE 0x20au
#define VERSION_XLOAD     0x20cu
#define LOADED_HIGH       0x01u
#define KERNEL_64         0x01u
#define ENTRY_64          0x200u
#define LOADER_UNKNOWN    0xffu /* type_of_loader without an assigned number */
#define SELECTOR_CODE     0x10u
#define SELECTOR_DATA     0x18u
#define E820_BYTES        20u

/* Offsets in the image and, the same ones, in the boot parameters. */
enum {
    SCREEN_MODE = 0x06,  /* mode, then columns */
    SCREEN_LINES = 0x0e, /* lines, "is VGA", then lines of a character in two bytes */
    ACPI_RSDP = 0x70,
    E820_COUNT = 0x1e8,
    SETUP_SECTS = 0x1f1,
    SYSSIZE = 0x1f4,
    HEADER_JUMP = 0x201, /* its operand says where the header ends */
    HEADER_MAGIC = 0x202,
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211, /* next to type_of_loader */
    CODE32_START = 0x214,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    KERNEL_ALIGNMENT = 0x230,
    RELOCATABLE = 0x234,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_END_MAX = 0x290,
    E820_TABLE = 0x2d0
};

_Static_assert(GUEST_MAX_REGIONS <= 128, "as many entries as the boot parameters hold");

struct kernel {
    const struct image *image;
    u64 setup_bytes; /* the real-mode part, which is left out */
    u64 base;        /* where the rest goes */
    u64 bytes;       /* of the rest */
    u64 room_bytes;  /* what it needs from base on before it reads the memory map */
    u64 initrd_base;
    bool long_mode;
};

bool linux_is(const struct image *image)
{
    return bytes_contain(image->size_bytes, HEADER_MAGIC, 4) && memcmp(image->bytes + HEADER_MAGIC, "HdrS", 4) == 0;
}

static enum status parse_header(struct kernel *kernel, struct refusal *why)
{
    const struct image *image = kernel->image;
    const u8 *h = image->bytes;

    if (!linux_is(image))
        return refuse(why, STATUS_INVALID, "image is no Linux kernel: no HdrS at 0x%x", HEADER_MAGIC);
    if (image->size_bytes < HEADER_END_MAX)
        return refuse(why, STATUS_TRUNCATED, "image is truncated: %lu bytes hold no setup header", image->size_bytes);
    u32 version = bytes_u16(h + VERSION);
    if (version < VERSION_OLDEST || !(h[LOADFLAGS] & LOADED_HIGH))
        return refuse(why, STATUS_UNSUPPORTED,
                      "kernel has boot protocol %u.%02u%s; needed: a bzImage of 2.06 or later. This one only has a "
                      "real-mode entry, and wants a PC's BIOS",
                      version >> 8, version & 0xff, h[LOADFLAGS] & LOADED_HIGH ? "" : " and loads low");
    kernel->setup_bytes = (1 + (h[SETUP_SECTS] ? h[SETUP_SECTS] : DEFAULT_SECTORS)) * SECTOR_BYTES;
    /* Paragraphs of 16 bytes, rounded up: memtest86+ ends within its last one. */
    u64 paragraphs = bytes_u32(h + SYSSIZE);
    u64 wanted = kernel->setup_bytes + (paragraphs ? 16 * paragraphs - 15 : 0);
    if (image->size_bytes < wanted || image->size_bytes <= kernel->setup_bytes)
        return refuse(why, STATUS_TRUNCATED, "image is truncated: %lu bytes of at least %lu", image->size_bytes,
                      wanted);
    kernel->bytes = image->size_bytes - kernel->setup_bytes;
    kernel->long_mode = version >= VERSION_XLOAD && (bytes_u16(h + XLOADFLAGS) & KERNEL_64);
    if (!kernel->long_mode && bytes_u32(h + CODE32_START) == 0)
        return refuse(
            why, STATUS_UNSUPPORTED,
            "kernel only has a real-mode entry (code32_start is 0), and wants a PC's BIOS; take what it would "
            "load as the VM's image");
    if (kernel->long_mode && kernel->bytes <= ENTRY_64)
        return refuse(why, STATUS_TRUNCATED, "image is truncated: its 64-bit entry point is missing");
    if (string_length(image->line) > bytes_u32(h + CMDLINE_SIZE) || string_length(image->line) > COMMAND_LINE_MAX)
        return refuse(why, STATUS_OUT_OF_RANGE, "command line has %lu characters; the kernel takes at most %u",
                      string_length(image->line), bytes_u32(h + CMDLINE_SIZE));
    return STATUS_OK;
}

/*
 * The preferred address, even for a relocatable kernel: it moves itself there from anywhere below. Kernels that do not
 * say how much room they need unpack themselves above their image; three times its size is what other loaders give.
 */
static enum status choose_base(struct kernel *kernel, const struct guest_memory *memory, struct refusal *why)
{
    const u8 *h = kernel->image->bytes;
    bool tells = bytes_u16(h + VERSION) >= VERSION_INIT_SIZE;
    u64 alignment = bytes_u32(h + KERNEL_ALIGNMENT);
    u64 told = tells ? bytes_u32(h + INIT_SIZE) : 3 * kernel->bytes;

    kernel->base = tells ? bytes_u64(h + PREF_ADDRESS) : bytes_u32(h + CODE32_START);
    kernel->room_bytes = told > kernel->bytes ? told : kernel->bytes;
    if (h[RELOCATABLE]) {
        if (!alignment || (alignment & (alignment - 1)))
            return refuse(why, STATUS_INVALID, "image is broken: kernel alignment 0x%lx is no power of two", alignment);
        if (kernel->base < GUEST_HIGH_RAM_BASE)
            kernel->base = bits_align_up(GUEST_HIGH_RAM_BASE, alignment);
    }
    if (kernel->base < GUEST_HIGH_RAM_BASE || !bytes_contain(GIB(4), kernel->base, kernel->room_bytes))
        return refuse(why, STATUS_UNSUPPORTED, "kernel wants 0x%lx bytes at 0x%lx; it must lie from 1 MiB to 4 GiB",
                      kernel->room_bytes, kernel->base);
    return layout_check_top(memory, kernel->base + kernel->room_bytes, why);
}

/* As high as the kernel allows: away from where it unpacks itself. */
static enum status place_initrd(struct kernel *kernel, const struct load_request *request,
                                const struct guest_memory *memory, struct refusal *why)
{
    u64 bytes = request->initrd.size_bytes;
    u64 limit = (u64)bytes_u32(kernel->image->bytes + INITRD_ADDR_MAX) + 1;
    u64 end = bits_align_up(kernel->base + kernel->room_bytes, FRAME_BYTES);
    u64 top = guest_memory_low_top(memory);

    if (!request->initrd.bytes)
        return STATUS_OK;
    if (bytes == 0)
        return refuse(why, STATUS_INVALID, "initrd is empty; check the file that GRUB loads");
    top = top < limit ? top : limit;
    if (bytes > top || bits_align_down(top - bytes, FRAME_BYTES) < end) {
        u64 enough = end + bits_align_up(bytes, FRAME_BYTES);
        if (enough > limit || enough > GUEST_LOW_RAM_TOP_MAX)
            return refuse(why, STATUS_NO_MEMORY,
                          "initrd of %lu bytes does not fit between this kernel's end 0x%lx and its limit 0x%lx", bytes,
                          end, limit);
        return refuse(why, STATUS_NO_MEMORY,
                      "initrd of %lu bytes does not fit above the kernel's end 0x%lx in mem=%s; use mem=%luM or more",
                      bytes, end, guest_memory_text(memory->mem_bytes).text, bits_align_up(enough, MIB(1)) >> 20);
    }
    kernel->initrd_base = bits_align_down(top - bytes, FRAME_BYTES);
    return guest_memory_write(memory, gpa(kernel->initrd_base), request->initrd.bytes, bytes);
}

/* Low RAM is always there: an append cannot fail. */
static struct layout_writer writer_at(const struct guest_memory *memory, u64 address)
{
    return (struct layout_writer){memory, address, 0};
}

static void put_param(const struct guest_memory *memory, u32 offset, u64 value, u32 bytes)
{
    struct layout_writer writer = writer_at(memory, BOOT_PARAMS + offset);
    layout_append(&writer, &value, bytes);
}

static void write_memory_map(const struct guest_memory *memory)
{
    struct layout_writer writer = writer_at(memory, BOOT_PARAMS + E820_TABLE);
    struct layout_map_entry entry;

    for (u32 index = 0; layout_next_map_entry(memory, &index, &entry);) {
        layout_append_u64(&writer, entry.base);
        layout_append_u64(&writer, entry.size_bytes);
        layout_append_u32(&writer, entry.type);
    }
    put_param(memory, E820_COUNT, writer.used_bytes / E820_BYTES, 1);
}

/* The text page is described as a BIOS leaves it, with the cursor at its top. */
static void write_params(const struct kernel *kernel, const struct load_request *request,
                         const struct guest_memory *memory)
{
    const u8 *h = kernel->image->bytes;
    u32 header_end = HEADER_MAGIC + h[HEADER_JUMP];
    struct layout_writer writer = writer_at(memory, BOOT_PARAMS + SETUP_SECTS);

    layout_append(&writer, h + SETUP_SECTS, (header_end < HEADER_END_MAX ? header_end : HEADER_END_MAX) - SETUP_SECTS);
    put_param(memory, SCREEN_MODE, 3 | 80 << 8, 2);
    put_param(memory, SCREEN_LINES, 25 | 1 << 8 | 16 << 16, 4);
    put_param(memory, ACPI_RSDP, request->acpi_root.raw, 8);
    put_param(memory, TYPE_OF_LOADER, LOADER_UNKNOWN | LOADED_HIGH << 8, 2);
    put_param(memory, CODE32_START, kernel->base, 4);
    put_param(memory, RAMDISK_IMAGE, kernel->initrd_base, 4);
    put_param(memory, RAMDISK_SIZE, request->initrd.size_bytes, 4);
    put_param(memory, CMD_LINE_PTR, COMMAND_LINE, 4);
    write_memory_map(memory);
    writer = writer_at(memory, COMMAND_LINE);
    layout_append_string(&writer, request->boot.line);
}

/* Identity map of the low 4 GiB in 2 MiB pages: SDM 3A 4.5 "4-Level Paging and 5-Level Paging". */
static void write_page_tables(const struct guest_memory *memory)
{
    const u64 writable = 0x3; /* present */
    const u64 large = 0x83;
    struct layout_writer writer = writer_at(memory, PAGE_TABLES);

    layout_append_u64(&writer, (PAGE_TABLES + FRAME_BYTES) | writable);
    writer = writer_at(memory, PAGE_TABLES + FRAME_BYTES);
    for (u64 i = 0; i < 4; i++)
        layout_append_u64(&writer, (PAGE_TABLES + (2 + i) * FRAME_BYTES) | writable);
    writer = writer_at(memory, PAGE_TABLES + 2 * FRAME_BYTES);
    for (u64 address = 0; address < GIB(4); address += MIB(2))
        layout_append_u64(&writer, address | large);
}

/* Flat segments, read, write and execute: the selectors are the protocol's __BOOT_CS and __BOOT_DS. */
static void write_start(const struct kernel *kernel, const struct guest_memory *memory, struct start_state *start)
{
    const u64 gdt[] = {0, 0, kernel->long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff, 0x00cf93000000ffff};
    struct layout_writer writer = writer_at(memory, BOOT_GDT);

    layout_append(&writer, gdt, sizeof gdt);
    *start = (struct start_state){.mode = START_PROTECTED32,
                                  .code_selector = SELECTOR_CODE,
                                  .data_selector = SELECTOR_DATA,
                                  .gdt_limit = sizeof gdt - 1,
                                  .gdt_base = BOOT_GDT,
                                  .rip = kernel->base,
                                  .rsi = BOOT_PARAMS,
                                  .rsp = LAYOUT_STACK_TOP};
    if (kernel->long_mode) {
        write_page_tables(memory);
        start->mode = START_LONG64;
        start->cr3 = PAGE_TABLES;
        start->rip += ENTRY_64;
    }
}

enum status load_linux(const struct load_request *request, const struct guest_memory *memory, struct start_state *start,
                       struct refusal *why)
{
    struct kernel kernel = {.image = &request->boot};
    enum status status = parse_header(&kernel, why);

    if (status == STATUS_OK)
        status = choose_base(&kernel, memory, why);
    if (status == STATUS_OK && request->module_count)
        status = refuse(why, STATUS_UNSUPPORTED, "a Linux kernel takes role=initrd, not role=module");
    if (status == STATUS_OK)
        status = place_initrd(&kernel, request, memory, why);
    if (status == STATUS_OK)
        status = guest_memory_write(memory, gpa(kernel.base), request->boot.bytes + kernel.setup_bytes, kernel.bytes);
    if (status != STATUS_OK)
        return status;
    write_params(&kernel, request, memory);
    write_start(&kernel, memory, start);
    return STATUS_OK;
}
