/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypercalls of the guest ABI. Runs on the vCPU's CPU between exit and entry, interrupts off.
 */
#include "kernel/vm/hypercall.h"
#include "arch/x86/cpu.h"
#include "guests/include/rootlet_abi.h"
#include "kernel/clock.h"
#include "kernel/lib/string.h"
#include "kernel/sched/sched.h"
#include "kernel/virt.h"
#include "kernel/vm/snapshot.h"

static u64 pair(u32 low, u32 high)
{
    return (u64)high << 32 | low;
}

static u32 ebx(const u64 *registers)
{
    return (u32)registers[HYPERCALL_EBX];
}

static u32 ecx(const u64 *registers)
{
    return (u32)registers[HYPERCALL_ECX];
}

static u32 edx(const u64 *registers)
{
    return (u32)registers[HYPERCALL_EDX];
}

/* What one call may print, so that no exit holds its CPU for long; the caller hears of a short count. */
#define CALL_BYTES 1024u
#define CALL_LINES 16u
#define PIECE      16u

/*
 * Copied out in small pieces: guest memory is read through the checked function only, and the stack stays small. Ends
 * early when the call has printed enough or the VM has its share of the console waiting.
 */
static u64 console_write(struct vcpu *vcpu, u64 *registers)
{
    struct vm *vm = vcpu->vm;
    u64 address = pair(ebx(registers), ecx(registers));
    u32 bytes = edx(registers);
    u8 probe;

    if (bytes > ROOTLET_CONSOLE_WRITE_MAX)
        return ROOTLET_ERROR_ARGUMENT;
    /* All or nothing: look at every page before the first character goes out. */
    for (u64 at = 0; at < bytes; at += FRAME_BYTES)
        if (guest_memory_read(&vm->memory, gpa(address + at), &probe, 1) != STATUS_OK)
            return ROOTLET_ERROR_POINTER;
    if (bytes && guest_memory_read(&vm->memory, gpa(address + bytes - 1), &probe, 1) != STATUS_OK)
        return ROOTLET_ERROR_POINTER;
    u32 done = 0, lines = 0;
    while (done < bytes && done < CALL_BYTES && lines < CALL_LINES) {
        u8 piece[PIECE];
        u32 n = bytes - done < PIECE ? bytes - done : PIECE;
        if (guest_memory_read(&vm->memory, gpa(address + done), piece, n) != STATUS_OK)
            return ROOTLET_ERROR_POINTER;
        vm_lock(vm);
        bool full = done ? vm_console_excess(vm) : vm_console_is_full(vm); /* most lines are no longer than a piece */
        for (u32 i = 0; i < n && !full; i++) {
            vm_console_put(vm, piece[i]);
            lines += piece[i] == '\n';
        }
        vm_unlock(vm);
        if (full)
            break;
        done += n;
    }
    vm_console_throttle(vcpu);
    registers[HYPERCALL_EBX] = done;
    return ROOTLET_OK;
}

static u64 clock(struct vcpu *vcpu, u64 *registers)
{
    u64 now = vm_clock_ns(vcpu->vm);
    registers[HYPERCALL_EBX] = (u32)now;
    registers[HYPERCALL_ECX] = now >> 32;
    registers[HYPERCALL_EDX] = (u32)(clock_tsc_hz() / 1000);
    return ROOTLET_OK;
}

static u64 sleep_until(struct vcpu *vcpu, u64 *registers)
{
    u64 until = vm_tsc_of_ns(vcpu->vm, pair(ebx(registers), ecx(registers)));

    if (until > cpu_tsc()) {
        vcpu->sleep_until_tsc = until;
        vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    }
    return ROOTLET_OK;
}

static u64 start_vcpu(struct vcpu *vcpu, u64 *registers)
{
    struct start_state start = {.mode = START_PROTECTED32, .rip = ecx(registers), .rbx = edx(registers)};

    if (ebx(registers) >= vcpu->vm->spec.cpus)
        return ROOTLET_ERROR_ARGUMENT;
    return vm_start_vcpu(vcpu->vm, ebx(registers), &start) ? ROOTLET_OK : ROOTLET_ERROR_STATE;
}

static u64 identity(struct vcpu *vcpu, u64 *registers)
{
    registers[HYPERCALL_EBX] = vcpu->vm->id;
    registers[HYPERCALL_ECX] = vcpu->index;
    registers[HYPERCALL_EDX] = vcpu->vm->spec.cpus;
    return ROOTLET_OK;
}

static u64 exit_vm(struct vcpu *vcpu, u64 *registers)
{
    vm_exit(vcpu->vm, ebx(registers));
    return ROOTLET_OK;
}

static u64 yield(struct vcpu *vcpu, u64 *registers)
{
    (void)registers;
    vcpu->yielded = true;
    vcpu_request(vcpu, VCPU_REQUEST_RESCHEDULE);
    return ROOTLET_OK;
}

/* What the two return is written when it is done. */
static u64 snapshot(struct vcpu *vcpu, u64 *registers)
{
    (void)registers;
    return snapshot_request(vcpu, VM_WISH_SNAPSHOT) ? ROOTLET_OK : ROOTLET_ERROR_STATE;
}

static u64 restore(struct vcpu *vcpu, u64 *registers)
{
    (void)registers;
    return snapshot_request(vcpu, VM_WISH_RESTORE) ? ROOTLET_OK : ROOTLET_ERROR_STATE;
}

/* Whether a byte can be written to: the guest's own stores do not change ROM. */
static bool is_writable(const struct guest_memory *memory, u64 address)
{
    const struct guest_region *region = guest_memory_find(memory, gpa(address));

    return region && region->kind != GUEST_REGION_ROM;
}

static bool is_writable_buffer(const struct guest_memory *memory, u64 address, u32 bytes)
{
    for (u64 at = 0; at < bytes; at += FRAME_BYTES)
        if (!is_writable(memory, address + at))
            return false;
    return !bytes || is_writable(memory, address + bytes - 1);
}

/* A buffer of the guest's that is filled line by line; what there is no room for is counted only. */
struct text {
    const struct guest_memory *memory;
    u64 address;
    u32 room, bytes;
    bool failed;
};

static void append(struct text *text, const char *piece, size_t bytes)
{
    u32 left = text->bytes < text->room ? text->room - text->bytes : 0;
    size_t n = bytes < left ? bytes : left;

    if (n && guest_memory_write(text->memory, gpa(text->address + text->bytes), piece, n) != STATUS_OK)
        text->failed = true;
    text->bytes += (u32)bytes;
}

static bool append_line(void *context, const char *line)
{
    append(context, line, string_length(line));
    append(context, "\n", 1);
    return true;
}

static u64 refusal(struct vcpu *vcpu, u64 *registers)
{
    const struct guest_memory *memory = &vcpu->vm->memory;
    struct text text = {.memory = memory, .address = pair(ebx(registers), ecx(registers)), .room = edx(registers)};

    if (text.room > ROOTLET_REFUSAL_MAX)
        return ROOTLET_ERROR_ARGUMENT;
    if (!is_writable_buffer(memory, text.address, text.room))
        return ROOTLET_ERROR_POINTER;
    virt_vcpu_refusal(vcpu, append_line, &text);
    if (text.failed)
        return ROOTLET_ERROR_POINTER;
    registers[HYPERCALL_EBX] = text.bytes;
    return ROOTLET_OK;
}

static u64 version(struct vcpu *vcpu, u64 *registers)
{
    (void)vcpu;
    registers[HYPERCALL_EBX] = ROOTLET_ABI_VERSION;
    return ROOTLET_OK;
}

u64 hypercall_rare(struct vcpu *vcpu, u64 *registers, u32 number)
{
    const struct vm_spec *spec = &vcpu->vm->spec;
    u64 status = ROOTLET_ERROR_UNKNOWN;

    if (number < HYPERCALL_COUNT)
        status = hypercall_table[number](vcpu, registers);
    if (spec->has_snapshot_at && spec->snapshot_at == number)
        (void)!snapshot_request(vcpu, VM_WISH_SNAPSHOT_AT); /* behind another vCPU's wish: the next call will do */
    return status;
}

_Static_assert(HYPERCALL_COUNT == ROOTLET_CALL_COUNT, "every call of the ABI has a row");

hypercall_t *const hypercall_table[HYPERCALL_ROOM] = {
    [ROOTLET_CALL_VERSION] = version,
    [ROOTLET_CALL_CONSOLE_WRITE] = console_write,
    [ROOTLET_CALL_YIELD] = yield,
    [ROOTLET_CALL_CLOCK] = clock,
    [ROOTLET_CALL_SLEEP_UNTIL] = sleep_until,
    [ROOTLET_CALL_EXIT] = exit_vm,
    [ROOTLET_CALL_IDENTITY] = identity,
    [ROOTLET_CALL_START_VCPU] = start_vcpu,
    [ROOTLET_CALL_SNAPSHOT] = snapshot,
    [ROOTLET_CALL_RESTORE] = restore,
    [ROOTLET_CALL_REFUSAL] = refusal,
};
