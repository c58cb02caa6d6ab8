/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What test_emulate_native cannot ask the CPU: 16- and 32-bit code, segment bases, what is checked first, accesses that
 * fail.
 *
 * links: vmx/insn/decode.c vmx/insn/emulate.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/regs.h"
#include "vmx/insn/emulate.h"

#define ARENA        0x12345000ull /* linear address of shadow[0] */
#define ARENA_BYTES  1024u
#define STATUS_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

struct machine {
    u64 gpr[16];
    u64 rflags;
};

static u8 shadow[ARENA_BYTES];
static unsigned fail_read, fail_write; /* the nth access of its kind fails; 0: none */
static unsigned reads, writes;
static u64 segment_bases[6];
static struct checked {
    enum decode_segment segment;
    u64 offset;
    u8 bytes;
    bool write;
} checked[4];
static u32 checks, fail_check; /* the nth check fails; 0: none */
static const struct machine zero_machine;

static u8 *shadow_at(u64 linear, u8 bytes)
{
    u64 offset = linear - ARENA;
    assert_true(offset <= ARENA_BYTES - bytes);
    return shadow + offset;
}

static enum emulate_outcome read_shadow(void *context, u64 linear, u8 bytes, u64 *value)
{
    (void)context;
    if (++reads == fail_read)
        return EMULATE_FAULT;
    *value = 0xfefefefefefefefe; /* what lies above `bytes` must not matter */
    memcpy(value, shadow_at(linear, bytes), bytes);
    return EMULATE_OK;
}

static enum emulate_outcome write_shadow(void *context, u64 linear, u8 bytes, u64 value)
{
    (void)context;
    if (++writes == fail_write)
        return EMULATE_FAULT;
    assert_true(bytes == 8 || value >> (8 * bytes) == 0);
    memcpy(shadow_at(linear, bytes), &value, bytes);
    return EMULATE_OK;
}

static u64 segment_base(void *context, enum decode_segment segment)
{
    (void)context;
    return segment_bases[segment];
}

static enum emulate_outcome check_access(void *context, enum decode_segment segment, u64 offset, u8 bytes, bool write)
{
    (void)context;
    assert_true(checks < ARRAY_SIZE(checked));
    checked[checks] = (struct checked){segment, offset, bytes, write};
    return ++checks == fail_check ? EMULATE_FAULT : EMULATE_OK;
}

static u8 raised; /* vector, plus 1 */
static bool counts_zeros;

static enum emulate_outcome raise(void *context, u8 vector)
{
    (void)context;
    raised = vector + 1;
    return EMULATE_FAULT;
}

static bool has_count(void *context)
{
    (void)context;
    return counts_zeros;
}

static const struct emulate_calls shadow_calls = {.read = read_shadow,
                                                  .write = write_shadow,
                                                  .check = check_access,
                                                  .segment_base = segment_base,
                                                  .raise = raise,
                                                  .has_tzcnt = has_count,
                                                  .has_lzcnt = has_count};

static enum emulate_outcome run_in(enum decode_mode mode, const u8 *bytes, size_t count, struct machine *m, u8 *advance)
{
    struct decode_insn insn;
    struct emulate_env env = {&shadow_calls, NULL, m->gpr, &m->rflags, 0x1000, NULL};

    assert_int_equal(decode_instruction(bytes, count, mode, &insn), STATUS_OK);
    assert_int_equal(insn.length, count);
    return emulate_instruction(&env, &insn, advance);
}
#define BYTES(...) (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__})

static int reset(void **state)
{
    (void)state;
    memset(segment_bases, 0, sizeof segment_bases);
    for (unsigned i = 0; i < ARENA_BYTES; i++)
        shadow[i] = (u8)i;
    fail_read = fail_write = reads = writes = 0;
    checks = fail_check = 0;
    raised = 0;
    counts_zeros = false;
    return 0;
}

static void test_real_mode_addresses_wrap_at_64_kib(void **state)
{
    struct machine m = zero_machine;
    u8 advance;
    (void)state;
    segment_bases[DECODE_DS] = ARENA - 0x10;
    segment_bases[DECODE_SS] = ARENA + 0x40;
    m.gpr[3] = 0xabcd00000000fff8;
    m.gpr[6] = 0x20;
    m.gpr[0] = 0x1111111111111111;
    assert_int_equal(run_in(DECODE_16, BYTES(0x8b, 0x40, 0x01), &m, &advance), EMULATE_OK); /* mov ax, [bx+si+1] */
    assert_true(m.gpr[0] == 0x1111111111110a09); /* offset 0x19, minus 0x10 */
    assert_int_equal(advance, 3);
    m.gpr[5] = 0xffff;
    assert_int_equal(run_in(DECODE_16, BYTES(0x8a, 0x66, 0x03), &m, &advance), EMULATE_OK); /* mov ah, [bp+3] */
    assert_true(m.gpr[0] == 0x1111111111114209);
    assert_int_equal(run_in(DECODE_16, BYTES(0x66, 0xc7, 0x06, 0x30, 0x00, 1, 2, 3, 4), &m, &advance), EMULATE_OK);
    assert_memory_equal(shadow + 0x20, "\x01\x02\x03\x04", 4);
}

static void test_32_bit_linear_addresses_wrap_at_4_gib(void **state)
{
    struct machine m = zero_machine;
    u8 advance;
    (void)state;
    segment_bases[DECODE_GS] = 0xfffff000;
    m.gpr[2] = ARENA + 0x1000;
    assert_int_equal(run_in(DECODE_32, BYTES(0x65, 0x8b, 0x42, 0x04), &m, &advance),
                     EMULATE_OK); /* mov eax, gs:[edx+4] */
    assert_true(m.gpr[0] == 0x07060504);
    /* In 64-bit mode the FS base is added at full width, and DS has none. */
    segment_bases[DECODE_FS] = ARENA - 0x700000000;
    segment_bases[DECODE_DS] = 0x1234;
    m.gpr[2] = 0x700000000;
    assert_int_equal(run_in(DECODE_64, BYTES(0x64, 0x8b, 0x42, 0x08), &m, &advance), EMULATE_OK);
    assert_true(m.gpr[0] == 0x0b0a0908);
    m.gpr[2] = ARENA;
    assert_int_equal(run_in(DECODE_64, BYTES(0x3e, 0x8b, 0x42, 0x0c), &m, &advance), EMULATE_OK);
    assert_true(m.gpr[0] == 0x0f0e0d0c);
}

static void test_16_bit_strings_wrap_and_keep_upper_halves(void **state)
{
    struct machine m = zero_machine;
    u8 advance;
    (void)state;
    segment_bases[DECODE_ES] = ARENA - 0xfff0;
    m.gpr[0] = 0xbeef;
    m.gpr[1] = 0x12340002;
    m.gpr[7] = 0x5678fffe;
    assert_int_equal(run_in(DECODE_16, BYTES(0xf3, 0xab), &m, &advance), EMULATE_OK); /* rep stosw */
    assert_int_equal(advance, 0);
    assert_true(m.gpr[1] == 0x12340001 && m.gpr[7] == 0x56780000);
    assert_memory_equal(shadow + 0xe, "\xef\xbe", 2);
    segment_bases[DECODE_ES] = ARENA;
    assert_int_equal(run_in(DECODE_16, BYTES(0xf3, 0xab), &m, &advance), EMULATE_OK);
    assert_int_equal(advance, 2);
    assert_true(m.gpr[1] == 0x12340000 && m.gpr[7] == 0x56780002);
    assert_int_equal(writes, 2);
    assert_int_equal(run_in(DECODE_16, BYTES(0xf3, 0xab), &m, &advance), EMULATE_OK); /* nothing left */
    assert_int_equal(advance, 2);
    assert_int_equal(writes, 2);
}

/* Each access of each instruction fails once: nothing may have changed. */
static void test_a_fault_changes_nothing(void **state)
{
    static const struct {
        u8 bytes[5], count, reads, writes;
    } cases[] = {
        {{0x8b, 0x02},          2, 1, 0}, /* mov eax, [rdx] */
        {{0x89, 0x02},          2, 0, 1}, /* mov [rdx], eax */
        {{0x01, 0x02},          2, 1, 1}, /* add [rdx], eax */
        {{0x03, 0x02},          2, 1, 0}, /* add eax, [rdx] */
        {{0x3a, 0x02},          2, 1, 0}, /* cmp al, [rdx] */
        {{0xf7, 0x1a},          2, 1, 1}, /* neg [rdx] */
        {{0x87, 0x02},          2, 1, 1}, /* xchg [rdx], eax */
        {{0x0f, 0xc1, 0x02},    3, 1, 1}, /* xadd [rdx], eax */
        {{0x0f, 0xb1, 0x0a},    3, 1, 1}, /* cmpxchg [rdx], ecx */
        {{0x0f, 0xba, 0x2a, 1}, 4, 1, 1}, /* bts [rdx], 1 */
        {{0x0f, 0xbe, 0x02},    3, 1, 0}, /* movsx eax, byte [rdx] */
        {{0x0f, 0x44, 0x02},    3, 1, 0}, /* cmovz eax, [rdx] */
        {{0x0f, 0x94, 0x02},    3, 0, 1}, /* setz [rdx] */
        {{0xf3, 0xa5},          2, 1, 1}, /* rep movsd */
        {{0xf3, 0xa7},          2, 2, 0}, /* repe cmpsd */
        {{0xf3, 0xab},          2, 0, 1}, /* rep stosd */
        {{0xf3, 0xad},          2, 1, 0}, /* rep lodsd */
        {{0xf2, 0xaf},          2, 1, 0}, /* repne scasd */
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
        for (unsigned n = 1; n <= (unsigned)cases[i].reads + cases[i].writes; n++) {
            struct machine m = zero_machine, before;
            u8 memory[ARENA_BYTES], advance;
            m.gpr[0] = 0x123456789abcdef0;
            m.gpr[1] = 7;
            m.gpr[2] = m.gpr[6] = ARENA + 8;
            m.gpr[7] = ARENA + 64;
            m.rflags = RFLAGS_ONE | STATUS_FLAGS;
            before = m;
            memcpy(memory, shadow, sizeof memory);
            reads = writes = checks = 0;
            fail_read = n <= cases[i].reads ? n : 0;
            fail_write = fail_read ? 0 : n - cases[i].reads;
            assert_int_equal(run_in(DECODE_64, cases[i].bytes, cases[i].count, &m, &advance), EMULATE_FAULT);
            assert_memory_equal(&m, &before, sizeof m);
            assert_memory_equal(memory, shadow, sizeof memory);
            assert_int_equal(reads, fail_read ? n : cases[i].reads);
        }
}

static void assert_checked(u32 index, enum decode_segment segment, u64 offset, u8 bytes, bool write)
{
    assert_int_equal(checked[index].segment, segment);
    assert_int_equal(checked[index].offset, offset);
    assert_int_equal(checked[index].bytes, bytes);
    assert_int_equal(checked[index].write, write);
}

/* MOVS and CMPS: both operands are checked, source first, before either is accessed. */
static void test_both_operands_are_checked_first(void **state)
{
    (void)state;
    for (u32 n = 0; n < 3; n++)
        for (u32 movs = 0; movs < 2; movs++) {
            struct machine m = zero_machine;
            u8 advance;
            segment_bases[DECODE_FS] = segment_bases[DECODE_ES] = ARENA;
            m.gpr[6] = 0x10010;
            m.gpr[7] = 0x20018;
            reads = writes = checks = fail_read = fail_write = 0;
            fail_check = n;
            assert_int_equal(run_in(DECODE_16, movs ? (const u8 *)"\x64\xa5" : (const u8 *)"\x64\xa7", 2, &m, &advance),
                             n ? EMULATE_FAULT : EMULATE_OK);
            assert_int_equal(checks, n == 1 ? 1 : 2);
            assert_checked(0, DECODE_FS, 0x10, 2, false);
            if (checks == 2)
                assert_checked(1, DECODE_ES, 0x18, 2, movs);
            assert_int_equal(reads + writes, n ? 0 : 2);
        }
}

/* What reads and then writes is checked for the write before it reads: the read may change the device. */
static void test_read_modify_write_is_checked_first(void **state)
{
    static const struct {
        u8 bytes[4];
        u8 count;
        bool writes;
    } cases[] = {
        {{0x01, 0x0a},             2, true }, /* add [rdx], ecx */
        {{0x39, 0x0a},             2, false}, /* cmp */
        {{0x03, 0x0a},             2, false}, /* add ecx, [rdx] */
        {{0x85, 0x0a},             2, false}, /* test */
        {{0xf7, 0x1a},             2, true }, /* neg */
        {{0x87, 0x0a},             2, true }, /* xchg */
        {{0x0f, 0xc1, 0x0a},       3, true }, /* xadd */
        {{0x0f, 0xb1, 0x0a},       3, true }, /* cmpxchg */
        {{0x0f, 0xba, 0x2a, 0x01}, 4, true }, /* bts */
        {{0x0f, 0xba, 0x22, 0x01}, 4, false}, /* bt */
        {{0xd1, 0x22},             2, true }, /* shl */
        {{0x0f, 0xa5, 0x0a},       3, true }, /* shld */
        {{0xf7, 0x22},             2, false}, /* mul */
        {{0x0f, 0xaf, 0x0a},       3, false}, /* imul */
        {{0x0f, 0xbc, 0x0a},       3, false}, /* bsf */
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        struct machine m = zero_machine;
        u8 advance;
        m.gpr[2] = ARENA;
        reads = writes = checks = 0;
        fail_check = 1;
        assert_int_equal(run_in(DECODE_64, cases[i].bytes, cases[i].count, &m, &advance),
                         cases[i].writes ? EMULATE_FAULT : EMULATE_OK);
        assert_int_equal(checks, cases[i].writes);
        if (cases[i].writes) {
            assert_checked(0, DECODE_DS, ARENA, 4, true);
            assert_int_equal(reads + writes, 0);
        }
    }
}

static void test_failed_cmpxchg_writes_back(void **state)
{
    struct machine m = zero_machine;
    u8 advance;
    (void)state;
    m.gpr[2] = ARENA;
    assert_int_equal(run_in(DECODE_64, BYTES(0x0f, 0xb1, 0x0a), &m, &advance), EMULATE_OK);
    assert_int_equal(writes, 1);
    assert_true(m.gpr[0] == 0x03020100);
}

/* SDM 2A "DIV-Unsigned Divide", "IDIV-Signed Divide" */
static void test_a_quotient_that_does_not_fit(void **state)
{
    static const struct {
        u8 reg; /* of F7 */
        u64 rdx, rax;
        u32 divisor;
        bool fits;
    } cases[] = {
        {6, 0,          5,          0,          false},
        {6, 1,          0,          1,          false},
        {6, 1,          0,          2,          true },
        {7, 0,          5,          0,          false},
        {7, 0xffffffff, 0x80000000, 0xffffffff, false}, /* -2^31 by -1 */
        {7, 0xffffffff, 0x80000000, 1,          true },
        {7, 0,          0x80000000, 1,          false},
        {7, 0,          0x80000000, 0xffffffff, true }, /* to -2^31 */
        {7, 0,          0x80000001, 0xffffffff, false},
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
        const u8 bytes[] = {0xf7, (u8)(cases[i].reg << 3 | 3)}; /* [rbx] */
        struct machine m = zero_machine;
        u8 advance;
        m.gpr[0] = cases[i].rax;
        m.gpr[2] = cases[i].rdx;
        m.gpr[3] = ARENA;
        memcpy(shadow, &cases[i].divisor, 4);
        raised = 0;
        assert_int_equal(run_in(DECODE_64, bytes, 2, &m, &advance), cases[i].fits ? EMULATE_OK : EMULATE_FAULT);
        assert_int_equal(raised, cases[i].fits ? 0 : VECTOR_DE + 1);
        if (!cases[i].fits)
            assert_true(m.gpr[0] == cases[i].rax && m.gpr[2] == cases[i].rdx);
    }
}

/* Old CPUs take the F3 of TZCNT and LZCNT for nothing, and BSF and BSR of 0 leave their destination alone. */
static void test_counting_of_an_old_cpu(void **state)
{
    static const u8 zero[] = {0xf3, 0x0f, 0xbc, 0x0b}, leading[] = {0xf3, 0x0f, 0xbd, 0x0b};
    struct machine m = zero_machine;
    u8 advance;

    (void)state;
    m.gpr[1] = 0x1122334455667788;
    m.gpr[3] = ARENA;
    memset(shadow, 0, 4);
    assert_int_equal(run_in(DECODE_64, zero, 4, &m, &advance), EMULATE_OK);
    assert_true(m.gpr[1] == 0x1122334455667788 && m.rflags == RFLAGS_ZF);
    shadow[1] = 1;
    assert_int_equal(run_in(DECODE_64, leading, 4, &m, &advance), EMULATE_OK);
    assert_true(m.gpr[1] == 8 && m.rflags == 0);
    counts_zeros = true;
    assert_int_equal(run_in(DECODE_64, leading, 4, &m, &advance), EMULATE_OK);
    assert_int_equal(m.gpr[1], 23);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_real_mode_addresses_wrap_at_64_kib, reset),
        cmocka_unit_test_setup(test_32_bit_linear_addresses_wrap_at_4_gib, reset),
        cmocka_unit_test_setup(test_16_bit_strings_wrap_and_keep_upper_halves, reset),
        cmocka_unit_test_setup(test_a_fault_changes_nothing, reset),
        cmocka_unit_test_setup(test_both_operands_are_checked_first, reset),
        cmocka_unit_test_setup(test_read_modify_write_is_checked_first, reset),
        cmocka_unit_test_setup(test_failed_cmpxchg_writes_back, reset),
        cmocka_unit_test_setup(test_a_quotient_that_does_not_fit, reset),
        cmocka_unit_test_setup(test_counting_of_an_old_cpu, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
