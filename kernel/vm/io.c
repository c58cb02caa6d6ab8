/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's way to its VM's devices: bus accesses and timers, under the VM's lock. Compiled for speed: every port exit
 * and every timer expiry comes through here. Between exit and entry, on the vCPU's CPU.
 */
#include "arch/x86/cpu.h"
#include "kernel/clock.h"
#include "kernel/sched/sched.h"
#include "kernel/vm/vm.h"

#define FAR_TSC (1ull << 55) /* months away, even at 5 GHz: beyond it the conversion would overflow */

/* The vCPU's own timers, which its local APIC has moved. */
static void note_own_timers(struct vcpu *vcpu)
{
    if (vcpu->timers.next_ns != vcpu->timer_ns)
        vcpu_request(vcpu, VCPU_REQUEST_DEADLINE);
}

u64 vm_apic_read(struct vcpu *vcpu, u64 offset, u8 bytes)
{
    vm_lock(vcpu->vm);
    u64 value = vcpu->apic.ops->read(vcpu->apic.device, offset, bytes);
    vm_unlock(vcpu->vm);
    return value;
}

void vm_apic_write(struct vcpu *vcpu, u64 offset, u8 bytes, u64 value)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->write(vcpu->apic.device, offset, bytes, value);
    vm_unlock(vcpu->vm);
    note_own_timers(vcpu);
}

bool vm_apic_read_msr(struct vcpu *vcpu, u32 index, u64 *value)
{
    vm_lock(vcpu->vm);
    bool good = vcpu->apic.ops->read_msr(vcpu->apic.device, index, value);
    vm_unlock(vcpu->vm);
    return good;
}

bool vm_apic_write_msr(struct vcpu *vcpu, u32 index, u64 value)
{
    vm_lock(vcpu->vm);
    bool good = vcpu->apic.ops->write_msr(vcpu->apic.device, index, value);
    vm_unlock(vcpu->vm);
    note_own_timers(vcpu);
    return good;
}

u64 vm_apic_read_deadline(struct vcpu *vcpu)
{
    vm_lock(vcpu->vm);
    u64 tsc = vcpu->apic.ops->read_deadline(vcpu->apic.device);
    vm_unlock(vcpu->vm);
    return tsc;
}

void vm_apic_write_deadline(struct vcpu *vcpu, u64 tsc)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->write_deadline(vcpu->apic.device, tsc);
    vm_unlock(vcpu->vm);
    note_own_timers(vcpu);
}

bool vm_apic_write_base(struct vcpu *vcpu, u64 value)
{
    vm_lock(vcpu->vm);
    bool good = vcpu->apic.ops->write_base(vcpu->apic.device, value);
    vm_unlock(vcpu->vm);
    note_own_timers(vcpu);
    return good;
}

void vm_apic_write_cr8(struct vcpu *vcpu, u64 value)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->write_cr8(vcpu->apic.device, value);
    vm_unlock(vcpu->vm);
}

void vm_apic_reset(struct vcpu *vcpu)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->reset(vcpu->apic.device);
    vm_unlock(vcpu->vm);
}

void vm_apic_written(struct vcpu *vcpu, u32 offset)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->written(vcpu->apic.device, offset);
    vm_unlock(vcpu->vm);
    note_own_timers(vcpu);
}

void vm_apic_end_level(struct vcpu *vcpu, u8 vector)
{
    vm_lock(vcpu->vm);
    vcpu->apic.ops->end_level(vcpu->apic.device, vector);
    vm_unlock(vcpu->vm);
}

u64 vm_ns_of_guest_tsc(const struct vcpu *vcpu, u64 tsc)
{
    u64 now = cpu_tsc();
    u64 guest_now = now + vcpu->tsc_offset;

    if (tsc <= guest_now)
        return 0;
    if (tsc - guest_now > FAR_TSC)
        return VTIMER_NEVER;
    return clock_elapsed_ns(now - vcpu->vm->start_tsc + (tsc - guest_now)) + 1;
}

u32 vm_port_read_locked(struct vm *vm, u16 port, u8 bytes)
{
    vm_lock(vm);
    u32 value = bus_read_port(&vm->bus, port, bytes);
    vm_unlock(vm);
    return value;
}

void vm_run_timers_locked(struct vcpu *vcpu, u64 now_ns)
{
    spin_lock(&vcpu->vm->lock);
    vtimer_run(&vcpu->timers, now_ns);
    spin_unlock(&vcpu->vm->lock);
}

u64 vm_note_moved_timers(struct vm *vm, u64 value)
{
    sched_notify(vm->vcpus[0], VCPU_REQUEST_DEADLINE);
    return value;
}

/* With several vCPUs the lock's holder has seen whether its own write was refused. */
bool vm_write_effects(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    bool full = vm->spec.cpus == 1 && vm->console_full;

    if (vm_timers_moved(vm))
        vm_note_moved_timers(vm, 0);
    if (!__atomic_exchange_n(&vm->write_effect, false, __ATOMIC_SEQ_CST))
        return true;
    if (full)
        vm->console_full = false;
    if (full || vm->line_printed)
        vm_console_throttle(vcpu);
    if (vm->requested != VM_RUNNING)
        vm_stop(vm, vm->requested, NULL);
    return !full;
}

bool vm_port_write_locked(struct vcpu *vcpu, u16 port, u8 bytes, u32 value)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    bus_write_port(&vm->bus, port, bytes, value);
    bool full = vm->console_full;
    vm->console_full = false;
    vm_unlock(vm);
    if (full)
        vm_console_throttle(vcpu);
    if (UNLIKELY(vm->write_effect || vm_timers_moved(vm)))
        vm_write_effects(vcpu);
    return !full;
}

u64 vm_memory_read(struct vcpu *vcpu, gpa_t address, u8 bytes)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    u64 value = bus_read_memory(&vm->bus, address, bytes);
    vm_unlock(vm);
    if (UNLIKELY(vm_timers_moved(vm)))
        return vm_note_moved_timers(vm, value);
    return value;
}

void vm_memory_write(struct vcpu *vcpu, gpa_t address, u8 bytes, u64 value)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    bus_write_memory(&vm->bus, address, bytes, value);
    vm_unlock(vm);
    if (UNLIKELY(vm_timers_moved(vm)))
        vm_note_moved_timers(vm, 0);
}
