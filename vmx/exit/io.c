/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IN, OUT, INS and OUTS. Permission (IOPL, the TSS bitmap) was checked before the exit: SDM 3C 25.1.1 "Relative
 * Priority of Faults and VM Exits". Devices are behind vm_port_read and vm_port_write, which take the VM's lock.
 */
#include "vmx/exit/io.h"
#include "arch/x86/regs.h"
#include "kernel/trace/trace.h"
#include "vmx/event.h"
#include "vmx/insn/guest.h"
#include "vmx/points.h"
#include "vmx/vcpu.h"

/* SDM 3C 27.2.1, table "Exit Qualification for I/O Instructions". */
#define IO_SIZE(q) ((u8)((7 & (q)) + 1))
#define IO_IN      BIT(3)
#define IO_STRING  BIT(4)
#define IO_REP     BIT(5)
#define IO_PORT(q) ((u16)((q) >> 16))

/*
 * So many iterations of a REP at most, and begun in so many ticks of the TSC, before events get their turn; RIP stays,
 * and the guest comes back. An iteration may print a line.
 */
#define STRING_BURST       256u
#define STRING_BURST_TICKS 5000u

/* Instruction information of INS and OUTS: address size (0: 16, 1: 32, 2: 64); the segment register, of OUTS only. */
#define INFO_ADDRESS_SIZE(info) ((info) >> 7 & 7)
#define INFO_SEGMENT(info)      ((enum decode_segment)((info) >> 15 & 7))

static u64 address_mask(u32 info)
{
    switch (INFO_ADDRESS_SIZE(info)) {
    case 0:
        return 0xffff;
    case 1:
        return 0xffffffff;
    default:
        return ~0ull;
    }
}

/* SDM 1 3.4.1.1: a 32-bit result clears the upper half in 64-bit mode, a 16-bit one leaves the rest. */
static void step_register(struct vmx_vcpu *v, unsigned index, u64 mask, s64 by)
{
    u64 old = v->gpr[index];
    u64 next = (old + (u64)by) & mask;
    v->gpr[index] = mask == 0xffff ? (old & ~mask) | next : next;
}

/* The port is read when nothing can fault any more: to read it may change the device. */
static enum guest_access move_one(struct vmx_vcpu *v, u64 qualification, enum decode_segment segment, u64 offset)
{
    bool in = qualification & IO_IN;
    u8 size = IO_SIZE(qualification);
    u16 port = IO_PORT(qualification);
    struct guest_operand operand;
    enum guest_access access = guest_operand(v, segment, offset, size, in ? GVA_WRITE : GVA_READ, &operand);

    if (access != GUEST_ACCESS_OK)
        return access;
    if (in)
        guest_operand_write(v, &operand, vm_port_read(&v->base, port, size));
    else if (!vm_port_write(&v->base, port, size, (u32)guest_operand_read(v, &operand)))
        return GUEST_ACCESS_FAULT; /* or rather none: this iteration comes again */
    if (UNLIKELY(v->debug_used)) {
        vmx_points_note(v, operand.linear, size, in);
        vmx_points_note_port(v, qualification);
    }
    return GUEST_ACCESS_OK;
}

/*
 * The instruction has not ended: it goes on, or comes again. An instruction breakpoint at it has been taken; RF tells
 * the CPU so, and whoever handles an interrupt in between. SDM 3B 17.3.1.1 "Instruction-Breakpoint Exception Condition"
 */
static enum outcome go_on(void)
{
    vmcs_write(GUEST_RFLAGS, vmcs_read(GUEST_RFLAGS) | RFLAGS_RF);
    return OUTCOME_RESUME;
}

/*
 * The CPU has left all checks of the memory operand to us, and need not know its linear address. SDM 3C 25.1.1
 * "Relative Priority of Faults and VM Exits".
 */
static NOINLINE enum outcome string_exit(struct vmx_vcpu *v, u64 qualification)
{
    unsigned index = qualification & IO_IN ? GPR_RDI : GPR_RSI;
    u32 info = vmcs_read(EXIT_INSTRUCTION_INFO);
    u64 mask = address_mask(info);
    enum decode_segment segment = qualification & IO_IN ? DECODE_ES : INFO_SEGMENT(info);
    u64 rflags = vmcs_read(GUEST_RFLAGS);
    s64 step = rflags & RFLAGS_DF ? -(s64)IO_SIZE(qualification) : (s64)IO_SIZE(qualification);
    bool repeat = qualification & IO_REP;
    u64 start = cpu_tsc();

    for (u32 i = 0; i < STRING_BURST; i++) {
        if (repeat && !(v->gpr[GPR_RCX] & mask))
            return OUTCOME_SKIP;
        enum guest_access access = move_one(v, qualification, segment, v->gpr[index] & mask);
        if (access == GUEST_ACCESS_STOP) {
            vm_stop(v->base.vm, VM_STOP_UNSUPPORTED_INSTRUCTION, "what=\"string I/O through unreadable page tables\"");
            return OUTCOME_STOP;
        }
        if (access == GUEST_ACCESS_FAULT)
            return go_on();
        step_register(v, index, mask, step);
        if (!repeat)
            return OUTCOME_SKIP;
        step_register(v, GPR_RCX, mask, -1);
        if (UNLIKELY(rflags & v->end_flags) && v->gpr[GPR_RCX] & mask && vmx_points_finish_iteration(v))
            return OUTCOME_RESUME;
        if (v->base.requests || cpu_tsc() - start > STRING_BURST_TICKS)
            break;
    }
    return v->gpr[GPR_RCX] & mask ? go_on() : OUTCOME_SKIP;
}

/* What of RAX an IN leaves, by size in bytes (a 32-bit result clears the upper half: SDM 1 3.4.1.1). */
static const u64 kept_masks[] = {[1] = ~0xffull, [2] = ~0xffffull, [4] = 0};

static NOINLINE enum outcome in_exit(struct vmx_vcpu *v, u32 qualification)
{
    u8 size = IO_SIZE(qualification);
    u32 value = vm_port_read(&v->base, IO_PORT(qualification), size);

    v->gpr[GPR_RAX] = (v->gpr[GPR_RAX] & kept_masks[size]) | value;
    return OUTCOME_SKIP;
}

static NOINLINE enum outcome out_exit(struct vmx_vcpu *v, u32 qualification)
{
    u8 size = IO_SIZE(qualification);

    if (UNLIKELY(!vm_port_write(&v->base, IO_PORT(qualification), size, (u32)v->gpr[GPR_RAX])))
        return go_on();
    return OUTCOME_SKIP;
}

enum outcome vmx_io_exit(struct vmx_vcpu *v, struct trace_record *record)
{
    u32 qualification = (u32)vmcs_read(EXIT_QUALIFICATION); /* the upper half is not used */

    record->detail = qualification;
    if (UNLIKELY(qualification & IO_STRING))
        return string_exit(v, qualification);
    return qualification & IO_IN ? in_exit(v, qualification) : out_exit(v, qualification);
}
