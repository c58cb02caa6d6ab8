/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's accesses go to its bus and to nothing else: stands in for kernel/vm/io.c, without its lock. Each test program
 * includes it once, and links kernel/vm/bus.c.
 */
#ifndef ROOTLET_TEST_FAKE_VM_BUS_H
#define ROOTLET_TEST_FAKE_VM_BUS_H

#include "kernel/vm/vm.h"

u64 vm_note_moved_timers(struct vm *vm, u64 value)
{
    (void)vm;
    return value;
}

u32 vm_port_read_locked(struct vm *vm, u16 port, u8 bytes)
{
    return bus_read_port(&vm->bus, port, bytes);
}

bool vm_port_write_locked(struct vcpu *vcpu, u16 port, u8 bytes, u32 value)
{
    bus_write_port(&vcpu->vm->bus, port, bytes, value);
    return true;
}

u64 vm_memory_read(struct vcpu *vcpu, gpa_t address, u8 bytes)
{
    return bus_read_memory(&vcpu->vm->bus, address, bytes);
}

void vm_memory_write(struct vcpu *vcpu, gpa_t address, u8 bytes, u64 value)
{
    bus_write_memory(&vcpu->vm->bus, address, bytes, value);
}

#endif
