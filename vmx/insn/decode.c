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
    PREFIXED = 1u << 14   /* 66, F2 and F3 make another instruction of it: check_prefixes() */
};

struct row {
    u8 operation;
    u8 form;
    u16 flags; /* 0: unsupported */
};

enum group { GROUP_ALU, GROUP_UNARY, GROUP_FE, GROUP_FF, GROUP_MOV, GROUP_BIT, GROUP_FLUSH, GROUPS };

#define MR DECODE_MEMORY_REGISTER
#define RM DECODE_REGISTER_MEMORY
#define MI DECODE_MEMORY_IMMEDIATE
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
    ROW(0x63, DECODE_MOVSX, RM, MODRM | FROM_DWORD | SPECIAL),
    ROW(0x64 ... 0x67, 0, 0, PREFIX | SPECIAL),
    ROW(0x80, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE_8 | BYTE_WIDTH),
    ROW(0x81, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE),
    ROW(0x82, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE_8 | BYTE_WIDTH | SPECIAL),
    ROW(0x83, GROUP_ALU, MI, GROUP | MODRM | IMMEDIATE_8),
    PAIR(0x84, DECODE_TEST, MR, MODRM),
    PAIR(0x86, DECODE_XCHG, MR, MODRM | LOCKABLE),
    PAIR(0x88, DECODE_MOV, MR, MODRM),
    PAIR(0x8a, DECODE_MOV, RM, MODRM),
    PAIR(0xa0, DECODE_MOV, RM, ABSOLUTE),
    PAIR(0xa2, DECODE_MOV, MR, ABSOLUTE),
    PAIR(0xa4, DECODE_MOVS, DECODE_STRING, IMPLIED),
    PAIR(0xa6, DECODE_CMPS, DECODE_STRING, IMPLIED),
    PAIR(0xaa, DECODE_STOS, DECODE_STRING, IMPLIED),
    PAIR(0xac, DECODE_LODS, DECODE_STRING, IMPLIED),
    PAIR(0xae, DECODE_SCAS, DECODE_STRING, IMPLIED),
    PAIR(0xc6, GROUP_MOV, MI, GROUP | MODRM | IMMEDIATE),
    ROW(0xf0, 0, 0, PREFIX | SPECIAL),
    ROW(0xf2 ... 0xf3, 0, 0, PREFIX | SPECIAL),
    PAIR(0xf6, GROUP_UNARY, M, GROUP | MODRM),
    ROW(0xfe, GROUP_FE, M, GROUP | MODRM | BYTE_WIDTH),
    ROW(0xff, GROUP_FF, M, GROUP | MODRM),
};

static const struct row two_byte[256] = {
    ROW(0x40 ... 0x4f, DECODE_CMOVCC, RM, MODRM),
    ROW(0x90 ... 0x9f, DECODE_SETCC, M, MODRM | BYTE_WIDTH),
    ROW(0xa3, DECODE_BT, MR, MODRM),
    ROW(0xab, DECODE_BTS, MR, MODRM | LOCKABLE),
    PAIR(0xb0, DECODE_CMPXCHG, MR, MODRM | LOCKABLE),
    ROW(0xb3, DECODE_BTR, MR, MODRM | LOCKABLE),
    ROW(0xb6, DECODE_MOVZX, RM, MODRM | FROM_BYTE),
    ROW(0xb7, DECODE_MOVZX, RM, MODRM | FROM_WORD),
    ROW(0xba, GROUP_BIT, MI, GROUP | MODRM | IMMEDIATE_8),
    ROW(0xbb, DECODE_BTC, MR, MODRM | LOCKABLE),
    ROW(0xbe, DECODE_MOVSX, RM, MODRM | FROM_BYTE),
    ROW(0xbf, DECODE_MOVSX, RM, MODRM | FROM_WORD),
    ROW(0xae, GROUP_FLUSH, M, GROUP | MODRM | BYTE_WIDTH),
    PAIR(0xc0, DECODE_XADD, MR, MODRM | LOCKABLE),
    ROW(0xc3, DECODE_MOV, MR, MODRM | PREFIXED), /* MOVNTI */
};

/* Behind 0F 38. */
static const struct row movbe[2] = {
    ROW(0, DECODE_MOVBE, RM, MODRM | PREFIXED),
    ROW(1, DECODE_MOVBE, MR, MODRM | PREFIXED),
};

/* The flags of a row here are added to the opcode's. Only supported rows carry MODRM: the others are all zeroes. */
static const struct row groups[GROUPS][8] = {
    GROUP_ROW(GROUP_ALU, 0, DECODE_ADD, MI, MODRM | LOCKABLE), GROUP_ROW(GROUP_ALU, 1, DECODE_OR, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 2, DECODE_ADC, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 3, DECODE_SBB, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 4, DECODE_AND, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 5, DECODE_SUB, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_ALU, 6, DECODE_XOR, MI, MODRM | LOCKABLE), GROUP_ROW(GROUP_ALU, 7, DECODE_CMP, MI, MODRM),
    /* The opcode map leaves reg 1 blank; every CPU runs it as TEST. */
    GROUP_ROW(GROUP_UNARY, 0 ... 1, DECODE_TEST, MI, MODRM | IMMEDIATE),
    GROUP_ROW(GROUP_UNARY, 2, DECODE_NOT, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_UNARY, 3, DECODE_NEG, M, MODRM | LOCKABLE), GROUP_ROW(GROUP_FE, 0, DECODE_INC, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FE, 1, DECODE_DEC, M, MODRM | LOCKABLE), GROUP_ROW(GROUP_FE, 2 ... 7, 0, 0, UNDEFINED),
    GROUP_ROW(GROUP_FF, 0, DECODE_INC, M, MODRM | LOCKABLE), GROUP_ROW(GROUP_FF, 1, DECODE_DEC, M, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FF, 7, 0, 0, UNDEFINED), GROUP_ROW(GROUP_MOV, 0, DECODE_MOV, MI, MODRM),
    GROUP_ROW(GROUP_MOV, 1 ... 7, 0, 0, UNDEFINED), GROUP_ROW(GROUP_BIT, 0 ... 3, 0, 0, UNDEFINED),
    GROUP_ROW(GROUP_BIT, 4, DECODE_BT, MI, MODRM), GROUP_ROW(GROUP_BIT, 5, DECODE_BTS, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_BIT, 6, DECODE_BTR, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_BIT, 7, DECODE_BTC, MI, MODRM | LOCKABLE),
    GROUP_ROW(GROUP_FLUSH, 6, DECODE_FLUSH, M, MODRM | PREFIXED), /* CLWB, with 66; else XSAVEOPT */
    GROUP_ROW(GROUP_FLUSH, 7, DECODE_FLUSH, M, MODRM | PREFIXED), /* CLFLUSH; CLFLUSHOPT with 66 */
};

struct cursor {
    const u8 *bytes;
    u32 at;
    u32 limit;
    u8 rex; /* 0: none */
    u8 segment_override;
    bool operand_override;
    bool address_override;
};

#define NO_OVERRIDE 0xffu
#define REX_W       8u
#define REX_R       4u
#define REX_X       2u
#define REX_B       1u

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

/* The opcodes whose meaning depends on mode or prefixes, and the second byte of a two-byte one. */
static enum status take_special(struct cursor *c, u8 *byte, const struct decode_insn *out, const struct row **row)
{
    if (*byte == 0x63 && (out->mode != DECODE_64 || (c->operand_override && !(c->rex & REX_W))))
        return STATUS_UNSUPPORTED; /* ARPL; and to 16 bits, where CPUs differ in what they read */
    if (*byte == 0x82 && out->mode == DECODE_64)
        return STATUS_INVALID;
    if (*byte == 0x0f) {
        if (!has(c, 1))
            return out_of_bytes(c, 1);
        *byte = c->bytes[c->at++];
        *row = &two_byte[*byte];
    }
    if (*row == &two_byte[0x38]) {
        if (!has(c, 1))
            return out_of_bytes(c, 1);
        *byte = c->bytes[c->at++];
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
static COLD enum status check_prefixes(const struct cursor *c, const struct row *row, struct decode_insn *out)
{
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

/* Consumes ModRM and what it implies; a group's row replaces *row and adds to *flags. */
static ALWAYS_INLINE enum status take_modrm(struct cursor *c, const struct row **row, u32 *flags,
                                            struct decode_insn *out)
{
    if (!has(c, 1))
        return out_of_bytes(c, 1);
    u8 modrm = c->bytes[c->at++];
    u32 reg = (modrm >> 3) & 7;

    if (modrm >= 0xc0)
        return out->lock ? STATUS_INVALID : STATUS_UNSUPPORTED; /* no memory operand */
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
                       .segment_override = NO_OVERRIDE};
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
        out->register_index = 0;
        out->high_byte = false;
        status = take_implied_memory(&c, flags, out);
    }
    if (status != STATUS_OK)
        return status;

    if (UNLIKELY(flags & PREFIXED) && (status = check_prefixes(&c, row, out)) != STATUS_OK)
        return status;
    out->immediate = 0;
    if (flags & (IMMEDIATE | IMMEDIATE_8)) {
        u32 width = flags & IMMEDIATE_8 ? 1 : out->width < 4 ? out->width : 4;
        if (!has(&c, width))
            return out_of_bytes(&c, width);
        out->immediate = take_signed(&c, width);
    }
    if (c.segment_override != NO_OVERRIDE)
        out->segment = c.segment_override;
    out->operation = row->operation;
    out->form = row->form;
    out->length = (u8)c.at;
    return STATUS_OK;
}
