/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exceptions and NMIs that the host takes. The only exceptions that are repaired are those of instructions listed in
 * the fixups section (RDMSR and WRMSR of MSRs that may not exist); all others go to the fatal handler, which
 * kernel/panic.c sets. Interrupts are off; the NMI handler may find any lock held. SDM 3A 6.15 "Exception and Interrupt
 * Reference", 6.7 "Nonmaskable Interrupt (NMI)".
 */
#include "arch/x86/traps.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "kernel/lib/string.h"

/* Both are distances from the field itself. */
struct fixup {
    s32 instruction;
    s32 resume;
};

extern const struct fixup fixups_start[], fixups_end[];
void trap_handle(struct trap_frame *frame);
void trap_handle_nmi(void);

static void (*fatal_handler)(const struct trap_frame *frame);
static void (*nmi_handler)(void);

void traps_set_fatal_handler(void (*handler)(const struct trap_frame *frame))
{
    fatal_handler = handler;
}

void traps_set_nmi_handler(void (*handler)(void))
{
    nmi_handler = handler;
}

static u64 fixup_target(const s32 *distance)
{
    return (u64)(uintptr_t)distance + (u64)(s64)*distance;
}

static bool repair(struct trap_frame *frame)
{
    if (frame->vector != VECTOR_GP)
        return false;
    for (const struct fixup *f = fixups_start; f < fixups_end; f++) {
        if (fixup_target(&f->instruction) == frame->rip) {
            frame->rip = fixup_target(&f->resume);
            return true;
        }
    }
    return false;
}

void trap_handle(struct trap_frame *frame)
{
    if (repair(frame))
        return;
    if (fatal_handler)
        fatal_handler(frame);
    for (;;)
        asm volatile("cli; hlt");
}

void trap_handle_nmi(void)
{
    if (nmi_handler)
        nmi_handler();
}

#define FIXUP(instruction, resume)                                                                                     \
    ".pushsection .fixups, \"a\"\n\t.long " instruction " - .\n\t.long " resume " - .\n\t.popsection\n\t"

bool msr_read_safe(u32 index, u64 *value)
{
    u32 low, high, fault;
    asm volatile("movl $1, %[fault]\n"
                 "1:\trdmsr\n\t"
                 "xorl %[fault], %[fault]\n"
                 "2:\n\t" FIXUP("1b", "2b")
                 : "=a"(low), "=d"(high), [fault] "=&r"(fault)
                 : "c"(index));
    if (fault)
        return false;
    *value = (u64)high << 32 | low;
    return true;
}

bool msr_write_safe(u32 index, u64 value)
{
    u32 fault;
    asm volatile("movl $1, %[fault]\n"
                 "1:\twrmsr\n\t"
                 "xorl %[fault], %[fault]\n"
                 "2:\n\t" FIXUP("1b", "2b")
                 : [fault] "=&r"(fault)
                 : "c"(index), "a"((u32)value), "d"((u32)(value >> 32))
                 : "memory");
    return !fault;
}

const char *traps_vector_name(u64 vector)
{
    static const char *const names[] = {
        "#DE divide error",
        "#DB debug exception",
        "NMI",
        "#BP breakpoint",
        "#OF overflow",
        "#BR bound range exceeded",
        "#UD invalid opcode",
        "#NM device not available",
        "#DF double fault",
        "coprocessor segment overrun",
        "#TS invalid TSS",
        "#NP segment not present",
        "#SS stack-segment fault",
        "#GP general protection",
        "#PF page fault",
        "reserved exception 15",
        "#MF x87 floating-point error",
        "#AC alignment check",
        "#MC machine check",
        "#XM SIMD floating-point exception",
        "#VE virtualization exception",
        "#CP control protection exception",
    };
    if (vector < ARRAY_SIZE(names))
        return names[vector];
    return vector < 32 ? "reserved exception" : "interrupt";
}

/* What traps_provoke breaks its rules with. */
static const u32 read_only_word = 0x1234;
static u8 data_with_code[] ALIGNED(16) = {0xc3}; /* RET */

/* Deeper and deeper; the volatile array keeps the compiler from making a loop of it. */
static u64 overflow_stack(u64 depth) /* NOLINT: endless on purpose */
{
    volatile u64 fill[64];
    fill[depth % ARRAY_SIZE(fill)] = depth;
    if (depth == ~0ull)
        return 0;
    return overflow_stack(depth + 1) + fill[depth % ARRAY_SIZE(fill)];
}

bool traps_provoke(const char *kind)
{
    if (string_equal(kind, "ud")) {
        asm volatile("ud2");
    } else if (string_equal(kind, "pf")) {
        volatile u64 *nowhere = NULL;
        asm volatile("" : "+r"(nowhere));
        *nowhere = 1;
    } else if (string_equal(kind, "nx")) {
        void (*code)(void) = (void (*)(void))(uintptr_t)data_with_code;
        asm volatile("" : "+r"(code));
        code();
    } else if (string_equal(kind, "wp")) {
        volatile u32 *word = (volatile u32 *)(uintptr_t)&read_only_word;
        asm volatile("" : "+r"(word));
        *word = 1;
    } else if (string_equal(kind, "alias")) {
        volatile u32 *word = phys_to_virt(virt_to_phys(&read_only_word));
        *word = 1;
    } else if (string_equal(kind, "stack")) {
        return overflow_stack(0) == 1;
    } else if (string_equal(kind, "nmi")) {
        asm volatile("int $2");
        return true;
    }
    return false;
}
