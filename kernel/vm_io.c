/*
 * A vCPU's way to its VM's devices: bus accesses and timers, under the VM's lock. Compiled for speed: every port exit
 * and every timer expiry comes through here. Between exit and entry, on the vCPU's CPU.
 */
#include "arch/x86/cpu.h"
#include "kernel/clock.h"
#include "kernel/sched.h"
#include "kernel/vm.h"

/* The devices' timers belong to vCPU 0: if an access moved the earliest, its deadline moves too. */
static ALWAYS_INLINE bool timers_moved(const struct vm *vm)
{
    return vm->vcpus[0]->timers.next_ns != vm->vcpus[0]->timer_ns;
}

static COLD u64 note_moved_timers(struct vm *vm, u64 value)
{
    sched_notify(vm->vcpus[0], VCPU_REQUEST_DEADLINE);
    return value;
}

void vm_run_timers(struct vcpu *vcpu, u64 now_tsc)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    vtimer_run(&vcpu->timers, clock_ns_from_tsc(now_tsc - vm->start_tsc));
    vm_unlock(vm);
}

u32 vm_port_read(struct vcpu *vcpu, u16 port, u8 bytes)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    u32 value = bus_read_port(&vm->bus, port, bytes);
    vm_unlock(vm);
    if (UNLIKELY(timers_moved(vm)))
        return (u32)note_moved_timers(vm, value);
    return value;
}

/* What a write can cause beyond the device: a printed line that fills the console, or the end of the VM. */
static COLD void write_effects(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    if (timers_moved(vm))
        note_moved_timers(vm, 0);
    if (!vm->write_effect)
        return;
    vm->write_effect = false;
    if (vm->line_printed)
        vm_console_throttle(vcpu);
    if (vm->requested != VM_RUNNING)
        vm_stop(vm, vm->requested, NULL);
}

void vm_port_write(struct vcpu *vcpu, u16 port, u8 bytes, u32 value)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    bus_write_port(&vm->bus, port, bytes, value);
    vm_unlock(vm);
    if (UNLIKELY(vm->write_effect || timers_moved(vm)))
        write_effects(vcpu);
}

u64 vm_memory_read(struct vcpu *vcpu, gpa_t address, u8 bytes)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    u64 value = bus_read_memory(&vm->bus, address, bytes);
    vm_unlock(vm);
    if (UNLIKELY(timers_moved(vm)))
        return note_moved_timers(vm, value);
    return value;
}

void vm_memory_write(struct vcpu *vcpu, gpa_t address, u8 bytes, u64 value)
{
    struct vm *vm = vcpu->vm;

    vm_lock(vm);
    bus_write_memory(&vm->bus, address, bytes, value);
    vm_unlock(vm);
    if (UNLIKELY(timers_moved(vm)))
        note_moved_timers(vm, 0);
}
