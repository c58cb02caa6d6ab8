/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page-table walk on handmade tables: each paging mode and page size, access rights, reserved bits, error codes,
 * accessed and dirty flags.
 *
 * links: vmx/insn/gva.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/regs.h"
#include "vmx/insn/gva.h"

#define P   1ull
#define W   2ull
#define U   4ull
#define A   0x20ull
#define D   0x40ull
#define PS  0x80ull
#define NX  BIT(63)
#define PWU (P | W | U)

#define ERROR_P 1u
#define ERROR_W 2u
#define ERROR_U 4u
#define ERROR_R 8u
#define ERROR_I 16u
#define ERROR_K 32u

static u8 memory[0x10000]; /* guest-physical from 0 */
static unsigned updates;
static unsigned lost_updates; /* so many updates find that the entry has changed */

static bool read_entry(void *context, gpa_t address, u8 bytes, u64 *value)
{
    (void)context;
    assert_true(address.raw % bytes == 0);
    if (address.raw >= sizeof memory)
        return false;
    *value = 0xa5a5a5a5a5a5a5a5; /* above `bytes`: must not matter */
    memcpy(value, memory + address.raw, bytes);
    return true;
}

static bool update_entry(void *context, gpa_t address, u8 bytes, u64 expected, u64 value)
{
    (void)context;
    u64 current = 0;
    memcpy(&current, memory + address.raw, bytes);
    updates++;
    if (lost_updates) {
        lost_updates--;
        return false;
    }
    assert_true(current == expected);
    memcpy(memory + address.raw, &value, bytes);
    return true;
}

static void set_entry(u64 table, unsigned index, u8 bytes, u64 value)
{
    memcpy(memory + table + index * bytes, &value, bytes);
}

static u64 get_entry(u64 table, unsigned index, u8 bytes)
{
    u64 value = 0;
    memcpy(&value, memory + table + index * bytes, bytes);
    return value;
}

static struct gva_context c;
static gpa_t where;
static u32 error;

static enum gva_result translate(u64 linear, enum gva_access access)
{
    where.raw = 0xdead;
    error = 0xdead;
    return gva_translate(&c, linear, access, &where, &error);
}

static void assert_maps(u64 linear, enum gva_access access, u64 physical)
{
    assert_int_equal(translate(linear, access), GVA_OK);
    assert_true(where.raw == physical);
    assert_int_equal(error, 0xdead);
}

static void assert_faults(u64 linear, enum gva_access access, u32 expected)
{
    assert_int_equal(translate(linear, access), GVA_FAULT);
    assert_int_equal(error, expected);
    assert_int_equal(where.raw, 0xdead);
}

/* 4-level tables: 0x1000 PML4, 0x2000 PDPT, 0x3000 PD, 0x4000 PT; linear 0x8080604000 uses index 1, 2, 3, 4. */
#define LINEAR 0x80806045a7ull
static void build_4_level(u64 pml4e, u64 pdpte, u64 pde, u64 pte)
{
    set_entry(0x1000, 1, 8, 0x2000 | pml4e);
    set_entry(0x2000, 2, 8, 0x3000 | pdpte);
    set_entry(0x3000, 3, 8, 0x4000 | pde);
    set_entry(0x4000, 4, 8, pte);
}

static int set_up(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    updates = lost_updates = 0;
    c = (struct gva_context){.cr0 = CR0_PG | CR0_PE | CR0_WP,
                             .cr3 = 0x1000,
                             .cr4 = CR4_PAE,
                             .efer = EFER_LMA | EFER_LME | EFER_NXE,
                             .physical_bits = 40,
                             .gigabyte_pages = true,
                             .read_entry = read_entry};
    build_4_level(PWU, PWU, PWU, 0xab000 | PWU);
    return 0;
}

static void set_up_32_bit(void)
{
    memset(memory, 0, sizeof memory);
    c.cr4 = CR4_PSE;
    c.efer = 0;
    set_entry(0x1000, 1, 4, 0x2000 | PWU);
    set_entry(0x2000, 2, 4, 0xfffff000 | PWU);
}

static void set_up_pae(void)
{
    memset(memory, 0, sizeof memory);
    c.efer = EFER_NXE;
    c.cr3 = 0xbad0; /* only the PDPTEs count */
    c.pdpte[3] = 0x2000 | P;
    set_entry(0x2000, 5, 8, 0x3000 | PWU);
    set_entry(0x3000, 6, 8, 0xcd000 | PWU);
}

static void test_no_paging(void **state)
{
    (void)state;
    c.cr0 = CR0_PE;
    assert_maps(0xfffffff0, GVA_WRITE, 0xfffffff0);
}

static void test_canonical(void **state)
{
    (void)state;
    assert_true(gva_is_canonical(0x00007fffffffffff, 0));
    assert_false(gva_is_canonical(0x0000800000000000, 0));
    assert_false(gva_is_canonical(0xffff7fffffffffff, 0));
    assert_true(gva_is_canonical(0xffff800000000000, 0));
    assert_true(gva_is_canonical(0x00ffffffffffffff, CR4_LA57));
    assert_false(gva_is_canonical(0x0100000000000000, CR4_LA57));
    assert_true(gva_is_canonical(0xff00000000000000, CR4_LA57));
}

static void test_32_bit(void **state)
{
    (void)state;
    set_up_32_bit();
    c.cr3 = 0x1018; /* PWT, PCD */
    assert_maps(0x402123, GVA_READ, 0xfffff123);
    assert_faults(0x403123, GVA_READ, 0);
    assert_faults(0x802123, GVA_WRITE, ERROR_W);
    set_entry(0x1000, 3, 4, 0x00c00000 | PWU | PS);
    assert_maps(0xf45678, GVA_WRITE, 0xf45678);
    set_entry(0x1000, 3, 4, 0xffc00000 | 0x1fe000 | PWU | PS); /* PSE-36: 40 bits */
    assert_maps(0xf45678, GVA_WRITE, 0xffffc00000 + 0x345678);
}

static void test_32_bit_reserved_bits(void **state)
{
    (void)state;
    set_up_32_bit();
    set_entry(0x1000, 3, 4, 0x00c00000 | BIT(21) | PWU | PS);
    assert_faults(0xc00000, GVA_READ, ERROR_P | ERROR_R);
    set_entry(0x1000, 3, 4, 0x00c00000 | BIT(16) | PWU | PS); /* address bit 35 */
    assert_maps(0xc00000, GVA_READ, 0x800c00000);
    c.physical_bits = 35;
    assert_faults(0xc00000, GVA_READ, ERROR_P | ERROR_R);
    c.cr4 = 0; /* without CR4.PSE the bit means nothing: a table at 0xC10000 */
    assert_int_equal(translate(0xc00000, GVA_READ), GVA_BAD_TABLE);
}

static void test_pae(void **state)
{
    (void)state;
    set_up_pae();
    assert_maps(0xc0a06789, GVA_READ, 0xcd789);
    c.pdpte[2] = 0x2000 & ~P;
    assert_faults(0x80a06789, GVA_READ, 0); /* PDPTE not present */
    set_entry(0x2000, 5, 8, 0x1234600000 | PWU | PS);
    assert_maps(0xc0a06789, GVA_FETCH, 0x1234606789);
    set_entry(0x2000, 5, 8, 0x1234600000 | PWU | PS | NX);
    assert_faults(0xc0a06789, GVA_FETCH, ERROR_P | ERROR_I);
    assert_maps(0xc0a06789, GVA_READ, 0x1234606789);
    set_entry(0x2000, 5, 8, 0x1234600000 | PWU | PS | BIT(52)); /* ignored in 4-level paging, reserved in PAE */
    assert_faults(0xc0a06789, GVA_READ, ERROR_P | ERROR_R);
}

static void test_4_level(void **state)
{
    (void)state;
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    c.cr3 = 0x1018 | BIT(51); /* bits above MAXPHYADDR cannot be loaded: the table would be elsewhere */
    assert_int_equal(translate(LINEAR, GVA_READ), GVA_BAD_TABLE);
    c.cr3 = 0x1018;
    set_entry(0x3000, 3, 8, 0x2345600000 | PWU | PS | BIT(12) | BIT(59));
    assert_maps(LINEAR, GVA_WRITE, 0x2345600000 + 0x45a7);
    set_entry(0x2000, 2, 8, 0x8040000000 | PWU | PS);
    assert_maps(LINEAR, GVA_WRITE, 0x8040000000 + 0x6045a7);
}

static void test_5_level(void **state)
{
    (void)state;
    c.cr4 |= CR4_LA57;
    c.cr3 = 0x5000;
    set_entry(0x5000, 511, 8, 0x1000 | PWU);
    assert_maps(0xffff000000000000 | LINEAR, GVA_READ, 0xab5a7);
    assert_faults(LINEAR, GVA_READ, 0);
}

/* Key 5 of 16; a mask of PKRU's two bits of it. */
#define KEY5   (5ull << 59)
#define DENY_5 (1u << 10) /* AD */
#define READ_5 (2u << 10) /* WD */

/* SDM 3A 4.6.2 and 4.7, PK flag. */
static void test_protection_keys(void **state)
{
    (void)state;
    build_4_level(PWU, PWU, PWU, 0xab000 | PWU | KEY5);
    c.cr4 |= CR4_PKE;
    c.pkru = ~(DENY_5 | READ_5); /* all other keys */
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        c.cpl = (u8)cpl;
        u32 user = cpl == 3 ? ERROR_U : 0;
        c.pkru = DENY_5;
        assert_faults(LINEAR, GVA_READ, ERROR_P | ERROR_K | user);
        assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_K | user);
        assert_maps(LINEAR, GVA_FETCH, 0xab5a7);
        c.pkru = READ_5;
        assert_maps(LINEAR, GVA_READ, 0xab5a7);
        assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_K | user);
        c.cr0 &= ~CR0_WP; /* frees the supervisor of WD, not of AD */
        if (cpl == 0)
            assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
        else
            assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_K | user);
        c.pkru = DENY_5;
        assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_K | user);
        c.cr0 |= CR0_WP;
    }
}

/* The key is that of the entry that maps the page; it means nothing in a supervisor's page, without CR4.PKE, or in PAE.
 */
static void test_where_keys_count(void **state)
{
    (void)state;
    c.cr4 |= CR4_PKE;
    c.pkru = DENY_5;
    build_4_level(PWU, PWU | KEY5, PWU | KEY5, 0xab000 | PWU);
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    set_entry(0x3000, 3, 8, 0x2345600000 | PWU | PS | KEY5);
    assert_faults(LINEAR, GVA_READ, ERROR_P | ERROR_K);
    set_entry(0x3000, 3, 8, 0x2345600000 | P | W | PS | KEY5);
    assert_maps(LINEAR, GVA_WRITE, 0x2345600000 + 0x45a7);
    set_entry(0x3000, 3, 8, 0x2345600000 | PWU | PS | KEY5);
    c.cr4 &= ~CR4_PKE;
    assert_maps(LINEAR, GVA_WRITE, 0x2345600000 + 0x45a7);
    c.cr4 |= CR4_PKE;
    c.cpl = 3; /* other rights deny it, too: both are told */
    set_entry(0x3000, 3, 8, 0x2345600000 | P | U | PS | KEY5);
    assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_U | ERROR_K);
    set_entry(0x3000, 3, 8, 0);
    assert_faults(LINEAR, GVA_WRITE, ERROR_W | ERROR_U);
}

static void test_reserved_bits_of_each_level(void **state)
{
    static const struct {
        unsigned table;
        unsigned index;
        u64 bits;
    } cases[] = {
        {0x1000, 1, PS          },
        {0x1000, 1, BIT(40)     },
        {0x2000, 2, BIT(51)     },
        {0x3000, 3, BIT(45)     },
        {0x4000, 4, BIT(40)     },
        {0x3000, 3, PS | BIT(13)},
        {0x3000, 3, PS | BIT(20)},
        {0x2000, 2, PS | BIT(13)},
        {0x2000, 2, PS | BIT(29)},
    };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        build_4_level(PWU, PWU, PWU, 0xab000 | PWU);
        u64 entry = cases[i].bits & PS ? PWU : get_entry(cases[i].table, cases[i].index, 8);
        set_entry(cases[i].table, cases[i].index, 8, entry | cases[i].bits);
        assert_faults(LINEAR, GVA_READ, ERROR_P | ERROR_R);
    }
    build_4_level(PWU, PWU, PWU, 0xab000 | PWU | PS | BIT(52) | BIT(62)); /* PAT and ignored bits */
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    build_4_level(PWU, PWU | PS, PWU, 0);
    set_entry(0x2000, 2, 8, PWU | PS);
    c.gigabyte_pages = false;
    assert_faults(LINEAR, GVA_READ, ERROR_P | ERROR_R);
    build_4_level(PWU, PWU, PWU | NX, 0xab000 | PWU);
    c.efer &= ~EFER_NXE;
    assert_faults(LINEAR, GVA_READ, ERROR_P | ERROR_R);
}

static void test_tables_outside_ram(void **state)
{
    (void)state;
    set_entry(0x2000, 2, 8, 0x80000000 | PWU);
    assert_int_equal(translate(LINEAR, GVA_READ), GVA_BAD_TABLE);
}

static void test_user_rights(void **state)
{
    (void)state;
    c.cpl = 3;
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    assert_faults(LINEAR + 0x1000, GVA_READ, ERROR_U);
    for (unsigned level = 0; level < 4; level++) { /* a single entry without U, then without W, is enough */
        build_4_level(level == 0 ? P | W : PWU, level == 1 ? P | W : PWU, level == 2 ? P | W : PWU,
                      0xab000 | (level == 3 ? P | W : PWU));
        assert_faults(LINEAR, GVA_READ, ERROR_P | ERROR_U);
        assert_faults(LINEAR, GVA_FETCH, ERROR_P | ERROR_U | ERROR_I);
        build_4_level(level == 0 ? P | U : PWU, level == 1 ? P | U : PWU, level == 2 ? P | U : PWU,
                      0xab000 | (level == 3 ? P | U : PWU));
        assert_maps(LINEAR, GVA_READ, 0xab5a7);
        assert_maps(LINEAR, GVA_FETCH, 0xab5a7);
        assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_U);
    }
    c.cr0 &= ~CR0_WP; /* concerns supervisor writes only */
    assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W | ERROR_U);
}

static void test_supervisor_rights(void **state)
{
    (void)state;
    build_4_level(PWU, PWU, PWU, 0xab000 | P);
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W);
    c.cr0 &= ~CR0_WP;
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    build_4_level(PWU, PWU | NX, PWU, 0xab000 | P);
    assert_faults(LINEAR, GVA_FETCH, ERROR_P | ERROR_I);
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
}

static void test_smep_and_smap(void **state)
{
    (void)state;
    assert_maps(LINEAR, GVA_FETCH, 0xab5a7);
    c.cr4 |= CR4_SMEP;
    assert_faults(LINEAR, GVA_FETCH, ERROR_P | ERROR_I);
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    c.cr4 |= CR4_SMAP;
    assert_faults(LINEAR, GVA_READ, ERROR_P);
    assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W);
    c.rflags = RFLAGS_AC;
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    assert_faults(LINEAR, GVA_FETCH, ERROR_P | ERROR_I);
    c.rflags = 0;
    c.cpl = 3;
    assert_maps(LINEAR, GVA_FETCH, 0xab5a7);
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    c.cpl = 0;
    build_4_level(PWU, PWU, PWU, 0xab000 | P | W); /* a supervisor page */
    assert_maps(LINEAR, GVA_FETCH, 0xab5a7);
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
}

static void test_fetch_bit_of_the_error_code(void **state)
{
    (void)state;
    set_up_32_bit(); /* neither NX nor SMEP: the bit does not exist */
    assert_faults(0x403123, GVA_FETCH, 0);
    c.efer = EFER_NXE; /* no effect without PAE */
    assert_faults(0x403123, GVA_FETCH, 0);
    c.cr4 |= CR4_SMEP;
    assert_faults(0x403123, GVA_FETCH, ERROR_I);
    assert_faults(0x402123, GVA_FETCH, ERROR_P | ERROR_I);
    c.efer = EFER_LMA | EFER_LME; /* PAE without NXE */
    c.cr4 = CR4_PAE;
    assert_faults(LINEAR, GVA_FETCH, 0);
}

static void test_accessed_and_dirty(void **state)
{
    (void)state;
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    assert_true(get_entry(0x4000, 4, 8) == (0xab000 | PWU)); /* no update_entry: no flags */
    c.update_entry = update_entry;
    assert_maps(LINEAR, GVA_READ, 0xab5a7);
    assert_true(get_entry(0x1000, 1, 8) == (0x2000 | PWU | A));
    assert_true(get_entry(0x2000, 2, 8) == (0x3000 | PWU | A));
    assert_true(get_entry(0x3000, 3, 8) == (0x4000 | PWU | A));
    assert_true(get_entry(0x4000, 4, 8) == (0xab000 | PWU | A));
    assert_int_equal(updates, 4);
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    assert_true(get_entry(0x4000, 4, 8) == (0xab000 | PWU | A | D));
    assert_true(get_entry(0x3000, 3, 8) == (0x4000 | PWU | A));
    assert_int_equal(updates, 5);
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    assert_int_equal(updates, 5);
    set_up_32_bit();
    assert_maps(0x402123, GVA_WRITE, 0xfffff123);
    assert_true(get_entry(0x1000, 1, 4) == (0x2000 | PWU | A));
    assert_true(get_entry(0x2000, 2, 4) == (0xfffff000 | PWU | A | D));
    assert_true(get_entry(0x2000, 3, 4) == 0);
}

static void test_no_flags_for_a_refused_access(void **state)
{
    (void)state;
    c.update_entry = update_entry;
    build_4_level(PWU, PWU, PWU, 0xab000 | P);
    assert_faults(LINEAR, GVA_WRITE, ERROR_P | ERROR_W);
    assert_int_equal(updates, 0);
}

static void test_changed_entries_restart_the_walk(void **state)
{
    (void)state;
    c.update_entry = update_entry;
    lost_updates = 3;
    assert_maps(LINEAR, GVA_WRITE, 0xab5a7);
    assert_int_equal(updates, 3 + 4);
    set_entry(0x4000, 4, 8, 0xab000 | PWU);
    lost_updates = 1000; /* for ever: given up */
    assert_int_equal(translate(LINEAR, GVA_WRITE), GVA_BAD_TABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_paging, set_up),
        cmocka_unit_test_setup(test_canonical, set_up),
        cmocka_unit_test_setup(test_32_bit, set_up),
        cmocka_unit_test_setup(test_32_bit_reserved_bits, set_up),
        cmocka_unit_test_setup(test_pae, set_up),
        cmocka_unit_test_setup(test_4_level, set_up),
        cmocka_unit_test_setup(test_5_level, set_up),
        cmocka_unit_test_setup(test_protection_keys, set_up),
        cmocka_unit_test_setup(test_where_keys_count, set_up),
        cmocka_unit_test_setup(test_reserved_bits_of_each_level, set_up),
        cmocka_unit_test_setup(test_tables_outside_ram, set_up),
        cmocka_unit_test_setup(test_user_rights, set_up),
        cmocka_unit_test_setup(test_supervisor_rights, set_up),
        cmocka_unit_test_setup(test_smep_and_smap, set_up),
        cmocka_unit_test_setup(test_fetch_bit_of_the_error_code, set_up),
        cmocka_unit_test_setup(test_accessed_and_dirty, set_up),
        cmocka_unit_test_setup(test_no_flags_for_a_refused_access, set_up),
        cmocka_unit_test_setup(test_changed_entries_restart_the_walk, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
