/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See mirror.h. SDM 3C 24.6.15 "VMCS Shadowing Bitmap Addresses", 25.1.3 "Instructions That Cause VM Exits
 * Conditionally", 30.3 "VMX Instructions".
 */
#include "vmx/nested/mirror.h"
#include "kernel/lib/string.h"
#include "vmx/nested/vmcs12.h"

/* Exit information, which the guest cannot write. */
#define READ(F)                                                                                                        \
    F(EXIT_REASON)                                                                                                     \
    F(EXIT_QUALIFICATION)                                                                                              \
    F(EXIT_INTERRUPTION_INFO)                                                                                          \
    F(EXIT_INSTRUCTION_LENGTH)                                                                                         \
    F(EXIT_INSTRUCTION_INFO)                                                                                           \
    F(IDT_VECTORING_INFO)                                                                                              \
    F(GUEST_PHYSICAL_ADDRESS)
/* What hypervisors read and write for most entries. All is there after an exit, none is fetched later: vmcs12.c. */
#define WRITTEN(F)                                                                                                     \
    F(GUEST_RIP)                                                                                                       \
    F(GUEST_RSP)                                                                                                       \
    F(GUEST_RFLAGS)                                                                                                    \
    F(GUEST_INTERRUPTIBILITY)                                                                                          \
    F(ENTRY_INTERRUPTION_INFO)                                                                                         \
    F(PROC_CONTROLS)                                                                                                   \
    F(PREEMPTION_TIMER_VALUE)                                                                                          \
    F(HOST_RSP)

struct mirrored {
    u16 encoding;
    u8 row;
};
#define DEFINE_MIRRORED(name) {ENCODING_##name, FIELD_##name},
static const struct mirrored only_read[] = {READ(DEFINE_MIRRORED)}, written[] = {WRITTEN(DEFINE_MIRRORED)};

/* Bit n stands for the encoding n. The upper half of a 64-bit field has an encoding of its own, which exits. */
static void pass(u8 *bitmap, const struct mirrored *fields, size_t count, const struct vmx_caps *caps)
{
    for (size_t i = 0; i < count; i++)
        if (check_field_exists(fields[i].row, caps))
            bitmap[fields[i].encoding / 8] &= (u8)~BIT(fields[i].encoding % 8);
}

void mirror_fill_bitmaps(u8 *reads, u8 *writes, const struct vmx_caps *caps)
{
    memset(reads, 0xff, FRAME_BYTES);
    memset(writes, 0xff, FRAME_BYTES);
    pass(reads, only_read, ARRAY_SIZE(only_read), caps);
    pass(reads, written, ARRAY_SIZE(written), caps);
    pass(writes, written, ARRAY_SIZE(written), caps);
}

void mirror_open(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    if (!vmx_features.has_shadowing)
        return;
    CHECK(vmcs_clear(n->mirror)); /* as before the first use of any VMCS: SDM 3C 24.11.3 */
    vmcs_write(VMREAD_BITMAP, vmx_features.vmcs_bitmaps.raw);
    vmcs_write(VMWRITE_BITMAP, vmx_features.vmcs_bitmaps.raw + FRAME_BYTES);
    vmcs_write(VMCS_LINK_POINTER, n->mirror.raw);
    vmcs_write(PROC2_CONTROLS, vmcs_read(PROC2_CONTROLS) | PROC2_VMCS_SHADOWING);
    n->has_mirror = true;
    mirror_publish(v);
}

void mirror_close(struct vmx_vcpu *v)
{
    nested_collect(v);
    mirror_drop(v);
}

#define PUT(name) vmcs_write_raw(ENCODING_##name, fields[FIELD_##name]);
void mirror_publish(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;
    const u64 *fields = vmcs12_fields(v);

    if (!n->has_mirror)
        return;
    CHECK(vmcs_load(n->mirror));
    READ(PUT)
    WRITTEN(PUT)
    CHECK(vmcs_clear(n->mirror)); /* what the link pointer leads to is in memory: SDM 3C 24.11.3 */
    CHECK(vmcs_load(v->vmcs));
    n->is_mirrored = true;
}

#define GET(name)  vmcs_read_raw(ENCODING_##name),
#define TAKE(name) take(v, FIELD_##name, ENCODING_##name, *next++);
static ALWAYS_INLINE void take(struct vmx_vcpu *v, u32 row, u32 encoding, u64 value)
{
    if (UNLIKELY(value != vmcs12_get(v, row)))
        vmcs12_write(v, row, encoding, value);
}

/* VMWRITE's side effects need the guest's VMCS. */
void nested_collect(struct vmx_vcpu *v)
{
    struct nested *n = v->nested;

    if (!n->is_mirrored)
        return;
    CHECK(vmcs_load(n->mirror));
    const u64 values[] = {WRITTEN(GET)}, *next = values;
    CHECK(vmcs_load(v->vmcs));
    WRITTEN(TAKE)
}
