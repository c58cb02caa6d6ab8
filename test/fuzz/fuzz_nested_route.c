/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose an exit of the inner guest is, for any exit and any inner VMCS: an answer always, of bitmaps no byte beyond
 * their pages, failed entries and what is the machine's are Rootlet's, and what exits in any case is the guest
 * hypervisor's.
 * links: vmx/nested/route.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "test/fake/fuzz_input.h"
#include "test/fake/must.h"
#include "vmx/controls.h"
#include "vmx/nested/route.h"

#define PAGE  4096u
#define ROWS  65u
#define READS 8u /* the size of an access has three bits */

static u64 fields[CHECK_FIELDS];
static u32 reads;

static bool is_in(u64 physical, u32 row)
{
    return physical - fields[row] < PAGE;
}

static bool read_byte(void *context, u64 physical, u8 *value)
{
    struct input *in = context;

    MUST(is_in(physical, FIELD_IO_BITMAP_A) || is_in(physical, FIELD_IO_BITMAP_B) ||
         is_in(physical, FIELD_MSR_BITMAPS) || is_in(physical, FIELD_VMREAD_BITMAP) ||
         is_in(physical, FIELD_VMWRITE_BITMAP));
    reads++;
    *value = (u8)take(in, 1);
    return !(take(in, 1) & 1);
}

static bool is_unconditional(u32 reason)
{
    static const u8 always[] = {2, 9, 10, 11, 13, 18, 19, 20, 21, 22, 24, 26, 27, 50, 53, 55};

    for (size_t i = 0; i < sizeof always; i++)
        if (always[i] == reason)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct route_exit exit_ = {
        .reason = (u32)take(&in, 1) % (ROWS + 8),
        .interruption = (u32)take(&in, 4),
        .error_code = (u32)take(&in, 2),
        .qualification = take(&in, 8),
        .operand = take(&in, 8),
        .timer_is_ours = take(&in, 1) & 1,
    };

    if (take(&in, 1) == 0)
        exit_.reason |= (u32)take(&in, 4);
    for (u32 i = 0; i < CHECK_FIELDS; i++)
        fields[i] = 0;
    for (u32 changes = (u32)take(&in, 1) % 32; changes; changes--)
        fields[take(&in, 1) % CHECK_FIELDS] = take(&in, 8);
    fields[FIELD_PROC_CONTROLS] |= 2; /* which a VMCS that can be entered has always */
    reads = 0;
    enum route route = route_exit(fields, &exit_, read_byte, &in);
    MUST(route == ROUTE_ROOTLET || route == ROUTE_GUEST || route == ROUTE_EPT);
    MUST(reads <= READS);
    MUST(exit_.reason < ROWS || route == ROUTE_ROOTLET);
    MUST(exit_.reason != 1 || route == ROUTE_ROOTLET);
    MUST(!is_unconditional(exit_.reason) || route == ROUTE_GUEST);
    if (exit_.reason < ROWS) {
        MUST(!route_is_guests(exit_.reason) || route == ROUTE_GUEST);
        MUST(!route_is_rootlets(fields, exit_.reason) || route == ROUTE_ROOTLET);
    }
    if ((exit_.reason == 23 || exit_.reason == 25) && exit_.operand >> 15)
        MUST(route == ROUTE_GUEST && !reads);
    MUST(route != ROUTE_EPT || exit_.reason == 48 || exit_.reason == 49);
    return 0;
}
