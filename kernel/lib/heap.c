/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See heap.h. Fredman, Sedgewick, Sleator, Tarjan: "The pairing heap: a new form of self-adjusting heap", Algorithmica
 * 1 (1986).
 */
#include "kernel/lib/heap.h"

/* Two roots, or one and NULL: the greater becomes the first child of the other. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->key < a->key) {
        struct heap_node *least = b;
        b = a;
        a = least;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    return a;
}

/* Siblings, from `first` on, become one tree: first in pairs from the left, then the pairs from the right. */
static struct heap_node *meld_siblings(struct heap_node *first)
{
    struct heap_node *pairs = NULL, *root = NULL;

    while (first) {
        struct heap_node *second = first->next;
        struct heap_node *rest = second ? second->next : NULL;
        first->next = first->prev = NULL;
        if (second)
            second->next = second->prev = NULL;
        struct heap_node *pair = meld(first, second);
        pair->next = pairs;
        pairs = pair;
        first = rest;
    }
    while (pairs) {
        struct heap_node *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        root = meld(root, pair);
    }
    return root;
}

void heap_insert(struct heap *heap, struct heap_node *node)
{
    node->child = node->next = node->prev = NULL;
    heap->root = meld(heap->root, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    struct heap_node *below = meld_siblings(node->child);

    if (node == heap->root) {
        heap->root = below;
        return;
    }
    if (node->prev->child == node)
        node->prev->child = node->next;
    else
        node->prev->next = node->next;
    if (node->next)
        node->next->prev = node->prev;
    heap->root = meld(heap->root, below);
}

struct heap_node *heap_next(const struct heap_node *node)
{
    if (node->child)
        return node->child;
    while (node && !node->next) {
        while (node->prev && node->prev->child != node)
            node = node->prev;
        node = node->prev;
    }
    return node ? node->next : NULL;
}
