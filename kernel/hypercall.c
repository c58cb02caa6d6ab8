/*
 * The hypercalls of the guest ABI. Runs on the vCPU's CPU between exit and entry, interrupts off.
 */
#include "kernel/hypercall.h"
#include "arch/x86/cpu.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/clock.h"
#include "kernel/sched.h"

static u64 pair(u32 low, u32 high)
{
    return (u64)high << 32 | low;
}

static u32 answer(struct hypercall *call, u32 ebx, u32 ecx, u32 edx)
{
    call->ebx = ebx;
    call->ecx = ecx;
    call->edx = edx;
    call->changed = true;
    return ROOTLET_OK;
}

/* Copied out in small pieces: guest memory is read through the checked function only, and the stack stays small. */
static u32 console_write(struct vcpu *vcpu, struct hypercall *call)
{
    struct vm *vm = vcpu->vm;
    u64 address = pair(call->ebx, call->ecx);
    u32 bytes = call->edx;
    u8 probe;

    if (bytes > ROOTLET_CONSOLE_WRITE_MAX)
        return ROOTLET_ERROR_ARGUMENT;
    /* All or nothing: look at every page before the first character goes out. */
    for (u64 at = 0; at < bytes; at += FRAME_BYTES)
        if (guest_memory_read(&vm->memory, gpa(address + at), &probe, 1) != STATUS_OK)
            return ROOTLET_ERROR_POINTER;
    if (bytes && guest_memory_read(&vm->memory, gpa(address + bytes - 1), &probe, 1) != STATUS_OK)
        return ROOTLET_ERROR_POINTER;
    for (u32 done = 0; done < bytes;) {
        u8 piece[64];
        u32 n = bytes - done < sizeof piece ? bytes - done : (u32)sizeof piece;
        if (guest_memory_read(&vm->memory, gpa(address + done), piece, n) != STATUS_OK)
            return ROOTLET_ERROR_POINTER;
        spin_lock(&vm->lock);
        for (u32 i = 0; i < n; i++)
            vm_console_put(vm, piece[i]);
        spin_unlock(&vm->lock);
        done += n;
    }
    vm_console_throttle(vcpu);
    return answer(call, bytes, call->ecx, call->edx);
}

static u32 clock(struct vcpu *vcpu, struct hypercall *call)
{
    u64 now = vm_clock_ns(vcpu->vm);
    return answer(call, (u32)now, (u32)(now >> 32), (u32)(clock_tsc_hz() / 1000));
}

static u32 sleep_until(struct vcpu *vcpu, struct hypercall *call)
{
    u64 until = vm_tsc_of_ns(vcpu->vm, pair(call->ebx, call->ecx));

    if (until > cpu_tsc()) {
        vcpu->sleep_until_tsc = until;
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    }
    return ROOTLET_OK;
}

static u32 start_vcpu(struct vcpu *vcpu, struct hypercall *call)
{
    struct start_state start = {.mode = START_PROTECTED32, .rip = call->ecx, .rbx = call->edx};

    if (call->ebx >= vcpu->vm->spec.cpus)
        return ROOTLET_ERROR_ARGUMENT;
    return vm_start_vcpu(vcpu->vm, call->ebx, &start) ? ROOTLET_OK : ROOTLET_ERROR_STATE;
}

u32 hypercall_execute(struct vcpu *vcpu, struct hypercall *call)
{
    struct vm *vm = vcpu->vm;

    call->changed = false;
    switch (call->number) {
    case ROOTLET_CALL_VERSION:
        return answer(call, ROOTLET_ABI_VERSION, call->ecx, call->edx);
    case ROOTLET_CALL_CONSOLE_WRITE:
        return console_write(vcpu, call);
    case ROOTLET_CALL_YIELD:
        vcpu->yielded = true;
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
        return ROOTLET_OK;
    case ROOTLET_CALL_CLOCK:
        return clock(vcpu, call);
    case ROOTLET_CALL_SLEEP_UNTIL:
        return sleep_until(vcpu, call);
    case ROOTLET_CALL_EXIT:
        vm->exit_status = call->ebx;
        vm_stop(vm, VM_STOP_EXIT, "status=%u", call->ebx);
        return ROOTLET_OK;
    case ROOTLET_CALL_IDENTITY:
        return answer(call, vm->id, vcpu->index, vm->spec.cpus);
    case ROOTLET_CALL_START_VCPU:
        return start_vcpu(vcpu, call);
    default:
        return ROOTLET_ERROR_UNKNOWN;
    }
}
