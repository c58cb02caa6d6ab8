/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's backtrace by frame pointers, through its own page tables. Everything in it is the guest's word: a frame is
 * taken only if it lies above the last one and returns into a function of the boot image. Only reads guest memory.
 */
#include "vmx/report/backtrace.h"
#include "arch/x86/cpu.h"
#include "kernel/vm/symbols.h"
#include "kernel/lib/format.h"
#include "kernel/log.h"
#include "vmx/insn/guest.h"

#define MAX_CALLERS 8u

static bool find(const struct vmx_vcpu *v, u64 address, struct guest_symbol *out)
{
    struct vm *vm = v->base.vm;

    return guest_symbols_find(&vm->boot_image, address, &vm->symbol_steps, out);
}

void guest_backtrace_name(const struct vmx_vcpu *v, u64 address, char out[GUEST_BACKTRACE_WHERE_BYTES])
{
    struct guest_symbol symbol;

    out[0] = 0;
    if (find(v, address, &symbol))
        format_text(out, GUEST_BACKTRACE_WHERE_BYTES, " function=%s+0x%lx", symbol.name, symbol.offset);
}

/* After a CALL to nowhere: it has left its return address on top of the stack. */
static bool find_caller(struct vmx_vcpu *v, u8 bytes, u64 *caller, struct guest_symbol *out)
{
    u64 stack = vmcs_read(GUEST_RSP);

    if (bytes != 8)
        stack = (u32)(vmcs_read(GUEST_SS_BASE) + stack);
    if (stack % bytes || !guest_peek(v, stack, bytes, caller) || !find(v, *caller - 1, out))
        return false;
    out->offset++;
    return true;
}

/* Of code whose frames are known; 0: 16-bit code keeps no such chain. */
static u8 frame_bytes(const struct vmx_vcpu *v)
{
    if (guest_is_code64(v))
        return 8;
    return vmcs_read(GUEST_CS_ACCESS) & SEGMENT_BIG ? 4 : 0;
}

void guest_backtrace_where(struct vmx_vcpu *v, char out[GUEST_BACKTRACE_WHERE_BYTES])
{
    u8 bytes = frame_bytes(v);
    struct guest_symbol symbol;
    u64 caller;

    guest_backtrace_name(v, guest_linear_rip(v), out);
    if (!out[0] && bytes && find_caller(v, bytes, &caller, &symbol))
        format_text(out, GUEST_BACKTRACE_WHERE_BYTES, " caller=%s+0x%lx", symbol.name, symbol.offset);
}

static void print_frame(const struct vmx_vcpu *v, u32 depth, u64 address, const struct guest_symbol *symbol)
{
    log_event("vm frame name=%s vcpu=%u depth=%u address=0x%lx function=%s+0x%lx", v->base.vm->spec.name, v->base.index,
              depth, address, symbol->name, symbol->offset);
}

void guest_backtrace_print(struct vmx_vcpu *v)
{
    u8 bytes = frame_bytes(v);
    u64 address = guest_linear_rip(v);
    struct guest_symbol symbol;
    u32 depth = 0;

    if (!bytes)
        return;
    if (!find(v, address, &symbol)) {
        if (!find_caller(v, bytes, &address, &symbol))
            return;
        depth = 1;
    }
    u64 frame = v->gpr[GPR_RBP] & bits_mask_of_bytes(bytes);
    print_frame(v, depth, address, &symbol);
    while (++depth <= MAX_CALLERS) {
        u64 next, caller;
        if (frame % bytes || !guest_peek(v, frame, bytes, &next) || !guest_peek(v, frame + bytes, bytes, &caller))
            return;
        /* A return address may lie just behind a function that ends in a call: the call itself is looked up. */
        if (!find(v, caller - 1, &symbol))
            return;
        symbol.offset++;
        print_frame(v, depth, caller, &symbol);
        if (next <= frame)
            return;
        frame = next;
    }
}
