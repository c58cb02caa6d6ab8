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

void guest_backtrace_where(struct vmx_vcpu *v, char out[GUEST_BACKTRACE_WHERE_BYTES])
{
    guest_backtrace_name(v, guest_linear_rip(v), out);
}

static void print_frame(const struct vmx_vcpu *v, u32 depth, u64 address, const struct guest_symbol *symbol)
{
    log_event("vm frame name=%s vcpu=%u depth=%u address=0x%lx function=%s+0x%lx", v->base.vm->spec.name, v->base.index,
              depth, address, symbol->name, symbol->offset);
}

void guest_backtrace_print(struct vmx_vcpu *v)
{
    bool code64 = guest_is_code64(v);
    u8 bytes = code64 ? 8 : 4;
    u64 frame = v->gpr[GPR_RBP] & bits_mask_of_bytes(bytes);
    struct guest_symbol symbol;

    /* 16-bit code keeps no such chain. */
    if (!(code64 || vmcs_read(GUEST_CS_ACCESS) & SEGMENT_BIG) || !find(v, guest_linear_rip(v), &symbol))
        return;
    print_frame(v, 0, guest_linear_rip(v), &symbol);
    for (u32 depth = 1; depth <= MAX_CALLERS; depth++) {
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
