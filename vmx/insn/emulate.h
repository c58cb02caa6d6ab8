/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Executes one decoded instruction (vmx/insn/decode.h) on a guest's registers, with memory behind callbacks. Pure: owns
 * no state.
 *
 * Invariant: registers and flags change only when all of the instruction's memory accesses have succeeded.
 * A locked or exchanging instruction reads and then writes; it is not atomic against other CPUs, as is usual for
 * devices.
 *
 * SDM 1 3.4.3.1 "Status Flags", SDM 2A to 2D for each instruction.
 */
#ifndef ROOTLET_VMX_INSN_EMULATE_H
#define ROOTLET_VMX_INSN_EMULATE_H

#include "vmx/insn/decode.h"

enum emulate_outcome {
    EMULATE_OK,
    EMULATE_JUMP,       /* done, and RIP is to become *env->target */
    EMULATE_FAULT,      /* a callback has recorded a fault to inject, or any other reason to run the guest again */
    EMULATE_UNSUPPORTED /* cannot be executed right here: the VM is to be stopped */
};

/*
 * `linear` may be misaligned and its `bytes` (1, 2, 4 or 8) may cross a page: the callback splits the access, and
 * checks that linear is canonical. In 64-bit mode linear is 64 bits wide, else 32. read sets the low `bytes` bytes of
 * *value; those above are ignored. write gets zeros above `bytes`.
 */
struct emulate_calls {
    enum emulate_outcome (*read)(void *context, u64 linear, u8 bytes, u64 *value);
    enum emulate_outcome (*write)(void *context, u64 linear, u8 bytes, u64 value);
    /*
     * All checks of an access that is to come: of its segment, of the address, of its pages. Called for operands that
     * the CPU may not have checked, since another of the same instruction caused the exit. `offset` has wrapped.
     */
    enum emulate_outcome (*check)(void *context, enum decode_segment segment, u64 offset, u8 bytes, bool write);
    /* Called only for a segment that takes part: in 64-bit mode FS and GS alone. */
    u64 (*segment_base)(void *context, enum decode_segment segment);
    /* The exception, with error code 0 if it has one; EMULATE_FAULT. */
    enum emulate_outcome (*raise)(void *context, u8 vector);
    /* CR0 as the guest reads it; the bytes of the stack pointer: 2, 4 or 8. */
    u64 (*cr0)(void *context);
    u8 (*stack_width)(void *context);
    /* Whether this CPU has TZCNT; LZCNT. */
    bool (*has_tzcnt)(void *context);
    bool (*has_lzcnt)(void *context);
    /* Whether a near branch may go there, else #GP. */
    enum emulate_outcome (*check_branch)(void *context, u64 rip);
    /* Whether instructions with XMM (YMM with VEX) registers are enabled, else #UD or #NM. */
    enum emulate_outcome (*check_vector)(void *context, bool vex);
    /* Register `index`: its 16 bytes, with VEX its 32 bytes. */
    void (*read_vector)(void *context, u8 index, bool vex, u64 value[4]);
    void (*write_vector)(void *context, u8 index, bool vex, const u64 value[4]);
};

struct emulate_env {
    const struct emulate_calls *calls;
    void *context;
    u64 *gpr; /* 16, in encoding order: rAX rCX rDX rBX rSP rBP rSI rDI R8..R15 */
    u64 *rflags;
    u64 rip; /* of the instruction */
    u64 *target;
};

/*
 * Executes the instruction, or one iteration of a repeated string instruction. On EMULATE_OK RIP is to move on by
 * *advance: the instruction's length, or 0 while iterations remain. On EMULATE_FAULT and EMULATE_UNSUPPORTED nothing
 * has changed but what callbacks did.
 *
 * The CPU has checked the access that caused the exit; those that it may not have come to go through check() first, in
 * the order of the instruction's accesses.
 */
enum emulate_outcome emulate_instruction(const struct emulate_env *env, const struct decode_insn *insn,
                                         u8 *advance) MUST_CHECK;

#endif
