/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual PC's firmware but for its tables: interrupt vectors, BIOS data area, and code. Written before the guest
 * runs; the code is then ROM. All vectors lead to kernel/vm/bios.asm. The reset vector pulses the CPU's reset line
 * through the keyboard controller, as a BIOS does at the end of a warm boot. SDM 3A 20.1.4 "Interrupt and Exception
 * Handling" (real mode); IBM PC/AT Technical Reference, "BIOS data area".
 */
#include "kernel/vm/firmware.h"
#include "kernel/lib/string.h"

#define VECTORS        256u
#define BIOS_SEGMENT   (GUEST_BIOS_CODE >> 4)
#define FACTS_OFFSET   0x1000u
#define TEXT_BLANK     0x0720u /* a space, grey on black */
#define TEXT_ROW_CELLS 80u

extern const u8 guest_bios_code[], guest_bios_code_end[];

/* For bios.asm: the memory, in the forms in which INT 15h tells of it. */
struct PACKED facts {
    u16 entries;
    u16 kib_88;  /* above 1 MiB, at most 63 MiB: function 88h */
    u16 kib_low; /* from 1 to 16 MiB: function E801h */
    u16 blocks;  /* of 64 KiB, above 16 MiB */
    struct PACKED {
        u64 base, size_bytes;
        u32 type;
    } map[4]; /* function E820h */
};

struct patch {
    u64 address;
    u32 size_bytes;
    const u8 *bytes;
};

#define PATCH(address, ...)                                                                                            \
    {                                                                                                                  \
        address, sizeof((const u8[]){__VA_ARGS__}), (const u8[])                                                       \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

static const struct patch patches[] = {
    PATCH(0x400, 0xf8, 0x03),                     /* COM1 */
    PATCH(0x410, 0x20, 0x02),                     /* equipment: 80x25 colour text, a serial port, no drives */
    PATCH(0x413, 0x80, 0x02),                     /* 640 KiB of low memory */
    PATCH(0x449, 0x03),                           /* video mode 3 */
    PATCH(0x44a, 80, 0),                          /* columns */
    PATCH(0x44c, 0x00, 0x10),                     /* bytes of one text page */
    PATCH(0x460, 0x0e, 0x0d),                     /* cursor shape */
    PATCH(0x463, 0xd4, 0x03),                     /* CRTC port */
    PATCH(0x475, 0),                              /* hard disks */
    PATCH(0x484, 24, 16, 0),                      /* last row, scan lines of a character */
    PATCH(0xfe05b, 0xb0, 0xfe,                    /* mov al, 0xfe */
          0xe6, 0x64,                             /* out 0x64, al */
          0xfa, 0xf4,                             /* cli; hlt */
          0xeb, 0xfd),                            /* jmp to the hlt */
    PATCH(0xfff53, 0xcf),                         /* iret, where a PC's BIOS has it */
    PATCH(0xffff0, 0xea, 0x5b, 0xe0, 0x00, 0xf0), /* jmp F000:E05B */
    PATCH(0xffffe, 0xfc),                         /* machine type: PC/AT */
};

static void add_range(struct facts *facts, u64 base, u64 end, u32 type)
{
    if (end <= base)
        return;
    facts->map[facts->entries].base = base;
    facts->map[facts->entries].size_bytes = end - base;
    facts->map[facts->entries++].type = type;
}

static u64 at_most(u64 value, u64 limit)
{
    return value < limit ? value : limit;
}

static struct facts find_facts(const struct guest_memory *memory)
{
    struct facts facts = {.entries = 0};
    u64 top = guest_memory_low_top(memory);
    u64 high = memory->mem_bytes > GUEST_LOW_RAM_TOP_MAX ? memory->mem_bytes - GUEST_LOW_RAM_TOP_MAX : 0;
    u64 above = top > MIB(1) ? top - MIB(1) : 0;

    add_range(&facts, 0, GUEST_LOW_RAM_BYTES, 1);
    add_range(&facts, GUEST_FIRMWARE_BASE, GUEST_FIRMWARE_BASE + GUEST_FIRMWARE_BYTES, 2);
    add_range(&facts, MIB(1), top, 1);
    add_range(&facts, GIB(4), GIB(4) + high, 1);
    facts.kib_88 = (u16)(at_most(above, MIB(63)) >> 10);
    facts.kib_low = (u16)(at_most(above, MIB(15)) >> 10);
    facts.blocks = (u16)((above - at_most(above, MIB(15))) >> 16);
    return facts;
}

static enum status write_bios(const struct guest_memory *memory)
{
    const struct facts facts = find_facts(memory);
    u64 code_bytes = (u64)(guest_bios_code_end - guest_bios_code);
    enum status status = guest_memory_write(memory, gpa(GUEST_BIOS_CODE), guest_bios_code, code_bytes);

    if (status == STATUS_OK)
        status = guest_memory_write(memory, gpa(GUEST_BIOS_CODE + FACTS_OFFSET), &facts, sizeof facts);
    /* All vectors are the same byte, each by a segment of its own, which tells the vector. */
    for (u32 i = 0; status == STATUS_OK && i < VECTORS; i++) {
        u32 vector = ((u32)BIOS_SEGMENT - i) << 16 | 16 * i;
        status = guest_memory_write(memory, gpa(i * sizeof vector), &vector, sizeof vector);
    }
    return status;
}

enum status guest_firmware_install(const struct guest_memory *memory)
{
    u16 row[TEXT_ROW_CELLS];
    enum status status = write_bios(memory);

    for (u32 i = 0; i < TEXT_ROW_CELLS; i++)
        row[i] = TEXT_BLANK;
    for (u32 i = 0; status == STATUS_OK && i < ARRAY_SIZE(patches); i++)
        status = guest_memory_write(memory, gpa(patches[i].address), patches[i].bytes, patches[i].size_bytes);
    for (u64 at = 0; status == STATUS_OK && at < GUEST_TEXT_BYTES; at += sizeof row) {
        u64 left = GUEST_TEXT_BYTES - at;
        status = guest_memory_write(memory, gpa(GUEST_TEXT_PAGE + at), row, left < sizeof row ? left : sizeof row);
    }
    return status;
}
