/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame allocator on an array that plays physical memory. The allocator has one global state: each test adds an
 * arena of its own and drains the allocator at the end. links: kernel/frames.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/paging.h"
#include "kernel/frames.h"
#include "kernel/lib/bits.h"
#include "kernel/panic.h"

#define MEMORY_BYTES MIB(128)

static u8 *memory;
static jmp_buf panicked;
static bool panic_expected;

static u32 looks;

void *phys_to_virt(hpa_t address)
{
    looks++;
    assert_true(address.raw < MEMORY_BYTES);
    return memory + address.raw;
}

hpa_t virt_to_phys(const void *pointer)
{
    return hpa((u64)((const u8 *)pointer - memory));
}

NORETURN void panic(const char *format, ...)
{
    if (panic_expected)
        longjmp(panicked, 1);
    fail_msg("panic: %s", format);
    abort();
}

#define ASSERT_PANICS(call)                                                                                            \
    do {                                                                                                               \
        panic_expected = true;                                                                                         \
        if (!setjmp(panicked)) {                                                                                       \
            call;                                                                                                      \
            fail_msg("no panic: %s", #call);                                                                           \
        }                                                                                                              \
        panic_expected = false;                                                                                        \
    } while (0)

static int make_memory(void **state)
{
    (void)state;
    memory = aligned_alloc(MIB(2), MEMORY_BYTES);
    memset(memory, 0xa5, MEMORY_BYTES);
    return memory ? 0 : -1;
}

static int free_memory(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

static int drain(void **state)
{
    hpa_t frame;
    (void)state;
    while (frames_allocate_dirty(1, 1, &frame) == STATUS_OK) {
    }
    return (int)frames_free_count();
}

static u64 allocate(u64 count, u64 align_frames)
{
    hpa_t out;
    assert_int_equal(frames_allocate(count, align_frames, &out), STATUS_OK);
    return out.raw;
}

static void test_gives_zeroed_aligned_frames_and_counts_them(void **state)
{
    (void)state;
    frames_add(hpa(MIB(8) + 0x3000), 1000);
    assert_int_equal(frames_free_count(), 1000);
    for (u64 align = 1; align <= 256; align *= 2) {
        u64 base = allocate(3, align);
        assert_true(bits_is_aligned(base, align * FRAME_BYTES));
        for (u64 i = 0; i < 3 * FRAME_BYTES; i++)
            assert_int_equal(memory[base + i], 0);
        memset(memory + base, 0xff, 3 * FRAME_BYTES);
    }
    assert_int_equal(frames_free_count(), 1000 - 9 * 3);
}

static bool is_zero(u64 base, u64 frames)
{
    for (u64 i = 0; i < frames * FRAME_BYTES; i++)
        if (memory[base + i])
            return false;
    return true;
}

/* What a VM leaves counts as free at once, is zeroed in pieces, and is given to nobody before. */
static void test_dirty_frames_are_cleaned_in_pieces(void **state)
{
    hpa_t out;

    (void)state;
    frames_add(hpa(MIB(8)), 100);
    u64 base = allocate(90, 1);
    memset(memory + base, 0xa5, 90 * FRAME_BYTES);
    assert_false(frames_clean_piece());
    frames_free_dirty(hpa(base), 50);
    frames_free_dirty(hpa(base + 50 * FRAME_BYTES), 40);
    assert_int_equal(frames_free_count(), 100);
    assert_int_equal(frames_allocate(10, 1, &out), STATUS_OK); /* what is clean goes first */
    assert_true(out.raw < base || out.raw >= base + 90 * FRAME_BYTES);
    u32 pieces = 0;
    while (frames_clean_piece())
        pieces++;
    assert_in_range(pieces, 10, 90);
    assert_true(is_zero(base + FRAME_BYTES, 89)); /* the first has the free extent's descriptor */
    assert_int_equal(allocate(90, 1), base);
    memset(memory + base, 0xa5, 90 * FRAME_BYTES);
    frames_free_dirty(hpa(base), 90);
    assert_int_equal(frames_allocate_dirty(90, 1, &out), STATUS_OK); /* nothing else is left: cleaned for it */
    assert_true(is_zero(out.raw + FRAME_BYTES, 89));
    assert_int_equal(frames_free_count(), 0);
}

static void test_refuses_what_does_not_fit_and_changes_nothing(void **state)
{
    hpa_t out = hpa(77);
    (void)state;
    frames_add(hpa(MIB(16) + 0x1000), 600); /* 511 frames to the boundary, 89 behind */
    assert_int_equal(frames_largest(1), 600);
    assert_int_equal(frames_largest(512), 0);
    assert_int_equal(frames_largest(64), 600 - 63);
    assert_int_equal(frames_allocate(601, 1, &out), STATUS_NO_MEMORY);
    assert_int_equal(frames_allocate(90, 512, &out), STATUS_NO_MEMORY);
    assert_int_equal(frames_free_count(), 600);
    assert_int_equal(allocate(89, 512), MIB(18));
    assert_int_equal(frames_largest(1), 511);
}

static void test_merges_in_every_order_of_freeing(void **state)
{
    static const u8 orders[][3] = {
        {0, 1, 2},
        {0, 2, 1},
        {1, 0, 2},
        {1, 2, 0},
        {2, 0, 1},
        {2, 1, 0}
    };
    (void)state;
    frames_add(hpa(MIB(24)), 30);
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        u64 pieces[3] = {allocate(10, 1), allocate(10, 1), allocate(10, 1)};
        assert_int_equal(frames_free_count(), 0);
        for (size_t k = 0; k < 3; k++)
            frames_free(hpa(pieces[orders[i][k]]), 10);
        assert_int_equal(frames_largest(1), 30);
        assert_int_equal(frames_free_count(), 30);
    }
}

static void test_small_requests_leave_large_extents_whole(void **state)
{
    (void)state;
    frames_add(hpa(MIB(32)), 512);
    frames_add(hpa(MIB(36)), 20);
    for (int i = 0; i < 20; i++)
        assert_true(allocate(1, 1) >= MIB(36));
    assert_int_equal(frames_largest(512), 512);
    assert_int_equal(allocate(512, 512), MIB(32));
}

static void test_low_memory_goes_last_but_on_request(void **state)
{
    hpa_t out;
    (void)state;
    frames_add(hpa(0x1000), 8);
    frames_add(hpa(MIB(40)), 100);
    for (int i = 0; i < 100; i++)
        assert_true(allocate(1, 1) >= MIB(40));
    assert_int_equal(frames_allocate_below(hpa(MIB(1)), &out), STATUS_OK);
    assert_int_equal(out.raw, 0x1000);
    assert_int_equal(memory[0x1000 + 100], 0);
    assert_int_equal(frames_free_count(), 7);
    assert_int_equal(frames_allocate_below(hpa(0x2fff), &out), STATUS_NO_MEMORY);
    assert_int_equal(allocate(7, 1), 0x2000);
    assert_int_equal(frames_allocate_below(hpa(MIB(1)), &out), STATUS_NO_MEMORY);
}

static void test_panics_on_double_and_foreign_frees(void **state)
{
    (void)state;
    frames_add(hpa(MIB(48)), 16);
    u64 base = allocate(8, 1);
    frames_free(hpa(base), 4);
    ASSERT_PANICS(frames_free(hpa(base), 4));                       /* exactly the same */
    ASSERT_PANICS(frames_free(hpa(base + 3 * FRAME_BYTES), 2));     /* one of them free */
    ASSERT_PANICS(frames_free(hpa(MIB(48) + FRAME_BYTES), 1));      /* inside a free extent */
    ASSERT_PANICS(frames_free(hpa(base), 8));                       /* around one */
    ASSERT_PANICS(frames_free(hpa(MIB(48) + 15 * FRAME_BYTES), 2)); /* runs out of the arena */
    ASSERT_PANICS(frames_free(hpa(MIB(49)), 1));                    /* never ours */
    ASSERT_PANICS(frames_free(hpa(base + 4 * FRAME_BYTES + 1), 1)); /* no frame address */
    ASSERT_PANICS(frames_add(hpa(MIB(48)), 1));                     /* twice */
    assert_int_equal(frames_free_count(), 12);
    frames_free(hpa(base + 4 * FRAME_BYTES), 4);
    assert_int_equal(frames_largest(1), 16);
}

#define STRESS_BASE   MIB(64)
#define STRESS_FRAMES 4096u
#define STRESS_LIVE   200u

static u8 model[STRESS_FRAMES]; /* 1: allocated */

static void mark(u64 base, u64 count, u8 value)
{
    u64 first = (base - STRESS_BASE) / FRAME_BYTES;
    assert_true(base >= STRESS_BASE && first + count <= STRESS_FRAMES);
    for (u64 i = first; i < first + count; i++) {
        assert_int_equal(model[i], !value);
        model[i] = value;
    }
}

static u64 model_largest(void)
{
    u64 best = 0;
    u64 run = 0;
    for (u32 i = 0; i < STRESS_FRAMES; i++) {
        run = model[i] ? 0 : run + 1;
        best = run > best ? run : best;
    }
    return best;
}

static void test_agrees_with_a_bitmap_over_random_operations(void **state)
{
    struct {
        u64 base, count;
    } live[STRESS_LIVE] = {0};
    u64 used = 0;
    (void)state;
    srand(20261122);
    frames_add(hpa(STRESS_BASE), STRESS_FRAMES / 2);
    frames_add(hpa(STRESS_BASE + STRESS_FRAMES / 2 * FRAME_BYTES), STRESS_FRAMES / 2);
    for (int step = 0; step < 20000; step++) {
        size_t slot = (size_t)rand() % STRESS_LIVE;
        if (live[slot].count) {
            frames_free(hpa(live[slot].base), live[slot].count);
            mark(live[slot].base, live[slot].count, 0);
            used -= live[slot].count;
            live[slot].count = 0;
        } else {
            u64 count = 1 + (u64)rand() % (rand() % 8 ? 8 : 300);
            u64 align = 1ull << rand() % 8;
            hpa_t out;
            if (frames_allocate_dirty(count, align, &out) == STATUS_OK) {
                assert_true(bits_is_aligned(out.raw, align * FRAME_BYTES));
                mark(out.raw, count, 1);
                memset(memory + out.raw, 0xee, FRAME_BYTES); /* the allocator must not read it any more */
                live[slot].base = out.raw;
                live[slot].count = count;
                used += count;
            } else {
                assert_true(frames_largest(align) < count);
            }
        }
        assert_int_equal(frames_free_count(), STRESS_FRAMES - used);
        if (step % 100 == 0)
            assert_int_equal(frames_largest(1), model_largest());
    }
    for (size_t i = 0; i < STRESS_LIVE; i++)
        if (live[i].count)
            frames_free(hpa(live[i].base), live[i].count);
    assert_int_equal(frames_largest(1), STRESS_FRAMES);
}

#define HOLES_FRAMES 24000u
#define MOST_LOOKS   1500u /* some 8 on each of 30 levels of the tree, in up to 6 walks; a list has thousands */

static u32 most_looks;

#define COUNT_LOOKS(call)                                                                                              \
    do {                                                                                                               \
        looks = 0;                                                                                                     \
        call;                                                                                                          \
        most_looks = looks > most_looks ? looks : most_looks;                                                          \
    } while (0)

/* Guests choose which frames become free, and others wait for the lock meanwhile: whatever the pattern, it is short. */
static void test_is_quick_with_thousands_of_extents(void **state)
{
    static const u32 strides[] = {2, 3, 5, 8, 64, 89, 610};
    hpa_t out;

    (void)state;
    frames_add(hpa(MIB(2)), HOLES_FRAMES);
    for (size_t i = 0; i < ARRAY_SIZE(strides); i++) {
        u64 base = allocate(HOLES_FRAMES, 1);
        for (u32 first = 0; first + 1 < strides[i]; first++)
            for (u32 k = first; k < HOLES_FRAMES; k += strides[i])
                COUNT_LOOKS(frames_free(hpa(base + k * FRAME_BYTES), 1));
        assert_int_equal(frames_largest(1), strides[i] - 1);
        for (u32 k = 0; k < 30; k++)
            COUNT_LOOKS(assert_int_equal(frames_allocate_dirty(1 + k % (strides[i] - 1), 1, &out), STATUS_OK));
        COUNT_LOOKS(assert_int_equal(frames_allocate_dirty(strides[i], 1, &out), STATUS_NO_MEMORY));
        COUNT_LOOKS(frames_largest(1));
        while (frames_allocate_dirty(1, 1, &out) == STATUS_OK) {
        }
        frames_free_dirty(hpa(base), HOLES_FRAMES);
        while (frames_clean_piece()) {
        }
    }
    assert_in_range(most_looks, 10, MOST_LOOKS);
}

/* What a guest that knows its frames would make free: as many as it can whose priorities rise by address with no key.
 */
static u64 known_priority(u64 frame)
{
    frame = (frame ^ frame >> 33) * 0xff51afd7ed558ccdull;
    frame = (frame ^ frame >> 33) * 0xc4ceb9fe1a85ec53ull;
    return frame ^ frame >> 33;
}

/* The longest rising chain among each second frame; *length: of chain[]. */
static void find_chain(u64 base, u64 *chain, u32 *length)
{
    static u32 best[HOLES_FRAMES], before[HOLES_FRAMES];
    u32 count = 0;

    for (u32 k = 0; k < HOLES_FRAMES; k += 2) {
        u64 own = known_priority(base / FRAME_BYTES + k);
        u32 at = 0;
        while (at < count && known_priority(base / FRAME_BYTES + best[at]) < own)
            at++;
        before[k] = at ? best[at - 1] : 0;
        best[at] = k;
        count += at == count;
    }
    *length = count;
    for (u32 k = best[count - 1]; count; k = before[k])
        chain[--count] = base + k * FRAME_BYTES;
}

static void test_a_guest_that_knows_its_frames_makes_no_chain(void **state)
{
    static u64 chain[HOLES_FRAMES];
    u32 length;

    (void)state;
    frames_init(0x123456789abcdef);
    most_looks = 0;
    frames_add(hpa(MIB(2)), HOLES_FRAMES);
    find_chain(allocate(HOLES_FRAMES, 1), chain, &length);
    assert_true(length > 150);
    while (length--) /* each below all before it */
        COUNT_LOOKS(frames_free(hpa(chain[length]), 1));
    assert_in_range(most_looks, 10, MOST_LOOKS);
}

/* Nothing in thousands of small extents is aligned; the large one is found at once. */
static void test_the_largest_is_found_at_once(void **state)
{
    (void)state;
    frames_add(hpa(MIB(2)), HOLES_FRAMES);
    u64 base = allocate(HOLES_FRAMES, 1);
    for (u32 k = 1; k < HOLES_FRAMES - 2048; k += 2)
        frames_free(hpa(base + k * FRAME_BYTES), 1);
    frames_free(hpa(base + (HOLES_FRAMES - 2000) * FRAME_BYTES), 2000);
    most_looks = 0;
    COUNT_LOOKS(assert_in_range(frames_largest(512), 2000 - 511, 2000));
    (void)allocate(2000, 1);
    COUNT_LOOKS(assert_int_equal(frames_largest(512), 0));
    assert_in_range(most_looks, 3, MOST_LOOKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gives_zeroed_aligned_frames_and_counts_them, drain),
        cmocka_unit_test_teardown(test_dirty_frames_are_cleaned_in_pieces, drain),
        cmocka_unit_test_teardown(test_refuses_what_does_not_fit_and_changes_nothing, drain),
        cmocka_unit_test_teardown(test_merges_in_every_order_of_freeing, drain),
        cmocka_unit_test_teardown(test_small_requests_leave_large_extents_whole, drain),
        cmocka_unit_test_teardown(test_low_memory_goes_last_but_on_request, drain),
        cmocka_unit_test_teardown(test_panics_on_double_and_foreign_frees, drain),
        cmocka_unit_test_teardown(test_agrees_with_a_bitmap_over_random_operations, drain),
        cmocka_unit_test_teardown(test_is_quick_with_thousands_of_extents, drain),
        cmocka_unit_test_teardown(test_a_guest_that_knows_its_frames_makes_no_chain, drain),
        cmocka_unit_test_teardown(test_the_largest_is_found_at_once, drain),
    };
    return cmocka_run_group_tests(tests, make_memory, free_memory);
}
