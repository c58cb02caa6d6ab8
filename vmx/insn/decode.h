/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Decodes the instructions that access device memory, by an operand or as their stack. An EPT violation gives an
 * address but no instruction length, so the bytes at RIP are decoded here and vmx/insn/emulate.c executes the result.
 * Pure: takes bytes, returns a description; no allocation, no state. What is not in the tables is refused, never
 * guessed. SDM 2A 2.1 "Instruction Format for Protected Mode, Real-address Mode, and Virtual-8086 Mode", 2A 2.2.1 "REX
 * Prefixes", 2.3 "Intel Advanced Vector Extensions (Intel AVX)", SDM 2D appendix A "Opcode Map".
 */
#ifndef ROOTLET_VMX_INSN_DECODE_H
#define ROOTLET_VMX_INSN_DECODE_H

#include "kernel/lib/status.h"
#include "kernel/lib/types.h"

#define DECODE_MAX_BYTES 15u

/* The default operand and address size of the code segment: real and virtual-8086 mode are DECODE_16. */
enum decode_mode { DECODE_16, DECODE_32, DECODE_64 };

enum decode_operation {
    /* In the opcode map's order: opcode bits 5:3, and the reg field of 80, 81 and 83. */
    DECODE_ADD,
    DECODE_OR,
    DECODE_ADC,
    DECODE_SBB,
    DECODE_AND,
    DECODE_SUB,
    DECODE_XOR,
    DECODE_CMP,
    DECODE_MOV,
    DECODE_MOVZX,
    DECODE_MOVSX, /* MOVSXD too */
    DECODE_TEST,
    DECODE_NOT,
    DECODE_NEG,
    DECODE_INC,
    DECODE_DEC,
    DECODE_ROL, /* to SAR in the order of the reg field of C0, C1 and D0 to D3 */
    DECODE_ROR,
    DECODE_RCL,
    DECODE_RCR,
    DECODE_SHL,
    DECODE_SHR,
    DECODE_SAR,
    DECODE_SHLD,
    DECODE_SHRD,
    DECODE_XCHG,
    DECODE_CMPXCHG,
    DECODE_CMPXCHG_PAIR, /* CMPXCHG8B, CMPXCHG16B */
    DECODE_XADD,
    DECODE_BT,
    DECODE_BTS,
    DECODE_BTR,
    DECODE_BTC,
    DECODE_SETCC,
    DECODE_CMOVCC,
    DECODE_MUL,
    DECODE_IMUL,
    DECODE_DIV,
    DECODE_IDIV,
    DECODE_POPCNT,
    DECODE_BSF,
    DECODE_BSR,
    DECODE_TZCNT, /* this and the next: BSF and BSR on a CPU that does not know them */
    DECODE_LZCNT,
    DECODE_MOVBE,
    DECODE_FLUSH, /* CLFLUSH, CLFLUSHOPT, CLWB */
    DECODE_SMSW,
    DECODE_VECTOR, /* moves between memory and an XMM or YMM register */
    DECODE_PUSH,
    DECODE_POP,
    DECODE_CALL, /* near, as the following two */
    DECODE_JMP,
    DECODE_RET,
    DECODE_LEAVE,
    DECODE_MOVS,
    DECODE_CMPS,
    DECODE_STOS,
    DECODE_LODS,
    DECODE_SCAS
};

/* The operands, destination first. The stack is none of them: PUSH to LEAVE use it besides. */
enum decode_form {
    DECODE_MEMORY_REGISTER,
    DECODE_REGISTER_MEMORY,
    DECODE_MEMORY_IMMEDIATE,
    DECODE_REGISTER_MEMORY_IMMEDIATE, /* IMUL */
    DECODE_MEMORY_CL,                 /* shifts and rotates; SHLD and SHRD have a register besides */
    DECODE_MEMORY,                    /* of a shift or rotate: by one */
    DECODE_REGISTER,                  /* PUSH, POP, CALL */
    DECODE_IMMEDIATE,                 /* PUSH, CALL (relative), RET (bytes to drop), LEAVE (0) */
    DECODE_STRING /* source segment:rSI, destination ES:rDI, accumulator, as the operation has them */
};

/* In the order of segment register encodings. */
enum decode_segment { DECODE_ES, DECODE_CS, DECODE_SS, DECODE_DS, DECODE_FS, DECODE_GS };

enum decode_repeat { DECODE_REPEAT_NONE, DECODE_REPNE, DECODE_REP };

/* struct decode_insn.vector, flags */
enum decode_vector {
    DECODE_VEX = 1,
    DECODE_ALIGNED = 2, /* to the operand's width, else #GP */
    DECODE_MERGES = 4,  /* what is not loaded comes from the register `second`; else it becomes 0 */
    DECODE_HIGH = 8     /* the operand is at byte 8 of the register; immediate 1: it is at byte 16 */
};

#define DECODE_NO_REGISTER  0xffu
#define DECODE_REGISTER_RIP 0xfeu /* as a base only: the address of the next instruction */

/* Registers are numbered as encoded: rAX rCX rDX rBX rSP rBP rSI rDI R8..R15. */
struct decode_insn {
    u8 mode;      /* enum decode_mode that it was decoded in */
    u8 length;    /* bytes */
    u8 operation; /* enum decode_operation */
    u8 form;      /* enum decode_form */
    /* Of the memory operand, and of what is on the stack, in bytes: 1, 2, 4, 8; DECODE_VECTOR: to 32, _PAIR: to 16 */
    u8 width;
    u8 register_width; /* of the register operand in bytes: differs from width in MOVZX, MOVSX and DECODE_VECTOR */
    u8 register_index; /* the register operand */
    bool high_byte;    /* the register operand is bits 15:8 of register_index (AH, CH, DH, BH) */
    u8 segment;        /* enum decode_segment; of the memory operand, or of a string's source */
    u8 base;
    u8 index;
    u8 scale;         /* the index register is shifted left by this: 0 to 3 */
    u8 address_width; /* bytes: 2, 4 or 8 */
    bool lock;
    union {
        u8 repeat; /* enum decode_repeat; meaningful for DECODE_STRING only */
        u8 vector; /* of DECODE_VECTOR */
    };
    union {
        u8 condition; /* of SETCC and CMOVCC: the opcode's low four bits */
        u8 second;    /* of DECODE_VECTOR */
    };
    u64 displacement; /* sign-extended; for an absolute offset (A0-A3) zero-extended */
    u64 immediate;    /* sign-extended, but RET's; 0 if the instruction has none */
};

/*
 * Decodes the instruction at bytes[0..count). *out is meaningful only for STATUS_OK.
 *   STATUS_TRUNCATED    more than `count` bytes are needed; never with count >= DECODE_MAX_BYTES
 *   STATUS_UNSUPPORTED  not among the operations above, or without an access to memory
 *   STATUS_INVALID      the CPU would refuse it: LOCK where it is not allowed, an undefined encoding (#UD), or more
 * than DECODE_MAX_BYTES (#GP)
 */
enum status decode_instruction(const u8 *bytes, size_t count, enum decode_mode mode,
                               struct decode_insn *out) MUST_CHECK;

#endif
