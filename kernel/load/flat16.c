/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Raw real-mode images: loaded and entered at 0:0x7C00, as a PC's firmware does with a boot sector, but of any size
 * that fits below the video memory.
 */
#include "kernel/load/layout.h"

#define LOAD_ADDRESS    0x7c00ull
#define BOOT_DRIVE      0x80u /* DL: the first hard disk */
#define FLAT16_MAX_SIZE (GUEST_LOW_RAM_BYTES - LOAD_ADDRESS)

enum status load_flat16(const struct load_request *request, const struct guest_memory *memory,
                        struct start_state *start, struct refusal *why)
{
    u64 bytes = request->boot.size_bytes;

    if (bytes > FLAT16_MAX_SIZE)
        return refuse(why, STATUS_OUT_OF_RANGE, "flat16 image has %lu bytes; from 0x7c00 to 0xa0000 at most %lu fit",
                      bytes, (u64)FLAT16_MAX_SIZE);
    if (request->module_count)
        return refuse(why, STATUS_UNSUPPORTED,
                      "a flat16 guest cannot find a module; remove the lines with role=module");
    enum status status = guest_memory_write(memory, gpa(LOAD_ADDRESS), request->boot.bytes, bytes);
    if (status != STATUS_OK)
        return refuse(why, status, "flat16 image of %lu bytes at 0x7c00 lies outside the VM's memory", bytes);
    *start =
        (struct start_state){.mode = START_REAL16, .rip = LOAD_ADDRESS, .rdx = BOOT_DRIVE, .rsp = LAYOUT_STACK_TOP};
    return STATUS_OK;
}
