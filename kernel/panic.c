/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a host bug. May begin anywhere: on any CPU, in an exception, on an interrupt stack, with locks held. So it
 * takes no lock, allocates nothing, and expects to fail itself: a second failure prints one line and switches off, a
 * third one halts. The first CPU to come owns the panic; others stop. Interrupts off.
 */
#include "kernel/panic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/mca.h"
#include "arch/x86/percpu.h"
#include "arch/x86/smp.h"
#include "arch/x86/traps.h"
#include "drivers/host/power.h"
#include "kernel/console.h"
#include "kernel/lib/format.h"
#include "kernel/symbols.h"

#define MAX_DEPTH  24u
#define LINE_BYTES 256u
#define NO_OWNER   (~0u)

static u32 owner = NO_OWNER; /* id of the CPU that panics */
static u32 failures;         /* how often the owner has come here */
static void (*print_epilogue)(void (*print)(const char *line));

static void print(const char *format, ...) PRINTF(1, 2);
static void print(const char *format, ...)
{
    static char line[LINE_BYTES]; /* the owner's alone */
    va_list arguments;

    va_start(arguments, format);
    size_t length = format_list(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[length++] = '\n';
    console_panic_write(line, length);
}

static void print_frame(u32 depth, u64 address)
{
    static struct symbol symbol; /* the owner's alone */
    /* A return address may lie just behind a function that ends in a call: look the call itself up. */
    u64 back = depth ? 1 : 0;

    if (symbols_find(address - back, &symbol))
        print("rootlet:   #%u 0x%016lx %s+0x%lx", depth, address, symbol.name, symbol.offset + back);
    else
        print("rootlet:   #%u 0x%016lx ?", depth, address);
}

/*
 * Follows the chain of frames while it stays on this CPU's stacks and its return addresses in the kernel's code.
 * `caller` is a return address that the chain does not have, or 0.
 */
static void print_backtrace(u64 rip, u64 caller, u64 rbp)
{
    u32 depth = 0;

    print_frame(depth++, rip);
    if (caller)
        print_frame(depth++, caller);
    while (!(rbp & 7) && percpu_stack_contains(cpu_local(), rbp, 16)) {
        const u64 *frame = (const u64 *)(uintptr_t)rbp;
        if (!symbols_is_code(frame[1] - 1))
            return;
        if (depth == MAX_DEPTH) {
            print("rootlet:   ...");
            return;
        }
        print_frame(depth++, frame[1]);
        rbp = frame[0];
    }
}

/* A call to where no code is faults before its target makes a frame: the return address is on top of the stack. */
static u64 caller_of_nowhere(const struct trap_frame *f)
{
    if (symbols_is_code(f->rip) || (f->rsp & 7) || !percpu_stack_contains(cpu_local(), f->rsp, 8))
        return 0;
    u64 caller = *(const u64 *)(uintptr_t)f->rsp;
    return symbols_is_code(caller - 1) ? caller : 0;
}

static void print_registers(const struct trap_frame *f)
{
    print("rootlet:   rax=%016lx rbx=%016lx rcx=%016lx rdx=%016lx", f->rax, f->rbx, f->rcx, f->rdx);
    print("rootlet:   rsi=%016lx rdi=%016lx rbp=%016lx rsp=%016lx", f->rsi, f->rdi, f->rbp, f->rsp);
    print("rootlet:   r8 =%016lx r9 =%016lx r10=%016lx r11=%016lx", f->r8, f->r9, f->r10, f->r11);
    print("rootlet:   r12=%016lx r13=%016lx r14=%016lx r15=%016lx", f->r12, f->r13, f->r14, f->r15);
    print("rootlet:   rip=%016lx cs=%04lx ss=%04lx rflags=%08lx", f->rip, f->cs, f->ss, f->rflags);
    print("rootlet:   cr0=%08lx cr2=%016lx cr3=%08lx cr4=%08lx", cr0_read(), cr2_read(), cr3_read(), cr4_read());
}

static void print_text(const char *text)
{
    print("rootlet: %s", text);
}

/* A broken machine breaks programs in odd ways, so errors that this CPU has noted are part of any panic. */
static void print_machine_checks(void)
{
    u32 banks = mca_bank_count();

    for (u32 bank = 0; bank < banks; bank++) {
        struct mca_error error;
        if (mca_read(bank, &error))
            print("rootlet:   machine check bank=%u status=0x%lx address=0x%lx misc=0x%lx", bank, error.status,
                  error.address, error.misc);
    }
}

static NORETURN void end(void)
{
    if (failures == 1)
        print_machine_checks();
    if (failures == 1 && print_epilogue)
        print_epilogue(print_text);
    print("rootlet: end status=fail");
    power_off();
}

/* Returns only on the first failure of the CPU that owns the panic. */
static void begin(const char *again)
{
    u32 nobody = NO_OWNER;

    cpu_interrupts_disable();
    if (!__atomic_compare_exchange_n(&owner, &nobody, cpu_id(), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
        nobody != cpu_id())
        smp_halt_forever();
    failures++;
    if (failures == 1) {
        if (smp_cpu_count() > 1)
            smp_stop_others_for_panic();
        return;
    }
    if (failures == 2) {
        print("rootlet: panic: again while panicking: %s", again);
        end();
    }
    smp_halt_forever();
}

NORETURN void panic(const char *format, ...)
{
    static char text[LINE_BYTES - 64];
    va_list arguments;

    begin(format);
    va_start(arguments, format);
    format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    print("rootlet: panic: %s cpu=%u", text, cpu_id());
    /* The call itself: the return address may be the next function's first byte, since this one does not return. */
    print_backtrace((u64)(uintptr_t)__builtin_return_address(0) - 1, 0, *(const u64 *)__builtin_frame_address(0));
    end();
}

static NORETURN void panic_from_trap(const struct trap_frame *frame)
{
    begin(traps_vector_name(frame->vector));
    if (frame->vector == VECTOR_PF)
        print("rootlet: panic: %s error=0x%lx address=0x%016lx cpu=%u", traps_vector_name(frame->vector),
              frame->error_code, cr2_read(), cpu_id());
    else
        print("rootlet: panic: %s error=0x%lx cpu=%u", traps_vector_name(frame->vector), frame->error_code, cpu_id());
    print_registers(frame);
    print_backtrace(frame->rip, caller_of_nowhere(frame), frame->rbp);
    end();
}

void panic_set_epilogue(void (*epilogue)(void (*print)(const char *line)))
{
    print_epilogue = epilogue;
}

void panic_init(void)
{
    traps_set_fatal_handler(panic_from_trap);
    traps_set_nmi_handler(smp_handle_nmi);
}
