/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual PC's firmware, all of it: tables and 13 bytes of code. Written before the guest runs, then ROM.
 * Vectors point to an IRET: a BIOS call returns with nothing done. The reset vector pulses the CPU's reset line through
 * the keyboard controller, as a BIOS does at the end of a warm boot. SDM 3A 20.1.4 "Interrupt and Exception Handling"
 * (real mode); IBM PC/AT Technical Reference, "BIOS data area".
 */
#include "kernel/vm/firmware.h"
#include "kernel/lib/string.h"

#define VECTORS        256u
#define IRET_VECTOR    0xf000ff53u /* F000:FF53, where a PC's BIOS has it */
#define TEXT_BLANK     0x0720u     /* a space, grey on black */
#define TEXT_ROW_CELLS 80u

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
    PATCH(0x410, 0x20, 0x00),                     /* equipment: 80x25 colour text, no drives */
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
    PATCH(0xfff53, 0xcf),                         /* iret */
    PATCH(0xffff0, 0xea, 0x5b, 0xe0, 0x00, 0xf0), /* jmp F000:E05B */
    PATCH(0xffffe, 0xfc),                         /* machine type: PC/AT */
};

enum status guest_firmware_install(const struct guest_memory *memory)
{
    const u32 vector = IRET_VECTOR;
    u16 row[TEXT_ROW_CELLS];
    enum status status = STATUS_OK;

    for (u32 i = 0; i < TEXT_ROW_CELLS; i++)
        row[i] = TEXT_BLANK;
    for (u64 i = 0; status == STATUS_OK && i < VECTORS; i++)
        status = guest_memory_write(memory, gpa(i * sizeof vector), &vector, sizeof vector);
    for (u32 i = 0; status == STATUS_OK && i < ARRAY_SIZE(patches); i++)
        status = guest_memory_write(memory, gpa(patches[i].address), patches[i].bytes, patches[i].size_bytes);
    for (u64 at = 0; status == STATUS_OK && at < GUEST_TEXT_BYTES; at += sizeof row) {
        u64 left = GUEST_TEXT_BYTES - at;
        status = guest_memory_write(memory, gpa(GUEST_TEXT_PAGE + at), row, left < sizeof row ? left : sizeof row);
    }
    return status;
}
