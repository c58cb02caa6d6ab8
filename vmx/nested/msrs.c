/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See msrs.h. An MSR is loaded as the guest's WRMSR would do it.
 */
#include "vmx/nested/msrs.h"
#include "vmx/exit/msr.h"

struct entry {
    u32 index;
    u32 reserved;
    u64 value;
};

static bool read_entry(const struct vmx_vcpu *v, u64 at, struct entry *entry)
{
    return guest_memory_read(&v->base.vm->memory, gpa(at), entry, sizeof *entry) == STATUS_OK;
}

/* SDM 27.4: the x2APIC's registers are not saved, whatever mode the APIC is in. */
static bool is_saved(const struct entry *entry)
{
    return !entry->reserved && entry->index >> 8 != MSR_IA32_X2APIC_BASE >> 8;
}

/* SDM 3C 26.4: neither the bases, which the VMCS has, nor the x2APIC's registers. */
static bool is_allowed(const struct entry *entry)
{
    return !entry->reserved && entry->index != MSR_IA32_FS_BASE && entry->index != MSR_IA32_GS_BASE &&
           entry->index >> 8 != MSR_IA32_X2APIC_BASE >> 8;
}

u32 msrs_load_some(struct vmx_vcpu *v, u64 area, u32 count, u32 *index)
{
    struct entry entry = {0, 0, 0};

    for (u32 i = 0; i < count; i++) {
        bool is_read = i < MSRS_MOST && read_entry(v, area + 16ull * i, &entry);
        *index = entry.index;
        if (!is_read || !is_allowed(&entry) || !vmx_msr_set(v, entry.index, entry.value))
            return i + 1;
    }
    return 0;
}

bool msrs_store_some(struct vmx_vcpu *v, u64 area, u32 count)
{
    struct entry entry;

    for (u32 i = 0; i < count; i++) {
        u64 at = area + 16ull * i;
        if (i >= MSRS_MOST || !read_entry(v, at, &entry) || !is_saved(&entry) ||
            !vmx_msr_get(v, entry.index, &entry.value))
            return false;
        nested_memory_write(v, at + offsetof(struct entry, value), &entry.value, sizeof entry.value);
    }
    return true;
}
