/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who answers at a guest-physical address: the vCPU's local APIC, a device on the bus, memory, or nobody. Runs between
 * exit and entry on the vCPU's CPU, compiled for speed: every access to a device comes through here. Takes the VM's
 * lock for devices.
 */
#include "kernel/lib/bits.h"
#include "vmx/insn/guest.h"

bool guest_physical_is_stray(struct vmx_vcpu *v, gpa_t address, u8 bytes)
{
    const struct vm *vm = v->base.vm;

    if (guest_memory_find(&vm->memory, address) || bus_has_memory(&vm->bus, address, bytes))
        return false;
    if (v->strays++ == 0) {
        v->stray_address = address.raw;
        v->stray_rip = guest_linear_rip(v);
    }
    return true;
}

/* Memory, what no one device takes whole, or nothing, which reads all ones. */
static NOINLINE u64 read_other(struct vmx_vcpu *v, gpa_t address, u8 bytes)
{
    u64 value = 0;

    if (guest_memory_read(&v->base.vm->memory, address, &value, bytes) == STATUS_OK)
        return value;
    return guest_physical_is_stray(v, address, bytes) ? bits_mask_of_bytes(bytes)
                                                      : vm_memory_read(&v->base, address, bytes);
}

static NOINLINE void write_other(struct vmx_vcpu *v, gpa_t address, u8 bytes, u64 value)
{
    const struct guest_region *region = guest_memory_find(&v->base.vm->memory, address);

    if (region && region->kind == GUEST_REGION_ROM)
        return;
    if (guest_memory_write(&v->base.vm->memory, address, &value, bytes) != STATUS_OK &&
        !guest_physical_is_stray(v, address, bytes))
        vm_memory_write(&v->base, address, bytes, value);
}

/* Each vCPU finds its own local APIC where its IA32_APIC_BASE says, in xAPIC mode (bits 11:10 are 10b). */
static ALWAYS_INLINE bool is_apic_page(const struct vmx_vcpu *v, gpa_t address)
{
    return (*v->base.apic.base & ~0x3ffull) == ((address.raw & ~(FRAME_BYTES - 1)) | BIT(11));
}

static COLD bool is_ram(const struct vmx_vcpu *v, gpa_t address)
{
    const struct guest_region *region = guest_memory_find(&v->base.vm->memory, address);

    return region && region->kind != GUEST_REGION_ROM && !is_apic_page(v, address);
}

u8 *guest_physical_ram(struct vmx_vcpu *v, gpa_t address)
{
    return is_ram(v, address) ? guest_memory_view(&v->base.vm->memory, address, 1) : NULL;
}

u8 *guest_physical_open(struct vmx_vcpu *v, gpa_t address)
{
    return is_ram(v, address) ? guest_memory_open(&v->base.vm->memory, address, 1) : NULL;
}

/* Devices come first: their ranges do not lie in memory, and most accesses that come here are theirs. */
static NOINLINE u64 read_device(struct vmx_vcpu *v, gpa_t address, u8 bytes)
{
    struct vm *vm = v->base.vm;
    const struct bus_memory_range *range = bus_find_memory(&vm->bus, address, bytes);
    if (UNLIKELY(!range))
        return read_other(v, address, bytes);
    vm_lock(vm);
    u64 value = range->ops->read(range->device, address.raw - range->first, bytes) & bits_mask_of_bytes(bytes);
    vm_unlock(vm);
    return LIKELY(!vm_timers_moved(vm)) ? value : vm_note_moved_timers(vm, value);
}

u64 guest_physical_read(struct vmx_vcpu *v, gpa_t address, u8 bytes)
{
    if (is_apic_page(v, address))
        return vm_apic_read(&v->base, address.raw & (FRAME_BYTES - 1), bytes) & bits_mask_of_bytes(bytes);
    return read_device(v, address, bytes);
}

static NOINLINE void write_device(struct vmx_vcpu *v, gpa_t address, u8 bytes, u64 value)
{
    struct vm *vm = v->base.vm;
    const struct bus_memory_range *range = bus_find_memory(&vm->bus, address, bytes);
    if (UNLIKELY(!range)) {
        write_other(v, address, bytes, value);
        return;
    }
    vm_lock(vm);
    range->ops->write(range->device, address.raw - range->first, bytes, value);
    vm_unlock(vm);
    if (UNLIKELY(vm_timers_moved(vm)))
        vm_note_moved_timers(vm, 0);
}

void guest_physical_write(struct vmx_vcpu *v, gpa_t address, u8 bytes, u64 value)
{
    if (is_apic_page(v, address))
        vm_apic_write(&v->base, address.raw & (FRAME_BYTES - 1), bytes, value);
    else
        write_device(v, address, bytes, value);
}
