/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes through the decoder, and what it accepts through the executor with random registers and accesses that fail.
 * Checks the contracts: lengths, truncation, no change when an access fails, no access wider than the operand, and
 * none before all checks.
 * Input: one byte of mode and failure, 8 of register seed, then the instruction.
 *
 * links: vmx/insn/decode.c vmx/insn/emulate.c
 */
#include <stdlib.h>
#include <string.h>

#include "vmx/insn/emulate.h"

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

struct memory {
    const struct decode_insn *insn;
    u64 seed;
    unsigned accesses;
    unsigned failing; /* the nth access fails; 0: none */
    unsigned checks;
    unsigned refused; /* the nth check fails; 0: none */
};

static u64 next_random(u64 *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed ^ *seed >> 29;
}

static enum emulate_outcome access_memory(struct memory *m, u64 linear, u8 bytes)
{
    REQUIRE(bytes == (m->insn->width > 8 ? 8 : m->insn->width));
    REQUIRE(m->insn->mode == DECODE_64 || linear >> 32 == 0);
    m->accesses++;
    return m->accesses == m->failing ? EMULATE_FAULT : EMULATE_OK;
}

static enum emulate_outcome read_memory(void *context, u64 linear, u8 bytes, u64 *value)
{
    struct memory *m = context;
    *value = next_random(&m->seed);
    return access_memory(m, linear, bytes);
}

static enum emulate_outcome write_memory(void *context, u64 linear, u8 bytes, u64 value)
{
    REQUIRE(bytes == 8 || value >> (8 * bytes) == 0);
    return access_memory(context, linear, bytes);
}

static u64 segment_base(void *context, enum decode_segment segment)
{
    struct memory *m = context;
    REQUIRE(segment <= DECODE_GS && (m->insn->mode != DECODE_64 || segment >= DECODE_FS));
    return next_random(&m->seed);
}

static enum emulate_outcome check(void *context, enum decode_segment segment, u64 offset, u8 bytes, bool write)
{
    struct memory *m = context;
    (void)write;
    bool stack = m->insn->operation >= DECODE_PUSH && m->insn->operation <= DECODE_LEAVE && segment == DECODE_SS;
    u8 width = stack ? 8 : m->insn->address_width;
    REQUIRE(segment <= DECODE_GS && bytes == m->insn->width && (width == 8 || offset >> (8 * width) == 0));
    REQUIRE(m->accesses == 0);
    m->checks++;
    return m->checks == m->refused ? EMULATE_FAULT : EMULATE_OK;
}

static enum emulate_outcome raise_exception(void *context, u8 vector)
{
    struct memory *m = context;
    bool divides = m->insn->operation == DECODE_DIV || m->insn->operation == DECODE_IDIV;
    REQUIRE(divides ? vector == 0 : vector == 13 && m->accesses == 0);
    return EMULATE_FAULT;
}

static bool has_count(void *context)
{
    struct memory *m = context;
    return next_random(&m->seed) & 1;
}

static u64 cr0(void *context)
{
    (void)context;
    return 0x80010031;
}

static u8 stack_width(void *context)
{
    struct memory *m = context;
    REQUIRE(m->insn->mode != DECODE_64);
    return next_random(&m->seed) & 1 ? 2 : 4;
}

static enum emulate_outcome check_branch(void *context, u64 rip)
{
    struct memory *m = context;
    REQUIRE(m->insn->width == 8 || rip >> 8 * m->insn->width == 0);
    return next_random(&m->seed) % 8 ? EMULATE_OK : EMULATE_FAULT;
}

static enum emulate_outcome check_vector(void *context, bool vex)
{
    struct memory *m = context;
    REQUIRE(m->accesses == 0 && vex == !!(m->insn->vector & DECODE_VEX));
    return next_random(&m->seed) % 8 ? EMULATE_OK : EMULATE_FAULT;
}

static void read_vector(void *context, u8 index, bool vex, u64 value[4])
{
    struct memory *m = context;
    REQUIRE(index < 16);
    for (unsigned i = 0; i < (vex ? 4u : 2u); i++)
        value[i] = next_random(&m->seed);
}

static void write_vector(void *context, u8 index, bool vex, const u64 value[4])
{
    struct memory *m = context;
    REQUIRE(index < 16 && vex == !!(m->insn->vector & DECODE_VEX));
    REQUIRE(m->insn->register_width == 32 || value[2] + value[3] == 0);
}

static void execute(const struct decode_insn *insn, u64 seed, unsigned failing, unsigned refused)
{
    static const struct emulate_calls calls = {.read = read_memory,
                                               .write = write_memory,
                                               .check = check,
                                               .segment_base = segment_base,
                                               .raise = raise_exception,
                                               .cr0 = cr0,
                                               .stack_width = stack_width,
                                               .has_tzcnt = has_count,
                                               .has_lzcnt = has_count,
                                               .check_branch = check_branch,
                                               .check_vector = check_vector,
                                               .read_vector = read_vector,
                                               .write_vector = write_vector};
    struct memory m = {insn, seed, 0, failing, 0, refused};
    u64 gpr[16], before[16];
    u64 rflags = 2 | (next_random(&seed) & 0xcd5);
    u64 rflags_before = rflags;
    u64 target;
    struct emulate_env env = {&calls, &m, gpr, &rflags, next_random(&seed), &target};
    u8 advance;

    for (unsigned i = 0; i < 16; i++)
        before[i] = gpr[i] = next_random(&seed);
    enum emulate_outcome outcome = emulate_instruction(&env, insn, &advance);
    REQUIRE(m.accesses <= (insn->width > 16 || insn->operation == DECODE_CMPXCHG_PAIR ? 4 : 2));
    REQUIRE((rflags ^ rflags_before) & ~0x8d5ull ? false : true);
    if (outcome == EMULATE_JUMP)
        REQUIRE(insn->operation == DECODE_CALL || insn->operation == DECODE_JMP || insn->operation == DECODE_RET);
    else if (outcome != EMULATE_OK)
        REQUIRE(memcmp(gpr, before, sizeof gpr) == 0 && rflags == rflags_before);
    else
        REQUIRE(advance == insn->length || (advance == 0 && insn->repeat != DECODE_REPEAT_NONE));
    if (refused && m.checks >= refused)
        REQUIRE(outcome == EMULATE_FAULT && m.accesses == 0);
    if (failing && m.accesses >= failing)
        REQUIRE(outcome == EMULATE_FAULT);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct decode_insn insn, shorter;
    u64 seed;

    if (size < 9)
        return 0;
    enum decode_mode mode = (enum decode_mode)(data[0] % 3);
    memcpy(&seed, data + 1, sizeof seed);
    size_t count = size - 9;
    u8 *bytes = malloc(count ? count : 1); /* exact: a read beyond it is seen */
    memcpy(bytes, data + 9, count);

    enum status status = decode_instruction(bytes, count, mode, &insn);
    if (status == STATUS_OK) {
        REQUIRE(insn.length >= 1 && insn.length <= count && insn.length <= DECODE_MAX_BYTES);
        for (size_t less = 0; less < insn.length; less++)
            REQUIRE(decode_instruction(bytes, less, mode, &shorter) == STATUS_TRUNCATED);
        execute(&insn, seed, data[0] / 3 % 3, data[0] / 9 % 3);
    } else if (status == STATUS_TRUNCATED) {
        REQUIRE(count < DECODE_MAX_BYTES);
    } else {
        REQUIRE(status == STATUS_UNSUPPORTED || status == STATUS_INVALID);
    }
    free(bytes);
    return 0;
}
