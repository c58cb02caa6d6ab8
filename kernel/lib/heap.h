/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A heap of nodes that lie in their owners' structures: the least key is found at once, and any node can be removed. A
 * pairing heap: to insert costs a few instructions, to remove the logarithm of the count, amortised.
 */
#ifndef ROOTLET_LIB_HEAP_H
#define ROOTLET_LIB_HEAP_H

#include "kernel/lib/types.h"

struct heap_node {
    u64 key;                 /* constant while the node is in a heap */
    struct heap_node *child; /* the first of those below it; their keys are no less */
    struct heap_node *next;  /* its sibling */
    struct heap_node *prev;  /* the sibling before it; of a first child, its parent; of the root, NULL */
};

/* The root is the node with the least key; NULL: an empty heap. */
struct heap {
    struct heap_node *root;
};

void heap_insert(struct heap *heap, struct heap_node *node);
/* The node must be in this heap. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* The node after this one in some order that visits each node once, beginning with the root; NULL: it was the last. */
struct heap_node *heap_next(const struct heap_node *node);

#endif
