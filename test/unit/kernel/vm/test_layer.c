/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Layered guest memory: what each VM and each snapshot sees, whoever writes; what it costs; what is left at the end.
 *
 * links: kernel/vm/memory.c kernel/vm/layer.c test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"
#include "kernel/vm/layer.h"
#include "test/fake/host_memory.h"

static struct refusal why;
static u64 free_at_first;
static u32 moves, failures;

static void page_moved(void *context, gpa_t page)
{
    (void)context;
    assert_int_equal(page.raw % FRAME_BYTES, 0);
    moves++;
}

static void write_failed(void *context, gpa_t page)
{
    (void)context;
    (void)page;
    failures++;
}

static void listen(struct guest_memory *memory)
{
    memory->page_moved = page_moved;
    memory->write_failed = write_failed;
}

static void begin(struct guest_memory *memory, u64 bytes)
{
    host_memory_init(MIB(1), MIB(64));
    free_at_first = frames_free_count();
    moves = failures = 0;
    assert_int_equal(guest_memory_allocate(memory, bytes, &why), STATUS_OK);
    listen(memory);
}

static u64 used(void)
{
    return free_at_first - frames_free_count();
}

static void put(struct guest_memory *memory, u64 address, u32 value)
{
    assert_int_equal(guest_memory_write(memory, gpa(address), &value, sizeof value), STATUS_OK);
}

static u32 get(const struct guest_memory *memory, u64 address)
{
    u32 value;

    assert_int_equal(guest_memory_read(memory, gpa(address), &value, sizeof value), STATUS_OK);
    return value;
}

static struct layer *freeze(struct guest_memory *memory)
{
    struct layer *frozen;

    assert_int_equal(guest_memory_freeze(memory, &frozen), STATUS_OK);
    return frozen;
}

static void share(struct guest_memory *memory, struct layer *frozen)
{
    assert_int_equal(guest_memory_share(memory, frozen), STATUS_OK);
    listen(memory);
}

static u64 went_back[8];
static u32 went_back_count;

static void note_page(void *context, u64 address, u64 frame)
{
    assert_ptr_equal(context, &moves);
    assert_int_not_equal(frame, 0);
    assert_true(went_back_count < ARRAY_SIZE(went_back));
    went_back[went_back_count++] = address;
}

static bool go_back(struct guest_memory *memory, struct layer *frozen)
{
    bool all;

    went_back_count = 0;
    assert_int_equal(guest_memory_go_back(memory, frozen, note_page, &moves, &all), STATUS_OK);
    return all;
}

/* ---- one VM ---- */

static void test_a_snapshot_costs_what_is_written_afterwards(void **state)
{
    struct guest_memory memory;

    (void)state;
    begin(&memory, MIB(16));
    put(&memory, 0x200000, 1);
    put(&memory, 0x9f000, 2);
    u64 before = used();
    struct layer *frozen = freeze(&memory);
    assert_int_equal(used(), before + 2); /* the two layers */
    assert_int_equal(get(&memory, 0x200000), 1);
    assert_int_equal(moves, 0);
    put(&memory, 0x200004, 3);
    assert_int_equal(moves, 1);
    assert_int_equal(used(), before + 2 + 3); /* the page, and two tables that lead to it */
    put(&memory, 0x200008, 4);
    put(&memory, 0x201000, 5);
    assert_int_equal(moves, 2); /* the first page had moved already */
    assert_int_equal(used(), before + 2 + 4);
    assert_int_equal(get(&memory, 0x200000), 1);
    assert_int_equal(get(&memory, 0x200004), 3);
    assert_int_equal(get(&memory, 0x201000), 5);

    assert_false(go_back(&memory, frozen));
    assert_int_equal(went_back_count, 2);
    assert_int_equal(went_back[0], 0x200000);
    assert_int_equal(went_back[1], 0x201000);
    assert_int_equal(get(&memory, 0x200004), 0);
    assert_int_equal(get(&memory, 0x201000), 0);
    u64 after = used();
    put(&memory, 0x200004, 6);
    put(&memory, 0x9f000, 7);
    assert_int_equal(used(), after + 1); /* a table below 2 MiB; the pages' frames were at hand */
    go_back(&memory, frozen);
    assert_int_equal(get(&memory, 0x9f000), 2);
    layer_release(frozen);
    guest_memory_release(&memory);
    assert_int_equal(used(), 0);
}

static void test_places_and_ends(void **state)
{
    struct guest_memory memory;
    u8 bytes[3 * FRAME_BYTES];
    bool own;

    (void)state;
    begin(&memory, MIB(8));
    u32 regions, layered;
    const struct guest_region first = guest_memory_regions(&memory, &regions)[0];
    struct layer *frozen = freeze(&memory);
    assert_memory_equal(guest_memory_regions(&memory, &layered), &first, sizeof first);
    assert_int_equal(layered, regions);
    assert_null(guest_memory_view(&memory, gpa(0x1000), 8)); /* it may move */
    assert_int_equal(guest_memory_find(&memory, gpa(0xe0000))->kind, GUEST_REGION_ROM);
    assert_null(guest_memory_find(&memory, gpa(0xa0000)));
    /* Across pages, and up to the end of memory and no further. */
    memset(bytes, 0x5a, sizeof bytes);
    assert_int_equal(guest_memory_write(&memory, gpa(0x10ff0), bytes, sizeof bytes), STATUS_OK);
    assert_int_equal(moves, 4);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(guest_memory_read(&memory, gpa(0x10ff0), bytes, sizeof bytes), STATUS_OK);
    for (u32 i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0x5a);
    assert_int_equal(guest_memory_write(&memory, gpa(MIB(8) - 4), bytes, 8), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_read(&memory, gpa(0x9fffc), bytes, 8), STATUS_OUT_OF_RANGE);
    assert_int_equal(guest_memory_write(&memory, gpa(~0ull), bytes, 1), STATUS_OUT_OF_RANGE);
    assert_int_equal(moves, 4);
    assert_int_equal(guest_memory_fill(&memory, gpa(0x20000), 7, 2 * FRAME_BYTES), STATUS_OK);
    assert_int_equal(get(&memory, 0x21ffc), 0x07070707);
    /* A view to write to is within one page, and the VM's own. */
    assert_null(guest_memory_open(&memory, gpa(0x30ffc), 8));
    u64 *word = guest_memory_open(&memory, gpa(0x30ff8), 8);
    assert_non_null(word);
    *word = 9;
    assert_int_equal(get(&memory, 0x30ff8), 9);
    assert_int_not_equal(layer_find(memory.top, 0x30ff8, &own), 0);
    assert_true(own);
    assert_int_not_equal(layer_find(memory.top, 0x40000, &own), 0);
    assert_false(own);
    go_back(&memory, frozen);
    assert_int_equal(get(&memory, 0x30ff8), 0);
    layer_release(frozen);
    guest_memory_release(&memory);
    assert_int_equal(used(), 0);
}

/* Once no snapshot is left the VM writes in place again. */
static void test_a_forgotten_snapshot_costs_nothing_more(void **state)
{
    struct guest_memory memory;
    bool own;

    (void)state;
    begin(&memory, MIB(8));
    struct layer *frozen = freeze(&memory);
    put(&memory, 0x200000, 1);
    layer_release(frozen);
    u64 before = used();
    for (u64 at = MIB(1); at < MIB(8); at += FRAME_BYTES)
        put(&memory, at, (u32)at);
    assert_int_equal(used(), before);
    assert_int_equal(moves, 1);
    assert_int_not_equal(layer_find(memory.top, 0x300000, &own), 0);
    assert_true(own);
    /* Snapshots that are taken and forgotten do not pile up. */
    for (u32 i = 0; i < 100; i++) {
        frozen = freeze(&memory);
        put(&memory, 0x200000 + i % 3 * FRAME_BYTES, i);
        layer_release(frozen);
    }
    assert_in_range(used(), before, before + 8);
    frozen = freeze(&memory);
    assert_ptr_equal(frozen->below->below, NULL);
    layer_release(frozen);
    guest_memory_release(&memory);
    assert_int_equal(used(), 0);
}

static void test_chunks(void **state)
{
    static u64 out[LAYER_CHUNK_PAGES];
    struct guest_memory memory;
    bool own;

    (void)state;
    begin(&memory, MIB(8));
    struct layer *frozen = freeze(&memory);
    assert_int_equal(layer_find_large(memory.top, MIB(2)), layer_find(memory.top, MIB(2), &own));
    assert_int_equal(layer_find_large(memory.top, 0), 0); /* not one piece */
    put(&memory, MIB(2) + 3 * FRAME_BYTES, 1);
    assert_int_equal(layer_find_large(memory.top, MIB(2)), 0);
    assert_int_not_equal(layer_find_large(memory.top, MIB(4)), 0);
    layer_read_chunk(memory.top, MIB(2), out);
    for (u32 i = 0; i < LAYER_CHUNK_PAGES; i++) {
        u64 frame = layer_find(memory.top, MIB(2) + i * FRAME_BYTES, &own);
        assert_int_equal(out[i], frame | LAYER_PAGE | (i == 3 ? LAYER_WRITABLE : 0));
    }
    layer_release(frozen);
    memset(out, 0, sizeof out);
    layer_read_chunk(memory.top, 0, out);
    for (u32 i = 0; i < LAYER_CHUNK_PAGES; i++) {
        const struct guest_region *region = guest_memory_find(&memory, gpa(i * FRAME_BYTES));
        assert_int_equal(!out[i], !region);
        if (region)
            assert_int_equal(out[i] & LAYER_WRITABLE, region->kind == GUEST_REGION_ROM ? 0 : LAYER_WRITABLE);
    }
    guest_memory_release(&memory);
    assert_int_equal(used(), 0);
}

static void take_all_frames_but(u64 left)
{
    hpa_t frame;

    while (frames_free_count() > left)
        assert_int_equal(frames_allocate(1, 1, &frame), STATUS_OK);
}

static void test_out_of_memory(void **state)
{
    for (u64 left = 0; left < 8; left++) {
        struct guest_memory memory;
        struct layer *frozen;
        u32 value = 77;
        bool all;

        (void)state;
        begin(&memory, MIB(8));
        put(&memory, 0x200000, 1);
        take_all_frames_but(left);
        u64 before = used();
        if (guest_memory_freeze(&memory, &frozen) != STATUS_OK) {
            assert_in_range(left, 0, 1);
            assert_int_equal(used(), before);
            assert_null(memory.top);
            put(&memory, 0x200000, 2); /* it goes on */
            continue;
        }
        assert_true(left >= 2);
        bool enough = left >= 5;
        enum status status = guest_memory_write(&memory, gpa(0x200000), &value, sizeof value);
        assert_int_equal(status, enough ? STATUS_OK : STATUS_NO_MEMORY);
        assert_int_equal(failures, !enough);
        assert_int_equal(get(&memory, 0x200000), enough ? 77 : 1);
        struct guest_memory clone;
        if (guest_memory_share(&clone, frozen) == STATUS_OK) {
            assert_int_equal(get(&clone, 0x200000), 1);
            guest_memory_release(&clone);
        } else {
            assert_true(left < 6);
        }
        assert_int_equal(guest_memory_go_back(&memory, frozen, note_page, &moves, &all), STATUS_OK);
        assert_int_equal(get(&memory, 0x200000), 1);
        went_back_count = 0;
        layer_release(frozen);
        guest_memory_release(&memory);
    }
}

/* ---- any number of VMs and snapshots, against a model ---- */

#define MODEL_PAGES  24u
#define MODEL_VMS    4u
#define MODEL_FROZEN 6u

struct contents {
    u32 words[MODEL_PAGES];
};

static u64 page_address(u32 page)
{
    return page % 3 == 0   ? page * FRAME_BYTES
           : page % 3 == 1 ? MIB(1) + page * FRAME_BYTES
                           : MIB(3) + page * 16 * FRAME_BYTES;
}

static void assert_contents(const struct guest_memory *memory, const struct contents *expected)
{
    for (u32 page = 0; page < MODEL_PAGES; page++)
        assert_int_equal(get(memory, page_address(page) + 8), expected->words[page]);
}

static void ignore_page(void *context, u64 address, u64 frame)
{
    (void)context;
    (void)address;
    assert_int_not_equal(frame, 0);
}

static void run_model(unsigned seed)
{
    static struct guest_memory vms[MODEL_VMS];
    static struct contents vm_has[MODEL_VMS], frozen_has[MODEL_FROZEN];
    struct layer *frozen[MODEL_FROZEN] = {NULL};
    bool lives[MODEL_VMS] = {true};
    bool all;

    srand(seed);
    memset(vm_has, 0, sizeof vm_has);
    begin(&vms[0], MIB(8));
    for (u32 i = 0; i < 600; i++) {
        u32 vm = (u32)rand() % MODEL_VMS, snapshot = (u32)rand() % MODEL_FROZEN, page = (u32)rand() % MODEL_PAGES;
        switch (rand() % 10) {
        case 0:
            if (lives[vm] && !frozen[snapshot]) {
                frozen[snapshot] = freeze(&vms[vm]);
                frozen_has[snapshot] = vm_has[vm];
            }
            break;
        case 1:
            if (frozen[snapshot])
                layer_release(frozen[snapshot]);
            frozen[snapshot] = NULL;
            break;
        case 2: /* of any of them, as a snapshot of another VM would be */
            if (lives[vm] && vms[vm].top && frozen[snapshot]) {
                assert_int_equal(guest_memory_go_back(&vms[vm], frozen[snapshot], ignore_page, NULL, &all), STATUS_OK);
                vm_has[vm] = frozen_has[snapshot];
            }
            break;
        case 3:
            if (!lives[vm] && frozen[snapshot]) {
                share(&vms[vm], frozen[snapshot]);
                vm_has[vm] = frozen_has[snapshot];
                lives[vm] = true;
            }
            break;
        case 4:
            if (lives[vm] && rand() % 4 == 0) {
                guest_memory_release(&vms[vm]);
                lives[vm] = false;
            }
            break;
        default:
            if (lives[vm]) {
                vm_has[vm].words[page] = (u32)rand();
                put(&vms[vm], page_address(page) + 8, vm_has[vm].words[page]);
            }
        }
        for (u32 k = 0; k < MODEL_VMS; k++)
            if (lives[k])
                assert_contents(&vms[k], &vm_has[k]);
    }
    for (u32 k = 0; k < MODEL_FROZEN; k++) {
        struct guest_memory look;
        if (!frozen[k])
            continue;
        share(&look, frozen[k]);
        assert_contents(&look, &frozen_has[k]);
        guest_memory_release(&look);
        layer_release(frozen[k]);
    }
    for (u32 k = 0; k < MODEL_VMS; k++)
        if (lives[k])
            guest_memory_release(&vms[k]);
    assert_int_equal(used(), 0);
}

static void test_against_a_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 60; seed++)
        run_model(seed);
}

#define MANY 2000u

static struct guest_memory *looked_at;
static u32 pauses, since_pause, most;

/* Nobody holds the lock meanwhile. */
static void pause_between(void)
{
    bool own;

    assert_int_not_equal(layer_find(looked_at->top, MIB(2), &own), 0);
    pauses++;
    since_pause = 0;
}

static void count_page(void *context, u64 address, u64 frame)
{
    (void)context;
    (void)address;
    (void)frame;
    most = ++since_pause > most ? since_pause : most;
}

static void put_many(struct guest_memory *memory)
{
    for (u32 page = 0; page < MANY; page++)
        put(memory, MIB(2) + page * FRAME_BYTES, page);
}

/* Others get their turn while thousands of pages go back, are joined with others, and are freed. */
static void test_no_piece_is_long(void **state)
{
    struct guest_memory memory;
    bool all;

    (void)state;
    begin(&memory, MIB(16));
    looked_at = &memory;
    struct layer *first = freeze(&memory);
    put_many(&memory);
    memory_set_between(pause_between);
    pauses = since_pause = most = 0;
    assert_int_equal(guest_memory_go_back(&memory, first, count_page, NULL, &all), STATUS_OK);
    assert_true(!all && pauses >= MANY / 64 && most <= 64);
    memory_set_between(NULL);
    put_many(&memory);
    struct layer *second = freeze(&memory);
    put_many(&memory);
    struct layer *third = freeze(&memory);
    memory_set_between(pause_between);
    layer_release(first);
    layer_release(second);
    pauses = 0;
    layer_absorb(memory.top);
    assert_true(pauses >= MANY / 64);
    memory_set_between(NULL);
    layer_release(third);
    put_many(&memory);
    for (u64 before = used(); !guest_memory_release_piece(&memory); before = used())
        assert_true(before - used() <= 64 + 3);
    assert_int_equal(used(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_snapshot_costs_what_is_written_afterwards),
        cmocka_unit_test(test_places_and_ends),
        cmocka_unit_test(test_a_forgotten_snapshot_costs_nothing_more),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_no_piece_is_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
