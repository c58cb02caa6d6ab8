/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables that run inner guests with EPT, on a VM whose map of its memory the tests make: what both levels allow is
 * mapped and nothing else, and nothing stays in the CPU that was dropped. SDM 3C 28.2.2 "EPT Translation Mechanism" to
 * 28.2.4 "Accessed and Dirty Flags for EPT", 28.3.3.4 "Guidelines for Use of the INVEPT Instruction".
 *
 * links: vmx/nested/shadow.c kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "kernel/panic.h"
#include "test/fake/host_memory.h"
#include "vmx/nested/shadow.h"
#include "vmx/tlb.h"
#include "vmx/vcpu.h"

enum { R = 1, W = 2, X = 4, RWX = 7, LARGE = 0x80, ACCESSED = 0x100, DIRTY = 0x200 };
#define WB    (6ull << 3)
#define FRAME 0x000ffffffffff000ull

/* The guest's memory: where it has its tables, and what its inner guests get. */
#define TABLES  0x10000ull     /* in RAM that the host has, too */
#define ROM     0xe0000ull     /* likewise */
#define ODD     0x200000ull    /* 6 MiB whose frames are aligned to 4 KiB only */
#define EVEN    0x40000000ull  /* 2 GiB whose frames are aligned as they are themselves */
#define HOLE    0xc0000000ull  /* nothing */
#define HIGH    0x100000000ull /* 1 GiB less 4 KiB, aligned */
#define TO_ODD  0x7000001000ull
#define TO_EVEN 0x8000000000ull
#define TO_HIGH 0x9000000000ull

#define EPTP    (TABLES | 6 | 3 << 3)
#define EPTP_AD (EPTP | 1 << 6)

struct vmx_features vmx_features;
static struct cpu_local local;
static struct vm vm;
static struct vmx_caps caps;
static struct shadow s;
static struct shadow_fault fault;
static u64 next_table;
static char flushes[256];
static u32 everywhere;

void panic(const char *format, ...)
{
    print_error("panic: %s\n", format);
    abort();
}

bool vmx_invept(enum vmx_invalidate type, u64 ept_pointer)
{
    char *end = flushes + strlen(flushes);
    if (type == VMX_SINGLE_CONTEXT)
        snprintf(end, sizeof flushes - (size_t)(end - flushes), "%u ", (u32)((ept_pointer - s.pool.raw) >> 12));
    else
        snprintf(end, sizeof flushes - (size_t)(end - flushes), "all ");
    return true;
}

void vmx_invalidate_ept_everywhere(const struct vm *of)
{
    assert_null(of);
    everywhere++;
}

#define assert_flushes(text)                                                                                           \
    do {                                                                                                               \
        flushes[0] = 0;                                                                                                \
        shadow_prepare(&s);                                                                                            \
        assert_string_equal(flushes, text);                                                                            \
    } while (0)

static void add_region(u64 base, u64 frames, u64 bytes, enum guest_region_kind kind)
{
    vm.memory.regions[vm.memory.region_count++] = (struct guest_region){gpa(base), bytes, hpa(frames), kind};
}

static void begin(u64 mem_bytes)
{
    u32 frames;

    vm.spec.mem_bytes = mem_bytes;
    assert_int_equal(shadow_create(&s, &vm, &caps, &frames), STATUS_OK);
    shadow_prepare(&s);
    next_table = TABLES + 4096;
}

static int set_up(void **state)
{
    hpa_t low, rom;

    (void)state;
    memset(&vm, 0, sizeof vm);
    memset(&vmx_features, 0, sizeof vmx_features);
    memset(&local, 0, sizeof local);
    assert_int_equal(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, &local), 0);
    everywhere = 0;
    host_memory_init(MIB(1), MIB(16));
    assert_int_equal(frames_allocate(640 / 4, 1, &low), STATUS_OK);
    assert_int_equal(frames_allocate(128 / 4, 1, &rom), STATUS_OK);
    add_region(0, low.raw, KIB(640), GUEST_REGION_RAM);
    add_region(ROM, rom.raw, KIB(128), GUEST_REGION_ROM);
    add_region(ODD, TO_ODD, MIB(6), GUEST_REGION_RAM);
    add_region(EVEN, TO_EVEN, GIB(2), GUEST_REGION_RAM);
    add_region(HIGH, TO_HIGH, GIB(1) - 4096, GUEST_REGION_RAM);
    assert_true(guest_memory_check(&vm.memory));
    vmx_features.guest_physical_bits = 40;
    vmx_features.caps.ept_vpid = ~0ull;
    caps.ept_vpid = ~0ull;
    begin(MIB(64));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    u64 held = s.frames + s.link_frames, before = frames_free_count();
    shadow_destroy(&s);
    assert_int_equal(everywhere, 1);
    assert_int_equal(frames_free_count(), before + held);
    return 0;
}

/* ---- the guest's EPT ---- */

static u64 *guest_entry(u64 table, u64 address, u32 level)
{
    return (u64 *)guest_memory_view(&vm.memory, gpa((table & FRAME) + (address >> (12 + 9 * (level - 1)) & 511) * 8),
                                    8);
}

/* The entry of `level` for the address below `eptp`, with tables on the way to it. */
static u64 *guest_entry_of(u64 eptp, u64 address, u32 level)
{
    u64 *entry = guest_entry(eptp, address, 4);

    for (u32 above = 4; above > level; above--) {
        if (!*entry) {
            *entry = next_table | RWX;
            next_table += 4096;
            assert_true(next_table <= 0xa0000);
        }
        entry = guest_entry(*entry, address, above - 1);
    }
    return entry;
}

static u64 *guest_map(u64 eptp, u64 address, u64 to, u32 level, u64 rights)
{
    u64 *entry = guest_entry_of(eptp, address, level);
    *entry = to | rights | WB | (level > 1 ? LARGE : 0);
    return entry;
}

/* ---- what the CPU walks ---- */

/* The entry that maps an address, and the size of its page; 0: none. */
static u64 leaf_of(u64 eptp, u64 address, u64 *bytes)
{
    u64 table = shadow_pointer(&s, eptp);

    assert_int_equal(table & 0xfff & ~0x40ull, 6 | 3 << 3);
    assert_int_equal(table & 0x40, eptp & 0x40);
    for (u32 level = 4;; level--) {
        u64 entry = ((u64 *)phys_to_virt(hpa(table & FRAME)))[address >> (12 + 9 * (level - 1)) & 511];
        *bytes = 1ull << (12 + 9 * (level - 1));
        if (!entry || level == 1 || entry & LARGE)
            return entry;
        assert_int_equal(entry & ~FRAME, RWX);
        assert_true((entry & FRAME) >= s.pool.raw + 4 * 4096 && (entry & FRAME) < s.pool.raw + s.frames * 4096ull);
        table = entry;
    }
}

#define assert_leaf(eptp, address, to, page_bytes, rights)                                                             \
    do {                                                                                                               \
        u64 bytes_, leaf_ = leaf_of(eptp, address, &bytes_);                                                           \
        assert_int_equal(leaf_, (to) | (rights) | 0x70 | (bytes_ > 4096 ? LARGE : 0));                                 \
        assert_int_equal(bytes_, page_bytes);                                                                          \
    } while (0)

static bool is_mapped(u64 eptp, u64 address)
{
    u64 bytes;
    return leaf_of(eptp, address, &bytes);
}

#define assert_filled(eptp, address, access)                                                                           \
    assert_int_equal(shadow_violation(&s, eptp, address, access, &fault), SHADOW_FILLED)
#define assert_violation(eptp, address, access, allowed)                                                               \
    do {                                                                                                               \
        assert_int_equal(shadow_violation(&s, eptp, address, access, &fault), SHADOW_VIOLATION);                       \
        assert_int_equal(fault.qualification, (access) | (allowed) << 3);                                              \
    } while (0)
#define assert_misconfigured(eptp, address)                                                                            \
    assert_int_equal(shadow_violation(&s, eptp, address, R, &fault), SHADOW_MISCONFIGURATION)

/* ---- mapping ---- */

static void test_map(void **state)
{
    (void)state;
    assert_violation(EPTP, 0x5000, R, 0);
    guest_map(EPTP, 0x5000, EVEN + 0x7000, 1, RWX);
    assert_filled(EPTP, 0x5123, R);
    assert_leaf(EPTP, 0x5000, TO_EVEN + 0x7000, 4096, RWX);
    assert_false(is_mapped(EPTP, 0x4000));
    assert_false(is_mapped(EPTP, 0x6000));
    assert_violation(EPTP, 0x6000, X, 0);
    assert_violation(EPTP, 0x8000000000, R | W, 0);
    guest_map(EPTP, 0xfffffffff000, ODD + 0x3000, 1, R); /* the last page of 48 bits */
    assert_filled(EPTP, 0xfffffffff000, R);
    assert_leaf(EPTP, 0xfffffffff000, TO_ODD + 0x3000, 4096, R);
    assert_filled(EPTP, 0x5000, W); /* another vCPU may have been here: nothing changes */
    assert_leaf(EPTP, 0x5000, TO_EVEN + 0x7000, 4096, RWX);
    assert_flushes("");
}

/* Those of all entries on the way count, and the qualification tells of all. */
static void test_rights(void **state)
{
    static const u8 allowed[] = {R, R | W, X, R | X, RWX};

    (void)state;
    for (u32 upper = 0; upper < 5; upper++) {
        for (u32 level = 1; level <= 4; level++) {
            for (u32 lower = 0; lower < 5; lower++) {
                u64 address = (u64)level << 30 | 0x3000, both = allowed[upper] & allowed[lower];
                shadow_forget_all(&s);
                u64 *leaf = guest_map(EPTP, address, EVEN, 1, allowed[lower]);
                u64 *above = guest_entry_of(EPTP, address, level);
                u64 old = *above;
                *above = (*above & ~7ull) | (level > 1 ? allowed[upper] : both ? both : 0);
                for (u64 access = 1; access < 8; access++) {
                    if (!both || access & ~both) {
                        assert_violation(EPTP, address, access, both);
                        continue;
                    }
                    assert_filled(EPTP, address, access);
                    assert_leaf(EPTP, address, TO_EVEN, 4096, both);
                }
                if (!both)
                    assert_false(is_mapped(EPTP, address));
                *above = old;
                *leaf = 0;
            }
        }
    }
}

static void test_what_is_no_memory(void **state)
{
    (void)state;
    guest_map(EPTP, 0x1000, HOLE + 0x5000, 1, RWX);
    guest_map(EPTP, 0x2000, 0xfee00000, 1, R | W);
    guest_map(EPTP, 0x3000, ROM + 0x1000, 1, RWX);
    guest_map(EPTP, 0x4000, 0xa0000, 1, R);
    guest_map(EPTP, 0x5000, HIGH + GIB(1) - 4096, 1, RWX);
    assert_int_equal(shadow_violation(&s, EPTP, 0x1234, W, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(fault.physical, HOLE + 0x5234);
    assert_int_equal(shadow_violation(&s, EPTP, 0x20f0, R, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(fault.physical, 0xfee000f0);
    assert_int_equal(shadow_violation(&s, EPTP, 0x3008, W, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(fault.physical, ROM + 0x1008);
    assert_int_equal(shadow_violation(&s, EPTP, 0x4000, R, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(shadow_violation(&s, EPTP, 0x5000, R, &fault), SHADOW_NO_MEMORY);
    assert_violation(EPTP, 0x4000, W, R); /* what the guest's EPT forbids comes first */
    assert_filled(EPTP, 0x3008, X);
    assert_leaf(EPTP, 0x3000, vm.memory.regions[1].frames.raw + 0x1000, 4096, R | X);
    for (u64 address = 0x1000; address <= 0x5000; address += 0x1000)
        assert_int_equal(is_mapped(EPTP, address), address == 0x3000);
}

/* ---- sizes ---- */

static void test_large_pages(void **state)
{
    (void)state;
    guest_map(EPTP, GIB(1), EVEN, 3, RWX); /* 1 GiB on 1 GiB */
    assert_filled(EPTP, GIB(1) + 0x12345678, R);
    assert_leaf(EPTP, GIB(1) + 0x12345678, TO_EVEN, GIB(1), RWX);
    guest_map(EPTP, GIB(2), EVEN + MIB(6), 2, R | X); /* 2 MiB on 1 GiB */
    assert_filled(EPTP, GIB(2) + 0x123456, X);
    assert_leaf(EPTP, GIB(2), TO_EVEN + MIB(6), MIB(2), R | X);
    assert_false(is_mapped(EPTP, GIB(2) + MIB(2)));
    guest_map(EPTP, GIB(3), ODD + MIB(2), 2, RWX); /* 2 MiB on pieces of 4 KiB */
    assert_filled(EPTP, GIB(3) + 0x5678, W);
    assert_leaf(EPTP, GIB(3) + 0x5678, TO_ODD + MIB(2) + 0x5000, 4096, RWX);
    assert_false(is_mapped(EPTP, GIB(3) + 0x4000));
    guest_map(EPTP, GIB(5), HIGH, 3, RWX); /* 1 GiB whose last page is missing: on 2 MiB and 4 KiB */
    assert_filled(EPTP, GIB(5) + MIB(3), R);
    assert_leaf(EPTP, GIB(5) + MIB(3), TO_HIGH + MIB(2), MIB(2), RWX);
    assert_filled(EPTP, GIB(6) - 8192, R);
    assert_leaf(EPTP, GIB(6) - 8192, TO_HIGH + GIB(1) - 8192, 4096, RWX);
    assert_int_equal(shadow_violation(&s, EPTP, GIB(6) - 1, R, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(fault.physical, HIGH + GIB(1) - 1);
    guest_map(EPTP, GIB(7), 0, 3, RWX); /* 1 GiB with everything in it */
    assert_filled(EPTP, GIB(7) + ODD + 0x1000, W);
    assert_leaf(EPTP, GIB(7) + ODD + 0x1000, TO_ODD + 0x1000, 4096, RWX);
    assert_filled(EPTP, GIB(7) + ROM, R);
    assert_leaf(EPTP, GIB(7) + ROM, vm.memory.regions[1].frames.raw, 4096, R | X);
    assert_int_equal(shadow_violation(&s, EPTP, GIB(7) + 0xb0000, R, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(fault.physical, 0xb0000);
}

static void test_what_the_cpu_has(void **state)
{
    (void)state;
    guest_map(EPTP, GIB(1), EVEN, 3, RWX);
    vmx_features.caps.ept_vpid = EPT_CAP_2M;
    assert_filled(EPTP, GIB(1) + MIB(4) + 4096, R);
    assert_leaf(EPTP, GIB(1) + MIB(4), TO_EVEN + MIB(4), MIB(2), RWX);
    vmx_features.caps.ept_vpid = 0;
    assert_filled(EPTP, GIB(1) + MIB(8) + 4096, R);
    assert_leaf(EPTP, GIB(1) + MIB(8) + 4096, TO_EVEN + MIB(8) + 4096, 4096, RWX);
}

/* The size of a page changes without INVEPT: what is mapped is right, and the CPU forgets the page of the old size. */
static void test_split(void **state)
{
    (void)state;
    u64 *large = guest_map(EPTP, GIB(1), EVEN, 2, R);
    assert_filled(EPTP, GIB(1), R);
    *large = 0;
    guest_map(EPTP, GIB(1) + 0x3000, EVEN + 0x9000, 1, RWX);
    assert_filled(EPTP, GIB(1) + 0x3000, W);
    assert_leaf(EPTP, GIB(1) + 0x3000, TO_EVEN + 0x9000, 4096, RWX);
    assert_false(is_mapped(EPTP, GIB(1)));
    assert_flushes("0 ");
    *large = EVEN | RWX | WB | LARGE; /* a table stays one until it is dropped */
    assert_filled(EPTP, GIB(1) + 0x5000, X);
    assert_leaf(EPTP, GIB(1) + 0x5000, TO_EVEN + 0x5000, 4096, RWX);
    assert_flushes("");
    assert_filled(EPTP, GIB(1) + 0x3000, X);
    assert_leaf(EPTP, GIB(1) + 0x3000, TO_EVEN + 0x3000, 4096, RWX);
    assert_flushes("0 "); /* the page is another */
    *guest_entry_of(EPTP, GIB(1), 2) = EVEN | R | WB | LARGE;
    assert_filled(EPTP, GIB(1) + 0x3000, R);
    assert_leaf(EPTP, GIB(1) + 0x3000, TO_EVEN + 0x3000, 4096, R);
    assert_flushes("0 "); /* less is allowed */
}

static void test_code_in_small_pages(void **state)
{
    (void)state;
    vmx_features.fetch_small = true;
    guest_map(EPTP, GIB(1), EVEN, 2, RWX);
    assert_filled(EPTP, GIB(1), W);
    assert_leaf(EPTP, GIB(1), TO_EVEN, MIB(2), R | W);
    assert_filled(EPTP, GIB(1) + 0x3000, X);
    assert_leaf(EPTP, GIB(1) + 0x3000, TO_EVEN + 0x3000, 4096, RWX);
    assert_flushes("0 ");
    assert_filled(EPTP, GIB(1) + 0x4000, R);
    assert_leaf(EPTP, GIB(1) + 0x4000, TO_EVEN + 0x4000, 4096, RWX);
    guest_map(EPTP, GIB(1) + MIB(2), EVEN, 2, X);
    assert_filled(EPTP, GIB(1) + MIB(2), X);
    assert_leaf(EPTP, GIB(1) + MIB(2), TO_EVEN, 4096, X);
}

/* ---- misconfigurations ---- */

/* What makes a present entry of each kind one, and the same on a CPU that has more. */
static void test_misconfigurations(void **state)
{
    static const u64 rights[] = {W, W | X};
    u64 table = TABLES + 0x40000, page = EVEN;

    (void)state;
    for (u32 level = 1; level <= 4; level++) {
        for (u32 large = 0; large < 2; large++) {
            if ((level == 4 && large) || (level == 1 && !large))
                continue;
            u64 good = (large ? page | WB | (level > 1 ? LARGE : 0) : table) | RWX;
            u64 *entry = guest_entry_of(EPTP, GIB(3), level);
            for (u32 i = 0; i < 2; i++) {
                *entry = (good & ~7ull) | rights[i];
                assert_misconfigured(EPTP, GIB(3));
            }
            *entry = (good & ~7ull) | X;
            assert_int_equal(shadow_violation(&s, EPTP, GIB(3), R, &fault), SHADOW_VIOLATION);
            s.caps &= ~1ull;
            assert_misconfigured(EPTP, GIB(3));
            s.caps = ~0ull;
            for (u32 bit = 6; bit < 64; bit++) {
                bool reserved = bit >= 40 && bit < 52;
                if (large)
                    reserved |= bit >= 12 && bit < 12 + 9 * (level - 1);
                else
                    reserved |= bit < 8;
                if ((bit == 7 && level > 1 && level < 4) || (!large && bit >= 12 && bit < 40)) /* another kind, place */
                    continue;
                *entry = good ^ 1ull << bit;
                if (reserved)
                    assert_misconfigured(EPTP, GIB(3));
                else
                    assert_int_not_equal(shadow_violation(&s, EPTP, GIB(3), R, &fault), SHADOW_MISCONFIGURATION);
            }
            for (u64 type = 0; type < 8; type++) {
                *entry = (good & ~0x38ull) | type << 3;
                if (large ? type == 2 || type == 3 || type == 7 : type != 0)
                    assert_misconfigured(EPTP, GIB(3));
                else
                    assert_int_not_equal(shadow_violation(&s, EPTP, GIB(3), R, &fault), SHADOW_MISCONFIGURATION);
            }
            *entry = ~7ull; /* not present: the rest is ignored */
            assert_violation(EPTP, GIB(3), R, 0);
            *entry = large ? 0 : good;
            shadow_forget_all(&s);
        }
        for (u64 at = TABLES; at < 0xa0000; at += 8)
            *(u64 *)guest_memory_view(&vm.memory, gpa(at), 8) = 0;
        next_table = TABLES + 4096;
    }
}

static void test_pages_that_are_not_offered(void **state)
{
    (void)state;
    guest_map(EPTP, GIB(1), EVEN, 3, RWX);
    guest_map(EPTP, GIB(2), EVEN, 2, RWX);
    s.caps = ~EPT_CAP_1G;
    assert_misconfigured(EPTP, GIB(1));
    assert_filled(EPTP, GIB(2), R);
    s.caps = ~EPT_CAP_2M;
    assert_misconfigured(EPTP, GIB(2));
    assert_filled(EPTP, GIB(1), R);
}

/* A violation by the rights of an upper entry does not hide a misconfiguration below; an absent entry does. */
static void test_priorities(void **state)
{
    (void)state;
    u64 *leaf = guest_map(EPTP, 0x1000, EVEN, 1, R);
    u64 *above = guest_entry_of(EPTP, 0x1000, 3);
    *leaf |= 3 << 3;
    *above = (*above & ~7ull) | X;
    assert_misconfigured(EPTP, 0x1000);
    *above &= ~7ull;
    assert_violation(EPTP, 0x1000, R, 0);
}

/* ---- tables that are somewhere else ---- */

static void test_tables_outside_memory(void **state)
{
    (void)state;
    for (u32 level = 4; level > 1; level--) {
        u64 *entry = guest_entry_of(EPTP, GIB(3), level);
        u64 old = *entry;
        static const u64 places[] = {HOLE, 0xa0000, 0xfee00000, 0xfffffff000ull, HIGH + GIB(1) - 4096};
        for (u32 i = 0; i < 5; i++) {
            *entry = places[i] | RWX;
            assert_misconfigured(EPTP, GIB(3)); /* all ones */
        }
        *entry = old;
    }
    assert_misconfigured(HOLE | 6 | 3 << 3, 0x1000);
    assert_false(is_mapped(HOLE | 6 | 3 << 3, 0x1000));
}

/* One table that is its own at all levels: each page of its memory is a table, too. */
static void test_tables_that_map_themselves(void **state)
{
    (void)state;
    *guest_entry(EPTP, 511ull << 39, 4) = TABLES | RWX;
    assert_filled(EPTP, 0xfffffffff000, R);
    assert_leaf(EPTP, 0xfffffffff000, vm.memory.regions[0].frames.raw + TABLES, 4096, RWX);
    /* With flags each level sets one in the same entry, which is then another than was read: the CPU comes again. */
    assert_filled(EPTP_AD, 0xfffffffff000, W);
    assert_false(is_mapped(EPTP_AD, 0xfffffffff000));
    assert_int_equal(*guest_entry(EPTP, 511ull << 39, 4), TABLES | RWX | ACCESSED);
    assert_filled(EPTP_AD, 0xfffffffff000, W);
    assert_int_equal(*guest_entry(EPTP, 511ull << 39, 4), TABLES | RWX | ACCESSED | DIRTY);
    assert_leaf(EPTP_AD, 0xfffffffff000, vm.memory.regions[0].frames.raw + TABLES, 4096, RWX);
}

/* ---- accessed and dirty flags ---- */

static void test_flags(void **state)
{
    (void)state;
    u64 *leaf = guest_map(EPTP, 0x5000, EVEN, 1, RWX);
    u64 *upper[] = {guest_entry_of(EPTP, 0x5000, 4), guest_entry_of(EPTP, 0x5000, 3), guest_entry_of(EPTP, 0x5000, 2)};
    assert_filled(EPTP, 0x5000, W); /* not in use */
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(*upper[i] & (ACCESSED | DIRTY), 0);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), 0);
    assert_filled(EPTP_AD, 0x5000, R);
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(*upper[i] & (ACCESSED | DIRTY), ACCESSED);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), ACCESSED);
    assert_leaf(EPTP_AD, 0x5000, TO_EVEN, 4096, R | X); /* the first write comes here */
    assert_leaf(EPTP, 0x5000, TO_EVEN, 4096, RWX);
    assert_filled(EPTP_AD, 0x5000, R | W); /* by a walk of the inner guest's tables */
    assert_int_equal(*leaf, EVEN | RWX | WB | ACCESSED | DIRTY);
    assert_leaf(EPTP_AD, 0x5000, TO_EVEN, 4096, RWX);
    for (u32 i = 0; i < 3; i++)
        assert_int_equal(*upper[i] & (ACCESSED | DIRTY), ACCESSED);
    *leaf &= ~(u64)DIRTY; /* the guest looks for what is written anew: it must execute INVEPT */
    shadow_forget(&s, EPTP_AD);
    assert_filled(EPTP_AD, 0x5000, X);
    assert_leaf(EPTP_AD, 0x5000, TO_EVEN, 4096, R | X);
    *leaf |= DIRTY; /* one that is dirty is mapped with all rights at once */
    assert_filled(EPTP_AD, 0x5000, X);
    assert_leaf(EPTP_AD, 0x5000, TO_EVEN, 4096, RWX);
}

/* An access that is not allowed sets none; one that meets a device sets them; large pages have one for all. */
static void test_when_flags_are_set(void **state)
{
    (void)state;
    u64 *leaf = guest_map(EPTP, 0x5000, EVEN, 1, R);
    assert_violation(EPTP_AD, 0x5000, W, R);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), 0);
    leaf = guest_map(EPTP, 0x6000, 0xfee00000, 1, R | W);
    assert_int_equal(shadow_violation(&s, EPTP_AD, 0x6000, W, &fault), SHADOW_NO_MEMORY);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    leaf = guest_map(EPTP, GIB(1), ODD, 2, RWX);
    assert_filled(EPTP_AD, GIB(1) + 0x5000, R);
    assert_leaf(EPTP_AD, GIB(1) + 0x5000, TO_ODD + 0x5000, 4096, R | X);
    assert_filled(EPTP_AD, GIB(1) + 0x6000, W);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    assert_filled(EPTP_AD, GIB(1) + 0x7000, R);
    assert_leaf(EPTP_AD, GIB(1) + 0x7000, TO_ODD + 0x7000, 4096, RWX);
}

/* In ROM none can be set, and the access goes on. */
static void test_tables_in_rom(void **state)
{
    u64 entry = EVEN | RWX | WB;

    (void)state;
    assert_int_equal(guest_memory_write(&vm.memory, gpa(ROM + 8), &entry, 8), STATUS_OK);
    *guest_entry_of(EPTP, 0x1000, 2) = ROM | RWX;
    assert_filled(EPTP_AD, 0x1000, R);
    assert_leaf(EPTP_AD, 0x1000, TO_EVEN, 4096, R | X);
    assert_filled(EPTP_AD, 0x1000, W);
    assert_leaf(EPTP_AD, 0x1000, TO_EVEN, 4096, RWX);
    assert_int_equal(guest_memory_read(&vm.memory, gpa(ROM + 8), &entry, 8), STATUS_OK);
    assert_int_equal(entry, EVEN | RWX | WB);
}

/* ---- forgetting ---- */

static void test_unmap_and_protect(void **state)
{
    (void)state;
    u64 *leaf = guest_map(EPTP, 0x5000, EVEN, 1, RWX);
    assert_filled(EPTP, 0x5000, W);
    *leaf = EVEN | R | WB;
    assert_leaf(EPTP, 0x5000, TO_EVEN, 4096, RWX); /* cached, as in a TLB */
    assert_flushes("");
    shadow_forget(&s, EPTP);
    assert_false(is_mapped(EPTP, 0x5000));
    assert_flushes("0 ");
    assert_flushes("");
    assert_violation(EPTP, 0x5000, W, R);
    assert_filled(EPTP, 0x5000, R);
    assert_leaf(EPTP, 0x5000, TO_EVEN, 4096, R);
    *leaf = 0;
    shadow_forget_all(&s);
    assert_flushes("0 ");
    assert_violation(EPTP, 0x5000, R, 0);
    assert_false(is_mapped(EPTP, 0x5000));
    shadow_forget_all(&s);
    assert_flushes(""); /* there was nothing to forget */
}

/* A table that was dropped is empty when it comes again, wherever it comes. */
static void test_tables_come_again_empty(void **state)
{
    (void)state;
    for (u64 n = 0; n < 4; n++)
        guest_map(EPTP, n << 30 | n << 21 | n << 12, EVEN, 1, RWX);
    for (u64 n = 0; n < 4; n++)
        assert_filled(EPTP, n << 30 | n << 21 | n << 12, R);
    for (u64 first = 0; first < 4; first++) {
        shadow_forget(&s, EPTP);
        assert_filled(EPTP, first << 30 | first << 21 | first << 12, R);
        for (u64 g = 0; g < 4; g++)
            for (u64 m = 0; m < 4; m++)
                for (u64 k = 0; k < 4; k++)
                    assert_int_equal(is_mapped(EPTP, g << 30 | m << 21 | k << 12), g == first && m == g && k == g);
    }
}

/* Bits 51:12 name a context: with and without flags it is the same. */
static void test_contexts(void **state)
{
    u64 other = (TABLES + 0x50000) | 6 | 3 << 3;

    (void)state;
    guest_map(EPTP, 0x5000, EVEN, 1, RWX);
    guest_map(other, 0x5000, ODD, 1, R);
    u64 one = shadow_pointer(&s, EPTP), two = shadow_pointer(&s, EPTP_AD), three = shadow_pointer(&s, other);
    assert_true((one ^ two) >> 12 && (two ^ three) >> 12 && (one ^ three) >> 12);
    assert_int_equal(shadow_pointer(&s, EPTP & ~6ull), one); /* tables are write-back, whatever the guest says */
    assert_filled(EPTP, 0x5000, R);
    assert_filled(EPTP_AD, 0x5000, W);
    assert_filled(other, 0x5000, R);
    assert_leaf(EPTP, 0x5000, TO_EVEN, 4096, RWX);
    assert_leaf(EPTP_AD, 0x5000, TO_EVEN, 4096, RWX);
    assert_leaf(other, 0x5000, TO_ODD, 4096, R);
    shadow_forget(&s, EPTP);
    assert_false(is_mapped(EPTP, 0x5000));
    assert_false(is_mapped(EPTP_AD, 0x5000));
    assert_leaf(other, 0x5000, TO_ODD, 4096, R);
    assert_flushes("0 1 ");
    assert_int_equal(shadow_pointer(&s, EPTP), one);
    assert_int_equal(shadow_pointer(&s, EPTP_AD), two);
}

static void test_without_single_contexts(void **state)
{
    (void)state;
    guest_map(EPTP, 0x5000, EVEN, 1, RWX);
    assert_filled(EPTP, 0x5000, R);
    shadow_forget(&s, EPTP);
    vmx_features.caps.ept_vpid &= ~EPT_CAP_INVEPT_ONE;
    assert_flushes("all ");
    assert_flushes("");
}

/* What has changed while the vCPU was on another CPU, this one may know from before. */
static void test_another_cpu(void **state)
{
    (void)state;
    local.id = 3;
    assert_flushes("0 1 2 3 ");
    assert_flushes("");
    local.id = 0;
    assert_flushes("0 1 2 3 ");
    vmx_features.caps.ept_vpid &= ~EPT_CAP_INVEPT_ONE;
    local.id = 3;
    assert_flushes("all ");
}

static u64 eptp_number(u64 n)
{
    return (TABLES + 0x70000 + n * 4096) | 6 | 3 << 3;
}

static void test_the_least_recently_used_goes(void **state)
{
    u64 pointers[5];

    (void)state;
    for (u64 n = 0; n < 4; n++) {
        guest_map(eptp_number(n), 0x1000, EVEN + n * 4096, 1, RWX);
        pointers[n] = shadow_pointer(&s, eptp_number(n));
        assert_filled(eptp_number(n), 0x1000, R);
    }
    guest_map(eptp_number(4), 0x1000, ODD, 1, R);
    assert_int_equal(shadow_pointer(&s, eptp_number(0)), pointers[0]);
    assert_int_equal(shadow_pointer(&s, eptp_number(1)), pointers[1]);
    assert_int_equal(shadow_pointer(&s, eptp_number(3)), pointers[3]);
    assert_int_equal(shadow_pointer(&s, eptp_number(4)), pointers[2]);
    assert_flushes("2 ");
    assert_false(is_mapped(eptp_number(4), 0x1000));
    assert_filled(eptp_number(4), 0x1000, R);
    assert_leaf(eptp_number(4), 0x1000, TO_ODD, 4096, R);
    assert_leaf(eptp_number(1), 0x1000, TO_EVEN + 4096, 4096, RWX);
    assert_leaf(eptp_number(3), 0x1000, TO_EVEN + 3 * 4096, 4096, RWX);
    assert_int_equal(shadow_pointer(&s, eptp_number(2)), pointers[0]);
    assert_false(is_mapped(eptp_number(2), 0x1000));
}

/* ---- the pool ---- */

/* A page in each of so many gigabytes: each needs two tables of its own. */
static u32 touch_scattered(u64 eptp, u32 count)
{
    u32 present = 0;

    for (u64 n = 0; n < count; n++) {
        assert_filled(eptp, n << 30, R);
        assert_leaf(eptp, n << 30, TO_EVEN, 4096, RWX);
    }
    for (u64 n = 0; n < count; n++)
        present += is_mapped(eptp, n << 30);
    return present;
}

static void test_the_pool_runs_dry(void **state)
{
    u64 other = (TABLES + 0x50000) | 6 | 3 << 3;

    (void)state;
    u64 free = frames_free_count();
    u32 fit = (s.frames - SHADOW_ROOTS - 1) / 2u; /* but for the table above them all */
    guest_map(EPTP, 0, EVEN, 1, RWX);
    u64 tables = *guest_entry_of(EPTP, 0, 3);
    for (u64 n = 0; n < 2 * fit; n++)
        *guest_entry_of(EPTP, n << 30, 3) = tables;
    guest_map(other, 0, EVEN, 1, RWX);
    assert_int_equal(touch_scattered(EPTP, fit), fit);
    assert_flushes("");
    assert_filled(other, 0, W); /* the last frame, and then none: all is dropped, and this is mapped */
    assert_leaf(other, 0, TO_EVEN, 4096, RWX);
    assert_false(is_mapped(EPTP, 0));
    assert_flushes("0 1 ");
    for (u32 i = 0; i < 5; i++)
        assert_true(touch_scattered(EPTP, 2 * fit - 1) >= 1);
    shadow_forget_all(&s);
    assert_int_equal(touch_scattered(EPTP, fit), fit); /* none was lost */
    assert_int_equal(frames_free_count(), free);
}

/* More than are zeroed when they are dropped. */
static void test_many_tables_come_again_empty(void **state)
{
    (void)state;
    shadow_destroy(&s);
    everywhere = 0;
    begin(GIB(1));
    u32 fit = (s.frames - SHADOW_ROOTS - 1) / 2u;
    guest_map(EPTP, 0, EVEN, 1, RWX);
    guest_map(EPTP, 0x1000, EVEN, 1, RWX);
    u64 tables = *guest_entry_of(EPTP, 0, 3);
    for (u64 n = 0; n < fit; n++)
        *guest_entry_of(EPTP, n << 30, 3) = tables;
    assert_int_equal(touch_scattered(EPTP, fit), fit);
    shadow_forget(&s, EPTP);
    for (u64 n = 0; n < fit; n++)
        assert_filled(EPTP, n << 30 | 0x1000, R);
    for (u64 n = 0; n < fit; n++) {
        assert_false(is_mapped(EPTP, n << 30));
        assert_leaf(EPTP, n << 30 | 0x1000, TO_EVEN, 4096, RWX);
    }
    assert_flushes("0 ");
}

static void test_pool_sizes(void **state)
{
    static const struct {
        u64 mem_bytes;
        u32 frames;
    } rows[] = {
        {MIB(1),  64  },
        {MIB(32), 64  }, /* 16 + 2 + 32 are fewer */
        {GIB(1),  548 }, /* 512 + 4 + 32 */
        {GIB(64), 4096}
    };

    (void)state;
    host_memory_init(MIB(1), MIB(32));
    for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
        u32 frames;
        u64 before = frames_free_count();
        vm.spec.mem_bytes = rows[i].mem_bytes;
        assert_int_equal(shadow_create(&s, &vm, &caps, &frames), STATUS_OK);
        assert_int_equal(s.frames, rows[i].frames);
        assert_int_equal(frames, before - frames_free_count());
        assert_int_equal(frames - s.frames, (rows[i].frames * 2 + 4095) / 4096);
        shadow_destroy(&s);
        assert_int_equal(everywhere, i + 1); /* the frames may be tables of another VM next */
        assert_int_equal(frames_free_count(), before);
    }
    host_memory_init(MIB(1), 64 * 4096); /* one too few */
    u32 frames;
    vm.spec.mem_bytes = MIB(1);
    assert_int_equal(shadow_create(&s, &vm, &caps, &frames), STATUS_NO_MEMORY);
    assert_int_equal(frames_free_count(), 64);
}

/* A new VM of 64 MiB with one that fills it by small pages: no table is dropped. */
static void test_all_memory_fits(void **state)
{
    (void)state;
    for (u32 i = 0; i < 32; i++)
        for (u64 page = 0; page < 512; page += 511)
            guest_map(EPTP, MIB(2) * i + page * 4096, EVEN + MIB(2) * i + page * 4096, 1, RWX);
    for (u32 i = 0; i < 32; i++)
        for (u64 page = 0; page < 512; page += 511)
            assert_filled(EPTP, MIB(2) * i + page * 4096, W);
    for (u32 i = 0; i < 32; i++)
        for (u64 page = 0; page < 512; page += 511)
            assert_leaf(EPTP, MIB(2) * i + page * 4096, TO_EVEN + MIB(2) * i + page * 4096, 4096, RWX);
    assert_flushes("");
}

/* ---- our own accesses ---- */

#define assert_translates(eptp, address, access, flags, to)                                                            \
    do {                                                                                                               \
        assert_int_equal(shadow_translate(&s, eptp, address, access, flags, &fault), SHADOW_FILLED);                   \
        assert_int_equal(fault.physical, to);                                                                          \
    } while (0)

static void test_translate(void **state)
{
    (void)state;
    u64 *leaf = guest_map(EPTP, GIB(1), ODD, 2, R | W);
    assert_translates(EPTP_AD, GIB(1) + 0x12345, R, false, ODD + 0x12345);
    assert_translates(EPTP_AD, GIB(1) + 0x12345, R | W, false, ODD + 0x12345);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), 0);
    assert_int_equal(shadow_translate(&s, EPTP_AD, GIB(1), X, true, &fault), SHADOW_VIOLATION);
    assert_int_equal(fault.qualification, X | (R | W) << 3);
    assert_int_equal(shadow_translate(&s, EPTP_AD, GIB(2), R, true, &fault), SHADOW_VIOLATION);
    assert_int_equal(fault.qualification, R);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), 0);
    assert_translates(EPTP, GIB(1), W, true, ODD);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), 0);
    assert_translates(EPTP_AD, GIB(1), R, true, ODD);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), ACCESSED);
    assert_translates(EPTP_AD, GIB(1), W, true, ODD);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    *leaf |= 1 << 12;
    assert_int_equal(shadow_translate(&s, EPTP, GIB(1), R, false, &fault), SHADOW_MISCONFIGURATION);
    guest_map(EPTP, 0x1000, 0xfee00000, 1, R);
    assert_translates(EPTP, 0x10f0, R, true, 0xfee000f0);
    assert_false(is_mapped(EPTP, GIB(1)));
}

/* What the CPU reads of the inner guest's page tables counts as written, if flags are in use. */
static void test_translate_for_a_walk(void **state)
{
    (void)state;
    u64 *leaf = guest_map(EPTP, 0x1000, EVEN, 1, R);
    assert_translates(EPTP, 0x1008, VMX_INNER_TABLE, true, EVEN + 8);
    assert_int_equal(shadow_translate(&s, EPTP_AD, 0x1008, VMX_INNER_TABLE, true, &fault), SHADOW_VIOLATION);
    assert_int_equal(fault.qualification, R | W | R << 3);
    *leaf |= W;
    assert_translates(EPTP_AD, 0x1008, VMX_INNER_TABLE, true, EVEN + 8);
    assert_int_equal(*leaf & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    *guest_entry(EPTP, 511ull << 39, 4) = TABLES | RWX; /* an entry that changes under the walk: again */
    assert_translates(EPTP_AD, 0xfffffffff000, W, true, TABLES);
    assert_int_equal(*guest_entry(EPTP, 511ull << 39, 4), TABLES | RWX | ACCESSED | DIRTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_map, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_the_cpu_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_code_in_small_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_misconfigurations, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pages_that_are_not_offered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_priorities, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables_outside_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables_that_map_themselves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_when_flags_are_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables_in_rom, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unmap_and_protect, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tables_come_again_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contexts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_single_contexts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_cpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_least_recently_used_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_pool_runs_dry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_tables_come_again_empty, set_up, tear_down),
        cmocka_unit_test_setup(test_pool_sizes, set_up),
        cmocka_unit_test_setup_teardown(test_all_memory_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_translate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_translate_for_a_walk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
