/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See vmcs12.h. Another vCPU, or a device, may change a region at any time: its bytes are copied once and nothing that
 * depends on them is believed. What is not RAM reads as a bus without a device does, and is never written. SDM 3C
 * 24.11.2 "VMREAD, VMWRITE, and Encodings of VMCS Fields".
 */
#include "vmx/nested/vmcs12.h"
#include "kernel/lib/string.h"

#define ACCESS_HIGH 1u /* bit 0 of an encoding: the upper half of a 64-bit field */

struct region {
    u32 revision;
    u32 abort;
    u32 launched;
    u32 unused;
    u64 value[CHECK_FIELDS];
};
_Static_assert(sizeof(struct region) <= FRAME_BYTES, "IA32_VMX_BASIC says 4 KiB");

/* Width and type of an encoding, and the lower bits of its index: no two fields agree in all of them. */
#define KEY(code)                      (((code) >> 13 & 3) << 7 | ((code) >> 10 & 3) << 5 | ((code) >> 1 & 31))
#define ROW(name, code, width, access) [KEY(code)] = FIELD_##name + 1,
static const u8 rows[512] = {VMCS_FIELDS(ROW)};
#define IN_KEY(name, code, width, access)                                                                              \
    _Static_assert(((code) & ~0x6c3eu) == 0 && FIELD_##name < 255, "KEY() keeps all of the encoding");
VMCS_FIELDS(IN_KEY)

u32 vmcs12_revision(const struct vmx_vcpu *v, u64 region)
{
    u32 revision;

    nested_memory_read(v, region, &revision, sizeof revision);
    return revision;
}

bool vmcs12_is_address(const struct vmx_vcpu *v, u64 region)
{
    return !(region & (FRAME_BYTES - 1)) && !(region >> v->nested->image.cpu.physical_bits);
}

static u64 width_mask(u32 row)
{
    u32 bits = check_field_bits(row);
    return bits == 64 ? ~0ull : BIT(bits) - 1;
}

void vmcs12_load(struct vmx_vcpu *v, u64 region)
{
    struct nested *n = v->nested;
    struct region copy;

    nested_memory_read(v, region, &copy, sizeof copy);
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        n->image.value[row] = n->exists[row] ? copy.value[row] & width_mask(row) : 0;
    n->launched = copy.launched == 1;
    n->current = n->image.cpu.vmcs_pointer = region;
}

void vmcs12_unload(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    if (n->current == NESTED_NONE)
        return;
    u32 launched = n->launched;
    nested_memory_write(v, n->current + offsetof(struct region, launched), &launched, sizeof launched);
    nested_memory_write(v, n->current + offsetof(struct region, value), n->image.value, sizeof n->image.value);
    n->current = NESTED_NONE;
}

void vmcs12_clear(const struct vmx_vcpu *v, u64 region)
{
    static const u32 clear = 0;

    nested_memory_write(v, region + offsetof(struct region, launched), &clear, sizeof clear);
}

void vmcs12_abort(const struct vmx_vcpu *v, u32 indicator)
{
    nested_memory_write(v, v->nested->current + offsetof(struct region, abort), &indicator, sizeof indicator);
}

/* Bits 31:15 and bit 12 are reserved; the upper half is there of 64-bit fields only. */
u32 vmcs12_row(const struct vmx_vcpu *v, u64 encoding)
{
    u32 width = (u32)(encoding >> 13 & 3);

    if (encoding & ~0x6fffull || (encoding & ACCESS_HIGH && width != VMCS_WIDTH_CODE_64) || encoding >> 6 & 15)
        return VMCS12_NO_ROW;
    u32 row = rows[KEY(encoding)];
    return row && v->nested->exists[row - 1] ? row - 1 : VMCS12_NO_ROW;
}

u64 vmcs12_read(const struct vmx_vcpu *v, u32 row, u64 encoding)
{
    u64 value = vmcs12_get(v, row);
    return encoding & ACCESS_HIGH ? value >> 32 : value;
}

/* A natural-width field has 64 bits on a CPU with Intel 64; VMWRITE outside 64-bit mode clears the upper ones. */
void vmcs12_write(struct vmx_vcpu *v, u32 row, u64 encoding, u64 value)
{
    if (encoding & ACCESS_HIGH)
        value = (value << 32) | (u32)vmcs12_get(v, row);
    vmcs12_set(v, row, value & width_mask(row));
}
