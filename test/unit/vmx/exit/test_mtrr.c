/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory type range registers: what firmware leaves in them and what WRMSR takes. SDM 3A 11.11.2 "Setting Memory Ranges
 * with MTRRs".
 *
 * links: vmx/exit/mtrr.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmx/exit/mtrr.h"

#define BITS     40u
#define ADDRESS  0xfffffff000ull
#define VALID    0x800u
#define CAP      0xfeu
#define BASE(n)  (0x200u + 2 * (n))
#define MASK(n)  (0x201u + 2 * (n))
#define DEF_TYPE 0x2ffu

static struct mtrr mtrr;

static int set_up(void **state)
{
    (void)state;
    mtrr_init(&mtrr, BITS);
    return 0;
}

static void write(u32 index, u64 value)
{
    assert_true(mtrr_write(&mtrr, index, value, BITS));
    assert_int_equal(mtrr_read(&mtrr, index), value);
}

static void refuse_write(u32 index, u64 value)
{
    struct mtrr before = mtrr;

    assert_false(mtrr_write(&mtrr, index, value, BITS));
    assert_memory_equal(&before, &mtrr, sizeof mtrr);
}

static void test_which_registers(void **state)
{
    unsigned count = 0;

    (void)state;
    for (u32 index = 0; index < 0x2000; index++) {
        bool expected = index == 0xfe || (index >= 0x200 && index <= 0x20f) || index == 0x250 || index == 0x258 ||
                        index == 0x259 || (index >= 0x268 && index <= 0x26f) || index == 0x2ff;
        assert_int_equal(mtrr_has(index), expected);
        count += expected;
    }
    assert_int_equal(count, 29);
    assert_false(mtrr_has(0xc0000200));
    assert_int_equal(mtrr_read(&mtrr, CAP), 0x508); /* 8 ranges, fixed ranges, WC; no SMRR */
}

/* A PC's: RAM below 640 KiB write-back (6), video memory uncacheable (0), ROM write-protected (5), 3 to 4 GiB
 * uncacheable, all else write-back. */
static void test_firmware(void **state)
{
    (void)state;
    assert_int_equal(mtrr_read(&mtrr, DEF_TYPE), 0xc06); /* on, fixed ranges on */
    assert_int_equal(mtrr_read(&mtrr, 0x250), 0x0606060606060606);
    assert_int_equal(mtrr_read(&mtrr, 0x258), 0x0606060606060606);
    assert_int_equal(mtrr_read(&mtrr, 0x259), 0);
    for (u32 index = 0x268; index <= 0x26f; index++)
        assert_int_equal(mtrr_read(&mtrr, index), 0x0505050505050505);
    assert_int_equal(mtrr_read(&mtrr, BASE(0)), GIB(3));
    assert_int_equal(mtrr_read(&mtrr, MASK(0)), (ADDRESS & ~(GIB(1) - 1)) | VALID);
    for (u32 n = 1; n < 8; n++) {
        assert_int_equal(mtrr_read(&mtrr, BASE(n)), 0);
        assert_int_equal(mtrr_read(&mtrr, MASK(n)), 0);
    }
}

/* Reserved bits and types: SDM 3A 11.11.2.1 to 11.11.2.3. */
static void test_bad_values(void **state)
{
    (void)state;
    refuse_write(CAP, 0);
    for (unsigned type = 0; type < 256; type++) {
        bool good = type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
        for (unsigned slot = 0; slot < 64; slot += 8)
            assert_int_equal(mtrr_write(&mtrr, 0x26f, (u64)type << slot, BITS), good);
        assert_int_equal(mtrr_write(&mtrr, BASE(7), type, BITS), good);
        assert_int_equal(mtrr_write(&mtrr, DEF_TYPE, 0xc00 | type, BITS), good);
    }
    set_up(NULL);
    for (unsigned bit = 8; bit < 64; bit++) {
        assert_int_equal(mtrr_write(&mtrr, BASE(3), BIT(bit), BITS), bit >= 12 && bit < BITS);
        assert_int_equal(mtrr_write(&mtrr, MASK(3), BIT(bit), BITS), bit >= 11 && bit < BITS);
        assert_int_equal(mtrr_write(&mtrr, DEF_TYPE, BIT(bit), BITS), bit == 10 || bit == 11);
    }
    refuse_write(MASK(0), VALID | 1);
}

/* A value of its own for each range. */
static u64 range_value(u32 index)
{
    return (u64)index << 24 | (index & 1 ? VALID : 1);
}

static void test_all_read_back(void **state)
{
    static const u8 types[] = {0, 1, 4, 5, 6};
    u32 seed = 0;

    (void)state;
    write(DEF_TYPE, 0);
    write(DEF_TYPE, 0xc04);
    for (u32 index = BASE(0); index <= MASK(7); index++)
        write(index, range_value(index));
    for (u32 index = 0x250; index < 0x270; index++)
        if (mtrr_has(index)) {
            write(index, types[seed % 5] | types[seed / 5] << 8);
            seed++;
        }
    seed = 0;
    for (u32 index = 0x250; index < 0x270; index++)
        if (mtrr_has(index)) {
            assert_int_equal(mtrr_read(&mtrr, index), types[seed % 5] | types[seed / 5] << 8);
            seed++;
        }
    for (u32 index = BASE(0); index <= MASK(7); index++)
        assert_int_equal(mtrr_read(&mtrr, index), range_value(index));
    assert_int_equal(mtrr_read(&mtrr, DEF_TYPE), 0xc04);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_which_registers, set_up),
        cmocka_unit_test_setup(test_firmware, set_up),
        cmocka_unit_test_setup(test_bad_values, set_up),
        cmocka_unit_test_setup(test_all_read_back, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
