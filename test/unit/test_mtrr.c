/*
 * Memory type range registers: what WRMSR takes, and the type of each page, compared with a model that looks at one
 * byte at a time. SDM 3A 11.11.2 "Setting Memory Ranges with MTRRs", 11.11.4.1 "MTRR Precedences".
 *
 * links: vmx/mtrr.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmx/mtrr.h"

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

static void test_firmware(void **state)
{
    static const struct {
        u64 address;
        u32 type;
    } types[] = {
        {0,             6},
        {0x7f000,       6},
        {0x9f000,       6},
        {0xa0000,       0},
        {0xb8000,       0},
        {0xbf000,       0},
        {0xc0000,       5},
        {0xff000,       5},
        {MIB(1),        6},
        {GIB(3) - 1,    6},
        {GIB(3),        0},
        {0xfee00000,    0},
        {GIB(4),        6},
        {GIB(7),        6},
        {GIB(64),       6},
        {1ull << 39,    6},
        {GIB(4) - 4096, 0}
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        assert_int_equal(mtrr_type(&mtrr, types[i].address & ~0xfffull, 4096), types[i].type);
    assert_int_equal(mtrr_type(&mtrr, 0, MIB(2)), MEMORY_UNCACHEABLE);
    assert_int_equal(mtrr_type(&mtrr, MIB(2), MIB(2)), MEMORY_WRITE_BACK);
    assert_int_equal(mtrr_type(&mtrr, GIB(2), GIB(1)), MEMORY_WRITE_BACK);
    assert_int_equal(mtrr_type(&mtrr, GIB(3), GIB(1)), MEMORY_UNCACHEABLE);
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

static void test_switched_off(void **state)
{
    (void)state;
    write(DEF_TYPE, 0x406); /* fixed ranges, but E is 0 */
    assert_int_equal(mtrr_type(&mtrr, 0, 4096), MEMORY_UNCACHEABLE);
    assert_int_equal(mtrr_type(&mtrr, GIB(5), GIB(1)), MEMORY_UNCACHEABLE);
    write(DEF_TYPE, 0x806); /* no fixed ranges: below 1 MiB too the others count */
    assert_int_equal(mtrr_type(&mtrr, 0xa0000, 4096), MEMORY_WRITE_BACK);
    assert_int_equal(mtrr_type(&mtrr, 0, MIB(2)), MEMORY_WRITE_BACK);
}

static void test_fixed_ranges_one_by_one(void **state)
{
    (void)state;
    write(DEF_TYPE, 0xc00);
    for (u64 page = 0; page < 256; page++) {
        u64 at = page << 12;
        u64 first = at < 0x80000 ? at & ~0xffffull : at < 0xc0000 ? at & ~0x3fffull : at;
        u64 size = at < 0x80000 ? 0x10000 : at < 0xc0000 ? 0x4000 : 0x1000;
        u32 index = at < 0x80000   ? 0x250
                    : at < 0xc0000 ? 0x258 + (u32)((at - 0x80000) >> 17)
                                   : 0x268 + (u32)((at - 0xc0000) >> 15);
        u32 byte = (u32)(first / size % 8);
        for (u32 other = 0; other < 0x300; other++)
            if (mtrr_has(other) && other >= 0x250 && other < 0x270)
                write(other, 0x0606060606060606);
        write(index, 0x0606060606060606 ^ 2ull << 8 * byte); /* WT in this one */
        for (u64 look = 0; look < MIB(1); look += 4096)
            assert_int_equal(mtrr_type(&mtrr, look, 4096), look >= first && look < first + size ? 4 : 6);
    }
}

/* The type of one address by the letter; 99 where the SDM leaves it undefined. */
static u32 model(u64 address)
{
    u32 seen = 0, count = 0;

    for (u32 n = 0; n < 8; n++) {
        u64 base = mtrr_read(&mtrr, BASE(n)), mask = mtrr_read(&mtrr, MASK(n));
        if ((mask & VALID) && (address & mask & ADDRESS) == (base & mask & ADDRESS)) {
            count += !(seen & 1u << (base & 7));
            seen |= 1u << (base & 7);
        }
    }
    if (!seen)
        return mtrr_read(&mtrr, DEF_TYPE) & 7;
    if (seen & 1)
        return 0;
    if (count == 1)
        return (u32)__builtin_ctz(seen);
    return seen == (1u << 4 | 1u << 6) ? 4 : 99;
}

/* Ranges of any base and mask, contiguous or not, and pages of each size: the page's type is that of all its addresses
 * (sampled at every combination of the bits that the masks use), or uncacheable. */
static void check_page(u64 from, u64 bytes)
{
    u32 type = model(from);
    u32 got = mtrr_type(&mtrr, from, bytes);
    bool mixed = false;

    for (u64 at = 0; at<bytes; at += bytes> MIB(2) ? MIB(64) : KIB(128))
        mixed |= model(from + at) != type;
    if (mixed || type == 99)
        assert_int_equal(got, 0);
    else
        assert_int_equal(got, type);
}

static void test_ranges_against_the_model(void **state)
{
    static const u8 types[] = {0, 1, 4, 5, 6};
    unsigned uniform = 0;

    (void)state;
    srand(3);
    for (unsigned round = 0; round < 3000; round++) {
        write(DEF_TYPE, 0x800 | types[rand() % 5]);
        for (u32 n = 0; n < 8; n++) {
            /* Bits 17 to 20 for pages of 2 MiB, or 26 to 29 for those of 1 GiB, and above. */
            u64 low = round & 1 ? (u64)(rand() & 15) << 17 : (u64)(rand() & 15) << 26;
            u64 high = (u64)(rand() & 15) << 30;
            write(MASK(n), (rand() % 3 ? low | high : high) | (rand() % 3 ? 0 : VALID));
            write(BASE(n), (u64)(rand() & 15) << 17 | (u64)(rand() & 255) << 26 | types[rand() % 5]);
        }
        u64 from = (u64)(rand() & 15) << 30;
        u64 size = round & 1 ? MIB(2) : GIB(1);
        check_page(from, size);
        check_page(from | (u64)(rand() & 511) << 21, MIB(2) * (round & 1) + 4096 * !(round & 1));
        uniform += mtrr_type(&mtrr, from, size) != 0;
    }
    assert_true(uniform > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_which_registers, set_up),
        cmocka_unit_test_setup(test_firmware, set_up),
        cmocka_unit_test_setup(test_bad_values, set_up),
        cmocka_unit_test_setup(test_switched_off, set_up),
        cmocka_unit_test_setup(test_fixed_ranges_one_by_one, set_up),
        cmocka_unit_test_setup(test_ranges_against_the_model, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
