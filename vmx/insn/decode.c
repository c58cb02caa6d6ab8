/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoder: one pass, one table row per opcode. Prefixes, opcode row (through a group table where ModRM.reg extends
 * the opcode), ModRM and SIB, displacement, immediate. Runs on the exit path of an MMIO access: no loop but the
 * prefixes'. Invariant: no byte at or beyond the limit (count, and never more than 15) is read. SDM 2A 2.1.5
 * "Addressing-Mode Encoding of ModR/M and SIB Bytes", SDM 2D A.4 "Opcode Extensions for One-Byte and Two-byte Opcodes".
 */
#include "vmx/insn/decode.h"

enum row_flag {
    BYTE_WIDTH = 1u << 0, /* the operand is one byte; else its size follows from mode, 66 and REX.W */
    MODRM = 1u << 1,
    IMMEDIATE_8 = 1u << 2, /* one byte, sign-extended */
    IMMEDIATE = 1u << 3,   /* as wide as the operand, at most four bytes */
    ABSOLUTE = 1u << 4,    /* an address-wide offset follows the opcode; the register is the accumulator */
    IMPLIED = 1u << 5,     /* string instruction: all operands are implied */
    LOCKABLE = 1u << 6,
    FROM_BYTE = 1u << 7, /* the memory operand's own width */
    FROM_WORD = 1u << 8,
    FROM_DWORD = 1u << 9,
    GROUP = 1u << 10, /* `operation` is a row of groups[]; ModRM.reg selects within it */
    PREFIX = 1u << 11,
    SPECIAL = 1u << 12,   /* take_opcode looks at the byte itself; all prefixes, and few others */
    UNDEFINED = 1u << 13, /* a memory operand here raises #UD */
    PREFIXED = 1u << 14,  /* 66, F2 and F3 make another instruction of it: check_prefixes() */
    STACK = 1u << 15      /* the operand is as wide as what the stack or RIP holds: stack_width() */
};

/* Together, for one of two bytes without a sign. */
#define IMMEDIATE_16 (IMMEDIATE | IMMEDIATE_8)

struct row {
    u8 operation;
    u8 form;
    u16 flags; /* 0: unsupported */
};

enum group {
    GROUP_ALU,
    GROUP_UNARY,
    GROUP_FE,
    GROUP_FF,
    GROUP_MOV,
    GROUP_BIT,
    GROUP_FLUSH,
    GROUP_POP,
    GROUP_SMSW,
    GROUP_PAIR,
    GROUP_SHIFT,
    GROUP_SHIFT_1,
    GROUP_SHIFT_CL,
    GROUPS
};

#define MR DECODE_MEMORY_REGISTER
#define RM DECODE_REGISTER_MEMORY
#define MI DECODE_MEMORY_IMMEDIATE
#define MC DECODE_MEMORY_CL
#define M  DECODE_MEMORY

#define ROW(opcode, operation, form, flags)           [opcode] = {operation, form, flags}
#define GROUP_ROW(group, reg, operation, form, flags) [group][reg] = {operation, form, flags}
/* A byte row and a word/dword/qword row, at opcode n and n + 1. */
#define PAIR(n, operation, form, flags)                                                                                \
    ROW(n, operation, form, (flags) | BYTE_WIDTH), ROW((n) + 1, operation, form, flags)
#define ALU(n, operation, lockable) PAIR(n, operation, MR, MODRM | (lockable)), PAIR((n) + 2, operation, RM, MODRM)

static const struct row one_byte[256] = {
    ALU(0x00, DECODE_ADD, LOCKABLE),
    ALU(0x08, DECODE_OR, LOCKABLE),
    ROW(0x0f, 0, 0, SPECIAL),
    ALU(0x10, DECODE_ADC, LOCKABLE),
    ALU(0x18, DECODE_SBB, LOCKABLE),
    ALU(0x20, DECODE_AND, LOCKABLE),
    ALU(0x28, DECODE_SUB, LOCKABLE),
    ALU(0x30, DECODE_XOR, LOCKABLE),
    ALU(0x38, DECODE_CMP, 0),
    ROW(0x26, 0, 0, PREFIX | SPECIAL),
    ROW(0x2e, 0, 0, PREFIX | SPECIAL),
    ROW(0x36, 0, 0, PREFIX | SPECIAL),
    ROW(0x3e, 0, 0, PREFIX | SPECIAL),
    ROW(0x40 ... 0x4f, 0, 0, PREFIX | SPECIAL), /* REX; outside 64-bit mode INC and DEC of a register */
    ROW(0x50 ... 0x57, DECODE_PUSH, DECODE_REGISTER, IMPLIED | STACK),
    ROW(0x58 ... 0x5f, DECODE_POP, DECODE_REGISTER, IMPLIED | STACK),
    ROW(0x63, DECODE_MOVSX, RM, MODRM | FROM_DWORD | SPECIAL),
    ROW(0x64 ... 0x67, 0, 0, PREFIX | SPECIAL),
    ROW(0x68, DECODE_PUSH, DECODE_IMMEDIATE, IMPLIED | STACK | IMMEDIATE),
    ROW(0x69, DECODE_IMUL, DECODE_REGISTER_MEMORY_IMMEDIATE, MODRM | IMMEDIATE),
    ROW(0x6a, DECODE_PUSH, DECODE_IMMEDIATE, IMPLIED | STACK | IMMEDIATE_8),
    ROW(0x6b, DECODE_IMUL, DECODE_REGISTER_MEMORY_IMMEDIATE, MODRM | IMMEDIATE_8),
    ROW(0x80, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE_8 | BYTE_WIDTH),
    ROW(0x81, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE),
    ROW(0x82, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE_8 | BYTE_WIDTH | SPECIAL),
    ROW(0x83, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE_8),
    PAIR(0x84, DECODE_TEST, MR, MODRM),
    PAIR(0x86, DECODE_XCHG, MR, MODRM | LOCKABLE),
    PAIR(0x88, DECODE_MOV, MR, MODRM),
    PAIR(0x8a, DECODE_MOV, RM, MODRM),
    ROW(0x8f, GROUP_POP, M, GROUP | MODRM),
    PAIR(0xa0, DECODE_MOV, RM, ABSOLUTE),
    PAIR(0xa2, DECODE_MOV, MR, ABSOLUTE),
    PAIR(0xa4, DECODE_MOVS, DECODE_STRING, IMPLIED),
    PAIR(0xa6, DECODE_CMPS, DECODE_STRING, IMPLIED),
    PAIR(0xaa, DECODE_STOS, DECODE_STRING, IMPLIED),
    PAIR(0xac, DECODE_LODS, DECODE_STRING, IMPLIED),
    PAIR(0xae, DECODE_SCAS, DECODE_STRING, IMPLIED),
    PAIR(0xc0, GROUP_SHIFT, MI, GROUP | MODRM | IMMEDIATE_8),
    ROW(0xc2, DECODE_RET, DECODE_IMMEDIATE, IMPLIED | STACK | IMMEDIATE_16),
    ROW(0xc3, DECODE_RET, DECODE_IMMEDIATE, IMPLIED | STACK),
    ROW(0xc4 ... 0xc5, 0, 0, SPECIAL), /* VEX */
    PAIR(0xc6, GROUP_MOV, MI, GROUP | MODRM | IMMEDIATE),
    ROW(0xc9, DECODE_LEAVE, DECODE_IMMEDIATE, IMPLIED | STACK),
    PAIR(0xd0, GROUP_SHIFT_1, M, GROUP | MODRM),
    PAIR(0xd2, GROUP_SHIFT_CL, MC, GROUP | MODRM),
    ROW(0xe8, DECODE_CALL, DECODE_IMMEDIATE, IMPLIED | STACK | IMMEDIATE),
    ROW(0xf0, 0, 0, PREFIX | SPECIAL),
    ROW(0xf2 ... 0xf3, 0, 0, PREFIX | SPECIAL),
    PAIR(0xf6, GROUP_UNARY, M, GROUP | MODRM),
    ROW(0xfe, GROUP_FE, M, GROUP | MODRM | BYTE_WIDTH),
    ROW(0xff, GROUP_FF, M, GROUP | MODRM),
};

#define VECTOR(opcode, form) ROW(opcode, DECODE_VECTOR, form, MODRM | PREFIXED)

static const struct row two_byte[256] = {
    ROW(0x01, GROUP_SMSW, M, GROUP | MODRM | FROM_WORD),
    VECTOR(0x10, RM),
    VECTOR(0x11, MR),
    VECTOR(0x12, RM),
    VECTOR(0x13, MR),
    VECTOR(0x16, RM),
    VECTOR(0x17, MR),
    VECTOR(0x28, RM),
    VECTOR(0x29, MR),
    VECTOR(0x2b, MR),
    ROW(0x40 ... 0x4f, DECODE_CMOVCC, RM, MODRM),
    VECTOR(0x6e ... 0x6f, RM),
    VECTOR(0x7e ... 0x7f, MR),
    ROW(0x90 ... 0x9f, DECODE_SETCC, M, MODRM | BYTE_WIDTH),
    ROW(0xa3, DECODE_BT, MR, MODRM),
    ROW(0xa4, DECODE_SHLD, MR, MODRM | IMMEDIATE_8),
    ROW(0xa5, DECODE_SHLD, MC, MODRM),
    ROW(0xab, DECODE_BTS, MR, MODRM | LOCKABLE),
    ROW(0xac, DECODE_SHRD, MR, MODRM | IMMEDIATE_8),
    ROW(0xad, DECODE_SHRD, MC, MODRM),
    ROW(0xaf, DECODE_IMUL, RM, MODRM),
    PAIR(0xb0, DECODE_CMPXCHG, MR, MODRM | LOCKABLE),
    ROW(0xb3, DECODE_BTR, MR, MODRM | LOCKABLE),
    ROW(0xb6, DECODE_MOVZX, RM, MODRM | FROM_BYTE),
    ROW(0xb7, DECODE_MOVZX, RM, MODRM | FROM_WORD),
    ROW(0xba, GROUP_BIT, MI, GROUP | MODRM | IMMEDIATE_8),
    ROW(0xbb, DECODE_BTC, MR, MODRM | LOCKABLE),
    ROW(0xbc, DECODE_BSF, RM, MODRM),
    ROW(0xbd, DECODE_BSR, RM, MODRM),
    ROW(0xbe, DECODE_MOVSX, RM, MODRM | FROM_BYTE),
    ROW(0xbf, DECODE_MOVSX, RM, MODRM | FROM_WORD),
    ROW(0xae, GROUP_FLUSH, M, GROUP | MODRM | BYTE_WIDTH),
    PAIR(0xc0, DECODE_XADD, MR, MODRM | LOCKABLE),
    ROW(0xc3, DECODE_MOV, MR, MODRM | PREFIXED), /* MOVNTI */
    ROW(0xc7, GROUP_PAIR, M, GROUP | MODRM),
    VECTOR(0xd6, MR),
    VECTOR(0xe7, MR),
    VECTOR(0xf0, RM),
};

/* Behind F3 and 0F: B8 to BD, where that is another instruction. */
static const struct row counts[6] = {
    ROW(0, DECODE_POPCNT, RM, MODRM),
    ROW(4, DECODE_TZCNT, RM, MODRM),
    ROW(5, DECODE_LZCNT, RM, MODRM),
};

/* Behind 0F 38. */
static const struct row movbe[2] = {
    ROW(0, DECODE_MOVBE, RM, MODRM | PREFIXED),
    ROW(1, DECODE_MOVBE, MR, MODRM | PREFIXED),
};

/* 0F 38 2A, and 0F 3A with VEX: 18 and 38, 19 and 39. */
static const struct row vector_38 = {DECODE_VECTOR, RM, MODRM | PREFIXED};
static const struct row vector_3a[2] = {
    ROW(0, DECODE_VECTOR, RM, MODRM | PREFIXED | IMMEDIATE_8),
    ROW(1, DECODE_VECTOR, MR, MODRM | PREFIXED | IMMEDIATE_8),
};

/*
 * What a prefix makes of an opcode of DECODE_VECTOR; the rows that are missing are other instructions. SDM 2D A.3
 * "Opcode Maps", and each instruction's page. The opcode's row in its map, which has MODRM, is not enough.
 */
enum vector_prefix { NP, P66, PF3, PF2 };
#define FULL  0u    /* width: the register's */
#define W_BIT 1u    /* width: 4, or 8 with W */
#define ONE   0x10u /* VEX.L must be 0 */
#define TWO   0x20u /* VEX.L must be 1, and W 0 */
#define AGAIN 0x40u /* VEX.vvvv names a register, DECODE_MERGES */
#define LOADS 0x80u /* to the register, unlike the opcode's row */
#define OTHER (AGAIN | DECODE_MERGES)
static const struct vector_row {
    u8 map; /* 1: 0F, 2: 0F 38, 3: 0F 3A */
    u8 opcode;
    u8 prefix;
    u8 width;
    u8 flags; /* enum decode_vector, and the above */
} vector_rows[] = {
    {1, 0x10, NP,  FULL,  0                        },
    {1, 0x10, P66, FULL,  0                        },
    {1, 0x10, PF3, 4,     0                        },
    {1, 0x10, PF2, 8,     0                        },
    {1, 0x11, NP,  FULL,  0                        },
    {1, 0x11, P66, FULL,  0                        },
    {1, 0x11, PF3, 4,     0                        },
    {1, 0x11, PF2, 8,     0                        },
    {1, 0x12, NP,  8,     OTHER | ONE              },
    {1, 0x12, P66, 8,     OTHER | ONE              },
    {1, 0x13, NP,  8,     ONE                      },
    {1, 0x13, P66, 8,     ONE                      },
    {1, 0x16, NP,  8,     OTHER | ONE | DECODE_HIGH},
    {1, 0x16, P66, 8,     OTHER | ONE | DECODE_HIGH},
    {1, 0x17, NP,  8,     ONE | DECODE_HIGH        },
    {1, 0x17, P66, 8,     ONE | DECODE_HIGH        },
    {1, 0x28, NP,  FULL,  DECODE_ALIGNED           },
    {1, 0x28, P66, FULL,  DECODE_ALIGNED           },
    {1, 0x29, NP,  FULL,  DECODE_ALIGNED           },
    {1, 0x29, P66, FULL,  DECODE_ALIGNED           },
    {1, 0x2b, NP,  FULL,  DECODE_ALIGNED           },
    {1, 0x2b, P66, FULL,  DECODE_ALIGNED           },
    {1, 0x6e, P66, W_BIT, ONE                      },
    {1, 0x6f, P66, FULL,  DECODE_ALIGNED           },
    {1, 0x6f, PF3, FULL,  0                        },
    {1, 0x7e, P66, W_BIT, ONE                      },
    {1, 0x7e, PF3, 8,     ONE | LOADS              },
    {1, 0x7f, P66, FULL,  DECODE_ALIGNED           },
    {1, 0x7f, PF3, FULL,  0                        },
    {1, 0xd6, P66, 8,     ONE                      },
    {1, 0xe7, P66, FULL,  DECODE_ALIGNED           },
    {1, 0xf0, PF2, FULL,  0                        },
    {2, 0x2a, P66, FULL,  DECODE_ALIGNED           },
    {3, 0x18, P66, 16,    OTHER | TWO              },
    {3, 0x19, P66, 16,    TWO                      },
    {3, 0x38, P66, 16,    OTHER | TWO              },
    {3, 0x39, P66, 16,    TWO                      },
};

/* The opcode map leaves reg 6 blank; every CPU runs it as SHL. */
#define SHIFTS(group, form)                                                                                            \
    GROUP_ROW(group, 0, DECODE_ROL, form, MODRM), GROUP_ROW(group, 1, DECODE_ROR, form, MODRM),                        \
        GROUP_ROW(group, 2, DECODE_RCL, form, MODRM), GROUP_ROW(group, 3, DECODE_RCR, form, MODRM),                    \
        GROUP_ROW(group, 4, DECODE_SHL, form, MODRM), GROUP_ROW(group, 5, DECODE_SHR, form, MODRM),                    \
        GROUP_ROW(group, 6, DECODE_SHL, form, MODRM), GROUP_ROW(group, 7, DECODE_SAR, form, MODRM)

/* The flags of a row here are added to the opcode's. Only supported rows carry MODRM: the others are all zeroes. */
static const struct row groups[GROUPS][8] = {
    GROUP_ROW(GROUP_ALU, 0, DECODE_ADD, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 1, DECODE_OR, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 2, DECODE_ADC, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 3, DECODE_SBB, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 4, DECODE_AND, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 5, DECODE_SUB, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 6, DECODE_XOR, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 7, DECODE_CMP, MI, MODRM),
    /* The opcode map leaves reg 1 blank; every CPU runs it as TEST. */
    GROUP_ROW(GROUP_UNARY, 0 ... 1, DECODE_TEST, MI, MODRM | IMMEDIATE),
    GROUP_ROW(GROUP_UNARY, 2, DECODE_NOT, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_UNARY, 3, DECODE_NEG, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_UNARY, 4, DECODE_MUL, M, MODRM),
    GROUP_ROW(GROUP_UNARY, 5, DECODE_IMUL, M, MODRM),
    GROUP_ROW(GROUP_UNARY, 6, DECODE_DIV, M, MODRM),
    GROUP_ROW(GROUP_UNARY, 7, DECODE_IDIV, M, MODRM),
    GROUP_ROW(GROUP_FE, 0, DECODE_INC, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FE, 1, DECODE_DEC, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FE, 2 ... 7, 0, 0, UNDEFINED),
    GROUP_ROW(GROUP_FF, 0, DECODE_INC, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FF, 1, DECODE_DEC, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FF, 2, DECODE_CALL, M, MODRM | STACK),
    GROUP_ROW(GROUP_FF, 4, DECODE_JMP, M, MODRM | STACK),
    GROUP_ROW(GROUP_FF, 6, DECODE_PUSH, M, MODRM | STACK),
    GROUP_ROW(GROUP_FF, 7, 0, 0, UNDEFINED),
    GROUP_ROW(GROUP_MOV, 0, DECODE_MOV, MI, MODRM),
    GROUP_ROW(GROUP_MOV, 1 ... 7, 0, 0, UNDEFINED),
    GROUP_ROW(GROUP_BIT, 0 ... 3, 0, 0, UNDEFINED),
    GROUP_ROW(GROUP_BIT, 4, DECODE_BT, MI, MODRM),
    GROUP_ROW(GROUP_BIT, 5, DECODE_BTS, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_BIT, 6, DECODE_BTR, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_BIT, 7, DECODE_BTC, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FLUSH, 6, DECODE_FLUSH, M, MODRM | PREFIXED), /* CLWB, with 66; else XSAVEOPT */
    GROUP_ROW(GROUP_POP, 0, DECODE_POP, M, MODRM | STACK),
    GROUP_ROW(GROUP_SMSW, 4, DECODE_SMSW, M, MODRM),
    GROUP_ROW(GROUP_FLUSH, 7, DECODE_FLUSH, M, MODRM | PREFIXED), /* CLFLUSH; CLFLUSHOPT with 66 */
    GROUP_ROW(GROUP_PAIR, 1, DECODE_CMPXCHG_PAIR, M, MODRM | LOCKABLE | PREFIXED),
    SHIFTS(GROUP_SHIFT, MI),
    SHIFTS(GROUP_SHIFT_1, M),
    SHIFTS(GROUP_SHIFT_CL, MC),
};

struct cursor {
    const u8 *bytes;
    u32 at;
    u32 limit;
    u8 rex; /* 0: none */
    u8 segment_override;
    bool operand_override;
    bool address_override;
    u8 map;    /* of DECODE_VECTOR: 1 to 3 */
    u8 opcode; /* its last byte */
    u8 vex;    /* 0: none; else vvvv as a number in bits 7:4, VEX_W, VEX_L, and 1 in bit 0 */
    u8 form;   /* NO_OVERRIDE, or instead of the row's */
};

#define NO_OVERRIDE 0xffu
#define REX_W       8u
#define REX_R       4u
#define REX_X       2u
#define REX_B       1u
#define VEX_W       8u
#define VEX_L       4u

/* Whether `bytes` more can be read. */
static ALWAYS_INLINE bool has(const struct cursor *c, u32 bytes)
{
    return LIKELY(c->at + bytes <= c->limit);
}

/* The error for a read of `bytes` that has() refused. */
static COLD enum status out_of_bytes(const struct cursor *c, u32 bytes)
{
    return c->at + bytes > DECODE_MAX_BYTES ? STATUS_INVALID : STATUS_TRUNCATED;
}

/* The next 1, 2, 4 or 8 bytes, sign-extended. Precondition: has(c, bytes). */
static ALWAYS_INLINE u64 take_signed(struct cursor *c, u32 bytes)
{
    const u8 *p = c->bytes + c->at;
    c->at += bytes;
    if (bytes == 1)
        return (u64)(s8)p[0];
    if (bytes == 2) {
        s16 value;
        __builtin_memcpy(&value, p, sizeof value);
        return (u64)value;
    }
    if (bytes == 4) {
        s32 value;
        __builtin_memcpy(&value, p, sizeof value);
        return (u64)value;
    }
    u64 value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
}

/* Notes one prefix. In 64-bit mode the CS, DS, ES and SS overrides are ignored: SDM 2A 2.2.1.4. */
static void note_prefix(struct cursor *c, u8 byte, struct decode_insn *out)
{
    switch (byte) {
    case 0x66:
        c->operand_override = true;
        break;
    case 0x67:
        c->address_override = true;
        break;
    case 0xf0:
        out->lock = true;
        break;
    case 0xf2:
        out->repeat = DECODE_REPNE;
        break;
    case 0xf3:
        out->repeat = DECODE_REP;
        break;
    case 0x64:
    case 0x65:
        c->segment_override = (u8)(byte - 0x64 + DECODE_FS);
        break;
    default: /* 26, 2E, 36, 3E */
        if (out->mode != DECODE_64)
            c->segment_override = (byte >> 3) & 3;
    }
}

/* The row of what the cursor's map and opcode are with these prefixes, or NULL. */
static COLD const struct vector_row *find_vector(const struct cursor *c, u8 repeat)
{
    enum vector_prefix prefix = repeat == DECODE_REP     ? PF3
                                : repeat == DECODE_REPNE ? PF2
                                : c->operand_override    ? P66
                                                         : NP;
    bool two = c->vex & VEX_L;

    for (const struct vector_row *row = vector_rows; row < vector_rows + ARRAY_SIZE(vector_rows); row++)
        if (row->map == c->map && row->opcode == c->opcode && row->prefix == prefix && !(row->flags & ONE && two) &&
            !(row->flags & TWO && (!two || c->vex & VEX_W)))
            return row;
    return NULL;
}

static COLD enum status finish_vector(struct cursor *c, struct decode_insn *out)
{
    const struct vector_row *row = find_vector(c, out->repeat);

    if (!row || (c->vex >> 4 && !(row->flags & AGAIN)))
        return STATUS_UNSUPPORTED;
    if (row->flags & LOADS)
        c->form = RM;
    out->register_width = c->vex & VEX_L && (row->width == FULL || row->flags & TWO) ? 32 : 16;
    out->width = row->width;
    if (row->width == FULL)
        out->width = out->register_width;
    else if (row->width == W_BIT)
        out->width = c->rex & REX_W ? 8 : 4;
    out->second = c->vex ? c->vex >> 4 & (out->mode == DECODE_64 ? 15 : 7) : out->register_index;
    out->vector = (row->flags & 0xf) | (c->vex ? DECODE_VEX : 0);
    return STATUS_OK;
}

/*
 * VEX: C5 and one byte, or C4 and two, stand for REX, the prefix and the opcode's map; then the opcode. Outside 64-bit
 * mode they are LDS and LES, unless what would be ModRM names two registers. SDM 2A 2.3.5 "The VEX Prefix".
 */
static COLD enum status take_vex(struct cursor *c, u8 *byte, struct decode_insn *out, const struct row **row)
{
    static const u8 repeats[] = {DECODE_REPEAT_NONE, DECODE_REPEAT_NONE, DECODE_REP, DECODE_REPNE};
    u32 more = *byte == 0xc4 ? 2 : 1;
    u32 first, last;

    if (!has(c, 1))
        return out_of_bytes(c, 1);
    first = c->bytes[c->at];
    if (out->mode != DECODE_64 && first < 0xc0)
        return STATUS_UNSUPPORTED;
    if (c->rex || c->operand_override || out->lock || out->repeat != DECODE_REPEAT_NONE)
        return STATUS_INVALID;
    c->map = (u8)(more == 2 ? first & 0x1f : 1);
    if (c->map < 1 || c->map > 3)
        return STATUS_UNSUPPORTED;
    if (!has(c, more + 1))
        return out_of_bytes(c, more + 1);
    last = c->bytes[c->at + more - 1];
    *byte = c->bytes[c->at + more];
    c->at += more + 1;
    c->rex = (u8)(~first >> 5 & (more == 2 ? REX_R | REX_X | REX_B : REX_R));
    c->vex = (u8)((~last << 1 & 0xf0) | (last & VEX_L) | 1);
    if (more == 2 && last & 0x80) {
        c->rex |= REX_W;
        c->vex |= VEX_W;
    }
    c->operand_override = (last & 3) == P66;
    out->repeat = repeats[last & 3];
    if (out->mode != DECODE_64)
        c->rex = 0;
    c->opcode = *byte;
    *row = c->map == 1 ? &two_byte[*byte] : c->map == 2 ? &vector_38 : &vector_3a[*byte & 1];
    return find_vector(c, out->repeat) ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* The opcodes whose meaning depends on mode or prefixes, and the second byte of a two-byte one. */
static enum status take_special(struct cursor *c, u8 *byte, struct decode_insn *out, const struct row **row)
{
    if (*byte == 0xc4 || *byte == 0xc5)
        return take_vex(c, byte, out, row);
    if (*byte == 0x63 && (out->mode != DECODE_64 || (c->operand_override && !(c->rex & REX_W))))
        return STATUS_UNSUPPORTED; /* ARPL; and to 16 bits, where CPUs differ in what they read */
    if (*byte == 0x82 && out->mode == DECODE_64)
        return STATUS_INVALID;
    if (*byte == 0x0f) {
        if (!has(c, 1))
            return out_of_bytes(c, 1);
        *byte = c->bytes[c->at++];
        *row = &two_byte[*byte];
        c->map = 1;
        c->opcode = *byte;
        if ((*row)->operation == DECODE_VECTOR && !find_vector(c, out->repeat))
            return STATUS_UNSUPPORTED;
        u32 count = *byte - 0xb8u;
        if (out->repeat == DECODE_REP && count < ARRAY_SIZE(counts) && counts[count].flags)
            *row = &counts[count];
    }
    if (*row == &two_byte[0x38]) {
        if (!has(c, 1))
            return out_of_bytes(c, 1);
        *byte = c->bytes[c->at++];
        if (*byte == 0x2a) {
            c->map = 2;
            *row = &vector_38;
            return STATUS_OK;
        }
        if ((*byte & 0xfe) != 0xf0)
            return STATUS_UNSUPPORTED;
        *row = &movbe[*byte & 1];
    }
    return STATUS_OK;
}

/*
 * Where a prefix makes another instruction: F2 and F3 always do. 66 before CLFLUSH and XSAVEOPT makes CLFLUSHOPT and
 * CLWB, and MOVNTI has no form of 16 bits. SDM 2A 2.1.2 "Instruction Prefixes", 2D A.3 "Opcode Maps".
 */
static COLD enum status check_prefixes(struct cursor *c, const struct row *row, struct decode_insn *out)
{
    if (row->operation == DECODE_VECTOR)
        return finish_vector(c, out);
    if (row->operation == DECODE_CMPXCHG_PAIR) {
        out->width = c->rex & REX_W ? 16 : 8;
        return STATUS_OK;
    }
    if (out->repeat != DECODE_REPEAT_NONE)
        return STATUS_UNSUPPORTED;
    if (row == &two_byte[0xc3]) {
        if (c->operand_override)
            return STATUS_UNSUPPORTED;
        out->width = out->register_width = c->rex & REX_W ? 8 : 4;
    }
    return row == &groups[GROUP_FLUSH][6] && !c->operand_override ? STATUS_UNSUPPORTED : STATUS_OK;
}

/* Consumes the prefixes and the opcode; *row becomes the opcode's row. */
static ALWAYS_INLINE enum status take_opcode(struct cursor *c, struct decode_insn *out, const struct row **row)
{
    u8 byte;

    for (;;) {
        if (!has(c, 1))
            return out_of_bytes(c, 1);
        byte = c->bytes[c->at++];
        *row = &one_byte[byte];
        if (LIKELY(!((*row)->flags & SPECIAL)))
            break;
        if (!((*row)->flags & PREFIX)) {
            enum status status = take_special(c, &byte, out, row);
            if (status != STATUS_OK)
                return status;
            break;
        }
        if ((byte & 0xf0) != 0x40) {
            c->rex = 0; /* counts only right before the opcode */
            note_prefix(c, byte, out);
        } else if (out->mode == DECODE_64) {
            c->rex = byte;
        } else {
            return STATUS_UNSUPPORTED;
        }
    }
    c->opcode = byte;
    out->condition = byte & 0xf;
    return (*row)->flags ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* SDM 2A table 2-1 "16-Bit Addressing Forms with the ModR/M Byte" */
static enum status take_memory_16(struct cursor *c, u8 modrm, struct decode_insn *out)
{
    static const u8 bases[8] = {3, 3, 5, 5, 6, 7, 5, 3};
    static const u8 indexes[8] = {
        6, 7, 6, 7, DECODE_NO_REGISTER, DECODE_NO_REGISTER, DECODE_NO_REGISTER, DECODE_NO_REGISTER};
    u32 mod = modrm >> 6;
    u32 rm = modrm & 7;
    u32 bytes = mod; /* of displacement */

    out->scale = 0;
    out->base = bases[rm];
    out->index = indexes[rm];
    if (mod == 0 && rm == 6) {
        out->base = DECODE_NO_REGISTER;
        bytes = 2;
    }
    out->segment = out->base == 5 ? DECODE_SS : DECODE_DS;
    if (!has(c, bytes))
        return out_of_bytes(c, bytes);
    out->displacement = bytes ? take_signed(c, bytes) : 0;
    return STATUS_OK;
}

/* SDM 2A tables 2-2 and 2-3 "32-Bit Addressing Forms", 2.2.1.6 "RIP-Relative Addressing" */
static ALWAYS_INLINE enum status take_memory(struct cursor *c, u8 modrm, struct decode_insn *out)
{
    u32 mod = modrm >> 6;
    u32 base = modrm & 7;
    u32 bytes = mod == 2 ? 4 : mod; /* of displacement */

    out->index = DECODE_NO_REGISTER;
    out->scale = 0;
    out->segment = DECODE_DS;
    if (base == 4) {
        if (!has(c, 1))
            return out_of_bytes(c, 1);
        u8 sib = c->bytes[c->at++];
        u32 index = ((sib >> 3) & 7) | (c->rex & REX_X ? 8u : 0);
        base = sib & 7;
        if (index != 4) {
            out->index = (u8)index;
            out->scale = sib >> 6;
        }
        if (base == 5 && mod == 0) {
            base = DECODE_NO_REGISTER;
            bytes = 4;
        }
    } else if (base == 5 && mod == 0) {
        base = out->mode == DECODE_64 ? DECODE_REGISTER_RIP : DECODE_NO_REGISTER;
        bytes = 4;
    }
    if (base < 8) {
        base |= c->rex & REX_B ? 8u : 0;
        if (base == 4 || base == 5)
            out->segment = DECODE_SS;
    }
    out->base = (u8)base;
    if (!has(c, bytes))
        return out_of_bytes(c, bytes);
    out->displacement = bytes ? take_signed(c, bytes) : 0;
    return STATUS_OK;
}

/* The offset of A0 to A3, or the fields that a string instruction leaves empty. */
static enum status take_implied_memory(struct cursor *c, u32 flags, struct decode_insn *out)
{
    out->base = DECODE_NO_REGISTER;
    out->index = DECODE_NO_REGISTER;
    out->scale = 0;
    out->segment = DECODE_DS;
    out->displacement = 0;
    if (flags & IMPLIED)
        return STATUS_OK;
    if (!has(c, out->address_width))
        return out_of_bytes(c, out->address_width);
    out->displacement = take_signed(c, out->address_width);
    if (out->address_width < 8)
        out->displacement &= 0xffffffffull >> (32 - 8 * out->address_width);
    return STATUS_OK;
}

static ALWAYS_INLINE void set_widths(const struct cursor *c, u32 flags, struct decode_insn *out)
{
    static const u8 widths[3][4] = {
        {2, 4, 2, 4},
        {4, 2, 4, 2},
        {4, 2, 8, 8}
    }; /* [mode][REX.W, 66] */
    u8 width = flags & BYTE_WIDTH ? 1 : widths[out->mode][(c->rex & REX_W) >> 2 | c->operand_override];

    out->register_width = width;
    if (UNLIKELY(flags & (FROM_BYTE | FROM_WORD | FROM_DWORD))) {
        if (flags & FROM_BYTE)
            width = 1;
        else
            width = flags & FROM_WORD ? 2 : 4;
    }
    out->width = width;
}

/* The register operand's number. Without REX the byte registers 4 to 7 are AH, CH, DH and BH. */
static ALWAYS_INLINE void set_register(const struct cursor *c, u32 number, struct decode_insn *out)
{
    out->high_byte = out->register_width == 1 && !c->rex && number >= 4;
    if (out->high_byte)
        number -= 4;
    out->register_index = (u8)(number | (c->rex & REX_R ? 8u : 0));
}

/* SDM 1 6.2.5 "Stack Behavior in 64-Bit Mode", 6.3.7 "Branch Functions in 64-Bit Mode" */
static void set_stack_width(u8 operation, struct decode_insn *out)
{
    bool branch = operation == DECODE_CALL || operation == DECODE_JMP || operation == DECODE_RET;

    if (out->mode == DECODE_64 && (branch || out->width == 4))
        out->width = 8;
    out->register_width = out->width;
}

/* CALL, PUSH and POP of a register, whose stack is in memory. */
static enum status take_register(struct cursor *c, u8 modrm, const struct row **row, u32 *flags,
                                 struct decode_insn *out)
{
    u32 reg = (modrm >> 3) & 7;

    if (out->lock)
        return STATUS_INVALID;
    if (!(*flags & GROUP) || !(groups[(*row)->operation][reg].flags & STACK) ||
        groups[(*row)->operation][reg].operation == DECODE_JMP)
        return STATUS_UNSUPPORTED;
    *row = &groups[(*row)->operation][reg];
    *flags |= (*row)->flags;
    out->register_index = (u8)((modrm & 7) | (c->rex & REX_B ? 8u : 0));
    out->high_byte = false;
    c->form = DECODE_REGISTER;
    return take_implied_memory(c, IMPLIED, out);
}

/* Consumes ModRM and what it implies; a group's row replaces *row and adds to *flags. */
static ALWAYS_INLINE enum status take_modrm(struct cursor *c, const struct row **row, u32 *flags,
                                            struct decode_insn *out)
{
    if (!has(c, 1))
        return out_of_bytes(c, 1);
    u8 modrm = c->bytes[c->at++];
    u32 reg = (modrm >> 3) & 7;

    if (modrm >= 0xc0)
        return take_register(c, modrm, row, flags, out);
    if (*flags & GROUP) {
        *row = &groups[(*row)->operation][reg];
        if (!((*row)->flags & MODRM))
            return (*row)->flags & UNDEFINED ? STATUS_INVALID : STATUS_UNSUPPORTED;
        *flags |= (*row)->flags;
    }
    if (UNLIKELY(out->lock && !(*flags & LOCKABLE)))
        return STATUS_INVALID;
    set_register(c, reg, out);
    return out->address_width == 2 ? take_memory_16(c, modrm, out) : take_memory(c, modrm, out);
}

enum status decode_instruction(const u8 *bytes, size_t count, enum decode_mode mode, struct decode_insn *out)
{
    struct cursor c = {.bytes = bytes,
                       .limit = count < DECODE_MAX_BYTES ? (u32)count : DECODE_MAX_BYTES,
                       .segment_override = NO_OVERRIDE,
                       .form = NO_OVERRIDE};
    const struct row *row = one_byte;

    out->mode = (u8)mode;
    out->lock = false;
    out->repeat = DECODE_REPEAT_NONE;
    enum status status = take_opcode(&c, out, &row);
    if (status != STATUS_OK)
        return status;

    u32 flags = row->flags;
    static const u8 address_widths[3][2] = {
        {2, 4},
        {4, 2},
        {8, 4}
    };
    out->address_width = address_widths[mode][c.address_override];
    set_widths(&c, flags, out);
    if (LIKELY(flags & MODRM)) {
        status = take_modrm(&c, &row, &flags, out);
    } else {
        if (out->lock)
            return STATUS_INVALID;
        out->register_index = (u8)((out->condition & 7) | (c.rex & REX_B ? 8u : 0)); /* of PUSH and POP */
        if (!(flags & STACK))
            out->register_index = 0;
        out->high_byte = false;
        status = take_implied_memory(&c, flags, out);
    }
    if (status != STATUS_OK)
        return status;

    if (UNLIKELY(flags & STACK))
        set_stack_width(row->operation, out);
    if (UNLIKELY(flags & PREFIXED) && (status = check_prefixes(&c, row, out)) != STATUS_OK)
        return status;
    out->immediate = 0;
    if (flags & (IMMEDIATE | IMMEDIATE_8)) {
        bool two = (flags & IMMEDIATE_16) == IMMEDIATE_16;
        u32 width = two ? 2 : flags & IMMEDIATE_8 ? 1 : out->width < 4 ? out->width : 4;
        if (!has(&c, width))
            return out_of_bytes(&c, width);
        out->immediate = take_signed(&c, width) & (two ? 0xffff : ~0ull);
    }
    if (c.segment_override != NO_OVERRIDE)
        out->segment = c.segment_override;
    out->operation = row->operation;
    out->form = c.form == NO_OVERRIDE ? row->form : c.form;
    out->length = (u8)c.at;
    return STATUS_OK;
}
