/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The executor of decoded instructions. Each function below computes its result first, writes memory next and registers
 * and flags last, so that a fault leaves no trace. Flags that the SDM leaves undefined keep their value.
 * Runs on the exit path of an MMIO access: a plain MOV goes straight through emulate_instruction.
 * SDM 1 3.3.7 "Address Calculations in 64-Bit Mode", SDM 1 7.3.9 "String Operations".
 */
#include "vmx/insn/emulate.h"
#include "arch/x86/regs.h"

#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* Kept out of line, so that the path of a plain MOV saves few registers. */
#define SLOW_PATH __attribute__((noinline))

enum { RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7 };

static ALWAYS_INLINE u64 top_bit(u8 bytes)
{
    return 1ull << (8 * bytes - 1);
}

static ALWAYS_INLINE u64 sign_extend(u64 value, u8 bytes)
{
    unsigned shift = 64u - 8u * bytes;
    return (u64)((s64)(value << shift) >> shift);
}

/* Writes a general register as the CPU does: 32-bit results clear the upper half, narrower ones keep the rest. */
static ALWAYS_INLINE void write_gpr(u64 *gpr, u64 value, u8 bytes)
{
    if (bytes == 8)
        *gpr = value;
    else if (bytes == 4)
        *gpr = (u32)value;
    else
        *gpr = (*gpr & ~bits_mask_of_bytes(bytes)) | (value & bits_mask_of_bytes(bytes));
}

static ALWAYS_INLINE u64 read_operand(const struct emulate_env *env, const struct decode_insn *insn)
{
    u64 value = env->gpr[insn->register_index] >> (insn->high_byte ? 8 : 0);
    return value & bits_mask_of_bytes(insn->register_width);
}

static ALWAYS_INLINE void write_operand(const struct emulate_env *env, const struct decode_insn *insn, u64 value)
{
    u64 *gpr = &env->gpr[insn->register_index];

    if (UNLIKELY(insn->high_byte))
        *gpr = (*gpr & ~0xff00ull) | (value & 0xff) << 8;
    else
        write_gpr(gpr, value, insn->register_width);
}

static ALWAYS_INLINE enum emulate_outcome load(const struct emulate_env *env, const struct decode_insn *insn,
                                               u64 linear, u64 *value)
{
    u64 raw = 0;
    enum emulate_outcome outcome = env->calls->read(env->context, linear, insn->width, &raw);
    *value = raw & bits_mask_of_bytes(insn->width);
    return outcome;
}

static ALWAYS_INLINE enum emulate_outcome store(const struct emulate_env *env, const struct decode_insn *insn,
                                                u64 linear, u64 value)
{
    return env->calls->write(env->context, linear, insn->width, value & bits_mask_of_bytes(insn->width));
}

static enum emulate_outcome check(const struct emulate_env *env, const struct decode_insn *insn, u8 segment, u64 offset,
                                  bool write)
{
    return env->calls->check(env->context, segment, offset & bits_mask_of_bytes(insn->address_width), insn->width,
                             write);
}

/* segment:offset as a linear address; the offset wraps at the instruction's address width. */
static ALWAYS_INLINE u64 to_linear(const struct emulate_env *env, const struct decode_insn *insn, u8 segment,
                                   u64 offset)
{
    offset &= bits_mask_of_bytes(insn->address_width);
    if (insn->mode == DECODE_64) {
        if (UNLIKELY(segment >= DECODE_FS))
            offset += env->calls->segment_base(env->context, segment);
        return offset;
    }
    return (u32)(offset + env->calls->segment_base(env->context, segment));
}

/* The offset that the ModRM byte and what follows it describe, before it wraps. */
static ALWAYS_INLINE u64 effective_offset(const struct emulate_env *env, const struct decode_insn *insn)
{
    u64 offset = insn->displacement;

    if (insn->base < 16)
        offset += env->gpr[insn->base];
    else if (insn->base == DECODE_REGISTER_RIP)
        offset += env->rip + insn->length;
    if (insn->index < 16)
        offset += env->gpr[insn->index] << insn->scale;
    return offset;
}

/* ZF, SF and PF of a result. */
static u64 flags_of_result(u64 result, u8 bytes)
{
    u64 flags = 0;

    if (!result)
        flags |= RFLAGS_ZF;
    if (result & top_bit(bytes))
        flags |= RFLAGS_SF;
    if (!__builtin_parity((unsigned)(result & 0xff)))
        flags |= RFLAGS_PF;
    return flags;
}

static u64 add(u64 a, u64 b, u64 carry, u8 bytes, u64 *flags)
{
    u64 result = (a + b + carry) & bits_mask_of_bytes(bytes);
    u64 carries = (a & b) | ((a | b) & ~result);

    *flags = flags_of_result(result, bytes);
    if (carries & top_bit(bytes))
        *flags |= RFLAGS_CF;
    if (carries & 8)
        *flags |= RFLAGS_AF;
    if ((a ^ result) & (b ^ result) & top_bit(bytes))
        *flags |= RFLAGS_OF;
    return result;
}

static u64 subtract(u64 a, u64 b, u64 borrow, u8 bytes, u64 *flags)
{
    u64 result = (a - b - borrow) & bits_mask_of_bytes(bytes);
    u64 borrows = (~a & b) | ((~a | b) & result);

    *flags = flags_of_result(result, bytes);
    if (borrows & top_bit(bytes))
        *flags |= RFLAGS_CF;
    if (borrows & 8)
        *flags |= RFLAGS_AF;
    if ((a ^ b) & (a ^ result) & top_bit(bytes))
        *flags |= RFLAGS_OF;
    return result;
}

/* One arithmetic operation on operands of `insn->width` bytes; *rflags becomes what the instruction leaves. */
static SLOW_PATH u64 compute(const struct decode_insn *insn, u64 a, u64 b, u64 *rflags)
{
    u64 carry = *rflags & RFLAGS_CF;
    u64 changed = STATUS_FLAGS;
    u64 flags = 0;
    u8 bytes = insn->width;
    u64 result;

    switch (insn->operation) {
    case DECODE_ADD:
    case DECODE_XADD:
        result = add(a, b, 0, bytes, &flags);
        break;
    case DECODE_ADC:
        result = add(a, b, carry, bytes, &flags);
        break;
    case DECODE_INC:
        result = add(a, 1, 0, bytes, &flags);
        changed &= ~RFLAGS_CF;
        break;
    case DECODE_SBB:
        result = subtract(a, b, carry, bytes, &flags);
        break;
    case DECODE_DEC:
        result = subtract(a, 1, 0, bytes, &flags);
        changed &= ~RFLAGS_CF;
        break;
    case DECODE_NEG:
        result = subtract(0, a, 0, bytes, &flags);
        break;
    case DECODE_NOT:
        result = ~a & bits_mask_of_bytes(bytes);
        changed = 0;
        break;
    case DECODE_OR:
    case DECODE_XOR:
    case DECODE_AND:
    case DECODE_TEST:
        result = insn->operation == DECODE_OR ? a | b : insn->operation == DECODE_XOR ? a ^ b : a & b;
        flags = flags_of_result(result, bytes);
        changed &= ~RFLAGS_AF;
        break;
    default: /* SUB and all that compare: CMP, CMPXCHG, CMPS, SCAS */
        result = subtract(a, b, 0, bytes, &flags);
    }
    *rflags = (*rflags & ~changed) | (flags & changed);
    return result;
}

/* SDM 1 appendix B "EFLAGS Condition Codes" */
static SLOW_PATH bool condition_holds(u8 condition, u64 rflags)
{
    bool sign = rflags & RFLAGS_SF;
    bool overflow = rflags & RFLAGS_OF;
    bool holds = false;

    switch (condition >> 1) {
    case 0:
        holds = overflow;
        break;
    case 1:
        holds = rflags & RFLAGS_CF;
        break;
    case 2:
        holds = rflags & RFLAGS_ZF;
        break;
    case 3:
        holds = rflags & (RFLAGS_CF | RFLAGS_ZF);
        break;
    case 4:
        holds = sign;
        break;
    case 5:
        holds = rflags & RFLAGS_PF;
        break;
    case 6:
        holds = sign != overflow;
        break;
    case 7:
        holds = (rflags & RFLAGS_ZF) || sign != overflow;
        break;
    }
    return holds != (condition & 1);
}

/* ADD to CMP, TEST, NOT, NEG, INC, DEC, in every operand form. */
static SLOW_PATH enum emulate_outcome run_arithmetic(const struct emulate_env *env, const struct decode_insn *insn,
                                                     u64 linear)
{
    u64 memory;
    u64 rflags = *env->rflags;
    bool keeps = insn->operation != DECODE_CMP && insn->operation != DECODE_TEST;

    enum emulate_outcome outcome = load(env, insn, linear, &memory);
    if (outcome != EMULATE_OK)
        return outcome;
    if (insn->form == DECODE_REGISTER_MEMORY) {
        u64 result = compute(insn, read_operand(env, insn), memory, &rflags);
        if (keeps)
            write_operand(env, insn, result);
    } else {
        u64 other = insn->form == DECODE_MEMORY_REGISTER ? read_operand(env, insn)
                                                         : insn->immediate & bits_mask_of_bytes(insn->width);
        u64 result = compute(insn, memory, other, &rflags);
        if (keeps)
            outcome = store(env, insn, linear, result);
        if (outcome != EMULATE_OK)
            return outcome;
    }
    *env->rflags = rflags;
    return EMULATE_OK;
}

/* MOVZX, MOVSX and CMOVCC. */
static enum emulate_outcome run_extension(const struct emulate_env *env, const struct decode_insn *insn, u64 linear)
{
    u64 value;
    enum emulate_outcome outcome = load(env, insn, linear, &value);
    if (outcome != EMULATE_OK)
        return outcome;
    if (insn->operation == DECODE_MOVSX)
        value = sign_extend(value, insn->width);
    else if (insn->operation == DECODE_CMOVCC && !condition_holds(insn->condition, *env->rflags))
        value = read_operand(env, insn); /* a 32-bit destination loses its upper half all the same */
    write_operand(env, insn, value);
    return EMULATE_OK;
}

/* The low `width` bytes in the other order. */
static u64 swap_bytes(u64 value, u8 width)
{
    return __builtin_bswap64(value) >> (64 - 8 * width);
}

static SLOW_PATH enum emulate_outcome run_swapped(const struct emulate_env *env, const struct decode_insn *insn,
                                                  u64 linear)
{
    u64 value;

    if (insn->form == DECODE_MEMORY_REGISTER)
        return store(env, insn, linear, swap_bytes(read_operand(env, insn), insn->width));
    enum emulate_outcome outcome = load(env, insn, linear, &value);
    if (outcome == EMULATE_OK)
        write_operand(env, insn, swap_bytes(value, insn->width));
    return outcome;
}

/* XCHG, XADD and CMPXCHG. The memory operand is written even if CMPXCHG's comparison fails, as the SDM says. */
static SLOW_PATH enum emulate_outcome run_exchange(const struct emulate_env *env, const struct decode_insn *insn,
                                                   u64 linear)
{
    u64 memory;
    u64 rflags = *env->rflags;
    u64 source = read_operand(env, insn);
    u64 written = source;
    bool equal = true;

    enum emulate_outcome outcome = load(env, insn, linear, &memory);
    if (outcome != EMULATE_OK)
        return outcome;
    if (insn->operation == DECODE_XADD) {
        written = compute(insn, memory, source, &rflags);
    } else if (insn->operation == DECODE_CMPXCHG) {
        equal = compute(insn, env->gpr[RAX] & bits_mask_of_bytes(insn->width), memory, &rflags) == 0;
        if (!equal)
            written = memory;
    }
    outcome = store(env, insn, linear, written);
    if (outcome != EMULATE_OK)
        return outcome;
    if (insn->operation != DECODE_CMPXCHG)
        write_operand(env, insn, memory);
    else if (!equal)
        write_gpr(&env->gpr[RAX], memory, insn->width);
    *env->rflags = rflags;
    return EMULATE_OK;
}

/* The operand is read and then written: what may forbid the write must be known first. */
static bool changes_memory(const struct decode_insn *insn)
{
    switch (insn->operation) {
    case DECODE_CMP:
    case DECODE_TEST:
    case DECODE_BT:
        return false;
    case DECODE_ADD:
    case DECODE_OR:
    case DECODE_ADC:
    case DECODE_SBB:
    case DECODE_AND:
    case DECODE_SUB:
    case DECODE_XOR:
        return insn->form != DECODE_REGISTER_MEMORY;
    default:
        return insn->operation >= DECODE_NOT && insn->operation <= DECODE_BTC;
    }
}

/* BT, BTS, BTR, BTC. A bit offset in a register reaches beyond the operand: SDM 2A "BT-Bit Test", "Bit(BitBase,
 * BitOffset)". */
static SLOW_PATH enum emulate_outcome run_bit(const struct emulate_env *env, const struct decode_insn *insn)
{
    unsigned bits = 8u * insn->width;
    u64 offset = effective_offset(env, insn);
    u64 index = insn->immediate;
    u64 memory;

    if (insn->form == DECODE_MEMORY_REGISTER) {
        index = sign_extend(read_operand(env, insn), insn->width);
        unsigned shift = insn->width == 2 ? 4 : insn->width == 4 ? 5 : 6;
        offset += (u64)((s64)index >> shift) * insn->width;
    }
    u64 linear = to_linear(env, insn, insn->segment, offset);
    u64 bit = 1ull << (index & (bits - 1));
    enum emulate_outcome outcome = EMULATE_OK;
    if (changes_memory(insn))
        outcome = check(env, insn, insn->segment, offset, true);
    if (outcome == EMULATE_OK)
        outcome = load(env, insn, linear, &memory);
    if (outcome != EMULATE_OK)
        return outcome;

    if (insn->operation != DECODE_BT) {
        u64 result = insn->operation == DECODE_BTS   ? memory | bit
                     : insn->operation == DECODE_BTR ? memory & ~bit
                                                     : memory ^ bit;
        outcome = store(env, insn, linear, result);
        if (outcome != EMULATE_OK)
            return outcome;
    }
    *env->rflags = (*env->rflags & ~RFLAGS_CF) | (memory & bit ? RFLAGS_CF : 0);
    return EMULATE_OK;
}

/* The memory accesses of one iteration: *source is what rSI pointed to, *destination what rDI did (if read). */
static enum emulate_outcome access_string(const struct emulate_env *env, const struct decode_insn *insn, u64 *source,
                                          u64 *destination)
{
    u8 operation = insn->operation;
    u64 rsi = env->gpr[RSI];
    u64 rdi = env->gpr[RDI];
    bool two = operation == DECODE_MOVS || operation == DECODE_CMPS;
    enum emulate_outcome outcome = EMULATE_OK;

    if (two)
        outcome = check(env, insn, insn->segment, rsi, false);
    if (two && outcome == EMULATE_OK)
        outcome = check(env, insn, DECODE_ES, rdi, operation == DECODE_MOVS);
    if (outcome != EMULATE_OK)
        return outcome;
    if (two || operation == DECODE_LODS)
        outcome = load(env, insn, to_linear(env, insn, insn->segment, rsi), source);
    if (outcome != EMULATE_OK || operation == DECODE_LODS)
        return outcome;
    u64 linear = to_linear(env, insn, DECODE_ES, rdi);
    if (operation == DECODE_CMPS || operation == DECODE_SCAS)
        return load(env, insn, linear, destination);
    return store(env, insn, linear, *source);
}

/* One iteration; *advance stays the instruction's length, or becomes 0 if more iterations follow. */
static SLOW_PATH enum emulate_outcome run_string(const struct emulate_env *env, const struct decode_insn *insn,
                                                 u8 *advance)
{
    u8 operation = insn->operation;
    u64 source = env->gpr[RAX] & bits_mask_of_bytes(insn->width); /* of STOS and SCAS */
    u64 destination = 0;
    u64 step = *env->rflags & RFLAGS_DF ? 0 - (u64)insn->width : insn->width;
    u64 count = env->gpr[RCX] & bits_mask_of_bytes(insn->address_width);
    bool compares = operation == DECODE_CMPS || operation == DECODE_SCAS;

    if (insn->repeat != DECODE_REPEAT_NONE && count == 0)
        return EMULATE_OK;
    enum emulate_outcome outcome = access_string(env, insn, &source, &destination);
    if (outcome != EMULATE_OK)
        return outcome;

    if (compares)
        compute(insn, source, destination, env->rflags);
    if (operation == DECODE_LODS)
        write_gpr(&env->gpr[RAX], source, insn->width);
    if (operation == DECODE_MOVS || operation == DECODE_CMPS || operation == DECODE_LODS)
        write_gpr(&env->gpr[RSI], env->gpr[RSI] + step, insn->address_width);
    if (operation != DECODE_LODS)
        write_gpr(&env->gpr[RDI], env->gpr[RDI] + step, insn->address_width);
    if (insn->repeat != DECODE_REPEAT_NONE) {
        bool equal = *env->rflags & RFLAGS_ZF;
        count--;
        write_gpr(&env->gpr[RCX], count, insn->address_width);
        if (count && !(compares && equal != (insn->repeat == DECODE_REP)))
            *advance = 0;
    }
    return EMULATE_OK;
}

/* ---- shifts, products, quotients and counts ---- */

/*
 * Bit by bit, which gives what a CPU does for every count; `other` is the register of SHLD and SHRD. SDM 2B
 * "RCL/RCR/ROL/ROR-Rotate", "SAL/SAR/SHL/SHR-Shift", "SHLD-Double Precision Shift Left".
 */
static COLD u64 shift(const struct decode_insn *insn, u64 value, u64 other, unsigned count, u64 *rflags)
{
    u8 operation = insn->operation;
    u64 top = top_bit(insn->width);
    bool rotates = operation <= DECODE_RCR;
    bool left =
        operation == DECODE_ROL || operation == DECODE_RCL || operation == DECODE_SHL || operation == DECODE_SHLD;
    bool carry = *rflags & RFLAGS_CF;
    u64 changed = RFLAGS_CF | (rotates ? 0 : RFLAGS_ZF | RFLAGS_SF | RFLAGS_PF) | (count == 1 ? RFLAGS_OF : 0);

    if (count == 0)
        return value;
    for (unsigned n = 0; n < count; n++) {
        bool leaves = value & (left ? top : 1);
        bool comes = false;
        if (operation == DECODE_ROL || operation == DECODE_ROR)
            comes = leaves;
        else if (rotates)
            comes = carry;
        else if (operation == DECODE_SAR)
            comes = value & top;
        else if (operation == DECODE_SHLD || operation == DECODE_SHRD)
            comes = other & (left ? top : 1);
        other = left ? other << 1 : other >> 1;
        value = left ? (value << 1 & bits_mask_of_bytes(insn->width)) | comes : value >> 1 | (comes ? top : 0);
        carry = leaves;
    }
    u64 flags = flags_of_result(value, insn->width) | (carry ? RFLAGS_CF : 0);
    bool sign = value & top;
    if (sign != (left ? carry : !!(value & top >> 1)))
        flags |= RFLAGS_OF;
    *rflags = (*rflags & ~changed) | (flags & changed);
    return value;
}

static COLD enum emulate_outcome run_shift(const struct emulate_env *env, const struct decode_insn *insn, u64 linear)
{
    u64 memory;
    u64 rflags = *env->rflags;
    u64 count = insn->form == DECODE_MEMORY ? 1 : insn->form == DECODE_MEMORY_CL ? env->gpr[RCX] : insn->immediate;

    enum emulate_outcome outcome = load(env, insn, linear, &memory);
    if (outcome != EMULATE_OK)
        return outcome;
    count &= insn->width == 8 ? 63 : 31;
    u64 result = shift(insn, memory, read_operand(env, insn), (unsigned)count, &rflags);
    outcome = store(env, insn, linear, result);
    if (outcome == EMULATE_OK)
        *env->rflags = rflags;
    return outcome;
}

/* rDX:rAX, or AX for an operand of one byte. */
static void write_pair(const struct emulate_env *env, u64 low, u64 high, u8 bytes)
{
    if (bytes == 1) {
        write_gpr(&env->gpr[RAX], (low & 0xff) | high << 8, 2);
    } else {
        write_gpr(&env->gpr[RAX], low, bytes);
        write_gpr(&env->gpr[RDX], high, bytes);
    }
}

static COLD enum emulate_outcome run_multiply(const struct emulate_env *env, const struct decode_insn *insn, u64 linear)
{
    u8 bytes = insn->width;
    u64 memory;
    enum emulate_outcome outcome = load(env, insn, linear, &memory);
    if (outcome != EMULATE_OK)
        return outcome;

    u64 factor = insn->form == DECODE_MEMORY            ? env->gpr[RAX] & bits_mask_of_bytes(bytes)
                 : insn->form == DECODE_REGISTER_MEMORY ? read_operand(env, insn)
                                                        : insn->immediate;
    unsigned __int128 product = (unsigned __int128)memory * factor;
    if (insn->operation == DECODE_IMUL)
        product = (unsigned __int128)((__int128)(s64)sign_extend(memory, bytes) * (s64)sign_extend(factor, bytes));
    u64 low = (u64)product & bits_mask_of_bytes(bytes);
    u64 high = (u64)(product >> 8 * bytes) & bits_mask_of_bytes(bytes);
    bool negative = insn->operation == DECODE_IMUL && low & top_bit(bytes);
    if (insn->form == DECODE_MEMORY)
        write_pair(env, low, high, bytes);
    else
        write_operand(env, insn, low);
    *env->rflags &= ~(u64)(RFLAGS_CF | RFLAGS_OF);
    if (high != (negative ? bits_mask_of_bytes(bytes) : 0))
        *env->rflags |= RFLAGS_CF | RFLAGS_OF;
    return EMULATE_OK;
}

/* By the absolute values. A quotient that does not fit is #DE: SDM 2A "DIV-Unsigned Divide", "IDIV-Signed Divide". */
static COLD enum emulate_outcome run_divide(const struct emulate_env *env, const struct decode_insn *insn, u64 linear)
{
    u8 bytes = insn->width;
    u64 mask = bits_mask_of_bytes(bytes);
    bool is_signed = insn->operation == DECODE_IDIV;
    u64 high = (bytes == 1 ? env->gpr[RAX] >> 8 : env->gpr[RDX]) & mask;
    unsigned __int128 dividend = (unsigned __int128)high << 8 * bytes | (env->gpr[RAX] & mask);
    u64 divisor;
    enum emulate_outcome outcome = load(env, insn, linear, &divisor);
    if (outcome != EMULATE_OK)
        return outcome;

    bool negative = is_signed && high & top_bit(bytes);
    bool opposite = is_signed && negative != !!(divisor & top_bit(bytes));
    if (is_signed && divisor & top_bit(bytes))
        divisor = (0 - divisor) & mask;
    if (negative)
        dividend = ((unsigned __int128)mask << 8 * bytes | mask) & (0 - dividend);
    if ((u64)(dividend >> 8 * bytes) >= divisor)
        return env->calls->raise(env->context, VECTOR_DE);
    u64 quotient, rest;
    asm("divq %[divisor]"
        : "=a"(quotient), "=d"(rest)
        : "a"((u64)dividend), "d"((u64)(dividend >> 64)), [divisor] "r"(divisor)
        : "cc");
    if (is_signed && quotient >= top_bit(bytes) + opposite)
        return env->calls->raise(env->context, VECTOR_DE);
    write_pair(env, (opposite ? 0 - quotient : quotient) & mask, (negative ? 0 - rest : rest) & mask, bytes);
    return EMULATE_OK;
}

static COLD unsigned count_ones(u64 value)
{
    unsigned count = 0;

    for (; value; value &= value - 1)
        count++;
    return count;
}

/* BSF and BSR leave their destination alone if there is no bit, which the SDM leaves undefined and every CPU does. */
static COLD enum emulate_outcome run_count(const struct emulate_env *env, const struct decode_insn *insn, u64 linear)
{
    unsigned bits = 8u * insn->width;
    bool tzcnt = insn->operation == DECODE_TZCNT && env->calls->has_tzcnt(env->context);
    bool lzcnt = insn->operation == DECODE_LZCNT && env->calls->has_lzcnt(env->context);
    bool forward = insn->operation == DECODE_BSF || insn->operation == DECODE_TZCNT;
    u64 memory;
    enum emulate_outcome outcome = load(env, insn, linear, &memory);
    if (outcome != EMULATE_OK)
        return outcome;

    unsigned top = memory ? 63u ^ (unsigned)__builtin_clzll(memory) : 0;
    unsigned bottom = memory ? (unsigned)__builtin_ctzll(memory) : bits;
    u64 changed = RFLAGS_ZF;
    u64 flags = memory ? 0 : RFLAGS_ZF;
    unsigned result = forward ? bottom : top;
    if (insn->operation == DECODE_POPCNT) {
        changed = STATUS_FLAGS;
        result = count_ones(memory);
    } else if (tzcnt || lzcnt) {
        if (lzcnt)
            result = memory ? bits - 1 - top : bits;
        changed |= RFLAGS_CF;
        flags = result ? 0 : RFLAGS_ZF;
        if (!memory)
            flags |= RFLAGS_CF;
    }
    if (memory || changed != RFLAGS_ZF)
        write_operand(env, insn, result);
    *env->rflags = (*env->rflags & ~changed) | flags;
    return EMULATE_OK;
}

/* ---- operands of more than 8 bytes ---- */

/* An operand of more than 8 bytes is accessed in pieces of 8, in rising order; it is checked whole before the first. */
static enum emulate_outcome load_wide(const struct emulate_env *env, const struct decode_insn *insn, u64 linear, u8 *to)
{
    u8 piece = insn->width < 8 ? insn->width : 8;

    for (u8 i = 0; i < insn->width; i += piece) {
        u64 value = 0;
        enum emulate_outcome outcome = env->calls->read(env->context, linear + i, piece, &value);
        if (outcome != EMULATE_OK)
            return outcome;
        __builtin_memcpy(to + i, &value, piece);
    }
    return EMULATE_OK;
}

static enum emulate_outcome store_wide(const struct emulate_env *env, const struct decode_insn *insn, u64 linear,
                                       const u8 *from)
{
    u8 piece = insn->width < 8 ? insn->width : 8;

    for (u8 i = 0; i < insn->width; i += piece) {
        u64 value = 0;
        __builtin_memcpy(&value, from + i, piece);
        enum emulate_outcome outcome = env->calls->write(env->context, linear + i, piece, value);
        if (outcome != EMULATE_OK)
            return outcome;
    }
    return EMULATE_OK;
}

/* EDX:EAX or ECX:EBX as CMPXCHG8B has them in memory, RDX:RAX or RCX:RBX for CMPXCHG16B. */
static void take_pair(u64 value[2], u64 low, u64 high, u8 width)
{
    value[0] = width == 8 ? (u32)low | high << 32 : low;
    value[1] = width == 8 ? 0 : high;
}

/* Where memory differs from the accumulator it is written with what it had. */
static COLD enum emulate_outcome run_exchange_pair(const struct emulate_env *env, const struct decode_insn *insn,
                                                   u64 linear)
{
    u64 memory[2] = {0}, expected[2], written[2];
    enum emulate_outcome outcome = load_wide(env, insn, linear, (u8 *)memory);
    if (outcome != EMULATE_OK)
        return outcome;

    take_pair(expected, env->gpr[RAX], env->gpr[RDX], insn->width);
    take_pair(written, env->gpr[RBX], env->gpr[RCX], insn->width);
    bool equal = memory[0] == expected[0] && memory[1] == expected[1];
    outcome = store_wide(env, insn, linear, (const u8 *)(equal ? written : memory));
    if (outcome != EMULATE_OK)
        return outcome;
    if (!equal && insn->width == 8)
        write_pair(env, memory[0], memory[0] >> 32, 4);
    else if (!equal)
        write_pair(env, memory[0], memory[1], 8);
    *env->rflags = (*env->rflags & ~(u64)RFLAGS_ZF) | (equal ? RFLAGS_ZF : 0);
    return EMULATE_OK;
}

/* Moves of XMM and YMM registers. */
static COLD enum emulate_outcome run_vector(const struct emulate_env *env, const struct decode_insn *insn)
{
    bool vex = insn->vector & DECODE_VEX;
    bool store = insn->form == DECODE_MEMORY_REGISTER;
    u64 offset = effective_offset(env, insn);
    u64 linear = to_linear(env, insn, insn->segment, offset);
    u64 value[4] = {0};
    u8 *lane = (u8 *)value + (insn->vector & DECODE_HIGH ? 8 : 0) + (insn->immediate & 1) * 16;

    enum emulate_outcome outcome = env->calls->check_vector(env->context, vex);
    if (outcome != EMULATE_OK)
        return outcome;
    if (insn->vector & DECODE_ALIGNED && linear & (insn->width - 1u))
        return env->calls->raise(env->context, VECTOR_GP);
    if (insn->width > 8)
        outcome = check(env, insn, insn->segment, offset, store);
    if (outcome != EMULATE_OK)
        return outcome;
    if (store || insn->vector & DECODE_MERGES)
        env->calls->read_vector(env->context, store ? insn->register_index : insn->second, vex, value);
    if (store)
        return store_wide(env, insn, linear, lane);
    outcome = load_wide(env, insn, linear, lane);
    if (outcome != EMULATE_OK)
        return outcome;
    if (insn->register_width == 16) /* with VEX the upper half becomes 0, without it stays */
        value[2] = value[3] = 0;
    env->calls->write_vector(env->context, insn->register_index, vex, value);
    return EMULATE_OK;
}

/* ---- the stack, and near branches ---- */

static u64 stack_linear(const struct emulate_env *env, const struct decode_insn *insn, u64 offset)
{
    return insn->mode == DECODE_64 ? offset : (u32)(offset + env->calls->segment_base(env->context, DECODE_SS));
}

static enum emulate_outcome check_stack(const struct emulate_env *env, const struct decode_insn *insn, u64 offset,
                                        bool write)
{
    return env->calls->check(env->context, DECODE_SS, offset, insn->width, write);
}

/* The target of CALL and JMP, and what PUSH pushes. */
static enum emulate_outcome load_source(const struct emulate_env *env, const struct decode_insn *insn, u64 *value)
{
    switch (insn->form) {
    case DECODE_REGISTER:
        *value = read_operand(env, insn);
        return EMULATE_OK;
    case DECODE_IMMEDIATE:
        *value = insn->immediate + (insn->operation == DECODE_CALL ? env->rip + insn->length : 0);
        *value &= bits_mask_of_bytes(insn->width);
        return EMULATE_OK;
    default:
        return load(env, insn, to_linear(env, insn, insn->segment, effective_offset(env, insn)), value);
    }
}

static enum emulate_outcome run_push(const struct emulate_env *env, const struct decode_insn *insn)
{
    u8 bytes = insn->mode == DECODE_64 ? 8 : env->calls->stack_width(env->context);
    u64 top = (env->gpr[RSP] - insn->width) & bits_mask_of_bytes(bytes);
    bool branch = insn->operation == DECODE_CALL;
    enum emulate_outcome outcome = EMULATE_OK;
    u64 value;

    if (insn->form == DECODE_MEMORY)
        outcome = check(env, insn, insn->segment, effective_offset(env, insn), false);
    if (outcome == EMULATE_OK)
        outcome = check_stack(env, insn, top, true);
    if (outcome == EMULATE_OK)
        outcome = load_source(env, insn, &value);
    if (outcome == EMULATE_OK && branch)
        outcome = env->calls->check_branch(env->context, value);
    if (outcome == EMULATE_OK)
        outcome = store(env, insn, stack_linear(env, insn, top), branch ? env->rip + insn->length : value);
    if (outcome != EMULATE_OK)
        return outcome;
    write_gpr(&env->gpr[RSP], top, bytes);
    if (branch)
        *env->target = value;
    return branch ? EMULATE_JUMP : EMULATE_OK;
}

/* POP to memory: an address by RSP is that behind the pop. */
static enum emulate_outcome check_destination(const struct emulate_env *env, const struct decode_insn *insn, u64 rsp,
                                              u64 *linear)
{
    u64 before = env->gpr[RSP];

    env->gpr[RSP] = rsp;
    u64 offset = effective_offset(env, insn);
    env->gpr[RSP] = before;
    *linear = to_linear(env, insn, insn->segment, offset);
    return check(env, insn, insn->segment, offset, true);
}

static enum emulate_outcome run_pop(const struct emulate_env *env, const struct decode_insn *insn)
{
    u8 bytes = insn->mode == DECODE_64 ? 8 : env->calls->stack_width(env->context);
    bool leave = insn->operation == DECODE_LEAVE;
    bool branch = insn->operation == DECODE_RET;
    u64 top = env->gpr[leave ? RBP : RSP] & bits_mask_of_bytes(bytes);
    u64 rsp = env->gpr[RSP];
    u64 value = 0, linear = 0;

    write_gpr(&rsp, top + insn->width + (branch ? insn->immediate : 0), bytes);
    enum emulate_outcome outcome = check_stack(env, insn, top, false);
    if (outcome == EMULATE_OK && insn->form == DECODE_MEMORY)
        outcome = check_destination(env, insn, rsp, &linear);
    if (outcome == EMULATE_OK)
        outcome = load(env, insn, stack_linear(env, insn, top), &value);
    if (outcome == EMULATE_OK && branch)
        outcome = env->calls->check_branch(env->context, value);
    if (outcome == EMULATE_OK && insn->form == DECODE_MEMORY)
        outcome = store(env, insn, linear, value);
    if (outcome != EMULATE_OK)
        return outcome;
    env->gpr[RSP] = rsp;
    if (leave)
        write_gpr(&env->gpr[RBP], value, insn->width);
    else if (insn->form == DECODE_REGISTER)
        write_operand(env, insn, value);
    if (branch)
        *env->target = value;
    return branch ? EMULATE_JUMP : EMULATE_OK;
}

static enum emulate_outcome run_jump(const struct emulate_env *env, const struct decode_insn *insn)
{
    u64 value;
    enum emulate_outcome outcome = load_source(env, insn, &value);

    if (outcome == EMULATE_OK)
        outcome = env->calls->check_branch(env->context, value);
    if (outcome != EMULATE_OK)
        return outcome;
    *env->target = value;
    return EMULATE_JUMP;
}

static COLD enum emulate_outcome run_stack(const struct emulate_env *env, const struct decode_insn *insn)
{
    switch (insn->operation) {
    case DECODE_PUSH:
    case DECODE_CALL:
        return run_push(env, insn);
    case DECODE_JMP:
        return run_jump(env, insn);
    default:
        return run_pop(env, insn);
    }
}

/* Everything with an explicit memory operand but MOV. */
static SLOW_PATH enum emulate_outcome run_other(const struct emulate_env *env, const struct decode_insn *insn)
{
    if (insn->operation >= DECODE_BT && insn->operation <= DECODE_BTC)
        return run_bit(env, insn);
    if (insn->operation == DECODE_VECTOR)
        return run_vector(env, insn);
    if (insn->operation >= DECODE_PUSH && insn->operation <= DECODE_LEAVE)
        return run_stack(env, insn);

    u64 offset = effective_offset(env, insn);
    u64 linear = to_linear(env, insn, insn->segment, offset);
    if (changes_memory(insn)) {
        enum emulate_outcome outcome = check(env, insn, insn->segment, offset, true);
        if (outcome != EMULATE_OK)
            return outcome;
    }
    switch (insn->operation) {
    case DECODE_ROL ... DECODE_SHRD:
        return run_shift(env, insn, linear);
    case DECODE_MUL:
    case DECODE_IMUL:
        return run_multiply(env, insn, linear);
    case DECODE_DIV:
    case DECODE_IDIV:
        return run_divide(env, insn, linear);
    case DECODE_POPCNT ... DECODE_LZCNT:
        return run_count(env, insn, linear);
    case DECODE_CMPXCHG_PAIR:
        return run_exchange_pair(env, insn, linear);
    case DECODE_MOVZX:
    case DECODE_MOVSX:
    case DECODE_CMOVCC:
        return run_extension(env, insn, linear);
    case DECODE_FLUSH: /* a device has no cache line to flush */
        return EMULATE_OK;
    case DECODE_SMSW:
        return store(env, insn, linear, env->calls->cr0(env->context));
    case DECODE_MOVBE:
        return run_swapped(env, insn, linear);
    case DECODE_SETCC:
        return store(env, insn, linear, condition_holds(insn->condition, *env->rflags));
    case DECODE_XCHG:
    case DECODE_XADD:
    case DECODE_CMPXCHG:
        return run_exchange(env, insn, linear);
    default:
        return run_arithmetic(env, insn, linear);
    }
}

enum emulate_outcome emulate_instruction(const struct emulate_env *env, const struct decode_insn *insn, u8 *advance)
{
    *advance = insn->length;
    if (insn->operation != DECODE_MOV)
        return insn->form == DECODE_STRING ? run_string(env, insn, advance) : run_other(env, insn);

    u64 linear = to_linear(env, insn, insn->segment, effective_offset(env, insn));
    if (insn->form != DECODE_REGISTER_MEMORY)
        return store(env, insn, linear,
                     insn->form == DECODE_MEMORY_REGISTER ? read_operand(env, insn) : insn->immediate);
    u64 value;
    enum emulate_outcome outcome = load(env, insn, linear, &value);
    if (outcome == EMULATE_OK)
        write_operand(env, insn, value);
    return outcome;
}
