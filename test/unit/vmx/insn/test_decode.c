/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoder's contract: statuses at the edges (truncation, 15 bytes, LOCK, undefined encodings), and the address
 * forms and field conventions that the executor relies on, by hand. test_decode_zydis compares the rest.
 *
 * links: vmx/insn/decode.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmx/insn/decode.h"

#define BYTES(...) (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__})

static struct decode_insn insn;

/* Decodes from a heap block of exactly `count` bytes, so that the sanitizer sees a read beyond it. */
static enum status decode(enum decode_mode mode, const u8 *bytes, size_t count)
{
    u8 *exact = malloc(count ? count : 1);
    memcpy(exact, bytes, count);
    memset(&insn, 0xa5, sizeof insn);
    enum status status = decode_instruction(exact, count, mode, &insn);
    free(exact);
    return status;
}

static void assert_memory(unsigned segment, unsigned base, unsigned index, unsigned scale, u64 displacement)
{
    assert_int_equal(insn.segment, segment);
    assert_int_equal(insn.base, base);
    assert_int_equal(insn.index, index);
    assert_int_equal(insn.scale, scale);
    assert_true(insn.displacement == displacement);
}

static void test_truncated_until_the_last_byte(void **state)
{
    static const u8 code[] = {0xf0, 0x67, 0x4a, 0x81, 0x84, 0x65, 1, 2, 3, 4, 5, 6, 7, 8}; /* lock add qword */
    (void)state;
    for (size_t count = 0; count < sizeof code; count++)
        assert_int_equal(decode(DECODE_64, code, count), STATUS_TRUNCATED);
    assert_int_equal(decode(DECODE_64, code, sizeof code), STATUS_OK);
    assert_int_equal(insn.length, sizeof code);
    assert_int_equal(insn.operation, DECODE_ADD);
    assert_int_equal(insn.form, DECODE_MEMORY_IMMEDIATE);
    assert_int_equal(insn.width, 8);
    assert_int_equal(insn.address_width, 4);
    assert_true(insn.lock);
    assert_memory(DECODE_SS, 5, 12, 1, 0x04030201);
    assert_true(insn.immediate == 0x08070605);
}

static void test_fifteen_bytes_are_the_limit(void **state)
{
    u8 code[20];
    (void)state;
    memset(code, 0x66, sizeof code);
    code[13] = 0x88; /* mov [rax], al: 15 bytes */
    code[14] = 0x00;
    assert_int_equal(decode(DECODE_64, code, 20), STATUS_OK);
    assert_int_equal(insn.length, 15);
    assert_int_equal(decode(DECODE_64, code, 14), STATUS_TRUNCATED);
    code[14] = 0x40; /* with a displacement: 16 */
    assert_int_equal(decode(DECODE_64, code, 20), STATUS_INVALID);
    assert_int_equal(decode(DECODE_64, code, 15), STATUS_INVALID);
    code[12] = 0x88; /* mov [rax + rax], al: the SIB byte is the fifteenth */
    code[13] = 0x04;
    code[14] = 0x00;
    assert_int_equal(decode(DECODE_64, code, 15), STATUS_OK);
    assert_int_equal(decode(DECODE_64, code, 14), STATUS_TRUNCATED);
    memset(code, 0x66, sizeof code);
    assert_int_equal(decode(DECODE_64, code, 14), STATUS_TRUNCATED);
    assert_int_equal(decode(DECODE_64, code, 15), STATUS_INVALID);
}

static void test_lock_only_where_the_cpu_allows_it(void **state)
{
    (void)state;
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x01, 0x00)), STATUS_OK);                  /* add [rax], eax */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x03, 0x00)), STATUS_INVALID);             /* add eax, [rax] */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x01, 0xc0)), STATUS_INVALID);             /* add eax, eax */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x39, 0x00)), STATUS_INVALID);             /* cmp [rax], eax */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x83, 0x38, 1)), STATUS_INVALID);          /* cmp [rax], 1 */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x89, 0x00)), STATUS_INVALID);             /* mov [rax], eax */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0xa4)), STATUS_INVALID);                   /* movsb */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0xf7, 0x00, 1, 1, 1, 1)), STATUS_INVALID); /* test */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0xf7, 0x18)), STATUS_OK);                  /* neg [rax] */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x0f, 0xba, 0x20, 1)), STATUS_INVALID);    /* bt [rax], 1 */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x0f, 0xba, 0x28, 1)), STATUS_OK);         /* bts [rax], 1 */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x0f, 0xb1, 0x08)), STATUS_OK);            /* cmpxchg [rax], ecx */
    assert_int_equal(decode(DECODE_64, BYTES(0xf0, 0x0f, 0x94, 0x00)), STATUS_INVALID);       /* sete [rax] */
}

static void test_undefined_encodings(void **state)
{
    (void)state;
    assert_int_equal(decode(DECODE_64, BYTES(0x82, 0x00, 1)), STATUS_INVALID);
    assert_int_equal(decode(DECODE_32, BYTES(0x82, 0x00, 1)), STATUS_OK);
    assert_int_equal(decode(DECODE_64, BYTES(0xfe, 0x10)), STATUS_INVALID);
    assert_int_equal(decode(DECODE_64, BYTES(0xff, 0x38)), STATUS_INVALID);
    assert_int_equal(decode(DECODE_64, BYTES(0xc7, 0x08, 1, 1, 1, 1)), STATUS_INVALID);
    assert_int_equal(decode(DECODE_64, BYTES(0x0f, 0xba, 0x18, 1)), STATUS_INVALID);
}

static void test_unsupported_is_refused(void **state)
{
    (void)state;
    assert_int_equal(decode(DECODE_64, BYTES(0xff, 0x18)), STATUS_UNSUPPORTED);             /* call far [rax] */
    assert_int_equal(decode(DECODE_64, BYTES(0xff, 0xe0)), STATUS_UNSUPPORTED);             /* jmp rax */
    assert_int_equal(decode(DECODE_64, BYTES(0x0f, 0xa0)), STATUS_UNSUPPORTED);             /* push fs */
    assert_int_equal(decode(DECODE_64, BYTES(0xd8, 0x00)), STATUS_UNSUPPORTED);             /* fadd [rax] */
    assert_int_equal(decode(DECODE_64, BYTES(0x0f, 0x6f, 0x00)), STATUS_UNSUPPORTED);       /* movq mm0, [rax] */
    assert_int_equal(decode(DECODE_64, BYTES(0x0f, 0x10, 0xc1)), STATUS_UNSUPPORTED);       /* movups xmm0, xmm1 */
    assert_int_equal(decode(DECODE_64, BYTES(0xc5, 0xf8, 0x58, 0x00)), STATUS_UNSUPPORTED); /* vaddps */
    assert_int_equal(decode(DECODE_32, BYTES(0xc5, 0x38, 0x10, 0x00)), STATUS_UNSUPPORTED); /* lds edi, [eax] */
    assert_int_equal(decode(DECODE_64, BYTES(0x62, 0xf1, 0x7c, 0x48, 0x10, 0x00)), STATUS_UNSUPPORTED); /* EVEX */
    assert_int_equal(decode(DECODE_64, BYTES(0x8b, 0xc1)), STATUS_UNSUPPORTED);       /* mov eax, ecx */
    assert_int_equal(decode(DECODE_32, BYTES(0x63, 0x00)), STATUS_UNSUPPORTED);       /* arpl */
    assert_int_equal(decode(DECODE_32, BYTES(0x48)), STATUS_UNSUPPORTED);             /* dec eax */
    assert_int_equal(decode(DECODE_64, BYTES(0x66, 0x63, 0x00)), STATUS_UNSUPPORTED); /* movsxd ax, .. */
    assert_int_equal(decode(DECODE_64, BYTES(0x90)), STATUS_UNSUPPORTED);
}

/* A prefix, or its want, makes other instructions of these. */
static void test_prefixes_that_are_part_of_the_opcode(void **state)
{
    static const struct {
        u8 bytes[6];
        enum status status;
        u8 operation, width;
    } rows[] = {
        {{0x0f, 0xae, 0x38},             STATUS_OK,          DECODE_FLUSH, 1}, /* clflush [rax] */
        {{0x66, 0x0f, 0xae, 0x38},       STATUS_OK,          DECODE_FLUSH, 1}, /* clflushopt */
        {{0x66, 0x0f, 0xae, 0x30},       STATUS_OK,          DECODE_FLUSH, 1}, /* clwb */
        {{0x0f, 0xae, 0x30},             STATUS_UNSUPPORTED, 0,            0}, /* xsaveopt */
        {{0xf3, 0x0f, 0xae, 0x30},       STATUS_UNSUPPORTED, 0,            0}, /* clrssbsy */
        {{0x0f, 0xc3, 0x08},             STATUS_OK,          DECODE_MOV,   4}, /* movnti [rax], ecx */
        {{0x48, 0x0f, 0xc3, 0x08},       STATUS_OK,          DECODE_MOV,   8}, /* movnti [rax], rcx */
        {{0x66, 0x0f, 0xc3, 0x08},       STATUS_UNSUPPORTED, 0,            0}, /* no such form */
        {{0x0f, 0x38, 0xf0, 0x08},       STATUS_OK,          DECODE_MOVBE, 4}, /* movbe ecx, [rax] */
        {{0x66, 0x0f, 0x38, 0xf1, 0x08}, STATUS_OK,          DECODE_MOVBE, 2}, /* movbe [rax], cx */
        {{0xf2, 0x0f, 0x38, 0xf1, 0x08}, STATUS_UNSUPPORTED, 0,            0}, /* crc32 */
        {{0x0f, 0x38, 0x00, 0x08},       STATUS_UNSUPPORTED, 0,            0}, /* pshufb */
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(decode_instruction(rows[i].bytes, 6, DECODE_64, &insn), rows[i].status);
        if (rows[i].status == STATUS_OK) {
            assert_int_equal(insn.operation, rows[i].operation);
            assert_int_equal(insn.width, rows[i].width);
        }
    }
}

static void test_16_bit_address_forms(void **state)
{
    static const struct {
        u8 modrm, base, index, segment;
    } forms[] = {
        {0x40, 3, 6,    DECODE_DS},
        {0x41, 3, 7,    DECODE_DS},
        {0x42, 5, 6,    DECODE_SS},
        {0x43, 5, 7,    DECODE_SS},
        {0x44, 6, 0xff, DECODE_DS},
        {0x45, 7, 0xff, DECODE_DS},
        {0x46, 5, 0xff, DECODE_SS},
        {0x47, 3, 0xff, DECODE_DS}
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
        const u8 code[] = {0x8b, forms[i].modrm, 0xfe};
        assert_int_equal(decode(DECODE_16, code, sizeof code), STATUS_OK);
        assert_memory(forms[i].segment, forms[i].base, forms[i].index, 0, (u64)-2);
        assert_int_equal(insn.width, 2);
        assert_int_equal(insn.address_width, 2);
    }
    assert_int_equal(decode(DECODE_16, BYTES(0x8b, 0x06, 0x34, 0x92)), STATUS_OK); /* no base */
    assert_memory(DECODE_DS, 0xff, 0xff, 0, 0xffffffffffff9234);
    assert_int_equal(decode(DECODE_16, BYTES(0x26, 0x8b, 0x86, 0x34, 0x12)), STATUS_OK);
    assert_memory(DECODE_ES, 5, 0xff, 0, 0x1234);
    assert_int_equal(decode(DECODE_16, BYTES(0x66, 0x67, 0x8b, 0x44, 0x8d, 1)), STATUS_OK); /* mov eax, [ebp+ecx*4+1] */
    assert_memory(DECODE_SS, 5, 1, 2, 1);
    assert_int_equal(insn.width, 4);
    assert_int_equal(insn.address_width, 4);
    assert_int_equal(decode(DECODE_32, BYTES(0x67, 0x8b, 0x02)), STATUS_OK); /* mov eax, [bp+si] */
    assert_memory(DECODE_SS, 5, 6, 0, 0);
}

static void test_64_bit_address_forms(void **state)
{
    (void)state;
    assert_int_equal(decode(DECODE_64, BYTES(0x8b, 0x05, 0xfc, 0xff, 0xff, 0xff)), STATUS_OK);
    assert_memory(DECODE_DS, DECODE_REGISTER_RIP, 0xff, 0, (u64)-4);
    assert_int_equal(decode(DECODE_32, BYTES(0x8b, 0x05, 0xfc, 0xff, 0xff, 0xff)), STATUS_OK);
    assert_memory(DECODE_DS, 0xff, 0xff, 0, (u64)-4);
    assert_int_equal(decode(DECODE_64, BYTES(0x4b, 0x8b, 0x44, 0xe5, 1)), STATUS_OK); /* [r13 + r12*8 + 1] */
    assert_memory(DECODE_DS, 13, 12, 3, 1);
    assert_int_equal(decode(DECODE_64, BYTES(0x8b, 0x44, 0x24, 1)), STATUS_OK); /* [rsp + 1] */
    assert_memory(DECODE_SS, 4, 0xff, 0, 1);
    assert_int_equal(decode(DECODE_64, BYTES(0x64, 0x2e, 0x8b, 0x00)), STATUS_OK); /* CS is ignored, FS stays */
    assert_memory(DECODE_FS, 0, 0xff, 0, 0);
    assert_int_equal(decode(DECODE_32, BYTES(0x64, 0x2e, 0x8b, 0x00)), STATUS_OK);
    assert_memory(DECODE_CS, 0, 0xff, 0, 0);
    assert_int_equal(decode(DECODE_64, BYTES(0xa1, 1, 2, 3, 4, 5, 6, 7, 0x88)), STATUS_OK);
    assert_memory(DECODE_DS, 0xff, 0xff, 0, 0x8807060504030201);
    assert_int_equal(insn.form, DECODE_REGISTER_MEMORY);
    assert_int_equal(insn.register_index, 0);
    assert_int_equal(decode(DECODE_32, BYTES(0xa2, 1, 2, 3, 0x84)), STATUS_OK);
    assert_memory(DECODE_DS, 0xff, 0xff, 0, 0x84030201);
    assert_int_equal(insn.form, DECODE_MEMORY_REGISTER);
}

static void test_registers_and_widths(void **state)
{
    (void)state;
    assert_int_equal(decode(DECODE_64, BYTES(0x88, 0x38)), STATUS_OK); /* mov [rax], bh */
    assert_true(insn.high_byte && insn.register_index == 3);
    assert_int_equal(decode(DECODE_64, BYTES(0x40, 0x88, 0x38)), STATUS_OK); /* mov [rax], dil */
    assert_true(!insn.high_byte && insn.register_index == 7);
    assert_int_equal(decode(DECODE_64, BYTES(0x40, 0x66, 0x88, 0x38)), STATUS_OK); /* REX not last: bh again */
    assert_true(insn.high_byte && insn.register_index == 3);
    assert_int_equal(decode(DECODE_64, BYTES(0x44, 0x89, 0x38)), STATUS_OK);
    assert_true(!insn.high_byte && insn.register_index == 15 && insn.width == 4);
    assert_int_equal(decode(DECODE_64, BYTES(0x48, 0x0f, 0xbe, 0x20)), STATUS_OK); /* movsx rsp, byte */
    assert_true(!insn.high_byte && insn.register_index == 4 && insn.width == 1 && insn.register_width == 8);
    assert_int_equal(decode(DECODE_64, BYTES(0x48, 0xc7, 0x00, 0, 0, 0, 0x80)), STATUS_OK);
    assert_true(insn.width == 8 && insn.immediate == 0xffffffff80000000);
    assert_int_equal(decode(DECODE_16, BYTES(0xc7, 0x07, 0xff, 0x7f)), STATUS_OK);
    assert_true(insn.width == 2 && insn.immediate == 0x7fff && insn.length == 4);
    assert_int_equal(decode(DECODE_64, BYTES(0xf2, 0xf3, 0x48, 0xa5)), STATUS_OK); /* the last repeat prefix counts */
    assert_true(insn.form == DECODE_STRING && insn.repeat == DECODE_REP && insn.width == 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated_until_the_last_byte),
        cmocka_unit_test(test_fifteen_bytes_are_the_limit),
        cmocka_unit_test(test_lock_only_where_the_cpu_allows_it),
        cmocka_unit_test(test_undefined_encodings),
        cmocka_unit_test(test_unsupported_is_refused),
        cmocka_unit_test(test_prefixes_that_are_part_of_the_opcode),
        cmocka_unit_test(test_16_bit_address_forms),
        cmocka_unit_test(test_64_bit_address_forms),
        cmocka_unit_test(test_registers_and_widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
