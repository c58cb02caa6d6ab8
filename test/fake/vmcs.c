/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See vmcs.h.
 */
#include "test/fake/vmcs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENCODING(name, code, width, access) code,
static const u32 encodings[] = {VMCS_FIELDS(ENCODING)};
#define FIELD_COUNT (sizeof encodings / sizeof encodings[0])

_Static_assert(FIELD_COUNT <= sizeof(struct fake_vmcs_copy) / sizeof(u64), "a copy has room for each field");

static u64 ordinary[FIELD_COUNT], shadow[FIELD_COUNT], *values = ordinary;
static bool missing[FIELD_COUNT];
static u32 write_count, failed_count, trapped_count;
static u64 current = VMCS_NONE;

static NORETURN void access_failed(const char *instruction, u32 encoding)
{
    fprintf(stderr, "%s of field 0x%x fails\n", instruction, encoding);
    abort();
}

static u64 *find(const char *instruction, u32 encoding)
{
    for (u32 i = 0; i < FIELD_COUNT; i++)
        if (encodings[i] == encoding)
            return &values[i];
    access_failed(instruction, encoding);
}

/* SDM 3C 24.11.2 "VMREAD, VMWRITE, and Encodings of VMCS Fields": bits 14:13 are the width. */
static u64 width_mask(u32 encoding)
{
    static const u64 masks[] = {0xffff, ~0ull, 0xffffffff, ~0ull};
    return masks[encoding >> 13 & 3];
}

/*
 * The fields in the shadow VMCS of KVM (Linux 6.1 and 6.12, arch/x86/kvm/vmx/vmcs_shadow_fields.h): there, an access to
 * any other exits to KVM. Those that may not be written there are the read-only ones, and the access rights.
 */
static bool is_shadowed(u32 encoding, bool write)
{
    const u32 writable[] = {
        GUEST_INTERRUPT_STATUS.encoding,
        PML_INDEX.encoding,
        HOST_FS_SELECTOR.encoding,
        HOST_GS_SELECTOR.encoding,
        HOST_FS_BASE.encoding,
        HOST_GS_BASE.encoding,
        PROC_CONTROLS.encoding,
        EXCEPTION_BITMAP.encoding,
        TPR_THRESHOLD.encoding,
        PREEMPTION_TIMER_VALUE.encoding,
        ENTRY_INTERRUPTION_INFO.encoding,
        ENTRY_EXCEPTION_ERROR_CODE.encoding,
        ENTRY_INSTRUCTION_LENGTH.encoding,
        GUEST_INTERRUPTIBILITY.encoding,
        GUEST_RIP.encoding,
        GUEST_RSP.encoding,
        GUEST_RFLAGS.encoding,
        GUEST_CR0.encoding,
        GUEST_CR3.encoding,
        GUEST_CR4.encoding,
        CR0_MASK.encoding,
        CR0_SHADOW.encoding,
        CR4_SHADOW.encoding,
    };
    const u32 readable[] = {
        EXIT_REASON.encoding,
        EXIT_QUALIFICATION.encoding,
        EXIT_INSTRUCTION_LENGTH.encoding,
        EXIT_INTERRUPTION_INFO.encoding,
        EXIT_INTERRUPTION_ERROR_CODE.encoding,
        IDT_VECTORING_INFO.encoding,
        IDT_VECTORING_ERROR_CODE.encoding,
        GUEST_LINEAR_ADDRESS.encoding,
        GUEST_PHYSICAL_ADDRESS.encoding,
        GUEST_CS_ACCESS.encoding,
        GUEST_SS_ACCESS.encoding,
    };

    for (u32 i = 0; i < sizeof writable / sizeof writable[0]; i++)
        if (writable[i] == encoding)
            return true;
    for (u32 i = 0; i < sizeof readable / sizeof readable[0]; i++)
        if (readable[i] == encoding)
            return !write;
    return false;
}

u32 fake_vmcs_trapped_count(void)
{
    return trapped_count;
}

void fake_vmcs_reset(void)
{
    memset(ordinary, 0, sizeof ordinary);
    memset(shadow, 0, sizeof shadow);
    values = ordinary;
    memset(missing, 0, sizeof missing);
    write_count = failed_count = trapped_count = 0;
    current = VMCS_NONE;
}

void fake_vmcs_remove(u32 encoding)
{
    missing[find("set-up", encoding) - values] = true;
}

u32 fake_vmcs_failed_count(void)
{
    return failed_count;
}

void fake_vmcs_set_current(u64 pointer)
{
    current = pointer;
}

hpa_t vmcs_current(void)
{
    return hpa(current);
}

void fake_vmcs_set(u32 encoding, u64 value)
{
    *find("set-up", encoding) = value & width_mask(encoding);
}

u32 fake_vmcs_write_count(void)
{
    return write_count;
}

void fake_vmcs_save(struct fake_vmcs_copy *copy)
{
    memset(copy, 0, sizeof *copy);
    memcpy(copy->values, values, sizeof ordinary);
}

void fake_vmcs_load_shadow(bool load)
{
    values = load ? shadow : ordinary;
}

u64 vmcs_read_raw(u32 encoding)
{
    trapped_count += !is_shadowed(encoding, false);
    return *find("VMREAD", encoding);
}

bool vmcs_try_read(u32 encoding, u64 *value)
{
    const u64 *field = find("VMREAD", encoding);

    if (missing[field - values]) {
        *find("VMREAD", INSTRUCTION_ERROR.encoding) = 12;
        failed_count++;
        return false;
    }
    *value = *field;
    return true;
}

void vmcs_write_raw(u32 encoding, u64 value)
{
    if ((encoding >> 10 & 3) == 1 && values != shadow)
        access_failed("VMWRITE", encoding);
    write_count++;
    trapped_count += !is_shadowed(encoding, true);
    *find("VMWRITE", encoding) = value & width_mask(encoding);
}
