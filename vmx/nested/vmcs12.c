/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See vmcs12.h. Another vCPU, or a device, may change a region at any time: its bytes are copied once and nothing that
 * depends on them is believed. What is not RAM reads as a bus without a device does, and is never written. SDM 3C
 * 24.11.2 "VMREAD, VMWRITE, and Encodings of VMCS Fields".
 */
#include "vmx/nested/vmcs12.h"
#include "kernel/lib/string.h"
#include "vmx/event.h"
#include "vmx/nested/level.h"
#include "vmx/nested/offer.h"

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

void vmcs12_load(struct vmx_vcpu *v, u64 region, bool is_shadow)
{
    struct nested *n = v->nested;
    struct region copy;

    nested_memory_read(v, region, &copy, sizeof copy);
    for (u32 row = 0; row < CHECK_FIELDS; row++)
        n->image.value[row] = n->exists[row] ? copy.value[row] & width_mask(row) : 0;
    n->launched = copy.launched == 1;
    n->is_shadow = is_shadow;
    n->image.settled = 0;
    n->guest_is_stale = false;
    n->guest_written = n->controls_written = true;
    n->current = n->image.cpu.vmcs_pointer = region;
}

void vmcs12_unload(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    if (n->current == NESTED_NONE)
        return;
    level_fetch_guest(v);
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

/* Bits 31:15 and bit 12 are reserved, and no index has more than 5 bits; the upper half is there of 64-bit fields only.
 */
u32 vmcs12_row(const struct vmx_vcpu *v, u64 encoding)
{
    if (UNLIKELY(encoding & ~0x6c3full) || (encoding & ACCESS_HIGH && (encoding >> 13) != VMCS_WIDTH_CODE_64))
        return VMCS12_NO_ROW;
    u32 row = rows[KEY(encoding)];
    return LIKELY(row) && v->nested->exists[row - 1] ? row - 1 : VMCS12_NO_ROW;
}

/* Guest state that an exit saves at once; the rest is fetched when it is asked for. */
static const bool saved_at_once[CHECK_FIELDS] = {
    [FIELD_GUEST_RIP] = true,           [FIELD_GUEST_RSP] = true,
    [FIELD_GUEST_RFLAGS] = true,        [FIELD_GUEST_CS_ACCESS] = true,
    [FIELD_GUEST_SS_ACCESS] = true,     [FIELD_GUEST_INTERRUPTIBILITY] = true,
    [FIELD_GUEST_PENDING_DEBUG] = true, [FIELD_GUEST_ACTIVITY_STATE] = true,
    [FIELD_GUEST_CR0] = true,           [FIELD_GUEST_CR3] = true,
    [FIELD_GUEST_CR4] = true,           [FIELD_GUEST_EFER] = true,
    [FIELD_GUEST_PAT] = true,           [FIELD_GUEST_DR7] = true,
    [FIELD_GUEST_DEBUGCTL] = true,      [FIELD_PREEMPTION_TIMER_VALUE] = true,
};

enum { AREA_CONTROL, AREA_EXIT, AREA_GUEST, AREA_HOST };
#define AREA(encoding) ((encoding) >> 10 & 3)

u64 vmcs12_read(struct vmx_vcpu *v, u32 row, u64 encoding)
{
    if (UNLIKELY(v->nested->guest_is_stale) && AREA(encoding) == AREA_GUEST && !saved_at_once[row])
        level_fetch_guest(v);
    u64 value = vmcs12_get(v, row);
    return encoding & ACCESS_HIGH ? value >> 32 : value;
}

/* An address that no rule forbids, whatever the mode. SDM 3C 26.3.1.4 "Checks on Guest RIP and RFLAGS" */
static bool is_plain_rip(const struct vmx_vcpu *v, u64 rip)
{
    bool code64 =
        vmcs12_get(v, FIELD_ENTRY_CONTROLS) & ENTRY_IA32E_GUEST && vmcs12_get(v, FIELD_GUEST_CS_ACCESS) & SEGMENT_LONG;

    return rip >> 32 == 0 || (code64 && (u64)((s64)rip >> 47) + 1 <= 1);
}

static void note_guest_write(struct vmx_vcpu *v, u32 row, u64 value)
{
    struct nested *n = v->nested;

    switch (row) {
    case FIELD_GUEST_RSP:
    case FIELD_PREEMPTION_TIMER_VALUE:
        return;
    case FIELD_GUEST_RIP:
        if (!is_plain_rip(v, value))
            n->image.settled &= (u8)~CHECK_SETTLED_GUEST;
        return;
    case FIELD_GUEST_INTERRUPTIBILITY:
        if (value)
            n->image.settled &= (u8)~CHECK_SETTLED_GUEST;
        return;
    case FIELD_GUEST_RFLAGS:
    case FIELD_GUEST_PENDING_DEBUG:
    case FIELD_GUEST_ACTIVITY_STATE:
    case FIELD_GUEST_EFER:
    case FIELD_GUEST_PAT:
    case FIELD_GUEST_DR7:
    case FIELD_GUEST_DEBUGCTL:
        n->image.settled &= (u8)~CHECK_SETTLED_GUEST;
        return;
    default:
        level_fetch_guest(v);
        n->image.settled &= (u8)~CHECK_SETTLED_GUEST;
        n->guest_written = true;
    }
}

static bool opens_windows_only(const struct vmx_vcpu *v, u64 value)
{
    return !((vmcs12_get(v, FIELD_PROC_CONTROLS) ^ value) & ~(u64)(PROC_INTERRUPT_WINDOW | PROC_NMI_WINDOW));
}

/* What an exit saves depends on controls, so it is fetched before they change. */
static void note_control_write(struct vmx_vcpu *v, u32 row, u64 value)
{
    struct nested *n = v->nested;

    switch (row) {
    case FIELD_TSC_OFFSET:
        return;
    case FIELD_ENTRY_INTERRUPTION_INFO:
        if (value & EVENT_VALID)
            n->image.settled &= (u8) ~(CHECK_SETTLED_CONTROLS | CHECK_SETTLED_GUEST);
        return;
    case FIELD_ENTRY_EXCEPTION_ERROR_CODE:
    case FIELD_ENTRY_INSTRUCTION_LENGTH:
        n->image.settled &= (u8) ~(CHECK_SETTLED_CONTROLS | CHECK_SETTLED_GUEST);
        return;
    case FIELD_TPR_THRESHOLD:
    case FIELD_VPID:
    case FIELD_EPT_POINTER:
        n->image.settled &= (u8)~CHECK_SETTLED_CONTROLS;
        return;
    default:
        break;
    }
    n->controls_written = true;
    if (row == FIELD_PROC_CONTROLS && opens_windows_only(v, value)) {
        n->image.settled &= (u8)~CHECK_SETTLED_CONTROLS;
        return;
    }
    level_fetch_guest(v);
    n->image.settled = 0;
    n->guest_written = true;
}

static u64 mask_of(u64 encoding)
{
    u64 width = encoding >> 13;
    return width == VMCS_WIDTH_CODE_16 ? UINT16_MAX : width == VMCS_WIDTH_CODE_32 ? UINT32_MAX : ~0ull;
}

/* A natural-width field has 64 bits on a CPU with Intel 64; VMWRITE outside 64-bit mode clears the upper ones. */
void vmcs12_write(struct vmx_vcpu *v, u32 row, u64 encoding, u64 value)
{
    if (encoding & ACCESS_HIGH)
        value = (value << 32) | (u32)vmcs12_get(v, row);
    value &= mask_of(encoding);
    if (AREA(encoding) == AREA_GUEST)
        note_guest_write(v, row, value);
    else if (AREA(encoding) == AREA_CONTROL)
        note_control_write(v, row, value);
    else if (row != FIELD_HOST_RSP) /* which no rule looks at */
        v->nested->image.settled &= (u8)~CHECK_SETTLED_HOST;
    vmcs12_set(v, row, value);
}

/* ---- the VMCS that the link pointer names, which is not current ---- */

static u64 linked_field(const struct vmx_vcpu *v, u32 row)
{
    return vmcs12_get(v, FIELD_VMCS_LINK_POINTER) + offsetof(struct region, value) + row * sizeof(u64);
}

u64 vmcs12_read_linked(const struct vmx_vcpu *v, u32 row, u64 encoding)
{
    u64 value;

    nested_memory_read(v, linked_field(v, row), &value, sizeof value);
    value &= width_mask(row);
    return encoding & ACCESS_HIGH ? value >> 32 : value;
}

void vmcs12_write_linked(const struct vmx_vcpu *v, u32 row, u64 encoding, u64 value)
{
    if (encoding & ACCESS_HIGH)
        value = (value << 32) | (u32)vmcs12_read_linked(v, row, 0);
    value &= mask_of(encoding);
    nested_memory_write(v, linked_field(v, row), &value, sizeof value);
}
