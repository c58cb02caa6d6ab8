/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The heap against a model: a table of which nodes are in it. links: kernel/lib/heap.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "kernel/lib/heap.h"

#define NODES 300
#define STEPS 200000

static struct heap_node nodes[NODES];
static bool inside[NODES];

static u64 least(void)
{
    u64 key = UINT64_MAX;

    for (size_t i = 0; i < NODES; i++)
        if (inside[i] && nodes[i].key < key)
            key = nodes[i].key;
    return key;
}

static void check_walk(const struct heap *heap)
{
    bool seen[NODES] = {false};
    size_t count = 0;

    for (const struct heap_node *node = heap->root; node; node = heap_next(node)) {
        size_t i = (size_t)(node - nodes);
        assert_true(i < NODES && inside[i] && !seen[i]);
        seen[i] = true;
        count++;
    }
    for (size_t i = 0; i < NODES; i++)
        count -= inside[i];
    assert_int_equal(count, 0);
}

/* Keys are few, so that many are equal; UINT64_MAX is one of them. */
static u64 random_key(void)
{
    int key = rand() % 100;
    return key == 0 ? UINT64_MAX : (u64)key;
}

static void test_any_order(void **state)
{
    struct heap heap = {NULL};

    (void)state;
    srand(13);
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)rand() % NODES;
        if (inside[i]) {
            heap_remove(&heap, &nodes[i]);
        } else {
            nodes[i].key = random_key();
            heap_insert(&heap, &nodes[i]);
        }
        inside[i] = !inside[i];
        assert_int_equal(heap.root ? heap.root->key : UINT64_MAX, least());
        if (step % 100 == 0)
            check_walk(&heap);
    }
}

static void test_sorts(void **state)
{
    struct heap heap = {NULL};
    u64 last = 0;

    (void)state;
    for (size_t i = 0; i < NODES; i++) {
        nodes[i].key = (u64)rand();
        heap_insert(&heap, &nodes[i]);
    }
    for (size_t i = 0; i < NODES; i++) {
        assert_true(heap.root->key >= last);
        last = heap.root->key;
        heap_remove(&heap, heap.root);
    }
    assert_null(heap.root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_sorts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
