/*
 * Moves the memory of tensors to where it ends, or starts, at a page that cannot be
 * touched.
 */
#ifndef TEST_FENCE_H
#define TEST_FENCE_H

#include "tests/support/test.h"

/* Moves a tensor, unless it has no elements; with copy its contents too. */
void fence_tensor(attn_tensor *tensor, int at_end, int copy);

/* A size of some dimension, and how much of it is to be kept. */
struct fence_cut {
    int64_t size, kept;
};

/* Moves a tensor to before a page, on which lies what the cuts leave of dimensions of
 * their sizes: what is beyond the lengths of a call. */
void fence_beyond(attn_tensor *tensor, const struct fence_cut *cuts, int count);

/* Frees what all calls since the last fence_free() moved tensors to. */
void fence_free(void);

#endif
