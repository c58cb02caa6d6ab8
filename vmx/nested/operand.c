/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See operand.h. The information's format is that of tables 27-9 to 27-14, which agree where they have the same field.
 */
#include "vmx/nested/operand.h"
#include "kernel/lib/bits.h"
#include "vmx/points.h"

#define INFO_SCALE(info)        bits_field(info, 1, 0)
#define INFO_ADDRESS_SIZE(info) ((info) >> 7 & 7) /* 0: 16 bits, 1: 32, 2: 64 */
#define INFO_SEGMENT(info)      ((info) >> 15 & 7)
#define INFO_INDEX(info)        ((info) >> 18 & 15)
#define INFO_NO_INDEX           BIT(22)
#define INFO_BASE(info)         ((info) >> 23 & 15)
#define INFO_NO_BASE            BIT(27)

u8 operand_bytes(const struct vmx_vcpu *v)
{
    return guest_is_code64(v) ? 8 : 4;
}

u64 operand_second(const struct vmx_vcpu *v)
{
    return vmx_vcpu_gpr(v, OPERAND_SECOND(vmcs_read(EXIT_INSTRUCTION_INFO))) & bits_mask_of_bytes(operand_bytes(v));
}

/* The qualification is the displacement, with RIP added where the address is relative to it. */
static u64 effective_address(const struct vmx_vcpu *v, u32 info)
{
    u64 address = vmcs_read(EXIT_QUALIFICATION);

    if (!(info & INFO_NO_BASE))
        address += vmx_vcpu_gpr(v, INFO_BASE(info));
    if (!(info & INFO_NO_INDEX))
        address += vmx_vcpu_gpr(v, INFO_INDEX(info)) << INFO_SCALE(info);
    return address;
}

static u64 address_mask(u32 info)
{
    return INFO_ADDRESS_SIZE(info) == 0 ? UINT16_MAX : INFO_ADDRESS_SIZE(info) == 1 ? UINT32_MAX : ~0ull;
}

static enum guest_access locate(struct vmx_vcpu *v, u64 offset, u8 bytes, enum gva_access access,
                                struct guest_operand *out)
{
    u32 info = vmcs_read(EXIT_INSTRUCTION_INFO);
    u32 segment = INFO_SEGMENT(info) > DECODE_GS ? DECODE_DS : INFO_SEGMENT(info);
    u64 address = (effective_address(v, info) & address_mask(info)) + offset;

    return guest_operand(v, (enum decode_segment)segment, address, bytes, access, out);
}

/* Breakpoints on the operand. */
static void note(struct vmx_vcpu *v, const struct guest_operand *where, u8 bytes, bool write)
{
    if (UNLIKELY(v->debug_used))
        vmx_points_note(v, where->linear, bytes, write);
}

enum guest_access operand_read(struct vmx_vcpu *v, u64 offset, u8 bytes, u64 *value)
{
    struct guest_operand where;
    enum guest_access access = locate(v, offset, bytes, GVA_READ, &where);

    if (access != GUEST_ACCESS_OK)
        return access;
    *value = guest_operand_read(v, &where);
    note(v, &where, bytes, false);
    return access;
}

enum guest_access operand_write(struct vmx_vcpu *v, u8 bytes, u64 value)
{
    struct guest_operand where;
    enum guest_access access = locate(v, 0, bytes, GVA_WRITE, &where);

    if (access != GUEST_ACCESS_OK)
        return access;
    guest_operand_write(v, &where, value);
    note(v, &where, bytes, true);
    return access;
}
